"""Probes and metrics over HTTP: what the kubelet and Prometheus ask, and nothing else.

``/healthz`` says whether the event loop turns: a heartbeat on the loop must have beaten lately.
It must never depend on the API server or anybody else, or an outage of theirs restarts us.
``/readyz`` says why not, when not. ``/metrics`` is rendered on a thread, one scrape at a time,
because thousands of apps would hold up the loop. There is nothing to write here and nothing secret
to read; everything with rights belongs elsewhere.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from canaryd.config.settings import Server
from canaryd.server.listen import OwnFaults, listen
from canaryd.telemetry.logging import get_logger
from canaryd.telemetry.prometheus import CONTENT_TYPE, Telemetry

BEAT_S: Final = 1.0
MAX_AGE_S: Final = 10.0
MAX_REASONS: Final = 50
SHUTDOWN_S: Final = 1.0

_log = get_logger("canaryd.server")


_http_log = logging.getLogger("canaryd.server.http")
_http_log.addFilter(OwnFaults())


class Heartbeat:
    """Beats while the event loop turns, and measures how late it wakes us.

    Args:
        lagged: told after each beat how much too late it was, in seconds.

    """

    def __init__(self, lagged: Callable[[float], None]) -> None:
        self._lagged = lagged
        self._beat_at = asyncio.get_running_loop().time()

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return asyncio.get_running_loop().time() - self._beat_at

    async def run(self) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._beat_at = loop.time()
            self._lagged(self._beat_at - due)


@dataclass(frozen=True, slots=True)
class _Endpoints:
    heartbeat: Heartbeat
    not_ready: Callable[[], Sequence[str]]
    telemetry: Telemetry
    scrape: asyncio.Lock

    async def healthz(self, _request: web.Request) -> web.Response:
        # After a pause of the whole process requests are read before timers run:
        # the heartbeat that is due gets its turn first.
        await asyncio.sleep(0)
        age = self.heartbeat.age
        if age < MAX_AGE_S:
            return _plain("ok")
        return _plain(f"the heartbeat of the event loop is {age:.0f} s old", 503)

    async def readyz(self, _request: web.Request) -> web.Response:
        try:
            reasons = list(self.not_ready())
        except Exception as error:  # noqa: BLE001 - not to know is not to be ready
            _log.exception("readiness cannot be told")
            reasons = [f"readiness cannot be told: {type(error).__name__}"]
        if not reasons:
            return _plain("ok")
        more = len(reasons) - MAX_REASONS
        shown = reasons[:MAX_REASONS] + ([f"and {more} more"] if more > 0 else [])
        return _plain("\n".join(shown), 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        async with self.scrape:
            body = await asyncio.to_thread(self.telemetry.expose)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def make_app(
    heartbeat: Heartbeat, not_ready: Callable[[], Sequence[str]], telemetry: Telemetry
) -> web.Application:
    """Return the application: three paths, and 404 for everything else."""
    endpoints = _Endpoints(heartbeat, not_ready, telemetry, asyncio.Lock())
    app = web.Application()
    app.router.add_get("/healthz", endpoints.healthz)
    app.router.add_get("/readyz", endpoints.readyz)
    app.router.add_get("/metrics", endpoints.metrics)
    app.on_response_prepare.append(_finish)
    return app


@asynccontextmanager
async def serve(
    settings: Server,
    *,
    not_ready: Callable[[], Sequence[str]],
    telemetry: Telemetry,
) -> AsyncIterator[tuple[str, int]]:
    """Serve while the block runs; yields the address and port that are listened on.

    Args:
        settings: where to listen.
        not_ready: why the process is not ready, as sentences; empty when it is. Must not block.
        telemetry: what ``/metrics`` shows, and where lags of the event loop are counted.

    Raises:
        CannotListenError: the address is in use, or not ours.

    """
    heartbeat = Heartbeat(telemetry.lagged)
    runner = web.AppRunner(
        make_app(heartbeat, not_ready, telemetry),
        access_log=None,
        logger=_http_log,
        shutdown_timeout=SHUTDOWN_S,
    )
    await runner.setup()
    beating = asyncio.create_task(heartbeat.run(), name="heartbeat")
    beating.add_done_callback(_tell_end)
    try:
        yield await listen(
            runner, settings.host, settings.port, change="server.host or server.port"
        )
    finally:
        beating.cancel()
        try:
            await asyncio.wait([beating])
        finally:
            await runner.cleanup()


def _tell_end(task: asyncio.Task[None]) -> None:
    """Say why the heart stopped; the probe finds out by its age."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the heartbeat ended", exc_info=error)


def _plain(text: str, status: int = 200) -> web.Response:
    return web.Response(text=f"{text}\n", status=status)


async def _finish(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "canaryd"
