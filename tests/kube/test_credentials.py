"""When credentials are fetched, and from which files."""

import asyncio
import os

import pytest

from canaryd.kube.certificates import expiry_of
from canaryd.kube.credentials import Credential, Credentials, CredentialsError, FileSource
from canaryd.ports.errors import Unauthorized
from tests.fakes.clock import VirtualClock, parse_timestamp

pytestmark = pytest.mark.looptime


class Source:
    """Hands out numbered credentials that live so many seconds."""

    max_age_s = None

    def __init__(self, clock, life_s=None, *, seconds=0.0):
        self.clock = clock
        self.life_s = life_s
        self.seconds = seconds
        self.fetched = []
        self.broken = False

    async def fetch(self):
        await asyncio.sleep(self.seconds)
        self.fetched.append(round(asyncio.get_running_loop().time(), 3))
        if self.broken:
            raise CredentialsError("the source is dry")
        expires_at = None if self.life_s is None else self.clock.wall() + self.life_s
        return Credential(f"Bearer {len(self.fetched)}", expires_at=expires_at)

    def has_changed(self):
        return False


async def every_second(credentials, seconds):
    for _ in range(seconds):
        await credentials.current()
        await asyncio.sleep(1)


def replace(path, content):
    """As kubelet does it: another file under the same name, perhaps of the same second."""
    before = path.stat() if path.exists() else None
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    if before is not None:
        os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh.replace(path)


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life_s", "fetched"),
    [
        (None, [0]),
        (100, [0, 80, 160, 240]),
        (30, [20 * n for n in range(15)]),
        (3600, [0]),
        (-5, list(range(300))),
    ],
    ids=["no end", "80 %", "at least 10 s ahead", "long", "expired from the start: once a second"],
)
async def test_A2_credentials_are_renewed_before_they_end(life_s, fetched):
    clock = VirtualClock()
    source = Source(clock, life_s)
    await every_second(Credentials(source, clock), 300)
    assert fetched == source.fetched


async def test_credentials_that_come_expired_are_not_fetched_for_each_request():
    clock = VirtualClock()
    source = Source(clock, -5)
    credentials = Credentials(source, clock)
    for _ in range(10):
        await credentials.current()
        await asyncio.sleep(0.05)
    assert [0] == source.fetched


async def test_a_refresh_that_fails_keeps_what_is_still_good_and_is_tried_again_soon(caplog):
    clock = VirtualClock()
    source = Source(clock, 100)
    credentials = Credentials(source, clock)
    await every_second(credentials, 80)
    source.broken = True
    await every_second(credentials, 19)
    assert "Bearer 1" == (await credentials.current()).authorization
    assert [0, 80, 85, 90, 95] == source.fetched
    assert "the source is dry" in caplog.text
    source.broken = False
    await asyncio.sleep(1)
    assert "Bearer 6" == (await credentials.current()).authorization


async def test_A3_when_what_was_good_ends_it_is_an_error_with_its_reason():
    clock = VirtualClock()
    source = Source(clock, 100)
    credentials = Credentials(source, clock)
    await credentials.current()
    source.broken = True
    await asyncio.sleep(101)
    with pytest.raises(Unauthorized, match="no credentials for the API server: the source is dry"):
        await credentials.current()


async def test_one_fetch_serves_all_who_wait():
    clock = VirtualClock()
    source = Source(clock, seconds=3.0)
    credentials = Credentials(source, clock)
    got = await asyncio.gather(*(credentials.current() for _ in range(50)))
    assert ({"Bearer 1"}, [3]) == ({c.authorization for c in got}, source.fetched)


async def test_refused_credentials_are_not_fetched_again_when_somebody_did_already():
    clock = VirtualClock()
    source = Source(clock)
    credentials = Credentials(source, clock)
    old = await credentials.current()
    assert "Bearer 2" == (await credentials.renew(old)).authorization
    assert "Bearer 2" == (await credentials.renew(old)).authorization


