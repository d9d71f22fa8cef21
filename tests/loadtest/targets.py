"""Servers over loopback that load tests are sent to: friendly ones, slow ones, hostile ones."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Target:
    """An HTTP server that does as it is told and remembers what it saw."""

    status: int = 200
    delay_s: float = 0.0
    body: bytes = b"hello"
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[int], Awaitable[None]] | None = None
    """Awaited with the number of the request before it is answered."""
    url: str = ""
    requests: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    peers: list[tuple[str, int]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        number = len(self.requests)
        self.times.append(asyncio.get_running_loop().time())
        self.peers.append(request.transport.get_extra_info("peername"))
        self.requests.append(
            (request.method, request.raw_path, request.headers.copy(), await request.read())
        )
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self.before is not None:
                await self.before(number)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
        finally:
            self.open -= 1
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@asynccontextmanager
async def serving(target: Target | None = None) -> AsyncIterator[Target]:
    """Run a target; clients that gave up take their handlers with them."""
    target = target or Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.handle)
    runner = web.AppRunner(
        app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None, keepalive_timeout=75
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield target
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes, *, hangs: bool = False, port: int = 0) -> AsyncIterator[str]:
    """A server that reads the head of a request, answers these bytes and closes, or never closes."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hangs:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address where nobody listens: the port is bound, so that no one else gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
