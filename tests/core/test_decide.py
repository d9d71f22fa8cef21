"""Rollouts as the core sees them, told as sentences."""

from dataclasses import replace

import pytest

from canaryd.core.decision import (
    ApplyPrimary,
    Emit,
    SaveState,
    ScaleTarget,
    WriteFeedback,
    WriteRoute,
)
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.routing import PRIMARY_ONLY
from tests.core.world import PLAN, World, enrolled, revision


def weights(world: World) -> list[int]:
    return [a.routing.weight for _, d in world.log for a in d.actions if isinstance(a, WriteRoute)]


def test_enrolment_ends_with_the_primary_serving_and_the_target_at_zero():
    world = enrolled()

    assert world.state.phase is Phase.INITIALIZED
    assert world.apex_selector == {"app": "app-primary"}
    assert world.target.replicas == 0
    assert world.primary.replicas == 2
    assert world.weight == 0
    assert world.violations == []


def test_enrolment_switches_nothing_while_the_primary_is_not_ready():
    world = World(primary_broken={"A"})

    world.settle(120)

    assert world.state.phase is Phase.INITIALIZING
    assert world.apex_selector == {"app": "app"}
    assert world.target.replicas == 2


def test_a_good_revision_rises_by_the_planned_weights_and_is_promoted():
    world = enrolled()
    world.deploy("B")

    world.settle(120)

    assert weights(world) == [0, 20, 50, 0]
    assert world.state.phase is Phase.SUCCEEDED
    assert world.state.promoted == revision("B")
    assert world.primary.template == "B"
    assert world.target.replicas == 0
    assert world.violations == []


def test_a_bad_revision_is_rolled_back_in_the_evaluation_that_exhausts_the_budget():
    world = enrolled(bad={"B"})
    world.deploy("B")

    world.settle(120)

    assert world.state.phase is Phase.FAILED
    assert world.state.promoted == revision("A")
    assert world.state.failed == revision("B")
    assert weights(world) == [0, 20, 0]
    assert world.target.replicas == 0
    [rollback] = [d for _, d in world.log if d.reason is Reason.ROLLED_BACK]
    assert [type(a) for a in rollback.actions][:2] == [SaveState, WriteRoute]


def test_the_failed_revision_is_refused_until_it_changes():
    world = enrolled(bad={"B"})
    world.deploy("B")
    world.settle(120)
    runs = world.state.runs

    world.settle(300)

    assert world.state.runs == runs


def test_a_retry_token_runs_the_failed_revision_again_once():
    world = enrolled(bad={"B"})
    world.deploy("B")
    world.settle(120)
    world.bad = set()
    world.plan = {**PLAN, "retry": "2"}

    world.settle(120)

    assert world.state.phase is Phase.SUCCEEDED
    assert world.state.promoted == revision("B")


def test_X3_a_revert_at_weight_ends_the_run_at_once_and_starts_no_other():
    world = enrolled()
    world.deploy("B")
    while world.weight != 50:
        world.settle(1)
    runs = world.state.runs
    world.deploy("A")
    world.look()

    assert world.weight == 0
    world.settle(120)
    assert world.state.phase is Phase.INITIALIZED
    assert world.state.promoted == revision("A")
    assert world.state.failed == ""
    assert world.state.runs == runs
    assert world.primary.template == "A"


def test_X4_a_revision_that_arrives_before_promotion_is_analysed_and_the_primary_untouched():
    world = enrolled()
    world.deploy("B")
    while world.weight != 50:
        world.settle(1)
    world.deploy("C")
    world.look()

    assert world.weight == 0
    assert world.primary.template == "A"
    world.settle(120)
    assert world.state.promoted == revision("C")
    assert "Superseded" in [h.result for h in world.state.history]


def test_X5_when_every_canary_pod_is_unready_the_weight_goes_to_zero_at_the_next_look():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.broken = {"B"}

    decision = world.look()

    assert decision.reason is Reason.CANARY_LOST
    assert world.weight == 0
    world.settle(200)
    assert world.state.phase is Phase.FAILED


def test_X5_a_canary_that_comes_back_is_analysed_again_from_the_first_step():
    world = enrolled()
    world.deploy("B")
    while world.weight != 50:
        world.settle(1)
    world.broken = {"B"}
    world.look()
    world.broken = set()

    world.settle(200)

    assert world.state.phase is Phase.SUCCEEDED
    assert weights(world) == [0, 20, 50, 0, 20, 50, 0]


