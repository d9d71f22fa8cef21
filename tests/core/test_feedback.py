"""The user's Deployment tells Flux, Helm and Argo CD of its rollout, truly and without chatter."""

from dataclasses import replace

import pytest

from canaryd.core.decide import decide
from canaryd.core.decision import (
    Decision,
    Forget,
    SaveState,
    ScaleTarget,
    StoreSnapshot,
    WriteFeedback,
    WriteRoute,
)
from canaryd.core.feedback import with_feedback
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.told import Told, as_applied, told_on
from canaryd.core.views import deployment_view
from tests.core.world import PLAN, World, enrolled, revision

A, B = revision("A", ""), revision("B", "")


def said(world: World) -> list[tuple[str, str]]:
    return [(c.type, c.reason) for c in world.told]


def tellings(world: World) -> list[tuple[str, ...]]:
    """What was written, one after the other, as reasons."""
    actions = [a for _, d in world.log for a in d.actions if isinstance(a, WriteFeedback)]
    return [tuple(f"{c.type}:{c.reason}" for c in a.told) for a in actions]


def until(world: World, phase: Phase) -> World:
    for _ in range(400):
        if world.state is not None and world.state.phase is phase:
            return world
        world.settle(0.5)
    raise AssertionError(world.outcome())


# --- what is said, and when ---


def test_an_app_at_rest_says_nothing():
    assert [] == said(enrolled())


def test_an_enrolment_is_reconciling_until_it_is_done():
    world = World()
    world.look()
    assert [("Reconciling", "Initializing")] == said(world)
    world.settle(60)
    assert [("Reconciling:Initializing",), ()] == tellings(world)


def test_a_good_release_costs_three_writes_however_many_steps_it_has():
    world = enrolled(plan=PLAN | {"weights": "10,20,30,40,50"})
    world.log.clear()
    world.deploy("B")
    world.settle(300)
    assert Phase.SUCCEEDED is world.state.phase
    assert [("Reconciling:Progressing",), ("Reconciling:Promoting",), ()] == tellings(world)


def test_a_failed_release_is_stalled_with_the_reason_of_the_canary_until_another_is_asked_for():
    world = enrolled(bad={"B"})
    world.deploy("B")
    until(world, Phase.FAILED)
    world.settle(60)
    [told] = world.told
    assert ("Stalled", Reason.METRIC_FAILED) == (told.type, told.reason)
    assert f"revision {B} rolled back" in told.message

    world.deploy("C")
    world.look()
    assert [("Reconciling", "Progressing")] == said(world)
    world.settle(300)
    assert [] == said(world)


def test_a_failed_release_that_is_reverted_is_stalled_no_longer():
    world = enrolled(bad={"B"})
    world.deploy("B")
    until(world, Phase.FAILED)
    world.deploy("A")
    world.settle(60)
    assert [] == said(world)


def test_a_failure_keeps_its_reason_whatever_is_done_to_the_primary_since():
    world = enrolled(bad={"B"})
    world.deploy("B")
    until(world, Phase.FAILED)
    world.settle(60)
    world.scale_primary(3)
    world.settle(60)
    assert Reason.PRIMARY_SCALED == world.state.reason
    assert [("Stalled", Reason.METRIC_FAILED)] == said(world)


def test_an_obstacle_that_needs_a_person_is_stalled_and_its_end_is_told():
    world = enrolled()
    world.strangers = {"other": {"app": "app"}}
    world.settle(30)
    assert [("Stalled", Reason.SERVICE_AMBIGUOUS)] == said(world)
    world.strangers = {}
    world.settle(30)
    assert [] == said(world)


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        ({"steps": "weight 20; gate qa; weight 50"}, "WaitingForGate"),
        ({"hook.go": "confirm-promotion svc://gate/go"}, "WaitingForGate"),
        ({"hook.open": "confirm-rollout svc://gate/open"}, "WaitingForGate"),
    ],
)
def test_a_run_that_waits_for_somebody_says_so_once(plan: dict[str, str], wanted: str):
    base = {k: v for k, v in PLAN.items() if k != "weights" or "steps" not in plan}
    world = enrolled(plan=base | plan, hook_refuses={"go", "open"})
    world.log.clear()
    world.deploy("B")
    world.settle(200)
    assert [("Reconciling", wanted)] == said(world)
    assert 1 == tellings(world).count((f"Reconciling:{wanted}",))


