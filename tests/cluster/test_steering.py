"""A run steered by people with the command line, against the real API server, its policies and pods: nobody is lost."""

import time

import pytest

from tests.cluster.app import App
from tests.cluster.daemon import Daemon
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.traffic import Users

pytestmark = pytest.mark.cluster


def canaryd(app: App, *words: str, fails: int = 0) -> str:
    """What a command says; its exit code is part of the claim."""
    done = app.canaryd(*words)
    assert fails == done.returncode, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_people_pause_resume_approve_and_undo_a_release_and_nobody_is_lost(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = App(cluster, namespace, version="one")
    app.deploy()
    app.enrol(
        weights=None,
        steps="weight 20; analyze; weight 50; gate qa; weight 60",
        **{"gate.qa": "step"},
    )
    app.until_phase("Initialized", 60)
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 50 or None)
        before = time.monotonic()
        app.ship("two", by="ci")
        app.until_weight(20, 60)

        asked = time.monotonic()
        canaryd(app, "pause", "app", "-m", "lunch")
        record("`canaryd pause` -> on record", f"{time.monotonic() - asked:.1f} s", "-")
        time.sleep(15)
        assert 20 == app.weight()
        assert "paused by" in app.status()["message"]
        canaryd(app, "pause", "app", fails=7)
        canaryd(app, "resume", "app")

        app.until_weight(50, 60)
        cluster.wait_for("the gate", lambda: app.status().get("gates") or None, timeout_s=60)
        assert "gate qa" in canaryd(app, "status", "app")
        canaryd(app, "promote", "app", fails=7)
        canaryd(app, "approve", "app", "--gate", "qa")
        app.until_phase("Succeeded", 120)
        cluster.wait_for("everybody at two", lambda: users.share("two", 1.0) == 100 or None)

        canaryd(app, "undo", "app", "-m", "wrong colour")
        app.until_phase("Succeeded", 90)
        cluster.wait_for("everybody at one", lambda: users.share("one", 1.0) == 100 or None)
        assert "one" == app.primary_message()
        time.sleep(15)
        assert ("Succeeded", 0) == (app.phase(), app.replicas_of())
        told = canaryd(app, "history", "app")
        for word in ("pause", "resume", "approve", "undo", "wrong colour"):
            assert word in told

        record("lost requests, a steered release and its undoing", users.summary(before), "0")
        assert [] == users.lost(before)


def test_abort_takes_everybody_off_within_seconds(cluster: Cluster, namespace: str, daemon: Daemon):
    app = App(cluster, namespace, version="one")
    app.deploy()
    app.enrol(weights="50,60")
    app.until_phase("Initialized", 60)
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 50 or None)
        before = time.monotonic()
        app.ship("two")
        app.until_weight(50, 60)
        time.sleep(4)
        canaryd(app, "abort", "app", "-m", "not today")
        off = app.until_weight(0, 5)
        time.sleep(4)
        assert {"one"} == set(users.versions(off + 3))
        app.until_phase("Failed", 10)
        assert "aborted by" in app.status()["message"]
        record("lost requests, abort at weight 50", users.summary(before), "0")
        assert [] == users.lost(before)
