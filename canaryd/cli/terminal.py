"""What the output is, and how lines get there: the one place that looks at the terminal.

Colours and redrawing are for terminals only; what is piped gets plain lines, each once.
``NO_COLOR`` and ``TERM=dumb`` are honoured.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from canaryd.cli.render import Line, Look, paint

_SIMPLE = frozenset({"dumb", "linux", ""})


def look(*, no_color: bool = False, stream: IO[Any] | None = None) -> Look:
    """What standard output can show."""
    out = stream or sys.stdout
    term = os.environ.get("TERM", "")
    if not out.isatty():
        return Look(is_ascii=not _is_unicode(out))
    size = shutil.get_terminal_size()
    return Look(
        width=size.columns,
        height=size.lines,
        is_colored=not (no_color or os.environ.get("NO_COLOR") or term in ("dumb", "")),
        is_ascii=term in _SIMPLE or not _is_unicode(out),
    )


def _is_unicode(out: IO[Any]) -> bool:
    return "utf" in (getattr(out, "encoding", None) or "").lower()


def write(lines: Sequence[Line], to: Look) -> None:
    """Write lines to standard output."""
    for spans in lines:
        # Not click's own guess about colours: the look has decided.
        click.echo(paint(spans, to), color=to.is_colored)


class Screen:
    """Draws the same thing again and again in the place where it stands."""

    def __init__(self, to: Look) -> None:
        self._look = to
        self._height = 0

    def draw(self, lines: Sequence[Line]) -> None:
        """Replace what was drawn before; lines beyond the terminal's height are counted only."""
        shown, limit = [paint(spans, self._look) for spans in lines], self._look.height - 1
        if limit > 0 and len(shown) > limit:
            shown = [*shown[: limit - 1], f"({len(shown) - limit + 1} more lines)"]
        up = f"\x1b[{self._height}F" if self._height else ""
        click.echo(f"{up}\x1b[J" + "\n".join(shown), color=True)
        self._height = len(shown)
