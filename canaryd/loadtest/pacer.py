"""When each request of a load test is to start: by the schedule, never by how the last one went.

An open loop. A generator that waits for an answer before it sends the next request slows down
together with its target, and so leaves out exactly the requests that would have been slow
(coordinated omission). Here every request has an intended start on a monotonic clock, computed from
its number so that nothing accumulates, and everything is measured from there.

The pacer also measures itself. How late it was woken is the generator's own lag, whatever the
reason (no processor, a busy loop): beyond a limit, which ``report`` knows, the test says nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from math import ceil

LATE_S = 0.05
"""A start is late beyond this. The event loop's timers are a millisecond coarse."""


def count_starts(rate: float, duration_s: float) -> int:
    """Return how many starts lie before the end of the duration: at 0, 1/rate, 2/rate and so on."""
    return max(1, ceil(round(rate * duration_s, 6)))


class Pacer:
    """The schedule of one load test, and how well it was kept.

    Args:
        rate: starts per second.
        duration_s: length of the schedule in seconds.
        clock: monotonic seconds; must be the clock the event loop sleeps by.

    """

    def __init__(self, rate: float, duration_s: float, clock: Callable[[], float]) -> None:
        self.planned = count_starts(rate, duration_s)
        self.late = 0
        self.worst_lag_s = 0.0
        self.last_lag_s = 0.0
        self.began_at = 0.0
        self._rate = rate
        self._clock = clock

    async def starts(self) -> AsyncIterator[float]:
        """Yield each intended start when its time has come; at once when that has passed already.

        Whoever consumes this must take less time for one start than there is between two:
        a pacer that is behind hands out all that is due before it lets others run.
        """
        self.began_at = self._clock()
        for number in range(self.planned):
            due = self.began_at + number / self._rate
            ahead = due - self._clock()
            if ahead > 0:
                await asyncio.sleep(ahead)
            self._note(self._clock() - due)
            yield due

    def _note(self, lag_s: float) -> None:
        self.last_lag_s = max(0.0, lag_s)
        self.worst_lag_s = max(self.worst_lag_s, lag_s)
        self.late += lag_s > LATE_S
