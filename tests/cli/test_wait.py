"""``canaryd wait``: says nothing until an app is somewhere, and ends with a code for how."""

import asyncio
from dataclasses import replace

import pytest

from canaryd.cli.exits import Exit
from canaryd.cli.wait import GOALS
from canaryd.core.kinds import CANARY
from canaryd.core.phase import Phase
from tests.cli import apps
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime


def promoted(world):
    return apps.idle(world.now(), promoted=world.wanted())


def failed(world):
    told = {"failed": world.wanted(), "failed_tracking": apps.RULE, "message": "rolled back"}
    return apps.idle(world.now(), phase=Phase.FAILED, **told)


def enrolling(world):
    return apps.idle(world.now(), phase=Phase.INITIALIZING, promoted="", message="making it")


def at_work(world):
    return replace(apps.running(world.now(), step=0, weight=5), message="weight 5")


def at_a_gate(world):
    return replace(apps.running(world.now()), message="gate qa waits")


MOMENTS = {
    "promoted": promoted,
    "failed": failed,
    "enrolling": enrolling,
    "at work": at_work,
    "at a gate": at_a_gate,
}
OUTCOMES = {
    ("succeeded", "promoted"): Exit.OK,
    ("succeeded", "failed"): Exit.FAILED,
    ("failed", "promoted"): Exit.FAILED,
    ("failed", "failed"): Exit.OK,
    ("idle", "promoted"): Exit.OK,
    ("idle", "failed"): Exit.OK,
    ("running", "at work"): Exit.OK,
    ("running", "at a gate"): Exit.OK,
    ("waiting", "at a gate"): Exit.OK,
    ("enrolled", "promoted"): Exit.OK,
    ("enrolled", "failed"): Exit.OK,
    ("enrolled", "at work"): Exit.OK,
    ("enrolled", "at a gate"): Exit.OK,
}
"""What ends at once; everything else is waited for."""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("goal", GOALS)
@in_a_world
async def test_what_is_reached_or_out_of_reach_ends_at_once_and_nothing_else_does(
    world, goal, moment
):
    world.server.put(apps.deployment("podinfo:2"))
    world.tell(MOMENTS[moment](world))
    outcome = await world("wait", "podinfo", "--for", goal, "--timeout", "1m")
    expected = OUTCOMES.get((goal, moment), Exit.TIMED_OUT)
    assert expected == outcome.code
    assert (1, 0) == (
        outcome.out.count("\n") + outcome.err.count("\n"),
        bool(outcome.out and outcome.err),
    )


@in_a_world
async def test_the_end_is_told_in_one_line(world):
    world.server.put(apps.deployment())
    world.tell(promoted(world))
    outcome = await world("wait", "deploy/podinfo")
    assert f"podinfo succeeded: revision {apps.revision(apps.template())} promoted\n" == outcome.out


@in_a_world
async def test_a_failure_is_told_in_the_words_of_the_daemon(world):
    world.server.put(apps.deployment())
    world.tell(failed(world))
    outcome = await world("wait", "podinfo")
    assert (Exit.FAILED, "", "canaryd: rolled back\n") == (outcome.code, outcome.out, outcome.err)


@in_a_world
async def test_what_took_too_long_says_where_it_stands(world):
    world.tell(at_work(world))
    outcome = await world("wait", "podinfo", "--timeout", "90s")
    expected = "canaryd: not succeeded within 1m30s: weight 5\n"
    assert (Exit.TIMED_OUT, expected) == (outcome.code, outcome.err)


@in_a_world
async def test_a_revision_that_nobody_has_seen_yet_is_waited_for(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.tell(apps.idle(world.now()))
    began = world.now()

    async def release():
        await asyncio.sleep(10.0)
        world.tell(at_work(world))
        await asyncio.sleep(60.0)
        world.tell(promoted(world))

    async with running(release()):
        outcome = await world("wait", "podinfo")
    assert Exit.OK == outcome.code
    assert 70.0 <= world.now() - began < 75.0


@pytest.mark.parametrize("goal", ["running", "waiting"])
@in_a_world
async def test_a_run_that_ended_is_waited_for_no_longer(world, goal):
    world.server.put(apps.deployment("podinfo:2"))
    began = world.now()
    world.tell(at_work(world) if goal == "waiting" else promoted(world))

    async def release():
        await asyncio.sleep(10.0)
        world.tell(at_work(world) if goal == "running" else promoted(world))

    async with running(release()):
        outcome = await world("wait", "podinfo", "--for", goal, "--timeout", "1m")
    assert (Exit.OK if goal == "running" else Exit.FAILED) == outcome.code
    assert 10.0 <= world.now() - began < 13.0


@in_a_world
async def test_the_end_of_leaving_is_that_there_is_no_canary(world):
    world.tell(apps.idle(world.now()))

    async def leave():
        await asyncio.sleep(10.0)
        world.server.remove(CANARY, NAMESPACE, "podinfo")

    async with running(leave()):
        outcome = await world("wait", "podinfo", "--for", "left")
    assert (Exit.OK, "podinfo left: canaryd has given it back\n") == (outcome.code, outcome.out)


@in_a_world
async def test_an_app_that_left_meanwhile_ends_every_other_wait(world):
    world.tell(at_work(world))

    async def leave():
        await asyncio.sleep(10.0)
        world.server.remove(CANARY, NAMESPACE, "podinfo")

    async with running(leave()):
        outcome = await world("wait", "podinfo")
    assert (Exit.FAILED, "canaryd: podinfo was given back\n") == (outcome.code, outcome.err)


@in_a_world
async def test_an_app_that_is_not_there_yet_can_be_waited_for_until_it_is_enrolled(world):
    async def enrol():
        await asyncio.sleep(10.0)
        world.tell(apps.idle(world.now(), phase=Phase.INITIALIZED))

    async with running(enrol()):
        outcome = await world("wait", "podinfo", "--for", "enrolled")
    assert Exit.OK == outcome.code


@in_a_world
async def test_an_app_nobody_knows_is_not_waited_for_otherwise(world):
    outcome = await world("wait", "podinfo")
    assert Exit.FAILED == outcome.code
    assert outcome.err.startswith("canaryd: there is no Canary shop/podinfo")


@in_a_world
async def test_every_goal_stands_in_the_help(world):
    text = (await world("wait", "--help")).out
    assert [] == [goal for goal in GOALS if f"\n  {goal} " not in text]


@in_a_world
async def test_a_time_that_is_none_is_explained(world):
    outcome = await world("wait", "podinfo", "--timeout", "soon")
    assert Exit.USAGE == outcome.code
    assert "Invalid value for '--timeout': \"soon\" is not a duration" in outcome.err
