"""Users: a client that sends requests at a constant rate and counts what came back, request by request.

Open loop: a slow answer delays nobody else. A request is *lost* when the connection failed, timed out, or was answered by
something in front of the app (502, 503, 504, or a 404 of the ingress); an error status of the app itself is the app's.
Runs in a thread with an event loop of its own, so that a blocked test does not slow the traffic down.
Sends to the cluster's ingress on loopback only, and stops by itself.
"""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

LOST_STATUSES = frozenset({404, 502, 503, 504})
LONGEST_S = 1200.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was to start (monotonic), what came, from which version, after how long."""

    at: float
    status: int
    version: str
    seconds: float
    trouble: str = ""

    @property
    def lost(self) -> bool:
        return bool(self.trouble) or self.status in LOST_STATUSES


@dataclass(slots=True)
class Users:
    """``with Users(cluster.ingress_url, "app.test", rate=100) as users:``; the version is the ``message`` podinfo answers."""

    url: str
    host: str
    rate: float = 100.0
    path: str = "/"
    timeout_s: float = 5.0
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every request, as by a tester who asks for the canary."""
    answers: list[Answer] = field(default_factory=list)
    _thread: threading.Thread | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._send()), name="users", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more and wait for the answers under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=self.timeout_s + 5)

    @property
    def sent(self) -> int:
        return len(self.answers)

    def lost(self, since: float = 0.0) -> list[Answer]:
        """Requests nobody answered, since a monotonic instant."""
        return [a for a in self.answers if a.lost and a.at >= since]

    def app_errors(self, since: float = 0.0) -> int:
        """Errors the app itself made."""
        return sum(1 for a in self.answers if not a.lost and a.status >= 500 and a.at >= since)

    def versions(self, since: float = 0.0) -> Counter[str]:
        """How many requests each version answered."""
        return Counter(
            a.version for a in self.answers if a.at >= since and not a.lost and a.version
        )

    def share(self, version: str, seconds: float = 3.0) -> float:
        """Percent of the last seconds' requests that a version answered."""
        recent = self.versions(time.monotonic() - seconds)
        total = sum(recent.values())
        return 100.0 * recent[version] / total if total else 0.0

    def summary(self, since: float = 0.0) -> str:
        lost = self.lost(since)
        sent = sum(1 for a in self.answers if a.at >= since)
        kinds = ", ".join(
            f"{n} {what}"
            for what, n in Counter(a.trouble or str(a.status) for a in lost).most_common(4)
        )
        return f"{len(lost)} of {sent} requests lost{f' ({kinds})' if kinds else ''}"

    async def _send(self) -> None:
        started = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        connector = aiohttp.TCPConnector(limit=200)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers={"Host": self.host, **self.headers}
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            number = 0
            while not self._stop.is_set() and time.monotonic() - started < LONGEST_S:
                due = started + number / self.rate
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._one(session, due))
                number += 1

    async def _one(self, session: aiohttp.ClientSession, due: float) -> None:
        try:
            async with session.get(self.url + self.path) as response:
                body = await response.json(content_type=None) if response.status == 200 else {}
                version = str(body.get("message", "")) if isinstance(body, dict) else ""
                answer = Answer(due, response.status, version, time.monotonic() - due)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            answer = Answer(due, 0, "", time.monotonic() - due, type(error).__name__)
        self.answers.append(answer)
