"""The proxy between us and the API server, from the environment, looked up once.

aiohttp's ``trust_env`` would look it up for every request, in a thread,
together with ``~/.netrc`` (X1).
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit


def proxy_from_environment(url: str, environ: Mapping[str, str]) -> str:
    """URL of the proxy for ``url``; empty for none. ``NO_PROXY`` takes hosts, domains,
    addresses and CIDRs.
    """
    parts = urlsplit(url)
    host, scheme = parts.hostname or "", parts.scheme
    proxy = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme}_proxy".upper()) or ""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not proxy or host == "localhost" or _is_loopback(host):
        return ""
    if any(_covers(entry.strip(), host) for entry in exempt.split(",")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _covers(entry: str, host: str) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        domain = entry.removeprefix("*").removeprefix(".").lower()
        return host == domain or host.endswith(f".{domain}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
