"""Sends the requests of a load test with aiohttp and counts how each ended.

Every request belongs to its intended start: its latency and its time limit count from there, also
while it waits for a connection. There are as many connections as the test's ``concurrency``, each
carries one request at a time, and they take turns: a Service chooses the pod by connection, and a
test of few requests would otherwise see one pod only. A request that finds all of them busy waits
in a backlog with a limit. One whose time is over before it gets its turn is counted and not sent,
so that a target that recovers is not hit by all that it missed.

The schedule begins once the door is open: a Service's address answers only when every node's proxy
has learnt of its new endpoints, about a second after they are ready, and until then connections
are refused. That says nothing about the app. A door that stays shut is no excuse either: after
``DOOR_S`` the test begins all the same, and every request counts.

The target is not trusted: no redirects, no cookies, no proxies or credentials of the environment,
at most ``BODY_BYTES`` of a body, nothing decompressed, nothing kept. aiohttp manages some 2,000
requests a second on a core; a faster engine has to offer the same ``run``.
"""

import asyncio
import errno
from collections import Counter, deque
from contextlib import suppress

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from canaryd import __version__
from canaryd.loadtest.histogram import Histogram
from canaryd.loadtest.pacer import Pacer
from canaryd.loadtest.report import PERCENTILES, TIMED, Order, Outcome, Report

BACKLOG = 10_000
"""Requests that may wait for a connection; a start beyond them is counted as unsent at once."""
BODY_BYTES = 1024 * 1024
"""Read of each body, far more than a page has; then the connection is closed."""
DOOR_S = 5.0
"""How long a first connection may be tried before the schedule begins."""
KNOCK_S = 0.1
IDLE_S = 1.5
"""How long a connection may rest. Servers close theirs after 2 s or more,
and a request that is sent into a closing connection fails without fault of the app."""
_BUFFER_BYTES = 16 * 1024

_BY_CLASS = {
    1: Outcome.INFORMATIONAL,
    2: Outcome.SUCCESS,
    3: Outcome.REDIRECT,
    4: Outcome.CLIENT_ERROR,
    5: Outcome.SERVER_ERROR,
}
_OWN_LIMITS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)


class AiohttpEngine:
    """One load test; call ``run`` once."""

    def __init__(self, order: Order) -> None:
        self._test = test = order.test
        # The path was checked when it was read; encoded once more it would be another one.
        self._url = URL(order.base_url + test.path, encoded=True)
        self._headers = CIMultiDict({"User-Agent": f"canaryd-loadtest/{__version__}"})
        self._headers.update(test.headers)
        self._headers["Host"] = order.host
        self._body = test.body.encode() if test.body else None
        self._backlog: deque[float] = deque()
        self._connections: list[aiohttp.ClientSession] = []
        self._idle: deque[aiohttp.ClientSession] = deque()
        self._outcomes: Counter[Outcome] = Counter()
        self._latencies = Histogram()
        self._sent = 0
        self._last_sent_at = 0.0

    async def run(self) -> Report:
        """Send everything, wait for the last answer, and tell what happened.

        Lasts as long as the test's duration and time limit and ``DOOR_S`` together at most.
        """
        self._clock = asyncio.get_running_loop().time
        await self._await_door()
        pacer = Pacer(self._test.rate, self._test.duration_s, self._clock)
        try:
            async with asyncio.TaskGroup() as group:
                async for due in pacer.starts():
                    self._begin(group, due)
        finally:
            for connection in self._connections:
                await connection.close()
        return self._report(pacer)

    async def _await_door(self) -> None:
        """Wait until a connection can be made, within limits; nothing is sent on it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DOOR_S):
                while True:
                    with suppress(OSError):
                        _, writer = await asyncio.open_connection(self._url.host, self._url.port)
                        writer.close()
                        return
                    await asyncio.sleep(KNOCK_S)

    # --- one request

    def _begin(self, group: asyncio.TaskGroup, due: float) -> None:
        """Give a request that is due to a connection, or let it wait."""
        if len(self._connections) < self._test.concurrency:
            group.create_task(self._serve(self._connect(), due))
        elif self._idle:
            group.create_task(self._serve(self._idle.popleft(), due))
        elif len(self._backlog) < BACKLOG:
            self._backlog.append(due)
        else:
            self._outcomes[Outcome.UNSENT] += 1

    def _connect(self) -> aiohttp.ClientSession:
        """Add a connection. A pool of one each, for a shared pool reuses whatever is free first."""
        connection = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_BUFFER_BYTES,
        )
        self._connections.append(connection)
        return connection

    async def _serve(self, connection: aiohttp.ClientSession, due: float) -> None:
        """Send one request, and after it what waits."""
        await self._send(connection, due)
        while self._backlog:
            await self._send(connection, self._backlog.popleft())
        self._idle.append(connection)

    async def _send(self, connection: aiohttp.ClientSession, due: float) -> None:
        deadline = due + self._test.timeout_s
        now = self._clock()
        if now >= deadline:
            # Not sent, yet whoever had asked would have waited to the end.
            self._outcomes[Outcome.UNSENT] += 1
            self._latencies.record(self._test.timeout_s)
            return
        self._sent += 1
        self._last_sent_at = now
        try:
            async with asyncio.timeout_at(deadline):
                outcome = await self._exchange(connection)
        except TimeoutError:
            outcome = Outcome.TIMEOUT
        self._outcomes[outcome] += 1
        if outcome in TIMED:
            # A timer may fire a nanosecond early.
            self._latencies.record(max(0.0, self._clock() - due))

    async def _exchange(self, connection: aiohttp.ClientSession) -> Outcome:
        try:
            async with connection.request(
                self._test.method,
                self._url,
                headers=self._headers,
                data=self._body,
                allow_redirects=False,
            ) as response:
                await _discard_body(response)
                return _BY_CLASS.get(response.status // 100, Outcome.NO_STATUS)
        except aiohttp.ClientConnectorError as error:
            is_own = error.os_error.errno in _OWN_LIMITS
            return Outcome.OWN_LIMIT if is_own else Outcome.NO_CONNECTION
        except (aiohttp.ClientError, OSError):
            return Outcome.BROKEN

    # --- all of them

    def _report(self, pacer: Pacer) -> Report:
        latencies = self._latencies
        return Report(
            planned=pacer.planned,
            sent=self._sent,
            took_s=max(self._test.duration_s, self._last_sent_at - pacer.began_at),
            late=pacer.late,
            worst_lag_s=pacer.worst_lag_s,
            last_lag_s=pacer.last_lag_s,
            outcomes=dict(self._outcomes),
            latency_ms={
                name: round(1000 * latencies.quantile(share), 3)
                for name, share in PERCENTILES.items()
                if latencies.count
            },
            latencies=dict(latencies.buckets),
        )


async def _discard_body(response: aiohttp.ClientResponse) -> None:
    """Read what is needed to use the connection again; a longer body costs the connection."""
    seen = 0
    async for chunk in response.content.iter_any():
        seen += len(chunk)
        if seen > BODY_BYTES:
            response.close()
            return
