"""How the course of a run is written: steps, gates, the canary's pods, revisions not to be judged.

The words are those of ``program``, which makes stages of them. A statement that could not show
anywhere is refused here rather than dropped there: a step that is overwritten before anything waits
for it, an end at which nobody is on the canary any more.
"""

import re
from collections.abc import Mapping
from typing import assert_never

from canaryd.core import units
from canaryd.core.phrases import Option, parse_options
from canaryd.core.program import GateAt, GateSpec, Scale, Step, Verb
from canaryd.core.units import BLANKS, UnitError, UnsupportedError, quote

MAX_STEPS = 100
_BLANK = r"[ \t\r\n]"
_WORDS = re.compile(rf"{_BLANK}+")

# --- steps ---

_STEPS_EXAMPLE = '"weight 5; pause 2m; weight 25; analyze 10m"'
_PODS = r"[1-9][0-9]{0,3}"
_SHARE = r"(?:[1-9][0-9]?|100)%"
_STEP = (
    rf"(?:(?:weight|mirror){_BLANK}+(?:{units.INT})"
    rf"|(?:pause|analyze)(?:{_BLANK}+(?:{units.DURATION}))?"
    rf"|scale{_BLANK}+(?:{_PODS}|{_SHARE})"
    rf"|(?:gate|job){_BLANK}+{units.INSTANCE_NAME}"
    rf"|match|unmatch)"
)
STEPS = rf"{_STEP}(?:{_BLANK}*;{_BLANK}*{_STEP})*"

STATEMENTS: Mapping[Verb, tuple[str, str]] = {
    Verb.WEIGHT: ("weight N", "sends N percent of the users to the canary"),
    Verb.ANALYZE: (
        "analyze [D]",
        "judges, for at least this long; without a duration until one check of everything passes",
    ),
    Verb.PAUSE: (
        "pause [D]",
        "waits this long; without a duration until somebody resumes; it is judged meanwhile",
    ),
    Verb.SCALE: ("scale N[%]", "gives the canary N pods, or N percent of the primary's"),
    Verb.MATCH: ("match", "lets in the requests that [`match`](#match) describes"),
    Verb.UNMATCH: ("unmatch", "lets them in no longer"),
    Verb.MIRROR: ("mirror N", "mirrors N percent of the requests to the canary; 0 ends it"),
    Verb.GATE: (
        "gate NAME",
        "waits for approval; how many approvals and how long says [`gate.NAME`](#gate-name)",
    ),
    Verb.JOB: ("job NAME", "runs a Job; not supported by this version"),
}
"""How each statement is written, and what it does."""

_SHORTEST_S, _LONGEST_S = 1.0, units.parse_duration("720h")


def parse_steps(text: str) -> tuple[Step, ...]:
    """Read statements with semicolons between them."""
    statements = [part.strip(BLANKS) for part in text.split(";")]
    if "" in statements:
        raise UnitError("has an empty step", _STEPS_EXAMPLE)
    if len(statements) > MAX_STEPS:
        raise UnitError(f"has {len(statements)} steps, and may have {MAX_STEPS}", _STEPS_EXAMPLE)
    steps = []
    for statement in statements:
        try:
            steps.append(_parse_step(statement))
        except UnitError as error:
            which = f"has the step {quote(statement, 40)}, which " if len(statements) > 1 else ""
            raise type(error)(which + error.rule, _STEPS_EXAMPLE) from error
    _check_overwritten(steps)
    _check_end(steps)
    return tuple(steps)


def _parse_step(text: str) -> Step:
    word, *rest = _WORDS.split(text)
    verb = next((verb for verb in Verb if verb == word), None)
    if verb is None:
        forms = ", ".join(form for known, (form, _) in STATEMENTS.items() if known is not Verb.JOB)
        raise UnitError(f"is none of {forms}", _STEPS_EXAMPLE)
    form = STATEMENTS[verb][0]
    wants = 0 if form == verb else 1
    if len(rest) > wants or (len(rest) < wants and "[D]" not in form):
        raise UnitError(f"is not written {form}", _STEPS_EXAMPLE)
    return _step_of(verb, rest[0] if rest else "")


def _step_of(verb: Verb, text: str) -> Step:
    match verb:
        case Verb.WEIGHT | Verb.MIRROR:
            return Step(verb=verb, number=units.parse_percent(text))
        case Verb.PAUSE | Verb.ANALYZE:
            return Step(verb=verb, duration_s=_parse_wait(text) if text else None)
        case Verb.SCALE:
            scale = parse_scale(text)
            return Step(verb=verb, number=scale.number, is_percent=scale.is_percent)
        case Verb.MATCH | Verb.UNMATCH:
            return Step(verb=verb)
        case Verb.GATE:
            if not re.fullmatch(units.INSTANCE_NAME, text):
                rule = "has no name of 1 to 24 of a-z, 0-9 and dashes"
                raise UnitError(rule, _STEPS_EXAMPLE)
            return Step(verb=verb, name=text)
        case Verb.JOB:
            rule = "is not supported by this version: call a test runner with a hook"
            raise UnsupportedError(rule, _STEPS_EXAMPLE)
        case _:
            assert_never(verb)


def _parse_wait(text: str) -> float:
    duration_s = units.parse_duration(text)
    if not _SHORTEST_S <= duration_s <= _LONGEST_S:
        raise UnitError("does not last from 1s to 720h", _STEPS_EXAMPLE)
    return duration_s


