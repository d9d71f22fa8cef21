"""Facts derived from a snapshot, and the small ways of answering with a decision,
shared by all stages.

A stage never repeats what another stage derived: if two need the same fact,
it lives here under one name.
"""

from dataclasses import replace

from canaryd.core import manifests, names
from canaryd.core.decision import (
    Action,
    ApplyPrimary,
    Decision,
    Emit,
    SaveState,
    Severity,
    StoreSnapshot,
    SwitchApex,
    WriteRoute,
)
from canaryd.core.model import CanarySpec, IdlePolicy, Provider
from canaryd.core.phase import Phase
from canaryd.core.program import Stage
from canaryd.core.reasons import Reason
from canaryd.core.routing import PRIMARY_ONLY, Routing
from canaryd.core.snapshot import App, Snapshot
from canaryd.core.state import HISTORY_CAP, HistoryEntry, RolloutState, RunState, brief
from canaryd.core.views import DeploymentView

ANALYSIS = frozenset({Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION})
"""Phases in which a revision is tried and nothing of the primary has been touched."""
HOLD_RECHECK_S = 10.0
"""How often a wait that a watch should end is looked at all the same."""


def app_of(snap: Snapshot) -> App:
    """The discovered app; stages after ``obstacles`` may rely on it."""
    if snap.app is None:
        raise AssertionError("a stage that needs the app ran before the obstacles check")
    return snap.app


def state_of(snap: Snapshot) -> RolloutState:
    """The recorded state; stages after enrolment may rely on it."""
    if snap.state is None:
        raise AssertionError("a stage that needs the state ran before enrolment")
    return snap.state


def run_of(snap: Snapshot) -> RunState:
    """The run under way; stages of a run may rely on it."""
    run = state_of(snap).run
    if run is None:
        raise AssertionError("a stage of a run was reached without a run")
    return run


def target_of(snap: Snapshot) -> DeploymentView:
    """The target; stages after ``target_gone`` may rely on it."""
    if snap.target is None:
        raise AssertionError("a stage that needs the target ran after it was gone")
    return snap.target


def spec_of(snap: Snapshot) -> CanarySpec:
    """The plan in force; stages after ``no_config`` may rely on it."""
    if snap.spec is None:
        raise AssertionError("a stage that needs the plan ran before the configuration check")
    return snap.spec


def primary_service_name(app: App) -> str:
    return names.primary_name(app.apex.id.name)


def canary_service_name(app: App) -> str:
    return names.canary_name(app.apex.id.name)


def drain_s(snap: Snapshot) -> float:
    """How long after a route was written its old end must be kept: propagation,
    and the user's delay.
    """
    return max(snap.propagation_s, spec_of(snap).scale_down_delay_s)


def parks(snap: Snapshot) -> bool:
    """Whether the target is scaled to zero between runs."""
    return spec_of(snap).idle is IdlePolicy.SCALE_TO_ZERO


