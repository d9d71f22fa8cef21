"""What is known of the cluster without asking: read-only stores of projected objects.

Implemented by ``canaryd.kube.store.Store``, filled by reflectors.
Reads never block and never go to the network.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from canaryd.core.views import (
    ConfigView,
    DeploymentView,
    EndpointSliceView,
    ObjectView,
    ServiceView,
)

V_co = TypeVar("V_co", covariant=True)


class ReadStore(Protocol[V_co]):
    """Objects of one kind, by namespace and name."""

    @property
    def is_served(self) -> bool:
        """Whether the cluster has this kind at all."""
        ...

    def get(self, namespace: str, name: str) -> V_co | None:
        """One object, or None."""
        ...

    def list(self, namespace: str | None = None) -> Iterable[V_co]:
        """All objects, of one namespace when given."""
        ...

    def by(self, index: str, value: Hashable) -> Iterable[V_co]:
        """Objects under a value of a named index."""
        ...


class Observer(Protocol):
    """Takes objects that came back from our own writes, so that we read what we wrote."""

    def __call__(self, manifest: dict[str, Any]) -> None:
        """Store the object when it is newer than what is there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Every store the controller reads."""

    deployments: ReadStore[DeploymentView]
    services: ReadStore[ServiceView]
    endpoint_slices: ReadStore[EndpointSliceView]
    ingresses: ReadStore[ObjectView]
    autoscalers: ReadStore[ObjectView]
    budgets: ReadStore[ObjectView]
    policies: ReadStore[ObjectView]
    config_maps: ReadStore[ConfigView]
    secrets: ReadStore[ConfigView] | None
    namespaces: ReadStore[ConfigView] | None
    canaries: ReadStore[ObjectView]
    http_routes: ReadStore[ObjectView]
    traffic_splits: ReadStore[ObjectView]
    scaled_objects: ReadStore[ObjectView] | None = None
    """None: they are left alone."""
