"""What users and strangers can do wrong, at enrolment and later: it is said, nothing is touched, it heals, nobody waits.

The table of troubles is in ``world_of_trouble``; what holds for each of them stands here once.
"""

import asyncio

import pytest

from canaryd.core import names
from canaryd.core.kinds import CANARY, DEPLOYMENT, INGRESS, SERVICE
from canaryd.core.reasons import Reason
from tests.scenarios.harness import NAMESPACE, Story, story
from tests.scenarios.world_of_trouble import (
    CONFIGURATION,
    HIDDEN_NAMES,
    SHAPES,
    SURROUNDINGS,
    TAKEN_NAMES,
    Trouble,
    belongings,
    config,
    deploy,
    free_snapshot_name,
    snapshot_name,
    take_snapshot_name,
)

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

RATE = 10.0
"""Requests of users a second."""
OBSTACLES = (*SURROUNDINGS, *TAKEN_NAMES)
EVERYTHING = (*CONFIGURATION, *OBSTACLES, *SHAPES, *HIDDEN_NAMES)
FEEDBACK = ("deployments.apps", "status")
CUTS_USERS_OFF = {
    "no Service",
    "no Ingress",
    "matchExpressions",
    "a Service whose name is too long",
}
"""What loses requests by the user's own hand, canaryd or not."""


# --- at enrolment -------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", EVERYTHING, ids=str)
async def test_at_enrolment_it_is_said_nothing_but_the_Canary_is_written_and_it_heals(trouble):
    async with story() as told:
        await run_unmanaged(told)
        told.annotate(enabled="true")
        trouble.cause(told, "app")
        before = theirs(told)
        await asyncio.sleep(60)

        assert_it_is_said(told, trouble)
        assert before == theirs(told)
        assert {"canaries.canaryd.io"} == written(told) - copies_of(trouble)
        assert 15 > len(told.writes())
        assert not told.exists(DEPLOYMENT, "app-primary") or trouble in TAKEN_NAMES
        trouble.repair(told, "app")
        await told.until_phase("Initialized", seconds=45)
        assert ("True", "Initialized") == told.condition("Ready")
        assert ("True", "Valid") == told.condition("ConfigValid")
        assert ("", "") == told.condition("Stalled")
        assert_nobody_was_lost(told, trouble)


# --- between runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", SURROUNDINGS, ids=str)
async def test_between_runs_it_is_said_nothing_is_touched_and_it_heals(trouble):
    async with story() as told:
        await enrol(told)
        trouble.cause(told, "app")
        before = theirs(told)
        told.server.requests.clear()
        await asyncio.sleep(30)

        assert_it_is_said(told, trouble)
        assert before == theirs(told)
        assert {"canaries.canaryd.io"} == written(told)
        trouble.repair(told, "app")
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        assert ("", "") == told.condition("Stalled")
        assert_nobody_was_lost(told, trouble)


@pytest.mark.parametrize("trouble", [SURROUNDINGS[1], SURROUNDINGS[5]], ids=str)
async def test_between_runs_what_was_mended_is_not_complained_about_any_more(trouble):
    async with story() as told:
        await enrol(told)
        trouble.cause(told, "app")
        await told.until(lambda: trouble.reason in told.memory.reasons(), "it is said")
        trouble.repair(told, "app")
        await asyncio.sleep(5)
        assert ("", "") == told.condition("Stalled")
        assert ("True", "Initialized") == told.condition("Ready")


async def test_a_bad_annotation_leaves_the_last_valid_plan_in_force():
    trouble = CONFIGURATION[-1]
    async with story() as told:
        await enrol(told)
        told.set_image("app:2")
        await told.until_weight(20)
        trouble.cause(told, "app")
        await told.until_weight(50)
        assert_it_is_said(told, trouble)
        await told.until_phase("Succeeded")
        assert ("False", "ConfigInvalid") == told.condition("ConfigValid")

        told.set_image("app:3")
        await told.until_weight(50)
        await told.until_phase("Succeeded")
        trouble.repair(told, "app")
        await told.until(lambda: told.condition("ConfigValid") == ("True", "Valid"), "healed")
        assert [] == told.lost()
        assert 1 == told.memory.reasons().count("ConfigInvalid")


@pytest.mark.parametrize("trouble", HIDDEN_NAMES, ids=str)
async def test_a_name_that_the_next_revision_wants_is_taken(trouble):
    async with story() as told:
        await enrol(told)
        if trouble is HIDDEN_NAMES[0]:
            told.server.put(config("ConfigMap", "app-settings", {"colour": "red"}))
            trouble.cause(told, "app")
        else:
            take_snapshot_name(told, "app", "app:2")
            told.set_image("app:2")
        told.server.requests.clear()
        await asyncio.sleep(60)

        assert_it_is_said(told, trouble)
        assert 0 == told.replicas() == told.weight()
        assert 15 > len(told.writes())
        trouble.repair(told, "app")
        await told.until_phase("Succeeded")
        assert ("", "") == told.condition("Stalled")
        assert [] == told.lost()


