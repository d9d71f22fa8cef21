"""Exactly what canaryd writes: dict to dict, never through a typed model.

Every builder takes what was observed and returns a full manifest for server-side apply.
Fields newer than this code survive, because the user's dict is copied and only named places are
rewritten.
What must never happen here: a copy that carries GitOps tracking marks,
or a primary whose pods match the target's selector.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from canaryd.core import names
from canaryd.core.fingerprint import manifest_digest
from canaryd.core.model import CanarySpec
from canaryd.core.references import rename_references
from canaryd.core.routing import Routing
from canaryd.core.views import (
    DeploymentView,
    Identity,
    JsonDict,
    ObjectView,
    ServiceView,
    label_selector_matches,
)

DEPLOYMENT_FIELDS = (
    "minReadySeconds",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
    "strategy",
)
"""Parts of a Deployment's spec, beside the template, that the primary takes over."""


def selector_label(target: DeploymentView, spec: CanarySpec) -> str | None:
    """The key of the target's selector whose value tells primary and canary apart,
    or None when there is none.
    """
    if spec.selector_label:
        return spec.selector_label if spec.selector_label in target.match_labels else None
    for key in names.SELECTOR_LABELS:
        if key in target.match_labels:
            return key
    return min(target.match_labels, default=None)


def primary_labels(target: DeploymentView, label: str) -> dict[str, str]:
    """Labels of the primary's pods: the target's, with the selector label's value rewritten."""
    return dict(target.template_labels) | {
        label: names.primary_label_value(target.match_labels[label])
    }


def target_selector(target: DeploymentView) -> JsonDict:
    """The target's LabelSelector, in the parts it has."""
    return _selector(target.match_labels, target.match_expressions)


def primary_selector(
    label: str, match_labels: Mapping[str, str], match_expressions: Sequence[JsonDict]
) -> JsonDict:
    """The primary's LabelSelector: exactly the target's, with the label's value rewritten wherever
    it stands. Without the expressions it could select the pods of another primary.

    One that leaves the primary's value out by name selects nothing then; see
    :func:`tells_apart`.
    """
    selector = _selector(match_labels, match_expressions)
    _rewrite_selector(selector, label, match_labels[label])
    return selector


def tells_apart(target: DeploymentView, label: str) -> bool:
    """Whether primary and target would each select their own pods, and neither the other's."""
    ours = primary_selector(label, target.match_labels, target.match_expressions)
    theirs, pods = target_selector(target), primary_labels(target, label)
    return (
        label_selector_matches(ours, pods)
        and not label_selector_matches(ours, target.template_labels)
        and not label_selector_matches(theirs, pods)
    )


