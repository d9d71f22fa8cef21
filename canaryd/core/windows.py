"""When a run may go on: weekly windows in a time zone, and spans during which nothing new begins.

The only place where wall-clock time decides something: users mean the clock on their wall. Windows
are looked at in local time, so that 09:00 stays 09:00 when clocks change; of an hour that comes
twice both are in the window, of one that is skipped none is. The database of time zones is data of
the Python distribution, read once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

DAY_MINUTES = 24 * 60
_LOOK_AHEAD_DAYS = 16
"""A window of one day a week begins at least every second week: islands have skipped a day."""


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the day on some days of the week; ``end`` at or before ``start`` is next day's.

    ``days`` holds the days on which it begins, 0 being Monday.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Span:
    """From one instant to before another, in seconds since the epoch."""

    start: float
    end: float


def is_open(windows: Iterable[Window], now: float) -> bool:
    """Whether some window is open at an instant; always when there are none."""
    listed = tuple(windows)
    return not listed or any(_contains(window, now) for window in listed)


def frozen_until(spans: Iterable[Span], now: float) -> float | None:
    """When the spans around an instant are over; None outside of them."""
    ends = [span.end for span in spans if span.start <= now < span.end]
    return max(ends, default=None)


def opens_in(windows: Iterable[Window], now: float) -> float:
    """Seconds until some window opens, 0 when one is open."""
    listed = tuple(windows)
    if is_open(listed, now):
        return 0.0
    return min(_opens_in(window, now) for window in listed)


def _contains(window: Window, now: float) -> bool:
    local = datetime.fromtimestamp(now, ZoneInfo(window.zone))
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if window.start < window.end:
        return day in window.days and window.start <= minute < window.end
    begun_today = day in window.days and minute >= window.start
    begun_yesterday = (day - 1) % 7 in window.days and minute < window.end
    return begun_today or begun_yesterday


def _opens_in(window: Window, now: float) -> float:
    """Seconds until a closed window opens: at its beginning, or where clocks jump into it."""
    zone = ZoneInfo(window.zone)
    instants = sorted({*_beginnings(window, zone, now), *_jumps(zone, now)})
    for instant in instants:
        if instant > now and _contains(window, instant):
            return instant - now
    raise ValueError("a window without days never opens")


def _beginnings(window: Window, zone: ZoneInfo, now: float) -> Iterator[float]:
    """When clocks show a window's beginning; twice on a day on which an hour comes twice."""
    today = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    for ahead in range(_LOOK_AHEAD_DAYS):
        day = today + timedelta(days=ahead)
        if day.weekday() not in window.days:
            continue
        hour, minute = divmod(window.start, 60)
        begins = day.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=zone)
        yield begins.replace(fold=0).timestamp()
        yield begins.replace(fold=1).timestamp()


def _jumps(zone: ZoneInfo, now: float) -> Iterator[float]:
    """When clocks change, to the minute: a beginning that they skip has no instant of its own."""
    minute = int(now // 60)
    for ahead in range(_LOOK_AHEAD_DAYS):
        low, high = minute + ahead * DAY_MINUTES, minute + (ahead + 1) * DAY_MINUTES
        if _offset(zone, low) == _offset(zone, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, low) == _offset(zone, middle):
                low = middle
            else:
                high = middle
        yield high * 60.0


def _offset(zone: ZoneInfo, minute: int) -> timedelta | None:
    return datetime.fromtimestamp(minute * 60, zone).utcoffset()
