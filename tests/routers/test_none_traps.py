"""The traps of a Service whose selector is the route: all or nothing, and never nobody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from canaryd.core import manifests, names, views
from canaryd.core.kinds import SERVICE
from canaryd.core.model import Builtin, CanarySpec, Comparator, Condition, LoadTestSpec, MetricCheck
from canaryd.core.program import Strategy
from canaryd.core.routing import PRIMARY_ONLY, Match, MatchKind, Routing
from canaryd.core.snapshot import App, RouteState
from canaryd.core.views import Identity
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.store import Store
from canaryd.ports.errors import Conflict
from canaryd.routers.none import EVERYBODY, SelectorRouter
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.scenarios.manifests import NAMESPACE, service

pytestmark = pytest.mark.looptime

KEY = (NAMESPACE, "app")
OWNER = Identity(NAMESPACE, "app", "uid-app")
PRIMARY = {"app": "app-primary"}
CANARY = {"app": "app", "pod-template-hash": "7d9f"}
BLUE_GREEN = CanarySpec(strategy=Strategy.BLUE_GREEN)
LOAD = LoadTestSpec(name="get", method="GET", path="/", rate=10, duration_s=5)
SUCCESS = MetricCheck(
    name="success-rate",
    condition=Condition(Comparator.AT_LEAST, 99.0),
    builtin=Builtin.SUCCESS_RATE,
)


@dataclass
class World:
    """An app with its three Services, and the router that switches the first of them."""

    server: FakeApiServer
    services: Store[Any]
    slices: Store[Any]
    router: SelectorRouter

    def app(self) -> App:
        self.sync()
        return App(
            target=OWNER,
            spec=BLUE_GREEN,
            label="app",
            match_labels={"app": "app"},
            apex=self.services.get(NAMESPACE, "app"),
        )

    def sync(self) -> None:
        for obj in self.server.objects(SERVICE, NAMESPACE):
            self.services.observe(obj)

    def enrol(self) -> None:
        """What enrolment does to the apex: mark, record, switch to the primary."""
        self.server.patch(
            SERVICE,
            NAMESPACE,
            "app",
            {
                "metadata": {
                    "labels": {names.LABEL_APEX: "app", names.LABEL_TARGET: "app"},
                    "annotations": {names.ORIGINAL_SELECTOR: '{"app":"app"}'},
                },
                "spec": {"selector": PRIMARY},
            },
        )
        self.sync()

    def by_hand(self, **selector: str | None) -> None:
        """Somebody, or a tool, changes the selector, and the cache hears of it."""
        self.server.patch(
            SERVICE,
            NAMESPACE,
            "app",
            {"spec": {"selector": {key.replace("_", "-"): v for key, v in selector.items()}}},
        )
        self.sync()

    def analyse(self, pods: str) -> None:
        """Let the canary Service select the pods of one ReplicaSet."""
        apex = self.app().apex
        made = manifests.canary_service(apex, OWNER, {"app": "app"}, pods)
        self.server.apply(made, "canaryd")
        self.sync()

    def ready(self, name: str, *addresses: str) -> None:
        """Who is ready behind a Service."""
        meta = {
            "namespace": NAMESPACE,
            "name": f"{name}-1",
            "labels": {names.LABEL_TARGET: "app", "kubernetes.io/service-name": name},
        }
        endpoints = [{"addresses": [address]} for address in addresses]
        self.slices.observe({"metadata": meta, "endpoints": endpoints})

    def selector(self) -> dict[str, str]:
        return self.server.object(SERVICE, NAMESPACE, "app")["spec"]["selector"]

    def read(self) -> RouteState:
        return self.router.read(self.app())


@asynccontextmanager
async def a_router(*, enrolled: bool = True, pods: str = "7d9f") -> AsyncIterator[World]:
    clock = VirtualClock()
    services: Store[Any] = Store(views.service_view)
    slices: Store[Any] = Store(
        views.endpoint_slice_view, indexers={"target": lambda s: [(s.id.namespace, s.target)]}
    )
    async with FakeApiServer(clock=clock) as server:
        server.put(service("app", {"app": "app"}))
        connection = Connection(server=server.url)
        async with KubeClient(connection, clock=clock, observe=services.observe) as client:
            world = World(server, services, slices, SelectorRouter(client, services, slices))
            if enrolled:
                world.enrol()
            made = manifests.primary_service(world.app().apex, OWNER, "app", "app")
            server.apply(made, "canaryd")
            world.analyse(pods)
            yield world


# --- writing and reading ---


async def test_weight_100_is_exactly_what_the_canary_Service_selects_and_0_what_the_primarys_does():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        assert CANARY == world.selector()
        assert (100, True) == (world.read().weight, world.read().in_sync)

        await world.router.write(world.app(), PRIMARY_ONLY)
        assert PRIMARY == world.selector()
        assert RouteState(routing=PRIMARY_ONLY, in_sync=True) == world.read()


async def test_one_patch_switches_the_selector_and_nothing_else_of_the_users_Service():
    async with a_router() as world:
        before = world.server.object(SERVICE, NAMESPACE, "app")
        world.server.requests.clear()
        await world.router.write(world.app(), EVERYBODY)
        after = world.server.object(SERVICE, NAMESPACE, "app")

        assert 1 == len(world.server.requests.writes())
        assert before["metadata"]["labels"] == after["metadata"]["labels"]
        assert before["metadata"]["annotations"] == after["metadata"]["annotations"]
        assert before["spec"] | {"selector": CANARY} == after["spec"]


async def test_writing_the_same_again_sends_nothing():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        world.server.requests.clear()
        await world.router.write(world.app(), EVERYBODY)

        assert [] == world.server.requests.writes()


async def test_a_selector_that_was_changed_since_it_was_seen_is_not_overwritten():
    async with a_router() as world:
        app = world.app()
        world.server.patch(SERVICE, NAMESPACE, "app", {"spec": {"selector": {"app": "other"}}})
        with pytest.raises(Conflict):
            await world.router.write(app, EVERYBODY)


async def test_nobody_is_sent_to_a_canary_Service_without_pods_or_that_is_gone():
    async with a_router(pods=names.NO_PODS) as world:
        with pytest.raises(Conflict, match="app-canary selects no pods"):
            await world.router.write(world.app(), EVERYBODY)
        world.services.forget(world.server.object(SERVICE, NAMESPACE, "app-canary"))
        with pytest.raises(Conflict, match="app-canary selects no pods"):
            await world.router.write(world.app(), EVERYBODY)
        assert PRIMARY == world.selector()


async def test_a_selector_counts_only_when_its_endpoints_follow_it():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        world.ready("app-canary", "10.0.0.7", "10.0.0.8")
        assert "does not lead to the canary's pods alone yet" in world.read().obstacle
        world.ready("app", "10.0.0.1", "10.0.0.7")
        assert "does not lead to the canary's pods alone yet" in world.read().obstacle
        world.ready("app", "10.0.0.7")
        assert "" == world.read().obstacle


# --- enrolling and leaving ---


async def test_before_enrolment_there_is_nothing_to_write_and_nothing_is_written():
    async with a_router(enrolled=False) as world:
        assert RouteState(routing=PRIMARY_ONLY, in_sync=True) == world.read()
        await world.router.write(world.app(), PRIMARY_ONLY)
        assert {"app": "app"} == world.selector()

        with pytest.raises(Conflict, match="not canaryd's to switch yet"):
            await world.router.write(world.app(), EVERYBODY)


async def test_between_runs_nothing_of_it_is_left_to_clean_up():
    async with a_router() as world:
        assert RouteState() == world.router.orphans(KEY)
        world.server.requests.clear()
        await world.router.retreat(KEY)
        await world.router.cleanup(KEY)
        assert [] == world.server.requests.writes()


@pytest.mark.parametrize("how", ["retreat", "cleanup"])
async def test_without_the_app_everybody_goes_to_what_the_primarys_own_Service_selects(how):
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        assert RouteState(routing=EVERYBODY) == world.router.orphans(KEY)

        await getattr(world.router, how)(KEY)
        assert PRIMARY == world.selector()
        assert RouteState() == world.router.orphans(KEY)


async def test_another_apps_Service_is_none_of_its_business():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        assert RouteState() == world.router.orphans((NAMESPACE, "neighbour"))
        await world.router.retreat((NAMESPACE, "neighbour"))
        assert CANARY == world.selector()


async def test_a_retreat_with_nothing_to_tell_the_primarys_pods_by_is_refused_aloud():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        world.services.forget(world.server.object(SERVICE, NAMESPACE, "app-primary"))
        with pytest.raises(Conflict, match=r"Service app-primary.* is gone"):
            await world.router.retreat(KEY)


# --- drift ---


async def test_the_users_own_selector_put_back_is_nobodys_route_and_is_written_over():
    async with a_router() as world:
        world.by_hand(app="app")
        assert RouteState() == world.read()

        await world.router.write(world.app(), PRIMARY_ONLY)
        assert PRIMARY == world.selector()


async def test_a_canary_that_was_scaled_away_under_the_Service_still_counts_as_one_with_users():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        world.analyse(names.NO_PODS)
        assert (100, False) == (world.read().weight, world.read().in_sync)


async def test_the_Service_follows_when_another_ReplicaSet_is_analysed():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        world.analyse("66aa")
        assert not world.read().in_sync

        await world.router.write(world.app(), EVERYBODY)
        assert "66aa" == world.selector()["pod-template-hash"]
        assert world.read().in_sync


async def test_a_record_that_was_lost_at_weight_100_is_made_of_the_selector_without_the_pods():
    async with a_router() as world:
        await world.router.write(world.app(), EVERYBODY)
        world.server.edit(SERVICE, NAMESPACE, "app", lambda s: s["metadata"].update(annotations={}))
        app = world.app()
        assert {"app": "app"} == app.apex.original_selector()
        assert RouteState(routing=EVERYBODY) == world.router.orphans(KEY)

        await world.router.write(app, PRIMARY_ONLY)
        assert PRIMARY == world.selector()


# --- plans ---


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (CanarySpec(), "weight 10, 20, 30, 40, 50 cannot be written"),
        (
            replace(BLUE_GREEN, promotion_step_weight=50),
            "canaryd.io/promotion-step-weight: 50 cannot be written",
        ),
        (
            CanarySpec(strategy=Strategy.AB, matches=(Match(MatchKind.COOKIE, "beta"),)),
            "canaryd.io/match: a Service does not look at requests",
        ),
        (replace(BLUE_GREEN, mirror=10), "canaryd.io/mirror: a Service cannot mirror"),
        (
            replace(BLUE_GREEN, metrics=(SUCCESS,)),
            "canaryd.io/metric.success-rate: nobody counts requests",
        ),
    ],
    ids=["shares", "steps back", "conditions", "a mirror", "a built-in metric"],
)
async def test_what_a_selector_cannot_say_is_refused_and_never_approximated(plan, words):
    async with a_router() as world:
        [refusal] = world.router.validate(plan)
        assert words in refusal


@pytest.mark.parametrize(
    "plan",
    [
        BLUE_GREEN,
        CanarySpec(strategy=Strategy.DIRECT),
        CanarySpec(weights=(100,)),
        replace(BLUE_GREEN, metrics=(replace(SUCCESS, builtin=None, query="sum(up)"),)),
        replace(BLUE_GREEN, metrics=(SUCCESS,), load_tests=(LOAD,)),
    ],
    ids=["blue/green", "direct", "all at once", "a query", "a built-in that load tests answer"],
)
async def test_plans_of_all_or_nothing_are_taken(plan):
    async with a_router() as world:
        assert () == world.router.validate(plan)


async def test_nobody_counts_its_requests_and_it_says_so():
    async with a_router() as world:
        identity = world.router.identity(world.app())
        assert (None, False) == (identity.dialect, identity.is_counted)


async def test_a_headless_Service_is_told_about_since_its_callers_keep_addresses():
    async with a_router() as world:
        app = world.app()
        assert () == world.router.cautions(app)
        headless = replace(app, apex=replace(app.apex, cluster_ip="None"))
        [words] = world.router.cautions(headless)
        assert "Service app is headless" in words


def test_a_share_is_never_asked_of_the_selector():
    apex = views.service_view(service("app", {"app": "app"}))
    for routing in (Routing(0), Routing(100)):
        wanted = manifests.apex_selector_for(apex, "app", "app", routing, CANARY)
        assert (CANARY if routing.weight else PRIMARY) == wanted