def owner_reference(owner: Identity) -> JsonDict:
    """Owner reference to the target: what belongs to an app goes when the app is deleted."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": owner.name,
        "uid": owner.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }


def metadata(
    owner: Identity, name: str, role: str, labels: Mapping[str, str] | None = None
) -> JsonDict:
    """Metadata of an object we own; ``labels`` of the original come along,
    tracking marks do not.
    """
    kept = {k: v for k, v in (labels or {}).items() if not names.is_tracking_key(k)}
    return {
        "namespace": owner.namespace,
        "name": name,
        "labels": kept | names.ownership_labels(owner.name) | {names.LABEL_ROLE: role},
        "ownerReferences": [owner_reference(owner)],
    }


def snapshot_manifest(
    target: Mapping[str, Any], owner: Identity, revision: str, configs: Mapping[str, str]
) -> JsonDict:
    """The ControllerRevision that records one revision: template, rollout settings,
    names of the config copies.

    ``configs`` maps ``kind/name`` to the name of its copy.
    Immutable by the API server: ``data`` of a ControllerRevision cannot be changed after creation.
    """
    spec = target["spec"]
    template = copy.deepcopy(spec["template"])
    template.get("metadata", {}).pop("creationTimestamp", None)
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": (
            metadata(owner, names.snapshot_name(owner.name, revision), "snapshot")
            | {"annotations": {names.REVISION: revision}}
        ),
        "revision": int(revision, 16) % 2**31,
        "data": {
            "template": template,
            "configs": dict(configs),
            "deployment": {k: spec[k] for k in DEPLOYMENT_FIELDS if k in spec},
            "labels": dict(target["metadata"].get("labels") or {}),
        },
    }


def config_copy(config: Mapping[str, Any], owner: Identity, name: str) -> JsonDict:
    """An immutable, exact copy of a ConfigMap or Secret: ``data``, ``binaryData`` and ``type``."""
    made: JsonDict = {
        "apiVersion": "v1",
        "kind": config["kind"],
        "metadata": (
            metadata(owner, name, "config", config["metadata"].get("labels"))
            | {"annotations": {names.SOURCE: f"{config['kind']}/{config['metadata']['name']}"}}
        ),
        "immutable": True,
    }
    for part in ("data", "binaryData", "type"):
        if part in config:
            made[part] = copy.deepcopy(config[part])
    return made


def primary_manifest(
    snapshot: Mapping[str, Any],
    owner: Identity,
    *,
    revision: str,
    label: str,
    match_labels: Mapping[str, str],
    match_expressions: Sequence[JsonDict] = (),
    replicas: int,
) -> JsonDict:
    """The primary Deployment for a snapshot (the ``data`` of its ControllerRevision)."""
    value = match_labels[label]
    template = rename_references(snapshot["template"], snapshot.get("configs") or {})
    pod_metadata = template.setdefault("metadata", {})
    pod_metadata["labels"] = (pod_metadata.get("labels") or {}) | {
        label: names.primary_label_value(value)
    }
    _rewrite_selectors(template.get("spec") or {}, label, value)
    settings = copy.deepcopy(dict(snapshot.get("deployment") or {}))
    settings["strategy"] = _safe_strategy(settings.get("strategy"))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": (
            metadata(owner, names.primary_name(owner.name), "primary", snapshot.get("labels"))
            | {"annotations": {names.REVISION: revision}}
        ),
        "spec": (
            settings
            | {
                "replicas": replicas,
                "selector": primary_selector(label, match_labels, match_expressions),
                "template": template,
            }
        ),
    }


def primary_service(apex: ServiceView, owner: Identity, label: str, value: str) -> JsonDict:
    """The Service ``<apex>-primary``: always and only the primary's pods."""
    selector = apex.original_selector() | {label: names.primary_label_value(value)}
    return _service(apex, owner, names.primary_name(apex.id.name), "primary", selector)


def canary_service(
    apex: ServiceView, owner: Identity, match_labels: Mapping[str, str], pod_template_hash: str
) -> JsonDict:
    """The Service ``<apex>-canary``: the target's pods of one ReplicaSet,
    so that only the analysed revision gets traffic.
    """
    selector = (
        apex.original_selector()
        | dict(match_labels)
        | {names.POD_TEMPLATE_HASH: pod_template_hash or names.NO_PODS}
    )
    return _service(apex, owner, names.canary_name(apex.id.name), "canary", selector)


def apex_selector(apex: ServiceView, label: str, value: str) -> dict[str, str]:
    """What the apex Service selects while the app is enrolled."""
    return apex.original_selector() | {label: names.primary_label_value(value)}


def apex_selector_for(
    apex: ServiceView, label: str, value: str, routing: Routing, canary: Mapping[str, str]
) -> dict[str, str]:
    """What the apex Service selects where its selector is the route (provider ``none``).

    ``canary`` is the selector of the canary Service, taken as it stands: whoever is behind the one
    is behind the other.
    """
    return dict(canary) if routing.weight else apex_selector(apex, label, value)


