"""What canaryd keeps of the objects it watches: small frozen projections of raw JSON.

A view is made by a pure function from the dict the API server sent,
holds only what decisions need, and compares by value,
so that a status heartbeat that changes nothing of interest wakes nobody.
Full objects are fetched when they are about to be copied, live for one reconcile,
and are never cached.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from canaryd.core import names
from canaryd.core.fingerprint import template_fingerprint
from canaryd.core.gitops import writer_of
from canaryd.core.references import Reference, find_references
from canaryd.core.told import Told, told_on

JsonDict = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name) of a target."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an object is."""

    namespace: str
    name: str
    uid: str
    resource_version: str = field(compare=False, default="")
    deleting: bool = False

    @property
    def key(self) -> Key:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A target or a primary."""

    id: Identity
    generation: int
    observed_generation: int
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    replicas: int
    match_labels: Mapping[str, str]
    match_expressions: tuple[JsonDict, ...]
    """What the selector demands beside ``match_labels``, as written."""
    template_labels: Mapping[str, str]
    template_annotations: Mapping[str, str]
    fingerprint: str
    references: tuple[Reference, ...]
    deployment_revision: str
    status_replicas: int
    updated: int
    ready: int
    available: int
    deadline_exceeded: str
    """Message of the Progressing condition when its reason is ProgressDeadlineExceeded."""
    failing: str
    """Message of a ReplicaFailure condition."""
    paused: bool
    recreates: bool
    """Strategy Recreate: two versions must never run at once."""
    git_replicas: str = ""
    """The GitOps tool that holds ``spec.replicas``; empty when none does."""
    told: tuple[Told, ...] = ()
    """What we say in its status."""

    @property
    def is_observed(self) -> bool:
        """The Deployment controller has seen the present spec."""
        return self.observed_generation >= self.generation

    def is_rolled_out(self, percent: int = 100) -> bool:
        """Every pod is of the present template and enough of them are available."""
        need = -(-self.replicas * percent // 100)
        return (
            self.is_observed
            and self.updated >= self.replicas
            and self.status_replicas == self.updated
            and self.available >= need
        )


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service, as written."""

    name: str
    port: int
    target_port: int | str
    protocol: str = "TCP"
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A Service that might be, or is, part of an app."""

    id: Identity
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    cluster_ip: str
    type: str
    git_selector: str = ""
    """The GitOps tool that holds ``spec.selector``; empty when none does."""

    @property
    def is_ours(self) -> bool:
        return self.labels.get(names.MANAGED_BY) == names.MANAGER

    def recorded_selector(self) -> dict[str, str] | None:
        """The selector before enrolment, as we wrote it down; None without a readable record."""
        try:
            recorded = json.loads(self.annotations.get(names.ORIGINAL_SELECTOR, ""))
        except ValueError:
            return None
        if not isinstance(recorded, dict) or not recorded:
            return None
        return {str(key): str(value) for key, value in recorded.items()}

    def original_selector(self) -> dict[str, str]:
        """The selector before enrolment; without a record what the present one was made of."""
        recorded = self.recorded_selector()
        if recorded is not None or names.LABEL_APEX not in self.labels:
            return recorded or dict(self.selector)
        # Somebody lost the record: taken as it is, the primary's selector would be "given back".
        return {
            key: names.without_primary(value)
            for key, value in self.selector.items()
            if key != names.POD_TEMPLATE_HASH  # of a canary the Service led to (provider none)
        }


@dataclass(frozen=True, slots=True)
class EndpointSliceView:
    """One EndpointSlice of a Service of ours: addresses that are ready."""

    id: Identity
    service: str
    target: str
    ready: frozenset[str]


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object of which the whole spec matters: Ingress, HPA, PodDisruptionBudget, NetworkPolicy,
    Canary.
    """

    id: Identity
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: JsonDict
    status: JsonDict = field(default_factory=dict)
    generation: int = 0
    controller: str = ""
    """The object that made it and keeps it, as ``Kind/name``; empty when there is none."""

    @property
    def is_ours(self) -> bool:
        """Whether we made it; what others make of something of ours may carry our labels too."""
        return self.labels.get(names.MANAGED_BY) == names.MANAGER and not self.controller

    def is_copy_for(self, target: str) -> bool:
        """Whether we made it for this target."""
        return self.is_ours and self.labels.get(names.LABEL_TARGET) == target


