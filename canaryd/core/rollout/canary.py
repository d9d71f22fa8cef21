"""The canary's pods: of the analysed revision, ready, enough for the next stage, or nobody's.

Pods come before the users that need them, and users leave before pods that fail them.
"""

from dataclasses import replace

from canaryd.core.decision import Action, Decision, Emit, SaveState, ScaleTarget, StopAsking
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    ANALYSIS,
    acts,
    apex_points_at_primary,
    app_of,
    canary_is_ready,
    canary_serves,
    canary_service_name,
    drain_s,
    enter,
    parks,
    primary_serves,
    retreat,
    run_of,
    spec_of,
    stage_of,
    state_of,
    target_of,
    waits,
    wanted_routing,
)
from canaryd.core.rollout.questions import next_evaluation
from canaryd.core.rollout.runs import fail, pods_for, scale_up
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RunState

LATE_S = 5.0
"""Pods are asked for within a moment of the wish for them, or the request had failed."""


def canary_lost(snap: Snapshot, now: float) -> Decision | None:
    """Weight above 0 and no ready canary pod: weight 0 now, by watch and not by tick (cases X5,
    F19, F21).
    """
    state, run = snap.state, snap.state.run if snap.state else None
    if state is None or run is None or state.phase not in ANALYSIS or not _is_ours(snap):
        return None
    is_tried = run.carries or (run.step >= 0 and not run.held)
    if not is_tried or canary_serves(snap):
        return None
    why = f"no canary pod is ready at {wanted_routing(snap)}"
    return _users_back(snap, now, run, Reason.CANARY_LOST, why)


def route_refused(snap: Snapshot, now: float) -> Decision | None:
    """Readers that do not serve the route fail the canary's share: weight 0 now."""
    state, run = snap.state, snap.state.run if snap.state else None
    if state is None or run is None or state.phase not in ANALYSIS:
        return None
    if not snap.route.is_refused or not run.carries or not _is_ours(snap):
        return None
    return _users_back(snap, now, run, Reason.ROUTE_REFUSED, snap.route.obstacle)


def _is_ours(snap: Snapshot) -> bool:
    """Whether there is a plan, and more than looking on."""
    return snap.spec is not None and not state_of(snap).observing


def _users_back(
    snap: Snapshot, now: float, run: RunState, reason: Reason, why: str
) -> Decision | None:
    """Take users off the canary at once; the run begins its steps anew, or has failed too often."""
    state, failures = state_of(snap), run.failures + 1
    limit = spec_of(snap).failure_threshold
    message = f"{why}: users are back on the primary (failure {failures}/{limit})"
    if failures >= limit:
        return fail(snap, now, reason, message)
    lost = replace(
        next_evaluation(run.off(), now),
        step=-1,
        failures=failures,
        ready_for=-1,
        pods_wanted_at=now,
    )
    phase = Phase.PROGRESSING
    saved = replace(enter(state, phase, now, reason, message), run=lost, route_written_at=now)
    return acts(
        reason,
        message,
        SaveState(saved),
        retreat(),
        StopAsking(),
        Emit(reason, message, "Warning"),
    )


def fresh_pods(snap: Snapshot, now: float) -> Decision | None:
    """Pods that were started before a config of theirs changed are replaced: what is analysed must
    be what is promoted. Users are off them already, and the data plane has its time.
    """
    state, run, target = state_of(snap), run_of(snap), target_of(snap)
    if not run.restart or run.step >= 0:
        return None
    message = "a config changed while the target's pods ran: starting them anew"
    if target.replicas > 0:
        left = state.route_written_at + drain_s(snap) - now
        if snap.route.carries or left > 0:
            return waits(snap, Reason.DRAINING, message, after=max(left, 0.2))
        if not (primary_serves(snap) and apex_points_at_primary(snap)):
            text = "the primary serves nobody; the target keeps its pods"
            return waits(snap, Reason.PRIMARY_NOT_READY, text)
        return acts(Reason.CANARY_NOT_READY, message, ScaleTarget(0))
    if target.status_replicas > 0 or not target.is_observed:
        return waits(snap, Reason.CANARY_NOT_READY, "waiting until the old pods are gone")
    spec = spec_of(snap)
    wanted = pods_for(snap, next(iter(spec.stages), None), spec) if parks(snap) else run.restart
    begun = replace(run, restart=0, pods_wanted_at=now)
    saved = SaveState(replace(state, run=begun))
    return acts(Reason.CANARY_NOT_READY, message, ScaleTarget(max(1, wanted)), saved)


