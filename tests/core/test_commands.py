"""What people ask of a run: done once, refused when it comes too late, and on record either way."""

import pytest

from canaryd.core.commands import Command, CommandVerb, Unreadable, read_commands
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.commands import subject_of
from canaryd.core.routing import PRIMARY_ONLY
from tests.core.world import PLAN, World, enrolled, revision

GATED = {k: v for k, v in PLAN.items() if k != "weights"} | {
    "steps": "weight 10; gate qa; weight 40",
    "gate.qa": "step approvals=2 deadline=1h",
}


def at_weight(weight: int, plan: dict[str, str] = PLAN, **changes: object) -> World:
    """A world whose run has just got to this weight."""
    world = enrolled(**changes)
    world.plan = plan
    world.deploy("B")
    while world.weight != weight:
        world.settle(1)
    return world


def outcomes(world: World) -> list[tuple[str, str, str]]:
    """Who asked for what, and what came of it, oldest first."""
    return [(c.by, c.verb, c.outcome) for c in world.state.commands]


def refusal(world: World) -> str:
    return world.state.commands[-1].refusal


# --- reading ---


def test_a_command_reads_back_as_it_was_written():
    command = Command(
        verb=CommandVerb.APPROVE,
        nonce="4f9c21ab",
        subject="8ab12-7@2",
        by="system:serviceaccount:ci:bot with blanks",
        argument="qa",
        reason="looks good to me",
    )
    assert (command,) == read_commands({command.key: command.value, "other/key": "x"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("action.canaryd.io/promote", "r@0 alice"),
        ("action.canaryd.io/destroy.abcdef", "r@0 alice"),
        ("action.canaryd.io/promote.ABC", "r@0 alice"),
        ("action.canaryd.io/promote.abcdef", ""),
        ("action.canaryd.io/promote.abcdef", "r@0"),
        ("action.canaryd.io/promote.abcdef", "r@0 alice - well\nAborted by bob"),
        ("action.canaryd.io/promote.abcdef", "r@0 al\u2028ice"),
        ("action.canaryd.io/promote.abcdef", "r@0 alice - \x1b[2Jwell"),
    ],
)
def test_what_is_no_command_is_named_and_does_nothing(key, value):
    [found] = read_commands({key: value})
    assert isinstance(found, Unreadable)
    assert key == found.key


def test_a_command_that_takes_users_off_comes_first():
    values = {f"action.canaryd.io/{verb}.aaaa": "r@0 alice" for verb in CommandVerb}
    assert {CommandVerb.ABORT, CommandVerb.PAUSE} == {c.verb for c in read_commands(values)[:2]}


def test_an_unreadable_command_is_removed_and_said():
    world = at_weight(20)
    world.commands["action.canaryd.io/dance.abcdef"] = "x alice"
    world.settle(1)
    assert ({}, True) == (world.commands, "ActionRefused" in world.emitted)


# --- pause and resume ---


def test_a_paused_run_stays_where_it_is_until_it_is_resumed():
    world = at_weight(20)
    world.ask("pause", by="alice")
    world.settle(600)
    assert (20, Reason.PAUSED) == (world.weight, world.state.reason)
    assert "paused by alice: because" in world.state.message

    world.ask("resume", by="bob")
    world.settle(120)
    assert Phase.SUCCEEDED is world.state.phase
    assert [("alice", "pause", "Paused"), ("bob", "resume", "Resumed")] == outcomes(world)
    assert ({}, []) == (world.commands, world.violations)


def test_a_paused_run_still_loses_its_users_when_its_pods_die():
    world = at_weight(20)
    world.ask("pause")
    world.settle(30)
    world.broken = {"B"}
    world.look()
    assert PRIMARY_ONLY == world.routing


def test_a_paused_run_is_superseded_by_a_newer_revision_and_the_new_one_is_not_paused():
    world = at_weight(20)
    world.ask("pause")
    world.settle(30)
    world.deploy("C")
    world.settle(180)
    assert ("C", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)


def test_a_pause_takes_no_time_of_the_step_it_interrupts():
    world = at_weight(20)
    world.settle(5)
    world.ask("pause")
    world.settle(300)
    world.ask("resume")
    resumed = world.now
    while world.weight == 20:
        world.settle(0.5)
    assert 4 <= world.now - resumed <= 7


