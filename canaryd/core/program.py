"""The course of a run as a list of stages: every strategy is compiled to the same few words.

A stage says what routes and pods are to be while one thing is waited for; the next begins when the
wait is over. ``weights``, ``steps``, A/B and blue/green differ in their stages and in nothing else,
so there is one engine, one recovery after a crash and one way to show progress.

The last stage that waits for a verdict stands behind the last change of traffic: a program never
ends on something that was not analysed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import assert_never


class Strategy(StrEnum):
    """How a new revision is tried."""

    CANARY = "canary"
    AB = "ab"
    BLUE_GREEN = "blue-green"
    DIRECT = "direct"


# --- what people write ---


class Verb(StrEnum):
    """The words of ``canaryd.io/steps``."""

    WEIGHT = "weight"
    PAUSE = "pause"
    ANALYZE = "analyze"
    SCALE = "scale"
    MATCH = "match"
    UNMATCH = "unmatch"
    MIRROR = "mirror"
    GATE = "gate"
    JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement of ``canaryd.io/steps``."""

    verb: Verb
    number: int = 0
    """Percent for ``weight`` and ``mirror``, pods or percent of the primary's for ``scale``."""
    is_percent: bool = False
    duration_s: float | None = None
    """Of ``pause`` and ``analyze``; None: until somebody resumes, one interval."""
    name: str = ""
    """Of a gate or job."""


class GateAt(StrEnum):
    """Where a gate stands."""

    START = "start"
    PROMOTION = "promotion"
    WEIGHT = "weight"
    EACH_WEIGHT = "each-weight"
    STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """A gate that people open: ``approvals`` of as many different people, within ``deadline_s``
    (0: as long as the run may take).
    """

    name: str
    at: GateAt
    weight: int = 0
    """Of a gate at ``weight:N``."""
    approvals: int = 1
    deadline_s: float = 0.0


# --- what the engine runs ---


@dataclass(frozen=True, slots=True)
class Analyze:
    """As many passing evaluations, one an interval, and at least as many seconds."""

    passes: int = 1
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A time, or None: until somebody resumes."""

    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Until it is approved."""

    name: str


@dataclass(frozen=True, slots=True)
class Job:
    """Until the job has succeeded."""

    name: str


Wait = Analyze | Pause | Gate | Job


