"""Probes and metrics: what the kubelet and Prometheus get, and what nobody gets."""

import asyncio
import logging
import socket
import threading
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from canaryd.config.settings import Server
from canaryd.server import health
from canaryd.server.health import Heartbeat, make_app, serve
from canaryd.server.listen import CannotListenError
from canaryd.telemetry.prometheus import Telemetry

LOOPBACK = Server(host="127.0.0.1", port=0)
PLAIN = "text/plain; charset=utf-8"


class Standing:
    """What the tests say about readiness."""

    def __init__(self, *reasons):
        self.reasons = list(reasons)

    def __call__(self):
        return self.reasons


@pytest.fixture
def telemetry():
    return Telemetry("1.2.3")


@pytest.fixture
def standing():
    return Standing()


@pytest.fixture
async def url(standing, telemetry):
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


async def get(http, url, method="GET"):
    async with http.request(method, url) as response:
        return response.status, await response.text()


# --- healthz ---


async def test_a_loop_that_turns_is_healthy(http, url):
    assert (200, "ok\n") == await get(http, f"{url}/healthz")


async def test_health_depends_on_nobody_else(http, url, standing):
    standing.reasons.append("the API server is not there")
    assert (200, "ok\n") == await get(http, f"{url}/healthz")


@asynccontextmanager
async def served(app):
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, (200, "ok\n")),
        (9.5, (200, "ok\n")),
        (10, (503, "the heartbeat of the event loop is 10 s old\n")),
        (61, (503, "the heartbeat of the event loop is 61 s old\n")),
    ],
)
async def test_a_heart_that_does_not_beat_is_sick_after_ten_seconds(
    http, standing, telemetry, age, expected
):
    stopped = Heartbeat(telemetry.lagged)
    async with served(make_app(stopped, standing, telemetry)) as url:
        await asyncio.sleep(age)
        assert expected == await get(http, f"{url}/healthz")


@pytest.mark.looptime
async def test_the_heart_goes_on_beating_while_nothing_happens(http, standing, telemetry):
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        await asyncio.sleep(600)
        assert (200, "ok\n") == await get(http, f"http://{host}:{port}/healthz")


async def test_after_a_pause_of_the_whole_process_the_heart_beats_first(
    standing, telemetry, monkeypatch
):
    # A suspended node: the probe's request and the heart's timer are both due when it goes on,
    # and the event loop reads before it looks at its timers. From Python 3.12 on aiohttp then asks
    # the handler in the same turn, and only its own patience lets the heart go first.
    loop = asyncio.get_running_loop()
    question = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as address:
        with socket.create_connection(address) as probe:
            probe.setblocking(False)
            await loop.sock_sendall(probe, question)
            await loop.sock_recv(probe, 4096)
            probe.send(question)
            now = loop.time
            monkeypatch.setattr(loop, "time", lambda: now() + 3600)
            assert (await loop.sock_recv(probe, 4096)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_heart_that_ended_by_a_defect_is_told(standing, telemetry, monkeypatch):
    told = []
    monkeypatch.setattr(health._log, "error", lambda event, **more: told.append((event, more)))

    def fail(_seconds):
        raise ZeroDivisionError

    monkeypatch.setattr(telemetry, "lagged", fail)
    monkeypatch.setattr(health, "BEAT_S", 0.0)
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry):
        while not told:  # noqa: ASYNC110 - a turn of the loop or two
            await asyncio.sleep(0)
    [(event, more)] = told
    assert "the heartbeat ended" == event
    assert isinstance(more["exc_info"], ZeroDivisionError)


@pytest.mark.looptime
async def test_how_late_timers_are_is_counted(standing, telemetry):
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry):
        await asyncio.sleep(2.5)
    assert 2 == telemetry.registry.get_sample_value("canaryd_loop_lag_seconds_count")


# --- readyz ---


async def test_who_has_nothing_to_wait_for_is_ready(http, url):
    assert (200, "ok\n") == await get(http, f"{url}/readyz")


async def test_who_is_not_ready_says_why(http, url, standing):
    standing.reasons += ["deployments.apps: not listed yet", "services: not listed yet"]
    expected = "deployments.apps: not listed yet\nservices: not listed yet\n"
    assert (503, expected) == await get(http, f"{url}/readyz")


