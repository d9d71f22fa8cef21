"""A/B, testers beside a weight, and blue/green under constant load: everybody gets the version that is meant for them, and an answer."""

import time

import pytest

from tests.cluster.app import App
from tests.cluster.daemon import Daemon
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.traffic import Users

pytestmark = pytest.mark.cluster

TESTER = {"X-Canary": "insider"}
MATCH = "header x-canary=insider"
SETTLE_S = 3.0
"""Longer than the data plane takes to act."""


def at_work(cluster: Cluster, namespace: str, **plan: str | None) -> App:
    """An app that serves version one, enrolled with a plan that has no weights of its own."""
    app = App(cluster, namespace, version="one")
    app.deploy()
    app.enrol(**plan)
    app.until_phase("Initialized", 60)
    time.sleep(SETTLE_S)
    return app


def test_ab_gives_the_canary_to_those_who_ask_and_to_nobody_else(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    app = at_work(cluster, namespace, weights=None, strategy="ab", match=MATCH, iterations="2")
    with (
        Users(cluster.ingress_url, app.host, rate=60) as users,
        Users(cluster.ingress_url, app.host, rate=40, headers=TESTER) as testers,
    ):
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 30 or None)
        before = time.monotonic()
        app.ship("two")
        app.until_step(1, 60)
        time.sleep(SETTLE_S)
        inside = time.monotonic()
        time.sleep(5)
        assert {"two"} == set(testers.versions(inside))
        assert {"one"} == set(users.versions(inside))
        app.until_phase("Succeeded", 90)
        time.sleep(SETTLE_S)
        assert {"two"} == set(users.versions(time.monotonic() - 1))

        app.ship("three", "--random-error=true")
        app.until_phase("Failed", 120)
        time.sleep(SETTLE_S)
        assert {"two"} == set(testers.versions(time.monotonic() - 1))
        record("lost requests, A/B release and rollback", users.summary(before), "0")
        record("lost requests of testers, A/B", testers.summary(before), "0")
        assert ([], []) == (users.lost(before), testers.lost(before))


def test_X20_testers_get_the_canary_at_any_weight(cluster: Cluster, namespace: str, daemon: Daemon):
    app = at_work(cluster, namespace, weights="20,50", match=MATCH)
    with (
        Users(cluster.ingress_url, app.host, rate=80) as users,
        Users(cluster.ingress_url, app.host, rate=20, headers=TESTER) as testers,
    ):
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 30 or None)
        before = time.monotonic()
        app.ship("two")
        app.until_weight(20, 60)
        time.sleep(SETTLE_S)
        inside = time.monotonic()
        time.sleep(4)
        assert {"two"} == set(testers.versions(inside))
        assert 10 < users.share("two", 4.0) < 30
        app.until_phase("Succeeded", 90)
        time.sleep(1)
        record("lost requests, weight with testers", users.summary(before), "0")
        assert ([], []) == (users.lost(before), testers.lost(before))


def test_blue_green_switches_everybody_at_once_after_its_preview_was_judged(
    cluster: Cluster, namespace: str, daemon: Daemon
):
    load = {"load-test.smoke": "GET / rate=20 for=8s"}
    app = at_work(cluster, namespace, weights=None, strategy="blue-green", iterations="2", **load)
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 50 or None)
        before = time.monotonic()
        app.ship("two")
        app.until_step(1, 60)
        assert 100.0 == users.share("one", 3.0)
        app.until_weight(100, 90)
        switched = time.monotonic()
        time.sleep(SETTLE_S)
        assert 100.0 == users.share("two", 1.0)
        app.until_phase("Succeeded", 90)
        time.sleep(SETTLE_S)
        assert {"two"} == set(users.versions(switched + SETTLE_S))

        app.ship("three", "--random-error=true")
        failing = time.monotonic()
        app.until_phase("Failed", 120)
        time.sleep(1)
        assert 0 == users.versions(failing)["three"]
        record("lost requests, blue/green release and bad preview", users.summary(before), "0")
        assert [] == users.lost(before)
