"""From the parts of a log record to one line: shape, order, limits, nothing secret, no breaks.

The contract is for people with ``jq`` and ``grep`` and for what ships logs: one record is one line
of at most ``MAX_LINE`` bytes (container runtimes split longer ones), the keys come in one order,
and no value can forge a line, a colour or a cursor movement. Values come from tenants and from
other people's servers, so all of that is ensured here and not at the places that log.

Credentials are masked by the name of their key and by their shape, and of URLs only scheme, host
and path are kept. This is the net below the rope: nobody is to log them in the first place.
"""

import json
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from math import isfinite, isnan
from typing import Any, Final

MAX_LINE: Final = 16_000
"""In bytes, with its end; the usual limit of a container runtime is 16 KiB."""

ORDER: Final = (
    *("ts", "level", "msg", "logger", "namespace", "deployment", "canary", "revision", "phase"),
    *("weight", "step", "decision", "reason", "decision_id", "metric", "value", "threshold"),
    *("duration_ms", "attempt", "actor", "trace_id"),
)
"""The contract's keys first, in this order; others follow by name, and ``exception`` is last."""

_HEAD: Final = ("ts", "level", "msg", "logger")
_RANK = {key: rank for rank, key in enumerate(ORDER)} | {"exception": 1_000}

MASK: Final = "***"
_SECRET_KEY = re.compile(
    r"(?:^|[-_.])(?:authorization|bearer|body|cookies?|credentials?|headers?|passw(?:or)?d|passwd"
    r"|secret[-_]?(?:data|key|value)|client[-_]?secret|api[-_]?key|private[-_]?key"
    r"|(?:access|id|refresh|session|auth|bearer)?[-_]?tokens?)$",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Each begins with fixed text and consumes what it looks at: linear in hostile input.
_URL_TAIL = re.compile(r"://[^\s\"'<>]+")
_SHAPES = re.compile(
    r"eyJ[A-Za-z0-9_=-]{10,}(?:\.[A-Za-z0-9_=-]*){0,4}"  # JSON web tokens
    r"|Bearer[ \t]+[A-Za-z0-9._~+/=-]{16,}"
    r"|(?<=uthorization)[\"']?[ \t]*[:=][ \t]*[\"']?"
    r"(?:(?:Basic|Bearer|Digest|Token)[ \t]+)?[^\s\"',]+"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}-----)?"
)
_AUTHORITY = re.compile(r"(?:[^:\[\]]*|\[[0-9A-Fa-f:.%]*\])(?::[0-9]*)?[:;,.)\]]*")
_NEEDS_QUOTES = re.compile(r"[\s\"'={}\[\]\\]")
_ROUGH_CUT = 65_536
"""Longer texts lose their middle before anything else is done with them."""


_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class _Limits:
    """How much of a value is kept: characters of a text, items of a collection, levels.

    Collections inside of collections keep fewer items, or four levels of a wide one would be
    millions of values to look at before the line turns out too long.
    """

    text: int
    items: int
    depth: int

    def items_at(self, depth: int) -> int:
        """Items that are kept of a collection ``depth`` levels down."""
        return max(2, self.items >> 2 * depth)


_LIMITS = (_Limits(4_000, 64, 4), _Limits(400, 24, 3), _Limits(60, 16, 2))
"""Tried in this order until the line is short enough."""


def json_line(record: Mapping[str, Any]) -> str:
    """Return the record as one JSON object."""
    return _shortest(record, lambda shaped: _escape(_encode(shaped), _json_escape))


def text_line(record: Mapping[str, Any]) -> str:
    """Return the record as a line for people: time, level, message, then ``key=value``."""
    return _shortest(record, _text)


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


# --- lines ---


def _shortest(record: Mapping[str, Any], render: Callable[[dict[str, Any]], str]) -> str:
    """Render with ever tighter limits until the line is short enough."""
    for limits in _LIMITS:
        line = render(_ordered(record, limits))
        if _is_short(line):
            return line
    # Nothing but hostile keys and values is left: what is read first has to do.
    head = {key: record[key] for key in _HEAD if key in record}
    return render(_ordered(head, _LIMITS[-1]) | {"truncated": True})


