"""What scales, protects and admits a target's pods is copied for the primary's and followed; and many apps side by side."""

import asyncio
from typing import Any

import pytest

from canaryd.core.kinds import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    Kind,
)
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario, story

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


# --- what is copied ---------------------------------------------------------------------------------------------------


def autoscaler(low: int = 2, high: int = 10) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": NAMESPACE, "name": "app"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
            "minReplicas": low,
            "maxReplicas": high,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 70},
                    },
                }
            ],
        },
    }


VERTICAL = Kind("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler", "verticalpodautoscalers")


async def test_a_vertical_autoscaler_is_left_alone():
    async with story(kinds=(VERTICAL,)) as told:
        made = told.server.store.create(
            VERTICAL,
            {
                "apiVersion": VERTICAL.api_version,
                "kind": VERTICAL.kind,
                "metadata": {"namespace": NAMESPACE, "name": "app"},
                "spec": {
                    "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}
                },
            },
        )
        await told.enrol()
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        told.annotate(enabled=None)
        await told.until(lambda: told.phase() == "", "left")
        assert [made] == told.server.store.items(VERTICAL)
        assert [] == told.server.requests.matching(resource=VERTICAL.resource)


@scenario
async def test_an_autoscaler_is_copied_for_the_primary_and_edits_of_it_flow(told: Story):
    told.server.put(autoscaler())
    await told.enrol()
    made = told.stored(HORIZONTAL_POD_AUTOSCALER, "app-primary")["spec"]
    assert "app-primary" == made["scaleTargetRef"]["name"]
    assert (2, 10) == (made["minReplicas"], made["maxReplicas"])
    assert autoscaler()["spec"]["metrics"] == made["metrics"]

    told.server.put(autoscaler(high=20))
    await told.until(
        lambda: told.stored(HORIZONTAL_POD_AUTOSCALER, "app-primary")["spec"]["maxReplicas"] == 20,
        "the new bound",
        1,
    )
    told.server.remove(HORIZONTAL_POD_AUTOSCALER, NAMESPACE, "app")
    await told.until(
        lambda: not told.exists(HORIZONTAL_POD_AUTOSCALER, "app-primary"), "the copy is gone", 1
    )


@scenario
async def test_the_canary_has_as_many_pods_as_the_autoscaler_gave_the_primary(told: Story):
    told.server.put(autoscaler())
    await told.enrol()
    told.users()
    told.cluster.autoscale(NAMESPACE, "app-primary", 6)
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app-primary") == 6, "six pods")
    told.set_image("app:2")
    await told.until_weight(20)
    assert 6 == told.replicas()

    await told.until_phase("Succeeded")
    assert 6 == told.replicas("app-primary")
    assert [] == told.lost()


@scenario
async def test_a_canary_that_its_autoscaler_made_larger_is_not_scaled_down_again(told: Story):
    told.server.put(autoscaler())
    await told.enrol(annotations=plan(interval="60s"))
    told.set_image("app:2")
    await told.until_weight(20)
    told.cluster.autoscale(NAMESPACE, "app", 8)
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 8, "eight pods")
    sizes: list[int] = []
    told.server.store.subscribe(
        lambda change: (
            sizes.append(change.new["spec"]["replicas"])
            if change.kind == DEPLOYMENT and change.key[1] == "app"
            else None
        )
    )
    told.set_image("app:3")
    await told.until_weight(20)
    assert {8} == set(sizes)
    await told.until_phase("Succeeded")
    assert {8, 0} == set(sizes)


@scenario
async def test_a_disruption_budget_is_copied_for_the_primary(told: Story):
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"namespace": NAMESPACE, "name": "app"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "app"}}},
    }
    told.server.put(budget)
    await told.enrol()
    made = told.stored(POD_DISRUPTION_BUDGET, "app-primary")["spec"]
    assert {"minAvailable": 1, "selector": {"matchLabels": {"app": "app-primary"}}} == made

    told.server.patch(POD_DISRUPTION_BUDGET, NAMESPACE, "app", {"spec": {"minAvailable": 2}})
    await told.until(
        lambda: told.stored(POD_DISRUPTION_BUDGET, "app-primary")["spec"]["minAvailable"] == 2,
        "the edit",
        1,
    )


@scenario
async def test_a_network_policy_that_would_cut_the_primary_off_is_there_before_its_pods(
    told: Story,
):
    for name, selector, rules in (("deny", {}, []), ("app", {"matchLabels": {"app": "app"}}, [{}])):
        told.server.put(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"namespace": NAMESPACE, "name": name},
                "spec": {"podSelector": selector, "ingress": rules, "policyTypes": ["Ingress"]},
            }
        )
    order: list[str] = []
    told.server.store.subscribe(
        lambda change: (
            order.append(change.kind.kind)
            if change.type == "ADDED" and change.key[1] == "app-primary"
            else None
        )
    )
    await told.enrol()

    made = told.stored(NETWORK_POLICY, "app-primary")["spec"]
    assert {"matchLabels": {"app": "app-primary"}} == made["podSelector"]
    assert not told.exists(NETWORK_POLICY, "deny-primary")
    assert order.index("NetworkPolicy") < order.index("Deployment")


# --- many apps --------------------------------------------------------------------------------------------------------


@scenario
async def test_two_apps_of_a_namespace_do_not_affect_each_other(told: Story):
    for name in ("good", "bad"):
        await told.enrol(name, host=f"{name}.test", image=f"{name}:1")
        told.users(host=f"{name}.test")
    told.source.bad_images.add("bad:2")
    told.set_image("good:2", "good")
    told.set_image("bad:2", "bad")
    await told.until_phase("Succeeded", "good")
    await told.until_phase("Failed", "bad")
    await asyncio.sleep(10)

    assert ("good:2", "bad:1") == (told.image("good-primary"), told.image("bad-primary"))
    told.annotate("bad", enabled=None)
    await told.until(lambda: not told.exists(DEPLOYMENT, "bad-primary"), "bad has left")
    assert 2 == told.cluster.ready(NAMESPACE, "good-primary")
    assert {"app": "good-primary"} == told.selector("good")
    assert {"app": "bad"} == told.selector("bad")
    assert [] == told.lost()


@scenario
async def test_a_daemon_that_starts_among_twenty_enrolled_apps_writes_nothing(told: Story):
    names = [f"app{number}" for number in range(20)]
    for name in names:
        told.deploy(name, annotations=plan(), host=f"{name}.test")
    for name in names:
        await told.until_phase("Initialized", name)
        await told.until_idle(name)
    await asyncio.sleep(5)
    await told.kill()
    told.server.requests.clear()
    await told.start()
    await asyncio.sleep(60)

    assert [] == told.writes()
    assert 0 == told.server.requests.count(verb="get")


@scenario
async def test_X19_the_primary_is_not_shrunk_while_a_run_takes_its_users_away(told: Story):
    told.server.put(autoscaler())
    await told.enrol(annotations=plan(weights="50,80"))
    told.cluster.autoscale(NAMESPACE, "app-primary", 6)
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app-primary") == 6, "six pods")
    told.source.bad_images.add("app:2")
    told.set_image("app:2")
    await told.until_weight(50)
    assert 6 == told.stored(HORIZONTAL_POD_AUTOSCALER, "app-primary")["spec"]["minReplicas"]
    await told.until_phase("Failed")
    assert 6 == told.replicas("app-primary")
    await told.until(
        lambda: told.stored(HORIZONTAL_POD_AUTOSCALER, "app-primary")["spec"]["minReplicas"] == 2,
        "the floor goes with the run",
    )
