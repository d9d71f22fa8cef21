"""The load generator's process by itself: what it imports, and what it does with a bad start."""

import json
import os
import subprocess
import sys

import pytest

from canaryd.core.model import LoadTestSpec
from canaryd.loadtest.confinement import EXIT_ORPHANED
from canaryd.loadtest.report import Order, read_report, read_started, write_order
from tests.loadtest.targets import nobody

COMMAND = (sys.executable, "-P", "-m", "canaryd.loadtest")
TEST = LoadTestSpec(name="get", method="GET", path="/", rate=10.0, duration_s=0.1)

pytestmark = pytest.mark.slow


def an_order(url, **changes):
    test = LoadTestSpec(**{"name": "get", "method": "GET", "path": "/"} | changes)
    return write_order(Order(test=test, base_url=url, host="app.shop"))


IMPORTS = """
import runpy, sys
try:
    runpy.run_module("canaryd.loadtest", run_name="__main__", alter_sys=True)
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""


async def test_a_generator_imports_nothing_of_the_daemon():
    async with nobody() as url:
        with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs
            [sys.executable, "-c", IMPORTS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            child.stdin.write(an_order(url, rate=10.0, duration_s=0.1))
            child.stdin.flush()
            read_started(child.stdout.readline())
            report = read_report(child.stdout.readline(), TEST)
            modules = set(child.stderr.read().decode().split())
    assert 1 == report.planned
    assert "aiohttp" in modules
    packages = {module.partition(".")[0] for module in modules}
    unwanted = {"kubernetes", "pydantic", "msgspec", "structlog", "prometheus_client", "click"}
    assert set() == packages & (unwanted | {"yaml", "tenacity", "uvloop"})
    allowed = {"canaryd", "canaryd.core", "canaryd.loadtest"}
    allowed |= {f"canaryd.core.{m}" for m in ("model", "program", "routing", "windows")}
    ours = {m for m in modules if m.startswith("canaryd")}
    assert set() == {m for m in ours - allowed if not m.startswith("canaryd.loadtest.")}


@pytest.mark.parametrize(
    "order",
    [b"", b"hello\n", b'{"protocol": 99}\n', b"x" * 5_000_000],
    ids=["nothing", "words", "another version", "no end of it"],
)
def test_a_generator_without_an_order_says_who_should_start_it(order):
    done = subprocess.run(COMMAND, input=order, capture_output=True, check=False)
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"canaryd.loadtest is started by canaryd itself" in done.stderr
    assert b"Traceback" not in done.stderr


async def test_a_generator_ends_when_its_input_ends():
    async with nobody() as url:
        order = an_order(url, rate=1.0, duration_s=60.0)
        done = subprocess.run(COMMAND, input=order, capture_output=True, check=False, timeout=20)  # noqa: ASYNC221
    assert EXIT_ORPHANED == done.returncode
    assert "started" == json.loads(done.stdout)["kind"]


async def test_a_generator_that_nobody_listens_to_ends():
    reading, writing = os.pipe()
    os.close(reading)
    async with nobody() as url:
        with subprocess.Popen(  # noqa: ASYNC220
            COMMAND, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE
        ) as child:
            os.close(writing)
            child.stdin.write(an_order(url, rate=1.0, duration_s=60.0))
            child.stdin.flush()
            assert 0 != child.wait(timeout=20)
