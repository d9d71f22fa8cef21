"""Recording Events, against the fake API server, in virtual time."""

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from canaryd.core.kinds import EVENT
from canaryd.kube import events
from canaryd.kube.client import KubeClient
from canaryd.kube.events import EventRecorder
from canaryd.kube.kubeconfig import Connection
from tests.fakes.apiserver import (
    CLOSE,
    CONFLICT,
    FORBIDDEN,
    HANG,
    Delay,
    FakeApiServer,
    too_many_requests,
)
from tests.fakes.clock import parse_timestamp

pytestmark = pytest.mark.looptime

NAMESPACE = "shop"
APP = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "namespace": NAMESPACE,
    "name": "app",
    "uid": "11111111-2222",
}


@dataclass
class World:
    server: FakeApiServer
    recorder: EventRecorder
    task: asyncio.Task
    dropped: list[int] = field(default_factory=list)

    def emit(self, note="weight is 10", reason="WeightWritten", regarding=APP, **more):
        self.recorder.emit(regarding, reason, note, **more)

    def events(self, namespace=NAMESPACE):
        return self.server.objects(EVENT, namespace)

    def writes(self):
        return [r.verb for r in self.server.requests.writes(kind=EVENT)]

    async def end(self):
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def a_world():
    async with FakeApiServer() as server:
        server.ensure_namespace(NAMESPACE)
        dropped = []
        async with KubeClient(Connection(server.url), clock=server.clock) as client:
            recorder = EventRecorder(
                client, identity="pod-1", clock=server.clock, on_dropped=dropped.append
            )
            task = asyncio.create_task(recorder.run())
            world = World(server, recorder, task, dropped)
            try:
                yield world
            finally:
                server.faults.clear()
                await world.end()
                assert task.cancelled()


async def a_moment():
    await asyncio.sleep(0.5)


# --- one Event --------------------------------------------------------------------------------------------------------


async def test_an_event_says_what_happened_to_what_and_costs_one_request():
    async with a_world() as world:
        world.emit("weight is 10", "WeightWritten", type="Normal", action="Route")
        await a_moment()
        (event,) = world.events()
        told = {key: event[key] for key in event if key not in {"metadata", "eventTime"}}
        expected = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "regarding": APP,
            "reason": "WeightWritten",
            "note": "weight is 10",
            "type": "Normal",
            "action": "Route",
            "reportingController": "canaryd.io/controller",
            "reportingInstance": "pod-1",
        }
        assert expected == told
        assert world.server.clock.now() == pytest.approx(
            parse_timestamp(event["eventTime"]), abs=1.0
        )
        assert ["create"] == world.writes()


async def test_a_warning_about_two_objects_names_both():
    async with a_world() as world:
        other = {"apiVersion": "v1", "kind": "Service", "namespace": NAMESPACE, "name": "app"}
        world.emit(type="Warning", related=other | {"uid": ""})
        await a_moment()
        (event,) = world.events()
        assert ("Warning", other) == (event["type"], event["related"])


async def test_the_name_is_the_objects_with_sixteen_digits_and_never_the_same():
    async with a_world() as world:
        for number in range(3):
            world.emit(f"note {number}")
        await a_moment()
        names = {event["metadata"]["name"] for event in world.events()}
        assert 3 == len(names)
        assert all(name.startswith("app.") and len("app.") + 16 == len(name) for name in names)


@pytest.mark.parametrize(
    "name", ["x" * 253, "x" * 235 + "-.-" + "y" * 15], ids=["long", "cut at a sign"]
)
async def test_the_longest_names_make_valid_names(name):
    async with a_world() as world:
        world.emit(regarding=APP | {"name": name})
        await a_moment()
        (event,) = world.events()
        assert 253 >= len(event["metadata"]["name"])
        assert [] == world.dropped


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1021 + "…"),
        ("ü" * 1024, "ü" * 510 + "…"),
        ("x" * 1020 + "\N{PARTY POPPER}!", "x" * 1020 + "…"),
        ("half a character: \ud83d", "half a character: ?"),
    ],
    ids=["fits", "too long", "two bytes each", "cut inside a character", "not UTF-8"],
)
async def test_a_note_is_cut_to_1024_bytes_between_characters(note, kept):
    async with a_world() as world:
        world.emit(note)
        await a_moment()
        assert [kept] == [event["note"] for event in world.events()]


async def test_long_words_are_cut_to_what_the_api_server_takes():
    async with a_world() as world:
        world.emit(reason="R" * 200, action="A" * 200)
        await a_moment()
        assert [(126, 126)] == [(len(e["reason"]), len(e["action"])) for e in world.events()]


