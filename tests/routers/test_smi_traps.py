"""The traps of TrafficSplits, told with the reader that is left: Linkerd with its SMI extension."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.core import routes_smi, views
from canaryd.core.kinds import (
    ALL_KINDS,
    SERVICE,
    TRAFFIC_SPLIT_V1ALPHA1,
    TRAFFIC_SPLIT_V1ALPHA2,
    TRAFFIC_SPLIT_V1ALPHA4,
    Kind,
)
from canaryd.core.model import CanarySpec, Dialect, Provider
from canaryd.core.program import Strategy
from canaryd.core.routing import PRIMARY_ONLY, Match, MatchKind, Routing
from canaryd.core.snapshot import App
from canaryd.core.views import Identity
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.store import Store
from canaryd.routers.smi import SmiRouter
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.routes import Route, find_route
from tests.fakes.splits import linkerd_routes
from tests.scenarios.manifests import NAMESPACE, service

pytestmark = pytest.mark.looptime

KEY = (NAMESPACE, "app")
V2 = TRAFFIC_SPLIT_V1ALPHA2


@dataclass
class World:
    """An app whose Services are there, and a router that speaks one version."""

    server: FakeApiServer
    splits: Store[Any]
    routes: Store[Any]
    router: SmiRouter
    kind: list[Kind] = field(default_factory=list)

    def app(self, apex: str = "app") -> App:
        self.sync()
        return App(
            target=Identity(NAMESPACE, "app", "uid-app"),
            spec=CanarySpec(provider=Provider.SMI),
            label="app",
            match_labels={"app": "app"},
            apex=views.service_view(self.server.object(SERVICE, NAMESPACE, apex)),
        )

    def sync(self) -> None:
        """Bring the cache up to date, as a watch does."""
        live = self.server.objects(self.kind[0], NAMESPACE)
        for obj in live:
            self.splits.observe(obj)
        seen = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in live}
        self.splits.retain(seen, None, 2**62)

    def split(self, name: str = "app") -> dict[str, Any]:
        return self.server.object(self.kind[0], NAMESPACE, name)

    def by_hand(self, **spec: Any) -> None:
        """Somebody edits our split, and the cache hears of it."""
        self.server.patch(self.kind[0], NAMESPACE, "app", {"spec": spec})
        self.sync()

    def read(self) -> tuple[int | None, bool]:
        route = self.router.read(self.app())
        return route.weight, route.in_sync

    def mesh(self) -> Route:
        """What a meshed client makes of the Service."""
        found = find_route(linkerd_routes(self.server.store), f"app.{NAMESPACE}", "/")
        assert found is not None
        return found


@asynccontextmanager
async def a_router(kind: Kind = V2) -> AsyncIterator[World]:
    clock = VirtualClock()
    splits: Store[Any] = Store(views.object_view)
    routes: Store[Any] = Store(views.object_view)
    spoken = [kind]
    async with FakeApiServer((*ALL_KINDS, *routes_smi.PREFERENCE), clock) as server:
        for name in ("app", "app-primary", "app-canary", "renamed"):
            server.put(service(name, {"app": name}))

        def observe(manifest: dict[str, Any]) -> None:
            if manifest["kind"] == "TrafficSplit":
                splits.observe(manifest)

        connection = Connection(server=server.url)
        async with KubeClient(connection, clock=clock, observe=observe) as client:
            router = SmiRouter(client, splits, routes=routes, kind=lambda: spoken[0])
            yield World(server, splits, routes, router, spoken)


def backends(primary: Any, canary: Any) -> list[dict[str, Any]]:
    return [
        {"service": "app-primary", "weight": primary},
        {"service": "app-canary", "weight": canary},
    ]


# --- writing and reading ---


@pytest.mark.parametrize("kind", routes_smi.PREFERENCE, ids=lambda kind: kind.version)
@pytest.mark.parametrize("weight", [0, 1, 50, 100])
async def test_in_every_version_what_is_written_is_what_is_read_and_what_the_mesh_does(
    kind, weight
):
    async with a_router(kind) as world:
        await world.router.write(world.app(), Routing(weight))

        assert (weight, True) == world.read()
        assert weight == 100 * world.mesh().weight / world.mesh().total


async def test_no_backend_is_ever_without_a_weight_on_which_the_extension_would_panic():
    async with a_router() as world:
        for weight in (0, 100):
            await world.router.write(world.app(), Routing(weight))
            assert [100 - weight, weight] == [
                b["weight"] for b in world.split()["spec"]["backends"]
            ]


async def test_the_version_may_change_between_two_writes():
    async with a_router(TRAFFIC_SPLIT_V1ALPHA1) as world:
        await world.router.write(world.app(), Routing(20))
        world.kind[0] = TRAFFIC_SPLIT_V1ALPHA4
        await world.router.write(world.app(), Routing(40))

        assert TRAFFIC_SPLIT_V1ALPHA4.api_version == world.split()["apiVersion"]
        assert (40, True) == world.read()


async def test_a_split_stored_as_text_is_no_drift_under_a_version_of_numbers():
    """The extension's CRD stores v1alpha1 and converts nothing."""
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        world.by_hand(backends=backends("70", "30"))

        assert (30, True) == world.read()


