"""One object, now and at every change, for as long as somebody looks.

A watch of one name, so that the server has next to nothing to do. Whoever may read and not watch is
served by asking again. Short trouble is waited out: a person who watches a release should not have
to start over because a load balancer hiccupped.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Final

from canaryd.core.kinds import Kind
from canaryd.kube import codecs
from canaryd.kube.answers import Call, error_from_event
from canaryd.kube.client import KubeClient
from canaryd.kube.streams import LineStream
from canaryd.ports.clock import Clock
from canaryd.ports.errors import (
    Forbidden,
    Gone,
    KubeError,
    NotFound,
    ServerError,
    TooManyRequests,
    Unreachable,
)
from canaryd.ports.kube import Manifest

WATCH_S: Final = 120
"""A watch is begun again so often: well before its silence would be taken for a dead connection."""
PATIENCE_S: Final = 60.0
"""Trouble that lasts so long is told."""
POLL_S: Final = 2.0
PAUSE_S: Final = 1.0
_PASSING = (Unreachable, ServerError, TooManyRequests, Gone, codecs.Undecodable)


@dataclass(frozen=True, slots=True)
class Follower:
    """Follows one object.

    Args:
        api: where it is.
        clock: for pauses, and for how long trouble lasts.
        kind: of the object.
        namespace: of the object.
        name: of the object.
        tick_s: yield at least so often, changed or not; None: only changes.

    """

    api: KubeClient
    clock: Clock
    kind: Kind
    namespace: str
    name: str
    tick_s: float | None = None

    async def follow(self) -> AsyncGenerator[Manifest | None]:
        """Yield the object as it is, and again when it has changed; None while there is none.

        Raises:
            KubeError: the object may not be read, or trouble did not pass.

        """
        bad_since, may_watch = float("inf"), True
        while True:
            try:
                current = await self._read()
                bad_since = float("inf")
                yield current
                if may_watch:
                    async with aclosing(self._watch(current)) as changes:
                        async for current in changes:
                            yield current
                else:
                    await self.clock.sleep(min(POLL_S, self.tick_s or POLL_S))
            except _MayNotWatch:
                may_watch = False
            except _PASSING as trouble:
                bad_since = min(bad_since, self.clock.now())
                if self.clock.now() - bad_since > PATIENCE_S:
                    raise _told(trouble) from trouble
                await self.clock.sleep(PAUSE_S)

    async def _read(self) -> Manifest | None:
        try:
            return await self.api.get(self.kind, self.namespace, self.name)
        except NotFound:
            return None

    async def _watch(self, current: Manifest | None) -> AsyncGenerator[Manifest | None]:
        """Changes until the server ends the watch."""
        params = {"fieldSelector": f"metadata.name={self.name}", "timeoutSeconds": str(WATCH_S)}
        if current is not None:
            params["resourceVersion"] = current["metadata"]["resourceVersion"]
        async with AsyncExitStack() as exits:
            try:
                stream = self.api.stream(self.kind, self.namespace, params)
                lines = await exits.enter_async_context(stream)
            except Forbidden:
                raise _MayNotWatch from None
            while True:
                try:
                    line = await self._next(lines)
                except StopAsyncIteration:
                    return
                if line is not None:
                    current = self._changed(line)
                yield current

    async def _next(self, lines: LineStream) -> bytes | None:
        """The next line; None when none came in time."""
        try:
            async with asyncio.timeout(self.tick_s):
                return await anext(lines)
        except TimeoutError:
            return None

    def _changed(self, line: bytes) -> Manifest | None:
        event = codecs.decode_event(line)
        if event.type == "ERROR":
            call = Call("watch", self.kind, self.namespace)
            raise error_from_event(call, codecs.decode_status(event.object))
        return None if event.type == "DELETED" else codecs.decode_object(event.object)


class _MayNotWatch(Exception):  # noqa: N818 - a state of the world, not a fault
    """Reading is allowed, watching is not."""


def _told(trouble: Exception) -> KubeError:
    return trouble if isinstance(trouble, KubeError) else ServerError(str(trouble))
