"""When a client certificate ends.

The standard library opens certificates for TLS but tells nobody their dates,
and a plugin that hands out
certificates need not say either (A5). So the one field is walked to in the DER;
nothing here verifies anything.
"""

import ssl
from datetime import UTC, datetime

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


def expiry_of(pem: str) -> float:
    """Seconds since the epoch at which the first certificate in ``pem`` ends.

    Raises:
        ValueError: there is no certificate, or it is not well-formed.

    """
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if begin < 0 or end < begin:
        raise ValueError("there is no PEM certificate")
    der = ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)])
    try:
        _, to_be_signed, _ = _element(der, 0)
        at = _element(der, to_be_signed)[1]
        if der[at] == _VERSION:
            at = _element(der, at)[2]
        for _skipped in ("serial number", "signature algorithm", "issuer"):
            at = _element(der, at)[2]
        tag, inside, _ = _element(der, at)
        if tag != _SEQUENCE:
            raise ValueError("the certificate has no validity where it should be")
        return _time(der, _element(der, inside)[2])
    except IndexError:
        raise ValueError("the certificate ends too soon") from None


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the element at an offset, where its content begins and where it ends."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[begin : begin + size], "big")
        begin += size
    if begin + length > len(der):
        raise IndexError
    return tag, begin, begin + length


def _time(der: bytes, at: int) -> float:
    tag, begin, end = _element(der, at)
    text = der[begin:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year, 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("the certificate's end is not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
