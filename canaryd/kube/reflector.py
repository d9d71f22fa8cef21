"""Keeps one store filled with one kind: everything once, then every change.

::

    syncing ──► watching ──► (end of stream) ──► watching, from the last version seen
       ▲            │
       └── 410 ─────┤
                    ├── trouble ──► backoff ──► watching, or syncing when nothing was complete yet
                    └── 404, of an optional kind ──► absent ──► asked again at a slow pace

The initial state comes as a stream that ends at a marked bookmark (WatchList);
a server that does not know it is listed in pages, for the life of the process.
After every sync, what it did not mention is gone from the store:
deletions during an outage are not missed.
The stream is never trusted: its status, each line and its silence are looked at (W3 to W6),
and a server that closes at once is asked again ever more slowly (W2).
A kind that a cluster need not have counts as read and empty while it is not installed;
one that was there is taken for gone only when the server has said so several times, since a
balancer in trouble says 404 too.
It ends by cancellation only (W9).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from canaryd.core.kinds import Kind
from canaryd.kube import codecs
from canaryd.kube.answers import Call, error_from_event
from canaryd.kube.client import KubeClient
from canaryd.kube.store import Store, StoreKey
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Gone, Invalid, KubeError, NotFound, ServerError

log = logging.getLogger(__name__)

BACKOFF_FIRST_S: Final = 0.8
BACKOFF_MAX_S: Final = 30.0
HEALTHY_S: Final = 120.0
"""A watch that lived this long makes the next trouble a first one again."""
ALIVE_S: Final = 5.0
"""A stream that ends after this long, or after an event, is continued at once."""
SYNC_LIMIT_S: Final = 60.0
"""A streamed initial state without its end mark for this long is fetched as pages instead."""
WATCH_S: Final = (300, 600)
"""Seconds after which we ask the server to end a watch: spread, so that reconnects are."""
BREATHER: Final = 200
"""Lines after which other tasks get a turn: lease and probes must not wait for a long sync."""
COMPLAIN_S: Final = 60.0
ABSENT_S: Final = (30.0, 300.0)
"""Pauses, first and longest, before a kind that is not installed is looked for again."""
ABSENCES: Final = 3
"""So many 404 in a row make a kind that was served one that is gone."""


@dataclass(frozen=True, slots=True)
class Interest:
    """Which objects of a kind are watched, and as what.

    Args:
        kind: of the objects.
        namespace: None for all.
        label_selector: on the server's side.
        metadata_only: contents never reach this process.
        mark: bytes an object's JSON must contain; what lacks them is dropped undecoded.
        optional: a cluster need not have this kind; where it does not, there are no such objects.

    """

    kind: Kind
    namespace: str | None = None
    label_selector: str = ""
    metadata_only: bool = False
    mark: bytes = b""
    optional: bool = False

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.kind.resource}{where}"


@dataclass(slots=True)
class _Sync:
    """One full account under way."""

    seen: set[StoreKey] = field(default_factory=set)


@dataclass(slots=True)
class _Stream:
    """What one stream brought so far."""

    began_at: float
    events: int = 0
    sync: _Sync | None = None


class Reflector:
    """Fills a store; :meth:`run` ends only by cancellation.

    Args:
        client: where to watch.
        interest: what to watch.
        store: what to fill; several reflectors of different namespaces may share one.
        clock: for limits and pauses.
        on_restart: told resource and reason of each stream that did not simply end.
        on_undecodable: told the resource of an object that could not be read.
        choose: finds out which version of the kind is served, before a first account and whenever
            the server did not know the one that was asked for; ``NotFound`` when none is.
        rand: for jitter, 0 to 1.

    """

    def __init__(
        self,
        client: KubeClient,
        interest: Interest,
        store: Store[Any],
        *,
        clock: Clock,
        on_restart: Callable[[str, str], None] = lambda _resource, _reason: None,
        on_undecodable: Callable[[str], None] = lambda _resource: None,
        choose: Callable[[], Awaitable[Kind]] | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._interest = interest
        self._store = store
        self._clock = clock
        self._on_restart = on_restart
        self._on_undecodable = on_undecodable
        self._choose = choose
        self._rand = rand
        self._version = ""
        self._lists = False
        self._failures = 0
        self._absences = 0
        self._trouble = ""
        self._complained_at = float("-inf")
        self._is_served = True
        self.synced = asyncio.Event()
        self._serve(is_served=not interest.optional)

    def why_not_synced(self) -> str:
        """What readiness says of a store that is not filled yet; empty when it is."""
        if self.synced.is_set():
            return ""
        return f"{self._interest}: {self._trouble or 'being read'}"

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            began_at = self._clock.now()
            try:
                await self._turn()
            except Gone as gone:
                self._version = ""
                await self._rest(began_at, "expired", gone)
            except NotFound as missing:
                await self._missing(began_at, missing)
            except KubeError as error:
                await self._rest(began_at, _reason_of(error), error)
            except codecs.Undecodable as error:
                await self._rest(began_at, "undecodable", error)

    # --- one turn ---------------------------------------------------------------------------------

    async def _turn(self) -> None:
        if self._choose is not None and (not self._version or self._absences):
            self._speak(await self._choose())
        if not self._version and self._lists:
            await self._list()
        try:
            await self._stream()
        except Invalid as refusal:
            if self._version or self._lists:
                raise
            log.info("%s: no streamed lists here (%s); reading pages", self._interest, refusal)
            self._lists = True

    def _speak(self, kind: Kind) -> None:
        """Watch this version from now on, from the beginning when it is another one."""
        if kind != self._interest.kind:
            log.info("%s: spoken as %s from now on", self._interest, kind.version)
            self._interest, self._version = replace(self._interest, kind=kind), ""

    async def _list(self) -> None:
        """The initial state in pages; when history is compacted in between, in one piece."""
        try:
            await self._list_pages(limit=500)
        except Gone:
            await self._list_pages(limit=0)

    async def _list_pages(self, limit: int) -> None:
        sync = self._begin()
        version = ""
        async for page in self._client.pages(
            self._interest.kind,
            self._interest.namespace,
            label_selector=self._interest.label_selector,
            metadata_only=self._interest.metadata_only,
            limit=limit,
        ):
            for number, raw in enumerate(page.items or ()):
                self._take(bytes(raw), bytes(raw), sync)
                if number % BREATHER == 0:
                    await asyncio.sleep(0)
            version = page.metadata.version
        self._complete(sync, version)

    async def _stream(self) -> None:
        stream = _Stream(self._clock.now())
        if not self._version:
            stream.sync = self._begin()
        query = self._query(syncing=stream.sync is not None)
        async with self._client.stream(
            self._interest.kind,
            self._interest.namespace,
            query,
            metadata_only=self._interest.metadata_only,
        ) as lines:
            self._absences = 0
            async for line in lines:
                self._handle(line, stream)
                if stream.events % BREATHER == 0:
                    await asyncio.sleep(0)
        self._ended(stream)

    def _query(self, *, syncing: bool) -> dict[str, str]:
        low, high = WATCH_S
        query = {
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(low + int(self._rand() * (high - low))),
            "labelSelector": self._interest.label_selector,
        }
        if syncing:
            return query | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return query | {"resourceVersion": self._version}

    def _ended(self, stream: _Stream) -> None:
        """The server closed the stream, as it does every few minutes.

        Raises:
            ServerError: it did so too soon to be asked again at once (W2).

        """
        alive_s = self._clock.now() - stream.began_at
        if stream.sync is not None:
            self._lists = alive_s >= SYNC_LIMIT_S or self._lists
            raise ServerError("the stream ended before the initial state was complete")
        if not stream.events and alive_s < ALIVE_S:
            raise ServerError("the stream ended at once")
        self._failures = 0

    # --- one line ---------------------------------------------------------------------------------

    def _handle(self, line: bytes, stream: _Stream) -> None:
        event = codecs.decode_event(line)
        stream.events += 1
        match event.type:
            case "ADDED" | "MODIFIED":
                self._take(line, bytes(event.object), stream.sync)
            case "DELETED":
                self._drop(bytes(event.object))
            case "BOOKMARK":
                self._bookmark(codecs.decode_bookmark(event.object), stream)
            case "ERROR":
                call = Call("watch", self._interest.kind, self._interest.namespace)
                raise error_from_event(call, codecs.decode_status(event.object))
            case other:
                log.debug("%s: an event of unknown type %s is passed over", self._interest, other)
        if stream.sync is not None and self._clock.now() - stream.began_at > SYNC_LIMIT_S:
            # A server from before WatchList ignores the wish and never sends the end mark.
            self._lists = True
            raise ServerError("the initial state did not end in time")

    def _bookmark(self, mark: codecs.Bookmark, stream: _Stream) -> None:
        if stream.sync is None:
            self._advance(mark.metadata.version)
        elif mark.ends_initial_events:
            self._complete(stream.sync, mark.metadata.version)
            stream.sync = None

    def _begin(self) -> _Sync:
        self._store.distrust(self._interest.namespace)
        return _Sync()

    def _complete(self, sync: _Sync, version: str) -> None:
        self._store.retain(sync.seen, self._interest.namespace, codecs.parse_version(version))
        self._version = version
        self._trouble = ""
        self.synced.set()
        if not self._is_served:
            log.info("%s: installed now", self._interest)
            self._serve(is_served=True)

    def _take(self, line: bytes, raw: bytes, sync: _Sync | None) -> None:
        """One object that exists. A single bad one never stops the stream."""
        name = "?"
        try:
            head = codecs.decode_head(raw).metadata
            key, name = (head.namespace, head.name), f"{head.namespace}/{head.name}"
            if sync is not None:
                sync.seen.add(key)
            if self._interest.mark in line:
                self._store.observe(
                    codecs.decode_for_cache(
                        raw, self._interest.kind, metadata_only=self._interest.metadata_only
                    )
                )
            elif key in self._store:
                # It lost the mark: to us it is gone.
                self._store.forget(_stub(head))
            if sync is None:
                self._advance(head.version)
        except Exception as error:  # noqa: BLE001 - whatever an object holds, the others go on
            self._complain(name, error)

    def _drop(self, raw: bytes) -> None:
        head = codecs.decode_head(raw).metadata
        self._store.forget(_stub(head))
        self._advance(head.version)

    def _advance(self, version: str) -> None:
        if version:
            self._version = version

    def _complain(self, name: str, error: Exception) -> None:
        self._on_undecodable(self._interest.kind.resource)
        if self._clock.now() - self._complained_at >= COMPLAIN_S:
            self._complained_at = self._clock.now()
            log.error(
                "%s %s cannot be read and is passed over: %s: %s",
                self._interest.kind.kind,
                name,
                type(error).__name__,
                error,
            )

    # --- trouble ----------------------------------------------------------------------------------

    async def _missing(self, began_at: float, error: NotFound) -> None:
        """The server does not know the kind: trouble, unless a cluster need not have it."""
        self._absences += 1
        is_news = self._is_served or not self.synced.is_set()
        if not self._interest.optional or (self._is_served and self._absences < ABSENCES):
            await self._rest(began_at, _reason_of(error), error)
            return
        if is_news:
            log.info("%s: not installed in this cluster; looked for again slowly", self._interest)
            self._version, self._trouble, self._failures, self._absences = "", "", 0, 1
        self._serve(is_served=False)
        self.synced.set()
        first, longest = ABSENT_S
        pause = min(longest, first * 2 ** min(self._absences - 1, 10))
        await self._clock.sleep(pause * (0.5 + 0.5 * self._rand()))

    def _serve(self, *, is_served: bool) -> None:
        self._is_served = is_served
        if self._interest.optional:
            self._store.serve(self._interest.namespace, is_served=is_served)

    async def _rest(self, began_at: float, reason: str, error: Exception) -> None:
        """Say what happened, and wait: longer each time, unless it had been well for long."""
        if self._clock.now() - began_at >= HEALTHY_S:
            self._failures = 0
        self._failures += 1
        changed = str(error) != self._trouble
        self._trouble = str(error)
        self._on_restart(self._interest.kind.resource, reason)
        tell = log.warning if changed else log.debug
        tell("watching %s: %s", self._interest, error)
        asked = error.retry_after_s if isinstance(error, KubeError) else None
        limit = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 10))
        pause = asked if asked is not None else limit * self._rand()
        await self._clock.sleep(max(pause, 0.05))


def _stub(head: codecs.Metadata) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": head.namespace,
            "name": head.name,
            "resourceVersion": head.version,
        }
    }


def _reason_of(error: KubeError) -> str:
    """A word for the metric."""
    name = type(error).__name__
    return f"{name[0].lower()}{name[1:]}"
