"""``canaryd list`` as a table: the printer columns of the Canary, with colours for what needs eyes.

Pure. The columns are those of ``kubectl get cnry`` (a test holds them to the CRD), so that people
who know the one read the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from canaryd.cli.render import Cell, Line, Look, Span, age, table
from canaryd.cli.render_status import phase_tone
from canaryd.cli.report import condition, seconds

NARROW: Final = ("NAME", "STATUS", "WEIGHT", "STEP", "READY", "REASON", "AGE")
WIDE: Final = ("REVISION", "FAILURES", "PROVIDER", "INTERVAL", "UPDATED", "MESSAGE")


def head(*, is_wide: bool, with_namespace: bool) -> tuple[str, ...]:
    """The names of the columns."""
    return (
        *(("NAMESPACE",) if with_namespace else ()),
        *NARROW,
        *(WIDE if is_wide else ()),
    )


def row(
    canary: Mapping[str, Any], now: float, *, is_wide: bool, with_namespace: bool
) -> tuple[Cell, ...]:
    """The cells of one app."""
    meta, spec = canary.get("metadata") or {}, canary.get("spec") or {}
    status = canary.get("status") or {}
    ready, phase = condition(status, "Ready"), str(status.get("phase", ""))
    narrow: tuple[Cell, ...] = (
        str(meta.get("name", "")),
        Span(phase, phase_tone(phase)),
        _number(status.get("weight"), "canary"),
        str((status.get("step") or {}).get("text", "")),
        str(ready.get("status", "")),
        str(ready.get("reason", "")),
        _age(meta.get("creationTimestamp"), now),
    )
    wide: tuple[Cell, ...] = (
        str(status.get("lastAppliedSpec", "")),
        _number(status.get("failures"), "count"),
        str(spec.get("provider", "")),
        str(spec.get("interval", "")),
        _age(status.get("lastTransitionTime"), now),
        str(status.get("message", "")),
    )
    place: tuple[Cell, ...] = (str(meta.get("namespace", "")),) if with_namespace else ()
    return (*place, *narrow, *(wide if is_wide else ()))


def render(
    canaries: Sequence[Mapping[str, Any]],
    now: float,
    look: Look,
    *,
    is_wide: bool,
    with_namespace: bool,
) -> list[Line]:
    """The table of several apps."""
    rows = [row(c, now, is_wide=is_wide, with_namespace=with_namespace) for c in canaries]
    return table(head(is_wide=is_wide, with_namespace=with_namespace), rows, look)


def _number(holder: Any, key: str) -> str:
    value = holder.get(key) if isinstance(holder, Mapping) else None
    return "" if value is None else str(value)


def _age(text: Any, now: float) -> str:
    at = seconds(text)
    return age(None if at is None else now - at)
