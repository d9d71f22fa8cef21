"""What a data plane makes of Ingresses with the ingress-nginx canary annotations: a table of routes with two sides.

Two readers of the same annotations, which differ where it hurts (facts of Traefik 3.7.9 and ingress-nginx 1.15.1):

- Traefik leaves a canary without endpoints out, so that the primary serves everything; a terminating pod that still
  serves counts as an endpoint but gets no new requests, so that a canary with nothing else fails its share;
  a primary without endpoints fails its own share only.
- ingress-nginx looks at ready endpoints only; without a ready primary every request fails, before any canary rule;
  one path of the canary Ingress without a partner switches that canary off altogether.

Deliberately not shared with the daemon's own reading of annotations: a fake that shared it could not show it wrong.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from canaryd.core.kinds import ENDPOINT_SLICE, INGRESS, SERVICE
from tests.fakes.apiserver.store import Manifest, Store

PREFIX = "nginx.ingress.kubernetes.io"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DataPlaneKind(StrEnum):
    """Whose reading of the annotations, and whose metrics."""

    TRAEFIK = "traefik"
    INGRESS_NGINX = "ingress-nginx"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a Service; a draining one is kept but gets no new requests."""

    ip: str
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """One backend of a route: the Service and port as the Ingress spells them."""

    service: str
    port: str
    endpoints: tuple[Endpoint, ...]
    canary: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One path of one main Ingress, with the canary that goes with it."""

    namespace: str
    ingress: str
    host: str
    path: str
    path_type: str
    primary: Side
    canary: Side | None = None
    weight: int = 0
    total: int = 100
    mirror: Side | None = None
    """Who gets a copy of ``mirrored`` percent of the requests."""
    mirrored: int = 0

    def serves(self, host: str, path: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether a request meets this route; ``headers`` is for readers that look at them."""
        del headers
        if self.host and self.host != host:
            return False
        if self.path_type == "Exact":
            return path == self.path
        prefix = self.path.rstrip("/")
        return not prefix or path == prefix or path.startswith(f"{prefix}/")

    def rank(self) -> tuple[int, ...]:
        """How specific the route is: of those that serve a request the greatest wins."""
        return bool(self.host), self.path_type == "Exact", len(self.path)


@dataclass(frozen=True, slots=True)
class _Path:
    host: str
    path: str
    path_type: str
    service: str
    port: str

    def key(self, kind: DataPlaneKind) -> tuple[str, str, str]:
        """What a canary's path must equal to meet it: ingress-nginx folds two path types into one."""
        folded = self.path_type
        if kind is DataPlaneKind.INGRESS_NGINX and folded == "ImplementationSpecific":
            folded = "Prefix"
        return self.host, self.path, folded


def compile_routes(
    store: Store, kind: DataPlaneKind, ingress_class: str, prefix: str = PREFIX
) -> tuple[Route, ...]:
    """The route table of the objects as they are now."""
    return _Compiler(store, kind, ingress_class, prefix).routes()


def find_route(
    routes: tuple[Route, ...], host: str, path: str, headers: Mapping[str, str] | None = None
) -> Route | None:
    """The route of a request: named hosts first, then exact paths, then the longest prefix."""
    serving = [route for route in routes if route.serves(host, path, headers)]
    return max(serving, key=lambda route: route.rank(), default=None)


