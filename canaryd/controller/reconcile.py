"""Look at one app: gather, decide, perform, and say in exactly one line what came of it."""

from dataclasses import dataclass
from typing import Any, Protocol

from canaryd.controller.gather import Gatherer, StaleCache
from canaryd.controller.perform import Performer
from canaryd.controller.snapshots import StaleTarget
from canaryd.core.decide import decide
from canaryd.core.decision import Decision
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Snapshot
from canaryd.core.views import Key
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Conflict, KubeError

STALE_WAIT_S = 1.0
CONFLICT_WAIT_S = 0.05


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
        """Look once; return after how many seconds to look again, or None to wait for a change."""
        started = self.clock.now()
        snap: Snapshot | None = None
        try:
            gathered = await self.gatherer.gather(key)
            snap = gathered.snapshot
            decision = decide(snap, self.clock.now())
            if not self.dry_run:
                await self.performer.perform(gathered, decision)
        except StaleCache as stale:
            decision = _again(Reason.CACHE_BEHIND, str(stale), STALE_WAIT_S)
        except (Conflict, StaleTarget) as conflict:
            decision = _again(Reason.CONFLICT, str(conflict), CONFLICT_WAIT_S)
        except KubeError as error:
            decision = _again(Reason.API_ERROR, str(error), error.retry_after_s or -1.0)
        self.journal.looked(snap, key, decision, self.clock.now() - started)
        return decision.requeue_after if not self.dry_run else None


def _again(reason: Reason, message: str, after: Any) -> Decision:
    return Decision(reason=reason, message=message, requeue_after=after)
