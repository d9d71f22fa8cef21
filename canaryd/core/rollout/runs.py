"""A run's beginning and its ends: a new revision, a newer one, a revert, a failure.

A run starts from a recorded snapshot and a pinned plan;
nothing else is ever analysed or promoted.
Whatever ends it, users leave the canary first; what it was is history with a word for why.
"""

from collections.abc import Iterable
from dataclasses import replace

from canaryd.core import windows
from canaryd.core.decision import (
    Action,
    Decision,
    Emit,
    Notify,
    SaveState,
    ScaleTarget,
    StopAsking,
)
from canaryd.core.model import CanarySpec, HookType, IdlePolicy, OnFailure
from canaryd.core.phase import Phase
from canaryd.core.program import Stage
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    ANALYSIS,
    acts,
    app_of,
    close_run,
    enter,
    retreat,
    routing_of,
    run_of,
    spec_of,
    state_of,
    store_snapshot,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState, brief


def unqueued(snap: Snapshot, now: float) -> Decision | None:
    """A revision that is wanted no longer gives its place in the queue away."""
    state, wanted = state_of(snap), snap.revision.name
    if not state.queued_at or wanted is None:
        return None
    if wanted != state.promoted and not is_refused(snap, wanted):
        return None
    text = f"revision {state.promoted} is wanted again; no run is waited for"
    saved = replace(with_reason(state, Reason.REVERTED, text), queued_at=0.0)
    return acts(Reason.REVERTED, text, SaveState(saved))


QUEUE_RECHECK_S = 5.0
"""How often a place in the queue is looked at: other apps' runs wake nobody."""


def new_revision(snap: Snapshot, now: float) -> Decision | None:
    """An idle app whose target asks for something else than the primary runs starts a run."""
    state = state_of(snap)
    wanted = snap.revision.name
    if state.run is not None or wanted is None or wanted == state.promoted:
        return None
    if is_refused(snap, wanted) or closed_for(snap.fresh_spec or spec_of(snap), now):
        return None
    if snap.run_limit and snap.queue_place >= snap.run_limit:
        return _queue(snap, now, wanted)
    return _start(snap, now, state, wanted, Reason.NEW_REVISION, "")


def _queue(snap: Snapshot, now: float, wanted: str) -> Decision:
    """Everybody's turn comes, by how long they wait (case X22)."""
    state = state_of(snap)
    text = f"revision {wanted} waits for its turn: {snap.run_limit} runs may be under way at once"
    if state.queued_at and state.reason == Reason.QUEUED:
        return waits(snap, Reason.QUEUED, text, after=QUEUE_RECHECK_S)
    # Who was kept from waiting meanwhile, by an obstacle or ``suspend``, has its old place back.
    saved = replace(with_reason(state, Reason.QUEUED, text), queued_at=state.queued_at or now)
    return acts(
        Reason.QUEUED,
        text,
        SaveState(saved),
        Emit(Reason.QUEUED, text),
        after=QUEUE_RECHECK_S,
    )


def outside_schedule(snap: Snapshot, now: float) -> Decision | None:
    """A revision that comes at night, or in a freeze, waits without pods."""
    state, wanted = state_of(snap), snap.revision.name
    if wanted is None or wanted == state.promoted or is_refused(snap, wanted):
        return None
    closed_s = closed_for(snap.fresh_spec or spec_of(snap), now)
    text = f"revision {wanted} waits: outside of canaryd.io/schedule, or in a freeze"
    return waits(snap, Reason.OUTSIDE_SCHEDULE, text, after=closed_s, tell="Normal")


def is_refused(snap: Snapshot, revision: str) -> bool:
    """Whether this revision has failed, and nobody asked for another try."""
    state, token = state_of(snap), (snap.fresh_spec or spec_of(snap)).retry
    return revision == state.failed and (not token or token == state.retry)


def is_refused_beside(snap: Snapshot) -> bool:
    """Whether the target asks for a revision that failed before an undo of another one began: it
    stays refused, however the undo ends.
    """
    state, run = state_of(snap), state_of(snap).run
    is_undo = run is not None and bool(run.undoes)
    return is_undo and bool(state.failed) and snap.revision.name == state.failed


