"""SMI TrafficSplit: the object that says which split, in four versions of one dead specification.

Readers: Linkerd through its SMI extension, and private controllers; the specification was archived
in 2023 and will not change any more. One split for each app, named as the apex and for it, with two
backends::

    spec.service: <apex>    spec.backends: <apex>-primary 70, <apex>-canary 30

Both weights are always written and always sum to 100. The extension panics on a backend without a
weight, and what a reader makes of a sum of 0 is its own affair: Linkerd's proxy drops backends of
weight 0, and with none left goes to the apex itself (``convert_dst_override`` of linkerd2-proxy).

What there is beside the weights differs by version, and so does the order of preference:
**v1alpha2**, because it is the one that is all integers and nothing else, and the extension's CRD
serves it; then **v1alpha4** and **v1alpha3**, whose ``matches`` we have to keep empty; **v1alpha1**
last, where weights are quantities and ``500m`` beside ``1`` is a third. The extension's CRD stores
v1alpha1 and converts nothing, so that also under v1alpha2 a weight may be read that is text; such
an object takes no apply until a patch has made numbers of it (Kubernetes 1.34).

An A/B plan cannot be carried out: conditions are not ours to approximate, and the split that would
be left sends every user to the canary (case X13).
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil
from typing import Any, Final

from canaryd.core import names
from canaryd.core.kinds import (
    TRAFFIC_SPLIT_V1ALPHA1,
    TRAFFIC_SPLIT_V1ALPHA2,
    TRAFFIC_SPLIT_V1ALPHA3,
    TRAFFIC_SPLIT_V1ALPHA4,
    Kind,
)
from canaryd.core.manifests import metadata
from canaryd.core.model import CanarySpec
from canaryd.core.routing import Routing
from canaryd.core.views import Identity, JsonDict, ObjectView

PREFERENCE: Final[tuple[Kind, ...]] = (
    TRAFFIC_SPLIT_V1ALPHA2,
    TRAFFIC_SPLIT_V1ALPHA4,
    TRAFFIC_SPLIT_V1ALPHA3,
    TRAFFIC_SPLIT_V1ALPHA1,
)
"""Versions, the one to be used first in front; reasons above."""

_QUANTITY = re.compile(r"([+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?)(m|k|M|[eE][+-]?[0-9]{1,2})?")
_SUFFIXES: Final[Mapping[str, Fraction]] = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    "k": Fraction(1000),
    "M": Fraction(1_000_000),
}
_OURS = frozenset({"service", "backends"})


def versions(wanted: str) -> tuple[Kind, ...]:
    """The versions a setting allows, best first: one by name, or all under ``auto``."""
    return PREFERENCE if wanted == "auto" else tuple(k for k in PREFERENCE if k.version == wanted)


def traffic_split(kind: Kind, owner: Identity, *, apex: str, weight: int) -> JsonDict:
    """The split of one app: ``weight`` percent to the canary, in the words of a version."""
    is_quantity = kind == TRAFFIC_SPLIT_V1ALPHA1
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata(owner, apex, "canary"),
        "spec": {
            "service": apex,
            "backends": [
                {"service": service, "weight": str(share) if is_quantity else share}
                for service, share in (
                    (names.primary_name(apex), 100 - weight),
                    (names.canary_name(apex), weight),
                )
            ],
        },
    }


def to_primary(split: ObjectView, kind: Kind) -> JsonDict:
    """The merge patch that leaves nothing in a split of ours but the primary with everybody."""
    whole = traffic_split(kind, split.id, apex=split.id.name, weight=0)["spec"]
    return {"spec": foreign_parts(split).get("spec", {}) | whole}


def routing_of(split: ObjectView, canary: str) -> Routing | None:
    """What a split says, as its readers understand it; None when it splits nothing.

    Rounded up: a canary that has any share at all has users.
    """
    shares = [(_service(backend), _weight(backend)) for backend in _backends(split)]
    total = sum((share for _, share in shares), Fraction(0))
    if not total:
        return None
    return Routing(ceil(100 * sum(share for service, share in shares if service == canary) / total))


def follows(split: ObjectView, wanted: Mapping[str, Any]) -> bool:
    """Whether a split says what we would write and nothing else that routes; a weight counts by its
    value, however it is written.
    """
    live = [(_service(b), _weight(b)) for b in _backends(split)]
    spec = wanted["spec"]
    meant = [(b["service"], Fraction(b["weight"])) for b in spec["backends"]]
    is_whole = split.spec.get("service") == spec["service"] and sorted(live) == sorted(meant)
    return is_whole and not foreign_parts(split)


def foreign_parts(split: ObjectView) -> JsonDict:
    """Parts of our split's spec that we did not write, such as ``matches``, as the merge patch that
    removes them: an apply leaves alone what somebody else added.
    """
    foreign = sorted(split.spec.keys() - _OURS)
    return {"spec": dict.fromkeys(foreign)} if foreign else {}


def has_other_types(split: ObjectView, kind: Kind) -> bool:
    """Whether a weight is text where this version has numbers, or the other way round.

    Written through another version, or by whoever wrote it there. The API server reads such an
    object as it is, and refuses every apply to it ("expected numeric, got string").
    """
    wants_text = kind == TRAFFIC_SPLIT_V1ALPHA1
    return any(isinstance(b.get("weight"), str) != wants_text for b in _backends(split))


def problems_of_plan(spec: CanarySpec) -> tuple[str, ...]:
    """Why a plan cannot be carried out by weights alone, in words."""
    found = [
        f"weight {weight} cannot be written: a TrafficSplit carries whole percents, 0 to 100"
        for weight in dict.fromkeys(stage.weight for stage in spec.stages)
        if not 0 <= weight <= 100
    ]
    if spec.matches or any(stage.matched for stage in spec.stages):
        listed = "; ".join(str(match) for match in spec.matches) or "none given"
        found.append(
            f"canaryd.io/match ({listed}): an SMI TrafficSplit knows weights only, and without its"
            " conditions every user would get the canary; use weights, or the gateway or nginx"
            " provider"
        )
    if any(stage.mirror for stage in spec.stages):
        found.append(
            "canaryd.io/mirror: an SMI TrafficSplit cannot mirror; remove it, or use the gateway"
            " provider"
        )
    return tuple(found)


def rivals_of(apex: str, splits: Iterable[ObjectView]) -> tuple[str, ...]:
    """Why ours could not be the split of this Service: there is another, under another name.

    Of two the extension takes whichever was written last.
    """
    return tuple(
        f"TrafficSplit {split.id.name} splits Service {apex} already and is not canaryd's; of two"
        " the last one written counts. Remove it, or do not enrol the app"
        for split in splits
        if split.spec.get("service") == apex and split.id.name != apex and not split.is_ours
    )


def cautions_of(apex: str, routes: Iterable[ObjectView]) -> tuple[str, ...]:
    """HTTPRoutes of the mesh that a split puts out of force.

    The SMI extension makes a ServiceProfile of a split, and Linkerd looks at no HTTPRoute of a
    Service that has one. Whether a ServiceProfile was there before is not known here.
    """
    return tuple(
        f"HTTPRoute {route.id.name} is for Service {apex} as the TrafficSplit is: Linkerd does not"
        " look at it any more, neither at its weights nor at its timeouts. Use canaryd.io/provider:"
        " gateway, or remove it"
        for route in routes
        if any(
            parent.get("kind") == "Service" and parent.get("name") == apex
            for parent in route.spec.get("parentRefs") or ()
        )
    )


def why_not_served(choices: Iterable[Kind]) -> str:
    """What to say to an app when no version of the kind is there."""
    listed = ", ".join(sorted(kind.version for kind in choices))
    return (
        f"canaryd.io/provider: smi needs the kind {PREFERENCE[0].resource} ({listed}), which this"
        " cluster does not serve; install the SMI CRDs of your mesh, or choose another provider"
    )


def _backends(split: ObjectView) -> list[Mapping[str, Any]]:
    found = split.spec.get("backends")
    return [b for b in found if isinstance(b, Mapping)] if isinstance(found, list) else []


def _service(backend: Mapping[str, Any]) -> str:
    return str(backend.get("service", ""))


def _weight(backend: Mapping[str, Any]) -> Fraction:
    """A weight as number or quantity; what is neither, or negative, sends nobody."""
    match = _QUANTITY.fullmatch(str(backend.get("weight", "")))
    if match is None:
        return Fraction(0)
    number, suffix = match.group(1), match.group(2) or ""
    scale = _SUFFIXES[suffix] if suffix in _SUFFIXES else Fraction(f"1{suffix}")
    return max(Fraction(number) * scale, Fraction(0))