def test_X6_an_outage_of_the_metric_source_holds_and_spends_no_failure():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.source_down = True
    world.settle(60)

    assert world.weight == 20
    assert world.state.run.failures == 0
    assert world.state.reason == Reason.ADVANCEMENT_HELD
    world.source_down = False
    world.settle(120)
    assert world.state.phase is Phase.SUCCEEDED


LOADED = PLAN | {"load-test.l": "GET / rate=10 for=5s"}


def test_X7_an_idle_app_with_a_load_test_is_promoted_on_the_evidence_of_that():
    world = enrolled(plan=LOADED, no_traffic=True)
    world.deploy("B")

    world.settle(120)

    assert world.state.phase is Phase.SUCCEEDED
    assert world.state.promoted == revision("B")
    assert world.violations == []
    [metric, _] = world.state.verdicts
    assert "100 of them by load tests" in metric.message


def test_X7_an_idle_app_whose_load_test_is_bad_is_rolled_back():
    world = enrolled(plan=LOADED, no_traffic=True, bad={"B"})
    world.deploy("B")

    world.settle(120)

    assert world.state.phase is Phase.FAILED
    assert world.state.promoted == revision("A")


def test_X7_a_load_test_does_not_answer_for_a_source_that_is_down():
    world = enrolled(plan=LOADED)
    world.deploy("B")
    world.source_down = True

    world.settle(120)

    assert world.weight == 20
    assert world.state.run.failures == 0


def test_no_verdict_for_longer_than_the_deadline_rolls_back():
    world = enrolled()
    world.deploy("B")
    world.source_down = True

    world.settle(400)

    assert world.state.phase is Phase.FAILED
    assert world.state.reason == Reason.INCONCLUSIVE_TOO_LONG


def test_X2_a_primary_that_does_not_roll_out_gets_its_good_template_back_and_the_canary_keeps_serving():
    world = enrolled(primary_broken={"B"})
    world.deploy("B")
    while world.state.phase is not Phase.PROMOTING:
        world.settle(1)
    world.settle(50)

    assert world.weight == 50
    world.settle(200)
    assert world.state.phase is Phase.FAILED
    assert world.primary.template == "A"
    assert world.weight == 0
    world.deploy("C")
    world.settle(120)
    assert world.state.promoted == revision("C")
    assert world.violations == []


def test_X15_a_plan_edited_in_mid_run_applies_to_the_next_run():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.plan = {**PLAN, "weights": "1,2,3"}
    world.settle(120)

    assert weights(world) == [0, 20, 50, 0]
    world.deploy("C")
    world.settle(120)
    assert weights(world)[4:] == [1, 2, 3, 0]


def test_X21_leaving_while_failed_gives_the_target_the_promoted_template_back():
    world = enrolled(bad={"B"})
    world.deploy("B")
    world.settle(120)
    world.enabled = False

    world.settle(120)

    assert world.state is None
    assert world.target.template == "A"
    assert world.target.replicas == 2
    assert world.apex_selector == {"app": "app"}
    assert not world.apex_marked
    assert world.primary is None
    assert world.violations == []


def test_X25_an_edit_to_an_invalid_plan_is_reported_and_the_old_plan_stays_in_force():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.plan = {**PLAN, "weights": "50,20"}
    world.settle(120)

    assert world.state.phase is Phase.SUCCEEDED
    assert "weights" in world.state.config_error


def test_X27_a_primary_deleted_after_a_failure_is_rebuilt_from_the_promoted_snapshot():
    world = enrolled(bad={"B"})
    world.deploy("B")
    world.settle(120)
    world.primary = None

    world.settle(60)

    assert world.primary.template == "A"
    assert "PrimaryRebuilt" in world.emitted


def test_a_record_deleted_by_hand_is_rebuilt_from_the_primary_and_not_from_the_failed_target():
    world = enrolled(bad={"B"})
    world.deploy("B")
    world.settle(120)
    world.machine = None

    world.settle(200)

    assert world.state.promoted == revision("A")
    assert world.primary.template == "A"


def test_X12_replicas_put_back_by_somebody_go_to_zero_again_and_reach_the_primary():
    world = enrolled()
    world.target.replicas = 5

    world.settle(30)

    assert world.target.replicas == 0
    assert world.primary.replicas == 5


def test_X12_a_selector_put_back_by_somebody_is_pointed_at_the_primary_in_the_next_look():
    world = enrolled()
    world.apex_selector = {"app": "app"}

    world.look()

    assert world.apex_selector == {"app": "app-primary"}
    assert "SelectorDrift" in world.emitted


