"""One request to addresses that were checked, and its answer.

aiohttp is given the address instead of the name, with the name as Host header and for TLS. So there
is no second look-up that could answer differently (DNS rebinding), and an idle connection is only
used again for the same address and the same name: aiohttp's pool is keyed by both.

Bodies are decoded here and not by aiohttp, a piece at a time up to the cap: a kilobyte can unfold
to a gigabyte.
"""

import errno
import os
import re
import ssl
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from canaryd import __version__
from canaryd.egress.addresses import IPAddress
from canaryd.egress.targets import Target
from canaryd.ports.http import HttpResponse, HttpTrouble, Trouble

USER_AGENT = f"canaryd/{__version__}"

_MOST_ADDRESSES = 4
"""How many addresses of a name are tried when they refuse the connection."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_GZIP = zlib.MAX_WBITS + 16


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, and how much of an answer to take."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None
    max_bytes: int

    def broken_header(self) -> str:
        """Return the name of a header that cannot be sent, or would be read as two; else empty."""
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or any(
                (c < " " and c != "\t") or "\x7f" <= c <= "\x9f" for c in value
            ):
                return repr(name[:64])
        return ""

    def trouble(self, kind: Trouble, words: str) -> HttpTrouble:
        """Make the error of this request: host and port are named, path and query never."""
        return HttpTrouble(kind, f"{self.target.netloc}: {words}")


def open_session(
    tls: ssl.SSLContext, *, connections: int, keeps_alive: bool
) -> aiohttp.ClientSession:
    """Open a session that connects to addresses only and remembers nothing."""
    connector = aiohttp.TCPConnector(
        ssl=tls,
        limit=connections,
        force_close=not keeps_alive,
        resolver=_NoLookUps(),
        use_dns_cache=False,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),  # the caller's time-out covers more than this
        trust_env=False,  # X1; and a proxy would look names up once more
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def exchange(
    session: aiohttp.ClientSession,
    request: Request,
    addresses: Sequence[IPAddress],
    timeout_s: float,
) -> HttpResponse:
    """Send a request to the first of these addresses that takes the connection.

    Raises:
        HttpTrouble: there is no answer.

    """
    tried = addresses[:_MOST_ADDRESSES]
    for left, address in zip(range(len(tried), 0, -1), tried, strict=True):
        try:
            return await _send(session, request, address, timeout_s / left if left > 1 else None)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # Nothing was sent yet, so that the next address may be asked.
            if left == 1:
                raise request.trouble(Trouble.CONNECT, _words(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise request.trouble(Trouble.CONNECT, _words(error)) from None
    raise request.trouble(Trouble.CONNECT, "the name has no address")


async def _send(
    session: aiohttp.ClientSession,
    request: Request,
    address: IPAddress,
    connect_s: float | None,
) -> HttpResponse:
    target = request.target
    # Host is ours alone, so that no caller asks one server and means another.
    ours = {"Host": target.netloc, "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
    headers = {k: v for k, v in request.headers.items() if k.title() not in ours} | ours
    url = URL.build(
        scheme=target.scheme,
        host=str(address),
        port=target.port,
        path=target.path,
        query_string=target.query,
        encoded=True,
    )
    async with session.request(
        request.method,
        url,
        headers=headers,
        data=request.body,
        allow_redirects=False,
        server_hostname=target.host,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
    ) as response:
        body = await _read(request, response)
        return HttpResponse(response.status, body, response.headers.get("Retry-After", ""))


async def _read(request: Request, response: aiohttp.ClientResponse) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise request.trouble(Trouble.CONNECT, "the answer has an encoding that was not asked for")
    body = _Body(request.max_bytes, is_gzip="gzip" in encoding)
    try:
        async for chunk in response.content.iter_any():
            if not body.take(chunk):
                words = f"the answer is larger than {request.max_bytes} bytes"
                raise request.trouble(Trouble.TOO_LARGE, words)
        return body.finish()
    except zlib.error:
        raise request.trouble(Trouble.CONNECT, "the answer is compressed wrongly") from None


@dataclass(slots=True)
class _Body:
    """Collects a body, decoded, up to a limit."""

    limit: int
    is_gzip: bool
    _content: bytearray = field(default_factory=bytearray)
    _received: int = 0
    _inflate: "zlib._Decompress" = field(default_factory=lambda: zlib.decompressobj(_GZIP))

    def take(self, chunk: bytes) -> bool:
        """Add a piece as it came; False when the body is larger than the limit."""
        self._received += len(chunk)
        if not self.is_gzip:
            self._content += chunk
            return len(self._content) <= self.limit
        # One byte beyond the limit tells enough; no limit at all would be 0.
        self._content += self._inflate.decompress(chunk, self.limit - len(self._content) + 1)
        if self._inflate.unused_data:
            raise zlib.error
        # gzip makes nothing much larger: more is a stream of empty blocks, which never ends.
        return len(self._content) <= self.limit and self._received <= 2 * self.limit + 1024

    def finish(self) -> bytes:
        """Return the whole body."""
        if self.is_gzip and self._received and not self._inflate.eof:
            raise zlib.error
        return bytes(self._content)


class _NoLookUps(AbstractResolver):
    """Fails: aiohttp is only ever given addresses, and must never come to look a name up."""

    async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
        raise OSError(errno.EPERM, "names are looked up before aiohttp is asked")

    async def close(self) -> None:
        pass


def _words(error: Exception) -> str:
    """Say what went wrong, in words that hold no part of a request or an answer."""
    match error:
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError() as why
        ):
            return f"the certificate is not trusted: {why.verify_message}"
        case aiohttp.ClientConnectorCertificateError():
            return "the certificate is not trusted"
        case aiohttp.ClientConnectorSSLError():
            return "TLS could not be set up"
        case aiohttp.ConnectionTimeoutError():
            return "the connection was not taken in time"
        case aiohttp.ClientPayloadError():
            return "the connection broke in the middle of the answer"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case OSError(errno=int() as number) if number > 0:
            return os.strerror(number).lower()
    return f"no connection ({type(error).__name__})"
