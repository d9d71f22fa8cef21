"""``canaryd status`` as a tree: the run's stages with a cursor, traffic, checks, hooks, pods.

Pure. The order is that of the questions people ask: how is it going, what is waited for, who gets
it, why, and which pods are these.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from canaryd.cli.progress import Progress, StageView
from canaryd.cli.render import Line, Look, Node, Span, Tone, age, node, took, tree
from canaryd.cli.report import Json, Report, SideView, Wish, seconds
from canaryd.core.phase import Phase
from canaryd.core.state import RunState
from canaryd.core.verdicts import Verdict

BAR: Final = 20
"""Columns of the bar that shows the split."""
_MARKS: Final = {
    Progress.DONE: Span("✔ ", Tone.GOOD),
    Progress.NOW: Span("▶ ", Tone.BUSY),
    Progress.NEXT: Span("◌ ", Tone.FAINT),
    Progress.LEFT_OUT: Span("· ", Tone.FAINT),
}
_VERDICTS: Final = {
    str(Verdict.PASS): Span("✔ ", Tone.GOOD),
    str(Verdict.FAIL): Span("✖ ", Tone.BAD),
    str(Verdict.INCONCLUSIVE): Span("? ", Tone.WARN),
}
_PHASES: Final = {
    Phase.SUCCEEDED: Tone.GOOD,
    Phase.INITIALIZED: Tone.GOOD,
    Phase.FAILED: Tone.BAD,
}


def render(told: Report, look: Look, program: str) -> list[Line]:
    """The lines of one app."""
    phase = Span(told.phase or "not looked at yet", phase_tone(told.phase))
    title = node(
        Span(told.name, Tone.STRONG),
        f" in {told.namespace}: ",
        phase,
        below=_parts(told, program),
    )
    return tree(title, look)


def phase_tone(phase: str) -> Tone:
    """The colour of a phase."""
    known = phase in Phase.__members__.values()
    return _PHASES.get(Phase(phase), Tone.BUSY) if known else Tone.WARN


def _parts(told: Report, program: str) -> Iterator[Node]:
    if told.message:
        yield node(told.message)
    yield from _asked(told.wishes, program)
    if told.run is not None:
        yield _run(told, told.run)
    elif told.stages:
        yield node("next run: ", Span(_plan(told), Tone.FAINT))
    yield _traffic(told)
    if told.checks:
        failures = f", {told.failures} of {told.failure_limit} failures" if told.failures else ""
        checks = [_check(check, told.now) for check in told.checks]
        yield node("checks", Span(failures, Tone.WARN), below=checks)
    if told.hooks:
        yield node("hooks", below=[_hook(hook, told.now) for hook in told.hooks])
    if told.load_tests:
        yield node("load tests", below=[_load_test(test) for test in told.load_tests])
    for side in told.sides:
        yield _side(side)
    for text in told.notes:
        yield node(Span(text, Tone.FAINT))


def _asked(wishes: Sequence[Wish], program: str) -> Iterator[Node]:
    """What a person may have to do; each command on a line of its own, to be copied."""
    if wishes:
        commands = [
            node(Span(f"{program} {' '.join(wish.arguments)}", Tone.STRONG)) for wish in wishes
        ]
        yield node(Span("⚠ ", Tone.WARN), wishes[0].why, below=commands)


# --- the run --------------------------------------------------------------------------------------


def _run(told: Report, run: RunState) -> Node:
    what = f"revision {run.revision}"
    if run.undoes:
        what += f", in place of {run.undoes}"
    left_s, waits = told.least_left_s, [s.name for s in told.stages if s.is_open]
    left = ""
    if left_s is not None and not run.held:
        left = f", at least {took(left_s)} left" if left_s else ""
        left += f", waits for {', '.join(waits)}" if waits else ""
    return node(
        f"run {run.id} of {what}, {took(told.now - run.started_at)} old",
        Span(left, Tone.STRONG),
        below=[_stage(stage) for stage in told.stages],
    )


def _stage(stage: StageView) -> Node:
    number = f"{stage.number} " if stage.number else ""
    tone = Tone.STRONG if stage.progress is Progress.NOW else Tone.PLAIN
    detail = f", {stage.detail}" if stage.detail else ""
    if stage.progress is Progress.LEFT_OUT:
        detail = ", left out"
    return node(
        _MARKS[stage.progress], Span(f"{number}{stage.name}", tone), Span(detail, Tone.FAINT)
    )


def _plan(told: Report) -> str:
    return " → ".join(stage.name for stage in told.stages)


# --- traffic, checks, hooks -----------------------------------------------------------------------


def _traffic(told: Report) -> Node:
    filled = round(told.weight * BAR / 100)
    filled = max(1, filled) if told.weight else 0
    stage = next((s for s in told.stages if s.progress is Progress.NOW), None)
    more = ""
    if stage is not None and stage.mirror:
        more += f", mirrors {stage.mirror}%"
    if stage is not None and stage.is_matched:
        more += ", and who asks for the canary gets it"
    return node(
        f"traffic: primary {100 - told.weight}% ",
        Span("█" * (BAR - filled), Tone.GOOD),
        Span("░" * filled, Tone.BUSY),
        f" canary {told.weight}%{more}",
    )


def _check(check: Json, now: float) -> Node:
    """One verdict: the value beside its threshold, or in words why there is none."""
    verdict = str(check.get("verdict", ""))
    value = _measured(check)
    told = str(check.get("message") or "")
    is_told = told and (verdict != Verdict.PASS or not value)
    words = told if is_told else f"{check.get('name', '')} {value}"
    return node(
        _VERDICTS.get(verdict, Span("◌ ", Tone.FAINT)),
        words,
        Span(_ago(check, now), Tone.FAINT),
    )


def _measured(check: Json) -> str:
    value, unit = str(check.get("value", "")), str(check.get("unit", ""))
    if not value:
        return ""
    shown = f"{value}{unit}" if unit in ("%", "") else f"{value} {unit}"
    if threshold := check.get("threshold"):
        shown += f" ({threshold})"
    if (samples := check.get("samples")) is not None:
        shown += f" of {samples} requests"
    return shown


def _hook(hook: Json, now: float) -> Node:
    state, code = str(hook.get("state", "")), hook.get("code")
    mark = _VERDICTS.get(state, Span("◌ ", Tone.FAINT))
    words = f"{hook.get('name', '')} ({hook.get('type', '')}) {state}"
    if code:
        words += f", HTTP {code}"
    return node(mark, words, Span(_ago(hook, now), Tone.FAINT))


def _load_test(test: Json) -> Node:
    words = f"{test.get('name', '')} {test.get('state', '')}"
    for key, unit in (("sent", " sent"), ("failed", " failed"), ("p99", " p99")):
        if test.get(key) is not None:
            words += f", {test[key]}{unit}"
    return node(words)


def _ago(record: Json, now: float) -> str:
    at = seconds(record.get("at"))
    return f", {age(now - at)} ago" if at is not None else ""


# --- pods -----------------------------------------------------------------------------------------


def _side(side: SideView) -> Node:
    revision = f", revision {side.revision}" if side.revision else ""
    below = []
    for pod in side.pods:
        mark = Span("✔ ", Tone.GOOD) if pod.is_ready else Span("◌ ", Tone.WARN)
        restarts = f", {pod.restarts} restarts" if pod.restarts else ""
        ready = "" if pod.is_ready else f" {pod.ready}/{pod.containers}"
        words = f"{pod.name} {pod.status}{ready}{restarts}"
        below.append(node(mark, words, Span(f", {age(pod.age_s)} old", Tone.FAINT)))
    return node(
        f"{side.role} {side.deployment}: {side.ready}/{side.wanted} pods ready{revision}",
        below=below,
    )
