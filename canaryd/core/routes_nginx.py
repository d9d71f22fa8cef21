"""The ingress-nginx annotation dialect: which canary Ingress says which split.

Readers: ingress-nginx up to 1.15, Traefik from 3.7, Higress.
Rules that hold for all three (``docs/design/20261124-order-of-traffic.md``):
same namespace; host, path and pathType verbatim; only the paths that point at the apex,
since one path without a partner makes ingress-nginx drop the canary of all of them;
one canary per path; at rest ``canary:
"true"`` with weight 0,
never ``canary: "false"``, which would make the copy a second main Ingress.
Only the keys named here are ever written: everything else is inherited from the main Ingress by
the reader.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.core import names
from canaryd.core.manifests import metadata
from canaryd.core.routing import Match, MatchKind, Routing
from canaryd.core.views import Identity, JsonDict, ObjectView

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
MAX_NAME = 253
_MARK = "/canary"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class BackendPath:
    """One path of an Ingress that leads to a Service."""

    host: str
    path: str
    path_type: str
    port: str


def backend_paths(ingress: ObjectView, service: str) -> tuple[BackendPath, ...]:
    """The paths of an Ingress whose backend is this Service."""
    found = []
    for rule in ingress.spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            backend = (path.get("backend") or {}).get("service") or {}
            if backend.get("name") == service:
                found.append(
                    BackendPath(
                        rule.get("host", ""),
                        path.get("path", ""),
                        path.get("pathType", ""),
                        _port_text(backend.get("port") or {}),
                    )
                )
    return tuple(found)


def leads_to(ingress: ObjectView, service: str) -> bool:
    """Whether an Ingress has this Service as a backend anywhere, default backend included."""
    default = ((ingress.spec.get("defaultBackend") or {}).get("service") or {}).get("name")
    return default == service or bool(backend_paths(ingress, service))


def problem_of(ingress: ObjectView, service: str, canaries: Iterable[ObjectView] = ()) -> str:
    """Why this Ingress cannot carry a canary, in words; empty when it can.

    ``canaries`` are the canary Ingresses of the namespace that are not ours.
    """
    name = f"Ingress {ingress.id.name}"
    if len(names.canary_name(ingress.id.name)) > MAX_NAME:
        return (
            f"{name}: the name is too long, {names.canary_name(ingress.id.name)} must fit in"
            f" {MAX_NAME} characters; lead to Service {service} by an Ingress of a shorter name"
        )
    if is_canary(ingress):
        return (
            f"{name} is a canary itself, by its own annotations, and leads to Service {service};"
            " remove it, or name the main Ingress in canaryd.io/ingress"
        )
    for index, rule in enumerate(ingress.spec.get("rules") or ()):
        if not (rule.get("http") or {}).get("paths"):
            return (
                f"{name}: rule {index} ({rule.get('host') or 'any host'}) has no http paths;"
                " ingress-nginx and Traefik cannot merge a canary into it. Remove the rule or give"
                " it a path"
            )
    if not backend_paths(ingress, service):
        return (
            f"{name} has no path whose backend is Service {service}; point a path at it, or name"
            " another Ingress in canaryd.io/ingress"
        )
    if others := _rivals(ingress, service, canaries):
        return (
            f"{name} has a canary already: Ingress {', '.join(others)}, which is not canaryd's."
            " Of several canaries on a path only the oldest counts; remove that one"
        )
    return ""


def is_canary(ingress: ObjectView) -> bool:
    """Whether an Ingress says of itself, under whatever prefix, that it is a canary."""
    return any(k.endswith(_MARK) and v == "true" for k, v in ingress.annotations.items())


def _rivals(main: ObjectView, service: str, canaries: Iterable[ObjectView]) -> list[str]:
    """Canary Ingresses of somebody else on a path that ours would be on."""
    wanted = {(p.host, p.path) for p in backend_paths(main, service)}
    return sorted(c.id.name for c in canaries if wanted & set(_places(c)))


def _places(ingress: ObjectView) -> list[tuple[str, str]]:
    return [
        (rule.get("host", ""), path.get("path", ""))
        for rule in ingress.spec.get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    ]


def canary_ingress(
    main: ObjectView,
    owner: Identity,
    *,
    apex: str,
    prefix: str,
    routing: Routing,
    ingress_class: str = "",
) -> JsonDict:
    """The canary Ingress for one main Ingress."""
    annotations = {f"{prefix}/canary": "true", f"{prefix}/canary-weight": str(routing.weight)}
    annotations |= _match_annotations(routing.matches, prefix)
    class_name = ingress_class or main.spec.get("ingressClassName")
    if not class_name and CLASS_ANNOTATION in main.annotations:
        annotations[CLASS_ANNOTATION] = main.annotations[CLASS_ANNOTATION]
    spec: JsonDict = {"rules": [rule for rule in _canary_rules(main, apex) if rule]}
    if class_name:
        spec["ingressClassName"] = class_name
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": (
            metadata(owner, names.canary_name(main.id.name), "canary")
            | {"annotations": annotations}
        ),
        "spec": spec,
    }


def _canary_rules(main: ObjectView, apex: str) -> list[JsonDict]:
    rules = []
    for rule in main.spec.get("rules") or ():
        paths = [
            _to_canary(path, apex)
            for path in (rule.get("http") or {}).get("paths") or ()
            if ((path.get("backend") or {}).get("service") or {}).get("name") == apex
        ]
        if paths:
            host = {"host": rule["host"]} if rule.get("host") else {}
            rules.append(host | {"http": {"paths": paths}})
    return rules


def _to_canary(path: Mapping[str, Any], apex: str) -> JsonDict:
    service = dict(path["backend"]["service"]) | {"name": names.canary_name(apex)}
    return dict(path) | {"backend": {"service": service}}


def _match_annotations(matches: Iterable[Match], prefix: str) -> dict[str, str]:
    """Header and cookie conditions; one of each at most, see :func:`problems_of_routing`."""
    made: dict[str, str] = {}
    for match in matches:
        if match.kind is MatchKind.COOKIE:
            made[f"{prefix}/canary-by-cookie"] = match.name
            continue
        made[f"{prefix}/canary-by-header"] = match.name
        if match.pattern:
            made[f"{prefix}/canary-by-header-pattern"] = match.pattern
        elif match.value:
            made[f"{prefix}/canary-by-header-value"] = match.value
    return made


def routing_of(canary: ObjectView, prefix: str) -> Routing | None:
    """What a canary Ingress says, as its readers understand it; None when it is no canary."""
    weight = weight_of(canary, prefix)
    if weight is None:
        return None
    says = canary.annotations
    matches = []
    if header := says.get(f"{prefix}/canary-by-header"):
        value = says.get(f"{prefix}/canary-by-header-value", "")
        # The pattern counts only without a value (ingress-nginx 1.15).
        pattern = "" if value else says.get(f"{prefix}/canary-by-header-pattern", "")
        matches.append(Match(MatchKind.HEADER, header, value, pattern))
    if cookie := says.get(f"{prefix}/canary-by-cookie"):
        matches.append(Match(MatchKind.COOKIE, cookie))
    return Routing(weight, tuple(matches))


def problems_of_routing(
    matches: Sequence[Match], weights: Iterable[int], *, is_exclusive: bool
) -> tuple[str, ...]:
    """Why these conditions and weights cannot be written as annotations, in words.

    ``is_exclusive``: the reader ignores the weight of an Ingress that has conditions (Higress).
    """
    found = [
        f"weight {weight} cannot be written: Ingress annotations carry whole percents, 0 to 100"
        for weight in weights
        if not 0 <= weight <= 100
    ]
    for kind in MatchKind:
        of_kind = [match for match in matches if match.kind is kind]
        if len(of_kind) > 1:
            listed = "; ".join(str(match) for match in of_kind)
            found.append(
                f"canaryd.io/match has {len(of_kind)} {kind} conditions ({listed}): Ingress"
                f" annotations carry one {kind}; keep one, or use the gateway provider"
            )
    found += [
        f"canaryd.io/match: cookie {match.name} has a value, and Ingress annotations only know the"
        ' cookie\'s values "always" and "never"; write "cookie NAME", or use the gateway provider'
        for match in matches
        if match.kind is MatchKind.COOKIE and (match.value or match.pattern)
    ]
    if is_exclusive and matches and any(weights):
        found.append(
            "canaryd.io/match beside weights: this ingress controller ignores the weight of an"
            " Ingress that has conditions; use strategy ab, or weights alone"
        )
    return tuple(found)


def weight_of(canary: ObjectView, prefix: str) -> int | None:
    """Weight that a canary Ingress says, as its readers understand it: what is no integer is 0,
    what is out of range is cut off, a sign is allowed. None when it is not a canary at all.
    """
    if canary.annotations.get(f"{prefix}/canary") != "true":
        return None
    text = canary.annotations.get(f"{prefix}/canary-weight", "0")
    return min(max(int(text), 0), 100) if _INTEGER.fullmatch(text) else 0


def foreign_parts(canary: ObjectView, prefix: str, wanted: Iterable[Match] = ()) -> JsonDict:
    """What is on our canary Ingress that we did not write and its readers may act on:
    keys of the dialect other than the weight and the ``wanted`` conditions, and parts of the spec.
    As the merge patch that removes it.
    """
    ours = {f"{prefix}/canary", f"{prefix}/canary-weight", *_match_annotations(wanted, prefix)}
    keys = [k for k in canary.annotations if k.startswith(f"{prefix}/") and k not in ours]
    parts = [part for part in ("tls", "defaultBackend") if canary.spec.get(part)]
    patch: JsonDict = {}
    if keys:
        patch["metadata"] = {"annotations": dict.fromkeys(sorted(keys))}
    if parts:
        patch["spec"] = dict.fromkeys(parts)
    return patch


def _port_text(port: Mapping[str, Any]) -> str:
    """The port as data planes spell it in metric labels: its name, else its number."""
    return str(port.get("name") or port.get("number") or "")