# --- in mid-run ---------------------------------------------------------------------------------

WEIGHT_MEANWHILE = {
    "no Ingress": 0,
    "Service app-canary is somebody else's": 0,
    "Ingress app-canary is somebody else's": None,
}
"""Where the weight does not stay: nobody is left on a canary that nothing leads to."""


@pytest.mark.parametrize("trouble", OBSTACLES, ids=str)
async def test_in_mid_run_the_weight_stays_and_the_run_goes_on_after_the_repair(trouble):
    async with story() as told:
        await enrol(told)
        told.set_image("app:2")
        await told.until_weight(20)
        make_room(told, trouble)
        trouble.cause(told, "app")
        before, known = theirs(told), len(told.memory.events)
        told.server.requests.clear()
        await asyncio.sleep(30)

        assert_it_is_said(told, trouble, known)
        assert before == theirs(told)
        assert WEIGHT_MEANWHILE.get(str(trouble), 20) == told.weight()
        assert written(told) <= {"canaries.canaryd.io", "ingresses.networking.k8s.io"}
        assert 6 > len(told.writes())
        trouble.repair(told, "app")
        await told.until_phase("Succeeded")
        assert ("", "") == told.condition("Stalled")
        assert "app:2" == told.image()
        if str(trouble) != "Deployment app-primary is somebody else's":
            assert_nobody_was_lost(told, trouble)


async def test_in_mid_run_a_canary_that_is_lost_behind_an_obstacle_loses_its_users():
    async with story() as told:
        await enrol(told)
        told.set_image("app:2")
        await told.until_weight(20)
        SURROUNDINGS[1].cause(told, "app")
        await told.until(lambda: "ServiceAmbiguous" in told.memory.reasons(), "it is said")
        told.cluster.break_pods("app")

        await told.until_weight(0, seconds=2)
        assert [] == told.lost()


async def test_in_mid_run_the_next_revisions_name_is_taken():
    async with story() as told:
        await enrol(told)
        told.set_image("app:2")
        await told.until_weight(20)
        take_snapshot_name(told, "app", "app:3")
        told.set_image("app:3")
        await told.until_weight(0)
        await told.until(lambda: "Conflict" in told.memory.reasons(), "it is said")
        told.server.requests.clear()
        await asyncio.sleep(60)

        assert snapshot_name(told, "app") in told.memory.notes("Conflict")[0]
        assert 0 == told.weight()
        assert 15 > len(told.writes())
        free_snapshot_name(told, "app")
        await told.until_phase("Succeeded")
        assert "app:3" == told.image()
        assert [] == told.lost()


# --- the others ---------------------------------------------------------------------------------


async def test_another_app_releases_while_everything_is_wrong_with_its_neighbours():
    async with story() as told:
        bad = dict(zip((f"bad-{n}" for n in range(len(EVERYTHING))), EVERYTHING, strict=True))
        for name, trouble in bad.items():
            deploy(told, name)
            trouble.cause(told, name)
        await release_other(told)

        for name, trouble in bad.items():
            assert trouble.reason in told.memory.reasons(name=name), str(trouble)
            assert "Initializing" == told.phase(name), str(trouble)
        assert 0 == told.memory.reasons(name="other").count("Conflict")


async def test_another_app_releases_while_its_neighbours_are_stuck_in_mid_run():
    async with story() as told:
        bad = dict(zip((f"bad-{n}" for n in range(len(SURROUNDINGS))), SURROUNDINGS, strict=True))
        for name in bad:
            deploy(told, name)
        for name in bad:
            await told.until_phase("Initialized", name)
            told.set_image("app:2", name)
        for name, trouble in bad.items():
            await told.until(lambda n=name: (told.weight(n) or 0) >= 20, name)
            trouble.cause(told, name)
        await release_other(told)

        for name, trouble in bad.items():
            assert trouble.reason in told.memory.reasons(name=name), str(trouble)
            assert told.phase(name) in ("Progressing", "Promoting"), str(trouble)


async def test_a_record_that_somebody_scribbled_on_stops_neither_its_app_nor_others():
    async with story() as told:
        await enrol(told)
        scribbled = {"metadata": {"annotations": {names.ORIGINAL_SELECTOR: "{app: app"}}}
        told.server.patch(SERVICE, NAMESPACE, "app", scribbled)
        await release_other(told)
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        assert [] == told.lost()


# --- not wrong, but odd -------------------------------------------------------------------------


