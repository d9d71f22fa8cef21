"""The clock of a process: wall time that never steps.

Deadlines that survive a restart must be written as wall time, and must not move when somebody sets
the system clock. So the wall clock is read once, at start, and the monotonic clock is added to it.
Both are arguments: a test passes its event loop's ``time`` and lives through an hour in a moment.
Nothing else in the program reads a clock.
"""

import asyncio
import time
from collections.abc import Callable


class SteadyClock:
    """Implements ``canaryd.ports.clock.Clock``.

    Args:
        wall: the system's clock, seconds since the epoch.
        monotonic: a clock that never steps; its zero means nothing. Must be the one the event loop
            sleeps by, or ``sleep`` and ``now`` tell different times.

    """

    __slots__ = ("_monotonic", "_offset", "_wall")

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def now(self) -> float:
        """Seconds since the epoch that never step while the process lives."""
        return self._offset + self._monotonic()

    def wall(self) -> float:
        """Seconds since the epoch by the system's clock, as it stands now."""
        return self._wall()

    async def sleep(self, seconds: float) -> None:
        """Wait; time that has passed already still lets others run first."""
        await asyncio.sleep(max(0.0, seconds))
