"""What may go wrong on a real cluster, and what users notice of it."""

import json
import time
from contextlib import ExitStack

import pytest

from tests.cluster.app import App, make_unready
from tests.cluster.daemon import Daemon, Installation, running
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.traffic import Users

pytestmark = pytest.mark.cluster


def enrolled(cluster: Cluster, namespace: str, **changes: str | None) -> App:
    app = App(cluster, namespace)
    app.deploy()
    app.enrol(**changes)
    app.until_phase("Initialized", 60)
    return app


def test_X5_all_canary_pods_unready_at_weight_takes_their_users_away_within_two_seconds(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, weights="30", interval="60s")
    app.ship("two")
    app.until_weight(30)
    pods = app.pod_addresses("app=app")
    for address in pods:
        make_unready(address)
    unready = time.monotonic()
    cluster.wait_for(
        "no canary pod ready",
        lambda: (
            (app.object("deployment") or {}).get("status", {}).get("readyReplicas", 0) == 0 or None
        ),
        interval_s=0.05,
    )
    seen = time.monotonic()
    gone = app.until_weight(0, 10)

    record("all canary pods unready -> weight 0 written", f"{max(0.0, gone - seen):.2f} s", "< 2 s")
    assert gone - seen < 2
    assert gone - unready < 10


def test_X3_a_revert_in_mid_run_ends_it_at_once_and_starts_no_other(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, weights="20,50")
    with Users(cluster.ingress_url, app.host, rate=50) as users:
        app.ship("two")
        app.until_weight(20)
        before = time.monotonic()
        app.ship("one")
        gone = app.until_weight(0, 5)
        app.until_phase("Initialized", 10)
        time.sleep(8)

        assert gone - before < 2
        assert "Initialized" == app.phase()
        assert "one" == app.primary_message()
        assert 0 == app.replicas_of()
        assert [] == users.lost()


def test_X8_a_config_that_fails_is_never_seen_by_the_primarys_pods(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"colour": "blue"},
    }
    cluster.apply([config], namespace=namespace)
    app = App(
        cluster,
        namespace,
        pod_spec={"volumes": [{"name": "settings", "configMap": {"name": "settings"}}]},
    )
    app.deploy()
    app.enrol(weights="50", **{"metric.success-rate": ">= 99"})
    app.until_phase("Initialized", 60)
    before = app.object("deployment", "app-primary")

    cluster.apply([config | {"data": {"colour": "red"}}], namespace=namespace)
    # Nobody sends requests: the check never gets a verdict, so the run holds and the primary must not move.
    app.until_weight(50)
    time.sleep(12)

    primary = app.object("deployment", "app-primary")
    assert before["spec"]["template"] == primary["spec"]["template"]
    copied = primary["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert copied.startswith("settings-")
    copy = app.object("configmap", copied)
    assert {"colour": "blue"} == copy["data"]
    assert copy["immutable"] is True


def test_a_config_changed_while_canary_pods_run_is_judged_on_pods_that_have_it(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"colour": "blue"},
    }
    cluster.apply([config], namespace=namespace)
    volume = {"name": "settings", "configMap": {"name": "settings"}}
    app = App(cluster, namespace, pod_spec={"volumes": [volume]})
    app.deploy()
    app.enrol(weights="50")
    app.until_phase("Initialized", 60)
    with Users(cluster.ingress_url, app.host, rate=50) as users:
        app.ship("two")
        app.until_weight(50)
        before = app.pod_names("app=app")
        assert before

        cluster.apply([config | {"data": {"colour": "red"}}], namespace=namespace)
        app.until_weight(0, 10)
        app.until_weight(50, 60)
        analysed = app.pod_names("app=app")
        app.until_phase("Succeeded", 90)
        time.sleep(1)

        assert set() == analysed & before
        assert [] == users.lost()
    primary = app.object("deployment", "app-primary")
    copied = primary["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    assert {"colour": "red"} == app.object("configmap", copied)["data"]


def test_X12_replicas_and_selector_put_back_lose_nobody_under_idle_keep(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, idle="keep")
    lost, sent = put_back(cluster, app)

    record("lost, selector and replicas written back, idle: keep", f"{lost} of {sent}", "0")
    assert 0 == lost


def test_X12_replicas_and_selector_put_back_lose_nobody_under_the_admission_policy(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace)
    lost, sent = put_back(cluster, app)

    record("lost, selector and replicas written back, policy", f"{lost} of {sent}", "0")
    assert 0 == lost
    assert 0 == app.replicas_of()


def put_back(cluster: Cluster, app: App) -> tuple[int, int]:
    """What a GitOps tool does: forced server-side applies of what is in Git, again and again."""
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users", lambda: users.sent > 50 or None)
        for _ in range(5):
            app.cluster.apply(
                [app._deployment("one") | {"metadata": {"name": app.name}}], namespace=app.namespace
            )
            app.cluster.apply(
                [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {"name": app.name},
                        "spec": {
                            "selector": {"app": app.name},
                            "ports": [{"name": "http", "port": 80, "targetPort": 9898}],
                        },
                    }
                ],
                namespace=app.namespace,
            )
            time.sleep(1.5)
        time.sleep(3)
        cluster.wait_for(
            "the selector at the primary again",
            lambda: app.selector() == {"app": "app-primary"} or None,
        )
        return len(users.lost()), users.sent