@pytest.mark.parametrize(
    ("kind", "written", "first"),
    [
        (V2, backends("70", "30"), True),
        (V2, backends("500m", 1), True),
        (V2, backends(10, 90.0), False),
        (TRAFFIC_SPLIT_V1ALPHA1, backends(10, 90), True),
        (TRAFFIC_SPLIT_V1ALPHA1, backends("10", "90"), False),
    ],
    ids=["text for numbers", "one of them", "numbers", "numbers for text", "text"],
)
async def test_weights_of_another_type_are_patched_first_since_they_let_no_apply_pass(
    kind, written, first
):
    """ "failed to convert new object to smd typed: expected numeric, got string" (Kubernetes 1.34)."""
    async with a_router(kind) as world:
        await world.router.write(world.app(), Routing(30))
        world.by_hand(backends=written)
        world.server.requests.clear()
        await world.router.write(world.app(), Routing(40))

        types = [r.content_type for r in world.server.requests.writes()]
        assert ["application/merge-patch+json"] * first + ["application/apply-patch+yaml"] == types
        assert (40, True) == world.read()


# --- drift ---


@pytest.mark.parametrize(
    ("edit", "weight"),
    [
        ({"backends": backends("500m", "500m")}, 50),
        ({"backends": backends(0, 0)}, None),
        ({"backends": [{"service": "app-canary", "weight": 1}]}, 100),
        ({"backends": [*backends(70, 30), {"service": "other", "weight": 100}]}, 15),
        ({"service": "other"}, 30),
        ({"matches": [{"kind": "HTTPRouteGroup", "name": "staff"}]}, 30),
    ],
    ids=["halves", "nobody", "canary alone", "a stranger", "another Service", "matches"],
)
async def test_what_somebody_made_of_our_split_is_seen_and_put_back_whole(edit, weight):
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        before = world.split()["spec"]
        world.by_hand(**edit)
        assert (weight, False) == world.read()

        await world.router.write(world.app(), Routing(30))
        world.sync()
        assert before == world.split()["spec"]
        assert (30, True) == world.read()


async def test_a_whole_split_of_another_weight_is_read_as_what_it_is():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        world.by_hand(backends=backends(10, 90))

        assert (90, True) == world.read()


async def test_our_split_without_our_mark_is_somebody_elses():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        world.server.edit(V2, NAMESPACE, "app", lambda s: s["metadata"].update(labels={}))
        world.sync()

        assert (None, False) == world.read()
        await world.router.retreat(KEY)
        await world.router.cleanup(KEY)
        assert backends(70, 30) == world.split()["spec"]["backends"]


async def test_a_split_of_an_earlier_apex_is_told_as_an_orphan_and_goes_with_the_next_write():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        app = world.app("renamed")
        route = world.router.read(app)
        assert (30, False, True) == (route.weight, route.in_sync, route.orphaned)

        await world.router.write(app, PRIMARY_ONLY)
        world.sync()
        route = world.router.read(app)
        assert (0, True, False) == (route.weight, route.in_sync, route.orphaned)
        assert world.server.find(V2, NAMESPACE, "app") is None


# --- without the app ---


async def test_a_retreat_leaves_the_split_with_everybody_on_the_primary_whatever_was_in_it():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        world.by_hand(backends=backends(0, 1), service="other", matches=[{"name": "staff"}])
        await world.router.retreat(KEY)

        assert {"service": "app", "backends": backends(100, 0)} == world.split()["spec"]
        assert PRIMARY_ONLY == world.router.orphans(KEY).routing
        assert world.mesh().canary is None


async def test_a_split_that_says_nothing_is_still_one_that_has_to_go():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        world.by_hand(backends=[])
        assert PRIMARY_ONLY == world.router.orphans(KEY).routing

        await world.router.cleanup(KEY)
        assert world.server.find(V2, NAMESPACE, "app") is None


async def test_without_a_split_the_mesh_goes_to_the_Service_itself():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        await world.router.cleanup(KEY)

        assert ("app", None) == (world.mesh().primary.service, world.mesh().canary)


# --- what is refused, and what is told ---


async def test_X13_an_ab_plan_is_refused_and_so_is_a_mirror():
    header = Match(MatchKind.HEADER, "x-canary", "yes")
    async with a_router() as world:
        [words] = world.router.validate(CanarySpec(strategy=Strategy.AB, matches=(header,)))
        assert "every user would get the canary" in words
        [words] = world.router.validate(CanarySpec(strategy=Strategy.BLUE_GREEN, mirror=10))
        assert "cannot mirror" in words


async def test_F26_a_cluster_without_the_kind_is_a_reason_and_with_it_there_is_none():
    async with a_router() as world:
        world.splits.serve(None, is_served=False)
        [words] = world.router.validate(CanarySpec())
        assert "which this cluster does not serve" in words

        world.splits.serve(None, is_served=True)
        assert () == world.router.validate(CanarySpec())


async def test_the_sides_are_told_apart_by_the_deployments_that_linkerd_knows():
    async with a_router() as world:
        identity = world.router.identity(world.app())

        assert Dialect.LINKERD is identity.dialect
        assert ("app", "app-canary", "app-primary") == (
            identity.target,
            identity.canary_service,
            identity.primary_service,
        )


async def test_an_HTTPRoute_for_the_same_Service_loses_its_force_and_is_told_about():
    parents = [{"group": "", "kind": "Service", "name": "app"}]
    async with a_router() as world:
        assert () == world.router.cautions(world.app())
        for name, refs in (("timeouts", parents), ("public", [{"name": "gateway"}])):
            meta = {"namespace": NAMESPACE, "name": name}
            world.routes.observe({"metadata": meta, "spec": {"parentRefs": refs}})

        [words] = world.router.cautions(world.app())
        assert "HTTPRoute timeouts is for Service app as the TrafficSplit is" in words
