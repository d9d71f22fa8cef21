"""The daemon dies, is restarted, is upgraded: cases X17 and X18.

A crash at any write, before or after it took effect, ends where no crash ends: the same objects, one roll-out of the
primary, no verdict twice, and users who notice nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from canaryd.app import Options
from canaryd.config.settings import Nginx, Providers
from canaryd.core.kinds import CONTROLLER_REVISION, EVENT, LEASE
from tests.fakes.apiserver import Request
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario, story
from tests.scenarios.test_cases_users import marks, owned

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

each_moment = pytest.mark.parametrize("when", ["before", "after"])
"""Before the write took effect, or after, when only its answer is lost."""
BRIEF = plan(weights="50", failure_threshold="1")
"""One step: every kind of write, and as few of each as there can be."""
MORE_THAN_ENOUGH = 80
SNAPSHOT = CONTROLLER_REVISION.kind
"""How many there are depends on the history."""


def outcome(told: Story) -> dict[str, Any]:
    """Where an app stands, without times, names of runs and history."""
    machine = told.status().get("machine") or {}
    return {
        "phase": told.phase(),
        "run": machine.get("run"),
        "images": (told.image("app"), told.image("app-primary")),
        "replicas": told.replicas(),
        "primary": told.replicas("app-primary") if "app-primary" in str(owned(told)) else None,
        "weight": told.weight(),
        "selector": told.selector(),
        "owned": sorted(thing for thing in owned(told) if not thing.startswith(SNAPSHOT)),
        "marks": sorted(marks(told)),
    }


Tell = Callable[[int], Awaitable[None]]


async def at_every_write(told: Story, when, tell: Tell, check: Callable[[int], None]) -> int:
    """Tell a story again and again, the daemon dying once at its first write, its second and so on; returns how many there were."""
    for write in range(1, MORE_THAN_ENOUGH):
        async with told.dying(write, when) as died:
            await tell(write)
        check(write)
        if not died.is_set():
            return write - 1
    raise AssertionError("the story has no end of writes")


@each_moment
@scenario
async def test_X17_a_release_ends_the_same_wherever_the_daemon_dies(told: Story, when):
    await told.serve()
    await told.enrol(annotations=BRIEF)
    told.set_image("app:0")
    await told.until_phase("Succeeded")
    await told.until_idle()
    await asyncio.sleep(2)
    undisturbed = outcome(told)
    told.plane.forget()

    async def release(write: int) -> None:
        rolled = told.rolled()
        told.set_image(f"app:r{write}")
        await told.until_phase("Progressing")
        await told.until_phase("Succeeded")
        await told.until_idle()
        await asyncio.sleep(4)
        assert told.rolled() == rolled + 1, f"crash {when} write {write}"

    def check(write: int) -> None:
        image = f"app:r{write}"
        assert outcome(told) == undisturbed | {"images": (image, image)}, f"{when} {write}"
        assert told.results()[-1:] == ["Succeeded"]
        assert told.status()["machine"]["runs"] == write + 1, f"crash {when} write {write}"
        assert told.lost() == [], f"crash {when} write {write}"

    writes = await at_every_write(told, when, release, check)

    assert writes >= 12
    snapshots = told.server.objects(CONTROLLER_REVISION, NAMESPACE)
    assert len(snapshots) <= 11


@scenario
async def test_X17_a_rollback_ends_the_same_wherever_the_daemon_dies(told: Story):
    await told.serve()
    await told.enrol(annotations=BRIEF)
    told.source.bad_images.add("app:bad")
    undisturbed = outcome(told)
    rolled = told.rolled()
    told.plane.forget()

    async def roll_back(write: int) -> None:
        told.source.bad_images.add(f"app:r{write}")
        told.set_image(f"app:r{write}")
        await told.until_phase("Progressing")
        await told.until_phase("Failed")
        await told.until_idle()
        await asyncio.sleep(4)

    def check(write: int) -> None:
        expected = undisturbed | {"images": (f"app:r{write}", "app:1"), "phase": "Failed"}
        assert outcome(told) == expected, f"crash after write {write}"
        assert told.rolled() == rolled, f"crash after write {write}"
        assert told.results()[-1:] == ["Failed"]
        assert told.lost() == [], f"crash after write {write}"

    assert await at_every_write(told, "after", roll_back, check) >= 7


@scenario
async def test_X17_enrolment_and_leaving_end_the_same_wherever_the_daemon_dies(told: Story):
    await told.serve()
    apart = outcome(told)
    await told.enrol()
    enrolled = outcome(told)
    told.annotate(enabled=None)
    await told.until(lambda: owned(told) == [] == marks(told), "left")
    await asyncio.sleep(4)
    told.plane.forget()

    for write in range(1, MORE_THAN_ENOUGH):
        async with told.dying(write, "after") as enrolling:
            told.annotate(enabled="true")
            await told.until_phase("Initialized")
            await told.until_idle()
            await asyncio.sleep(4)
        assert outcome(told) == enrolled, f"enrolment, crash after write {write}"
        async with told.dying(write, "after") as leaving:
            told.annotate(enabled=None)
            await told.until(lambda: owned(told) == [] == marks(told), f"left, {write}")
            await asyncio.sleep(4)
        assert outcome(told) == apart, f"leaving, crash after write {write}"
        assert told.lost() == [], f"crash after write {write}"
        if not enrolling.is_set() and not leaving.is_set():
            break
    assert write >= 10


@scenario
async def test_X17_restarts_in_every_phase_lose_nobody_and_count_nothing_twice(told: Story):
    await told.serve()
    await told.enrol()
    told.set_image("app:2")
    for phase, weight in (("Progressing", 20), ("Progressing", 50), ("Promoting", 50)):
        await told.until(lambda p=phase, w=weight: (told.phase(), told.weight()) == (p, w), phase)
        await told.restart()
    await told.until_phase("Finalising")
    await told.restart()
    await told.until_phase("Succeeded")

    assert 2 == told.rolled()
    assert ["Succeeded"] == told.results()
    assert 0 == told.status()["failedChecks"]
    assert [] == told.lost()


@scenario
async def test_X17_a_daemon_that_is_away_for_a_while_keeps_no_step_short(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(3)
    await told.restart()
    await told.until_weight(50)

    assert asyncio.get_running_loop().time() - began >= 10


# --- nothing happened, so nothing happens -----------------------------------------------------------------------------


def writes_of(told: Story) -> list[Request]:
    ignored = (LEASE.resource, EVENT.resource)
    return [request for request in told.writes() if request.resource not in ignored]


@pytest.mark.parametrize(
    ("options", "image"),
    [
        (Options(workers=4), "app:1"),
        (Options(workers=4), "app:2"),
        (Options(workers=4), "app:bad"),
        (
            Options(workers=2, resync_s=10.0, providers=Providers(nginx=Nginx(propagation_s=5.0))),
            "app:bad",
        ),
        (Options(defaults={"interval": "5m", "failure-threshold": "9"}), "app:bad"),
        (Options(secrets=False), "app:2"),
    ],
    ids=["enrolled", "succeeded", "failed", "settings", "defaults", "no-secrets"],
)
async def test_X18_another_daemon_starts_no_run_and_writes_nothing(options, image):
    async with story() as told:
        told.source.bad_images.add("app:bad")
        await told.enrol()
        told.set_image(image)
        ends = {"app:1": "Initialized", "app:2": "Succeeded", "app:bad": "Failed"}
        await told.until_phase(ends[image])
        await told.until_idle()
        await asyncio.sleep(10)
        before = told.status()
        await told.kill()
        told.server.requests.clear()
        told.options = options
        await told.start()
        await asyncio.sleep(120)

        assert [] == writes_of(told)
        assert before == told.status()


@scenario
async def test_X18_another_daemon_goes_on_with_the_plan_of_the_run(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    await told.kill()
    told.options = Options(workers=4, defaults={"interval": "20m"})
    await told.start()
    await told.until_weight(50, seconds=15)
    await told.until_phase("Succeeded", seconds=30)

    assert ["Succeeded"] == told.results()


@scenario
async def test_a_revision_changed_and_changed_back_while_the_daemon_is_away_is_no_run(told: Story):
    await told.enrol()
    await told.kill()
    told.set_image("app:2")
    await asyncio.sleep(5)
    told.set_image("app:1")
    await asyncio.sleep(5)
    told.server.requests.clear()
    await told.start()
    await asyncio.sleep(60)

    assert [] == writes_of(told)
    assert [] == told.results()


@scenario
async def test_a_revision_deployed_while_the_daemon_is_away_is_analysed_when_it_is_back(
    told: Story,
):
    await told.serve()
    await told.enrol()
    await told.kill()
    told.set_image("app:2")
    await asyncio.sleep(30)
    await told.start()
    await told.until_weight(20)
    await told.until_phase("Succeeded")

    assert [] == told.lost()
    assert "app:2" == told.image()


@scenario
async def test_a_revision_deployed_in_mid_run_while_the_daemon_is_away_has_no_users_unanalysed(
    told: Story,
):
    await told.serve()
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    await told.kill()
    told.set_image("app:3")
    await told.until(lambda: told.cluster.is_rolled_out(NAMESPACE, "app"), "app:3 is there")
    away = asyncio.get_running_loop().time() + told.plane.throttle_s
    await asyncio.sleep(30)

    assert 50 == told.weight()
    assert {"app:1"} == {s.version for s in told.plane.sent(since=away) if s.version}
    assert "app:3" not in told.plane.by_version()
    await told.start()
    await told.until_weight(0, seconds=1)
    await told.until_weight(20)
    await told.until_phase("Succeeded")
    assert "app:3" == told.image()


@scenario
async def test_an_app_is_given_back_that_was_disabled_while_the_daemon_was_away(told: Story):
    await told.serve()
    await told.enrol(annotations=plan())
    await told.kill()
    told.annotate(enabled="false")
    await asyncio.sleep(30)
    await told.start()
    await told.until(lambda: owned(told) == [], "left")

    assert [] == told.lost()
