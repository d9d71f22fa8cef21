"""GitOps tools beside canaryd on a real API server: what they see of a release, and what their buttons may do.

The Deployment controller here is the real one, and so are the admission policies.
"""

import json
import shlex
import time
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from canaryd.core import names
from tests.cluster.app import App
from tests.cluster.daemon import ROOT, Daemon, Installation, running
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.local.errors import CommandFailed
from tests.cluster.test_safety import enrolled
from tests.cluster.traffic import Users
from tests.docs.argocd import health, patch_of
from tests.docs.markdown import console, read
from tests.fakes.kstatus import kstatus

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("undisturbed")]

STEPS = {"interval": "10s", "weights": "20,50"}
ACCOUNT = "system:serviceaccount:argocd:argocd-server"


# --- what they see ------------------------------------------------------------------------------------------------------


def live(app: App) -> dict[str, Any]:
    """The Deployment, and who wrote what of it."""
    words = ("-n", app.namespace, "-o", "json", "--show-managed-fields")
    found: dict[str, Any] = json.loads(app.cluster.kubectl("get", "deployment", app.name, *words))
    return found


def conditions(app: App) -> dict[str, str]:
    """Types and reasons of the conditions that hold."""
    found = live(app).get("status", {}).get("conditions") or ()
    return {c["type"]: c["reason"] for c in found if c["status"] == "True"}


def says(app: App, kind: str, reason: str = "") -> bool | None:
    found = conditions(app)
    return (kind in found and reason in ("", found[kind])) or None


def test_conditions_of_ours_outlive_a_scale_and_a_roll_by_the_real_controller_and_then_go(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, **STEPS)
    assert {"Available", "Progressing"} == set(conditions(app))
    with Users(cluster.ingress_url, app.host, rate=50) as users:
        app.ship("two")
        cluster.wait_for("the condition", lambda: says(app, "Reconciling"), timeout_s=5)
        app.until_weight(20)
        seen = live(app)["status"]["observedGeneration"]
        for replicas in ("3", "2"):
            cluster.kubectl("scale", "deployment", "app", "-n", namespace, f"--replicas={replicas}")
        app.ship("three")
        cluster.wait_for(
            "the controller's status",
            lambda: live(app)["status"]["observedGeneration"] >= seen + 3 or None,
        )
        assert {"Available", "Reconciling"} <= set(conditions(app))
        assert ("InProgress", "Progressing") == kstatus(live(app))
        assert "Progressing" == health("apps_Deployment", live(app))[0]
        [entry] = [
            e
            for e in live(app)["metadata"]["managedFields"]
            if e["manager"] == names.STATUS_MANAGER
        ]
        assert ("Apply", "status") == (entry["operation"], entry["subresource"])

        app.until_phase("Succeeded", 120)
        cluster.wait_for(
            "the condition is taken back", lambda: not says(app, "Reconciling") or None, timeout_s=5
        )
        assert [] == users.lost()
    cluster.wait_for("an idle app", lambda: kstatus(live(app)) == ("Current", "") or None)
    assert {"Available", "Progressing"} == set(conditions(app))


def test_who_waits_for_the_deployment_sees_the_failure_and_nothing_good_before_it(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, **STEPS)
    seen: list[str] = []
    with Users(cluster.ingress_url, app.host, rate=50):
        app.ship("two", "--random-error=true")
        # From the first answer on: whoever applied it may look at once.
        end = time.monotonic() + 90
        while time.monotonic() < end and seen[-1:] != ["Failed"]:
            word, _ = kstatus(live(app))
            if seen[-1:] != [word]:
                seen.append(word)
            time.sleep(0.05)
    record("what kstatus says of a release that fails", " → ".join(seen), "InProgress → Failed")
    # kubectl needs longer to start than canaryd to react; the gap between apply and condition is told in docs/gitops.md.
    assert ["InProgress", "Failed"] == [word for word in seen if word != "Current"]
    assert "Degraded" == health("apps_Deployment", live(app))[0]
    assert "MetricFailed" == conditions(app)["Stalled"]


