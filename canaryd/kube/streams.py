"""The byte stream of one watch, cut into lines.

Opening checks the HTTP status before there is a first line (W4);
silence ends it after an idle limit, since a connection that died without a word looks just like a
quiet one (W7, W9).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp

from canaryd.kube.lines import LineSplitter, LineTooLong
from canaryd.kube.transport import transport_errors_mapped
from canaryd.ports.errors import ServerError

OPEN_TIMEOUT_S = 30.0
"""The API server sends the head of a watch at once, before there is any event."""


class LineStream:
    """``async with client.stream(...) as lines: async for line in lines``.

    Entering sends the request and checks the status; leaving closes the connection,
    so cancelling the reader ends it (W9).
    """

    def __init__(
        self, opening: AbstractAsyncContextManager[aiohttp.ClientResponse], shown: str
    ) -> None:
        self._opening = opening
        self._shown = shown
        self._exits = AsyncExitStack()
        self._splitter = LineSplitter()
        self._ready: deque[bytes] = deque()
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        with transport_errors_mapped():
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                self._response = await self._exits.enter_async_context(self._opening)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()
        await self._exits.__aexit__(kind, error, trace)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next line.

        Raises:
            Unreachable: the connection broke, or was silent for too long.
            ServerError: a line is longer than any object can be.

        """
        while not self._ready:
            chunk = await self._read()
            if not chunk:
                # What is left has no line end: an error page, or an event cut in two. The decoder
                # tells.
                if rest := self._splitter.take_rest():
                    return rest
                raise StopAsyncIteration
            try:
                self._ready.extend(self._splitter.feed(chunk))
            except LineTooLong as error:
                raise ServerError(f"{self._shown}: {error}") from error
        return self._ready.popleft()

    async def _read(self) -> bytes:
        if self._response is None:
            raise RuntimeError("the stream is read before it was entered")
        with transport_errors_mapped():
            return await self._response.content.readany()
