"""How steps, gates, pods and skipped revisions are written, and what is said of mistakes."""

import pytest

from canaryd.core import courses
from canaryd.core.courses import (
    parse_gate,
    parse_replicas,
    parse_scale,
    parse_skip,
    parse_steps,
)
from canaryd.core.program import GateAt, GateSpec, Scale, Step, Verb
from canaryd.core.units import UnitError, UnsupportedError
from tests.core.plans import case

# --- steps ---


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("weight 0", Step(verb=Verb.WEIGHT, number=0)),
        ("weight 100", Step(verb=Verb.WEIGHT, number=100)),
        ("mirror  10", Step(verb=Verb.MIRROR, number=10)),
        ("pause", Step(verb=Verb.PAUSE)),
        ("pause 1h30m", Step(verb=Verb.PAUSE, duration_s=5400.0)),
        ("analyze", Step(verb=Verb.ANALYZE)),
        ("analyze\t10m", Step(verb=Verb.ANALYZE, duration_s=600.0)),
        ("scale 2", Step(verb=Verb.SCALE, number=2)),
        ("scale 20%", Step(verb=Verb.SCALE, number=20, is_percent=True)),
        ("match", Step(verb=Verb.MATCH)),
        ("gate qa-2", Step(verb=Verb.GATE, name="qa-2")),
    ],
)
def test_a_statement_is_read(text, step):
    assert step == parse_steps(f"{text}; pause; weight 1; analyze")[0]


def test_statements_may_stand_on_lines_of_their_own():
    assert parse_steps("weight 5;pause 2m ;\n  weight 25;\n  analyze 10m\n") == parse_steps(
        "weight 5; pause 2m; weight 25; analyze 10m"
    )


FORMS = "weight N, analyze [D], pause [D], scale N[%], match, unmatch, mirror N, gate NAME"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("nothing", "", "has an empty step"),
        case("semicolon at the end", "weight 5;", "has an empty step"),
        case("unknown word", "wait 5m", f"is none of {FORMS}"),
        case("capital", "Weight 5", f"is none of {FORMS}"),
        case("no number", "weight", "is not written weight N"),
        case("two numbers", "weight 5 10", "is not written weight N"),
        case("match with a condition", "match header a", "is not written match"),
        case("gate without name", "gate", "is not written gate NAME"),
        case("percent sign", "weight 5%", "is not a percentage from 0 to 100 without the sign"),
        case("beyond all", "weight 101", "is not a percentage from 0 to 100 without the sign"),
        case("number for a duration", "pause 5", "is not a duration"),
        case("no time at all", "pause 0s", "does not last from 1s to 720h"),
        case("for ever", "analyze 721h", "does not last from 1s to 720h"),
        case("no pods", "scale 0", "is neither 1 to 9999 pods nor 1% to 100% of the primary's"),
        case(
            "more than all",
            "scale 101%",
            "is neither 1 to 9999 pods nor 1% to 100% of the primary's",
        ),
        case("name with a capital", "gate QA", "has no name of 1 to 24 of a-z, 0-9 and dashes"),
        case("name too long", f"gate {'a' * 25}", "has no name of 1 to 24 of a-z, 0-9 and dashes"),
        case("too many", ";".join(["pause 1s"] * 101), "has 101 steps, and may have 100"),
        case(
            "one of several is named",
            "weight 5; puase 2m",
            f'has the step "puase 2m", which is none of {FORMS}',
        ),
        case(
            "pods said twice",
            "scale 2; weight 5; scale 3; analyze",
            "says scale twice without waiting between; write analyze or pause there",
        ),
        case(
            "match undone at once",
            "match; unmatch; weight 5",
            "says match twice without waiting between; write analyze or pause there",
        ),
        case(
            "mirror said twice",
            "mirror 10; mirror 20; analyze",
            "says mirror twice without waiting between; write analyze or pause there",
        ),
        case(
            "nobody left after a match",
            "match; analyze 15m; unmatch",
            "ends without traffic on the canary, so that what is promoted would be judged by nobody",
        ),
        case(
            "nobody left after a weight",
            "weight 20; analyze; weight 0; gate qa",
            "ends without traffic on the canary, so that what is promoted would be judged by nobody",
        ),
    ],
)
def test_steps_that_are_none_are_refused_with_a_rule_and_an_example(text, rule):
    with pytest.raises(UnitError) as refused:
        parse_steps(text)
    assert rule == refused.value.rule
    assert parse_steps(refused.value.example.strip('"'))


