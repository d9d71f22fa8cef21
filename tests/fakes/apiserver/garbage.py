"""What the controller manager collects: dependents without owners, and the contents of dying namespaces.

Asynchronous on purpose, with a delay of its own: between the deletion of an owner and that of what it owned
there is a moment in which a daemon may look.
"""

import asyncio
from collections.abc import Iterator

from canaryd.core.kinds import NAMESPACE, Kind
from tests.fakes.apiserver.store import Change, Key, Manifest, Store, Write, key_of

COLLECTOR = Write(manager="kube-controller-manager")


class GarbageCollector:
    """Sweeps the store ``delay_s`` after something that may leave garbage."""

    def __init__(self, store: Store, delay_s: float = 0.1) -> None:
        self.delay_s = delay_s
        self._store = store
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Collect until cancelled."""
        unsubscribe = self._store.subscribe(self._notice)
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(self.delay_s)
                self._wake.clear()
                self._sweep()
        finally:
            unsubscribe()

    def _notice(self, change: Change) -> None:
        meta = change.new["metadata"]
        if change.type == "DELETED" or "deletionTimestamp" in meta or meta.get("ownerReferences"):
            self._wake.set()

    def _sweep(self) -> None:
        for kind, key in list(self._everything()):
            obj = self._store.get(kind, key)
            if obj is None:
                continue
            meta = obj["metadata"]
            if "deletionTimestamp" in meta:
                self._finish(kind, obj)
            elif meta.get("ownerReferences"):
                self._check_owners(kind, obj)

    def _everything(self) -> Iterator[tuple[Kind, Key]]:
        for kind in self._store.kinds:
            for obj in self._store.items(kind):
                yield kind, key_of(obj)

    def _check_owners(self, kind: Kind, obj: Manifest) -> None:
        references = obj["metadata"]["ownerReferences"]
        alive = [reference for reference in references if self._owner(obj, reference["uid"])]
        if not alive:
            self._store.delete(kind, key_of(obj))
        elif len(alive) < len(references):
            self._keep_references(kind, obj, alive)

    def _owner(self, dependent: Manifest, uid: str) -> bool:
        """Whether the owner exists where an owner may be: the same namespace, or none."""
        found = self._store.by_uid(uid)
        if found is None:
            return False
        namespace = found[1]["metadata"].get("namespace", "")
        return namespace in {"", dependent["metadata"].get("namespace", "")}

    def _finish(self, kind: Kind, obj: Manifest) -> None:
        if kind == NAMESPACE:
            self._empty(obj)
            return
        finalizers = obj["metadata"].get("finalizers") or []
        dependents = list(self._dependents(obj["metadata"]["uid"]))
        if "orphan" in finalizers:
            for other_kind, other in dependents:
                references = other["metadata"]["ownerReferences"]
                uid = obj["metadata"]["uid"]
                self._keep_references(other_kind, other, [r for r in references if r["uid"] != uid])
            self._drop_finalizer(kind, obj, "orphan")
        elif "foregroundDeletion" in finalizers:
            for other_kind, other in dependents:
                self._store.delete(other_kind, key_of(other))
            if not any(True for _ in self._dependents(obj["metadata"]["uid"])):
                self._drop_finalizer(kind, obj, "foregroundDeletion")

    def _dependents(self, uid: str) -> Iterator[tuple[Kind, Manifest]]:
        for kind, key in list(self._everything()):
            obj = self._store.get(kind, key)
            references = (obj or {"metadata": {}})["metadata"].get("ownerReferences") or ()
            if obj is not None and any(reference["uid"] == uid for reference in references):
                yield kind, obj

    def _keep_references(self, kind: Kind, obj: Manifest, references: list[Manifest]) -> None:
        def propose(live: Manifest) -> Manifest:
            live["metadata"]["ownerReferences"] = references
            return live

        self._store.update(kind, key_of(obj), propose, COLLECTOR)

    def _drop_finalizer(self, kind: Kind, obj: Manifest, finalizer: str) -> None:
        def propose(live: Manifest) -> Manifest:
            live["metadata"]["finalizers"].remove(finalizer)
            return live

        self._store.update(kind, key_of(obj), propose, COLLECTOR)

    def _empty(self, namespace: Manifest) -> None:
        name = namespace["metadata"]["name"]
        left = False
        for kind in self._store.kinds:
            for obj in self._store.items(kind, name) if kind.namespaced else ():
                if "deletionTimestamp" not in obj["metadata"]:
                    self._store.delete(kind, key_of(obj))
                left = left or self._store.get(kind, key_of(obj)) is not None
        if not left:

            def propose(live: Manifest) -> Manifest:
                live["spec"]["finalizers"] = []
                return live

            self._store.update(NAMESPACE, ("", name), propose, COLLECTOR)