def closed_for(spec: CanarySpec, now: float) -> float:
    """Seconds until a run may begin; 0 when it may."""
    frozen_until = windows.frozen_until(spec.freeze, now)
    if frozen_until is not None:
        return frozen_until - now
    return windows.opens_in(spec.schedule, now)


def revision_changed(snap: Snapshot, now: float) -> Decision | None:
    """The target moved on in mid-run: users leave the old canary at once,
    the analysis starts over with the new one.
    """
    state = state_of(snap)
    wanted = snap.revision.name
    if state.phase not in ANALYSIS or wanted is None:
        return None
    old = run_of(snap)
    # Of the same revision too, if its plan has no such stage: another version made its course.
    if wanted == old.revision and old.step < len(spec_of(snap).stages):
        return None
    if wanted == state.promoted:
        return _cancel(snap, now)
    closed = close_run(state, now, "Superseded", Reason.REVISION_CHANGED)
    return _start(
        snap, now, closed, wanted, Reason.REVISION_CHANGED, f" (was analysing {old.revision})"
    )


def reverted_after_failure(snap: Snapshot, now: float) -> Decision | None:
    """A failed revision that was taken back leaves nothing to complain about;
    asked for again, it is a new revision like any other.
    """
    state = state_of(snap)
    if state.phase is not Phase.FAILED or snap.revision.name != state.promoted:
        return None
    message = f"reverted to promoted revision {state.promoted}"
    saved = replace(
        enter(state, Phase.SUCCEEDED, now, Reason.REVERTED, message),
        settled_at=state.settled_at,
        failed="",
    )
    return acts(Reason.REVERTED, message, SaveState(saved), Emit(Reason.REVERTED, message))


def _start(
    snap: Snapshot, now: float, state: RolloutState, revision: str, reason: Reason, note: str
) -> Decision:
    spec, old = snap.fresh_spec or spec_of(snap), state_of(snap).run
    stale = _configs_changed(snap, state) or (old is not None and old.restart > 0)
    gated = bool(spec.hooks_of(HookType.CONFIRM_ROLLOUT))
    run = RunState(
        id=f"{revision}-{state.runs + 1}",
        revision=revision,
        started_at=now,
        tracking=snap.revision.tracking,
        plan=dict(snap.plan),
        confirmed=not gated,
        restart=target_of(snap).replicas if stale else 0,
        pods_wanted_at=now,
        primary_replicas=snap.primary.replicas if snap.primary else 0,
    )
    message = f"new revision {revision}{note}"
    phase = Phase.WAITING if gated else Phase.PROGRESSING
    saved = replace(
        enter(state, phase, now, reason, message),
        run=run,
        runs=state.runs + 1,
        queued_at=0.0,
        retry=spec.retry or state.retry,
        tracked=snap.revision.seen,
        verdicts=(),
        hooks=(),
    )
    actions: list[Action] = [StopAsking()]
    if snap.route.carries:
        # Users leave first. A crash right after is harmless: the revision differs still, so this
        # decision comes again.
        actions.append(retreat())
    if snap.route.carries or (old is not None and old.carries):
        saved = replace(saved, route_written_at=now)
    actions += [store_snapshot(snap, revision), SaveState(saved)]
    if not gated and not run.restart:
        actions += scale_up(snap, spec)
    actions.append(Emit(reason, message))
    return acts(reason, message, *actions)


def _configs_changed(snap: Snapshot, state: RolloutState) -> bool:
    """Whether a tracked config differs from what was recorded when pods were last asked for.
    No Deployment replaces its pods for that: those that run have the old content.
    """
    recorded = {key: content for key, (_, content) in state.tracked.items()}
    return recorded != {key: content for key, (_, content) in snap.revision.contents.items()}


def _cancel(snap: Snapshot, now: float) -> Decision:
    """Back to the promoted revision by the user's own hand: no verdict, no failure,
    no second run (case X3).
    """
    state = state_of(snap)
    message = (
        f"reverted to promoted revision {state.promoted}; the run of {run_of(snap).revision} ends"
    )
    closed = close_run(state, now, "Cancelled", Reason.REVERTED)
    # Not by the history, which forgets.
    phase = Phase.SUCCEEDED if state.last_good else Phase.INITIALIZED
    saved = replace(
        enter(closed, phase, now, Reason.REVERTED, message),
        tracked=snap.revision.seen,
        route_written_at=now,
    )
    return acts(
        Reason.REVERTED,
        message,
        StopAsking(),
        SaveState(saved),
        retreat(),
        Emit(Reason.REVERTED, message),
    )


