"""Puts the webhook together: its port, its TLS, and the keeper of its certificate.

The one place that knows the parts of it, as :mod:`canaryd.app` knows those of the daemon. It is
imported only where a webhook is wanted: what makes certificates is an extra.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from canaryd.config.settings import Settings
from canaryd.ports.clock import Clock
from canaryd.ports.kube import KubeApi
from canaryd.server import webhook
from canaryd.server.certificates import Certificate
from canaryd.server.rotation import CertificateKeeper, Place
from canaryd.telemetry.logging import get_logger
from canaryd.telemetry.prometheus import Telemetry


@asynccontextmanager
async def serve(
    settings: Settings,
    api: KubeApi,
    *,
    namespace: str,
    guard: Callable[[], None],
    clock: Clock,
    telemetry: Telemetry,
) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Serve the webhook while the block runs; yields what looks after its certificate meanwhile.

    Args:
        settings: of the whole process.
        api: writes only while this process leads.
        namespace: the one canaryd runs in.
        guard: raises :class:`canaryd.ports.errors.NotLeading` unless this process leads.
        clock: certificates end by its :meth:`wall`.
        telemetry: counts reviews, and shows when the certificate ends.

    Raises:
        CannotListenError: the address is in use, or not ours.

    """
    given = settings.admission
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def use(certificate: Certificate) -> None:
        certificate.load_into(context)
        telemetry.certificate_ends(certificate.ends)

    objects = Place(
        namespace=namespace, name=given.webhook.name, configuration=given.webhook.configuration
    )
    keeper = CertificateKeeper(api, objects, clock=clock, guard=guard, use=use)
    app = webhook.make_app(given.username, telemetry.reviewed)
    async with webhook.serve(settings.server.host, given.webhook.port, context, app) as (
        host,
        port,
    ):
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        get_logger("canaryd.webhook").info("the webhook is served", at=place)
        yield keeper.run
