import asyncio
import errno
import gc
import resource
import time

import pytest

from canaryd.core.model import LoadTestSpec
from canaryd.loadtest import engine_aiohttp
from canaryd.loadtest.engine_aiohttp import BODY_BYTES, AiohttpEngine
from canaryd.loadtest.report import Order, Outcome, why_void
from tests.loadtest.targets import Target, nobody, raw_server, serving

pytestmark = pytest.mark.looptime


def a_test(**changes):
    defaults = {"name": "get", "method": "GET", "path": "/", "rate": 20.0, "duration_s": 1.0}
    return LoadTestSpec(**(defaults | changes))


async def load(url, test=None, host="app.shop"):
    return await AiohttpEngine(Order(test=test or a_test(), base_url=url, host=host)).run()


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_requests_are_sent_on_schedule_and_counted_by_class():
    async with serving() as target:
        report = await load(target.url, a_test(rate=20, duration_s=2))
    assert {Outcome.SUCCESS: 40} == report.outcomes
    assert (40, 40, 2.0, 0) == (report.planned, report.sent, report.took_s, report.late)
    gaps = [b - a for a, b in zip(target.times, target.times[1:], strict=False)]
    assert [0.05] * 39 == pytest.approx(gaps, abs=0.001)


async def test_a_request_is_what_the_annotation_says():
    test = a_test(
        method="POST",
        path="/api/%7Bid%7D/a%2Fb?q=1&r=%20",
        headers={"X-Canary": "insider", "user-agent": "mine"},
        body='{"warm": "ü"}',
        rate=1,
    )
    async with serving() as target:
        await load(target.url, test, host="shop.example:8080")
    method, path, headers, body = target.requests[0]
    assert ("POST", "/api/%7Bid%7D/a%2Fb?q=1&r=%20") == (method, path)
    assert '{"warm": "ü"}' == body.decode()
    assert ("shop.example:8080", "insider", "mine") == (
        headers["Host"],
        headers["X-Canary"],
        headers["user-agent"],
    )


async def test_requests_say_who_sent_them():
    async with serving() as target:
        await load(target.url, a_test(rate=1))
    assert target.requests[0][2]["User-Agent"].startswith("canaryd-loadtest/")


async def test_redirects_are_not_followed_and_cookies_not_kept(monkeypatch):
    async with serving() as elsewhere, serving() as target:
        target.status = 302
        target.headers = {"Location": elsewhere.url, "Set-Cookie": "a=b"}
        report = await load(target.url)
    assert {Outcome.REDIRECT: 20} == report.outcomes
    assert [] == elsewhere.requests
    assert not any("Cookie" in headers for _, _, headers, _ in target.requests)


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with serving() as proxy, serving() as target:
        monkeypatch.setenv("http_proxy", proxy.url)
        report = await load(target.url)
    assert {Outcome.SUCCESS: 20} == report.outcomes
    assert [] == proxy.requests


async def test_requests_take_turns_on_as_many_connections_as_may_be_open():
    async with serving() as target:
        await load(target.url, a_test(rate=20, duration_s=2, concurrency=5))
    assert 5 == len(set(target.peers))
    assert target.peers[:5] == target.peers[5:10]


@pytest.mark.looptime(False)  # aiohttp asks the monotonic clock how long a connection has rested
async def test_a_connection_that_rested_for_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(engine_aiohttp, "IDLE_S", 0.01)
    async with serving() as target:
        await load(target.url, a_test(rate=30, duration_s=0.1, concurrency=1))
    assert 3 == len(set(target.peers))


async def test_never_more_requests_are_open_than_may_be():
    async with serving(Target(delay_s=1.0)) as target:
        await load(target.url, a_test(rate=50, duration_s=2, concurrency=7))
    assert 7 == target.most_open


# --- how it ended -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (204, Outcome.SUCCESS),
        (304, Outcome.REDIRECT),
        (404, Outcome.CLIENT_ERROR),
        (500, Outcome.SERVER_ERROR),
        (599, Outcome.SERVER_ERROR),
        (999, Outcome.NO_STATUS),
    ],
)
async def test_each_status_counts_in_its_class(status, outcome):
    async with serving(Target(status=status, body=b"")) as target:
        report = await load(target.url)
    assert {outcome: 20} == report.outcomes


