"""What people ask of a run: who, what, of which run, and why.

A command is an annotation of the Canary object, which only canaryd owns, so no GitOps tool knows of
it and none reverts it (``docs/design/20261125-commands.md``)::

    action.canaryd.io/promote.4f9c21ab: "8ab12c03d1-7@2 alice - looks good on the canary"

that is verb and nonce, then the run and its stage, who asks, an argument (``-`` for none) and why.
The run makes a command that comes too late harmless, the nonce one that comes twice, and the name
is held to be that of the writer by the chart's admission policy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from unicodedata import category

ACTION = "action.canaryd.io/"
REASON_CAP = 300
VALUE_CAP = 1024
"""Characters of a whole command, as the policy has it: records of them are kept in the status."""
NONCE = r"[0-9a-z]{4,32}"
_UNSEEN = frozenset({"Cc", "Zl", "Zp"})
"""Categories of characters that begin lines, or steer a terminal."""
_KEY = re.compile(rf"([a-z]+)\.({NONCE})")


class CommandVerb(StrEnum):
    """What can be asked; each is a verb of RBAC on ``canaries.canaryd.io``."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    APPROVE = "approve"
    RETRY = "retry"
    SKIP = "skip"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One request, as it was written.

    ``subject`` is what it is about: a run and its stage (``8ab12c03d1-7@2``), or a revision.
    """

    verb: CommandVerb
    nonce: str
    subject: str
    by: str
    argument: str = ""
    """Of ``approve`` a gate, of ``undo`` a revision."""
    reason: str = ""

    @property
    def key(self) -> str:
        """The annotation that carries it."""
        return f"{ACTION}{self.verb}.{self.nonce}"

    @property
    def value(self) -> str:
        """The annotation's value."""
        words = (self.subject, as_word(self.by), self.argument or "-", self.reason)
        return " ".join(words).strip()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An annotation under our prefix that is no command, and what is wrong with it."""

    key: str
    problem: str


def as_word(name: str) -> str:
    """A user's name as one word, and no other name as the same one.

    Only what would be in the way is written otherwise, so that the admission policy, which knows
    ``replace`` and no more, makes the same word of the writer's name and compares the two.
    """
    return name.replace("%", "%25").replace(" ", "%20")


def _from_word(word: str) -> str:
    return word.replace("%20", " ").replace("%25", "%")


def read_commands(annotations: Mapping[str, str]) -> tuple[Command | Unreadable, ...]:
    """Every command that waits, what takes users off first, then in the order of their keys."""
    found = [_read(key, value) for key, value in annotations.items() if key.startswith(ACTION)]
    return tuple(sorted(found, key=lambda c: (not _is_urgent(c), c.key)))


def _is_urgent(command: Command | Unreadable) -> bool:
    return isinstance(command, Command) and command.verb in (CommandVerb.ABORT, CommandVerb.PAUSE)


def _read(key: str, value: str) -> Command | Unreadable:
    named = _KEY.fullmatch(key.removeprefix(ACTION))
    if named is None or named[1] not in CommandVerb.__members__.values():
        verbs = ", ".join(CommandVerb)
        return Unreadable(key, f"is not <verb>.<nonce> with a verb out of {verbs}")
    if len(value) > VALUE_CAP:
        return Unreadable(key, f"is longer than {VALUE_CAP} characters")
    if any(category(character) in _UNSEEN for character in value):
        # It would stand in Events, lines of log and terminals as if somebody else had said it.
        return Unreadable(key, "has line breaks or control characters")
    subject, by, argument, reason = [*value.split(" ", 3), "", "", "", ""][:4]
    if not subject or not by:
        return Unreadable(key, "does not say what it is about and who asks; use kubectl canaryd")
    return Command(
        verb=CommandVerb(named[1]),
        nonce=named[2],
        subject=subject,
        by=_from_word(by),
        argument="" if argument == "-" else argument,
        reason=reason.strip()[:REASON_CAP],
    )
