"""Users behind a Gateway under constant load, whose HTTPRoute carries the canary: nobody is lost, and the route comes back as it was.

The data plane is Traefik's Gateway provider, the CRDs are those of the Go module of Gateway API.
"""

import json
import time
from typing import Any

import pytest

from tests.cluster import manifests
from tests.cluster.app import App
from tests.cluster.daemon import Daemon
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.local.programs import GATEWAY, SYSTEM_NAMESPACE
from tests.cluster.traffic import Users

pytestmark = pytest.mark.cluster

SETTLE_S = 3.0
"""Longer than Traefik takes to act."""
INSIDER = {"X-Canary": "insider"}
COOKIE = {"Cookie": "theme=dark; canary=always"}
TEAM = {
    "type": "ResponseHeaderModifier",
    "responseHeaderModifier": {"set": [{"name": "x-team", "value": "shop"}]},
}


class RoutedApp(App):
    """An app whose team has an HTTPRoute with two rules, the second for everything else."""

    def deploy(self) -> None:
        self.cluster.apply(
            [self._deployment(self.version), manifests.service(self.name), self.route()],
            namespace=self.namespace,
        )
        self.cluster.wait_for_rollout(self.name, namespace=self.namespace)

    def route(self) -> dict[str, Any]:
        backend = {"name": self.name, "port": 80}
        api = {"path": {"type": "PathPrefix", "value": "/api"}}
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": self.name},
            "spec": {
                "parentRefs": [{"name": GATEWAY, "namespace": SYSTEM_NAMESPACE}],
                "hostnames": [self.host],
                "rules": [
                    {"matches": [api], "backendRefs": [{**backend, "weight": 7}]},
                    {"backendRefs": [backend], "filters": [TEAM]},
                ],
            },
        }

    def enrol(self, **changes: str | None) -> None:
        super().enrol(**{"provider": "gateway"} | changes)

    def live(self) -> dict[str, Any]:
        found = self.object("httproute")
        assert found is not None
        return found

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.live()["spec"]
        return spec

    def weight(self) -> int | None:
        """What every rule of the team says, in percent; None while they do not say the same."""
        shares = set()
        for rule in self.spec()["rules"][:2]:
            weights = {r["name"]: r["weight"] for r in rule["backendRefs"]}
            shares.add(100 * weights.get(f"{self.name}-canary", 0) // sum(weights.values()))
        return shares.pop() if len(shares) == 1 else None

    def until_left(self) -> None:
        self.cluster.wait_for(
            "the app given back",
            lambda: (
                (
                    self.object("canaries.canaryd.io") is None
                    and self.object("deployment", f"{self.name}-primary") is None
                )
                or None
            ),
            timeout_s=90,
        )


@pytest.fixture
def app(cluster: Cluster, namespace: str, daemon: Daemon) -> RoutedApp:
    if not cluster.is_local:
        pytest.skip("needs a Gateway of Traefik's, which the local cluster has")
    made = RoutedApp(cluster, namespace, version="one")
    made.deploy()
    return made


def test_X28_behind_a_gateway_enrolment_a_release_a_rollback_and_leaving_lose_no_request(
    cluster: Cluster, app: RoutedApp
):
    asked = app.spec()
    with Users(cluster.ingress_url, app.host, rate=100) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 50 or None)
        time.sleep(1)
        before = time.monotonic()
        app.enrol(weights="20,50")
        app.until_phase("Initialized", 60)
        time.sleep(SETTLE_S)
        record("lost requests behind a Gateway, enrolment", users.summary(before), "0")
        assert ([], asked) == (users.lost(before), app.spec())
        assert 0 == app.replicas_of()

        before = time.monotonic()
        app.ship("two")
        app.until_weight(20, 60)
        time.sleep(SETTLE_S + 2)
        assert 12 < users.share("two", 2.0) < 28
        app.until_weight(50, 60)
        app.until_phase("Succeeded", 90)
        time.sleep(SETTLE_S)
        record("lost requests behind a Gateway, clean release", users.summary(before), "0")
        assert ([], asked) == (users.lost(before), app.spec())
        assert 100.0 == users.share("two", 1.0)
        # The built-in metrics saw both: Traefik's names for the backends of a route are known.
        assert {"success-rate", "latency-p99"} == {m["name"] for m in app.status()["metrics"]}

        before = time.monotonic()
        app.ship("three", "--random-error=true")
        app.until_weight(20, 60)
        app.until_phase("Failed", 120)
        app.until_weight(0, 5)
        time.sleep(SETTLE_S)
        record("lost requests behind a Gateway, rollback", users.summary(before), "0")
        assert ([], asked) == (users.lost(before), app.spec())
        assert users.app_errors(before) > 0
        assert 100.0 == users.share("two", 1.0)

        before = time.monotonic()
        app.leave()
        app.until_left()
        time.sleep(SETTLE_S)
        record("lost requests behind a Gateway, leaving", users.summary(before), "0")
        assert ([], asked) == (users.lost(before), app.spec())
        assert {"app": "app"} == app.selector()
        assert 100.0 == users.share("two", 1.0)


