"""What our client adds to a request: GETs through ``KubeClient`` against bare aiohttp, same server, same bytes.

Run it with ``python -m tests.bench.bench_client``. The server is a child and answers with canned bytes.
The official package's own way of reading (typed models) costs ten times as much and is not in here.
"""

import asyncio
import json
import sys
import time

import aiohttp
from aiohttp import web

from canaryd.core.kinds import DEPLOYMENT
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.telemetry.clock import SteadyClock
from tests.bench.measuring import Row, child, deployment, finish

GETS = 1_000
BUDGET_RATIO = 1.6
"""Of bare aiohttp with ``json.loads``: credentials, guards, errors and metrics are in it."""


async def serve():
    body = json.dumps(deployment(1)).encode()

    async def answer(_request):
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/apis/apps/v1/namespaces/ns-1/deployments/app-1", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.sleep(600)


async def cost(get):
    """Processor seconds of one GET, the least of three rounds."""
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(GETS):
            await get()
        rounds.append((time.process_time() - began) / GETS)
    return min(rounds)


async def measure(url):
    path = f"{url}/apis/apps/v1/namespaces/ns-1/deployments/app-1"
    async with aiohttp.ClientSession() as session:

        async def bare():
            async with session.get(path) as response:
                return json.loads(await response.read())

        bare_s = await cost(bare)
    async with KubeClient(Connection(server=url), clock=SteadyClock()) as client:
        ours_s = await cost(lambda: client.get(DEPLOYMENT, "ns-1", "app-1"))
    return bare_s, ours_s


def main():
    with child("tests.bench.bench_client", "serve") as url:
        bare_s, ours_s = asyncio.run(measure(url))
    rows = [
        Row("GET with bare aiohttp", bare_s * 1e3, "ms"),
        Row("GET through KubeClient", ours_s * 1e3, "ms"),
        Row("ratio", ours_s / bare_s, "x", BUDGET_RATIO),
    ]
    return finish(rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    sys.exit(main())
