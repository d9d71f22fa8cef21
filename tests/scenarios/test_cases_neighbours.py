"""What stands around an app and who else writes there: cases X11, X12, X14 and X27.

What others change is put back where users would suffer and left alone where they would not; what cannot be handled is
named and touches nobody else.
"""

import asyncio
from typing import Any

import pytest

from canaryd.core.kinds import (
    CANARY,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    INGRESS,
    SERVICE,
)
from tests.fakes.admission import keep_by_the_webhook, keep_what_canaryd_set
from tests.scenarios.harness import (
    HOST,
    NAMESPACE,
    Story,
    deployment,
    ingress,
    plan,
    scenario,
    service,
)

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


# --- names and labels -------------------------------------------------------------------------------------------------


@scenario
async def test_X11_the_same_chart_twice_in_a_namespace_with_one_name_label_is_isolated(told: Story):
    chart = {"app.kubernetes.io/name": "shop"}
    for release in ("first", "second"):
        labels = chart | {"app.kubernetes.io/instance": release}
        await told.enrol(release, labels=labels, host=f"{release}.test", image=f"{release}:1")
        told.users(host=f"{release}.test")
    told.set_image("first:2", "first")
    await told.until_phase("Succeeded", "first")

    for release in ("first", "second"):
        own = {p.ip for p in told.cluster.pods(NAMESPACE, f"{release}-primary") if p.ready}
        for name in (release, f"{release}-primary"):
            assert own == addresses(told, name)
    assert "second:1" == told.image("second-primary")
    assert [] == told.results("second")
    assert {"first:1", "first:2", "second:1"} == told.plane.by_version().keys()
    assert [] == told.lost()


@scenario
async def test_X11_two_deployments_that_only_an_expression_tells_apart_are_isolated(told: Story):
    for tier in ("web", "api"):
        labels = {"app": "shop", "tier": tier}
        made = deployment(
            tier,
            image=f"{tier}:1",
            replicas=2,
            annotations=plan(),
            pod_spec=None,
            labels=labels,
        )
        expressions = [
            {"key": "tier", "operator": "In", "values": [tier]},
            {"key": "app", "operator": "In", "values": ["shop", "shop-next"]},
        ]
        made["spec"]["selector"] = {
            "matchLabels": {"app": "shop"},
            "matchExpressions": expressions,
        }
        for manifest in (made, service(tier, labels), ingress(tier, f"{tier}.test")):
            told.server.put(manifest)
        await told.until_phase("Initialized", tier)
        await told.until_idle(tier)
        told.users(host=f"{tier}.test")
    told.set_image("web:2", "web")
    await told.until_weight(20, "web")
    web = {p.ip for p in told.cluster.pods(NAMESPACE, "web") if p.ready}
    assert web == addresses(told, "web-canary")
    await told.until_phase("Succeeded", "web")

    for tier in ("web", "api"):
        own = {p.ip for p in told.cluster.pods(NAMESPACE, f"{tier}-primary") if p.ready}
        for name in (tier, f"{tier}-primary"):
            assert own == addresses(told, name)
        selector = told.stored(DEPLOYMENT, f"{tier}-primary")["spec"]["selector"]
        assert {"app": "shop-primary"} == selector["matchLabels"]
        assert [
            {"key": "tier", "operator": "In", "values": [tier]},
            {"key": "app", "operator": "In", "values": ["shop-primary", "shop-next"]},
        ] == selector["matchExpressions"]
    assert "api:1" == told.image("api-primary")
    assert [] == told.results("api")
    assert {"web:1", "web:2", "api:1"} == told.plane.by_version().keys()
    assert [] == told.lost()


def addresses(told: Story, name: str) -> set[str]:
    """Ready addresses behind a Service."""
    return {
        address
        for piece in told.server.store.items(ENDPOINT_SLICE, NAMESPACE)
        if piece["metadata"]["labels"]["kubernetes.io/service-name"] == name
        for endpoint in piece["endpoints"] or ()
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }


