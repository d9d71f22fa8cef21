"""The daemon's life: caches first, one app never in the way of another, and everything ends with leadership."""

import asyncio
import io
import itertools
import json
import logging
from dataclasses import dataclass, field

import pytest

from canaryd.controller.inquiries import Inquiries
from canaryd.controller.manager import BUSY_LOOKS, Manager
from canaryd.controller.tracker import Tracker
from canaryd.controller.workqueue import WorkQueue
from canaryd.ports.errors import Unreachable
from canaryd.telemetry import logging as telemetry_logging
from tests.controller.parts import SHOP, Notes, deployment, make_cache
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.looptime


@dataclass
class Looks:
    """A reconciler: answers by app name, an exception is raised, a list is used up from its front."""

    answers: dict[str, object] = field(default_factory=dict)
    seen: list[tuple[str, float]] = field(default_factory=list)
    takes_s: float = 0.0
    under_way: int = 0

    async def reconcile(self, key):
        self.seen.append((key[1], asyncio.get_running_loop().time()))
        self.under_way += 1
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.under_way -= 1
        answer = self.answers.get(key[1])
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def times(self, name):
        return [at for found, at in self.seen if found == name]


class Watcher:
    """A cache that is filled after a while, or never, or breaks."""

    def __init__(self, after_s=0.0, *, breaks=False):
        self.synced = asyncio.Event()
        self.after_s = after_s
        self.breaks = breaks

    def why_not_synced(self):
        return "" if self.synced.is_set() else "deployments.apps: being read"

    async def run(self):
        await asyncio.sleep(self.after_s)
        if self.breaks:
            raise RuntimeError("a watcher broke")
        self.synced.set()
        await asyncio.Event().wait()


class Elector:
    """Leads from each start to each end."""

    def __init__(self, *terms):
        self.terms = terms

    async def run(self, lead):
        for start, end in self.terms:
            await asyncio.sleep(max(0, start - now()))
            leading = asyncio.ensure_future(lead())
            await asyncio.sleep(end - now())
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)


def now():
    return asyncio.get_running_loop().time()


def make(looks, *apps, watchers=None, **options):
    cache, queue, log = make_cache(), WorkQueue(), Notes()
    for name in apps:
        cache.deployments.observe(deployment(name))
    tracker = Tracker(queue)
    tracker.follow(cache.deployments)
    options = {"workers": 2, "elector": None} | options
    return Manager(
        watchers=[Watcher()] if watchers is None else watchers,
        queue=queue,
        tracker=tracker,
        inquiries=Inquiries(None, None, None, queue.add, log),
        reconciler=looks,
        clock=VirtualClock(),
        log=log,
        **options,
    )


async def run_for(manager, seconds):
    running = asyncio.ensure_future(manager.run())
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- one app and the others -----------------------------------------------------------------------


async def test_a_defect_in_one_app_is_told_and_never_stops_the_others():
    looks = Looks({"bad": ZeroDivisionError("oh"), "good": 1.0})
    manager = make(looks, "bad", "good")
    await run_for(manager, 60)

    assert 55 < len(looks.times("good"))
    [first, *_] = manager.log.of("exception")
    assert (SHOP, "bad", "ZeroDivisionError: oh") == (
        first["namespace"],
        first["deployment"],
        first["error"],
    )


@pytest.mark.parametrize(
    ("answer", "first_s"), [(ValueError("oh"), 1.0), (-0.5, 0.5), (-0.05, 0.05)]
)
async def test_what_fails_is_looked_at_ever_more_slowly_and_at_least_once_a_minute(answer, first_s):
    looks = Looks({"bad": answer})
    await run_for(make(looks, "bad", resync_s=10_000.0), 500)

    times = looks.times("bad")
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    for n, gap in enumerate(gaps):
        longest = min(60, first_s * 2**n)
        assert longest / 2 <= gap + 1e-6
        assert gap <= longest + 1e-6
    assert max(gaps) > 29


async def test_a_success_makes_the_next_failure_a_first_one():
    looks = Looks({"bad": [-0.5] * 6 + [5.0] + [-0.5] * 2})
    await run_for(make(looks, "bad", resync_s=10_000.0), 200)

    times = looks.times("bad")
    assert times[8] - times[7] <= 0.5


async def test_an_app_that_keeps_asking_for_another_look_is_slowed_down_and_lets_others_through():
    looks = Looks({"busy": 0.0, "good": 1.0}, takes_s=0.001)
    await run_for(make(looks, "busy", "good", workers=1), 60)

    assert len(looks.times("busy")) < 60 / 10 * (BUSY_LOOKS + 5)
    assert 50 < len(looks.times("good"))


