"""Objects with one global resourceVersion, and the history that watches replay.

A stored object is never changed in place: a write puts a new dict in its stead, so history, watches and lists may hold on to it.
Everything that reaches the store goes through the same steps as in a real API server
(decode, strategy, defaults, validation, ownership, generation), whoever writes: a test, a simulated controller or a request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from canaryd.core.kinds import ALL_KINDS, LEASE, NAMESPACE, SERVICE, Kind
from canaryd.ports.clock import Clock
from tests.fakes.apiserver import ownership
from tests.fakes.apiserver.defaults import fill_defaults
from tests.fakes.apiserver.errors import (
    ApiError,
    Cause,
    already_exists,
    bad_request,
    conflict,
    details_of,
    invalid,
    modified,
    not_found,
)
from tests.fakes.apiserver.ownership import Manager, Owners, clone
from tests.fakes.apiserver.strategy import (
    KEPT_METADATA,
    VERSION_REQUIRED,
    WITH_GENERATION,
    WITH_STATUS,
    is_held,
    is_new_generation,
    merge_json,
    restrict,
    suffix,
)
from tests.fakes.apiserver.validation import check_decodes, check_valid
from tests.fakes.clock import timestamp

Manifest = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped kinds."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of history. A deletion carries the last state under the version of the deletion."""

    version: int
    at: float
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    kind: Kind
    new: Manifest
    old: Manifest | None

    @property
    def key(self) -> Key:
        return key_of(self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """How a write is made: by whom, on which part, and whether for real."""

    manager: str = "kubectl"
    subresource: str = ""
    dry_run: bool = False


KUBECTL = Write()

Admission = Callable[[Kind, Manifest, Manifest, Write], None]
"""Told kind, old object, new object and the way of writing; changes the new object in place."""


def key_of(manifest: Mapping[str, Any]) -> Key:
    meta = manifest["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Store:
    """All objects of one cluster."""

    def __init__(self, clock: Clock, kinds: Sequence[Kind] = ALL_KINDS) -> None:
        self.clock = clock
        self.kinds = tuple(kinds)
        self.version = 100
        self.compacted = 0
        """Watches from a version below this are too old."""
        self.history: list[Change] = []
        self.admission: list[Admission] = []
        """Change an update of a main resource before it is checked and stored, as mutating policies do."""
        self.mutators: list[Callable[[Kind, Manifest], None]] = []
        """Change in place what is created or updated, whoever writes, as mutating webhooks do."""
        self._objects: dict[Kind, dict[Key, Manifest]] = {kind: {} for kind in kinds}
        self._owners: dict[tuple[Kind, Key], Owners] = {}
        self._uids: dict[str, tuple[Kind, Key]] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._serial = 0

    # --- reading ------------------------------------------------------------------------------

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        """The stored object itself: look, do not touch."""
        return self._objects[kind].get(key)

    def know(self, kind: Kind) -> None:
        """Hold objects of this kind too, from now on."""
        if kind not in self._objects:
            self.kinds = (*self.kinds, kind)
            self._objects[kind] = {}

    def items(self, kind: Kind, namespace: str = "") -> list[Manifest]:
        """Stored objects in the order in which a LIST returns them."""
        items = self._objects[kind]
        return [items[key] for key in sorted(items) if not namespace or key[0] == namespace]

    def by_uid(self, uid: str) -> tuple[Kind, Manifest] | None:
        place = self._uids.get(uid)
        return (place[0], self._objects[place[0]][place[1]]) if place else None

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``listener`` after every change, in order; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def announce(self, kind: Kind, obj: Manifest) -> None:
        """Tell the listeners of an object that was there before they were."""
        change = Change(self.version, self.clock.now(), "ADDED", kind, obj, None)
        for listener in tuple(self._listeners):
            listener(change)

    def compact(self) -> None:
        """Forget history, as etcd does every five minutes: older resourceVersions are Gone."""
        self.compacted = self.version
        self.history.clear()

    # --- writing ------------------------------------------------------------------------------

    def create(self, kind: Kind, manifest: Mapping[str, Any], how: Write = KUBECTL) -> Manifest:
        """POST."""
        return self._create(kind, manifest, how, self._updater(kind, how))

    def replace(
        self, kind: Kind, key: Key, manifest: Mapping[str, Any], how: Write = KUBECTL
    ) -> Manifest:
        """PUT; Leases may be created by it."""
        version = manifest["metadata"].get("resourceVersion")
        if self.get(kind, key) is None and kind == LEASE and not version:
            return self.create(kind, manifest, how)
        if not version and kind in VERSION_REQUIRED:
            message = "Invalid value: 0x0: must be specified for an update"
            raise invalid(kind, key[1], [Cause("metadata.resourceVersion", message)])
        return self.update(kind, key, lambda _: clone(dict(manifest)), how)

    def merge_patch(
        self, kind: Kind, key: Key, patch: Mapping[str, Any], how: Write = KUBECTL
    ) -> Manifest:
        """RFC 7386; ``metadata.resourceVersion`` in the patch is a precondition."""
        return self.update(kind, key, lambda live: merge_json(live, patch), how)

    def update(
        self,
        kind: Kind,
        key: Key,
        propose: Callable[[Manifest], Manifest],
        how: Write = KUBECTL,
    ) -> Manifest:
        """Replace an object by what ``propose`` makes of a copy of it."""
        live = self._live(kind, key)
        # Without the owners, the largest part: no proposal may change them.
        bare = {k: v for k, v in live["metadata"].items() if k != "managedFields"}
        proposed = propose(clone({**live, "metadata": bare}))
        self._check_preconditions(kind, live, proposed)
        return self._update(kind, live, proposed, how, self._updater(kind, how))

    def apply(
        self, kind: Kind, key: Key, config: Mapping[str, Any], how: Write, *, force: bool
    ) -> tuple[Manifest, bool]:
        """Server-side apply; returns the object and whether it was created."""
        body = clone(dict(config))
        if (body.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        check_decodes(kind, body)
        live = self.get(kind, key)
        manager = Manager(how.manager, "Apply", kind.api_version, how.subresource)
        owners = self._owners.get((kind, key), ())
        self._check_preconditions(kind, live, body)
        config = self._writable(kind, body, how.subresource)
        now = timestamp(self.clock.now())
        merged, after = ownership.as_apply(
            kind, owners, live, config, manager=manager, now=now, force=force
        )
        if live is None:
            return self._create(kind, merged, how, lambda _old, _new: after), True
        return self._update(kind, live, merged, how, lambda _old, _new: after), False

    def scale(self, kind: Kind, key: Key, replicas: int, how: Write, version: str = "") -> Manifest:
        """Write ``spec.replicas`` through the scale subresource; returns the object."""

        def propose(live: Manifest) -> Manifest:
            live["spec"]["replicas"] = replicas
            if version:
                live["metadata"]["resourceVersion"] = version
            return live

        how = Write(manager=how.manager, subresource="scale", dry_run=how.dry_run)
        return self.update(kind, key, propose, how)

    def delete(
        self,
        kind: Kind,
        key: Key,
        *,
        uid: str = "",
        version: str = "",
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> Manifest | None:
        """Delete; returns the object while finalizers hold it, else None."""
        live = self._live(kind, key)
        meta = live["metadata"]
        for what, wanted, present, happened in (
            ("UID", uid, meta["uid"], "deleted and then recreated"),
            ("ResourceVersion", version, meta["resourceVersion"], "modified"),
        ):
            if wanted and wanted != present:
                # The words of 1.34, seen on a real one.
                why = (
                    f"the {what} in the precondition ({wanted}) does not match the {what} in record"
                    f" ({present}). The object might have been {happened}"
                )
                raise conflict(kind, key[1], why)
        finalizers = self._finalizers_for(kind, live, propagation)
        if dry_run:
            return live if finalizers else None
        if not finalizers:
            self._remove(kind, live)
            return None
        if "deletionTimestamp" in meta:
            return live
        return self._mark_deleting(kind, live, finalizers)

    # --- steps --------------------------------------------------------------------------------

    def _live(self, kind: Kind, key: Key) -> Manifest:
        live = self.get(kind, key)
        if live is None:
            raise not_found(kind, key[1])
        return live

    def _updater(self, kind: Kind, how: Write) -> Callable[[Manifest | None, Manifest], Owners]:
        manager = Manager(how.manager, "Update", kind.api_version, how.subresource)

        def owners(old: Manifest | None, new: Manifest) -> Owners:
            before = self._owners.get((kind, key_of(new)), ()) if old else ()
            now = timestamp(self.clock.now())
            return ownership.as_update(kind, before, old, new, manager=manager, now=now)

        return owners

    def _check_preconditions(self, kind: Kind, live: Manifest | None, proposed: Manifest) -> None:
        meta = proposed.get("metadata") or {}
        name = meta.get("name", "")
        if meta.get("resourceVersion") and (
            live is None or meta["resourceVersion"] != live["metadata"]["resourceVersion"]
        ):
            raise modified(kind, name or (live or {"metadata": {"name": ""}})["metadata"]["name"])
        if meta.get("uid") and (live is None or meta["uid"] != live["metadata"]["uid"]):
            present = live["metadata"]["uid"] if live else ""
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {present}"
            raise conflict(kind, name, why)

    def _writable(self, kind: Kind, config: Manifest, subresource: str) -> Manifest:
        """An applied configuration without the parts that this endpoint resets."""
        if subresource == "status":
            meta = {k: v for k, v in config["metadata"].items() if k in {"name", "namespace"}}
            kept = {k: v for k, v in config.items() if k in {"apiVersion", "kind", "status"}}
            return {**kept, "metadata": meta}
        unowned = {"resourceVersion", "uid", "generation", "creationTimestamp"}
        meta = {k: v for k, v in config["metadata"].items() if k not in unowned}
        skip = {"metadata"} | ({"status"} if kind in WITH_STATUS else set())
        return {**{k: v for k, v in config.items() if k not in skip}, "metadata": meta}

    def _create(
        self,
        kind: Kind,
        manifest: Mapping[str, Any],
        how: Write,
        owners: Callable[[Manifest | None, Manifest], Owners],
    ) -> Manifest:
        obj = clone(dict(manifest))
        check_decodes(kind, obj)
        meta = obj.setdefault("metadata", {})
        if meta.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        for key in (*KEPT_METADATA, "resourceVersion", "generation", "managedFields"):
            meta.pop(key, None)
        self._serial += 1
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{suffix(self._serial)}"
        self._check_namespace(kind, meta)
        if self.get(kind, key_of(obj)) is not None:
            raise already_exists(kind, meta["name"])
        if kind in WITH_STATUS:
            obj.pop("status", None)
        if kind == SERVICE:
            self._allocate(obj)
        fill_defaults(kind.plural, obj)
        self._mutate(kind, obj)
        meta["uid"] = f"{self._serial:08x}-0000-4000-8000-{self._serial:012x}"
        meta["creationTimestamp"] = timestamp(self.clock.now())
        if kind in WITH_GENERATION:
            meta["generation"] = 1
        check_valid(kind, obj, None)
        return self._commit(kind, "ADDED", obj, None, owners=owners(None, obj), how=how)

    def _mutate(self, kind: Kind, obj: Manifest) -> None:
        for mutate in self.mutators:
            mutate(kind, obj)
        if self.mutators:
            fill_defaults(kind.plural, obj)

    def _check_namespace(self, kind: Kind, meta: Manifest) -> None:
        if not kind.namespaced:
            meta.pop("namespace", None)
            return
        namespace = self.get(NAMESPACE, ("", meta.get("namespace", "")))
        if namespace is None:
            raise not_found(NAMESPACE, meta.get("namespace", ""))
        if namespace["status"].get("phase") == "Terminating":
            name = meta["namespace"]
            why = f"unable to create new content in namespace {name} because it is being terminated"
            cause = Cause(
                "metadata.namespace",
                f"namespace {name} is being terminated",
                "NamespaceTerminating",
            )
            raise ApiError(
                403,
                "Forbidden",
                f'{kind.resource} "{meta.get("name", "")}" is forbidden: {why}',
                details=details_of(kind, meta.get("name", "")) | {"causes": [cause.as_json()]},
            )

    def _allocate(self, service: Manifest) -> None:
        spec = service.setdefault("spec", {})
        if spec.get("type", "ClusterIP") != "ExternalName" and not spec.get("clusterIP"):
            high, low = divmod(self._serial, 250)
            spec["clusterIP"] = f"10.96.{high + 1}.{low + 1}"

    def _update(
        self,
        kind: Kind,
        live: Manifest,
        proposed: Manifest,
        how: Write,
        owners: Callable[[Manifest | None, Manifest], Owners],
    ) -> Manifest:
        check_decodes(kind, proposed)
        obj = restrict(kind, live, proposed, how.subresource)
        fill_defaults(kind.plural, obj)
        for admit in self.admission if not how.subresource else ():
            admit(kind, live, obj, how)
        if not how.subresource:
            self._mutate(kind, obj)
        check_valid(kind, obj, live)
        if (
            kind in WITH_GENERATION
            and how.subresource != "status"
            and is_new_generation(kind, live, obj)
        ):
            obj["metadata"]["generation"] = live["metadata"]["generation"] + 1
        if "deletionTimestamp" in obj["metadata"] and not is_held(kind, obj) and not how.dry_run:
            self._remove(kind, obj)
            return obj
        return self._commit(kind, "MODIFIED", obj, live, owners=owners(live, obj), how=how)

    def _commit(
        self,
        kind: Kind,
        change: Literal["ADDED", "MODIFIED"],
        obj: Manifest,
        old: Manifest | None,
        *,
        owners: Owners,
        how: Write,
    ) -> Manifest:
        meta = obj["metadata"]
        meta["managedFields"] = ownership.render(owners)
        if old is not None:
            meta["resourceVersion"] = old["metadata"]["resourceVersion"]
            if obj == old:
                return old
        if how.dry_run:
            return obj
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self._objects[kind][key_of(obj)] = obj
        self._owners[kind, key_of(obj)] = owners
        self._uids[meta["uid"]] = kind, key_of(obj)
        self._publish(Change(self.version, self.clock.now(), change, kind, obj, old))
        return obj

    def _mark_deleting(self, kind: Kind, live: Manifest, finalizers: Sequence[str]) -> Manifest:
        obj = clone(live)
        meta = obj["metadata"]
        meta["deletionTimestamp"] = timestamp(self.clock.now())
        meta["deletionGracePeriodSeconds"] = 0
        if kind == NAMESPACE:
            obj["status"]["phase"] = "Terminating"
        elif finalizers:
            meta["finalizers"] = list(finalizers)
        if "generation" in meta:
            meta["generation"] += 1
        owners = self._owners.get((kind, key_of(obj)), ())
        return self._commit(kind, "MODIFIED", obj, live, owners=owners, how=KUBECTL)

    def _finalizers_for(self, kind: Kind, live: Manifest, propagation: str) -> list[str]:
        if kind == NAMESPACE:
            return list(live["spec"].get("finalizers") or ())
        finalizers = list(live["metadata"].get("finalizers") or ())
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(propagation)
        if extra and extra not in finalizers:
            finalizers.append(extra)
        return finalizers

    def _remove(self, kind: Kind, obj: Manifest) -> None:
        key = key_of(obj)
        last = self._objects[kind].pop(key)
        self._owners.pop((kind, key), None)
        del self._uids[last["metadata"]["uid"]]
        self.version += 1
        gone = clone(obj)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._publish(Change(self.version, self.clock.now(), "DELETED", kind, gone, last))

    def _publish(self, change: Change) -> None:
        self.history.append(change)
        for listener in tuple(self._listeners):
            listener(change)
