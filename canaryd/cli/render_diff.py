"""``canaryd diff`` as lines: what goes with a minus, what comes with a plus. Pure."""

import difflib
from collections.abc import Iterator, Sequence
from itertools import groupby

from canaryd.cli.compare import Change
from canaryd.cli.render import Line, Span, Tone, clean, line


def render_diff(title: str, found: Sequence[Change]) -> list[Line]:
    """The lines of a comparison."""
    return [line(Span(clean(title), Tone.STRONG)), *_lines(found)]


def _lines(found: Sequence[Change]) -> Iterator[Line]:
    if not found:
        yield line("no difference")
    for where, group in groupby(found, key=lambda change: change.where):
        yield line("")
        yield line(Span(clean(where), Tone.STRONG))
        for change in group:
            yield from _change(change)


def _change(change: Change) -> Iterator[Line]:
    if change.word:
        path = f"{clean(change.path)} " if change.path else ""
        yield line("  ", path, Span(change.word, Tone.WARN))
    elif change.before is not None and change.after is not None and _is_long(change):
        yield line(f"  {clean(change.path)}:")
        yield from _inside(change.before, change.after)
    else:
        if change.before is not None:
            yield _one("-", change.path, change.before, Tone.BAD)
        if change.after is not None:
            yield _one("+", change.path, change.after, Tone.GOOD)


def _is_long(change: Change) -> bool:
    return "\n" in (change.before or "") or "\n" in (change.after or "")


def _one(sign: str, path: str, value: str, tone: Tone) -> Line:
    return line(Span(f"{sign} {clean(path)}: {clean(value)}", tone))


def _inside(before: str, after: str) -> Iterator[Line]:
    """A text of several lines, by its lines."""
    compared = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    for text in list(compared)[2:]:
        tone = {"+": Tone.GOOD, "-": Tone.BAD, "@": Tone.FAINT}.get(text[:1], Tone.PLAIN)
        yield line(Span(f"  {clean(text)}", tone))