async def test_a_step_of_the_wall_clock_does_not_keep_expired_credentials():
    clock = VirtualClock()
    source = Source(clock, 100)
    credentials = Credentials(source, clock)
    await credentials.current()
    source.broken = True
    clock.wall_offset_s = 200.0
    await asyncio.sleep(81)
    with pytest.raises(Unauthorized):
        await credentials.current()


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["abc", "abc\n", "  abc \r\n"], ids=repr)
async def test_A7_a_token_is_stripped(content, tmp_path):
    (tmp_path / "token").write_text(content)
    source = FileSource(token_file=str(tmp_path / "token"))
    assert "Bearer abc" == (await source.fetch()).authorization


async def test_A7_a_rotated_token_is_used_from_the_next_request_on(tmp_path):
    path = tmp_path / "token"
    replace(path, "one")
    credentials = Credentials(FileSource(token_file=str(path)), VirtualClock())
    assert "Bearer one" == (await credentials.current()).authorization
    replace(path, "two")  # as long, and of the same instant
    assert "Bearer two" == (await credentials.current()).authorization


async def test_A7_a_token_is_read_again_after_a_minute_whatever_the_file_looks_like(tmp_path):
    path = tmp_path / "token"
    path.write_text("one")
    before = path.stat()
    credentials = Credentials(FileSource(token_file=str(path)), VirtualClock())
    await credentials.current()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await asyncio.sleep(59)
    assert "Bearer one" == (await credentials.current()).authorization
    await asyncio.sleep(1)
    assert "Bearer two" == (await credentials.current()).authorization


async def test_a_token_file_that_vanishes_for_a_moment_costs_nothing(tmp_path):
    path = tmp_path / "token"
    path.write_text("one")
    credentials = Credentials(FileSource(token_file=str(path)), VirtualClock())
    await credentials.current()
    path.unlink()
    assert "Bearer one" == (await credentials.current()).authorization
    path.write_text("two")
    assert "Bearer two" == (await credentials.current()).authorization


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot read"), (b"  \n", "is empty"), (b"\xff\xfe", "cannot read")],
    ids=["missing", "empty", "not text"],
)
async def test_a_token_file_that_cannot_be_used_is_named(content, why, tmp_path):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialsError, match=f"{why}.*|{path}.*{why}"):
        await FileSource(token_file=str(path)).fetch()


async def test_A5_the_end_of_a_certificate_file_is_known(authority):
    pair = authority.issue("short", days=2)
    source = FileSource(certificate_file=str(pair.certificate), key_file=str(pair.key))
    credential = await source.fetch()
    assert parse_timestamp(pair.end()) == credential.expires_at
    assert (pair.pem, pair.key_pem) == (
        credential.certificate.certificate,
        credential.certificate.key,
    )


async def test_a_certificate_file_that_is_none_is_named(tmp_path):
    for name in ("pem", "key"):
        (tmp_path / name).write_text("nonsense")
    source = FileSource(certificate_file=str(tmp_path / "pem"), key_file=str(tmp_path / "key"))
    with pytest.raises(CredentialsError, match=r"certificate file .*/pem cannot be used"):
        await source.fetch()


# --- the end of a certificate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, 365, 20_000], ids=["a day", "a year", "beyond 2049"])
def test_the_end_of_a_certificate_is_what_openssl_reads(authority, days):
    pair = authority.issue("some", days=days)
    assert parse_timestamp(pair.end()) == expiry_of(pair.pem)


def test_of_a_chain_the_first_certificate_counts(authority):
    pair = authority.issue("leaf", days=1)
    chain = f"Bag Attributes\n{pair.pem}{authority.ca.pem}"
    assert parse_timestamp(pair.end()) == expiry_of(chain)


def test_what_is_no_certificate_is_a_value_error_and_nothing_worse(authority):
    pem = authority.ca.pem
    lines = pem.splitlines()
    for broken in ("", "-----BEGIN CERTIFICATE-----", "\n".join([*lines[:2], lines[-1]])):
        with pytest.raises(ValueError, match=r"certificate|PEM|data|padding"):
            expiry_of(broken)
