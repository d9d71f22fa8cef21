"""Reads the reference pages."""

import re
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def page(name):
    return (REFERENCE / name).read_text(encoding="utf-8")


def table(text, head):
    """The rows of every table with this head, as tuples of cells."""
    found, is_inside = [], False
    for line in text.splitlines():
        cells = tuple(
            cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]
        )
        if cells == head:
            is_inside = True
        elif not cells:
            is_inside = False
        elif is_inside and not set("".join(cells)) <= {"-"}:
            found.append(cells)
    return found