async def test_an_app_is_looked_at_by_one_worker_at_a_time():
    looks = Looks(takes_s=1.0)
    manager = make(looks, "app", workers=4)
    running = asyncio.ensure_future(manager.run())
    for _ in range(20):
        await asyncio.sleep(0.1)
        manager.queue.add((SHOP, "app"))
        assert looks.under_way <= 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_app_that_waits_for_a_change_is_left_alone_until_the_resync():
    looks = Looks()
    await run_for(make(looks, "app", resync_s=600.0), 3000)
    gaps = [b - a for a, b in itertools.pairwise(looks.times("app"))]
    assert 4 <= len(gaps) <= 5
    assert all(540 <= gap <= 660 for gap in gaps)


async def test_nothing_is_remembered_of_apps_that_need_nothing():
    looks = Looks({"a": [0.0, -0.5, None], "b": [0.0, None]})
    manager = make(looks, "a", "b")
    await run_for(manager, 10)
    assert ({}, {}) == (manager._failures, manager._looks)


# --- beginning and end ----------------------------------------------------------------------------


async def test_nothing_is_looked_at_before_every_cache_is_filled():
    looks = Looks()
    await run_for(make(looks, "app", watchers=[Watcher(1.0), Watcher(7.0)]), 20)
    assert [7.0] == [pytest.approx(at) for at in looks.times("app")]


async def test_what_is_missing_is_what_readiness_says():
    manager = make(Looks(), watchers=[Watcher(1.0), Watcher(100.0)])
    running = asyncio.ensure_future(manager.run())
    await asyncio.sleep(2)
    assert ["deployments.apps: being read"] == manager.not_ready()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_watcher_that_breaks_for_good_takes_the_daemon_down():
    manager = make(Looks(), "app", watchers=[Watcher(), Watcher(5.0, breaks=True)])
    with pytest.raises(ExceptionGroup) as caught:
        await manager.run()
    assert [RuntimeError] == [type(error) for error in caught.value.exceptions]


async def test_with_once_every_app_is_looked_at_until_nothing_is_left_to_do_at_once():
    looks = Looks({"a": [0.0, 0.0, None], "b": [5.0]})
    manager = make(looks, "a", "b", once=True)
    await manager.run()
    assert (3, 1) == (len(looks.times("a")), len(looks.times("b")))
    assert now() < 2


async def test_with_once_caches_that_are_not_filled_in_time_are_an_error_that_names_them():
    manager = make(Looks(), "app", watchers=[Watcher(1000.0)], once=True)
    with pytest.raises(ExceptionGroup) as caught:
        await manager.run()
    (error,) = caught.value.exceptions
    assert isinstance(error, Unreachable)
    assert "deployments.apps: being read" in str(error)


async def test_a_standby_looks_at_nothing():
    looks = Looks()
    await run_for(make(looks, "app", elector=Elector((50, 60))), 40)
    assert [] == looks.seen


async def test_lost_leadership_ends_looks_and_questions_and_regained_leadership_begins_anew():
    looks = Looks({"slow": None}, takes_s=3.0)
    manager = make(looks, "slow", elector=Elector((1, 2), (10, 20)))
    running = asyncio.ensure_future(manager.run())
    await asyncio.sleep(1.5)
    assert 1 == looks.under_way
    await asyncio.sleep(1)
    assert 0 == looks.under_way
    with pytest.raises(RuntimeError, match="while leading"):
        manager.inquiries.ask(None, ())
    await asyncio.sleep(3)
    assert 1 == len(looks.seen)
    await running
    assert [1, 10] == [round(at) for at in looks.times("slow")]


async def test_when_the_daemon_ends_no_appointment_is_left_behind():
    looks = Looks({"app": 30.0})
    manager = make(looks, "app")
    await run_for(manager, 1)
    await asyncio.sleep(100)
    assert (1, True) == (len(looks.seen), manager.queue.is_idle)


# --- whose line it is -------------------------------------------------------------------------------


@dataclass
class Talkers(Looks):
    """A reconciler during which others write lines: a library at once, a question of its app later."""

    later: list[asyncio.Task] = field(default_factory=list)

    async def reconcile(self, key):
        logging.getLogger("a.library").warning("looking at %s", key[1])
        await asyncio.sleep(1)
        logging.getLogger("a.library").warning("still at %s", key[1])
        self.later.append(asyncio.create_task(self._answer(key[1])))

    async def _answer(self, name):
        await asyncio.sleep(5)
        logging.getLogger("a.library").warning("answer for %s", name)


@pytest.fixture
def lines():
    stream = io.StringIO()
    telemetry_logging.configure("info", "json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    telemetry_logging.reset()


async def test_every_line_written_while_an_app_is_looked_at_names_the_app_whoever_writes_it(lines):
    talkers = Talkers()
    await run_for(make(talkers, "one", "two", resync_s=10_000.0), 10)

    told = {line["msg"]: (line.get("namespace"), line.get("deployment")) for line in lines()}
    assert {
        f"{what} {name}": (SHOP, name)
        for what in ("looking at", "still at", "answer for")
        for name in ("one", "two")
    } == told
