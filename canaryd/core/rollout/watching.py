"""After promotion: the primary is judged on for a while, and gives way to the revision before it.

The same checks with the same thresholds, asked about the primary. Unknown holds nothing up here:
the revision was analysed and promoted, and only a failure says that this was wrong.
"""

from dataclasses import replace

from canaryd.core import verdicts
from canaryd.core.decision import Ask, Decision, Emit, Question, SaveState
from canaryd.core.model import MetricAnswer, Side
from canaryd.core.reasons import Reason
from canaryd.core.rollout import promotion, upkeep
from canaryd.core.rollout.evaluation import until_next
from canaryd.core.rollout.facts import acts, run_of, spec_of, state_of, waits, with_reason
from canaryd.core.rollout.questions import (
    budget_of,
    judge_metrics,
    next_evaluation,
    question_id,
    record_verdict,
)
from canaryd.core.rollout.runs import closed_for, is_refused
from canaryd.core.rollout.undo import begin_undo, may_return_to
from canaryd.core.snapshot import Snapshot


def watch(snap: Snapshot, now: float) -> Decision | None:
    """Judge the primary once an interval until the time is over."""
    run = run_of(snap)
    if now >= run.watch_until:
        return promotion.succeed(snap, now)
    if (left := until_next(snap, now)) > 0:
        text = f"watching revision {run.revision} for {run.watch_until - now:.0f} s more"
        return waits(snap, Reason.WATCHING, text, after=min(left, run.watch_until - now))
    questions = [
        Question(question_id(run, "watch", m.name), m, run.step_started_at, Side.PRIMARY)
        for m in spec_of(snap).metrics
    ]
    missing = tuple(q for q in questions if q.id not in snap.answers)
    if missing:
        return Decision(
            reason=Reason.WATCHING, message="asking about the primary", actions=(Ask(missing),)
        )
    return _judge(snap, now)


def _judge(snap: Snapshot, now: float) -> Decision:
    state, run, spec = state_of(snap), run_of(snap), spec_of(snap)
    given = {m.name: snap.answers.get(question_id(run, "watch", m.name)) for m in spec.metrics}
    answers = {name: a for name, a in given.items() if isinstance(a, MetricAnswer)}
    results = judge_metrics(spec, answers)
    evaluation = verdicts.judge_all(results, budget_of(snap))
    state = replace(state, verdicts=tuple(record_verdict(r, now) for r in results))
    judged = replace(
        next_evaluation(run, now),
        failures=evaluation.budget.spent,
        failures_by_metric=dict(evaluation.budget.by_check),
    )
    if evaluation.outcome is not verdicts.Outcome.FAIL:
        text = f"watching revision {run.revision}: {evaluation.message}"
        saved = replace(with_reason(state, Reason.WATCHING, text), run=judged)
        return acts(Reason.WATCHING, text, SaveState(saved), after=spec.interval_s)
    text = f"{evaluation.message} (failure {judged.failures}/{spec.failure_threshold})"
    back = may_return_to(snap, state.last_good)
    if evaluation.exhausted and not back:
        return begin_undo(replace(snap, state=state), now, state.last_good, text)
    if back:
        text = f"{text}; there is no way back: {back}"
    saved = replace(with_reason(state, Reason.WATCH_FAILED, text), run=judged)
    warning = Emit(Reason.WATCH_FAILED, text, "Warning")
    return acts(Reason.WATCH_FAILED, text, SaveState(saved), warning, after=spec.interval_s)


def new_revision(snap: Snapshot, now: float) -> Decision | None:
    """A newer revision that may begin ends the watch: what is watched has served until now."""
    state, wanted, plan = state_of(snap), snap.revision.name, snap.fresh_spec or spec_of(snap)
    if wanted is None or wanted == state.promoted or is_refused(snap, wanted):
        return None
    if plan.suspend or closed_for(plan, now):
        return None
    return promotion.succeed(snap, now)


CHAIN = (new_revision, upkeep.idle_target, watch)
