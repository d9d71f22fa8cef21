"""The data plane and its users: a reader of Ingresses, and clients that send at a constant rate of virtual time.

Requests are computed, not sent. Between two changes of the world every request meets the same routes and pods,
so the requests of an interval are worked out when it ends: just before a pod changes, a route is applied,
a metric is scraped or a test looks. There is no timer for each request, and no connection.

Late as the real thing: a new configuration is applied at once after a quiet time, and then at most every ``throttle_s``
(measured with Traefik: 2 s). With ``always_late`` every change is applied that much later, which is the worst case.
Pods that turn unready are skipped at once; a pod that is gone is found out only by losing the request.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

from canaryd.core.kinds import ENDPOINT_SLICE, INGRESS, OPTIONAL_KINDS, SERVICE
from tests.fakes.apiserver.store import Change, Store
from tests.fakes.clock import EPOCH
from tests.fakes.cluster import FakeCluster
from tests.fakes.pods import Pod
from tests.fakes.routes import DataPlaneKind, Route, Side, compile_routes, find_route
from tests.fakes.tasks import running

TICK_S = 1e-6
TRAEFIK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0, 1.2, 2.5, 5.0)


class Outcome(StrEnum):
    """What became of a request: LOST is our fault, ERROR is the app's own."""

    OK = "ok"
    ERROR = "error"
    LOST = "lost"


class Answer(NamedTuple):
    """What an app answers."""

    status: int = 200
    latency_s: float = 0.01


class Sent(NamedTuple):
    """One request. ``version`` and ``deployment`` are empty when no pod was reached; ``at`` is the loop's time."""

    at: float
    outcome: Outcome
    version: str
    status: int
    latency_s: float
    deployment: str
    pod: str
    canary: bool
    client: str
    why: str


@dataclass(slots=True)
class Tally:
    """Counts of one version's requests."""

    ok: int = 0
    error: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        return self.ok + self.error + self.lost


App = Callable[[Pod, int], Answer]
"""What a pod answers to its n-th request (n counts over all pods of the same version)."""


Reads = Callable[[Store], tuple[Route, ...]]
"""How a data plane makes its route table of the objects, where it is no reader of Ingresses."""


class Scraper(Protocol):
    """Somebody who reads the counters at fixed instants."""

    def scrape(self, at: float) -> None:
        """Read the counters; ``at`` is seconds since the epoch."""
        ...


def healthy(_pod: Pod, _number: int) -> Answer:
    """200 after 10 ms."""
    return Answer()


def by_version(versions: dict[str, App], otherwise: App = healthy) -> App:
    """An app whose versions (label ``version`` or image) behave differently."""
    return lambda pod, number: versions.get(pod.version, otherwise)(pod, number)


def failing(percent: float, *, latency_s: float = 0.01, status: int = 500) -> App:
    """Fails this share of requests, evenly spread."""

    def app(_pod: Pod, number: int) -> Answer:
        failed = int((number + 1) * percent / 100) > int(number * percent / 100)
        return Answer(status if failed else 200, latency_s)

    return app


def slow(latency_s: float, *, percent: float = 100.0, otherwise_s: float = 0.01) -> App:
    """Takes this long for a share of requests."""

    def app(_pod: Pod, number: int) -> Answer:
        late = int((number + 1) * percent / 100) > int(number * percent / 100)
        return Answer(200, latency_s if late else otherwise_s)

    return app