def need(replicas: int, percent: int) -> int:
    """Pods that must be ready: at least one, rounded up."""
    return max(1, -(-replicas * percent // 100))


def wanted_primary_revision(state: RolloutState) -> str:
    """Which revision the primary is to run."""
    run = state.run
    if state.phase is Phase.PROMOTING and run is not None and not run.primary_failed:
        return run.revision
    return state.promoted


def primary_replicas(snap: Snapshot) -> int:
    """Replicas to apply: what the primary has, by an autoscaler or by hand, since an apply must not
    shrink what serves users; what the app is to have when there is no primary.
    """
    has = snap.primary.replicas if snap.primary is not None else 0
    return has or max(1, state_of(snap).replicas)


def apply_primary(snap: Snapshot, revision: str) -> ApplyPrimary:
    return ApplyPrimary(revision, primary_replicas(snap))


def primary_is_rolled_out(snap: Snapshot, revision: str) -> bool:
    """The primary runs this revision with enough ready pods, and its Service sees them."""
    primary, spec = snap.primary, spec_of(snap)
    return (
        primary is not None
        and primary.annotations.get(names.REVISION) == revision
        and primary.is_rolled_out(spec.primary_ready)
        and len(snap.ready(primary_service_name(app_of(snap))))
        >= need(primary.replicas, spec.primary_ready)
    )


def primary_serves(snap: Snapshot) -> bool:
    """At least one ready address stands behind the primary's Service."""
    return bool(snap.ready(_own_service(snap, "primary")))


def primary_has_capacity(snap: Snapshot) -> bool:
    """Enough primary pods are ready to judge against and to go back to."""
    primary = snap.primary
    return primary is not None and primary.ready >= need(
        primary.replicas, spec_of(snap).primary_ready
    )


def canary_serves(snap: Snapshot) -> bool:
    """At least one ready address of the analysed revision stands behind the canary Service."""
    return bool(snap.ready(_own_service(snap, "canary"))) and target_of(snap).ready > 0


def _own_service(snap: Snapshot, role: str) -> str:
    """Name of our Service of this role, found by its label while an obstacle hides the app:
    who serves must be seen all the same.
    """
    if snap.app is not None:
        return {"primary": primary_service_name, "canary": canary_service_name}[role](snap.app)
    ours = (n for n, s in snap.services.items() if s.labels.get(names.LABEL_ROLE) == role)
    return next(ours, "")


def canary_is_ready(snap: Snapshot) -> bool:
    """The analysed revision is rolled out and the canary Service sees enough of it."""
    target, spec = target_of(snap), spec_of(snap)
    return (
        target.replicas > 0
        and target.is_rolled_out(spec.canary_ready)
        and len(snap.ready(canary_service_name(app_of(snap))))
        >= need(target.replicas, spec.canary_ready)
    )


def routing_of(spec: CanarySpec, run: RunState | None) -> Routing:
    """What routes are to say while this run is where it is; None: between runs."""
    if run is None:
        return PRIMARY_ONLY
    return Routing(run.weight, spec.matches if run.matched else (), run.mirror)


def wanted_routing(snap: Snapshot) -> Routing:
    """What was decided before this look that routes are to say."""
    return routing_of(spec_of(snap), snap.state.run if snap.state else None)


def routes_as_decided(snap: Snapshot) -> bool | None:
    """Whether the routing objects say what was decided before this look; None while they cannot be
    told, since something hides the app.
    """
    if snap.app is None:
        return None
    return snap.route.in_sync and snap.route.routing == wanted_routing(snap)


def retreat() -> WriteRoute:
    """Everything to the primary."""
    return WriteRoute(PRIMARY_ONLY)


def stage_of(snap: Snapshot) -> Stage:
    """The stage under way; stages of an analysis may rely on it."""
    return spec_of(snap).stages[run_of(snap).step]


def until_end(snap: Snapshot, now: float) -> float:
    """Seconds until ``max-duration`` ends the run."""
    return max(0.0, run_of(snap).started_at + spec_of(snap).max_duration_s - now) + 0.05


def is_skipped(snap: Snapshot) -> bool:
    """Whether the run's revision is promoted without a verdict."""
    run = run_of(snap)
    return run.skipped or spec_of(snap).skips(run.revision)


def hidden_by(snap: Snapshot) -> str:
    """Reason of the obstacle that hides the app; empty when nothing does."""
    return str(snap.obstacles[0].reason) if snap.app is None and snap.obstacles else ""


def apex_points_at_primary(snap: Snapshot) -> bool:
    """Whether the apex Service selects exactly what it should while the app is enrolled,
    and is marked.
    """
    app = app_of(snap)
    wanted = manifests.apex_selector(app.apex, app.label, app.value)
    return dict(app.apex.selector) == wanted and _apex_is_marked(app)


def apex_is_in_order(snap: Snapshot) -> bool:
    """Whether the apex Service is marked and leads to the primary; where its selector is the route,
    to either side: to which of them is then the route's affair.
    """
    app = app_of(snap)
    if app.spec.provider is Provider.NONE and snap.route.routing is not None:
        return _apex_is_marked(app)
    return apex_points_at_primary(snap)


def _apex_is_marked(app: App) -> bool:
    is_ours = app.apex.labels.get(names.LABEL_APEX) == app.target.name
    return is_ours and app.apex.recorded_selector() is not None


def point_apex_as_decided(snap: Snapshot) -> SwitchApex:
    """The action that makes the apex Service lead to the primary; where its selector is the route,
    to whom the run says.
    """
    app = app_of(snap)
    service = snap.services.get(canary_service_name(app))
    canary = service.selector if service is not None else {}
    has_pods = canary.get(names.POD_TEMPLATE_HASH, names.NO_PODS) != names.NO_PODS
    is_route = app.spec.provider is Provider.NONE and has_pods
    routing = wanted_routing(snap) if is_route else PRIMARY_ONLY
    selector = manifests.apex_selector_for(app.apex, app.label, app.value, routing, canary)
    return SwitchApex(app.apex, tuple(sorted(selector.items())), keep_record=True)


def point_apex_at_primary(snap: Snapshot) -> SwitchApex:
    """The action that makes the apex Service lead to the primary."""
    app = app_of(snap)
    selector = manifests.apex_selector(app.apex, app.label, app.value)
    return SwitchApex(app.apex, tuple(sorted(selector.items())), keep_record=True)


def store_snapshot(snap: Snapshot, revision: str) -> StoreSnapshot:
    """The action that records the target's present revision."""
    wanted = snap.revision
    copied = {k: content for k, (_, content) in wanted.contents.items() if k not in wanted.shared}
    return StoreSnapshot(revision, target_of(snap).fingerprint, tuple(sorted(copied.items())))


def waits(
    snap: Snapshot,
    reason: Reason,
    message: str,
    *,
    after: float | None = HOLD_RECHECK_S,
    tell: Severity | None = None,
) -> Decision:
    """Do nothing but, with ``tell``, record once why: status and Event change only when the words
    do.
    """
    state, said = snap.state, (str(reason), brief(message))
    if tell is None or state is None or (state.reason, state.message) == said:
        return Decision(reason=reason, message=message, requeue_after=after)
    actions: tuple[Action, ...] = (SaveState(with_reason(state, reason, message)),)
    if state.reason != reason or tell == "Warning":
        actions += (Emit(reason, message, tell),)
    return Decision(reason=reason, message=message, actions=actions, requeue_after=after)


def acts(reason: Reason, message: str, *actions: Action, after: float | None = 0.0) -> Decision:
    """Do something and look again at once."""
    return Decision(reason=reason, message=message, actions=actions, requeue_after=after)


def with_reason(state: RolloutState, reason: Reason, message: str) -> RolloutState:
    return replace(state, reason=str(reason), message=brief(message))


def enter(
    state: RolloutState, phase: Phase, now: float, reason: Reason, message: str
) -> RolloutState:
    """The state on entering a phase."""
    return replace(with_reason(state, reason, message), phase=phase, settled_at=now)


def close_run(state: RolloutState, now: float, result: str, reason: Reason) -> RolloutState:
    """The state without its run, the run being history."""
    run = state.run
    if run is None:
        return state
    entry = HistoryEntry(
        revision=run.revision,
        result=result,
        reason=str(reason),
        started_at=run.started_at,
        finished_at=now,
        decision_id=run.id,
    )
    promotions = state.promotions
    if result == "Succeeded":
        promotions = (*(r for r in promotions if r != run.revision), run.revision)[-HISTORY_CAP:]
    history = (*state.history, entry)[-HISTORY_CAP:]
    return replace(state, run=None, history=history, promotions=promotions)
