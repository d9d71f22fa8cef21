"""Which configuration is in force for an app: the layers, the last valid one,
and a run's pinned plan.

To read annotations costs ten times what a decision costs, and an app whose canary moves is looked
at many times a second with the same ones: what was read lately is remembered, by the texts
themselves, so that it can never be out of date.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from canaryd.core.annotations import Resolution, plan_values, resolve, resolve_deployment
from canaryd.core.draft import Resolved
from canaryd.core.fingerprint import canonical_json, manifest_digest
from canaryd.core.model import CanarySpec
from canaryd.core.state import RolloutState
from canaryd.core.views import ConfigView, DeploymentView, ObjectView

PINNED = "pinned"
REMEMBERED: Final = 256
"""Texts whose reading is remembered: a few apps' that are looked at often; 8 KB each."""

Texts = tuple[tuple[str, str], ...]
"""Annotations, in the order they were written in: problems are told in it."""


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
    resolution, written, digest = read_layers(
        tuple(controller_defaults.items()),
        tuple(inherited.items()),
        tuple(target.annotations.items()),
        tuple(target.template_annotations.items()),
    )
    enrolled = state is not None and bool(state.promoted)
    plan = written if resolution.spec else _last_plan(canary)
    fresh = resolution.spec or (_pinned(tuple(plan.items())) if enrolled else None)
    run = state.run if state else None
    spec = (_pinned(tuple(run.plan.items())) if run is not None else None) or fresh
    return Configuration(resolution, spec, fresh, plan, digest)


@lru_cache(maxsize=REMEMBERED)
def read_layers(
    controller: Texts, namespace: Texts, deployment: Texts, template: Texts
) -> tuple[Resolution, Mapping[str, str], str]:
    """Read what the objects carry: what it comes to, the same as text, and the digest of it all."""
    resolution = resolve_deployment(
        controller=dict(controller),
        namespace=dict(namespace),
        deployment=dict(deployment),
        template=dict(template),
    )
    layers = {"controller": controller, "namespace": namespace, "deployment": deployment}
    digest = manifest_digest({layer: dict(texts) for layer, texts in layers.items()})
    return resolution, plan_values(resolution.values), digest


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


@lru_cache(maxsize=REMEMBERED)
def _pinned(values: Texts) -> CanarySpec | None:
    return resolve([(PINNED, dict(values))]).spec
