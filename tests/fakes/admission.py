"""What the chart's admission policies do, for the fake API server: keep what canaryd set against other writers.

The same conditions and effects as ``deploy/helm/canaryd/templates/admission-policy.yaml``; that the CEL there means this
is shown by the cluster tier, against a real API server.
"""

from typing import Any

from canaryd.core import names
from canaryd.core.kinds import DEPLOYMENT, SERVICE, Kind
from tests.fakes.apiserver.ownership import clone
from tests.fakes.apiserver.store import Manifest, Write

_TRUSTED = frozenset({names.MANAGER, "kube-controller-manager"})


def keep_what_canaryd_set(kind: Kind, old: Manifest, new: Manifest, how: Write) -> None:
    """Put back the selector of an apex Service and the replicas of a target, and the marks of both."""
    if how.manager in _TRUSTED:
        return
    labels = old["metadata"].get("labels") or {}
    annotations = old["metadata"].get("annotations") or {}
    if kind == SERVICE and names.LABEL_APEX in labels:
        new["spec"]["selector"] = clone(old["spec"]["selector"])
        _keep(old, new, "labels", names.LABEL_APEX, names.LABEL_TARGET)
        _keep(old, new, "annotations", names.ORIGINAL_SELECTOR)
    if kind == DEPLOYMENT and annotations.get(names.MANAGED) == "true":
        new["spec"]["replicas"] = old["spec"]["replicas"]
        _keep(old, new, "labels", names.LABEL_TARGET)
        _keep(old, new, "annotations", names.MANAGED)


def _keep(old: Manifest, new: Manifest, part: str, *keys: str) -> None:
    before: dict[str, Any] = old["metadata"].get(part) or {}
    kept = {key: before[key] for key in keys if key in before}
    if kept:
        new["metadata"][part] = (new["metadata"].get(part) or {}) | kept
