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
    apply_primary,
    canary_serves,
    close_run,
    drain_s,
    enter,
    is_skipped,
    parks,
    primary_is_rolled_out,
    primary_serves,
    retreat,
    routing_of,
    run_of,
    spec_of,
    state_of,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.rollout.runs import fail, is_refused_beside
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, brief


def skip(snap: Snapshot, now: float) -> Decision | None:
    """``skip-analysis``: a ready canary is promoted without a verdict, because the user said so."""
    state = state_of(snap)
    if state.phase not in (Phase.PROGRESSING, Phase.WAITING_PROMOTION) or not is_skipped(snap):
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
    if not run.carries or not primary_serves(snap):
        return None
    moved_on = snap.revision.name is not None and snap.revision.name != run.revision
    if canary_serves(snap) and not moved_on:
        return None
    why = "the target moved on to another revision" if moved_on else "no canary pod is ready"
    message = f"{why} while the primary rolls: all users to the primary"
    saved = replace(
        with_reason(state, Reason.CANARY_LOST, message),
        run=run.off(),
        route_written_at=now,
    )
    return acts(
        Reason.CANARY_LOST,
        message,
        SaveState(saved),
        retreat(),
        Emit(Reason.CANARY_LOST, message, "Warning"),
    )


def overdue(snap: Snapshot, now: float) -> Decision | None:
    """A primary that cannot be given the revision, because its record is gone or the API server
    refuses it, fails the promotion like one that does not roll.
    """
    state, spec, primary = snap.state, snap.spec, snap.primary
    run = state.run if state is not None else None
    if run is None or state is None or spec is None or state.phase is not Phase.PROMOTING:
        return None
    if not snap.obstacles or snap.app is None or primary is None or run.primary_failed:
        return None
    is_applied = primary.annotations.get(names.REVISION) == run.revision
    if is_applied or now - (run.promotion_started_at or now) <= spec.progress_deadline_s:
        return None
    text = f"the primary could not be rolled to {run.revision}: {snap.obstacles[0].message}"
    return restore(snap, now, Reason.PROMOTION_FAILED, text)


