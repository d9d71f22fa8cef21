"""Events: what people find under ``kubectl describe``.

Telling must never hurt doing: :meth:`EventRecorder.emit` only queues, one writer sends, nothing is
repeated, and what cannot be recorded is counted as dropped. One Event costs one request.

Nor may it hurt the cluster. The same words about the same object are one Event with a count
(``series``), brought up to date every half a minute; each object has a bucket of requests, so that
an app somebody fights over cannot flood etcd; everything that is remembered has a limit.
"""

import asyncio
import logging
import math
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from canaryd.core.kinds import EVENT
from canaryd.kube.codecs import micro_time
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Conflict, KubeError
from canaryd.ports.kube import KubeApi, Manifest

log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 1000
REMEMBERED: Final = 1024
"""Series, and buckets, that are kept: the least recently used goes first."""
FOLD_S: Final = 600.0
"""The same words within this time of the last ones are counted, not written again."""
COUNT_S: Final = 30.0
"""Least time between two updates of one count."""
BURST: Final = 25
REFILL_S: Final = 60.0
"""One request more for an object after this long."""
RESERVED: Final = 10
"""Requests of a bucket that updates of counts leave for news."""
FLUSH_S: Final = 1.0
"""Longest that what is queued may hold up the end of the process."""
WARN_AGAIN_S: Final = 3600.0

