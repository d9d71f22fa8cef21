"""What one evaluation asks the world, and what the answers are as results of checks.

Every question's id names run, evaluation and check:
an answer of an earlier evaluation never counts.
Load tests are asked when a step begins, everything else at its end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from canaryd.core import gates, loads, verdicts
from canaryd.core.decision import (
    Action,
    Ask,
    Decision,
    Question,
)
from canaryd.core.model import (
    Builtin,
    CanarySpec,
    HookAnswer,
    HookSpec,
    HookType,
    LoadTestAnswer,
    MetricAnswer,
    MetricCheck,
    Side,
)
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    run_of,
    spec_of,
)
from canaryd.core.shift import not_shifted
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import HookRecord, RolloutState, RunState, VerdictRecord


def ask_evaluation(snap: Snapshot) -> Decision | None:
    """Ask what this evaluation still lacks; None when every answer is there."""
    run, spec = run_of(snap), spec_of(snap)
    hooks = (*spec.hooks_of(HookType.ROLLBACK), *_in_turn(snap, spec.hooks_of(HookType.ROLLOUT)))
    questions = [Question(hook_id(snap, h), h) for h in hooks]
    questions += [
        Question(question_id(run, "metric", m.name), m, run.step_started_at) for m in spec.metrics
    ]
    questions += [
        Question(question_id(run, "primary", m.name), m, run.step_started_at, Side.PRIMARY)
        for m in _compared(snap)
    ]
    # Normally running since the step began; asked here again only when the daemon restarted
    # meanwhile.
    questions += [Question(question_id(run, "load", t.name), t) for t in spec.load_tests]
    return _asking(snap, questions)


def _compared(snap: Snapshot) -> tuple[MetricCheck, ...]:
    """Built-ins that are asked of both sides at once, while both have users."""
    both = 0 < run_of(snap).weight < 100
    return tuple(m for m in spec_of(snap).metrics if m.builtin is not None) if both else ()


def shift_trouble(snap: Snapshot) -> str:
    """Why what the data plane counted is not the split that was written; empty when it may be."""
    run = run_of(snap)
    for check in _compared(snap):
        if check.builtin not in (Builtin.SUCCESS_RATE, Builtin.ERROR_RATE):
            continue
        canary = snap.answers.get(question_id(run, "metric", check.name))
        primary = snap.answers.get(question_id(run, "primary", check.name))
        if isinstance(canary, MetricAnswer) and isinstance(primary, MetricAnswer):
            others = run.matched or run.mirror > 0
            return not_shifted(run.weight, canary, primary, has_others=others)
    return ""


def ask_hooks(
    snap: Snapshot, hooks: tuple[HookSpec, ...]
) -> tuple[list[HookAnswer], Decision | None]:
    """The answers of these hooks as far as they count, and what to ask before there are all."""
    asking = _asking(snap, [Question(hook_id(snap, h), h) for h in _in_turn(snap, hooks)])
    answers = [snap.answers.get(hook_id(snap, h)) for h in hooks]
    return [a for a in answers if isinstance(a, HookAnswer)], asking


def _in_turn(snap: Snapshot, hooks: tuple[HookSpec, ...]) -> tuple[HookSpec, ...]:
    """Hooks to ask by now: those of the lowest ``order`` first, the next once all of them passed.

    One that fails ends its type: what comes after it may rely on it.
    """
    due: tuple[HookSpec, ...] = ()
    for order in sorted({h.order for h in hooks}):
        turn = tuple(h for h in hooks if h.order == order)
        due += turn
        answers = [snap.answers.get(hook_id(snap, h)) for h in turn]
        if not all(isinstance(a, HookAnswer) and a.passed for a in answers):
            break
    return due


def _asking(snap: Snapshot, questions: list[Question]) -> Decision | None:
    missing = tuple(q for q in questions if q.id not in snap.answers)
    if not missing:
        return None
    return Decision(
        reason=Reason.ANALYZING,
        message=f"asking {', '.join(q.what.name for q in missing)}",
        actions=(Ask(missing),),
    )


def begin_load_tests(snap: Snapshot, run: RunState) -> Iterable[Action]:
    tests = spec_of(snap).load_tests
    if not tests or run.step < 0:
        return ()
    return (Ask(tuple(Question(question_id(run, "load", t.name), t) for t in tests)),)


def check_results(snap: Snapshot) -> list[verdicts.CheckResult]:
    run, spec = run_of(snap), spec_of(snap)
    given = {c.name: snap.answers.get(question_id(run, "metric", c.name)) for c in spec.metrics}
    answers = {name: a for name, a in given.items() if isinstance(a, MetricAnswer)}
    tested = [
        (test, answer)
        for test in spec.load_tests
        if isinstance(
            answer := snap.answers.get(question_id(run, "load", test.name)), LoadTestAnswer
        )
    ]
    load = loads.add_up(answer for _, answer in tested)
    beside = {c.name: snap.answers.get(question_id(run, "primary", c.name)) for c in spec.metrics}
    primary = {name: a for name, a in beside.items() if isinstance(a, MetricAnswer)}
    results = judge_metrics(spec, answers, load, primary)
    return results + [loads.judge_load_test(test, answer) for test, answer in tested]


def judge_metrics(
    spec: CanarySpec,
    answers: Mapping[str, MetricAnswer],
    load: loads.Load = loads.NO_LOAD,
    primary: Mapping[str, MetricAnswer] | None = None,
) -> list[verdicts.CheckResult]:
    """Verdicts of the metrics that were answered; ``load`` is what load tests sent meanwhile,
    ``primary`` what the other side answered to the same questions.
    """
    shared = {a.check: a for a in gates.share_requests(answers.values())}
    return [
        gates.judge(
            check,
            shared[check.name],
            min_requests=spec.min_requests,
            primary_answer=(primary or {}).get(check.name),
            load=load,
        )
        for check in spec.metrics
        if check.name in shared
    ]


def question_id(run: RunState, kind: str, name: str) -> str:
    return f"{run.id}/{run.evaluation}/{kind}/{name}"


def hook_id(snap: Snapshot, hook: HookSpec) -> str:
    return question_id(run_of(snap), "hook", hook.name)


def hook_result(answer: HookAnswer) -> verdicts.CheckResult:
    """A failed hook counts like a failed check."""
    return verdicts.CheckResult(
        name=f"hook {answer.hook}",
        verdict=verdicts.Verdict.FAIL,
        reason=Reason.HOOK_FAILED,
        message=hook_text(answer),
    )


def hook_text(answer: HookAnswer) -> str:
    status = f"status {answer.status}" if answer.status else "no answer"
    return f"hook {answer.hook}: {status}{f' ({answer.detail})' if answer.detail else ''}"


def hook_records(
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


def record_verdict(result: verdicts.CheckResult, now: float) -> VerdictRecord:
    return VerdictRecord(
        name=result.name,
        verdict=str(result.verdict),
        value=result.value,
        unit=result.unit,
        threshold=result.threshold,
        samples=result.samples,
        reason=result.reason,
        message=result.message[:300],
        at=now,
    )


def next_evaluation(run: RunState, now: float) -> RunState:
    return replace(run, evaluation=run.evaluation + 1, evaluated_at=now)


def budget_of(snap: Snapshot) -> verdicts.FailureBudget:
    """What the run may still fail."""
    run = run_of(snap)
    return verdicts.FailureBudget(
        spec_of(snap).failure_threshold, run.failures, run.failures_by_metric
    )
