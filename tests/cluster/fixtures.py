"""The cluster of the session, built or found when the first test asks for it, or the run fails.

One cluster for the whole run, whichever folder asks: ``tests/conftest.py`` imports these.
"""

from collections.abc import Iterator

import pytest

from tests.cluster.daemon import Daemon, Installation, chart_values
from tests.cluster.local.client import Cluster
from tests.cluster.local.find import provide_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with provide_cluster() as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; it is removed without waiting for its pods."""
    name = cluster.create_namespace("test")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The chart, applied once."""
    name = cluster.create_namespace("canaryd")
    installed = Installation(
        cluster, name, tmp_path_factory.mktemp("canaryd"), chart_values(cluster)
    )
    yield installed
    installed.remove()


@pytest.fixture
def undisturbed(cluster: Cluster, installation: Installation) -> None:
    """The apps of earlier tests are gone: what is counted and timed from here on is the test's own."""

    def is_quiet() -> bool | None:
        ending = {
            found["metadata"]["name"]
            for found in cluster.get("namespaces")["items"]
            if found["status"]["phase"] == "Terminating"
        }
        apps = cluster.get("canaries.canaryd.io", "-A")["items"]
        return ending.isdisjoint(app["metadata"]["namespace"] for app in apps) or None

    cluster.wait_for("an end of earlier tests' apps", is_quiet, timeout_s=180, interval_s=1)


@pytest.fixture
def daemon(installation: Installation) -> Iterator[Daemon]:
    """A running canaryd under the chart's own ServiceAccount and rights."""
    running = installation.start()
    yield running
    running.stop()
