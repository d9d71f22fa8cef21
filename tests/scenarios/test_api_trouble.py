"""An API server that refuses, stalls, lies or is away: the release ends as it would have, later, and users notice nothing.

Faults strike on the wire, between the daemon that ships and the fake API server; everything else is as in a good release.
"""

import asyncio
import json
from contextlib import contextmanager

import pytest

from canaryd.core.kinds import (
    CANARY,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    INGRESS,
    REPLICA_SET,
    SECRET,
    SERVICE,
)
from tests.fakes.apiserver import (
    CLOSE,
    CONFLICT,
    FORBIDDEN,
    HANG,
    HTML,
    INTERNAL_ERROR,
    UNAUTHORIZED,
    UNAVAILABLE,
    Refuse,
    too_many_requests,
)
from tests.scenarios.harness import NAMESPACE, Story, story
from tests.scenarios.world_of_trouble import deploy

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

RATE = 10.0
"""Requests of users a second."""
OUTAGE_S = 25.0
"""Short enough that with the longest pause before the next try it stays within the progress-deadline."""
FAULTS = {
    "401": (UNAUTHORIZED, "Unauthorized"),
    "403": (FORBIDDEN, "may not"),
    "409": (CONFLICT, "Operation cannot be fulfilled on"),
    "410": (Refuse(410, "Expired", "too old"), "too old"),
    "429": (too_many_requests(5), "Too many requests"),
    "500": (INTERNAL_ERROR, "etcdserver: leader changed"),
    "503": (UNAVAILABLE, "currently unable"),
    "HTML": (HTML, "without a Status"),
    "hang": (HANG, "no answer in time"),
    "reset": (CLOSE, "cannot be reached"),
}
"""By name: what happens, and what of it a person reads in the log."""
KINDS = {
    "status": {"kind": CANARY, "subresource": "status"},
    "Canary": {"kind": CANARY, "subresource": ""},
    "route": {"kind": INGRESS},
    "primary": {"kind": DEPLOYMENT, "subresource": ""},
    "scale": {"kind": DEPLOYMENT, "subresource": "scale"},
    "Service": {"kind": SERVICE},
    "config copy": {"kind": CONFIG_MAP},
    "snapshot": {"kind": CONTROLLER_REVISION},
}
"""By name: every kind of write of an enrolment or a release."""


# --- writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["enrolment", "release"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_happens_to_writes_the_end_is_the_same(fault, moment):
    what, words = FAULTS[fault]
    async with story() as told:
        async with scene(told, moment):
            rule = told.server.faults.on(what, write=True)
            await asyncio.sleep(OUTAGE_S)
            rule.stop()
        # A conflict when something is made means to us that it is there, and it is not.
        assert words in journal(told) or (fault == "409" and "not found" in journal(told))
        assert 40 >= rule.struck > 0


@pytest.mark.parametrize("moment", ["enrolment", "release"])
@pytest.mark.parametrize("kind", KINDS)
async def test_whichever_write_fails_the_end_is_the_same(kind, moment):
    async with story() as told:
        async with scene(told, moment):
            rule = told.server.faults.on(INTERNAL_ERROR, write=True, **KINDS[kind])
            await asyncio.sleep(OUTAGE_S)
            rule.stop()
        assert not rule.struck or "etcdserver: leader changed" in journal(told)


async def test_a_Service_that_could_not_be_written_for_long_spends_no_progress_deadline():
    async with story() as told, scene(told, "release"):
        rule = told.server.faults.on(INTERNAL_ERROR, write=True, kind=SERVICE)
        await asyncio.sleep(70)
        rule.stop()


@pytest.mark.parametrize("moment", ["enrolment", "release"])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_that_is_lost_after_the_write_took_effect_changes_nothing(kind, moment):
    async with story() as told, scene(told, moment):
        told.server.faults.on(CLOSE, when="after", every=2, times=3, write=True, **KINDS[kind])