@dataclass(frozen=True, slots=True)
class ConfigView:
    """Metadata of a ConfigMap, Secret, ControllerRevision or Namespace: contents are never held."""

    id: Identity
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    version: str
    """resourceVersion: a change of it wakes the apps that use the object."""

    @property
    def is_ours(self) -> bool:
        return self.labels.get(names.MANAGED_BY) == names.MANAGER


def identity(obj: Mapping[str, Any]) -> Identity:
    """Who a raw object is."""
    meta = obj["metadata"]
    return Identity(
        meta.get("namespace", ""),
        meta["name"],
        meta.get("uid", ""),
        meta.get("resourceVersion", ""),
        "deletionTimestamp" in meta,
    )


def _own(mapping: Mapping[str, str] | None) -> dict[str, str]:
    """Annotations in our domains."""
    return {k: v for k, v in (mapping or {}).items() if "canaryd.io/" in k}


def deployment_view(
    obj: Mapping[str, Any], earlier: DeploymentView | None = None
) -> DeploymentView | None:
    """Project a Deployment; None unless it concerns us: our keys in its metadata, or our label.

    ``earlier`` is a view of the same object. What was read of its template is taken over while the
    generation is the same: most events tell of the status, and a fingerprint costs more than all
    the rest of one. Every change of a Deployment's spec is a new generation (PrepareForUpdate in
    ``pkg/registry/apps/deployment/strategy.go`` of Kubernetes).
    """
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    annotations = _own(meta.get("annotations"))
    labels = meta.get("labels") or {}
    template = spec.get("template") or {}
    template_meta = template.get("metadata") or {}
    template_annotations = _own(template_meta.get("annotations"))
    if not annotations and names.LABEL_TARGET not in labels and not template_annotations:
        return None
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    progressing = conditions.get("Progressing") or {}
    failure = conditions.get("ReplicaFailure") or {}
    late = progressing.get("reason") == "ProgressDeadlineExceeded"
    replicas = spec.get("replicas")
    known = earlier if earlier is not None and _is_same_spec(earlier, meta) else None
    return DeploymentView(
        id=identity(obj),
        generation=meta.get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        annotations=annotations,
        labels=labels,
        replicas=1 if replicas is None else replicas,
        match_labels=(spec.get("selector") or {}).get("matchLabels") or {},
        match_expressions=tuple((spec.get("selector") or {}).get("matchExpressions") or ()),
        template_labels=template_meta.get("labels") or {},
        template_annotations=template_annotations,
        fingerprint=known.fingerprint if known else template_fingerprint(template),
        references=known.references if known else find_references(template),
        deployment_revision=(meta.get("annotations") or {}).get(names.DEPLOYMENT_REVISION, ""),
        status_replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        deadline_exceeded=progressing.get("message", "") if late else "",
        failing=failure.get("message", "") if failure.get("status") == "True" else "",
        paused=bool(spec.get("paused")),
        recreates=(spec.get("strategy") or {}).get("type") == "Recreate",
        git_replicas=writer_of(meta, "spec", "replicas"),
        told=told_on(obj),
    )


def _is_same_spec(earlier: DeploymentView, meta: Mapping[str, Any]) -> bool:
    """Whether metadata is of the very object and generation that a view was made of."""
    generation, uid = meta.get("generation"), meta.get("uid")
    return bool(generation and uid) and (generation, uid) == (earlier.generation, earlier.id.uid)


