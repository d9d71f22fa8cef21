"""Who we are to the API server, kept fresh.

A :class:`Source` knows where credentials come from; :class:`Credentials` decides when to ask it:
before they expire, when their files change, and when the server refuses them, always one at a time.
A failure to refresh is an error with its reason, never a request without credentials (A3),
and old credentials stay in use for as long as they are good.
"""

import asyncio
import base64
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from canaryd.kube.certificates import expiry_of
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Unauthorized

log = logging.getLogger(__name__)

LIFE_SHARE = 0.8
"""Credentials are replaced after this share of their life."""
AHEAD_S = 10.0
"""...and at least this long before they end."""
FILES_AGE_S = 60.0
"""Files are read again after this long even when they look the same."""
RETRY_S = 5.0
"""Pause after a failed refresh while the old credentials are still good."""


class CredentialsError(Exception):
    """Credentials cannot be had; the message says from where and why."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate and its key, PEM."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes with a request. Never printed: its fields are out of ``repr``."""

    authorization: str = field(default="", repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)
    expires_at: float | None = None
    """Seconds since the epoch by the system's clock; None when unknown or never."""


class Source(Protocol):
    """Where credentials come from."""

    async def fetch(self) -> Credential:
        """Get credentials anew.

        Raises:
            CredentialsError: they cannot be had.

        """
        ...

    def has_changed(self) -> bool:
        """Whether :meth:`fetch` would say something else now; asked before every request."""
        ...

    @property
    def max_age_s(self) -> float | None:
        """Longest time between two fetches, None for no limit."""
        ...


class FixedSource:
    """Credentials written into the configuration itself."""

    max_age_s = None

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def fetch(self) -> Credential:
        return self._credential

    def has_changed(self) -> bool:
        return False


Signature = tuple[int, int, int]


def signature_of(path: str) -> Signature | None:
    """Tell versions of a file apart; None when there is no file.

    The inode too: kubelet replaces mounted tokens by renaming a link,
    and the new file may be of the same second.
    """
    try:
        stat = os.stat(path)  # noqa: PTH116 - before each request, and Path costs thrice as much
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


class FileSource:
    """A token file, or the files of a client certificate, read again when they change (A2, A7)."""

    max_age_s = FILES_AGE_S

    def __init__(
        self, *, token_file: str = "", certificate_file: str = "", key_file: str = ""
    ) -> None:
        self._token_file = token_file
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._files = tuple(filter(None, (token_file, certificate_file, key_file)))
        self._seen: tuple[Signature | None, ...] = ()

    async def fetch(self) -> Credential:
        self._seen = self._signatures()
        certificate, expires_at = None, None
        if self._certificate_file:
            pem = read_text(self._certificate_file)
            certificate = ClientCertificate(pem, read_text(self._key_file))
            expires_at = _expiry(pem, self._certificate_file)
        # Not stripped, a trailing newline makes the header illegal (A7).
        token = read_text(self._token_file).strip() if self._token_file else ""
        if self._token_file and not token:
            raise CredentialsError(f"the token file {self._token_file} is empty")
        return Credential(f"Bearer {token}" if token else "", certificate, expires_at)

    def has_changed(self) -> bool:
        return self._signatures() != self._seen

    def _signatures(self) -> tuple[Signature | None, ...]:
        return tuple(signature_of(path) for path in self._files)


def _expiry(pem: str, path: str) -> float:
    try:
        return expiry_of(pem)
    except ValueError as error:
        raise CredentialsError(f"the certificate file {path} cannot be used: {error}") from error


def read_text(path: str) -> str:
    """Read a small file.

    Raises:
        CredentialsError: it cannot be read.

    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"cannot read {path}: {error}") from error


def basic(username: str, password: str) -> str:
    """Value of the Authorization header for a name and a password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


class Credentials:
    """The present credentials of one connection."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._credential: Credential | None = None
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def current(self) -> Credential:
        """Credentials that are good now, refreshed first when it is time.

        Raises:
            Unauthorized: there are none, and the source cannot give any.

        """
        if (credential := self._fresh()) is not None:
            return credential
        async with self._lock:
            # Somebody else may have refreshed them while we waited: one run of a plugin serves all.
            return self._fresh() or await self._refresh()

    async def renew(self, refused: Credential) -> Credential:
        """Credentials in place of some that the server refused with 401 (A8).

        Raises:
            Unauthorized: the source cannot give any.

        """
        async with self._lock:
            if self._credential is not None and self._credential is not refused:
                return self._credential
            self._credential = None
            return await self._refresh()

    def _fresh(self) -> Credential | None:
        if self._clock.now() >= self._renew_at or self._source.has_changed():
            return None
        return self._credential

    async def _refresh(self) -> Credential:
        try:
            credential = await self._source.fetch()
        except CredentialsError as error:
            old = self._credential
            if old is None or self._is_over(old):
                raise Unauthorized(f"no credentials for the API server: {error}") from error
            log.warning(
                "credentials could not be refreshed, the old ones are still good: %s", error
            )
            self._renew_at = self._clock.now() + RETRY_S
            return old
        self._credential = credential
        self._renew_at = self._clock.now() + self._life(credential)
        return credential

    def _is_over(self, credential: Credential) -> bool:
        return credential.expires_at is not None and self._clock.wall() >= credential.expires_at

    def _life(self, credential: Credential) -> float:
        limit = self._source.max_age_s
        life = float("inf") if limit is None else limit
        if credential.expires_at is not None:
            left = credential.expires_at - self._clock.wall()
            # Never less than a second: what comes expired from its source would be fetched per
            # request.
            life = min(life, max(1.0, min(LIFE_SHARE * left, left - AHEAD_S)))
        return life
