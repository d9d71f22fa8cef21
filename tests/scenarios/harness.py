"""The whole daemon against a fake cluster, in virtual time: what every scenario starts from.

Only the world is fake (API server, controllers, pods, data plane, metrics); the daemon is the one that ships, composed by
``canaryd.app.assemble``. A story of ten minutes takes a second or two.
"""

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from canaryd.app import Options, Outside, assemble
from canaryd.config.settings import Nginx, Providers
from canaryd.core.kinds import ALL_KINDS, CANARY, DEPLOYMENT, INGRESS, SERVICE, Kind
from canaryd.core.names import DEPLOYMENT_REVISION
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.ports.metric_provider import MetricProvider
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.apiserver.faults import Moment
from tests.fakes.apiserver.requests import Request
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.controllers import TICK_S
from tests.fakes.routes import DataPlaneKind
from tests.fakes.traffic import Client, DataPlane, Reads, Sent
from tests.scenarios.manifests import HOST, NAMESPACE, deployment, ingress, service
from tests.scenarios.outside import FakeHooks, FakeLoadTester, FakeSource, Memory

RESTART_S = 1.0
"""How long a dead daemon is away."""
LOOK_S = 0.5
"""How often a claim that no change of the cluster answers for is looked at."""


@dataclass
class Story:
    """One scenario's world and its daemon."""

    server: FakeApiServer
    cluster: FakeCluster
    plane: DataPlane
    clock: VirtualClock
    source: FakeSource
    hooks: FakeHooks
    loads: FakeLoadTester
    memory: Memory
    options: Options
    metrics: MetricProvider
    """Where the daemon asks: ``source``, unless the story brings a provider of its own."""
    client: KubeClient | None = None
    _daemon: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # --- the daemon ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the daemon."""
        self.client = self._client(lambda manifest: controller.watches.observe(manifest))  # noqa: PLW0108 - made below
        outside = Outside(
            metrics=self.metrics,
            hooks=self.hooks,
            load_tester=self.loads,
            recorder=self.memory,
            elector=None,
            clock=self.clock,
            journal=self.memory,
            log=self.memory,
        )
        controller = assemble(self.client, self.options, outside)
        self._daemon = asyncio.create_task(controller.manager.run(), name="canaryd")

    def _client(self, observe: Callable[[dict[str, Any]], None]) -> KubeClient:
        return KubeClient(Connection(server=self.server.url), clock=self.clock, observe=observe)

    async def kill(self) -> None:
        """End the daemon as a crash does: nothing is said or tidied."""
        if self._daemon is not None:
            self._daemon.cancel()
            await asyncio.gather(self._daemon, return_exceptions=True)
            self._daemon = None
            await self.client.close()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    @asynccontextmanager
    async def dying(self, write: int, when: Moment) -> AsyncIterator[asyncio.Event]:
        """Kill the daemon at its n-th write from now (see ``FakeApiServer.crash_at``) and start another.

        Yields an event that says whether it came to that write. Leaving the block waits until the next daemon runs.
        """
        died = asyncio.Event()

        def die() -> None:
            assert self._daemon is not None
            self._daemon.cancel()
            died.set()

        async def revive() -> None:
            await died.wait()
            await self.kill()
            await asyncio.sleep(RESTART_S)
            self.server.heal()
            await self.start()

        self.server.crash_at(write, when, die)
        async with asyncio.TaskGroup() as group:
            nurse = group.create_task(revive())
            yield died
            if not died.is_set():
                self.server.faults.write_hooks.clear()
                nurse.cancel()

    # --- the user -----------------------------------------------------------------------------------------------------

    def deploy(
        self,
        name: str = "app",
        *,
        annotations: dict[str, str] | None = None,
        image: str = "app:1",
        replicas: int = 2,
        host: str = HOST,
        pod_spec: dict[str, Any] | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        """An app as its team has it: Deployment, Service, Ingress."""
        labels = labels or {"app": name}
        self.server.put(
            deployment(
                name,
                image=image,
                replicas=replicas,
                annotations=annotations or {},
                pod_spec=pod_spec,
                labels=labels,
            )
        )
        self.server.put(service(name, labels))
        self.server.put(ingress(name, host))

    def users(self, rate: float = 50.0, host: str = HOST) -> Client:
        """Users of an app, sending at a constant rate from now on."""
        return self.plane.client(host, rate=rate)

    async def serve(self, rate: float = 50.0) -> Client:
        """An app that is not enrolled, and users who get answers."""
        self.deploy()
        await self.until(lambda: self.cluster.ready(NAMESPACE, "app") == 2, "the app is ready")
        await asyncio.sleep(2 * self.plane.throttle_s + 1)
        users = self.users(rate)
        await asyncio.sleep(1)
        return users

    async def enrol(self, name: str = "app", **deployed: Any) -> None:
        """Deploy an app with the usual plan, or what ``deployed`` says, and wait until it is enrolled and idle."""
        self.deploy(name, **{"annotations": plan()} | deployed)
        await self.until_phase("Initialized", name)
        if self.replicas(name) == 0:
            await self.until_idle(name)

    def set_image(self, image: str, name: str = "app") -> None:
        def change(d: dict[str, Any]) -> None:
            d["spec"]["template"]["spec"]["containers"][0]["image"] = image

        self.server.edit(DEPLOYMENT, NAMESPACE, name, change)

    def annotate(self, name: str = "app", **values: str | None) -> None:
        """Set or remove ``canaryd.io/`` keys; underscores in names stand for dashes."""
        patch = {f"canaryd.io/{k.replace('_', '-')}": v for k, v in values.items()}
        self.server.patch(DEPLOYMENT, NAMESPACE, name, {"metadata": {"annotations": patch}})

    # --- looking ------------------------------------------------------------------------------------------------------

    def stored(self, kind: Kind, name: str = "app") -> dict[str, Any]:
        """An object as it is stored, empty when there is none; never to be changed."""
        return self.server.store.get(kind, (NAMESPACE, name)) or {}

    def exists(self, kind: Kind, name: str) -> bool:
        return bool(self.stored(kind, name))

    def status(self, name: str = "app") -> dict[str, Any]:
        return self.stored(CANARY, name).get("status") or {}

    def phase(self, name: str = "app") -> str:
        return str(self.status(name).get("phase", ""))

    def message(self, name: str = "app") -> str:
        return str(self.status(name).get("message", ""))

    def results(self, name: str = "app") -> list[str]:
        """How the runs of an app ended, oldest first."""
        return [entry["result"] for entry in self.status(name).get("history") or ()]

    def weight(self, name: str = "app") -> int | None:
        annotations = self.stored(INGRESS, f"{name}-canary").get("metadata", {}).get("annotations")
        weight = (annotations or {}).get("nginx.ingress.kubernetes.io/canary-weight")
        return None if weight is None else int(weight)

    def replicas(self, name: str = "app") -> int:
        return int(self.stored(DEPLOYMENT, name)["spec"]["replicas"])

    def template(self, name: str = "app-primary") -> dict[str, Any]:
        return dict(self.stored(DEPLOYMENT, name)["spec"]["template"])

    def image(self, name: str = "app-primary") -> str:
        """Image of a Deployment, empty when there is none."""
        if not self.exists(DEPLOYMENT, name):
            return ""
        return str(self.template(name)["spec"]["containers"][0]["image"])

    def rolled(self, name: str = "app-primary") -> int:
        """How many templates a Deployment has had: its newest revision."""
        annotations = self.stored(DEPLOYMENT, name)["metadata"].get("annotations") or {}
        return int(annotations.get(DEPLOYMENT_REVISION, 0))

    def selector(self, name: str = "app") -> dict[str, str]:
        return dict(self.stored(SERVICE, name)["spec"]["selector"])

    def lost(self, since: float = 0.0) -> list[Sent]:
        """Requests of users that nobody answered, from ``since`` (of the loop's time) on."""
        return self.plane.lost(since=since)

    def writes(self) -> list[Request]:
        """What the daemon wrote since the request log was cleared, Events aside."""
        return self.server.requests.writes()

    def condition(self, kind: str, name: str = "app") -> tuple[str, str]:
        for condition in self.status(name).get("conditions") or ():
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    async def until(
        self, claim: Callable[[], bool], what: str = "", seconds: float = 300.0
    ) -> float:
        """Wait, in virtual time, until a claim holds; return how long it took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not claim():
            left = started + seconds - loop.time()
            if left <= TICK_S:
                raise AssertionError(f"not within {seconds} s: {what}; {self.account()}")
            self._changed.clear()
            try:
                async with asyncio.timeout(min(LOOK_S, left)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return loop.time() - started

    def account(self) -> str:
        """Where things stand, for a story that went wrong."""
        last = [f"{d.reason}: {d.message}" for _, d in self.memory.looks[-5:]]
        where = f"phase {self.phase()}, weight {self.weight()}"
        return f"{where}, last {last}, defects {self.memory.defects[-2:]}"

    async def until_phase(self, phase: str, name: str = "app", seconds: float = 300.0) -> float:
        return await self.until(lambda: self.phase(name) == phase, f"{name} {phase}", seconds)

    async def until_idle(self, name: str = "app", seconds: float = 60.0) -> float:
        """Wait until the target has no pods but those that drain."""
        return await self.until(
            lambda: (
                self.replicas(name) == 0
                and all(pod.deleted_at is not None for pod in self.cluster.pods(NAMESPACE, name))
            ),
            f"{name} idle",
            seconds,
        )

    async def until_event(self, reason: str, name: str = "app", seconds: float = 120.0) -> float:
        return await self.until(
            lambda: reason in self.memory.reasons(name=name), f"Event {reason}", seconds
        )

    async def until_weight(self, weight: int, name: str = "app", seconds: float = 120.0) -> float:
        return await self.until(
            lambda: self.weight(name) == weight, f"{name} at weight {weight}", seconds
        )


PLAN = {
    "enabled": "true",
    "interval": "10s",
    "weights": "20,50",
    "metric.success-rate": ">= 99",
    "failure-threshold": "2",
    "scale-down-delay": "3s",
    "progress-deadline": "60s",
}


def plan(**changes: str | None) -> dict[str, str]:
    """Annotations of the usual plan, changed."""
    values = PLAN | {k.replace("_", "-"): v for k, v in changes.items()}
    return {f"canaryd.io/{k}": v for k, v in values.items() if v is not None}


@asynccontextmanager
async def story(
    options: Options | None = None,
    *,
    metrics: MetricProvider | None = None,
    kind: DataPlaneKind = DataPlaneKind.TRAEFIK,
    reads: Reads | None = None,
    kinds: tuple[Kind, ...] = (),
    always_late: bool = False,
) -> AsyncIterator[Story]:
    """A cluster with a data plane and a running daemon.

    Args:
        options: of the daemon.
        metrics: a provider in place of the source that knows bad images.
        kind: which data plane, of those that read Ingresses.
        reads: what another data plane makes of the objects.
        kinds: that are installed beside those that every cluster has.
        always_late: it takes every change in as late as it can.
    """
    async with (
        AsyncExitStack() as exits,
        FakeApiServer((*ALL_KINDS, *kinds), clock=VirtualClock()) as server,
        FakeCluster(server) as cluster,
        DataPlane(cluster, kind=kind, reads=reads, always_late=always_late) as plane,
    ):
        exits.enter_context(_without_authorities())
        server.ensure_namespace(NAMESPACE)
        source = FakeSource(cluster)
        told = Story(
            server,
            cluster,
            plane,
            VirtualClock(),
            source,
            FakeHooks(),
            FakeLoadTester(),
            Memory(),
            options or Options(workers=4, providers=Providers(nginx=Nginx(dialect=kind.value))),
            metrics or source,
        )
        server.store.subscribe(lambda _: told._changed.set())
        await told.start()
        try:
            yield told
        finally:
            await told.kill()
        assert told.memory.defects == []


@contextmanager
def _without_authorities() -> Iterator[None]:
    """Spare each daemon the reading of the system's certificates: the servers of a story speak plain HTTP."""
    before = os.environ.get("SSL_CERT_FILE", "")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        os.environ["SSL_CERT_FILE"] = before
        if not before:
            del os.environ["SSL_CERT_FILE"]


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Tell a test in a story of its own, which is its first argument.

    Not a fixture: time is virtual in tests alone, and what a fixture started would live on real time.
    """

    @wraps(test)
    async def tell(**fixtures: Any) -> None:
        async with story() as told:
            await test(told, **fixtures)

    others = list(inspect.signature(test).parameters.values())[1:]
    tell.__signature__ = inspect.Signature(others)
    return tell
