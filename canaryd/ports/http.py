"""One outgoing HTTP request, as adapters that talk to other people's servers see it.

Implemented by ``canaryd.egress``, the only place that opens such connections: it resolves once,
follows no redirects, caps time and size. Adapters ask through this port, so that none of them can
forget a cap.

::

    HttpTrouble
    └── kind: what kept the answer away
        ├── refused     our own rules forbid the address
        ├── connect     nobody answered, or the connection broke
        ├── timeout     the time was used up, headers and body together
        └── too-large   the body is larger than was asked for
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Trouble(StrEnum):
    """Why there is no answer."""

    REFUSED = "refused"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    TOO_LARGE = "too-large"


class HttpTrouble(Exception):  # noqa: N818 - reads as a state of the world
    """There is no answer.

    Args:
        kind: why.
        message: what was asked of whom and what went wrong, for people; never a body, never a
        credential.

    """

    def __init__(self, kind: Trouble, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer, whatever its status.

    ``retry_after`` is the text of that header, empty without one. Of all headers it alone is handed
    on: nobody needs another, and what nobody is given nobody can leak.
    """

    status: int
    body: bytes
    retry_after: str = ""


class HttpClient(Protocol):
    """Sends requests, one at a time per call."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = ...,
        body: bytes | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> HttpResponse:
        """Send one request and read its answer; ``timeout_s`` bounds the whole, ``max_bytes`` the
        decoded body.

        Raises:
            HttpTrouble: there is no answer.

        """
        ...
