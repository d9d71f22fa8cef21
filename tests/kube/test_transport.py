"""Authenticated requests: TLS, proxies, redirects, refused credentials."""

import asyncio
import base64
import json
import tomllib
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from canaryd.core.kinds import CONFIG_MAP
from canaryd.kube import transport
from canaryd.kube.client import KubeClient
from canaryd.kube.credentials import (
    ClientCertificate,
    Credential,
    CredentialsError,
    FileSource,
    FixedSource,
)
from canaryd.kube.kubeconfig import Connection, load_connection
from canaryd.ports.errors import ServerError, Unauthorized, Unreachable
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.kube.loopback import loopback
from tests.kube.tls import Authority

pytestmark = pytest.mark.looptime

OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "app"}}


class Tokens:
    """A source whose tokens are numbered; says how often it was asked."""

    max_age_s = None

    def __init__(self, *, seconds=0.0):
        self.asked = 0
        self.seconds = seconds
        self.broken = False

    async def fetch(self):
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise CredentialsError("the source is dry")
        return Credential(f"Bearer token-{self.asked}")

    def has_changed(self):
        return False


@asynccontextmanager
async def a_client(url, source=None, **options):
    source = source or FixedSource(Credential())
    clock = VirtualClock()
    async with KubeClient(Connection(url, source, **options), clock=clock) as client:
        yield client


async def read(client):
    return await client.get(CONFIG_MAP, "shop", "app")


# --- who we are -------------------------------------------------------------------------------------------------------


async def test_A1_the_very_first_request_carries_the_credentials():
    async with loopback() as server, a_client(server.url, Tokens()) as client:
        server.answer(OBJECT)
        await read(client)
        assert ["Bearer token-1"] == [r.headers.get("Authorization") for r in server.seen]


async def test_A8_a_refused_token_is_replaced_once_and_the_request_sent_again():
    async with FakeApiServer() as server, a_client(server.url, Tokens()) as client:
        server.put(OBJECT)
        server.tokens = {"token-2"}
        await read(client)
        await read(client)
        assert [401, 200, 200] == [request.code for request in server.requests]


async def test_A8_a_write_that_was_refused_is_sent_again_too():
    async with FakeApiServer() as server, a_client(server.url, Tokens()) as client:
        server.ensure_namespace("shop")
        server.tokens = {"token-2"}
        await client.create(OBJECT)
        assert [401, 201] == [request.code for request in server.requests]


async def test_A8_credentials_refused_twice_are_an_error_that_does_not_show_them():
    source = Tokens()
    async with FakeApiServer() as server, a_client(server.url, source) as client:
        server.tokens = {"another"}
        with pytest.raises(Unauthorized, match="get configmaps 'app'") as caught:
            await read(client)
        assert (2, 2) == (source.asked, len(server.requests))
        assert "token-" not in str(caught.value)


async def test_A8_of_many_refused_requests_one_fetches_and_all_go_on():
    source = Tokens(seconds=2.0)
    async with FakeApiServer() as server, a_client(server.url, source) as client:
        server.put(OBJECT)
        await read(client)
        server.tokens = {"token-2"}
        await asyncio.gather(*(read(client) for _ in range(20)))
        assert 2 == source.asked


async def test_A8_a_watch_that_is_refused_is_opened_again_with_new_credentials():
    async with FakeApiServer() as server, a_client(server.url, Tokens()) as client:
        server.ensure_namespace("shop")
        server.tokens = {"token-2"}
        params = {"resourceVersion": "1", "timeoutSeconds": "5"}
        async with client.stream(CONFIG_MAP, "shop", params) as lines:
            assert [] == [line async for line in lines]


async def test_A3_without_credentials_nothing_is_sent_anonymously():
    source = Tokens()
    source.broken = True
    async with loopback() as server, a_client(server.url, source) as client:
        server.answer(OBJECT)
        with pytest.raises(Unauthorized, match="the source is dry"):
            await read(client)
        assert [] == server.seen


def test_A9_the_releases_that_lost_the_header_are_excluded():
    project = tomllib.loads(Path("pyproject.toml").read_text())
    (pin,) = [d for d in project["project"]["dependencies"] if d.startswith("kubernetes")]
    assert "kubernetes>=37.0.2,<38" == pin