@dataclass(slots=True)
class Client:
    """One virtual user group; ``stop`` ends it, setting ``rate`` goes through :meth:`DataPlane.set_rate`."""

    name: str
    host: str
    path: str
    rate: float
    started: float
    stopped: bool = False
    number: int = 0
    """Requests sent since ``started``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    turn: int = 0
    """Where the weighted round robin stands."""
    copies: int = 0
    """Where the mirror stands."""
    robin: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})

    @property
    def next_at(self) -> float:
        """When the next request is due: counted, so that no error of rounding adds up."""
        return self.started + self.number / self.rate


@dataclass(slots=True)
class SeriesCounter:
    """Counters of one (backend, status code): what a data plane exports."""

    total: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=list)


class SideKey(NamedTuple):
    """Labels by which a data plane tells backends apart."""

    namespace: str
    ingress: str
    service: str
    port: str
    canary_service: str
    host: str
    path: str


class DataPlane:
    """``async with DataPlane(cluster) as plane:`` inside the test, after the cluster is open."""

    def __init__(
        self,
        cluster: FakeCluster,
        *,
        kind: DataPlaneKind = DataPlaneKind.TRAEFIK,
        reads: Reads | None = None,
        throttle_s: float = 2.0,
        always_late: bool = False,
        ingress_class: str = "nginx",
        buckets: tuple[float, ...] = TRAEFIK_BUCKETS,
    ) -> None:
        self.kind = kind
        self._reads = reads
        self.throttle_s = throttle_s
        self.always_late = always_late
        self.buckets = buckets
        self.routes: tuple[Route, ...] = ()
        self.applied = 0
        """How often a new configuration was applied."""
        self.counters: dict[tuple[SideKey, str], SeriesCounter] = {}
        self._copies: Counter[str] = Counter()
        self._cluster = cluster
        self._store = cluster.server.store
        self._class = ingress_class
        self._app: App = healthy
        self._served: dict[str, int] = {}
        self._clients: list[Client] = []
        self._sent: list[Sent] = []
        self._scraper: Scraper | None = None
        self._scrape_interval_s = 1.0
        self._next_scrape = 0.0
        self._changed = asyncio.Event()
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._exits.callback(self._store.subscribe(self._notice))
        self._cluster.book.before_change(self.advance)
        self._apply()
        await self._exits.enter_async_context(running(self._follow()))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.advance()
        await self._exits.aclose()

    # --- what tests set -----------------------------------------------------------------------

    @property
    def app(self) -> App:
        """What pods answer."""
        return self._app

    @app.setter
    def app(self, app: App) -> None:
        self.advance()
        self._app = app

    def client(
        self,
        host: str,
        path: str = "/",
        *,
        rate: float = 100.0,
        name: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Client:
        """Start sending ``rate`` requests a second from now on."""
        now = _now()
        made = Client(name or f"{host}{path}", host, path, rate, now, headers=headers or {})
        self._clients.append(made)
        return made

    def set_rate(self, client: Client, rate: float) -> None:
        """Change a client's rate from now on; 0 pauses it."""
        self.advance()
        client.rate = rate
        client.started, client.number = _now(), 0

    def stop(self, client: Client) -> None:
        """Stop sending."""
        self.advance()
        client.stopped = True

    def restart(self) -> None:
        """Restart the data plane: its counters begin at zero again."""
        self.advance()
        self.counters.clear()

    def scraped_by(self, scraper: Scraper, interval_s: float) -> None:
        """Show the counters to ``scraper`` at every multiple of the interval."""
        self._scraper = scraper
        self._scrape_interval_s = interval_s
        self._next_scrape = (int(_now() / interval_s) + 1) * interval_s

    # --- what tests look at -------------------------------------------------------------------

    def sent(self, *, since: float = 0.0) -> list[Sent]:
        """All requests from ``since`` (the loop's time) on."""
        self.advance()
        return self._sent[bisect_left(self._sent, since, key=lambda s: s.at) :]

    def lost(self, *, since: float = 0.0) -> list[Sent]:
        """Requests that were not answered because of routing, none of them the app's fault."""
        return [sent for sent in self.sent(since=since) if sent.outcome is Outcome.LOST]

    def by_version(self, *, since: float = 0.0) -> dict[str, Tally]:
        """Counts by version, lost requests that reached no pod under the empty one."""
        tallies: dict[str, Tally] = {}
        for sent in self.sent(since=since):
            tally = tallies.setdefault(sent.version, Tally())
            match sent.outcome:
                case Outcome.OK:
                    tally.ok += 1
                case Outcome.ERROR:
                    tally.error += 1
                case Outcome.LOST:
                    tally.lost += 1
        return tallies

    def copies(self) -> Counter[str]:
        """Copies that a mirror sent, by version; under the empty one those that reached no pod."""
        self.advance()
        return self._copies.copy()

    def canary_share(self, *, since: float = 0.0) -> float:
        """Percent of requests that were routed to the canary side."""
        sent = self.sent(since=since)
        return 100.0 * sum(s.canary for s in sent) / len(sent) if sent else 0.0

    def forget(self) -> None:
        """Drop the record of requests so far; counters stay."""
        self.advance()
        self._sent.clear()

    # --- following the configuration ----------------------------------------------------------

    def _notice(self, change: Change) -> None:
        followed = {INGRESS, SERVICE, ENDPOINT_SLICE, *OPTIONAL_KINDS}
        if change.kind in followed:
            self._changed.set()

    async def _follow(self) -> None:
        """Apply changes: the first at once, then at most one each ``throttle_s``."""
        while True:
            await self._changed.wait()
            if self.always_late:
                await asyncio.sleep(self.throttle_s)
            self._changed.clear()
            if self._apply() and not self.always_late:
                await asyncio.sleep(self.throttle_s)

    def _apply(self) -> bool:
        """Read the objects; whether they say something new."""
        if self._reads is not None:
            routes = self._reads(self._store)
        else:
            routes = compile_routes(self._store, self.kind, self._class)
        if routes == self.routes:
            return False
        self.advance()
        self.routes = routes
        self.applied += 1
        return True

    # --- computing requests -------------------------------------------------------------------

    def advance(self) -> None:
        """Work out everything that was sent until now."""
        now = _now()
        while self._scraper is not None and self._next_scrape <= now + TICK_S:
            self._send_until(self._next_scrape)
            self._scraper.scrape(EPOCH + self._next_scrape)
            self._next_scrape += self._scrape_interval_s
        self._send_until(now)

    def _send_until(self, end: float) -> None:
        active = [c for c in self._clients if not c.stopped and c.rate > 0 and c.next_at < end]
        before = len(self._sent)
        for client in active:
            self._send(client, end)
        if len(active) > 1:
            # Only what was just added can be out of order.
            self._sent[before:] = sorted(self._sent[before:], key=lambda sent: sent.at)

    def _send(self, client: Client, end: float) -> None:
        route = find_route(self.routes, client.host, client.path, client.headers)
        if route is None:
            while client.next_at < end:
                why = f"no route for {client.host}{client.path}"
                self._sent.append(_lost(client, 404, why, canary=False))
                client.number += 1
            return
        sides = {False: self._line_up(route, route.primary)}
        if route.canary is not None:
            sides[True] = self._line_up(route, route.canary)
        copies = self._line_up(route, route.mirror) if route.mirror is not None else None
        while client.next_at < end:
            self._send_one(client, route, sides)
            if copies is not None:
                self._mirror(client, route, copies)
            client.number += 1

    def _line_up(self, route: Route, side: Side) -> "_LineUp":
        """The pods that may get this side's requests now; an address without a pod is one to fail at."""
        candidates: list[Pod | None] = []
        for endpoint in side.endpoints:
            if endpoint.draining:
                continue
            pod = self._cluster.book.by_ip(endpoint.ip)
            if pod is None or pod.answers:
                candidates.append(pod)
        canary_service = side.service if side.canary else ""
        key = SideKey(
            route.namespace,
            route.ingress,
            route.primary.service,
            route.primary.port,
            canary_service,
            route.host,
            route.path,
        )
        return _LineUp(candidates, key, side)

    def _send_one(self, client: Client, route: Route, sides: dict[bool, "_LineUp"]) -> None:
        to_canary = False
        if route.canary is not None and route.weight:
            client.turn += route.weight
            if client.turn >= route.total:
                client.turn -= route.total
                to_canary = True
        line_up = sides[to_canary]
        if not line_up.candidates:
            why = f"Service {line_up.side.service} has no endpoint"
            self._sent.append(_lost(client, 503, why, canary=to_canary))
            self._count(line_up.key, 503, 0.0)
            return
        turn = client.robin[to_canary]
        client.robin[to_canary] = turn + 1
        pod = line_up.candidates[turn % len(line_up.candidates)]
        if pod is None:
            why = f"a pod of Service {line_up.side.service} is gone"
            self._sent.append(_lost(client, 502, why, canary=to_canary))
            self._count(line_up.key, 502, 0.0)
            return
        version = pod.version
        number = self._served.get(version, 0)
        self._served[version] = number + 1
        status, latency_s = self._app(pod, number)
        outcome = Outcome.ERROR if status >= 500 else Outcome.OK
        record = (client.next_at, outcome, version, status, latency_s)
        self._sent.append(Sent(*record, pod.deployment, pod.name, to_canary, client.name, ""))
        self._count(line_up.key, status, latency_s)

    def _mirror(self, client: Client, route: Route, copies: "_LineUp") -> None:
        """Send a copy of a request; nobody waits for its answer."""
        client.copies += route.mirrored
        if client.copies >= 100:
            client.copies -= 100
            pod = copies.candidates[0] if copies.candidates else None
            self._copies.update([pod.version if pod is not None else ""])

    def _count(self, key: SideKey, status: int, latency_s: float) -> None:
        counter = self.counters.get((key, str(status)))
        if counter is None:
            counter = SeriesCounter(buckets=[0] * (len(self.buckets) + 1))
            self.counters[key, str(status)] = counter
        counter.total += 1
        counter.seconds += latency_s
        counter.buckets[bisect_left(self.buckets, latency_s)] += 1

    # --- metrics ------------------------------------------------------------------------------

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Every series as exported now: (metric, labels, value)."""
        for (key, code), counter in self.counters.items():
            if self.kind is DataPlaneKind.TRAEFIK:
                yield from self._traefik(key, code, counter)
            else:
                yield from self._ingress_nginx(key, code, counter)

    def _traefik(
        self, key: SideKey, code: str, counter: SeriesCounter
    ) -> Iterator[tuple[str, dict[str, str], float]]:
        name = normalize(f"{key.namespace}-{key.ingress}-{key.service}-{key.port}")
        side = "-canary" if key.canary_service else ""
        service = f"{name}{side}@kubernetesingressnginx"
        labels = {"code": code, "method": "GET", "protocol": "http", "service": service}
        yield "traefik_service_requests_total", labels, float(counter.total)
        family = "traefik_service_request_duration_seconds"
        yield from self._histogram(family, labels, counter)

    def _ingress_nginx(
        self, key: SideKey, code: str, counter: SeriesCounter
    ) -> Iterator[tuple[str, dict[str, str], float]]:
        canary = f"{key.namespace}-{key.canary_service}-{key.port}" if key.canary_service else ""
        labels = {
            "namespace": key.namespace,
            "ingress": key.ingress,
            "service": key.service,
            "canary": canary,
            "host": key.host,
            "path": key.path,
            "method": "GET",
            "status": code,
        }
        yield "nginx_ingress_controller_requests", labels, float(counter.total)
        for family in ("request_duration_seconds", "response_duration_seconds"):
            yield from self._histogram(f"nginx_ingress_controller_{family}", labels, counter)

    def _histogram(
        self, family: str, labels: dict[str, str], counter: SeriesCounter
    ) -> Iterator[tuple[str, dict[str, str], float]]:
        running_total = 0
        for edge, count in zip((*self.buckets, float("inf")), counter.buckets, strict=True):
            running_total += count
            le = "+Inf" if edge == float("inf") else f"{edge:g}"
            yield f"{family}_bucket", labels | {"le": le}, float(running_total)
        yield f"{family}_count", labels, float(counter.total)
        yield f"{family}_sum", labels, counter.seconds


class _LineUp(NamedTuple):
    candidates: list[Pod | None]
    key: SideKey
    side: Side


def _lost(client: Client, status: int, why: str, *, canary: bool) -> Sent:
    return Sent(client.next_at, Outcome.LOST, "", status, 0.0, "", "", canary, client.name, why)


def _now() -> float:
    return asyncio.get_running_loop().time()


def normalize(name: str) -> str:
    """A name as Traefik spells it: everything but letters and digits becomes one dash."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())
