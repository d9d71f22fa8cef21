"""Definitions out of Go modules: what is read of them, and that they are downloaded once."""

import json
from pathlib import Path

import pytest

from tests.cluster.local import crds
from tests.cluster.local.configuration import GATEWAY_KINDS
from tests.cluster.local.crds import GATEWAY_API, find_crds, is_established, read_crds

FAKE_GO = """#!/bin/sh
echo run >> "$GO_RUNS"
echo "{\\"Dir\\": \\"$GO_MODULE\\"}"
"""
CRD = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.b}\n"
POLICY = "kind: ValidatingAdmissionPolicy\nmetadata: {name: safe-upgrades}\n"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that is a script, and what it was asked for."""
    go, module = tmp_path / "path" / "go", tmp_path / "module"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    folder = module / GATEWAY_API.folder
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text(f"---\n{CRD}---\n{POLICY}")
    log = tmp_path / "runs"
    log.write_text("")
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CANARYD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_RUNS", str(log))
    monkeypatch.setenv("GO_MODULE", str(module))
    return log


def test_definitions_are_read_from_their_module_once_and_nothing_else_is(runs: Path):
    for _ in range(2):
        assert ["a.b"] == [crd["metadata"]["name"] for crd in find_crds(GATEWAY_API, print)]

    assert ["run"] == runs.read_text().split()


def test_another_version_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = GATEWAY_API.file(tmp_path)
    sources = tmp_path / GATEWAY_API.name
    sources.mkdir()
    (sources / "go.mod").write_text("module other")
    (sources / "go.sum").write_text("")
    monkeypatch.setattr(crds, "GO_SOURCES", tmp_path)

    assert before != GATEWAY_API.file(tmp_path)


@pytest.mark.parametrize(
    ("status", "established"),
    [
        ({}, False),
        ({"conditions": [{"type": "NamesAccepted", "status": "True"}]}, False),
        ({"conditions": [{"type": "Established", "status": "False"}]}, False),
        ({"conditions": [{"type": "Established", "status": "True"}]}, True),
    ],
)
def test_a_kind_is_there_when_the_api_server_says_so(status: dict[str, object], established: bool):
    assert established is is_established({"status": status})


@pytest.mark.cluster
def test_traefik_finds_every_kind_that_it_watches():
    plurals = {crd["spec"]["names"]["plural"] for crd in find_crds(GATEWAY_API, print)}

    assert set(GATEWAY_KINDS) <= plurals


def test_a_folder_without_definitions_is_an_empty_list(tmp_path: Path):
    (tmp_path / "other.yaml").write_text(json.dumps({"kind": "Other"}))

    assert [] == read_crds(tmp_path)
