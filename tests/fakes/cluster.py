"""A cluster without nodes: controllers that work on a fake API server's objects, and pods that only exist in memory.

Deployments roll, pods become ready, EndpointSlices follow, autoscalers keep their bounds, all on the loop's virtual time
and the same in every run. Controllers write straight into the store, so the request log holds the daemon's requests alone.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from canaryd.core.kinds import DEPLOYMENT
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.autoscaling import AutoscalerController
from tests.fakes.deployments import DeploymentController
from tests.fakes.endpoints import EndpointSliceController
from tests.fakes.pods import Fate, Pod, PodBook
from tests.fakes.replicasets import Kubelet, ReplicaSetController
from tests.fakes.tasks import running

Which = str | Callable[[Pod], bool]
"""Name of a Deployment, or a predicate on pods."""


class FakeCluster:
    """``async with FakeCluster(server) as cluster:`` inside the test, after the server is open.

    Args:
        server: the API server whose objects come to life.
        reaction_s: time a controller takes to notice a change.
        endpoint_delay_s: time until a change of pods or Services is in the EndpointSlices.
        autoscaler_sync_s: time until an autoscaler looks again after a change.
    """

    def __init__(
        self,
        server: FakeApiServer,
        *,
        reaction_s: float = 0.01,
        endpoint_delay_s: float = 0.05,
        autoscaler_sync_s: float = 15.0,
    ) -> None:
        self.server = server
        self.book = PodBook(server.store)
        self._kubelet = Kubelet(server.store, self.book)
        self._sets = ReplicaSetController(server.store, self.book, reaction_s)
        self._deployments = DeploymentController(server.store, self._sets, reaction_s)
        self._endpoints = EndpointSliceController(server.store, self.book, endpoint_delay_s)
        self._autoscalers = AutoscalerController(server.store, self.book, autoscaler_sync_s)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for kind in self.server.store.kinds:
            for obj in self.server.store.items(kind):
                self.server.store.announce(kind, obj)
        loops = (
            self._kubelet.loop,
            self._sets.loop,
            self._deployments.loop,
            self._endpoints.loop,
            self._autoscalers.loop,
        )
        await self._exits.enter_async_context(running(*(loop.run() for loop in loops)))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._exits.aclose()

    # --- what tests set -----------------------------------------------------------------------

    @property
    def fate(self) -> Fate:
        """Seconds from a pod's creation to its readiness, by pod; None for never."""
        return self._kubelet.fate

    @fate.setter
    def fate(self, fate: Fate) -> None:
        self._kubelet.fate = fate
        self._kubelet.reconsider()

    @property
    def drain_s(self) -> float:
        """How long a deleted pod still answers requests."""
        return self._kubelet.drain_s

    @drain_s.setter
    def drain_s(self, seconds: float) -> None:
        self._kubelet.drain_s = seconds

    @property
    def endpoint_delay_s(self) -> float:
        return self._endpoints.loop.delay_s

    @endpoint_delay_s.setter
    def endpoint_delay_s(self, seconds: float) -> None:
        self._endpoints.loop.delay_s = seconds

    def break_pods(self, which: Which, namespace: str = "") -> list[Pod]:
        """Turn ready pods unready now; returns which."""
        chosen = [pod for pod in self._select(which, namespace) if pod.ready]
        for pod in chosen:
            self.book.set_broken(pod, broken=True)
        return chosen

    def heal_pods(self, which: Which = lambda _: True, namespace: str = "") -> list[Pod]:
        """Turn broken pods ready again; returns which."""
        chosen = [pod for pod in self._select(which, namespace) if pod.broken]
        for pod in chosen:
            self.book.set_broken(pod, broken=False)
        return chosen

    def kill_pods(self, which: Which, namespace: str = "") -> list[Pod]:
        """Delete pods, as an eviction does; their ReplicaSet makes new ones."""
        chosen = [pod for pod in self._select(which, namespace) if pod.deleted_at is None]
        for pod in chosen:
            self.book.terminate(pod)
        return chosen

    def autoscale(self, namespace: str, name: str, replicas: int | None) -> None:
        """What an autoscaler's metrics ask for from now on, within its bounds; None: nothing."""
        self._autoscalers.wish((namespace, name), replicas)

    # --- what tests look at -------------------------------------------------------------------

    def pods(self, namespace: str = "", deployment: str = "") -> list[Pod]:
        """Pods that exist, terminating ones too."""
        return [
            pod
            for pod in self.book
            if (not namespace or pod.namespace == namespace)
            and (not deployment or pod.deployment == deployment)
        ]

    def ready(self, namespace: str, deployment: str) -> int:
        """Ready pods of a Deployment."""
        return sum(pod.ready for pod in self.pods(namespace, deployment))

    def is_rolled_out(self, namespace: str, deployment: str) -> bool:
        """What ``kubectl rollout status`` waits for."""
        found = self.server.find(DEPLOYMENT, namespace, deployment)
        if found is None:
            return False
        status, replicas = found.get("status") or {}, found["spec"]["replicas"]
        return bool(
            status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == replicas
            and status.get("replicas", 0) == replicas
            and status.get("availableReplicas", 0) == replicas
        )

    def _select(self, which: Which, namespace: str) -> list[Pod]:
        if isinstance(which, str):
            return self.pods(namespace, which)
        return [pod for pod in self.pods(namespace) if which(pod)]
