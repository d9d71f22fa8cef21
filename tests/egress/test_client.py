import asyncio
import gzip
import tracemalloc
import zlib

import pytest

from canaryd.egress.client import Capacity, EgressClient
from canaryd.egress.exchange import USER_AGENT
from canaryd.egress.policy import EgressPolicy
from canaryd.ports.http import HttpResponse, HttpTrouble, Trouble
from tests.egress.support import (
    NAMESPACE,
    FakeDns,
    an_egress,
    answers,
    get,
    raw_server,
    says,
    silence,
)
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.looptime

HEAD = b"HTTP/1.1 200 OK\r\n"
SECRET = "T000SECRET"


def a_dns(**names):
    """``hooks_test="127.0.0.1"`` answers for ``hooks.test.``."""
    dns = FakeDns()
    for name, addresses in names.items():
        dns.put(f"{name.replace('_', '.')}.", *addresses.split())
    return dns


async def trouble(client, url, **more):
    with pytest.raises(HttpTrouble) as caught:
        await get(client, url, **more)
    assert SECRET not in str(caught.value)
    return caught.value


async def elapsed(awaitable):
    loop = asyncio.get_running_loop()
    started = loop.time()
    result = await awaitable
    return result, loop.time() - started


async def until(claim):
    async with asyncio.timeout(10):
        while not claim():  # noqa: ASYNC110 - counted by a server
            await asyncio.sleep(0.01)


# --- what is sent


async def test_a_hook_reaches_its_server_under_the_name_it_asked_for():
    async with raw_server(answers("202 Accepted", b"taken")) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        answer = await get(
            client,
            f"http://Hooks.test:{server.port}/a%2Fb/../c?d=e%20f&g",
            method="POST",
            body=b"{}",
            headers={"X-Of-Mine": "1"},
        )

    head = server.heads[0].decode().split("\r\n")
    assert (202, b"taken") == (answer.status, answer.body)
    assert "POST /a%2Fb/../c?d=e%20f&g HTTP/1.1" == head[0]
    assert f"Host: hooks.test:{server.port}" in head
    assert "X-Of-Mine: 1" in head
    assert f"User-Agent: {USER_AGENT}" in head


async def test_no_caller_can_ask_one_host_and_mean_another():
    async with raw_server(answers()) as server, an_egress() as egress:
        url = f"http://hooks.test:{server.port}/"
        await get(egress.for_namespace(NAMESPACE), url, headers={"HOST": "internal.test"})

    assert b"internal.test" not in server.heads[0]
    assert 1 == server.heads[0].lower().count(b"\r\nhost:")


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nX-Evil: 1"},
        {"X": "a\nX-Evil: 1"},
        {"X": "a\rb"},
        {"X": "a\x00b"},
        {"X": "a\x7fb"},
        {"X": "a\x85b"},
        {"X\r\nX-Evil": "1"},
        {"X: 1\r\nY": "1"},
        {"X Y": "1"},
        {"": "1"},
    ],
)
async def test_no_header_can_become_two(headers):
    async with raw_server(answers()) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/", headers=headers)

    assert Trouble.REFUSED is found.kind
    assert 0 == server.connections


async def test_cookies_are_not_kept():
    async with (
        raw_server(answers(Set_Cookie="session=1; Path=/")) as server,
        an_egress() as egress,
    ):
        client = egress.for_source(f"http://127.0.0.1:{server.port}")
        for _ in range(2):
            await get(client, f"http://127.0.0.1:{server.port}/")

    assert 2 == len(server.heads)
    assert not [head for head in server.heads if b"cookie" in head.lower()]