def test_a_weight_edited_by_hand_is_written_again_and_the_step_starts_over():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.weight = 90
    before = world.state.run.step_started_at
    world.look()

    assert world.weight == 20
    assert world.state.run.step_started_at > before


def test_the_eleventh_repair_in_ten_minutes_is_left_undone_and_said_loudly():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    for _ in range(11):
        world.weight = 90
        world.look()

    assert world.weight == 90
    assert "find the other writer" in world.state.message


def test_a_refusing_confirm_rollout_hook_keeps_everything_where_it_is():
    world = enrolled(plan={**PLAN, "hook.go": "confirm-rollout svc://gate/ok"}, hook_refuses={"go"})
    world.deploy("B")
    world.settle(60)

    assert world.state.phase is Phase.WAITING
    assert world.target.replicas == 0
    world.hook_refuses = set()
    world.settle(120)
    assert world.state.promoted == revision("B")


def test_a_refusing_confirm_promotion_hook_waits_at_the_last_weight_and_keeps_analysing():
    world = enrolled(
        plan={**PLAN, "hook.go": "confirm-promotion svc://gate/ok"}, hook_refuses={"go"}
    )
    world.deploy("B")
    world.settle(100)

    assert world.state.phase is Phase.WAITING_PROMOTION
    assert world.weight == 50
    world.bad = {"B"}
    world.settle(60)
    assert world.state.phase is Phase.FAILED


def test_a_passing_rollback_hook_ends_the_run():
    world = enrolled(plan={**PLAN, "hook.stop": "rollback svc://gate/stop"})
    world.deploy("B")
    world.settle(60)

    assert world.state.phase is Phase.FAILED
    assert world.state.reason == Reason.ROLLBACK_REQUESTED


def test_ten_edits_end_in_one_promotion_of_the_last():
    world = enrolled()
    for template in "BCDEFGHIJK":
        world.deploy(template)
        world.settle(3)

    world.settle(200)

    assert world.state.promoted == revision("K")
    assert [h.result for h in world.state.history].count("Succeeded") == 1
    assert world.violations == []


def test_suspend_holds_a_run_at_its_weight_and_goes_on_when_lifted():
    world = enrolled()
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.plan = {**PLAN, "suspend": "true"}
    world.settle(60)

    assert world.weight == 20
    assert world.state.reason == Reason.SUSPENDED
    world.plan = dict(PLAN)
    world.settle(120)
    assert world.state.phase is Phase.SUCCEEDED


def test_an_app_with_an_invalid_plan_is_told_so_once_and_nothing_is_touched():
    world = World(plan={"interval": "soon"})
    world.settle(60)

    assert world.primary is None
    assert world.state.promoted == ""
    assert "canaryd.io/interval" in world.state.config_error
    assert world.emitted == ["ConfigInvalid"]


def test_every_decision_that_writes_says_why():
    world = enrolled()
    world.deploy("B")
    world.settle(120)

    assert [d for _, d in world.log if d.actions and not d.message] == []


def test_an_unknown_revision_starts_and_promotes_nothing():
    world = enrolled()
    snap = world.snapshot()
    from canaryd.core.decide import decide
    from canaryd.core.snapshot import Obstacle, WantedRevision

    unknown = WantedRevision(
        obstacle=Obstacle(Reason.CONFIG_UNREADABLE, "configmap/x cannot be read: 500")
    )
    decision = decide(replace(snap, revision=unknown), world.now)

    assert decision.reason is Reason.CONFIG_UNREADABLE
    assert [type(a) for a in decision.actions] == [SaveState, WriteFeedback, Emit]


# --- found by tests/properties/test_decide_machine.py and test_crash_replay.py ---


def at_weight(weight: int, **changes) -> World:
    world = enrolled(**changes)
    world.deploy("B")
    while world.weight != weight:
        world.settle(1)
    return world


def test_a_rollback_cut_short_by_a_crash_takes_users_off_before_the_canary_service_changes():
    world = at_weight(20, bad={"B"}, plan={**PLAN, "failure-threshold": "1"})
    world.settle(9)
    while world.state.run is not None:
        world.now += 1
        world.budget = 1  # the failure is saved, and then it dies
        world.look()
    assert world.weight == 20

    world.look()

    assert world.weight == 0
    assert world.violations == []


