"""Two daemons, one leader; and an API server that goes away for a while."""

import time
import urllib.request

import pytest

from tests.cluster.app import App
from tests.cluster.audit import AuditLog
from tests.cluster.daemon import Daemon, Installation, running
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.test_safety import enrolled
from tests.cluster.traffic import Users

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("undisturbed")]


def leads(daemon: Daemon) -> bool:
    """Whether this process says that it leads."""
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/metrics", timeout=5) as answer:
        return b"\ncanaryd_leader 1.0" in answer.read()


def test_when_the_leader_is_killed_the_other_finishes_its_run(
    cluster: Cluster, namespace: str, installation: Installation
):
    with running(installation) as first, running(installation) as second:
        cluster.wait_for("the first leads", lambda: leads(first) or None, timeout_s=30)
        assert not leads(second)
        app = enrolled(cluster, namespace, weights="20,50")
        with Users(cluster.ingress_url, app.host, rate=50) as users:
            app.ship("two")
            app.until_weight(20)
            first.kill()
            died = time.monotonic()
            cluster.wait_for("the second leads", lambda: leads(second) or None, timeout_s=30)
            taken = time.monotonic() - died
            app.until_phase("Succeeded", 90)
            time.sleep(1)

            assert [] == users.lost()
        record("leader killed -> the other leads", f"{taken:.1f} s", "<= 15 s lease + 2 s")
        assert taken <= 18
        assert ["Succeeded"] == [h["result"] for h in app.status()["history"]]


def test_a_leader_that_is_told_to_end_hands_over_within_two_seconds_and_a_bit(
    cluster: Cluster, installation: Installation
):
    with running(installation) as first, running(installation) as second:
        cluster.wait_for("the first leads", lambda: leads(first) or None, timeout_s=30)
        began = time.monotonic()
        first.stop()
        cluster.wait_for("the second leads", lambda: leads(second) or None, timeout_s=30)

        taken = time.monotonic() - began
        record("leader told to end -> the other leads", f"{taken:.1f} s", "<= 3 s")
        assert taken <= 3.5


def test_an_api_server_that_is_away_in_mid_run_costs_no_request_and_no_second_run(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    if not cluster.is_local:
        pytest.skip("an external cluster's API server is not ours to pause")
    app = enrolled(cluster, namespace, weights="20,50")
    with Users(cluster.ingress_url, app.host, rate=50) as users:
        app.ship("two")
        app.until_weight(20)
        cluster.pause_process("kube-apiserver")
        try:
            time.sleep(14)  # longer than the leader may go without renewal
            assert not leads(daemon)
        finally:
            cluster.resume_process("kube-apiserver")
        app.until_phase("Succeeded", 120)
        time.sleep(1)

        assert [] == users.lost()
    assert "two" == app.primary_message()
    assert ["Succeeded"] == [h["result"] for h in app.status()["history"]]


def test_a_restarted_daemon_with_enrolled_apps_writes_nothing(
    cluster: Cluster, namespace: str, installation: Installation
):
    """Case X18: an upgrade of the controller starts no run."""
    if not cluster.is_local:
        pytest.skip("the audit log of a cluster of your own is not ours to read")
    with running(installation):
        enrolled(cluster, namespace)
        other = App(cluster, namespace, name="other", replicas=1)
        other.deploy()
        other.enrol()
        other.until_phase("Initialized", 60)
        time.sleep(3)

    audit = AuditLog(cluster.audit_log, installation.user)
    with running(installation) as after:
        cluster.wait_for("leadership", lambda: leads(after) or None, timeout_s=30)
        time.sleep(5)
        writes = [r for r in audit.counted() if r.verb not in ("get", "list")]
        reads = [r for r in audit.counted() if r.verb in ("get", "list")]

        assert [] == writes
        record("reads of a restarted daemon with 2 idle apps", str(len(reads)), "0")
        assert [] == reads
