"""The whole daemon against a fake cluster, in virtual time: what every scenario starts from.

Only the world is fake (API server, controllers, pods, data plane, metrics); the daemon is the one that ships, composed by
``canaryd.app.assemble``. A story of ten minutes takes a second or two.
"""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from canaryd.app import Options, Outside, assemble
from canaryd.core.decision import Decision
from canaryd.core.kinds import CANARY, DEPLOYMENT, INGRESS, SERVICE
from canaryd.core.model import (
    Absent,
    Counts,
    HookAnswer,
    HookSpec,
    LoadTestAnswer,
    LoadTestSpec,
    MetricAnswer,
    MetricCheck,
    Missing,
    TrafficIdentity,
)
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster

NAMESPACE = "shop"
HOST = "app.test"


@dataclass
class FakeSource:
    """A metric source that knows which images are bad."""

    cluster: FakeCluster
    bad_images: set[str] = field(default_factory=set)
    down: bool = False
    absent: Absent | None = None
    asked: int = 0

    async def ask(
        self, check: MetricCheck, identity: TrafficIdentity, *, since: float
    ) -> MetricAnswer:
        self.asked += 1
        if self.down:
            return MetricAnswer(
                check=check.name, absent=Absent(Missing.SOURCE_UNAVAILABLE, "connection refused")
            )
        if self.absent:
            return MetricAnswer(check=check.name, absent=self.absent)
        images = {p.image for p in self.cluster.pods(identity.namespace, identity.target)}
        errors = 100.0 if images & self.bad_images else 0.0
        return MetricAnswer(check=check.name, counts=Counts(1000.0, errors, 10.0), requests=1000.0)


@dataclass
class FakeHooks:
    """Receivers of hooks: refusing ones answer 403, hanging ones never."""

    refusing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def call(self, hook: HookSpec, payload: Any, *, namespace: str) -> HookAnswer:
        self.calls.append((hook.name, dict(payload)))
        if hook.name in self.hanging:
            await asyncio.sleep(hook.timeout_s)
            return HookAnswer(hook=hook.name, passed=False, detail="timed out")
        refused = hook.name in self.refusing
        return HookAnswer(hook=hook.name, passed=not refused, status=403 if refused else 200)


