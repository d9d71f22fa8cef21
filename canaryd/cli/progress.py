"""How far a run is: its stages one by one, and what they still take at the least.

Pure: from the plan and the daemon's memory to values, for text and for programs alike. What cannot
be known (a person, a job, pods that start, data that is missing) is never guessed: the time that is
told is the least that is left, with what else is waited for beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from canaryd.cli.render import took
from canaryd.core.model import CanarySpec
from canaryd.core.phase import Phase
from canaryd.core.program import Analyze, Gate, Job, Pause, Stage
from canaryd.core.state import RolloutState, RunState


class Progress(StrEnum):
    """Where a stage stands."""

    DONE = "done"
    NOW = "now"
    NEXT = "next"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One stage as people see it.

    ``number`` is 0 for what comes after the plan's own stages. ``least_s`` are seconds that it
    still takes at the least. ``is_open`` when its end depends on a person or a job.
    """

    number: int
    name: str
    progress: Progress
    detail: str = ""
    weight: int = 0
    mirror: int = 0
    is_matched: bool = False
    least_s: float = 0.0
    is_open: bool = False


def stages_of(spec: CanarySpec, state: RolloutState, now: float) -> tuple[StageView, ...]:
    """The stages of the run under way; of the next run when there is none."""
    run = state.run
    if run is not None and run.undoes:
        return tuple(_after(spec, state, now))
    return (*_planned(spec, state, now), *_after(spec, state, now))


def least_left_s(stages: tuple[StageView, ...]) -> float:
    """Seconds until the run is over at the least, if nobody and nothing is waited for."""
    return sum(stage.least_s for stage in stages)


# --- the plan's own stages ------------------------------------------------------------------------

_PAST = frozenset({Phase.PROMOTING, Phase.FINALISING, Phase.WATCHING})


def _planned(spec: CanarySpec, state: RolloutState, now: float) -> Iterator[StageView]:
    run = state.run
    is_skipped = run is not None and (run.skipped or spec.skips(run.revision))
    for index, stage in enumerate(spec.stages):
        progress = _progress(state, index, is_skipped=is_skipped)
        detail, least_s = _words(spec, stage), 0.0
        if progress is Progress.NOW and run is not None:
            detail = _words_now(spec, stage, run, now)
            least_s = _left_s(spec, stage, run, now)
        elif progress is Progress.NEXT:
            least_s = _whole_s(spec, stage) + (spec.warmup_s if index == 0 else 0.0)
        yield StageView(
            number=index + 1,
            name=_name(stage),
            progress=progress,
            detail=detail,
            weight=stage.weight,
            mirror=stage.mirror,
            is_matched=stage.matched,
            least_s=least_s,
            is_open=progress in (Progress.NOW, Progress.NEXT) and _is_open(stage),
        )


def _name(stage: Stage) -> str:
    is_elsewhere = isinstance(stage.wait, Gate | Job) and stage.weight
    return f"{stage.name} at weight {stage.weight}" if is_elsewhere else stage.name


def _progress(state: RolloutState, index: int, *, is_skipped: bool) -> Progress:
    run = state.run
    if run is None or index > run.step:
        is_over = run is not None and state.phase in _PAST
        return Progress.LEFT_OUT if is_over or is_skipped else Progress.NEXT
    if index == run.step and state.phase not in _PAST and not is_skipped:
        return Progress.NOW
    return Progress.DONE


def _is_open(stage: Stage) -> bool:
    return isinstance(stage.wait, Gate | Job) or stage.wait == Pause(None)


def _words(spec: CanarySpec, stage: Stage) -> str:
    match stage.wait:
        case Analyze(passes, for_s):
            words = f"{passes} passing checks" if passes > 1 else "checked"
            return f"{words} for {took(for_s)}" if for_s else words
        case Pause(None):
            return "until somebody resumes"
        case Pause(for_s):
            return f"for {took(for_s or 0.0)}"
        case Gate(name):
            gate = spec.gate(name)
            wanted = gate.approvals if gate is not None else 1
            return f"{wanted} approvals" if wanted > 1 else "1 approval"
        case Job(name):
            return f"until job {name} has succeeded"
        case _:
            assert_never(stage.wait)


def _words_now(spec: CanarySpec, stage: Stage, run: RunState, now: float) -> str:
    spent = f"{took(_until(run, now) - run.step_started_at)} so far"
    match stage.wait:
        case Analyze(passes) if passes > 1:
            return f"passed {run.passes} of {passes}, {spent}"
        case Gate(name):
            gate = spec.gate(name)
            wanted = gate.approvals if gate is not None else 1
            told = f"{len(run.approvals)} of {wanted} approvals, {spent}"
            if run.approvals:
                told += f"; approved by {', '.join(run.approvals)}"
            if gate is not None and gate.deadline_s:
                left_s = run.step_started_at + gate.deadline_s - _until(run, now)
                told += f"; deadline in {took(left_s)}"
            return told
        case Analyze() | Pause() | Job():
            return f"{_words(spec, stage)}, {spent}"
        case _:
            assert_never(stage.wait)


# --- time -----------------------------------------------------------------------------------------


def _until(run: RunState, now: float) -> float:
    """Up to when time counts: it stands still while somebody pauses the run."""
    return run.paused_at or now


def _whole_s(spec: CanarySpec, stage: Stage) -> float:
    match stage.wait:
        case Analyze(passes, for_s):
            return max(passes * spec.interval_s, for_s)
        case Pause(for_s):
            return for_s or 0.0
        case Gate() | Job():
            return 0.0
        case _:
            assert_never(stage.wait)


def _left_s(spec: CanarySpec, stage: Stage, run: RunState, now: float) -> float:
    if run.leave_stage:
        return 0.0
    spent_s = _until(run, now) - run.step_started_at
    match stage.wait:
        case Analyze(passes, for_s):
            begun = max(run.step_started_at, run.evaluated_at)
            warmup_s = spec.warmup_s if run.step == 0 and not run.evaluated_at else 0.0
            next_s = max(0.0, begun + warmup_s + spec.interval_s - _until(run, now))
            more = max(0, passes - run.passes - 1)
            return max(next_s + more * spec.interval_s, for_s - spent_s)
        case Pause(for_s):
            return max(0.0, (for_s or 0.0) - spent_s)
        case Gate() | Job():
            return 0.0
        case _:
            assert_never(stage.wait)


# --- after the plan's own stages ------------------------------------------------------------------


def _after(spec: CanarySpec, state: RolloutState, now: float) -> Iterator[StageView]:
    run, phase = state.run, state.phase
    is_promoted = phase is Phase.WATCHING
    is_promoting = phase in (Phase.PROMOTING, Phase.FINALISING)
    promotion = Progress.NOW if is_promoting else Progress.NEXT
    yield StageView(
        number=0, name="promotion", progress=Progress.DONE if is_promoted else promotion
    )
    if not spec.watch_s or not spec.metrics or (run is not None and run.undoes):
        return
    left_s = run.watch_until - now if run is not None and is_promoted else spec.watch_s
    yield StageView(
        number=0,
        name="watch",
        progress=Progress.NOW if is_promoted else Progress.NEXT,
        detail=f"{took(left_s)} more" if is_promoted else f"for {took(spec.watch_s)}",
        least_s=max(0.0, left_s),
    )