async def test_failing_writes_are_tried_ever_more_slowly():
    async with story() as told:
        deploy(told)
        told.server.faults.on(INTERNAL_ERROR, write=True)
        per_minute = []
        for _ in range(5):
            since = told.clock.now()
            await asyncio.sleep(60)
            per_minute.append(told.server.requests.count(since=since, write=True))

        assert 9 >= per_minute[0]  # what is said on the Deployment among them
        assert 2 >= per_minute[4]


@pytest.mark.parametrize(
    "kind",
    [CANARY, DEPLOYMENT, INGRESS, SERVICE],
    ids=lambda k: k.plural,
)
async def test_a_conflict_on_every_second_write_costs_one_more_try_each(kind):
    async with story() as told:
        async with scene(told, "release"):
            rule = told.server.faults.on(CONFLICT, every=2, write=True, kind=kind)
        assert 10 > rule.struck > 0
        assert 50 > told.server.requests.count(write=True)


async def test_a_busy_server_is_asked_when_it_said():
    async with story() as told:
        async with scene(told, "release"):
            rule = told.server.faults.on(too_many_requests(7), write=True, kind=CANARY)
            await asyncio.sleep(60)
            rule.stop()
        assert 11 > rule.struck


async def test_writes_that_failed_for_long_are_not_taken_for_the_work_of_another_writer():
    async with story() as told, scene(told, "release"):
        await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 2, "the canary is ready")
        rule = told.server.faults.on(INTERNAL_ERROR, write=True, kind=INGRESS)
        await asyncio.sleep(600)
        assert "find the other writer" not in journal(told)
        rule.stop()
        await told.until_weight(50, seconds=90)


# --- a canary that fails meanwhile ----------------------------------------------------------------


async def test_users_leave_a_bad_canary_as_soon_as_the_route_can_be_written():
    async with story() as told:
        await enrol(told)
        await begin_release(told)
        told.source.bad_images.add("app:2")
        rule = told.server.faults.on(INTERNAL_ERROR, write=True, kind=INGRESS)
        await told.until_phase("Failed")
        await asyncio.sleep(400)
        assert 20 == told.weight()
        assert 35 > rule.struck / 400 * 60

        rule.stop()
        await told.until_weight(0, seconds=4)
        await told.until(lambda: told.replicas() == 0, "the target goes idle")


@pytest.mark.parametrize("fault", ["403", "409", "500", "hang"])
async def test_users_leave_a_bad_canary_although_the_record_cannot_be_written(fault):
    async with story() as told:
        await enrol(told)
        await begin_release(told, failing=True)
        rule = told.server.faults.on(FAULTS[fault][0], write=True, kind=CANARY)
        await told.until_weight(0, seconds=30)
        await asyncio.sleep(30)
        assert 0 == told.weight()
        rule.stop()
        await told.until_phase("Failed", seconds=90)


async def test_users_are_not_let_on_again_when_the_record_of_the_failure_met_a_conflict():
    async with story() as told:
        await enrol(told)
        await begin_release(told, failing=True)
        weights = []
        told.server.store.subscribe(lambda change: weights.append(told.weight()))
        told.server.faults.next(CONFLICT, write=True, kind=CANARY)
        await told.until_phase("Failed")
        assert {0} == set(weights[weights.index(0) :])


# --- reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["enrolment", "release"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_happens_to_reads_the_end_is_the_same(fault, moment):
    what, words = FAULTS[fault]
    async with story() as told:
        async with scene(told, moment):
            rule = told.server.faults.on(what, verb=("get", "list"))
            await asyncio.sleep(OUTAGE_S)
            rule.stop()
        assert words in journal(told)
        assert 40 >= rule.struck > 0


