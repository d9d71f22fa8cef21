"""How ``canaryd.io/schedule`` and ``canaryd.io/freeze`` are written: windows, and spans of time.

Windows are what people agree on (``Mon-Fri 09:00-16:30 Europe/Berlin``), spans are exact
(RFC 3339). A time zone that is not known here is refused and never taken for UTC: an hour too early
is a release that nobody watches.
"""

import re
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from canaryd.core.units import BLANKS, UnitError, quote
from canaryd.core.windows import Span, Window

MAX_WINDOWS = 20
MAX_SPANS = 50
_BLANK = r"[ \t\r\n]"
_SCHEDULE_EXAMPLE = '"Mon-Fri 09:00-16:30 Europe/Berlin"'
_FREEZE_EXAMPLE = '"2026-12-20T00:00:00Z/2027-01-04T00:00:00Z"'

_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = rf"(?:{'|'.join(_DAY_NAMES)})"
_DAYS = rf"(?:daily|{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIMES = rf"{_TIME}-(?:{_TIME}|24:00)"
_ZONE_PART = r"[A-Za-z][A-Za-z0-9_+-]{0,30}"
_ZONE = rf"{_ZONE_PART}(?:/{_ZONE_PART}){{0,2}}"
_WINDOW = rf"{_DAYS}{_BLANK}+{_TIMES}(?:{_BLANK}+{_ZONE})?"
SCHEDULE = rf"{_WINDOW}(?:{_BLANK}*;{_BLANK}*{_WINDOW})*"

_INSTANT = (
    r"2[0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+-][0-2][0-9]:[0-5][0-9])"
)
_SPAN = rf"{_INSTANT}/{_INSTANT}"
FREEZE = rf"{_SPAN}(?:{_BLANK}*[;,]{_BLANK}*{_SPAN})*"

_MACHINES_OWN = frozenset({"localtime", "posixrules", "Factory"})
"""Files of the database that are not zones, or another one on every machine."""
_READ_DAYS, _READ_TIMES, _READ_ZONE = re.compile(_DAYS), re.compile(_TIMES), re.compile(_ZONE)
_READ_INSTANT = re.compile(_INSTANT)


def parse_schedule(text: str) -> tuple[Window, ...]:
    """Read windows with semicolons between them: days, times, and a time zone unless it is UTC."""
    parts = [part.strip(BLANKS) for part in text.split(";")]
    if "" in parts:
        raise UnitError("has an empty window", _SCHEDULE_EXAMPLE)
    if len(parts) > MAX_WINDOWS:
        rule = f"has {len(parts)} windows, and may have {MAX_WINDOWS}"
        raise UnitError(rule, _SCHEDULE_EXAMPLE)
    windows = []
    for part in parts:
        try:
            windows.append(_parse_window(part))
        except UnitError as error:
            which = f"has the window {quote(part, 60)}, which " if len(parts) > 1 else ""
            raise UnitError(which + error.rule, error.example) from error
    return tuple(windows)


def _parse_window(text: str) -> Window:
    words = re.split(rf"{_BLANK}+", text)
    if not 2 <= len(words) <= 3:
        raise UnitError("is not DAYS HH:MM-HH:MM [ZONE]", _SCHEDULE_EXAMPLE)
    days, times, zone = words[0], words[1], words[2] if len(words) == 3 else "UTC"
    if not _READ_DAYS.fullmatch(days):
        rule = f"has the days {quote(days, 40)}, which are neither daily nor some of"
        names = f"{', '.join(_DAY_NAMES)}, such as Mon-Wed,Fri"
        raise UnitError(f"{rule} {names}", _SCHEDULE_EXAMPLE)
    if not _READ_TIMES.fullmatch(times):
        rule = f"has the times {quote(times, 40)}, which are not HH:MM-HH:MM from 00:00 to 24:00"
        raise UnitError(rule, _SCHEDULE_EXAMPLE)
    start, end = map(_minutes, times.split("-"))
    if start == end:
        raise UnitError("ends when it begins", '"daily 00:00-24:00"')
    if not _is_zone(zone):
        rule = f"has the time zone {quote(zone, 40)}, which the IANA database does not know"
        raise UnitError(rule, _SCHEDULE_EXAMPLE)
    return Window(_days(days), start, end, zone)


def _days(text: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin = _DAY_NAMES.index(first)
        length = (_DAY_NAMES.index(last or first) - begin) % 7
        found |= {(begin + day) % 7 for day in range(length + 1)}
    return frozenset(found)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _is_zone(name: str) -> bool:
    if not _READ_ZONE.fullmatch(name) or name in _MACHINES_OWN:
        return False
    if name.startswith(("posix/", "right/")):
        return False  # the database once more, the second time with leap seconds
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return False  # OSError: a folder of the database, such as "Europe"
    return True


def parse_freeze(text: str) -> tuple[Span, ...]:
    """Read ``BEGIN/END`` in RFC 3339, several with semicolons or commas between them."""
    parts = [part.strip(BLANKS) for part in re.split("[;,]", text)]
    if "" in parts:
        raise UnitError("has an empty span of time", _FREEZE_EXAMPLE)
    if len(parts) > MAX_SPANS:
        rule = f"has {len(parts)} spans of time, and may have {MAX_SPANS}"
        raise UnitError(rule, _FREEZE_EXAMPLE)
    spans = []
    for part in parts:
        begin, _, end = part.partition("/")
        try:
            span = Span(_parse_instant(begin), _parse_instant(end))
        except ValueError:
            rule = f"has {quote(part, 60)}, which is not BEGIN/END with both in RFC 3339"
            raise UnitError(rule, _FREEZE_EXAMPLE) from None
        if span.start >= span.end:
            raise UnitError(f"has {quote(part, 60)}, which ends before it begins", _FREEZE_EXAMPLE)
        spans.append(span)
    return tuple(spans)


def _parse_instant(text: str) -> float:
    if not _READ_INSTANT.fullmatch(text):
        raise ValueError("not in the grammar")
    return datetime.fromisoformat(text).timestamp()