def test_a_weight_that_no_run_wants_is_taken_back_however_often_somebody_writes_it():
    world = enrolled()
    for _ in range(20):
        world.weight = 90
        world.look()

    assert world.weight == 0


def test_the_target_keeps_its_pods_for_the_drain_after_a_weight_was_taken_back():
    world = enrolled(plan={**PLAN, "keep-failed": "20s"}, bad={"B"})
    world.deploy("B")
    while world.state.phase is not Phase.FAILED:
        world.settle(0.5)
    world.services["app-canary"] = {"app": "app", "pod-template-hash": "hB"}
    world.settle(19)
    world.weight = 90
    world.services["app-canary"] = {"app": "app", "pod-template-hash": "hB"}
    world.settle(60)

    assert world.target.replicas == 0
    assert world.violations == []


def test_the_target_keeps_its_pods_for_the_drain_after_the_apex_selector_was_put_back():
    world = enrolled()
    world.scale_target(2)
    world.apex_selector = {"app": "app"}
    world.pass_time(10)  # the daemon is away
    world.settle(60)

    assert world.apex_selector == {"app": "app-primary"}
    assert world.target.replicas == 0
    assert world.violations == []


def test_replicas_asked_for_while_idle_survive_a_crash_between_the_two_scalings():
    world = enrolled()
    world.scale_target(4)
    world.budget = 1
    world.look()

    world.settle(30)

    assert (0, 4) == (world.target.replicas, world.primary.replicas)


def test_the_service_of_a_deleted_target_leads_to_the_primary_while_that_has_pods():
    world = enrolled()
    world.delete_target()
    world.settle(20)
    assert world.endpoints()["app"]

    world.collect()
    world.settle(20)

    assert world.apex_selector == {"app": "app"}
    assert not world.apex_marked


def test_a_primary_scaled_to_zero_by_hand_while_enrolling_is_given_its_pods_back():
    world = World()
    world.settle(1)
    world.scale_primary(0)

    world.settle(30)

    assert world.state.phase is Phase.INITIALIZED


def test_a_primary_scaled_to_zero_by_hand_in_mid_run_is_given_its_pods_back():
    world = at_weight(20)
    world.scale_primary(0)

    world.look()

    assert world.primary.replicas == 2


def test_a_weight_set_by_hand_while_enrolling_is_taken_back_at_once():
    world = World(primary_broken={"A"})
    world.settle(5)
    world.weight = 7

    world.look_until_it_waits()

    assert world.weight == 0


def test_a_record_lost_at_weight_takes_users_off_before_the_canary_service_changes():
    world = at_weight(20)
    world.machine = None

    world.look_until_it_waits()

    assert world.weight == 0
    assert world.violations == []


def test_a_record_lost_right_after_the_switch_does_not_shorten_the_drain():
    world = World()
    while world.apex_selector == {"app": "app"}:
        world.settle(0.5)
    world.machine = None

    world.settle(60)

    assert world.target.replicas == 0
    assert world.violations == []


def test_an_app_left_without_a_record_is_given_back_step_by_step():
    world = enrolled()
    world.machine, world.enabled = None, False

    world.settle(60)

    assert world.apex_selector == {"app": "app"}
    assert not world.apex_marked
    assert world.primary is None
    assert world.target.replicas == 2
    assert world.violations == []


def test_an_app_left_without_a_record_and_with_an_invalid_plan_is_given_back_step_by_step():
    world = enrolled()
    world.plan = {**PLAN, "weights": "50,20"}
    world.machine = None
    world.look()
    world.enabled = False

    world.settle(60)

    assert world.primary is None
    assert world.violations == []


def test_a_primary_and_snapshots_lost_unseen_while_enrolling_are_made_again():
    world = World()
    world.settle(1)
    world.primary, world.snapshots = None, {}

    world.settle(30)

    assert world.state.phase is Phase.INITIALIZED


@pytest.mark.parametrize("template", ["A", "B"])
def test_an_app_enrolled_again_after_its_snapshots_were_deleted_starts_from_the_beginning(template):
    world = World()
    world.settle(1)
    world.enabled = False
    world.look()
    world.refuse_at = 2  # everything is taken back but the record
    world.look()
    assert world.snapshots == {}
    assert world.state is not None

    world.enabled = True
    world.deploy(template)
    world.settle(60)

    assert world.state.phase is Phase.INITIALIZED
    assert world.primary.template == template


