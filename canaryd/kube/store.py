"""Objects of one kind, projected to what decisions need, kept by namespace and name.

Filled by a reflector; also told of the answers to our own writes, so that we read what we wrote.
Newer wins: an event with an older resourceVersion than what is stored is ignored.
A change that leaves the projection equal wakes nobody.
A view may be made with the help of the one it replaces; never of one that a restore has cast doubt
on.
It also knows whether the cluster has the kind at all: an empty store of a kind that is not
installed and one of a kind that nobody uses are different answers to a user.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

V = TypeVar("V")

Manifest = dict[str, Any]
StoreKey = tuple[str, str]
REMEMBERED = 1024
"""Deletions remembered, so that a late answer to a write of ours does not bring an object back."""
_DISTRUSTED = -1
"""Version of an entry that anything replaces, and that nothing is made of."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    view: V
    version: int


class Store(Generic[V]):
    """Keyed store with named indexers.

    Args:
        project: makes the view of an object, or None when it is of no interest.
        renew: does the same with the view that is held at hand, to take over what cannot have
            changed; ``project`` when not given.
        indexers: by name, what values a view is found under.
        on_change: told of the old and the new view, synchronously.
        on_served: told, synchronously, that :attr:`is_served` changed.

    """

    def __init__(
        self,
        project: Callable[[Manifest], V | None],
        *,
        renew: Callable[[Manifest, V], V | None] | None = None,
        indexers: Mapping[str, Callable[[V], Iterable[Hashable]]] | None = None,
        on_change: Callable[[V | None, V | None], None] | None = None,
        on_served: Callable[[], None] | None = None,
    ) -> None:
        self._project = project
        self._renew = renew
        self._indexers = dict(indexers or {})
        self._on_change = on_change
        self._on_served = on_served
        self._unserved: set[str | None] = set()
        self._entries: dict[StoreKey, _Entry[V]] = {}
        self._indexes: dict[str, dict[Hashable, set[StoreKey]]] = {n: {} for n in self._indexers}
        self._gone: dict[StoreKey, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: StoreKey) -> bool:
        return key in self._entries

    @property
    def is_served(self) -> bool:
        """Whether the cluster has this kind, and all of it was read; for a kind that every cluster
        has, always.
        """
        return not self._unserved

    def serve(self, namespace: str | None, *, is_served: bool) -> None:
        """The kind was read completely in ``namespace``, or is not there (any more): an empty
        account. Called by reflectors of kinds that a cluster need not have.
        """
        before = self.is_served
        if is_served:
            self._unserved.discard(namespace)
        else:
            self._unserved.add(namespace)
            self._gone.clear()  # installed again, versions need not be above what they were
            for key in list(self._entries):
                if namespace is None or key[0] == namespace:
                    self._drop(key)
        if before != self.is_served and self._on_served:
            self._on_served()

    def get(self, namespace: str, name: str) -> V | None:
        entry = self._entries.get((namespace, name))
        return entry.view if entry else None

    def list(self, namespace: str | None = None) -> Iterator[V]:
        for key, entry in list(self._entries.items()):
            if namespace is None or key[0] == namespace:
                yield entry.view

    def by(self, index: str, value: Hashable) -> Iterator[V]:
        for key in sorted(self._indexes[index].get(value, ())):
            yield self._entries[key].view

    def observe(self, manifest: Manifest) -> None:
        """Take an object when it is newer than what is stored."""
        key, version = key_of(manifest), version_of(manifest)
        stored = self._entries.get(key)
        if stored is not None and version < stored.version:
            return
        if version <= self._gone.get(key, -1):
            return
        if self._renew is not None and stored is not None and stored.version != _DISTRUSTED:
            view = self._renew(manifest, stored.view)
        else:
            view = self._project(manifest)
        if view is None:
            self._drop(key)
            return
        old = stored.view if stored else None
        self._gone.pop(key, None)
        self._entries[key] = _Entry(view, version)
        if old == view:
            return
        self._reindex(key, old, view)
        if self._on_change:
            self._on_change(old, view)

    def forget(self, manifest: Manifest) -> None:
        """An object was deleted, as of its resourceVersion."""
        key, version = key_of(manifest), version_of(manifest)
        stored = self._entries.get(key)
        if stored is not None and version < stored.version:
            return
        self._gone[key] = version
        if len(self._gone) > REMEMBERED:
            self._gone.pop(next(iter(self._gone)))
        self._drop(key)

    def distrust(self, namespace: str | None) -> None:
        """A full account is about to come, and decides whatever it says: after a restore of etcd
        versions may have gone backwards, and nothing held would ever be replaced.
        """
        self._gone.clear()
        for key, entry in self._entries.items():
            if namespace is None or key[0] == namespace:
                entry.version = _DISTRUSTED

    def retain(self, seen: Collection[StoreKey], namespace: str | None, version: int) -> None:
        """A full account as of ``version`` mentioned ``seen`` and nothing else: the rest is gone.

        Only within ``namespace``, when given: other reflectors answer for the others.
        What is newer than the account, such as an object we just made, stays.
        """
        for key, entry in list(self._entries.items()):
            is_covered = namespace is None or key[0] == namespace
            if is_covered and key not in seen and entry.version <= version:
                self._drop(key)

    def _drop(self, key: StoreKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._reindex(key, entry.view, None)
        if self._on_change:
            self._on_change(entry.view, None)

    def _reindex(self, key: StoreKey, old: V | None, new: V | None) -> None:
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            for value in indexer(old) if old is not None else ():
                index.get(value, set()).discard(key)
                if not index.get(value):
                    index.pop(value, None)
            for value in indexer(new) if new is not None else ():
                index.setdefault(value, set()).add(key)


def key_of(manifest: Manifest) -> StoreKey:
    """Namespace and name of an object."""
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version_of(manifest: Manifest) -> int:
    """ResourceVersion as a number; what is not a number counts as newest: it is never ignored."""
    text = manifest["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 2**63
