"""The Kubernetes kinds canaryd speaks of: one static table of addresses.

A table instead of discovery: discovery costs one request per group and its cache file is a trap
(D1, D2 of
``docs/design/20261124-kubernetes-client.md``), while the set of kinds is known when the code is
written.
Only optional groups (SMI, Gateway API) are ever asked for.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """Address of one kind: ``group`` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of an object of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """``plural.group``, as RBAC messages and metrics spell it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection, or of one object when ``name`` is given."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        leaf = f"/{name}" if name else ""
        return f"{root}{scope}/{self.plural}{leaf}"


DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
SERVICE = Kind("", "v1", "Service", "services")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
INGRESS = Kind("networking.k8s.io", "v1", "Ingress", "ingresses")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"
)
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
EVENT = Kind("events.k8s.io", "v1", "Event", "events")
CANARY = Kind("canaryd.io", "v1beta1", "Canary", "canaries")

ALL_KINDS: tuple[Kind, ...] = (
    DEPLOYMENT,
    REPLICA_SET,
    CONTROLLER_REVISION,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    NAMESPACE,
    ENDPOINT_SLICE,
    INGRESS,
    NETWORK_POLICY,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    LEASE,
    EVENT,
    CANARY,
)

_BY_API = {(kind.api_version, kind.kind): kind for kind in ALL_KINDS}


def kind_of(manifest: dict[str, object]) -> Kind:
    """Return the kind of a manifest.

    Raises:
        KeyError: the manifest's ``apiVersion`` and ``kind`` are not in the table.

    """
    return _BY_API[str(manifest["apiVersion"]), str(manifest["kind"])]