async def test_where_nobody_listens_there_is_no_connection():
    async with nobody() as url:
        report = await load(url)
    assert {Outcome.NO_CONNECTION: 20} == report.outcomes
    assert {} == report.latency_ms


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"\x00\xff" * 5000,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
    ids=[
        "nothing",
        "words",
        "bytes",
        "no number for a status",
        "a body that ends early",
        "a negative length",
        "a bad chunk",
        "an enormous chunk",
        "an enormous header",
        "too many headers",
        "half a head",
    ],
)
async def test_what_is_not_http_is_a_broken_connection(answer):
    async with raw_server(answer) as url:
        report = await load(url, a_test(rate=5))
    assert {Outcome.BROKEN: 5} == report.outcomes


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=;;;=\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nlies",
        b"HTTP/1.1 200 OK\r\nContent-Type: \x80\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    ],
    ids=["a bad cookie", "a false encoding", "a bad type", "a continue before it", "no length"],
)
async def test_what_is_odd_but_http_is_an_answer(answer):
    async with raw_server(answer) as url:
        report = await load(url, a_test(rate=5))
    assert {Outcome.SUCCESS: 5} == report.outcomes


async def test_a_body_is_read_up_to_a_limit_and_no_further():
    async with serving(Target(body=b"x" * (4 * BODY_BYTES))) as target:
        report = await load(target.url, a_test(rate=5, concurrency=1))
    assert {Outcome.SUCCESS: 5} == report.outcomes
    assert 5 == len(set(target.peers))


async def test_an_answer_that_never_ends_is_a_time_out():
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    async with raw_server(endless, hangs=True) as url:
        report = await load(url, a_test(rate=5, timeout_s=2.0))
    assert {Outcome.TIMEOUT: 5} == report.outcomes


async def test_a_test_ends_when_the_last_request_is_out_of_time():
    loop = asyncio.get_running_loop()
    async with serving(Target(delay_s=3600)) as target:
        began = loop.time()
        report = await load(target.url, a_test(rate=10, duration_s=2, timeout_s=3.0))
        took = loop.time() - began
    assert pytest.approx(1.9 + 3.0, abs=0.01) == took
    assert {Outcome.TIMEOUT: 20} == report.outcomes
    assert [3000] * 5 == pytest.approx(list(report.latency_ms.values()), rel=0.01)


# --- latency ----------------------------------------------------------------------------------------------------------


async def test_latency_is_that_of_the_target():
    async with serving(Target(delay_s=0.2)) as target:
        report = await load(target.url)
    assert ["p50", "p90", "p95", "p99", "max"] == list(report.latency_ms)
    assert [200] * 5 == pytest.approx(list(report.latency_ms.values()), rel=0.01)
    assert 20 == sum(report.latencies.values())


async def test_a_pause_of_the_target_shows_in_all_requests_that_were_due_in_it():
    """Coordinated omission: a client that waited would have seen one slow request of two hundred."""
    awake = asyncio.Event()
    awake.set()

    async def pause_once(number):
        if number == 100:
            awake.clear()
            asyncio.get_running_loop().call_later(0.3, awake.set)
        await awake.wait()

    async with serving(Target(before=pause_once)) as target:
        report = await load(target.url, a_test(rate=100, duration_s=2, concurrency=2))
    assert {Outcome.SUCCESS: 200} == report.outcomes
    # 30 of 200 were due in the pause and waited 300, 290, 280 ... ms; p99 is the third.
    assert pytest.approx(300, rel=0.01) == report.latency_ms["max"]
    assert pytest.approx(280, rel=0.01) == report.latency_ms["p99"]
    assert pytest.approx(200, rel=0.01) == report.latency_ms["p95"]
    assert 5 > report.latency_ms["p50"]
    assert "" == why_void(a_test(rate=100, duration_s=2), report)


