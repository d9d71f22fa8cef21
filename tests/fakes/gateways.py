"""A data plane that reads HTTPRoutes: the rules of Gateway API v1, as far as backends, conditions and mirrors go.

Facts held from the specification: the most specific match wins across all rules of all routes (host, exact path, longest
prefix, method, number of headers, number of query parameters), then the older route, then the earlier rule; a share is
``weight / sum``; weights that are all 0 and a Service that does not exist fail, a Service without endpoints fails its
share. Regular expressions are matched as a whole by some (``whole``) and anywhere in the value by others.

Deliberately not shared with the daemon's own reading of rules: a fake that shared it could not show it wrong.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from canaryd.core.kinds import ENDPOINT_SLICE, HTTP_ROUTE, SERVICE
from tests.fakes.apiserver.store import Manifest, Store
from tests.fakes.routes import Endpoint, Route, Side

CANARY = "-canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOfGateway(Route):
    """One match of one rule."""

    rule: int
    headers: tuple[tuple[str, str, str], ...] = ()
    """Type, lower-case name, value."""
    queries: int = 0
    whole: bool = True

    def serves(self, host: str, path: str, headers: Mapping[str, str] | None = None) -> bool:
        given = {name.lower(): value for name, value in (headers or {}).items()}
        return Route.serves(self, host, path) and all(
            self._holds(kind, given.get(name), value) for kind, name, value in self.headers
        )

    def rank(self) -> tuple[int, ...]:
        return (
            bool(self.host),
            self.path_type == "Exact",
            len(self.path),
            len(self.headers),
            self.queries,
        )

    def _holds(self, kind: str, given: str | None, value: str) -> bool:
        if given is None:
            return False
        if kind == "Exact":
            return given == value
        found = re.fullmatch(value, given) if self.whole else re.search(value, given)
        return found is not None


def gateway_routes(store: Store, *, whole: bool = True) -> tuple[Route, ...]:
    """Every match of every rule, those that win first."""
    listed = [
        made
        for route in sorted(store.items(HTTP_ROUTE), key=_age)
        for index, rule in enumerate(route["spec"]["rules"])
        for made in _routes(store, route, index, rule, whole=whole)
    ]
    # The sort is stable: of equals the older route and the earlier rule stay in front.
    return tuple(sorted(listed, key=RouteOfGateway.rank, reverse=True))


def _age(route: Manifest) -> tuple[str, str, str]:
    meta = route["metadata"]
    return meta["creationTimestamp"], meta["namespace"], meta["name"]


def _routes(
    store: Store, route: Manifest, index: int, rule: Manifest, *, whole: bool
) -> Iterator[RouteOfGateway]:
    namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
    primary, canary, weight, total = _backends(store, namespace, rule)
    mirror, percent = _mirror(store, namespace, rule)
    for host in route["spec"].get("hostnames") or _services(route):
        for match in rule["matches"]:
            kind = match["path"]["type"]
            yield RouteOfGateway(
                namespace,
                name,
                host,
                match["path"]["value"],
                "Exact" if kind == "Exact" else "Prefix",
                primary,
                canary,
                weight,
                total,
                rule=index,
                headers=tuple(
                    (h["type"], h["name"].lower(), h["value"]) for h in match.get("headers") or ()
                ),
                queries=len(match.get("queryParams") or ()),
                mirror=mirror,
                mirrored=percent,
                whole=whole,
            )


def _services(route: Manifest) -> list[str]:
    """Hosts of a route of a mesh: the Services it is for; of a gateway's, any."""
    namespace = route["metadata"]["namespace"]
    parents = route["spec"].get("parentRefs") or ()
    return [f"{p['name']}.{namespace}" for p in parents if p["kind"] == "Service"] or [""]


def _backends(store: Store, namespace: str, rule: Manifest) -> tuple[Side, Side | None, int, int]:
    """Of a rule with one backend beside the canary: who gets what."""
    references = rule.get("backendRefs") or []
    total = sum(r["weight"] for r in references)
    canaries = [r for r in references if r["name"].endswith(CANARY)]
    others = [r for r in references if not r["name"].endswith(CANARY)]
    nobody = Side("", "", ())
    primary = _side(store, namespace, others[0]) if others and total else nobody
    if not canaries or not total:
        return primary, None, 0, max(total, 1)
    weight = sum(r["weight"] for r in canaries)
    return primary, _side(store, namespace, canaries[0], canary=True), weight, total


def _mirror(store: Store, namespace: str, rule: Manifest) -> tuple[Side | None, int]:
    for item in rule.get("filters") or ():
        if mirror := item.get("requestMirror"):
            side = _side(store, namespace, mirror["backendRef"], canary=True)
            return side, int(mirror.get("percent", 100))
    return None, 0


def _side(store: Store, namespace: str, reference: Manifest, *, canary: bool = False) -> Side:
    service = reference["name"]
    if store.get(SERVICE, (namespace, service)) is None:
        return Side(service, str(reference.get("port", "")), (), canary)
    ready = tuple(
        Endpoint(endpoint["addresses"][0])
        for item in store.items(ENDPOINT_SLICE, namespace)
        if (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
        for endpoint in item.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    )
    return Side(service, str(reference.get("port", "")), ready, canary)


def find_in_gateway(
    store: Store,
    host: str,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    *,
    whole: bool = True,
) -> RouteOfGateway | None:
    """The rule that a request meets."""
    for route in gateway_routes(store, whole=whole):
        assert isinstance(route, RouteOfGateway)
        if route.serves(host, path, headers):
            return route
    return None