def test_the_primary_stays_for_the_drain_when_somebody_else_points_the_service_back():
    world = enrolled(plan={**PLAN, "idle": "keep"})
    world.scale_target(1)
    world.settle(10)
    world.enabled = False
    world.look_until_it_waits()
    world.apex_selector = {"app": "app"}

    world.settle(60)

    assert world.state is None
    assert world.violations == []


def test_users_leave_a_canary_without_ready_pods_whatever_stands_in_the_way():
    world = at_weight(20)
    world.strangers = {"other": {"app": "app"}}  # ambiguous: an obstacle
    world.look_until_it_waits()
    assert world.weight == 20
    world.down = {"app": 2}

    world.look_until_it_waits()

    assert world.weight == 0


def test_users_leave_a_canary_without_ready_pods_although_its_record_cannot_be_read():
    world = at_weight(20)
    world.uid += "+"  # a namesake, made while the daemon was away
    world.down = {"app": 2}

    decision = world.look_until_it_waits()

    assert decision.reason is Reason.CONFLICT
    assert world.weight == 0


def test_users_leave_a_canary_whose_record_was_lost_while_the_annotations_are_invalid():
    world = at_weight(20)
    world.plan = {**PLAN, "weights": "50,20"}
    world.machine = None

    world.look_until_it_waits()

    assert world.weight == 0


def test_a_config_changed_again_right_after_a_revert_waits_until_users_have_left_the_pods():
    world = enrolled()
    world.configure("1")
    while world.weight != 20:
        world.settle(1)
    world.configure("")
    world.look_until_it_waits()
    world.configure("1")

    world.settle(200)

    assert world.state.promoted == revision("A", "1")
    assert world.violations == []


def test_a_config_changed_at_weight_is_analysed_on_pods_that_were_started_with_it():
    world = at_weight(50)
    world.configure("2")
    world.settle(200)

    assert world.state.promoted == revision("B", "2")
    assert world.primary.content == ("B", "2")
    assert world.violations == []


def test_a_config_changed_alone_is_analysed_on_new_pods_of_an_app_that_keeps_its_own():
    world = enrolled(plan={**PLAN, "idle": "keep"}, bad={"2"})
    world.scale_target(3)
    world.settle(10)
    world.configure("2")
    world.settle(200)

    assert world.state.phase is Phase.FAILED
    assert world.target.content == ("A", "2")
    assert world.target.replicas == 3
    assert world.violations == []


def test_a_failed_revision_that_was_taken_back_and_is_asked_for_again_gets_a_run():
    world = enrolled(bad={"B"})
    world.deploy("B")
    world.settle(120)
    world.deploy("A")
    world.settle(10)
    assert world.state.phase is Phase.SUCCEEDED
    world.bad = set()
    world.deploy("B")

    world.settle(120)

    assert world.state.promoted == revision("B")


def test_pods_are_not_started_anew_for_a_config_while_the_service_leads_to_them():
    world = enrolled(plan={**PLAN, "idle": "keep"})
    world.down = {"app-primary": 2}
    world.apex_selector = {"app": "app"}  # users get no answer from the primary
    world.configure("2")

    world.settle(20)
    assert world.endpoints()["app"]
    world.down = {}
    world.settle(200)

    assert world.state.promoted == revision("A", "2")
    assert world.violations == []


def test_a_promotion_leaves_the_target_its_pods_while_the_service_leads_to_them():
    world = at_weight(50)
    while world.state.phase is not Phase.FINALISING:
        world.settle(0.5)
    world.down = {"app-primary": 2}
    world.apex_selector = {"app": "app"}

    world.settle(20)
    assert world.endpoints()["app"]
    world.down = {}
    world.settle(60)

    assert world.target.replicas == 0
    assert world.violations == []


# --- zero replicas -----------------------------------------------------------------------------------------------------


def stopped() -> World:
    world = World()
    world.scale_target(0)
    world.settle(60)
    return world


def test_an_app_that_its_owner_stopped_is_not_started_and_says_so():
    world = stopped()
    assert Reason.TARGET_STOPPED == world.state.reason
    assert ["TargetStopped"] == world.emitted
    assert (0, None, {}) == (world.target.replicas, world.primary, world.services)
    assert {"app": "app"} == world.apex_selector
    conditions = {c["type"]: c["status"] for c in world.status["conditions"]}
    assert "False" == conditions["Ready"]
    assert not {"Reconciling", "Stalled"} & conditions.keys()
    assert () == world.told


