"""Lines for a terminal as values: spans of text with a tone each, tables, trees.

Pure, so that everything people see can be tested without a terminal. Colours, width and letters are
a :class:`Look`; with the plain one a line is its text. What tenants write passes through here, so
nothing of it that a terminal would obey gets out.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final


class Tone(StrEnum):
    """What a text is, by which it gets its colour."""

    PLAIN = ""
    STRONG = "1"
    FAINT = "2"
    GOOD = "32"
    BAD = "31"
    WARN = "33"
    BUSY = "36"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line."""

    text: str
    tone: Tone = Tone.PLAIN


Line = tuple[Span, ...]
Cell = str | Span


@dataclass(frozen=True, slots=True)
class Look:
    """What the output can show. ``width`` 0: lines are as long as they are."""

    width: int = 0
    height: int = 0
    is_colored: bool = False
    is_ascii: bool = False


PLAIN: Final = Look()
_BREAKS: Final = re.compile(r"\s*[\r\n\v\f]+\s*")
_ASCII: Final = {
    "├─ ": "|- ",
    "└─ ": "`- ",
    "│  ": "|  ",
    "✔": "+",
    "✖": "x",
    "▶": ">",
    "⚠": "!",
    "◌": "o",
    "?": "?",
    "●": "*",
    "…": "...",
    "█": "#",
    "░": ".",
    "→": "->",
    "·": "-",
}


def line(*parts: Cell) -> Line:
    """Make a line of texts and spans; empty ones are left out."""
    spans = (part if isinstance(part, Span) else Span(part) for part in parts)
    return tuple(span for span in spans if span.text)


def text_of(spans: Line) -> str:
    """The line without tones."""
    return "".join(span.text for span in spans)


# --- text -----------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    flat = _BREAKS.sub(" ", text.strip("\r\n")).expandtabs(4)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def columns(text: str) -> int:
    """Columns that a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, width: int) -> str:
    """The text in at most so many columns."""
    if columns(text) <= width:
        return text
    kept, left = [], width - 1
    for c in text:
        left -= columns(c)
        if left < 0:
            break
        kept.append(c)
    return "".join(kept) + "…"


def paint(spans: Line, look: Look) -> str:
    """The line as it is written, blanks at its end gone."""
    shown = [Span(_spelled(span.text, look), span.tone) for span in spans]
    while shown and not (end := shown[-1].text.rstrip()):
        shown.pop()
    if shown:
        shown[-1] = Span(end, shown[-1].tone)
    if not look.is_colored:
        return "".join(span.text for span in shown)
    pieces = groupby(shown, key=lambda span: span.tone)
    return "".join(_colored("".join(span.text for span in run), tone) for tone, run in pieces)


def _colored(text: str, tone: Tone) -> str:
    return f"\x1b[{tone}m{text}\x1b[0m" if tone else text


def _spelled(text: str, look: Look) -> str:
    if not look.is_ascii:
        return text
    for fancy, simple in _ASCII.items():
        text = text.replace(fancy, simple)
    return text.encode("ascii", "replace").decode()


# --- times ----------------------------------------------------------------------------------------


def took(seconds: float) -> str:
    """A duration in its two largest units: ``45s``, ``4m 30s``, ``3d 4h``."""
    rest, parts = max(0, round(seconds)), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"


def age(seconds: float | None) -> str:
    """A duration as kubectl shows ages, in one unit as soon as it is more than a few of it."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


# --- tables ---------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], look: Look) -> list[Line]:
    """Straight columns, three blanks between two; the last one gives way to the width.

    ``head`` may be empty.
    """
    cells = [[Span(name, Tone.STRONG) for name in head]] if head else []
    cells += [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(columns(cell.text) for cell in column) for column in zip(*cells, strict=True)]
    before = sum(widths[:-1]) + 3 * (len(widths) - 1)
    if look.width:
        widths[-1] = min(widths[-1], max(8, look.width - before))
    return [_row(row, widths) for row in cells]


def _one_line(cell: Cell) -> Span:
    span = cell if isinstance(cell, Span) else Span(cell)
    return Span(clean(span.text), span.tone)


def _row(cells: Sequence[Span], widths: Sequence[int]) -> Line:
    parts: list[Span] = []
    for span, width in zip(cells[:-1], widths[:-1], strict=True):
        parts += [span, Span(" " * (width - columns(span.text) + 3))]
    last = cells[-1]
    return line(*parts, Span(cut(last.text, widths[-1]), last.tone))


# --- trees ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A line with lines below it."""

    head: Line
    below: tuple["Node", ...] = field(default=())


def node(*parts: Cell, below: Iterable[Node] = ()) -> Node:
    """A node of texts and spans."""
    spans = (part if isinstance(part, Span) else Span(part) for part in parts)
    return Node(line(*(Span(clean(s.text), s.tone) for s in spans)), tuple(below))


def tree(root: Node, look: Look) -> list[Line]:
    """The lines of a tree; what is too long goes on below, under its own branch."""
    return list(_branches(root, "", "", look))


def _branches(root: Node, first: str, rest: str, look: Look) -> Iterator[Line]:
    hang = rest + ("│  " if root.below else "   ")
    lines = _wrapped(root.head, look.width - columns(first), look.width - columns(hang))
    for number, spans in enumerate(lines):
        yield line(Span(first if number == 0 else hang, Tone.FAINT), *spans)
    for child in root.below:
        is_last = child is root.below[-1]
        yield from _branches(
            child, rest + ("└─ " if is_last else "├─ "), rest + ("   " if is_last else "│  "), look
        )


def _wrapped(spans: Line, first: int, rest: int) -> Iterator[Line]:
    """The line broken at blanks; widths that leave no room break nothing."""
    room, used, parts = first, 0, list[Span]()
    if min(first, rest) < 20:
        yield spans
        return
    for span in spans:
        for number, word in enumerate(span.text.split(" ")):
            gap = " " if number else ""
            size = columns(gap + word)
            if used and gap and used + size > room:
                yield tuple(parts)
                room, used, parts, gap = rest, 0, [], ""
                size = columns(word)
            parts.append(Span(gap + word, span.tone))
            used += size
    yield tuple(parts)
