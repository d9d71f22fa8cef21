"""The EndpointSlice controller of the fake cluster: one slice for each Service, a little late."""

from typing import Any

from canaryd.core.kinds import ENDPOINT_SLICE, SERVICE
from tests.fakes.apiserver.store import Change, Key, Manifest, Store, Write, key_of
from tests.fakes.controllers import KeyLoop, controller_uid
from tests.fakes.pods import Pod, PodBook

SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_HOW = Write(manager="kube-controller-manager")


class EndpointSliceController:
    """Mirrors Services and pods into EndpointSlices."""

    def __init__(self, store: Store, pods: PodBook, delay_s: float) -> None:
        self.loop = KeyLoop(self._reconcile, delay_s)
        self._store = store
        self._pods = pods
        self._slices: dict[Key, Key] = {}
        store.subscribe(self._notice)
        pods.after_change(self._follow)

    def _notice(self, change: Change) -> None:
        if change.kind == SERVICE:
            self.loop.enqueue(change.key)
        elif change.kind == ENDPOINT_SLICE:
            name = (change.new["metadata"].get("labels") or {}).get(SERVICE_NAME)
            if name:
                self.loop.enqueue((change.key[0], name))

    def _follow(self, pod: Pod) -> None:
        for service in self._store.items(SERVICE, pod.namespace):
            if _selects(service, pod):
                self.loop.enqueue(key_of(service))

    def _reconcile(self, key: Key) -> None:
        service = self._store.get(SERVICE, key)
        if service is None or not service["spec"].get("selector"):
            return
        pods = [p for p in self._pods if p.namespace == key[0] and _selects(service, p)]
        wanted = _slice(service, pods)
        present = self._find(service)
        if present is None:
            made = self._store.create(ENDPOINT_SLICE, wanted, _HOW)
            self._slices[key] = key_of(made)
            return

        def propose(live: Manifest) -> Manifest:
            live["metadata"]["labels"] = wanted["metadata"]["labels"]
            live["endpoints"], live["ports"] = wanted["endpoints"], wanted["ports"]
            return live

        self._store.update(ENDPOINT_SLICE, key_of(present), propose, _HOW)

    def _find(self, service: Manifest) -> Manifest | None:
        key = self._slices.get(key_of(service))
        found = self._store.get(ENDPOINT_SLICE, key) if key else None
        if found is None or controller_uid(found) != service["metadata"]["uid"]:
            return None
        return found


def _selects(service: Manifest, pod: Pod) -> bool:
    selector = service["spec"].get("selector")
    return bool(selector) and selector.items() <= pod.labels.items()


def _slice(service: Manifest, pods: list[Pod]) -> Manifest:
    meta = service["metadata"]
    labels = dict(meta.get("labels") or {})
    labels |= {
        SERVICE_NAME: meta["name"],
        _MANAGED_BY: "endpointslice-controller.k8s.io",
    }
    owner = {
        "apiVersion": "v1",
        "kind": "Service",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": meta["namespace"],
            "generateName": f"{meta['name']}-",
            "labels": labels,
            "ownerReferences": [owner],
        },
        "addressType": "IPv4",
        # A Service without pods has a placeholder slice with nulls, as in a real cluster.
        "endpoints": [_endpoint(pod) for pod in pods] or None,
        "ports": _ports(service, pods) if pods else None,
    }


def _endpoint(pod: Pod) -> Manifest:
    terminating = pod.deleted_at is not None
    return {
        "addresses": [pod.ip],
        "conditions": {"ready": pod.ready, "serving": pod.answers, "terminating": terminating},
        "nodeName": "node-1",
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
    }


def _ports(service: Manifest, pods: list[Pod]) -> list[Manifest]:
    ports = []
    for port in service["spec"].get("ports") or ():
        number = _number(port["targetPort"], pods)
        if number is not None:
            name = port.get("name", "")
            ports.append({"name": name, "port": number, "protocol": port["protocol"]})
    return ports


def _number(target: Any, pods: list[Pod]) -> int | None:
    """A target port as a number; a name is looked up in the containers."""
    if isinstance(target, int):
        return target
    for pod in pods:
        for container in pod.template["spec"]["containers"]:
            for port in container.get("ports") or ():
                if port.get("name") == target:
                    return int(port["containerPort"])
    return None
