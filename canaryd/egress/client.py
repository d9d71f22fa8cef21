"""The clients that go out, one per purpose: a source of metrics, or the hooks of a namespace.

There is no request without a purpose: only ``for_source`` and ``for_namespace`` hand out something
that sends, and each knows what it may reach. The order is always the same: take the URL apart, ask
the policy about the name, look it up once, ask the policy about every address, connect to exactly
those. Time-out, size and number of connections are bounded for all of it together.

Sources and hooks have connections of their own, so that receivers that never answer cannot keep the
metrics waiting, and each namespace has its share, so that it cannot keep the others waiting. Hooks
never use a connection twice: a POST that meets a connection the server has just closed would count
as a failed check.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from weakref import WeakValueDictionary

import aiohttp

from canaryd.egress.addresses import IPAddress
from canaryd.egress.exchange import Request, exchange, open_session
from canaryd.egress.policy import EgressPolicy, Refusal, Route, Via
from canaryd.egress.resolver import Found, Resolver, SystemResolver
from canaryd.egress.targets import Target, UrlError, parse
from canaryd.ports.clock import Clock
from canaryd.ports.http import HttpClient, HttpResponse, HttpTrouble, Trouble

ServiceAddress = Callable[[str, str], str | None]
"""``(namespace, name)`` to the ClusterIP of a Service; None when it is unknown or has none."""

SOURCE_CACHE_S = 10.0
"""How long the addresses of a source are kept. An operator's URL is trusted wherever it leads."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections may be open: in all, and for one source or namespace."""

    total: int = 100
    each: int = 10


SOURCES, HOOKS = Capacity(each=20), Capacity()