def reverted(snap: Snapshot, now: float) -> Decision | None:
    """The user takes the revision back while the primary rolls:
    the primary gets the promoted one back.
    """
    state, run = state_of(snap), run_of(snap)
    if (
        state.phase is not Phase.PROMOTING
        or run.primary_failed
        or run.undoes
        or snap.revision.name != state.promoted
    ):
        return None
    return restore(
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
        return restore(
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
            f"{run.primary_failed}; waiting for the primary at revision {state.promoted}"
            + (f", the canary keeps its {run.weight}%" if run.weight else ""),
        )
    return fail(snap, now, Reason.PROMOTION_FAILED, run.primary_failed)


def hand_back(snap: Snapshot, now: float) -> Decision | None:
    """The primary runs the new revision: it is the promoted one from here on,
    and gets all users.
    """
    state, run = state_of(snap), run_of(snap)
    if state.phase is not Phase.PROMOTING:
        return None
    if run.handing_back and (waiting := _keeps_its_share(snap, now)) is not None:
        return waiting
    if run.weight > spec_of(snap).promotion_step_weight:
        return _hand_back_some(snap, now)
    message = f"primary runs {run.revision}; all users to the primary"
    refused, tracking = run.undoes, state.promoted_tracking if run.undoes else ""
    if is_refused_beside(snap):
        refused, tracking = state.failed, state.failed_tracking
    saved = replace(
        enter(state, Phase.FINALISING, now, Reason.FINALISING, message),
        promoted=run.revision,
        promoted_tracking=run.tracking,
        last_good=state.promoted,
        failed=refused,
        failed_tracking=tracking,
        primary_fingerprint=snap.primary.fingerprint if snap.primary else "",
        run=replace(run.off(), drained_from=now),
        route_written_at=now,
    )
    return acts(Reason.FINALISING, message, SaveState(saved), retreat())


def _keeps_its_share(snap: Snapshot, now: float) -> Decision | None:
    """Each step of handing back lasts an interval."""
    run, spec = run_of(snap), spec_of(snap)
    left = run.step_started_at + max(spec.interval_s, snap.propagation_s) - now
    if left <= 0:
        return None
    text = f"the primary gets its users back: weight {run.weight}"
    return waits(snap, Reason.PROMOTING, text, after=left)


def _hand_back_some(snap: Snapshot, now: float) -> Decision:
    """Users go back to the primary by ``promotion-step-weight`` an interval."""
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    weight = run.weight - spec.promotion_step_weight
    message = f"primary runs {run.revision}; weight {run.weight} -> {weight}"
    moved = replace(
        run.off(), weight=weight, handing_back=True, step_started_at=now, promotion_started_at=now
    )
    saved = replace(with_reason(state, Reason.PROMOTING, message), run=moved)
    return acts(
        Reason.PROMOTING,
        message,
        SaveState(saved),
        WriteRoute(routing_of(spec, moved)),
        Emit(Reason.PROMOTING, message, brief=True),
    )


def finalise(snap: Snapshot, now: float) -> Decision | None:
    """Drained, the target goes idle; the run has succeeded, or is watched for a while."""
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    # Also after a route that a crash kept from being written, or somebody else wrote meanwhile.
    drained_from = max(run.drained_from or now, state.route_written_at)
    left = drained_from + drain_s(snap) - now
    if snap.route.carries or left > 0:
        return waits(
            snap, Reason.DRAINING, f"draining for {max(left, 0):.0f} s", after=max(left, 0.2)
        )
    actions: list[Action] = []
    is_free = primary_serves(snap) and apex_points_at_primary(snap) and parks(snap)
    if is_free and snap.revision.name == run.revision and target_of(snap).replicas > 0:
        actions.append(ScaleTarget(0))
    if spec.watch_s and spec.metrics and state.last_good and not run.undoes:
        return _begin_watch(snap, now, actions)
    return succeed(snap, now, actions)


def succeed(snap: Snapshot, now: float, actions: Iterable[Action] = ()) -> Decision:
    """The run is over, and well."""
    state, run = state_of(snap), run_of(snap)
    reason, message = Reason.PROMOTED, f"revision {run.revision} promoted"
    if run.undoes:
        reason, message = Reason.UNDONE, f"revision {run.undoes} undone, {run.revision} serves"
    closed = close_run(state, now, "Succeeded", reason)
    saved = enter(closed, Phase.SUCCEEDED, now, reason, message)
    hooks = spec_of(snap).hooks_of(HookType.POST_ROLLOUT)
    return acts(
        reason,
        message,
        *actions,
        SaveState(saved),
        Emit(reason, message),
        CollectGarbage(kept_revisions(saved, spec_of(snap).history_limit)),
        *((Notify(hooks, "post-rollout"),) if hooks else ()),
    )


def _begin_watch(snap: Snapshot, now: float, actions: Iterable[Action]) -> Decision:
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    message = f"revision {run.revision} promoted; watched for {spec.watch_s:.0f} s"
    watched = replace(
        run,
        watch_until=now + spec.watch_s,
        step_started_at=now,
        evaluated_at=0.0,
        evaluation=run.evaluation + 1,
        failures=0,
        failures_by_metric={},
    )
    saved = replace(enter(state, Phase.WATCHING, now, Reason.PROMOTED, message), run=watched)
    return acts(
        Reason.PROMOTED, message, *actions, SaveState(saved), Emit(Reason.PROMOTED, message)
    )


def kept_revisions(state: RolloutState, limit: int) -> frozenset[str]:
    """Revisions whose snapshots stay: promoted now and before, the failed one, and as many of those
    promoted earlier as there are results in a history.
    """
    earlier = state.promotions[-limit:]
    return frozenset({state.promoted, state.last_good, state.failed, *earlier} - {""})


def restore(snap: Snapshot, now: float, reason: Reason, message: str) -> Decision:
    state, run = state_of(snap), run_of(snap)
    saved = replace(
        with_reason(state, reason, message),
        run=replace(run, primary_failed=brief(message)),
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