def test_a_pause_takes_no_time_of_the_wait_for_a_verdict():
    world = at_weight(20, no_traffic=True)
    world.settle(30)
    world.ask("pause")
    world.settle(600)
    world.ask("resume")
    world.settle(60)
    assert Phase.PROGRESSING is world.state.phase
    world.settle(100)
    assert Reason.INCONCLUSIVE_TOO_LONG == world.state.reason


def test_what_began_during_a_pause_begins_with_its_end_at_the_latest():
    world = at_weight(20)
    world.ask("pause")
    world.settle(100)
    world.weight = 7  # somebody's hand; put back at once
    world.settle(500)
    world.ask("resume")
    world.settle(15)
    assert 50 == world.weight


def test_a_run_that_was_paused_before_its_first_stage_began_at_no_time():
    world = enrolled(boot_s=20.0)
    world.deploy("B")
    world.settle(5)
    for verb in ("pause", "resume"):
        world.ask(verb)
        world.settle(5)
    assert "startedAt" not in world.status["step"]


# --- promote, skip ---


def test_promote_leaves_one_step_without_its_verdict():
    world = at_weight(20, no_traffic=True)
    world.ask("promote")
    world.settle(5)
    assert 50 == world.weight
    world.settle(60)
    assert 50 == world.weight


def test_two_people_who_promote_at_once_move_one_step_and_are_both_on_record():
    world = at_weight(20, no_traffic=True)
    world.ask("promote", by="alice")
    world.ask("promote", by="bob")
    world.settle(5)
    assert 50 == world.weight
    done, refused = outcomes(world)
    assert ({"StepSkipped", "ActionRefused"}) == {done[2], refused[2]}
    assert {"alice", "bob"} == {done[0], refused[0]}
    assert "moved on" in refusal(world)


def test_a_command_about_an_older_run_is_refused():
    world = at_weight(20)
    stale = subject_of(world.state)
    world.deploy("C")
    world.settle(30)
    world.ask("promote", subject=stale)
    world.ask("abort", subject=stale)
    world.settle(2)
    assert ["ActionRefused", "ActionRefused"] == [o for _, _, o in outcomes(world)]
    assert Phase.FAILED is not world.state.phase


def test_skip_promotes_without_a_verdict_once_the_pods_are_ready():
    world = at_weight(20, no_traffic=True)
    world.ask("skip")
    world.settle(60)
    assert ("B", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)
    assert [] == world.violations


def test_a_promote_at_a_gate_is_told_to_approve_it():
    world = at_weight(10, GATED)
    world.settle(30)
    world.ask("promote")
    world.settle(2)
    assert "approve it" in refusal(world)


def test_skip_gives_pods_their_time_however_long_confirm_rollout_refused():
    world = enrolled(hook_refuses={"open"})
    world.plan = PLAN | {"hook.open": "confirm-rollout svc://gate/open"}
    world.deploy("B")
    world.settle(600)
    world.ask("skip")
    world.settle(60)
    assert ("B", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)


@pytest.mark.parametrize("stage", ["²", "x", "-1", "999"])
def test_a_stage_that_is_no_number_is_refused_like_any_other(stage):
    world = at_weight(20)
    run = world.state.run.id
    world.ask("promote", subject=f"{run}@{stage}")
    world.settle(2)
    assert "moved on" in refusal(world)


def test_another_try_of_a_failed_run_has_the_plan_of_now():
    world = enrolled(bad={"B"})
    world.plan = PLAN | {"on-failure": "hold"}
    world.deploy("B")
    world.settle(200)
    world.plan |= {"metric.success-rate": ">= 90"}
    world.ask("retry")
    world.settle(120)
    assert ("B", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)


def test_a_failed_revision_that_is_taken_back_before_its_other_try_leaves_no_complaint():
    world = enrolled(bad={"B"}, now=1_790_000_000.0)  # a Monday, 13:33
    world.deploy("B")
    world.settle(200)
    world.plan = PLAN | {"schedule": "daily 01:00-02:00 UTC"}
    world.ask("retry")
    world.settle(30)
    world.deploy("A")
    world.settle(60)
    assert Phase.SUCCEEDED is world.state.phase


# --- abort ---


def test_abort_takes_users_off_and_the_revision_is_refused_until_it_is_retried():
    world = at_weight(50)
    world.ask("abort", by="alice")
    world.settle(120)
    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)
    assert "aborted by alice: because" in world.state.message
    world.ask("retry", by="bob")
    world.settle(180)
    assert ("B", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)
    assert [] == world.violations


