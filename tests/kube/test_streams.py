"""The byte stream of a watch."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.kinds import CONFIG_MAP, SECRET
from canaryd.kube import streams
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.lines import LineSplitter, LineTooLong
from canaryd.ports.errors import Forbidden, Gone, Invalid, ServerError, Unreachable
from tests.fakes.apiserver import EMPTY, FORBIDDEN, HANG, HTML, FakeApiServer, Refuse
from tests.fakes.clock import VirtualClock
from tests.kube.loopback import loopback

pytestmark = pytest.mark.looptime

WATCH = {"resourceVersion": "100", "allowWatchBookmarks": "true"}


@asynccontextmanager
async def a_cluster():
    async with (
        FakeApiServer() as server,
        KubeClient(Connection(server.url), clock=server.clock) as client,
    ):
        server.ensure_namespace("shop")
        yield server, client


@asynccontextmanager
async def a_raw_server(*parts, end=None):
    """A watch that sends these bytes, chunk by chunk, and then ends as told."""

    async def serve(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0)
        if end is not None:
            await end(request)
        return response

    async with (
        loopback() as server,
        KubeClient(Connection(server.url), clock=VirtualClock()) as client,
    ):
        server.answers.append(serve)
        yield server, client


async def lines_of(client, params=WATCH, into=None, **options):
    read = [] if into is None else into
    async with client.stream(CONFIG_MAP, "shop", params, **options) as lines:
        async for line in lines:
            read.append(line)
    return read


def config_map(name="app", value=""):
    meta = {"namespace": "shop", "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}}


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (FORBIDDEN, Forbidden),
        (Refuse(410, "Expired"), Gone),
        (Refuse(422, "Invalid"), Invalid),
        (Refuse(500, "InternalError"), ServerError),
        (HTML, ServerError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:20]),
)
async def test_W4_a_status_that_is_no_success_is_an_error_before_there_is_a_line(fault, error):
    async with a_cluster() as (server, client):
        server.faults.on(fault)
        with pytest.raises(error, match="watch configmaps in namespace 'shop'"):
            async with client.stream(CONFIG_MAP, "shop", WATCH):
                pytest.fail("the stream was entered")


async def test_W7_a_watch_lives_as_long_as_something_is_said():
    async with a_cluster() as (server, client):
        began = server.clock.now()
        server.put(config_map())
        async with client.stream(CONFIG_MAP, "shop", WATCH) as lines:
            async for _line in lines:
                if server.clock.now() - began > 1500:
                    break
        assert 1 == server.requests.count(verb="watch")


async def test_W7_a_watch_that_says_nothing_for_too_long_is_dead():
    async with a_cluster() as (server, client):
        server.bookmarks = False
        began = server.clock.now()
        with pytest.raises(Unreachable, match="watch configmaps"):
            await lines_of(client, idle_s=180.0)
        assert 180.0 == pytest.approx(server.clock.now() - began, abs=1.0)


async def test_a_watch_that_is_not_even_opened_ends_at_its_own_limit():
    async with a_cluster() as (server, client):
        server.faults.on(HANG)
        began = server.clock.now()
        with pytest.raises(Unreachable):
            await lines_of(client)
        assert streams.OPEN_TIMEOUT_S == pytest.approx(server.clock.now() - began, abs=1.0)


async def test_W9_cancelling_the_reader_of_a_quiet_watch_ends_it_at_once():
    async with a_cluster() as (server, client):
        reader = asyncio.create_task(lines_of(client))
        await asyncio.sleep(5)
        assert 1 == server.watching
        began = server.clock.now()
        reader.cancel()
        await asyncio.wait([reader])
        assert 0.1 > server.clock.now() - began
        await asyncio.sleep(0.1)
        assert 0 == server.watching


async def test_W10_watches_share_one_tls_context_and_one_session(monkeypatch):
    made = []
    original = ssl.create_default_context
    monkeypatch.setattr(
        ssl, "create_default_context", lambda *a, **k: made.append(1) or original(*a, **k)
    )
    async with a_cluster() as (server, client):
        readers = [asyncio.create_task(lines_of(client)) for _ in range(20)]
        await asyncio.sleep(1)
        assert (20, 1) == (server.watching, len(made))
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)


async def test_W13_every_option_of_a_modern_watch_reaches_the_server():
    options = {
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": "321",
        "shardSelector": "of the future",
        "labelSelector": "canaryd.io/target",
    }
    async with a_raw_server() as (server, client):
        assert [] == await lines_of(client, options)
        path, _, query = server.seen[0].target.partition("?")
        expected = {"watch": "1", **options}
        assert ("/api/v1/namespaces/shop/configmaps", expected) == (path, dict(parse_qsl(query)))


async def test_a_watch_of_metadata_asks_for_single_objects():
    async with a_raw_server() as (server, client):
        async with client.stream(SECRET, None, WATCH, metadata_only=True) as lines:
            assert [] == [line async for line in lines]
        accepted = server.seen[0].headers["Accept"]
        assert "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" == accepted


async def test_reading_before_entering_is_a_defect():
    async with a_cluster() as (_server, client):
        with pytest.raises(RuntimeError, match="before it was entered"):
            await anext(client.stream(CONFIG_MAP, "shop", WATCH))


# --- lines ------------------------------------------------------------------------------------------------------------


async def test_W11_an_event_of_six_megabytes_passes():
    async with (
        a_cluster() as (server, client),
        client.stream(CONFIG_MAP, "shop", WATCH) as lines,
    ):
        server.put(config_map(value="x" * 6_000_000))
        event = json.loads(await anext(lines))
        assert 6_000_000 == len(event["object"]["data"]["v"])


@pytest.mark.slow
async def test_W11_a_line_longer_than_any_object_ends_the_stream():
    async with a_raw_server(*[b"x" * 1024 * 1024] * 17) as (_server, client):
        with pytest.raises(ServerError, match=r"a line of 1[67]\d* bytes; the limit is 16777216"):
            await lines_of(client)


async def test_lines_come_whole_however_they_are_cut():
    async with a_raw_server(b'{"a"', b":1}\n\n{", b'"b":2}\n{"c":3}', b"\n") as (_server, client):
        assert [b'{"a":1}', b'{"b":2}', b'{"c":3}'] == await lines_of(client)


async def test_what_has_no_line_end_is_handed_out_at_the_end():
    async with a_raw_server(b'{"a":1}\n<html>bad gateway') as (_server, client):
        assert [b'{"a":1}', b"<html>bad gateway"] == await lines_of(client)


async def test_an_empty_answer_has_no_lines():
    async with a_cluster() as (server, client):
        server.faults.on(EMPTY)
        assert [] == await lines_of(client)


async def test_W6_a_connection_reset_in_the_middle_is_nobody_answering():
    async def reset(request):
        request.transport.abort()

    async with a_raw_server(b'{"a":1}\n', end=reset) as (_server, client):
        read = []
        with pytest.raises(Unreachable, match="watch configmaps"):
            await lines_of(client, into=read)
        assert [b'{"a":1}'] == read


async def test_W6_a_server_that_is_cut_off_is_nobody_answering():
    async with a_cluster() as (server, client):
        async with asyncio.timeout(10):
            reader = asyncio.create_task(lines_of(client))
            await asyncio.sleep(1)
            server.partition()
            with pytest.raises(Unreachable):
                await reader
            with pytest.raises(Unreachable):
                await lines_of(client)


@given(st.lists(st.binary(max_size=8)))
def test_the_splitter_agrees_with_splitting_the_whole(chunks):
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    rest = splitter.take_rest()
    *ended, last = b"".join(chunks).split(b"\n")
    assert [line for line in ended if line.strip()] == lines
    assert last.strip() == rest
    assert b"" == splitter.take_rest()


@pytest.mark.parametrize(
    "chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"ok\n" + b"x" * 11 + b"\n"]], ids=str
)
def test_a_line_beyond_the_limit_is_refused_ended_or_not(chunks):
    splitter = LineSplitter(limit=10)
    *before, last = chunks
    for chunk in before:
        assert [] == splitter.feed(chunk)
    with pytest.raises(LineTooLong):
        splitter.feed(last)