async def test_proxies_and_netrc_of_the_environment_are_ignored(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login canaryd password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with raw_server(answers()) as server, an_egress() as egress:
        answer = await get(egress.for_namespace(NAMESPACE), f"http://hooks.test:{server.port}/")

    assert 200 == answer.status
    assert b"authorization" not in server.heads[0].lower()


# --- where hooks go


async def test_a_host_that_is_not_allowed_is_not_even_looked_up():
    dns = a_dns(evil_test="127.0.0.1")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://evil.test:{server.port}/{SECRET}?t={SECRET}")

    assert Trouble.REFUSED is found.kind
    assert "egress.allowed_hosts" in str(found)
    assert ([], 0) == (dns.asked, server.connections)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://127.0.0.2:{port}/",
        "http://0.0.0.0:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://LOCALHOST.:{port}/",
        "http://hooks.test@127.0.0.1:{port}/",
        "http://hooks.test:{port}\\@127.0.0.1/",
        "http://127.0.0.1:{port}/#@hooks.test/",
        "http://hooks.test:0/",
        "http://\uff11\uff12\uff17.0.0.1:{port}/",
        "ftp://hooks.test:{port}/",
        "hooks.test:{port}",
        "",
    ],
)
async def test_no_spelling_of_a_url_reaches_loopback(url):
    async with raw_server(answers()) as server, an_egress(networks=()) as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, url.format(port=server.port))

    assert found.kind in (Trouble.REFUSED, Trouble.CONNECT)
    assert 0 == server.connections


async def test_a_name_that_leads_to_loopback_is_refused():
    async with raw_server(answers()) as server, an_egress(networks=()) as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/")

    assert Trouble.REFUSED is found.kind
    assert "leads to 127.0.0.1, a loopback address" in str(found)
    assert 0 == server.connections


async def test_a_name_with_one_address_that_is_not_allowed_is_refused():
    dns = a_dns(hooks_test="127.0.0.1 169.254.169.254")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/")

    assert "169.254.169.254, a metadata address" in str(found)
    assert 0 == server.connections


async def test_a_name_that_changes_its_address_is_checked_again_and_never_twice():
    dns = a_dns(hooks_test="127.0.0.1")
    dns.put("hooks.test.", "127.0.0.2")
    async with (
        raw_server(answers()) as outside,
        raw_server(answers(), host="127.0.0.2", port=outside.port) as inside,
        an_egress(dns, networks=("127.0.0.1/32",)) as egress,
    ):
        client, url = egress.for_namespace(NAMESPACE), f"http://hooks.test:{outside.port}/"
        first = await get(client, url)
        asked = list(dns.asked)
        second = await trouble(client, url)

    assert (200, ["hooks.test."]) == (first.status, asked)
    assert Trouble.REFUSED is second.kind
    assert (1, 0) == (outside.connections, inside.connections)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])  # fmt: skip
async def test_a_redirect_is_an_answer_and_not_followed(status):
    dns = a_dns(hooks_test="127.0.0.1", inside_test="127.0.0.2")
    async with raw_server(answers(), host="127.0.0.2") as inside:
        moved = answers(status, Location=f"http://127.0.0.2:{inside.port}/latest/meta-data/")
        async with raw_server(moved) as server, an_egress(dns) as egress:
            url = f"http://hooks.test:{server.port}/"
            answer = await get(egress.for_namespace(NAMESPACE), url, method="POST", body=b"{}")

    assert int(status[:3]) == answer.status
    assert (1, 0) == (server.connections, inside.connections)


async def test_a_service_is_found_by_its_cluster_ip_before_dns_is_asked():
    known = {("shop", "qa-runner"): "127.0.0.1"}
    dns = FakeDns()
    async with (
        raw_server(answers()) as server,
        an_egress(dns, service_address=lambda *key: known.get(key)) as egress,
    ):
        shop, bank = egress.for_namespace("shop"), egress.for_namespace("bank")
        answer = await get(shop, f"http://qa-runner.shop.svc:{server.port}/")
        foreign = await trouble(bank, f"http://qa-runner.shop.svc:{server.port}/")
        unknown = await trouble(bank, f"http://qa-runner:{server.port}/")

    assert 200 == answer.status
    assert Trouble.REFUSED is foreign.kind
    assert "Service qa-runner of namespace bank has no address" in str(unknown)
    assert ["qa-runner.bank.svc.cluster.local."] == dns.asked


async def test_a_headless_service_is_found_by_dns():
    dns = FakeDns()
    dns.put("qa-runner.shop.svc.cluster.local.", "127.0.0.1")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        answer = await get(egress.for_namespace("shop"), f"http://qa-runner:{server.port}/")

    assert 200 == answer.status