class _Compiler:
    def __init__(self, store: Store, kind: DataPlaneKind, ingress_class: str, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._kind = kind
        self._slices: dict[tuple[str, str], list[Manifest]] = {}
        for item in store.items(ENDPOINT_SLICE):
            meta = item["metadata"]
            name = (meta.get("labels") or {}).get("kubernetes.io/service-name", "")
            self._slices.setdefault((meta["namespace"], name), []).append(item)
        ours = [i for i in store.items(INGRESS) if _class_of(i) == ingress_class]
        # Older Ingresses win; of equal age the greater name.
        ours.sort(key=lambda i: (i["metadata"]["namespace"], i["metadata"]["name"]), reverse=True)
        ours.sort(key=lambda i: i["metadata"]["creationTimestamp"])
        self._canaries = [i for i in ours if self._says(i, "canary") == "true"]
        self._mains = [i for i in ours if self._says(i, "canary") != "true"]

    def routes(self) -> tuple[Route, ...]:
        mains = [(main, path) for main in self._mains for path in _paths(main)]
        taken: set[tuple[str, str, str]] = set()
        canaries = self._canary_sides(mains)
        routes = []
        for main, path in mains:
            if path.key(self._kind) in taken:
                continue
            taken.add(path.key(self._kind))
            routes.append(self._route(main, path, canaries))
        return tuple(routes)

    def _route(
        self,
        main: Manifest,
        path: _Path,
        canaries: dict[tuple[str, str, str], tuple[Side, int, int]],
    ) -> Route:
        namespace, name = main["metadata"]["namespace"], main["metadata"]["name"]
        primary = Side(path.service, path.port, self._endpoints(namespace, path.service))
        side, weight, total = canaries.get((namespace, path.service, path.port), (None, 0, 100))
        if self._kind is DataPlaneKind.INGRESS_NGINX and not primary.endpoints:
            side = None
        place = (path.host, path.path, path.path_type)
        return Route(namespace, name, *place, primary, side, weight if side else 0, total)

    def _canary_sides(
        self, mains: list[tuple[Manifest, _Path]]
    ) -> dict[tuple[str, str, str], tuple[Side, int, int]]:
        """The canary of each primary backend: it holds for every path that uses that backend."""
        found: dict[tuple[str, str, str], tuple[Side, int, int]] = {}
        claimed: set[tuple[str, str, str]] = set()
        for canary in self._canaries:
            namespace = canary["metadata"]["namespace"]
            pairs = [(path, self._partner(namespace, path, mains)) for path in _paths(canary)]
            strict = self._kind is DataPlaneKind.INGRESS_NGINX
            if strict and any(partner is None for _, partner in pairs):
                continue
            for path, partner in pairs:
                if partner is None or partner.service == path.service:
                    continue
                backend = (namespace, partner.service, partner.port)
                if backend in claimed:
                    continue
                claimed.add(backend)
                side = Side(path.service, path.port, self._endpoints(namespace, path.service), True)
                if side.endpoints:
                    found[backend] = (side, *self._weight(canary))
        return found

    def _partner(
        self, namespace: str, path: _Path, mains: list[tuple[Manifest, _Path]]
    ) -> _Path | None:
        for main, candidate in mains:
            same = candidate.key(self._kind) == path.key(self._kind)
            if same and main["metadata"]["namespace"] == namespace:
                return candidate
        return None

    def _says(self, ingress: Manifest, key: str) -> str | None:
        return (ingress["metadata"].get("annotations") or {}).get(f"{self._prefix}/{key}")

    def _weight(self, canary: Manifest) -> tuple[int, int]:
        """Weight and total as their readers take them: no integer is 0, a total below 100 is 100."""
        total = max(_integer(self._says(canary, "canary-weight-total"), 100), 100)
        return min(max(_integer(self._says(canary, "canary-weight"), 0), 0), total), total

    def _endpoints(self, namespace: str, service: str) -> tuple[Endpoint, ...]:
        if self._store.get(SERVICE, (namespace, service)) is None:
            return ()
        keep_draining = self._kind is DataPlaneKind.TRAEFIK
        found = []
        for item in self._slices.get((namespace, service), ()):
            for endpoint in item.get("endpoints") or ():
                conditions = endpoint.get("conditions") or {}
                if conditions.get("ready") is not False:
                    found.append(Endpoint(endpoint["addresses"][0]))
                elif keep_draining and conditions.get("serving") and conditions.get("terminating"):
                    found.append(Endpoint(endpoint["addresses"][0], draining=True))
        return tuple(found)


def _class_of(ingress: Manifest) -> str:
    annotations = ingress["metadata"].get("annotations") or {}
    return str(ingress["spec"].get("ingressClassName") or annotations.get(CLASS_ANNOTATION, ""))


def _paths(ingress: Manifest) -> Iterator[_Path]:
    for rule in ingress["spec"].get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            service: dict[str, Any] = (path.get("backend") or {}).get("service") or {}
            port = service.get("port") or {}
            yield _Path(
                rule.get("host", ""),
                path.get("path", "/"),
                path["pathType"],
                service.get("name", ""),
                str(port.get("name") or port.get("number") or ""),
            )


def _integer(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else 0
