"""What happens next, and why: the table of contents of a rollout.

``decide`` is total and deterministic: the same snapshot at the same instant gives the same
decision; it reads no clock,
does no I/O and never raises for what a user or a cluster can do wrong.
It walks a chain of named checks; the first that has something to say decides.
Reading the chains below from top to bottom is reading what canaryd promises, highest first.
"""

from collections.abc import Callable
from dataclasses import replace

from canaryd.core.decision import Action, Decision, Emit, SaveState
from canaryd.core.feedback import with_feedback
from canaryd.core.phase import Phase, check_transition
from canaryd.core.reasons import Reason
from canaryd.core.rollout import (
    analysis,
    canary,
    commands,
    configs,
    enrolment,
    evaluation,
    leaving,
    observing,
    promotion,
    runs,
    satellites,
    scalers,
    upkeep,
    watching,
)
from canaryd.core.rollout.facts import retreat, state_of, waits
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, brief

Check = Callable[[Snapshot, float], Decision | None]


def decide(snap: Snapshot, now: float) -> Decision:
    """Decide what to do about one app.

    Args:
        snap: everything observed.
        now: seconds since the epoch by the daemon's steady clock.

    """
    decision = _first(snap, now, PRECONDITIONS)
    if decision is None and state_of(snap).phase not in _UNGUARDED:
        decision = _first(snap, now, GUARDS)
    decision = decision or _first(snap, now, _stage(snap))
    decision = decision or Decision(reason=Reason.IDLE, message="nothing to do")
    _guard_transitions(snap, decision)
    return with_feedback(snap, decision)


# --- checks that belong to no single stage --------------------------------------------------------


def state_unreadable(snap: Snapshot, now: float) -> Decision | None:
    """A state that cannot be read stops the app for a human; traffic stays as it is."""
    if not snap.state_error:
        return None
    return Decision(
        reason=Reason.CONFLICT,
        message=f"Canary {snap.key[1]}: {snap.state_error}",
        requeue_after=60.0,
    )


def config_reported(snap: Snapshot, now: float) -> Decision | None:
    """Invalid annotations are said once, in status and Event;
    the last valid configuration stays in force.
    """
    problems = snap.resolution.problems
    error = brief("; ".join(p.message for p in problems))
    state = snap.state
    recorded = state.config_error if state else ""
    if error == recorded:
        return None
    if state is None:
        state = RolloutState(phase=Phase.INITIALIZING, settled_at=now)
    saved = replace(state, config_error=error)
    if not saved.promoted:
        saved = replace(saved, reason=str(Reason.CONFIG_INVALID) if error else "", message=error)
    actions: tuple[Action, ...] = (SaveState(saved),)
    if error:
        actions += (Emit(Reason.CONFIG_INVALID, error, "Warning"),)
    message = error or "the configuration is valid again"
    return Decision(
        reason=Reason.CONFIG_INVALID, message=message, actions=actions, requeue_after=0.0
    )


def no_config(snap: Snapshot, now: float) -> Decision | None:
    """Without any valid configuration there is nothing to act on."""
    if snap.spec is not None:
        return None
    return Decision(
        reason=Reason.CONFIG_INVALID, message=snap.state.config_error if snap.state else ""
    )


def orphaned_route(snap: Snapshot, now: float) -> Decision | None:
    """A canary route whose main route is gone must not become a route of its own."""
    if not snap.route.orphaned:
        return None
    message = "the main Ingress is gone: the canary route goes to weight 0"
    if not snap.route.carries:
        return None
    return Decision(
        reason=Reason.TRAFFIC_DRIFT,
        message=message,
        actions=(retreat(), Emit(Reason.TRAFFIC_DRIFT, message, "Warning")),
        requeue_after=0.0,
    )


def obstacles(snap: Snapshot, now: float) -> Decision | None:
    """What stands in the way is named; what is there stays as it is."""
    if not snap.obstacles:
        return None
    first = snap.obstacles[0]
    message = "; ".join(o.message for o in snap.obstacles)[:4000]
    state = snap.state
    if state is not None:
        return waits(snap, first.reason, message, after=None, tell="Warning")
    blank = RolloutState(
        phase=Phase.INITIALIZING, settled_at=now, reason=str(first.reason), message=brief(message)
    )
    return Decision(
        reason=first.reason,
        message=message,
        actions=(SaveState(blank), Emit(first.reason, message, "Warning")),
    )


def revision_unknown(snap: Snapshot, now: float) -> Decision | None:
    """A config that cannot be read makes the revision unknown: nothing new starts,
    nothing is promoted.
    """
    obstacle = snap.revision.obstacle
    if snap.revision.name is not None or obstacle is None:
        return None
    return waits(snap, obstacle.reason, obstacle.message, tell="Warning")


