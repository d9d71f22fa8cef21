"""From a key to a snapshot: what is older than our own write is not looked at, and nothing of a stranger is taken for ours."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.controller.freshness import OVERDUE_WAITS, Freshness, StaleCache
from canaryd.controller.gather import RECHECK_S, Gatherer
from canaryd.controller.inquiries import Inquiries
from canaryd.core import names
from canaryd.core.kinds import CANARY
from canaryd.core.model import Provider
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.routing import Routing
from canaryd.core.snapshot import Obstacle, RouteState
from canaryd.core.state import RolloutState, RunState
from canaryd.core.status import StatusInput, render
from canaryd.ports.errors import ServerError
from canaryd.ports.router import Routers
from tests.controller.parts import (
    KEY,
    SHOP,
    CountingApi,
    Notes,
    config,
    deployment,
    make_cache,
    meta,
    view_of,
)

pytestmark = pytest.mark.looptime

OURS = names.ownership_labels("app")


class Router:
    propagation_s = 2.0

    def read(self, app):
        return RouteState(routing=Routing(20), in_sync=True)

    def orphans(self, key):
        return RouteState(routing=Routing(7))

    def validate(self, spec):
        return ()

    def cautions(self, app):
        return ()


@dataclass
class World:
    """A gatherer over an enrolled target with its Service and Ingress."""

    api: CountingApi = field(default_factory=CountingApi)
    cache: Any = field(default_factory=make_cache)
    freshness: Freshness = field(default_factory=Freshness)

    def __post_init__(self):
        self.inquiries = Inquiries(None, None, None, lambda key: None, Notes())
        defaults = {}
        self.gatherer = Gatherer(
            self.api,
            self.cache,
            Routers({Provider.NGINX: Router()}),
            self.inquiries,
            defaults,
            self.freshness,
        )
        self.put(deployment())
        self.put(service("app"))
        self.put(ingress())

    def put(self, manifest):
        self.api.put(manifest)
        stores = {
            "Deployment": self.cache.deployments,
            "Service": self.cache.services,
            "Ingress": self.cache.ingresses,
            "ConfigMap": self.cache.config_maps,
            "Canary": self.cache.canaries,
        }
        stores[manifest["kind"]].observe(manifest)

    def record(self, state, version=100, **more):
        metadata = meta("app", version) | more
        status = render(StatusInput(state, None, None, 1, ""), {}, 0.0)
        self.put(
            {
                "apiVersion": CANARY.api_version,
                "kind": "Canary",
                "metadata": metadata,
                "spec": {},
                "status": status,
            }
        )

    async def snapshot(self):
        return (await self.gatherer.gather(KEY)).snapshot


def service(name, labels=None, annotations=None, selector=None):
    metadata = meta(name, labels=labels) | {"annotations": annotations or {}}
    spec = {"selector": selector or {"app": "app"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def ingress():
    backend = {"service": {"name": "app", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec = {"rules": [{"host": "app.test", "http": {"paths": [path]}}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta("app"),
        "spec": spec,
    }


def running(**run):
    state = RunState(id="r-1", revision="r", started_at=0.0, confirmed=True, **run)
    return RolloutState(phase=Phase.PROGRESSING, promoted="p", target_uid="uid-app", run=state)


def replica_set(image="app:1", uid="uid-app", suffix="abc"):
    owned = deployment(image=image)["spec"]["template"]
    owned["metadata"] = {"labels": {"app": "app", "pod-template-hash": suffix}}
    metadata = meta(f"app-{suffix}") | {"ownerReferences": [{"uid": uid}]}
    return {"kind": "ReplicaSet", "metadata": metadata, "spec": {"template": owned}}


# --- freshness ----------------------------------------------------------------------------------


def test_a_view_older_than_our_own_write_is_stale_until_the_write_comes_back():
    freshness = Freshness()
    freshness.wrote(KEY, "200")
    with pytest.raises(StaleCache, match="waiting for resourceVersion 200"):
        freshness.check(KEY, "199")
    freshness.check(KEY, "200")
    freshness.check(KEY, "150")  # what was seen once is not asked for again


def test_of_several_writes_the_newest_counts():
    freshness = Freshness()
    for version in ("200", "300", "250", "not a number"):
        freshness.wrote(KEY, version)
    with pytest.raises(StaleCache, match="300"):
        freshness.check(KEY, "299")


def test_other_apps_are_not_held_up():
    freshness = Freshness()
    freshness.wrote(KEY, "200")
    freshness.check((SHOP, "other"), "1")


async def test_a_cache_behind_our_write_is_waited_for_without_asking_anybody():
    world = World()
    world.freshness.wrote(KEY, "200")
    for _ in range(OVERDUE_WAITS - 1):
        with pytest.raises(StaleCache):
            await world.snapshot()
    assert [] == world.api.asked
    world.put(deployment(version=200))
    assert "200" == (await world.snapshot()).target.id.resource_version


async def test_a_lagging_cache_is_never_believed_however_long_it_lags():
    world = World()
    world.freshness.wrote(KEY, "200")
    world.api.put(deployment(version=200))
    for _ in range(5 * OVERDUE_WAITS):
        with pytest.raises(StaleCache):
            await world.snapshot()


async def test_after_a_restore_of_etcd_the_lower_version_is_believed_once_the_server_confirms_it():
    world = World()
    world.freshness.wrote(KEY, "1000000")
    for _ in range(OVERDUE_WAITS - 1):
        with pytest.raises(StaleCache):
            await world.snapshot()
    assert "100" == (await world.snapshot()).target.id.resource_version
    asked = len(world.api.asked)
    await world.snapshot()
    assert 1 == world.api.asked[:asked].count(("get", "Deployment", "app"))


# --- targets ------------------------------------------------------------------------------------


async def test_a_target_that_is_gone_is_seen_as_gone_and_nothing_is_asked_about_it_any_more():
    world = World()
    world.freshness.wrote(KEY, "200")
    world.gatherer.obstruct(KEY, Obstacle(Reason.CONFLICT, "x"))
    world.cache.deployments.forget(deployment(version=300))
    assert (await world.snapshot()).target is None
    world.put(deployment(version=301))
    assert () == (await world.snapshot()).obstacles
    assert [("get", "Deployment", "app-primary")] == world.api.asked


async def test_a_target_that_is_being_deleted_is_seen_as_gone():
    world = World()
    leaving = deployment(version=101)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-05T12:00:00Z"
    world.put(leaving)
    assert (await world.snapshot()).target is None


async def test_a_target_without_one_mark_of_ours_is_not_gone_and_wants_to_leave():
    world = World()
    world.record(RolloutState(phase=Phase.SUCCEEDED, promoted="p", target_uid="uid-app"))
    world.cache.deployments.forget(deployment(version=101))
    world.api.put(deployment(version=101, annotations={}))
    found = await world.snapshot()
    assert (False, "app", "p") == (
        found.resolution.enabled,
        found.target.id.name,
        found.state.promoted,
    )


async def test_a_target_that_is_gone_with_its_record_left_is_gone():
    world = World()
    world.record(RolloutState(phase=Phase.SUCCEEDED, promoted="p", target_uid="uid-app"))
    world.cache.deployments.forget(deployment(version=101))
    del world.api.objects["Deployment", "app"]
    assert (await world.snapshot()).target is None


async def test_a_deployment_that_never_was_enrolled_costs_no_request():
    world = World()
    world.put(deployment(version=101, annotations={"canaryd.io/interval": "1m"}))
    found = await world.snapshot()
    assert (False, None, []) == (found.resolution.enabled, found.app, world.api.asked)


# --- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"version": 99, "phase": "Succeeded"}, "version 99"),
        ({"version": 1}, "damaged"),
        ({"version": 1, "phase": "Napping"}, "damaged"),
        ({"version": 1, "phase": "Succeeded", "run": 7}, "damaged"),
    ],
)
async def test_a_record_that_cannot_be_read_is_told_and_never_taken_for_none(machine, words):
    world = World()
    metadata = meta("app")
    record = {"apiVersion": CANARY.api_version, "kind": "Canary", "metadata": metadata, "spec": {}}
    world.put(record | {"status": {"machine": machine}})
    found = await world.snapshot()
    assert found.state is None
    assert words in found.state_error


async def test_the_record_of_a_namesake_that_is_gone_is_not_ours():
    world = World()
    world.record(RolloutState(phase=Phase.SUCCEEDED, promoted="p", target_uid="uid-before"))
    found = await world.snapshot()
    assert found.state is None
    assert "of the same name that is gone" in found.state_error


async def test_a_record_that_is_being_deleted_is_waited_out():
    world = World()
    state = RolloutState(phase=Phase.SUCCEEDED, promoted="p", target_uid="uid-app")
    world.record(state, deletionTimestamp="2026-01-05T12:00:00Z")
    assert "being deleted" in (await world.snapshot()).state_error


# --- what is ours and what is not -----------------------------------------------------------------


async def test_a_primary_is_ours_by_its_labels_and_asked_for_live_while_it_is_unknown():
    world = World()
    found = await world.snapshot()
    assert (None, ()) == (found.primary, found.obstacles)
    world.put(deployment("app-primary", labels=OURS))
    found = await world.snapshot()
    assert "app-primary" == found.primary.id.name
    assert [("get", "Deployment", "app-primary")] == world.api.asked


async def test_a_primary_of_somebody_else_is_in_the_way_and_looked_at_again():
    world = World()
    world.api.put(deployment("app-primary", annotations={}))
    gathered = await world.gatherer.gather(KEY)
    [obstacle] = gathered.snapshot.obstacles
    assert (Reason.CONFLICT, RECHECK_S) == (obstacle.reason, gathered.recheck_s)
    assert "Deployment app-primary exists and is not canaryd's" in obstacle.message


async def test_a_Service_of_another_app_of_ours_is_in_the_way():
    world = World()
    world.put(service("app-canary", labels=names.ownership_labels("other")))
    [obstacle] = (await world.snapshot()).obstacles
    assert "Service app-canary exists" in obstacle.message


async def test_the_route_is_read_through_the_app_and_without_one_by_its_owner():
    world = World()
    assert 20 == (await world.snapshot()).route.weight
    world.put(service("second"))
    found = await world.snapshot()
    assert (None, 7) == (found.app, found.route.weight)


async def test_before_enrolment_a_missing_config_is_in_the_way_and_later_it_only_hides_the_revision():
    world = World()
    world.put(deployment(version=101, configs=("settings",)))
    found = await world.snapshot()
    assert [Reason.CONFIG_MISSING] == [o.reason for o in found.obstacles]
    world.record(RolloutState(phase=Phase.SUCCEEDED, promoted="p", target_uid="uid-app"))
    found = await world.snapshot()
    assert ((), Reason.CONFIG_MISSING) == (found.obstacles, found.revision.obstacle.reason)
    world.put(config("settings"))
    assert (await world.snapshot()).revision.name is not None


async def test_what_a_write_met_with_is_shown_once_by_the_next_snapshot():
    world = World()
    obstacle = Obstacle(Reason.API_ERROR, "exceeded quota")
    world.gatherer.obstruct(KEY, obstacle)
    gathered = await world.gatherer.gather(KEY)
    assert ((obstacle,), RECHECK_S) == (gathered.snapshot.obstacles, gathered.recheck_s)
    assert () == (await world.snapshot()).obstacles


async def test_an_obstacle_that_a_watch_tells_the_end_of_needs_no_appointment():
    world = World()
    world.put(service("second"))
    gathered = await world.gatherer.gather(KEY)
    assert ([Reason.SERVICE_AMBIGUOUS], None) == (
        [o.reason for o in gathered.snapshot.obstacles],
        gathered.recheck_s,
    )


async def test_a_live_read_that_fails_fails_the_look():
    world = World()
    world.api.errors["get"] = ServerError("leader changed")
    with pytest.raises(ServerError):
        await world.snapshot()


# --- the ReplicaSet under analysis ----------------------------------------------------------------


async def under_analysis(world):
    """A run of the revision that the target has now."""
    revision = (await world.snapshot()).revision.name
    state = running()
    run = {"run": RunState(id="r-1", revision=revision, started_at=0.0, confirmed=True)}
    world.record(RolloutState(phase=state.phase, promoted="p", target_uid="uid-app", **run))


async def test_the_analysed_pods_are_those_of_the_targets_own_ReplicaSet_with_the_same_template():
    world = World()
    await under_analysis(world)
    world.api.put(replica_set(image="app:0", suffix="old"))
    world.api.put(replica_set(uid="uid-stranger", suffix="alien"))
    assert "" == (await world.snapshot()).pods
    world.api.put(replica_set())
    assert "abc" == (await world.snapshot()).pods


async def test_the_ReplicaSet_is_asked_for_once_a_revision():
    world = World()
    await under_analysis(world)
    world.api.put(replica_set())
    for _ in range(3):
        assert "abc" == (await world.snapshot()).pods
    assert 1 == world.api.asked.count(("list", "ReplicaSet", ""))


async def test_a_target_that_its_controller_has_not_seen_yet_has_no_ReplicaSet_to_ask_for():
    world = World()
    fresh = deployment(version=101)
    fresh["metadata"]["generation"] = 2
    world.put(fresh)
    await under_analysis(world)
    assert "" == (await world.snapshot()).pods
    assert ("list", "ReplicaSet", "") not in world.api.asked


def test_views_for_these_tests_are_those_of_the_daemon():
    assert view_of(deployment()).match_labels == {"app": "app"}