async def test_of_many_reasons_the_first_are_shown(http, url, standing):
    standing.reasons += [f"reason {number}" for number in range(1_000)]
    status, text = await get(http, f"{url}/readyz")
    assert (503, 51, "and 950 more") == (status, len(text.splitlines()), text.splitlines()[-1])


async def test_not_to_know_is_not_to_be_ready(http, telemetry, monkeypatch):
    told = []
    monkeypatch.setattr(health._log, "exception", lambda event, **_more: told.append(event))

    def fail():
        raise KeyError("secret")

    async with serve(LOOPBACK, not_ready=fail, telemetry=telemetry) as (host, port):
        status, text = await get(http, f"http://{host}:{port}/readyz")
    assert (503, "readiness cannot be told: KeyError\n") == (status, text)
    assert ["readiness cannot be told"] == told


# --- metrics ---


async def test_metrics_are_in_the_format_prometheus_has_always_read(http, url, telemetry):
    telemetry.reconciled("Promoted", 0.2)
    async with http.get(f"{url}/metrics") as response:
        assert 200 == response.status
        assert "text/plain; version=0.0.4; charset=utf-8" == response.headers["Content-Type"]
        text = await response.text()
    assert 'canaryd_info{version="1.2.3"} 1.0\n' in text
    assert 'canaryd_reconcile_total{result="Promoted"} 1.0\n' in text


class Slow(Telemetry):
    """Renders as long as the test wants, and counts who does so at the same time."""

    def __init__(self):
        super().__init__("1.2.3")
        self.go_on = threading.Event()
        self.started = threading.Semaphore(0)
        self.at_once = self.most_at_once = 0

    def expose(self):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.started.release()
        self.go_on.wait(10)
        self.at_once -= 1
        return b"slow\n"


async def test_a_slow_scrape_holds_up_neither_the_loop_nor_the_probes(http, standing):
    telemetry = Slow()
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        url = f"http://{host}:{port}"
        async with asyncio.TaskGroup() as group:
            scrape = group.create_task(get(http, f"{url}/metrics"))
            await asyncio.to_thread(telemetry.started.acquire)
            assert (200, "ok\n") == await get(http, f"{url}/healthz")
            assert (200, "ok\n") == await get(http, f"{url}/readyz")
            assert not scrape.done()
            telemetry.go_on.set()
        assert (200, "slow\n") == scrape.result()


async def test_scrapes_are_rendered_one_at_a_time(http, standing):
    telemetry = Slow()
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        url = f"http://{host}:{port}"
        async with asyncio.TaskGroup() as group:
            scrapes = [group.create_task(get(http, f"{url}/metrics")) for _ in range(3)]
            await asyncio.to_thread(telemetry.started.acquire)
            # The others have arrived when a request sent after them is answered.
            await get(http, f"{url}/healthz")
            telemetry.go_on.set()
        assert [(200, "slow\n")] * 3 == [scrape.result() for scrape in scrapes]
    assert 1 == telemetry.most_at_once


async def test_a_scrape_that_fails_is_told_and_the_next_one_works(
    http, url, telemetry, monkeypatch, caplog
):
    with monkeypatch.context() as patch:
        patch.setattr(telemetry, "expose", lambda: 1 / 0)
        status, text = await get(http, f"{url}/metrics")
    assert 500 == status
    assert "ZeroDivisionError" not in text
    assert ["canaryd.server.http"] == [record.name for record in caplog.records]
    assert 200 == (await get(http, f"{url}/metrics"))[0]


