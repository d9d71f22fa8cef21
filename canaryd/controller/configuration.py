"""Which configuration is in force for an app: the layers, the last valid one,
and a run's pinned plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.core.annotations import Resolution, plan_values, resolve, resolve_deployment
from canaryd.core.fingerprint import canonical_json, manifest_digest
from canaryd.core.model import CanarySpec
from canaryd.core.plan import Resolved
from canaryd.core.state import RolloutState
from canaryd.core.views import ConfigView, DeploymentView, ObjectView

PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The outcome: ``spec`` is in force now, ``fresh`` will be pinned by the next run,
    ``plan`` is ``fresh`` as text.
    """

    resolution: Resolution
    spec: CanarySpec | None
    fresh: CanarySpec | None
    plan: Mapping[str, str]
    digest: str
    """Of everything it comes from: tells users that an edit was seen."""


def configure(
    target: DeploymentView,
    namespace: ConfigView | None,
    controller_defaults: Mapping[str, str],
    canary: ObjectView | None,
    state: RolloutState | None,
) -> Configuration:
    """Resolve the layers of one app."""
    inherited = namespace.annotations if namespace else {}
    resolution = resolve_deployment(
        controller=controller_defaults,
        namespace=inherited,
        deployment=target.annotations,
        template=target.template_annotations,
    )
    enrolled = state is not None and bool(state.promoted)
    plan = plan_values(resolution.values) if resolution.spec else _last_plan(canary)
    fresh = resolution.spec or (_pinned(plan) if enrolled else None)
    run = state.run if state else None
    spec = (_pinned(run.plan) if run is not None else None) or fresh
    digest = manifest_digest(
        {
            "controller": dict(controller_defaults),
            "namespace": dict(inherited),
            "deployment": dict(target.annotations),
        }
    )
    return Configuration(resolution, spec, fresh, plan, digest)


def canary_spec(resolution: Resolution, target: DeploymentView) -> dict[str, Any]:
    """``spec`` of the Canary object: every resolved value with its origin."""
    return {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target.id.name},
        "provider": resolution.values["provider"].value,
        "interval": resolution.values["interval"].value,
        "values": {
            key: {"value": entry.value, "from": entry.origin}
            for key, entry in sorted(resolution.values.items())
        },
    }


def same_spec(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two Canary specs say the same."""
    return canonical_json(first) == canonical_json(second)


def _last_plan(canary: ObjectView | None) -> dict[str, str]:
    """The last valid configuration, as the Canary object records it."""
    recorded: Mapping[str, Any] = (canary.spec.get("values") if canary else None) or {}
    values = {
        key: Resolved(str(entry.get("value", "")), str(entry.get("from", "")))
        for key, entry in recorded.items()
        if isinstance(entry, Mapping)
    }
    return plan_values(values) if "step-weight" in values else {}


def _pinned(values: Mapping[str, str]) -> CanarySpec | None:
    return resolve([(PINNED, dict(values))]).spec
