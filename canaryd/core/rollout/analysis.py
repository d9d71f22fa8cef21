"""From a new revision to its first users: gates, rehearsal, and what stops a run on its way.

What the canary's pods have to be is in ``canary``, what a stage is judged by in ``evaluation``.
"""

from dataclasses import replace

from canaryd.core import verdicts
from canaryd.core.decision import Decision, SaveState
from canaryd.core.model import HookType
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.evaluation import (
    enter_stage,
    evaluation_failed,
    gate,
    until_next,
)
from canaryd.core.rollout.facts import (
    ANALYSIS,
    acts,
    enter,
    is_skipped,
    primary_has_capacity,
    primary_serves,
    run_of,
    spec_of,
    state_of,
    until_end,
    waits,
)
from canaryd.core.rollout.questions import (
    ask_hooks,
    budget_of,
    hook_records,
    hook_result,
    next_evaluation,
)
from canaryd.core.rollout.runs import closed_for, fail, scale_up
from canaryd.core.snapshot import Snapshot


def confirm_rollout(snap: Snapshot, now: float) -> Decision | None:
    """confirm-rollout hooks open the run; while they refuse, nothing has moved."""
    state = state_of(snap)
    if state.phase is not Phase.WAITING:
        return None
    hooks = spec_of(snap).hooks_of(HookType.CONFIRM_ROLLOUT)
    refused = gate(snap, now, hooks)
    if refused is not None:
        return refused
    answers, _ = ask_hooks(snap, hooks)
    state = replace(state, hooks=hook_records(state, hooks, answers, now))
    run = replace(
        next_evaluation(run_of(snap), now), confirmed=True, pods_wanted_at=now, evaluated_at=0.0
    )
    message = f"rollout of {run.revision} confirmed"
    saved = replace(enter(state, Phase.PROGRESSING, now, Reason.NEW_REVISION, message), run=run)
    return acts(Reason.NEW_REVISION, message, SaveState(saved), *scale_up(snap))


def max_duration(snap: Snapshot, now: float) -> Decision | None:
    """A run has an end."""
    run, limit = run_of(snap), spec_of(snap).max_duration_s
    if now - run.started_at <= limit:
        return None
    return fail(
        snap, now, Reason.MAX_DURATION_EXCEEDED, f"it took longer than max-duration ({limit:.0f} s)"
    )


def overdue(snap: Snapshot, now: float) -> Decision | None:
    """A run that something in its way keeps from being looked at has the same end."""
    state, spec = snap.state, snap.spec
    is_held = bool(snap.obstacles) or snap.revision.name is None
    if state is None or state.run is None or spec is None or not is_held:
        return None
    frozen = snap.fresh_spec is not None and snap.fresh_spec.suspend
    if frozen or state.phase not in ANALYSIS or not primary_serves(snap):
        return None
    return max_duration(snap, now)


def held(snap: Snapshot, now: float) -> Decision | None:
    """A run that failed under ``on-failure: hold`` or ``notify`` is a person's to end."""
    run = run_of(snap)
    if not run.held:
        return None
    text = f"failed, waiting for a person to retry, promote or abort: {run.held}"
    return waits(snap, Reason.FAILURE_HELD, text, after=until_end(snap, now))


def paused(snap: Snapshot, now: float) -> Decision | None:
    """Somebody paused the run: it stays where it is; the guards above go on."""
    run = run_of(snap)
    if not run.paused_at:
        return None
    text = f"paused by {run.paused_by}"
    return waits(snap, Reason.PAUSED, text, after=until_end(snap, now), tell="Normal")


def rehearse(snap: Snapshot, now: float) -> Decision | None:
    """pre-rollout hooks run against the ready canary before any user sees it."""
    state, run = state_of(snap), run_of(snap)
    hooks = spec_of(snap).hooks_of(HookType.PRE_ROLLOUT)
    if run.step >= 0 or run.rehearsed or not hooks or is_skipped(snap):
        return None
    if (left := until_next(snap, now)) > 0 and run.evaluated_at:
        return waits(snap, Reason.HOOK_FAILED, "pre-rollout hooks are asked again", after=left)
    answers, asking = ask_hooks(snap, hooks)
    if asking is not None:
        return asking
    state = replace(state, hooks=hook_records(state, hooks, answers, now))
    if any(not a.passed for a in answers):
        results = [hook_result(a) for a in answers if not a.passed]
        return evaluation_failed(
            replace(snap, state=state), now, verdicts.judge_all(results, budget_of(snap))
        )
    passed = replace(next_evaluation(run, now), rehearsed=True, evaluated_at=0.0)
    return acts(
        Reason.ANALYSIS_STARTED,
        "pre-rollout hooks passed",
        SaveState(replace(state, run=passed)),
    )


def first_stage(snap: Snapshot, now: float) -> Decision | None:
    """The first stage, with which users come to the canary in most strategies."""
    if run_of(snap).step >= 0:
        return None
    if closed_s := closed_for(spec_of(snap), now):
        text = "outside of canaryd.io/schedule, or in a freeze: no users for the canary yet"
        return waits(snap, Reason.OUTSIDE_SCHEDULE, text, after=closed_s, tell="Normal")
    if run_of(snap).ready_for >= 0:
        return enter_stage(snap, now, state_of(snap), 0, ())
    if not primary_has_capacity(snap):
        return waits(
            snap,
            Reason.PRIMARY_NOT_READY,
            "the primary is not ready: no weight is raised",
            tell="Normal",
        )
    state, hooks = state_of(snap), spec_of(snap).hooks_of(HookType.CONFIRM_TRAFFIC_INCREASE)
    if hooks:
        refused = gate(snap, now, hooks)
        if refused is not None:
            return refused
        answers, _ = ask_hooks(snap, hooks)
        state = replace(state, hooks=hook_records(state, hooks, answers, now))
    return enter_stage(snap, now, state, 0, ())