@pytest.mark.parametrize(
    "kind", [DEPLOYMENT, REPLICA_SET, CONFIG_MAP, SECRET], ids=lambda k: k.plural
)
async def test_a_config_or_object_that_cannot_be_read_holds_and_starts_nothing(kind):
    async with story() as told:
        await enrol(told)
        rule = told.server.faults.on(INTERNAL_ERROR, verb=("get", "list"), kind=kind)
        told.server.requests.clear()
        for name in ("ConfigMap/app-settings", "Secret/app-keys"):
            touch(told, name)
        await asyncio.sleep(OUTAGE_S)
        assert "Initialized" == told.phase()
        assert [] == [r for r in told.writes() if r.subresource != "status"]
        rule.stop()
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        assert [] == told.lost()


async def test_a_forbidden_Secret_is_named_in_the_status_of_its_app_and_stops_no_other():
    async with story() as told:
        told.server.faults.on(FORBIDDEN, verb="get", kind=SECRET, name="app-keys")
        deploy(told)
        deploy(told, "other")
        await told.until_phase("Initialized", "other")
        await told.until(lambda: bool(told.message()), "it is said")
        assert "secret/app-keys cannot be read: may not get secrets" in told.message()
        assert "ConfigUnreadable" in told.memory.reasons()
        told.server.faults.clear()
        await told.until_phase("Initialized", seconds=40)


async def test_a_refusal_by_admission_is_told_to_the_people_of_the_app():
    quota = Refuse(403, "Forbidden", "exceeded quota: pods, requested: 2, limited: 3")
    async with story() as told:
        rule = told.server.faults.on(quota, write=True, kind=DEPLOYMENT, name="app-primary")
        deploy(told)
        await asyncio.sleep(100)
        assert "exceeded quota: pods" in told.message()
        assert "exceeded quota: pods" in told.memory.notes("ApiError")[0]
        assert 1 == told.memory.reasons().count("ApiError")
        assert 8 > rule.struck
        rule.stop()
        await told.until_phase("Initialized", seconds=40)


# --- watches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["enrolment", "release"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_happens_to_watches_the_end_is_the_same(fault, moment):
    async with story() as told:
        async with scene(told, moment):
            rule = told.server.faults.on(FAULTS[fault][0], verb=("watch", "list"))
            told.server.cut_watches(clean=fault != "reset")
            await asyncio.sleep(OUTAGE_S)
            rule.stop()
        assert 12 * 60 >= rule.struck > 0


@pytest.mark.parametrize("clean", [True, False], ids=["ended", "reset"])
async def test_watches_cut_every_five_seconds_disturb_nothing(clean):
    async with story() as told, scene(told, "release"):
        with every(5.0, lambda: told.server.cut_watches(clean=clean)):
            await told.until_phase("Succeeded")


async def test_compaction_in_mid_release_starts_no_second_run():
    def compact():
        told.server.compact()
        told.server.cut_watches()

    async with story() as told:
        async with scene(told, "release"):
            with every(4.0, compact):
                await told.until_phase("Succeeded")
        assert ["Succeeded"] == told.results()


DAMAGED = {
    "apiVersion": "v1",
    "kind": "Odd",
    "metadata": {
        "namespace": NAMESPACE,
        "name": "odd",
        "resourceVersion": "100",
        "annotations": {"canaryd.io/enabled": "true"},
    },
    "spec": 7,
    "endpoints": 7,
}


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n',
        b"<html>504 Gateway Time-out</html>\n",
        json.dumps({"type": "MODIFIED", "object": DAMAGED}).encode() + b"\n",
    ],
    ids=["410", "HTML", "damaged"],
)
async def test_a_bad_line_in_a_watch_disturbs_nothing(line):
    async with story() as told, scene(told, "release"):
        for kind in (DEPLOYMENT, SERVICE, ENDPOINT_SLICE, SECRET):
            assert told.server.inject(kind, line)


async def test_a_daemon_that_starts_while_the_server_is_away_waits_and_then_works():
    async with story() as told:
        await told.kill()
        told.server.partition()
        await told.start()
        deploy(told)
        await asyncio.sleep(60)
        told.server.heal()
        await told.until_phase("Initialized", seconds=60)