# --- somebody writes the old values back ------------------------------------------------------------------------------


async def put_back(told: Story, *, replicas: int = 3, times: int = 5) -> None:
    """What a GitOps tool does: forced applies of what is in Git, again and again."""
    labels = {"app": "app"}
    for _ in range(times):
        told.server.apply(
            deployment(
                "app",
                image="app:1",
                replicas=replicas,
                annotations={},
                pod_spec=None,
                labels=labels,
            ),
            "gitops",
        )
        told.server.apply(service("app", labels), "gitops")
        await asyncio.sleep(5)


@scenario
async def test_X12_selector_and_replicas_put_back_lose_nobody_under_idle_keep(told: Story):
    await told.enrol(annotations=plan(idle="keep"))
    told.users()
    await put_back(told)

    assert [] == told.lost()
    assert {"app": "app-primary"} == told.selector()
    assert 3 == told.replicas()


@scenario
async def test_X12_selector_and_replicas_put_back_lose_nobody_under_the_admission_policy(
    told: Story,
):
    told.server.store.admission.append(keep_what_canaryd_set)
    await told.enrol()
    told.users()
    told.server.requests.clear()
    await put_back(told)

    assert [] == told.lost()
    assert {"app": "app-primary"} == told.selector()
    assert 0 == told.replicas()
    assert [] == told.writes()


@scenario
async def test_X12_selector_and_replicas_put_back_lose_nobody_under_the_daemons_own_webhook(
    told: Story,
):
    told.server.store.admission.append(keep_by_the_webhook)
    await told.enrol()
    told.users()
    told.server.requests.clear()
    await put_back(told)

    assert [] == told.lost()
    assert {"app": "app-primary"} == told.selector()
    assert 0 == told.replicas()
    assert [] == told.writes()


@scenario
async def test_X12_with_neither_the_selector_is_pointed_back_at_once_and_the_cost_is_told(
    told: Story,
):
    await told.enrol()
    users = told.users()
    await asyncio.sleep(10)
    told.cluster.endpoint_delay_s = 0.0  # the worst case: endpoints follow before we do
    told.server.apply(service("app", {"app": "app"}), "gitops")
    took = await told.until(lambda: told.selector() == {"app": "app-primary"}, "pointed back", 1)

    assert took < 0.1
    await told.until_event("SelectorDrift", seconds=1)
    [note] = told.memory.notes("SelectorDrift")
    assert "Service app was changed by somebody else" in note
    assert "got no answer" in note
    await asyncio.sleep(20)
    # One look of the data plane at empty endpoints: the reason why reaction is not enough (design 2).
    assert 0 < len(told.lost()) <= users.rate * (told.plane.throttle_s + took + 0.1)
    assert 1 == told.memory.reasons().count("SelectorDrift")


@scenario
async def test_X12_replicas_put_back_between_runs_are_taken_as_the_primarys(told: Story):
    await told.enrol()
    told.users()
    await asyncio.sleep(10)
    told.server.patch(DEPLOYMENT, NAMESPACE, "app", {"spec": {"replicas": 3}})

    assert await told.until(lambda: told.replicas() == 0, "idle again", 5) < 0.5
    await told.until(lambda: told.replicas("app-primary") == 3, "the primary has them", 1)
    await told.until_event("ReplicasDrift", seconds=1)
    await asyncio.sleep(30)
    assert 1 == told.memory.reasons().count("ReplicasDrift")
    assert [] == told.lost()


@scenario
async def test_X12_a_tool_that_never_stops_is_fought_for_the_selector_and_reported(told: Story):
    await told.enrol()
    for _ in range(30):
        told.server.apply(service("app", {"app": "app"}), "gitops")
        await told.until(lambda: told.selector() == {"app": "app-primary"}, "pointed back", 1)
        await asyncio.sleep(1)

    assert 30 == told.memory.reasons().count("SelectorDrift")


