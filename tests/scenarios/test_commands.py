"""Commands of people, carried as annotations of the Canary, against the whole daemon."""

import asyncio
from typing import Any

import pytest

from canaryd.core.commands import Command, CommandVerb
from canaryd.core.kinds import CANARY, CONFIG_MAP
from canaryd.core.memory import load
from canaryd.core.rollout.commands import subject_of
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario
from tests.scenarios.test_cases_configs import BLUE, MOUNTED, RED, config, used_by

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


def ask(told: Story, verb: str, by: str = "alice", argument: str = "", nonce: str = "aaaa") -> None:
    """What ``kubectl canaryd`` does: one annotation on the Canary."""
    command = Command(
        verb=CommandVerb(verb),
        nonce=nonce,
        subject=subject_of(load(told.status())),
        by=by,
        argument=argument,
        reason="because",
    )
    patch = {"metadata": {"annotations": {command.key: command.value}}}
    told.server.patch(CANARY, NAMESPACE, "app", patch)


def commands(told: Story) -> list[dict[str, Any]]:
    return told.status().get("commands") or []


def carried(told: Story) -> dict[str, str]:
    """Commands that still stand on the Canary."""
    return told.stored(CANARY)["metadata"].get("annotations") or {}


@scenario
async def test_a_command_takes_effect_within_a_second_and_is_taken_away(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    ask(told, "pause")
    took = await told.until(lambda: bool(commands(told)), "it is on record")
    assert took < 1
    await told.until(lambda: not carried(told), "it is taken away", 2)
    await asyncio.sleep(300)
    assert ("Progressing", 20) == (told.phase(), told.weight())
    await told.until_event("Paused")

    ask(told, "resume", nonce="bbbb")
    await told.until_phase("Succeeded")
    assert [("alice", "Paused"), ("alice", "Resumed")] == [
        (c["by"], c["outcome"]) for c in commands(told)
    ]


@scenario
async def test_abort_takes_users_off_within_a_second(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    ask(told, "abort")
    assert await told.until_weight(0, seconds=2) < 1
    await told.until_phase("Failed")
    assert "aborted by alice: because" in told.message()


@scenario
async def test_a_command_survives_a_daemon_that_dies_at_any_of_its_writes(told: Story):
    await told.enrol()
    for number in range(3):
        told.set_image(f"app:{number + 2}")
        await told.until_weight(20)
        async with told.dying(number + 1, "after"):
            ask(told, "promote", nonce=f"aaaa{number}")
            await told.until(lambda: not carried(told), "it is taken away", 60)
        await told.until_phase("Succeeded")
    done = [c["outcome"] for c in commands(told)]
    assert ["StepSkipped"] * 3 == done


@scenario
async def test_undo_brings_template_and_configs_back_together_and_git_may_keep_what_it_has(
    told: Story,
):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED)
    [blue] = used_by(told, "app-primary")
    told.server.put(config(CONFIG_MAP, data=RED))
    told.set_image("app:2")
    await told.until_phase("Succeeded")

    ask(told, "undo")
    await told.until(lambda: told.image() == "app:1", "the primary has its image back")
    await told.until_phase("Succeeded")
    assert {blue} == used_by(told, "app-primary")
    assert "app:2" == told.image("app")
    await asyncio.sleep(600)
    assert ("Succeeded", "app:1") == (told.phase(), told.image())


@scenario
async def test_nobody_is_lost_when_a_revision_is_undone(told: Story):
    await told.serve()
    told.annotate(**{k.removeprefix("canaryd.io/"): v for k, v in plan().items()})
    await told.until_phase("Initialized")
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    await told.until_idle()
    ask(told, "undo")
    await told.until(lambda: told.image() == "app:1", "the primary has its image back")
    await told.until_phase("Succeeded")
    await asyncio.sleep(10)
    assert [] == told.lost()


@scenario
async def test_a_gate_is_shown_with_the_command_that_opens_it(told: Story):
    gated = plan(weights=None) | {
        "canaryd.io/steps": "weight 20; gate qa; weight 50",
        "canaryd.io/gate.qa": "step approvals=2",
    }
    await told.enrol(annotations=gated)
    told.set_image("app:2")
    await told.until(lambda: bool(told.status().get("gates")), "the gate is shown")
    [gate] = told.status()["gates"]
    assert ("qa", "Waiting", 0, 2) == tuple(
        gate[k] for k in ("name", "state", "approvals", "needed")
    )
    assert "kubectl canaryd approve app -n shop --gate qa" == gate["approveWith"]
    for by in ("alice", "bob"):
        ask(told, "approve", by=by, argument="qa", nonce=f"{by}1")
        await told.until(lambda: not carried(told), "it is taken away", 5)
    await told.until_phase("Succeeded")


@scenario
async def test_a_watched_revision_that_turns_bad_gives_way_without_a_lost_request(told: Story):
    await told.serve()
    values = plan(watch_after_promotion="2m")
    told.annotate(**{k.removeprefix("canaryd.io/"): v for k, v in values.items()})
    await told.until_phase("Initialized")
    told.source.bad_for_primary.add("app:2")
    told.set_image("app:2")
    await told.until_phase("Watching")
    await told.until(lambda: told.image() == "app:1", "the revision before is back")
    await told.until_phase("Succeeded")
    await asyncio.sleep(10)
    assert [] == told.lost()
    await told.until_event("UndoStarted")
