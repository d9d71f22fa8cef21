"""Every strategy as the core runs it: the same engine, other stages."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from canaryd.core.decision import Ask, ScaleTarget, WriteRoute
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.routing import PRIMARY_ONLY, Match, MatchKind, Routing
from tests.core.world import PLAN, Pods, World, enrolled, revision

BASE = {k: v for k, v in PLAN.items() if k not in ("weights", "step-weight", "max-weight")}
INSIDER = Match(MatchKind.HEADER, "x-canary", "insider")
AB = BASE | {"strategy": "ab", "match": "header x-canary=insider", "iterations": "3"}
BLUE_GREEN = BASE | {"strategy": "blue-green", "iterations": "2", "load-test.smoke": "GET / rate=5"}


def planned(plan: dict[str, str], **world: object) -> World:
    made = enrolled(**world)
    made.plan = plan
    return made


def routings(world: World) -> list[Routing]:
    """What routes were told, from the first run on."""
    return [a.routing for _, d in world.log for a in d.actions if isinstance(a, WriteRoute)][1:]


def stay(world: World, seconds: float, *, at: Routing) -> None:
    world.settle(seconds)
    assert at == world.routing


# --- A/B ---


def test_ab_sends_those_who_ask_to_the_canary_for_all_iterations_and_nobody_else():
    world = planned(AB)
    world.deploy("B")
    world.settle(180)

    assert [Routing(0, (INSIDER,)), PRIMARY_ONLY] == routings(world)
    assert (Phase.SUCCEEDED, "B") == (world.state.phase, world.primary.template)
    passes = [d.message for _, d in world.log if "passed 1 of 3" in d.message]
    assert passes
    assert [] == world.violations


def test_ab_that_fails_takes_the_condition_off_first():
    world = planned(AB, bad={"B"})
    world.deploy("B")
    world.settle(180)

    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)
    assert [] == world.violations


def test_ab_whose_canary_dies_loses_its_users_at_the_next_look():
    world = planned(AB)
    world.deploy("B")
    while not world.has_users:
        world.settle(1)
    world.broken = {"B"}
    world.look()
    assert PRIMARY_ONLY == world.routing


def test_X20_testers_get_to_the_canary_at_any_weight():
    world = planned(PLAN | {"match": "header x-canary=insider"})
    world.deploy("B")
    world.settle(180)
    assert [Routing(20, (INSIDER,)), Routing(50, (INSIDER,)), PRIMARY_ONLY] == routings(world)


# --- blue/green ---


def test_blue_green_is_judged_beside_the_primary_then_switched_judged_and_promoted():
    world = planned(BLUE_GREEN)
    world.deploy("B")
    world.settle(240)

    assert [Routing(100), PRIMARY_ONLY] == routings(world)
    assert (Phase.SUCCEEDED, "B") == (world.state.phase, world.primary.template)
    assert [] == world.violations


def test_blue_green_with_a_bad_preview_never_has_a_user():
    world = planned(BLUE_GREEN, bad={"B"})
    world.deploy("B")
    world.settle(240)
    assert (Phase.FAILED, []) == (world.state.phase, [r for r in routings(world) if r.has_users])


def test_blue_green_waits_for_approval_before_the_switch():
    world = planned(BLUE_GREEN | {"gate.qa": "promotion"})
    world.deploy("B")
    world.settle(240)
    assert PRIMARY_ONLY == world.routing
    assert Reason.WAITING_FOR_GATE == world.state.reason

    world.ask("approve", argument="qa")
    world.settle(240)
    assert [Routing(100), PRIMARY_ONLY] == routings(world)
    assert Phase.SUCCEEDED is world.state.phase


def test_direct_promotes_what_is_ready_without_a_weight():
    kept = ("interval", "scale-down-delay", "progress-deadline")
    world = planned({key: BASE[key] for key in kept} | {"strategy": "direct"})
    world.deploy("B")
    world.settle(120)
    assert ([], Phase.SUCCEEDED) == (
        [r for r in routings(world) if r.has_users],
        world.state.phase,
    )
    assert "B" == world.primary.template


def test_a_revision_that_is_named_is_promoted_without_a_verdict_and_no_other():
    world = planned(PLAN | {"skip-analysis": revision("B")})
    world.deploy("B")
    world.settle(120)
    assert [] == [r for r in routings(world) if r.has_users]
    world.deploy("C")
    world.settle(180)
    assert [20, 50] == [r.weight for r in routings(world) if r.has_users]


# --- steps ---

STEPS = BASE | {
    "steps": "weight 5; pause 30s; analyze 25s; scale 50%; weight 25; gate qa; weight 50",
    "interval": "10s",
}


def test_steps_run_in_their_order_and_wait_for_what_they_say():
    world = planned(STEPS, target=Pods("A", 4, 0.0))
    world.deploy("B")
    while world.weight != 5:
        world.settle(1)
    begun = world.now
    while world.weight == 5:
        world.settle(1)
    assert 25 == world.weight
    assert 55 <= world.now - begun <= 75  # 30 s of pause, then evaluations until 25 s are over

    stay(world, 300, at=Routing(25))
    assert "gate qa waits for 1 approval" in world.state.message
    world.ask("approve")
    world.settle(120)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


def test_a_pause_without_end_waits_for_resume():
    world = planned(BASE | {"steps": "weight 10; pause; weight 40"})
    world.deploy("B")
    stay(world, 600, at=Routing(10))
    world.ask("resume")
    world.settle(120)
    assert Phase.SUCCEEDED is world.state.phase


@pytest.mark.parametrize("waits", ["pause", "pause 10m", "gate qa"])
def test_a_canary_that_turns_bad_during_any_wait_is_rolled_back(waits):
    world = planned(BASE | {"steps": f"weight 10; {waits}; weight 40"})
    world.deploy("B")
    stay(world, 60, at=Routing(10))
    world.bad = {"B"}
    world.settle(120)
    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)


# --- pods ---


def test_pods_come_before_the_users_that_need_them():
    world = planned(PLAN | {"canary-replicas": "1"}, target=Pods("A", 4, 0.0))
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    assert 1 == world.target.replicas
    world.boot_s = 20.0
    while world.target.replicas == 1:
        world.settle(1)
    assert (2, 20) == (world.target.replicas, world.weight)  # half of four, before half the users
    world.settle(120)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


def test_pods_that_never_come_for_the_next_step_are_a_failure_at_the_old_weight():
    world = planned(PLAN | {"canary-replicas": "1"}, target=Pods("A", 4, 0.0))
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.boot_s = 10_000.0
    world.settle(240)
    assert (Phase.FAILED, Reason.PROGRESS_DEADLINE_EXCEEDED) == (
        world.state.phase,
        world.state.reason,
    )
    assert [20, 0] == [r.weight for r in routings(world)]


def test_a_canary_without_a_number_has_as_many_pods_as_the_primary():
    world = planned(PLAN, target=Pods("A", 4, 0.0))
    world.deploy("B")
    world.settle(20)
    assert [4] == [
        a.replicas
        for _, d in world.log
        for a in d.actions
        if isinstance(a, ScaleTarget) and a.replicas
    ]


# --- handing back ---


def test_users_go_back_to_the_primary_step_by_step():
    world = planned(PLAN | {"promotion-step-weight": "20"})
    world.deploy("B")
    world.settle(300)
    assert [20, 50, 30, 10, 0] == [r.weight for r in routings(world)]
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


@pytest.mark.parametrize("step", ["20", "25"])
def test_each_step_back_lasts_an_interval_the_last_one_too(step):
    world = planned(PLAN | {"promotion-step-weight": step})
    world.deploy("B")
    world.settle(300)
    written = [
        (t, a.routing.weight) for t, d in world.log for a in d.actions if isinstance(a, WriteRoute)
    ]
    last = max(n for n, (_, weight) in enumerate(written) if weight == 50)
    back = [t for t, _ in written[last + 1 :]]
    assert len(back) >= 2
    assert {10.0} == {later - earlier for earlier, later in pairwise(back)}


# --- failures ---


@pytest.mark.parametrize(("policy", "weight"), [("hold", 0), ("notify", 20)])
def test_a_failed_run_waits_for_a_person_with_its_pods(policy, weight):
    world = planned(PLAN | {"on-failure": policy}, bad={"B"})
    world.deploy("B")
    world.settle(300)

    assert (weight, 2) == (world.weight, world.target.replicas)
    assert (Phase.PROGRESSING, Reason.FAILURE_HELD) == (world.state.phase, world.state.reason)
    assert 1 == world.emitted.count("MetricFailed") - 1  # the first failure, and the last


@pytest.mark.parametrize(
    ("verb", "phase"),
    [("retry", Phase.SUCCEEDED), ("skip", Phase.SUCCEEDED), ("abort", Phase.FAILED)],
)
def test_what_a_person_decides_about_a_failed_run_happens(verb, phase):
    world = planned(PLAN | {"on-failure": "hold"}, bad={"B"})
    world.deploy("B")
    world.settle(300)
    world.bad = set()
    world.ask(verb)
    world.settle(300)
    assert (phase, {}) == (world.state.phase, world.commands)


def test_a_failed_run_that_nobody_cares_for_ends_at_max_duration():
    world = planned(PLAN | {"on-failure": "notify", "max-duration": "10m"}, bad={"B"})
    world.deploy("B")
    world.settle(900)
    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)


# --- the clock on the wall ---


def window(now: float, *, opens_in: int, minutes: int = 30) -> str:
    """A daily window that opens so many minutes from now, in UTC."""
    start = datetime.fromtimestamp(now + opens_in * 60, UTC)
    end = datetime.fromtimestamp(now + (opens_in + minutes) * 60, UTC)
    return f"daily {start:%H:%M}-{end:%H:%M} UTC"


def test_a_revision_that_comes_outside_of_the_schedule_waits_without_pods():
    world = enrolled()
    world.plan = PLAN | {"schedule": window(world.now, opens_in=30)}
    world.deploy("B")
    world.settle(1500)
    assert (0, Reason.OUTSIDE_SCHEDULE) == (world.target.replicas, world.state.reason)
    world.settle(900)
    assert Phase.SUCCEEDED is world.state.phase


def test_a_run_stays_at_its_weight_when_the_window_closes_and_can_still_be_rolled_back():
    world = enrolled()
    world.plan = PLAN | {"schedule": window(world.now, opens_in=-10, minutes=11), "interval": "40s"}
    world.deploy("B")
    world.settle(60)
    stay(world, 600, at=Routing(20))
    assert Reason.OUTSIDE_SCHEDULE == world.state.reason
    world.bad = {"B"}
    world.settle(300)
    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)


def test_nothing_begins_in_a_freeze():
    world = enrolled(now=1_790_000_000.0)
    begin, end = (
        datetime.fromtimestamp(world.now + s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for s in (-60, 3600)
    )
    world.plan = PLAN | {"freeze": f"{begin}/{end}"}
    world.deploy("B")
    world.settle(3000)
    assert (0, Phase.INITIALIZED) == (world.target.replicas, world.state.phase)
    world.settle(1200)
    assert Phase.SUCCEEDED is world.state.phase


# --- after promotion ---

WATCHED = PLAN | {"watch-after-promotion": "2m"}


def promote(world: World, template: str) -> None:
    world.deploy(template)
    while world.primary.template != template or world.state.phase is Phase.PROMOTING:
        world.settle(1)


def test_a_watched_revision_that_stays_good_has_succeeded_when_the_watch_is_over():
    world = planned(WATCHED)
    promote(world, "B")
    world.settle(30)
    assert Phase.WATCHING is world.state.phase
    world.settle(180)
    assert (Phase.SUCCEEDED, revision("B")) == (world.state.phase, world.state.promoted)
    assert [] == world.violations


def test_a_watched_revision_that_turns_bad_gives_way_to_the_one_before_and_is_refused():
    world = planned(WATCHED, bad_primary={"B"})
    promote(world, "B")
    world.settle(240)
    assert (Phase.SUCCEEDED, "A", revision("A"), revision("B")) == (
        world.state.phase,
        world.primary.template,
        world.state.promoted,
        world.state.failed,
    )
    assert 0 == world.target.replicas
    runs = world.state.runs
    world.settle(600)
    assert runs == world.state.runs
    assert [] == world.violations


def test_a_newer_revision_ends_the_watch_and_is_tried():
    world = planned(WATCHED)
    promote(world, "B")
    world.settle(20)
    world.deploy("C")
    world.settle(400)
    assert ("C", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)
    assert ["Succeeded", "Succeeded"] == [h.result for h in world.state.history]


def test_a_newer_revision_that_may_not_begin_yet_does_not_end_the_watch():
    world = planned(WATCHED, bad_primary={"B"})
    promote(world, "B")
    world.settle(5)
    world.plan = WATCHED | {"schedule": window(world.now, opens_in=60)}
    world.deploy("C")
    world.settle(300)
    assert ("A", Phase.SUCCEEDED) == (world.primary.template, world.state.phase)


# --- waits without traffic ---


def test_a_gate_before_the_first_users_waits_without_a_verdict_for_as_long_as_it_takes():
    world = planned(PLAN | {"gate.go": "start", "inconclusive-deadline": "60s"})
    world.deploy("B")
    stay(world, 900, at=PRIMARY_ONLY)
    assert Phase.PROGRESSING is world.state.phase
    world.ask("approve", argument="go")
    world.settle(180)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


def test_an_approval_given_early_does_not_spare_the_verdict_at_its_weight():
    world = planned(BASE | {"steps": "weight 10; gate qa; weight 50"}, no_traffic=True)
    world.deploy("B")
    while world.weight != 10:
        world.settle(1)
    world.ask("approve")
    stay(world, 60, at=Routing(10))
    world.no_traffic = False
    world.settle(120)
    assert Phase.SUCCEEDED is world.state.phase


def test_the_warm_up_begins_with_the_first_users():
    world = planned(PLAN | {"gate.go": "start", "warmup": "30s"})
    world.deploy("B")
    world.settle(60)
    world.ask("approve")
    while world.weight != 20:
        world.settle(1)
    begun = world.now
    while world.weight == 20:
        world.settle(1)
    assert 39 <= world.now - begun <= 45


# --- what is judged meanwhile ---


def asked(world: World, name: str) -> int:
    """How often a question of this name was asked."""
    asks = [a for _, d in world.log for a in d.actions if isinstance(a, Ask)]
    return sum(q.what.name == name for a in asks for q in a.questions)


def test_an_approval_right_after_a_failed_check_waits_for_one_that_passes():
    world = planned(PLAN | {"gate.qa": "promotion", "failure-threshold": "3"})
    world.deploy("B")
    while "gate qa" not in world.state.message:
        world.settle(1)
    world.settle(11)
    world.bad = {"B"}
    world.settle(10)
    world.ask("approve")
    world.settle(3)
    assert (50, []) == (world.weight, world.violations)
    world.bad = set()
    world.settle(60)
    assert Phase.SUCCEEDED is world.state.phase


REFUSED = BASE | {
    "steps": "weight 10; pause 30s; weight 50",
    "hook.more": "confirm-traffic-increase svc://gate/more",
}


def refused_at_10(**changes: object) -> World:
    world = planned(REFUSED, **changes)
    world.deploy("B")
    while world.weight != 10:
        world.settle(1)
    world.hook_refuses = {"more"}
    world.settle(60)
    return world


def test_a_canary_that_turns_bad_while_a_hook_refuses_is_rolled_back():
    world = refused_at_10()
    assert 10 == world.weight
    world.bad = {"B"}
    world.settle(60)
    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)


def test_a_hook_that_refuses_is_asked_once_an_interval_whatever_wakes_the_app():
    world = refused_at_10()
    before = asked(world, "more")
    for _ in range(50):
        world.look()
        world.pass_time(0.1)
    assert asked(world, "more") - before <= 1
    world.hook_refuses = set()
    world.settle(90)
    assert Phase.SUCCEEDED is world.state.phase


def test_a_promote_at_a_hook_that_refuses_asks_it_without_a_verdict():
    world = refused_at_10()
    world.no_traffic, world.hook_refuses = True, set()
    world.ask("promote")
    world.settle(15)
    assert 50 == world.weight


def test_a_canary_that_turns_bad_while_it_gets_more_pods_is_rolled_back():
    world = planned(
        PLAN | {"canary-replicas": "1", "progress-deadline": "10m"}, target=Pods("A", 4, 0.0)
    )
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.boot_s = 10_000.0
    world.settle(15)
    world.bad = {"B"}
    world.settle(60)
    assert (Phase.FAILED, PRIMARY_ONLY) == (world.state.phase, world.routing)


def test_pods_that_a_stage_can_spare_stay_until_their_users_are_surely_gone():
    steps = "scale 10; weight 50; pause 20s; scale 1; weight 5; pause 60s"
    world = planned(BASE | {"steps": steps}, target=Pods("A", 10, 0.0))
    world.deploy("B")
    while world.weight != 5:
        world.settle(0.5)
    written = world.now
    while world.target.replicas != 1:
        world.settle(0.5)
    assert 2 <= world.now - written <= 10
    world.settle(200)
    assert (Phase.SUCCEEDED, []) == (world.state.phase, world.violations)


def test_pods_that_come_when_the_window_has_closed_get_no_more_users():
    world = enrolled(target=Pods("A", 4, 0.0))
    closes = window(world.now, opens_in=-10, minutes=11)
    world.plan = PLAN | {"canary-replicas": "1", "schedule": closes}
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.boot_s = 50.0
    world.settle(300)
    assert (20, 2) == (world.weight, world.target.replicas)


def test_a_pause_that_is_over_and_not_judged_is_looked_at_once_an_interval():
    world = planned(BASE | {"steps": "weight 10; pause 30s; weight 50"}, no_traffic=True)
    world.deploy("B")
    world.settle(60)
    looks = len(world.log)
    world.settle(50)
    assert len(world.log) - looks <= 20


def test_answers_about_another_split_do_not_count():
    world = planned(PLAN, answer_s=4.0)
    world.deploy("B")
    while world.weight != 20:
        world.settle(1)
    world.settle(11)  # asked, not answered yet
    asked_as = world.state.run.evaluation
    world.weight = 7
    world.settle(1)
    assert (20, asked_as + 1) == (world.weight, world.state.run.evaluation)


def test_an_autoscaled_canary_that_keeps_its_pods_has_those_that_its_share_takes():
    world = enrolled(plan=PLAN | {"idle": "keep"}, autoscaled=True)
    world.scale_primary(10)
    world.settle(10)
    world.plan = BLUE_GREEN | {"idle": "keep"}
    world.deploy("B")
    while world.weight != 100:
        world.settle(1)
    assert 10 == world.target.replicas


# --- turns ---


def test_X22_a_revision_waits_for_its_turn_and_gives_its_place_away_when_it_is_taken_back():
    world = enrolled(run_limit=1, queue_place=1)
    world.deploy("B")
    world.settle(60)
    assert (Reason.QUEUED, 0) == (world.state.reason, world.target.replicas)
    assert world.state.queued_at > 0

    world.deploy("A")
    world.settle(10)
    assert 0.0 == world.state.queued_at
    world.deploy("B")
    world.settle(10)
    world.queue_place = 0
    world.settle(180)
    assert (Phase.SUCCEEDED, 0.0) == (world.state.phase, world.state.queued_at)


def test_a_gate_that_nobody_opens_ends_with_the_run_at_max_duration():
    world = planned(PLAN | {"gate.go": "start", "max-duration": "20m"})
    world.deploy("B")
    world.settle(1230)
    assert (Phase.FAILED, Reason.MAX_DURATION_EXCEEDED) == (world.state.phase, world.state.reason)
