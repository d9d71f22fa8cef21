"""The Kubernetes kinds canaryd speaks of: one static table of addresses.

A table instead of discovery: discovery costs one request per group and its cache file is a trap
(D1, D2 of
``docs/design/20261124-kubernetes-client.md``), while the set of kinds is known when the code is
written.
Only optional groups (SMI, Gateway API, KEDA) are ever asked for.
"""

from collections.abc import Mapping
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
MUTATING_WEBHOOK_CONFIGURATION = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
CANARY = Kind("canaryd.io", "v1beta1", "Canary", "canaries")

_SPLITS = "split.smi-spec.io"
TRAFFIC_SPLIT_V1ALPHA1 = Kind(_SPLITS, "v1alpha1", "TrafficSplit", "trafficsplits")
TRAFFIC_SPLIT_V1ALPHA2 = Kind(_SPLITS, "v1alpha2", "TrafficSplit", "trafficsplits")
TRAFFIC_SPLIT_V1ALPHA3 = Kind(_SPLITS, "v1alpha3", "TrafficSplit", "trafficsplits")
TRAFFIC_SPLIT_V1ALPHA4 = Kind(_SPLITS, "v1alpha4", "TrafficSplit", "trafficsplits")
"""One kind in four versions; which of them a cluster serves is found out by asking it."""
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
SCALED_OBJECT = Kind("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")

POD = Kind("", "v1", "Pod", "pods")
SELF_SUBJECT_REVIEW = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False
)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io",
    "v1",
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    namespaced=False,
)

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

OPTIONAL_KINDS: tuple[Kind, ...] = (
    TRAFFIC_SPLIT_V1ALPHA1,
    TRAFFIC_SPLIT_V1ALPHA2,
    TRAFFIC_SPLIT_V1ALPHA3,
    TRAFFIC_SPLIT_V1ALPHA4,
    HTTP_ROUTE,
    SCALED_OBJECT,
)
"""Kinds that a cluster need not have."""

SATELLITE_KINDS: Mapping[str, Kind] = {
    kind.kind: kind
    for kind in (HORIZONTAL_POD_AUTOSCALER, POD_DISRUPTION_BUDGET, NETWORK_POLICY, SCALED_OBJECT)
}
"""What selects or scales a target, and is copied for its primary; by the word for it."""

PEOPLES_KINDS: tuple[Kind, ...] = (POD, SELF_SUBJECT_REVIEW, SELF_SUBJECT_ACCESS_REVIEW)
"""What the command line asks for in the name of whoever runs it; the daemon never does."""

_BY_API = {
    (kind.api_version, kind.kind): kind for kind in (*ALL_KINDS, *OPTIONAL_KINDS, *PEOPLES_KINDS)
}


def kind_of(manifest: dict[str, object]) -> Kind:
    """Return the kind of a manifest.

    Raises:
        KeyError: the manifest's ``apiVersion`` and ``kind`` are not in the table.

    """
    return _BY_API[str(manifest["apiVersion"]), str(manifest["kind"])]
