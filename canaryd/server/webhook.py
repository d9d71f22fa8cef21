"""The admission webhook: asks the core what must be kept, and answers within milliseconds.

For API servers without MutatingAdmissionPolicy. It needs no leader, no cache and no right, so every
replica serves it: what it says follows from the request alone. The API server does without it
(``failurePolicy: Ignore``) whenever it is slow or gone; so it must never wait for anything, and
never refuse an object. Whoever can reach the port may ask; there is nothing to learn here.
"""

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from canaryd.core.keep import keep
from canaryd.server.listen import OwnFaults, listen

PATH: Final = "/keep"
"""Where the chart's MutatingWebhookConfiguration sends reviews."""
MAX_BODY: Final = 8 << 20
"""Bytes of a review: the object, as it was and as it will be, each as large as etcd lets it be."""
READ_S: Final = 5.0
"""Longest that a body may take to arrive; the API server has given up long before."""
SHUTDOWN_S: Final = 1.0
REVIEW: Final = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}

_http_log = logging.getLogger("canaryd.webhook.http")
_http_log.addFilter(OwnFaults())


class UnreadableError(ValueError):
    """What was sent is no review."""


def answer(body: bytes, daemon: str) -> tuple[dict[str, Any], int]:
    """Return the review that answers one, and how many operations its patch has.

    Raises:
        UnreadableError: the body is no AdmissionReview of ``admission.k8s.io/v1``.

    """
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("this is no JSON") from error
    if not isinstance(review, Mapping) or any(review.get(k) != v for k, v in REVIEW.items()):
        raise UnreadableError("this is no AdmissionReview of admission.k8s.io/v1")
    request = review.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise UnreadableError("the review has no request with a uid")
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    patch = keep(request, daemon=daemon)
    if patch:
        text = json.dumps(patch).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(text).decode()}
    return REVIEW | {"response": response}, len(patch)


def make_app(daemon: str, reviewed: Callable[[str], None]) -> web.Application:
    """Return the application: one path, POST alone.

    Args:
        daemon: name of the user that canaryd itself is.
        reviewed: told ``kept``, ``passed`` or ``unreadable`` for each request.

    """

    async def handle(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READ_S):
                body = await request.read()
            made, operations = answer(body, daemon)
        except (UnreadableError, TimeoutError) as error:
            reviewed("unreadable")
            why = str(error) or "the review did not arrive in time"
            return web.Response(status=400, text=f"{why}\n")
        reviewed("kept" if operations else "passed")
        return web.json_response(made)

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post(PATH, handle)
    return app


@asynccontextmanager
async def serve(
    host: str, port: int, tls: ssl.SSLContext, app: web.Application
) -> AsyncIterator[tuple[str, int]]:
    """Serve while the block runs; yields the address and port that are listened on.

    Args:
        host: address or name to listen on; empty for every interface.
        port: 0 lets the system choose one.
        tls: shakes no hands until a certificate was loaded into it.
        app: of :func:`make_app`.

    Raises:
        CannotListenError: the address is in use, or not ours.

    """
    runner = web.AppRunner(app, access_log=None, logger=_http_log, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        change = "server.host or admission.webhook.port"
        yield await listen(runner, host, port, change=change, tls=tls)
    finally:
        await runner.cleanup()
