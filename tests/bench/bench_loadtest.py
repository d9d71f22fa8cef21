"""Cost of the load generator: what share of a core each rate takes, and whether the rate is kept.

Run it with ``python tests/bench/bench_loadtest.py``; it prints a table and fails beyond the budget.
Processor time depends on the machine, so each request is also given in round trips of a reference:
the barest client and server that asyncio allows, in one loop, one canned request after the other.
The generator's server is a process of its own, as bare, so that only the generator is measured.
Rates up to 1,000 must be kept unless the machine is busy; the default limit of an installation is 500.
"""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from time import perf_counter, process_time

from canaryd.core.model import LoadTestSpec
from canaryd.loadtest.engine_aiohttp import AiohttpEngine
from canaryd.loadtest.report import Order, Outcome, why_void

RATES = (100, 500, 1_000, 2_000)
DURATION_S = 4.0
ROUND_TRIPS = 5_000
BUDGET_ROUND_TRIPS = 45.0
"""Processor time of one request at 500/s, in round trips of the reference."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = b"GET / HTTP/1.1\r\nHost: app.shop\r\n\r\n"


class Server(asyncio.Protocol):
    """Answers each end of a head; what bodies are it does not know."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))


class BareClient(asyncio.Protocol):
    """Sends the next request when the answer to the last one is here."""

    def __init__(self, count):
        self.left = count
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data):
        self.left -= 1
        if self.left:
            self.transport.write(REQUEST)
        else:
            self.transport.close()
            self.done.set_result(None)


async def serve():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def a_server():
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def reference():
    """Return the processor time of one bare round trip, both ends of it, in seconds."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0)
    began = process_time()
    _, client = await loop.create_connection(
        lambda: BareClient(ROUND_TRIPS), *server.sockets[0].getsockname()
    )
    await client.done
    spent = process_time() - began
    server.close()
    await server.wait_closed()
    return spent / ROUND_TRIPS


async def generate(port, rate):
    """Return the report of one test and the processor time it took in seconds."""
    test = LoadTestSpec(
        name="bench", method="GET", path="/", rate=rate, duration_s=DURATION_S, concurrency=16
    )
    engine = AiohttpEngine(Order(test=test, base_url=f"http://127.0.0.1:{port}", host="app.shop"))
    began = process_time()
    report = await engine.run()
    return test, report, process_time() - began


def start():
    """Return how long the generator's process takes to start, in seconds of wall clock."""
    began = perf_counter()
    code = "from canaryd.loadtest import child"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    return perf_counter() - began


def main():
    over = []
    unit = min(asyncio.run(reference()) for _ in range(5))
    with a_server() as port:
        print(f"reference: {unit * 1e6:.0f} us of processor time for a bare round trip")
        for rate in RATES:
            test, report, spent = asyncio.run(generate(port, rate))
            ratio = spent / report.planned / unit
            print(
                f"{rate:5}/s  achieved {report.sent / report.took_s:7.1f}/s   core {spent / report.took_s:5.1%}"
                f"   {ratio:5.1f} round trips a request   late {report.late / report.planned:5.1%}"
                f"   worst lag {report.worst_lag_s * 1000:5.1f} ms   p99 {report.latency_ms['p99']:.1f} ms"
            )
            if report.outcomes != {Outcome.SUCCESS: report.planned}:
                over.append(f"{rate}/s: {report.outcomes}")
            if rate <= 1_000 and (void := why_void(test, report)):
                over.append(void)
            if rate == 500 and ratio > BUDGET_ROUND_TRIPS:
                over.append(f"{ratio:.1f} round trips a request")
    print(f"start: {min(start() for _ in range(3)):.2f} s")
    if over:
        sys.exit(f"beyond the budget: {'; '.join(over)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