@dataclass
class FakeLoadTester:
    """Load tests that take their time; tells which are under way."""

    running: set[str] = field(default_factory=set)
    started: int = 0
    cancelled: int = 0

    async def run(self, test: LoadTestSpec, *, base_url: str, host: str) -> LoadTestAnswer:
        self.running.add(test.name)
        self.started += 1
        try:
            await asyncio.sleep(test.duration_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running.discard(test.name)
        return LoadTestAnswer(
            test=test.name, sent=100, failed=0, asked_rate=test.rate, achieved_rate=test.rate
        )


@dataclass
class Memory:
    """Events and journal lines, kept for the test."""

    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    looks: list[tuple[tuple[str, str], Decision]] = field(default_factory=list)
    defects: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def emit(
        self,
        regarding: Any,
        reason: str,
        note: str,
        type: str = "Normal",  # noqa: A002 - the port's name
        action: str = "",
        related: Any = None,
    ) -> None:
        self.events.append((regarding["kind"], regarding["name"], reason, note))

    def looked(self, snap: Any, key: tuple[str, str], decision: Decision, seconds: float) -> None:
        self.looks.append((key, decision))

    def info(self, event: str, **values: Any) -> None:
        pass

    def error(self, event: str, **values: Any) -> None:
        self.defects.append((event, values))

    def exception(self, event: str, **values: Any) -> None:
        self.defects.append((event, values | {"traceback": traceback.format_exc()}))

    def reasons(self, kind: str = "Deployment") -> list[str]:
        return [reason for k, _, reason, _ in self.events if k == kind]


@dataclass
class Story:
    """One scenario's world and its daemon."""

    server: FakeApiServer
    cluster: FakeCluster
    clock: VirtualClock
    source: FakeSource
    hooks: FakeHooks
    loads: FakeLoadTester
    memory: Memory
    options: Options
    _daemon: asyncio.Task[None] | None = None
    client: KubeClient | None = None

    # --- the daemon ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the daemon."""
        self.client = self._client(lambda manifest: controller.watches.observe(manifest))  # noqa: PLW0108 - made below
        outside = Outside(
            metrics=self.source,
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

    def set_image(self, image: str, name: str = "app") -> None:
        def change(d: dict[str, Any]) -> None:
            d["spec"]["template"]["spec"]["containers"][0]["image"] = image

        self.server.edit(DEPLOYMENT, NAMESPACE, name, change)

    def annotate(self, name: str = "app", **values: str | None) -> None:
        """Set or remove ``canaryd.io/`` keys; underscores in names stand for dashes."""
        patch = {f"canaryd.io/{k.replace('_', '-')}": v for k, v in values.items()}
        self.server.patch(DEPLOYMENT, NAMESPACE, name, {"metadata": {"annotations": patch}})

    # --- looking ------------------------------------------------------------------------------------------------------

    def status(self, name: str = "app") -> dict[str, Any]:
        found = self.server.find(CANARY, NAMESPACE, name)
        return (found or {}).get("status") or {}

    def phase(self, name: str = "app") -> str:
        return str(self.status(name).get("phase", ""))

    def weight(self, name: str = "app") -> int | None:
        found = self.server.find(INGRESS, NAMESPACE, f"{name}-canary")
        return (
            int(found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"])
            if found
            else None
        )

    def replicas(self, name: str = "app") -> int:
        return int(self.server.object(DEPLOYMENT, NAMESPACE, name)["spec"]["replicas"])

    def image(self, name: str = "app-primary") -> str:
        return str(
            self.server.object(DEPLOYMENT, NAMESPACE, name)["spec"]["template"]["spec"][
                "containers"
            ][0]["image"]
        )

    def selector(self, name: str = "app") -> dict[str, str]:
        return dict(self.server.object(SERVICE, NAMESPACE, name)["spec"]["selector"])

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
            if loop.time() - started > seconds:
                last = [f"{d.reason}: {d.message}" for _, d in self.memory.looks[-5:]]
                raise AssertionError(
                    f"not within {seconds} s: {what}; phase {self.phase()}, weight {self.weight()}, last {last}, defects {self.memory.defects[-2:]}"
                )
            await asyncio.sleep(0.1)
        return loop.time() - started

    async def until_phase(self, phase: str, name: str = "app", seconds: float = 300.0) -> float:
        return await self.until(lambda: self.phase(name) == phase, f"{name} {phase}", seconds)

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
async def story(options: Options | None = None) -> AsyncIterator[Story]:
    """A cluster with a running daemon."""
    async with FakeApiServer(clock=VirtualClock()) as server, FakeCluster(server) as cluster:
        server.ensure_namespace(NAMESPACE)
        told = Story(
            server,
            cluster,
            VirtualClock(),
            FakeSource(cluster),
            FakeHooks(),
            FakeLoadTester(),
            Memory(),
            options or Options(workers=4),
        )
        await told.start()
        try:
            yield told
        finally:
            await told.kill()
        assert told.memory.defects == []


def deployment(
    name: str,
    *,
    image: str,
    replicas: int,
    annotations: dict[str, str],
    pod_spec: dict[str, Any] | None,
    labels: dict[str, str],
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": NAMESPACE, "name": name, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {"name": "app", "image": image, "ports": [{"containerPort": 8080}]}
                    ]
                }
                | (pod_spec or {}),
            },
        },
    }


def service(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def ingress(name: str, host: str) -> dict[str, Any]:
    path = {
        "path": "/",
        "pathType": "Prefix",
        "backend": {"service": {"name": name, "port": {"number": 80}}},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [path]}}]},
    }
