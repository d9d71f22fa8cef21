"""Hooks and load tests, really sent: to a Service of the app's namespace, and to the canary Service."""

import pytest

from tests.cluster import manifests
from tests.cluster.app import App
from tests.cluster.daemon import Daemon
from tests.cluster.local.client import Cluster

pytestmark = pytest.mark.cluster

BY_LOAD_ALONE = {
    "metric.success-rate": None,
    "metric.latency-p99": None,
    "min-requests": None,
    "load-test.get": "GET / rate=50 for=8s concurrency=4",
    "weights": "50",
}


@pytest.fixture
def receiver(cluster: Cluster, namespace: str) -> str:
    """A podinfo that answers hooks with the status their path asks for."""
    cluster.apply(
        [manifests.podinfo("receiver"), manifests.service("receiver")], namespace=namespace
    )
    cluster.wait_for_rollout("receiver", namespace=namespace)
    return "svc://receiver"


def test_a_release_without_users_asks_its_hooks_and_is_judged_by_its_own_load_test(
    cluster: Cluster, namespace: str, daemon: Daemon, receiver: str
):
    app = App(cluster, namespace)
    app.deploy()
    hooks = {
        "hook.open": f"confirm-rollout {receiver}/status/200",
        "hook.smoke": f"pre-rollout {receiver}/status/202",
        "hook.during": f"rollout {receiver}/status/200",
        "hook.last": f"confirm-promotion {receiver}/status/200",
        "hook.told": f"post-rollout {receiver}/status/200",
        "hook.events": f"event {receiver}/status/200",
    }
    app.enrol(**BY_LOAD_ALONE, **hooks)
    app.until_phase("Initialized", 60)

    app.ship("two")
    app.until_phase("Succeeded", 60)

    status = app.status()
    passed = {hook["name"]: (hook["state"], hook["code"]) for hook in status["hooks"]}
    assert ("Passed", 200) == passed["open"]
    assert ("Passed", 202) == passed["smoke"]
    assert ("Passed", 200) == passed["during"]
    assert ("Passed", 200) == passed["last"]
    [load] = [m for m in status["metrics"] if m["name"] == "load-test.get"]
    assert "Passed" == load["verdict"]
    assert load["samples"] >= 350
    assert "two" == app.primary_message()


def test_a_canary_that_fails_its_load_test_reaches_no_promotion(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = App(cluster, namespace)
    app.deploy()
    app.enrol(**BY_LOAD_ALONE)
    app.until_phase("Initialized", 60)

    app.ship("two", "--random-error=true")
    app.until_phase("Failed", 60)

    assert "one" == app.primary_message()
    assert 0 == app.weight()
    assert "get" in app.status()["message"]


def test_a_gate_that_refuses_holds_and_a_hook_that_fails_rolls_back(
    cluster: Cluster, namespace: str, daemon: Daemon, receiver: str
):
    app = App(cluster, namespace)
    app.deploy()
    app.enrol(**BY_LOAD_ALONE, **{"hook.open": f"confirm-rollout {receiver}/status/403"})
    app.until_phase("Initialized", 60)

    app.ship("two")
    app.until_phase("Waiting", 20)
    cluster.wait_for("the gate's answer", lambda: app.status()["hooks"] or None, timeout_s=10)
    assert 0 == app.weight()
    assert 0 == app.replicas_of()
    assert "hook open" in app.status()["message"]

    # The plan of a run is pinned: opening the gate takes a new answer, not a new URL. A new revision takes both.
    app.annotate(
        {
            "hook.open": f"confirm-rollout {receiver}/status/200",
            "hook.during": f"rollout {receiver}/status/500",
        }
    )
    app.ship("three")
    app.until_phase("Failed", 60)

    assert "hook during: status 500" in app.status()["message"]
    assert "one" == app.primary_message()
