"""Strategies as lists of stages: what is routed, what is waited for, and what is judged last."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.core.courses import parse_steps
from canaryd.core.program import (
    Analyze,
    Course,
    Gate,
    GateAt,
    GateSpec,
    Job,
    Pause,
    Scale,
    Stage,
    Step,
    Strategy,
    Verb,
    compile_program,
)
from canaryd.core.units import UnitError
from tests.core.plans import case


def stages(text, **more):
    return compile_program(Course(steps=parse_steps(text), **more))


def gate(at, name="qa", **more):
    return GateSpec(name=name, at=at, **more)


def traffic(stage):
    return stage.weight, stage.matched, stage.mirror


def names(found):
    return [stage.name for stage in found]


# --- weights ---


def test_each_weight_is_judged_once():
    assert (
        Stage(weight=10, wait=Analyze()),
        Stage(weight=50, wait=Analyze()),
        Stage(weight=100, wait=Analyze()),
    ) == compile_program(Course(weights=(10, 50, 100)))


def test_who_asks_for_the_canary_gets_it_at_every_weight():
    found = compile_program(Course(weights=(10, 20), matched=True))
    assert [(10, True, 0), (20, True, 0)] == [traffic(stage) for stage in found]


def test_requests_are_mirrored_before_the_first_weight_and_no_longer():
    found = compile_program(Course(weights=(10,), mirror=40))
    assert [(0, False, 40), (10, False, 0)] == [traffic(stage) for stage in found]
    assert ["mirror 40", "weight 10"] == names(found)


def test_a_gate_at_a_weight_stands_behind_its_judgement():
    found = compile_program(
        Course(weights=(10, 20), gates=(gate(GateAt.WEIGHT, weight=10), gate(GateAt.WEIGHT, "b")))
    )
    assert ["weight 10", "gate qa", "weight 20"] == names(found)
    assert 10 == found[1].weight


def test_a_gate_at_each_weight_stands_before_it_and_moves_nothing():
    found = compile_program(Course(weights=(10, 20), gates=(gate(GateAt.EACH_WEIGHT),)))
    assert ["gate qa", "weight 10", "gate qa", "weight 20"] == names(found)
    assert [0, 10, 10, 20] == [stage.weight for stage in found]


def test_gates_of_the_promotion_stand_at_the_end_in_their_order():
    found = compile_program(
        Course(weights=(10,), gates=(gate(GateAt.PROMOTION, "a"), gate(GateAt.PROMOTION, "b")))
    )
    assert ["weight 10", "gate a", "gate b"] == names(found)
    assert {10} == {stage.weight for stage in found}


# --- other strategies ---


def test_a_b_judges_as_often_as_there_are_iterations():
    assert (Stage(matched=True, wait=Analyze(6)),) == compile_program(
        Course(strategy=Strategy.AB, iterations=6, matched=True)
    )


def test_blue_green_judges_beside_the_primary_then_with_all_users():
    assert (
        Stage(wait=Analyze(3)),
        Stage(weight=100, wait=Analyze()),
    ) == compile_program(Course(strategy=Strategy.BLUE_GREEN, iterations=3))


def test_blue_green_mirrors_until_the_switch_and_is_approved_before_it():
    found = compile_program(
        Course(
            strategy=Strategy.BLUE_GREEN,
            iterations=3,
            mirror=100,
            gates=(gate(GateAt.PROMOTION),),
        )
    )
    assert ["mirror 100", "gate qa", "weight 100"] == names(found)
    assert [100, 100, 0] == [stage.mirror for stage in found]


def test_direct_has_no_stages():
    gates = (gate(GateAt.START), gate(GateAt.PROMOTION))
    assert () == compile_program(Course(strategy=Strategy.DIRECT, weights=(10,), gates=gates))


@pytest.mark.parametrize("strategy", [s for s in Strategy if s is not Strategy.DIRECT])
def test_a_gate_at_the_start_stands_before_anything_gets_to_the_canary(strategy):
    found = compile_program(
        Course(strategy=strategy, weights=(10,), mirror=50, gates=(gate(GateAt.START),))
    )
    assert ("gate qa", False) == (found[0].name, found[0].has_traffic)
    assert found[1:] == compile_program(Course(strategy=strategy, weights=(10,), mirror=50))


def test_a_gate_at_the_start_waits_with_the_pods_of_what_follows():
    first, second = stages("scale 2; match; analyze", gates=(gate(GateAt.START),))
    assert (Gate("qa"), Scale(2), Scale(2)) == (first.wait, first.scale, second.scale)


# --- steps ---


def test_statements_that_change_something_are_gathered_until_one_waits():
    assert (
        Stage(weight=5, matched=True, mirror=10, scale=Scale(2), wait=Analyze(for_s=300.0)),
    ) == stages("scale 2; match; mirror 10; weight 5; analyze 5m")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        case(
            "an end that was analysed is not analysed again",
            "weight 5; pause 2m; weight 20; analyze",
            ["pause at weight 5", "weight 20"],
        ),
        case(
            "an end that only waited is analysed",
            "weight 5; pause",
            ["pause at weight 5", "weight 5"],
        ),
        case("an end that only changed is analysed", "weight 5", ["weight 5"]),
        case(
            "a gate behind the last analysis is the end",
            "weight 5; analyze; gate qa",
            ["weight 5", "gate qa"],
        ),
        case(
            "of two weights in a row both are analysed",
            "weight 5; weight 20; analyze 5m",
            ["weight 5", "weight 20"],
        ),
        case(
            "a weight beside a match is one stage",
            "match; weight 5; analyze",
            ["weight 5"],
        ),
        case(
            "a weight beside a mirror is one stage",
            "mirror 10; scale 3; weight 5; analyze",
            ["weight 5"],
        ),
        case(
            "a weight of before is analysed again when another one has been in between",
            "weight 50; analyze; weight 20; pause; weight 50; pause",
            ["weight 50", "pause at weight 20", "pause at weight 50", "weight 50"],
        ),
        case(
            "other pods are something else to analyse",
            "weight 20; analyze; scale 1; pause",
            ["weight 20", "pause at weight 20", "weight 20"],
        ),
        case(
            "a match that ends leaves the weight",
            "match; analyze 15m; unmatch; weight 10; analyze",
            ["match", "weight 10"],
        ),
        case(
            "mirroring can end before there are users",
            "mirror 100; analyze; mirror 0; gate qa; weight 10",
            ["mirror 100", "gate qa", "weight 10"],
        ),
        case("a pause before anybody comes", "pause 1m; weight 10", ["pause", "weight 10"]),
    ],
)
def test_steps_are_stages(text, told):
    assert told == names(stages(text))


def test_a_pause_without_a_duration_waits_for_somebody():
    first, second, _ = stages("weight 5; pause; pause 90s")
    assert (Pause(None), Pause(90.0)) == (first.wait, second.wait)


def test_gates_and_jobs_wait_under_their_names():
    course = Course(steps=(Step(verb=Verb.GATE, name="qa"), Step(verb=Verb.JOB, name="accept")))
    first, second, _ = compile_program(course)
    assert (Gate("qa"), Job("accept")) == (first.wait, second.wait)
    assert ["gate qa", "job accept"] == names((first, second))


def test_scale_stays_until_it_is_said_again():
    found = stages("scale 2; weight 5; analyze; weight 20; analyze; scale 50%; weight 60; analyze")
    assert [Scale(2), Scale(2), Scale(50, is_percent=True)] == [stage.scale for stage in found]


@pytest.mark.parametrize(
    ("scale", "primary", "pods"),
    [
        (Scale(3), 10, 3),
        (Scale(20, is_percent=True), 10, 2),
        (Scale(20, is_percent=True), 11, 3),
        (Scale(1, is_percent=True), 1, 1),
        (Scale(100, is_percent=True), 7, 7),
    ],
)
def test_a_share_of_the_pods_is_rounded_up(scale, primary, pods):
    assert pods == scale.pods(primary)


# --- promises, whatever somebody writes ---

percents = st.integers(0, 100)
spans = st.none() | st.integers(1, 3600).map(float)
statements = st.one_of(
    percents.map(lambda n: Step(verb=Verb.WEIGHT, number=n)),
    percents.map(lambda n: Step(verb=Verb.MIRROR, number=n)),
    st.integers(1, 9).map(lambda n: Step(verb=Verb.SCALE, number=n)),
    spans.map(lambda s: Step(verb=Verb.PAUSE, duration_s=s)),
    spans.map(lambda s: Step(verb=Verb.ANALYZE, duration_s=s)),
    st.sampled_from([Step(verb=Verb.MATCH), Step(verb=Verb.UNMATCH)]),
    st.just(Step(verb=Verb.GATE, name="qa")),
)
places = st.sampled_from([at for at in GateAt if at is not GateAt.STEP])
courses = st.builds(
    Course,
    strategy=st.sampled_from([s for s in Strategy if s is not Strategy.DIRECT]),
    weights=st.sets(st.integers(1, 100), min_size=1, max_size=6).map(lambda w: tuple(sorted(w))),
    steps=st.just(()) | st.lists(statements, min_size=1, max_size=12).map(tuple),
    matched=st.booleans(),
    mirror=percents,
    iterations=st.integers(1, 20),
    gates=st.lists(places.map(gate), max_size=3).map(tuple),
)
many = settings(max_examples=300, deadline=None)


def shape(stage):
    return stage.weight, stage.matched, stage.mirror, stage.scale


@many
@given(courses)
def test_a_program_never_ends_on_a_change_that_was_not_analysed(course):
    found = compile_program(course)
    judged = [i for i, stage in enumerate(found) if isinstance(stage.wait, Analyze)]
    assert judged
    assert {shape(found[judged[-1]])} == {shape(stage) for stage in found[judged[-1] :]}


@many
@given(st.lists(statements, min_size=1, max_size=12))
def test_every_statement_that_waits_is_a_stage_in_its_order(steps):
    waiting = [s for s in steps if s.verb in (Verb.PAUSE, Verb.GATE)]
    found = compile_program(Course(steps=tuple(steps)))
    waits = [stage.wait for stage in found if isinstance(stage.wait, Pause | Gate)]
    assert waits == [Pause(s.duration_s) if s.verb is Verb.PAUSE else Gate(s.name) for s in waiting]


def written(step):
    number = f"{step.number}" if step.verb in (Verb.WEIGHT, Verb.MIRROR, Verb.SCALE) else ""
    duration = f"{step.duration_s:.0f}s" if step.duration_s else ""
    return " ".join(filter(None, (step.verb, number, duration, step.name)))


@many
@given(st.lists(statements, min_size=1, max_size=12))
def test_every_weight_of_steps_that_are_accepted_is_judged_or_waited_at(steps):
    try:
        accepted = parse_steps("; ".join(map(written, steps)))
    except UnitError:
        return
    assert tuple(steps) == accepted
    found = compile_program(Course(steps=accepted))
    assert {s.number for s in accepted if s.verb is Verb.WEIGHT} - {0} <= {s.weight for s in found}
    assert len(found) <= len(accepted) + 1
