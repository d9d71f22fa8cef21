"""How much of an app is told in its status when all of it would be too much.

A status is stored, and sent to every watcher at every step, so it has 16 KiB. What a run needs is
never left out: ``machine`` with the pinned plan, tracked configs, failures by check, and the two
texts that are compared with what is said next. People get what is left of the 16 KiB, and 3 KiB in
any case: when a run needs more than 13 KiB, its status has 3 KiB more than that.

What is left out is decided by size alone, and nothing once a status fits: what was read back is
written as it was. First go the texts of checks that passed, since value and threshold say the same,
then the ends of other texts, then the oldest of the history and of what people asked for, then the
checks and hooks that passed before those that did not. What the history forgets is gone; where
``undo`` may go is not read off it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from canaryd.core.state import (
    HISTORY_CAP,
    CommandRecord,
    HookRecord,
    RolloutState,
    VerdictRecord,
    brief,
)
from canaryd.core.verdicts import Verdict
from canaryd.core.views import JsonDict

STATUS_LIMIT = 16 * 1024
"""Bytes of a status."""
FLOOR = 3 * 1024
"""Bytes for people that a status has in any case."""
WORD_CAP = 48
"""Characters of a value, a unit or a threshold."""
NAME_CAP = 64
"""Characters of who asked for something, and of what."""
TEXT_CAP = 300
"""Characters of what is said of a check or a command."""
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_RANKS: dict[str, int] = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}
T = TypeVar("T", VerdictRecord, HookRecord)


@dataclass(frozen=True, slots=True)
class Fit:
    """How much is told: characters of what is said of a check that passed and of anything else,
    checks, hooks and commands at most, results of runs at least.
    """

    passed: int
    other: int
    checks: int
    hooks: int
    commands: int
    history: int


FITS = (
    Fit(passed=TEXT_CAP, other=TEXT_CAP, checks=128, hooks=128, commands=20, history=HISTORY_CAP),
    Fit(passed=0, other=TEXT_CAP, checks=128, hooks=128, commands=20, history=HISTORY_CAP),
    Fit(passed=0, other=120, checks=128, hooks=128, commands=10, history=10),
    Fit(passed=0, other=40, checks=20, hooks=10, commands=5, history=10),
    Fit(passed=0, other=40, checks=12, hooks=6, commands=3, history=5),
    Fit(passed=0, other=40, checks=5, hooks=2, commands=2, history=1),
)
"""From everything to the least."""


def size(value: object) -> int:
    """Bytes of JSON in its longest spelling: other writers escape ``<``, ``>`` and ``&`` too."""
    text = _ENCODER.encode(value)
    return len(text) + 5 * sum(text.count(character) for character in "<>&")


def fitted(state: RolloutState, fit: Fit, history: int) -> RolloutState:
    """The state with so much of what is for people; ``history`` is how many results are wanted."""
    checks = _worst(state.verdicts, lambda check: check.verdict, fit.checks)
    return replace(
        state,
        message=brief(state.message),
        config_error=brief(state.config_error),
        verdicts=tuple(_short(v, fit) for v in checks),
        hooks=_worst(state.hooks, lambda hook: hook.state, fit.hooks),
        commands=tuple(_short_command(c, fit) for c in state.commands[-fit.commands :]),
        history=state.history[-min(history, HISTORY_CAP) :],
    )


def forget_oldest(history: list[JsonDict], over: int, fit: Fit) -> int:
    """Drop as many of the oldest results as save ``over`` bytes, or as many as ``fit`` allows.

    Returns the bytes that are over still, not above 0 when there are none.
    """
    dropped = 0
    while over > 0 and len(history) - dropped > fit.history:
        over -= size(history[dropped]) + len(",")
        dropped += 1
    del history[:dropped]
    return over


def _short(verdict: VerdictRecord, fit: Fit) -> VerdictRecord:
    cap = fit.passed if verdict.verdict == Verdict.PASS else fit.other
    return replace(
        verdict,
        value=brief(verdict.value, WORD_CAP),
        unit=brief(verdict.unit, WORD_CAP),
        threshold=brief(verdict.threshold, WORD_CAP),
        message=brief(verdict.message, cap),
    )


def _short_command(command: CommandRecord, fit: Fit) -> CommandRecord:
    return replace(
        command,
        by=brief(command.by, NAME_CAP),
        argument=brief(command.argument, NAME_CAP),
        subject=brief(command.subject, NAME_CAP),
        reason=brief(command.reason, fit.other),
        refusal=brief(command.refusal, fit.other),
    )


def _worst(records: tuple[T, ...], outcome: Callable[[T], str], most: int) -> tuple[T, ...]:
    """At most so many of them, those that passed last to stay, in the order they had."""
    ranked = sorted(range(len(records)), key=lambda n: (_RANKS.get(outcome(records[n]), 0), n))
    return tuple(records[n] for n in sorted(ranked[:most]))
