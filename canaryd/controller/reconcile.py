"""Look at one app: gather, decide, perform, and say in exactly one line what came of it."""

from dataclasses import dataclass
from typing import Protocol

from canaryd.controller.freshness import StaleCache
from canaryd.controller.gather import Gatherer
from canaryd.controller.perform import Performer
from canaryd.controller.snapshots import StaleTarget
from canaryd.controller.trouble import decision_after, is_retreat, obstacle_of
from canaryd.core.decide import decide
from canaryd.core.decision import Decision
from canaryd.core.snapshot import Snapshot
from canaryd.core.views import Key
from canaryd.ports.clock import Clock
from canaryd.ports.errors import KubeError


class Journal(Protocol):
    """Where the one line goes, and the numbers behind it."""

    def looked(self, snap: Snapshot | None, key: Key, decision: Decision, seconds: float) -> None:
        """One look at an app ended with this decision."""
        ...


@dataclass(frozen=True, slots=True)
class Reconciler:
    """The loop body. ``dry_run`` decides and tells, and does nothing."""

    gatherer: Gatherer
    performer: Performer
    clock: Clock
    journal: Journal
    dry_run: bool = False

    async def reconcile(self, key: Key) -> float | None:
        """Look once; return after how many seconds to look again, None to wait for a change,
        a negative number for backoff that begins with as many seconds.
        """
        started, recheck_s = self.clock.now(), None
        snap: Snapshot | None = None
        decision: Decision | None = None
        try:
            gathered = await self.gatherer.gather(key)
            snap, recheck_s = gathered.snapshot, gathered.recheck_s
            decision = decide(snap, self.clock.now())
            if not self.dry_run:
                with self.gatherer.turns.taken(snap, decision):
                    untold_s = await self.performer.perform(gathered, decision)
                recheck_s = min((s for s in (recheck_s, untold_s) if s is not None), default=None)
        except (KubeError, StaleCache, StaleTarget) as trouble:
            retreating = is_retreat(snap, decision)
            if not retreating and (obstacle := obstacle_of(trouble)) is not None:
                self.gatherer.obstruct(key, obstacle)
            decision = decision_after(trouble, retreating=retreating)
        self.journal.looked(snap, key, decision, self.clock.now() - started)
        after = decision.requeue_after
        return None if self.dry_run else recheck_s if after is None else after
