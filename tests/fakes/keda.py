"""KEDA for the fake cluster: what its operator makes of ScaledObjects.

Facts of KEDA 2.20 (``controllers/keda/scaledobject_controller.go``, ``controllers/keda/hpa.go``,
``pkg/scaling/executor/scale_scaledobjects.go``, ``apis/keda/v1alpha1/scaledobject_webhook.go``):

- it writes a label and a finalizer on each ScaledObject, and makes an autoscaler ``keda-hpa-NAME`` that carries labels and
  annotations of it, is owned by it, and keeps at least one replica;
- at each poll a workload at zero is woken while a trigger is active, goes to zero when none is and ``minReplicaCount`` is 0, and
  is kept at ``minReplicaCount`` otherwise (the cool-down is left out: a trigger that was never active has none);
- ``paused`` deletes the autoscaler and ends the polls at once; ``paused-replicas`` wins over it, and takes effect at the next poll;
- its admission refuses a trigger on CPU when there is no such Deployment; here such creations are only counted.
"""

from contextlib import AsyncExitStack
from typing import Self

from canaryd.core.kinds import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT
from tests.fakes.apiserver.ownership import clone
from tests.fakes.apiserver.store import Change, Key, Manifest, Store, Write, key_of
from tests.fakes.controllers import KeyLoop, controller_uid
from tests.fakes.tasks import running

KEDA = Write(manager="keda")
FINALIZER = "finalizer.keda.sh"
PAUSED = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
NAME = "scaledobject.keda.sh/name"
EXCLUDED = "scaledobject.keda.sh/hpa-excluded-labels"


