"""Names to addresses, through the system's resolver, in threads of our own.

Not in the event loop's default executor: there a few names whose servers never answer would hold up
whatever else the process does in threads. The canonical name is asked for as well, since it tells
an ExternalName Service from a real one.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from canaryd.egress.addresses import IPAddress

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses of a name, in the order to try them, and the name behind every alias."""

    addresses: tuple[IPAddress, ...]
    canonical: str


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, name: str) -> Found | None:
        """Return what a name stands for, or None when there is nothing.

        A trailing dot makes a name absolute: no search path is tried.
        """
        ...

    def close(self) -> None:
        """Begin no look-up any more."""
        ...


class SystemResolver:
    """``getaddrinfo``: the hosts file, DNS, and whatever else the system is told to ask."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="canaryd-dns")

    async def resolve(self, name: str) -> Found | None:
        """Look a name up; who gives up waiting leaves a thread behind until the system gives up."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _look_up, name)

    def close(self) -> None:
        """Begin no look-up any more; does not wait for those under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> Found | None:
    try:
        # Bytes, because text goes through the idna codec, which raises on what DNS would refuse.
        found = socket.getaddrinfo(
            name.encode("ascii"), None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME
        )
    except socket.gaierror:
        return None
    addresses = tuple(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))
    canonical = next((alias for *_, alias, _ in found if alias), "")
    return Found(addresses, canonical)
