"""Which cluster is taken, and the one sentence when none can be."""

from pathlib import Path

import pytest

from tests.cluster.local import prerequisites
from tests.cluster.local.cluster import LocalCluster
from tests.cluster.local.errors import NotSupported, PrerequisiteMissing
from tests.cluster.local.external import INGRESS, PROMETHEUS, ExternalCluster
from tests.cluster.local.find import provide_cluster


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", INGRESS, PROMETHEUS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    path.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_without_a_kubeconfig_the_cluster_is_local() -> None:
    assert isinstance(provide_cluster(), LocalCluster)


def test_a_kubeconfig_wins(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INGRESS, "http://127.0.0.1:8080/")
    monkeypatch.setenv(PROMETHEUS, "http://127.0.0.1:9090")

    cluster = provide_cluster()

    assert isinstance(cluster, ExternalCluster)
    assert kubeconfig == cluster.kubeconfig
    assert cluster.ingress_url == "http://127.0.0.1:8080"
    with pytest.raises(NotSupported, match="only the local cluster's API server"):
        cluster.restart_apiserver()


def test_missing_addresses_are_named(kubeconfig: Path) -> None:
    with pytest.raises(PrerequisiteMissing, match=f"{INGRESS} and {PROMETHEUS} must be too"):
        provide_cluster()


def test_a_kubeconfig_that_is_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")

    with pytest.raises(PrerequisiteMissing, match="/nowhere/config, which is not a file"):
        provide_cluster()


def test_missing_commands_come_with_their_packages(tmp_path: Path) -> None:
    def has(name: str) -> bool:
        return name not in ("nft", "ctr")

    assert prerequisites.missing_packages(has, tmp_path) == {"nft": "nftables", "ctr": "containerd"}
    assert prerequisites.CNI_PACKAGE in prerequisites.missing_packages(has, None).values()


def test_plugins_are_found_where_all_of_them_are(tmp_path: Path) -> None:
    for folder, plugins in {"half": ["bridge"], "whole": prerequisites.CNI_PLUGINS}.items():
        (tmp_path / folder).mkdir()
        for plugin in plugins:
            (tmp_path / folder / plugin).touch()

    folders = [tmp_path / "none", tmp_path / "half", tmp_path / "whole"]

    assert tmp_path / "whole" == prerequisites.find_cni_folder(folders)
    assert prerequisites.find_cni_folder(folders[:2]) is None


def test_a_user_without_rights_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(PrerequisiteMissing, match="needs root; use a cluster of your own: create"):
        prerequisites.check(lambda _: None)