_SAME_THING = {Verb.UNMATCH: Verb.MATCH}
_WAITING = (Verb.PAUSE, Verb.ANALYZE, Verb.GATE, Verb.JOB)


def _check_overwritten(steps: list[Step]) -> None:
    """Refuse a statement that a later one undoes before anything has waited for it.

    Two weights are no mistake: the first of them is analysed before the second.
    """
    pending: set[Verb] = set()
    for step in steps:
        thing = _SAME_THING.get(step.verb, step.verb)
        if step.verb in _WAITING or (step.verb is Verb.WEIGHT and Verb.WEIGHT in pending):
            pending = set()
        elif thing in pending:
            rule = f"says {thing} twice without waiting between; write analyze or pause there"
            raise UnitError(rule, _STEPS_EXAMPLE)
        if step.verb not in _WAITING:
            pending.add(thing)


def _check_end(steps: list[Step]) -> None:
    """Refuse steps that take everybody off the canary before it is promoted."""
    traffic: dict[Verb, int] = {}
    has_had_traffic = False
    for step in steps:
        if step.verb in (Verb.WEIGHT, Verb.MIRROR):
            traffic[step.verb] = step.number
        elif step.verb in (Verb.MATCH, Verb.UNMATCH):
            traffic[Verb.MATCH] = int(step.verb is Verb.MATCH)
        has_had_traffic = has_had_traffic or any(traffic.values())
    if has_had_traffic and not any(traffic.values()):
        rule = (
            "ends without traffic on the canary, so that what is promoted would be judged by nobody"
        )
        raise UnitError(rule, '"match; analyze 15m; unmatch; weight 10; analyze 10m"')


# --- pods ---

REPLICAS = rf"match|{_PODS}|{_SHARE}"
MATCHING = Scale(100, is_percent=True)
"""As many pods as the primary has."""
_READ_SCALE = re.compile(rf"{_PODS}|{_SHARE}")


def parse_scale(text: str) -> Scale:
    """Read a number of pods, or a percentage of the primary's."""
    if not _READ_SCALE.fullmatch(text):
        raise UnitError("is neither 1 to 9999 pods nor 1% to 100% of the primary's", '"2" or "20%"')
    return Scale(int(text.removesuffix("%")), is_percent=text.endswith("%"))


def parse_replicas(text: str) -> Scale:
    """Read ``match``, a number of pods, or a percentage of the primary's."""
    if text == "match":
        return MATCHING
    try:
        return parse_scale(text)
    except UnitError:
        rule = "is neither match nor 1 to 9999 pods nor 1% to 100% of the primary's"
        raise UnitError(rule, '"match", "2" or "20%"') from None


# --- revisions ---

SKIP = r"true|false|[0-9a-f]{5,10}"


def parse_skip(text: str) -> str:
    """Read ``true``, ``false``, or how the name of one revision begins."""
    if not re.fullmatch(SKIP, text):
        rule = "is neither true nor false nor 5 to 10 hexadecimal digits of a revision"
        raise UnitError(rule, '"true" or "8ab12"')
    return text


# --- gates ---

_GATE_EXAMPLE = '"promotion approvals=2 deadline=8h"'
_AT = r"start|promotion|each-weight|step|weight:(?:[1-9][0-9]?|100)"
_READ_AT = re.compile(_AT)


GATE_OPTIONS = (
    Option(
        name="approvals",
        type="int",
        pattern=units.INT,
        parse=units.parse_int,
        default="1",
        at_least="1",
        at_most="10",
        meaning="how many different people must approve",
    ),
    Option(
        name="deadline",
        type="duration",
        pattern=units.DURATION,
        parse=units.parse_duration,
        default="",
        at_least="1m",
        at_most="720h",
        meaning="how long it waits; then `on-failure`",
    ),
)
GATE_PLACES: Mapping[GateAt, tuple[str, str]] = {
    GateAt.START: ("start", "before any request gets to the canary"),
    GateAt.PROMOTION: ("promotion", "before promotion; in blue/green before the switch"),
    GateAt.WEIGHT: ("weight:N", "at this weight, which must be one of the plan"),
    GateAt.EACH_WEIGHT: ("each-weight", "before each weight"),
    GateAt.STEP: ("step", "where `gate NAME` stands in [`steps`](#steps)"),
}
"""How each place is written, and where it is."""

GATE = (
    rf"(?:{_AT})(?:{_BLANK}+(?:"
    + "|".join(f"{option.name}=(?:{option.pattern})" for option in GATE_OPTIONS)
    + "))*"
)


def parse_gate(text: str) -> GateSpec:
    """Read ``PLACE [approvals=N] [deadline=D]``; the name is the key's."""
    place, *words = _WORDS.split(text)
    if not _READ_AT.fullmatch(place):
        places = ", ".join(form for form, _ in GATE_PLACES.values())
        raise UnitError(f"does not begin with a place (one of {places})", _GATE_EXAMPLE)
    at, _, weight = place.partition(":")
    options = parse_options(words, GATE_OPTIONS, _GATE_EXAMPLE)
    return GateSpec(
        name="",
        at=GateAt(at),
        weight=int(weight or 0),
        approvals=int(options.get("approvals", 1)),
        deadline_s=options.get("deadline", 0.0),
    )