def test_abort_in_mid_promotion_gives_the_primary_its_revision_back():
    world = at_weight(50)
    world.boot_s = 20.0
    while world.state.phase is not Phase.PROMOTING:
        world.settle(1)
    world.ask("abort")
    world.settle(180)
    assert (Phase.FAILED, "A") == (world.state.phase, world.primary.template)
    assert [] == world.violations


def test_abort_after_promotion_is_told_to_undo():
    world = enrolled()
    world.deploy("B")
    while world.state.phase is not Phase.FINALISING:
        world.settle(1)
    world.ask("abort")
    world.settle(2)
    assert "undo it" in refusal(world)


# --- gates ---


def test_a_gate_opens_when_as_many_different_people_approved_it():
    world = at_weight(10, GATED)
    world.settle(60)
    for by in ("alice", "alice", "bob"):
        world.ask("approve", by=by, argument="qa")
        world.settle(2)
    assert ["GateApproved", "ActionRefused", "GateApproved"] == [o for _, _, o in outcomes(world)]
    world.settle(60)
    assert Phase.SUCCEEDED is world.state.phase


def test_the_author_of_a_revision_does_not_approve_it():
    world = at_weight(10, GATED, author="alice")
    world.settle(60)
    world.ask("approve", by="alice")
    world.settle(2)
    assert "somebody else must approve" in refusal(world)


def test_X24_an_approval_ends_with_its_run():
    world = at_weight(10, GATED)
    world.settle(60)
    world.ask("approve", by="alice")
    world.settle(2)
    world.deploy("C")
    world.settle(60)
    world.ask("approve", by="bob")
    world.settle(120)
    assert 10 == world.weight  # one of two: alice approved another run


def test_a_gate_that_nobody_opens_in_time_fails_the_run():
    world = at_weight(10, GATED)
    world.settle(3700)
    assert (Phase.FAILED, Reason.GATE_DEADLINE_EXCEEDED) == (world.state.phase, world.state.reason)


@pytest.mark.parametrize(
    ("argument", "why"), [("other", "waits at gate qa, not at other"), ("", "")]
)
def test_an_approval_for_another_gate_is_refused(argument, why):
    world = at_weight(10, GATED)
    world.settle(60)
    world.ask("approve", argument=argument)
    world.settle(2)
    assert why in refusal(world)


def test_an_approval_where_no_gate_is_waits_for_none():
    world = at_weight(20)
    world.ask("approve")
    world.settle(2)
    assert "waits at no gate" in refusal(world)


def test_a_gate_takes_no_more_approvals_than_it_needs():
    world = at_weight(10, GATED, no_traffic=True)
    for number in range(5):
        world.ask("approve", by=f"p{number}")
        world.settle(1)
    assert ("p0", "p1") == world.state.run.approvals
    assert "is open already" in refusal(world)


def test_a_gate_that_was_approved_in_time_is_not_overdue_while_a_verdict_is_missing():
    world = at_weight(10, GATED, no_traffic=True)
    world.plan = GATED | {"gate.qa": "step deadline=60s", "inconclusive-deadline": "10m"}
    world.deploy("C")
    world.settle(30)
    world.ask("approve")
    world.settle(300)
    assert Phase.PROGRESSING is world.state.phase
    world.no_traffic = False
    world.settle(120)
    assert Phase.SUCCEEDED is world.state.phase


# --- undo ---


def released(*templates: str) -> World:
    world = enrolled()
    for template in templates:
        world.deploy(template)
        world.settle(180)
    return world


def test_undo_gives_the_primary_the_revision_before_and_refuses_the_one_undone():
    world = released("B")
    world.ask("undo", by="alice")
    world.settle(120)
    assert ("A", Phase.SUCCEEDED, revision("A"), revision("B")) == (
        world.primary.template,
        world.state.phase,
        world.state.promoted,
        world.state.failed,
    )
    assert ("B", 0) == (world.target.template, world.target.replicas)  # Git owns the target
    runs = world.state.runs
    world.settle(900)
    assert (runs, []) == (world.state.runs, world.violations)


def test_undo_goes_back_to_any_revision_that_is_kept():
    world = released("B", "C")
    world.ask("undo", argument=revision("A"))
    world.settle(120)
    assert "A" == world.primary.template


