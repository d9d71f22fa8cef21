"""What every caller of hooks must do, told as stories, of the real one and of the scenarios' fake.

The real one goes through the egress module to receivers on loopback. That the fake keeps the same
promises is what makes the scenarios worth something: a hook that hangs there must take its time and
then fail, as it does here.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from canaryd.core.model import HookSpec, HookType
from canaryd.webhooks.client import WebhookClient
from tests.egress.support import FakeDns, an_egress
from tests.fakes.clock import VirtualClock
from tests.scenarios.harness import FakeHooks

pytestmark = pytest.mark.looptime

NAMESPACE = "shop"
PAYLOAD = {
    "name": "podinfo",
    "namespace": NAMESPACE,
    "phase": "Progressing",
    "weight": 20,
    "metadata": {"suite": "smoke"},
}


def a_hook(name, **changes):
    hook = HookSpec(name=name, type=HookType.ROLLOUT, url="svc://receiver/", timeout_s=10.0)
    return replace(hook, **changes)


@dataclass
class FakeWorld:
    """Hooks of a scenario."""

    caller: FakeHooks = field(default_factory=FakeHooks)

    @property
    def refusing(self):
        return self.caller.refusing

    @property
    def hanging(self):
        return self.caller.hanging

    @property
    def received(self):
        return self.caller.calls

    async def call(self, hook, payload=PAYLOAD):
        return await self.caller.call(hook, payload, namespace=NAMESPACE)


@dataclass
class RealWorld:
    """A receiver on loopback; the path of a hook is its name."""

    caller: WebhookClient
    port: int = 0
    refusing: set = field(default_factory=set)
    hanging: set = field(default_factory=set)
    received: list = field(default_factory=list)

    async def receive(self, request):
        name = request.path.removeprefix("/")
        self.received.append((name, await request.json()))
        if name in self.hanging:
            await asyncio.Event().wait()
        return web.Response(status=403 if name in self.refusing else 200)

    async def call(self, hook, payload=PAYLOAD):
        to = replace(hook, url=f"svc://receiver:{self.port}/{hook.name}")
        return await self.caller.call(to, payload, namespace=NAMESPACE)


async def a_real_world(stack):
    dns = FakeDns()
    dns.put(f"receiver.{NAMESPACE}.svc.cluster.local.", "127.0.0.1")
    egress = await stack.enter_async_context(an_egress(dns))
    world = RealWorld(WebhookClient(egress.for_namespace, clock=VirtualClock()))
    app = web.Application()
    app.router.add_post("/{name}", world.receive)
    # 0 would wait for ever for receivers that hang.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    world.port = runner.addresses[0][1]
    return world


@pytest.fixture(params=["fake", "real"])
async def world(request):
    async with AsyncExitStack() as stack:
        yield FakeWorld() if request.param == "fake" else await a_real_world(stack)


async def until(claim):
    async with asyncio.timeout(10):
        while not claim():  # noqa: ASYNC110 - counted by a server
            await asyncio.sleep(0.01)


async def test_a_receiver_that_agrees_passes_the_hook(world):
    answer = await world.call(a_hook("smoke"))

    assert ("smoke", True, 200, 1) == (
        answer.hook,
        answer.passed,
        answer.status,
        answer.attempts,
    )


async def test_a_receiver_hears_its_payload_once_and_unchanged(world):
    await world.call(a_hook("smoke"))

    assert [("smoke", PAYLOAD)] == world.received


async def test_a_receiver_that_refuses_fails_the_hook_with_its_status(world):
    world.refusing.add("smoke")
    answer = await world.call(a_hook("smoke", retries=3))

    assert ("smoke", False, 403) == (answer.hook, answer.passed, answer.status)
    assert 1 == len(world.received)


async def test_a_receiver_that_hangs_fails_the_hook_when_its_time_is_over(world):
    world.hanging.add("smoke")
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await world.call(a_hook("smoke", timeout_s=7))

    assert ("smoke", False, 0) == (answer.hook, answer.passed, answer.status)
    assert answer.detail
    assert pytest.approx(7, abs=0.1) == loop.time() - started


async def test_a_hook_that_hangs_holds_up_no_other(world):
    world.hanging.add("slow")
    slow = asyncio.create_task(world.call(a_hook("slow", timeout_s=30)))
    await until(lambda: world.received)
    loop = asyncio.get_running_loop()
    started = loop.time()
    quick = await world.call(a_hook("quick"))
    took = loop.time() - started

    assert (True, False) == (quick.passed, slow.done())
    assert took < 1
    assert not (await slow).passed


async def test_a_cancelled_call_ends_at_once_without_an_answer(world):
    world.hanging.add("smoke")
    task = asyncio.create_task(world.call(a_hook("smoke", timeout_s=60)))
    await until(lambda: world.received)
    task.cancel()
    await asyncio.wait([task], timeout=0.1)

    assert task.cancelled()


async def test_a_receiver_may_change_its_mind(world):
    world.refusing.add("gate")
    before = await world.call(a_hook("gate"))
    world.refusing.discard("gate")
    after = await world.call(a_hook("gate"))

    assert (False, True) == (before.passed, after.passed)


async def test_a_call_leaves_its_payload_alone(world):
    payload = {"metadata": {"suite": "smoke"}, "weight": 5}
    await world.call(a_hook("smoke"), payload)

    assert {"metadata": {"suite": "smoke"}, "weight": 5} == payload
