"""Autoscaling by KEDA: its ScaledObjects, the copy for the primary, and how one is put to sleep.

KEDA scales to and from zero by itself, past any HorizontalPodAutoscaler: between runs one active
trigger would wake the target. So the user's ScaledObject sleeps while the target's replicas are
canaryd's to say, and what was there before is recorded on it and put back exactly.

Facts of KEDA (``controllers/keda``, ``pkg/scaling/executor``, ``apis/keda/v1alpha1``):

- ``paused`` ends its scale loop and deletes its autoscaler at once, and leaves the replicas alone
  (from 2.11 on). ``paused-replicas`` scales the workload itself, at the next poll only, and wins
  over ``paused``: it is set aside meanwhile.
- The autoscaler it makes carries labels and annotations of the ScaledObject, those of a copy of
  ours too. It is known by its owner, never by its labels.
- Its admission refuses a ScaledObject with triggers on CPU or memory whose Deployment does not
  exist: the primary comes before its copy.
- ``minReplicaCount`` is 0 by default; ``idleReplicaCount`` may be 0 and nothing else.

A primary must never go to zero, so its copy has at least one replica. A canary that its own
ScaledObject could take to zero in mid-run would fail for lack of load: that one sleeps on.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from canaryd.core import manifests, names
from canaryd.core.fingerprint import canonical_json, manifest_digest
from canaryd.core.kinds import SCALED_OBJECT
from canaryd.core.names import ORIGINAL_PAUSE
from canaryd.core.views import Identity, JsonDict, ObjectView

DOMAIN = "autoscaling.keda.sh/"
PAUSED = DOMAIN + "paused"
PAUSED_REPLICAS = DOMAIN + "paused-replicas"
NAME_LABEL = "scaledobject.keda.sh/name"
"""KEDA writes it on every ScaledObject, and puts it back."""
EXCLUDED_LABELS = "scaledobject.keda.sh/hpa-excluded-labels"
OWNER = SCALED_OBJECT.kind + "/"
"""How the owner of an autoscaler of KEDA begins (:attr:`ObjectView.controller`)."""
DEFAULT_MOST = 100
"""``maxReplicaCount`` when it is left out."""
_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})
"""What Go reads as false; KEDA takes all else for a pause."""
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")


def scales(scaler: ObjectView, target: str) -> bool:
    """Whether a ScaledObject scales a Deployment of this name."""
    reference = scaler.spec.get("scaleTargetRef") or {}
    is_deployment = reference.get("kind", "Deployment") == "Deployment"
    return is_deployment and reference.get("name") == target


def is_made_by_keda(autoscaler: ObjectView) -> bool:
    """Whether a HorizontalPodAutoscaler belongs to a ScaledObject, and must be left to KEDA."""
    return autoscaler.controller.startswith(OWNER)


def may_go_to_zero(scaler: ObjectView) -> bool:
    """Whether it takes its workload to zero when no trigger is active."""
    return not scaler.spec.get("minReplicaCount") or "idleReplicaCount" in scaler.spec


# --- sleep ----------------------------------------------------------------------------------------


def is_asleep(scaler: ObjectView) -> bool:
    """Whether we put it to sleep and nobody woke it."""
    annotations = scaler.annotations
    is_paused = annotations.get(PAUSED) == "true" and PAUSED_REPLICAS not in annotations
    return is_paused and ORIGINAL_PAUSE in annotations


def is_marked(scaler: ObjectView) -> bool:
    """Whether it carries a record of ours: there is something to give back."""
    return ORIGINAL_PAUSE in scaler.annotations


def own_pause(scaler: ObjectView) -> dict[str, str]:
    """The pause that the user wrote, or wants since: annotations without those of ours.

    A record that cannot be read any more stands for no pause.
    """
    present = {
        k: scaler.annotations[k] for k in (PAUSED, PAUSED_REPLICAS) if k in scaler.annotations
    }
    if not is_marked(scaler):
        return present
    recorded = _record(scaler)
    own = {}
    if present.get(PAUSED) == "true":  # ours stands
        if PAUSED in recorded:
            own[PAUSED] = recorded[PAUSED]
    elif PAUSED in present:
        own[PAUSED] = present[PAUSED]
    replicas = present.get(PAUSED_REPLICAS, recorded.get(PAUSED_REPLICAS))
    return own if replicas is None else own | {PAUSED_REPLICAS: replicas}


def is_paused_by_user(scaler: ObjectView) -> bool:
    """Whether the user wants no autoscaling at present."""
    own = own_pause(scaler)
    return PAUSED_REPLICAS in own or own.get(PAUSED, "false") not in _FALSE


def scales_canary(scaler: ObjectView) -> bool:
    """Whether it may scale the canary during a run."""
    return not may_go_to_zero(scaler) and not is_paused_by_user(scaler)


def to_sleep(scaler: ObjectView) -> dict[str, str | None]:
    """Annotations that put it to sleep; None takes one away."""
    record = canonical_json(own_pause(scaler)).decode()
    return {PAUSED: "true", PAUSED_REPLICAS: None, ORIGINAL_PAUSE: record}


def to_wake(scaler: ObjectView) -> dict[str, str | None]:
    """Annotations that give it back as it was."""
    own = own_pause(scaler)
    return {key: own.get(key) for key in (PAUSED, PAUSED_REPLICAS)} | {ORIGINAL_PAUSE: None}


def _record(scaler: ObjectView) -> dict[str, str]:
    try:
        recorded = json.loads(scaler.annotations[ORIGINAL_PAUSE])
    except ValueError:
        return {}
    if not isinstance(recorded, dict):
        return {}
    return {key: str(recorded[key]) for key in (PAUSED, PAUSED_REPLICAS) if key in recorded}


# --- the copy -------------------------------------------------------------------------------------


def scaler_copy(scaler: ObjectView, owner: Identity, *, at_least: int = 0) -> JsonDict:
    """The primary's ScaledObject: same triggers, bounds and behaviour, other target, never at zero.

    ``at_least`` replicas are kept while a run is under way, as by
    :func:`canaryd.core.manifests.autoscaler_copy`. Our own pause of the original is not taken over,
    the user's is; one at zero replicas keeps the primary as it is.
    """
    spec = copy.deepcopy(scaler.spec)
    name, primary = names.primary_name(scaler.id.name), names.primary_name(owner.name)
    most = int(spec.get("maxReplicaCount") or DEFAULT_MOST)
    spec["minReplicaCount"] = max(1, int(spec.get("minReplicaCount") or 0), min(at_least, most))
    spec.pop("idleReplicaCount", None)
    spec["scaleTargetRef"] = dict(spec["scaleTargetRef"]) | {"name": primary}
    _name_autoscaler(spec, name, primary)
    metadata = manifests.metadata(owner, name, "primary", scaler.labels)
    ours = sorted((*names.ownership_labels(owner.name), names.LABEL_ROLE))
    metadata["labels"][NAME_LABEL] = name
    metadata["annotations"] = _switches(scaler) | {
        EXCLUDED_LABELS: ",".join(ours),
        names.SOURCE: f"{SCALED_OBJECT.kind}/{scaler.id.name}",
    }
    manifest: JsonDict = {
        "apiVersion": SCALED_OBJECT.api_version,
        "kind": SCALED_OBJECT.kind,
        "metadata": metadata,
        "spec": spec,
    }
    metadata["annotations"][names.APPLIED] = manifest_digest(manifest)
    return manifest


def _name_autoscaler(spec: JsonDict, name: str, primary: str) -> None:
    """An autoscaler that the user named needs a name of its own, and so does one whose name would
    be too long for KEDA.
    """
    advanced = dict(spec.get("advanced") or {})
    settings = dict(advanced.get("horizontalPodAutoscalerConfig") or {})
    if settings.get("name"):
        settings["name"] = names.primary_name(settings["name"])
    elif len(f"keda-hpa-{name}") > names.MAX_NAME:
        settings["name"] = primary
    else:
        return
    spec["advanced"] = advanced | {"horizontalPodAutoscalerConfig": settings}


def _switches(scaler: ObjectView) -> dict[str, str]:
    """What the user says by annotations about scaling now, as it holds for the primary."""
    own = own_pause(scaler)
    switches = {
        key: value
        for key, value in scaler.annotations.items()
        if key.startswith(DOMAIN) and key not in (PAUSED, PAUSED_REPLICAS)
    }
    replicas = own.get(PAUSED_REPLICAS)
    if replicas is None:
        return switches | own
    if replicas.isdecimal() and int(replicas) > 0:
        return switches | own
    return switches | {PAUSED: "true"}


# --- what may surprise ----------------------------------------------------------------------------


def cautions(scaler: ObjectView, target: str, value: str) -> Iterator[str]:
    """What works, and will surprise; ``value`` is that of the target's selector label."""
    who = f"ScaledObject {scaler.id.name}"
    if may_go_to_zero(scaler):
        yield (
            f"{who} may take Deployment {target} to zero replicas: the primary keeps one at least,"
            f" and during runs canaryd scales the canary. Set minReplicaCount to 1 or more, without"
            " idleReplicaCount, to have both scaled by load"
        )
    if is_paused_by_user(scaler):
        yield f"{who} is paused by an annotation ({DOMAIN}…): the primary's copy is paused too"
    for trigger in triggers_of_the_target(scaler, {target, value}):
        yield (
            f"{who}: trigger {trigger} names {target}, and the primary's copy has the same trigger."
            " Check what it measures"
        )


def triggers_of_the_target(scaler: ObjectView, words: set[str]) -> tuple[str, ...]:
    """Triggers that name the target in a text of theirs, such as a query.

    They are copied as they are: only whoever wrote a query knows what a name in it stands for. The
    primary's copy may go by the load of the target, or by none.
    """
    pattern = re.compile(
        rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(words)))})(?!{names.PRIMARY_SUFFIX}|\w)"
    )
    found = []
    for trigger in scaler.spec.get("triggers") or ():
        texts = _texts(trigger.get("metadata") or {})
        if any(pattern.search(part) for text in texts for part in _literals(text)):
            found.append(str(trigger.get("name") or trigger.get("type", "")))
    return tuple(found)


def _texts(metadata: Mapping[str, Any]) -> Iterator[str]:
    return (text for text in metadata.values() if isinstance(text, str))


def _literals(text: str) -> Iterator[str]:
    """What a text says in quotes, or all of it when nothing is quoted: elsewhere the same word may
    be the name of a label.
    """
    quoted = [first or second for first, second in _QUOTED.findall(text)]
    return iter(quoted or [text])
