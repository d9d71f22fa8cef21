"""What every router must do, told as stories: what was written is what is read, and nothing else moves.

A router is added by one line in ``ROUTERS``; the stories then run against it by themselves.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from canaryd.core import views
from canaryd.core.kinds import INGRESS, SERVICE
from canaryd.core.model import CanarySpec
from canaryd.core.snapshot import App
from canaryd.core.views import Identity
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.store import Store
from canaryd.ports.router import Router
from canaryd.routers.nginx import NginxRouter
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.scenarios.manifests import NAMESPACE, ingress, service

pytestmark = pytest.mark.looptime

KEY = (NAMESPACE, "app")
Make = Callable[[KubeClient, Store[Any]], Router]

ROUTERS: Mapping[str, Make] = {
    "nginx": NginxRouter,
    "nginx, another prefix": lambda api, store: NginxRouter(
        api, store, prefix="higress.example.io"
    ),
}


@dataclass
class World:
    server: FakeApiServer
    store: Store[Any]
    router: Router

    def sync(self) -> None:
        """Bring the cache up to date, as a watch does."""
        live = self.server.objects(INGRESS, NAMESPACE)
        for obj in live:
            self.store.observe(obj)
        seen = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in live}
        self.store.retain(seen, None, 2**62)

    def app(self, *mains: str) -> App:
        self.sync()
        apex = views.service_view(self.server.object(SERVICE, NAMESPACE, "app"))
        return App(
            target=Identity(NAMESPACE, "app", "uid-app"),
            spec=CanarySpec(),
            label="app",
            match_labels={"app": "app"},
            apex=apex,
            ingresses=tuple(self.store.get(NAMESPACE, name) for name in mains or ("app",)),
        )

    def canary(self, main: str = "app") -> dict[str, Any]:
        return self.server.object(INGRESS, NAMESPACE, f"{main}-canary")


@pytest.fixture(params=ROUTERS, ids=str)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with serving(ROUTERS[request.param]) as made:
        yield made


@asynccontextmanager
async def serving(make: Make) -> AsyncIterator[World]:
    clock = VirtualClock()
    store: Store[Any] = Store(views.object_view)
    async with FakeApiServer(clock=clock) as server:
        server.ensure_namespace(NAMESPACE)
        server.put(service("app", {"app": "app"}))
        server.put(ingress("app", "app.test"))
        connection = Connection(server=server.url)

        def observe(manifest: dict[str, Any]) -> None:
            if manifest["kind"] == "Ingress":
                store.observe(manifest)

        async with KubeClient(connection, clock=clock, observe=observe) as client:
            yield World(server, store, make(client, store))


async def test_before_anything_was_written_there_is_no_weight_and_nothing_in_sync(world: World):
    route = world.router.read(world.app())

    assert (None, False, False) == (route.weight, route.in_sync, route.orphaned)


@pytest.mark.parametrize("weight", [0, 1, 50, 100])
async def test_what_was_written_is_what_is_read(world: World, weight: int):
    app = world.app()
    await world.router.write(app, weight)

    route = world.router.read(app)
    assert (weight, True, False) == (route.weight, route.in_sync, route.orphaned)


async def test_writing_the_same_again_changes_nothing(world: World):
    app = world.app()
    await world.router.write(app, 20)
    before = world.canary()["metadata"]["resourceVersion"]
    await world.router.write(app, 20)

    assert before == world.canary()["metadata"]["resourceVersion"]


async def test_the_users_own_objects_are_never_written(world: World):
    before = world.server.object(INGRESS, NAMESPACE, "app")
    app = world.app()
    await world.router.write(app, 30)
    await world.router.retreat(KEY)
    await world.router.cleanup(KEY)

    assert before == world.server.object(INGRESS, NAMESPACE, "app")


async def test_a_weight_changed_by_hand_is_seen_and_repaired(world: World):
    app = world.app()
    await world.router.write(app, 30)

    def change(live: dict[str, Any]) -> None:
        annotations = live["metadata"]["annotations"]
        key = next(k for k in annotations if k.endswith("/canary-weight"))
        annotations[key] = "90"

    world.server.edit(INGRESS, NAMESPACE, "app-canary", change)
    world.sync()
    assert 90 == world.router.read(app).weight

    await world.router.write(app, 30)
    assert (30, True) == (world.router.read(app).weight, world.router.read(app).in_sync)


async def test_a_path_of_the_user_that_changed_makes_the_route_follow(world: World):
    app = world.app()
    await world.router.write(app, 30)

    def change(live: dict[str, Any]) -> None:
        live["spec"]["rules"][0]["host"] = "moved.test"

    world.server.edit(INGRESS, NAMESPACE, "app", change)
    moved = world.app()
    assert not world.router.read(moved).in_sync

    await world.router.write(moved, 30)
    assert world.router.read(moved).in_sync
    assert "moved.test" == world.canary()["spec"]["rules"][0]["host"]


async def test_every_ingress_of_the_app_gets_the_weight_and_a_mix_is_not_in_sync(world: World):
    world.server.put(ingress("partner", "partner.test"))
    world.server.edit(INGRESS, NAMESPACE, "partner", _to_app)
    app = world.app("app", "partner")
    await world.router.write(world.app("app"), 50)
    assert not world.router.read(app).in_sync

    await world.router.write(app, 50)
    assert (50, True) == (world.router.read(app).weight, world.router.read(app).in_sync)
    assert "partner.test" == world.canary("partner")["spec"]["rules"][0]["host"]


def _to_app(live: dict[str, Any]) -> None:
    for rule in live["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            path["backend"]["service"]["name"] = "app"


async def test_a_route_whose_main_route_is_gone_is_an_orphan_and_retreats_without_the_app(
    world: World,
):
    await world.router.write(world.app(), 40)
    world.server.remove(INGRESS, NAMESPACE, "app")
    world.sync()
    assert (40, True) == (
        world.router.orphans(KEY).weight,
        world.router.orphans(KEY).orphaned,
    )

    await world.router.retreat(KEY)
    assert 0 == world.router.orphans(KEY).weight


async def test_cleanup_deletes_what_is_ours_and_nothing_else(world: World):
    world.server.put(ingress("other-canary", "other.test"))
    await world.router.write(world.app(), 10)
    world.sync()
    await world.router.cleanup(KEY)

    assert world.server.find(INGRESS, NAMESPACE, "app-canary") is None
    assert world.server.find(INGRESS, NAMESPACE, "other-canary") is not None
    assert world.server.find(INGRESS, NAMESPACE, "app") is not None


async def test_the_identity_names_both_sides_of_the_app(world: World):
    identity = world.router.identity(world.app())

    assert (NAMESPACE, "app", "app") == (identity.namespace, identity.target, identity.apex)
    assert ("app-canary", "app-primary") == (identity.canary_service, identity.primary_service)
    assert (("app", "app", "80"),) == identity.ingresses


async def test_what_is_written_is_marked_as_ours_and_goes_with_the_target(world: World):
    await world.router.write(world.app(), 10)
    metadata = world.canary()["metadata"]

    assert {"canaryd", "app"} <= set(metadata["labels"].values())
    assert ["uid-app"] == [owner["uid"] for owner in metadata["ownerReferences"]]


async def test_paths_that_lead_elsewhere_stay_out_of_it(world: World):
    def add(live: dict[str, Any]) -> None:
        elsewhere = {"service": {"name": "other", "port": {"number": 80}}}
        path = {"path": "/other", "pathType": "Prefix", "backend": elsewhere}
        live["spec"]["rules"][0]["http"]["paths"].append(path)

    world.server.edit(INGRESS, NAMESPACE, "app", add)
    app = world.app()
    await world.router.write(app, 10)

    (rule,) = world.canary()["spec"]["rules"]
    assert ["/"] == [path["path"] for path in rule["http"]["paths"]]
    assert world.router.read(app).in_sync


async def test_an_object_of_ours_that_somebody_emptied_is_not_in_sync_and_is_made_whole(
    world: World,
):
    app = world.app()
    await world.router.write(app, 30)

    def change(live: dict[str, Any]) -> None:
        live["metadata"]["annotations"] = {}

    world.server.edit(INGRESS, NAMESPACE, "app-canary", change)
    world.sync()
    assert not world.router.read(app).in_sync

    await world.router.write(app, 30)
    assert (30, True) == (world.router.read(app).weight, world.router.read(app).in_sync)


async def test_retreat_and_cleanup_may_come_twice_or_find_nothing(world: World):
    for _ in range(2):
        await world.router.retreat(KEY)
        await world.router.cleanup(KEY)
    await world.router.write(world.app(), 30)
    for _ in range(2):
        await world.router.retreat(KEY)
    for _ in range(2):
        await world.router.cleanup(KEY)
    world.sync()

    assert (None, False) == (world.router.orphans(KEY).weight, world.router.orphans(KEY).orphaned)


async def test_what_belongs_to_another_app_is_none_of_its_business(world: World):
    await world.router.write(world.app(), 30)
    await world.router.retreat((NAMESPACE, "neighbour"))
    await world.router.cleanup((NAMESPACE, "neighbour"))

    assert 30 == world.router.read(world.app()).weight


async def test_a_plan_that_the_router_cannot_carry_out_is_refused_in_words(world: World):
    [words] = world.router.validate(CanarySpec(weights=(20, 150)))
    assert "weight 150 cannot be written" in words


async def test_a_plan_that_the_router_can_carry_out_is_not_refused(world: World):
    assert world.router.capabilities.weight
    assert () == world.router.validate(CanarySpec())