def test_a_pause_of_the_plan_without_an_end_is_told_and_so_is_its_end():
    base = {k: v for k, v in PLAN.items() if k != "weights"}
    world = enrolled(plan=base | {"steps": "weight 20; pause; weight 50; pause 30s"})
    world.log.clear()
    world.deploy("B")
    world.settle(60)
    assert [("Reconciling", "Paused")] == said(world)
    world.ask("resume")
    world.settle(200)
    course = ["Progressing", "Paused", "Progressing", "Promoting"]
    assert [(f"Reconciling:{word}",) for word in course] == tellings(world)[:-1]
    assert [] == said(world)


def test_a_pause_by_hand_names_who_paused():
    world = enrolled()
    world.deploy("B")
    until(world, Phase.PROGRESSING)
    world.ask("pause", by="alice")
    world.settle(30)
    [told] = world.told
    assert ("Reconciling", "Paused") == (told.type, told.reason)
    assert "paused by alice" in told.message
    world.ask("resume")
    world.settle(300)
    assert [] == said(world)


def test_a_revision_that_waits_for_its_hours_is_reconciling_although_the_app_is_at_rest():
    world = enrolled(plan=PLAN | {"suspend": "true"})
    world.deploy("B")
    world.settle(30)
    assert Phase.INITIALIZED is world.state.phase
    assert [("Reconciling", Reason.SUSPENDED)] == said(world)
    world.deploy("A")
    world.settle(30)
    assert [] == said(world)


def test_a_revision_that_was_undone_is_stalled_while_it_is_asked_for():
    world = enrolled()
    world.deploy("B")
    until(world, Phase.SUCCEEDED)
    world.settle(60)
    world.ask("undo")
    world.settle(120)
    assert (Phase.SUCCEEDED, A) == (world.state.phase, world.state.promoted)
    [told] = world.told
    assert ("Stalled", Reason.UNDONE) == (told.type, told.reason)
    assert f"revision {B} was undone; {A} serves" in told.message


# --- silence ---


def test_feedback_none_says_nothing_and_takes_back_what_was_said():
    world = enrolled()
    world.log.clear()
    world.deploy("B")
    until(world, Phase.PROGRESSING)
    assert [("Reconciling", "Progressing")] == said(world)
    world.plan = PLAN | {"feedback": "none"}
    world.look()
    assert [] == said(world)
    world.settle(300)
    assert 1 == tellings(world).count(())


def test_who_only_observes_leaves_the_status_alone():
    world = World(plan=PLAN | {"mode": "observe"}, bad={"B"}, bad_target={"B"})
    world.settle(60)
    world.deploy("B")
    world.settle(300)
    assert [] == tellings(world)


def test_leaving_is_reconciling_and_takes_everything_back_at_its_end():
    world = enrolled()
    world.enabled = False
    world.look()
    assert [("Reconciling", "Terminating")] == said(world)
    world.settle(120)
    assert (None, []) == (world.state, said(world))


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PROMOTING, Phase.FAILED])
def test_leaving_in_any_phase_leaves_no_condition_behind(phase: Phase):
    world = enrolled(bad={"B"} if phase is Phase.FAILED else set())
    world.deploy("B")
    until(world, phase)
    world.enabled = False
    world.settle(200)
    assert (None, []) == (world.state, said(world))


def test_what_is_left_of_an_app_that_is_not_enrolled_is_taken_back():
    world = World(enabled=False, told=(Told("Stalled", "MetricFailed", "x"),))
    world.look()
    assert [] == said(world)
    assert [()] == tellings(world)


def test_a_record_that_cannot_be_read_changes_nothing():
    world = enrolled()
    world.told = (Told("Reconciling", "Progressing", "x"),)
    snap = replace(world.snapshot(), state=None, state_error="it is damaged")
    assert not [a for a in decide(snap, world.now).actions if isinstance(a, WriteFeedback)]


# --- order and thrift ---


def test_a_run_is_told_as_soon_as_the_record_says_so_and_before_anything_comes_of_it():
    world = enrolled()
    world.deploy("B")
    decision = decide(world.snapshot(), world.now)
    kinds = [type(a) for a in decision.actions]
    # Not before what may fail each time: what is tried again and again would be told as often.
    assert kinds.index(StoreSnapshot) < kinds.index(SaveState) < kinds.index(WriteFeedback)
    assert kinds.index(WriteFeedback) < kinds.index(ScaleTarget)


