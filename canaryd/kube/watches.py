"""What is watched: a store for each kind, and the reflectors that fill it.

The composition root says which kinds, as what, and who is told of changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from canaryd.core.kinds import Kind
from canaryd.kube.client import KubeClient
from canaryd.kube.reflector import Interest, Reflector
from canaryd.kube.served import ServedVersion
from canaryd.kube.store import Store
from canaryd.ports.clock import Clock
from canaryd.ports.kube import Manifest

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchNotes:
    """Who is told of trouble with watches: resource and reason; resource of what was unreadable."""

    restarted: Callable[[str, str], None] = lambda _resource, _reason: None
    undecodable: Callable[[str], None] = lambda _resource: None


class Watches:
    """Stores and the reflectors that fill them, one per kind and watched namespace.

    Args:
        client: where to watch.
        namespaces: to watch; empty for the whole cluster.
        clock: of the reflectors.
        notes: told of trouble.
        on_served: told when a kind that a cluster need not have was installed or removed.

    """

    def __init__(
        self,
        client: KubeClient,
        namespaces: tuple[str, ...],
        clock: Clock,
        notes: WatchNotes,
        on_served: Callable[[], None],
    ) -> None:
        self._client = client
        self._namespaces = namespaces
        self._clock = clock
        self._notes = notes
        self._on_served = on_served
        self._stores: dict[tuple[str, str], Store[Any]] = {}
        self.reflectors: list[Reflector] = []

    def store(  # noqa: PLR0913 - each is a fact about one kind
        self,
        kind: Kind,
        project: Callable[[Manifest], V | None],
        on_change: Callable[[V | None, V | None], None],
        *,
        metadata_only: bool = False,
        label_selector: str = "",
        mark: bytes = b"",
        indexers: Mapping[str, Callable[[V], Any]] | None = None,
        renew: Callable[[Manifest, V], V | None] | None = None,
        optional: bool = False,
        served: ServedVersion | None = None,
    ) -> Store[V]:
        """A store for one kind, and its reflectors; ``optional``: a cluster need not have it;
        ``served`` chooses among versions of it.
        """
        store: Store[V] = Store(
            project,
            renew=renew,
            indexers=indexers or {},
            on_change=on_change,
            on_served=self._on_served,
        )
        for spoken in served.choices if served is not None else (kind,):
            self._stores[spoken.api_version, spoken.kind] = store
        scopes: tuple[str | None, ...] = self._namespaces or (None,)
        for namespace in scopes if kind.namespaced else (None,):
            interest = Interest(kind, namespace, label_selector, metadata_only, mark, optional)
            self.reflectors.append(
                Reflector(
                    self._client,
                    interest,
                    store,
                    clock=self._clock,
                    on_restart=self._notes.restarted,
                    on_undecodable=self._notes.undecodable,
                    choose=served.choose if served is not None else None,
                )
            )
        return store

    def observe(self, manifest: Manifest) -> None:
        """Let the store of a kind see what a write of ours came back with."""
        store = self._stores.get(
            (str(manifest.get("apiVersion", "")), str(manifest.get("kind", "")))
        )
        if store is not None:
            store.observe(manifest)
