"""Going back to a revision that was promoted before: template and configs together.

The primary is rolled to the recorded snapshot by the same safe steps as any promotion; the target
is left alone, because Git owns it and would put its template back. The revision that was undone is
refused from then on, like one that failed: until it changes, or somebody asks for another try.
"""

from dataclasses import replace

from canaryd.core.decision import Decision, Emit, SaveState, StopAsking
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    acts,
    apply_primary,
    close_run,
    enter,
    state_of,
)
from canaryd.core.rollout.promotion import kept_revisions
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RunState


def may_return_to(snap: Snapshot, revision: str) -> str:
    """Why there is no way back to a revision, in words; empty when there is."""
    state = state_of(snap)
    if not revision:
        return "no revision was promoted before this one"
    if revision == state.promoted:
        return f"revision {revision} is the promoted one"
    promoted = {*state.promotions, state.last_good}
    spec = snap.fresh_spec or snap.spec
    kept = kept_revisions(state, spec.history_limit) if spec is not None else frozenset()
    if revision not in promoted or revision not in kept:
        listed = ", ".join(sorted((promoted & kept) - {state.promoted, ""})) or "none"
        return f"revision {revision} is not one that was promoted and is kept; there are: {listed}"
    return ""


def begin_undo(snap: Snapshot, now: float, revision: str, why: str) -> Decision:
    """Roll the primary to a recorded revision."""
    state, plan = state_of(snap), snap.fresh_spec or snap.spec
    closed = close_run(state, now, "Succeeded", Reason.PROMOTED)
    message = f"undoing revision {state.promoted}, back to {revision}: {why}"
    run = RunState(
        id=f"{revision}-{state.runs + 1}",
        revision=revision,
        started_at=now,
        plan=dict(snap.plan),
        confirmed=True,
        undoes=state.promoted,
        promotion_started_at=now,
        primary_replicas=snap.primary.replicas if snap.primary else 0,
    )
    saved = replace(
        enter(closed, Phase.PROMOTING, now, Reason.UNDO_STARTED, message),
        run=run,
        runs=state.runs + 1,
        # A token that was written for an earlier try does not ask for what is undone now.
        retry=plan.retry if plan is not None and plan.retry else state.retry,
        primary_fingerprint="",
        verdicts=(),
    )
    return acts(
        Reason.UNDO_STARTED,
        message,
        StopAsking(),
        SaveState(saved),
        apply_primary(snap, revision),
        Emit(Reason.UNDO_STARTED, message, "Warning"),
    )
