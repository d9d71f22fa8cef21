"""Users under constant load while an app is enrolled, released, rolled back and given back: nobody is lost (case X28)."""

import time
from typing import Any

import pytest

from tests.cluster.app import App
from tests.cluster.audit import AuditLog
from tests.cluster.daemon import Daemon
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.traffic import Users

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("undisturbed")]

STEPS = 5
INTERVAL_S = 10.0
DRAIN_S = 3.0


def test_X28_enrolment_a_clean_release_a_rollback_and_leaving_lose_no_request(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = App(cluster, namespace, version="one")
    app.deploy()
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 50 or None)
        time.sleep(1)
        before = time.monotonic()

        app.enrol()
        app.until_phase("Initialized", 60)
        time.sleep(2)
        record("lost requests, enrolment at 100/s", users.summary(before), "0")
        assert [] == users.lost(before)
        assert {"app": "app-primary"} == app.selector()
        assert 0 == app.replicas_of()

        _release(app, users, cluster, daemon)
        _rollback(app, users)

        before = time.monotonic()
        app.leave()
        cluster.wait_for(
            "the app given back",
            lambda: (
                (
                    app.object("canaries.canaryd.io") is None
                    and app.object("deployment", "app-primary") is None
                )
                or None
            ),
            timeout_s=90,
        )
        time.sleep(3)
        record("lost requests, leaving at 100/s", users.summary(before), "0")
        assert [] == users.lost(before)
        assert {"app": "app"} == app.selector()
        assert 100.0 == users.share("two", 1.0)


def _release(app: App, users: Users, cluster: Cluster, daemon: Daemon) -> None:
    audit = AuditLog(cluster.audit_log, daemon.user) if cluster.is_local else None
    before = time.monotonic()
    shipped = app.ship("two")
    seen = app.until_phase("Progressing", 10)
    cluster.wait_for(
        "canary pods ready", lambda: _is_rolled_out(app.object("deployment")) or None, timeout_s=30
    )
    ready = time.monotonic()
    first = app.until_weight(10, 30)
    app.until_weight(50, 90)
    promoting = app.until_phase("Promoting", 30)
    cluster.wait_for(
        "the primary rolled out",
        lambda: _is_rolled_out(app.object("deployment", "app-primary")) or None,
        timeout_s=60,
    )
    rolled = time.monotonic()
    done = app.until_phase("Succeeded", 60)
    time.sleep(1)

    record("lost requests, clean release at 100/s", users.summary(before), "0")
    record("image set -> the run is seen", f"{seen - shipped:.2f} s", "< 1 s")
    record(
        "image set -> first weight in the Ingress", f"{first - shipped:.2f} s", "pod start + < 1 s"
    )
    record(
        "last verdict -> Succeeded",
        f"{done - promoting:.2f} s",
        f"roll-out ({rolled - promoting:.2f} s) + 3 s drain + < 2 s",
    )
    record("image set -> Succeeded, 5 steps of 10 s", f"{done - shipped:.1f} s", "<= 60 s")
    assert [] == users.lost(before)
    assert seen - shipped < 1
    assert first - ready < 1
    assert done - rolled < DRAIN_S + 2
    assert done - shipped <= 60
    assert 100.0 == users.share("two", 1.0)
    assert [e["regarding"]["kind"] for e in app.events("NewRevisionDetected")]
    if audit is not None:
        requests = audit.counted()
        record(
            "API requests of a whole release",
            str(len(requests)),
            "<= 45 (Flagger 164, Argo Rollouts 63)",
        )
        assert len(requests) <= 45, audit.table()


def _is_rolled_out(deployment: dict[str, Any] | None) -> bool:
    """What ``kubectl rollout status`` waits for."""
    if deployment is None:
        return False
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and wanted == status.get("updatedReplicas", 0) == status.get("readyReplicas", 0)
        and wanted == status.get("replicas", 0)
    )


def _rollback(app: App, users: Users) -> None:
    before = time.monotonic()
    app.ship("three", "--random-error=true")
    app.until_weight(10, 60)
    app.until_phase("Failed", 120)
    app.until_weight(0, 5)
    time.sleep(3)
    record("lost requests, rollback at 100/s", users.summary(before), "0")
    assert [] == users.lost(before)
    assert users.app_errors(before) > 0
    assert 100.0 == users.share("two", 1.0)
    assert "two" == app.primary_message()


def test_the_daemon_needs_little_memory_with_one_app(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = App(cluster, namespace, replicas=1)
    app.deploy()
    app.enrol()
    app.until_phase("Initialized", 60)

    rss = daemon.rss_mib()

    record("resident memory, 1 app", f"{rss:.1f} MiB", "<= 80 MiB")
    assert rss <= 80