def autoscaler_copy(hpa: ObjectView, owner: Identity, *, at_least: int = 0) -> JsonDict:
    """The primary's HorizontalPodAutoscaler: same bounds, metrics and behaviour, other target.

    ``at_least`` replicas are kept while a run is under way: with a part of the users it would
    shrink, and be too small for all of them when they come back (case X19).
    """
    spec = copy.deepcopy(hpa.spec)
    least = min(at_least, int(spec.get("maxReplicas") or at_least))
    if least > int(spec.get("minReplicas") or 1):
        spec["minReplicas"] = least
    spec["scaleTargetRef"] = dict(spec["scaleTargetRef"]) | {"name": names.primary_name(owner.name)}
    return _copy("autoscaling/v2", "HorizontalPodAutoscaler", hpa, owner, spec)


def disruption_budget_copy(pdb: ObjectView, owner: Identity, label: str, value: str) -> JsonDict:
    """The primary's PodDisruptionBudget.

    Of several apps that the original lists only the primary is taken over: a pod that two budgets
    select cannot be evicted at all. See :func:`budget_is_covered`.
    """
    spec = copy.deepcopy(pdb.spec)
    _rewrite_selector(spec.get("selector"), label, value)
    primary = names.primary_label_value(value)
    for expression in (spec.get("selector") or {}).get("matchExpressions") or ():
        is_list = expression.get("key") == label and expression.get("operator") == "In"
        if is_list and primary in (expression.get("values") or ()):
            expression["values"] = [primary]
    return _copy("policy/v1", "PodDisruptionBudget", pdb, owner, spec)


def network_policy_copy(policy: ObjectView, owner: Identity, label: str, value: str) -> JsonDict:
    """A NetworkPolicy that says of the primary's pods what the original says of the target's.

    Policies add up, so repeating the rules that need no rewriting permits nothing new.
    """
    spec = copy.deepcopy(policy.spec)
    _rewrite_selector(spec.get("podSelector"), label, value)
    for selector in _peer_selectors(spec):
        _rewrite_selector(selector, label, value)
    return _copy("networking.k8s.io/v1", "NetworkPolicy", policy, owner, spec)


def needs_primary_twin(
    selector: Mapping[str, Any], target: Mapping[str, str], primary: Mapping[str, str]
) -> bool:
    """Whether a LabelSelector takes in the target's pods and would miss the primary's."""
    return label_selector_matches(selector, target) and not label_selector_matches(
        selector, primary
    )


def network_policy_concerns(
    policy: ObjectView, target: Mapping[str, str], primary: Mapping[str, str]
) -> bool:
    """Whether a policy selects the target's pods, or lets them in or out as a peer,
    and would miss the primary's.
    """
    selectors = [policy.spec.get("podSelector") or {}, *_peer_selectors(policy.spec)]
    return any(needs_primary_twin(s, target, primary) for s in selectors)


def network_policy_is_covered(
    copy_manifest: Mapping[str, Any],
    policy: ObjectView,
    target: Mapping[str, str],
    primary: Mapping[str, str],
) -> bool:
    """Whether the copy really selects the primary wherever the original selects the target."""
    pairs = zip(
        [policy.spec.get("podSelector") or {}, *_peer_selectors(policy.spec)],
        [copy_manifest["spec"].get("podSelector") or {}, *_peer_selectors(copy_manifest["spec"])],
        strict=True,
    )
    return all(
        label_selector_matches(made, primary)
        for original, made in pairs
        if label_selector_matches(original, target)
    )


def budget_is_covered(
    copy_manifest: Mapping[str, Any], target: Mapping[str, str], primary: Mapping[str, str]
) -> bool:
    """Whether the copy of a PodDisruptionBudget selects the primary's pods, and none of the
    target's.

    One that leaves the primary out by name (``NotIn``) cannot be rewritten: its copy guards nobody,
    and is a second budget on the target's pods, for which the API server refuses every eviction
    ("more than one PodDisruptionBudget", ``pkg/registry/core/pod/storage/eviction.go`` of
    Kubernetes), so that nodes cannot be drained.
    """
    selector = copy_manifest["spec"].get("selector")
    return (
        selector is not None
        and label_selector_matches(selector, primary)
        and not label_selector_matches(selector, target)
    )


