"""How far a run is: which stage it is at, and what is left at the least."""

from dataclasses import replace

import pytest

from canaryd.cli.objects import plan_of
from canaryd.cli.progress import Progress, least_left_s, stages_of
from canaryd.core.phase import Phase
from tests.cli import apps

NOW = 1_767_614_400.0
BASE = {"enabled": "true", "interval": "1m", "metric.success-rate": ">= 99"}


def views(plan, **run):
    state = apps.running(NOW, plan=BASE | plan, **run)
    found = plan_of(apps.canary(state, NOW, plan=BASE | plan), state)
    assert found is not None
    return stages_of(found, state, NOW)


def at(phase, plan, **run):
    state = replace(apps.running(NOW, plan=BASE | plan, **run), phase=phase)
    return stages_of(plan_of({}, state), state, NOW)


def told(found):
    return [(stage.name, str(stage.progress)) for stage in found]


def test_stages_are_done_now_or_next():
    assert [
        ("weight 5", "done"),
        ("weight 20", "now"),
        ("weight 50", "next"),
        ("promotion", "next"),
    ] == told(views({"weights": "5,20,50"}))


def test_before_the_first_weight_all_is_ahead():
    found = views({"weights": "5,20"}, step=-1, weight=0)
    assert ["next", "next", "next"] == [str(stage.progress) for stage in found]


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.FINALISING])
def test_while_the_primary_rolls_the_stages_are_done(phase):
    found = at(phase, {"weights": "5,20"})
    assert [("weight 5", "done"), ("weight 20", "done"), ("promotion", "now")] == told(found)
    assert 0.0 == least_left_s(found)


def test_after_promotion_the_watch_is_what_is_left():
    plan = {"weights": "5,20", "watch-after-promotion": "10m"}
    found = at(Phase.WATCHING, plan, watch_until=NOW + 90.0)
    assert [("promotion", "done"), ("watch", "now")] == told(found)[-2:]
    assert "1m 30s more" == found[-1].detail
    assert 90.0 == least_left_s(found)


def test_what_was_skipped_is_left_out():
    found = views({"weights": "5,20,50"}, skipped=True)
    assert [("weight 5", "done"), ("weight 20", "done"), ("weight 50", "left out")] == told(found)[
        :3
    ]


def test_an_undo_has_no_stages_of_a_plan():
    found = at(Phase.PROMOTING, {"weights": "5,20"}, undoes="8ab12c03d1")
    assert [("promotion", "now")] == told(found)


# --- time ---

STARTED = {"step_started_at": NOW - 80.0, "evaluated_at": NOW - 20.0}


@pytest.mark.parametrize(
    ("plan", "run", "left_s"),
    [
        ({"weights": "20,50"}, {"step": 0, **STARTED}, 40 + 60),
        ({"weights": "20,50"}, {"step": 1, **STARTED}, 40),
        ({"weights": "20"}, {"step": 0, "step_started_at": NOW - 10.0, "evaluated_at": 0.0}, 50),
        (
            {"weights": "20", "warmup": "2m"},
            {"step": 0, "step_started_at": NOW - 10.0, "evaluated_at": 0.0},
            170,
        ),
        ({"weights": "20", "warmup": "2m"}, {"step": 0, **STARTED}, 40),
        ({"weights": "20", "warmup": "2m"}, {"step": -1}, 180),
        ({"weights": "20"}, {"step": 0, "step_started_at": NOW - 500.0, "evaluated_at": 0.0}, 0),
        ({"steps": "weight 20; analyze 10m"}, {"step": 0, **STARTED}, 520),
        ({"steps": "weight 20; pause 5m; analyze"}, {"step": 0, **STARTED}, 220 + 60),
        ({"steps": "weight 20; pause; analyze"}, {"step": 0, **STARTED}, 60),
        ({"weights": "20,50"}, {"step": 0, "leave_stage": True, **STARTED}, 60),
        ({"weights": "20", "watch-after-promotion": "30m"}, {"step": 0, **STARTED}, 40 + 1800),
    ],
    ids=[
        "the next check, and a stage",
        "the next check of the last stage",
        "no check yet",
        "warm-up",
        "warm-up is over",
        "warm-up is ahead",
        "overdue",
        "a check for a time",
        "a pause for a time",
        "a pause for a person",
        "a stage that somebody left",
        "a watch",
    ],
)
def test_the_least_that_is_left_is_the_sum_of_what_stages_still_need(plan, run, left_s):
    assert left_s == least_left_s(views(plan, **run))


def test_several_passing_checks_take_as_many_intervals():
    plan = {"strategy": "ab", "match": "header x-canary=insider", "iterations": "10"}
    run = {"step": 0, "weight": 0, "matched": True, "passes": 3, **STARTED}
    found = views(plan, **run)
    assert 40.0 + 6 * 60.0 == least_left_s(found)
    assert "passed 3 of 10, 1m 20s so far" == found[0].detail


def test_time_stands_still_while_somebody_pauses_the_run():
    plan = {"steps": "weight 20; pause 5m; analyze"}
    run = {"step": 0, "paused_at": NOW - 30.0, **STARTED}
    found = views(plan, **run)
    assert 250.0 + 60.0 == least_left_s(found)
    assert "for 5m, 50s so far" == found[0].detail


# --- what people and jobs decide ---

GATES = {"steps": "weight 20; gate qa; pause; analyze", "gate.qa": "step approvals=2 deadline=8h"}


def test_what_a_person_ends_is_open():
    found = views(GATES, step=-1)
    assert [("gate qa at weight 20", True), ("pause at weight 20", True)] == [
        (stage.name, stage.is_open) for stage in found if stage.is_open
    ]
    assert ["2 approvals", "until somebody resumes"] == [s.detail for s in found if s.is_open]


def test_a_gate_tells_who_approved_and_how_long_there_is():
    [gate] = [
        s
        for s in views(GATES, step=0, approvals=("author",), **STARTED)
        if s.progress is Progress.NOW
    ]
    assert "1 of 2 approvals, 1m 20s so far; approved by author; deadline in 7h 58m" == gate.detail


def test_what_is_over_is_open_no_more():
    found = views(GATES, step=2, **STARTED)
    assert [] == [stage.name for stage in found if stage.is_open]
