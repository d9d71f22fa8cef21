"""TrafficSplits on a real API server, read by Linkerd itself: the proxies of an app's clients are told our weights."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.app import App
from tests.cluster.daemon import Daemon, Installation, chart_values, running
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.mesh import SPLITS, Mesh, a_mesh, split_crd
from tests.cluster.traffic import Users

pytestmark = pytest.mark.cluster

SMI: dict[str, str | None] = {
    "provider": "smi",
    "metric.success-rate": None,
    "metric.latency-p99": None,
    "min-requests": None,
    "interval": "10s",
    "weights": "30,60",
    "load-test.get": "GET / rate=20 for=2s",
}
"""No pod is meshed, so no proxy counts: load tests judge."""


@dataclass(frozen=True, slots=True)
class Stage:
    """An app's namespace, with a canaryd of its own that may use SMI, and a mesh."""

    cluster: Cluster
    namespace: str
    daemon: Daemon
    mesh: Mesh

    def enrolled(self, **changes: str | None) -> App:
        app = App(self.cluster, self.namespace)
        app.deploy()
        app.enrol(**SMI | changes)
        app.until_phase("Initialized", 60)
        return app

    def backends(self) -> list[dict[str, Any]]:
        found = self.cluster.get(SPLITS, "app", "-n", self.namespace)
        return list(found["spec"]["backends"])


@pytest.fixture(scope="module")
def mesh(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with a_mesh(cluster, tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture(scope="module")
def alone(installation: Installation) -> Iterator[None]:
    """The cluster-wide installation of the session lets nobody else make Canaries."""
    with installation.without_policies():
        yield


@pytest.fixture
def stage(
    cluster: Cluster,
    namespace: str,
    mesh: Mesh,
    alone: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """A daemon in the app's own namespace, with rights there: the chart's Role, which has the rule about TrafficSplits."""
    installed = Installation(
        cluster,
        namespace,
        tmp_path_factory.mktemp("canaryd"),
        chart_values(
            cluster,
            scope={"mode": "namespaces", "namespaces": [namespace]},
            providers={"smi": {"enabled": True}},
            admission={"keep": "off"},
        ),
    )
    with running(installed) as daemon:
        yield Stage(cluster, namespace, daemon, mesh)


def test_proxies_are_told_every_weight_of_a_release_and_of_a_rollback(stage: Stage):
    app = stage.enrolled()
    with (
        stage.mesh.profiles(stage.namespace, "app") as told,
        Users(stage.cluster.ingress_url, app.host, rate=50) as users,
    ):
        told.until(stage.cluster, 0)
        app.ship("two")
        app.until_phase("Succeeded", 120)
        told.until(stage.cluster, 0)
        assert [0, 30, 60, 0] == told.shares()
        assert "two" == app.primary_message()

        app.ship("three", "--random-error=true")
        told.until(stage.cluster, 30, 90)
        app.until_phase("Failed", 60)
        told.until(stage.cluster, 0)
        assert [0, 30, 60, 0, 30, 0] == told.shares()
        assert "two" == app.primary_message()
        time.sleep(2)

        # The ingress is not meshed: whoever is outside of the mesh is on the primary all the time.
        assert {"one", "two"} == set(users.versions())
        assert [] == users.lost()


def test_X5_without_a_ready_canary_pod_proxies_are_told_zero_within_two_seconds(stage: Stage):
    app = stage.enrolled(interval="60s")
    with stage.mesh.profiles(stage.namespace, "app") as told:
        app.ship("two")
        told.until(stage.cluster, 30, 90)
        stage.cluster.kubectl("scale", "deployment", "app", "-n", stage.namespace, "--replicas=0")
        begun = time.monotonic()
        told.until(stage.cluster, 0, 10)

        took = time.monotonic() - begun
        record("canary scaled away -> proxies told 0", f"{took:.2f} s", "< 2 s")
        assert took < 2


def test_a_split_edited_by_hand_is_put_back_whichever_version_it_was_edited_in(stage: Stage):
    stage.enrolled()
    with stage.mesh.profiles(stage.namespace, "app") as told:
        told.until(stage.cluster, 0)
        weights = (
            '[{"service":"app-primary","weight":"500m"},{"service":"app-canary","weight":"1"}]'
        )
        stage.cluster.kubectl(
            "patch",
            "trafficsplits.v1alpha1.split.smi-spec.io",
            "app",
            "-n",
            stage.namespace,
            "--type=merge",
            "-p",
            f'{{"spec":{{"backends":{weights}}}}}',
        )
        stage.cluster.wait_for(
            "the split as it was",
            lambda: [b["weight"] for b in stage.backends()] == [100, 0] or None,
        )
        told.until(stage.cluster, 0)
        assert told.shares() in ([0, 67, 0], [0])


def test_after_leaving_proxies_go_to_the_Service_itself_and_nothing_of_ours_is_left(stage: Stage):
    app = stage.enrolled()
    with stage.mesh.profiles(stage.namespace, "app") as told:
        told.until(stage.cluster, 0)
        app.leave()
        told.until(stage.cluster, None)
        # The primary outlives the split for as long as proxies may need to forget it.
        assert app.object("deployment", "app-primary") is not None
        stage.cluster.wait_for(
            "the primary gone", lambda: app.object("deployment", "app-primary") is None or None
        )
        assert app.object(SPLITS) is None
        assert {"app": "app"} == app.selector()


def test_F26_a_cluster_that_serves_no_TrafficSplit_is_told_and_one_that_does_again_goes_on(
    stage: Stage,
):
    app = stage.enrolled()
    stage.cluster.kubectl("delete", "crd", SPLITS)
    stage.cluster.wait_for(
        "the loss told", lambda: "does not serve" in str(app.status().get("message")) or None
    )
    assert app.object("deployment", "app-primary") is not None
    assert {"app": "app-primary"} == app.selector()

    stage.cluster.apply([split_crd()])
    stage.cluster.wait_for(
        "the split made again", lambda: app.object(SPLITS) is not None or None, timeout_s=120
    )
    assert [100, 0] == [b["weight"] for b in stage.backends()]
