"""Who made a revision: noted at admission, asked when somebody approves, and gone with the app; never part of a revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.core import memory, names
from canaryd.core.commands import Command, CommandVerb
from canaryd.core.kinds import CANARY, DEPLOYMENT, SERVICE
from canaryd.core.rollout.commands import subject_of
from tests.fakes.admission import keep_by_the_webhook
from tests.fakes.apiserver.store import Write
from tests.scenarios.harness import NAMESPACE, Story, plan, story

pytestmark = pytest.mark.looptime
GATED = plan(weights=None, steps="weight 20; gate qa; weight 50") | {
    "canaryd.io/gate.qa": "step approvals=1"
}


@asynccontextmanager
async def noted() -> AsyncIterator[Story]:
    async with story() as told:
        told.server.store.admission.append(keep_by_the_webhook)
        yield told


def annotations(told: Story) -> dict[str, str]:
    return told.stored(DEPLOYMENT)["metadata"].get("annotations") or {}


def ship(told: Story, image: str, user: str) -> None:
    def change(live: dict[str, Any]) -> None:
        live["spec"]["template"]["spec"]["containers"][0]["image"] = image

    told.server.edit(DEPLOYMENT, NAMESPACE, "app", change, manager=user)


async def approve(told: Story, user: str) -> str:
    """Ask for it, and return what is on record: empty when it was done."""
    state = memory.load(told.status())
    assert state is not None
    before = len(state.commands)
    nonce = f"{before:04d}"
    asked = Command(verb=CommandVerb.APPROVE, nonce=nonce, subject=subject_of(state), by=user)
    patch = {"metadata": {"annotations": {asked.key: asked.value}}}
    told.server.patch(CANARY, NAMESPACE, "app", patch)

    def records() -> tuple[Any, ...]:
        now = memory.load(told.status())
        return now.commands if now else ()

    await told.until(lambda: len(records()) > before, f"an answer to {user}", 5)
    return str(records()[-1].refusal)


async def test_who_made_a_revision_does_not_approve_it_but_somebody_else_does():
    async with noted() as told:
        await told.enrol(annotations=GATED)
        told.users()
        ship(told, "app:2", "alice")
        await told.until(lambda: "gate qa" in told.message(), "the gate")

        assert "alice made this revision" in await approve(told, "alice")
        assert "" == await approve(told, "bob")
        await told.until_phase("Succeeded")


async def test_a_note_is_no_new_revision():
    async with noted() as told:
        await told.enrol()
        ship(told, "app:1", "alice")  # nothing changed, so nobody is noted
        assert names.AUTHOR not in annotations(told)
        note = {"metadata": {"annotations": {names.AUTHOR: "bob"}}}
        # As canaryd, since nobody else can.
        how = Write(manager=names.MANAGER)
        told.server.store.merge_patch(DEPLOYMENT, (NAMESPACE, "app"), note, how)
        await asyncio.sleep(120)
        assert "bob" == annotations(told)[names.AUTHOR]
        assert ([], 1) == (told.results(), told.rolled())


async def test_a_note_leaves_with_the_app():
    async with noted() as told:
        await told.enrol()
        told.users()
        ship(told, "app:2", "alice")
        await told.until_phase("Succeeded")
        assert "alice" == annotations(told)[names.AUTHOR]

        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(CANARY, "app"), "left", 120)
        assert set() == {names.AUTHOR, names.MANAGED} & annotations(told).keys()
        assert [] == told.lost()


async def test_a_note_leaves_with_an_app_that_never_got_enrolled():
    async with noted() as told:
        told.deploy(annotations=plan())
        told.server.remove(SERVICE, NAMESPACE, "app")
        ship(told, "app:2", "alice")
        await told.until(lambda: "no Service" in told.message(), "the obstacle")
        assert "alice" == annotations(told)[names.AUTHOR]

        told.annotate(enabled=None)
        await told.until(lambda: names.AUTHOR not in annotations(told), "gone", 30)
