"""One line of log per look at an app, by the contract of ``docs/reference/logs.md``,
and the numbers behind it.

A look that did something, or came to another conclusion than the one before, is told at ``info``;
one that waits on, asks, or counts pods at ``debug``:
a log at ``info`` reads as the story of a release.
"""

import re
from collections import OrderedDict
from typing import Any, Protocol

from canaryd.core.decision import Ask, Decision, SaveState, StopAsking
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import HistoryEntry, RolloutState
from canaryd.core.views import Key
from canaryd.telemetry.prometheus import Telemetry

REMEMBERED = 10_000
WARNINGS = frozenset(
    {
        Reason.API_ERROR,
        Reason.CONFIG_INVALID,
        Reason.CONFLICT,
        Reason.CANARY_LOST,
        Reason.METRIC_FAILED,
        Reason.HOOK_FAILED,
        Reason.LOAD_TEST_FAILED,
        Reason.ROLLED_BACK,
        Reason.PROMOTION_FAILED,
        Reason.TRAFFIC_DRIFT,
        Reason.SELECTOR_DRIFT,
        Reason.PRIMARY_DRIFT,
        Reason.PRIMARY_REBUILT,
    }
)

DECISIONS = {
    Reason.ANALYSIS_STARTED: "advance",
    Reason.WEIGHT_ADVANCED: "advance",
    Reason.ADVANCEMENT_HELD: "hold",
    Reason.WAITING_FOR_GATE: "hold",
    Reason.METRIC_FAILED: "hold",
    Reason.HOOK_FAILED: "hold",
    Reason.LOAD_TEST_FAILED: "hold",
    Reason.CANARY_LOST: "rollback",
    Reason.REVERTED: "rollback",
    Reason.ROLLED_BACK: "rollback",
    Reason.PROMOTION_STARTED: "promote",
    Reason.FINALISING: "promote",
    Reason.PROMOTED: "promote",
}
"""What a look meant for the release, as one of four words, for alerts that need no more."""
QUIET = frozenset({Reason.ANALYZING, Reason.CACHE_BEHIND, Reason.IDLE})
"""Waiting, asking, having nothing to do: no news by themselves."""
_NUMBERS = re.compile(r"[0-9.]+")


class Log(Protocol):
    """The part of a logger that is used here."""

    def debug(self, event: str, **values: Any) -> None:
        """A look that found nothing new."""
        ...

    def info(self, event: str, **values: Any) -> None:
        """A look that did or found something."""
        ...

    def warning(self, event: str, **values: Any) -> None:
        """A look that a person may want to know of."""
        ...


class ReconcileJournal:
    """Writes the line and feeds the metrics.

    Args:
        log: where lines go.
        telemetry: where numbers go.

    """

    def __init__(self, log: Log, telemetry: Telemetry) -> None:
        self._log = log
        self._telemetry = telemetry
        self._last: OrderedDict[Key, tuple[str, str]] = OrderedDict()

    def looked(self, snap: Snapshot | None, key: Key, decision: Decision, seconds: float) -> None:
        """One look at an app ended with this decision."""
        self._telemetry.reconciled(str(decision.reason), seconds)
        state = _state_after(snap, decision)
        self._measure(key, snap, state)
        told = (str(decision.reason), _NUMBERS.sub("", decision.message))
        is_news = _acts(decision) or (self._last.get(key) != told and decision.reason not in QUIET)
        if decision.reason not in QUIET:
            self._remember(key, told)
        write = self._log.debug
        if is_news:
            write = self._log.warning if decision.reason in WARNINGS else self._log.info
        write(
            decision.message or str(decision.reason),
            namespace=key[0],
            deployment=key[1],
            canary=key[1],
            reason=str(decision.reason),
            duration_ms=round(seconds * 1000, 1),
            **({"decision": word} if (word := DECISIONS.get(decision.reason)) else {}),
            **_fields(state, _ended(snap, state)),
        )

    def _measure(self, key: Key, snap: Snapshot | None, state: RolloutState | None) -> None:
        if snap is not None and (snap.target is None or state is None):
            self._telemetry.forget(*key)
            self._last.pop(key, None)
            return
        if state is None:
            return
        run = state.run
        self._telemetry.canary(
            *key,
            phase=str(state.phase),
            weight=run.weight if run else 0,
            failed_checks=run.failures if run else 0,
        )
        values = {}
        for verdict in state.verdicts:
            try:
                values[verdict.name] = float(verdict.value)
            except ValueError:
                continue
        self._telemetry.metric_values(*key, values)
        if (entry := _ended(snap, state)) is not None:
            self._telemetry.run_ended(*key, entry.result)

    def _remember(self, key: Key, told: tuple[str, str]) -> None:
        self._last[key] = told
        self._last.move_to_end(key)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)


def _acts(decision: Decision) -> bool:
    """Whether anything but a question came of it."""
    return any(not isinstance(action, Ask | StopAsking) for action in decision.actions)


def _state_after(snap: Snapshot | None, decision: Decision) -> RolloutState | None:
    for action in reversed(decision.actions):
        if isinstance(action, SaveState):
            return action.state
    return snap.state if snap is not None else None


def _ended(snap: Snapshot | None, state: RolloutState | None) -> HistoryEntry | None:
    """The run that ended in this look."""
    before = snap.state.history[-1:] if snap is not None and snap.state is not None else ()
    after = state.history[-1:] if state is not None else ()
    # Not by their number: a history that is full grows no more.
    return after[0] if after and after != before else None


def _fields(state: RolloutState | None, ended: HistoryEntry | None) -> dict[str, Any]:
    if state is None:
        return {}
    fields: dict[str, Any] = {"phase": str(state.phase)}
    if state.run is None and ended is not None:
        fields |= {"revision": ended.revision, "decision_id": ended.decision_id}
    if state.run is not None:
        fields |= {
            "revision": state.run.revision,
            "weight": state.run.weight,
            "step": state.run.step + 1,
            "decision_id": f"{state.run.id}/{state.run.evaluation}",
        }
    return fields
