"""Apps behind a gateway that reads HTTPRoutes: the whole daemon, and users who count lost requests."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.app import Options
from canaryd.config.settings import Gateway, Providers
from canaryd.core.kinds import DEPLOYMENT, HTTP_ROUTE, INGRESS, SERVICE
from tests.fakes.apiserver.httproutes import before_1_3
from tests.fakes.gateways import gateway_routes
from tests.scenarios.harness import Story, plan, story
from tests.scenarios.manifests import HOST, NAMESPACE, deployment, service

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

OPTIONS = Options(workers=4, providers=Providers(gateway=Gateway(enabled=True, dialect="istio")))
STATIC = {"name": "static", "port": 80}
APEX = {"name": "app", "port": 80}


def http_route(*rules: Mapping[str, Any], name: str = "app") -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"team": "shop"}},
        "spec": {
            "parentRefs": [{"name": "web"}],
            "hostnames": [HOST],
            "rules": [dict(rule) for rule in rules],
        },
    }


STATIC_RULE = {
    "matches": [{"path": {"type": "PathPrefix", "value": "/static"}}],
    "backendRefs": [STATIC],
}
ROUTE = http_route(
    STATIC_RULE,
    {"backendRefs": [APEX], "timeouts": {"request": "30s"}},
)
"""What the app's team has: the app is not in the first rule."""


@asynccontextmanager
async def a_gateway(*, installed: bool = True, always_late: bool = False) -> AsyncIterator[Story]:
    kinds = (HTTP_ROUTE,)
    async with story(OPTIONS, reads=gateway_routes, kinds=kinds, always_late=always_late) as told:
        if not installed:  # the daemon has not asked for anything yet
            told.server.uninstall(HTTP_ROUTE)
        yield told


def deploy(told: Story, annotations: dict[str, str] | None = None) -> None:
    """An app as its team has it: Deployment, Service, HTTPRoute."""
    labels = {"app": "app"}
    told.server.put(
        deployment(
            "app",
            image="app:1",
            replicas=2,
            annotations=annotations or {},
            pod_spec=None,
            labels=labels,
        )
    )
    told.server.put(service("app", labels))


async def enrolled(told: Story, **changes: str | None) -> None:
    """An app with users who get answers from before it is enrolled."""
    deploy(told)
    told.server.put(ROUTE)
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 2, "the app is ready")
    await asyncio.sleep(2 * told.plane.throttle_s + 1)
    told.users()
    annotations = plan(provider="gateway", **changes)
    told.server.patch(DEPLOYMENT, NAMESPACE, "app", {"metadata": {"annotations": annotations}})
    await told.until_phase("Initialized")
    await told.until_idle()


def rules(told: Story) -> list[dict[str, Any]]:
    return list(told.stored(HTTP_ROUTE)["spec"]["rules"])


def share(told: Story) -> int:
    """Percent that the rule of the app sends to the canary."""
    weights = {r["name"]: r["weight"] for r in rules(told)[1]["backendRefs"]}
    total = sum(weights.values())
    assert total > 0
    return round(100 * weights.get("app-canary", 0) / total)


async def until_share(told: Story, weight: int, seconds: float = 120.0) -> float:
    return await told.until(
        lambda: share(told) == weight, f"a rule with {weight} on the canary", seconds
    )


def as_it_was(told: Story) -> bool:
    """Whether the route is as its team wrote it, and the API server completed it."""
    live = told.stored(HTTP_ROUTE)
    return (
        "annotations" not in live["metadata"]
        and [len(r["backendRefs"]) for r in rules(told)] == [1, 1]
        and [r["backendRefs"][0]["weight"] for r in rules(told)] == [1, 1]
        and rules(told)[1].get("timeouts") == {"request": "30s"}
        and "filters" not in rules(told)[1]
    )


# --- without losing anybody -----------------------------------------------------------------------


@pytest.mark.parametrize("always_late", [False, True], ids=["quick", "always late"])
async def test_X28_enrolment_a_release_a_rollback_and_leaving_lose_no_request(always_late):
    async with a_gateway(always_late=always_late) as told:
        await enrolled(told)
        before = told.stored(HTTP_ROUTE)["spec"]
        assert as_it_was(told)

        told.set_image("app:2")
        await until_share(told, 20)
        await until_share(told, 50)
        await told.until_phase("Succeeded")
        await told.until_idle()
        assert ("app:2", before) == (told.image(), told.stored(HTTP_ROUTE)["spec"])

        told.source.bad_images.add("app:3")
        told.set_image("app:3")
        await until_share(told, 20)
        await told.until_phase("Failed")
        await until_share(told, 0)
        await told.until_idle()
        assert ("app:2", before) == (told.image(), told.stored(HTTP_ROUTE)["spec"])

        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "left")
        await asyncio.sleep(10)
        assert as_it_was(told)
        assert [] == told.lost()
        assert told.plane.sent()[-1].deployment == "app"
        assert not told.exists(INGRESS, "app-canary")


