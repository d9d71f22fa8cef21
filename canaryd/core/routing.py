"""What routes are to say about a canary: one value for every provider.

A provider writes the whole of it or refuses the plan; it never approximates. The value says who
gets to the canary, not how: annotations, backend weights and selectors are the routers' business.
"""

from dataclasses import dataclass
from enum import StrEnum


class MatchKind(StrEnum):
    """What of a request is looked at."""

    HEADER = "header"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True)
class Match:
    """One way for a request to ask for the canary.

    A header with neither ``value`` nor ``pattern`` is a switch, as a cookie always is: ``always``
    asks for the canary, ``never`` for the primary, whatever the weight (ingress-nginx 1.15).
    ``pattern`` is a regular expression in RE2's grammar.
    """

    kind: MatchKind
    name: str
    value: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        if self.pattern:
            return f"{self.kind} {self.name}~{self.pattern}"
        return f"{self.kind} {self.name}={self.value}" if self.value else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Routing:
    """Who gets to the canary: percent of users, those who ask for it, percent mirrored."""

    weight: int = 0
    matches: tuple[Match, ...] = ()
    mirror: int = 0

    @property
    def has_users(self) -> bool:
        """Somebody's answer may come from the canary."""
        return self.weight > 0 or bool(self.matches)

    @property
    def is_retreat(self) -> bool:
        """Nothing at all reaches the canary."""
        return not self.has_users and self.mirror == 0

    def __str__(self) -> str:
        parts = (
            [f"weight {self.weight}"] if self.weight or not (self.matches or self.mirror) else []
        )
        parts += [str(match) for match in self.matches]
        parts += [f"mirror {self.mirror}%"] if self.mirror else []
        return ", ".join(parts)


PRIMARY_ONLY = Routing()
"""Every request to the primary."""
