"""What canaryd says on a Deployment that is not its own: two conditions in the status, as values.

``Reconciling`` and ``Stalled`` are what kstatus looks at on any kind before it has rules
for that kind (``checkGenericProperties`` in ``pkg/kstatus/status/generic.go`` of cli-utils), so
everything built on it (Flux, Helm 4, kpt) sees a run without knowing canaryd. They are there only
while true: absent is what "all is well" looks like.

Only conditions that the field manager ``canaryd-status`` holds count as ours. A namesake that
another tool wrote is neither read as ours nor taken away.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.core.names import STATUS_MANAGER

RECONCILING = "Reconciling"
STALLED = "Stalled"
TYPES = (RECONCILING, STALLED)


@dataclass(frozen=True, slots=True)
class Told:
    """One condition whose status is ``True``."""

    type: str
    reason: str
    message: str = ""
    since: str = field(default="", compare=False)
    """``lastTransitionTime``, as it stands in the object."""


def told_on(obj: Mapping[str, Any]) -> tuple[Told, ...]:
    """What we say on a raw Deployment now."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    found = [c for c in conditions if c.get("type") in TYPES and c.get("status") == "True"]
    if not found:
        return ()
    ours = _held(obj["metadata"].get("managedFields") or ())
    return tuple(
        Told(
            str(c["type"]),
            str(c.get("reason", "")),
            str(c.get("message", "")),
            str(c.get("lastTransitionTime", "")),
        )
        for c in found
        if f'k:{{"type":"{c["type"]}"}}' in ours
    )


def as_applied(
    namespace: str, name: str, told: Iterable[Told], before: Iterable[Told], now: str
) -> dict[str, Any]:
    """The Deployment to apply to its ``status`` subresource.

    An apply that names fewer conditions than the one before takes the others away, since nobody
    else holds them. ``before`` supplies the times of conditions that go on; a Deployment's
    condition has no ``observedGeneration`` (``DeploymentCondition`` of ``apps/v1``).
    """
    since = {condition.type: condition.since for condition in before}
    made: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name},
    }
    conditions = [
        {
            "type": condition.type,
            "status": "True",
            "reason": condition.reason,
            "message": condition.message,
            "lastUpdateTime": now,
            "lastTransitionTime": since.get(condition.type) or now,
        }
        for condition in told
    ]
    return made | ({"status": {"conditions": conditions}} if conditions else {})


def _held(managed_fields: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Keys of the conditions that are ours."""
    held: set[str] = set()
    for entry in managed_fields:
        if entry.get("manager") == STATUS_MANAGER and entry.get("operation") == "Apply":
            status = (entry.get("fieldsV1") or {}).get("f:status") or {}
            held.update(status.get("f:conditions") or ())
    return frozenset(held)
