"""Synthetic load.

Implemented by ``canaryd.loadtest.runner.ChildProcessRunner``.
"""

from typing import Protocol

from canaryd.core.model import LoadTestAnswer, LoadTestSpec


class LoadTester(Protocol):
    """Runs one load test to its end."""

    async def run(self, test: LoadTestSpec, *, base_url: str, host: str) -> LoadTestAnswer:
        """Send the load to ``base_url`` with ``host`` as Host header;
        cancelling the call ends the child process at once.

        Never raises for what a target or the generator can do wrong.
        """
        ...
