"""An app that KEDA scales: its ScaledObject sleeps between runs, and the primary has one of its own.

E41 of the studied controller's end-to-end tests is the first story; the others are what went wrong there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.app import Options
from canaryd.config.settings import Nginx, Providers
from canaryd.core.kinds import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, SCALED_OBJECT, SERVICE
from tests.fakes.keda import EXCLUDED, PAUSED, PAUSED_REPLICAS, Keda
from tests.scenarios.harness import NAMESPACE, Story, plan, story

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

RECORD = "internal.canaryd.io/original-pause"
QUERY = {"type": "prometheus", "metadata": {"query": "sum(rate(requests[1m]))", "threshold": "5"}}


def scaled_object(
    *, annotations: dict[str, str] | None = None, triggers: Any = (), **spec: Any
) -> dict[str, Any]:
    given = {
        "scaleTargetRef": {"name": "app"},
        "minReplicaCount": 2,
        "maxReplicaCount": 6,
        "triggers": list(triggers) or [QUERY],
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"namespace": NAMESPACE, "name": "app", "annotations": annotations or {}},
        "spec": {k: v for k, v in (given | spec).items() if v is not None},
    }


@asynccontextmanager
async def by_keda(*, is_on: bool = True) -> AsyncIterator[tuple[Story, Keda]]:
    """A story in a cluster with KEDA."""
    providers = Providers(nginx=Nginx(dialect="traefik"))
    options = Options(workers=4, providers=providers, keda=is_on)
    async with story(options, kinds=(SCALED_OBJECT,)) as told, Keda(told.server.store) as keda:
        yield told, keda


async def enrol(told: Story, scaled: dict[str, Any] | None = None, **deployed: Any) -> None:
    """An app that KEDA scales from before its enrolment on."""
    told.deploy()
    told.server.put(scaled or scaled_object())
    await asyncio.sleep(1)
    await told.enrol(**deployed)


def annotations(told: Story, name: str = "app") -> dict[str, str]:
    return told.stored(SCALED_OBJECT, name)["metadata"].get("annotations") or {}


def is_asleep(told: Story) -> bool:
    return annotations(told).get(PAUSED) == "true" and PAUSED_REPLICAS not in annotations(told)


def cautions(told: Story) -> list[str]:
    return list(told.status().get("cautions") or ())


async def test_E41_it_sleeps_between_runs_works_during_one_and_the_primary_has_its_own():
    async with by_keda() as (told, keda):
        await enrol(told)
        users = told.users()
        assert is_asleep(told)
        await told.until(
            lambda: not told.exists(HORIZONTAL_POD_AUTOSCALER, "keda-hpa-app"), "KEDA sees it"
        )
        copied = told.stored(SCALED_OBJECT, "app-primary")["spec"]
        assert {"name": "app-primary"} == copied["scaleTargetRef"]
        assert ([QUERY], 2, 6) == (
            copied["triggers"],
            copied["minReplicaCount"],
            copied["maxReplicaCount"],
        )
        assert PAUSED not in annotations(told, "app-primary")
        assert told.exists(HORIZONTAL_POD_AUTOSCALER, "keda-hpa-app-primary")
        assert [] == keda.too_early

        told.set_image("app:2")
        await told.until_weight(20)
        assert {} == {k: v for k, v in annotations(told).items() if k in (PAUSED, RECORD)}
        await told.until(
            lambda: told.exists(HORIZONTAL_POD_AUTOSCALER, "keda-hpa-app"), "KEDA works again"
        )
        told.cluster.autoscale(NAMESPACE, "keda-hpa-app", 3)
        await told.until(lambda: told.replicas() == 3, "the canary is scaled by load")
        await told.until_phase("Succeeded")
        await told.until_idle()
        await asyncio.sleep(120)

        assert is_asleep(told)
        assert 0 == told.replicas()
        assert not told.exists(HORIZONTAL_POD_AUTOSCALER, "keda-hpa-app")
        assert [] == told.lost()
        assert users is not None


async def test_an_active_trigger_never_wakes_an_idle_target():
    async with by_keda() as (told, keda):
        keda.active = {"app", "app-primary"}
        await enrol(told)
        keda.scaled.clear()
        for image in ("app:2", "app:3"):
            told.set_image(image)
            await told.until_phase("Progressing")
            await told.until_phase("Succeeded")
            await told.until_idle()
            await asyncio.sleep(200)
            assert 0 == told.replicas()
        assert [] == [scaled for scaled in keda.scaled if scaled[0] == "app"]
        assert "ReplicasDrift" not in told.memory.reasons()


async def test_after_a_failure_it_sleeps_before_the_target_goes_to_zero():
    async with by_keda() as (told, keda):
        keda.active = {"app"}
        await enrol(told)
        keda.scaled.clear()
        told.source.bad_images.add("app:2")
        told.set_image("app:2")
        await told.until_phase("Failed")
        await told.until_idle()
        await asyncio.sleep(120)
        assert is_asleep(told)
        assert [] == keda.scaled


async def test_the_primarys_autoscaler_of_keda_is_neither_copied_nor_deleted():
    async with by_keda() as (told, _):
        await enrol(told)
        uid = told.stored(HORIZONTAL_POD_AUTOSCALER, "keda-hpa-app-primary")["metadata"]["uid"]
        # As with a KEDA that does not know the annotation.
        patch = {"metadata": {"annotations": {EXCLUDED: None}}}
        told.server.patch(SCALED_OBJECT, NAMESPACE, "app-primary", patch)
        await asyncio.sleep(60)
        found = told.server.objects(HORIZONTAL_POD_AUTOSCALER, NAMESPACE)
        assert ["keda-hpa-app-primary"] == [o["metadata"]["name"] for o in found]
        assert "canaryd" == found[0]["metadata"]["labels"]["app.kubernetes.io/managed-by"]
        assert uid == found[0]["metadata"]["uid"]


async def test_an_edit_of_the_users_reaches_the_primarys_copy():
    async with by_keda() as (told, _):
        await enrol(told)
        told.server.patch(SCALED_OBJECT, NAMESPACE, "app", {"spec": {"maxReplicaCount": 9}})
        await told.until(
            lambda: told.stored(SCALED_OBJECT, "app-primary")["spec"]["maxReplicaCount"] == 9,
            "the edit is copied",
        )
        told.server.remove(SCALED_OBJECT, NAMESPACE, "app")
        await told.until(
            lambda: not told.exists(SCALED_OBJECT, "app-primary"), "the copy goes with it"
        )
        assert told.cluster.ready(NAMESPACE, "app-primary")


async def test_the_primary_keeps_the_replicas_it_had_when_a_run_began():
    async with by_keda() as (told, keda):
        keda.active = {"app-primary"}
        await enrol(told)
        told.cluster.autoscale(NAMESPACE, "keda-hpa-app-primary", 5)
        await told.until(lambda: told.cluster.ready(NAMESPACE, "app-primary") == 5, "five pods")
        told.set_image("app:2")
        await told.until_weight(20)
        assert 5 == told.stored(SCALED_OBJECT, "app-primary")["spec"]["minReplicaCount"]
        told.cluster.autoscale(NAMESPACE, "keda-hpa-app-primary", 2)
        await told.until_weight(50)
        assert 5 == told.replicas("app-primary")
        await told.until_phase("Succeeded")
        await told.until(
            lambda: told.stored(SCALED_OBJECT, "app-primary")["spec"]["minReplicaCount"] == 2,
            "the floor goes with the run",
        )


# --- one that may go to zero ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds", [{"minReplicaCount": 0}, {"minReplicaCount": None}, {"idleReplicaCount": 0}]
)
async def test_one_that_may_go_to_zero_takes_neither_the_primary_nor_the_canary_there(bounds):
    async with by_keda() as (told, keda):
        keda.active = {"app"}
        await enrol(told, scaled_object(**bounds))
        keda.active = set()
        keda.scaled.clear()
        users = told.users()
        copied = told.stored(SCALED_OBJECT, "app-primary")["spec"]
        assert copied["minReplicaCount"] >= 1
        assert "idleReplicaCount" not in copied
        assert any("may take Deployment app to zero" in text for text in cautions(told))

        told.set_image("app:2")
        await told.until_weight(20)
        assert is_asleep(told)
        await told.until_phase("Succeeded")
        await told.until_idle()
        await asyncio.sleep(120)
        assert [] == keda.scaled
        assert told.cluster.ready(NAMESPACE, "app-primary")
        assert [] == told.lost()
        assert users is not None


# --- what the user says about pausing -------------------------------------------------------------


@pytest.mark.parametrize(
    "pause",
    [{}, {PAUSED: "true"}, {PAUSED: "false"}, {PAUSED_REPLICAS: "3"}, {PAUSED_REPLICAS: "0"}],
)
async def test_leaving_gives_it_back_exactly_as_it_was(pause):
    async with by_keda() as (told, _):
        given = {"team.example/owner": "shop"} | pause
        # What was paused at zero before is no story of this file: see the one about zero replicas.
        before = given if pause != {PAUSED_REPLICAS: "0"} else {"team.example/owner": "shop"}
        await enrol(told, scaled_object(annotations=before))
        told.server.patch(SCALED_OBJECT, NAMESPACE, "app", {"metadata": {"annotations": given}})
        await asyncio.sleep(10)
        assert is_asleep(told)
        told.annotate(enabled=None)
        await told.until(lambda: told.phase() == "", "left")
        await asyncio.sleep(5)
        assert given == annotations(told)
        assert not told.exists(SCALED_OBJECT, "app-primary")
        assert not told.exists(DEPLOYMENT, "app-primary")
        assert {"app": "app"} == told.selector()


@pytest.mark.parametrize(
    ("pause", "copied"),
    [
        ({PAUSED: "true"}, {PAUSED: "true"}),
        ({PAUSED_REPLICAS: "3"}, {PAUSED_REPLICAS: "3"}),
        ({PAUSED: "false"}, {PAUSED: "false"}),
    ],
)
async def test_a_pause_of_the_users_holds_for_the_primary_and_ours_does_not(pause, copied):
    async with by_keda() as (told, _):
        await enrol(told, scaled_object(annotations=pause))
        found = annotations(told, "app-primary")
        assert copied == {k: v for k, v in found.items() if k.startswith("autoscaling.keda.sh/")}
        is_paused = any("paused by an annotation" in text for text in cautions(told))
        assert is_paused == (pause != {PAUSED: "false"})
        assert is_asleep(told)


async def test_a_pause_at_zero_that_comes_later_does_not_take_the_primary_down():
    async with by_keda() as (told, _):
        await enrol(told)
        users = told.users()
        patch = {"metadata": {"annotations": {PAUSED_REPLICAS: "0"}}}
        told.server.patch(SCALED_OBJECT, NAMESPACE, "app", patch)
        await asyncio.sleep(120)
        assert is_asleep(told)
        assert PAUSED_REPLICAS not in annotations(told, "app-primary")
        assert told.cluster.ready(NAMESPACE, "app-primary")
        assert [] == told.lost()
        assert users is not None


async def test_a_tool_that_takes_the_pause_away_is_answered_and_not_for_ever():
    async with by_keda() as (told, keda):
        keda.active = {"app"}
        await enrol(told)
        for _ in range(3):
            patch = {"metadata": {"annotations": {PAUSED: None}}}
            told.server.patch(SCALED_OBJECT, NAMESPACE, "app", patch)
            await asyncio.sleep(10)
            assert is_asleep(told)
        assert 0 == told.replicas()
        for _ in range(20):
            patch = {"metadata": {"annotations": {PAUSED: None}}}
            told.server.patch(SCALED_OBJECT, NAMESPACE, "app", patch)
            await asyncio.sleep(1)
        assert not is_asleep(told)
        assert "find the other writer" in told.message()


# --- leaving, crashes, deletions ------------------------------------------------------------------


async def test_leaving_in_mid_run_loses_nobody_and_no_pod_on_the_way():
    async with by_keda() as (told, keda):
        keda.active = {"app-primary"}
        await enrol(told)
        users = told.users()
        told.cluster.autoscale(NAMESPACE, "keda-hpa-app-primary", 5)
        await told.until(lambda: told.cluster.ready(NAMESPACE, "app-primary") == 5, "five pods")
        told.set_image("app:2")
        await told.until_weight(20)
        told.annotate(enabled=None)
        await told.until(lambda: told.phase() == "", "left")
        await asyncio.sleep(10)
        assert {} == annotations(told)
        assert 5 <= told.replicas()
        assert [] == told.lost()
        assert users is not None


async def test_a_target_that_is_deleted_leaves_its_scaled_object_as_it_was():
    async with by_keda() as (told, _):
        await enrol(told)
        told.server.remove(DEPLOYMENT, NAMESPACE, "app")
        await told.until(lambda: RECORD not in annotations(told), "it is given back")
        assert {} == annotations(told)
        await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "collected")


async def test_a_scaled_object_that_comes_after_enrolment_is_put_to_sleep_and_copied():
    async with by_keda() as (told, keda):
        await told.enrol()
        keda.active = {"app"}
        told.server.put(scaled_object())
        await told.until(lambda: is_asleep(told), "asleep")
        await told.until(lambda: told.exists(SCALED_OBJECT, "app-primary"), "copied")
        await told.until_idle()
        await asyncio.sleep(60)
        assert 0 == told.replicas()


async def test_it_is_left_alone_when_the_app_says_so_and_woken_when_it_comes_to_say_so():
    async with by_keda() as (told, _):
        await enrol(told)
        assert is_asleep(told)
        told.annotate(autoscaler="none")
        await told.until(lambda: annotations(told) == {}, "it is given back")
        await told.until(lambda: not told.exists(SCALED_OBJECT, "app-primary"), "no copy")
        await told.until(
            lambda: any("from zero between runs" in text for text in cautions(told)), "it is said"
        )


async def test_with_idle_keep_it_works_all_the_time():
    async with by_keda() as (told, keda):
        keda.active = {"app", "app-primary"}
        await enrol(told, annotations=plan(idle="keep"))
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        assert {} == annotations(told)
        assert told.exists(SCALED_OBJECT, "app-primary")
        assert 2 == told.replicas()


@pytest.mark.parametrize("write", range(1, 16))
async def test_a_crash_at_any_write_of_enrolment_ends_with_it_asleep_and_nobody_lost(write):
    async with by_keda() as (told, keda):
        keda.active = {"app", "app-primary"}
        told.deploy()
        told.server.put(scaled_object())
        await asyncio.sleep(10)
        users = told.users()
        async with told.dying(write, "after"):
            told.annotate(
                **{k.removeprefix("canaryd.io/").replace("-", "_"): v for k, v in plan().items()}
            )
            await told.until_phase("Initialized", seconds=120)
            await told.until_idle()
        await told.until(lambda: is_asleep(told), "asleep")
        await asyncio.sleep(60)
        assert (0, 2) == (told.replicas(), told.replicas("app-primary"))
        assert [] == told.lost()
        assert users is not None


# --- what is refused, and what may surprise -------------------------------------------------------


async def test_without_the_switch_an_app_of_keda_is_refused_with_what_to_do():
    async with by_keda(is_on=False) as (told, _):
        told.deploy()
        told.server.put(scaled_object())
        await asyncio.sleep(1)
        told.annotate(enabled="true")
        await told.until_event("WorkloadUnsupported")
        assert "ScaledObject app (KEDA) scales Deployment app" in told.message()
        assert "autoscalers.keda.enabled" in told.message()
        assert not told.exists(SERVICE, "app-primary")
        told.annotate(autoscaler="none", idle="keep")
        await told.until_phase("Initialized")


async def test_a_trigger_that_names_the_target_is_a_caution():
    query = 'sum(rate(http_requests_total{deployment="app"}[1m]))'
    named = {"type": "prometheus", "name": "load", "metadata": {"query": query}}
    async with by_keda() as (told, _):
        await enrol(told, scaled_object(triggers=[QUERY, named]))
        found = [text for text in cautions(told) if "trigger" in text]
        assert [
            "ScaledObject app: trigger load names app, and the primary's copy has the same"
        ] == [text.partition(" trigger. ")[0] for text in found]