def metrics_of_the_target(hpa: ObjectView, label: str, value: str) -> tuple[str, ...]:
    """Metrics of an autoscaler whose selector names the target by its label.

    They are copied as they are, since only whoever exports them knows what the label of a series
    means: the primary's copy may go by the load of the target, or by none.
    """
    found = []
    for metric in hpa.spec.get("metrics") or ():
        for source in ("pods", "object", "external"):
            named = (metric.get(source) or {}).get("metric") or {}
            if _names_value(named.get("selector") or {}, label, value):
                found.append(str(named.get("name", "")))
    return tuple(found)


def _names_value(selector: Mapping[str, Any], label: str, value: str) -> bool:
    return (selector.get("matchLabels") or {}).get(label) == value or any(
        expression.get("key") == label
        and expression.get("operator") == "In"
        and value in (expression.get("values") or ())
        for expression in selector.get("matchExpressions") or ()
    )


def _peer_selectors(spec: Mapping[str, Any]) -> list[JsonDict]:
    peers = [
        peer
        for rules, side in (("ingress", "from"), ("egress", "to"))
        for rule in spec.get(rules) or ()
        for peer in rule.get(side) or ()
    ]
    return [peer["podSelector"] for peer in peers if peer.get("podSelector") is not None]


def _copy(
    api_version: str, kind: str, original: ObjectView, owner: Identity, spec: JsonDict
) -> JsonDict:
    """A satellite of the primary, marked with its source and a digest by which an equal apply is
    recognised.
    """
    manifest: JsonDict = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": metadata(
            owner, names.primary_name(original.id.name), "primary", original.labels
        ),
        "spec": spec,
    }
    manifest["metadata"]["annotations"] = {
        names.SOURCE: f"{kind}/{original.id.name}",
        names.APPLIED: manifest_digest(manifest),
    }
    return manifest


def _service(
    apex: ServiceView, owner: Identity, name: str, role: str, selector: Mapping[str, str]
) -> JsonDict:
    ports = []
    for port in apex.ports:
        made: JsonDict = {
            "port": port.port,
            "targetPort": port.target_port,
            "protocol": port.protocol,
        }
        if port.name:
            made["name"] = port.name
        if port.app_protocol:
            made["appProtocol"] = port.app_protocol
        ports.append(made)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, name, role),
        "spec": {"selector": dict(selector), "ports": ports},
    }


def _selector(match_labels: Mapping[str, str], expressions: Sequence[JsonDict]) -> JsonDict:
    selector: JsonDict = {"matchLabels": dict(match_labels)}
    return selector | (
        {"matchExpressions": copy.deepcopy(list(expressions))} if expressions else {}
    )


def _safe_strategy(strategy: Mapping[str, Any] | None) -> JsonDict:
    """The user's rolling update with maxUnavailable 0: the primary serves while it rolls."""
    rolling = (strategy or {}).get("rollingUpdate") or {}
    surge = rolling.get("maxSurge", "25%")
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {
            "maxUnavailable": 0,
            "maxSurge": 1 if surge in (0, "0", "0%") else surge,
        },
    }


def _rewrite_selectors(pod_spec: JsonDict, label: str, value: str) -> None:
    """Make selectors inside a template mean the primary's own pods."""
    for constraint in pod_spec.get("topologySpreadConstraints") or ():
        _rewrite_selector(constraint.get("labelSelector"), label, value)
    affinity = pod_spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            _rewrite_selector(term.get("labelSelector"), label, value)
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            _rewrite_selector(
                (weighted.get("podAffinityTerm") or {}).get("labelSelector"), label, value
            )


def _rewrite_selector(selector: JsonDict | None, label: str, value: str) -> None:
    if not selector:
        return
    primary = names.primary_label_value(value)
    match_labels = selector.get("matchLabels") or {}
    if match_labels.get(label) == value:
        match_labels[label] = primary
    for expression in selector.get("matchExpressions") or ():
        if expression.get("key") == label and expression.get("operator") == "In":
            expression["values"] = [
                primary if v == value else v for v in expression.get("values") or ()
            ]
