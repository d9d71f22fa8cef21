"""Keeps the webhook's certificate: shared by all replicas, replaced long before it ends.

It lies in a Secret, which the chart makes empty. Each replica reads it and serves what is there;
the leader fills it, replaces it, and tells the API servers whom to believe, in this order:

1. whoever signed the new one is added to the configuration's ``caBundle``,
2. API servers get the time to see it,
3. the new one goes into the Secret, and replicas serve it as they find it.

So at every moment every certificate that is served is believed, and after a crash at any point the
next look goes on: what step 1 added in vain does no harm. Whoever empties one of the two objects,
a tool that re-applies its manifests for one, has it filled again at the next look.

Nothing here may end the process: without the webhook drift is repaired as it is without any.
"""

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from canaryd.core.kinds import MUTATING_WEBHOOK_CONFIGURATION, SECRET
from canaryd.ports.clock import Clock
from canaryd.ports.errors import KubeError, NotFound, NotLeading
from canaryd.ports.kube import KubeApi, Manifest
from canaryd.server.certificates import BadCertificateError, Certificate, issue

LOOK_S: Final = 60.0
EAGER_S: Final = 2.0
"""Seconds between two looks while there is no certificate to serve."""
SETTLE_S: Final = 10.0
"""Time for API servers to see a changed configuration; they watch it."""
CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"

_log = logging.getLogger("canaryd.webhook")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are."""

    namespace: str
    name: str
    """Of Service and Secret."""
    configuration: str

    @property
    def server_names(self) -> tuple[str, ...]:
        """As API servers call the Service."""
        return (f"{self.name}.{self.namespace}.svc",)


class CertificateKeeper:
    """One for each process that serves the webhook.

    Args:
        api: writes reach the server only while this process leads.
        place: where things are.
        clock: its :meth:`wall` is what certificates are compared with.
        guard: raises :class:`NotLeading` unless this process leads.
        use: told of each certificate that is to be served from now on.

    """

    def __init__(
        self,
        api: KubeApi,
        place: Place,
        *,
        clock: Clock,
        guard: Callable[[], None],
        use: Callable[[Certificate], None],
    ) -> None:
        self._api = api
        self._place = place
        self._clock = clock
        self._guard = guard
        self._use = use
        self._served: Certificate | None = None
        self._complaint = ""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except NotLeading:
                _log.debug("leadership ended while the certificate was looked after")
            except KubeError as error:
                self._complain(str(error))
            except Exception:  # noqa: BLE001 - told, and looked at again: see above
                _log.exception("a defect in canaryd: the webhook's certificate is not looked after")
            await self._clock.sleep(LOOK_S if self._is_served else EAGER_S)

    async def look(self) -> None:
        """Serve what is in the Secret; while leading, see to it that it is good and believed.

        Raises:
            KubeError: something could not be read or written.

        """
        secret = await self._secret()
        kept = self._read(secret)
        if kept is not None:
            self._serve(kept)
        if not self._leads():
            return
        if kept is None or kept.is_due(self._clock.wall()):
            await self._replace(secret, kept)
        else:
            await self._publish(kept)

    @property
    def _is_served(self) -> bool:
        return self._served is not None and self._clock.wall() < self._served.ends

    def _leads(self) -> bool:
        try:
            self._guard()
        except NotLeading:
            return False
        return True

    async def _replace(self, secret: Manifest, kept: Certificate | None) -> None:
        place, before = self._place, kept or self._served
        made = issue(place.server_names, self._clock.wall(), before)
        await self._publish(made)
        if before is not None:
            await self._clock.sleep(SETTLE_S)
        texts = {CERTIFICATE: made.certificate, KEY: made.key, AUTHORITIES: made.authorities}
        version = secret["metadata"].get("resourceVersion")
        data = {name: _encode(text) for name, text in texts.items()}
        patch = {"metadata": {"resourceVersion": version}, "data": data}
        await self._api.merge_patch(SECRET, place.namespace, place.name, patch)
        self._serve(made)
        _log.info("the webhook has a new certificate; the next one is made after two thirds of it")

    async def _publish(self, certificate: Certificate) -> None:
        """Have API servers believe it; a request to write only if they do not yet."""
        kind, name = MUTATING_WEBHOOK_CONFIGURATION, self._place.configuration
        try:
            live = await self._api.get(kind, None, name)
        except NotFound as error:
            raise NotFound(f"{error}; helm upgrade makes it, or set admission.keep=off") from error
        bundle = _encode(certificate.authorities)
        hooks = [_believing(hook, bundle) for hook in live.get("webhooks") or ()]
        if hooks != live.get("webhooks"):
            version = live["metadata"].get("resourceVersion")
            patch = {"metadata": {"resourceVersion": version}, "webhooks": hooks}
            await self._api.merge_patch(kind, None, name, patch)

    async def _secret(self) -> Manifest:
        try:
            return await self._api.get(SECRET, self._place.namespace, self._place.name)
        except NotFound as error:
            raise NotFound(f"{error}; helm upgrade makes it, or set admission.keep=off") from error

    def _read(self, secret: Manifest) -> Certificate | None:
        """What the Secret holds, if it can still be served."""
        data = secret.get("data") or {}
        if not any(data.get(name) for name in (CERTIFICATE, KEY, AUTHORITIES)):
            return None
        try:
            certificate, key, authorities = (
                _decode(data, name) for name in (CERTIFICATE, KEY, AUTHORITIES)
            )
            found = Certificate.read(certificate, key, authorities, self._place.server_names)
        except BadCertificateError as error:
            self._complain(f"Secret {self._place.name} holds no certificate to serve: {error}")
            return None
        return found if self._clock.wall() < found.ends else None

    def _serve(self, certificate: Certificate) -> None:
        self._complaint = ""
        if certificate != self._served:
            self._use(certificate)
            self._served = certificate

    def _complain(self, what: str) -> None:
        """Warn once of what goes on being wrong."""
        level = logging.DEBUG if what == self._complaint else logging.WARNING
        self._complaint = what
        _log.log(level, "the webhook's certificate cannot be looked after: %s", what)


def _believing(hook: Mapping[str, Any], bundle: str) -> dict[str, Any]:
    return {**hook, "clientConfig": {**(hook.get("clientConfig") or {}), "caBundle": bundle}}


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(data: Mapping[str, Any], name: str) -> str:
    try:
        return base64.b64decode(str(data.get(name, "")), validate=True).decode("ascii")
    except (binascii.Error, UnicodeError) as error:
        raise BadCertificateError(f"{name} is not PEM in base64") from error
