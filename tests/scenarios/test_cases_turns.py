"""X22: many apps that get a new revision at once are released a few at a time, and each has its turn."""

import asyncio

import pytest

from canaryd.app import Options
from canaryd.core.kinds import CANARY
from tests.scenarios.harness import NAMESPACE, Story, plan, story

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

APPS = [f"app{n}" for n in range(8)]
LIMIT = 3
RUNNING = ("Progressing", "WaitingPromotion", "Promoting", "Finalising")


def running(told: Story) -> int:
    return sum(told.phase(name) in RUNNING for name in APPS)


async def test_X22_apps_that_start_at_once_take_turns_by_how_long_they_wait():
    quick = plan(weights="50", scale_down_delay="0s")
    async with story(Options(run_limit=LIMIT)) as told:
        for name in APPS:
            told.deploy(name, annotations=quick, host=f"{name}.test", replicas=1)
        for name in APPS:
            await told.until_phase("Initialized", name)
        most, order = [0], []

        def watch(change: object) -> None:
            most[0] = max(most[0], running(told))
            for name in APPS:
                if name not in order and told.phase(name) == "Progressing":
                    order.append(name)

        told.server.store.subscribe(watch)
        for name in APPS:
            told.set_image("app:2", name)
            await asyncio.sleep(0.2)
        for name in APPS:
            await told.until_phase("Succeeded", name, seconds=600)
        assert LIMIT == most[0]
        assert APPS == order


async def test_X22_apps_that_change_in_the_same_moment_take_turns_too():
    quick = plan(weights="50", scale_down_delay="0s")
    async with story(Options(run_limit=LIMIT)) as told:
        for name in APPS:
            told.deploy(name, annotations=quick, host=f"{name}.test", replicas=1)
        for name in APPS:
            await told.until_phase("Initialized", name)
        most = [0]

        def watch(change: object) -> None:
            most[0] = max(most[0], running(told))

        told.server.store.subscribe(watch)
        for name in APPS:
            told.set_image("app:2", name)
        for name in APPS:
            await told.until_phase("Succeeded", name, seconds=600)
        assert LIMIT == most[0]


async def test_a_daemon_that_restarts_keeps_the_order_of_those_who_wait():
    quick = plan(weights="50", scale_down_delay="0s")
    async with story(Options(run_limit=1)) as told:
        for name in APPS[:3]:
            told.deploy(name, annotations=quick, host=f"{name}.test", replicas=1)
        for name in APPS[:3]:
            await told.until_phase("Initialized", name)
        for name in APPS[:3]:
            told.set_image("app:2", name)
            await told.until(lambda n=name: "Initialized" != told.phase(n) or bool(waits(told, n)))
        await told.restart()
        for name in APPS[:3]:
            await told.until_phase("Succeeded", name, seconds=300)
        begun = [told.status(name)["history"][-1]["startedAt"] for name in APPS[:3]]
        assert sorted(begun) == begun


def waits(told: Story, name: str) -> float:
    found = told.server.store.get(CANARY, (NAMESPACE, name)) or {}
    return float(found.get("status", {}).get("machine", {}).get("queued_at", 0.0))


async def test_apps_that_change_in_the_same_moment_take_turns_too():
    """Several workers look at once, and all of them see the same Canaries."""
    quick = plan(weights="50", scale_down_delay="0s")
    async with story(Options(run_limit=LIMIT)) as told:
        for name in APPS:
            told.deploy(name, annotations=quick, host=f"{name}.test", replicas=1)
        for name in APPS:
            await told.until_phase("Initialized", name)
        most = [0]
        told.server.store.subscribe(lambda change: most.append(running(told)))
        for name in APPS:
            told.set_image("app:2", name)
        for name in APPS:
            await told.until_phase("Succeeded", name, seconds=600)
        assert LIMIT == max(most)
