"""The admission webhook over real TLS on loopback: what the API server gets, and what nobody gets."""

import asyncio
import base64
import io
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from canaryd.core import names
from canaryd.server import webhook
from canaryd.server.certificates import issue
from canaryd.server.listen import CannotListenError
from tests.fakes.patches import apply_patch

DAEMON = "system:serviceaccount:canaryd:canaryd"
SERVER = "canaryd-webhook.canaryd.svc"
LABELS = {names.LABEL_APEX: "app"}


class Server:
    """A webhook that listens, and the API server that asks it."""

    def __init__(self, http):
        self.http = http
        self.outcomes = []
        self.certificate = issue([SERVER], time.time())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.load_into(self.context)
        self.url = ""

    def trusting(self, authorities=None):
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.verify_flags |= ssl.VERIFY_X509_STRICT
        trust.load_verify_locations(cadata=authorities or self.certificate.authorities)
        return trust

    async def send(self, body, *, method="POST", path=webhook.PATH, authorities=None, **options):
        data = body if isinstance(body, bytes | io.BytesIO) else json.dumps(body).encode()
        asked = self.http.request(
            method,
            self.url + path,
            data=data,
            ssl=self.trusting(authorities),
            server_hostname=SERVER,
            **options,
        )
        async with asked as response:
            return response.status, await response.read()

    async def review(self, review):
        status, body = await self.send(review)
        assert 200 == status
        return json.loads(body)


@pytest.fixture
async def http():
    # A connection for each request, so that each shakes hands anew.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        yield session


@asynccontextmanager
async def served(http):
    server = Server(http)
    app = webhook.make_app(DAEMON, server.outcomes.append)
    async with webhook.serve("127.0.0.1", 0, server.context, app) as (host, port):
        server.url = f"https://{host}:{port}"
        yield server


def apex(selector, **meta):
    return {"metadata": {"name": "app", "labels": LABELS, **meta}, "spec": {"selector": selector}}


def review(old=None, new=None, user="gitops", **changes):
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Service"},
        "resource": {"group": "", "version": "v1", "resource": "services"},
        "operation": "UPDATE",
        "userInfo": {"username": user, "groups": ["system:authenticated"]},
        "object": new or apex({"app": "app"}),
        "oldObject": old or apex({"app": "app-primary"}),
    }
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": request | changes,
    }


async def test_what_canaryd_set_is_put_back_in_a_patch(http):
    async with served(http) as server:
        answer = await server.review(review())
    response = answer["response"]
    assert ("admission.k8s.io/v1", "AdmissionReview") == (answer["apiVersion"], answer["kind"])
    assert review()["request"]["uid"] == response["uid"]
    assert (True, "JSONPatch") == (response["allowed"], response["patchType"])
    patch = json.loads(base64.b64decode(response["patch"]))
    kept = apply_patch(review()["request"]["object"], patch)
    assert apex({"app": "app-primary"}) == kept
    assert ["kept"] == server.outcomes


@pytest.mark.parametrize(
    "asked",
    [
        review(user=DAEMON),
        review(new=apex({"app": "app-primary"}, annotations={"a": "b"})),
        review(kind={"group": "", "version": "v1", "kind": "Pod"}),
        review(object=None, oldObject=None),
    ],
)
async def test_what_needs_no_patch_is_allowed_without_one(http, asked):
    async with served(http) as server:
        answer = await server.review(asked)
    assert {"uid": asked["request"]["uid"], "allowed": True} == answer["response"]
    assert ["passed"] == server.outcomes


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", b"no JSON"),
        (b"{", b"no JSON"),
        (b"\xff\xfe\xff", b"no JSON"),
        (b"[" * 200_000, b"no JSON"),
        (b"[]", b"no AdmissionReview"),
        (b"null", b"no AdmissionReview"),
        (b"{}", b"no AdmissionReview"),
        (review() | {"apiVersion": "admission.k8s.io/v1beta1"}, b"no AdmissionReview"),
        (review() | {"request": None}, b"no request with a uid"),
        (review(uid=7), b"no request with a uid"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "review",
)
async def test_what_is_no_review_is_refused_in_a_sentence(http, body, why):
    async with served(http) as server:
        status, text = await server.send(body)
    assert 400 == status
    assert why in text
    assert 1 == text.count(b"\n")
    assert ["unreadable"] == server.outcomes


async def test_a_body_that_is_too_large_is_not_read_to_its_end(http):
    async with served(http) as server:
        status, _ = await server.send(io.BytesIO(b" " * (webhook.MAX_BODY + 1)))
    assert 413 == status
    assert [] == server.outcomes


async def test_a_charset_that_does_not_exist_is_no_fault_of_ours(http):
    headers = {"Content-Type": "application/json; charset=klingon"}
    async with served(http) as server:
        status, _ = await server.send(review(), headers=headers)
    assert 200 == status


@pytest.mark.looptime
async def test_a_body_that_does_not_arrive_is_given_up(http):
    async def slowly():
        yield b"{"
        await asyncio.sleep(3600)

    server = Server(http)
    app = webhook.make_app(DAEMON, server.outcomes.append)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{webhook.PATH}"
        async with http.post(url, data=slowly()) as response:
            assert (400, "the review did not arrive in time\n") == (
                response.status,
                await response.text(),
            )
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", webhook.PATH, 405), ("POST", "/", 404), ("GET", "/metrics", 404)],
)
async def test_there_is_nothing_else_to_ask(http, method, path, status):
    async with served(http) as server:
        assert status == (await server.send(b"", method=method, path=path))[0]


# --- certificates ---


async def test_only_who_trusts_its_authority_talks_to_it(http):
    async with served(http) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await server.send(review(), authorities=issue([SERVER], time.time()).authorities)


async def test_a_new_certificate_is_served_from_the_next_connection_on(http):
    async with served(http) as server:
        old = server.certificate
        new = issue([SERVER], time.time(), old)
        new.load_into(server.context)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await server.send(review(), authorities=old.authorities)
        assert 200 == (await server.send(review(), authorities=new.authorities))[0]


async def test_before_it_has_a_certificate_it_shakes_no_hands(http):
    server = Server(http)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    app = webhook.make_app(DAEMON, server.outcomes.append)
    async with webhook.serve("127.0.0.1", 0, bare, app) as (host, port):
        server.url = f"https://{host}:{port}"
        with pytest.raises(aiohttp.ClientConnectorError):
            await server.send(review())
        server.certificate.load_into(bare)
        assert 200 == (await server.send(review()))[0]


async def test_a_port_that_is_taken_is_named_with_the_settings_to_change(http):
    app = webhook.make_app(DAEMON, print)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListenError) as caught:
            async with webhook.serve("127.0.0.1", port, context, app):
                pass
    assert (
        f"cannot listen on 127.0.0.1:{port}: Address already in use;"
        " change server.host or admission.webhook.port" == str(caught.value)
    )
