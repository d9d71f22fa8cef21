"""Time as the daemon sees it.

Implemented by ``canaryd.telemetry.clock.SteadyClock`` and in tests by a clock that follows the
event loop's virtual time.
The core never reads a clock; it is told.
"""

from typing import Protocol


class Clock(Protocol):
    """One source of time for a process."""

    def now(self) -> float:
        """Seconds since the epoch, UTC, that never step while the process lives.

        The wall clock is read once at start, then the monotonic clock is added:
        a step of the system clock moves no deadline,
        yet times written to status survive a restart.
        """
        ...

    def wall(self) -> float:
        """Seconds since the epoch by the system's clock, for what people read and for calendar
        windows.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait without holding a worker."""
        ...
