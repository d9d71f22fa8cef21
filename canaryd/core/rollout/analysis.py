"""From a new revision to a verdict: gates, canary pods, weights, evaluations.

One evaluation is one set of questions (hooks and metrics) asked together at the end of an interval, with the load tests that
ran during it. Its outcome moves the run in the same decision: a failing check is acted on at once, never a tick later.
Unknown holds: it never passes and never spends the failure budget.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from canaryd.core import gates
from canaryd.core.decision import (
    Action,
    Ask,
    Decision,
    Emit,
    Notify,
    Question,
    SaveState,
    ScaleTarget,
    StopAsking,
    WriteRoute,
)
from canaryd.core.model import HookAnswer, HookSpec, HookType, LoadTestAnswer, MetricAnswer
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    acts,
    app_of,
    applied_weight,
    canary_is_ready,
    canary_serves,
    close_run,
    enter,
    parks,
    primary_has_capacity,
    run_of,
    spec_of,
    state_of,
    store_snapshot,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import HookRecord, RolloutState, RunState, VerdictRecord

ANALYSIS = frozenset({Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION})


# --- starting, restarting, ending -------------------------------------------------------------------------------------


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
    """The target moved on in mid-run: users leave the old canary at once, the analysis starts over with the new one."""
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
    """A failed revision that was taken back leaves nothing to complain about."""
    state = state_of(snap)
    if state.phase is not Phase.FAILED or snap.revision.name != state.promoted or not state.failed:
        return None
    message = f"reverted to promoted revision {state.promoted}"
    saved = replace(
        enter(state, Phase.SUCCEEDED, now, Reason.REVERTED, message), settled_at=state.settled_at
    )
    return acts(Reason.REVERTED, message, SaveState(saved), Emit(Reason.REVERTED, message))


def _start(
    snap: Snapshot, now: float, state: RolloutState, revision: str, reason: Reason, note: str
) -> Decision:
    spec = snap.fresh_spec or spec_of(snap)
    gated = bool(spec.hooks_of(HookType.CONFIRM_ROLLOUT))
    run = RunState(
        id=f"{revision}-{state.runs + 1}",
        revision=revision,
        started_at=now,
        plan=dict(snap.plan),
        confirmed=not gated,
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
        # Users leave first. A crash right after is harmless: the revision differs still, so this decision comes again.
        actions.append(WriteRoute(0))
    actions += [store_snapshot(snap, revision), SaveState(saved)]
    if not gated:
        actions += _scale_up(snap)
    actions.append(Emit(reason, message))
    return acts(reason, message, *actions)


def _cancel(snap: Snapshot, now: float) -> Decision:
    """Back to the promoted revision by the user's own hand: no verdict, no failure, no second run (case X3)."""
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
    saved = enter(closed, phase, now, Reason.REVERTED, message)
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


# --- the stages of a run ----------------------------------------------------------------------------------------------


def confirm_rollout(snap: Snapshot, now: float) -> Decision | None:
    """confirm-rollout hooks open the run; while they refuse, nothing has moved."""
    state = state_of(snap)
    if state.phase is not Phase.WAITING:
        return None
    hooks = spec_of(snap).hooks_of(HookType.CONFIRM_ROLLOUT)
    gate = _gate(snap, now, hooks)
    if gate is not None:
        return gate
    run = replace(
        _next_evaluation(run_of(snap), now), confirmed=True, pods_wanted_at=now, evaluated_at=0.0
    )
    message = f"rollout of {run.revision} confirmed"
    saved = replace(enter(state, Phase.PROGRESSING, now, Reason.NEW_REVISION, message), run=run)
    return acts(Reason.NEW_REVISION, message, SaveState(saved), *_scale_up(snap))


def max_duration(snap: Snapshot, now: float) -> Decision | None:
    """A run has an end."""
    run, limit = run_of(snap), spec_of(snap).max_duration_s
    if now - run.started_at <= limit:
        return None
    return fail(
        snap, now, Reason.MAX_DURATION_EXCEEDED, f"it took longer than max-duration ({limit:.0f} s)"
    )


