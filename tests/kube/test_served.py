"""One kind in several versions: which of them is watched, and when that is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.core.kinds import (
    ALL_KINDS,
    TRAFFIC_SPLIT_V1ALPHA1,
    TRAFFIC_SPLIT_V1ALPHA2,
    TRAFFIC_SPLIT_V1ALPHA3,
    TRAFFIC_SPLIT_V1ALPHA4,
    Kind,
)
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.reflector import Interest, Reflector
from canaryd.kube.served import ServedVersion
from canaryd.kube.store import Store
from canaryd.ports.errors import NotFound
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime

GROUP = "split.smi-spec.io"
CHOICES = (TRAFFIC_SPLIT_V1ALPHA2, TRAFFIC_SPLIT_V1ALPHA4, TRAFFIC_SPLIT_V1ALPHA1)


@dataclass
class World:
    server: FakeApiServer
    client: KubeClient
    version: ServedVersion
    store: Store[Any]
    restarts: list[str] = field(default_factory=list)

    def asked(self) -> int:
        """How often the group was asked for its versions."""
        return self.server.discovered.count(f"/apis/{GROUP}")

    async def until(self, claim: Callable[[], bool], seconds: float = 400.0) -> None:
        async with asyncio.timeout(seconds):
            while not claim():  # noqa: ASYNC110 - virtual time: polling costs nothing
                await asyncio.sleep(0.1)


@asynccontextmanager
async def watching(
    *served: Kind,
    choices: Sequence[Kind] = CHOICES,
    prepare: Callable[[FakeApiServer], None] = lambda _server: None,
) -> AsyncIterator[tuple[World, Reflector]]:
    clock = VirtualClock()
    known = dict.fromkeys((*served, *choices, TRAFFIC_SPLIT_V1ALPHA3))
    async with FakeApiServer((*ALL_KINDS, *known), clock) as server:
        for kind in known:
            if kind not in served:
                server.uninstall(kind)
        prepare(server)
        async with KubeClient(Connection(server=server.url), clock=clock) as client:
            world = World(server, client, ServedVersion(client, tuple(choices)), Store(dict))
            reflector = Reflector(
                client,
                Interest(choices[0], optional=True),
                world.store,
                clock=clock,
                on_restart=lambda _resource, reason: world.restarts.append(reason),
                choose=world.version.choose,
                rand=lambda: 1.0,
            )
            async with running(reflector.run()):
                yield world, reflector


def split(kind: Kind, name: str) -> dict[str, Any]:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"namespace": "shop", "name": name},
    }


async def test_the_best_version_that_is_served_is_the_one_that_is_watched():
    async with watching(TRAFFIC_SPLIT_V1ALPHA1, TRAFFIC_SPLIT_V1ALPHA4) as (world, reflector):
        await reflector.synced.wait()
        world.server.put(split(TRAFFIC_SPLIT_V1ALPHA4, "app"))
        await world.until(lambda: ("shop", "app") in world.store)

        assert TRAFFIC_SPLIT_V1ALPHA4 == world.version.kind
        assert world.store.is_served


async def test_it_is_asked_once_and_not_again_while_the_kind_is_there():
    async with watching(TRAFFIC_SPLIT_V1ALPHA2) as (world, reflector):
        await reflector.synced.wait()
        for _ in range(5):
            world.server.cut_watches()
            await asyncio.sleep(120)

        assert 1 == world.asked()


async def test_a_group_that_is_not_there_is_a_kind_that_is_not_served():
    async with watching() as (world, reflector):
        async with asyncio.timeout(5):
            await reflector.synced.wait()

        assert not world.store.is_served
        assert [] == world.restarts


async def test_versions_that_nobody_here_speaks_are_as_good_as_none():
    async with watching(TRAFFIC_SPLIT_V1ALPHA3) as (world, reflector):
        await reflector.synced.wait()
        assert not world.store.is_served

        with pytest.raises(NotFound, match="none of v1alpha2, v1alpha4, v1alpha1 is served, but"):
            await world.version.choose()


async def test_what_is_installed_later_is_found_in_the_version_it_comes_in():
    async with watching() as (world, reflector):
        await reflector.synced.wait()
        await asyncio.sleep(3600)
        world.server.install(TRAFFIC_SPLIT_V1ALPHA1)
        await world.until(lambda: world.store.is_served)

        assert TRAFFIC_SPLIT_V1ALPHA1 == world.version.kind


async def test_a_version_that_is_served_no_more_is_left_for_one_that_is():
    async with watching(TRAFFIC_SPLIT_V1ALPHA2, TRAFFIC_SPLIT_V1ALPHA1) as (world, reflector):
        await reflector.synced.wait()
        world.server.put(split(TRAFFIC_SPLIT_V1ALPHA1, "app"))
        world.server.uninstall(TRAFFIC_SPLIT_V1ALPHA2)
        await world.until(lambda: ("shop", "app") in world.store)

        assert TRAFFIC_SPLIT_V1ALPHA1 == world.version.kind
        assert world.store.is_served


async def test_a_version_by_name_asks_nobody():
    async with watching(
        TRAFFIC_SPLIT_V1ALPHA2, TRAFFIC_SPLIT_V1ALPHA1, choices=[TRAFFIC_SPLIT_V1ALPHA1]
    ) as (world, reflector):
        await reflector.synced.wait()

        assert 0 == world.asked()
        assert (TRAFFIC_SPLIT_V1ALPHA1, True) == (world.version.kind, world.store.is_served)


async def test_who_may_not_ask_is_told_so_and_is_not_taken_for_served_or_absent():
    def prepare(server: FakeApiServer) -> None:
        server.undiscoverable.add(f"/apis/{GROUP}")

    async with watching(TRAFFIC_SPLIT_V1ALPHA2, prepare=prepare) as (world, reflector):
        await asyncio.sleep(60)

        assert "may not get apigroups" in reflector.why_not_synced()
        assert not world.store.is_served
