"""Which apps a change wakes.

Called synchronously by the stores with the old and the new view; computes keys and queues them,
nothing else.
A change that names its target wakes that target, also when the name was taken off or changed;
one that might concern any app of a namespace wakes the enrolled ones there.
"""

from collections.abc import Iterable, Mapping

from canaryd.controller.workqueue import WorkQueue
from canaryd.core import names
from canaryd.core.views import (
    ConfigView,
    DeploymentView,
    EndpointSliceView,
    ObjectView,
    ServiceView,
)
from canaryd.ports.cache import ReadStore

ENABLED = names.PREFIX + "enabled"


class Tracker:
    """Turns changes into keys."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._deployments: ReadStore[DeploymentView] | None = None

    def follow(self, deployments: ReadStore[DeploymentView]) -> None:
        """Use this store to know which apps are enrolled."""
        self._deployments = deployments

    def deployment(self, old: DeploymentView | None, new: DeploymentView | None) -> None:
        for view in (old, new):
            if view is not None:
                target = view.labels.get(names.LABEL_TARGET)
                self._queue.add((view.id.namespace, target or view.id.name))

    def endpoint_slice(self, old: EndpointSliceView | None, new: EndpointSliceView | None) -> None:
        for view in (old, new):
            if view is not None:
                self._queue.add((view.id.namespace, view.target))

    def canary(self, old: ObjectView | None, new: ObjectView | None) -> None:
        view = new or old
        if view is None:
            return
        # Our own status writes come back here: they change nothing we decide on, unless somebody
        # else wrote.
        if old is not None and new is not None:
            is_status = old.spec == new.spec and old.annotations == new.annotations
            if is_status and old.id == new.id:
                return
        self._queue.add(view.id.key)

    def service(self, old: ServiceView | None, new: ServiceView | None) -> None:
        for view in (old, new):
            if view is not None:
                self._labelled_or_all(view.id.namespace, view.labels)

    def object(self, old: ObjectView | None, new: ObjectView | None) -> None:
        """An Ingress, autoscaler, budget or policy."""
        for view in (old, new):
            if view is not None:
                self._labelled_or_all(view.id.namespace, view.labels)

    def config(self, old: ConfigView | None, new: ConfigView | None) -> None:
        """A ConfigMap or Secret: only apps that use it, under either kind, are woken."""
        view = new or old
        if view is None:
            return
        if view.is_ours:
            if new is None:  # a copy that the primary may need
                self._queue.add((view.id.namespace, view.labels.get(names.LABEL_TARGET, "")))
            return
        for target in self._enrolled(view.id.namespace):
            if any(r.name == view.id.name for r in target.references):
                self._queue.add(target.id.key)

    def namespace(self, old: ConfigView | None, new: ConfigView | None) -> None:
        """Defaults of a namespace changed."""
        view = new or old
        if old is None or new is None or view is None or old.annotations == new.annotations:
            return
        self._wake_all(view.id.name)

    def resync(self) -> None:
        """Look at every app again, without haste."""
        for target in self._enrolled(None):
            self._queue.add(target.id.key, routine=True)

    def _labelled_or_all(self, namespace: str, labels: Mapping[str, str]) -> None:
        target = labels.get(names.LABEL_TARGET)
        if target:
            self._queue.add((namespace, target))
        else:
            self._wake_all(namespace)

    def _wake_all(self, namespace: str) -> None:
        for target in self._enrolled(namespace):
            self._queue.add(target.id.key)

    def _enrolled(self, namespace: str | None) -> Iterable[DeploymentView]:
        """Targets: Deployments with our keys that are not primaries."""
        if self._deployments is None:
            return []
        return [
            d
            for d in self._deployments.list(namespace)
            if names.LABEL_TARGET not in d.labels
            and (ENABLED in d.annotations or names.MANAGED in d.annotations)
        ]