def service_view(obj: Mapping[str, Any]) -> ServiceView:
    """Project a Service, also one without a selector: its name may be one that we want."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    return ServiceView(
        id=identity(obj),
        labels=meta.get("labels") or {},
        annotations=_own(meta.get("annotations")),
        selector=spec.get("selector") or {},
        ports=tuple(
            ServicePort(
                p.get("name", ""),
                p["port"],
                p.get("targetPort", p["port"]),
                p.get("protocol", "TCP"),
                p.get("appProtocol", ""),
            )
            for p in spec.get("ports") or ()
        ),
        cluster_ip=spec.get("clusterIP", ""),
        type=spec.get("type", "ClusterIP"),
        git_selector=writer_of(meta, "spec", "selector"),
    )


def endpoint_slice_view(obj: Mapping[str, Any]) -> EndpointSliceView | None:
    """Project an EndpointSlice of a Service that carries our target label."""
    labels = obj["metadata"].get("labels") or {}
    if names.LABEL_TARGET not in labels:
        return None
    ready: set[str] = set()
    for endpoint in obj.get("endpoints") or ():
        # An absent condition means ready (discovery.k8s.io/v1).
        if (endpoint.get("conditions") or {}).get("ready") is not False:
            ready.update(endpoint.get("addresses") or ())
    return EndpointSliceView(
        identity(obj),
        labels.get("kubernetes.io/service-name", ""),
        labels[names.LABEL_TARGET],
        frozenset(ready),
    )


def _mapping(value: object) -> JsonDict:
    """A part of an object whose schema may let anything stand there; nothing when it is no map."""
    return value if isinstance(value, dict) else {}


def object_view(obj: Mapping[str, Any]) -> ObjectView:
    """Project an object whose spec we copy, read or write."""
    meta = obj["metadata"]
    annotations = dict(meta.get("annotations") or {})
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return ObjectView(
        identity(obj),
        meta.get("labels") or {},
        annotations,
        _mapping(obj.get("spec")),
        generation=meta.get("generation", 0),
        controller=_controller_of(meta),
    )


def _controller_of(meta: Mapping[str, Any]) -> str:
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner.get('kind', '')}/{owner.get('name', '')}"
    return ""


def http_route_view(obj: Mapping[str, Any]) -> ObjectView:
    """Project an HTTPRoute; of its status what its readers say of the route, without times."""
    view = object_view(obj)
    parents = [
        {
            "parentRef": parent.get("parentRef") or {},
            "conditions": [
                {k: v for k, v in condition.items() if k != "lastTransitionTime"}
                for condition in parent.get("conditions") or ()
            ],
        }
        for parent in (obj.get("status") or {}).get("parents") or ()
    ]
    return replace(view, status={"parents": parents})


def canary_view(obj: Mapping[str, Any]) -> ObjectView:
    """Project a Canary object, status included: it is our memory."""
    meta = obj["metadata"]
    return ObjectView(
        identity(obj),
        meta.get("labels") or {},
        dict(meta.get("annotations") or {}),
        _mapping(obj.get("spec")),
        _mapping(obj.get("status")),
        meta.get("generation", 0),
    )


def config_view(obj: Mapping[str, Any]) -> ConfigView:
    """Project the metadata of a ConfigMap, Secret, ControllerRevision or Namespace."""
    meta = obj["metadata"]
    return ConfigView(
        identity(obj),
        {k: v for k, v in (meta.get("labels") or {}).items() if "canaryd" in k or "canaryd" in v},
        _own(meta.get("annotations")),
        meta.get("resourceVersion", ""),
    )


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether an equality selector matches these labels; an empty selector matches nothing here."""
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def label_selector_matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels and matchExpressions) matches;
    the empty one matches everything.
    """
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key"), expression.get("operator")
        values = expression.get("values") or ()
        present = key in labels
        matched = {
            "In": present and labels.get(key) in values,
            "NotIn": not present or labels.get(key) not in values,
            "Exists": present,
            "DoesNotExist": not present,
        }.get(operator, False)
        if not matched:
            return False
    return True