async def test_an_api_server_that_is_away_for_a_quarter_of_an_hour_freezes_the_release():
    async with story() as told:
        await enrol(told)
        await begin_release(told)
        told.server.partition()
        await asyncio.sleep(900)
        assert 20 == told.weight()
        told.server.heal()
        await told.until_weight(50, seconds=75)
        assert 0 == told.status()["failures"]["count"]
        await told.until_phase("Succeeded")
        assert [] == told.lost()
        assert ["Succeeded"] == told.results()


async def test_versions_that_went_backwards_after_a_restore_hold_up_nothing():
    async with story() as told:
        told.server.store.version = 1_000_000
        await enrol(told)
        told.server.delay_watch(DEPLOYMENT, 0.5)
        told.set_image("app:2")
        await told.until(lambda: told.replicas() > 0, "the canary is scaled up")
        restore(told, behind=900_000)
        await told.until_phase("Succeeded")
        assert any("waiting for resourceVersion 1000" in d.message for _, d in told.memory.looks)
        assert [] == told.lost()


# --- words of this module -----------------------------------------------------------------------


class scene:  # noqa: N801 - reads as a word of the story
    """Set the stage for trouble and see the story to its good end, whatever happened inside the block."""

    def __init__(self, told: Story, moment: str) -> None:
        self.told = told
        self.moment = moment

    async def __aenter__(self) -> None:
        told = self.told
        if self.moment == "release":
            await enrol(told)
            told.set_image("app:2")
            return
        deploy(told, enabled=None)
        await told.until(lambda: told.cluster.is_rolled_out(NAMESPACE, "app"), "it serves")
        await asyncio.sleep(5)
        told.users(RATE, host="app.test")
        told.annotate(enabled="true")

    async def __aexit__(self, *failure: object) -> None:
        if failure[0] is not None:
            return
        told = self.told
        image, phase = (
            ("app:2", "Succeeded") if self.moment == "release" else ("app:1", "Initialized")
        )
        await told.until_phase(phase, seconds=200)
        await asyncio.sleep(5)
        assert (image, 0, 0) == (told.image(), told.weight(), told.replicas())
        assert {"app": "app-primary"} == told.selector()
        assert ("", "") == told.condition("Stalled")
        assert [] == told.lost()


async def enrol(told: Story) -> None:
    deploy(told)
    await told.until_phase("Initialized")
    told.users(RATE, host="app.test")


async def begin_release(told: Story, *, failing: bool = False) -> None:
    """Up to the first weight; ``failing``: up to the moment before the judgement that ends it."""
    if failing:
        told.annotate(**{"failure-threshold": "1"})
        told.source.bad_images.add("app:2")
    told.set_image("app:2")
    await told.until_weight(20)
    await asyncio.sleep(9 if failing else 1)


def journal(told: Story) -> str:
    return "\n".join(decision.message for _, decision in told.memory.looks)


def touch(told: Story, which: str) -> None:
    """Change an object without changing what it holds."""
    kind, _, name = which.partition("/")
    found = next(k for k in told.server.store.kinds if k.kind == kind)
    patch = {"metadata": {"annotations": {"touched": "yes"}}}
    told.server.patch(found, NAMESPACE, name, patch)


def restore(told: Story, behind: int) -> None:
    """Play a restore of etcd from a backup that holds the same objects at lower versions."""
    store = told.server.store
    for objects in store._objects.values():
        for key, found in list(objects.items()):
            version = str(max(1, int(found["metadata"]["resourceVersion"]) - behind))
            objects[key] = {**found, "metadata": {**found["metadata"], "resourceVersion": version}}
    store.version -= behind
    store.history.clear()
    told.server.cut_watches(clean=False)


@contextmanager
def every(seconds: float, act):
    """Do something again and again inside the block."""

    async def again() -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    task = asyncio.ensure_future(again())
    try:
        yield
    finally:
        task.cancel()
