"""Apps without pods: nobody's app is started by canaryd, and nobody's users lose their primary."""

import asyncio

import pytest

from canaryd.core.kinds import CANARY, DEPLOYMENT, SCALED_OBJECT
from tests.fakes.keda import PAUSED
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario
from tests.scenarios.test_keda import by_keda, scaled_object

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


def scale(told: Story, replicas: int, name: str = "app") -> None:
    told.server.patch(DEPLOYMENT, NAMESPACE, name, {"spec": {"replicas": replicas}})


def conditions(told: Story) -> dict[str, str]:
    return {c["type"]: c["status"] for c in told.status()["conditions"]}


@scenario
async def test_a_stopped_app_is_not_started_and_is_enrolled_once_it_has_pods(told: Story):
    told.deploy(replicas=0, annotations=plan())
    await told.until_event("TargetStopped")
    await asyncio.sleep(120)
    assert {CANARY.resource} == {r.resource for r in told.writes()}
    assert "it is enrolled once it has some" in told.message()
    assert ("False", "TargetStopped") == told.condition("Ready")
    # A tool that waits for the Deployment must not wait for its owner.
    assert not {"Reconciling", "Stalled"} & conditions(told).keys()
    stored = told.stored(DEPLOYMENT)["status"].get("conditions") or ()
    assert not {"Reconciling", "Stalled"} & {c["type"] for c in stored}
    assert [] == told.cluster.pods(NAMESPACE)

    scale(told, 3)
    await told.until_phase("Initialized")
    await told.until_idle()
    assert 3 == told.replicas("app-primary")
    assert 1 == told.memory.reasons().count("TargetStopped")


@scenario
async def test_an_app_that_is_stopped_in_mid_enrolment_is_let_go(told: Story):
    told.cluster.fate = lambda pod: None if pod.deployment == "app-primary" else 1.0
    told.deploy(annotations=plan())
    await told.until(lambda: told.exists(DEPLOYMENT, "app-primary"), "the primary is made")
    scale(told, 0)
    await told.until(lambda: not told.exists(DEPLOYMENT, "app-primary"), "it is gone again")
    assert {"app": "app"} == told.selector()
    await asyncio.sleep(60)
    assert 0 == told.replicas()

    told.cluster.fate = lambda _: 1.0
    scale(told, 2)
    await told.until_phase("Initialized")


@scenario
async def test_to_stop_an_app_for_good_it_leaves_first(told: Story):
    await told.enrol()
    users = told.users()
    told.annotate(enabled=None)
    await told.until(lambda: told.phase() == "", "left")
    await asyncio.sleep(5)
    assert [] == told.lost()
    scale(told, 0)
    await asyncio.sleep(120)
    assert 0 == told.replicas()
    assert not told.exists(DEPLOYMENT, "app-primary")
    told.annotate(enabled="true")
    await told.until_event("TargetStopped")
    assert 0 == told.replicas()
    assert users is not None


async def test_an_app_that_keda_has_at_zero_is_enrolled_when_a_trigger_wakes_it():
    async with by_keda() as (told, keda):
        told.deploy(annotations=plan(), replicas=0)
        told.server.put(scaled_object(minReplicaCount=0))
        await told.until_event("TargetStopped")
        await asyncio.sleep(120)
        assert not told.exists(DEPLOYMENT, "app-primary")

        keda.active = {"app"}
        await told.until_phase("Initialized")
        await told.until_idle()
        assert "true" == told.stored(SCALED_OBJECT)["metadata"]["annotations"][PAUSED]
