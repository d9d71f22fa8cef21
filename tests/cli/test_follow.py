"""Following one object: every change, at least a tick, and through trouble that passes."""

import asyncio
from contextlib import aclosing

import pytest

from canaryd.cli.follow import PATIENCE_S, WATCH_S, Follower
from canaryd.core.kinds import CONFIG_MAP
from canaryd.ports.errors import Forbidden, NotFound, Unreachable
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.apiserver import CLOSE, FORBIDDEN, HTML
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime


def config(data, name="a"):
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": data}}


def follower(world, *, tick_s=None, kind=CONFIG_MAP):
    return Follower(world.client, world.clock, kind, NAMESPACE, "a", tick_s).follow()


async def seen(world, count, **how):
    """What the first so many yields say: a value, or None for no object."""
    found = []
    async with aclosing(follower(world, **how)) as changes:
        async for obj in changes:
            found.append(obj and obj["data"]["x"])
            if len(found) == count:
                return found
    raise AssertionError("it ended")


async def story(*steps):
    for step in steps:
        await asyncio.sleep(1.0)
        step()


@in_a_world
async def test_every_change_comes_and_nothing_of_others(world):
    world.server.put(config("1"))
    steps = (
        lambda: world.server.put(config("other", "b")),
        lambda: world.server.put(config("2")),
        lambda: world.server.remove(CONFIG_MAP, NAMESPACE, "a"),
        lambda: world.server.put(config("3")),
    )
    async with running(story(*steps)):
        assert ["1", "2", None, "3"] == await seen(world, 4)


@in_a_world
async def test_an_object_that_is_not_there_yet_is_waited_for(world):
    async with running(story(lambda: world.server.put(config("1")))):
        assert [None, "1"] == await seen(world, 2)


@in_a_world
async def test_with_a_tick_the_same_comes_again(world):
    world.server.put(config("1"))
    began = world.now()
    assert ["1", "1", "1"] == await seen(world, 3, tick_s=5.0)
    assert 10.0 <= world.now() - began < 11.0


@in_a_world
async def test_a_watch_that_the_server_ends_is_begun_again(world):
    world.server.put(config("1"))
    began = world.now()
    assert ["1", "1"] == await seen(world, 2)
    assert WATCH_S <= world.now() - began < WATCH_S + 5


@pytest.mark.parametrize("clean", [True, False], ids=["an end", "a reset"])
@in_a_world
async def test_a_watch_that_is_cut_goes_on(world, clean):
    world.server.put(config("1"))
    steps = (
        lambda: world.server.cut_watches(clean=clean),
        lambda: None,
        lambda: world.server.put(config("2")),
    )
    async with running(story(*steps)):
        found = await seen(world, 3)
    assert ("1", "2") == (found[0], found[-1])


@in_a_world
async def test_a_history_that_was_compacted_is_no_trouble(world):
    world.server.put(config("1"))

    def compact():
        world.server.put(config("2", "b"))
        world.server.compact()
        world.server.cut_watches(clean=False)

    async with running(story(compact, lambda: world.server.put(config("2")))):
        found = await seen(world, 3)
    assert ("1", "2") == (found[0], found[-1])


@pytest.mark.parametrize("fault", [CLOSE, HTML], ids=["no answer", "a page of a load balancer"])
@in_a_world
async def test_trouble_that_passes_is_waited_out(world, fault):
    world.server.put(config("1"))
    world.server.faults.on(fault, verb="watch", times=10)
    async with running(asyncio_after(20.0, lambda: world.server.put(config("2")))):
        found = await seen(world, 12)
    assert "2" == found[-1]


async def asyncio_after(seconds, step):
    await asyncio.sleep(seconds)
    step()


@in_a_world
async def test_trouble_that_lasts_is_told(world):
    began = world.now()
    world.server.faults.on(CLOSE)
    with pytest.raises(Unreachable):
        await seen(world, 1)
    assert PATIENCE_S < world.now() - began < PATIENCE_S + 5


@in_a_world
async def test_whoever_may_not_read_is_told_at_once(world):
    world.server.faults.on(FORBIDDEN, verb="get")
    with pytest.raises(Forbidden):
        await seen(world, 1)


@in_a_world
async def test_whoever_may_not_watch_is_served_by_asking_again(world):
    world.server.put(config("1"))
    world.server.faults.on(FORBIDDEN, verb="watch")
    async with running(story(lambda: world.server.put(config("2")))):
        found = await seen(world, 3)
    assert ("1", "2") == (found[0], found[-1])
    assert 1 == world.server.requests.count(verb="watch")


@in_a_world
async def test_a_watch_of_a_kind_that_is_gone_is_told(world):
    world.server.put(config("1"))
    world.server.faults.on(FORBIDDEN, verb="watch")
    async with running(story(lambda: world.server.uninstall(CONFIG_MAP))):
        found = await seen(world, 3)
    assert None is found[-1]  # what cannot be told from an object that is gone


def test_that_there_is_no_object_is_no_trouble():
    assert not issubclass(NotFound, Unreachable)