def _ordered(record: Mapping[str, Any], limits: _Limits) -> dict[str, Any]:
    keys = sorted(record, key=lambda key: (_RANK.get(key, len(ORDER)), key))
    kept = keys[: limits.items]
    shaped = {_cut(str(key), 100): _shape(key, record[key], limits, 0) for key in kept}
    if len(kept) < len(keys):
        shaped["truncated"] = True
    return shaped


def _text(shaped: dict[str, Any]) -> str:
    head = (shaped.pop("ts", ""), f"{shaped.pop('level', ''):<7}", shaped.pop("msg", ""))
    pairs = (f"{key}={_word(value)}" for key, value in shaped.items())
    head_text = " ".join(str(part) for part in head)
    return _escape("  ".join((head_text, " ".join(pairs))), _text_escape)


def _word(value: Any) -> str:
    if isinstance(value, str) and value and not _NEEDS_QUOTES.search(value):
        return value
    return _encode(value)


def _is_short(line: str) -> bool:
    # A character has at most four bytes: most lines need no second look.
    return len(line) * 4 < MAX_LINE or len(line.encode()) < MAX_LINE


def _escape(line: str, escape: Callable[[str], str]) -> str:
    """Write what is not printable as an escape: line ends, colours, bidi marks."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else escape(c) for c in line)


def _json_escape(character: str) -> str:
    code = ord(character)
    if code > 0xFFFF:  # JSON knows only pairs of surrogates
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def _text_escape(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or _json_escape(character)


# --- values ---


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(_HUMP.sub("_", key[-200:])) is not None


def _shape(key: str, value: Any, limits: _Limits, depth: int) -> Any:
    """Return plain, bounded, masked data for any value."""
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(key):
        return MASK
    match value:
        case Enum():
            return _shape(key, value.value, limits, depth)
        case int() | float():
            return _number(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() | list() | tuple() | AbstractSet():
            return _shape_many(value, limits, depth)
        case _:
            return _cut(mask(_describe(value)), limits.text)


def _describe(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat(timespec="milliseconds")
        case BaseException():
            return f"{type(value).__name__}: {_str(value)}"
        case _:
            return _str(value)


def _number(value: float) -> float | str:
    if isinstance(value, int):
        # Longer ones are no measurement, and turning them into text can take for ever.
        return int(value) if value.bit_length() <= 64 else f"<{value.bit_length()} bits>"
    if isfinite(value):
        return float(value)
    # NaN and Infinity are not JSON, and many readers refuse the whole line.
    return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"


def _shape_many(value: Any, limits: _Limits, depth: int) -> Any:
    if depth >= limits.depth:
        return f"<{len(value)} items>"
    items = list(value.items() if isinstance(value, Mapping) else value)
    if isinstance(value, AbstractSet):
        items.sort(key=_str)
    count = limits.items_at(depth)
    more = len(items) - count
    if isinstance(value, Mapping):
        shaped = {
            _cut(_str(key), 100): _shape(_str(key), item, limits, depth + 1)
            for key, item in items[:count]
        }
        return shaped | ({"...": f"{more} more"} if more > 0 else {})
    rest = [f"... {more} more"] if more > 0 else []
    return [_shape("", item, limits, depth + 1) for item in items[:count]] + rest


def _str(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a log line must come out whatever an object's str() does
        return f"<{type(value).__name__} without text>"


def mask(text: str) -> str:
    """Remove what looks like a credential, and user, query and fragment of every URL."""
    if len(text) > _ROUGH_CUT:
        text = _cut(text, _ROUGH_CUT)
    if "://" in text:
        text = _URL_TAIL.sub(_plain_url, text)
    return _SHAPES.sub(MASK, text)


def _plain_url(found: re.Match[str]) -> str:
    rest = found.group()[3:]
    end = min((at for mark in "?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    base = rest[:end]
    authority, slash, path = base.partition("/")
    host = authority.rpartition("@")[2]
    user = f"{MASK}@" if host != authority else ""
    if not _AUTHORITY.fullmatch(host):
        # A port that is no number is a password with one of `/?#` in it, and the host comes later.
        return f"://{MASK}"
    return f"://{user}{host}{slash}{path}" + (f"?{MASK}" if end < len(rest) else "")


def _cut(text: str, limit: int) -> str:
    """Keep beginning and end of a long text: a traceback's last line is its point."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    head = limit - tail
    return f"{text[:head]}...({len(text) - head - tail} characters cut)...{text[-tail:]}"
