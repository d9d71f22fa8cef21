"""What the client cache costs: 20,000 Deployments of which 5,000 are annotated, then events of both.

Run it with ``python -m tests.bench.bench_cache``; it prints a table and fails beyond the budget.
A child process serves canned bytes, so that its memory and processor time do not count.
An event of a new template costs its fingerprint, which is most of it; most events tell of a status, and what is known of
the template is kept. One of a Deployment without our mark is dropped undecoded. The loop's lag is how late a task that sleeps for 5 ms gets its turn during the first sync,
in processor time, so that it is this process that is late and not the machine.
"""

import asyncio
import sys
import time

from aiohttp import web

from canaryd.core import views
from canaryd.core.kinds import DEPLOYMENT
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.reflector import Interest, Reflector
from canaryd.kube.store import Store
from canaryd.telemetry.clock import SteadyClock
from tests.bench.measuring import Row, child, deployment, finish, reference, rss_mib, watch_line

ALL, ANNOTATED, EVENTS = 20_000, 5_000, 20_000
BUDGET_RSS_MIB = 128.0
BUDGET_SYNC = 3.0
"""Processor time of the first sync per object, in units of ``json.loads`` of one."""
BUDGET_EVENT = 4.5
"""Processor time of one event of an annotated Deployment whose template changed, in the same unit."""
BUDGET_STATUS = 3.5
"""Of one whose status changed."""
BUDGET_UNMARKED = 3.0
"""Of one that does not concern us.

On a quiet machine each event comes by itself and costs a turn of the event loop: 40 us, of which
reading it is 9 (measured with 50 events a write). On a busy one they come in batches and cost less.
"""
BUDGET_LAG_MS = 50.0
TICK_S = 0.005


def bookmark(version):
    marks = {"k8s.io/initial-events-end": "true"}
    return {
        "kind": "Deployment",
        "metadata": {"resourceVersion": str(version), "annotations": marks},
    }


async def serve():
    """Everything as a streamed list, then new templates, statuses, those of others and one more of ours."""

    async def watch(_request):
        response = web.StreamResponse()
        await response.prepare(_request)
        for number in range(ALL):
            annotated = number < ANNOTATED
            await response.write(watch_line("ADDED", deployment(number, annotated=annotated)))
        await response.write(watch_line("BOOKMARK", bookmark(1)))
        await asyncio.sleep(2)
        version = 1
        for version in range(2, EVENTS + 2):
            event = deployment(version % ANNOTATED, version)
            await response.write(watch_line("MODIFIED", event))
        await asyncio.sleep(2)
        templates = {v % ANNOTATED: v for v in range(2, EVENTS + 2)}
        first = version + 1
        for version in range(first, first + EVENTS):
            number = version % ANNOTATED
            event = deployment(number, version, generation=templates[number], ready=version % 3)
            await response.write(watch_line("MODIFIED", event))
        await asyncio.sleep(2)
        others = range(first + EVENTS, first + 2 * EVENTS)
        for version in others:
            number = ANNOTATED + version % (ALL - ANNOTATED)
            event = deployment(number, version, annotated=False)
            await response.write(watch_line("MODIFIED", event))
        await response.write(watch_line("MODIFIED", deployment(1, version + 1)))
        await asyncio.sleep(60)
        return response

    app = web.Application()
    app.router.add_get("/apis/apps/v1/deployments", watch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.sleep(600)


async def sample_lag(found):
    """How much work others did before each turn, beyond the time asked for, in seconds."""
    while True:
        began = time.process_time()
        await asyncio.sleep(TICK_S)
        found.append(max(0.0, time.process_time() - began - TICK_S))


async def cpu_until(claim):
    """Processor seconds of this process until a claim holds."""
    began = time.process_time()
    while not claim():  # noqa: ASYNC110 - a poll costs nothing here
        await asyncio.sleep(0.02)
    return time.process_time() - began


async def follow(url):
    changes, lags = 0, []

    def changed(_old, _new):
        nonlocal changes
        changes += 1

    store = Store(views.deployment_view, renew=views.deployment_view, on_change=changed)
    clock = SteadyClock()
    async with KubeClient(Connection(server=url), clock=clock) as client:
        reflector = Reflector(client, Interest(DEPLOYMENT, mark=b"canaryd.io/"), store, clock=clock)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(reflector.run())
            sampling = group.create_task(sample_lag(lags))
            sync_s = await cpu_until(reflector.synced.is_set)
            sampling.cancel()
            rss = rss_mib()
            assert ANNOTATED == len(store)
            event_s = await cpu_until(lambda: changes >= ANNOTATED + EVENTS) / EVENTS
            status_s = await cpu_until(lambda: changes >= ANNOTATED + 2 * EVENTS) / EVENTS
            other_s = await cpu_until(lambda: changes > ANNOTATED + 2 * EVENTS) / EVENTS
            running.cancel()
    assert ANNOTATED == len(store)
    lag_ms = sorted(lags)[len(lags) * 99 // 100] * 1e3
    return sync_s, event_s, status_s, other_s, rss, lag_ms


def main():
    unit = reference()
    with child("tests.bench.bench_cache", "serve") as url:
        sync_s, event_s, status_s, other_s, rss, lag_ms = asyncio.run(follow(url))
    print(f"  one unit is {unit * 1e6:.0f} us: json.loads of one Deployment")
    per_object = sync_s / ALL / unit
    return finish(
        [
            Row("first sync, per object", per_object, "units", BUDGET_SYNC, f"{sync_s:.2f} s CPU"),
            Row("new template", event_s / unit, "units", BUDGET_EVENT, f"{event_s * 1e6:.0f} us"),
            Row("new status", status_s / unit, "units", BUDGET_STATUS, f"{status_s * 1e6:.0f} us"),
            Row(
                "event of others",
                other_s / unit,
                "units",
                BUDGET_UNMARKED,
                f"{other_s * 1e6:.0f} us",
            ),
            Row("memory after the sync", rss, "MiB", BUDGET_RSS_MIB),
            Row("loop lag in the sync, p99", lag_ms, "ms", BUDGET_LAG_MS),
        ]
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    sys.exit(main())
