"""The arithmetic of Deployments in Kubernetes 1.34: sizes of ReplicaSets, hashes, revisions, conditions. Pure functions."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.apiserver.ownership import clone
from tests.fakes.controllers import percent_of

Manifest = dict[str, Any]

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
}
NO_DEADLINE = 2**31 - 1

AVAILABLE, PROGRESSING = "Available", "Progressing"
NEW_RS_AVAILABLE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Sets:
    """The ReplicaSets of a Deployment: the one of its template, if there is one, and the others."""

    new: Manifest | None
    old: tuple[Manifest, ...]

    @property
    def all(self) -> tuple[Manifest, ...]:
        return self.old if self.new is None else (*self.old, self.new)


def wanted(replica_sets: Sequence[Manifest]) -> int:
    return sum(rs["spec"]["replicas"] for rs in replica_sets)


def counted(replica_sets: Sequence[Manifest], key: str) -> int:
    return sum((rs.get("status") or {}).get(key, 0) for rs in replica_sets)


def max_surge(deployment: Manifest) -> int:
    rolling = deployment["spec"]["strategy"].get("rollingUpdate")
    if not rolling:
        return 0
    return percent_of(rolling["maxSurge"], deployment["spec"]["replicas"], round_up=True)


def max_unavailable(deployment: Manifest) -> int:
    """Never both zero, never more than there are."""
    rolling, replicas = (
        deployment["spec"]["strategy"].get("rollingUpdate"),
        deployment["spec"]["replicas"],
    )
    if not rolling or not replicas:
        return 0
    found = percent_of(rolling["maxUnavailable"], replicas, round_up=False)
    if not found and not max_surge(deployment):
        found = 1
    return min(found, int(replicas))


def template_hash(template: Manifest) -> str:
    """A stable hash of a pod template in the alphabet of real ones."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    value = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    letters = []
    for _ in range(9):
        value, digit = divmod(value, len(alphabet))
        letters.append(alphabet[digit])
    return "".join(letters)


def template_of(rs: Manifest) -> Manifest:
    """A ReplicaSet's template as its Deployment wrote it."""
    template = clone(rs["spec"]["template"])
    template["metadata"]["labels"].pop(HASH, None)
    return dict(template)


def revision_of(rs: Manifest) -> int:
    return int((rs["metadata"].get("annotations") or {}).get(REVISION, 0))


def copied_annotations(deployment: Manifest) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {k: v for k, v in annotations.items() if k not in _NOT_COPIED}


def has_deadline(deployment: Manifest) -> bool:
    return bool(deployment["spec"]["progressDeadlineSeconds"] != NO_DEADLINE)


def is_saturated(deployment: Manifest, rs: Manifest) -> bool:
    replicas = deployment["spec"]["replicas"]
    desired = int((rs["metadata"].get("annotations") or {}).get(DESIRED, -1))
    return bool(rs["spec"]["replicas"] == replicas == desired == counted([rs], "availableReplicas"))


def share_of(deployment: Manifest, rs: Manifest, to_add: int, added: int) -> int:
    """Share of one ReplicaSet in a change of size."""
    size, replicas = rs["spec"]["replicas"], deployment["spec"]["replicas"]
    if not size or not to_add or to_add == added:
        return 0
    marked = int((rs["metadata"].get("annotations") or {}).get(MAXIMUM, 0))
    before = marked or (deployment.get("status") or {}).get("replicas", 0)
    if not replicas:
        share = -size
    elif not before:
        share = 0
    else:
        # Halves go away from zero, as Go rounds.
        share = int(size * (replicas + max_surge(deployment)) / before + 0.5) - size
    allowed = to_add - added
    return int(min(share, allowed) if to_add > 0 else max(share, allowed))


def a_condition(kind: str, status: str, reason: str, message: str) -> Manifest:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def find_condition(status: Manifest, kind: str) -> Manifest | None:
    conditions: list[Any] = status.get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), None)


def is_complete(deployment: Manifest, status: Manifest) -> bool:
    replicas = deployment["spec"]["replicas"]
    return all(
        bool(status.get(key, 0) == replicas)
        for key in ("updatedReplicas", "replicas", "availableReplicas")
    )


def has_progressed(before: Manifest, status: Manifest) -> bool:
    """More updated, fewer old, more ready or more available than last time."""

    def old(counts: Manifest) -> int:
        return int(counts.get("replicas", 0) - counts.get("updatedReplicas", 0))

    grown = any(
        status.get(key, 0) > before.get(key, 0)
        for key in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return grown or old(status) < old(before)