async def test_a_long_identity_is_cut():
    async with FakeApiServer() as server:
        server.ensure_namespace(NAMESPACE)
        async with KubeClient(Connection(server.url), clock=server.clock) as client:
            recorder = EventRecorder(client, identity="i" * 253, clock=server.clock)
            task = asyncio.create_task(recorder.run())
            recorder.emit(APP, "Reason", "note")
            await a_moment()
            task.cancel()
            await asyncio.wait([task])
        assert 1 == len(server.objects(EVENT, NAMESPACE))


async def test_an_event_about_a_cluster_scoped_object_goes_to_the_default_namespace():
    async with a_world() as world:
        world.emit(regarding={"apiVersion": "v1", "kind": "Namespace", "name": "shop", "uid": "u"})
        await a_moment()
        assert 1 == len(world.events("default"))


@pytest.mark.parametrize("regarding", [{}, {"name": None, "uid": 7}, {"name": "Ä b"}], ids=str)
async def test_whatever_is_told_emit_does_not_raise_and_the_next_event_is_written(regarding):
    async with a_world() as world:
        world.emit("", "", regarding=regarding, type="Odd", action="")
        world.emit()
        await a_moment()
        assert ([1], 1) == (world.dropped, len(world.events()))


# --- folding ----------------------------------------------------------------------------------------------------------


async def test_the_same_words_about_the_same_object_are_one_event_with_a_count():
    async with a_world() as world:
        for _ in range(60):
            world.emit()
            await asyncio.sleep(1)
        await asyncio.sleep(35)
        (event,) = world.events()
        assert 60 == event["series"]["count"]
        last = parse_timestamp(event["series"]["lastObservedTime"])
        assert 36.0 == pytest.approx(world.server.clock.now() - last, abs=1.0)
        assert ["create", "patch", "patch"] == world.writes()


async def test_a_count_is_written_at_most_every_half_minute():
    async with a_world() as world:
        for _ in range(600):
            world.emit()
            await asyncio.sleep(1)
        patches = [r.at for r in world.server.requests.writes(kind=EVENT, verb="patch")]
        gaps = [later - earlier for earlier, later in pairwise(patches)]
        assert 15 <= len(patches) <= 20
        assert 30.0 <= min(gaps) + 0.01


async def test_what_happens_again_before_the_first_is_written_costs_no_request_more():
    async with a_world() as world:
        for _ in range(3):
            world.emit()
        await asyncio.sleep(60)
        assert ([3], ["create"]) == ([e["series"]["count"] for e in world.events()], world.writes())


async def test_what_happens_again_while_the_first_is_on_its_way_is_counted():
    async with a_world() as world:
        world.server.faults.next(Delay(2.0), kind=EVENT)
        world.emit()
        await a_moment()
        world.emit()
        await asyncio.sleep(60)
        (event,) = world.events()
        assert (2, ["create", "patch"]) == (event["series"]["count"], world.writes())


async def test_what_happens_again_while_the_count_is_on_its_way_is_counted():
    async with a_world() as world:
        world.emit()
        await a_moment()
        world.server.faults.next(Delay(2.0), when="after", kind=EVENT, verb="patch")
        world.emit()
        await asyncio.sleep(31)
        world.emit()
        await asyncio.sleep(60)
        assert [3] == [event["series"]["count"] for event in world.events()]


