"""One watch: replay, live events, bookmarks, and the ways in which a watch ends.

Facts held from Kubernetes 1.34: a version that was compacted away is an ERROR event under status 200, not an HTTP 410;
an object that leaves a selector is a DELETED event; the end of the initial events is a bookmark with an annotation.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from aiohttp import web

from canaryd.core.kinds import DEPLOYMENT, Kind
from tests.fakes.apiserver.errors import expired
from tests.fakes.apiserver.selectors import Matcher
from tests.fakes.apiserver.store import Change, Manifest, Store

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
DEFAULT_TIMEOUT_S = 1800.0
TICK_S = 1e-6
"""Instants closer than this are the same: see ``tests.fakes.controllers``."""


class WatchPolicy(Protocol):
    """The switches of the server that running watches obey."""

    bookmarks: bool
    bookmark_interval_s: float

    def watch_delay(self, kind: Kind) -> float:
        """Seconds by which events of this kind are late."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """What a client asked to watch."""

    kind: Kind
    namespace: str
    labels: Matcher
    fields: Matcher
    version: str = ""
    initial_events: bool = False
    bookmarks: bool = False
    metadata_only: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S

    def sees(self, obj: Mapping[str, Any]) -> bool:
        meta = obj["metadata"]
        return (
            (not self.namespace or meta.get("namespace") == self.namespace)
            and self.labels(meta.get("labels") or {})
            and self.fields(obj)
        )


class Watch:
    """A stream to one client. ``cut`` and ``nudge`` may be called at any time."""

    def __init__(self, store: Store, policy: WatchPolicy, request: WatchRequest) -> None:
        self.request = request
        self._store = store
        self._policy = policy
        self._pending: deque[Change] = deque()
        self._raw: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._delivered = store.version
        self._over = False

    async def serve(self, response: web.StreamResponse) -> None:
        """Write events until time-out, cut or cancellation."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.request.timeout_s
        unsubscribe = self._store.subscribe(self._notice)
        try:
            if not await self._begin(response):
                return
            next_bookmark = loop.time() + self._policy.bookmark_interval_s
            while not self._over and loop.time() < ends_at - TICK_S:
                await self._write_due(response)
                if loop.time() >= next_bookmark - TICK_S:
                    if self._sends_bookmarks:
                        await self._write(response, "BOOKMARK", self._bookmark(self._progress()))
                    next_bookmark = loop.time() + self._policy.bookmark_interval_s
                await self._sleep(min(ends_at, next_bookmark) - loop.time())
        finally:
            unsubscribe()

    def cut(self) -> None:
        """End the stream cleanly."""
        self._over = True
        self._wake.set()

    def nudge(self) -> None:
        """Look again at what is due: a switch changed."""
        self._wake.set()

    def inject(self, line: bytes) -> None:
        """Write this line as it is: an HTML page, half an event, an ERROR of another make."""
        self._raw.append(line)
        self._wake.set()

    @property
    def _sends_bookmarks(self) -> bool:
        return self.request.bookmarks and self._policy.bookmarks

    def _notice(self, change: Change) -> None:
        if change.kind == self.request.kind:
            self._pending.append(change)
            self._wake.set()

    async def _begin(self, response: web.StreamResponse) -> bool:
        """Send the initial state or replay history; False when the version is too old."""
        version = self.request.version
        if self.request.initial_events or version in {"", "0"}:
            self._pending.clear()
            for obj in self._store.items(self.request.kind, self.request.namespace):
                if self.request.sees(obj):
                    await self._write(response, "ADDED", obj)
            if self.request.initial_events and self._sends_bookmarks:
                mark = self._bookmark(self._store.version)
                mark["metadata"]["annotations"] = {INITIAL_EVENTS_END: "true"}
                await self._write(response, "BOOKMARK", mark)
            return True
        start = int(version)
        if start < self._store.compacted:
            why = f"too old resource version: {start} ({self._store.compacted})"
            await self._write(response, "ERROR", expired(why).body())
            return False
        self._delivered = start
        replay = [
            c for c in self._store.history if c.version > start and c.kind == self.request.kind
        ]
        self._pending.extendleft(c for c in reversed(replay) if c not in self._pending)
        return True

    async def _write_due(self, response: web.StreamResponse) -> None:
        delay = self._policy.watch_delay(self.request.kind)
        while self._raw:
            await response.write(self._raw.popleft())
        while self._pending and self._pending[0].at + delay <= self._store.clock.now() + TICK_S:
            change = self._pending.popleft()
            self._delivered = change.version
            for event, obj in self._translate(change):
                await self._write(response, event, obj)

    def _translate(self, change: Change) -> Iterator[tuple[str, Manifest]]:
        """The event as this watch's selectors see it: objects enter and leave them."""
        was = change.old is not None and self.request.sees(change.old)
        now = change.type != "DELETED" and self.request.sees(change.new)
        if now:
            yield ("MODIFIED" if was else "ADDED"), change.new
        elif was:
            yield "DELETED", change.new

    async def _sleep(self, longest: float) -> None:
        if self._pending:
            due = self._pending[0].at + self._policy.watch_delay(self.request.kind)
            longest = min(longest, due - self._store.clock.now())
        if longest <= TICK_S:
            return
        try:
            async with asyncio.timeout(longest):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _progress(self) -> int:
        """The version up to which this client has seen everything."""
        return self._pending[0].version - 1 if self._pending else self._store.version

    def _bookmark(self, version: int) -> Manifest:
        meta = {"resourceVersion": str(version), "creationTimestamp": None}
        mark: Manifest = {
            "kind": self.request.kind.kind,
            "apiVersion": self.request.kind.api_version,
            "metadata": meta,
        }
        if self.request.kind == DEPLOYMENT:
            # The zero value of the Go type: what a typed client may stumble over.
            template = {"metadata": {}, "spec": {"containers": None}}
            mark["spec"] = {"selector": None, "template": template, "strategy": {}}
            mark["status"] = {}
        return mark

    async def _write(self, response: web.StreamResponse, event: str, obj: Manifest) -> None:
        if self.request.metadata_only and event != "ERROR":
            obj = metadata_of(obj)
        await response.write(dump({"type": event, "object": obj}) + b"\n")


def metadata_of(obj: Mapping[str, Any]) -> Manifest:
    """The object as PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def dump(value: Any) -> bytes:
    """JSON without spaces."""
    return msgspec.json.encode(value)
