"""The cache of built programs: its names, and builds with a compiler that is a script."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.local import binaries
from tests.cluster.local.binaries import BINARIES, Binary
from tests.cluster.local.errors import BuildFailed

FAKE_GO = """#!/bin/sh
echo run >> "$GO_RUNS"
for word in "$@"; do
  case "$word" in -o=*) echo built > "${word#-o=}" ;; esac
done
echo "$GO_SAYS"
exit "$GO_CODE"
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    go = tmp_path / "path" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    log = tmp_path / "runs"
    log.write_text("")
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CANARYD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_RUNS", str(log))
    monkeypatch.setenv("GO_SAYS", "")
    monkeypatch.setenv("GO_CODE", "0")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return log


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kubernetes", "v1.34.4"),
        ("etcd", "v3.6.4"),
        ("traefik", "v3.7.9"),
        ("podinfo", "v6.9.2"),
        ("linkerd-destination", "v0.5.1-0.20210517230931-5535e9c4edda"),
        ("pause", "v1"),
    ],
)
def test_versions_are_those_of_the_pinned_modules(name: str, expected: str) -> None:
    assert expected == BINARIES[name].version


@pytest.mark.parametrize("binary", BINARIES.values(), ids=str)
def test_every_program_has_pinned_sources(binary: Binary) -> None:
    assert (binary.sources / "go.mod").is_file()
    if binary.module:
        assert (binary.sources / "go.sum").is_file()


def test_api_server_learns_its_version() -> None:
    flags = BINARIES["kubernetes"].linker_flags()

    assert "-X k8s.io/component-base/version.gitVersion=v1.34.4" in flags
    assert "-X k8s.io/component-base/version.gitMinor=34" in flags


def test_another_stamp_is_another_build() -> None:
    pause = BINARIES["pause"]

    assert pause.fingerprint() == replace(pause).fingerprint()
    assert pause.fingerprint() != replace(pause, stamps=("main.x=1",)).fingerprint()


def test_a_build_never_changes_its_pins(tmp_path: Path) -> None:
    command = binaries.compile_command(BINARIES["etcd"], Path("/go"), tmp_path)

    assert "-mod=readonly" in command


def test_a_program_is_built_once_and_complete(runs: Path, tmp_path: Path) -> None:
    said: list[str] = []

    first = binaries.build(BINARIES["kubernetes"], said.append)
    second = binaries.build(BINARIES["kubernetes"], said.append)

    assert first == second
    assert runs.read_text().split() == ["run"]
    assert (first / "kubelet").read_text() == "built\n"
    assert tmp_path / "cache" / "bin" == first.parent
    assert said[0] == "building kubernetes v1.34.4 from source, about 5 minutes the first time ..."


def test_a_failed_build_tells_the_compiler_and_leaves_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO_SAYS", "main.go:1: no such package")
    monkeypatch.setenv("GO_CODE", "1")

    with pytest.raises(BuildFailed, match=r"etcd v3.6.4 does not build:\nmain.go:1: no such"):
        binaries.build(BINARIES["etcd"], lambda _: None)

    left = [path.name for path in (tmp_path / "cache" / "bin").iterdir()]
    assert left == [".etcd.lock"]


def test_prebuilt_assets_are_taken_before_a_build(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etcd").write_text("given")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    assert tmp_path / "etcd" == binaries.find_program("etcd", lambda _: None)
    assert binaries.find_program("kube-apiserver", lambda _: None).read_text() == "built\n"


def test_an_unknown_program_is_told_with_the_known_ones(runs: Path) -> None:
    with pytest.raises(BuildFailed, match="no program is called nginx; these are: pause"):
        binaries.find_program("nginx")


@pytest.mark.parametrize(("seconds", "expected"), [(0.4, "0s"), (59, "59s"), (80, "1m20s")])
def test_time_is_told_in_minutes_and_seconds(seconds: float, expected: str) -> None:
    assert expected == binaries.format_seconds(seconds)
