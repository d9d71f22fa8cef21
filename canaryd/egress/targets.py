"""URLs, read strictly and once.

What is checked must be what is connected to. Two readers of one URL that disagree about its host
are the classic way around an allow-list, so a URL is taken apart here, and what is sent later is
put together from these parts: aiohttp never sees the text. Whatever could be read in two ways
(credentials, backslashes, ``0x7f.1``, letters that look like digits) is refused, not repaired.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from canaryd.egress.addresses import IPAddress

_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


class UrlError(ValueError):
    """A URL that no request is sent to; says what is wrong with it, never what it is."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    ``host`` is in lower case and without a trailing dot; ``is_absolute`` says that there was one.
    ``address`` is set when the host is an IP address.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""
    address: IPAddress | None = None
    is_absolute: bool = False

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what a source of metrics is allowed by."""
        return self.scheme, self.host, self.port

    @property
    def netloc(self) -> str:
        """Host and port as a Host header has them: the only part of a URL that messages show."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """Take a URL apart.

    Raises:
        UrlError: it is no http or https URL, or one that could be read in two ways.

    """
    if not url.isascii() or not url.isprintable() or any(c in url for c in ' \\"<>^`{|}'):
        raise UrlError(
            "the URL has characters that cannot be in one; "
            "write them percent-encoded, and a host with its xn-- name"
        )
    found = _URL.fullmatch(url)
    if found is None:
        raise UrlError("the URL is not one with http:// or https://, or has a fragment (#)")
    scheme, authority = found[1].lower(), found[2].lower()
    if "@" in authority:
        raise UrlError("the URL carries credentials, which would end in logs; leave them out")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UrlError("the URL has no host, or a port that is not a number")
    port = int(parts[2]) if parts[2] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise UrlError("the URL's port is not one from 1 to 65535")
    host, is_absolute = parts[1].removesuffix("."), parts[1].endswith(".")
    address = _address(host)
    return Target(
        scheme,
        str(address) if address is not None else host,
        port,
        found[3] or "/",
        (found[4] or "")[1:],
        address,
        is_absolute,
    )


def _address(host: str) -> IPAddress | None:
    """Read a host that is an address; None for a name.

    Raises:
        UrlError: it is neither a name nor an address in its usual form.

    """
    try:
        if host.startswith("["):
            if "%" in host:
                raise UrlError("the URL's address names a network interface (%)")
            return IPv6Address(host[1:-1])
        # The resolver reads 0x7f.1, 0177.0.0.1 and 2130706433 as 127.0.0.1; we read none of them.
        if _LOOKS_NUMERIC.fullmatch(host.rpartition(".")[2]):
            return IPv4Address(host)
    except ValueError as error:
        if isinstance(error, UrlError):
            raise
        raise UrlError("the URL's host is not an IP address in its usual form") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise UrlError("the URL's host is neither a name nor an address")
    return None
