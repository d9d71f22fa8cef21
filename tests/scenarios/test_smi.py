"""Apps behind a mesh that reads TrafficSplits: the whole daemon, and meshed clients who count lost requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.app import Options
from canaryd.config.settings import Providers, Smi
from canaryd.core.kinds import (
    DEPLOYMENT,
    SERVICE,
    TRAFFIC_SPLIT_V1ALPHA1,
    TRAFFIC_SPLIT_V1ALPHA2,
    Kind,
)
from tests.fakes.splits import linkerd_routes
from tests.scenarios.harness import Story, plan, story
from tests.scenarios.manifests import NAMESPACE

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

V2 = TRAFFIC_SPLIT_V1ALPHA2
OPTIONS = Options(workers=4, providers=Providers(smi=Smi(enabled=True)))
MESHED = plan(provider="smi")
HOST = f"app.{NAMESPACE}"


@asynccontextmanager
async def a_mesh(*, kind: Kind = V2, always_late: bool = False) -> AsyncIterator[Story]:
    async with story(OPTIONS, reads=linkerd_routes, kinds=(kind,), always_late=always_late) as told:
        yield told


async def enrolled(told: Story, **changes: str | None) -> None:
    """An app with users who get to it through the mesh from before it is enrolled."""
    told.deploy()
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 2, "the app is ready")
    await asyncio.sleep(2 * told.plane.throttle_s + 1)
    told.users(host=HOST)
    told.server.patch(
        DEPLOYMENT,
        NAMESPACE,
        "app",
        {"metadata": {"annotations": plan(provider="smi", **changes)}},
    )
    await told.until_phase("Initialized")
    await told.until_idle()


def share(told: Story, kind: Kind = V2) -> int | None:
    """Percent that the split of the app sends to the canary."""
    spec = told.stored(kind).get("spec")
    weights = {b["service"]: int(b["weight"]) for b in spec["backends"]} if spec else {}
    assert sum(weights.values()) in (0, 100)
    return weights.get("app-canary") if spec else None


async def until_share(told: Story, weight: int, kind: Kind = V2, seconds: float = 120.0) -> float:
    return await told.until(
        lambda: share(told, kind) == weight, f"a split with {weight} on the canary", seconds
    )


# --- without losing anybody ---


@pytest.mark.parametrize("always_late", [False, True], ids=["quick", "always late"])
async def test_X28_enrolment_a_release_a_rollback_and_leaving_lose_no_request_of_the_mesh(
    always_late,
):
    async with a_mesh(always_late=always_late) as told:
        await enrolled(told)
        assert 0 == share(told)

        told.set_image("app:2")
        await until_share(told, 20)
        await until_share(told, 50)
        await told.until_phase("Succeeded")
        await told.until_idle()
        assert ("app:2", 0) == (told.image(), share(told))

        told.source.bad_images.add("app:3")
        told.set_image("app:3")
        await until_share(told, 20)
        await told.until_phase("Failed")
        await until_share(told, 0)
        await told.until_idle()
        assert "app:2" == told.image()

        told.cluster.drain_s = 0.0  # whoever is sent to the primary once it is deleted is lost
        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "left")
        await asyncio.sleep(10)
        assert share(told) is None
        assert [] == told.lost()
        assert told.plane.sent()[-1].deployment == "app"


async def test_the_mesh_really_shares_as_the_split_says():
    async with a_mesh() as told:
        await enrolled(told, weights="30", interval="60s")
        told.set_image("app:2")
        await until_share(told, 30)
        await asyncio.sleep(5)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(40)

        assert 30 == pytest.approx(told.plane.canary_share(since=since), abs=1)


async def test_X5_without_a_ready_canary_pod_the_split_goes_back_at_once():
    async with a_mesh() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.cluster.break_pods("app")

        assert 2 > await until_share(told, 0)


async def test_a_revert_in_mid_run_takes_everybody_off_the_canary_at_once():
    async with a_mesh() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.set_image("app:1")

        assert 2 > await until_share(told, 0)
        await told.until_idle()
        assert [] == told.lost()


async def test_a_release_goes_through_under_the_oldest_version_as_well():
    async with a_mesh(kind=TRAFFIC_SPLIT_V1ALPHA1) as told:
        await enrolled(told)
        told.set_image("app:2")
        await until_share(told, 50, TRAFFIC_SPLIT_V1ALPHA1)
        await told.until_phase("Succeeded")

        assert [] == told.lost()
        weights = [b["weight"] for b in told.stored(TRAFFIC_SPLIT_V1ALPHA1)["spec"]["backends"]]
        assert ["100", "0"] == weights


# --- what others do ---


async def test_F23_a_split_edited_by_hand_is_put_back_with_every_edit_told():
    async with a_mesh() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)

        def take_all(live: dict[str, Any]) -> None:
            for backend in live["spec"]["backends"]:
                backend["weight"] = 100 if backend["service"] == "app-canary" else 0

        told.server.edit(V2, NAMESPACE, "app", take_all)
        assert 2 > await until_share(told, 20)
        await told.until_event("TrafficDrift")


async def test_a_split_deleted_by_hand_is_made_again_and_nobody_is_lost_meanwhile():
    async with a_mesh() as told:
        await enrolled(told)
        told.server.remove(V2, NAMESPACE, "app")

        assert 2 > await until_share(told, 0)
        await asyncio.sleep(5)
        assert [] == told.lost()


async def test_a_split_of_somebody_elses_under_the_name_is_a_conflict_and_stays_as_it_is():
    theirs = {
        "apiVersion": V2.api_version,
        "kind": V2.kind,
        "metadata": {"namespace": NAMESPACE, "name": "app"},
        "spec": {"service": "app", "backends": [{"service": "other", "weight": 100}]},
    }
    async with a_mesh() as told:
        told.server.put(theirs)
        told.deploy(annotations=MESHED)
        await told.until(lambda: "TrafficSplit app exists" in told.message(), "a conflict")

        assert theirs["spec"] == told.stored(V2)["spec"]
        assert not told.exists(DEPLOYMENT, "app-primary")


async def test_a_second_split_of_the_same_Service_is_a_conflict_whatever_its_name():
    async with a_mesh() as told:
        backends = [{"service": "other", "weight": 100}]
        told.server.put(
            {
                "apiVersion": V2.api_version,
                "kind": V2.kind,
                "metadata": {"namespace": NAMESPACE, "name": "theirs"},
                "spec": {"service": "app", "backends": backends},
            }
        )
        told.deploy(annotations=MESHED)
        words = "TrafficSplit theirs splits Service app already"
        await told.until(lambda: words in told.message(), "a conflict")

        told.server.remove(V2, NAMESPACE, "theirs")
        await told.until_phase("Initialized")


# --- what is refused ---


async def test_X13_an_ab_plan_is_refused_before_anything_is_made():
    async with a_mesh() as told:
        told.deploy(
            annotations=plan(provider="smi", strategy="ab", match="header x-beta=1", weights=None)
        )
        words = "cannot be carried out by provider smi"
        await told.until(lambda: words in told.message(), "a refusal", 30)
        await asyncio.sleep(60)

        assert not told.exists(DEPLOYMENT, "app-primary")
        assert not told.exists(V2, "app")
        assert ("False", "ConfigInvalid") == told.condition("ConfigValid")


async def test_F26_without_the_kind_the_app_says_so_and_others_go_on():
    async with story(OPTIONS) as told:
        told.deploy(annotations=MESHED)
        told.deploy("other", annotations=plan(), host="other.test")
        await told.until_phase("Initialized", "other")

        assert "which this cluster does not serve" in told.message()
        assert ("False", "ConfigInvalid") == told.condition("Ready")
        assert not told.exists(DEPLOYMENT, "app-primary")


async def test_F26_the_kind_removed_in_mid_run_leaves_everybody_on_the_primary_and_comes_back():
    async with a_mesh() as told:
        await enrolled(told, interval="60s")
        told.set_image("app:2")
        await until_share(told, 20)
        told.server.uninstall(V2)
        await told.until(lambda: "does not serve" in told.message(), "the loss is told", 120)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(30)
        assert {"app-primary"} == {sent.deployment for sent in told.plane.sent(since=since)}

        told.server.install(V2)
        await told.until_phase("Succeeded", seconds=900)
        assert "app:2" == told.image()
        assert [] == told.lost()


async def test_a_provider_that_is_not_enabled_is_refused_with_where_to_enable_it():
    async with story(kinds=(V2,)) as told:
        told.deploy(annotations=MESHED)
        await told.until(lambda: "providers.smi.enabled" in told.message(), "a refusal", 30)
        assert not told.exists(SERVICE, "app-primary")