@dataclass(frozen=True, slots=True)
class Scale:
    """Pods of the canary: a number, or a percentage of the primary's."""

    number: int
    is_percent: bool = False

    def pods(self, primary: int) -> int:
        """As many pods, rounded up, for a primary with so many."""
        return -(-primary * self.number // 100) if self.is_percent else self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What routes and pods are to be, and what is waited for."""

    weight: int = 0
    matched: bool = False
    """Whether requests that ask for the canary get to it."""
    mirror: int = 0
    scale: Scale | None = None
    """None: as many pods as ``canary-replicas`` says."""
    wait: Wait

    @property
    def has_traffic(self) -> bool:
        """Whether any request gets to the canary."""
        return bool(self.weight or self.matched or self.mirror)

    @property
    def name(self) -> str:
        """What people call it."""
        match self.wait:
            case Gate(name):
                return f"gate {name}"
            case Job(name):
                return f"job {name}"
            case Pause():
                return f"pause at weight {self.weight}" if self.weight else "pause"
            case Analyze():
                return _traffic_name(self)
            case _:
                assert_never(self.wait)


def _traffic_name(stage: Stage) -> str:
    if stage.mirror and not stage.weight:
        return f"mirror {stage.mirror}"
    if stage.matched and not stage.weight:
        return "match"
    return f"weight {stage.weight}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Everything a program is made of."""

    strategy: Strategy = Strategy.CANARY
    weights: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    matched: bool = False
    """There are conditions by which requests ask for the canary."""
    mirror: int = 0
    iterations: int = 10
    gates: tuple[GateSpec, ...] = ()


@lru_cache(maxsize=256)
def compile_program(course: Course) -> tuple[Stage, ...]:
    """The stages of a course, in order; none for ``direct``."""
    match course.strategy:
        case Strategy.DIRECT:
            return ()
        case Strategy.AB:
            stages: list[Stage] = [Stage(matched=True, wait=Analyze(course.iterations))]
        case Strategy.BLUE_GREEN:
            stages = _blue_green(course)
        case Strategy.CANARY:
            stages = _from_steps(course) if course.steps else _from_weights(course)
        case _:
            assert_never(course.strategy)
    return tuple(_with_gates_around(course, stages))


def _blue_green(course: Course) -> list[Stage]:
    """Judged beside the primary first; then the switch, judged for one interval with all users."""
    preview = Stage(mirror=course.mirror, wait=Analyze(course.iterations))
    gates = [replace(preview, wait=Gate(g.name)) for g in _gates(course, GateAt.PROMOTION)]
    return [preview, *gates, Stage(weight=100, wait=Analyze())]


def _from_weights(course: Course) -> list[Stage]:
    stages: list[Stage] = []
    if course.mirror:
        stages.append(Stage(mirror=course.mirror, wait=Analyze()))
    each = _gates(course, GateAt.EACH_WEIGHT)
    for weight in course.weights:
        before = stages[-1] if stages else Stage(wait=Analyze())
        stages += [replace(before, wait=Gate(g.name)) for g in each]
        here = Stage(weight=weight, matched=course.matched, wait=Analyze())
        stages.append(here)
        at_weight = (g for g in _gates(course, GateAt.WEIGHT) if g.weight == weight)
        stages += [replace(here, wait=Gate(g.name)) for g in at_weight]
    return stages


def _from_steps(course: Course) -> list[Stage]:
    """Statements that change something are gathered until one waits.

    Two weights in a row are two stages, the first of them analysed; so is what the last statements
    leave, unless nothing has changed since it was.
    """
    stages: list[Stage] = []
    now = Stage(wait=Analyze())
    weight_is_new = is_judged = False
    for step in course.steps:
        if (waits := _wait(step)) is not None:
            stages.append(replace(now, wait=waits))
            weight_is_new = False
            is_judged = is_judged or step.verb is Verb.ANALYZE
            continue
        if step.verb is Verb.WEIGHT and weight_is_new and now.has_traffic:
            stages.append(now)
        now, is_judged = _changed(now, step), False
        weight_is_new = weight_is_new or step.verb is Verb.WEIGHT
    return stages if is_judged else [*stages, now]


def _wait(step: Step) -> Wait | None:
    match step.verb:
        case Verb.ANALYZE:
            return Analyze(for_s=step.duration_s or 0.0)
        case Verb.PAUSE:
            return Pause(step.duration_s)
        case Verb.GATE:
            return Gate(step.name)
        case Verb.JOB:
            return Job(step.name)
        case Verb.WEIGHT | Verb.SCALE | Verb.MATCH | Verb.UNMATCH | Verb.MIRROR:
            return None
        case _:
            assert_never(step.verb)


def _changed(stage: Stage, step: Step) -> Stage:
    match step.verb:
        case Verb.WEIGHT:
            return replace(stage, weight=step.number)
        case Verb.SCALE:
            return replace(stage, scale=Scale(step.number, step.is_percent))
        case Verb.MATCH:
            return replace(stage, matched=True)
        case Verb.UNMATCH:
            return replace(stage, matched=False)
        case Verb.MIRROR:
            return replace(stage, mirror=step.number)
        case _:
            raise AssertionError(f"{step.verb} waits, and changes nothing")


def _with_gates_around(course: Course, stages: list[Stage]) -> Iterable[Stage]:
    """The gates before anything gets to the canary, and those before promotion."""
    pods = stages[0].scale if stages else None
    for gate in _gates(course, GateAt.START):
        yield Stage(scale=pods, wait=Gate(gate.name))
    yield from stages
    if course.strategy is Strategy.BLUE_GREEN:
        return  # its gates stand before the switch
    last = stages[-1] if stages else Stage(wait=Analyze())
    for gate in _gates(course, GateAt.PROMOTION):
        yield replace(last, wait=Gate(gate.name))


def _gates(course: Course, at: GateAt) -> list[GateSpec]:
    return [gate for gate in course.gates if gate.at is at]