async def test_an_external_name_service_leads_nowhere_that_is_not_listed():
    dns = FakeDns()
    dns.put("qa-runner.shop.svc.cluster.local.", "127.0.0.1", alias_of="db.corp.test")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        found = await trouble(egress.for_namespace("shop"), f"http://qa-runner:{server.port}/")

    assert "is an alias for db.corp.test" in str(found)
    assert 0 == server.connections


async def test_a_listed_host_without_a_dot_is_asked_of_dns_when_there_is_no_such_service():
    dns = FakeDns()
    dns.put("gateway", "127.0.0.1")
    async with raw_server(answers()) as server, an_egress(dns, hosts=("gateway",)) as egress:
        answer = await get(egress.for_namespace("shop"), f"http://gateway:{server.port}/")

    assert 200 == answer.status
    assert ["gateway.shop.svc.cluster.local.", "gateway"] == dns.asked


# --- where sources are


@pytest.mark.parametrize("path", ["", "/prometheus"])
async def test_a_source_is_reached_wherever_it_is(path):
    async with raw_server(answers(body=b"{}")) as server, an_egress(networks=()) as egress:
        url = f"http://127.0.0.1:{server.port}{path}"
        answer = await get(egress.for_source(url), f"{url}/api/v1/query")

    assert HttpResponse(200, b"{}") == answer


@pytest.mark.parametrize(
    "other",
    [
        "http://127.0.0.1:1/",
        "http://127.0.0.2:{port}/",
        "https://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://hooks.test:{port}/",
    ],
)
async def test_a_source_is_nothing_but_itself(other):
    async with raw_server(answers()) as server, an_egress() as egress:
        client = egress.for_source(f"http://127.0.0.1:{server.port}")
        found = await trouble(client, other.format(port=server.port))

    assert Trouble.REFUSED is found.kind
    assert 0 == server.connections


async def test_hooks_do_not_reach_a_source():
    async with raw_server(answers()) as server, an_egress(networks=()) as egress:
        url = f"http://127.0.0.1:{server.port}/"
        await get(egress.for_source(url), url)
        found = await trouble(egress.for_namespace(NAMESPACE), url)

    assert Trouble.REFUSED is found.kind
    assert 1 == server.connections


async def test_the_addresses_of_a_source_are_kept_for_ten_seconds():
    dns = FakeDns()
    dns.put("prometheus.monitoring", "127.0.0.1")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        url = f"http://prometheus.monitoring:{server.port}/"
        client = egress.for_source(url)
        for wait in (0, 9, 2):
            await asyncio.sleep(wait)
            await get(client, url)

    assert ["prometheus.monitoring"] * 2 == dns.asked


async def test_a_source_with_a_trailing_dot_is_looked_up_as_it_is_written():
    dns = a_dns(prometheus_monitoring="127.0.0.1")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        url = f"http://prometheus.monitoring.:{server.port}/"
        await get(egress.for_source(url), url)

    assert ["prometheus.monitoring."] == dns.asked
    assert b"prometheus.monitoring:" in server.heads[0]


@pytest.mark.parametrize("url", ["", "prometheus:9090", "http://user:pw@prometheus", "http://x:0"])
async def test_a_source_needs_a_url(url):
    async with an_egress() as egress:
        with pytest.raises(ValueError):
            egress.for_source(url)


async def test_a_source_keeps_its_connection_and_a_hook_does_not():
    async def twice(reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")

    async with raw_server(twice) as source, raw_server(twice) as receiver, an_egress() as egress:
        url = f"http://127.0.0.1:{source.port}/"
        clients = [(egress.for_source(url), url)]
        clients.append((egress.for_namespace(NAMESPACE), f"http://hooks.test:{receiver.port}/"))
        for client, address in clients:
            for _ in range(2):
                await get(client, address)

    assert (1, 2) == (source.connections, receiver.connections)


# --- time


async def test_a_server_that_never_answers_is_given_up_in_time():
    async with raw_server(silence) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found, seconds = await elapsed(
            trouble(client, f"http://hooks.test:{server.port}/{SECRET}", timeout_s=7)
        )

    assert (Trouble.TIMEOUT, f"hooks.test:{server.port}: no answer within 7 s") == (
        found.kind,
        str(found),
    )
    assert pytest.approx(7, abs=0.1) == seconds


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 "] + [b"O"] * 1000,
        [HEAD] + [b"X-Header: 1\r\n"] * 1000,
        [HEAD + b"Content-Length: 100000\r\n\r\n"] + [b"x"] * 1000,
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n"] + [b"1\r\nx\r\n"] * 1000,
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000,
    ],
    ids=["status", "headers", "body", "chunks", "continue"],
)
async def test_a_server_that_trickles_has_no_more_time_than_a_silent_one(pieces):
    async with raw_server(says(*pieces, pause_s=1)) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found, seconds = await elapsed(
            trouble(client, f"http://hooks.test:{server.port}/", timeout_s=7)
        )

    assert Trouble.TIMEOUT is found.kind
    assert pytest.approx(7, abs=0.1) == seconds