# --- everything else ---


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz/", "/metrics/x", "/debug", "/healthz/../metrics/x", "/%00", "/favicon.ico"],
)
async def test_there_is_nothing_else(http, url, path):
    assert 404 == (await get(http, url + path))[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_there_is_nothing_to_write(http, url, method, path):
    async with http.request(method, url + path) as response:
        assert 405 == response.status
        assert "GET,HEAD" == response.headers["Allow"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_a_head_request_gets_the_head(http, url, path):
    assert (200, "") == await get(http, url + path, "HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_no_answer_is_kept_guessed_at_or_boasts(http, url, path):
    async with http.get(url + path) as response:
        assert "no-store" == response.headers["Cache-Control"]
        assert "nosniff" == response.headers["X-Content-Type-Options"]
        assert "canaryd" == response.headers["Server"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nothing"])
async def test_what_is_no_metrics_is_plain_text(http, url, path):
    async with http.get(url + path) as response:
        assert PLAIN == response.headers["Content-Type"]


@pytest.mark.parametrize(
    "request_line",
    [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n"],
    ids=["a TLS handshake", "half a request", "half a header"],
)
async def test_what_is_no_http_is_refused_without_filling_the_log(url, request_line, caplog):
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_line)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


# --- where it listens ---


async def test_the_system_can_choose_the_port(standing, telemetry):
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        assert "127.0.0.1" == host
        assert port > 0


async def test_it_listens_on_ipv6(http, standing, telemetry):
    settings = Server(host="::1", port=0)
    async with serve(settings, not_ready=standing, telemetry=telemetry) as (host, port):
        assert "::1" == host
        assert (200, "ok\n") == await get(http, f"http://[::1]:{port}/healthz")


async def test_without_a_host_it_listens_on_every_interface(http, standing, telemetry):
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    settings = Server(port=port)
    async with serve(settings, not_ready=standing, telemetry=telemetry):
        for host in ("127.0.0.1", "[::1]"):
            assert (200, "ok\n") == await get(http, f"http://{host}:{port}/healthz")


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_a_port_that_is_taken_is_a_sentence(standing, telemetry, host, shown):
    first = Server(host=host, port=0)
    async with serve(first, not_ready=standing, telemetry=telemetry) as (_, port):
        second = serve(Server(host=host, port=port), not_ready=standing, telemetry=telemetry)
        with pytest.raises(CannotListenError) as caught:
            await second.__aenter__()
    assert (
        f"cannot listen on {shown}:{port}: Address already in use; "
        "change server.host or server.port"
    ) == str(caught.value)


async def test_a_port_that_is_taken_on_every_interface_is_a_sentence(standing, telemetry):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotListenError) as caught:
            await serve(Server(port=port), not_ready=standing, telemetry=telemetry).__aenter__()
    assert str(caught.value).startswith(f"cannot listen on *:{port}: Address already in use; ")


async def test_somebody_elses_address_is_a_sentence(standing, telemetry):
    settings = Server(host="192.0.2.1", port=1)
    with pytest.raises(CannotListenError) as caught:
        await serve(settings, not_ready=standing, telemetry=telemetry).__aenter__()
    assert (
        "cannot listen on 192.0.2.1:1: Cannot assign requested address; "
        "change server.host or server.port"
    ) == str(caught.value)


async def test_a_name_without_an_address_is_a_sentence(standing, telemetry, monkeypatch):
    def nobody(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    settings = Server(host="canaryd.invalid", port=1)
    with pytest.raises(CannotListenError) as caught:
        await serve(settings, not_ready=standing, telemetry=telemetry).__aenter__()
    assert (
        "cannot listen on canaryd.invalid:1: Name or service not known; "
        "change server.host or server.port"
    ) == str(caught.value)


# --- how it ends ---


async def test_at_the_end_nobody_listens_and_nothing_runs_or_complains(standing, telemetry):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: complaints.append(what))
    before = asyncio.all_tasks()
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
    assert before == asyncio.all_tasks()
    await asyncio.sleep(0)
    assert [] == complaints


@pytest.mark.looptime
async def test_a_request_that_does_not_end_does_not_hold_up_the_end(standing, telemetry):
    async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry) as (host, port):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        await writer.drain()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began <= 2 * health.SHUTDOWN_S
    writer.close()
    await writer.wait_closed()


async def test_to_be_cancelled_while_it_ends_is_not_forgotten(standing, telemetry):
    ending = asyncio.Event()

    async def work():
        async with serve(LOOPBACK, not_ready=standing, telemetry=telemetry):
            ending.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await ending.wait()
    # The block has ended, and waits for the heart to stop.
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert {task} == done
    assert task.cancelled()
