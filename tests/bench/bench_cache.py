"""What the client cache costs: 20,000 Deployments of which 5,000 are annotated, then their events.

Run it with ``python -m tests.bench.bench_cache``; it prints a table and fails beyond the budget.
A child process serves canned bytes, so that its memory and processor time do not count.
An event carries the fingerprint of its whole template, which is most of what it costs.
The reference is ``json.loads`` of the same bytes: ratios hold on another machine, seconds do not.
"""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from canaryd.core import views
from canaryd.core.kinds import DEPLOYMENT
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.reflector import Interest, Reflector
from canaryd.kube.store import Store
from canaryd.telemetry.clock import SteadyClock

ALL, ANNOTATED, EVENTS = 20_000, 5_000, 20_000
BUDGET_RSS_MIB = 128.0
BUDGET_SYNC = 3.0
"""Processor time of the first sync, in units of ``json.loads`` of the same bytes."""
BUDGET_EVENT = 5.5
"""Processor time of one event of an annotated Deployment, in the same unit."""


def deployment(number, version):
    """A Deployment as rich as real ones are, some 6 KB."""
    name, labels = f"app-{number}", {"app": f"app-{number}", "team": f"team-{number % 40}"}
    annotations = {"deployment.kubernetes.io/revision": "7", "team.example/on-call": "x" * 40}
    if number < ANNOTATED:
        annotations |= {"canaryd.io/enabled": "true", "canaryd.io/metric.success-rate": ">= 99"}
    env = [{"name": f"VARIABLE_{n}", "value": "value " * 8} for n in range(25)]
    probe = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5}
    container = {"name": "app", "image": f"app:{version}", "env": env, "readinessProbe": probe}
    managed = {
        "manager": "kubectl",
        "operation": "Update",
        "fieldsV1": {"f:spec": {f"f:{n}": {} for n in range(60)}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": f"ns-{number % 50}",
            "name": name,
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "generation": 3,
            "labels": labels,
            "annotations": annotations,
            "managedFields": [managed],
        },
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
        "status": {"observedGeneration": 3, "replicas": 3, "readyReplicas": 3},
    }


def line(kind, obj):
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def bookmark(version):
    marks = {"k8s.io/initial-events-end": "true"}
    return {
        "kind": "Deployment",
        "metadata": {"resourceVersion": str(version), "annotations": marks},
    }


async def serve():
    """Everything as a streamed list, a pause, then events, then silence."""

    async def watch(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(ALL):
            await response.write(line("ADDED", deployment(number, 1)))
        await response.write(line("BOOKMARK", bookmark(1)))
        await asyncio.sleep(2)
        for number in range(EVENTS):
            await response.write(line("MODIFIED", deployment(number % ANNOTATED, 2 + number)))
        await response.write(line("BOOKMARK", bookmark(EVENTS + 2)))
        await asyncio.sleep(60)
        return response

    app = web.Application()
    app.router.add_get("/apis/apps/v1/deployments", watch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(600)


@contextmanager
def a_server():
    command = [sys.executable, "-m", "tests.bench.bench_cache", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def rss_mib():
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS"))


def reference():
    """Processor seconds of ``json.loads`` per object."""
    bodies = [line("MODIFIED", deployment(number, 1)) for number in range(500)]
    began = time.process_time()
    for body in bodies:
        json.loads(body)
    return (time.process_time() - began) / len(bodies)


async def follow(port):
    changes = 0

    def changed(_old, _new):
        nonlocal changes
        changes += 1

    store = Store(views.deployment_view, on_change=changed)
    clock = SteadyClock()
    async with KubeClient(Connection(server=f"http://127.0.0.1:{port}"), clock=clock) as client:
        reflector = Reflector(client, Interest(DEPLOYMENT, mark=b"canaryd.io/"), store, clock=clock)
        began = time.process_time()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(reflector.run())
            await reflector.synced.wait()
            sync_s, rss = time.process_time() - began, rss_mib()
            assert len(store) == ANNOTATED
            began = time.process_time()
            while changes < ANNOTATED + EVENTS:  # noqa: ASYNC110 - a poll costs nothing here
                await asyncio.sleep(0.05)
            event_s = (time.process_time() - began) / EVENTS
            running.cancel()
    return sync_s, event_s, rss


def main():
    unit = min(reference() for _ in range(3))
    with a_server() as port:
        sync_s, event_s, rss = asyncio.run(follow(port))
    sync, event = sync_s / ALL / unit, event_s / unit
    print(f"reference: {unit * 1e6:.0f} us for json.loads of one Deployment")
    print(
        f"first sync of {ALL} Deployments, {ANNOTATED} annotated: {sync_s:.2f} s CPU, {sync:.2f} of the reference"
    )
    print(
        f"one event of an annotated Deployment: {event_s * 1e6:.0f} us, {event:.2f} of the reference"
    )
    print(f"resident memory after the sync: {rss:.0f} MiB (budget {BUDGET_RSS_MIB:.0f})")
    over = [
        what
        for what, is_over in (
            ("sync", sync > BUDGET_SYNC),
            ("event", event > BUDGET_EVENT),
            ("memory", rss > BUDGET_RSS_MIB),
        )
        if is_over
    ]
    if over:
        sys.exit(f"beyond the budget: {', '.join(over)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
