"""Which apps are to be looked at, and when.

Holds keys, never events: whatever happened, the app is looked at as a whole (level-based).
A key waits at most once, is handled by one worker at a time,
and comes again when something happened meanwhile.
Users' actions and losses of readiness go before routine.
"""

import asyncio
import time
from collections import OrderedDict

from canaryd.core.views import Key


class WorkQueue:
    """Deduplicating queue with delays and per-key exclusion."""

    def __init__(self) -> None:
        # Since when each waits: only for the metric, which is read from another thread.
        self._ready: OrderedDict[Key, float] = OrderedDict()
        self._routine: OrderedDict[Key, float] = OrderedDict()
        self._busy: dict[Key, bool] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._routine)

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is being looked at; appointments do not count."""
        return not self._ready and not self._routine and not self._busy

    @property
    def oldest_s(self) -> float:
        """How long the app that waits longest has waited."""
        queues = (self._ready, self._routine)
        # Copies: this is read from another thread while keys come and go.
        since = [at for queue in queues for at in tuple(queue.values())[:1]]
        return time.monotonic() - min(since) if since else 0.0

    def add(self, key: Key, *, routine: bool = False) -> None:
        """Look at this app soon; at once when it is not being looked at now, else right after."""
        if key in self._busy:
            self._busy[key] = True
            return
        now = time.monotonic()
        if routine and key not in self._ready:
            self._routine.setdefault(key, now)
        else:
            self._ready.setdefault(key, self._routine.pop(key, now))
        self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at this app after a while; an earlier appointment stands."""
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def forget(self, key: Key) -> None:
        """Drop appointments of an app that is gone."""
        if timer := self._timers.pop(key, None):
            timer.cancel()

    async def get(self) -> Key:
        """The next key; it stays with the caller until :meth:`done`."""
        while not self._ready and not self._routine:
            self._wake.clear()
            await self._wake.wait()
        key, _ = (self._ready or self._routine).popitem(last=False)
        self._busy[key] = False
        # An appointment made before this look is void: the look decides when the next is.
        self.forget(key)
        return key

    def done(self, key: Key) -> None:
        """Give a key back; it comes again when something happened meanwhile."""
        if self._busy.pop(key, False):
            self.add(key)

    def close(self) -> None:
        """Cancel every appointment."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)
