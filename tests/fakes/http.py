"""An ``HttpClient`` over aiohttp for tests against loopback servers; production goes through the egress module."""

import asyncio
from collections.abc import Mapping
from typing import Self

import aiohttp

from canaryd.ports.http import HttpResponse, HttpTrouble, Trouble


class LoopbackHttp:
    """Sends requests with the caps of the port; one session per client, close it with ``async with``."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(trust_env=False)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> HttpResponse:
        assert self._session is not None
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method, url, headers=headers, data=body, allow_redirects=False
                ) as response,
            ):
                content = bytearray()
                async for chunk in response.content.iter_any():
                    content += chunk
                    if len(content) > max_bytes:
                        raise HttpTrouble(Trouble.TOO_LARGE, f"more than {max_bytes} bytes")
                return HttpResponse(
                    response.status, bytes(content), response.headers.get("Retry-After", "")
                )
        except TimeoutError:
            raise HttpTrouble(Trouble.TIMEOUT, f"no answer within {timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise HttpTrouble(Trouble.CONNECT, f"cannot connect: {type(error).__name__}") from None
