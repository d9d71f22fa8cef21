"""From a new revision to a verdict: gates, canary pods, weights, evaluations.

One evaluation is one set of questions (hooks and metrics) asked together at the end of an
interval, with the load tests that ran during it. Its outcome moves the run in the same decision:
a failing check is acted on at once,
never a tick later.
Unknown holds: it never passes and never spends the failure budget.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from canaryd.core import verdicts
from canaryd.core.decision import (
    Action,
    Decision,
    Emit,
    SaveState,
    ScaleTarget,
    StopAsking,
    WriteRoute,
)
from canaryd.core.model import CanarySpec, HookAnswer, HookSpec, HookType
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout import promotion
from canaryd.core.rollout.facts import (
    acts,
    apex_points_at_primary,
    app_of,
    applied_weight,
    canary_is_ready,
    canary_serves,
    canary_service_name,
    drain_s,
    enter,
    parks,
    primary_has_capacity,
    primary_serves,
    run_of,
    spec_of,
    state_of,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.rollout.questions import (
    ask_evaluation,
    ask_hooks,
    begin_load_tests,
    budget_of,
    check_results,
    hook_id,
    hook_records,
    hook_result,
    hook_text,
    next_evaluation,
    record_verdict,
)
from canaryd.core.rollout.runs import fail, scale_up
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState

ANALYSIS = frozenset({Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION})


# --- the stages of a run --------------------------------------------------------------------------


def confirm_rollout(snap: Snapshot, now: float) -> Decision | None:
    """confirm-rollout hooks open the run; while they refuse, nothing has moved."""
    state = state_of(snap)
    if state.phase is not Phase.WAITING:
        return None
    hooks = spec_of(snap).hooks_of(HookType.CONFIRM_ROLLOUT)
    gate = _gate(snap, now, hooks)
    if gate is not None:
        return gate
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


def canary_lost(snap: Snapshot, now: float) -> Decision | None:
    """Weight above 0 and no ready canary pod: weight 0 now, by watch and not by tick (cases X5,
    F19, F21).
    """
    state, run = snap.state, snap.state.run if snap.state else None
    if state is None or run is None or state.phase not in ANALYSIS:
        return None
    if run.weight == 0 or canary_serves(snap):
        return None
    failures = run.failures + 1
    limit = spec_of(snap).failure_threshold
    message = (
        f"no canary pod is ready at weight {run.weight}: users are back on the primary (failure"
        f" {failures}/{limit})"
    )
    if failures >= limit:
        return fail(snap, now, Reason.CANARY_LOST, message)
    lost = replace(
        next_evaluation(run, now),
        weight=0,
        step=-1,
        failures=failures,
        pods_wanted_at=now,
    )
    phase = Phase.PROGRESSING
    saved = replace(
        enter(state, phase, now, Reason.CANARY_LOST, message), run=lost, route_written_at=now
    )
    return acts(
        Reason.CANARY_LOST,
        message,
        SaveState(saved),
        WriteRoute(0),
        StopAsking(),
        Emit(Reason.CANARY_LOST, message, "Warning"),
    )


def failed_unrecorded(snap: Snapshot, now: float) -> Decision | None:
    """A failure that took users off but could not be recorded is recorded before anything lets
    them on again; until the evaluation is known to have passed, a lost weight stays lost.
    """
    state, run = state_of(snap), state_of(snap).run
    if run is None or state.phase not in ANALYSIS or run.step < 0 or spec_of(snap).skip_analysis:
        return None
    if applied_weight(snap) >= run.weight or _until_next(snap, now) > 0:
        return None
    asking = ask_evaluation(snap)
    if asking is not None:
        return asking
    verdict = _judge(snap, now)
    retreats = verdict is not None and any(
        isinstance(action, WriteRoute) and action.is_retreat for action in verdict.actions
    )
    return verdict if retreats else None


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
        if applied_weight(snap) or left > 0:
            return waits(snap, Reason.DRAINING, message, after=max(left, 0.2))
        if not (primary_serves(snap) and apex_points_at_primary(snap)):
            text = "the primary serves nobody; the target keeps its pods"
            return waits(snap, Reason.PRIMARY_NOT_READY, text)
        return acts(Reason.CANARY_NOT_READY, message, ScaleTarget(0))
    if target.status_replicas > 0 or not target.is_observed:
        return waits(snap, Reason.CANARY_NOT_READY, "waiting until the old pods are gone")
    primary = snap.primary
    wanted = primary.replicas if parks(snap) and primary is not None else run.restart
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
    # Of the analysed revision: a target that kept its old pods has ready ones all the time.
    ready = f"{len(snap.ready(canary_service_name(app_of(snap))))}/{target.replicas}"
    message = f"waiting for canary pods: {ready} ready"
    limit = spec_of(snap).progress_deadline_s
    waited = now - run.pods_wanted_at
    if target.is_observed and target.deadline_exceeded and waited > 1:
        return fail(snap, now, Reason.PROGRESS_DEADLINE_EXCEEDED, target.deadline_exceeded)
    if waited > limit:
        return fail(
            snap,
            now,
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"{ready} canary pods ready after progress-deadline"
            f" ({limit:.0f} s) {target.failing}".strip(),
        )
    return waits(snap, Reason.CANARY_NOT_READY, message, after=limit - waited + 0.05)


def rehearse(snap: Snapshot, now: float) -> Decision | None:
    """pre-rollout hooks run against the ready canary before any user sees it."""
    state, run = state_of(snap), run_of(snap)
    hooks = spec_of(snap).hooks_of(HookType.PRE_ROLLOUT)
    if run.step >= 0 or run.rehearsed or not hooks or spec_of(snap).skip_analysis:
        return None
    if (left := _until_next(snap, now)) > 0 and run.evaluated_at:
        return waits(snap, Reason.HOOK_FAILED, "pre-rollout hooks are asked again", after=left)
    answers, asking = ask_hooks(snap, hooks)
    if asking is not None:
        return asking
    state = replace(state, hooks=hook_records(state, hooks, answers, now))
    if any(not a.passed for a in answers):
        results = [hook_result(a) for a in answers if not a.passed]
        return _evaluation_failed(
            _with(snap, state), now, verdicts.judge_all(results, budget_of(snap))
        )
    passed = replace(next_evaluation(run, now), rehearsed=True, evaluated_at=0.0)
    return acts(
        Reason.ANALYSIS_STARTED,
        "pre-rollout hooks passed",
        SaveState(replace(state, run=passed)),
    )


def first_weight(snap: Snapshot, now: float) -> Decision | None:
    """The first users."""
    if run_of(snap).step >= 0 or spec_of(snap).skip_analysis:
        return None
    if not primary_has_capacity(snap):
        return waits(
            snap,
            Reason.PRIMARY_NOT_READY,
            "the primary is not ready: no weight is raised",
            tell="Normal",
        )
    state, hooks = state_of(snap), spec_of(snap).hooks_of(HookType.CONFIRM_TRAFFIC_INCREASE)
    if hooks:
        gate = _gate(snap, now, hooks)
        if gate is not None:
            return gate
        answers, _ = ask_hooks(snap, hooks)
        state = replace(state, hooks=hook_records(state, hooks, answers, now))
    return _advance(snap, now, state, ())


def evaluate(snap: Snapshot, now: float) -> Decision | None:
    """At the end of an interval, ask; when the answers are there, move: on, hold, or back."""
    run, spec = run_of(snap), spec_of(snap)
    if spec.skip_analysis:
        return None
    left = _until_next(snap, now)
    if left > 0:
        return waits(
            snap, Reason.ANALYZING, f"next check in {left:.1f} s at weight {run.weight}", after=left
        )
    asking = ask_evaluation(snap)
    if asking is not None:
        return asking
    return _judge(snap, now)


# --- one evaluation -------------------------------------------------------------------------------


def _judge(snap: Snapshot, now: float) -> Decision | None:
    """The table of outcomes of one evaluation."""
    state, spec = state_of(snap), spec_of(snap)
    hooks = spec.hooks_of(HookType.ROLLBACK, HookType.ROLLOUT)
    given = [a for h in hooks if isinstance(a := snap.answers.get(hook_id(snap, h)), HookAnswer)]
    results = check_results(snap)
    state = replace(
        state,
        verdicts=tuple(record_verdict(r, now) for r in results),
        hooks=hook_records(state, hooks, given, now),
    )
    judged = _with(snap, state)
    rollback = {h.name for h in spec.hooks_of(HookType.ROLLBACK)}
    for answer in given:
        if answer.hook in rollback and answer.passed:
            return fail(judged, now, Reason.ROLLBACK_REQUESTED, f"hook {answer.hook} asked for it")
    results += [hook_result(a) for a in given if a.hook not in rollback and not a.passed]
    evaluation = verdicts.judge_all(results, budget_of(snap))
    match evaluation.outcome:
        case verdicts.Outcome.FAIL:
            return _evaluation_failed(judged, now, evaluation)
        case verdicts.Outcome.INCONCLUSIVE:
            return _inconclusive(judged, now, evaluation.message)
        case verdicts.Outcome.PASS:
            if not primary_has_capacity(snap):
                return _hold(
                    judged,
                    now,
                    state,
                    Reason.PRIMARY_NOT_READY,
                    "the primary is not ready: the weight stays",
                )
            return _passed(judged, now, [r.message for r in results])
        case _:
            assert_never(evaluation.outcome)


def _passed(snap: Snapshot, now: float, words: list[str]) -> Decision | None:
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    last = run.step >= len(spec.weights) - 1
    gates_ahead: tuple[HookType, ...] = (HookType.CONFIRM_TRAFFIC_INCREASE,)
    if last:
        gates_ahead += (HookType.CONFIRM_PROMOTION,)
    for gate in gates_ahead:
        hooks = spec.hooks_of(gate)
        answers, asking = ask_hooks(snap, hooks)
        if asking is not None:
            return asking
        refused = [a for a in answers if not a.passed]
        state = replace(state, hooks=hook_records(state, hooks, answers, now))
        if refused:
            message = "; ".join(hook_text(a) for a in refused)
            if gate is HookType.CONFIRM_PROMOTION:
                state = replace(state, phase=Phase.WAITING_PROMOTION)
            return _hold(snap, now, state, Reason.WAITING_FOR_GATE, message)
    if last:
        return promotion.start(snap, now, state, words)
    return _advance(snap, now, state, words)


def _advance(snap: Snapshot, now: float, state: RolloutState, words: Iterable[str]) -> Decision:
    """Write the next weight; its load tests start with it."""
    run, spec = run_of(snap), spec_of(snap)
    step = run.step + 1
    weight = spec.weights[step]
    moved = replace(
        next_evaluation(run, now),
        step=step,
        weight=weight,
        step_started_at=now,
        evaluated_at=0.0,
        inconclusive_since=None,
    )
    passed = ": " + ", ".join(words) if words else ""
    message = f"weight {run.weight} -> {weight}{passed}"
    reason = Reason.ANALYSIS_STARTED if step == 0 else Reason.WEIGHT_ADVANCED
    saved = replace(with_reason(state, reason, message), phase=Phase.PROGRESSING, run=moved)
    return acts(
        reason,
        message,
        SaveState(saved),
        WriteRoute(weight),
        *begin_load_tests(snap, moved),
        Emit(reason, message, brief=True),
    )


def _evaluation_failed(snap: Snapshot, now: float, evaluation: verdicts.Evaluation) -> Decision:
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    reason = _why_failed(spec, evaluation)
    counted = replace(
        run, failures=evaluation.budget.spent, failures_by_metric=dict(evaluation.budget.by_check)
    )
    if evaluation.exhausted:
        return fail(_with(snap, replace(state, run=counted)), now, reason, evaluation.message)
    text = f"{evaluation.message} (failure {counted.failures}/{spec.failure_threshold})"
    held = replace(next_evaluation(counted, now), inconclusive_since=None)
    saved = replace(with_reason(state, reason, text), run=held)
    return acts(
        reason,
        text,
        SaveState(saved),
        *begin_load_tests(snap, held),
        Emit(reason, text, "Warning"),
        after=spec.interval_s,
    )


def _why_failed(spec: CanarySpec, evaluation: verdicts.Evaluation) -> Reason:
    """The word for the first kind of check that failed: metrics, then load tests, then hooks."""
    failed = {r.name for r in evaluation.results if r.verdict is verdicts.Verdict.FAIL}
    if failed & {m.name for m in spec.metrics}:
        return Reason.METRIC_FAILED
    if failed & {f"load-test.{t.name}" for t in spec.load_tests}:
        return Reason.LOAD_TEST_FAILED
    return Reason.HOOK_FAILED


def _inconclusive(snap: Snapshot, now: float, message: str) -> Decision:
    state, run, limit = state_of(snap), run_of(snap), spec_of(snap).inconclusive_deadline_s
    since = run.inconclusive_since if run.inconclusive_since is not None else now
    waited = now - since
    if waited >= limit:
        return fail(
            snap,
            now,
            Reason.INCONCLUSIVE_TOO_LONG,
            f"no verdict for {waited:.0f} s (inconclusive-deadline): {message}",
        )
    text = (
        f"holding at weight {run.weight}, no verdict for {waited:.0f} of {limit:.0f} s: {message}"
    )
    held = replace(state, run=replace(run, inconclusive_since=since))
    return _hold(snap, now, held, Reason.ADVANCEMENT_HELD, text)


def _hold(
    snap: Snapshot, now: float, state: RolloutState, reason: Reason, message: str
) -> Decision:
    """Stay at this weight for another interval."""
    run = state.run or run_of(snap)
    held = next_evaluation(run, now)
    saved = replace(with_reason(state, reason, message), run=held)
    actions: list[Action] = [SaveState(saved), *begin_load_tests(snap, held)]
    if state_of(snap).reason != reason:
        actions.append(Emit(reason, message))
    return acts(reason, message, *actions, after=spec_of(snap).interval_s)


def _gate(snap: Snapshot, now: float, hooks: tuple[HookSpec, ...]) -> Decision | None:
    """Ask gate hooks once an interval until all pass; None when they do."""
    run = run_of(snap)
    if (left := _until_next(snap, now)) > 0 and run.evaluated_at:
        return waits(snap, Reason.WAITING_FOR_GATE, "gates are asked again", after=left)
    answers, asking = ask_hooks(snap, hooks)
    if asking is not None:
        return asking
    refused = [a for a in answers if not a.passed]
    if not refused:
        return None
    state = replace(state_of(snap), hooks=hook_records(state_of(snap), hooks, answers, now))
    return _hold(
        snap, now, state, Reason.WAITING_FOR_GATE, "; ".join(hook_text(a) for a in refused)
    )


# --- questions and answers ------------------------------------------------------------------------


def _until_next(snap: Snapshot, now: float) -> float:
    """Seconds until the next evaluation is due."""
    run, spec = run_of(snap), spec_of(snap)
    begun = max(run.step_started_at, run.evaluated_at)
    warmup = spec.warmup_s if run.step == 0 and not run.evaluated_at else 0.0
    wait = max(spec.interval_s, snap.propagation_s if run.step >= 0 else 0.0)
    return begun + warmup + wait - now


def _with(snap: Snapshot, state: RolloutState) -> Snapshot:
    return replace(snap, state=state)