async def test_A9_a_token_is_in_the_header_of_every_verb(tmp_path):
    async with loopback() as server:
        server.answer(OBJECT)
        document = {
            "clusters": [{"name": "c", "cluster": {"server": server.url}}],
            "users": [{"name": "u", "user": {"token": "abc"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(json.dumps(document))
        connection = load_connection(str(tmp_path / "config"))
        async with KubeClient(connection, clock=VirtualClock()) as client:
            await read(client)
            await client.create(OBJECT)
            await client.apply(OBJECT)
            await client.merge_patch(CONFIG_MAP, "shop", "app", {})
            await client.delete(CONFIG_MAP, "shop", "app")
        assert ["GET", "POST", "PATCH", "PATCH", "DELETE"] == [r.method for r in server.seen]
        assert {"Bearer abc"} == {r.headers["Authorization"] for r in server.seen}


async def test_requests_say_which_program_they_are_of():
    async with loopback() as server, a_client(server.url) as client:
        server.answer(OBJECT)
        await read(client)
        assert server.seen[0].headers["User-Agent"].startswith("canaryd/")


# --- where requests go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_the_token_goes_nowhere(status):
    async with (
        loopback() as server,
        loopback() as elsewhere,
        a_client(server.url, Tokens()) as client,
    ):
        elsewhere.answer(OBJECT)
        server.answer(status=status, Location=elsewhere.url + "/")
        for call in (read(client), client.create(OBJECT)):
            with pytest.raises(ServerError, match=f"HTTP {status}, a redirect") as caught:
                await call
            assert status == caught.value.status
        assert [] == elsewhere.seen


async def test_X1_neither_proxies_nor_netrc_are_looked_up_for_each_request(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with loopback() as server, a_client(server.url) as client:
        server.answer(OBJECT)
        await read(client)
        assert [None] == [request.headers.get("Authorization") for request in server.seen]


async def test_X1_no_thread_is_used_for_a_request(monkeypatch):
    async with loopback() as server, a_client(server.url, Tokens()) as client:
        server.answer(OBJECT)
        loop = asyncio.get_running_loop()
        used = []
        monkeypatch.setattr(loop, "run_in_executor", lambda *args: used.append(args))
        await read(client)
        assert [] == used


async def test_a_proxy_of_the_kubeconfig_is_used():
    async with loopback() as proxy:
        proxy.answer(OBJECT)
        async with a_client("http://cluster.invalid:6443", proxy=proxy.url) as client:
            await read(client)
        assert ["http://cluster.invalid:6443/api/v1/namespaces/shop/configmaps/app"] == [
            request.target for request in proxy.seen
        ]


async def test_cookies_are_not_kept():
    # By name: for addresses nobody keeps cookies anyway.
    async with (
        loopback() as server,
        a_client(server.url.replace("127.0.0.1", "localhost")) as client,
    ):
        server.answer(OBJECT, Set_Cookie="session=1")
        await read(client)
        await read(client)
        assert [None, None] == [request.headers.get("Cookie") for request in server.seen]


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_ca_is_taken_from_a_file_or_from_data(authority):
    async with loopback(authority.server()) as server:
        server.answer(OBJECT)
        for trust in (
            {"ca_file": str(authority.ca.certificate)},
            {"ca_data": authority.ca.pem},
            {"verify": False},
        ):
            async with a_client(server.url, **trust) as client:
                assert "app" == (await read(client))["metadata"]["name"]


@pytest.mark.parametrize("trust", [{}, "another"], ids=["the system's CAs", "another CA"])
async def test_a_server_that_is_not_trusted_gets_no_request(trust, authority, tmp_path):
    if trust:
        trust = {"ca_file": str(Authority(tmp_path / "another", "another").ca.certificate)}
    async with (
        loopback(authority.server()) as server,
        a_client(server.url, Tokens(), **trust) as client,
    ):
        server.answer(OBJECT)
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await read(client)
        assert [] == server.seen


async def test_the_name_in_the_certificate_may_be_given(authority):
    context = authority.server(san="DNS:kubernetes.default")
    trust = {"ca_file": str(authority.ca.certificate)}
    async with loopback(context) as server:
        server.answer(OBJECT)
        async with a_client(server.url, **trust) as client:
            with pytest.raises(Unreachable):
                await read(client)
        async with a_client(server.url, tls_server_name="kubernetes.default", **trust) as client:
            await read(client)


async def test_a_client_certificate_is_presented_and_leaves_no_files(
    authority, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pair = authority.issue("canaryd")
    source = FixedSource(Credential(certificate=ClientCertificate(pair.pem, pair.key_pem)))
    async with (
        loopback(authority.server(clients=True)) as server,
        a_client(server.url, source, ca_file=str(authority.ca.certificate)) as client,
    ):
        server.answer(OBJECT)
        await read(client)
        assert ["canaryd"] == [request.peer for request in server.seen]
    assert [] == list(tmp_path.iterdir())


async def test_A5_a_certificate_that_changed_is_presented_from_the_next_request_on(
    authority, tmp_path
):
    files = {"certificate_file": tmp_path / "pem", "key_file": tmp_path / "key"}

    def install(name):
        pair = authority.issue(name)
        files["certificate_file"].write_text(pair.pem)
        files["key_file"].write_text(pair.key_pem)

    install("first")
    source = FileSource(**{key: str(path) for key, path in files.items()})
    async with (
        loopback(authority.server(clients=True)) as server,
        a_client(server.url, source, ca_file=str(authority.ca.certificate)) as client,
    ):
        server.answer(OBJECT)
        await read(client)
        install("second")
        await read(client)
        assert ["first", "second"] == [request.peer for request in server.seen]


@pytest.mark.parametrize(
    "broken", [{"ca_data": "no certificate"}, {"ca_file": "/nowhere/ca.crt"}], ids=str
)
async def test_a_ca_that_cannot_be_used_is_named(broken):
    async with a_client("https://127.0.0.1:1", **broken) as client:
        with pytest.raises(Unreachable, match=r"TLS cannot be set up, check .*(CA|ca\.crt)"):
            await read(client)


@pytest.fixture
def rotating(authority, tmp_path):
    """A CA file that can be replaced, and a second authority."""
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.ca.pem)
    return ca, Authority(tmp_path / "second", "second CA")


async def test_A7_a_ca_that_was_rotated_is_trusted_without_a_restart(authority, rotating):
    ca, second = rotating
    async with (
        loopback(authority.server()) as before,
        loopback(second.server()) as after,
        a_client(before.url, ca_file=str(ca)) as client,
    ):
        before.answer(OBJECT)
        after.answer(OBJECT)
        await read(client)
        client._transport._connection = Connection(after.url, ca_file=str(ca))
        with pytest.raises(Unreachable):
            await read(client)
        ca.write_text(second.ca.pem)
        await asyncio.sleep(transport.CA_CHECK_S)
        await read(client)
        assert (1, 1) == (len(before.seen), len(after.seen))


async def test_A7_a_ca_file_caught_half_written_changes_nothing(authority, rotating, caplog):
    ca, _ = rotating
    async with (
        loopback(authority.server()) as server,
        a_client(server.url, ca_file=str(ca)) as client,
    ):
        server.answer(OBJECT)
        await read(client)
        for content in (authority.ca.pem[:100], authority.ca.pem):
            ca.write_text(content)
            await asyncio.sleep(transport.CA_CHECK_S)
            await read(client)
        assert 1 == sum("new TLS files cannot be used" in r.getMessage() for r in caplog.records)


async def test_A7_a_watch_lives_through_a_rotation_and_its_connection_is_closed_after_it(rotating):
    ca, second = rotating
    async with FakeApiServer() as server, a_client(server.url, ca_file=str(ca)) as client:
        server.put(OBJECT)
        params = {"resourceVersion": "1", "allowWatchBookmarks": "true"}
        async with client.stream(CONFIG_MAP, "shop", params) as lines:
            await anext(lines)
            old = client._transport._session
            ca.write_text(second.ca.pem)
            await asyncio.sleep(transport.CA_CHECK_S)
            await read(client)
            assert client._transport._session is not old
            server.patch(CONFIG_MAP, "shop", "app", {"data": {"a": "b"}})
            while b'"MODIFIED"' not in await anext(lines):
                pass
        assert old.api.rest_client.pool_manager.closed


async def test_what_is_secret_is_in_no_repr():
    pair = ClientCertificate("CERTIFICATE", "PRIVATE KEY")
    credential = Credential("Bearer secret", pair)
    connection = Connection("https://host", FixedSource(credential))
    basic = base64.b64encode(b"user:pass").decode()
    shown = repr(credential) + repr(pair) + repr(connection) + repr(Credential(f"Basic {basic}"))
    assert not any(word in shown for word in ("secret", "PRIVATE KEY", basic))