async def test_a_Deployment_whose_name_leaves_no_room_is_refused():
    name = "a" * 60
    async with story() as told:
        deploy(told, name)
        await told.until(lambda: bool(told.message(name)), "it is said")
        assert f"Deployment name {name} is too long" in told.message(name)
        assert {"canaries.canaryd.io"} == written(told)
        told.server.remove(DEPLOYMENT, NAMESPACE, name)
        await told.until(lambda: not told.exists(CANARY, name), "the Canary is collected")


@pytest.mark.parametrize("moment", ["between runs", "in mid-run"])
async def test_an_app_that_lost_every_annotation_leaves_in_order(moment):
    async with story() as told:
        await enrol(told)
        if moment == "in mid-run":
            told.set_image("app:2")
            await told.until_weight(20)

        def strip(deployment):
            deployment["metadata"]["annotations"] = {}

        told.server.edit(DEPLOYMENT, NAMESPACE, "app", strip)
        await told.until(lambda: not told.exists(CANARY, "app"), "it has left")

        assert {"app": "app"} == told.selector()
        assert 2 == told.cluster.ready(NAMESPACE, "app")
        assert "app:1" == told.image("app")
        assert not told.exists(DEPLOYMENT, "app-primary")
        assert not told.exists(INGRESS, "app-canary")
        assert [] == told.lost()


async def test_an_app_whose_event_hook_is_told_everything_can_leave():
    async with story() as told:
        await enrol(told, **{"hook.tell": "event http://receiver.test/"})
        told.annotate(enabled=None)
        await told.until(lambda: not told.exists(CANARY, "app"), "it has left")
        assert [] == told.lost()
        assert "Unenrolled" in told.memory.reasons()


# --- words of this module -----------------------------------------------------------------------


async def run_unmanaged(told: Story) -> None:
    """An app that serves users and is not enrolled yet."""
    deploy(told, enabled=None)
    await told.until(lambda: told.cluster.is_rolled_out(NAMESPACE, "app"), "it serves")
    await asyncio.sleep(5)
    told.users(RATE, host="app.test")


async def enrol(told: Story, **annotations: str | None) -> None:
    """An enrolled app with users."""
    deploy(told, **annotations)
    await told.until_phase("Initialized")
    told.users(RATE, host="app.test")


async def release_other(told: Story) -> None:
    """A whole release of a neighbour, from its enrolment on, at its usual pace."""
    deploy(told, "other")
    assert 10 > await told.until_phase("Initialized", "other")
    told.users(RATE, host="other.test")
    told.set_image("app:2", "other")
    assert 40 > await told.until_phase("Succeeded", "other")
    assert [] == [sent for sent in told.lost() if sent.client == "other.test/"]


def theirs(told: Story) -> dict[str, object]:
    """Everything of the namespace that is not canaryd's own."""
    ours = {names.MANAGED_BY: names.MANAGER}.items()
    return {k: v for k, v in belongings(told).items() if not ours <= v["labels"].items()}


def written(told: Story) -> set[str]:
    """What was written, what the Deployment says of its rollout aside."""
    return {r.resource for r in told.writes() if (r.resource, r.subresource) != FEEDBACK}


def copies_of(trouble: Trouble) -> set[str]:
    """What canaryd makes for itself before it meets with a name that only writing shows as taken."""
    if trouble not in HIDDEN_NAMES:
        return set()
    return {"configmaps", "secrets", "controllerrevisions.apps"}


def make_room(told: Story, trouble: Trouble) -> None:
    """Delete what is canaryd's under the name that somebody else is about to take."""
    for kind in told.server.store.kinds:
        for suffix in ("-primary", "-canary"):
            is_meant = str(trouble).startswith(f"{kind.kind} app{suffix} ")
            if is_meant and told.exists(kind, f"app{suffix}"):
                told.server.remove(kind, NAMESPACE, f"app{suffix}")


def assert_it_is_said(told: Story, trouble: Trouble, since: int = 0) -> None:
    """In condition, status, Event and journal, with the same word, and once."""
    is_config = trouble.reason is Reason.CONFIG_INVALID
    if is_config:
        assert ("False", trouble.reason) == told.condition("ConfigValid")
    else:
        assert ("True", trouble.reason) == told.condition("Stalled")
        assert told.condition("Ready")[0] == "False"
    where = told.status()["conditions"]
    shown = [c["message"] for c in where if c["reason"] == trouble.reason]
    events = [
        (k, note) for k, _, reason, note in told.memory.events[since:] if reason == trouble.reason
    ]
    looks = [
        d.message
        for key, d in told.memory.looks
        if (key, d.reason) == ((NAMESPACE, "app"), trouble.reason)
    ]
    for words in trouble.words("app"):
        assert words in shown[0]
        assert words in events[0][1]
        assert words in looks[-1]
    assert ["Canary", "Deployment"] == sorted(kind for kind, _ in events)


def assert_nobody_was_lost(told: Story, trouble: Trouble) -> None:
    if str(trouble) not in CUTS_USERS_OFF:
        assert [] == told.lost()
