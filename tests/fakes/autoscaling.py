"""The HorizontalPodAutoscaler controller of the fake cluster.

Inert but for what real ones do without metrics: keep the bounds, switch off at zero replicas,
and switch off when the selectors of two autoscalers meet on the same pods. A test says what the metrics would.
"""

from canaryd.core.kinds import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER
from tests.fakes.apiserver.selectors import object_selector_matches
from tests.fakes.apiserver.store import Change, Key, Manifest, Store, Write, key_of
from tests.fakes.controllers import KeyLoop
from tests.fakes.pods import PodBook

_SCALER = Write(manager="kube-controller-manager")
_STATUS = Write(manager="kube-controller-manager", subresource="status")


class AutoscalerController:
    """Evaluates every autoscaler ``sync_s`` after something it depends on changed."""

    def __init__(self, store: Store, pods: PodBook, sync_s: float) -> None:
        self.loop = KeyLoop(self._reconcile, sync_s)
        self._store = store
        self._pods = pods
        self._wishes: dict[Key, int] = {}
        store.subscribe(self._notice)

    def wish(self, key: Key, replicas: int | None) -> None:
        """What the metrics ask for from now on; None: nothing."""
        if replicas is None:
            self._wishes.pop(key, None)
        else:
            self._wishes[key] = replicas
        self.loop.enqueue(key, 0.0)

    def _notice(self, change: Change) -> None:
        if change.kind == HORIZONTAL_POD_AUTOSCALER and change.type != "DELETED":
            self.loop.enqueue(change.key)
        elif change.kind == DEPLOYMENT:
            for scaler in self._store.items(HORIZONTAL_POD_AUTOSCALER, change.key[0]):
                if scaler["spec"]["scaleTargetRef"]["name"] == change.key[1]:
                    self.loop.enqueue(key_of(scaler))

    def _reconcile(self, key: Key) -> None:
        scaler = self._store.get(HORIZONTAL_POD_AUTOSCALER, key)
        target = self._target(scaler) if scaler is not None else None
        if scaler is None or target is None:
            return
        current = target["spec"]["replicas"]
        low, high = scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]
        desired = current
        if current == 0:
            active = (
                "False",
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero",
            )
        elif self._is_ambiguous(scaler, target):
            message = "pods by selector are controlled by multiple HPAs"
            active = ("False", "AmbiguousSelector", message)
        else:
            active = ("True", "ValidMetricFound", "the HPA was able to compute the replica count")
            desired = min(max(self._wishes.get(key, current), low), high)
        if desired != current:
            self._store.scale(DEPLOYMENT, key_of(target), desired, _SCALER)
        self._write_status(scaler, target, desired, active)

    def _target(self, scaler: Manifest) -> Manifest | None:
        reference = scaler["spec"]["scaleTargetRef"]
        if reference["kind"] != "Deployment":
            return None
        return self._store.get(DEPLOYMENT, (scaler["metadata"]["namespace"], reference["name"]))

    def _is_ambiguous(self, scaler: Manifest, target: Manifest) -> bool:
        """Whether another autoscaler's target selects a pod that this one's selects too."""
        namespace = scaler["metadata"]["namespace"]
        mine = [
            pod
            for pod in self._pods
            if pod.namespace == namespace
            and object_selector_matches(target["spec"]["selector"], pod.labels)
        ]
        for other in self._store.items(HORIZONTAL_POD_AUTOSCALER, namespace):
            rival = self._target(other) if key_of(other) != key_of(scaler) else None
            if rival is not None and any(
                object_selector_matches(rival["spec"]["selector"], pod.labels) for pod in mine
            ):
                return True
        return False

    def _write_status(
        self, scaler: Manifest, target: Manifest, desired: int, active: tuple[str, str, str]
    ) -> None:
        status = dict(scaler.get("status") or {})
        status["currentReplicas"] = (target.get("status") or {}).get("replicas", 0)
        status["desiredReplicas"] = desired
        value, reason, message = active
        status["conditions"] = [
            {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": ""},
            {"type": "ScalingActive", "status": value, "reason": reason, "message": message},
        ]
        if status != scaler.get("status"):
            key = key_of(scaler)
            self._store.update(
                HORIZONTAL_POD_AUTOSCALER, key, lambda o: o | {"status": status}, _STATUS
            )
