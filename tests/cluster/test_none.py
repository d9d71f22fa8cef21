"""Blue/green by the selector of the Service on a real cluster: who is lost when it is switched."""

import time

import pytest

from tests.cluster.app import App
from tests.cluster.daemon import Daemon
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.traffic import Users

pytestmark = pytest.mark.cluster

NONE: dict[str, str | None] = {
    "provider": "none",
    "strategy": "blue-green",
    "weights": None,
    "iterations": "1",
    "metric.latency-p99": None,
    "min-requests": None,
    "load-test.get": "GET / rate=20 for=2s",
}
"""The ingress follows the Service as any caller would; canaryd asks it for nothing."""


def test_X28_switches_of_the_Service_lose_no_request(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = App(cluster, namespace)
    app.deploy()
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 50 or None)
        time.sleep(1)
        before = time.monotonic()

        app.enrol(**NONE)
        app.until_phase("Initialized", 60)
        app.ship("two")
        cluster.wait_for(
            "every user on the new revision", lambda: users.share("two") == 100 or None
        )
        assert "pod-template-hash" in app.selector()
        app.until_phase("Succeeded", 120)
        assert {"app": "app-primary"} == app.selector()

        app.ship("three", "--random-error=true")
        app.until_phase("Failed", 90)
        assert {"app": "app-primary"} == app.selector()
        assert "two" == app.primary_message()

        app.leave()
        cluster.wait_for(
            "the primary gone", lambda: app.object("deployment", "app-primary") is None or None
        )
        time.sleep(3)
        assert {"app": "app"} == app.selector()

        record("lost requests, blue/green by selector at 100/s", users.summary(before), "0")
        assert {"one", "two"} == set(users.versions())
        assert [] == users.lost(before)