async def test_the_gateway_really_shares_as_the_rule_says():
    async with a_gateway() as told:
        await enrolled(told, weights="30", interval="60s")
        told.set_image("app:2")
        await until_share(told, 30)
        await asyncio.sleep(5)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(40)

        assert 30 == pytest.approx(told.plane.canary_share(since=since), abs=1)


async def test_X5_without_a_ready_canary_pod_the_weight_goes_back_at_once():
    async with a_gateway() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.cluster.break_pods("app")

        assert 2 > await until_share(told, 0)


async def test_leaving_in_the_middle_of_a_run_takes_everything_out_of_the_route():
    async with a_gateway() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.annotate(enabled="false")
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "left")

        assert as_it_was(told)
        await asyncio.sleep(5)
        assert [] == told.lost()


async def test_a_rule_that_refers_to_the_canary_never_does_so_before_its_service_exists():
    async with a_gateway() as told:
        names: list[bool] = []

        def look(_: Any) -> None:
            spec = told.stored(HTTP_ROUTE).get("spec") or {"rules": []}
            listed = [r["name"] for rule in spec["rules"] for r in rule["backendRefs"]]
            names.append("app-canary" not in listed or told.exists(SERVICE, "app-canary"))

        told.server.store.subscribe(look)
        await enrolled(told)
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "left")

        assert all(names)


def refusing(live: dict[str, Any]) -> None:
    """A reader that does not find what the route refers to."""
    refused = {
        "type": "ResolvedRefs",
        "status": "False",
        "reason": "BackendNotFound",
        "message": "Service app-canary not found",
        "observedGeneration": live["metadata"]["generation"],
    }
    live["status"] = {"parents": [{"parentRef": {"name": "web"}, "conditions": [refused]}]}


async def test_a_share_that_the_gateway_refuses_goes_back_at_once_and_the_run_fails_in_its_words():
    async with a_gateway() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        for _ in range(2):  # as often as failure-threshold says
            await until_share(told, 20)
            await asyncio.sleep(1)
            told.server.edit(HTTP_ROUTE, NAMESPACE, "app", refusing, subresource="status")
            assert 2 > await until_share(told, 0)

        await told.until_phase("Failed")
        assert "BackendNotFound" in told.message()
        await told.until_event("RouteRefused")
        assert "app:1" == told.image()


# --- somebody else's hands ------------------------------------------------------------------------


async def test_a_weight_changed_by_hand_is_written_again_and_told():
    def change(live: dict[str, Any]) -> None:
        live["spec"]["rules"][1]["backendRefs"][1]["weight"] = 80
        live["spec"]["rules"][1]["backendRefs"][0]["weight"] = 20

    async with a_gateway() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.server.edit(HTTP_ROUTE, NAMESPACE, "app", change)

        await until_share(told, 20, 5)
        await told.until_event("TrafficDrift")


@pytest.mark.parametrize("way", ["server-side", "client-side"])
async def test_a_route_applied_again_from_git_keeps_what_it_says_and_gets_the_canary_back(way):
    async with a_gateway() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        moved = http_route(STATIC_RULE, {"backendRefs": [APEX], "timeouts": {"request": "5s"}})
        if way == "server-side":
            told.server.apply(moved, "argocd-controller")
        else:
            told.server.patch(HTTP_ROUTE, NAMESPACE, "app", {"spec": moved["spec"]})

        await until_share(told, 20, 10)
        assert {"request": "5s"} == rules(told)[1]["timeouts"]
        await told.until_phase("Succeeded", seconds=600)
        assert {"request": "5s"} == rules(told)[1]["timeouts"]
        assert [] == told.lost()


async def test_between_runs_an_apply_from_git_is_nobodys_business():
    async with a_gateway() as told:
        await enrolled(told)
        told.server.requests.clear()
        told.server.apply(ROUTE, "argocd-controller")
        await asyncio.sleep(60)

        assert [] == told.writes()