def test_behind_a_gateway_those_who_ask_by_header_or_cookie_get_the_canary(
    cluster: Cluster, app: RoutedApp
):
    asked = app.spec()
    app.enrol(
        weights=None,
        strategy="ab",
        match="header x-canary=insider; cookie canary",
        iterations="2",
    )
    app.until_phase("Initialized", 60)
    with (
        Users(cluster.ingress_url, app.host, rate=60) as users,
        Users(cluster.ingress_url, app.host, rate=20, headers=INSIDER) as insiders,
        Users(cluster.ingress_url, app.host, rate=20, headers=COOKIE) as cookies,
    ):
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 30 or None)
        before = time.monotonic()
        app.ship("two")
        app.until_step(1, 60)
        time.sleep(SETTLE_S)
        inside = time.monotonic()
        time.sleep(4)
        assert {"two"} == set(insiders.versions(inside)) == set(cookies.versions(inside))
        assert {"one"} == set(users.versions(inside))

        app.until_phase("Succeeded", 90)
        time.sleep(SETTLE_S)
        assert {"two"} == set(users.versions(time.monotonic() - 1))
        for who, group in {"users": users, "insiders": insiders, "cookies": cookies}.items():
            record(f"lost requests of {who} behind a Gateway, A/B", group.summary(before), "0")
            assert [] == group.lost(before)
    assert asked == app.spec()


@pytest.mark.parametrize("way", ["server-side", "client-side"])
def test_a_second_writer_who_applies_the_route_in_a_release_costs_nobody_an_answer(
    cluster: Cluster, app: RoutedApp, way: str
):
    app.enrol(weights="50", interval="15s")
    app.until_phase("Initialized", 60)
    with Users(cluster.ingress_url, app.host, rate=80) as users:
        cluster.wait_for("users at version one", lambda: users.versions()["one"] > 30 or None)
        before = time.monotonic()
        app.ship("two")
        app.until_weight(50, 60)
        for _ in range(2):
            _apply_again(app, way)
            app.until_weight(50, 10)
            time.sleep(SETTLE_S)
        app.until_phase("Succeeded", 150)
        time.sleep(SETTLE_S)
        record(f"lost requests, the route applied {way} in a release", users.summary(before), "0")
        assert [] == users.lost(before)
        assert 100.0 == users.share("two", 1.0)
    assert app.events("TrafficDrift")
    assert 0 == app.weight()


def _apply_again(app: RoutedApp, way: str) -> None:
    if way == "client-side":
        patch = json.dumps({"spec": app.route()["spec"]})
        app.cluster.kubectl(
            "patch", "httproute", app.name, "-n", app.namespace, "--type=merge", "-p", patch
        )
        return
    app.cluster.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=argocd-controller",
        "-n",
        app.namespace,
        "-f",
        "-",
        input=json.dumps(app.route()),
    )


def test_the_api_server_takes_the_most_that_is_ever_written(cluster: Cluster, app: RoutedApp):
    """Conditions beside a weight are the most rules and matches: limits of the real CRD hold."""
    app.enrol(
        weights="50",
        match="header x-canary; header x-user~^qa-[0-9]+$; cookie canary",
        interval="15s",
    )
    app.until_phase("Initialized", 60)
    app.ship("two")
    app.until_weight(50, 60)

    kept = app.live()
    assert 2 + 2 * 4 == len(kept["spec"]["rules"])
    assert "internal.canaryd.io/route.app" in kept["metadata"]["annotations"]
    conditions = {
        c["type"]: c["status"] for p in kept["status"]["parents"] for c in p["conditions"]
    }
    assert "True" == conditions["ResolvedRefs"]
    app.leave()
    app.until_left()
    assert 2 == len(app.spec()["rules"])