def test_users_leave_a_canary_before_anything_is_said_of_it():
    world = enrolled(bad={"B"})
    world.deploy("B")
    until(world, Phase.FAILED)
    [failing] = [
        d for _, d in world.log if any(isinstance(a, WriteFeedback) and a.told for a in d.actions)
    ][-1:]
    kinds = [type(a) for a in failing.actions]
    assert kinds.index(WriteRoute) < kinds.index(WriteFeedback)


def test_what_is_over_is_taken_back_after_everything_but_the_record():
    world = enrolled()
    snap, state = world.snapshot(), world.state
    snap = replace(snap, target=replace(snap.target, told=(Told("Reconciling", "x"),)))
    over = Decision(reason=Reason.PROMOTED, actions=(ScaleTarget(0), SaveState(state)))
    assert WriteFeedback is type(with_feedback(snap, over).actions[-1])
    left = Decision(reason=Reason.LEFT, actions=(ScaleTarget(2), Forget()))
    assert [ScaleTarget, WriteFeedback, Forget] == [
        type(a) for a in with_feedback(snap, left).actions
    ]


def test_numbers_that_go_on_in_a_complaint_are_no_news():
    world = enrolled()
    state = replace(
        world.state, reason=str(Reason.TRAFFIC_NOT_SHIFTED), message="3 requests of 1,234 at 20"
    )
    shown = (Told("Stalled", str(Reason.TRAFFIC_NOT_SHIFTED), "17 requests of 9,999 at 20"),)
    snap = world.snapshot()
    snap = replace(snap, state=state, target=replace(snap.target, told=shown))
    waiting = Decision(reason=Reason.TRAFFIC_NOT_SHIFTED)
    assert waiting == with_feedback(snap, waiting)
    other = replace(snap.target, told=(replace(shown[0], message="the route is refused"),))
    assert waiting != with_feedback(replace(snap, target=other), waiting)


def test_what_somebody_else_took_away_is_said_again():
    world = enrolled()
    world.deploy("B")
    until(world, Phase.PROGRESSING)
    world.told = ()
    world.look()
    assert [("Reconciling", "Progressing")] == said(world)


# --- as the API server has it ---

STATUS = {
    "observedGeneration": 3,
    "conditions": [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
        {
            "type": "Stalled",
            "status": "True",
            "reason": "MetricFailed",
            "message": "m",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        },
    ],
}
FIELDS = {"f:status": {"f:conditions": {'k:{"type":"Stalled"}': {".": {}, "f:status": {}}}}}


def live(manager: str = "canaryd-status", operation: str = "Apply", **status: object) -> dict:
    entry = {"manager": manager, "operation": operation, "fieldsV1": FIELDS}
    return {
        "metadata": {"name": "app", "annotations": {"canaryd.io/enabled": "true"}}
        | {"managedFields": [entry]},
        "spec": {"template": {}},
        "status": STATUS | status,
    }


def test_a_view_shows_the_conditions_that_are_ours():
    view = deployment_view(live())
    assert view is not None
    assert (Told("Stalled", "MetricFailed", "m"),) == view.told
    assert "2026-01-02T03:04:05Z" == view.told[0].since


@pytest.mark.parametrize(
    "obj",
    [
        live(manager="another-operator"),
        live(operation="Update"),
        live(conditions=[STATUS["conditions"][1] | {"status": "False"}]),
        live(conditions=[]),
        {"metadata": {"name": "app"}, "status": STATUS},
    ],
)
def test_conditions_of_somebody_else_are_not_ours(obj: dict):
    assert () == told_on(obj)


def test_a_condition_that_goes_on_keeps_its_time_and_a_new_one_has_the_present():
    before = (Told("Stalled", "A", since="2026-01-01T00:00:00Z"),)
    told = (Told("Stalled", "B", "m"), Told("Reconciling", "C"))
    manifest = as_applied("shop", "app", told, before, "2026-02-02T00:00:00Z")
    first, second = manifest["status"]["conditions"]
    assert "2026-01-01T00:00:00Z" == first["lastTransitionTime"]
    assert "2026-02-02T00:00:00Z" == first["lastUpdateTime"] == second["lastTransitionTime"]
    assert {"True"} == {first["status"], second["status"]}


def test_nothing_to_say_applies_nothing_so_that_the_server_takes_away_what_was_ours():
    manifest = as_applied("shop", "app", (), (Told("Stalled", "A"),), "2026-02-02T00:00:00Z")
    assert {"apiVersion", "kind", "metadata"} == set(manifest)
