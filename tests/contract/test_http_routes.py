"""HTTPRoutes, and kinds that come and go, against the fake API server and a real one: same stories, same answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from canaryd.core.kinds import ALL_KINDS, HTTP_ROUTE, Kind
from canaryd.kube.kubeconfig import Connection, load_connection
from canaryd.kube.reflector import Interest, Reflector
from canaryd.kube.store import Store
from canaryd.ports.errors import Conflict, Invalid
from tests.contract.test_kube_api import World, two_clients
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.tasks import running

WIDGET = Kind("canaryd.test", "v1", "Widget", "widgets")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.canaryd.test"},
    "spec": {
        "group": WIDGET.group,
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
        ],
    },
}
APEX = {"name": "app", "port": 80}
Manifest = dict[str, Any]


@dataclass
class Installer:
    """A world, and how a kind is installed and removed in it."""

    world: World
    install: Callable[[], None]
    uninstall: Callable[[], None]


WORLDS = ["fake", pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.slow])]


@pytest.fixture(params=WORLDS)
async def installer(request: pytest.FixtureRequest) -> AsyncIterator[Installer]:
    if request.param == "fake":
        async with FakeApiServer((*ALL_KINDS, HTTP_ROUTE, WIDGET)) as server:
            server.uninstall(WIDGET)
            server.ensure_namespace("test")
            async with two_clients(Connection(server.url), "test") as made:
                yield Installer(
                    made, lambda: server.install(WIDGET), lambda: server.uninstall(WIDGET)
                )
        return
    cluster = request.getfixturevalue("cluster")
    namespace = request.getfixturevalue("namespace")
    async with two_clients(load_connection(str(cluster.kubeconfig)), namespace) as made:
        remove = ("delete", "crd", "widgets.canaryd.test", "--ignore-not-found")
        yield Installer(made, lambda: cluster.apply([DEFINITION]), lambda: cluster.kubectl(*remove))
        cluster.kubectl(*remove)


@pytest.fixture
def world(installer: Installer) -> World:
    return installer.world


def http_route(world: World, *rules: Manifest) -> Manifest:
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": {"namespace": world.namespace, "name": "app"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": list(rules)},
    }


def at(path: str, **more: Any) -> Manifest:
    return {"path": {"type": "Exact", "value": path}, **more}


def asking(*names: str) -> Manifest:
    return at("/", headers=[{"name": name, "value": "1"} for name in names])


# --- routes ---------------------------------------------------------------------------------------


async def test_what_is_left_out_of_a_rule_is_written_out_when_it_is_stored(world: World):
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": APEX, "percent": 5}}
    rules = [
        {"backendRefs": [APEX]},
        {
            "backendRefs": [{**APEX, "weight": 0}],
            "matches": [{"headers": [{"name": "x", "value": "1"}]}],
            "filters": [mirror],
        },
    ]
    made = await world.client.create(http_route(world, *rules))

    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    service = {**APEX, "group": "", "kind": "Service"}
    header = {"name": "x", "value": "1", "type": "Exact"}
    assert [
        {"backendRefs": [{**service, "weight": 1}], "matches": [everything]},
        {
            "backendRefs": [{**service, "weight": 0}],
            "matches": [{**everything, "headers": [header]}],
            "filters": [
                {"type": "RequestMirror", "requestMirror": {"backendRef": service, "percent": 5}}
            ],
        },
    ] == made["spec"]["rules"]
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}
    assert [parent] == made["spec"]["parentRefs"]


REWRITE = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}


@pytest.mark.parametrize(
    "rules",
    [
        [{"backendRefs": [APEX], "matches": [at(f"/{n}")]} for n in range(17)],
        [{"backendRefs": [APEX], "matches": [at(f"/{n}") for n in range(65)]}],
        [
            {"backendRefs": [APEX], "matches": [at(f"/{r}/{n}") for n in range(43)]}
            for r in range(3)
        ],
        [{"backendRefs": [APEX], "matches": [asking(*(f"x-{n}" for n in range(17)))]}],
        [{"backendRefs": [APEX], "matches": [asking("x-one", "x-one")]}],
        [{"backendRefs": [{**APEX, "weight": 1_000_001}]}],
        [{"backendRefs": [APEX] * 17}],
        [{"backendRefs": [{"name": "app"}]}],
        [
            {
                "backendRefs": [APEX],
                "matches": [at("/"), at("/b")],
                "filters": [{"type": "URLRewrite", "urlRewrite": {"path": REWRITE}}],
            }
        ],
        [],
    ],
    ids=[
        "17 rules",
        "65 matches",
        "129 matches in all",
        "17 headers",
        "a header twice",
        "a weight too large",
        "17 backends",
        "no port",
        "a prefix replaced for two matches",
        "no rule",
    ],
)
async def test_what_is_beyond_the_limits_is_refused(world: World, rules: list[Manifest]):
    with pytest.raises(Invalid):
        await world.client.create(http_route(world, *rules))


async def test_rules_are_one_value_that_the_last_writer_replaces(world: World):
    await world.client.apply(http_route(world, {"backendRefs": [APEX]}))
    split = [{**APEX, "weight": 80}, {"name": "app-canary", "port": 80, "weight": 20}]
    seen = await world.client.merge_patch(
        HTTP_ROUTE, world.namespace, "app", {"spec": {"rules": [{"backendRefs": split}]}}
    )
    assert [80, 20] == [r["weight"] for r in seen["spec"]["rules"][0]["backendRefs"]]

    again = await world.other.apply(http_route(world, {"backendRefs": [APEX]}))
    assert ["app"] == [r["name"] for r in again["spec"]["rules"][0]["backendRefs"]]


async def test_a_patch_of_a_route_that_changed_since_it_was_read_is_a_conflict(world: World):
    made = await world.client.create(http_route(world, {"backendRefs": [APEX]}))
    await world.other.merge_patch(
        HTTP_ROUTE, world.namespace, "app", {"metadata": {"labels": {"team": "shop"}}}
    )
    version = {"resourceVersion": made["metadata"]["resourceVersion"]}
    rules = [{"backendRefs": [{**APEX, "weight": 7}]}]
    with pytest.raises(Conflict):
        await world.client.merge_patch(
            HTTP_ROUTE, world.namespace, "app", {"metadata": version, "spec": {"rules": rules}}
        )


async def test_an_annotation_is_no_new_generation_and_a_rule_is(world: World):
    made = await world.client.create(http_route(world, {"backendRefs": [APEX]}))
    noted = await world.client.merge_patch(
        HTTP_ROUTE, world.namespace, "app", {"metadata": {"annotations": {"a": "b"}}}
    )
    changed = await world.client.merge_patch(
        HTTP_ROUTE,
        world.namespace,
        "app",
        {"spec": {"rules": [{"backendRefs": [{**APEX, "weight": 7}]}]}},
    )

    assert [1, 1, 2] == [o["metadata"]["generation"] for o in (made, noted, changed)]


# --- kinds that come and go -----------------------------------------------------------------------


class HastyClock(VirtualClock):
    """Waits as long as it is told, but never more than a moment."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.1))


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not claim():  # noqa: ASYNC110 - a server of another process tells nobody
            await asyncio.sleep(0.02)


async def test_F_3_26_a_kind_is_missed_found_when_it_is_installed_and_missed_again_when_it_goes(
    installer: Installer,
):
    world = installer.world
    told: list[bool] = []
    store: Store[Any] = Store(
        lambda manifest: manifest, on_served=lambda: told.append(store.is_served)
    )
    interest = Interest(WIDGET, world.namespace, optional=True)
    reflector = Reflector(world.client, interest, store, clock=HastyClock())
    async with running(reflector.run()):
        async with asyncio.timeout(30):
            await reflector.synced.wait()
        assert ("", False) == (reflector.why_not_synced(), store.is_served)

        installer.install()
        await until(lambda: store.is_served)
        installer.uninstall()
        await until(lambda: not store.is_served)
        installer.install()
        await until(lambda: store.is_served)

        assert [False, True, False, True] == told
