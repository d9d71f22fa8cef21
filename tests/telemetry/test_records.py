"""The contract of a line: its order, its limits, nothing secret in it, and nothing that breaks it."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum

import pytest

from canaryd.telemetry.records import MASK, MAX_LINE, ORDER, json_line, mask, text_line, timestamp

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC).timestamp()
HEAD = {"ts": "2026-01-05T12:00:00.000Z", "level": "info", "msg": "m", "logger": "canaryd"}


def shaped(value, key="key"):
    """What is left of a value in a line."""
    return json.loads(json_line({**HEAD, key: value}))[key]


def both(record):
    return json_line(record), text_line(record)


# --- time ---


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (NOON, "2026-01-05T12:00:00.000Z"),
        (NOON + 0.001, "2026-01-05T12:00:00.001Z"),
        (NOON + 0.9999, "2026-01-05T12:00:00.999Z"),
        (0, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc_with_milliseconds(seconds, expected):
    assert expected == timestamp(seconds)
    assert datetime.fromisoformat(expected).tzinfo is UTC


# --- order ---


def test_the_keys_of_the_contract_come_first_and_in_its_order():
    values = dict.fromkeys(reversed(ORDER), "x")
    record = {"zebra": "x", "exception": "x", "apple": "x"} | values
    assert [*ORDER, "apple", "zebra", "exception"] == list(json.loads(json_line(record)))


def test_the_contract_is_the_one_that_is_documented():
    assert (
        "ts level msg logger namespace deployment canary revision phase weight step decision "
        "reason decision_id metric value threshold duration_ms attempt actor trace_id"
    ) == " ".join(ORDER)


def test_a_line_for_programs_is_one_json_object():
    record = {**HEAD, "weight": 20, "value": 99.5, "step": None, "ok": True}
    assert (
        '{"ts": "2026-01-05T12:00:00.000Z", "level": "info", "msg": "m", "logger": "canaryd", '
        '"weight": 20, "step": null, "value": 99.5, "ok": true}'
    ) == json_line(record)


def test_a_line_for_people_begins_with_time_level_and_message():
    record = {**HEAD, "msg": "weight 5 -> 20", "weight": 20, "reason": "WeightAdvanced"}
    expected = (
        "2026-01-05T12:00:00.000Z info    weight 5 -> 20  "
        "logger=canaryd weight=20 reason=WeightAdvanced"
    )
    assert expected == text_line(record)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "key=plain"),
        ("", 'key=""'),
        ("two words", 'key="two words"'),
        ("a=b", 'key="a=b"'),
        ('a"b', 'key="a\\"b"'),
        (None, "key=null"),
        (True, "key=true"),
        (1.5, "key=1.5"),
        ([1, "a"], 'key=[1, "a"]'),
        ({"a": 1}, 'key={"a": 1}'),
    ],
)
def test_a_value_for_people_is_quoted_where_its_end_would_be_in_doubt(value, expected):
    assert text_line({**HEAD, "key": value}).endswith(expected)


# --- nothing breaks a line ---

HOSTILE = {
    "a line end": "a\nb",
    "a carriage return": "a\rb",
    "a colour": "a\x1b[31mb",
    "a bell": "a\x07b",
    "a zero": "a\0b",
    "a line separator": "a\N{LINE SEPARATOR}b",
    "reversed text": "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "a zero-width space": "a\N{ZERO WIDTH SPACE}b",
    "half a pair": "a\ud800b",
    "beyond the first plane": "a\U000e0001b",
    "delete": "a\x7fb",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("key", ["msg", "key", "logger", "level"])
def test_no_text_can_forge_a_line_or_a_colour(text, key):
    for line in both({**HEAD, key: text}):
        assert line.isprintable()
        line.encode()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_programs_read_back_what_was_written(text):
    assert text == shaped(text)
    assert text in json.loads(json_line({**HEAD, text: 1}))


def test_people_see_line_ends_as_they_are_used_to():
    assert text_line({**HEAD, "msg": "a\nb\r\tc\x00"}).startswith(
        "2026-01-05T12:00:00.000Z info    a\\nb\\r\\tc\\u0000  "
    )


def test_what_people_write_stays_as_it_is():
    assert '"key": "Grüße 北京 😀"' in json_line({**HEAD, "key": "Grüße 北京 😀"})


# --- kinds of values ---


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    IDLE = "Idle"


@dataclass
class Point:
    x: int = 1


class Mute:
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, "red"),
        (Word.IDLE, "Idle"),
        (2**64, "<65 bits>"),
        (-(2**63), -(2**63)),
        (float("nan"), "NaN"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (b"secret bytes", "<12 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (datetime(2026, 1, 5, 12, tzinfo=UTC), "2026-01-05T12:00:00.000+00:00"),
        (ValueError("no"), "ValueError: no"),
        (Point(), "Point(x=1)"),
        (Mute(), "<Mute without text>"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, (2,)), [1, [2]]),
        ({1: {None: 2}}, {"1": {"None": 2}}),
        ({"a": Mute()}, {"a": "<Mute without text>"}),
    ],
    ids=[
        "an enum",
        "a word",
        "a huge number",
        "a number of 64 bits",
        "NaN",
        "infinity",
        "minus infinity",
        "bytes",
        "a bytearray",
        "a time",
        "an error",
        "an object",
        "an object without text",
        "a set",
        "tuples",
        "keys that are no text",
        "deep down",
    ],
)
def test_every_value_becomes_plain_data(value, expected):
    assert expected == shaped(value)


def test_what_contains_itself_has_an_end():
    loop = []
    loop.append(loop)
    assert "<1 items>" in json_line({**HEAD, "key": loop})


# --- limits ---


def long_text():
    return "x" * 1_000_000


GREAT = {
    "a long message": {"msg": long_text()},
    "a long value": {"key": long_text()},
    "long values": {f"k{n}": "x" * 4_000 for n in range(64)},
    "a long key": {"k" * 100_000: 1},
    "many keys": {f"k{n}": n for n in range(5_000)},
    "many long keys": {f"{n}" + "k" * 500: "v" * 500 for n in range(500)},
    "a long list": {"key": list(range(100_000))},
    "a wide tree": {"key": [[[["x" * 100] * 64] * 64] * 64] * 64},
    "wide characters": {"msg": "\N{GRINNING FACE}" * 100_000},
    "escapes": {"msg": "\x01" * 100_000, "key": "\U000e0001" * 100_000},
    "a long exception": {"exception": "Traceback\n" * 50_000},
    "everything at once": {"msg": "\0" * 99_999} | {f"k{n}\0": ["\0" * 9_999] for n in range(999)},
}


@pytest.mark.parametrize("record", GREAT.values(), ids=GREAT)
def test_no_line_is_longer_than_a_container_runtime_takes(record):
    for line in both(HEAD | record):
        assert len(f"{line}\n".encode()) <= MAX_LINE
        assert line.isprintable()
    kept = json.loads(json_line(HEAD | record))
    assert ["ts", "level", "msg", "logger"] == list(kept)[:4]


def test_a_long_line_that_is_short_enough_is_kept_whole():
    record = HEAD | {"msg": "m" * 3_900, "key": "k" * 3_900, "exception": "e" * 3_900}
    assert record == json.loads(json_line(record))


def test_a_line_of_nothing_but_hostile_keys_keeps_its_head():
    keys = {"\U000e0001" * 100 + str(n): "\U000e0001" * 60 for n in range(16)}
    assert {**HEAD, "truncated": True} == json.loads(json_line(HEAD | keys))
    kept = json.loads(json_line({"msg": "m"} | keys))
    assert {"msg": "m", "truncated": True} == kept


def test_of_a_long_text_beginning_and_end_are_kept():
    kept = shaped("begin" + "x" * 100_000 + "end")
    assert kept.startswith("beginxxx")
    assert kept.endswith("xxxend")
    assert " characters cut)..." in kept


def test_of_a_long_collection_it_is_said_how_much_is_missing():
    assert "... 36 more" == shaped(list(range(100)))[-1]
    assert "36 more" == shaped({f"k{n:03}": n for n in range(100)})["..."]


def test_a_line_that_lost_keys_says_so():
    assert json.loads(json_line({**HEAD, **GREAT["many keys"]}))["truncated"] is True


def test_a_wide_tree_is_not_looked_at_leaf_by_leaf():
    looked_at = 0

    class Leaf:
        def __str__(self):
            nonlocal looked_at
            looked_at += 1
            return "leaf"

    json_line({**HEAD, "key": [[[[Leaf()] * 64] * 64] * 64] * 64})
    assert looked_at < 100_000


# --- secrets ---


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "passwd",
        "db_password",
        "dbPassword",
        "PASSWORD",
        "token",
        "tokens",
        "access_token",
        "accessToken",
        "id-token",
        "bearer_token",
        "serviceAccountToken",
        "authorization",
        "Proxy-Authorization",
        "api_key",
        "apikey",
        "apiKey",
        "x-api-key",
        "private_key",
        "clientSecret",
        "client_secret",
        "secret_value",
        "secretData",
        "cookie",
        "Set-Cookie",
        "headers",
        "request_headers",
        "body",
        "response_body",
        "credentials",
        "x" * 500 + ".password",
    ],
)
def test_a_value_is_masked_by_the_name_of_its_key(key):
    deep = {"outer": {key: ["hunter2", {"a": "hunter2"}]}, "list": [{key: 17171}]}
    for line in both({**HEAD, key: "hunter2"} | deep):
        assert "hunter2" not in line
        assert "17171" not in line
        assert 3 == line.count(MASK)


@pytest.mark.parametrize(
    "key",
    ["secret", "namespace", "tokenizer", "bodyguard", "key", "keys", "passwords_file", "pass"],
)
def test_what_only_looks_like_the_name_of_a_secret_is_kept(key):
    assert "podinfo" == shaped("podinfo", key)


TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"token {TOKEN} refused", "token *** refused"),
        ("Bearer abcdefghijklmnopqrstuvwxyz", "***"),
        ("Authorization: Basic bWU6aHVudGVyMg==", "Authorization***"),
        ('{"Authorization": "hunter2-and-more"}', '{"Authorization***"}'),
        ("proxy-authorization=hunter2", "proxy-authorization***"),
        (f"key {PEM} end", "key *** end"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow", "***"),
        ("http://me:hunter2@host/x", "http://***@host/x"),
        ("http://hunter2@host:80/x", "http://***@host:80/x"),
        ("http://me:hun@ter2@host/x", "http://***@host/x"),
        ("http://me:hunter2/x@host", "http://***"),
        ("http://me:hunter2?x@host", "http://***"),
        ("http://host/x?token=hunter2", "http://host/x?***"),
        ("http://host/x#hunter2", "http://host/x?***"),
        ("GET https://host/x?a=hunter2&b=1 failed", "GET https://host/x?*** failed"),
        ("postgres://me:hunter2@db/x, then", "postgres://***@db/x, then"),
    ],
    ids=[
        "a JSON web token",
        "a bearer",
        "a header",
        "a header in JSON",
        "another header",
        "a private key",
        "half of a private key",
        "user and password",
        "a user",
        "an @ in a password",
        "a slash in a password",
        "a question mark in a password",
        "a query",
        "a fragment",
        "a query in a sentence",
        "another scheme",
    ],
)
def test_a_value_is_masked_by_its_shape(text, expected):
    assert expected == mask(text)
    assert "hunter2" not in json_line({**HEAD, "msg": text, "key": [text], "exception": text})


@pytest.mark.parametrize(
    "text",
    [
        "http://prometheus:9090/api/v1/query",
        "cannot reach http://prometheus:9090: connection refused",
        "see https://[fd00::1]:443/x.",
        "svc://podinfo:80/healthz",
        "weight 5 -> 20: success-rate 99.7 >= 99",
        "user@example.com",
        "Bearer of news",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_secret_is_kept(text):
    assert text == mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "://" * 300_000,
        "eyJ" * 300_000,
        "Authorization" * 100_000,
        "-----BEGIN " * 100_000,
        "http://" + "a@" * 300_000,
        "Bearer " * 100_000,
    ],
    ids=["schemes", "tokens", "headers", "keys", "users", "bearers"],
)
def test_hostile_input_is_masked_in_no_time(text):
    began = time.process_time()
    mask(text)
    # A few milliseconds; quadratic work on these takes many seconds.
    assert time.process_time() - began < 1


def test_errors_are_masked_too():
    error = ConnectionError("http://me:hunter2@host refused")
    assert "ConnectionError: http://***@host refused" == shaped(error)