def canary_lost(snap: Snapshot, now: float) -> Decision | None:
    """Weight above 0 and no ready canary pod: weight 0 now, by watch and not by tick (cases X5, F19, F21)."""
    state = state_of(snap)
    run = state.run
    if run is None or state.phase not in ANALYSIS or run.weight == 0 or canary_serves(snap):
        return None
    failures = run.failures + 1
    limit = spec_of(snap).failure_threshold
    message = f"no canary pod is ready at weight {run.weight}: users are back on the primary (failure {failures}/{limit})"
    if failures >= limit:
        return fail(snap, now, Reason.CANARY_LOST, message)
    lost = replace(
        _next_evaluation(run, now),
        weight=0,
        step=-1,
        failures=failures,
        pods_wanted_at=now,
    )
    phase = Phase.PROGRESSING
    saved = replace(enter(state, phase, now, Reason.CANARY_LOST, message), run=lost)
    return acts(
        Reason.CANARY_LOST,
        message,
        SaveState(saved),
        WriteRoute(0),
        StopAsking(),
        Emit(Reason.CANARY_LOST, message, "Warning"),
    )


def await_canary(snap: Snapshot, now: float) -> Decision | None:
    """The canary's pods run the analysed revision, are ready, and are seen behind the canary Service."""
    run, target = run_of(snap), target_of(snap)
    if run.step >= 0:
        return None
    if target.replicas == 0:
        return acts(Reason.CANARY_NOT_READY, "scaling the canary up", *_scale_up(snap))
    if snap.pods and canary_is_ready(snap):
        return None
    message = f"waiting for canary pods: {target.ready}/{target.replicas} ready"
    limit = spec_of(snap).progress_deadline_s
    waited = now - run.pods_wanted_at
    if target.is_observed and target.deadline_exceeded and waited > 1:
        return fail(snap, now, Reason.PROGRESS_DEADLINE_EXCEEDED, target.deadline_exceeded)
    if waited > limit:
        return fail(
            snap,
            now,
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"{target.ready}/{target.replicas} canary pods ready after progress-deadline ({limit:.0f} s) {target.failing}".strip(),
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
    answers, asking = _ask_hooks(snap, hooks)
    if asking is not None:
        return asking
    state = replace(state, hooks=_hook_records(state, hooks, answers, now))
    if any(not a.passed for a in answers):
        results = [_hook_result(a) for a in answers if not a.passed]
        return _evaluation_failed(_with(snap, state), now, gates.judge_all(results, _budget(snap)))
    passed = replace(_next_evaluation(run, now), rehearsed=True, evaluated_at=0.0)
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
    return _advance(snap, now, state_of(snap), ())


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
    asking = _ask(snap)
    if asking is not None:
        return asking
    return _judge(snap, now)


# --- one evaluation ---------------------------------------------------------------------------------------------------


def _judge(snap: Snapshot, now: float) -> Decision | None:
    """The table of outcomes of one evaluation."""
    state, spec = state_of(snap), spec_of(snap)
    hooks = spec.hooks_of(HookType.ROLLBACK, HookType.ROLLOUT)
    given = [a for h in hooks if isinstance(a := snap.answers.get(_hook_id(snap, h)), HookAnswer)]
    results = _check_results(snap)
    state = replace(
        state,
        verdicts=tuple(_record(r, now) for r in results),
        hooks=_hook_records(state, hooks, given, now),
    )
    judged = _with(snap, state)
    rollback = {h.name for h in spec.hooks_of(HookType.ROLLBACK)}
    for answer in given:
        if answer.hook in rollback and answer.passed:
            return fail(judged, now, Reason.ROLLBACK_REQUESTED, f"hook {answer.hook} asked for it")
    results += [_hook_result(a) for a in given if a.hook not in rollback and not a.passed]
    evaluation = gates.judge_all(results, _budget(snap))
    match evaluation.outcome:
        case gates.Outcome.FAIL:
            return _evaluation_failed(judged, now, evaluation)
        case gates.Outcome.INCONCLUSIVE:
            return _inconclusive(judged, now, evaluation.message)
        case gates.Outcome.PASS:
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
    wanted = HookType.CONFIRM_PROMOTION if last else HookType.CONFIRM_TRAFFIC_INCREASE
    hooks = spec.hooks_of(wanted)
    if hooks:
        answers, asking = _ask_hooks(snap, hooks)
        if asking is not None:
            return asking
        refused = [a for a in answers if not a.passed]
        state = replace(state, hooks=_hook_records(state, hooks, answers, now))
        if refused:
            message = "; ".join(_hook_text(a) for a in refused)
            if last:
                state = replace(state, phase=Phase.WAITING_PROMOTION)
            return _hold(snap, now, state, Reason.WAITING_FOR_GATE, message)
    if last:
        from canaryd.core.rollout.promotion import start

        return start(snap, now, state, words)
    return _advance(snap, now, state, words)


def _advance(snap: Snapshot, now: float, state: RolloutState, words: Iterable[str]) -> Decision:
    """Write the next weight; its load tests start with it."""
    run, spec = run_of(snap), spec_of(snap)
    step = run.step + 1
    weight = spec.weights[step]
    moved = replace(
        _next_evaluation(run, now),
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
        *_load_tests(snap, moved),
        Emit(reason, message, brief=True),
    )


def _evaluation_failed(snap: Snapshot, now: float, evaluation: gates.Evaluation) -> Decision:
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    metrics = {m.name for m in spec.metrics}
    failed = [r for r in evaluation.results if r.verdict is gates.Verdict.FAIL]
    reason = Reason.METRIC_FAILED if any(r.name in metrics for r in failed) else Reason.HOOK_FAILED
    counted = replace(
        run, failures=evaluation.budget.spent, failures_by_metric=dict(evaluation.budget.by_check)
    )
    if evaluation.exhausted:
        return fail(_with(snap, replace(state, run=counted)), now, reason, evaluation.message)
    text = f"{evaluation.message} (failure {counted.failures}/{spec.failure_threshold})"
    held = replace(_next_evaluation(counted, now), inconclusive_since=None)
    saved = replace(with_reason(state, reason, text), run=held)
    return acts(
        reason,
        text,
        SaveState(saved),
        *_load_tests(snap, held),
        Emit(reason, text, "Warning"),
        after=spec.interval_s,
    )


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
    held = _next_evaluation(run, now)
    saved = replace(with_reason(state, reason, message), run=held)
    actions: list[Action] = [SaveState(saved), *_load_tests(snap, held)]
    if state_of(snap).reason != reason:
        actions.append(Emit(reason, message))
    return acts(reason, message, *actions, after=spec_of(snap).interval_s)


def _gate(snap: Snapshot, now: float, hooks: tuple[HookSpec, ...]) -> Decision | None:
    """Ask gate hooks once an interval until all pass; None when they do."""
    run = run_of(snap)
    if (left := _until_next(snap, now)) > 0 and run.evaluated_at:
        return waits(snap, Reason.WAITING_FOR_GATE, "gates are asked again", after=left)
    answers, asking = _ask_hooks(snap, hooks)
    if asking is not None:
        return asking
    refused = [a for a in answers if not a.passed]
    if not refused:
        return None
    state = replace(state_of(snap), hooks=_hook_records(state_of(snap), hooks, answers, now))
    return _hold(
        snap, now, state, Reason.WAITING_FOR_GATE, "; ".join(_hook_text(a) for a in refused)
    )


# --- questions and answers --------------------------------------------------------------------------------------------


def _ask(snap: Snapshot) -> Decision | None:
    """Ask what this evaluation still lacks; None when every answer is there."""
    run, spec = run_of(snap), spec_of(snap)
    questions = [
        Question(_hook_id(snap, h), h) for h in spec.hooks_of(HookType.ROLLBACK, HookType.ROLLOUT)
    ]
    questions += [
        Question(_question_id(run, "metric", m.name), m, run.step_started_at) for m in spec.metrics
    ]
    # Normally running since the step began; asked here again only when the daemon restarted meanwhile.
    questions += [Question(_question_id(run, "load", t.name), t) for t in spec.load_tests]
    return _asking(snap, questions)


def _ask_hooks(
    snap: Snapshot, hooks: tuple[HookSpec, ...]
) -> tuple[list[HookAnswer], Decision | None]:
    asking = _asking(snap, [Question(_hook_id(snap, h), h) for h in hooks])
    answers = [snap.answers.get(_hook_id(snap, h)) for h in hooks]
    return [a for a in answers if isinstance(a, HookAnswer)], asking


def _asking(snap: Snapshot, questions: list[Question]) -> Decision | None:
    missing = tuple(q for q in questions if q.id not in snap.answers)
    if not missing:
        return None
    return Decision(
        reason=Reason.ANALYZING,
        message=f"asking {', '.join(q.what.name for q in missing)}",
        actions=(Ask(missing),),
    )


def _load_tests(snap: Snapshot, run: RunState) -> Iterable[Action]:
    tests = spec_of(snap).load_tests
    if not tests or run.step < 0:
        return ()
    return (Ask(tuple(Question(_question_id(run, "load", t.name), t) for t in tests)),)


def _check_results(snap: Snapshot) -> list[gates.CheckResult]:
    run, spec = run_of(snap), spec_of(snap)
    given = {c.name: snap.answers.get(_question_id(run, "metric", c.name)) for c in spec.metrics}
    shared = gates.share_requests(a for a in given.values() if isinstance(a, MetricAnswer))
    answers = {a.check: a for a in shared}
    results = [
        gates.judge(check, answers[check.name], min_requests=spec.min_requests)
        for check in spec.metrics
        if check.name in answers
    ]
    for test in spec.load_tests:
        load = snap.answers.get(_question_id(run, "load", test.name))
        if isinstance(load, LoadTestAnswer):
            results.append(gates.judge_load_test(test, load))
    return results


def _question_id(run: RunState, kind: str, name: str) -> str:
    return f"{run.id}/{run.evaluation}/{kind}/{name}"


def _hook_id(snap: Snapshot, hook: HookSpec) -> str:
    return _question_id(run_of(snap), "hook", hook.name)


def _next_evaluation(run: RunState, now: float) -> RunState:
    return replace(run, evaluation=run.evaluation + 1, evaluated_at=now)


def _until_next(snap: Snapshot, now: float) -> float:
    """Seconds until the next evaluation is due."""
    run, spec = run_of(snap), spec_of(snap)
    begun = max(run.step_started_at, run.evaluated_at)
    warmup = spec.warmup_s if run.step == 0 and not run.evaluated_at else 0.0
    wait = max(spec.interval_s, snap.propagation_s if run.step >= 0 else 0.0)
    return begun + warmup + wait - now


def _scale_up(snap: Snapshot) -> tuple[Action, ...]:
    """Canary pods as many as the primary has; never fewer than an autoscaler already gave it."""
    primary, target = snap.primary, target_of(snap)
    wanted = max(1, primary.replicas if primary else state_of(snap).replicas)
    if not parks(snap) or (app_of(snap).autoscaler is not None and target.replicas > 0):
        wanted = max(wanted if parks(snap) else 1, target.replicas)
    return () if target.replicas == wanted else (ScaleTarget(wanted),)


def _budget(snap: Snapshot) -> gates.FailureBudget:
    """What the run may still fail."""
    run = run_of(snap)
    return gates.FailureBudget(
        spec_of(snap).failure_threshold, run.failures, run.failures_by_metric
    )


def _hook_result(answer: HookAnswer) -> gates.CheckResult:
    """A failed hook counts like a failed check."""
    return gates.CheckResult(
        name=f"hook {answer.hook}",
        verdict=gates.Verdict.FAIL,
        reason=Reason.HOOK_FAILED,
        message=_hook_text(answer),
    )


def _hook_text(answer: HookAnswer) -> str:
    status = f"status {answer.status}" if answer.status else "no answer"
    return f"hook {answer.hook}: {status}{' ' + answer.detail if answer.detail else ''}"


def _hook_records(
    state: RolloutState, hooks: Iterable[HookSpec], answers: Iterable[HookAnswer], now: float
) -> tuple[HookRecord, ...]:
    types = {h.name: str(h.type) for h in hooks}
    fresh = {
        a.hook: HookRecord(
            name=a.hook,
            type=types.get(a.hook, ""),
            state="Passed" if a.passed else "Failed",
            code=a.status,
            at=now,
        )
        for a in answers
    }
    kept = [h for h in state.hooks if h.name not in fresh]
    return tuple(sorted([*kept, *fresh.values()], key=lambda h: h.name))[:30]


def _record(result: gates.CheckResult, now: float) -> VerdictRecord:
    return VerdictRecord(
        name=result.name,
        verdict=str(result.verdict),
        value=result.value,
        unit=result.unit,
        threshold=result.threshold,
        samples=result.samples,
        reason=result.reason,
        message=result.message,
        at=now,
    )


def _with(snap: Snapshot, state: RolloutState) -> Snapshot:
    return replace(snap, state=state)
