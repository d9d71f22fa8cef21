"""Objects that somebody deletes by hand, one after another, in every phase (F.3 case 39): made again, or left in order; nobody is lost while pods are ready."""

import asyncio

import pytest

from canaryd.core.kinds import (
    CANARY,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    INGRESS,
    SERVICE,
    Kind,
)
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario
from tests.scenarios.test_cases_configs import BLUE, MOUNTED, config, used_by

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

PHASES = ("Initialized", "Progressing", "Promoting", "Succeeded", "Failed")


async def users_of(told: Story, phase: str) -> None:
    """An enrolled app with users, in this phase."""
    told.server.put(config(CONFIG_MAP, data=BLUE))
    told.deploy(annotations=plan(), pod_spec=MOUNTED)
    await told.until_phase("Initialized")
    told.users()
    await asyncio.sleep(5)
    if phase == "Failed":
        told.source.bad_images.add("app:2")
    if phase != "Initialized":
        told.set_image("app:2")
        await told.until_phase(phase)
    if phase == "Progressing":
        await told.until_weight(20)


def made_again(told: Story, kind: Kind, name: str, uid: str) -> bool:
    found = told.stored(kind, name)
    return bool(found) and found["metadata"]["uid"] != uid


async def delete_and_wait(told: Story, kind: Kind, name: str, seconds: float = 30) -> None:
    uid = told.stored(kind, name)["metadata"]["uid"]
    told.server.remove(kind, NAMESPACE, name)
    await told.until(
        lambda: made_again(told, kind, name, uid), f"{kind.kind} {name} is there again", seconds
    )


@pytest.mark.parametrize("phase", PHASES)
@scenario
async def test_what_is_ours_is_made_again_and_nobody_is_lost(told: Story, phase):
    await users_of(told, phase)
    for kind, name in (
        (INGRESS, "app-canary"),
        (SERVICE, "app-canary"),
        (SERVICE, "app-primary"),
        (CONFIG_MAP, min(used_by(told, "app-primary"))),
    ):
        await delete_and_wait(told, kind, name)
    await told.until(lambda: told.phase() in ("Initialized", "Succeeded", "Failed"), "it ends", 300)
    assert "Failed" == told.phase() if phase == "Failed" else told.phase() != "Failed"
    assert [] == told.lost()


@pytest.mark.parametrize("phase", PHASES)
@scenario
async def test_a_deleted_primary_comes_back_with_what_was_promoted(told: Story, phase):
    await users_of(told, phase)
    promoted = told.image() if phase != "Promoting" else ""
    await delete_and_wait(told, DEPLOYMENT, "app-primary")
    if promoted:
        assert promoted == told.image()
    await told.until(lambda: told.phase() in ("Initialized", "Succeeded", "Failed"), "it ends", 300)
    assert ("app:1" if phase in ("Initialized", "Failed") else "app:2") == told.image()
    healed = asyncio.get_running_loop().time() + 10
    await asyncio.sleep(30)
    assert [] == told.lost(since=healed)


@pytest.mark.parametrize("phase", PHASES)
@scenario
async def test_a_deleted_record_is_made_again_from_what_serves(told: Story, phase):
    await users_of(told, phase)
    serving = told.image()
    told.server.remove(CANARY, NAMESPACE, "app")
    await told.until(lambda: told.exists(CANARY, "app"), "the record is there again")
    await told.until(lambda: told.phase() in ("Succeeded", "Failed", "Initialized"), "it ends", 300)
    await asyncio.sleep(120)
    assert [] == told.lost()
    assert told.image() in (serving, "app:2")
    if phase == "Failed":
        assert "app:1" == told.image()


@scenario
async def test_deleted_snapshots_keep_nobody_from_the_next_release(told: Story):
    await users_of(told, "Succeeded")
    for snapshot in list(told.server.store.items(CONTROLLER_REVISION)):
        if snapshot["metadata"]["name"].startswith("app-canaryd-"):
            told.server.remove(CONTROLLER_REVISION, NAMESPACE, snapshot["metadata"]["name"])
    told.set_image("app:3")
    await told.until(lambda: told.image() == "app:3", "it is promoted", 300)
    await told.until_phase("Succeeded")
    assert [] == told.lost()
