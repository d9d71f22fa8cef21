"""What every load tester must do, told as stories, against the fake of the scenarios and real child processes.

The scenarios believe in the fake; this is why they may.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from canaryd.core import loads, verdicts
from canaryd.core.model import LoadTestSpec
from canaryd.loadtest.runner import ChildProcessRunner
from canaryd.ports.load_test import LoadTester
from tests.loadtest.processes import generators
from tests.loadtest.targets import serving
from tests.scenarios.harness import FakeLoadTester

pytestmark = pytest.mark.slow  # a child process knows no virtual time

HOST = "app.shop"


@dataclass
class World:
    """A tester, something to send load to, and a look at what is under way."""

    tester: LoadTester
    url: str
    under_way: Callable[[], set[Any]]

    async def run(self, test):
        return await self.tester.run(test, base_url=self.url, host=HOST)

    async def until_under_way(self, count):
        async with asyncio.timeout(20):
            while len(self.under_way()) < count:  # noqa: ASYNC110 - looks at other processes
                await asyncio.sleep(0.01)


@pytest.fixture(params=["fake", "child process"])
async def world(request):
    async with serving() as target:
        if request.param == "fake":
            fake = FakeLoadTester()
            yield World(fake, target.url, lambda: fake.running)
        else:
            runner = ChildProcessRunner(max_rate=500, max_concurrent=4, allow_loopback=True)
            yield World(runner, target.url, generators)


def a_test(name="get", **changes):
    defaults = {"method": "GET", "path": "/", "rate": 20.0, "duration_s": 0.3}
    return LoadTestSpec(name=name, **(defaults | changes))


async def test_an_answer_names_its_test_and_what_was_asked(world):
    answer = await world.run(a_test("quote"))
    assert ("quote", 20.0) == (answer.test, answer.asked_rate)
    assert 0 < answer.achieved_rate <= 20.0
    assert 0 == answer.failed < answer.sent


async def test_a_healthy_target_is_judged_and_passes(world):
    test = a_test()
    verdict = loads.judge_load_test(test, await world.run(test))
    # A machine that is too busy voids a real test; nothing else may.
    assert verdicts.Verdict.PASS == verdict.verdict or "CPU is short" in verdict.message


async def test_a_test_takes_the_time_it_was_given(world):
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.run(a_test(duration_s=0.4, rate=50.0))
    # To the start of its last request, at the least.
    assert 0.38 <= loop.time() - began


async def test_tests_run_at_the_same_time_and_keep_their_answers_apart(world):
    names = ["one", "two"]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.run(a_test(name, duration_s=0.8))) for name in names]
        await world.until_under_way(2)
    assert names == [task.result().test for task in tasks]


async def test_a_cancelled_test_is_over_at_once(world):
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(world.run(a_test(duration_s=3600.0)))
    await world.until_under_way(1)
    began = loop.time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set() == world.under_way()
    assert loop.time() - began < 2


async def test_a_test_that_was_cancelled_can_be_run_again(world):
    task = asyncio.create_task(world.run(a_test(duration_s=3600.0)))
    await world.until_under_way(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await world.run(a_test())).sent > 0


async def test_nothing_is_under_way_after_an_answer(world):
    await world.run(a_test())
    assert set() == world.under_way()
