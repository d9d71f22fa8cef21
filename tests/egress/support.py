"""Doubles for what is outside: a DNS that can lie, and servers that misbehave a byte at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from canaryd.egress.client import EgressClient
from canaryd.egress.policy import EgressPolicy
from canaryd.egress.resolver import Found
from tests.fakes.clock import VirtualClock

NAMESPACE = "shop"
LOOPBACK = ("127.0.0.0/8",)


@dataclass
class FakeDns:
    """Answers by name. A name with several answers gives one after the other, the last for ever."""

    answers: dict[str, list[Found | None]] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    is_closed: bool = False

    def put(self, name: str, *addresses: str, alias_of: str = "") -> None:
        found = Found(tuple(ip_address(a) for a in addresses), alias_of or name.rstrip("."))
        self.answers.setdefault(name, []).append(found)

    async def resolve(self, name: str) -> Found | None:
        self.asked.append(name)
        if self.broken:
            raise OSError(24, "too many open files")
        if name in self.hanging:
            await asyncio.Event().wait()
        known = self.answers.get(name, [None])
        return known.pop(0) if len(known) > 1 else known[0]

    def close(self) -> None:
        self.is_closed = True


Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@dataclass
class RawServer:
    """Says whatever bytes the test wants; keeps what it was told."""

    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [head.split()[1].decode() for head in self.heads]


@asynccontextmanager
async def raw_server(
    speak: Callable[[Reader, Writer], Awaitable[None]],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    hears: bool = True,
) -> AsyncIterator[RawServer]:
    """A server that reads the head of a request and then lets ``speak`` have the connection."""
    seen = RawServer()
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: Reader, writer: Writer) -> None:
        seen.connections += 1
        tasks.add(asyncio.current_task())
        try:
            if hears:
                seen.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await speak(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, host, port)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*(t for t in list(tasks) if t), return_exceptions=True)


def says(*pieces: bytes, pause_s: float = 0.0):
    """Speak these pieces, with pauses between, then hang up."""

    async def speak(reader: Reader, writer: Writer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return speak


def answers(status: str = "200 OK", body: bytes = b"", **headers: str):
    """Speak one whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return says("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def silence(reader: Reader, writer: Writer) -> None:
    """Never speak."""
    await asyncio.Event().wait()


@asynccontextmanager
async def an_egress(
    dns: FakeDns | None = None,
    *,
    hosts: tuple[str, ...] = ("hooks.test",),
    networks: tuple[str, ...] = LOOPBACK,
    **changes,
) -> AsyncIterator[EgressClient]:
    """A client whose hooks may go to ``hooks.test`` on loopback."""
    if dns is None:
        dns = FakeDns()
        dns.put("hooks.test.", "127.0.0.1")
    policy = EgressPolicy(hosts, tuple(ip_network(n) for n in networks))
    client = EgressClient(policy, clock=VirtualClock(), resolver=dns, **changes)
    try:
        yield client
    finally:
        await client.close()


async def get(client, url, *, timeout_s=5.0, max_bytes=1000, method="GET", **more):
    return await client.request(method, url, timeout_s=timeout_s, max_bytes=max_bytes, **more)
