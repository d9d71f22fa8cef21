"""Commands of people, each done once, or refused with its reason; in either case on record.

A command names what it was meant for: a run at a stage, or a revision. What has moved on since is
refused, so two people who act at once move one step, and an old command never meets a new run.
The record is saved with the effect in one write; only then is the command taken away.
"""

from collections.abc import Callable
from dataclasses import replace

from canaryd.core.commands import Command, CommandVerb, Unreadable
from canaryd.core.decision import (
    Action,
    Decision,
    Dismiss,
    Emit,
    SaveState,
    StopAsking,
)
from canaryd.core.phase import IDLE_PHASES, Phase
from canaryd.core.program import Gate, Pause, Stage
from canaryd.core.reasons import Reason
from canaryd.core.rollout import promotion
from canaryd.core.rollout.facts import (
    ANALYSIS,
    acts,
    close_run,
    enter,
    retreat,
    spec_of,
    with_reason,
)
from canaryd.core.rollout.runs import roll_back
from canaryd.core.rollout.undo import begin_undo, may_return_to
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import COMMANDS_CAP, CommandRecord, RolloutState, RunState


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The command cannot be carried out as things are."""


def subject_of(state: RolloutState) -> str:
    """What a command of this moment is about: the run at its stage, else the revision that failed,
    else the promoted one.
    """
    if state.run is not None:
        return f"{state.run.id}@{state.run.step}"
    if state.phase is Phase.FAILED:
        return state.failed
    return state.promoted


def obey(snap: Snapshot, now: float) -> Decision | None:
    """The first command that waits."""
    state = snap.state
    if not snap.commands or state is None or snap.spec is None:
        return None
    command = snap.commands[0]
    if isinstance(command, Unreadable):
        text = f"annotation {command.key} of the Canary {command.problem}; it was removed"
        gone = Dismiss(command.key)
        return acts(Reason.COMMAND_REFUSED, text, gone, Emit(Reason.COMMAND_REFUSED, text))
    if any((c.verb, c.nonce) == (command.verb, command.nonce) for c in state.commands):
        # Carried out already: a crash came between the record and this.
        return acts(Reason.COMMAND_DONE, f"{command.verb} is done", Dismiss(command.key))
    if state.observing:
        return _refuse(state, now, command, "the app is only observed")
    try:
        decision = _EFFECTS[command.verb](snap, now, command)
    except Refused as refusal:
        return _refuse(state, now, command, str(refusal))
    return _on_record(decision, now, command)


# --- the verbs ------------------------------------------------------------------------------------


def _pause(snap: Snapshot, now: float, command: Command) -> Decision:
    state, run = _run_under_analysis(snap, command)
    if run.paused_at:
        raise Refused(f"the run is paused already, by {run.paused_by}")
    text = f"paused by {_who(command)}"
    saved = replace(
        with_reason(state, Reason.PAUSED, text),
        run=replace(run, paused_at=now, paused_by=_who(command)),
    )
    return acts(Reason.PAUSED, text, SaveState(saved), StopAsking(), Emit(Reason.PAUSED, text))


def _resume(snap: Snapshot, now: float, command: Command) -> Decision:
    state, run = _run_under_analysis(snap, command)
    stage = _stage(snap, run)
    if run.paused_at:
        moved = _unpaused(run, now)
    elif stage is not None and isinstance(stage.wait, Pause):
        _require_stage(run, command)
        moved = replace(run, leave_stage=True)
    else:
        raise Refused("nothing is paused")
    text = f"resumed by {_who(command)}"
    saved = replace(with_reason(state, Reason.RESUMED, text), run=moved)
    return acts(Reason.RESUMED, text, SaveState(saved), Emit(Reason.RESUMED, text))


def _unpaused(run: RunState, now: float) -> RunState:
    """What the stage waits for, and the window it is judged by, go on where they stopped; what
    began during the pause, such as a route put back, begins now.
    """
    away, since = now - run.paused_at, run.inconclusive_since
    return replace(
        run,
        paused_at=0.0,
        paused_by="",
        step_started_at=min(run.step_started_at + away, now) if run.step_started_at else 0.0,
        evaluated_at=min(run.evaluated_at + away, now) if run.evaluated_at else 0.0,
        inconclusive_since=min(since + away, now) if since is not None else None,
        pods_wanted_at=min(run.pods_wanted_at + away, now),
    )


def _promote(snap: Snapshot, now: float, command: Command) -> Decision:
    state, run = _run_under_analysis(snap, command)
    _require_stage(run, command)
    stage = _stage(snap, run)
    if run.held:
        raise Refused("the run has failed; retry it, skip its analysis, or abort it")
    if stage is None:
        raise Refused("the canary's pods are not ready yet; there is no step to leave")
    if isinstance(stage.wait, Gate):
        raise Refused(f"the run waits at gate {stage.wait.name}; approve it")
    text = f"next step, by {_who(command)}"
    saved = replace(
        with_reason(state, Reason.STEP_SKIPPED, text),
        run=replace(run, leave_stage=True, paused_at=0.0, paused_by=""),
    )
    return acts(Reason.STEP_SKIPPED, text, SaveState(saved), Emit(Reason.STEP_SKIPPED, text))


def _skip(snap: Snapshot, now: float, command: Command) -> Decision:
    state, run = _run_under_analysis(snap, command)
    text = f"promoting without a verdict, by {_who(command)}"
    # Pods that the run did not have yet have their time from now on.
    since = run.pods_wanted_at if run.step >= 0 else now
    moved = replace(
        run,
        skipped=True,
        held="",
        paused_at=0.0,
        paused_by="",
        confirmed=True,
        pods_wanted_at=since,
    )
    phase = Phase.PROGRESSING
    saved = replace(enter(state, phase, now, Reason.ANALYSIS_SKIPPED, text), run=moved)
    return acts(
        Reason.ANALYSIS_SKIPPED,
        text,
        SaveState(saved),
        Emit(Reason.ANALYSIS_SKIPPED, text, "Warning"),
    )


def _abort(snap: Snapshot, now: float, command: Command) -> Decision:
    state, run = _run(snap, command)
    text = f"aborted by {_who(command)}"
    if state.phase in ANALYSIS:
        return roll_back(snap, now, Reason.ABORTED, text)
    if state.phase is Phase.PROMOTING and not run.primary_failed and not run.handing_back:
        return promotion.restore(snap, now, Reason.ABORTED, text)
    raise Refused(f"revision {run.revision} is promoted already; undo it instead")


def _approve(snap: Snapshot, now: float, command: Command) -> Decision:
    state, run = _run_under_analysis(snap, command)
    _require_stage(run, command)
    stage = _stage(snap, run)
    if stage is None or not isinstance(stage.wait, Gate):
        raise Refused("the run waits at no gate")
    name = stage.wait.name
    if command.argument not in ("", name):
        raise Refused(f"the run waits at gate {name}, not at {command.argument}")
    if command.by in run.approvals:
        raise Refused(f"{command.by} has approved gate {name} already")
    if snap.author and command.by == snap.author:
        raise Refused(f"{command.by} made this revision; somebody else must approve gate {name}")
    gate = spec_of(snap).gate(name)
    wanted = gate.approvals if gate is not None else 1
    if len(run.approvals) >= wanted:
        raise Refused(f"gate {name} is open already; the run waits for its verdict or its hours")
    approvals = (*run.approvals, command.by)
    text = f"gate {name} approved by {_who(command)} ({len(approvals)} of {wanted})"
    saved = replace(
        with_reason(state, Reason.GATE_APPROVED, text), run=replace(run, approvals=approvals)
    )
    return acts(Reason.GATE_APPROVED, text, SaveState(saved), Emit(Reason.GATE_APPROVED, text))


def _retry(snap: Snapshot, now: float, command: Command) -> Decision:
    state = _state(snap)
    run, text = state.run, f"another try, by {_who(command)}"
    if run is not None and run.held:
        _require_run(run, command)
        closed = close_run(state, now, "Failed", Reason.FAILURE_HELD)
        again = RunState(
            id=f"{run.revision}-{state.runs + 1}",
            revision=run.revision,
            started_at=now,
            tracking=run.tracking,
            plan=dict(snap.plan) or run.plan,  # what was edited since is for the next run
            confirmed=True,
            pods_wanted_at=now,
            primary_replicas=run.primary_replicas,
        )
        saved = replace(
            with_reason(closed, Reason.RETRIED, text), run=again, runs=state.runs + 1, verdicts=()
        )
    elif run is None and state.phase is Phase.FAILED:
        if command.subject != state.failed:
            raise Refused(f"it is about revision {command.subject}; {state.failed} failed last")
        saved = replace(with_reason(state, Reason.RETRIED, text), failed="")
    else:
        raise Refused("no revision has failed")
    actions: list[Action] = [SaveState(saved)]
    if run is not None and run.carries:
        saved = replace(saved, route_written_at=now)
        actions = [SaveState(saved), retreat()]  # under ``notify`` users are still on it
    return acts(Reason.RETRIED, text, *actions, Emit(Reason.RETRIED, text))


def _undo(snap: Snapshot, now: float, command: Command) -> Decision:
    state = _state(snap)
    if state.phase not in (*IDLE_PHASES, Phase.WATCHING):
        raise Refused("a run is under way; abort it first")
    if command.subject != subject_of(state) and command.subject != state.promoted:
        raise Refused(f"it is about {command.subject}; {state.promoted} is promoted now")
    to = command.argument or state.last_good
    if problem := may_return_to(snap, to):
        raise Refused(problem)
    if snap.app is None:
        raise Refused("; ".join(o.message for o in snap.obstacles) or "the app cannot be seen")
    return begin_undo(snap, now, to, f"by {_who(command)}")


_EFFECTS: dict[CommandVerb, Callable[[Snapshot, float, Command], Decision]] = {
    CommandVerb.PAUSE: _pause,
    CommandVerb.RESUME: _resume,
    CommandVerb.PROMOTE: _promote,
    CommandVerb.SKIP: _skip,
    CommandVerb.ABORT: _abort,
    CommandVerb.APPROVE: _approve,
    CommandVerb.RETRY: _retry,
    CommandVerb.UNDO: _undo,
}


# --- parts ----------------------------------------------------------------------------------------


def _state(snap: Snapshot) -> RolloutState:
    if snap.state is None or not snap.state.promoted:
        raise Refused("the app is not enrolled yet")
    return snap.state


def _run(snap: Snapshot, command: Command) -> tuple[RolloutState, RunState]:
    state = _state(snap)
    if state.run is None or state.phase is Phase.WATCHING:
        raise Refused("no run is under way")
    _require_run(state.run, command)
    return state, state.run


def _run_under_analysis(snap: Snapshot, command: Command) -> tuple[RolloutState, RunState]:
    state, run = _run(snap, command)
    if state.phase not in ANALYSIS:
        raise Refused(f"the run is past its analysis: {state.phase}")
    return state, run


def _require_run(run: RunState, command: Command) -> None:
    wanted = command.subject.partition("@")[0]
    if wanted != run.id:
        raise Refused(f"it is about run {wanted}; {run.id} is under way")


def _require_stage(run: RunState, command: Command) -> None:
    stage = command.subject.partition("@")[2]
    if stage != str(run.step) or run.leave_stage:
        raise Refused(f"it is about step {_number(stage)}; the run has moved on from there")


def _number(stage: str) -> str:
    return str(int(stage) + 1) if stage.isdecimal() else stage or "?"


def _stage(snap: Snapshot, run: RunState) -> Stage | None:
    stages = spec_of(snap).stages
    return stages[run.step] if 0 <= run.step < len(stages) else None


def _who(command: Command) -> str:
    return f"{command.by}: {command.reason}" if command.reason else command.by


def _on_record(decision: Decision, now: float, command: Command) -> Decision:
    """The decision with the command recorded in the write of its effect, and then dismissed."""
    done = _record(now, command, str(decision.reason))
    actions: list[Action] = []
    for action in decision.actions:
        if isinstance(action, SaveState):
            actions.append(SaveState(_with(action.state, done)))
        else:
            actions.append(action)
    return replace(decision, actions=(*actions, Dismiss(command.key)))


def _refuse(state: RolloutState, now: float, command: Command, why: str) -> Decision:
    text = f"{command.verb} by {_who(command)} refused: {why}"
    saved = _with(state, _record(now, command, str(Reason.COMMAND_REFUSED), why))
    return acts(
        Reason.COMMAND_REFUSED,
        text,
        SaveState(saved),
        Dismiss(command.key),
        Emit(Reason.COMMAND_REFUSED, text, "Warning"),
    )


def _record(now: float, command: Command, outcome: str, why: str = "") -> CommandRecord:
    return CommandRecord(
        verb=str(command.verb),
        nonce=command.nonce,
        by=command.by,
        subject=command.subject,
        argument=command.argument,
        reason=command.reason,
        outcome=outcome,
        refusal=why,
        at=now,
    )


def _with(state: RolloutState, record: CommandRecord) -> RolloutState:
    return replace(state, commands=(*state.commands, record)[-COMMANDS_CAP:])
