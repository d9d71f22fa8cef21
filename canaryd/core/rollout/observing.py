"""``mode: observe``: judge the revisions that the Deployment rolls out by itself, and only say so.

Nothing is made, routed or scaled; the Canary object is all that is written. The native rolling
update goes its way, and once it is through, the checks are asked about whatever serves the users,
as often as the plan has judgements. What would have happened is history for people who think about
``enforce``. Hooks are not called: they have effects.
"""

from dataclasses import replace

from canaryd.core import verdicts
from canaryd.core.decision import Action, Ask, Decision, Emit, Question, SaveState
from canaryd.core.model import MetricAnswer, Mode, Side
from canaryd.core.phase import Phase
from canaryd.core.program import Analyze
from canaryd.core.reasons import Reason
from canaryd.core.rollout.evaluation import until_next
from canaryd.core.rollout.facts import (
    acts,
    close_run,
    enter,
    run_of,
    spec_of,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.rollout.questions import (
    budget_of,
    judge_metrics,
    next_evaluation,
    question_id,
    record_verdict,
)
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState


def observe(snap: Snapshot, now: float) -> Decision | None:
    """Everything there is to do for an app that is only observed."""
    spec, state = snap.fresh_spec, snap.state
    if spec is None or spec.mode is not Mode.OBSERVE:
        return _enforce(snap, now)
    if snap.obstacles:
        if state is None:
            return None  # it is recorded like any other app's: there is nothing to touch yet
        text = "; ".join(o.message for o in snap.obstacles)
        return waits(snap, snap.obstacles[0].reason, text, after=None, tell="Warning")
    revision = snap.revision.name
    if revision is None:
        return waits(snap, Reason.CONFIG_UNREADABLE, "configs of the target are not read yet")
    if state is None or not state.promoted:
        return _begin(snap, now, revision)
    if state.run is not None and revision != state.run.revision:
        return _restart(snap, now, state, revision)
    if state.run is not None:
        return _await_rollout(snap, now) or _judge(snap, now)
    if revision != state.promoted:
        return _start(snap, now, state, revision)
    return Decision(reason=Reason.IDLE, message=f"observing; revision {revision} serves")


def _enforce(snap: Snapshot, now: float) -> Decision | None:
    """Observed no longer: enrol from the beginning, with what was learned on record."""
    state = snap.state
    if state is None or not state.observing:
        return None
    text = "observed until now; enrolling"
    blank = RolloutState(
        phase=Phase.INITIALIZING,
        target_uid=state.target_uid,
        runs=state.runs,
        history=state.history,
        settled_at=now,
    )
    return acts(Reason.ENROLLING, text, SaveState(with_reason(blank, Reason.ENROLLING, text)))


def _begin(snap: Snapshot, now: float, revision: str) -> Decision:
    target = target_of(snap)
    text = f"observing: revision {revision} serves, nothing is changed"
    begun = RolloutState(
        phase=Phase.INITIALIZED,
        observing=True,
        target_uid=target.id.uid,
        promoted=revision,
        promoted_tracking=snap.revision.tracking,
        tracked=snap.revision.seen,
        settled_at=now,
    )
    saved = with_reason(begun, Reason.OBSERVING, text)
    return acts(Reason.OBSERVING, text, SaveState(saved), Emit(Reason.OBSERVING, text))


def _restart(snap: Snapshot, now: float, state: RolloutState, revision: str) -> Decision:
    closed = close_run(state, now, "Superseded", Reason.REVISION_CHANGED)
    if revision == state.promoted:
        text = f"observing: back to revision {revision}"
        saved = enter(closed, Phase.SUCCEEDED, now, Reason.REVERTED, text)
        return acts(Reason.REVERTED, text, SaveState(saved), Emit(Reason.REVERTED, text))
    return _start(snap, now, closed, revision)


def _start(snap: Snapshot, now: float, state: RolloutState, revision: str) -> Decision:
    text = f"observing: new revision {revision}"
    run = RunState(
        id=f"{revision}-{state.runs + 1}",
        revision=revision,
        tracking=snap.revision.tracking,
        started_at=now,
        plan=dict(snap.plan),
        confirmed=True,
        pods_wanted_at=now,
    )
    saved = replace(
        enter(state, Phase.PROGRESSING, now, Reason.NEW_REVISION, text),
        run=run,
        runs=state.runs + 1,
        tracked=snap.revision.seen,
        verdicts=(),
    )
    return acts(Reason.NEW_REVISION, text, SaveState(saved), Emit(Reason.NEW_REVISION, text))


def _await_rollout(snap: Snapshot, now: float) -> Decision | None:
    """The native rolling update comes first; one that does not end is a verdict of its own."""
    state, run, target = snap.state, run_of(snap), target_of(snap)
    if state is None or run.step >= 0:
        return None
    if target.is_rolled_out():
        begun = replace(next_evaluation(run, now), step=0, step_started_at=now, evaluated_at=0.0)
        text = f"observing: revision {run.revision} is rolled out"
        return acts(
            Reason.OBSERVING,
            text,
            SaveState(replace(with_reason(state, Reason.OBSERVING, text), run=begun)),
        )
    limit = spec_of(snap).progress_deadline_s
    waited = now - run.pods_wanted_at
    if waited > limit or (target.is_observed and target.deadline_exceeded):
        why = target.deadline_exceeded or f"not rolled out after progress-deadline ({limit:.0f} s)"
        return _end(snap, now, state, would_promote=False, why=why)
    return waits(
        snap,
        Reason.OBSERVING,
        "observing: the rolling update is under way",
        after=limit - waited + 0.05,
    )


def _judge(snap: Snapshot, now: float) -> Decision:
    state, run, spec = snap.state, run_of(snap), spec_of(snap)
    if (left := until_next(snap, now)) > 0:
        return waits(snap, Reason.OBSERVING, f"observing: next check in {left:.1f} s", after=left)
    questions = tuple(
        Question(question_id(run, "observe", m.name), m, run.step_started_at, Side.PRIMARY)
        for m in spec.metrics
    )
    missing = tuple(q for q in questions if q.id not in snap.answers)
    if missing:
        return Decision(reason=Reason.OBSERVING, message="asking", actions=(Ask(missing),))
    given = {m.name: snap.answers.get(question_id(run, "observe", m.name)) for m in spec.metrics}
    results = judge_metrics(spec, {n: a for n, a in given.items() if isinstance(a, MetricAnswer)})
    evaluation = verdicts.judge_all(results, budget_of(snap))
    is_pass = evaluation.outcome is verdicts.Outcome.PASS
    judged = replace(
        next_evaluation(run, now),
        passes=run.passes + is_pass,
        failures=evaluation.budget.spent,
        failures_by_metric=dict(evaluation.budget.by_check),
    )
    if state is None:
        raise AssertionError("a judgement needs the state")
    state = replace(state, run=judged, verdicts=tuple(record_verdict(r, now) for r in results))
    if evaluation.exhausted and evaluation.outcome is verdicts.Outcome.FAIL:
        return _end(snap, now, state, would_promote=False, why=evaluation.message)
    if judged.passes >= wanted_passes(snap):
        return _end(snap, now, state, would_promote=True, why=evaluation.message)
    if now - run.started_at > spec.max_duration_s:
        return _end(snap, now, state, would_promote=False, why=f"no verdict: {evaluation.message}")
    text = f"observing: passed {judged.passes} of {wanted_passes(snap)}: {evaluation.message}"
    saved = with_reason(state, Reason.OBSERVING, text)
    return acts(Reason.OBSERVING, text, SaveState(saved), after=spec.interval_s)


def wanted_passes(snap: Snapshot) -> int:
    """Judgements that the plan would have had."""
    waits_of = (stage.wait for stage in spec_of(snap).stages)
    return max(1, sum(w.passes for w in waits_of if isinstance(w, Analyze)))


def _end(
    snap: Snapshot, now: float, state: RolloutState, *, would_promote: bool, why: str
) -> Decision:
    """What would have happened is history; what serves is what the next revision is told from."""
    run = run_of(snap)
    word, reason = ("WouldPromote", Reason.WOULD_PROMOTE)
    if not would_promote:
        word, reason = ("WouldRollBack", Reason.WOULD_ROLL_BACK)
    text = f"observing: revision {run.revision} {_TOLD[word]}: {why}"
    closed = close_run(state, now, word, reason)
    saved = replace(
        enter(closed, Phase.SUCCEEDED, now, reason, text),
        promoted=run.revision,
        promoted_tracking=run.tracking,
    )
    told: tuple[Action, ...] = (Emit(reason, text, "Normal" if would_promote else "Warning"),)
    return acts(reason, text, SaveState(saved), *told)


_TOLD = {"WouldPromote": "would have been promoted", "WouldRollBack": "would have been rolled back"}