@pytest.mark.parametrize(
    "text",
    [
        case("two weights, of which the first is analysed", "weight 5; weight 10"),
        case(
            "pods said again behind a weight that is analysed",
            "scale 2; weight 5; weight 9; scale 3",
        ),
        case("falling weights", "weight 50; analyze; weight 20; analyze"),
        case("nobody comes at all", "analyze 10m; gate qa"),
        case("no weight, but a mirror", "mirror 50; analyze 1h"),
    ],
)
def test_steps_that_could_be_mistakes_and_are_none_are_read(text):
    assert parse_steps(text)


def test_a_job_is_refused_as_something_a_later_version_can():
    with pytest.raises(UnsupportedError, match="call a test runner with a hook"):
        parse_steps("weight 5; job accept; weight 50")


def test_as_many_steps_as_allowed_are_read():
    assert len(parse_steps(";".join(["pause 1s"] * courses.MAX_STEPS))) == courses.MAX_STEPS


# --- pods ---


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("match", Scale(100, is_percent=True)),
        ("1", Scale(1)),
        ("9999", Scale(9999)),
        ("1%", Scale(1, is_percent=True)),
        ("100%", Scale(100, is_percent=True)),
    ],
)
def test_the_pods_of_the_canary_are_read(text, scale):
    assert scale == parse_replicas(text)


@pytest.mark.parametrize(
    "text", ["", "0", "01", "0%", "101%", "10000", "-1", "1.5", "20 %", "Match", "٣"]
)
def test_what_is_no_number_of_pods_is_refused(text):
    with pytest.raises(UnitError) as refused:
        parse_replicas(text)
    assert (
        "is neither match nor 1 to 9999 pods nor 1% to 100% of the primary's" == refused.value.rule
    )
    assert '"match", "2" or "20%"' == refused.value.example


def test_a_step_scales_by_number_or_share_only():
    with pytest.raises(UnitError):
        parse_scale("match")


# --- revisions ---


@pytest.mark.parametrize("text", ["true", "false", "8ab12", "0123456789"])
def test_what_is_skipped_is_all_nothing_or_a_revision(text):
    assert text == parse_skip(text)


@pytest.mark.parametrize("text", ["yes", "8ab1", "8AB12", "01234567890", "8ab12,9ab12", "latest"])
def test_what_could_not_be_a_revision_is_refused(text):
    with pytest.raises(UnitError) as refused:
        parse_skip(text)
    assert "is neither true nor false nor 5 to 10 hexadecimal digits of a revision" == (
        refused.value.rule
    )


# --- gates ---


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("start", GateSpec(name="", at=GateAt.START)),
        ("each-weight", GateSpec(name="", at=GateAt.EACH_WEIGHT)),
        ("step", GateSpec(name="", at=GateAt.STEP)),
        ("weight:100", GateSpec(name="", at=GateAt.WEIGHT, weight=100)),
        ("promotion approvals=2", GateSpec(name="", at=GateAt.PROMOTION, approvals=2)),
        (
            "weight:5\n deadline=8h  approvals=10",
            GateSpec(name="", at=GateAt.WEIGHT, weight=5, approvals=10, deadline_s=28_800.0),
        ),
    ],
)
def test_a_gate_is_read(text, gate):
    assert gate == parse_gate(text)


PLACES = "start, promotion, weight:N, each-weight, step"
OPTIONS = "approvals=, deadline="


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("no place", "approvals=2", f"does not begin with a place (one of {PLACES})"),
        case("unknown place", "end", f"does not begin with a place (one of {PLACES})"),
        case("weight without number", "weight", f"does not begin with a place (one of {PLACES})"),
        case("weight of nobody", "weight:0", f"does not begin with a place (one of {PLACES})"),
        case("weight beyond all", "weight:101", f"does not begin with a place (one of {PLACES})"),
        case(
            "unknown option", "start by=qa", f'has "by=qa", which is no option (one of {OPTIONS})'
        ),
        case(
            "option without value",
            "start approvals",
            f'has "approvals", which is no option (one of {OPTIONS})',
        ),
        case("option twice", "start approvals=1 approvals=2", "has the option approvals twice"),
        case("nobody approves", "start approvals=0", "has approvals=0, which is not from 1 to 10"),
        case(
            "a crowd approves", "start approvals=11", "has approvals=11, which is not from 1 to 10"
        ),
        case("no time", "start deadline=30s", "has deadline=30s, which is not from 1m to 720h"),
        case("no duration", "start deadline=8", "has deadline=8, which is not a duration"),
    ],
)
def test_a_gate_that_is_none_is_refused_with_a_rule_and_an_example(text, rule):
    with pytest.raises(UnitError) as refused:
        parse_gate(text)
    assert (rule, '"promotion approvals=2 deadline=8h"') == (
        refused.value.rule,
        refused.value.example,
    )
