"""What is wrong with an annotation, as a value that reads as a sentence.

Problems are collected, never raised: a user sees all of them at once. The sentence names the key as
it must be searched for, the value, the rule and an example. It goes into Events, conditions and
terminals, so it is one printable line and never repeats credentials that somebody put into a URL.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from canaryd.core import names
from canaryd.core.units import UnitError, UnsupportedError, quote

DEFAULTS_PREFIX = "defaults.canaryd.io/"

BUILT_IN, CONTROLLER, NAMESPACE, DEPLOYMENT = "built-in", "controller", "namespace", "deployment"
"""Where a value can come from, weakest first."""


class ProblemReason(StrEnum):
    """Kinds of problems, as programs tell them apart."""

    UNKNOWN_KEY = "UnknownKey"
    INVALID_VALUE = "InvalidValue"
    NOT_SUPPORTED = "NotSupported"
    MISSING_VALUE = "MissingValue"
    CONFLICTING = "Conflicting"
    MISPLACED = "Misplaced"
    TOO_LARGE = "TooLarge"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct.

    ``key`` has no prefix unless it is one that no layer has. ``value`` is empty when the value is
    not what is wrong. ``example`` is ready to be printed, quotes included.
    """

    key: str
    value: str
    rule: str
    example: str
    reason: ProblemReason
    origin: str = DEPLOYMENT

    @property
    def where(self) -> str:
        """The key as it stands in the object that has to be corrected."""
        key = quote(self.key, 100)[1:-1]
        if "/" in self.key or self.origin == DEPLOYMENT:
            return key if "/" in self.key else f"{names.PREFIX}{key}"
        return f"{DEFAULTS_PREFIX}{key}" if self.origin == NAMESPACE else f"{key} ({self.origin})"

    @property
    def message(self) -> str:
        """The sentence for people."""
        shown = f"{quote(self.value)} " if self.value else ""
        lead = "did you mean" if self.reason is ProblemReason.UNKNOWN_KEY else "write for example"
        end = "?" if self.reason is ProblemReason.UNKNOWN_KEY else ""
        advice = f"; {lead} {self.example}{end}" if self.example else ""
        return f"{self.where}: {shown}{self.rule}{advice}"

    def __str__(self) -> str:
        return self.message


_CREDENTIALS = re.compile(r"://.*@", re.DOTALL)
"""Greedy on purpose: a password may hold any of ``/ ? # @``."""


def problem_of(key: str, value: str, error: UnitError, origin: str) -> Problem:
    """Make the problem of a value that a parser refused."""
    unsupported = isinstance(error, UnsupportedError)
    reason = ProblemReason.NOT_SUPPORTED if unsupported else ProblemReason.INVALID_VALUE
    return Problem(
        key, _CREDENTIALS.sub("://***@", value), error.rule, error.example, reason, origin
    )
