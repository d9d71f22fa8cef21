"""The webhook's certificate: a new authority for each one, which signs it and is then forgotten.

So there is no key with which somebody could make a second certificate, and what replicas share is
good for one server name. The authority's own certificate is public: API servers are told to believe
it. Keys are P-256, names are DNS names, as Go's TLS wants them.

``cryptography`` is imported here and nowhere else: it is an extra, because only the webhook needs
it. Never let a key appear in a log line or a representation.
"""

import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME_S: Final = 90 * 24 * 3600.0
RENEWAL: Final = 2 / 3
"""Share of its life after which a certificate is replaced."""
SKEW_S: Final = 3600.0
"""How far the clock of an API server may be behind: certificates begin that much earlier."""

_BAD = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
)


class BadCertificateError(ValueError):
    """What was kept cannot be served."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, its key, and those who vouch for it; texts are PEM."""

    certificate: str
    key: str = field(repr=False)
    authorities: str
    """Who signed it first, then who signed the one before, which others may still serve."""
    begins: float
    """Seconds since the epoch."""
    ends: float

    @classmethod
    def read(cls, certificate: str, key: str, authorities: str, names: Sequence[str]) -> Self:
        """Take up what was kept.

        Raises:
            BadCertificateError: it is not well-formed, for other names, not with its key, or nobody
                vouches for it.

        """
        try:
            parsed = x509.load_pem_x509_certificate(certificate.encode())
            private = load_pem_private_key(key.encode(), None)
            parsed.verify_directly_issued_by(_first(authorities))
            san = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except _BAD as error:
            raise BadCertificateError(f"{type(error).__name__}: {error}") from error
        if private.public_key() != parsed.public_key():
            raise BadCertificateError("the key belongs to another certificate")
        if set(san.get_values_for_type(x509.DNSName)) != set(names):
            raise BadCertificateError(f"it is not for {', '.join(names)}")
        begins, ends = parsed.not_valid_before_utc, parsed.not_valid_after_utc
        return cls(certificate, key, authorities, begins.timestamp(), ends.timestamp())

    def is_due(self, now: float) -> bool:
        """Whether it is time for another one."""
        return now >= self.begins + (self.ends - self.begins) * RENEWAL

    def load_into(self, context: ssl.SSLContext) -> None:
        """Serve it from the next connection on."""
        # The standard library reads keys from files alone. Nobody else may read this one, and it
        # is gone before the call returns; in the chart's pod it never leaves memory.
        with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".pem") as file:
            file.write(self.certificate + self.key)
            file.flush()
            context.load_cert_chain(file.name)


def issue(names: Sequence[str], now: float, before: Certificate | None = None) -> Certificate:
    """Make a certificate for these DNS names; who vouches for the one ``before`` stays on the list.

    Args:
        names: of the server.
        now: seconds since the epoch, by the system's clock.
        before: the certificate that others serve until they know of the new one.

    """
    begins = datetime.fromtimestamp(now - SKEW_S, UTC).replace(microsecond=0)
    ends = begins + timedelta(seconds=SKEW_S + LIFETIME_S)
    key, authority_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key, begins, ends)
    certificate = (
        _new(x509.Name([]), key, begins, ends)
        .issuer_name(authority.subject)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    vouching = [authority] if before is None else [authority, _first(before.authorities)]
    return Certificate(
        _pem(certificate),
        private.decode(),
        "".join(_pem(a) for a in vouching),
        begins.timestamp(),
        ends.timestamp(),
    )


def _authority(
    key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.Certificate:
    # A name of its own for each: two authorities of one name are taken for one.
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"canaryd webhook {serial:x}")])
    return (
        _new(name, key, begins, ends)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _new(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _first(authorities: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(authorities.encode())[0]


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
