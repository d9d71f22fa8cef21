"""The webhook's certificate: what is made, how long it lasts, and what is not taken up again."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from canaryd.server.certificates import (
    LIFETIME_S,
    SKEW_S,
    BadCertificateError,
    Certificate,
    issue,
)
from tests.kube.tls import openssl

NAMES = ("canaryd-webhook.canaryd.svc",)
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC).timestamp()


def read(made: Certificate, names=NAMES) -> Certificate:
    return Certificate.read(made.certificate, made.key, made.authorities, names)


def verified(made: Certificate, authorities: str, tmp_path, at: float = NOW) -> str:
    """What openssl, which shares no code with the maker, thinks of a certificate."""
    (tmp_path / "ca.pem").write_text(authorities)
    (tmp_path / "leaf.pem").write_text(made.certificate)
    flags = ("-purpose", "sslserver", "-x509_strict", "-verify_hostname", NAMES[0])
    when = ("-attime", str(int(at)), "-CAfile", str(tmp_path / "ca.pem"))
    return openssl("verify", *flags, *when, str(tmp_path / "leaf.pem"))


def test_a_certificate_is_good_for_its_name_and_by_its_authority(tmp_path):
    made = issue(NAMES, NOW)
    assert "leaf.pem: OK" in verified(made, made.authorities, tmp_path)


def test_it_is_kept_and_taken_up_again_as_it_was():
    made = issue(NAMES, NOW)
    assert made == read(made)


def test_it_begins_early_enough_for_clocks_that_are_behind_and_lasts_three_months():
    made = issue(NAMES, NOW)
    assert (NOW - SKEW_S, NOW + LIFETIME_S) == (made.begins, made.ends)


def test_it_is_replaced_after_two_thirds_of_its_life():
    made = issue(NAMES, NOW)
    days = 24 * 3600
    assert not made.is_due(NOW)
    assert not made.is_due(NOW + 59 * days)
    assert made.is_due(NOW + 60 * days)


def test_each_has_an_authority_of_its_own_and_vouches_for_the_one_before(tmp_path):
    first = issue(NAMES, NOW)
    second = issue(NAMES, NOW, first)
    third = issue(NAMES, NOW, second)
    assert "OK" in verified(first, second.authorities, tmp_path)
    assert "OK" in verified(second, second.authorities, tmp_path)
    assert "OK" in verified(second, third.authorities, tmp_path)
    with pytest.raises(AssertionError, match="unable to get local issuer"):
        verified(second, first.authorities, tmp_path)
    # Two at a time, so the list does not grow.
    with pytest.raises(AssertionError, match="unable to get local issuer"):
        verified(first, third.authorities, tmp_path)
    assert read(third) == third


def test_the_authority_signs_for_nobody_else(tmp_path):
    made = issue(NAMES, NOW)
    (tmp_path / "ca.pem").write_text(made.authorities)
    shown = openssl("x509", "-in", str(tmp_path / "ca.pem"), "-noout", "-text")
    assert "CA:TRUE, pathlen:0" in shown
    assert "Certificate Sign" in shown
    # Its key is in nothing that is kept.
    assert 1 == made.key.count("PRIVATE KEY-----\n") - made.key.count("-----END")
    assert "PRIVATE" not in made.certificate + made.authorities


def test_the_key_is_not_shown():
    assert "PRIVATE" not in repr(issue(NAMES, NOW))


OTHER = issue(NAMES, NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"certificate": ""}, "Unable to load PEM"),
        (
            {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
            "error",
        ),
        ({"key": "nonsense"}, "Unable to load PEM"),
        ({"authorities": ""}, "Unable to load PEM"),
        ({"authorities": OTHER.authorities}, "does not match|InvalidSignature"),
        ({"key": OTHER.key}, "the key belongs to another certificate"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_reason(changes, why):
    with pytest.raises(BadCertificateError, match=why):
        read(replace(issue(NAMES, NOW), **changes))


def test_a_certificate_for_another_name_is_refused():
    with pytest.raises(BadCertificateError, match=r"it is not for renamed\.canaryd\.svc"):
        read(issue(NAMES, NOW), ("renamed.canaryd.svc",))


def test_no_file_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    issue(NAMES, NOW).load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert [] == list(tmp_path.iterdir())
