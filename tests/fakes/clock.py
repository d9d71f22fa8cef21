"""Time for tests: the event loop's own, virtual under ``looptime``, real without it.

One epoch for the fake API server, the fake cluster, the fake Prometheus and the daemon under test,
so that a timestamp in an object and an instant in a query mean the same moment.
It reads the loop on every call and keeps nothing: a loop whose time is reset between fixture and test stays right.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

EPOCH = datetime(2026, 1, 5, 12, 0, tzinfo=UTC).timestamp()
"""A Monday at noon, for tests of release windows."""


@dataclass(slots=True)
class VirtualClock:
    """``canaryd.ports.clock.Clock`` on the loop's time; ``wall_offset_s`` plays steps of the system clock."""

    wall_offset_s: float = 0.0

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.now() + self.wall_offset_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def timestamp(seconds: float) -> str:
    """``metav1.Time``: whole seconds, UTC, ``Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of a timestamp as the API server writes it."""
    return datetime.fromisoformat(text).timestamp()
