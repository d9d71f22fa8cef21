"""What cautions say of neighbours is what the data planes do: each claim beside the route that it is about.

The data planes are played by ``tests/fakes/routes.py``, which does not share our reading of annotations.
"""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.core.cautions_nginx import cautions_of
from canaryd.core.kinds import INGRESS
from canaryd.core.views import object_view
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.routes import PREFIX, DataPlaneKind, compile_routes, find_route
from tests.scenarios.manifests import NAMESPACE, ingress, service

pytestmark = pytest.mark.looptime

BOTH = pytest.mark.parametrize("plane", DataPlaneKind, ids=str)
WEIGHT = 30


def leads_to(made: dict[str, Any], backend: str) -> dict[str, Any]:
    made["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = backend
    return made


def endpoints(name: str) -> dict[str, Any]:
    meta = {
        "namespace": NAMESPACE,
        "name": f"{name}-1",
        "labels": {"kubernetes.io/service-name": name},
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [],
    }


@asynccontextmanager
async def beside(other: dict[str, Any]):
    """App ``app`` with its Ingress and a canary at work, and another Ingress."""
    canary = leads_to(ingress("app-canary", "app.test"), "app-canary")
    keys = {f"{PREFIX}/canary": "true", f"{PREFIX}/canary-weight": str(WEIGHT)}
    canary["metadata"]["annotations"] = keys
    async with FakeApiServer(clock=VirtualClock()) as server:
        server.ensure_namespace(NAMESPACE)
        for name in ("app", "app-canary", "legacy"):
            server.put(service(name, {"app": name}))
            server.put(endpoints(name))
        for made in (ingress("app", "app.test"), canary, other):
            server.put(made)
        yield server


def told(server: FakeApiServer, other: str) -> str:
    main, neighbour = (object_view(server.object(INGRESS, NAMESPACE, n)) for n in ("app", other))
    [sentence] = cautions_of(main, "app", [neighbour])
    return sentence


def route(server: FakeApiServer, plane: DataPlaneKind, host: str, reader: str = "nginx"):
    found = find_route(compile_routes(server.store, plane, reader), host, "/")
    assert found is not None
    return found


@BOTH
async def test_users_of_an_ingress_that_is_not_named_get_the_canary(plane):
    async with beside(leads_to(ingress("api", "api.test"), "app")) as server:
        assert "its users get the canary too" in told(server, "api")
        assert WEIGHT == route(server, plane, "api.test").weight


@BOTH
async def test_users_of_an_ingress_that_spells_the_port_differently_do_not(plane):
    other = leads_to(ingress("api", "api.test"), "app")
    backend = other["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    backend["port"] = {"name": "http"}
    async with beside(other) as server:
        assert "its users all stay with the primary" in told(server, "api")
        assert 0 == route(server, plane, "api.test").weight


@BOTH
async def test_users_of_an_ingress_of_another_class_do_not(plane):
    other = leads_to(ingress("api", "api.test"), "app")
    other["spec"]["ingressClassName"] = "internal"
    async with beside(other) as server:
        assert "its users all stay with the primary" in told(server, "api")
        assert 0 == route(server, plane, "api.test", "internal").weight


@BOTH
async def test_users_of_another_Service_get_the_canary_where_its_Ingress_has_the_path(plane):
    """Made in the same second, the one of the greater name counts."""
    other = leads_to(ingress("old", "app.test"), "legacy")
    async with beside(other) as server:
        assert "may go to users of Service legacy" in told(server, "old")
        found = route(server, plane, "app.test")
        assert ("old", "legacy", WEIGHT) == (found.ingress, found.primary.service, found.weight)


@BOTH
async def test_requests_of_a_path_that_two_have_are_counted_under_one_name(plane):
    other = leads_to(ingress("twin", "app.test"), "app")
    async with beside(other) as server:
        assert "requests are counted under its name alone" in told(server, "twin")
        assert "twin" == route(server, plane, "app.test").ingress