def await_canary(snap: Snapshot, now: float) -> Decision | None:
    """The canary's pods run the analysed revision, are ready,
    and are seen behind the canary Service.
    """
    run, target = run_of(snap), target_of(snap)
    if run.step >= 0:
        return None
    if target.replicas == 0:
        return acts(Reason.CANARY_NOT_READY, "scaling the canary up", *scale_up(snap))
    if snap.pods and canary_is_ready(snap):
        return None
    return _not_ready(snap, now)


def await_capacity(snap: Snapshot, now: float) -> Decision | None:
    """The pods of the next stage come before its users do; those whom the canary has meanwhile are
    no reason to look away from it.
    """
    run, spec, target = run_of(snap), spec_of(snap), target_of(snap)
    if run.ready_for < 0:
        return None
    stage = spec.stages[run.ready_for]
    wanted = pods_for(snap, stage, spec)
    if target.replicas < wanted:
        message = f"scaling the canary to {wanted} for {stage.name}"
        actions: list[Action] = [ScaleTarget(wanted)]
        if now - run.pods_wanted_at > LATE_S:
            # They have their time from when they were asked for: we may have been away.
            asked = replace(run, pods_wanted_at=now)
            actions.append(SaveState(replace(state_of(snap), run=asked)))
        return acts(Reason.CANARY_NOT_READY, message, *actions)
    if canary_is_ready(snap):
        return None
    is_judged = run.step >= 0 and stage_of(snap).has_traffic
    return _too_late(snap, now) if is_judged else _not_ready(snap, now)


def spare_pods(snap: Snapshot, now: float) -> Decision | None:
    """A stage with a smaller ``scale`` gives pods back once the data plane surely knows its weight:
    until then they have the users of the one before.
    """
    run, spec = run_of(snap), spec_of(snap)
    if run.step < 0 or run.ready_for >= 0 or not parks(snap):
        return None
    stage = stage_of(snap)
    wanted = pods_for(snap, stage, spec)
    if stage.scale is None or target_of(snap).replicas <= wanted:
        return None
    if run.step_started_at + drain_s(snap) > now:
        return None
    message = f"scaling the canary to {wanted} for {stage.name}"
    return acts(Reason.ANALYZING, message, ScaleTarget(wanted))


def has_capacity(snap: Snapshot, index: int) -> bool:
    """Whether the canary has the ready pods that a stage needs."""
    spec = spec_of(snap)
    wanted = pods_for(snap, spec.stages[index], spec)
    return target_of(snap).replicas >= wanted and canary_is_ready(snap)


def pods_left_s(snap: Snapshot, now: float) -> float:
    """Seconds until pods that are waited for are too late."""
    return run_of(snap).pods_wanted_at + spec_of(snap).progress_deadline_s - now + 0.05


def _not_ready(snap: Snapshot, now: float) -> Decision:
    """Wait for pods, until ``progress-deadline``."""
    if (late := _too_late(snap, now)) is not None:
        return late
    message = f"waiting for canary pods: {_ready(snap)} ready"
    return waits(snap, Reason.CANARY_NOT_READY, message, after=pods_left_s(snap, now))


def _ready(snap: Snapshot) -> str:
    """Of the analysed revision: a target that kept its old pods has ready ones all the time."""
    ready = len(snap.ready(canary_service_name(app_of(snap))))
    return f"{ready}/{target_of(snap).replicas}"


def _too_late(snap: Snapshot, now: float) -> Decision | None:
    run, target = run_of(snap), target_of(snap)
    limit = spec_of(snap).progress_deadline_s
    waited = now - run.pods_wanted_at
    if target.is_observed and target.deadline_exceeded and waited > 1:
        return fail(snap, now, Reason.PROGRESS_DEADLINE_EXCEEDED, target.deadline_exceeded)
    if waited > limit:
        return fail(
            snap,
            now,
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"{_ready(snap)} canary pods ready after progress-deadline"
            f" ({limit:.0f} s) {target.failing}".strip(),
        )
    return None
