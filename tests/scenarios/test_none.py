"""Apps without a router: blue/green by the selector of the Service, and clients of the Service who count lost requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.app import Options
from canaryd.config.settings import Nginx, Providers
from canaryd.core.kinds import DEPLOYMENT, INGRESS, SERVICE
from canaryd.core.names import ORIGINAL_SELECTOR, POD_TEMPLATE_HASH
from tests.fakes.splits import service_routes
from tests.scenarios.harness import Story, plan, story
from tests.scenarios.manifests import NAMESPACE
from tests.scenarios.test_cases_crash import at_every_write

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

OPTIONS = Options(workers=4, providers=Providers(nginx=Nginx(enabled=False)))
HOST = f"app.{NAMESPACE}"
PLAN: dict[str, str | None] = {
    "provider": "none",
    "strategy": "blue-green",
    "weights": None,
    "iterations": "2",
    "load-test.get": "GET / rate=20 for=5s",
}


def blue_green(**changes: str | None) -> dict[str, str]:
    return plan(**PLAN | {key.replace("_", "-"): value for key, value in changes.items()})


@asynccontextmanager
async def an_app(*, always_late: bool = False, **changes: str | None) -> AsyncIterator[Story]:
    """An enrolled app, and users who called its Service before it was enrolled."""
    async with story(OPTIONS, reads=service_routes, always_late=always_late) as told:
        told.deploy()
        told.server.remove(INGRESS, NAMESPACE, "app")
        await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 2, "the app is ready")
        await asyncio.sleep(2 * told.plane.throttle_s + 1)
        told.users(host=HOST)
        annotations = {"metadata": {"annotations": blue_green(**changes)}}
        told.server.patch(DEPLOYMENT, NAMESPACE, "app", annotations)
        await told.until_phase("Initialized")
        await told.until_idle()
        yield told


def leads_to_canary(told: Story) -> bool:
    return POD_TEMPLATE_HASH in told.selector()


async def until_switched(told: Story, *, to_canary: bool = True, seconds: float = 120.0) -> float:
    side = "canary" if to_canary else "primary"
    return await told.until(
        lambda: leads_to_canary(told) is to_canary, f"the Service at the {side}", seconds
    )


# --- without losing anybody ---


@pytest.mark.parametrize("always_late", [False, True], ids=["quick", "always late"])
async def test_X28_enrolment_a_release_a_rollback_and_leaving_lose_no_request(always_late):
    async with an_app(always_late=always_late) as told:
        told.set_image("app:2")
        await until_switched(told)
        assert told.stored(SERVICE, "app-canary")["spec"]["selector"] == told.selector()
        await told.until_phase("Succeeded")
        await told.until_idle()
        assert ("app:2", {"app": "app-primary"}) == (told.image(), told.selector())

        told.loads.failing.add("get")
        told.set_image("app:3")
        await told.until_phase("Failed")
        await told.until_idle()
        assert ("app:2", {"app": "app-primary"}) == (told.image(), told.selector())

        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "left")
        await asyncio.sleep(10)
        assert {"app": "app"} == told.selector()
        assert [] == told.lost()
        assert "app" == told.plane.sent()[-1].deployment


async def test_before_the_switch_no_user_gets_to_the_canary_and_after_it_everybody_does():
    async with an_app(interval="20s") as told:
        begun = asyncio.get_running_loop().time()
        told.set_image("app:2")
        await told.until(lambda: "passed 1 of 2" in told.message(), "half of the preview")
        assert {"app:1"} == told.plane.by_version(since=begun).keys()

        await until_switched(told)
        await asyncio.sleep(told.plane.throttle_s)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(10)
        assert {"app:2"} == told.plane.by_version(since=since).keys()


async def test_X5_without_a_ready_canary_pod_the_Service_goes_back_at_once():
    async with an_app(interval="60s") as told:
        told.set_image("app:2")
        await until_switched(told, seconds=300)
        told.cluster.break_pods("app")

        assert 2 > await until_switched(told, to_canary=False)


async def test_a_revert_after_the_switch_brings_everybody_back_at_once_and_loses_nobody():
    async with an_app(interval="60s") as told:
        told.set_image("app:2")
        await until_switched(told, seconds=300)
        told.set_image("app:1")

        assert 2 > await until_switched(told, to_canary=False)
        await told.until_idle()
        assert [] == told.lost()


async def test_a_daemon_that_dies_between_decision_and_switch_goes_on_with_the_switch():
    async with an_app(interval="20s") as told:
        told.set_image("app:2")
        await told.until(lambda: "passed 1 of 2" in told.message(), "half of the preview")
        async with told.dying(2, "before"):
            await told.until_phase("Succeeded", seconds=400)
        assert "app:2" == told.image()
        assert [] == told.lost()
        assert "SelectorDrift" not in told.memory.reasons()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_X17_wherever_the_daemon_dies_the_Service_ends_at_the_primary_and_nobody_is_lost(
    when,
):
    async with an_app() as told:

        async def release(write: int) -> None:
            told.set_image(f"app:r{write}")
            await told.until_phase("Progressing")
            await told.until_phase("Succeeded")
            await told.until_idle()

        def check(write: int) -> None:
            assert f"app:r{write}" == told.image()
            assert {"app": "app-primary"} == told.selector()
            assert [] == told.lost()

        assert 10 < await at_every_write(told, when, release, check)


async def test_leaving_while_the_Service_leads_to_the_canary_loses_nobody():
    async with an_app(interval="60s") as told:
        told.set_image("app:2")
        await until_switched(told, seconds=300)
        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "left")
        await asyncio.sleep(10)

        assert {"app": "app"} == told.selector()
        assert "app:1" == told.image("app")
        assert [] == told.lost()


# --- what others do ---


@pytest.mark.parametrize("switched", [False, True], ids=["at the primary", "at the canary"])
async def test_X12_a_selector_written_back_is_put_where_it_was_at_once(switched):
    async with an_app(interval="60s") as told:
        if switched:
            told.set_image("app:2")
            await until_switched(told, seconds=300)
        before = told.selector()

        def write_back(live: dict[str, Any]) -> None:
            live["spec"]["selector"] = {"app": "app"}

        told.server.edit(SERVICE, NAMESPACE, "app", write_back)
        assert 2 > await told.until(lambda: told.selector() == before, "the selector again")
        await told.until_event("SelectorDrift")


async def test_a_record_that_somebody_took_off_in_mid_run_is_written_again_as_it_was():
    async with an_app(interval="60s") as told:
        told.set_image("app:2")
        await until_switched(told, seconds=300)
        before = told.stored(SERVICE)["metadata"]["annotations"][ORIGINAL_SELECTOR]
        told.server.patch(
            SERVICE, NAMESPACE, "app", {"metadata": {"annotations": {ORIGINAL_SELECTOR: None}}}
        )
        annotations = lambda: told.stored(SERVICE)["metadata"].get("annotations") or {}  # noqa: E731
        await told.until(lambda: annotations().get(ORIGINAL_SELECTOR) == before, "the record")
        assert leads_to_canary(told)


# --- what is refused ---


async def test_a_plan_of_shares_is_refused_and_nothing_is_made():
    async with story(OPTIONS, reads=service_routes) as told:
        told.deploy(annotations=plan(provider="none"))
        words = "cannot send a part of the users to a canary"
        await told.until(lambda: words in told.message(), "a refusal", 30)
        assert not told.exists(DEPLOYMENT, "app-primary")


async def test_a_metric_that_nobody_could_ever_answer_is_refused_with_what_to_do():
    async with story(OPTIONS, reads=service_routes) as told:
        told.deploy(annotations=blue_green(**{"load-test.get": None}))
        await told.until(lambda: "nobody counts requests" in told.message(), "a refusal", 30)
        assert "canaryd.io/metric.success-rate.query" in told.message()
        assert not told.exists(DEPLOYMENT, "app-primary")


async def test_built_in_metrics_are_judged_by_load_tests_and_say_so():
    async with an_app() as told:
        told.set_image("app:2")
        await told.until_phase("Succeeded")

        checks = {v["name"]: v for v in told.status()["metrics"]}
        assert "100 of them by load tests" in checks["success-rate"]["message"]
