"""How plain values are written in annotations: durations, lists, conditions, names, addresses.

One grammar per type, each with one regular expression that the parser, the reference page, the JSON
schema and the admission policy share. The expressions keep to what RE2 and ECMAScript also know,
name every character class in full (``[0-9]``, so that no digit of another script slips in) and can
be matched in linear time, because any tenant may write the values.

Numbers are read as decimal text and scaled exactly before they become floats: 1.005 s is 1005 ms.
What a locale, an exponent, a ``nan`` or an underscore would make of a value is never asked: they
are not in the grammar. A parser raises :class:`UnitError` and nothing else, and never guesses.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from math import isfinite

from canaryd.core.model import Comparator, Condition

BLANKS = " \t\r\n"
"""What may stand around a value or a list item without meaning anything."""


class UnitError(ValueError):
    """A text is not in the grammar.

    Args:
        rule: what is wrong, so that ``"<value>" <rule>`` is a sentence.
        example: one or more quoted values that would have been right.

    """

    def __init__(self, rule: str, example: str) -> None:
        super().__init__(f"{rule}; write for example {example}")
        self.rule = rule
        self.example = example


class UnsupportedError(UnitError):
    """The text means something, and this version cannot do it."""


# --- patterns, shared with everything generated from the vocabulary ---

BOOL = r"true|false"
INT = r"0|[1-9][0-9]{0,8}"
DECIMAL = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_H, _M, _S, _MS = r"[0-9]{1,5}h", r"[0-9]{1,5}m", r"[0-9]{1,8}s", r"[0-9]{1,9}ms"
# A subset of Go's durations, so that an admission policy can compute with what it has checked.
DURATION = rf"{_H}(?:{_M})?(?:{_S})?(?:{_MS})?|{_M}(?:{_S})?(?:{_MS})?|{_S}(?:{_MS})?|{_MS}|0"
LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(?:\.{LABEL})*"
LABEL_KEY = rf"(?:{SUBDOMAIN}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
PORT = rf"[1-9][0-9]{{0,4}}|{LABEL}"
CONFIG_REFERENCE = rf"(?:configmap|secret)/{SUBDOMAIN}"
WORD = r"[!-~]{1,64}"
INSTANCE_NAME = r"[a-z0-9-]{1,24}"
"""Of a check, hook, gate or load test, inside its keys."""
WEIGHTS = r"[1-9][0-9]{0,2}(?:[ \t\r\n]*,[ \t\r\n]*[1-9][0-9]{0,2})*"
_MAP_ITEM = r"[ \t\r\n]*[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}[ \t]*=(?:[^,\\\x00-\x1f\x7f]|\\[,\\])*"
MAP = rf"{_MAP_ITEM}(?:,{_MAP_ITEM})*"
_THRESHOLD = rf"-?{DECIMAL}(?:ms|s|%)?"
CONDITION = rf"(?:>=|<=|>|<)[ \t]*{_THRESHOLD}|{_THRESHOLD}\.\.{_THRESHOLD}"
_URL_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})"
_HOST_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\]"
URL = rf"(?:svc://{LABEL}|https?://(?:{_HOST}))(?::[1-9][0-9]{{0,4}})?(?:[/?]{_URL_CHARACTER}*)?"
PATH = rf"/(?:[A-Za-z0-9._~!$&'()*+,;=:@?-]|%[0-9A-Fa-f]{{2}}){_URL_CHARACTER}*|/"


def list_pattern(item: str) -> str:
    """Return the pattern of a comma list of ``item``."""
    return rf"(?:{item})(?:[ \t\r\n]*,[ \t\r\n]*(?:{item}))*"


_COMPILED = {
    pattern: re.compile(pattern)
    for pattern in (
        *(BOOL, INT, DECIMAL, DURATION, LABEL, SUBDOMAIN, LABEL_KEY, PORT, CONFIG_REFERENCE),
        *(WORD, WEIGHTS, MAP, CONDITION, URL, PATH),
    )
}


def _require(pattern: str, text: str, rule: str, example: str) -> None:
    if not _COMPILED[pattern].fullmatch(text):
        raise UnitError(rule, example)


# --- single values ---


def parse_bool(text: str) -> bool:
    """Read ``true`` or ``false``; no other spelling."""
    _require(BOOL, text, "is neither true nor false", '"true" or "false"')
    return text == "true"


def format_bool(value: bool) -> str:  # noqa: FBT001 - it is the value to be written
    return "true" if value else "false"


def parse_int(text: str) -> int:
    """Read a whole number from 0 up, without sign, separators or leading zeros."""
    _require(INT, text, "is not a whole number", '"5"')
    return int(text)


def format_int(value: int) -> str:
    return str(value)


def parse_percent(text: str) -> int:
    """Read a whole percentage from 0 to 100, without the sign."""
    rule = "is not a percentage from 0 to 100 without the sign"
    _require(INT, text, rule, '"20"')
    if int(text) > 100:
        raise UnitError(rule, '"20"')
    return int(text)


format_percent = format_int


def parse_decimal(text: str) -> float:
    """Read a decimal number from 0 up, without exponent."""
    _require(DECIMAL, text, "is not a number", '"2" or "0.5"')
    return float(text)


def format_decimal(value: float) -> str:
    """Write a finite number without exponent, as short as it reads back the same."""
    if not isfinite(value):
        raise ValueError(f"{value!r} has no decimal form")
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def parse_duration(text: str) -> float:
    """Read ``1h30m``, ``90s``, ``500ms`` or ``0`` as seconds."""
    _require(DURATION, text, "is not a duration", '"10m" or "90s"')
    parts = _DURATION_PART.findall(text)
    return sum(int(count) * _MILLISECONDS[unit] for count, unit in parts) / 1000


def format_duration(seconds: float) -> str:
    """Write a duration, to the millisecond."""
    if not isfinite(seconds) or seconds < 0:
        raise ValueError(f"{seconds!r} is not a duration")
    rest = round(seconds * 1000)
    text = ""
    for unit, size in _MILLISECONDS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_word(text: str) -> str:
    """Read 1 to 64 visible ASCII characters."""
    _require(WORD, text, "is not 1 to 64 visible ASCII characters without blanks", '"2026-02-01a"')
    return text


def parse_text(text: str) -> str:
    """Read free text: any characters but control characters other than tab and line ends."""
    if any((c < " " and c not in BLANKS) or c == "\x7f" for c in text):
        raise UnitError("contains control characters", '"plain text"')
    return text


# --- names ---


def parse_label(text: str) -> str:
    """Read a DNS label, as Services and named sources are called."""
    rule = "is not a name of at most 63 lower-case letters, digits and inner dashes"
    _require(LABEL, text, rule, '"podinfo"')
    return text


def parse_subdomain(text: str) -> str:
    """Read a DNS subdomain, as most Kubernetes objects are called."""
    rule = "is not an object's name (lower-case letters, digits, inner dashes and dots)"
    if len(text) > 253:
        raise UnitError(rule, '"podinfo"')
    _require(SUBDOMAIN, text, rule, '"podinfo"')
    return text


def parse_label_key(text: str) -> str:
    """Read the key of a label."""
    rule = "is not the key of a label"
    if len(text) > 253 + 1 + 63 or len(text.rpartition("/")[0]) > 253:
        raise UnitError(rule, '"app" or "app.kubernetes.io/name"')
    _require(LABEL_KEY, text, rule, '"app" or "app.kubernetes.io/name"')
    return text


def parse_port(text: str) -> str:
    """Read a port number, or a port name: at most 15 characters with a letter among them."""
    rule = "is neither a port number from 1 to 65535 nor a port name"
    example = '"8080" or "http"'
    _require(PORT, text, rule, example)
    if text.isdigit():
        usable = text[0] != "0" and int(text) <= 65535
    else:
        usable = len(text) <= 15 and "--" not in text and any("a" <= c <= "z" for c in text)
    if not usable:
        raise UnitError(rule, example)
    return text


def parse_config_reference(text: str) -> str:
    """Read ``configmap/NAME`` or ``secret/NAME``."""
    rule = "is neither configmap/NAME nor secret/NAME"
    if len(text.partition("/")[2]) > 253:
        raise UnitError(rule, '"configmap/feature-flags"')
    _require(CONFIG_REFERENCE, text, rule, '"configmap/feature-flags"')
    return text


# --- addresses ---

_URL_EXAMPLE = '"svc://qa-runner:8080/smoke" or "https://qa.example.com/smoke"'
_AUTHORITY = re.compile(r"[a-z]+://(\[[^\]]*\]|[^:/?]*)(?::([0-9]+))?")
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def parse_url(text: str) -> str:
    """Read the address of a hook: ``svc://name[:port]/path``, or an http(s) URL.

    Credentials, fragments, trailing dots and odd spellings of IP addresses (``0x7f.1``,
    ``2130706433``) are refused: what is checked against an allow-list must be what is connected to.
    Whether the host may be reached is for the egress to say.
    """
    if "@" in re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]:
        raise UnitError("has a user name or password in its URL", _URL_EXAMPLE)
    rule = "is not a URL with svc://, http:// or https://"
    if len(text) > 2048:
        raise UnitError("is a URL of more than 2048 characters", _URL_EXAMPLE)
    _require(URL, text, rule, _URL_EXAMPLE)
    authority = _AUTHORITY.match(text)
    if authority is None or not _is_plain_host(authority[1]) or int(authority[2] or 0) > 65535:
        raise UnitError(rule, _URL_EXAMPLE)
    return text


def _is_plain_host(host: str) -> bool:
    """Tell whether a host is a name or an address in its canonical form."""
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif _LOOKS_NUMERIC.fullmatch(host.rpartition(".")[2]):
            ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return len(host) <= 253


def parse_path(text: str) -> str:
    """Read a request path with an optional query: starts with one slash, no fragment."""
    rule = "is not a path that starts with one slash and has its special characters percent-encoded"
    if len(text) > 2048:
        raise UnitError("is a path of more than 2048 characters", '"/api/items?page=1"')
    _require(PATH, text, rule, '"/api/items?page=1"')
    return text


# --- several values ---


def parse_list(text: str, item: Callable[[str], str] = parse_subdomain) -> tuple[str, ...]:
    """Read ``a,b``: blanks around items do not matter, empty and repeated items are refused."""
    items = [part.strip(BLANKS) for part in text.split(",")]
    if "" in items:
        raise UnitError("has an empty item", '"a,b"')
    parsed = []
    for part in items:
        try:
            parsed.append(item(part))
        except UnitError as error:
            shown = (
                f"has the item {quote(part)}, which {error.rule}" if len(items) > 1 else error.rule
            )
            raise UnitError(shown, error.example) from error
    _refuse_repeats(parsed, "item", '"a,b"')
    return tuple(parsed)


def format_list(items: Iterable[str]) -> str:
    return ",".join(items)


_MAP_PART = re.compile(
    r"[ \t\r\n]*([A-Za-z0-9_][A-Za-z0-9_.-]*)[ \t]*=((?:[^,\\]|\\[,\\])*)(?:,|$)"
)


_SPECIAL, _ESCAPED = re.compile(r"([,\\])"), r"\\\1"


def parse_map(text: str) -> dict[str, str]:
    r"""Read ``k=v,k=v``. A comma inside a value is written ``\,`` and a backslash ``\\``."""
    rule = r"is not a list of key=value pairs (a comma inside a value is written \,)"
    example = '"suite=smoke,env=prod"'
    _require(MAP, text, rule, example)
    pairs = [
        (m[1], re.sub(r"\\([,\\])", r"\1", m[2].strip(" \t"))) for m in _MAP_PART.finditer(text)
    ]
    _refuse_repeats([key for key, _ in pairs], "key", example)
    return dict(pairs)


def format_map(pairs: Mapping[str, str]) -> str:
    """Write a map whose keys and values are in the grammar already."""
    return ",".join(f"{key}={_SPECIAL.sub(_ESCAPED, value)}" for key, value in pairs.items())


def _refuse_repeats(items: list[str], what: str, example: str) -> None:
    seen = set()
    for item in items:
        if item in seen:
            raise UnitError(f"has the {what} {quote(item)} twice", example)
        seen.add(item)


def parse_weights(text: str) -> tuple[int, ...]:
    """Read a strictly rising list of percentages from 1 to 100."""
    rule = "is not a strictly rising list of percentages from 1 to 100"
    _require(WEIGHTS, text, rule, '"1,5,20,50"')
    weights = tuple(int(part.strip(BLANKS)) for part in text.split(","))
    if weights[-1] > 100 or any(a >= b for a, b in pairwise(weights)):
        raise UnitError(rule, '"1,5,20,50"')
    return weights


def format_weights(weights: Iterable[int]) -> str:
    return ",".join(map(str, weights))


def linear_weights(step: int, maximum: int) -> tuple[int, ...]:
    """Return the multiples of ``step``, ending with ``maximum`` exactly."""
    return (*range(step, maximum, step), maximum)


# --- conditions ---

_CONDITION_EXAMPLE = '">= 99", "<= 500ms" or "95..100"'
_SINGLE = re.compile(r"(>=|<=|>|<)[ \t]*(-?[0-9.]+)(ms|s|%)?")
_RANGE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)(ms|s|%)?\.\.(-?[0-9]+(?:\.[0-9]+)?)(ms|s|%)?")
_OF_PRIMARY = re.compile(r"[^A-Za-z]{0,64}of[ \t]+primary")
_LARGEST = Decimal(10) ** 15


def parse_condition(text: str) -> Condition:
    """Read a threshold: ``>= 99``, ``<= 500ms``, ``< 5%``, ``95..100``.

    Times become milliseconds. In a range a unit may stand at both ends or only at the last.
    """
    if _OF_PRIMARY.fullmatch(text):
        rule = "compares with the primary, which is not supported by this version"
        raise UnsupportedError(rule, _CONDITION_EXAMPLE)
    _require(CONDITION, text, "is not a condition", _CONDITION_EXAMPLE)
    if single := _SINGLE.fullmatch(text):
        low, unit = _scale(single[2], single[3] or "")
        return Condition(Comparator(single[1]), low, unit=unit, text=text)
    ends = _RANGE.fullmatch(text)
    if ends is None:
        raise UnitError("is not a condition", _CONDITION_EXAMPLE)
    low, low_unit = _scale(ends[1], ends[2] or ends[4] or "")
    high, unit = _scale(ends[3], ends[4] or "")
    if low_unit != unit:
        raise UnitError("is a range whose ends have different units", '"100ms..500ms" or "95..100"')
    if low > high:
        raise UnitError("is a range whose first number is the greater one", '"95..100"')
    return Condition(Comparator.BETWEEN, low, high, unit, text)


def _scale(number: str, unit: str) -> tuple[float, str]:
    """Return the number in the unit it is kept in; exact, since decimal."""
    value = Decimal(number) * (1000 if unit == "s" else 1)
    if abs(value) >= _LARGEST:
        raise UnitError("is a condition with a number of more than 15 digits", _CONDITION_EXAMPLE)
    if unit and value < 0:
        raise UnitError("is a condition with a negative time or percentage", _CONDITION_EXAMPLE)
    return float(value) + 0.0, "ms" if unit == "s" else unit


def format_condition(condition: Condition) -> str:
    """Write a condition in its canonical form, whatever its ``text``."""
    low = f"{format_decimal(condition.low)}{condition.unit}"
    if condition.comparator is Comparator.BETWEEN:
        return f"{low}..{format_decimal(condition.high)}{condition.unit}"
    return f"{condition.comparator} {low}"


# --- showing what was written ---


def quote(text: str, limit: int = 80) -> str:
    """Return ``text`` in quotes for a message: one line, printable, shortened.

    Values come from tenants and end in terminals, Events and web pages: nothing that moves a cursor
    or reverses text gets through.
    """
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return f'"{"".join(c if c.isprintable() else _escape(c) for c in shown)}"'


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
