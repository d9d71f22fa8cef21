"""A bare HTTP server on loopback for what the fake API server does not do: TLS, canned bodies, broken streams."""

import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came over the wire; ``target`` is its path and query, still escaped."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: str = ""
    """Common name of the client's certificate."""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Loopback:
    """Answers with what is queued in ``answers``, the last one again and again."""

    url: str = ""
    answers: deque[Handler] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)

    def answer(
        self, body: Any = None, *, status: int = 200, content_type: str = "", **headers: str
    ) -> "Loopback":
        """Queue an answer: JSON, or bytes as they are."""
        raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def handler(_request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(
                status=status,
                body=raw,
                content_type=content_type or "application/json",
                headers=named,
            )

        self.answers.append(handler)
        return self

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        tls = request.transport and request.transport.get_extra_info("peercert")
        peer = dict(pair[0] for pair in tls["subject"])["commonName"] if tls else ""
        body = await request.read()
        self.seen.append(Seen(request.method, request.raw_path, dict(request.headers), body, peer))
        handler = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        return await handler(request)


@asynccontextmanager
async def loopback(context: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    """A server while the block runs."""
    server = Loopback()
    runner = web.ServerRunner(
        web.Server(server.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        scheme = "http" if context is None else "https"
        server.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