def test_X17_a_daemon_killed_in_mid_run_goes_on_where_it_was_and_rolls_the_primary_once(
    cluster: Cluster, namespace: str, installation: Installation
):
    with ExitStack() as daemons:
        daemon = daemons.enter_context(running(installation))
        app = enrolled(cluster, namespace, weights="20,50")
        generation = app.object("deployment", "app-primary")["metadata"]["generation"]
        with Users(cluster.ingress_url, app.host, rate=50) as users:
            app.ship("two")
            app.until_weight(20)
            daemon.kill()
            daemon = daemons.enter_context(running(installation))
            app.until_weight(50, 60)
            daemon.kill()
            daemon = daemons.enter_context(running(installation))
            app.until_phase("Promoting", 60)
            daemon.kill()
            daemon = daemons.enter_context(running(installation))
            app.until_phase("Succeeded", 60)
            time.sleep(1)

            assert "two" == app.primary_message()
            assert (
                generation + 1 == app.object("deployment", "app-primary")["metadata"]["generation"]
            )
            assert ["Succeeded"] == [h["result"] for h in app.status()["history"]]
            assert [] == users.lost()


def test_X2_a_primary_that_does_not_roll_out_keeps_users_on_healthy_pods_and_a_fix_is_analysed(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, weights="50", progress_deadline="15s")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": {"pods": "4"}},
    }
    with Users(cluster.ingress_url, app.host, rate=50) as users:
        app.ship("two")
        app.until_weight(50)
        # Two primary and two canary pods run: the primary cannot surge any more, so it cannot roll.
        cluster.apply([quota], namespace=namespace)
        app.until_phase("Promoting", 60)
        app.until_phase("Failed", 90)
        assert "one" == app.primary_message()
        cluster.kubectl("delete", "resourcequota", "full", "-n", namespace)
        app.ship("three")
        app.until_phase("Succeeded", 120)
        time.sleep(1)

        assert "three" == app.primary_message()
        assert [] == users.lost()


def test_a_network_policy_that_would_cut_the_primary_off_is_copied_for_it(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    policies = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "default-deny"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "allow-app"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "app"}},
                "ingress": [{}],
                "policyTypes": ["Ingress"],
            },
        },
    ]
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "app"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "app"}}},
    }
    cluster.apply([*policies, budget], namespace=namespace)

    app = enrolled(cluster, namespace)

    allowed = app.object("networkpolicy", "allow-app-primary")
    assert {"app": "app-primary"} == allowed["spec"]["podSelector"]["matchLabels"]
    assert app.object("networkpolicy", "default-deny-primary") is None
    protected = app.object("poddisruptionbudget", "app-primary")
    assert {"app": "app-primary"} == protected["spec"]["selector"]["matchLabels"]


def test_the_status_tells_what_it_will_do_and_where_each_value_comes_from(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, weights="5,20")

    canary = app.object("canaries.canaryd.io")
    assert {"value": "5,20", "from": "deployment"} == canary["spec"]["values"]["weights"]
    assert "built-in" == canary["spec"]["values"]["idle"]["from"]
    shown = cluster.kubectl("get", "cnry", "-n", namespace)
    assert "Initialized" in shown
    assert len(json.dumps(canary["status"])) < 16 * 1024


def test_bad_annotations_touch_nothing_and_say_all_that_is_wrong(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = App(cluster, namespace, replicas=1)
    app.deploy()
    app.enrol(interval="soon", colour="blue")
    cluster.wait_for("the complaint", lambda: app.status().get("conditions"), timeout_s=10)

    [valid] = [c for c in app.status()["conditions"] if c["type"] == "ConfigValid"]
    assert "False" == valid["status"]
    assert "canaryd.io/interval" in valid["message"]
    assert "canaryd.io/colour" in valid["message"]
    assert app.object("deployment", "app-primary") is None
    assert {"app": "app"} == app.selector()
