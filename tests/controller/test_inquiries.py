"""Questions beside the loop: asked once, answered whatever happens, and ended with the run they belong to."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from canaryd.controller.inquiries import MAX_NOTICES, Context, Inquiries
from canaryd.core.decision import Question
from canaryd.core.model import (
    Comparator,
    Condition,
    HookAnswer,
    HookSpec,
    HookType,
    LoadTestAnswer,
    LoadTestSpec,
    MetricAnswer,
    MetricCheck,
    Missing,
    Side,
    TrafficIdentity,
)
from tests.controller.parts import KEY, SHOP, Notes

pytestmark = pytest.mark.looptime

CHECK = MetricCheck(name="success-rate", condition=Condition(Comparator.AT_LEAST, 99))
HOOK = HookSpec(
    name="smoke", type=HookType.PRE_ROLLOUT, url="http://x/", payload={"suite": "smoke"}
)
LOAD = LoadTestSpec(name="get", method="GET", path="/", rate=10, duration_s=30)


@dataclass
class World:
    """Askers that take their time, and can be made to fail."""

    takes_s: float = 1.0
    fails: Exception | None = None
    asked: list[str] = field(default_factory=list)
    payloads: list[dict] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    urls: list[tuple[str, str]] = field(default_factory=list)
    since: list[float] = field(default_factory=list)
    woken: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[None] = field(default_factory=list)
    log: Notes = field(default_factory=Notes)

    async def _take(self, name):
        self.asked.append(name)
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if self.fails is not None:
            raise self.fails

    async def ask(self, check, identity, *, since, side=Side.CANARY):
        self.since.append(since)
        await self._take(check.name)
        return MetricAnswer(check=check.name, value=1.0)

    async def call(self, hook, payload, *, namespace):
        self.payloads.append(dict(payload))
        await self._take(hook.name)
        return HookAnswer(hook=hook.name, passed=True, status=200)

    async def run(self, test, *, base_url, host):
        self.urls.append((base_url, host))
        await self._take(test.name)
        return LoadTestAnswer(test=test.name, sent=10)


@asynccontextmanager
async def leading(world, *, load_tester=True):
    inquiries = Inquiries(
        world,
        world,
        world if load_tester else None,
        world.woken.append,
        world.log,
        on_dropped=lambda: world.dropped.append(None),
    )
    async with asyncio.TaskGroup() as group:
        inquiries.open(group)
        yield inquiries
        inquiries.close()


def context(key=KEY, url="http://10.0.0.1:80"):
    identity = TrafficIdentity(
        namespace=SHOP,
        target="app",
        apex="app",
        canary_service="app-canary",
        primary_service="app-primary",
        ingresses=(),
    )
    return Context(
        key=key, identity=identity, hook_payload={"name": "app"}, load_url=url, load_host="app.shop"
    )


def questions(evaluation=1, run="abc-1"):
    return tuple(
        Question(f"{run}/{evaluation}/{kind}/{what.name}", what, 7.0)
        for kind, what in (("metric", CHECK), ("hook", HOOK), ("load", LOAD))
    )


async def test_every_kind_of_question_is_asked_its_asker_and_the_answers_wake_the_app():
    world = World()
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions())
        assert {} == inquiries.answers(KEY)
        await asyncio.sleep(1.5)

        answers = inquiries.answers(KEY)
        assert {q.id for q in questions()} == answers.keys()
        assert [MetricAnswer, HookAnswer, LoadTestAnswer] == [
            type(answers[q.id]) for q in questions()
        ]
        assert [KEY] * 3 == world.woken
        assert ([7.0], [("http://10.0.0.1:80", "app.shop")]) == (world.since, world.urls)


async def test_a_question_is_asked_once_while_it_is_under_way_and_after_it_was_answered():
    world = World()
    async with leading(world) as inquiries:
        for _ in range(5):
            inquiries.ask(context(), questions())
            await asyncio.sleep(0.5)
    assert ["get", "smoke", "success-rate"] == sorted(world.asked)


async def test_answers_of_an_earlier_evaluation_are_dropped_when_the_next_asks():
    world = World()
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions(1))
        await asyncio.sleep(2)
        inquiries.ask(context(), questions(2))
        assert {} == inquiries.answers(KEY)
        await asyncio.sleep(2)
        assert {q.id for q in questions(2)} == inquiries.answers(KEY).keys()


async def test_an_answer_that_comes_late_does_not_count_for_the_next_evaluation():
    world = World(takes_s=10)
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions(1)[:1])
        await asyncio.sleep(9)
        inquiries.ask(context(), questions(2)[:1])
        await asyncio.sleep(2)
        assert questions(2)[0].id not in inquiries.answers(KEY)


async def test_a_hook_is_told_its_type_its_own_payload_and_a_key_that_never_repeats():
    world = World()
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions(1))
        inquiries.ask(context(), questions(2))
        inquiries.ask(context((SHOP, "other")), questions(2))
        await asyncio.sleep(2)
    first = world.payloads[0]
    assert ("app", "pre-rollout", {"suite": "smoke"}) == (
        first["name"],
        first["type"],
        first["metadata"],
    )
    assert 3 == len({payload["idempotencyKey"] for payload in world.payloads})


async def test_stop_ends_what_is_under_way_load_tests_too_and_nobody_is_woken():
    world = World(takes_s=30)
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions())
        await asyncio.sleep(1)
        inquiries.stop(KEY)
        await asyncio.sleep(0)
        assert ["get", "smoke", "success-rate"] == sorted(world.cancelled)
        await asyncio.sleep(60)
    assert ([], {}) == (world.woken, inquiries.answers(KEY))


async def test_stop_ends_the_questions_of_one_app_alone():
    world, other = World(takes_s=5), (SHOP, "other")
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions()[:1])
        inquiries.ask(context(other), questions()[:1])
        inquiries.stop(KEY)
        await asyncio.sleep(6)
        assert [other] == world.woken


async def test_after_a_stop_the_same_question_can_be_asked_again():
    world = World()
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions())
        inquiries.stop(KEY)
        inquiries.ask(context(), questions())
        await asyncio.sleep(2)
        assert 3 == len(inquiries.answers(KEY))


@pytest.mark.parametrize("index", [0, 1, 2], ids=["metric", "hook", "load test"])
async def test_an_asker_that_raises_is_told_as_a_defect_and_becomes_an_answer_without_a_value(
    index,
):
    world, question = World(fails=KeyError("oops")), questions()[index]
    async with leading(world) as inquiries:
        inquiries.ask(context(), (question,))
        await asyncio.sleep(2)
        answer = inquiries.answers(KEY)[question.id]

    if isinstance(answer, HookAnswer):
        assert (False, "KeyError: 'oops'") == (answer.passed, answer.detail)
    else:
        assert (Missing.SOURCE_UNAVAILABLE, "KeyError: 'oops'") == (
            answer.absent.why,
            answer.absent.detail,
        )
    assert [KEY] == world.woken
    [told] = world.log.of("error")
    assert question.id == told["question"]


async def test_a_load_test_that_cannot_be_run_is_void_and_says_why():
    world = World()
    async with leading(world, load_tester=False) as inquiries:
        inquiries.ask(context(), questions()[2:])
        await asyncio.sleep(2)
        answer = inquiries.answers(KEY)[questions()[2].id]
        assert "switched off" in answer.absent.detail
    async with leading(world) as inquiries:
        inquiries.ask(context(url=""), questions()[2:])
        await asyncio.sleep(2)
        answer = inquiries.answers(KEY)[questions()[2].id]
        assert "has no address" in answer.absent.detail
    assert [] == world.urls


async def test_when_leadership_ends_everything_under_way_ends_and_nothing_new_can_be_asked():
    world = World(takes_s=30)
    async with leading(world) as inquiries:
        inquiries.ask(context(), questions())
        await asyncio.sleep(1)
    assert 3 == len(world.cancelled)
    with pytest.raises(RuntimeError, match="while leading"):
        inquiries.ask(context(), questions())


async def test_hooks_that_are_only_told_run_to_their_end_beside_the_run_and_fail_loudly():
    world = World(fails=KeyError("oops"))
    async with leading(world) as inquiries:
        inquiries.notify(KEY, {"name": "app"}, (HOOK,), "post-rollout")
        inquiries.stop(KEY)
        await asyncio.sleep(2)
    assert ["smoke"] == world.asked
    assert ("smoke", "KeyError: 'oops'") == (
        world.log.of("error")[0]["hook"],
        world.log.of("error")[0]["why"],
    )


async def test_nobody_is_told_anything_by_a_daemon_that_does_not_lead():
    world = World()
    inquiries = Inquiries(world, world, world, world.woken.append, world.log)
    inquiries.notify(KEY, {}, (HOOK,), "event")
    await asyncio.sleep(2)
    assert [] == world.asked


HANGS = 10_000.0


def told(inquiries, number, key=KEY, hooks=(HOOK,)):
    """So many notifications, one after the other."""
    for n in range(number):
        inquiries.notify(key, {"name": "app"}, hooks, f"event/{n}")


async def test_a_receiver_that_hangs_keeps_so_many_notifications_of_an_app_waiting_and_no_more():
    world = World(takes_s=HANGS)
    async with leading(world) as inquiries:
        before = len(asyncio.all_tasks())
        told(inquiries, MAX_NOTICES + 5)
        await asyncio.sleep(1)
        assert MAX_NOTICES == len(asyncio.all_tasks()) - before
        assert MAX_NOTICES == len(world.asked) - len(world.cancelled)


async def test_what_waited_longest_makes_room_and_that_is_told_and_counted():
    world = World(takes_s=HANGS)
    async with leading(world) as inquiries:
        told(inquiries, MAX_NOTICES)
        await asyncio.sleep(1)
        assert ([], []) == (world.dropped, world.log.of("error"))

        told(inquiries, 2, hooks=(replace(HOOK, name="late"),))
        await asyncio.sleep(1)
        assert (["late"] * 2, ["smoke"] * 2) == (world.asked[-2:], world.cancelled)
        assert 2 == len(world.dropped)
        assert [("smoke", "event/0"), ("smoke", "event/1")] == [
            (line["hook"], line["occasion"]) for line in world.log.of("error")
        ]


async def test_notifications_that_were_answered_leave_their_place_to_others():
    world = World(takes_s=1)
    async with leading(world) as inquiries:
        for _ in range(3):
            told(inquiries, MAX_NOTICES)
            await asyncio.sleep(2)
    assert (3 * MAX_NOTICES, []) == (len(world.asked), world.dropped)


async def test_an_app_whose_receiver_hangs_takes_no_place_of_another_app():
    world = World(takes_s=HANGS)
    async with leading(world) as inquiries:
        told(inquiries, MAX_NOTICES)
        told(inquiries, MAX_NOTICES, key=(SHOP, "other"))
        await asyncio.sleep(1)
        assert (2 * MAX_NOTICES, []) == (len(world.asked), world.dropped)


async def test_the_hooks_of_one_occasion_do_not_push_each_other_out():
    many = tuple(replace(HOOK, name=f"hook-{n}") for n in range(MAX_NOTICES + 8))
    world = World(takes_s=HANGS)
    async with leading(world) as inquiries:
        told(inquiries, 1, hooks=many)
        await asyncio.sleep(1)
        assert ([h.name for h in many], []) == (world.asked, world.dropped)

        told(inquiries, 1, hooks=many)
        await asyncio.sleep(1)
        assert len(many) == len(world.dropped) == len(world.asked) - len(many)


async def test_a_notification_that_is_dropped_before_it_began_takes_its_place_no_longer():
    world = World(takes_s=HANGS)
    async with leading(world) as inquiries:
        told(inquiries, 3 * MAX_NOTICES)
        await asyncio.sleep(1)
        assert (MAX_NOTICES, 2 * MAX_NOTICES) == (len(world.asked), len(world.dropped))


async def test_a_leader_that_leads_anew_begins_with_no_notifications_on_the_way():
    world = World(takes_s=HANGS)
    inquiries = Inquiries(
        world,
        world,
        world,
        world.woken.append,
        world.log,
        on_dropped=lambda: world.dropped.append(None),
    )

    async def lead():
        async with asyncio.TaskGroup() as group:
            inquiries.open(group)
            told(inquiries, MAX_NOTICES)
            await asyncio.sleep(HANGS)

    for _ in range(2):
        leading_now = asyncio.create_task(lead())
        await asyncio.sleep(1)
        leading_now.cancel()
        await asyncio.gather(leading_now, return_exceptions=True)
        inquiries.close()
    assert (2 * MAX_NOTICES, []) == (len(world.asked), world.dropped)
