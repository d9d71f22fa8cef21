"""What each kind's endpoints let through, and what counts as a new generation: the registry strategies of Kubernetes 1.34."""

from collections.abc import Mapping
from typing import Any

from canaryd.core.kinds import (
    CANARY,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INGRESS,
    LEASE,
    NAMESPACE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SCALED_OBJECT,
    SERVICE,
    Kind,
)
from tests.fakes.apiserver.ownership import clone

Manifest = dict[str, Any]

WITH_STATUS = frozenset(
    {
        DEPLOYMENT,
        REPLICA_SET,
        SERVICE,
        NAMESPACE,
        INGRESS,
        HORIZONTAL_POD_AUTOSCALER,
        POD_DISRUPTION_BUDGET,
        CANARY,
        HTTP_ROUTE,
        SCALED_OBJECT,
    }
)
WITH_SCALE = frozenset({DEPLOYMENT, REPLICA_SET})
WITH_GENERATION = frozenset(
    {
        DEPLOYMENT,
        REPLICA_SET,
        INGRESS,
        NETWORK_POLICY,
        POD_DISRUPTION_BUDGET,
        CANARY,
        HTTP_ROUTE,
        SCALED_OBJECT,
    }
)
CUSTOM = frozenset({CANARY, HTTP_ROUTE, SCALED_OBJECT})
"""Served from a CustomResourceDefinition: every change but of metadata and status is a new generation."""
VERSION_REQUIRED = frozenset({LEASE, POD_DISRUPTION_BUDGET, CANARY, HTTP_ROUTE, SCALED_OBJECT})
"""Kinds whose PUT must carry a resourceVersion (``AllowUnconditionalUpdate`` is false)."""
KEPT_METADATA = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def restrict(kind: Kind, live: Manifest, proposed: Manifest, subresource: str) -> Manifest:
    """What of a proposed object this endpoint lets through; the rest stays as it is.

    The proposed object must be the caller's own copy: it becomes the result. What is taken of the live one may be
    shared with it, since a stored object is never changed in place.
    """
    if subresource == "status":
        obj = {**live, "metadata": dict(live["metadata"]), "status": proposed.get("status") or {}}
        if kind == DEPLOYMENT:
            # Only spec and labels are reset: the Deployment controller writes its revision
            # annotation through the status subresource.
            obj["metadata"].pop("annotations", None)
            if annotations := (proposed.get("metadata") or {}).get("annotations"):
                obj["metadata"]["annotations"] = annotations
        return obj
    obj = proposed
    if kind in WITH_STATUS:
        obj.pop("status", None)
        if "status" in live:
            obj["status"] = live["status"]
    new_meta = obj.setdefault("metadata", {})
    for key in (*KEPT_METADATA, "name", "namespace", "generation", "managedFields"):
        new_meta.pop(key, None)
        if key in live["metadata"]:
            new_meta[key] = live["metadata"][key]
    new_meta["resourceVersion"] = live["metadata"]["resourceVersion"]
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        if key in new_meta and not new_meta[key]:
            del new_meta[key]
    obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
    if kind == SERVICE:
        for key in ("clusterIP", "clusterIPs"):
            if not (obj.get("spec") or {}).get(key) and key in live["spec"]:
                obj["spec"][key] = live["spec"][key]
    return obj


def is_new_generation(kind: Kind, old: Manifest, new: Manifest) -> bool:
    """Whether a change of the main resource is a new generation."""
    if kind in CUSTOM:
        skip = {"metadata", "status"}
        return {k: v for k, v in old.items() if k not in skip} != {
            k: v for k, v in new.items() if k not in skip
        }
    if old.get("spec") != new.get("spec"):
        return True
    # The one kind whose annotations count: they are copied to its ReplicaSets.
    return kind == DEPLOYMENT and (
        old["metadata"].get("annotations") != new["metadata"].get("annotations")
    )


def is_held(kind: Kind, obj: Manifest) -> bool:
    """Whether finalizers keep an object that is being deleted."""
    holder = obj["spec"] if kind == NAMESPACE else obj["metadata"]
    return bool(holder.get("finalizers"))


def merge_json(target: Any, patch: Any) -> Any:
    """JSON merge patch: null removes, maps merge, everything else replaces."""
    if not isinstance(patch, Mapping):
        return clone(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_json(merged.get(key), value)
    return merged


def suffix(serial: int) -> str:
    """Five characters as of ``generateName``, the same in every run."""
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    text = ""
    value = serial * 2654435761 % 27**5
    for _ in range(5):
        value, digit = divmod(value, 27)
        text += alphabet[digit]
    return text
