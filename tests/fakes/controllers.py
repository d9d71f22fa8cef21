"""The loop that the simulated controllers share: a set of keys, each due at an instant, handled one after the other."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from tests.fakes.apiserver.store import Key, Manifest

TICK_S = 1e-6
"""Instants closer than this are the same. asyncio lets a timer fire up to a nanosecond early, and virtual time does not
move by less than a microsecond: a loop that waits for the exact instant would spin for ever."""


class KeyLoop:
    """Calls ``handle`` for every enqueued key, ``delay_s`` after it was enqueued first; later calls coalesce."""

    def __init__(self, handle: Callable[[Key], None], delay_s: float) -> None:
        self.delay_s = delay_s
        self._handle = handle
        self._due: dict[Key, float] = {}
        self._wake = asyncio.Event()

    def enqueue(self, key: Key, after: float | None = None) -> None:
        """Handle a key soon, or ``after`` so many seconds; the earlier instant wins."""
        now = asyncio.get_running_loop().time()
        due = now + (self.delay_s if after is None else after)
        if due < self._due.get(key, math.inf):
            self._due[key] = due
            self._wake.set()

    async def run(self) -> None:
        """Handle keys until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = loop.time()
            ready = sorted(key for key, due in self._due.items() if due <= now + TICK_S)
            for key in ready:
                del self._due[key]
                self._handle(key)
            if ready:
                continue
            wait = min(self._due.values()) - now if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue


def controller_uid(obj: Manifest) -> str:
    """uid of the controlling owner, empty when there is none."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def percent_of(value: Any, total: int, *, round_up: bool) -> int:
    """An int-or-percent against a total, rounded as maxSurge (up) and maxUnavailable (down) are."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total
        return -(-share // 100) if round_up else share // 100
    return int(value)