def fail(snap: Snapshot, now: float, reason: Reason, message: str) -> Decision:
    """What ``on-failure`` says; the one way a run fails by itself."""
    run, policy = run_of(snap), spec_of(snap).on_failure
    is_promoting = state_of(snap).phase is Phase.PROMOTING
    if policy is OnFailure.ROLLBACK or run.held or is_promoting:
        return roll_back(snap, now, reason, message)
    # Nobody stays on pods that are gone, or on a share that the data plane answers with errors.
    is_broken = reason in (Reason.CANARY_LOST, Reason.ROUTE_REFUSED)
    keeps_users = policy is OnFailure.NOTIFY and not is_broken
    return _hold(snap, now, reason, message, keeps_users=keeps_users)


def _hold(
    snap: Snapshot, now: float, reason: Reason, message: str, *, keeps_users: bool
) -> Decision:
    """The run stops where it is, pods and all, until a person decides."""
    state, run = state_of(snap), run_of(snap)
    where = f"stays at {routing_of(spec_of(snap), run)}" if keeps_users else "has no users any more"
    text = f"revision {run.revision} failed and {where}, a person must decide: {message}"
    held = replace(run if keeps_users else run.off(), held=brief(message))
    saved = replace(with_reason(state, Reason.FAILURE_HELD, text), run=held)
    actions: list[Action] = [SaveState(saved)]
    if not keeps_users:
        saved = replace(saved, route_written_at=now)
        actions = [SaveState(saved), retreat()]
    actions += [StopAsking(), Emit(reason, text, "Warning")]
    return acts(Reason.FAILURE_HELD, text, *actions)


def roll_back(snap: Snapshot, now: float, reason: Reason, message: str) -> Decision:
    """Users off the canary, the revision refused until it changes."""
    state, run = state_of(snap), run_of(snap)
    text = f"revision {run.revision} rolled back: {message}"
    closed = close_run(state, now, "Failed", reason)
    seen = state.primary_fingerprint or (snap.primary.fingerprint if snap.primary else "")
    refused, tracking = run.revision, run.tracking
    if is_refused_beside(snap):
        refused, tracking = state.failed, state.failed_tracking
    saved = replace(
        enter(closed, Phase.FAILED, now, reason, text),
        failed=refused,
        failed_tracking=tracking,
        primary_fingerprint=seen,
        route_written_at=now,
    )
    return acts(
        Reason.ROLLED_BACK,
        text,
        SaveState(saved),
        retreat(),
        StopAsking(),
        Emit(Reason.ROLLED_BACK, text, "Warning"),
        *_post_rollout(snap),
    )


def _post_rollout(snap: Snapshot) -> Iterable[Action]:
    hooks = spec_of(snap).hooks_of(HookType.POST_ROLLOUT)
    return (Notify(hooks, "post-rollout"),) if hooks else ()


def scale_up(snap: Snapshot, spec: CanarySpec | None = None) -> tuple[Action, ...]:
    """The pods of the first stage, of a plan that is about to be pinned or of the pinned one."""
    plan = spec or spec_of(snap)
    wanted = pods_for(snap, plan.stages[0] if plan.stages else None, plan)
    return () if target_of(snap).replicas == wanted else (ScaleTarget(wanted),)


def pods_for(snap: Snapshot, stage: Stage | None, spec: CanarySpec) -> int:
    """Replicas of the canary for a stage: what ``scale`` or ``canary-replicas`` says, and in any
    case as many as its share of the users takes of the primary's.
    """
    primary, target = snap.primary, target_of(snap)
    serving = max(1, primary.replicas if primary else state_of(snap).replicas)
    share = -(-serving * stage.weight // 100) if stage is not None else 0
    if app_of(snap).scales_canary and target.replicas > 0:
        return max(target.replicas, share)  # its own autoscaler decides above what the share takes
    if spec.idle is IdlePolicy.KEEP:
        return max(1, target.replicas)  # the user's own number
    scale = stage.scale if stage is not None and stage.scale is not None else spec.canary_replicas
    return max(1, share, scale.pods(serving) if scale is not None else serving)