async def test_a_dns_that_never_answers_is_given_up_in_time():
    dns = FakeDns(hanging={"hooks.test."})
    async with an_egress(dns) as egress:
        client = egress.for_namespace(NAMESPACE)
        found, seconds = await elapsed(trouble(client, "http://hooks.test/", timeout_s=7))

    assert "hooks.test: no answer within 7 s: its name was still being looked up" == str(found)
    assert pytest.approx(7, abs=0.1) == seconds


async def test_cancelling_a_request_ends_it_at_once_and_closes_its_connection():
    gone = asyncio.Event()

    async def until_closed(reader, writer):
        await reader.read()
        gone.set()

    async with raw_server(until_closed) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        task = asyncio.create_task(get(client, f"http://hooks.test:{server.port}/", timeout_s=60))
        await until(lambda: server.heads)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


# --- size


async def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not():
    async with raw_server(answers(body=b"x" * 100)) as server, an_egress() as egress:
        client, url = egress.for_namespace(NAMESPACE), f"http://hooks.test:{server.port}/"
        answer = await get(client, url, max_bytes=100)
        found = await trouble(client, url, max_bytes=99)

    assert 100 == len(answer.body)
    assert (Trouble.TOO_LARGE, f"hooks.test:{server.port}: the answer is larger than 99 bytes") == (
        found.kind,
        str(found),
    )


async def test_a_gzip_body_is_limited_by_what_it_unfolds_to():
    body = gzip.compress(b"x" * 100)
    async with (
        raw_server(answers(body=body, Content_Encoding="gzip")) as server,
        an_egress() as egress,
    ):
        client, url = egress.for_namespace(NAMESPACE), f"http://hooks.test:{server.port}/"
        answer = await get(client, url, max_bytes=100)
        found = await trouble(client, url, max_bytes=99)

    assert b"x" * 100 == answer.body
    assert Trouble.TOO_LARGE is found.kind


async def test_a_body_without_an_end_is_cut():
    async def endless(reader, writer):
        writer.write(HEAD + b"Connection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with raw_server(endless) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/", max_bytes=1_000_000)

    assert Trouble.TOO_LARGE is found.kind


