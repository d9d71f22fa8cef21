import asyncio
import ssl

import pytest

from canaryd.ports.http import HttpTrouble, Trouble
from tests.cluster.local.certificates import Authority
from tests.egress.support import NAMESPACE, FakeDns, an_egress, get

NAME, OTHER = "hooks.test", "other.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.server("hooks", [NAME, "127.0.0.1"])


@pytest.fixture
def trusting(authority):
    return ssl.create_default_context(cafile=str(authority.cert))


@pytest.fixture
async def server(certificate):
    """Answers every request on a connection, over TLS, under the name ``hooks.test``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    listening.names = names
    listening.port = listening.sockets[0].getsockname()[1]
    yield listening
    listening.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


def a_dns():
    dns = FakeDns()
    for name in (NAME, OTHER):
        dns.put(f"{name}.", "127.0.0.1")
        dns.put(name, "127.0.0.1")
    return dns


async def refused(client, url):
    with pytest.raises(HttpTrouble) as caught:
        await get(client, url)
    return caught.value


async def test_a_certificate_is_checked_against_the_name_and_not_the_address(server, trusting):
    async with an_egress(a_dns(), hosts=(NAME,), tls=trusting) as egress:
        client = egress.for_namespace(NAMESPACE)
        answer = await get(client, f"https://{NAME}:{server.port}/")

    assert 200 == answer.status
    assert [NAME] == server.names


async def test_a_certificate_for_another_name_is_not_trusted(server, trusting):
    async with an_egress(a_dns(), hosts=(OTHER,), tls=trusting) as egress:
        found = await refused(egress.for_namespace(NAMESPACE), f"https://{OTHER}:{server.port}/")

    assert Trouble.CONNECT is found.kind
    assert "the certificate is not trusted: Hostname mismatch" in str(found)


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(server):
    async with an_egress(a_dns(), hosts=(NAME,)) as egress:
        found = await refused(egress.for_namespace(NAMESPACE), f"https://{NAME}:{server.port}/")

    assert Trouble.CONNECT is found.kind
    assert "the certificate is not trusted" in str(found)


async def test_a_connection_made_for_one_name_is_not_used_for_another(server, trusting):
    first, second = f"https://{NAME}:{server.port}/", f"https://{OTHER}:{server.port}/"
    async with an_egress(a_dns(), tls=trusting) as egress:
        await get(egress.for_source(first), first)
        again = await get(egress.for_source(first), first)
        found = await refused(egress.for_source(second), second)

    assert 200 == again.status
    assert "the certificate is not trusted" in str(found)
    assert [NAME, OTHER] == server.names


async def test_plain_http_to_a_tls_port_and_the_other_way_round_are_troubles(server, trusting):
    async def plain(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with an_egress(a_dns(), hosts=(NAME,), tls=trusting) as egress:
        client = egress.for_namespace(NAMESPACE)
        to_tls = await refused(client, f"http://{NAME}:{server.port}/")
        to_plain = await refused(client, f"https://{NAME}:{port}/")
    listening.close()

    assert (Trouble.CONNECT, Trouble.CONNECT) == (to_tls.kind, to_plain.kind)
    assert "TLS could not be set up" in str(to_plain)


@pytest.mark.looptime
async def test_the_next_address_is_tried_when_one_never_shakes_hands(server, trusting):
    async def mute(reader, writer):
        await reader.read()
        writer.close()

    dns = FakeDns()
    dns.put(f"{NAME}.", "127.0.0.3", "127.0.0.1")
    listening = await asyncio.start_server(mute, "127.0.0.3", server.port)
    async with an_egress(dns, hosts=(NAME,), tls=trusting) as egress:
        loop = asyncio.get_running_loop()
        started = loop.time()
        client = egress.for_namespace(NAMESPACE)
        answer = await get(client, f"https://{NAME}:{server.port}/", timeout_s=8)
        seconds = loop.time() - started
    listening.close()

    assert 200 == answer.status
    assert 4 <= seconds <= 5
