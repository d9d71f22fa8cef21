"""One evaluation: its questions, its verdict, and what the run does next.

One evaluation is one set of questions (hooks and metrics) asked together at the end of an
interval, with the load tests that ran during it. Its outcome moves the run in the same decision:
a failing check is acted on at once, never a tick later.
Unknown holds: it never passes and never spends the failure budget.
Whatever a stage waits for, it is judged meanwhile: a pause or an open gate is no blind spot.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from canaryd.core import verdicts, windows
from canaryd.core.decision import (
    Action,
    Decision,
    Emit,
    SaveState,
    WriteRoute,
)
from canaryd.core.model import CanarySpec, HookAnswer, HookSpec, HookType
from canaryd.core.phase import Phase
from canaryd.core.program import Analyze, Gate, Job, Pause, Stage, Strategy
from canaryd.core.reasons import Reason
from canaryd.core.rollout import promotion
from canaryd.core.rollout.canary import has_capacity, pods_left_s
from canaryd.core.rollout.facts import (
    ANALYSIS,
    acts,
    is_skipped,
    primary_has_capacity,
    routing_of,
    run_of,
    spec_of,
    stage_of,
    state_of,
    until_end,
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
    shift_trouble,
)
from canaryd.core.rollout.runs import fail, roll_back
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState


def evaluate(snap: Snapshot, now: float) -> Decision | None:
    """Leave a stage whose wait is over; at the end of an interval, ask; when the answers are there,
    move: on, hold, or back.
    """
    run, stage = run_of(snap), stage_of(snap)
    if (late := _gate_overdue(snap, now, stage)) is not None:
        return late
    is_open = windows.is_open(spec_of(snap).schedule, now)
    if _waits_for_pods(run) and is_open and has_capacity(snap, run.ready_for):
        return enter_stage(snap, now, state_of(snap), run.ready_for, ())
    if _may_leave(snap, now, stage):
        return _go_on(snap, now, [])
    if not stage.has_traffic and not isinstance(stage.wait, Analyze):
        return _wait_blankly(snap, now, stage)
    left = until_next(snap, now)
    if left > 0:
        due = min(left, _wait_left(snap, now, stage))
        reason, text = Reason.ANALYZING, f"{_where(snap, stage)}, next check in {left:.1f} s"
        if _waits_for_pods(run):
            reason, due = Reason.CANARY_NOT_READY, min(left, pods_left_s(snap, now))
        return waits(snap, reason, text, after=due)
    if snap.route.obstacle and run.carries:
        return inconclusive(snap, now, snap.route.obstacle, Reason.ROUTE_REFUSED)
    asking = ask_evaluation(snap)
    if asking is not None:
        return asking
    return _judge(snap, now)


def failed_unrecorded(snap: Snapshot, now: float) -> Decision | None:
    """A failure that took users off but could not be recorded is recorded before anything lets
    them on again; until the evaluation is known to have passed, a lost weight stays lost.
    """
    state, run = state_of(snap), state_of(snap).run
    if run is None or state.phase not in ANALYSIS or run.step < 0 or is_skipped(snap):
        return None
    if not run.has_users or snap.route.carries_users or until_next(snap, now) > 0:
        return None
    asking = ask_evaluation(snap)
    if asking is not None:
        return asking
    verdict = _judge(snap, now)
    retreats = verdict is not None and any(
        isinstance(action, WriteRoute) and action.is_retreat for action in verdict.actions
    )
    return verdict if retreats else None


# --- what a stage waits for -----------------------------------------------------------------------


def _is_over(snap: Snapshot, now: float, stage: Stage) -> bool:
    """Whether the wait is over without another verdict; one that is open is waited for."""
    run, waited = run_of(snap), now - run_of(snap).step_started_at
    # Whatever is waited for, users go nowhere new before this stage has passed once.
    is_judged = not stage.has_traffic or (run.passes > 0 and run.inconclusive_since is None)
    match stage.wait:
        case Gate(name):
            return _approvals_left(snap, name) == 0 and is_judged
        case Pause(for_s):
            return run.leave_stage or (for_s is not None and waited >= for_s and is_judged)
        case Analyze() | Job():
            return run.leave_stage
        case _:
            assert_never(stage.wait)


def _waits_for_pods(run: RunState) -> bool:
    """Whether the next stage is decided on, and waits for its pods."""
    return run.ready_for > run.step


def _may_leave(snap: Snapshot, now: float, stage: Stage) -> bool:
    """Whether a stage is left at once. With hooks ahead, which may refuse for hours, it is judged
    on meanwhile: they are asked with its evaluations.
    """
    is_over = _is_over(snap, now, stage) and not _waits_for_pods(run_of(snap))
    if not is_over or not windows.is_open(spec_of(snap).schedule, now):
        return False
    ahead = spec_of(snap).hooks_of(*_hooks_ahead(snap, run_of(snap).step + 1))
    return not (ahead and stage.has_traffic)


def _wait_blankly(snap: Snapshot, now: float, stage: Stage) -> Decision:
    """A pause or gate before the first users: there is nothing to judge meanwhile."""
    after = min(_wait_left(snap, now, stage), until_end(snap, now))
    if _is_over(snap, now, stage):
        closed_s = windows.opens_in(spec_of(snap).schedule, now)
        text = "outside of canaryd.io/schedule: no users for the canary yet"
        after = min(closed_s, until_end(snap, now))
        return waits(snap, Reason.OUTSIDE_SCHEDULE, text, after=after, tell="Normal")
    is_gate = isinstance(stage.wait, Gate)
    reason = Reason.WAITING_FOR_GATE if is_gate else Reason.ANALYZING
    return waits(snap, reason, _where(snap, stage), after=after, tell="Normal")


def _wait_left(snap: Snapshot, now: float, stage: Stage) -> float:
    """Seconds until a wait ends by itself, or by its deadline."""
    run = run_of(snap)
    limit: float | None = None
    match stage.wait:
        case Pause(for_s):
            limit = for_s
        case Gate(name):
            gate = spec_of(snap).gate(name)
            is_closed = _approvals_left(snap, name) > 0
            limit = gate.deadline_s if gate is not None and gate.deadline_s and is_closed else None
        case Analyze() | Job():
            limit = None
        case _:
            assert_never(stage.wait)
    left = float("inf") if limit is None else run.step_started_at + limit - now
    # A time that is over ends nothing more: what is waited for is a verdict, or the hours.
    return left + 0.05 if left >= 0 else float("inf")


def _gate_overdue(snap: Snapshot, now: float, stage: Stage) -> Decision | None:
    if not isinstance(stage.wait, Gate):
        return None
    gate = spec_of(snap).gate(stage.wait.name)
    waited = now - run_of(snap).step_started_at
    if gate is None or not gate.deadline_s or waited <= gate.deadline_s:
        return None
    if _approvals_left(snap, gate.name) == 0:
        return None  # approved in time; what is waited for is a verdict, or the hours
    text = f"gate {gate.name} was not approved within its deadline ({gate.deadline_s:.0f} s)"
    return fail(snap, now, Reason.GATE_DEADLINE_EXCEEDED, text)


def _approvals_left(snap: Snapshot, name: str) -> int:
    gate = spec_of(snap).gate(name)
    wanted = gate.approvals if gate is not None else 1
    return max(0, wanted - len(run_of(snap).approvals))


def _where(snap: Snapshot, stage: Stage) -> str:
    """Where a run is, and what it waits for, in words."""
    run, spec = run_of(snap), spec_of(snap)
    routed = str(routing_of(spec, run))
    match stage.wait:
        case Analyze(passes) if passes > 1:
            return f"{routed}, passed {run.passes} of {passes}"
        case Analyze():
            return routed
        case Pause(None):
            return f"{routed}, paused until somebody resumes"
        case Pause():
            return f"{routed}, pausing"
        case Gate(name):
            left = _approvals_left(snap, name)
            return f"{routed}, gate {name} waits for {left} approval{'s' if left > 1 else ''}"
        case Job(name):
            return f"{routed}, waiting for job {name}"
        case _:
            assert_never(stage.wait)


# --- the verdict ----------------------------------------------------------------------------------


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
            return roll_back(
                judged, now, Reason.ROLLBACK_REQUESTED, f"hook {answer.hook} asked for it"
            )
    results += [hook_result(a) for a in given if a.hook not in rollback and not a.passed]
    evaluation = verdicts.judge_all(results, budget_of(snap))
    match evaluation.outcome:
        case verdicts.Outcome.FAIL:
            return evaluation_failed(judged, now, evaluation)
        case _ if run_of(snap).leave_stage:
            return _go_on(judged, now, [])  # somebody asked for it, and hooks are asked first
        case verdicts.Outcome.INCONCLUSIVE:
            return inconclusive(judged, now, evaluation.message)
        case verdicts.Outcome.PASS if trouble := shift_trouble(snap):
            return inconclusive(judged, now, trouble, Reason.TRAFFIC_NOT_SHIFTED)
        case verdicts.Outcome.PASS:
            if not primary_has_capacity(snap):
                return hold(
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
    """A passing evaluation: enough for this stage, or one more of several."""
    run, stage = run_of(snap), stage_of(snap)
    counted = replace(run, passes=run.passes + 1, inconclusive_since=None)
    state = replace(state_of(snap), run=counted)
    passed = _with(snap, state)
    match stage.wait:
        case Analyze(passes, for_s):
            is_enough = counted.passes >= passes and now - run.step_started_at >= for_s
        case Pause() | Gate() | Job():
            is_enough = _is_over(passed, now, stage)
        case _:
            assert_never(stage.wait)
    if is_enough:
        return _go_on(passed, now, words)
    is_gate = isinstance(stage.wait, Gate)
    reason = Reason.WAITING_FOR_GATE if is_gate else Reason.ANALYZING
    text = f"{_where(passed, stage)}: {', '.join(words)}" if words else _where(passed, stage)
    return hold(snap, now, state, reason, text, after=_wait_left(passed, now, stage))


def _go_on(snap: Snapshot, now: float, words: list[str]) -> Decision | None:
    """The stage is over: gates ahead, then the next stage, or promotion."""
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    if closed_s := windows.opens_in(spec.schedule, now):
        text = f"outside of canaryd.io/schedule, staying at {routing_of(spec, run)}"
        return hold(snap, now, state, Reason.OUTSIDE_SCHEDULE, text, after=closed_s)
    if _waits_for_pods(run):
        text = f"making the canary's pods ready for {spec.stages[run.ready_for].name}"
        left_s = pods_left_s(snap, now)
        return hold(snap, now, state, Reason.CANARY_NOT_READY, text, after=left_s)
    following = run.step + 1
    is_last = following >= len(spec.stages)
    for gate in _hooks_ahead(snap, following):
        hooks = spec.hooks_of(gate)
        if hooks and run.evaluated_at and (left := until_next(snap, now)) > 0:
            return waits(snap, Reason.WAITING_FOR_GATE, "hooks are asked again", after=left)
        answers, asking = ask_hooks(snap, hooks)
        if asking is not None:
            return asking
        refused = [a for a in answers if not a.passed]
        state = replace(state, hooks=hook_records(state, hooks, answers, now))
        if refused:
            message = "; ".join(hook_text(a) for a in refused)
            if gate is HookType.CONFIRM_PROMOTION:
                state = replace(state, phase=Phase.WAITING_PROMOTION)
            return hold(snap, now, state, Reason.WAITING_FOR_GATE, message)
    if is_last:
        return promotion.start(snap, now, state, words)
    return enter_stage(snap, now, state, following, words)


def _hooks_ahead(snap: Snapshot, following: int) -> Iterable[HookType]:
    """Types of the hooks that must agree before the next stage, or before promotion.

    In blue/green the switch is what people mean by promotion: it stands before all users.
    """
    run, spec = run_of(snap), spec_of(snap)
    stage = spec.stages[following] if following < len(spec.stages) else None
    if stage is None or stage.weight > run.weight or (stage.matched and not run.matched):
        yield HookType.CONFIRM_TRAFFIC_INCREASE
    is_switched = spec.strategy is Strategy.BLUE_GREEN
    is_switch = is_switched and stage is not None and stage.weight > run.weight
    if is_switch or (stage is None and not is_switched):
        yield HookType.CONFIRM_PROMOTION


def enter_stage(
    snap: Snapshot, now: float, state: RolloutState, index: int, words: Iterable[str]
) -> Decision:
    """Write what the stage says of routes; its load tests start with it. Pods come first."""
    run, spec = run_of(snap), spec_of(snap)
    stage = spec.stages[index]
    if not has_capacity(snap, index):
        wanted = replace(run, ready_for=index, pods_wanted_at=now)
        message = f"making the canary's pods ready for {stage.name}"
        saved = with_reason(state, Reason.CANARY_NOT_READY, message)
        return acts(Reason.CANARY_NOT_READY, message, SaveState(replace(saved, run=wanted)))
    moved = replace(
        next_evaluation(run, now),
        step=index,
        weight=stage.weight,
        matched=stage.matched,
        mirror=stage.mirror,
        step_started_at=now,
        evaluated_at=0.0,
        inconclusive_since=None,
        passes=0,
        ready_for=-1,
        leave_stage=False,
        approvals=(),
    )
    before, after = routing_of(spec, run), routing_of(spec, moved)
    passed = ": " + ", ".join(words) if words else ""
    change = f"{before} -> {after}" if before != after else f"{stage.name} at {after}"
    message = f"{change}{passed}"
    reason = Reason.ANALYSIS_STARTED if index == 0 else Reason.WEIGHT_ADVANCED
    if isinstance(stage.wait, Gate):
        reason = Reason.WAITING_FOR_GATE
    saved = replace(with_reason(state, reason, message), phase=Phase.PROGRESSING, run=moved)
    actions: list[Action] = [SaveState(saved)]
    if before != after:
        actions.append(WriteRoute(after))
    actions += begin_load_tests(snap, moved)
    is_brief = reason is not Reason.WAITING_FOR_GATE
    return acts(reason, message, *actions, Emit(reason, message, brief=is_brief))


def evaluation_failed(snap: Snapshot, now: float, evaluation: verdicts.Evaluation) -> Decision:
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    reason = _why_failed(spec, evaluation)
    counted = replace(
        run, failures=evaluation.budget.spent, failures_by_metric=dict(evaluation.budget.by_check)
    )
    if evaluation.exhausted:
        return fail(_with(snap, replace(state, run=counted)), now, reason, evaluation.message)
    text = f"{evaluation.message} (failure {counted.failures}/{spec.failure_threshold})"
    # A pause or a gate ends on a verdict that is good still; passes of an analysis add up.
    adds_up = run.step >= 0 and isinstance(stage_of(snap).wait, Analyze)
    passes = run.passes if adds_up else 0
    held = replace(
        next_evaluation(counted, now), inconclusive_since=None, passes=passes, ready_for=-1
    )
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


def inconclusive(
    snap: Snapshot, now: float, message: str, why: Reason = Reason.ADVANCEMENT_HELD
) -> Decision:
    """No verdict: stay, until ``inconclusive-deadline``."""
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
    routed = routing_of(spec_of(snap), run)
    text = f"holding at {routed}, no verdict for {waited:.0f} of {limit:.0f} s: {message}"
    held = replace(state, run=replace(run, inconclusive_since=since, ready_for=-1))
    return hold(snap, now, held, why, text)


def hold(
    snap: Snapshot,
    now: float,
    state: RolloutState,
    reason: Reason,
    message: str,
    *,
    after: float | None = None,
) -> Decision:
    """Stay where the run is for another interval; look again ``after`` so many seconds if that is
    sooner.
    """
    run = state.run or run_of(snap)
    held = next_evaluation(run, now)
    saved = replace(with_reason(state, reason, message), run=held)
    actions: list[Action] = [SaveState(saved), *begin_load_tests(snap, held)]
    if state_of(snap).reason != reason:
        actions.append(Emit(reason, message))
    return acts(
        reason,
        message,
        *actions,
        after=min(spec_of(snap).interval_s, after or float("inf")),
    )


def gate(snap: Snapshot, now: float, hooks: tuple[HookSpec, ...]) -> Decision | None:
    """Ask gate hooks once an interval until all pass; None when they do."""
    run = run_of(snap)
    if (left := until_next(snap, now)) > 0 and run.evaluated_at:
        return waits(snap, Reason.WAITING_FOR_GATE, "gates are asked again", after=left)
    answers, asking = ask_hooks(snap, hooks)
    if asking is not None:
        return asking
    refused = [a for a in answers if not a.passed]
    if not refused:
        return None
    state = replace(state_of(snap), hooks=hook_records(state_of(snap), hooks, answers, now))
    return hold(snap, now, state, Reason.WAITING_FOR_GATE, "; ".join(hook_text(a) for a in refused))


# --- time -----------------------------------------------------------------------------------------


def until_next(snap: Snapshot, now: float) -> float:
    """Seconds until the next evaluation is due."""
    run, spec = run_of(snap), spec_of(snap)
    begun = max(run.step_started_at, run.evaluated_at)
    is_first = run.step >= 0 and not any(s.has_traffic for s in spec.stages[: run.step])
    warmup = spec.warmup_s if is_first and not run.evaluated_at else 0.0
    wait = max(spec.interval_s, snap.propagation_s if run.step >= 0 else 0.0)
    return begun + warmup + wait - now


def _with(snap: Snapshot, state: RolloutState) -> Snapshot:
    return replace(snap, state=state)
