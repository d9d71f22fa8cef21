"""Does an object already say what we would write?

The API server adds defaults and other writers add fields, so equality is too strict:
what we want must be contained in what is there. Lists count as a whole, element by element.
"""

from collections.abc import Mapping
from typing import Any


def is_subset(wanted: Any, live: Any) -> bool:
    """Whether every field of ``wanted`` stands in ``live`` with the same value."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key in live and is_subset(value, live[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(live, list | tuple)
            and len(wanted) == len(live)
            and all(is_subset(w, have) for w, have in zip(wanted, live, strict=True))
        )
    return bool(wanted == live)


def merge_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns ``old`` into ``new``;
    empty when they are equal.
    """
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := merge_diff(before, value):
                patch[key] = inner
        elif value != before:
            patch[key] = value
    return patch
