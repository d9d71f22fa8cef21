"""Merged annotations while they are being read: texts with origins, and what was found wrong.

Reading goes on after a mistake, with the key's default in its place, so that all mistakes are told
at once. A rule about several keys must ask ``is_sound`` for each of them first: what could not be
read has been told, and what stands in for it is nobody's wish.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from canaryd.core.lookup import FAMILIES, Known, look_up
from canaryd.core.problems import (
    BUILT_IN,
    CONTROLLER,
    NAMESPACE,
    Problem,
    ProblemReason,
    problem_of,
)
from canaryd.core.units import UnitError

T = TypeVar("T")
_UNREADABLE = (ProblemReason.INVALID_VALUE, ProblemReason.NOT_SUPPORTED)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A value as text, and the layer it comes from."""

    value: str
    origin: str


@dataclass(slots=True)
class Draft:
    """The texts being read, and what was found wrong so far.

    ``idle`` are keys that say nothing beside the others: nobody reads them, and they are shown
    without a value.
    """

    given: dict[str, Resolved]
    problems: list[Problem] = field(default_factory=list)
    idle: dict[str, Resolved] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Return the layer a key comes from."""
        found = self.given.get(key) or self.idle.get(key)
        return found.origin if found else BUILT_IN

    def knows(self, key: str) -> bool:
        """Whether somebody wrote a key, read or set aside."""
        return key in self.given or key in self.idle

    def is_inherited(self, key: str) -> bool:
        """Whether a key was written for many apps and not for this one."""
        return self.origin(key) in (CONTROLLER, NAMESPACE)

    def is_sound(self, *keys: str) -> bool:
        """Whether none of the keys has a value that could not be read."""
        return not any(p.key in keys and p.reason in _UNREADABLE for p in self.problems)

    def read(self, key: str, kind: type[T], otherwise: T) -> T:
        """Return the value of a key, ``otherwise`` when it is not given or not readable."""
        known = look_up(key)
        if key not in self.given or not isinstance(known, Known):
            return otherwise
        try:
            value = known.rule.parse(self.given[key].value)
        except UnitError as error:
            self.problems.append(problem_of(key, self.given[key].value, error, self.origin(key)))
            return otherwise
        if not isinstance(value, kind):
            raise TypeError(f"the type of {known.rule.key} does not make {kind.__name__} values")
        return value

    def read_default(self, key: str, kind: type[T]) -> T:
        """Return the value of a key whose rule has a default."""
        known = look_up(key)
        default = known.rule.parse(known.rule.default) if isinstance(known, Known) else None
        if not isinstance(default, kind):
            raise TypeError(f"the default of {key} is not a {kind.__name__}")
        return self.read(key, kind, default)

    def refuse(self, key: str, reason: ProblemReason, rule: str, example: str = "") -> None:
        """Record a problem that is not about the value's own grammar."""
        self.problems.append(Problem(key, "", rule, example, reason, self.origin(key)))

    def refuse_value(
        self,
        key: str,
        rule: str,
        example: str,
        reason: ProblemReason = ProblemReason.INVALID_VALUE,
    ) -> None:
        """Record a value that is readable and makes no sense here."""
        error = UnitError(rule, example)
        told = problem_of(key, self.given[key].value, error, self.origin(key))
        self.problems.append(replace(told, reason=reason))

    def set_aside(self, key: str) -> None:
        """Go on as if a key had not been written."""
        self.idle[key] = self.given.pop(key)

    def names(self, family: str) -> list[str]:
        """Return the names of the instances whose main key is given."""
        prefix = f"{family}."
        return sorted(
            key.removeprefix(prefix)
            for key in self.given
            if key.startswith(prefix) and key.count(".") == 1
        )

    def usable(self, family: str) -> list[str]:
        """Return the names up to the limit, beyond which reading would only cost time."""
        return self.names(family)[: FAMILIES[family].limit]


def copy_of(given: Mapping[str, Resolved]) -> Draft:
    """Return a draft of merged texts, which stay as they are."""
    return Draft(dict(given))
