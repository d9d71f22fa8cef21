"""The reflector against a server that does everything a server, or what stands before it, can do wrong."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.core.kinds import ALL_KINDS, CONFIG_MAP, DEPLOYMENT, Kind
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.reflector import ABSENCES, Interest, Reflector
from canaryd.kube.store import Store
from tests.fakes.apiserver import (
    EMPTY,
    FORBIDDEN,
    HTML,
    Body,
    FakeApiServer,
    Refuse,
    too_many_requests,
)
from tests.fakes.clock import VirtualClock
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime

MARK = b"canaryd.io/"


def config(name: str, value: str = "x", namespace: str = "shop") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": {"value": value},
    }


def deployment(name: str, **annotations: str) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "shop", "name": name, "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    }


@dataclass
class World:
    server: FakeApiServer
    store: Store[Any]
    reflector: Reflector
    client: KubeClient
    restarts: Counter[str] = field(default_factory=Counter)
    undecodable: Counter[str] = field(default_factory=Counter)
    served: list[bool] = field(default_factory=list)

    def names(self) -> set[str]:
        return {view["metadata"]["name"] for view in self.store.list()}

    def value(self, name: str) -> str:
        return self.store.get("shop", name)["data"]["value"]

    async def until(self, claim: Callable[[], bool], seconds: float = 120.0) -> None:
        async with asyncio.timeout(seconds):
            while not claim():  # noqa: ASYNC110 - virtual time: polling costs nothing
                await asyncio.sleep(0.05)

    def watches(self) -> int:
        return self.server.requests.count(verb="watch")

    def unknown_paths(self) -> int:
        """Requests for what the server does not serve."""
        return len(self.server.unknown)

    def lists(self) -> int:
        return self.server.requests.count(verb="list")


@asynccontextmanager
async def watching(
    interest: Interest | None = None,
    *,
    prepare: Callable[[FakeApiServer], None] = lambda _server: None,
    project: Callable[[Any], Any] = lambda manifest: manifest,
    kinds: Sequence[Kind] = ALL_KINDS,
) -> AsyncIterator[World]:
    clock = VirtualClock()
    async with FakeApiServer(kinds, clock) as server:
        server.ensure_namespace("shop")
        prepare(server)
        async with KubeClient(Connection(server=server.url), clock=clock) as client:
            store: Store[Any] = Store(
                project, on_served=lambda: world.served.append(store.is_served)
            )
            world = World(server, store, None, client)  # type: ignore[arg-type]  # made next
            world.reflector = Reflector(
                client,
                interest or Interest(CONFIG_MAP),
                store,
                clock=clock,
                on_restart=lambda _resource, reason: world.restarts.update([reason]),
                on_undecodable=lambda resource: world.undecodable.update([resource]),
                rand=lambda: 1.0,
            )
            async with running(world.reflector.run()):
                yield world


def with_configs(*names: str) -> Callable[[FakeApiServer], None]:
    def prepare(server: FakeApiServer) -> None:
        for name in names:
            server.put(config(name))

    return prepare


# --- the initial state ---


async def test_the_store_is_filled_by_one_watch_and_follows_every_change():
    async with watching(prepare=with_configs("a", "b")) as world:
        await world.reflector.synced.wait()
        assert {"a", "b"} == world.names()

        world.server.put(config("c"))
        world.server.put(config("a", "changed"))
        world.server.remove(CONFIG_MAP, "shop", "b")
        await world.until(lambda: world.names() == {"a", "c"} and world.value("a") == "changed")

        assert (1, 0) == (world.watches(), world.lists())


async def test_W12_the_initial_state_ends_at_its_own_mark_and_at_no_other_bookmark():
    half = [
        {"type": "ADDED", "object": config("early") | {"metadata": _meta("early", "2")}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "3"}}},
    ]
    body = b"".join(json.dumps(event).encode() + b"\n" for event in half)

    def prepare(server: FakeApiServer) -> None:
        with_configs("a")(server)
        server.faults.next(Body(200, body, "application/json"), verb="watch")

    async with watching(prepare=prepare) as world:
        await world.until(lambda: world.restarts["serverError"] == 1)
        assert not world.reflector.synced.is_set()

        await world.reflector.synced.wait()
        # The second account is the first complete one: what only the first half mentioned is gone.
        assert {"a"} == world.names()


def _meta(name: str, version: str) -> dict[str, str]:
    return {"namespace": "shop", "name": name, "resourceVersion": version}


async def test_a_server_without_streamed_lists_is_read_in_pages_and_then_watched():
    def prepare(server: FakeApiServer) -> None:
        with_configs(*(f"c{n}" for n in range(7)))(server)
        server.watch_list = False

    async with watching(prepare=prepare) as world:
        await world.reflector.synced.wait()
        world.server.put(config("later"))
        await world.until(lambda: "later" in world.names())
        assert (8, 1) == (len(world.names()), world.lists())

        world.server.partition()
        world.server.remove(CONFIG_MAP, "shop", "c0")
        world.server.compact()
        world.server.heal()
        await world.until(lambda: "c0" not in world.names())

        # Known by now: no stream of everything was asked for again.
        assert world.server.requests.count(verb="watch", code=422) == 1


async def test_readiness_names_what_is_missing_and_why():
    def prepare(server: FakeApiServer) -> None:
        server.faults.on(FORBIDDEN, verb="watch")

    async with watching(prepare=prepare) as world:
        await world.until(lambda: world.restarts["forbidden"] > 0)

        why = world.reflector.why_not_synced()
        assert why.startswith("configmaps: may not watch configmaps")
        world.server.faults.clear()
        await world.reflector.synced.wait()
        assert world.reflector.why_not_synced() == ""


# --- streams that end ---


async def test_a_stream_that_ends_is_continued_where_it_was_without_a_list():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(1)

        world.server.cut_watches()
        world.server.put(config("b"))
        await world.until(lambda: "b" in world.names())

        assert (2, 0) == (world.watches(), world.lists())
        assert {} == world.restarts


async def test_W1_a_version_that_was_compacted_leads_to_a_new_full_account_and_missed_deletions_show():
    async with watching(prepare=with_configs("a", "b")) as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(1)
        world.server.partition()
        world.server.remove(CONFIG_MAP, "shop", "a")
        world.server.put(config("c"))
        world.server.compact()
        world.server.heal()
        await world.until(lambda: world.names() == {"b", "c"})

        assert world.restarts["expired"] == 1


async def test_W1_http_410_is_the_same_as_an_error_event():
    gone = Refuse(410, "Expired", "too old resource version: 1 (9)")
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        world.server.faults.next(gone, verb="watch")
        world.server.cut_watches()
        world.server.put(config("b"))
        await world.until(lambda: "b" in world.names())

        assert world.restarts["expired"] == 1


async def test_W2_a_server_that_closes_at_once_is_asked_ever_more_slowly():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        world.server.faults.on(EMPTY, verb="watch")
        before = world.watches()
        world.server.cut_watches()
        await asyncio.sleep(120)
        asked = world.watches() - before

        assert 4 <= asked <= 10
        world.server.faults.clear()
        world.server.put(config("b"))
        await world.until(lambda: "b" in world.names())


async def test_W3_a_load_balancers_error_page_is_no_event():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        world.server.inject(CONFIG_MAP, b"<html><body>502 Bad Gateway</body></html>\n")
        await world.until(lambda: world.restarts["undecodable"] == 1)
        world.server.put(config("b"))
        await world.until(lambda: "b" in world.names())

        assert {"a", "b"} == world.names()


async def test_W4_a_watch_answered_with_an_error_page_is_trouble_and_no_stream():
    def prepare(server: FakeApiServer) -> None:
        with_configs("a")(server)
        server.faults.next(HTML, verb="watch")

    async with watching(prepare=prepare) as world:
        await world.reflector.synced.wait()

        assert world.restarts["serverError"] == 1


async def test_W5_an_error_event_without_reason_or_code_is_survived():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        world.server.inject(CONFIG_MAP, b'{"type":"ERROR","object":{"kind":"Status"}}\n')
        await world.until(lambda: sum(world.restarts.values()) == 1)
        world.server.put(config("b"))
        await world.until(lambda: "b" in world.names())


async def test_W6_connections_that_break_in_the_middle_are_continued():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        for round_ in range(3):
            world.server.cut_watches(clean=False)
            world.server.put(config(f"b{round_}"))
            await world.until(lambda wanted=f"b{round_}": wanted in world.names())

        assert world.lists() == 0


async def test_W7_a_stream_silent_for_three_minutes_is_given_up_and_continued():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        world.server.bookmarks = False
        before = world.watches()
        await asyncio.sleep(200)

        assert world.watches() == before + 1
        assert {"a"} == world.names()


async def test_W9_a_quiet_watch_ends_at_once_when_it_is_cancelled():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(10)
        began = asyncio.get_running_loop().time()

    assert asyncio.get_running_loop().time() - began < 2


async def test_a_busy_server_is_asked_again_when_it_says():
    async with watching(prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(1)
        world.server.faults.next(too_many_requests(17), verb="watch")
        began = asyncio.get_running_loop().time()
        world.server.cut_watches()
        world.server.put(config("b"))
        await world.until(lambda: "b" in world.names())

        assert 17 <= asyncio.get_running_loop().time() - began < 19


# --- objects ---


async def test_one_object_that_cannot_be_read_is_counted_and_the_others_go_on():
    def project(manifest: Any) -> Any:
        if manifest["metadata"]["name"] == "bad":
            raise KeyError("spec")
        return manifest

    async with watching(prepare=with_configs("a", "bad", "z"), project=project) as world:
        await world.reflector.synced.wait()
        world.server.put(config("later"))
        await world.until(lambda: "later" in world.names())

        assert {"a", "z", "later"} == world.names()
        assert world.undecodable["configmaps"] == 1


async def test_deployments_without_our_mark_are_never_kept_and_lose_their_place_with_it():
    def prepare(server: FakeApiServer) -> None:
        server.put(deployment("plain"))
        server.put(deployment("ours", **{"canaryd.io/enabled": "true"}))

    interest = Interest(DEPLOYMENT, mark=MARK)
    async with watching(interest, prepare=prepare) as world:
        await world.reflector.synced.wait()
        assert {"ours"} == world.names()

        world.server.remove(DEPLOYMENT, "shop", "ours")
        world.server.put(deployment("ours"))
        await world.until(lambda: world.names() == set())


async def test_contents_of_configs_never_reach_the_process_when_metadata_is_asked_for():
    interest = Interest(CONFIG_MAP, metadata_only=True)
    async with watching(interest, prepare=with_configs("a")) as world:
        await world.reflector.synced.wait()

        kept = world.store.get("shop", "a")
        assert "data" not in kept
        assert "managedFields" not in kept["metadata"]


async def test_two_reflectors_of_two_namespaces_share_a_store_and_leave_each_other_alone():
    async with watching(Interest(CONFIG_MAP, namespace="shop")) as world:
        world.server.ensure_namespace("bank")
        world.server.put(config("here"))
        world.server.put(config("there", namespace="bank"))
        other = Reflector(
            world.client, Interest(CONFIG_MAP, namespace="bank"), world.store, clock=VirtualClock()
        )
        async with running(other.run()):
            await world.until(lambda: world.names() == {"here", "there"})
            world.server.compact()
            world.server.cut_watches(clean=False)
            await asyncio.sleep(40)

            assert {"here", "there"} == world.names()


# --- kinds that a cluster need not have ---

WIDGET = Kind("example.org", "v1", "Widget", "widgets")


def widget(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"namespace": "shop", "name": name},
    }


def watching_widgets(*, optional: bool = True, installed: bool = False):
    def prepare(server: FakeApiServer) -> None:
        if not installed:
            server.uninstall(WIDGET)

    return watching(
        Interest(WIDGET, optional=optional), prepare=prepare, kinds=(*ALL_KINDS, WIDGET)
    )


async def test_an_optional_kind_that_is_not_installed_counts_as_read_and_empty():
    async with watching_widgets() as world:
        async with asyncio.timeout(5):
            await world.reflector.synced.wait()

        assert "" == world.reflector.why_not_synced()
        assert (0, False) == (len(world.store), world.store.is_served)


async def test_a_kind_that_every_cluster_has_is_trouble_when_it_is_missing():
    async with watching_widgets(optional=False) as world:
        await asyncio.sleep(60)

        assert not world.reflector.synced.is_set()
        assert "no such API group or version here" in world.reflector.why_not_synced()


async def test_an_optional_kind_is_looked_for_at_a_slow_and_bounded_pace():
    async with watching_widgets() as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(3600)

        assert 12 <= world.watches() + world.unknown_paths() <= 18
        assert 0 == sum(world.restarts.values())


async def test_an_optional_kind_comes_alive_within_minutes_of_its_installation():
    async with watching_widgets() as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(3600)
        world.server.install(WIDGET)
        world.server.store.create(WIDGET, widget("a"))
        await world.until(lambda: world.store.is_served, 301)
        world.server.store.create(WIDGET, widget("b"))
        await world.until(lambda: world.names() == {"a", "b"}, 5)

        assert [False, True] == world.served


async def test_a_kind_that_is_uninstalled_at_runtime_empties_its_store_and_nothing_crashes():
    async with watching_widgets(installed=True) as world:
        world.server.store.create(WIDGET, widget("a"))
        await world.until(lambda: world.names() == {"a"})
        world.server.uninstall(WIDGET)
        await world.until(lambda: not world.store.is_served, 30)
        await asyncio.sleep(600)

        assert set() == world.names()
        assert "" == world.reflector.why_not_synced()
        assert [False, True, False] == world.served
        assert sum(world.restarts.values()) < ABSENCES


async def test_objects_that_went_unseen_with_their_kind_are_gone_when_it_is_taken_for_gone():
    async with watching_widgets(installed=True) as world:
        world.server.store.create(WIDGET, widget("a"))
        await world.until(lambda: world.names() == {"a"})
        world.server.delay_watch(WIDGET, math.inf)
        world.server.uninstall(WIDGET)
        await world.until(lambda: not world.store.is_served, 30)

        assert set() == world.names()


async def test_a_single_404_of_a_balancer_does_not_make_an_installed_kind_a_missing_one():
    async with watching_widgets(installed=True) as world:
        world.server.store.create(WIDGET, widget("a"))
        await world.until(lambda: world.names() == {"a"})
        for _ in range(ABSENCES):
            world.server.faults.next(Body(404, b"404 page not found\n"), verb="watch")
            world.server.cut_watches()
            await asyncio.sleep(60)

        assert ({"a"}, [False, True]) == (world.names(), world.served)


async def test_an_optional_kind_that_may_not_be_read_is_trouble_all_the_same():
    def prepare(server: FakeApiServer) -> None:
        server.faults.on(FORBIDDEN, verb="watch")

    async with watching(Interest(CONFIG_MAP, optional=True), prepare=prepare) as world:
        await asyncio.sleep(60)

        assert "may not watch configmaps" in world.reflector.why_not_synced()