class EgressClient:
    """Hands out clients by purpose and owns their connections; close it at the end.

    Args:
        policy: where hooks may go.
        clock: how long addresses of sources are kept.
        resolver: looks names up; the system's when not given.
        service_address: finds a Service without DNS, asked before it.
        tls: how servers prove who they are; the system's authorities when not given.
        sources: connections to sources of metrics.
        hooks: connections to receivers of hooks.

    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        clock: Clock,
        resolver: Resolver | None = None,
        service_address: ServiceAddress = lambda _namespace, _name: None,
        tls: ssl.SSLContext | None = None,
        sources: Capacity = SOURCES,
        hooks: Capacity = HOOKS,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._resolver = resolver or SystemResolver()
        self._service_address = service_address
        self._tls = tls or ssl.create_default_context()
        self._sources = _Pool(self._tls, sources, keeps_alive=True)
        self._hooks = _Pool(self._tls, hooks, keeps_alive=False)
        # A client lives as long as somebody uses it: namespaces come and go.
        self._namespaces: WeakValueDictionary[str, _NamespaceClient] = WeakValueDictionary()

    def for_source(self, url: str) -> HttpClient:
        """Return a client for one source of metrics: it reaches this scheme, host and port only.

        Raises:
            ValueError: that is no URL that a request can be sent to.

        """
        return _SourceClient(self._sources, self._resolver, self._clock, parse(url))

    def for_namespace(self, namespace: str) -> HttpClient:
        """Return the client for the hooks of a namespace: it reaches what the policy allows."""
        client = self._namespaces.get(namespace)
        if client is None:
            client = _NamespaceClient(
                self._hooks, self._resolver, self._policy, self._service_address, namespace
            )
            self._namespaces[namespace] = client
        return client

    async def close(self) -> None:
        """Close every connection; requests on the way fail."""
        await self._sources.close()
        await self._hooks.close()
        self._resolver.close()


class _Pool:
    """Connections that belong together; opened with the first request, which has an event loop."""

    def __init__(self, tls: ssl.SSLContext, capacity: Capacity, *, keeps_alive: bool) -> None:
        self.capacity = capacity
        self._tls = tls
        self._keeps_alive = keeps_alive
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    def session(self) -> aiohttp.ClientSession | None:
        """Return the session, or None when it was closed."""
        if self._session is None and not self._is_closed:
            self._session = open_session(
                self._tls, connections=self.capacity.total, keeps_alive=self._keeps_alive
            )
        return self._session

    async def close(self) -> None:
        session, self._session, self._is_closed = self._session, None, True
        if session is not None:
            await session.close()


class _Client(ABC):
    """What clients of every purpose do; each finds its addresses by its own rules."""

    def __init__(self, pool: _Pool, resolver: Resolver) -> None:
        self._pool = pool
        self._resolver = resolver
        self._slots = asyncio.Semaphore(pool.capacity.each)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> HttpResponse:
        """Send one request; ``timeout_s`` covers waiting for a connection, look-up and answer.

        Raises:
            HttpTrouble: there is no answer.

        """
        try:
            request = Request(method, parse(url), headers, body, max_bytes)
        except UrlError as error:
            raise HttpTrouble(Trouble.REFUSED, str(error)) from None
        if name := request.broken_header():
            raise request.trouble(Trouble.REFUSED, f"header {name} has characters none may have")
        stage = f": {self._pool.capacity.each} other requests of the same origin are under way"
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                stage = ": its name was still being looked up"
                addresses = await self._addresses(request)
                stage = ""
                session = self._pool.session()
                if session is None:
                    raise request.trouble(Trouble.CONNECT, "canaryd is ending")
                return await exchange(session, request, addresses, timeout_s)
        except TimeoutError:
            words = f"no answer within {timeout_s:g} s{stage}"
            raise request.trouble(Trouble.TIMEOUT, words) from None

    @abstractmethod
    async def _addresses(self, request: Request) -> Sequence[IPAddress]:
        """Return the addresses to connect to.

        Raises:
            HttpTrouble: there is none, or none that may be connected to.

        """

    async def _look_up(self, request: Request, name: str) -> Found | None:
        try:
            return await self._resolver.resolve(name)
        except OSError:
            raise request.trouble(Trouble.CONNECT, "names cannot be looked up") from None


class _SourceClient(_Client):
    """Reaches one source of metrics, wherever it is."""

    def __init__(self, pool: _Pool, resolver: Resolver, clock: Clock, source: Target) -> None:
        super().__init__(pool, resolver)
        self._clock = clock
        self._source = source
        self._known: tuple[IPAddress, ...] = ()
        self._known_until = 0.0

    async def _addresses(self, request: Request) -> Sequence[IPAddress]:
        source = self._source
        if request.target.origin != source.origin:
            words = f"this is not the metric source {source.netloc}, and nothing else is asked"
            raise request.trouble(Trouble.REFUSED, words)
        if source.address is not None:
            return (source.address,)
        if not self._known or self._clock.now() >= self._known_until:
            name = f"{source.host}." if source.is_absolute else source.host
            found = await self._look_up(request, name)
            if found is None:
                raise request.trouble(Trouble.CONNECT, "the name cannot be resolved")
            self._known, self._known_until = found.addresses, self._clock.now() + SOURCE_CACHE_S
        return self._known


class _NamespaceClient(_Client):
    """Reaches what the hooks of one namespace may."""

    def __init__(
        self,
        pool: _Pool,
        resolver: Resolver,
        policy: EgressPolicy,
        service_address: ServiceAddress,
        namespace: str,
    ) -> None:
        super().__init__(pool, resolver)
        self._policy = policy
        self._service_address = service_address
        self._namespace = namespace

    async def _addresses(self, request: Request) -> Sequence[IPAddress]:
        target = request.target
        routes = self._policy.routes(self._namespace, target)
        if isinstance(routes, Refusal):
            raise HttpTrouble(Trouble.REFUSED, routes.message)
        for route in routes:
            found = await self._find(request, route)
            if found is None:
                continue
            refusal = self._policy.judge(route, target, found.addresses, found.canonical)
            if refusal is not None:
                raise HttpTrouble(Trouble.REFUSED, refusal.message)
            return found.addresses
        raise request.trouble(Trouble.CONNECT, self._not_found(routes[0]))

    async def _find(self, request: Request, route: Route) -> Found | None:
        target = request.target
        if target.address is not None:
            return Found((target.address,), target.host)
        if route.via is Via.SERVICE:
            known = self._service_address(self._namespace, route.service)
            if known:
                return Found((ip_address(known),), route.lookup)
        return await self._look_up(request, route.lookup)

    def _not_found(self, route: Route) -> str:
        if route.via is Via.SERVICE:
            return f"Service {route.service} of namespace {self._namespace} has no address"
        return "the name cannot be resolved"
