"""How lists and maps of each kind merge: the ``x-kubernetes-list-type`` facts of Kubernetes 1.34.

Paths are field names only, without list items. What is not named here: maps merge key by key, lists are atomic.
"""

from dataclasses import dataclass

from canaryd.core.kinds import CANARY, HTTP_ROUTE, SCALED_OBJECT, Kind

Path = tuple[str, ...]

_POD = ("spec", "template", "spec")

_CONTAINER_LISTS: dict[Path, tuple[str, ...]] = {
    ("env",): ("name",),
    ("ports",): ("containerPort", "protocol"),
    ("volumeDevices",): ("devicePath",),
    ("volumeMounts",): ("mountPath",),
    ("resources", "claims"): ("name",),
}
_POD_LISTS: dict[Path, tuple[str, ...]] = {
    ("containers",): ("name",),
    ("initContainers",): ("name",),
    ("ephemeralContainers",): ("name",),
    ("volumes",): ("name",),
    ("imagePullSecrets",): ("name",),
    ("hostAliases",): ("ip",),
    ("resourceClaims",): ("name",),
    ("schedulingGates",): ("name",),
    ("topologySpreadConstraints",): ("topologyKey", "whenUnsatisfiable"),
}
_CONTAINER_GROUPS = ("containers", "initContainers", "ephemeralContainers")
_ATOMIC_IN_CONTAINER: tuple[Path, ...] = tuple(
    ("env", "valueFrom", source)
    for source in ("configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef")
)
_ATOMIC_IN_POD: tuple[Path, ...] = (
    ("nodeSelector",),
    ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"),
    ("topologySpreadConstraints", "labelSelector"),
)

KEYED_LISTS: dict[Path, tuple[str, ...]] = {
    ("metadata", "ownerReferences"): ("uid",),
    ("status", "conditions"): ("type",),
}
KEYED_LISTS.update({_POD + path: keys for path, keys in _POD_LISTS.items()})
KEYED_LISTS.update(
    {
        (*_POD, group, *path): keys
        for group in _CONTAINER_GROUPS
        for path, keys in _CONTAINER_LISTS.items()
    }
)
SET_LISTS: frozenset[Path] = frozenset({("metadata", "finalizers")})
ATOMIC_MAPS: frozenset[Path] = frozenset(
    {
        ("spec", "selector"),
        ("spec", "podSelector"),
        ("data", "template"),
        *(_POD + path for path in _ATOMIC_IN_POD),
        *((*_POD, group, *path) for group in _CONTAINER_GROUPS for path in _ATOMIC_IN_CONTAINER),
    }
)


@dataclass(frozen=True, slots=True)
class MergeSchema:
    """The merge rules of one kind."""

    kind: Kind

    def keys_of(self, path: Path) -> tuple[str, ...]:
        """Keys of an associative list, empty for an atomic one."""
        if path == ("spec", "ports") and self.kind.plural == "services":
            return ("port", "protocol")
        return KEYED_LISTS.get(path, ())

    def is_set(self, path: Path) -> bool:
        return path in SET_LISTS

    def is_atomic_map(self, path: Path) -> bool:
        if path == ("data",):
            # RawExtension: untyped, hence one value.
            return self.kind.plural == "controllerrevisions"
        return path in ATOMIC_MAPS


TYPED_ITEMS: frozenset[Kind] = frozenset({CANARY, HTTP_ROUTE, SCALED_OBJECT})
"""Kinds served from a CustomResourceDefinition: their list items carry ``apiVersion`` and ``kind``."""
