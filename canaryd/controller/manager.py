"""The daemon's life: caches first, then leadership, then work; and the same backwards.

Standby replicas keep warm caches and act on nothing.
One TaskGroup holds everything: when a part fails for good the whole process goes down loudly and
is started again,
instead of living on as a half.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from canaryd.controller.inquiries import Inquiries
from canaryd.controller.reconcile import Reconciler
from canaryd.controller.tracker import Tracker
from canaryd.controller.workqueue import WorkQueue
from canaryd.core.views import Key
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Unreachable
from canaryd.telemetry.logging import log_context

DEFECT_BACKOFF_S = -1.0
BACKOFF_MAX_S = 60.0
BACKOFF_DOUBLINGS = 16
BUSY_LOOKS = 50
BUSY_WAIT_S = 2.0
ONCE_SYNC_S = 30.0
"""With ``once``: how long the caches may take."""


class Watcher(Protocol):
    """A reflector as the manager sees it."""

    @property
    def synced(self) -> asyncio.Event:
        """Set once the store holds everything."""
        ...

    def why_not_synced(self) -> str:
        """What is missing, in words; empty once it is synced."""
        ...

    async def run(self) -> None:
        """Watch until cancelled."""
        ...


class Elector(Protocol):
    """Leader election as the manager sees it."""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign, lead, campaign again, until cancelled."""
        ...


class Log(Protocol):
    """The part of a logger that is used here."""

    def info(self, event: str, **values: Any) -> None:
        """Tell."""
        ...

    def error(self, event: str, **values: Any) -> None:
        """Tell of what should not have happened."""
        ...

    def exception(self, event: str, **values: Any) -> None:
        """Tell of a defect, with the traceback of what is being handled."""
        ...


@dataclass(slots=True, kw_only=True)
class Manager:
    """Runs the parts that the composition root built."""

    watchers: Sequence[Watcher]
    elector: Elector | None
    queue: WorkQueue
    tracker: Tracker
    inquiries: Inquiries
    reconciler: Reconciler
    clock: Clock
    log: Log
    workers: int = 16
    resync_s: float = 600.0
    once: bool = False
    _failures: dict[Key, int] = field(default_factory=dict)
    _looks: dict[Key, list[float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Run until cancelled; with ``once`` until every app was looked at and nothing is left to
        do at once.
        """
        try:
            async with asyncio.TaskGroup() as group:
                side = [group.create_task(w.run(), name="watch") for w in self.watchers]
                await self._synced()
                if self.elector is None:
                    await self._lead()
                else:
                    await self.elector.run(self._lead)
                for task in side:
                    task.cancel()
        finally:
            self.queue.close()

    def not_ready(self) -> list[str]:
        """Why the daemon is not ready: caches that are not filled yet."""
        return [why for w in self.watchers if (why := w.why_not_synced())]

    async def _synced(self) -> None:
        """Wait for the caches.

        Raises:
            Unreachable: with ``once``, they could not be filled in time: somebody is waiting.

        """
        try:
            async with asyncio.timeout(ONCE_SYNC_S if self.once else None):
                for watcher in self.watchers:
                    await watcher.synced.wait()
        except TimeoutError:
            raise Unreachable("; ".join(self.not_ready())) from None
        self.log.info("caches are filled", watches=len(self.watchers))

    async def _lead(self) -> None:
        """The leader's scope: workers and questions; cancelled as a whole when leadership is
        lost.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self.inquiries.open(group)
                workers = [
                    group.create_task(self._work(), name=f"worker {n}") for n in range(self.workers)
                ]
                self.tracker.resync()
                if self.once:
                    await self._quiet()
                    for worker in workers:
                        worker.cancel()
                else:
                    await self._resync_forever()
        finally:
            self.inquiries.close()

    async def _resync_forever(self) -> None:
        while True:
            await self.clock.sleep(self.resync_s * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            self.tracker.resync()

    async def _quiet(self) -> None:
        """Wait until the queue has been empty for a moment."""
        quiet = 0
        while quiet < 3:
            await self.clock.sleep(0.1)
            quiet = quiet + 1 if self.queue.is_idle else 0

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                # Lines of clients and libraries too, and of the questions asked on the way.
                with log_context(namespace=key[0], deployment=key[1]):
                    after = await self._look(key)
            finally:
                self.queue.done(key)
            self._again(key, after)

    async def _look(self, key: Key) -> float | None:
        """Look at an app once; a defect is told and costs nobody else anything."""
        try:
            return await self.reconciler.reconcile(key)
        except Exception as error:
            self.log.exception(
                "a defect in canaryd; the app is left as it is and looked at again",
                namespace=key[0],
                deployment=key[1],
                error=f"{type(error).__name__}: {error}",
            )
            return DEFECT_BACKOFF_S

    def _again(self, key: Key, after: float | None) -> None:
        """Make the next appointment; a negative one means "with backoff", from as many seconds."""
        failures = self._failures
        if after is None:
            failures.pop(key, None)
            self._looks.pop(key, None)
        elif after < 0:
            count = failures[key] = failures.get(key, 0) + 1
            delay = min(BACKOFF_MAX_S, -after * 2 ** min(count - 1, BACKOFF_DOUBLINGS))
            self.queue.add_after(key, delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        elif after > 0:
            failures.pop(key, None)
            self.queue.add_after(key, after)
        elif self._is_too_busy(key):
            self.queue.add_after(key, BUSY_WAIT_S)
        else:
            self.queue.add(key)

    def _is_too_busy(self, key: Key) -> bool:
        """Whether an app asks to be looked at again at once more often than any honest rollout
        does.
        """
        looks = self._looks.setdefault(key, [])
        now = self.clock.now()
        looks.append(now)
        del looks[:-BUSY_LOOKS]
        return len(looks) == BUSY_LOOKS and now - looks[0] < 10.0
