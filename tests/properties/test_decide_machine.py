"""Whatever a user, a cluster and bad luck do to an app, in any order: no promise is broken, and it comes to rest.

Hypothesis plays user, cluster and bad luck against the whole core in the world of ``tests.core.world``. Every action of
the daemon is held against ``tests.core.promises``; every look is decided twice, the second time with all mappings in
another order; and at the end, when nobody disturbs it any more, the app has to come to a final state by itself.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from canaryd.core.commands import CommandVerb
from canaryd.core.decide import decide
from canaryd.core.decision import Decision
from canaryd.core.phase import IDLE_PHASES, Phase
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Snapshot
from tests.core.world import PLAN, World, revision

BAD_CONFIG = "9"
GOOD, BAD, UNREADY, BREAKS_PRIMARY = "ABC", "XY", "U", "P"
ORIGINAL = {"app": "app"}
SWITCHED = {"app": "app-primary"}
STATUS_LIMIT = 16 * 1024
REST_S = 1500.0
"""In this time every deadline of the plans below is over, several times."""

plans = st.fixed_dictionaries(
    {
        "weights": st.sampled_from(["20,50", "100", "1,2,3"]),
        "failure-threshold": st.sampled_from(["1", "2", "3"]),
    },
    optional={
        "idle": st.just("keep"),
        "keep-failed": st.just("30s"),
        "canary-ready": st.just("50"),
        "primary-ready": st.just("50"),
        "skip-analysis": st.just("true"),
        "retry": st.sampled_from(["1", "2"]),
        "suspend": st.just("true"),
        "hook.open": st.just("confirm-rollout svc://gate/open"),
        "hook.smoke": st.just("pre-rollout svc://gate/smoke"),
        "hook.more": st.just("confirm-traffic-increase svc://gate/more"),
        "hook.go": st.just("confirm-promotion svc://gate/go"),
        "hook.stop": st.just("rollback svc://gate/stop"),
        "load-test.l": st.just("GET / rate=10 for=5s"),
        "match": st.just("header x-canary=insider"),
        "promotion-step-weight": st.sampled_from(["20", "60"]),
        "canary-replicas": st.sampled_from(["1", "50%"]),
        "on-failure": st.sampled_from(["hold", "notify"]),
        "watch-after-promotion": st.just("30s"),
        "gate.qa": st.sampled_from(["promotion", "start", "each-weight", "promotion approvals=2"]),
    },
).map(lambda values: PLAN | {"max-duration": "20m"} | values)
courses = st.sampled_from(
    [
        {"strategy": "ab", "match": "header x-canary=insider", "iterations": "2"},
        {"strategy": "blue-green", "iterations": "2", "load-test.l": "GET / rate=10 for=5s"},
        {"steps": "weight 10; pause; weight 60; pause 20s; analyze 25s; scale 50%"},
        {"steps": "scale 1; weight 20; gate qa; weight 100", "canary-replicas": "1"},
    ]
)
"""Plans that have no weights of their own."""
broken_plans = st.sampled_from(
    [{**PLAN, "weights": "50,20"}, {**PLAN, "interval": "soon"}, {**PLAN, "wieghts": "1"}]
)
hooks = st.sets(st.sampled_from(["open", "smoke", "more", "go", "stop"]))
seconds = st.sampled_from([0.1, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 70.0, 130.0])


class WatchedWorld(World):
    """A world that looks at every snapshot twice."""

    def decide(self, snap: Snapshot) -> Decision:
        decision = decide(snap, self.now)
        assert decision == decide(turned(snap), self.now), "the order of mappings decides"
        return decision


class Rollouts(RuleBasedStateMachine):
    """One app and everybody who can touch it."""

    world: WatchedWorld
    last: Decision | None = None
    scaled_to: int | None = None
    """What the user wanted of the target last."""
    lost_record: bool = False

    @initialize(
        plan=plans,
        autoscaled=st.booleans(),
        answer_s=st.sampled_from([0.0, 0.0, 4.0]),
        watches_badly=st.booleans(),
    )
    def enrol(self, plan, autoscaled, answer_s, watches_badly):
        plan = {k: v for k, v in plan.items() if k != "suspend"}
        self.world = WatchedWorld(
            plan=plan,
            autoscaled=autoscaled,
            answer_s=answer_s,
            bad=set(BAD + BAD_CONFIG),
            broken=set(UNREADY),
            bad_primary={"B"} if watches_badly else set(),
            primary_broken=set(BREAKS_PRIMARY + UNREADY),
        )

    def look(self) -> None:
        self.last = self.world.look_until_it_waits()

    # --- the user ---

    @precondition(lambda self: self.world.target is not None)
    @rule(template=st.sampled_from(GOOD + BAD + UNREADY + BREAKS_PRIMARY))
    def deploy(self, template):
        self.world.deploy(template)
        self.look()

    @precondition(lambda self: self.world.target is not None and self.world.primary is not None)
    @rule()
    def revert(self):
        self.world.deploy(self.world.primary.template)
        self.look()

    @precondition(lambda self: self.world.target is not None)
    @rule(config=st.sampled_from(["", "1", "2", "9"]))
    def configure(self, config):
        self.world.configure(config)
        self.look()

    @rule(plan=plans)
    def edit_plan(self, plan):
        self.world.plan = plan
        self.look()

    @rule(course=courses, failures=st.sampled_from(["1", "3"]))
    def edit_course(self, course, failures):
        plan = {k: v for k, v in PLAN.items() if k != "weights"} | {"max-duration": "20m"}
        self.world.plan = plan | course | {"failure-threshold": failures}
        self.look()

    @precondition(lambda self: self.world.machine is not None)
    @rule(
        verb=st.sampled_from(list(CommandVerb)),
        by=st.sampled_from(["alice", "bob"]),
        argument=st.sampled_from(["", "", "qa", revision("A"), revision("B")]),
        is_stale=st.booleans(),
    )
    def ask(self, verb, by, argument, is_stale):
        if self.world.state is not None:
            subject = "0000410000-1@0" if is_stale else ""
            self.world.ask(verb, by, argument, subject)
            self.look()

    @rule(plan=broken_plans)
    def edit_plan_badly(self, plan):
        self.world.plan = plan
        self.look()

    @rule()
    def leave_or_come_back(self):
        self.world.enabled = not self.world.enabled
        self.look()

    @precondition(lambda self: self.world.target is not None)
    @rule(orphans=st.booleans())
    def delete_target(self, orphans):
        self.world.delete_target()
        self.look()
        if not orphans:
            self.world.collect()
            self.look()

    @precondition(lambda self: self.world.target is None)
    @rule(template=st.sampled_from(GOOD))
    def recreate_target(self, template):
        self.world.recreate_target(template)
        self.look()

    # --- hands that should have stayed off ---

    @precondition(lambda self: self.world.weight is not None)
    @rule(weight=st.sampled_from([0, 7, 90]))
    def edit_weight(self, weight):
        self.world.weight = weight
        self.look()

    @precondition(lambda self: self.world.apex_selector is not None)
    @rule()
    def edit_apex_selector(self):
        self.world.apex_selector = dict(ORIGINAL)
        self.look()

    @precondition(lambda self: self.world.target is not None)
    @rule(replicas=st.integers(0, 4))
    def scale_target(self, replicas):
        self.scaled_to = replicas
        self.world.scale_target(replicas)
        self.look()

    @precondition(lambda self: self.world.primary is not None)
    @rule(replicas=st.integers(0, 4))
    def scale_primary(self, replicas):
        self.world.scale_primary(replicas)
        self.look()

    @precondition(lambda self: self.world.primary is not None)
    @rule(whole=st.booleans())
    def damage_primary(self, whole):
        if whole and self.is_recorded():
            self.world.primary = None
        else:
            self.world.primary_edited = True
        self.look()

    @precondition(lambda self: self.world.weight is not None)
    @rule()
    def delete_canary_route(self):
        self.world.weight = None
        self.look()

    @precondition(lambda self: self.world.services)
    @rule(data=st.data())
    def delete_service(self, data):
        del self.world.services[data.draw(st.sampled_from(sorted(self.world.services)))]
        self.look()

    # With the primary gone too, or half rolled, nothing tells any more what was promoted.
    @precondition(lambda self: self.world.target is not None and self.world.primary is not None)
    @precondition(lambda self: not self.is_promoting())
    @rule()
    def delete_record(self):
        self.world.machine = None
        self.lost_record = True
        self.look()

    @rule(there=st.booleans())
    def delete_or_make_ingress(self, there):
        self.world.ingress = there
        self.look()

    @rule(name=st.sampled_from(["", "app-canary", "app-primary", "other"]))
    def make_a_service_of_ones_own(self, name):
        if name not in self.world.services:
            self.world.strangers = {name: {"app": "app"}} if name else {}
        self.look()

    # --- the cluster, and bad luck ---

    @rule(deployment=st.sampled_from(["app", "app-primary"]), pods=st.sampled_from([0, 0, 1, 9]))
    def lose_or_heal_pods(self, deployment, pods):
        self.world.down[deployment] = pods
        self.look()

    @rule(source_down=st.booleans(), no_traffic=st.booleans())
    def lose_or_heal_source(self, source_down, no_traffic):
        self.world.source_down, self.world.no_traffic = source_down, no_traffic

    @rule(refusing=hooks)
    def let_hooks_refuse(self, refusing):
        self.world.hook_refuses = refusing

    @rule(actions=st.integers(0, 6))
    def crash_soon(self, actions):
        self.world.budget = actions

    @rule(actions=st.integers(0, 6))
    def refuse_a_request_soon(self, actions):
        self.world.refuse_at = actions

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def let_caches_lag(self, seconds):
        self.world.lag(seconds)

    @rule(seconds=seconds)
    def wait(self, seconds):
        self.world.settle(seconds)
        self.look()

    # --- what holds at all times ---

    def is_ours(self) -> bool:
        """Whether anything tells the daemon that this app is its business."""
        world = self.world
        return world.target is not None and (world.enabled or world.machine is not None)

    def is_recorded(self) -> bool:
        return self.world.state is not None and bool(self.world.state.promoted)

    def is_promoting(self) -> bool:
        state = self.world.state
        return state is not None and state.phase is Phase.PROMOTING

    def is_settled(self) -> bool:
        """The last look saw the world as it is, and did all it decided."""
        world = self.world
        seen = world.sight is None and not world.waits_for_own_write
        return self.last is not None and seen and self.last.reason is not Reason.API_ERROR

    @invariant()
    def all_is_well(self):
        self._no_promise_is_broken()
        self._no_users_are_left_on_a_canary_without_ready_pods()
        self._the_weight_is_that_of_the_run()
        self._users_reach_the_primary_when_it_serves()
        self._the_record_stays_small()

    def _no_promise_is_broken(self):
        assert self.world.violations == []

    def _no_users_are_left_on_a_canary_without_ready_pods(self):
        world = self.world
        if not world.has_users or not self.is_settled() or not self.is_ours():
            return
        endpoints = world.endpoints()
        assert endpoints.get("app-canary") or not endpoints.get("app-primary")

    def _the_weight_is_that_of_the_run(self):
        world = self.world
        if world.weight is None or not self.is_settled() or not self.is_ours():
            return
        run = world.state.run if world.state else None
        given_up = "find the other writer" in self.last.message
        assert given_up or not world.weight or (run is not None and run.weight == world.weight)

    def _users_reach_the_primary_when_it_serves(self):
        world, state = self.world, self.world.state
        if not self.is_settled() or state is None or world.apex_selector is None:
            return
        if state.phase in (Phase.INITIALIZING, Phase.TERMINATING) or not world.enabled:
            return
        seen = world.snapshot()
        found = seen.app is not None and not seen.state_error
        assert not found or world.endpoints().get("app") or not world.endpoints().get("app-primary")

    def _the_record_stays_small(self):
        assert len(json.dumps(self.world.status)) <= STATUS_LIMIT

    # --- and in the end ---

    def teardown(self):
        if not hasattr(self, "world"):
            return
        world = self.world
        world.plan = {k: v for k, v in world.plan.items() if k != "suspend"}
        if not world.snapshot().resolution.spec:
            world.plan = dict(PLAN)
        world.down, world.source_down, world.no_traffic = {}, False, False
        world.hook_refuses, world.strangers, world.ingress = set(), {}, True
        world.budget = world.refuse_at = -1
        if world.target is None:
            world.collect()
        elif world.machine_uid != world.uid:
            # A person has to: the record of a namesake that was orphaned.
            world.machine, self.lost_record = None, True
        world.settle(REST_S)
        assert world.violations == []
        self._came_to_rest()

    def _came_to_rest(self):
        world, state = self.world, self.world.state
        if world.target is None:
            assert (world.apex_selector, world.apex_marked) == (ORIGINAL, False)
        elif not world.enabled and state is not None and world.target.template in UNREADY:
            # The primary stays until somebody gives the target a template that gets ready.
            assert (state.phase, world.primary is None) == (Phase.TERMINATING, False)
        elif not world.enabled:
            assert state is None
            assert (world.apex_selector, world.apex_marked) == (ORIGINAL, False)
            # Of an app whose record was deleted before its Service was touched, nothing tells any
            # more that there is something to take away; the cluster collects it with the target.
            gone = (world.primary, world.weight, world.services) == (None, None, {})
            assert gone or self.lost_record
            assert world.target.replicas > 0 or self.scaled_to == 0
        elif state.phase is Phase.INITIALIZING:
            assert world.apex_selector == ORIGINAL
            assert world.target.replicas > 0 or self.scaled_to == 0
            # Who was stopped by its owner is not started to be enrolled.
            stopped = world.target.replicas == 0
            assert stopped or not world.primary_broken.isdisjoint(world.target.template)
        else:
            self._serves_what_was_promoted()

    def _serves_what_was_promoted(self):
        world, state = self.world, self.world.state
        wanted = revision(world.target.template, world.config)
        assert state.phase in IDLE_PHASES
        # An undone revision is refused, and the app has succeeded all the same.
        assert wanted in (state.promoted, state.failed)
        assert state.phase is not Phase.FAILED or wanted == state.failed
        assert (world.weight, world.apex_selector) == (0, SWITCHED)
        assert revision(*world.primary.content) == state.promoted
        assert world.endpoints()["app"]
        if world.plan.get("idle") != "keep":
            assert world.target.replicas == 0


def turned(value: Any) -> Any:
    """The same value with every mapping in it the other way round."""
    if isinstance(value, Mapping):
        return {key: turned(part) for key, part in reversed(list(value.items()))}
    if isinstance(value, tuple):
        return tuple(turned(part) for part in value)
    if dataclasses.is_dataclass(value):
        parts = {f.name: turned(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value


Rollouts.TestCase.settings = settings(stateful_step_count=30)
TestRollouts = Rollouts.TestCase