class Keda:
    """``async with Keda(server.store) as keda:`` inside a story whose server has the kind.

    Args:
        store: the objects of the cluster.
        poll_s: seconds between two looks at the triggers of a ScaledObject.
        reaction_s: seconds until a change of a ScaledObject is noticed.
    """

    def __init__(self, store: Store, *, poll_s: float = 30.0, reaction_s: float = 0.05) -> None:
        self.active: set[str] = set()
        """Names of ScaledObjects of which a trigger is active."""
        self.too_early: list[str] = []
        """ScaledObjects that were made before their Deployment."""
        self.scaled: list[tuple[str, int]] = []
        """Deployments that the operator itself scaled, and to what."""
        self._store = store
        self._poll_s = poll_s
        self._objects = KeyLoop(self._reconcile, reaction_s)
        self._polls = KeyLoop(self._poll, poll_s)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._store.subscribe(self._notice)
        await self._exits.enter_async_context(running(self._objects.run(), self._polls.run()))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._exits.aclose()

    def _notice(self, change: Change) -> None:
        if change.kind == SCALED_OBJECT and change.type != "DELETED":
            if change.type == "ADDED" and self._store.get(DEPLOYMENT, _target(change.new)) is None:
                self.too_early.append(change.key[1])
            self._objects.enqueue(change.key)

    # --- the reconciler -----------------------------------------------------------------------

    def _reconcile(self, key: Key) -> None:
        scaled = self._store.get(SCALED_OBJECT, key)
        if scaled is None:
            return
        if "deletionTimestamp" in scaled["metadata"]:
            self._delete_autoscaler(scaled)
            self._store.update(SCALED_OBJECT, key, _without_finalizer, KEDA)
            return
        self._store.update(SCALED_OBJECT, key, _marked, KEDA)
        annotations = scaled["metadata"].get("annotations") or {}
        if PAUSED_REPLICAS not in annotations and annotations.get(PAUSED) == "true":
            self._delete_autoscaler(scaled)
            return
        if PAUSED_REPLICAS not in annotations:
            self._ensure_autoscaler(scaled)
        self._polls.enqueue(key)

    def _ensure_autoscaler(self, scaled: Manifest) -> None:
        meta, spec = scaled["metadata"], scaled["spec"]
        excluded = set((meta.get("annotations") or {}).get(EXCLUDED, "").split(","))
        carried = {k: v for k, v in (meta.get("labels") or {}).items() if k not in excluded}
        owner = {
            "apiVersion": SCALED_OBJECT.api_version,
            "kind": "ScaledObject",
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
        }
        wanted = {
            "apiVersion": HORIZONTAL_POD_AUTOSCALER.api_version,
            "kind": HORIZONTAL_POD_AUTOSCALER.kind,
            "metadata": {
                "namespace": meta["namespace"],
                "name": _autoscaler_name(scaled),
                "labels": {"app.kubernetes.io/managed-by": "keda-operator"} | carried,
                "annotations": dict(meta.get("annotations") or {}),
                "ownerReferences": [owner],
            },
            "spec": {
                "scaleTargetRef": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": spec["scaleTargetRef"]["name"],
                },
                "minReplicas": max(1, spec.get("minReplicaCount", 0)),
                "maxReplicas": spec.get("maxReplicaCount", 100),
                "metrics": [
                    {"type": "External", "external": {"metric": {"name": f"s{n}-{t['type']}"}}}
                    for n, t in enumerate(spec["triggers"])
                ],
            },
        }
        key = key_of(wanted)
        found = self._store.get(HORIZONTAL_POD_AUTOSCALER, key)
        if found is None:
            self._store.create(HORIZONTAL_POD_AUTOSCALER, wanted, KEDA)
        elif any(found["metadata"].get(k) != v for k, v in wanted["metadata"].items()) or any(
            found["spec"].get(k) != v for k, v in wanted["spec"].items()
        ):
            self._store.update(
                HORIZONTAL_POD_AUTOSCALER, key, lambda live: _like(live, wanted), KEDA
            )

    def _delete_autoscaler(self, scaled: Manifest) -> None:
        for found in self._store.items(HORIZONTAL_POD_AUTOSCALER, scaled["metadata"]["namespace"]):
            if controller_uid(found) == scaled["metadata"]["uid"]:
                self._store.delete(HORIZONTAL_POD_AUTOSCALER, key_of(found))

    # --- the scale loop -----------------------------------------------------------------------

    def _poll(self, key: Key) -> None:
        scaled = self._store.get(SCALED_OBJECT, key)
        deployment = self._store.get(DEPLOYMENT, _target(scaled)) if scaled is not None else None
        if scaled is None or deployment is None:
            return
        annotations = scaled["metadata"].get("annotations") or {}
        replicas, least = deployment["spec"]["replicas"], scaled["spec"].get("minReplicaCount", 0)
        if PAUSED_REPLICAS in annotations:
            self._scale(deployment, int(annotations[PAUSED_REPLICAS]))
            self._delete_autoscaler(scaled)
            return
        if annotations.get(PAUSED) == "true":
            return
        if key[1] in self.active:
            self._scale(deployment, replicas or max(1, least))
        elif not least or "idleReplicaCount" in scaled["spec"]:
            self._scale(deployment, 0)
        else:
            self._scale(deployment, max(replicas, least))
        self._polls.enqueue(key, self._poll_s)

    def _scale(self, deployment: Manifest, replicas: int) -> None:
        if deployment["spec"]["replicas"] != replicas:
            self.scaled.append((deployment["metadata"]["name"], replicas))
            self._store.scale(DEPLOYMENT, key_of(deployment), replicas, KEDA)


def _target(scaled: Manifest) -> Key:
    return scaled["metadata"]["namespace"], scaled["spec"]["scaleTargetRef"]["name"]


def _autoscaler_name(scaled: Manifest) -> str:
    settings = (scaled["spec"].get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    return str(settings.get("name") or f"keda-hpa-{scaled['metadata']['name']}")


def _marked(live: Manifest) -> Manifest:
    meta = live["metadata"]
    meta["labels"] = (meta.get("labels") or {}) | {NAME: meta["name"]}
    meta["finalizers"] = sorted({*(meta.get("finalizers") or ()), FINALIZER})
    return live


def _without_finalizer(live: Manifest) -> Manifest:
    kept = [name for name in live["metadata"].get("finalizers") or () if name != FINALIZER]
    live["metadata"]["finalizers"] = kept
    return live


def _like(live: Manifest, wanted: Manifest) -> Manifest:
    live["metadata"] |= clone(wanted["metadata"])
    live["spec"] |= clone(wanted["spec"])
    return live