def suspended(snap: Snapshot, now: float) -> Decision | None:
    """``suspend`` freezes: no run starts, a run under analysis stays at its weight;
    the guards above go on.
    """
    spec, state = snap.fresh_spec, state_of(snap)
    if spec is None or not spec.suspend or state.phase not in _FREEZABLE:
        return None
    if state.run is not None and state.reason != Reason.SUSPENDED:
        # What was asked, and for how long in vain, says nothing about the time after.
        again = replace(state.run, evaluation=state.run.evaluation + 1, inconclusive_since=None)
        snap = replace(snap, state=replace(state, run=again))
    return waits(snap, Reason.SUSPENDED, 'canaryd.io/suspend is "true"', after=None, tell="Normal")


def _enrolling_without_state(snap: Snapshot, now: float) -> Decision | None:
    return enrolment.begin(snap, now) if snap.state is None else None


_FREEZABLE = frozenset(
    {
        Phase.INITIALIZED,
        Phase.SUCCEEDED,
        Phase.FAILED,
        Phase.WAITING,
        Phase.PROGRESSING,
        Phase.WAITING_PROMOTION,
    }
)

_UNGUARDED = frozenset({Phase.INITIALIZING, Phase.TERMINATING})
"""What is not made yet, or is being taken down, cannot be kept as it should be."""

# --- the chains -----------------------------------------------------------------------------------

PRECONDITIONS: tuple[Check, ...] = (
    leaving.target_gone,  # nothing can be done for what does not exist
    leaving.not_ours,  # never touch what did not ask for it
    upkeep.stranded,  # users never stay on pods that are not ready, whatever is in the way
    state_unreadable,  # never guess what was promoted
    leaving.leave,  # the wish to leave beats everything but safety, which leaving keeps itself
    canary.canary_lost,  # users never stay on pods that are not ready, whatever else is wrong
    canary.route_refused,  # nor on a share that the data plane fails
    promotion.canary_gone,
    commands.obey,  # then people, as far as it is safe
    config_reported,  # say what is wrong, once
    no_config,
    observing.observe,  # who is only looked at is never touched
    analysis.overdue,  # nothing that is in the way holds a run for ever
    promotion.overdue,
    orphaned_route,
    obstacles,  # name what stands in the way and leave the rest alone
    _enrolling_without_state,
)

GUARDS: tuple[Check, ...] = (
    upkeep.unwanted_weight,  # nor on a canary that no run wants
    upkeep.apex_drift,  # users never reach an idle target
    upkeep.primary_lost,  # the primary is rebuilt from what was promoted
    upkeep.primary_parked,  # and never has no pods
    runs.revision_changed,  # only the revision under analysis has users
    upkeep.primary_changed,
    satellites.satellites_changed,
    scalers.scaler_switched,  # before the target goes to zero
    upkeep.services_lost,
    configs.copies_lost,
    evaluation.failed_unrecorded,  # a failed canary gets no users back
    upkeep.route_drift,  # the route says what was decided
    upkeep.fingerprint_known,
    configs.newly_tracked,
    upkeep.cautions_told,
    revision_unknown,  # unknown is never "unchanged"
    suspended,
)

ANALYSIS: tuple[Check, ...] = (
    analysis.max_duration,
    analysis.held,
    analysis.paused,
    analysis.confirm_rollout,
    canary.fresh_pods,
    canary.await_canary,
    promotion.skip,
    analysis.rehearse,
    canary.await_capacity,
    analysis.first_stage,
    canary.spare_pods,
    evaluation.evaluate,
)

IDLE: tuple[Check, ...] = (
    runs.reverted_after_failure,
    runs.unqueued,
    runs.new_revision,
    configs.copies_unrecoverable,
    upkeep.mended,
    upkeep.primary_scale,
    upkeep.idle_target,
    upkeep.health_changed,
    runs.outside_schedule,
)


def _stage(snap: Snapshot) -> tuple[Check, ...]:
    match state_of(snap).phase:
        case Phase.WAITING | Phase.PROGRESSING | Phase.WAITING_PROMOTION:
            return ANALYSIS
        case Phase.PROMOTING:
            return promotion.PROMOTING_CHAIN
        case Phase.FINALISING:
            return (promotion.finalise,)
        case Phase.WATCHING:
            return watching.CHAIN
        case Phase.INITIALIZED | Phase.SUCCEEDED | Phase.FAILED:
            return IDLE
        case Phase.INITIALIZING:
            return enrolment.CHAIN
        case Phase.TERMINATING:
            return (enrolment.enrol_again,)


def _first(snap: Snapshot, now: float, chain: tuple[Check, ...]) -> Decision | None:
    for check in chain:
        decision = check(snap, now)
        if decision is not None:
            return decision
    return None


def _guard_transitions(snap: Snapshot, decision: Decision) -> None:
    """The phase table is the second guard: a move along no arrow is a defect of ours."""
    old = snap.state.phase if snap.state else None
    for action in decision.actions:
        if isinstance(action, SaveState) and not check_transition(old, action.state.phase):
            raise AssertionError(
                f"no transition {old} -> {action.state.phase} (reason {decision.reason})"
            )