@pytest.mark.parametrize(
    "change",
    [
        {"note": "weight is 20"},
        {"reason": "Promoted"},
        {"type": "Warning"},
        {"regarding": APP | {"uid": "other"}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_other_words_or_another_object_are_another_event(change):
    async with a_world() as world:
        world.emit()
        world.emit(**change)
        await a_moment()
        assert 2 == len(world.events())


async def test_objects_without_uid_are_told_apart_by_name():
    async with a_world() as world:
        for name in ("app", "app", "other"):
            world.emit(regarding=APP | {"uid": "", "name": name})
        await a_moment()
        assert {"app", "other"} == {e["regarding"]["name"] for e in world.events()}
        assert 2 == len(world.events())


async def test_after_ten_quiet_minutes_the_same_words_are_news():
    async with a_world() as world:
        world.emit()
        await asyncio.sleep(601)
        world.emit()
        await a_moment()
        assert (2, [], ["create", "create"]) == (len(world.events()), world.dropped, world.writes())


async def test_an_event_that_expired_in_the_cluster_is_written_anew_the_next_time():
    async with a_world() as world:
        world.emit()
        await a_moment()
        (event,) = world.events()
        world.server.remove(EVENT, NAMESPACE, event["metadata"]["name"])
        world.emit()
        await asyncio.sleep(35)
        assert ([1], []) == (world.dropped, world.events())
        world.emit()
        await a_moment()
        assert 1 == len(world.events())


async def test_an_idle_recorder_sends_nothing_and_sets_no_timer():
    async with a_world() as world:
        world.emit()
        world.emit()
        await asyncio.sleep(60)
        world.server.requests.clear()
        await asyncio.sleep(3600)
        assert 0 == len(world.server.requests)


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_an_app_that_is_fought_over_cannot_flood_the_cluster():
    async with a_world() as world:
        for number in range(600):
            world.emit(f"replicas were {number}")
            await asyncio.sleep(1)
        assert 35 == pytest.approx(len(world.events()), abs=1)
        assert 600 - len(world.events()) == sum(world.dropped)


async def test_counts_cannot_flood_it_either_and_leave_room_for_news():
    async with a_world() as world:
        for _ in range(1200):
            for number in range(5):
                world.emit(f"somebody wrote {number}")
            await asyncio.sleep(1)
        assert events.BURST - events.RESERVED + 20 + 5 >= len(world.writes())
        world.emit("rolled back", "RolledBack")
        await a_moment()
        assert 1 == sum(event["reason"] == "RolledBack" for event in world.events())


async def test_a_long_silence_saves_up_no_more_than_one_burst():
    async with a_world() as world:
        world.emit()
        await asyncio.sleep(80_000)
        for number in range(100):
            world.emit(f"note {number}")
        await a_moment()
        assert 1 + events.BURST == len(world.events())


async def test_news_do_not_wait_for_counts():
    async with a_world() as world:
        for number in range(5):
            world.emit(f"note {number}")
        await a_moment()
        world.server.faults.on(Delay(2.0), kind=EVENT, verb="patch")
        for number in range(5):
            world.emit(f"note {number}")
        await asyncio.sleep(31)
        world.emit("news")
        await asyncio.sleep(30)
        assert ["create"] * 5 + ["patch", "create"] + ["patch"] * 4 == world.writes()


async def test_one_noisy_object_does_not_silence_another():
    async with a_world() as world:
        for number in range(100):
            world.emit(f"note {number}")
        world.emit(regarding=APP | {"uid": "other"})
        await a_moment()
        assert events.BURST + 1 == len(world.events())
        assert 75 == sum(world.dropped)


async def test_a_full_queue_drops_what_comes_and_keeps_what_is_there(monkeypatch):
    monkeypatch.setattr(events, "QUEUE_LIMIT", 3)
    async with a_world() as world:
        for number in range(5):
            world.emit(f"note {number}")
        await a_moment()
        assert {"note 0", "note 1", "note 2"} == {event["note"] for event in world.events()}
        assert [1, 1] == world.dropped


async def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(events, "REMEMBERED", 10)
    async with a_world() as world:
        for number in range(100):
            world.emit(regarding=APP | {"uid": str(number)})
            await asyncio.sleep(0.1)
        for number in range(100):
            world.emit(regarding=APP | {"uid": str(number)})
            world.emit(regarding=APP | {"uid": str(number)})
        recorder = world.recorder
        sizes = [len(m) for m in (recorder._series, recorder._buckets, recorder._uncounted)]
        assert all(size <= 10 for size in sizes)


async def test_growth_of_a_forgotten_series_is_counted_as_dropped(monkeypatch):
    monkeypatch.setattr(events, "REMEMBERED", 1)
    async with a_world() as world:
        world.emit("first")
        await a_moment()
        world.emit("first")
        world.emit("first")
        world.emit("second")
        await asyncio.sleep(60)
        assert (2, 2) == (sum(world.dropped), len(world.events()))


async def test_what_was_used_least_recently_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(events, "REMEMBERED", 2)
    async with a_world() as world:
        for note in ("first", "second", "first", "third", "first"):
            world.emit(note)
            await a_moment()
        await asyncio.sleep(60)
        assert {"first": 3, "second": 1, "third": 1} == {
            e["note"]: (e.get("series") or {"count": 1})["count"] for e in world.events()
        }


async def test_an_object_that_is_in_use_keeps_its_empty_bucket(monkeypatch):
    monkeypatch.setattr(events, "REMEMBERED", 2)
    async with a_world() as world:
        for number in range(events.BURST):
            world.emit(f"note {number}")
            await a_moment()
        world.emit(regarding=APP | {"uid": "b"})
        world.emit("one too many")
        world.emit(regarding=APP | {"uid": "c"})
        world.emit("two too many")
        await a_moment()
        assert 2 == len(world.dropped)


async def test_a_count_that_could_not_be_written_for_too_long_is_dropped_for_a_new_event():
    async with a_world() as world:
        for number in range(events.BURST):
            world.emit(f"note {number}")
        await a_moment()
        world.emit("note 0")
        await asyncio.sleep(601)
        world.emit("note 0")
        await a_moment()
        assert 2 == sum(event["note"] == "note 0" for event in world.events())
        assert [1] == world.dropped


async def test_emit_without_a_writer_neither_blocks_nor_grows_without_end(monkeypatch):
    monkeypatch.setattr(events, "QUEUE_LIMIT", 10)
    async with FakeApiServer() as server:
        recorder = EventRecorder(None, identity="pod-1", clock=server.clock)  # type: ignore[arg-type]
        for number in range(1000):
            recorder.emit(APP | {"uid": str(number)}, "Reason", "note")
        assert 10 == len(recorder._queue)


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [FORBIDDEN, CONFLICT, CLOSE, HANG, too_many_requests()], ids=lambda f: str(f)[:30]
)
async def test_what_cannot_be_written_is_dropped_told_once_and_not_repeated(fault, caplog):
    async with a_world() as world:
        world.server.faults.on(fault, kind=EVENT)
        with caplog.at_level(logging.WARNING, "canaryd.kube.events"):
            for number in range(3):
                world.emit(f"note {number}")
            await asyncio.sleep(120)
        assert [1, 1, 1] == world.dropped
        assert ["create"] * 3 == world.writes()
        assert 1 == len(caplog.records)


async def test_an_event_in_a_namespace_that_is_gone_is_dropped_and_the_next_is_written(caplog):
    async with a_world() as world:
        with caplog.at_level(logging.WARNING, "canaryd.kube.events"):
            world.emit(regarding=APP | {"namespace": "gone", "uid": "other"})
            world.emit()
            await a_moment()
        assert ([1], 1) == (world.dropped, len(world.events()))
        assert 'namespaces "gone" not found' in caplog.records[0].getMessage()


async def test_each_kind_of_trouble_is_told(caplog):
    async with a_world() as world:
        with caplog.at_level(logging.WARNING, "canaryd.kube.events"):
            for number, fault in enumerate((FORBIDDEN, CLOSE, FORBIDDEN)):
                world.server.faults.next(fault, kind=EVENT)
                world.emit(f"note {number}")
                await a_moment()
        assert 2 == len(caplog.records)


async def test_what_failed_once_is_tried_again_when_it_happens_again():
    async with a_world() as world:
        world.server.faults.next(FORBIDDEN, kind=EVENT)
        world.emit()
        await a_moment()
        world.emit()
        await a_moment()
        assert ([1], 1) == (world.dropped, len(world.events()))


async def test_a_defect_in_sending_loses_one_event_and_not_the_writer(caplog):
    class Broken:
        def __init__(self):
            self.turns = 0

        async def create(self, manifest, *, dry_run=False):
            self.turns += 1
            if self.turns == 1:
                raise ZeroDivisionError
            return manifest

    async with FakeApiServer() as server:
        api, dropped = Broken(), []
        recorder = EventRecorder(api, identity="p", clock=server.clock, on_dropped=dropped.append)  # type: ignore[arg-type]
        task = asyncio.create_task(recorder.run())
        recorder.emit(APP, "Reason", "first")
        recorder.emit(APP, "Reason", "second")
        await a_moment()
        assert (2, [1], False) == (api.turns, dropped, task.done())
        assert "a defect in canaryd" in caplog.text
        task.cancel()
        await asyncio.wait([task])


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_what_is_queued_at_the_end_is_still_written():
    async with a_world() as world:
        world.emit("first")
        await a_moment()
        world.emit("first")
        world.emit("last words")
        await world.end()
        assert {"first": 2, "last words": None} == {
            e["note"]: (e.get("series") or {}).get("count") for e in world.events()
        }
        assert [] == world.dropped


async def test_an_event_that_was_on_its_way_at_the_end_is_there_once_and_not_lost():
    async with a_world() as world:
        world.server.faults.next(Delay(0.3), when="after", kind=EVENT)
        world.emit()
        await asyncio.sleep(0.1)
        await world.end()
        assert (1, []) == (len(world.events()), world.dropped)


async def test_a_hung_api_server_holds_the_end_up_for_a_second_and_the_rest_is_dropped():
    async with a_world() as world:
        world.emit("counted")
        await a_moment()
        world.emit("counted")
        world.server.faults.on(HANG, kind=EVENT)
        for number in range(5):
            world.emit(f"note {number}")
        began = world.server.clock.now()
        await world.end()
        assert 1.0 == pytest.approx(world.server.clock.now() - began, abs=0.05)
        assert 6 == sum(world.dropped)
