"""What kstatus says of an object: how Flux, Helm 4 and kpt see it.

The order of its rules as of cli-utils 0.37 (``generic.go`` and ``core.go`` in ``pkg/kstatus/status``), for Deployments: gone
or going, generation, the two conditions that any kind may have, and only then replicas and the controller's own conditions.
"""

from typing import Any


def kstatus(deployment: dict[str, Any]) -> tuple[str, str]:
    """``InProgress``, ``Failed``, ``Current`` or ``Terminating``, and why."""
    meta, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating", ""
    observed = status.get("observedGeneration")
    if observed is not None and observed != meta["generation"]:
        return "InProgress", "generation"
    for condition in status.get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            word = {"Reconciling": "InProgress", "Stalled": "Failed"}[condition["type"]]
            return word, condition["reason"]
    return _replicas(spec, status) or _conditions(spec, status) or ("Current", "")


def _replicas(spec: dict[str, Any], status: dict[str, Any]) -> tuple[str, str] | None:
    wanted, has = spec.get("replicas", 1), status.get("replicas", 0)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    shortfalls = {
        "LessReplicas": wanted > has,
        "LessUpdated": wanted > updated,
        "ExtraPods": has > wanted,
        "LessAvailable": updated > available,
        "LessReady": wanted > status.get("readyReplicas", 0),
    }
    return next((("InProgress", why) for why, is_so in shortfalls.items() if is_so), None)


def _conditions(spec: dict[str, Any], status: dict[str, Any]) -> tuple[str, str] | None:
    found = {c["type"]: c for c in status.get("conditions") or ()}
    progressing, available = found.get("Progressing", {}), found.get("Available", {})
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return "Failed", progressing["reason"]
    if "progressDeadlineSeconds" in spec and progressing.get("reason") != "NewReplicaSetAvailable":
        return "InProgress", "ReplicaSetNotAvailable"
    return None if available.get("status") == "True" else ("InProgress", "DeploymentNotAvailable")
