"""Annotation values that are small sentences: a hook, a load test with its headers.

Apart from ``units`` because these have parts with meanings of their own; ``units`` reads the parts.
A sentence is never handed on as text to something that would interpret it again: there is no shell
behind a load test, and no header of it decides where a request goes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from canaryd.core import units
from canaryd.core.model import HookType
from canaryd.core.units import UnitError, quote


@dataclass(frozen=True, slots=True)
class HookCall:
    """``pre-rollout svc://qa-runner:8080/smoke``: when, and whom."""

    type: HookType
    url: str


_HOOK_EXAMPLE = '"pre-rollout svc://qa-runner:8080/smoke"'
HOOK = rf"(?:{'|'.join(HookType)})[ \t]+(?:{units.URL})"


def parse_hook(text: str) -> HookCall:
    """Read ``<type> <url>``."""
    word, _, rest = text.replace("\t", " ").partition(" ")
    if word not in HookType.__members__.values():
        types = ", ".join(HookType)
        raise UnitError(f"does not start with the type of a hook (one of {types})", _HOOK_EXAMPLE)
    url = rest.strip(" ")
    if not url:
        raise UnitError("has no URL after the type of the hook", _HOOK_EXAMPLE)
    try:
        return HookCall(HookType(word), units.parse_url(url))
    except UnitError as error:
        raise UnitError(f"names a receiver that {error.rule}", _HOOK_EXAMPLE) from error


# --- load tests ---

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
METHODS_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
_LOAD_EXAMPLE = '"GET / rate=20 for=1m concurrency=4"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One ``name=value`` of a sentence; ``default`` empty: it has none, or one that follows."""

    name: str
    type: str
    pattern: str
    parse: Callable[[str], float]
    default: str
    at_least: str
    at_most: str
    meaning: str


def _parse_percent_of_requests(text: str) -> float:
    return units.parse_decimal(text.removesuffix("%"))


LOAD_OPTIONS: tuple[Option, ...] = (
    Option(
        name="rate",
        type="number",
        pattern=units.DECIMAL,
        parse=units.parse_decimal,
        default="10",
        at_least="0.1",
        at_most="5000",
        meaning="requests per second, sent on time whether or not earlier ones were answered",
    ),
    Option(
        name="for",
        type="duration",
        pattern=units.DURATION,
        parse=units.parse_duration,
        default="",
        at_least="1s",
        at_most="1h",
        meaning="how long to send",
    ),
    Option(
        name="concurrency",
        type="int",
        pattern=units.INT,
        parse=units.parse_int,
        default="10",
        at_least="1",
        at_most="1000",
        meaning="requests that may be open at once",
    ),
    Option(
        name="timeout",
        type="duration",
        pattern=units.DURATION,
        parse=units.parse_duration,
        default="5s",
        at_least="100ms",
        at_most="5m",
        meaning="how long one request may take",
    ),
    Option(
        name="max-errors",
        type="percent, the sign may be written",
        pattern=rf"{units.DECIMAL}%?",
        parse=_parse_percent_of_requests,
        default="1",
        at_least="0",
        at_most="100",
        meaning="failed requests (5xx, no connection, no answer in time) that still pass",
    ),
)
LONGEST_LOAD_S = units.parse_duration("1h")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPhrase:
    """A load test as written; ``options`` hold every option but an absent ``for``."""

    method: str
    path: str
    options: dict[str, float]


LOAD_TEST = (
    rf"(?:{'|'.join(METHODS)})[ \t]+(?:{units.PATH})(?:[ \t\r\n]+(?:"
    + "|".join(f"{option.name}=(?:{option.pattern})" for option in LOAD_OPTIONS)
    + "))*"
)


def parse_load_test(text: str) -> LoadPhrase:
    """Read ``METHOD path [rate= for= concurrency= timeout= max-errors=]``."""
    words = [word for word in re.split(r"[ \t\r\n]+", text) if word]
    if words[0:1] == [] or words[0] not in METHODS:
        methods = ", ".join(METHODS)
        raise UnitError(f"does not start with a method (one of {methods})", _LOAD_EXAMPLE)
    if len(words) == 1:
        raise UnitError("has no path after the method", _LOAD_EXAMPLE)
    try:
        path = units.parse_path(words[1])
    except UnitError as error:
        raise UnitError(f"has {quote(words[1])}, which {error.rule}", _LOAD_EXAMPLE) from error
    defaults = {
        option.name: option.parse(option.default) for option in LOAD_OPTIONS if option.default
    }
    given = parse_options(words[2:], LOAD_OPTIONS, _LOAD_EXAMPLE)
    return LoadPhrase(method=words[0], path=path, options=defaults | given)


def parse_options(words: Iterable[str], known: Iterable[Option], example: str) -> dict[str, float]:
    """Read ``name=value`` words; each option at most once and within its limits."""
    options = {option.name: option for option in known}
    given: dict[str, float] = {}
    for word in words:
        name, equals, value = word.partition("=")
        option = options.get(name)
        if option is None or not equals:
            names = ", ".join(f"{known}=" for known in options)
            raise UnitError(f"has {quote(word)}, which is no option (one of {names})", example)
        if name in given:
            raise UnitError(f"has the option {name} twice", example)
        given[name] = _parse_option(option, value, example)
    return given


def _parse_option(option: Option, value: str, example: str) -> float:
    shown = f"{option.name}={value[:40]}"
    try:
        parsed = option.parse(value)
    except UnitError as error:
        raise UnitError(f"has {shown}, which {error.rule}", example) from error
    if not option.parse(option.at_least) <= parsed <= option.parse(option.at_most):
        limits = f"from {option.at_least} to {option.at_most}"
        raise UnitError(f"has {shown}, which is not {limits}", example)
    return parsed


# --- headers ---

_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_HEADER_VALUE = re.compile(r"[ -~]*")
# Who sets these decides where a request ends or whom it is for: the runner, never an annotation.
OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te"}
    | {"trailer", "expect", "proxy-authorization", "proxy-connection"}
)


def parse_headers(text: str) -> dict[str, str]:
    """Read the headers of a load test: a map without the headers that steer the connection."""
    example = '"Accept=application/json,X-Canary=insider"'
    headers = units.parse_map(text)
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise UnitError(f"has {quote(name)}, which is not the name of a header", example)
        if name.lower() in OWN_HEADERS:
            raise UnitError(f"sets the header {name}, which the runner sets itself", example)
        if not _HEADER_VALUE.fullmatch(value):
            raise UnitError(f"has a value for {name} beyond printable ASCII", example)
    if len({name.lower() for name in headers}) < len(headers):
        raise UnitError("has a header twice", example)
    return headers


# --- queries ---

QUERY_VARIABLES: Mapping[str, str] = {
    "namespace": "namespace of the Deployment",
    "target": "name of the Deployment under analysis",
    "canary": "name of the canary's Service",
    "primary": "name of the primary Deployment and of its Service",
    "service": "name of the apex Service",
    "ingress": "names of the main Ingresses; write `=~`",
    "interval": "the window of the metric, as PromQL writes durations",
}
"""Placeholders of a query beside ``vars.<x>``."""
