"""What holds for every test of the tree."""

import asyncio
import gc
from collections.abc import Generator

import pytest

from tests.cluster import figures
from tests.cluster.fixtures import cluster, daemon, installation, namespace, undisturbed

__all__ = ["cluster", "daemon", "installation", "namespace", "undisturbed"]

IDLE_TURNS = 4
"""How often virtual time asks whether something came over a socket before it moves on; loopback delivers at once."""


def pytest_sessionstart() -> None:
    """Declare that the main thread has no event loop.

    Up to Python 3.13 asking for one creates it, and looptime asks before each synchronous test that
    follows an asynchronous one: the loop would leak, and a leak is an error here.
    """
    asyncio.set_event_loop(None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the cluster's tests last: what fails in seconds must not wait for minutes."""
    items.sort(key=lambda item: item.get_closest_marker("cluster") is not None)
    for item in items:
        if item.get_closest_marker("looptime") is not None:
            item.add_marker(pytest.mark.looptime(noop_cycles=IDLE_TURNS), append=False)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests, which live as long as the run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the daemon said when a test with one fails."""
    report = yield
    installed = getattr(item, "funcargs", {}).get("installation")
    if call.when == "call" and report.failed and installed is not None:
        report.sections.append(("canaryd said", installed.told()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured on the cluster, so that a bar that was met is seen with by how much."""
    if figures.FIGURES:
        terminalreporter.write_sep("=", "figures measured on the real cluster")
        terminalreporter.write_line(figures.table())
