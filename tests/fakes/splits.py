"""Data planes without an ingress: what a mesh makes of TrafficSplits, and what a plain Service is to its callers.

Both are route tables like those of ``routes``, with the host ``<service>.<namespace>``:

- Linkerd with its SMI extension (facts of linkerd-smi 0.2.7 and linkerd2-proxy): a split turns requests for the Service
  it names into requests for its backends; backends of weight 0 are dropped, with none left the Service itself is asked;
  a backend without endpoints fails its share. Weights are quantities in every version, since nothing converts them.
- kube-proxy: a Service is its ready endpoints, all or nothing; there is no canary in it, only pods.

Deliberately not shared with the daemon's own reading of weights: a fake that shared it could not show it wrong.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from canaryd.core.kinds import ENDPOINT_SLICE, SERVICE
from tests.fakes.apiserver.store import Manifest, Store
from tests.fakes.routes import Endpoint, Route, Side

CANARY = "-canary"
DECIMILLIS = 10_000
SUFFIXES = {"m": Decimal("0.001"), "k": Decimal(1000), "M": Decimal(1_000_000)}


def linkerd_routes(store: Store) -> tuple[Route, ...]:
    """Every Service as a meshed client gets to it."""
    splits = {(s["metadata"]["namespace"], s["spec"].get("service", "")): s for s in _splits(store)}
    return tuple(_split(store, name, splits.get(name)) for name in _services(store))


def service_routes(store: Store) -> tuple[Route, ...]:
    """Every Service as a client without a mesh gets to it."""
    return tuple(_split(store, name, None) for name in _services(store))


def _services(store: Store) -> Iterator[tuple[str, str]]:
    return ((s["metadata"]["namespace"], s["metadata"]["name"]) for s in store.items(SERVICE))


def _splits(store: Store) -> Iterator[Manifest]:
    return (s for kind in store.kinds if kind.kind == "TrafficSplit" for s in store.items(kind))


def _split(store: Store, name: tuple[str, str], split: Manifest | None) -> Route:
    namespace, service = name
    canary, primary = None, (service, 0)
    for backend, weight in _backends(split) if split is not None else ():
        if backend.endswith(CANARY):
            canary = (backend, weight)
        else:
            primary = (backend, weight)
    place = (f"{service}.{namespace}", "/", "Prefix")
    return Route(
        namespace,
        "",
        *place,
        Side(primary[0], "80", _endpoints(store, namespace, primary[0])),
        Side(canary[0], "80", _endpoints(store, namespace, canary[0]), True) if canary else None,
        canary[1] if canary else 0,
        (canary[1] + primary[1]) if canary else 100,
    )


def _backends(split: Manifest) -> Iterator[tuple[str, int]]:
    for backend in split["spec"].get("backends") or ():
        if weight := _decimillis(backend):
            yield backend["service"], weight


def _decimillis(backend: Mapping[str, Any]) -> int:
    text = str(backend["weight"])
    scale = SUFFIXES.get(text[-1], Decimal(1))
    return int(Decimal(text.rstrip("mkM")) * scale * DECIMILLIS)


def _endpoints(store: Store, namespace: str, service: str) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(address)
        for item in store.items(ENDPOINT_SLICE, namespace)
        if (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service
        for endpoint in item.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
    )
