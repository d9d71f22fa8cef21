"""What an HTTPRoute, or who reads it, cannot carry: found before anything is written, in words.

Limits are those of the CRDs of Gateway API 1.5 (``httproutes``, standard channel). What a data
plane does with what it cannot do differs, and some of it is an outage: Traefik 3.7 answers every
request of a rule with a filter it does not know by 500, and says nothing of it in the status.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from canaryd.core import routes_gateway
from canaryd.core.model import CanarySpec, Dialect
from canaryd.core.routes_gateway import Parts, matches_of, references_of, weight_of
from canaryd.core.routing import Match, MatchKind, Routing
from canaryd.core.views import JsonDict, ObjectView

MAX_RULES = 16
MAX_MATCHES_OF_RULE = 64
MAX_MATCHES = 128
MAX_HEADERS = 16
MAX_REFERENCES = 16
MAX_FILTERS = 16
MAX_WEIGHT = routes_gateway.MAX_WEIGHT // routes_gateway.SHARE

DIALECTS: Mapping[str, Dialect | str] = {
    "traefik": Dialect.TRAEFIK_GATEWAY,
    "kgateway": Dialect.KGATEWAY,
    "contour": Dialect.CONTOUR,
    "istio": Dialect.ISTIO,
    "istio-ambient": Dialect.ISTIO_AMBIENT,
    "linkerd": Dialect.LINKERD,
    "envoy-gateway": "Envoy Gateway counts all backends of a rule as one",
    "nginx-gateway-fabric": "NGINX Gateway Fabric counts requests of the whole process only",
    "other": "providers.gateway.dialect does not say whose metrics to read",
}
"""What ``providers.gateway.dialect`` stands for: metrics, or why there are none."""
WITHOUT_MIRROR = frozenset({"traefik"})


def problems_of_plan(spec: CanarySpec, dialect: str) -> tuple[str, ...]:
    """Why no HTTPRoute of this data plane can carry a plan."""
    return tuple(_problems_of_plan(spec, dialect))


def _problems_of_plan(spec: CanarySpec, dialect: str) -> Iterator[str]:
    for stage in spec.stages:
        if not 0 <= stage.weight <= routes_gateway.SHARE:
            yield f"weight {stage.weight} cannot be written: a weight is a percent, 0 to 100"
    if dialect in WITHOUT_MIRROR and any(stage.mirror for stage in spec.stages):
        yield (
            "canaryd.io/mirror: Traefik's Gateway knows no RequestMirror and would answer every"
            " request of the rule with 500; remove it"
        )
    measured = DIALECTS[dialect]
    built_in = [check.name for check in spec.metrics if check.builtin is not None]
    if not isinstance(measured, Dialect) and built_in:
        yield (
            f"canaryd.io/metric.{built_in[0]}: no built-in metric tells canary and primary apart:"
            f" {measured}; write a query of your own in canaryd.io/metric.NAME.query"
        )


def problem_of(route: ObjectView, parts: Parts, target: str, mirror: int = 0) -> str:
    """Why this HTTPRoute cannot carry a canary, in words; empty when it can.

    Looked at without our parts, and with all that a run may put into it: ``parts.matches`` and,
    when not 0, a mirror.
    """
    known = routes_gateway.with_recorded(parts, route, target)
    rules = routes_gateway.undress(routes_gateway.rules_of(route), known)
    led = [i for i, rule in enumerate(rules) if routes_gateway.leads_to(rule, parts)]
    if not led:
        return (
            f"HTTPRoute {route.id.name} has no rule with Service {parts.apex} as a backend of"
            " weight above 0; point a rule at it, or name another HTTPRoute in canaryd.io/route"
        )
    found = next(_problems(rules, led, parts, mirror), "")
    return f"HTTPRoute {route.id.name}: {found}" if found else ""


GITOPS = ("argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")


def cautions_of(route: ObjectView, parts: Parts) -> Iterator[str]:
    """What of a route works, and will surprise during a run."""
    led = [r for r in routes_gateway.rules_of(route) if routes_gateway.leads_to(r, parts)]
    if any(rule.get("sessionPersistence") for rule in led):
        yield (
            f"HTTPRoute {route.id.name} has sessionPersistence: weights hold for new sessions only,"
            " and a session that began on the canary stays there until the weight is 0"
        )
    rests = routes_gateway.routing_of(routes_gateway.rules_of(route), parts).is_retreat
    if rests and (refusal := routes_gateway.refusal_of(route)):
        yield f"{refusal}; a run will take its users back for that reason"
    if any(key.startswith(GITOPS) for key in (*route.labels, *route.annotations)):
        yield (
            f"HTTPRoute {route.id.name} is applied by a GitOps tool, which will see the canary's"
            " backend as drift during a run; let it ignore .spec.rules, or each re-apply takes the"
            " canary's users away until the next write"
        )


def _problems(rules: list[JsonDict], led: list[int], parts: Parts, mirror: int) -> Iterator[str]:
    for index in led:
        yield from _problems_of_rule(_name(rules, index), rules[index], parts, mirror)
    if parts.matches:
        yield from _outranked(rules, led, parts)
    # The most that is ever written: a share, which brings the rules for "never", and conditions.
    full = routes_gateway.dress(rules, parts, Routing(1, parts.matches, mirror))
    yield from _too_many(full, len(rules))


def _problems_of_rule(where: str, rule: JsonDict, parts: Parts, mirror: int) -> Iterator[str]:
    references = references_of(rule)
    apexes = [r for r in references if parts.is_apex(r)]
    others = sorted({str(r.get("name")) for r in references if r not in apexes and weight_of(r)})
    if others:
        yield (
            f"{where} also leads to {', '.join(others)}, whose share a canary would change; give"
            f" Service {parts.apex} a rule of its own"
        )
    if len(apexes) > 1:
        yield (
            f"{where} has Service {parts.apex} as a backend {len(apexes)} times; keep one, or give"
            " each a rule of its own"
        )
    if weight_of(apexes[0]) > MAX_WEIGHT:
        yield (
            f"{where} gives Service {parts.apex} the weight {weight_of(apexes[0])}, which cannot be"
            f" split into hundredths; of a single backend 1 does the same ({MAX_WEIGHT} at most)"
        )
    if len(references) >= MAX_REFERENCES:
        yield f"{where} has {len(references)} backends and no room for another; remove one"
    if mirror and len(rule.get("filters") or ()) >= MAX_FILTERS:
        yield f"{where} has {MAX_FILTERS} filters and no room for a mirror; remove one"
    for match in parts.matches:
        yield from _clashes(where, rule, match)


def _clashes(where: str, rule: JsonDict, match: Match) -> Iterator[str]:
    """A header can be looked at once in a match: the names are the keys of a map."""
    header = "Cookie" if match.kind is MatchKind.COOKIE else match.name
    for place in matches_of(rule):
        looked_at = [str(h.get("name", "")).lower() for h in place.get("headers") or ()]
        if header.lower() in looked_at:
            yield (
                f"{where} looks at the header {header} itself, so canaryd.io/match cannot ask for"
                f" {match} too; use another header, or take it out of the rule"
            )
        if len(looked_at) >= MAX_HEADERS:
            yield f"{where} looks at {len(looked_at)} headers, and none can be added; remove one"


def _outranked(rules: list[JsonDict], led: list[int], parts: Parts) -> Iterator[str]:
    """A header condition counts more than query parameters do: a rule that leads elsewhere by
    those would lose requests to the canary of another rule.
    """
    for index, rule in enumerate(rules):
        if index in led or not any(match.get("queryParams") for match in matches_of(rule)):
            continue
        yield (
            f"{_name(rules, index)} leads elsewhere by a query parameter, and canaryd.io/match"
            f" ({parts.matches[0]}) would go before it; move one of the two to an HTTPRoute of its"
            " own"
        )


def _too_many(full: Sequence[Mapping[str, Any]], own: int) -> Iterator[str]:
    if len(full) > MAX_RULES:
        yield (
            f"{own} rules become {len(full)} with canaryd.io/match, and a route has {MAX_RULES} at"
            " most; ask by fewer conditions, or split the route"
        )
    counts = [len(matches_of(rule)) for rule in full]
    if max(counts) > MAX_MATCHES_OF_RULE or sum(counts) > MAX_MATCHES:
        yield (
            f"its matches become {sum(counts)}, {max(counts)} of them in one rule, with"
            f" canaryd.io/match; a rule has {MAX_MATCHES_OF_RULE} and a route {MAX_MATCHES} at"
            " most; ask by fewer conditions, or split the route"
        )


def _name(rules: Sequence[Mapping[str, Any]], index: int) -> str:
    name = rules[index].get("name")
    return f"rule {index} ({name})" if name else f"rule {index}"
