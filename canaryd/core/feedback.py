"""What the user's Deployment says of its rollout, for tools that look at nothing else.

The claims are those of the Canary (:func:`canaryd.core.status.claims`), with two differences. Words
follow the phase and not each step, because every write of the Deployment wakes all who watch it: a
release without incident costs three. And a Deployment that asks for a revision which does not serve
is never silent: one that waits for its turn or its hours is ``Reconciling``, one that was undone is
``Stalled`` until Git asks for something else.

Nothing is remembered: what stands there is compared with what should, in every look. What is new is
told as soon as the record says so, since whoever waits for the Deployment may look at any moment;
what is over is taken back after the last action.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from canaryd.core import names
from canaryd.core.decision import Action, Decision, Forget, SaveState, WriteFeedback, WriteRoute
from canaryd.core.model import CanarySpec, Feedback, Mode
from canaryd.core.phase import IDLE_PHASES, Phase
from canaryd.core.program import Pause
from canaryd.core.reasons import Reason
from canaryd.core.rollout.runs import is_refused
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState
from canaryd.core.status import STALLED_REASONS, StatusInput, claims
from canaryd.core.told import RECONCILING, STALLED, Told

WAITS = {
    Reason.WAITING_FOR_GATE: "waits at a gate",
    Reason.SUSPENDED: 'stays where it is: canaryd.io/suspend is "true"',
    Reason.OUTSIDE_SCHEDULE: "waits for canaryd.io/schedule, or the end of a freeze",
    Reason.QUEUED: "waits for its turn",
}
"""Waits whose end a person or the clock decides; what they say does not change while they last."""
_NUMBERS = re.compile(r"\b[0-9][0-9.,]*\b")


def with_feedback(snap: Snapshot, decision: Decision) -> Decision:
    """The decision, and what it makes the Deployment say."""
    target = snap.target
    if target is None or target.id.deleting or snap.state_error:
        return decision
    state, actions = _after(snap, decision), decision.actions
    told = wanted(snap, state) if state is not None else ()
    if _is_told(told, target.told):
        return decision
    writing = WriteFeedback(told)
    is_new = bool({c.type for c in told} - {c.type for c in target.told})
    place = _first_place(actions) if is_new else _last_place(actions)
    return replace(decision, actions=(*actions[:place], writing, *actions[place:]))


def wanted(snap: Snapshot, state: RolloutState) -> tuple[Told, ...]:
    """What the Deployment is to say in a state."""
    spec = snap.fresh_spec or snap.spec
    if spec is not None and _is_silent(spec):
        return ()
    claimed = claims(StatusInput(state, None, None, 0, ""))
    if STALLED in claimed:
        return (Told(STALLED, *_failure(state)),)
    if RECONCILING in claimed:
        return (Told(RECONCILING, *_course(snap, state)),)
    return _of_other_revision(snap, state)


def _is_silent(spec: CanarySpec) -> bool:
    """Who only observes changes nothing of how a tool sees the Deployment."""
    return spec.feedback is Feedback.NONE or spec.mode is Mode.OBSERVE


def _after(snap: Snapshot, decision: Decision) -> RolloutState | None:
    """The state a decision leads to; None for an app that is not ours, or is let go."""
    if any(isinstance(action, Forget) for action in decision.actions):
        return None
    saved = [a.state for a in decision.actions if isinstance(a, SaveState)]
    return saved[-1] if saved else snap.state


def _is_told(told: Sequence[Told], shown: Sequence[Told]) -> bool:
    """Whether nothing of it is news; numbers in a complaint are counts that go on."""
    return [_news(condition) for condition in told] == [_news(condition) for condition in shown]


def _news(condition: Told) -> tuple[str, str, str]:
    said = condition.message
    if condition.type == STALLED:
        said = _NUMBERS.sub("", said)
    return condition.type, condition.reason, said


def _first_place(actions: Sequence[Action]) -> int:
    """As soon as it is true: once the record says so, and users who leave a canary have left. What
    fails before that is tried again, and must not be told as begun each time.
    """
    saved = [i for i, a in enumerate(actions) if isinstance(a, SaveState)]
    retreats = [i for i, a in enumerate(actions) if isinstance(a, WriteRoute) and a.is_retreat]
    return max([*saved[:1], *retreats[-1:]], default=-1) + 1


def _last_place(actions: Sequence[Action]) -> int:
    """After everything but the record: without it nobody would look here again."""
    forgets = [i for i, action in enumerate(actions) if isinstance(action, Forget)]
    return forgets[0] if forgets else len(actions)


def _failure(state: RolloutState) -> tuple[str, str]:
    """Why a person is needed; for a failed run why it failed, whatever was said since."""
    last = state.history[-1] if state.history else None
    is_about_it = last is None or state.reason in (last.reason, *STALLED_REASONS)
    if state.phase is not Phase.FAILED or last is None or is_about_it:
        return state.reason, state.message
    return last.reason, f"revision {last.revision} was rolled back; {state.promoted} serves"


def _course(snap: Snapshot, state: RolloutState) -> tuple[str, str]:
    """Where a run or an enrolment is, in words that change with its phase."""
    run, primary = state.run, names.primary_name(snap.key[1])
    if run is not None and (wait := _wait(snap, state, run)) is not None:
        return wait
    revision = run.revision if run is not None else state.promoted
    match state.phase:
        case Phase.INITIALIZING:
            said = f"{primary} takes over what serves now, revision {revision}"
        case Phase.TERMINATING:
            said = f"canaryd leaves: users go from {primary} back to this Deployment"
        case Phase.WAITING:
            said = f"revision {revision} waits for its confirm-rollout hooks"
        case Phase.WAITING_PROMOTION:
            said = f"revision {revision} waits for its confirm-promotion hooks"
        case Phase.PROMOTING | Phase.FINALISING:
            undone = run.undoes if run is not None else ""
            how = f"is restored in place of {undone}" if undone else "passed"
            return str(Phase.PROMOTING), f"revision {revision} {how}; {primary} takes it over"
        case Phase.PROGRESSING:
            said = _tried(revision, state)
        case Phase.INITIALIZED | Phase.SUCCEEDED | Phase.FAILED | Phase.WATCHING:
            said = state.message
        case _:
            assert_never(state.phase)
    return str(state.phase), said


def _wait(snap: Snapshot, state: RolloutState, run: RunState) -> tuple[str, str] | None:
    """What a run waits for that comes by no pods and no metrics."""
    if run.paused_at:
        return str(Reason.PAUSED), f"revision {run.revision} is paused by {run.paused_by}"
    if _waits_for_resume(snap, state.phase, run):
        return str(Reason.PAUSED), f"revision {run.revision} is paused by its plan until a resume"
    if state.reason in WAITS:
        return state.reason, f"revision {run.revision} {WAITS[Reason(state.reason)]}"
    return None


def _waits_for_resume(snap: Snapshot, phase: Phase, run: RunState) -> bool:
    """Whether the run is at a pause that has no end of its own."""
    stages = snap.spec.stages if snap.spec is not None else ()
    if phase is not Phase.PROGRESSING or not 0 <= run.step < len(stages):
        return False
    return stages[run.step].wait == Pause()


def _tried(revision: str, state: RolloutState) -> str:
    return f"revision {revision} is tried beside {state.promoted}, which serves"


def _of_other_revision(snap: Snapshot, state: RolloutState) -> tuple[Told, ...]:
    """What is said while the promoted revision serves and the Deployment asks for another."""
    asked = snap.revision.name
    if state.phase not in IDLE_PHASES or asked is None or asked == state.promoted:
        return ()
    if is_refused(replace(snap, state=state), asked):
        ends = (h.result for h in reversed(state.history) if h.revision == asked)
        reason, how = Reason.UNDONE, "was undone"
        if next(ends, "") == "Failed":
            reason, how = Reason.ROLLED_BACK, "was rolled back"
        text = f"revision {asked} {how}; {state.promoted} serves until another is asked for"
        return (Told(STALLED, str(reason), text),)
    if state.reason in WAITS:
        text = f"revision {asked} {WAITS[Reason(state.reason)]}"
        return (Told(RECONCILING, state.reason, text),)
    # A run begins in this look or the next: its own words, so that they are written once.
    return (Told(RECONCILING, str(Phase.PROGRESSING), _tried(asked, state)),)
