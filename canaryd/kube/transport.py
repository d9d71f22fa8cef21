"""Sends one request, authenticated, and hands out the response.

Takes the official package as transport: its ``Configuration`` and ``ApiClient.call_api``,
one per process.
The Authorization header is set here, request by request, and not through the package's hook:
the hook does not run until a token is there (A1), and lost all credentials in two releases (A9).
A 401 costs one forced refresh and one more try (A8). A new CA or client certificate makes a new
session;
the old one lives on until its last request, which may be a watch, has ended.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from canaryd import __version__
from canaryd.kube.credentials import ClientCertificate, Credential, Credentials, signature_of
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.packaged import ApiClient, Configuration
from canaryd.ports.clock import Clock
from canaryd.ports.errors import ServerError, Unreachable

log = logging.getLogger(__name__)

CA_CHECK_S = 60.0
_READ_BUFFER_BYTES = 256 * 1024
_USER_AGENT = f"canaryd/{__version__}"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request.

    Args:
        target: path and query.
        body: JSON to be.
        guard: called at the last moment before the request leaves;
        what it raises stops the request.

    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    guard: Callable[[], None] | None = None


@dataclass(slots=True)
class _Session:
    """One TLS context with its connections."""

    api: ApiClient
    trust: object
    users: int = 0
    retired: bool = False


class Transport:
    """Authenticated HTTP to one API server."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._credentials = Credentials(connection.source, clock)
        self._session: _Session | None = None
        self._ca_seen: object = None
        self._ca_checked_at = float("-inf")
        self._closed = False

    @asynccontextmanager
    async def open(
        self, request: HttpRequest, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; the response's body is read inside the block.

        Raises:
            Unreachable: nobody answered, or the connection broke while the body was read.
            Unauthorized: there are no credentials.

        """
        if self._closed:
            raise Unreachable("the client is closed")
        credential = await self._credentials.current()
        async with self._sent(request, limits, credential) as response:
            if response.status != 401:
                yield response
                return
        credential = await self._credentials.renew(credential)
        async with self._sent(request, limits, credential) as response:
            yield response

    async def close(self) -> None:
        """Close every connection; requests on the way fail."""
        self._closed = True
        if self._session is not None:
            await self._session.api.close()

    @asynccontextmanager
    async def _sent(
        self, request: HttpRequest, limits: aiohttp.ClientTimeout, credential: Credential
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self._session_for(credential.certificate)
        session.users += 1
        try:
            with transport_errors_mapped():
                response = await self._call(session.api, request, limits, credential)
                try:
                    yield response
                finally:
                    # Hands the connection back when the body was read to its end, else closes it.
                    response.release()
        finally:
            session.users -= 1
            if session.retired and not session.users:
                await session.api.close()

    async def _call(
        self,
        api: ApiClient,
        request: HttpRequest,
        limits: aiohttp.ClientTimeout,
        credential: Credential,
    ) -> aiohttp.ClientResponse:
        headers = {"User-Agent": _USER_AGENT, **request.headers}
        if credential.authorization:
            headers["Authorization"] = credential.authorization
        if request.guard is not None:
            # After the credentials, which may take long, and before each try.
            request.guard()
        answer = await api.call_api(
            request.method,
            self._connection.server + request.target,
            header_params=headers,
            body=request.body,
            _request_timeout=limits,  # a ClientTimeout: the pair in the signature fails (W8)
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _session_for(self, certificate: ClientCertificate | None) -> _Session:
        trust = (certificate, self._ca_signature())
        present = self._session
        if present is not None and present.trust == trust:
            return present
        try:
            fresh = _Session(_build(self._connection, certificate), trust)
        except (OSError, ssl.SSLError, ValueError) as error:
            what = self._connection.ca_file or "the cluster's CA or the client certificate"
            if present is None:
                raise Unreachable(f"TLS cannot be set up, check {what}: {error}") from error
            # A file caught half-written: what worked goes on until the files change once more.
            log.warning(
                "new TLS files cannot be used, the old ones stay, check %s: %s", what, error
            )
            present.trust = trust
            return present
        self._session = fresh
        if present is not None:
            present.retired = True
            if not present.users:
                await present.api.close()
        return fresh

    def _ca_signature(self) -> object:
        """The CA file's version, looked at once a minute: a rotated CA must not need a restart
        (A7).
        """
        path = self._connection.ca_file
        if path and self._clock.now() >= self._ca_checked_at + CA_CHECK_S:
            self._ca_checked_at = self._clock.now()
            self._ca_seen = signature_of(path)
        return self._ca_seen


def _configure(connection: Connection) -> Configuration:
    configuration = Configuration(
        host=connection.server,
        ssl_ca_cert=connection.ca_file or None,
        ca_cert_data=connection.ca_data or None,
        verify_ssl=connection.verify,
        tls_server_name=connection.tls_server_name or None,
        proxy=connection.proxy or None,
        # No limit: each watch holds a connection, and a full pool would hold up the lease behind
        # them.
        connection_pool_maxsize=0,
        client_session_kwargs={
            "trust_env": False,  # X1: a look-up of proxy and netrc in a thread, per request
            "read_bufsize": _READ_BUFFER_BYTES,  # lines are split by us (W11)
            "cookie_jar": aiohttp.DummyCookieJar(),
            "middlewares": (_refuse_redirects,),
        },
    )
    # Python 3.13 added this flag; CAs of many clusters lack the extensions it asks for. The chain
    # is verified all the same.
    configuration.disable_strict_ssl_verification = True
    return configuration


def _build(connection: Connection, certificate: ClientCertificate | None) -> ApiClient:
    """Make a client; the TLS context is set up inside, so the certificate's files may go at
    once.
    """
    configuration = _configure(connection)
    if certificate is None:
        return ApiClient(configuration)
    with TemporaryDirectory(prefix="canaryd-") as folder:  # readable by us alone
        pem, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        pem.write_text(certificate.certificate, encoding="ascii")
        key.write_text(certificate.key, encoding="ascii")
        configuration.cert_file, configuration.key_file = str(pem), str(key)
        return ApiClient(configuration)


async def _refuse_redirects(
    request: aiohttp.ClientRequest,
    send: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
) -> aiohttp.ClientResponse:
    """Stop at a redirect: followed, it would carry our writes to wherever it points."""
    response = await send(request)
    if 300 <= response.status < 400:
        response.close()
        raise ServerError(
            f"{request.method} {request.url.path}: HTTP {response.status}, a redirect, "
            "which is not followed: is the server's URL right?",
            status=response.status,
        )
    return response


@contextmanager
def transport_errors_mapped() -> Iterator[None]:
    """Resets, DNS, TLS, broken bodies, time-outs: nobody answered (W6)."""
    try:
        yield
    except TimeoutError as error:
        raise Unreachable("no answer in time") from error
    except aiohttp.ClientPayloadError as error:
        raise Unreachable("the connection broke in the middle of the answer") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"the API server cannot be reached: {error}") from error