@pytest.mark.slow
async def test_a_gzip_bomb_never_unfolds():
    bomb = gzip.compress(bytes(128 * 1024 * 1024), 9)
    async with (
        raw_server(answers(body=bomb, Content_Encoding="gzip")) as server,
        an_egress() as egress,
    ):
        client = egress.for_namespace(NAMESPACE)
        tracemalloc.start()
        try:
            found = await trouble(client, f"http://hooks.test:{server.port}/", max_bytes=10_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert Trouble.TOO_LARGE is found.kind
    assert peak < 4 * 1024 * 1024


async def test_gzip_that_never_comes_to_anything_is_cut():
    # Empty stored blocks: five bytes that unfold to none, for ever.
    start = gzip.compress(b"")[:10]

    async def endless(reader, writer):
        writer.write(HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + start)
        while True:
            writer.write(b"\x00\x00\x00\xff\xff" * 1000)
            await writer.drain()

    async with raw_server(endless) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/", max_bytes=10_000)

    assert Trouble.TOO_LARGE is found.kind


# --- what servers do wrong


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([b""], "closed without an answer"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "not HTTP"),
        ([b"\x16\x03\x01\x02\x00\x01" * 10], "not HTTP"),
        ([b"HTTP/1.1 200"], "closed without an answer"),
        ([b"HTTP/9.9 200 OK\r\n\r\n"], ""),
        ([b"HTTP/1.1 999999 OK\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 abc OK\r\n\r\n"], "not HTTP"),
        ([HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n"], "not HTTP"),
        ([HEAD + b"no colon\r\n\r\n"], "not HTTP"),
        ([HEAD + b"Content-Length: -1\r\n\r\n"], "not HTTP"),
        ([HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"], ""),
        ([HEAD + b"Content-Length: 100\r\n\r\nabc"], "broke in the middle"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], ""),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"], "broke in the middle"),
        ([HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"], "compressed wrongly"),
        ([HEAD + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc"], "not asked for"),
        ([HEAD + b"Content-Encoding: gzip, gzip\r\nContent-Length: 3\r\n\r\nabc"], "not asked for"),
    ],
)
async def test_what_is_no_answer_is_a_trouble_with_words_and_nothing_else(pieces, words):
    async with raw_server(says(*pieces)) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/{SECRET}?x={SECRET}")

    assert found.kind in (Trouble.CONNECT, Trouble.TIMEOUT)
    assert words in str(found)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"x" * 50, mtime=0)[:-3],
        gzip.compress(b"x", mtime=0) * 2,
        gzip.compress(b"x", mtime=0) + b"trailing",
    ],
    ids=["cut", "two", "trailing"],
)
async def test_half_of_a_gzip_body_is_not_taken_for_the_whole(body):
    async with (
        raw_server(answers(body=body, Content_Encoding="gzip")) as server,
        an_egress() as egress,
    ):
        found = await trouble(egress.for_namespace(NAMESPACE), f"http://hooks.test:{server.port}/")

    assert (Trouble.CONNECT, True) == (found.kind, "compressed wrongly" in str(found))


@pytest.mark.parametrize("body", [b"", gzip.compress(b"", mtime=0)])
async def test_an_empty_answer_may_call_itself_gzip(body):
    async with (
        raw_server(answers(body=body, Content_Encoding="gzip")) as server,
        an_egress() as egress,
    ):
        url = f"http://hooks.test:{server.port}/"
        answer = await get(egress.for_namespace(NAMESPACE), url)

    assert b"" == answer.body


async def test_a_connection_that_is_reset_is_a_trouble():
    async def reset(reader, writer):
        writer.write(HEAD + b"Content-Length: 100\r\n\r\nabc")
        await writer.drain()
        writer.transport.abort()

    async with raw_server(reset) as server, an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/")

    assert Trouble.CONNECT is found.kind


async def test_a_port_that_nobody_listens_on_is_a_refused_connection():
    async with raw_server(silence) as server:
        pass
    async with an_egress() as egress:
        client = egress.for_namespace(NAMESPACE)
        found = await trouble(client, f"http://hooks.test:{server.port}/")

    assert (Trouble.CONNECT, f"hooks.test:{server.port}: connection refused") == (
        found.kind,
        str(found),
    )


@pytest.mark.parametrize(
    ("dns", "words"),
    [
        (FakeDns(), "the name cannot be resolved"),
        (FakeDns(broken=True), "names cannot be looked up"),
        (a_dns(hooks_test=""), "the name has no address"),
    ],
)
async def test_a_name_without_an_address_is_a_trouble(dns, words):
    async with an_egress(dns) as egress:
        for client in (egress.for_namespace(NAMESPACE), egress.for_source("http://hooks.test./")):
            found = await trouble(client, "http://hooks.test./")
            assert (Trouble.CONNECT, f"hooks.test: {words}") == (found.kind, str(found))


async def test_the_next_address_is_tried_when_one_refuses_the_connection():
    dns = a_dns(hooks_test="127.0.0.3 127.0.0.1")
    async with raw_server(answers()) as server, an_egress(dns) as egress:
        answer = await get(egress.for_namespace(NAMESPACE), f"http://hooks.test:{server.port}/")

    assert 200 == answer.status


async def test_what_was_sent_once_is_not_sent_to_the_next_address():
    dns = a_dns(hooks_test="127.0.0.3 127.0.0.1")
    async with (
        raw_server(answers()) as second,
        raw_server(says(b""), host="127.0.0.3", port=second.port) as first,
        an_egress(dns) as egress,
    ):
        url = f"http://hooks.test:{second.port}/"
        found = await trouble(egress.for_namespace(NAMESPACE), url, method="POST", body=b"{}")

    assert "closed without an answer" in str(found)
    assert (1, 0) == (first.connections, second.connections)


async def test_retry_after_is_handed_on():
    async with (
        raw_server(answers("429 Too Many Requests", Retry_After="7")) as server,
        an_egress() as egress,
    ):
        url = f"http://hooks.test:{server.port}/"
        answer = await get(egress.for_namespace(NAMESPACE), url)

    assert HttpResponse(429, b"", retry_after="7") == answer


# --- how many


async def test_a_namespace_has_its_share_of_connections_and_the_others_theirs():
    dns = a_dns(hooks_test="127.0.0.1", quick_test="127.0.0.1")
    async with (
        raw_server(silence) as hanging,
        raw_server(answers()) as quick,
        an_egress(dns, hosts=("*.test",), hooks=Capacity(total=20, each=3)) as egress,
    ):
        shop = egress.for_namespace("shop")
        calls = [
            asyncio.create_task(trouble(shop, f"http://hooks.test:{hanging.port}/", timeout_s=30))
            for _ in range(5)
        ]
        await until(lambda: hanging.connections == 3)
        waiting = await trouble(shop, f"http://quick.test:{quick.port}/", timeout_s=5)
        other = await get(egress.for_namespace("bank"), f"http://quick.test:{quick.port}/")
        connections = hanging.connections
        await asyncio.gather(*calls)

    assert 3 == connections
    assert "3 other requests of the same origin are under way" in str(waiting)
    assert 200 == other.status


async def test_asking_for_a_namespace_again_does_not_double_its_share():
    async with (
        raw_server(silence) as server,
        an_egress(hooks=Capacity(total=20, each=2)) as egress,
    ):
        url = f"http://hooks.test:{server.port}/"
        calls = [
            asyncio.create_task(trouble(egress.for_namespace("shop"), url, timeout_s=9))
            for _ in range(4)
        ]
        await until(lambda: server.connections == 2)
        await asyncio.sleep(1)
        connections = server.connections
        await asyncio.gather(*calls)

    assert 2 == connections


async def test_hooks_that_never_answer_do_not_keep_metrics_waiting():
    async with (
        raw_server(silence) as hanging,
        raw_server(answers()) as prometheus,
        an_egress(hooks=Capacity(total=2, each=2)) as egress,
    ):
        calls = [
            asyncio.create_task(
                trouble(egress.for_namespace(name), f"http://hooks.test:{hanging.port}/")
            )
            for name in "abcd"
        ]
        await until(lambda: hanging.connections == 2)
        source = f"http://127.0.0.1:{prometheus.port}/"
        answer, seconds = await elapsed(get(egress.for_source(source), source))
        await asyncio.gather(*calls)

    assert 200 == answer.status
    assert seconds < 1
    assert 2 == hanging.connections


# --- the end


async def test_a_closed_client_ends_what_is_under_way_and_sends_nothing_more():
    dns = a_dns(hooks_test="127.0.0.1")
    policy = EgressPolicy(("hooks.test",))
    egress = EgressClient(policy, clock=VirtualClock(), resolver=dns)
    async with raw_server(silence) as server:
        source = f"http://127.0.0.1:{server.port}/"
        client = egress.for_source(source)
        task = asyncio.create_task(trouble(client, source, method="POST", timeout_s=60))
        await until(lambda: server.heads)
        await egress.close()
        ended, seconds = await elapsed(task)
        after = await trouble(client, source)
        connections = server.connections

    assert (Trouble.CONNECT, Trouble.CONNECT) == (ended.kind, after.kind)
    assert "canaryd is ending" in str(after)
    assert (1, True) == (connections, dns.is_closed)
    assert seconds < 1


async def test_a_client_that_was_never_used_closes():
    egress = EgressClient(EgressPolicy(), clock=VirtualClock())
    await egress.close()


def test_zlib_never_gives_more_than_it_is_asked_for():
    # What the cap rests on: max_length bounds one call, whatever comes in.
    inflate = zlib.decompressobj(zlib.MAX_WBITS + 16)

    assert 11 == len(inflate.decompress(gzip.compress(bytes(1_000_000)), 11))
