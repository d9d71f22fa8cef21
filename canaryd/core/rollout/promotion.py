"""From a passed analysis to a primary that runs it.

Order (design 4.3): keep the split → primary template applied with maxUnavailable 0 → primary
fully rolled out → weight back to the primary → drain → target to idle.
What is promoted is the run's recorded snapshot, never whatever the target contains by then (case
X4).
A primary that does not roll out gets its last good template back while the canary keeps serving
(case X2).
"""

from collections.abc import Iterable
from dataclasses import replace

from canaryd.core import names
from canaryd.core.decision import (
    Action,
    CollectGarbage,
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
    apex_points_at_primary,
    applied_weight,
    apply_primary,
    canary_serves,
    close_run,
    drain_s,
    enter,
    parks,
    primary_is_rolled_out,
    primary_serves,
    run_of,
    spec_of,
    state_of,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.rollout.runs import fail
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState


def skip(snap: Snapshot, now: float) -> Decision | None:
    """``skip-analysis``: a ready canary is promoted without a verdict, because the user said so."""
    state = state_of(snap)
    if state.phase is not Phase.PROGRESSING or not spec_of(snap).skip_analysis:
        return None
    return start(snap, now, state, ["analysis skipped"])


def start(snap: Snapshot, now: float, state: RolloutState, words: Iterable[str]) -> Decision:
    """Roll the primary to the run's snapshot; the split stays as it is."""
    run = run_of(snap)
    passed = ", ".join(words)
    message = f"promoting revision {run.revision}{': ' + passed if passed else ''}"
    saved = replace(
        enter(state, Phase.PROMOTING, now, Reason.PROMOTION_STARTED, message),
        run=replace(run, promotion_started_at=now),
        primary_fingerprint="",
    )
    return acts(
        Reason.PROMOTION_STARTED,
        message,
        StopAsking(),
        SaveState(saved),
        apply_primary(snap, run.revision),
        Emit(Reason.PROMOTION_STARTED, message),
    )


def canary_gone(snap: Snapshot, now: float) -> Decision | None:
    """While the primary rolls, a canary that stops serving, or moves on to an unanalysed revision,
    loses its users.
    """
    state, run = snap.state, snap.state.run if snap.state else None
    if state is None or run is None or state.phase is not Phase.PROMOTING:
        return None
    if run.weight == 0 or not primary_serves(snap):
        return None
    moved_on = snap.revision.name is not None and snap.revision.name != run.revision
    if canary_serves(snap) and not moved_on:
        return None
    why = "the target moved on to another revision" if moved_on else "no canary pod is ready"
    message = f"{why} while the primary rolls: all users to the primary"
    saved = replace(
        with_reason(state, Reason.CANARY_LOST, message),
        run=replace(run, weight=0),
        route_written_at=now,
    )
    return acts(
        Reason.CANARY_LOST,
        message,
        SaveState(saved),
        WriteRoute(0),
        Emit(Reason.CANARY_LOST, message, "Warning"),
    )


def reverted(snap: Snapshot, now: float) -> Decision | None:
    """The user takes the revision back while the primary rolls:
    the primary gets the promoted one back.
    """
    state, run = state_of(snap), run_of(snap)
    if (
        state.phase is not Phase.PROMOTING
        or run.primary_failed
        or snap.revision.name != state.promoted
    ):
        return None
    return _restore(
        snap,
        now,
        Reason.REVERTED,
        f"reverted to promoted revision {state.promoted} in mid-promotion",
    )


def await_primary(snap: Snapshot, now: float) -> Decision | None:
    """Wait for the primary; when it does not come, give it back what worked."""
    state, run = state_of(snap), run_of(snap)
    if state.phase is not Phase.PROMOTING or run.primary_failed:
        return None
    if primary_is_rolled_out(snap, run.revision):
        return None
    primary, limit = snap.primary, spec_of(snap).progress_deadline_s
    waited = now - (run.promotion_started_at or now)
    ours = primary is not None and primary.annotations.get(names.REVISION) == run.revision
    failing = (
        primary.deadline_exceeded if primary is not None and ours and primary.is_observed else ""
    )
    if waited > limit or (failing and waited > 1):
        text = failing or f"not rolled out after progress-deadline ({limit:.0f} s)"
        return _restore(
            snap,
            now,
            Reason.PROMOTION_FAILED,
            f"the primary failed to roll to {run.revision}: {text}",
        )
    ready = (
        f"{primary.updated}/{primary.replicas} updated, {primary.ready} ready"
        if primary
        else "gone"
    )
    return waits(
        snap, Reason.PROMOTING, f"rolling the primary: {ready}", after=limit - waited + 0.05
    )


def await_restored(snap: Snapshot, now: float) -> Decision | None:
    """Once the primary is whole again on the last good revision,
    users go back to it and the run has failed.
    """
    state, run = state_of(snap), run_of(snap)
    if state.phase is not Phase.PROMOTING or not run.primary_failed:
        return None
    if not primary_is_rolled_out(snap, state.promoted):
        return waits(
            snap,
            Reason.PROMOTION_FAILED,
            f"{run.primary_failed}; waiting for the primary at revision {state.promoted}, the"
            f" canary keeps its {run.weight}%",
        )
    return fail(snap, now, Reason.PROMOTION_FAILED, run.primary_failed)


def hand_back(snap: Snapshot, now: float) -> Decision | None:
    """The primary runs the new revision: it is the promoted one from here on,
    and gets all users.
    """
    state, run = state_of(snap), run_of(snap)
    if state.phase is not Phase.PROMOTING:
        return None
    message = f"primary runs {run.revision}; all users to the primary"
    saved = replace(
        enter(state, Phase.FINALISING, now, Reason.FINALISING, message),
        promoted=run.revision,
        last_good=state.promoted,
        failed="",
        primary_fingerprint=snap.primary.fingerprint if snap.primary else "",
        run=replace(run, weight=0, drained_from=now),
        route_written_at=now,
    )
    return acts(Reason.FINALISING, message, SaveState(saved), WriteRoute(0))


def finalise(snap: Snapshot, now: float) -> Decision | None:
    """Drained, the target goes idle and the run has succeeded."""
    state, run = state_of(snap), run_of(snap)
    left = (run.drained_from or now) + drain_s(snap) - now
    if applied_weight(snap) or left > 0:
        return waits(
            snap, Reason.DRAINING, f"draining for {max(left, 0):.0f} s", after=max(left, 0.2)
        )
    message = f"revision {run.revision} promoted"
    closed = close_run(state, now, "Succeeded", Reason.PROMOTED)
    saved = enter(closed, Phase.SUCCEEDED, now, Reason.PROMOTED, message)
    actions: list[Action] = []
    is_free = primary_serves(snap) and apex_points_at_primary(snap) and parks(snap)
    if is_free and snap.revision.name == run.revision and target_of(snap).replicas > 0:
        actions.append(ScaleTarget(0))
    actions += [
        SaveState(saved),
        Emit(Reason.PROMOTED, message),
        CollectGarbage(kept_revisions(saved, spec_of(snap).history_limit)),
    ]
    hooks = spec_of(snap).hooks_of(HookType.POST_ROLLOUT)
    if hooks:
        actions.append(Notify(hooks, "post-rollout"))
    return acts(Reason.PROMOTED, message, *actions)


def kept_revisions(state: RolloutState, limit: int) -> frozenset[str]:
    """Revisions whose snapshots stay: promoted now and before, the failed one, and the history."""
    succeeded = [h.revision for h in state.history if h.result == "Succeeded"][-limit:]
    return frozenset({state.promoted, state.last_good, state.failed, *succeeded} - {""})


def _restore(snap: Snapshot, now: float, reason: Reason, message: str) -> Decision:
    state, run = state_of(snap), run_of(snap)
    saved = replace(
        with_reason(state, reason, message),
        run=replace(run, primary_failed=message),
        primary_fingerprint="",
    )
    return acts(
        reason,
        message,
        SaveState(saved),
        apply_primary(snap, state.promoted),
        Emit(reason, message, "Warning"),
    )


PROMOTING_CHAIN = (reverted, await_primary, await_restored, hand_back)