async def test_a_rule_that_gets_another_backend_in_mid_run_is_named_and_left_alone():
    def change(live: dict[str, Any]) -> None:
        live["spec"]["rules"][1]["backendRefs"].append({"name": "static", "port": 80, "weight": 9})

    async with a_gateway() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.server.edit(HTTP_ROUTE, NAMESPACE, "app", change)
        await told.until(lambda: "also leads to static" in told.message(), "it is told")
        await asyncio.sleep(30)

        assert 9 == rules(told)[1]["backendRefs"][-1]["weight"]


# --- conditions and mirrors -----------------------------------------------------------------------


async def test_A_B_those_who_ask_get_the_canary_and_nobody_else():
    asked = {"strategy": "ab", "match": "header x-canary=insider; cookie canary", "weights": None}
    async with a_gateway() as told:
        await enrolled(told, iterations="2", **asked)
        insider = told.plane.client(HOST, rate=20, name="insider", headers={"X-Canary": "insider"})
        cookie = told.plane.client(
            HOST, rate=20, name="cookie", headers={"Cookie": "canary=always"}
        )
        told.set_image("app:2")
        await told.until(lambda: len(rules(told)) > 2, "rules for those who ask")
        await asyncio.sleep(2 * told.plane.throttle_s + 0.5)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(5)
        answered = {(s.client, s.version) for s in told.plane.sent(since=since)}
        assert {
            (insider.name, "app:2"),
            (cookie.name, "app:2"),
            (f"{HOST}/", "app:1"),
        } == answered

        await told.until_phase("Succeeded", seconds=600)
        await told.until_idle()
        assert as_it_was(told)
        assert [] == told.lost()


async def test_blue_green_with_a_mirror_copies_requests_and_changes_no_answer():
    changes = {"strategy": "blue-green", "mirror": "25", "weights": None, "iterations": "3"}
    async with a_gateway() as told:
        await enrolled(told, **changes)
        told.set_image("app:2")
        await told.until(lambda: "filters" in rules(told)[1], "a mirror")
        await asyncio.sleep(2 * told.plane.throttle_s + 0.5)
        since = asyncio.get_running_loop().time()
        before = told.plane.copies()["app:2"]
        await asyncio.sleep(4)
        copies = told.plane.copies()["app:2"] - before
        assert {"app:1"} == {s.version for s in told.plane.sent(since=since)}
        assert 50 == pytest.approx(copies, abs=2)

        await told.until_phase("Succeeded", seconds=600)
        await told.until_idle()
        assert as_it_was(told)
        assert [] == told.lost()


async def test_a_crd_that_drops_the_percentage_of_a_mirror_gets_none_and_a_word_about_it():
    changes = {"strategy": "blue-green", "mirror": "25", "weights": None, "iterations": "3"}
    async with a_gateway() as told:
        told.server.store.admission.append(before_1_3)
        await enrolled(told, **changes)
        told.set_image("app:2")
        await told.until(lambda: "Gateway API 1.3" in told.message(), "it is told")

        assert "filters" not in rules(told)[1]
        assert [] == told.lost()


# --- what is missing ------------------------------------------------------------------------------


async def test_a_cluster_without_the_kind_is_told_so_and_the_app_is_enrolled_once_it_is_installed():
    async with a_gateway(installed=False) as told:
        deploy(told, plan(provider="gateway"))
        await told.until(lambda: "is not installed in this cluster" in told.message(), "it is told")
        assert "gateway.networking.k8s.io/v1" in told.message()

        told.server.install(HTTP_ROUTE)
        told.server.put(ROUTE)
        await told.until_phase("Initialized", seconds=400)


async def test_F_3_26_a_kind_that_is_removed_at_runtime_costs_nobody_else_anything():
    async with a_gateway() as told:
        told.deploy("other", annotations=plan(), host="other.test")
        await told.until_phase("Initialized", "other")
        await enrolled(told)
        told.server.uninstall(HTTP_ROUTE)
        await told.until(lambda: "is not installed in this cluster" in told.message(), "it is told")

        told.set_image("app:2", "other")
        await told.until_phase("Succeeded", "other")
        assert 2 == told.cluster.ready(NAMESPACE, "app-primary")


async def test_an_app_without_a_route_is_told_which_one_it_needs():
    async with a_gateway() as told:
        deploy(told, plan(provider="gateway"))
        await told.until(lambda: "no HTTPRoute in namespace shop" in told.message(), "it is told")

        assert ("True", "RouteNotFound") == told.condition("Stalled")
