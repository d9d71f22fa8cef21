"""The cluster of the session, and the rule that its tests run only when asked for by name."""

from collections.abc import Iterator

import pytest

from tests.cluster import figures
from tests.cluster.daemon import Daemon, Installation, chart_values
from tests.cluster.local.client import Cluster
from tests.cluster.local.find import provide_cluster


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the cluster's tests out of a plain `pytest`: the first run builds for minutes."""
    if "cluster" in config.option.markexpr:
        return
    left_out = pytest.mark.skip(reason="needs the real cluster; run with -m cluster")
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(left_out)


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
def daemon(installation: Installation) -> Iterator[Daemon]:
    """A running canaryd under the chart's own ServiceAccount and rights."""
    running = installation.start()
    yield running
    running.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if figures.FIGURES:
        terminalreporter.write_sep("=", "figures measured on the real cluster")
        terminalreporter.write_line(figures.table())