def test_leaving_in_mid_run_takes_the_conditions_along(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(cluster, namespace, **STEPS)
    app.ship("two")
    cluster.wait_for("the condition", lambda: says(app, "Reconciling", "Progressing"))
    app.leave()
    cluster.wait_for(
        "the app given back",
        lambda: app.object("canaries.canaryd.io") is None or None,
        timeout_s=90,
    )
    assert {"Available", "Progressing"} == set(conditions(app))
    managers = {e["manager"] for e in live(app)["metadata"]["managedFields"]}
    assert names.STATUS_MANAGER not in managers


# --- buttons of Argo CD -------------------------------------------------------------------------------------------------


def rights(namespace: str) -> dict[str, Any]:
    """``rights.yaml`` for a namespace of the test's own."""
    text = (ROOT / "deploy" / "argocd" / "rights.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    found["metadata"]["namespace"] = namespace
    return found


def press(app: App, action: str) -> str:
    """Press a button as Argo CD's account; what the API server refused."""
    canary = app.object("canaries.canaryd.io")
    assert canary is not None
    patch = json.dumps(patch_of(action, canary))
    try:
        app.cluster.kubectl(
            *(f"--as={ACCOUNT}", "-n", app.namespace, "patch", "canaries.canaryd.io", app.name),
            *("--type=merge", "-p", patch),
        )
    except CommandFailed as error:
        return str(error)
    return ""


def test_a_button_of_argo_cd_passes_the_policy_with_the_rights_of_the_sample_and_not_without(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = enrolled(
        cluster, namespace, weights=None, steps="weight 20; gate qa; weight 50", interval="10s"
    )
    app.ship("two")
    app.until_weight(20)
    cluster.wait_for("the gate", lambda: app.status().get("gates"))
    assert "may not" in press(app, "pause") or "forbidden" in press(app, "pause").lower()

    cluster.apply([rights(namespace)], namespace=namespace)
    cluster.wait_for("the rights", lambda: not press(app, "pause") or None, timeout_s=10)
    cluster.wait_for("the pause", lambda: app.status().get("run", {}).get("pausedAt"))
    assert f"paused by {ACCOUNT}" in app.status()["message"]
    assert "Suspended" == health("canaryd.io_Canary", app.object("canaries.canaryd.io"))[0]
    assert "it takes the verb" in press(app, "approve")
    time.sleep(1.1)
    assert "" == press(app, "resume")
    cluster.wait_for("it goes on", lambda: not app.status().get("run", {}).get("pausedAt") or None)
    assert "" == press(app, "abort")
    app.until_phase("Failed", 10)
    cluster.wait_for("the failure", lambda: says(app, "Stalled", "Aborted"), timeout_s=5)


# --- commands of docs/gitops.md -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """Runs the commands of the page, by their numbers, about an app of the test."""

    app: App

    def command(self, number: int) -> str:
        words = shlex.split(console(read("docs/gitops.md"))[number][0])
        assert "kubectl" == words[0]
        namespace, name = self.app.namespace, self.app.name
        replaced = {"shop": namespace, "podinfo": name, "deployment/podinfo": f"deployment/{name}"}
        words = [replaced.get(word, word) for word in words[1:]]
        files = [str(ROOT / word) if word.startswith("deploy/") else word for word in words]
        return self.app.cluster.kubectl(*files)


def test_every_command_of_the_page_on_gitops_does_what_the_page_says(
    cluster: Cluster, namespace: str, installation: Installation
):
    with running(installation):
        app = enrolled(cluster, namespace, **STEPS)
        page = Page(app)
        page.command(0)
        with pytest.raises(CommandFailed, match="timed out"):
            page.command(1)
        page.command(2)
        cluster.wait_for(
            "the primary's replicas", lambda: app.replicas_of("app-primary") == 3 or None
        )
        app.ship("two")
        cluster.wait_for("the condition", lambda: says(app, "Reconciling", "Progressing"))
    page.command(5)
    assert {"Reconciling", "Stalled"} & set(conditions(app)) == set()

    for found in ("argocd", "shop"):
        cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found}}])
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}}
    cluster.apply([settings | {"data": {"kept": "yes"}}], namespace="argocd")
    try:
        page.command(3)
        page.command(4)
        data = cluster.get("configmap", "argocd-cm", "-n", "argocd")["data"]
        assert "yes" == data["kept"]
        assert "resource.customizations.health.apps_Deployment" in data
        assert "argocd-canaries" in cluster.kubectl("get", "rolebinding", "-n", "shop")
    finally:
        cluster.kubectl("delete", "namespace", "argocd", "shop", "--wait=false")
