"""What a rule about an annotation key is made of: the types of values, and limits on top of them.

The reference page, the JSON schema and the admission policy print types once and refer to them by
name; the rules themselves stand in ``vocabulary``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from canaryd.core import courses, hours, matching, phrases, units
from canaryd.core.units import UnitError


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """A kind of value: ``pattern`` is its regular expression, empty for free text."""

    name: str
    pattern: str
    meaning: str
    example: str
    parse: Callable[[str], object]


def _names(item: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    return lambda text: units.parse_list(text, item)


BOOL = ValueType(
    name="bool",
    pattern=units.BOOL,
    meaning="`true` or `false`, quoted as every annotation",
    example="true",
    parse=units.parse_bool,
)
INT = ValueType(
    name="int",
    pattern=units.INT,
    meaning="a whole number without sign or leading zeros",
    example="5",
    parse=units.parse_int,
)
PERCENT = ValueType(
    name="percent",
    pattern=units.INT,
    meaning="a whole number from 0 to 100 without the sign",
    example="20",
    parse=units.parse_percent,
)
DURATION = ValueType(
    name="duration",
    pattern=units.DURATION,
    meaning="hours, minutes, seconds and milliseconds, in this order",
    example="1h30m",
    parse=units.parse_duration,
)
WORD = ValueType(
    name="word",
    pattern=units.WORD,
    meaning="1 to 64 visible ASCII characters",
    example="2026-02-01a",
    parse=units.parse_word,
)
CHOICE = ValueType(
    name="choice",
    pattern="",
    meaning="one of the words that the key lists",
    example="hold",
    parse=str,
)
LABEL = ValueType(
    name="label",
    pattern=units.LABEL,
    meaning="a DNS label, as Services are called",
    example="podinfo",
    parse=units.parse_label,
)
NAME = ValueType(
    name="name",
    pattern=units.SUBDOMAIN,
    meaning="the name of an object, at most 253 characters",
    example="podinfo.public",
    parse=units.parse_subdomain,
)
NAMES = ValueType(
    name="names",
    pattern=units.list_pattern(units.SUBDOMAIN),
    meaning="names with commas between them, none twice",
    example="podinfo,podinfo-internal",
    parse=_names(units.parse_subdomain),
)
PORT = ValueType(
    name="port",
    pattern=units.PORT,
    meaning="a port number from 1 to 65535, or a port's name",
    example="http",
    parse=units.parse_port,
)
LABEL_KEY = ValueType(
    name="label key",
    pattern=units.LABEL_KEY,
    meaning="the key of a label",
    example="app.kubernetes.io/name",
    parse=units.parse_label_key,
)
CONFIG_REFERENCES = ValueType(
    name="config references",
    pattern=units.list_pattern(units.CONFIG_REFERENCE),
    meaning="`configmap/NAME` and `secret/NAME` with commas between them",
    example="configmap/feature-flags,secret/shared-ca",
    parse=_names(units.parse_config_reference),
)
WEIGHTS = ValueType(
    name="weights",
    pattern=units.WEIGHTS,
    meaning="strictly rising percentages from 1 to 100",
    example="1,5,20,50",
    parse=units.parse_weights,
)
MAP = ValueType(
    name="map",
    pattern=units.MAP,
    meaning=(
        "`key=value` pairs with commas between them; a comma inside a value is written `\\,` "
        "and a backslash `\\\\`"
    ),
    example="suite=smoke,env=prod",
    parse=units.parse_map,
)
HEADERS = ValueType(
    name="headers",
    pattern=units.MAP,
    meaning=(
        "a map of request headers, without those that steer the connection (Host, "
        "Content-Length and such)"
    ),
    example="Accept=application/json",
    parse=phrases.parse_headers,
)
CONDITION = ValueType(
    name="condition",
    pattern=units.CONDITION,
    meaning=(
        "`>=`, `<=`, `>` or `<` and a number, or `low..high` with both ends included; the "
        "number may carry `ms`, `s` or `%`"
    ),
    example="<= 500ms",
    parse=units.parse_condition,
)
HOOK = ValueType(
    name="hook",
    pattern=phrases.HOOK,
    meaning=(
        "the type of the hook and a URL: `svc://name[:port]/path` (a Service of the same "
        "namespace), `http://` or `https://`"
    ),
    example="pre-rollout svc://qa-runner:8080/smoke",
    parse=phrases.parse_hook,
)
LOAD_TEST = ValueType(
    name="load test",
    pattern=phrases.LOAD_TEST,
    meaning="`METHOD path` and options",
    example="GET / rate=20 for=1m concurrency=4",
    parse=phrases.parse_load_test,
)
SKIP = ValueType(
    name="skip",
    pattern=courses.SKIP,
    meaning="`true`, `false`, or the first 5 to 10 digits of a revision",
    example="8ab12",
    parse=courses.parse_skip,
)
STEPS = ValueType(
    name="steps",
    pattern=courses.STEPS,
    meaning=(
        "[statements](#steps-of-a-canary) with semicolons between them, at most "
        f"{courses.MAX_STEPS}"
    ),
    example="weight 5; pause 2m; weight 25; analyze 10m",
    parse=courses.parse_steps,
)
REPLICAS = ValueType(
    name="replicas",
    pattern=courses.REPLICAS,
    meaning="`match`, a number of pods, or a percentage with its sign",
    example="20%",
    parse=courses.parse_replicas,
)
SCHEDULE = ValueType(
    name="windows",
    pattern=hours.SCHEDULE,
    meaning=(
        "`DAYS HH:MM-HH:MM [ZONE]` with semicolons between them, at most "
        f"{hours.MAX_WINDOWS}; days are `daily`, or of `Mon` to `Sun` ranges and lists; "
        "zones have their IANA names, and UTC is meant without one"
    ),
    example="Mon-Fri 09:00-16:30 Europe/Berlin",
    parse=hours.parse_schedule,
)
FREEZE = ValueType(
    name="spans",
    pattern=hours.FREEZE,
    meaning=(
        f"`BEGIN/END` in RFC 3339 with semicolons or commas between them, at most {hours.MAX_SPANS}"
    ),
    example="2026-12-20T00:00:00Z/2027-01-04T00:00:00Z",
    parse=hours.parse_freeze,
)
MATCHES = ValueType(
    name="conditions on requests",
    pattern=matching.MATCHES,
    meaning=(
        "[conditions](#conditions-on-requests) with semicolons between them, at most "
        f"{matching.MAX_CONDITIONS}"
    ),
    example="header x-canary=insider; cookie canary",
    parse=matching.parse_matches,
)
GATE = ValueType(
    name="gate",
    pattern=courses.GATE,
    meaning="a [place](#gates-and-their-options) and options",
    example="promotion approvals=2 deadline=8h",
    parse=courses.parse_gate,
)
QUERY = ValueType(
    name="query",
    pattern="",
    meaning="text with placeholders, which are replaced by escaped values",
    example='sum(rate(errors_total{namespace="{{ namespace }}"}[{{ interval }}]))',
    parse=units.parse_text,
)
TEXT = ValueType(
    name="text",
    pattern="",
    meaning="any text without control characters other than tabs and line ends",
    example='{"warm": true}',
    parse=units.parse_text,
)

TYPES: tuple[ValueType, ...] = (
    *(
        BOOL,
        INT,
        PERCENT,
        DURATION,
        WORD,
        CHOICE,
        LABEL,
        NAME,
        NAMES,
        PORT,
        LABEL_KEY,
        CONFIG_REFERENCES,
        WEIGHTS,
    ),
    *(SKIP, STEPS, REPLICAS, SCHEDULE, FREEZE, MATCHES, GATE),
    *(MAP, HEADERS, CONDITION, HOOK, LOAD_TEST, QUERY, TEXT),
)


class Section(StrEnum):
    """Chapters of the reference."""

    ENROLMENT = "Enrolment and mode"
    ROUTING = "Service and routing"
    MATCHING = "A/B and mirroring"
    TIMING = "Steps and timing"
    METRICS = "Metrics"
    HOOKS = "Hooks and load tests"
    GATES = "Gates"
    FAILURE = "Config and failure"
    CONFIGS = "On ConfigMaps and Secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One key.

    ``default`` is the text that means the same as leaving the key out, empty when there is none;
    ``default_note`` explains a default that is computed. ``at_least`` and ``at_most`` are texts of
    the type.
    """

    key: str
    type: ValueType
    section: Section
    meaning: str
    example: str
    default: str = ""
    default_note: str = ""
    at_least: str = ""
    at_most: str = ""
    max_length: int = 0
    choices: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    inherits: bool = True

    def parse(self, text: str) -> object:
        """Read a value of this key.

        Raises:
            UnitError: the text is not in the type's grammar, or beyond the key's limits.

        """
        value = self._parse_choice(text) if self.choices else self.type.parse(text)
        if self.max_length and len(text) > self.max_length:
            raise UnitError(f"is longer than {self.max_length} characters", self.quoted_example)
        for limit, is_beyond, words in (
            (self.at_least, _is_less, "below the minimum of"),
            (self.at_most, _is_more, "above the maximum of"),
        ):
            if limit and is_beyond(value, self.type.parse(limit)):
                raise UnitError(f"is {words} {limit}", self.quoted_example)
        return value

    @property
    def quoted_example(self) -> str:
        """The example as messages print it."""
        return f'"{self.example}"'

    def _parse_choice(self, text: str) -> str:
        if text in self.choices:
            return text
        words = ", ".join(self.choices)
        rule = f"is not one of {words}" if len(self.choices) > 1 else f"is not {words}"
        raise UnitError(rule, f'"{self.choices[0]}"')


def _is_less(value: object, limit: object) -> bool:
    return isinstance(value, int | float) and isinstance(limit, int | float) and value < limit


def _is_more(value: object, limit: object) -> bool:
    return isinstance(value, int | float) and isinstance(limit, int | float) and value > limit
