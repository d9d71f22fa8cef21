"""What happens at admission, for the fake API server: what canaryd set is kept against other writers.

By the chart's policies, with the same conditions and effects as ``deploy/helm/canaryd/templates/admission-policy.yaml``,
or by the webhook, which is asked as an API server asks it. That the CEL of the policies means this is shown by the
cluster tier, against a real API server, where both are told the same stories.
"""

from typing import Any

from canaryd.core import names
from canaryd.core.keep import CONTROL_PLANE, keep
from canaryd.core.kinds import DEPLOYMENT, SERVICE, Kind
from tests.fakes.apiserver.ownership import clone
from tests.fakes.apiserver.store import Manifest, Write
from tests.fakes.patches import apply_patch

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


def keep_by_the_webhook(kind: Kind, old: Manifest, new: Manifest, how: Write) -> None:
    """Ask the daemon's webhook, and do what it says; here a writer's field manager is its name."""
    groups = [CONTROL_PLANE] if how.manager == "kube-controller-manager" else []
    request = {
        "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "operation": "UPDATE",
        "userInfo": {"username": how.manager, "groups": groups},
        "object": new,
        "oldObject": old,
    }
    patched = apply_patch(new, keep(request, daemon=names.MANAGER))
    new.clear()
    new.update(patched)


def _keep(old: Manifest, new: Manifest, part: str, *keys: str) -> None:
    before: dict[str, Any] = old["metadata"].get(part) or {}
    kept = {key: before[key] for key in keys if key in before}
    if kept:
        new["metadata"][part] = (new["metadata"].get(part) or {}) | kept