@scenario
async def test_a_weight_edited_by_hand_is_written_again(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    key = "nginx.ingress.kubernetes.io/canary-weight"
    told.server.patch(INGRESS, NAMESPACE, "app-canary", {"metadata": {"annotations": {key: "90"}}})

    assert await told.until_weight(20) < 0.5
    await told.until_event("TrafficDrift", seconds=1)
    await told.until_phase("Succeeded")


@scenario
async def test_a_canary_ingress_deleted_in_mid_run_is_made_again_at_its_weight(told: Story):
    await told.enrol()
    told.users()
    told.set_image("app:2")
    await told.until_weight(20)
    told.server.remove(INGRESS, NAMESPACE, "app-canary")

    assert await told.until_weight(20) < 0.5
    await told.until_phase("Succeeded")
    assert [] == told.lost()


@scenario
async def test_a_main_ingress_deleted_in_mid_run_leaves_no_canary_route_of_its_own(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    told.server.remove(INGRESS, NAMESPACE, "app")
    await told.until_weight(0, seconds=1)
    assert ("True", "IngressNotFound") == await settled_condition(told, "Stalled")
    await asyncio.sleep(30)
    assert "app:1" == told.image()

    told.server.put(ingress("app", HOST))
    told.users()
    await told.until_phase("Succeeded")
    assert "app:2" == told.image()


async def settled_condition(told: Story, kind: str) -> tuple[str, str]:
    await told.until(lambda: told.condition(kind) != ("", ""), f"condition {kind}", 5)
    return told.condition(kind)


@scenario
async def test_a_host_changed_in_mid_run_is_followed_by_the_canary_route(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.server.put(ingress("app", "new.test"))
    await told.until(
        lambda: told.stored(INGRESS, "app-canary")["spec"]["rules"][0]["host"] == "new.test",
        "the new host",
        1,
    )
    told.users(host="new.test")
    await told.until_phase("Succeeded")

    assert "app:2" in told.plane.by_version()


@pytest.mark.parametrize("name", ["app-primary", "app-canary"])
@scenario
async def test_a_service_of_ours_deleted_in_mid_run_is_made_again(told: Story, name):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.server.remove(SERVICE, NAMESPACE, name)
    await told.until(lambda: told.exists(SERVICE, name), f"Service {name}", 1)
    await told.until_phase("Succeeded")


@scenario
async def test_X27_a_primary_deleted_while_the_target_carries_a_failed_revision_is_the_good_one(
    told: Story,
):
    await told.enrol()
    told.source.bad_images.add("app:2")
    told.set_image("app:2")
    await told.until_phase("Failed")
    await told.until_idle()
    told.server.remove(DEPLOYMENT, NAMESPACE, "app-primary")
    await told.until(lambda: told.exists(DEPLOYMENT, "app-primary"), "the primary", 1)

    assert "app:1" == told.image()
    await told.until(lambda: told.cluster.is_rolled_out(NAMESPACE, "app-primary"), "rolled out")
    await asyncio.sleep(60)
    users = told.users()
    await asyncio.sleep(10)
    told.plane.stop(users)
    assert {"app:1"} == told.plane.by_version().keys()
    assert "Failed" == told.phase()
    assert "PrimaryRebuilt" in told.memory.reasons()


@scenario
async def test_X27_primary_and_record_deleted_together_never_make_a_failed_revision_stable(
    told: Story,
):
    await told.enrol()
    told.source.bad_images.add("app:2")
    told.set_image("app:2")
    await told.until_phase("Failed")
    await told.until_idle()
    told.server.remove(CANARY, NAMESPACE, "app")
    await told.until_phase("Initialized", seconds=60)
    assert "app:1" == told.image()
    await told.until_phase("Failed")

    assert "app:1" == told.image()


@scenario
async def test_a_primary_edited_by_hand_gets_its_template_back(told: Story):
    await told.enrol()
    told.users()
    await asyncio.sleep(5)
    told.set_image("app:handmade", "app-primary")
    await told.until(lambda: told.image() == "app:1", "the promoted template", 1)
    await asyncio.sleep(20)

    assert "PrimaryDrift" in told.memory.reasons()
    assert [] == told.lost()


@scenario
async def test_a_service_deleted_and_made_again_between_runs_leads_to_the_primary(told: Story):
    await told.enrol()
    told.server.remove(SERVICE, NAMESPACE, "app")
    assert ("True", "ServiceNotFound") == await settled_condition(told, "Stalled")
    told.server.put(service("app", {"app": "app"}))
    await told.until(lambda: told.selector() == {"app": "app-primary"}, "the primary", 1)
    told.set_image("app:2")
    await told.until_phase("Succeeded")

    assert ("", "") == told.condition("Stalled")


@scenario
async def test_every_ingress_of_the_service_gets_the_weight(told: Story):
    told.server.put(ingress("other", "other.test"))
    told.server.edit(INGRESS, NAMESPACE, "other", to_service_app)
    await told.enrol()
    told.users()
    told.users(host="other.test")
    told.set_image("app:2")
    await told.until(lambda: (told.weight(), told.weight("other")) == (50, 50), "both at 50")
    since = asyncio.get_running_loop().time() + told.plane.throttle_s
    await asyncio.sleep(9)
    for client in ("app.test/", "other.test/"):
        sent = [s for s in told.plane.sent(since=since) if s.client == client]
        assert 45 < 100 * sum(s.canary for s in sent) / len(sent) < 55
    await told.until_phase("Succeeded")
    assert [] == told.lost()


def to_service_app(manifest: dict[str, Any]) -> None:
    for path in manifest["spec"]["rules"][0]["http"]["paths"]:
        path["backend"]["service"]["name"] = "app"


@scenario
async def test_the_size_given_to_the_primary_by_hand_is_the_apps_from_then_on(told: Story):
    await told.enrol()
    told.server.patch(DEPLOYMENT, NAMESPACE, "app-primary", {"spec": {"replicas": 5}})
    await asyncio.sleep(20)
    told.server.remove(DEPLOYMENT, NAMESPACE, "app-primary")
    await told.until(lambda: told.exists(DEPLOYMENT, "app-primary"), "the primary", 1)

    assert 5 == told.replicas("app-primary")


@scenario
async def test_a_primary_scaled_to_zero_by_hand_gets_its_pods_back(told: Story):
    await told.enrol()
    told.server.patch(DEPLOYMENT, NAMESPACE, "app-primary", {"spec": {"replicas": 0}})
    await told.until(lambda: told.replicas("app-primary") == 2, "its pods", 1)


# --- what cannot be handled -------------------------------------------------------------------------------------------


def add_bare_rule(told: Story) -> None:
    """A rule with a host and nothing else, as some controllers take for a default backend."""
    rules = [*ingress("app", HOST)["spec"]["rules"], {"host": "bare.test"}]
    told.server.patch(INGRESS, NAMESPACE, "app", {"spec": {"rules": rules}})


@scenario
async def test_X14_an_ingress_rule_without_http_is_an_error_of_that_app_alone(told: Story):
    await told.enrol("good", host="good.test", image="good:1")
    told.deploy("app", annotations=plan())
    add_bare_rule(told)
    await told.until(lambda: told.condition("Stalled") == ("True", "IngressInvalid"), "the reason")

    assert "rule 1 (bare.test) has no http paths" in told.message()
    assert not told.exists(DEPLOYMENT, "app-primary")
    told.set_image("good:2", "good")
    await told.until_phase("Succeeded", "good")
    told.server.put(ingress("app", HOST))
    await told.until_phase("Initialized")


@scenario
async def test_X14_an_obstacle_that_comes_in_mid_run_leaves_nobody_on_a_canary_that_dies(
    told: Story,
):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    add_bare_rule(told)
    await asyncio.sleep(5)
    assert 50 == told.weight()
    told.cluster.break_pods("app")

    assert await told.until_weight(0) < 1
    told.cluster.heal_pods()
    told.server.put(ingress("app", HOST))
    await told.until_weight(20)
    await told.until_phase("Succeeded")
