"""A run's beginning and its ends: a new revision, a newer one, a revert, a failure.

A run starts from a recorded snapshot and a pinned plan;
nothing else is ever analysed or promoted.
Whatever ends it, users leave the canary first; what it was is history with a word for why.
"""

from collections.abc import Iterable
from dataclasses import replace

from canaryd.core.decision import (
    Action,
    Decision,
    Emit,
    Notify,
    SaveState,
    ScaleTarget,
    StopAsking,
    WriteRoute,
)
from canaryd.core.model import HookType
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    acts,
    app_of,
    applied_weight,
    close_run,
    enter,
    parks,
    run_of,
    spec_of,
    state_of,
    store_snapshot,
    target_of,
)
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState

ANALYSIS = frozenset({Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION})


def new_revision(snap: Snapshot, now: float) -> Decision | None:
    """An idle app whose target asks for something else than the primary runs starts a run."""
    state = state_of(snap)
    wanted = snap.revision.name
    if state.run is not None or wanted is None or wanted == state.promoted:
        return None
    token = (snap.fresh_spec or spec_of(snap)).retry
    if wanted == state.failed and (not token or token == state.retry):
        return None
    return _start(snap, now, state, wanted, Reason.NEW_REVISION, "")


def revision_changed(snap: Snapshot, now: float) -> Decision | None:
    """The target moved on in mid-run: users leave the old canary at once,
    the analysis starts over with the new one.
    """
    state = state_of(snap)
    wanted = snap.revision.name
    if state.phase not in ANALYSIS or wanted is None or wanted == run_of(snap).revision:
        return None
    old = run_of(snap)
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
    if state.phase is not Phase.FAILED or snap.revision.name != state.promoted or not state.failed:
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
        plan=dict(snap.plan),
        confirmed=not gated,
        restart=target_of(snap).replicas if stale else 0,
        pods_wanted_at=now,
    )
    message = f"new revision {revision}{note}"
    phase = Phase.WAITING if gated else Phase.PROGRESSING
    saved = replace(
        enter(state, phase, now, reason, message),
        run=run,
        runs=state.runs + 1,
        retry=spec.retry or state.retry,
        tracked=snap.revision.contents,
        verdicts=(),
        hooks=(),
    )
    actions: list[Action] = [StopAsking()]
    if applied_weight(snap):
        # Users leave first. A crash right after is harmless: the revision differs still, so this
        # decision comes again.
        actions.append(WriteRoute(0))
    if applied_weight(snap) or (old is not None and old.weight):
        saved = replace(saved, route_written_at=now)
    actions += [store_snapshot(snap, revision), SaveState(saved)]
    if not gated and not run.restart:
        actions += scale_up(snap)
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
    phase = (
        Phase.SUCCEEDED
        if any(h.result == "Succeeded" for h in state.history)
        else Phase.INITIALIZED
    )
    saved = replace(
        enter(closed, phase, now, Reason.REVERTED, message),
        tracked=snap.revision.contents,
        route_written_at=now,
    )
    return acts(
        Reason.REVERTED,
        message,
        StopAsking(),
        SaveState(saved),
        WriteRoute(0),
        Emit(Reason.REVERTED, message),
    )


def fail(snap: Snapshot, now: float, reason: Reason, message: str) -> Decision:
    """Users off the canary, the revision refused until it changes: the one way a run fails."""
    state, run = state_of(snap), run_of(snap)
    text = f"revision {run.revision} rolled back: {message}"
    closed = close_run(state, now, "Failed", reason)
    seen = state.primary_fingerprint or (snap.primary.fingerprint if snap.primary else "")
    saved = replace(
        enter(closed, Phase.FAILED, now, reason, text),
        failed=run.revision,
        primary_fingerprint=seen,
        route_written_at=now,
    )
    return acts(
        Reason.ROLLED_BACK,
        text,
        SaveState(saved),
        WriteRoute(0),
        StopAsking(),
        Emit(Reason.ROLLED_BACK, text, "Warning"),
        *_post_rollout(snap),
    )


def _post_rollout(snap: Snapshot) -> Iterable[Action]:
    hooks = spec_of(snap).hooks_of(HookType.POST_ROLLOUT)
    return (Notify(hooks, "post-rollout"),) if hooks else ()


def scale_up(snap: Snapshot) -> tuple[Action, ...]:
    """Canary pods as many as the primary has; never fewer than an autoscaler already gave it."""
    primary, target = snap.primary, target_of(snap)
    wanted = max(1, primary.replicas if primary else state_of(snap).replicas)
    if not parks(snap) or (app_of(snap).autoscaler is not None and target.replicas > 0):
        wanted = max(wanted if parks(snap) else 1, target.replicas)
    return () if target.replicas == wanted else (ScaleTarget(wanted),)