@pytest.mark.parametrize(
    ("to", "why"),
    [("ffffffffff", "is not one that was promoted"), (revision("B"), "is the promoted one")],
)
def test_undo_to_what_was_never_promoted_or_serves_is_refused(to, why):
    world = released("B")
    world.ask("undo", argument=to)
    world.settle(2)
    assert why in refusal(world)
    assert "B" == world.primary.template


def test_a_revision_that_was_undone_is_tried_again_when_somebody_asks():
    world = released("B")
    world.ask("undo")
    world.settle(120)
    world.ask("retry", subject=revision("B"))
    world.settle(5)
    # It has not failed: it was undone. What is wanted back is promoted by undoing the undoing.
    assert "no revision has failed" in refusal(world)
    world.ask("undo")
    world.settle(120)
    assert "B" == world.primary.template


def test_an_undo_whose_primary_does_not_come_up_leaves_what_served():
    world = released("B")
    world.primary_broken = {"A"}
    world.ask("undo")
    world.settle(300)
    assert "B" == world.primary.template
    assert [] == world.violations


def test_a_new_revision_after_an_undo_is_tried_like_any_other():
    world = released("B")
    world.ask("undo")
    world.settle(120)
    world.deploy("C")
    world.settle(180)
    assert ("C", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)


def test_a_revision_that_failed_stays_refused_when_another_is_undone():
    world = released("B")
    world.bad = {"C"}
    world.deploy("C")
    world.settle(200)
    runs = world.state.runs
    world.ask("undo")
    world.settle(300)
    assert ("A", revision("C"), runs + 1) == (
        world.primary.template,
        world.state.failed,
        world.state.runs,
    )
    assert ["RolledBack"] == [told.reason for told in world.told]


def test_a_revision_that_failed_stays_refused_when_an_undo_does_not_come_up():
    world = released("B")
    world.bad, world.primary_broken = {"C"}, {"A"}
    world.deploy("C")
    world.settle(200)
    runs = world.state.runs
    world.ask("undo")
    world.settle(300)
    assert ("B", runs + 1) == (world.primary.template, world.state.runs)


def test_a_retry_that_was_asked_for_before_an_undo_is_no_wish_for_what_is_undone():
    world = released("B")
    world.plan = PLAN | {"retry": "2026-11-25"}
    world.settle(5)
    world.ask("undo")
    world.settle(300)
    assert "A" == world.primary.template
    world.plan = PLAN | {"retry": "2026-11-26"}
    world.settle(300)
    assert "B" == world.primary.template


def test_an_undo_to_a_revision_whose_record_is_gone_is_told_and_ends():
    world = released("B")
    del world.snapshots[revision("A")]
    world.ask("undo")
    world.settle(30)
    assert "there is no snapshot" in world.state.message
    world.settle(300)
    assert ("B", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)
    assert [] == world.violations


def test_an_undo_behind_an_obstacle_is_refused_with_its_words():
    world = released("B")
    world.ingress = False
    world.ask("undo")
    world.settle(10)
    assert "no Ingress" in refusal(world)
    assert Phase.PROMOTING is not world.state.phase


# --- records ---


@pytest.mark.parametrize("verb", list(CommandVerb))
def test_a_command_that_is_seen_twice_is_carried_out_once(verb):
    world = at_weight(20)
    world.ask(verb)
    again = dict(world.commands)
    world.settle(2)
    world.commands |= again  # the daemon died between the record and taking the command away
    world.settle(2)
    assert (1, {}) == (len(world.state.commands), world.commands)


def test_commands_before_enrolment_are_refused_without_a_run():
    world = World()
    world.settle(1)
    world.ask("abort", subject="x@0")
    world.settle(5)
    assert {} == world.commands


def test_two_commands_that_share_a_nonce_are_two_commands():
    world = at_weight(20)
    subject = subject_of(world.state)
    for verb in ("pause", "abort"):
        world.commands[f"action.canaryd.io/{verb}.aaaa"] = f"{subject} alice"
        world.settle(2)
    assert Phase.FAILED is world.state.phase


def test_users_leave_dead_pods_before_any_command_is_read():
    world = at_weight(20)
    for number in range(20):
        world.commands[f"action.canaryd.io/approve.n{number:06}"] = "x@1 mallory"
    world.broken = {"B"}
    world.look()
    assert PRIMARY_ONLY == world.routing
