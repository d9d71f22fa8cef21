"""Whose turn it is to begin a run, when many apps want to at once.

Read off the Canaries, so that a restart forgets nobody and no order lives in memory: a run under
way has its place, and whoever waits longer comes first. Only what is decided and not written yet
stands beside them: apps that change in one moment are looked at by several workers, and all of
them see the same Canaries.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from canaryd.core.decision import Decision, SaveState
from canaryd.core.phase import RUN_PHASES
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Snapshot
from canaryd.core.views import Key, ObjectView

_RUNNING = frozenset(str(phase) for phase in RUN_PHASES)


@dataclass(slots=True)
class Turns:
    """How many runs there may be at once (0: any number), and which are just beginning."""

    limit: int = 0
    _beginning: set[Key] = field(default_factory=set)

    def place(self, key: Key, canaries: Iterable[ObjectView]) -> int:
        """As :func:`queue_place`; 0 without a limit."""
        return queue_place(key, canaries, self._beginning) if self.limit else 0

    @contextmanager
    def taken(self, snap: Snapshot, decision: Decision) -> Iterator[None]:
        """Hold a place for a run that the decision begins, until it is written."""
        if not _begins(snap, decision):
            yield
            return
        self._beginning.add(snap.key)
        try:
            yield
        finally:
            self._beginning.discard(snap.key)


def _begins(snap: Snapshot, decision: Decision) -> bool:
    has_run = snap.state is not None and snap.state.run is not None
    saved = (a.state for a in decision.actions if isinstance(a, SaveState))
    return not has_run and any(s.run is not None and not s.observing for s in saved)


def queue_place(
    key: Key, canaries: Iterable[ObjectView], beginning: AbstractSet[Key] = frozenset()
) -> int:
    """Runs under way or ``beginning``, and apps other than this one that have waited longer."""
    running, waiting = {*beginning}, []
    for canary in canaries:
        machine = _machine(canary)
        if machine.get("observing"):
            continue  # the app rolls by itself, whatever we say
        if machine.get("phase") in _RUNNING:
            running.add(canary.id.key)
        elif machine.get("reason") == Reason.QUEUED and canary.id.key not in beginning:
            since = _number(machine.get("queued_at"))
            waiting.append((since, canary.id.key))
    mine = next((since for since, k in waiting if k == key), float("inf"))
    longer = sum((since, k) < (mine, key) for since, k in waiting if k != key)
    return len(running - {key}) + longer


def _machine(canary: ObjectView) -> Mapping[str, Any]:
    machine = canary.status.get("machine")
    return machine if isinstance(machine, Mapping) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
