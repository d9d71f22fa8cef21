"""The ReplicaSet controller and the kubelet of the fake cluster: pods for numbers, and their way to readiness."""

import asyncio

from canaryd.core.kinds import CONFIG_MAP, REPLICA_SET, SECRET
from tests.fakes.apiserver.store import Change, Key, Manifest, Store, Write, key_of
from tests.fakes.controllers import TICK_S, KeyLoop, controller_uid
from tests.fakes.pods import Fate, Pod, PodBook

STATUS = Write(manager="kube-controller-manager", subresource="status")


class Kubelet:
    """Starts pods when their fate and their configs allow, and ends them after their grace."""

    def __init__(self, store: Store, pods: PodBook) -> None:
        self.fate: Fate = default_fate
        self.drain_s = 3.0
        """How long a deleted pod still answers."""
        self.loop = KeyLoop(self._run_pod, 0.0)
        self._pods = pods
        store.subscribe(self._notice)
        pods.after_change(self._follow)

    def _notice(self, change: Change) -> None:
        if change.kind in {CONFIG_MAP, SECRET}:
            for pod in self._pods:
                if pod.waiting_for and pod.namespace == change.key[0]:
                    self.loop.enqueue((pod.namespace, pod.name), 0.5)

    def _follow(self, pod: Pod) -> None:
        if not pod.gone:
            self.loop.enqueue((pod.namespace, pod.name))

    def reconsider(self) -> None:
        """Look at the fate of every pod again."""
        for pod in self._pods:
            self.loop.enqueue((pod.namespace, pod.name))

    def _run_pod(self, key: Key) -> None:
        pod = self._pods.get(key)
        if pod is None:
            return
        now = asyncio.get_running_loop().time()
        if pod.deleted_at is not None:
            # A container that never came up has nothing to drain.
            ends_at = pod.deleted_at + (self.drain_s if pod.started else 0.0)
            if now + TICK_S >= ends_at:
                self._pods.finish(pod)
            else:
                self.loop.enqueue(key, ends_at - now)
        elif not pod.started:
            after = self.fate(pod)
            if after is None:
                return
            if now + TICK_S >= pod.created_at + after:
                self._pods.start(pod)
            else:
                self.loop.enqueue(key, pod.created_at + after - now)


def default_fate(pod: Pod) -> float | None:
    """Ready after a second; images tagged ``crash`` never."""
    return None if pod.image.endswith(":crash") else 1.0


class ReplicaSetController:
    """Keeps as many pods as a ReplicaSet wants, and counts them in its status."""

    def __init__(self, store: Store, pods: PodBook, delay_s: float) -> None:
        self.loop = KeyLoop(self._reconcile, delay_s)
        self._store = store
        self._pods = pods
        self._owned: dict[str, Key] = {}
        store.subscribe(self._notice)
        pods.after_change(self._follow)

    def pods_of(self, replica_set: Manifest) -> list[Pod]:
        """Its pods, terminating ones too."""
        uid = replica_set["metadata"]["uid"]
        return [pod for pod in self._pods if pod.replica_set == uid]

    def _notice(self, change: Change) -> None:
        if change.kind == REPLICA_SET:
            self._owned[change.new["metadata"]["uid"]] = change.key
            self.loop.enqueue(change.key)

    def _follow(self, pod: Pod) -> None:
        key = self._owned.get(pod.replica_set)
        if key is not None:
            self.loop.enqueue(key)

    def _reconcile(self, key: Key) -> None:
        replica_set = self._store.get(REPLICA_SET, key)
        if replica_set is None:
            self._collect(key)
            return
        active = [pod for pod in self.pods_of(replica_set) if pod.deleted_at is None]
        wanted = replica_set["spec"]["replicas"]
        owner = self._deployment_of(replica_set)
        missing = range(wanted - len(active))
        active.extend(self._pods.create(replica_set, owner) for _ in missing)
        if len(active) > wanted:
            # Unready pods go first, then those that have been ready for the shortest time.
            active.sort(key=lambda p: (p.ready, -(p.ready_since or 0.0), -p.created_at))
            surplus = len(active) - wanted
            for pod in active[:surplus]:
                self._pods.terminate(pod)
            active = active[surplus:]
        self._count(replica_set, active)

    def _collect(self, key: Key) -> None:
        for uid, owner in tuple(self._owned.items()):
            if owner == key and self._store.by_uid(uid) is None:
                del self._owned[uid]
                for pod in self._pods:
                    if pod.replica_set == uid and pod.deleted_at is None:
                        self._pods.terminate(pod)

    def _deployment_of(self, replica_set: Manifest) -> str:
        owner = self._store.by_uid(controller_uid(replica_set))
        return str(owner[1]["metadata"]["name"]) if owner else ""

    def _count(self, replica_set: Manifest, active: list[Pod]) -> None:
        ready = [pod for pod in active if pod.ready]
        settle_s = replica_set["spec"].get("minReadySeconds", 0)
        now = asyncio.get_running_loop().time()
        ages = [now - (pod.ready_since or 0.0) for pod in ready]
        available = sum(age >= settle_s for age in ages)
        waits = [settle_s - age for age in ages if age < settle_s]
        if waits:
            self.loop.enqueue(key_of(replica_set), min(waits))
        status = {
            "replicas": len(active),
            "fullyLabeledReplicas": len(active),
            "readyReplicas": len(ready),
            "availableReplicas": available,
            "observedGeneration": replica_set["metadata"]["generation"],
        }
        # Zeros are left out of the JSON, the number of replicas alone is always there.
        status = {k: v for k, v in status.items() if v or k == "replicas"}
        if status != replica_set.get("status"):
            key = key_of(replica_set)
            self._store.update(REPLICA_SET, key, lambda o: o | {"status": status}, STATUS)