NAME_LIMIT: Final = 253
NOTE_LIMIT: Final = 1024
WORD_LIMIT: Final = 128
"""Bytes, as the API server counts; of reason, action and instance."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SeriesKey = tuple[str, str, str, str]


@dataclass(slots=True, eq=False)
class _Series:
    """One Event and how often it happened."""

    key: _SeriesKey
    manifest: Manifest
    seen_at: float
    """Last time, by the steady clock."""
    seen_wall: float
    """Last time, as it is written."""
    count: int = 1
    written: int = 0
    """How many of them the API server knows."""
    was_sent: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "lastObservedTime": micro_time(self.seen_wall)}


@dataclass(slots=True)
class _Bucket:
    """Requests that may be spent on one object."""

    filled_at: float
    tokens: float = BURST

    def take(self, now: float, *, leaving: int = 0) -> bool:
        self.tokens = min(BURST, self.tokens + (now - self.filled_at) / REFILL_S)
        self.filled_at = now
        if self.tokens < leaving + 1:
            return False
        self.tokens -= 1
        return True


class EventRecorder:
    """Implements ``canaryd.ports.recorder.Recorder``; :meth:`run` does the writing.

    Args:
        api: where to write.
        identity: which of the replicas speaks.
        clock: its :meth:`now` must run with the event loop's time.
        controller: who speaks.
        on_dropped: told how many Events could not be recorded.

    """

    def __init__(
        self,
        api: KubeApi,
        *,
        identity: str,
        clock: Clock,
        controller: str = "canaryd.io/controller",
        on_dropped: Callable[[int], None] | None = None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._speaker = {
            "reportingController": controller,
            "reportingInstance": _cut(identity, WORD_LIMIT),
        }
        self._on_dropped = on_dropped
        self._queue: deque[_Series] = deque()
        self._series: OrderedDict[_SeriesKey, _Series] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._uncounted: dict[_SeriesKey, _Series] = {}
        """Written Events whose count has grown since."""
        self._count_at = 0.0
        self._warned_at: dict[str, float] = {}
        self._news = asyncio.Event()

    def emit(
        self,
        regarding: Mapping[str, Any],
        reason: str,
        note: str,
        type: Literal["Normal", "Warning"] = "Normal",  # noqa: A002 - the field's name in the API
        action: str = "Reconcile",
        related: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue one Event about an object, or count it with those before; never blocks."""
        now, subject, note = self._clock.now(), _subject(regarding), _cut(note, NOTE_LIMIT)
        key = (subject, reason, note, type)
        known = self._series.get(key)
        if known is not None and now - known.seen_at < FOLD_S:
            self._fold(known, now)
            return
        if len(self._queue) >= QUEUE_LIMIT or not self._bucket(subject, now).take(now):
            self._drop(1)
            return
        words = {
            "reason": _cut(reason, WORD_LIMIT),
            "note": note,
            "type": type,
            "action": _cut(action, WORD_LIMIT),
        }
        manifest = self._manifest(regarding, related, words)
        series = _Series(key, manifest, now, self._clock.wall())
        if known is not None:
            self._forget(known)
        for old in _remember(self._series, key, series):
            self._forget(old)
        self._queue.append(series)
        self._news.set()

    async def run(self) -> None:
        """Write what is emitted, until cancelled; what is queued then has a second to get out."""
        try:
            while True:
                await self._write_news()
                if self._uncounted and self._clock.now() >= self._count_at:
                    await self._write_counts()
                await self._wait()
        finally:
            await self._flush()

    # --- what emit does ---

    def _fold(self, series: _Series, now: float) -> None:
        series.count += 1
        series.seen_at, series.seen_wall = now, self._clock.wall()
        self._series.move_to_end(series.key)
        if series.written:
            self._note_growth(series)

    def _note_growth(self, series: _Series) -> None:
        if not self._uncounted:
            self._count_at = self._clock.now() + COUNT_S
            self._news.set()  # so that the writer waits no longer than that
        self._uncounted[series.key] = series

    def _bucket(self, subject: str, now: float) -> _Bucket:
        bucket = self._buckets.get(subject) or _Bucket(now)
        _remember(self._buckets, subject, bucket)
        return bucket

    def _manifest(
        self,
        regarding: Mapping[str, Any],
        related: Mapping[str, Any] | None,
        words: Mapping[str, str],
    ) -> Manifest:
        manifest: Manifest = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {
                # An Event is namespaced even when what it is about is not.
                "namespace": str(regarding.get("namespace") or "default"),
                "name": _name(str(regarding.get("name") or "unknown")),
            },
            "eventTime": micro_time(self._clock.wall()),
            **self._speaker,
            **words,
            "regarding": _reference(regarding),
        }
        if related:
            manifest["related"] = _reference(related)
        return manifest

    # --- what the writer does ---

    async def _wait(self) -> None:
        if self._queue:
            return
        self._news.clear()
        left_s = max(0.0, self._count_at - self._clock.now()) if self._uncounted else None
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._news.wait()

    async def _write_news(self) -> None:
        while self._queue:
            # Out of the queue only when it is done: cancelled in between, it is flushed again.
            await self._create(self._queue[0])
            self._queue.popleft()

    async def _create(self, series: _Series) -> None:
        count = series.count
        manifest = series.manifest | ({"series": series.as_json()} if count > 1 else {})
        is_second, series.was_sent = series.was_sent, True
        if not await self._arrives(series, self._api.create(manifest), is_second=is_second):
            return
        series.written = count
        if series.count > count:
            self._note_growth(series)

    async def _write_counts(self) -> None:
        for series in tuple(self._uncounted.values()):
            await self._write_news()
            bucket = self._bucket(series.key[0], self._clock.now())
            if bucket.take(self._clock.now(), leaving=RESERVED):
                await self._patch(series)
        self._count_at = self._clock.now() + COUNT_S

    async def _patch(self, series: _Series) -> None:
        count, meta = series.count, series.manifest["metadata"]
        patch = {"series": series.as_json()}
        request = self._api.merge_patch(EVENT, meta["namespace"], meta["name"], patch)
        if not await self._arrives(series, request):
            return
        series.written = count
        if series.count == count and self._uncounted.get(series.key) is series:
            del self._uncounted[series.key]

    async def _arrives(
        self, series: _Series, request: Awaitable[Manifest], *, is_second: bool = False
    ) -> bool:
        """Wait for a request; one that fails ends its series, and nothing else."""
        try:
            await request
        except KubeError as error:
            if is_second and isinstance(error, Conflict):
                return True  # interrupted by the end of the process, it had arrived before
            self._warn(error)
        except Exception:
            log.exception("a defect in canaryd: an Event is lost")
        else:
            return True
        self._give_up(series)
        return False

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._write_news()
                for series in tuple(self._uncounted.values()):
                    await self._patch(series)
        except TimeoutError:
            log.debug("the process ends before all Events are written")
        while self._queue:
            self._drop(self._queue.popleft().count)
        for series in tuple(self._uncounted.values()):
            self._forget(series)

    # --- what is lost ---

    def _warn(self, error: KubeError) -> None:
        """Say what goes wrong, each kind of it once an hour."""
        kind, now = type(error).__name__, self._clock.now()
        if now >= self._warned_at.get(kind, -math.inf) + WARN_AGAIN_S:
            self._warned_at[kind] = now
            log.warning("an Event could not be recorded, and others may not: %s", error)

    def _give_up(self, series: _Series) -> None:
        """The next time the same happens, a new Event is tried."""
        if not series.written:
            self._drop(series.count)
        self._forget(series)

    def _forget(self, series: _Series) -> None:
        """Count no more with this series; growth that was not written is lost."""
        if self._series.get(series.key) is series:
            del self._series[series.key]
        if self._uncounted.get(series.key) is series:
            del self._uncounted[series.key]
            self._drop(series.count - series.written)

    def _drop(self, count: int) -> None:
        if self._on_dropped is not None and count:
            self._on_dropped(count)


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> list[V]:
    """Keep a value as the most recent one; returns what had to go for it."""
    memory[key] = value
    memory.move_to_end(key)
    return [memory.popitem(last=False)[1] for _ in range(len(memory) - REMEMBERED)]


def _subject(regarding: Mapping[str, Any]) -> str:
    """Tell objects apart, also those whose uid is not known."""
    parts = (regarding.get(key) or "" for key in ("apiVersion", "kind", "namespace", "name"))
    return str(regarding.get("uid") or "/".join(map(str, parts)))


def _reference(reference: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in reference.items() if value}


def _name(regarding: str) -> str:
    """A name nobody else gives, with the object's in front for people."""
    tail = f".{secrets.token_hex(8)}"
    return regarding[: NAME_LIMIT - len(tail)].rstrip("-.") + tail


def _cut(text: str, limit: int) -> str:
    """Cut to so many bytes of UTF-8, never inside a character."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - len("…".encode())].decode("utf-8", "ignore") + "…"