async def test_to_fail_fast_does_not_look_fast():
    async def fail_half(number):
        target.status = 500 if number % 2 else 200
        await asyncio.sleep(0 if number % 2 else 0.2)

    async with serving(Target(before=fail_half)) as target:
        report = await load(target.url, a_test(rate=2, duration_s=10))
    assert {Outcome.SUCCESS: 10, Outcome.SERVER_ERROR: 10} == report.outcomes
    assert pytest.approx(200, rel=0.01) == report.latency_ms["p50"]


# --- a target that cannot keep up ------------------------------------------------------------------------------------


async def test_a_slow_target_makes_requests_wait_and_is_not_the_generators_lag():
    async with serving(Target(delay_s=1.0)) as target:
        test = a_test(rate=20, duration_s=2, concurrency=10, timeout_s=60)
        report = await load(target.url, test)
    assert {Outcome.SUCCESS: 40} == report.outcomes
    # Ten a second are answered and twenty asked for: the last one, due at 1.95, began at 3.45.
    assert pytest.approx(2500, rel=0.01) == report.latency_ms["max"]
    assert (0, "") == (report.late, why_void(test, report))
    assert pytest.approx(3.45, abs=0.01) == report.took_s


async def test_a_time_limit_counts_from_the_intended_start():
    async with serving(Target(delay_s=0.9)) as target:
        test = a_test(rate=10, duration_s=1, concurrency=1, timeout_s=1.5)
        report = await load(target.url, test)
    # The second one got the connection at 0.9 and would have been answered at 1.8: 0.2 too late.
    assert {Outcome.SUCCESS: 1, Outcome.TIMEOUT: 9} == report.outcomes
    assert pytest.approx(1500, rel=0.01) == report.latency_ms["max"]


async def test_the_backlog_has_an_end(monkeypatch):
    monkeypatch.setattr(engine_aiohttp, "BACKLOG", 5)
    async with serving(Target(delay_s=10)) as target:
        test = a_test(rate=100, duration_s=1, concurrency=1, timeout_s=30)
        report = await load(target.url, test)
    # One has the connection and five wait: three of the six are answered within their 30 s.
    assert {Outcome.SUCCESS: 3, Outcome.TIMEOUT: 3, Outcome.UNSENT: 94} == report.outcomes


# --- a generator that cannot ------------------------------------------------------------------------------------------


async def test_a_generator_without_files_left_does_not_blame_the_target():
    gc.collect()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(Target(delay_s=1.0)) as target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
        try:
            report = await load(target.url, a_test(rate=2))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert {Outcome.OWN_LIMIT: 2} == report.outcomes
    assert "ran out of files or ports" in why_void(a_test(rate=2), report)
    assert errno.EMFILE in engine_aiohttp._OWN_LIMITS


@pytest.mark.slow
@pytest.mark.looptime(False)
async def test_a_generator_that_was_held_up_sends_nothing_whose_time_is_over():
    async def hold_up(number):
        if number == 2:
            time.sleep(0.3)  # noqa: ASYNC251 - the generator shares this loop

    async with serving(Target(before=hold_up)) as target:
        test = a_test(rate=40, duration_s=0.5, timeout_s=0.1)
        report = await load(target.url, test)
    assert report.outcomes[Outcome.UNSENT] >= 5
    assert report.sent == 20 - report.outcomes[Outcome.UNSENT]
    assert report.sent <= len(target.requests)
    assert "CPU is short on the daemon's node" in why_void(test, report)


async def test_a_cancelled_test_closes_its_connections():
    async with serving(Target(delay_s=5)) as target:
        task = asyncio.create_task(load(target.url))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert (10, 0) == (target.most_open, target.open)


async def test_the_schedule_begins_when_the_address_accepts_connections():
    async with nobody() as address:
        pass
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    test = asyncio.ensure_future(load(address, a_test(rate=20, duration_s=1)))
    await asyncio.sleep(1.2)
    async with raw_server(answer, port=int(address.rpartition(":")[2])):
        report = await test

    assert {Outcome.SUCCESS: 20} == report.outcomes
