"""What selects or scales the target's pods follows the primary; what others write back is repaired."""

import subprocess
import sys
import time

import pytest

from tests.cluster.app import App
from tests.cluster.audit import AuditLog
from tests.cluster.daemon import ROOT, Daemon, Installation, environment
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.test_hooks_and_load import BY_LOAD_ALONE
from tests.cluster.test_safety import enrolled
from tests.cluster.traffic import Users

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("undisturbed")]


def autoscaler(name: str, *, low: int) -> dict[str, object]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": low,
            "maxReplicas": 5,
        },
    }


def test_an_autoscaler_is_copied_for_the_primary_and_its_edits_follow(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    cluster.apply([autoscaler("app", low=3)], namespace=namespace)
    app = enrolled(cluster, namespace, **BY_LOAD_ALONE)

    copy = app.object("hpa", "app-primary")
    assert "app-primary" == copy["spec"]["scaleTargetRef"]["name"]
    assert 3 == copy["spec"]["minReplicas"]
    cluster.wait_for(
        "the primary at the autoscaler's minimum",
        lambda: app.replicas_of("app-primary") == 3 or None,
        timeout_s=40,
    )
    assert 0 == app.replicas_of()

    cluster.apply([autoscaler("app", low=2)], namespace=namespace)
    cluster.wait_for(
        "the edit in the copy",
        lambda: app.object("hpa", "app-primary")["spec"]["minReplicas"] == 2 or None,
        timeout_s=10,
    )
    app.ship("two")
    app.until_phase("Succeeded", 120)
    assert "two" == app.primary_message()


def test_X12_without_policy_and_without_keep_the_selector_is_back_at_once_and_an_event_says_what_it_cost(
    cluster: Cluster, namespace: str, installation: Installation, daemon: Daemon
):
    app = enrolled(cluster, namespace)
    with installation.without_policies(), Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users", lambda: users.sent > 50 or None)
        time.sleep(1)
        before = time.monotonic()
        cluster.kubectl(
            *("patch", "service", "app", "-n", namespace, "--type=merge"),
            *("-p", '{"spec":{"selector":{"app":"app"}}}'),
        )
        cluster.wait_for(
            "the selector at the primary again",
            lambda: app.selector() == {"app": "app-primary"} or None,
            interval_s=0.02,
        )
        repaired = time.monotonic() - before
        time.sleep(5)
        lost = len(users.lost(before))
        record("lost, selector written back, neither policy nor keep", str(lost), "said, not 0")
        record("selector written back -> at the primary again", f"{repaired:.2f} s", "< 1 s")
        assert repaired < 1
        # Users are served again for good.
        assert [] == users.lost(time.monotonic() - 1.5)
    [told] = cluster.wait_for(
        "the Event", lambda: [e for e in app.events("SelectorDrift") if _on_target(e)] or None
    )
    assert "Warning" == told["type"]
    assert (
        "pointing it at the primary again; until then its users may have got no answer"
        in told["note"]
    )


def _on_target(event: dict[str, dict[str, str]]) -> bool:
    return event["regarding"]["kind"] == "Deployment"


def test_a_dry_run_tells_what_it_would_do_and_writes_nothing(
    cluster: Cluster, namespace: str, installation: Installation
):
    app = App(cluster, namespace, replicas=1)
    app.deploy()
    app.enrol()
    audit = AuditLog(cluster.audit_log, installation.user) if cluster.is_local else None

    done = subprocess.run(
        [
            *(sys.executable, "-m", "canaryd", "run", "--once", "--dry-run"),
            *("--config", str(installation.config), "--kubeconfig", str(installation.kubeconfig)),
            *("--namespace", namespace, "--port", "0"),
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "enrolling at revision" in done.stderr
    assert app.object("canaries.canaryd.io") is None
    if audit is not None:
        assert [] == [r for r in audit.counted() if r.verb not in ("get", "list")]
