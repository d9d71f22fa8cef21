"""Opening a port, for every server of this process: the same errors, the same silence.

Only how to listen stands here; what is answered is the business of who listens.
"""

import logging
import os
import socket
import ssl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError


class CannotListenError(OSError):
    """The address cannot be served on."""


class OwnFaults(logging.Filter):
    """Drops what somebody sent that is no HTTP: anybody can, as often as they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what went wrong on our side."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


async def listen(
    runner: web.AppRunner, host: str, port: int, *, change: str, tls: ssl.SSLContext | None = None
) -> tuple[str, int]:
    """Start to listen; returns the address and the port.

    Args:
        runner: set up already.
        host: address or name; empty for every interface.
        port: 0 lets the system choose one.
        change: the settings to change when it fails.
        tls: for HTTPS.

    Raises:
        CannotListenError: the address is in use, or not ours.

    """
    try:
        await web.TCPSite(runner, host or None, port, ssl_context=tls).start()
    except OSError as error:
        shown = f"[{host}]" if ":" in host else host or "*"
        words = f"cannot listen on {shown}:{port}: {_why(error)}; change {change}"
        raise CannotListenError(words) from error
    address, number, *_ = runner.addresses[0]
    return str(address), int(number)


def _why(error: OSError) -> str:
    """The system's own words; asyncio's repeat the address, in another spelling."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)
