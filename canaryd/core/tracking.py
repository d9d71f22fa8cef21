"""Which configs belong to a revision, and why changing that rule changes no revision.

What is tracked is decided by settings (``config-tracking``, ``config-exclude``, ``secrets.access``
of the daemon). A revision's name is made of the configs that were tracked when it was recorded, so
the rule is recorded with it: under another rule the same pods would have another name, and a change
of settings would start a run (design 3 forbids it).
A new rule holds from the next revision on. Until then a config that is tracked no longer counts as
unchanged, and one that is tracked newly counts from what it held when it was first seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from canaryd.core.fingerprint import revision_of

Contents = Mapping[str, tuple[str, str]]
"""``kind/name`` to (resourceVersion, content fingerprint)."""

_KINDS = ("configmap", "secret")


@dataclass(frozen=True, slots=True)
class Tracking:
    """A rule: the kinds of configs that are tracked, and the configs that are not all the same."""

    kinds: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    """As ``kind/name``."""

    def covers(self, key: str) -> bool:
        """Whether a config (``kind/name``) belongs to revisions under this rule."""
        return key.partition("/")[0] in self.kinds and key not in self.excluded

    def about(self, keys: Iterable[str]) -> "Tracking":
        """The same rule for these configs, without a word about others."""
        return Tracking(self.kinds, self.excluded & frozenset(keys))

    def __str__(self) -> str:
        """As it is recorded: ``configmap,secret -configmap/flags``; ``none`` for an empty one."""
        words = [",".join(sorted(self.kinds)) or "none", *(f"-{key}" for key in _sorted(self))]
        return " ".join(words)


def _sorted(rule: Tracking) -> list[str]:
    return sorted(rule.excluded)


def parse(text: str) -> Tracking | None:
    """Read a recorded rule; None when there is none, or none that this version understands."""
    head, *rest = text.split(" ")
    kinds = frozenset(head.split(",")) - {"none"}
    if not head or not kinds <= set(_KINDS) or not all(word.startswith("-") for word in rest):
        return None
    return Tracking(kinds, frozenset(word[1:] for word in rest))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A revision that is known by name, and the rule it was named under."""

    revision: str
    rule: str


@dataclass(frozen=True, slots=True)
class Identified:
    """What a target asks for: the revision's name, its rule, and what belongs to it.

    ``beside`` are configs that are tracked from the next revision on.
    """

    name: str
    rule: str
    contents: Contents
    beside: Contents


def identify(
    template: str,
    looked: Contents,
    fresh: Tracking,
    *,
    known: Iterable[Recorded],
    remembered: Contents,
) -> Identified:
    """Name a revision, by the rule of one of the ``known`` ones if it is that one still.

    Args:
        template: fingerprint of the pod template.
        looked: contents of the configs that ``fresh`` covers.
        fresh: the rule in force.
        known: revisions to recognise, the one recorded last first: ``remembered`` is of that one.
        remembered: contents when they were last recorded, of whatever was tracked then.

    """
    for candidate in known:
        rule = parse(candidate.rule)
        if rule is None:
            continue
        contents = {k: v for k, v in looked.items() if rule.covers(k)}
        contents |= {k: v for k, v in remembered.items() if rule.covers(k) and not fresh.covers(k)}
        beside = {k: v for k, v in looked.items() if not rule.covers(k)}
        unchanged = all(remembered.get(k, v)[1] == v[1] for k, v in beside.items())
        if unchanged and _name(template, contents) == candidate.revision:
            return Identified(candidate.revision, candidate.rule, contents, beside)
    return Identified(_name(template, looked), str(fresh), looked, {})


def _name(template: str, contents: Contents) -> str:
    return revision_of(template, {key: content for key, (_, content) in contents.items()})