def test_an_app_that_was_stopped_is_enrolled_once_it_has_pods():
    world = stopped()
    world.scale_target(3)
    world.settle(60)
    assert Phase.INITIALIZED is world.state.phase
    assert (0, 3) == (world.target.replicas, world.primary.replicas)
    assert [] == world.violations


def test_an_app_that_is_stopped_while_it_is_enrolled_is_let_go_before_anybody_was_moved():
    world = World(primary_broken={"A"})
    world.settle(20)
    assert world.primary is not None
    world.scale_target(0)
    world.settle(20)
    assert Reason.TARGET_STOPPED == world.state.reason
    assert (None, {}, {}) == (world.primary, world.services, world.snapshots)
    assert {"app": "app"} == world.apex_selector
    world.primary_broken = set()
    world.scale_target(2)
    world.settle(60)
    assert Phase.INITIALIZED is world.state.phase


def test_a_stopped_app_can_leave_without_being_started():
    world = stopped()
    world.enabled = False
    world.settle(30)
    assert None is world.machine
    assert (0, None) == (world.target.replicas, world.primary)


def test_a_target_that_canaryd_took_to_zero_is_no_stopped_app_when_the_record_is_lost():
    world = enrolled()
    world.machine, world.primary = None, None
    world.settle(60)
    assert Phase.INITIALIZED is world.state.phase
    assert 1 == world.primary.replicas
    assert {"app": "app-primary"} == world.apex_selector


def test_a_primary_that_serves_is_kept_although_the_target_lost_its_mark():
    world = enrolled()
    world.machine, world.marked = None, False
    world.settle(60)
    assert Phase.INITIALIZED is world.state.phase
    assert "A" == world.primary.template


# --- a daemon that was away ---


def dies_in(world: World, phase: Phase, kind: type, seconds: float) -> None:
    """The daemon dies in this phase right before the first action of a kind, for so long."""
    for _ in range(2000):
        kinds = [type(action) for action in world.decide(world.snapshot()).actions]
        if world.state.phase is phase and kind in kinds:
            world.budget = kinds.index(kind)
            world.look()
            world.pass_time(seconds)
            return
        world.look()
        world.pass_time(0.1)
    raise AssertionError(f"there was no {kind.__name__} in {phase}")


def test_the_target_is_drained_from_when_the_route_was_written_not_from_when_that_was_decided():
    world = enrolled()
    world.deploy("B")
    dies_in(world, Phase.PROMOTING, WriteRoute, 600)
    assert (Phase.FINALISING, True) == (world.state.phase, world.has_users)
    world.settle(60)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


def test_a_daemon_that_was_away_when_the_primary_was_to_roll_fails_no_promotion():
    world = enrolled()
    world.deploy("B")
    dies_in(world, Phase.PROGRESSING, ApplyPrimary, 600)
    assert (Phase.PROMOTING, "A") == (world.state.phase, world.primary.template)
    world.settle(60)
    assert (Phase.SUCCEEDED, "B") == (world.state.phase, world.primary.template)


def test_a_daemon_that_was_away_when_more_pods_were_to_come_fails_no_run():
    world = enrolled(plan=PLAN | {"canary-replicas": "1"})
    world.scale_primary(4)
    world.settle(10)
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    dies_in(world, Phase.PROGRESSING, ScaleTarget, 600)
    world.settle(120)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


def test_a_record_of_a_run_that_somebody_deleted_is_made_again():
    world = enrolled()
    world.deploy("B")
    while world.weight != 50:
        world.settle(1)
    world.snapshots.clear()
    world.settle(120)
    assert (Phase.SUCCEEDED, "B") == (world.state.phase, world.primary.template)


def test_a_suspended_run_has_all_its_time_for_a_verdict_afterwards():
    world = enrolled(no_traffic=True)
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.settle(60)
    world.plan = PLAN | {"suspend": "true"}
    world.settle(900)
    world.plan = dict(PLAN)
    world.settle(60)
    assert (Phase.PROGRESSING, 20) == (world.state.phase, world.weight)


def test_a_run_at_a_stage_that_its_plan_does_not_have_begins_anew():
    world = enrolled()
    world.deploy("B")
    while world.weight != 50:
        world.settle(1)
    run = world.status["machine"]["run"]
    run["plan"] = {**run["plan"], "weights": "50"}
    world.machine = {**world.machine}  # read anew
    world.look()
    assert (PRIMARY_ONLY, "0000420000-2") == (world.routing, world.state.run.id)
    world.settle(120)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)
