"""``canaryd why`` and ``canaryd history``: what was decided, by whom, and for which reason.

Pure: out of the public fields of a status, and Events.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from canaryd.cli.render import Cell, Line, Look, Span, Tone, age, clean, line, table, took
from canaryd.cli.render_status import phase_tone
from canaryd.cli.report import Json, Report, seconds
from canaryd.core.verdicts import Verdict

SHOWN: Final = 10
"""Events and actions that are shown; programs get all there are."""
_RESULTS: Final = {"Succeeded": Tone.GOOD, "Failed": Tone.BAD}


# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventView:
    """One Event, folded over its series and over the two objects it is told of."""

    at: float
    severity: str
    reason: str
    note: str
    count: int


def events_of(found: Sequence[Json]) -> tuple[EventView, ...]:
    """Newest last; what is told of Deployment and Canary alike stands once."""
    views: dict[tuple[str, str], EventView] = {}
    for event in found:
        series = event.get("series") or {}
        times = (
            series.get("lastObservedTime"),
            event.get("eventTime"),
            event.get("deprecatedLastTimestamp"),
        )
        at = next((moment for text in times if (moment := seconds(text)) is not None), 0.0)
        count = int(series.get("count") or event.get("deprecatedCount") or 1)
        reason, text = str(event.get("reason", "")), str(event.get("note", ""))
        before = views.get((reason, text))
        if before is None or before.at < at:
            most = max(count, before.count if before is not None else 0)
            views[reason, text] = EventView(at, str(event.get("type", "")), reason, text, most)
    return tuple(sorted(views.values(), key=lambda view: (view.at, view.reason)))


# --- why ------------------------------------------------------------------------------------------


def render_why(
    told: Report, actions: Sequence[Json], events: Sequence[EventView], look: Look
) -> list[Line]:
    """The last decisions of one app."""
    return list(_why(told, actions, events, look))


def _why(
    told: Report, actions: Sequence[Json], events: Sequence[EventView], look: Look
) -> Iterator[Line]:
    phase = Span(told.phase or "not looked at yet", phase_tone(told.phase))
    yield line(Span(told.name, Tone.STRONG), f" in {told.namespace}: ", phase)
    if told.message:
        yield line(Span(clean(told.reason), Tone.STRONG), ": ", clean(told.message))
    failed = [check for check in told.checks if check.get("verdict") != Verdict.PASS]
    yield from _section("CHECKS THAT DID NOT PASS", [_failure(c, told.now) for c in failed], look)
    refused = [action for action in actions if action.get("refusal")]
    yield from _section("REFUSED", [_refusal(a, told.now) for a in refused[-SHOWN:]], look)
    yield from _table(
        ("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"),
        [_condition(c, told.now) for c in told.conditions],
        look,
    )
    yield from _table(
        ("EVENT", "AGE", "COUNT", "NOTE"), [_event(e, told) for e in events[-SHOWN:]], look
    )
    for text in told.notes:
        yield line("")
        yield line(Span(clean(text), Tone.FAINT))


def _section(title: str, rows: Sequence[Sequence[Cell]], look: Look) -> Iterator[Line]:
    if rows:
        yield line("")
        yield line(Span(title, Tone.STRONG))
        yield from table((), rows, look)


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]], look: Look) -> Iterator[Line]:
    if rows:
        yield line("")
        yield from table(head, rows, look)


def _failure(check: Json, now: float) -> tuple[Cell, ...]:
    tone = Tone.BAD if check.get("verdict") == Verdict.FAIL else Tone.WARN
    name = Span(str(check.get("name", "")), tone)
    return name, _age(check.get("at"), now), str(check.get("message") or check.get("reason") or "")


def _refusal(action: Json, now: float) -> tuple[Cell, ...]:
    what = f"{action.get('verb', '')} by {action.get('by', '')}"
    return what, _age(action.get("at"), now), str(action.get("refusal", ""))


def _condition(found: Json, now: float) -> tuple[Cell, ...]:
    kind, status = str(found.get("type", "")), str(found.get("status", ""))
    is_bad = (kind == "Stalled") == (status == "True") and kind != "Reconciling"
    tone = Tone.WARN if status == "Unknown" else Tone.BAD if is_bad else Tone.PLAIN
    return (
        kind,
        Span(status, tone),
        str(found.get("reason", "")),
        _age(found.get("lastTransitionTime"), now),
        str(found.get("message", "")),
    )


def _event(event: EventView, told: Report) -> tuple[Cell, ...]:
    tone = Tone.WARN if event.severity == "Warning" else Tone.PLAIN
    # Every note begins with the app, for those who read Events of many.
    text = event.note.removeprefix(f"{told.name}.{told.namespace}: ")
    return Span(event.reason, tone), age(told.now - event.at), str(event.count), text


# --- history --------------------------------------------------------------------------------------


def render_history(
    runs: Sequence[Json], actions: Sequence[Json], now: float, look: Look
) -> list[Line]:
    """Runs and actions, newest first."""
    lines = table(
        ("REVISION", "RESULT", "REASON", "ENDED", "TOOK", "RUN"),
        [_run(run, now) for run in reversed(runs)],
        look,
    )
    if not runs:
        lines = [line("no run has ended yet")]
    if actions:
        lines.append(line(""))
        lines += table(
            ("ACTION", "BY", "AGE", "ABOUT", "OUTCOME", "WHY"),
            [_action(action, now) for action in reversed(actions)],
            look,
        )
    return lines


def _run(run: Json, now: float) -> tuple[Cell, ...]:
    began, ended = seconds(run.get("startedAt")), seconds(run.get("finishedAt"))
    result = str(run.get("result", ""))
    return (
        str(run.get("revision", "")),
        Span(result, _RESULTS.get(result, Tone.PLAIN)),
        str(run.get("reason", "")),
        f"{_age(run.get('finishedAt'), now)} ago",
        took(ended - began) if began is not None and ended is not None else "",
        str(run.get("decisionID", "")),
    )


def _action(action: Json, now: float) -> tuple[Cell, ...]:
    verb = str(action.get("verb", ""))
    if argument := action.get("argument"):
        verb += f" {argument}"
    refusal = str(action.get("refusal", ""))
    outcome = Span("refused", Tone.WARN) if refusal else Span(str(action.get("outcome", "")))
    why = str(action.get("reason", ""))
    return (
        verb,
        str(action.get("by", "")),
        _age(action.get("at"), now),
        str(action.get("subject", "")),
        outcome,
        "; ".join(part for part in (why, refusal) if part),
    )


def _age(text: Any, now: float) -> str:
    at = seconds(text)
    return age(None if at is None else now - at)


def as_json(event: EventView) -> Mapping[str, Any]:
    """An Event for programs."""
    return {
        "at": round(event.at),
        "type": event.severity,
        "reason": event.reason,
        "note": event.note,
        "count": event.count,
    }
