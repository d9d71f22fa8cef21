"""What a key somebody wrote is: known, planned, misnamed or unknown; and what was meant."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from canaryd.core import units
from canaryd.core.model import Builtin
from canaryd.core.rule import Rule
from canaryd.core.vocabulary import BY_KEY, PLANNED


@dataclass(frozen=True, slots=True)
class Family:
    """A repeated thing: its instances have names inside their keys."""

    name: str
    limit: int


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("metric", 30),
        Family("hook", 30),
        Family("load-test", 10),
        Family("gate", 10),
    )
}
BUILTINS = frozenset(Builtin)
PLANNED_BUILTINS = frozenset({"request-rate", "restarts", "cpu", "memory"})
_INSTANCE_NAME = re.compile(units.INSTANCE_NAME)


@dataclass(frozen=True, slots=True)
class Known:
    """A key that has a rule; ``family`` and ``name`` are empty for a plain one."""

    rule: Rule
    family: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """A key that only a later version has, and what to do until then."""

    advice: str


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A key of a family with a name that is not one."""

    name: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No key at all."""


def look_up(key: str) -> Known | Planned | Misnamed | Unknown:
    """Find what a key without prefix is."""
    rule = BY_KEY.get(key)
    if rule is not None and "<" not in key:
        return Known(rule)
    if "." not in key:
        return Planned(PLANNED[key]) if key in PLANNED else Unknown()
    family, name, *field = key.split(".", 2)
    general = ".".join((family, "<name>", *field))
    rule = BY_KEY.get(general)
    if rule is None and general not in PLANNED:
        return Unknown()
    if not _INSTANCE_NAME.fullmatch(name):
        return Misnamed(name)
    return Known(rule, family, name) if rule is not None else Planned(PLANNED[general])


_PLAIN_KEYS = tuple(key for key in (*FAMILIES, *BY_KEY, *PLANNED) if "." not in key)


def suggest(key: str) -> str:
    """Return the known key that an unknown one was probably meant to be, or an empty text.

    The work is bounded by the vocabulary and the length of a legal key, not by what was written.
    """
    key = key[:63].lower().replace("_", "-")
    family, dot, rest = key.partition(".")
    if not dot:
        closest = _closest(key, _PLAIN_KEYS)
        return f"{closest}.NAME" if closest in FAMILIES else closest
    family = _closest(family, tuple(FAMILIES))
    name, dot, field = rest.partition(".")
    if not family or not _INSTANCE_NAME.fullmatch(name):
        return ""
    fields = tuple(
        known.rpartition(".")[2] for known in BY_KEY if known.startswith(f"{family}.<name>.")
    )
    field = _closest(field, fields) if dot else ""
    return f"{family}.{name}.{field}".rstrip(".") if field or not dot else ""


def _closest(word: str, words: tuple[str, ...]) -> str:
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=0.7)), "")
