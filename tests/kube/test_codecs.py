"""Bytes of the API server, and of what is not the API server."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.kinds import CONFIG_MAP, DEPLOYMENT, SECRET
from canaryd.kube import codecs
from canaryd.kube.answers import (
    Call,
    error_from_event,
    error_from_response,
    parse_retry_after,
    parse_warning,
)
from canaryd.ports import errors

NONSENSE = [
    b"",
    b"<html><body>502 Bad Gateway</body></html>",
    b'"a string"',
    b"[]",
    b"null",
    b"{",
    b"\xff\xfe",
    b'{"type": 7, "object": {}}',
    b"[" * 100_000,
]
GET = Call("get", CONFIG_MAP, "shop", "app")


# --- lines of a watch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", NONSENSE, ids=lambda line: repr(line[:20]))
def test_W3_a_line_that_is_no_event_is_an_error_and_not_an_event(line):
    with pytest.raises(codecs.Undecodable, match="is no watch event"):
        codecs.decode_event(line)


def test_an_event_is_cut_into_its_type_and_its_raw_object():
    event = codecs.decode_event(b'{"type":"ADDED","object":{"a": [1,  2]},"later":true}')
    assert ("ADDED", b'{"a": [1,  2]}') == (event.type, bytes(event.object))


@pytest.mark.parametrize(
    ("status", "error", "why"),
    [
        ({"kind": "Status", "code": 410, "message": "too old"}, errors.Gone, "too old"),
        ({"kind": "Status", "reason": "Expired"}, errors.Gone, "HTTP 0 without"),
        ({"kind": "Status", "code": 500}, errors.ServerError, "HTTP 500 without"),
        ({"kind": "Status"}, errors.ServerError, "HTTP 0 without"),
        ({"kind": "Deployment"}, errors.ServerError, "HTTP 500 without"),
        ({}, errors.ServerError, "HTTP 500 without"),
    ],
    ids=str,
)
def test_W5_an_error_event_may_lack_every_field(status, error, why):
    raw = json.dumps(status).encode()
    found = error_from_event(Call("watch", CONFIG_MAP), codecs.decode_status(raw))
    assert error is type(found)
    assert why in str(found)


@pytest.mark.parametrize(
    ("annotations", "ends"),
    [
        ({"k8s.io/initial-events-end": "true"}, True),
        ({"k8s.io/initial-events-end": "false"}, False),
        ({}, False),
        (None, False),
    ],
    ids=str,
)
def test_W12_the_initial_state_ends_at_the_annotation_and_not_at_a_bookmark(annotations, ends):
    meta = {"resourceVersion": "7", "annotations": annotations}
    bookmark = codecs.decode_bookmark(json.dumps({"metadata": meta, "spec": None}).encode())
    assert ("7", ends) == (bookmark.metadata.version, bookmark.ends_initial_events)


@pytest.mark.parametrize("raw", [b"{}", b'{"metadata": 7}', b"[]"], ids=str)
def test_an_object_without_metadata_is_undecodable(raw):
    for decode in (codecs.decode_head, codecs.decode_bookmark):
        with pytest.raises(codecs.Undecodable):
            decode(raw)


# --- objects ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_M4_every_object_comes_out_as_it_went_in(obj):
    assert obj == codecs.decode_object(json.dumps(obj).encode())


@given(st.binary(max_size=40))
def test_no_bytes_at_all_raise_anything_but_undecodable(raw):
    for decode in (
        codecs.decode_event,
        codecs.decode_head,
        codecs.decode_bookmark,
        codecs.decode_page,
        codecs.decode_object,
        codecs.decode_status,
    ):
        try:
            decode(raw)
        except codecs.Undecodable:
            continue


def test_a_cache_is_given_who_wrote_an_object_but_never_the_data_of_a_secret():
    meta = {
        "name": "s",
        "managedFields": [{"manager": "kubectl"}],
        "annotations": {codecs.LAST_APPLIED: '{"data":{"k":"secret"}}', "kept": "yes"},
    }
    raw = json.dumps({"metadata": meta, "data": {"k": "secret"}}).encode()
    whole = codecs.decode_for_cache(raw, DEPLOYMENT, metadata_only=False)
    assert {"kept": "yes"} == whole["metadata"]["annotations"]
    assert [{"manager": "kubectl"}] == whole["metadata"]["managedFields"]
    assert ("apps/v1", "Deployment") == (whole["apiVersion"], whole["kind"])
    partial = codecs.decode_for_cache(raw, SECRET, metadata_only=True)
    assert "secret" not in json.dumps(partial)
    assert "managedFields" not in partial["metadata"]


def test_trimming_leaves_the_object_it_was_given_alone():
    obj = {"metadata": {"managedFields": [], "annotations": {codecs.LAST_APPLIED: "x"}}}
    assert {"metadata": {"annotations": {}}} == codecs.trim(obj, keeps_owners=False)
    assert {"metadata": {"managedFields": [], "annotations": {codecs.LAST_APPLIED: "x"}}} == obj
    assert {"metadata": None} == codecs.trim({"metadata": None}, keeps_owners=True)


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("", 0), ("-1", 0), ("1.0", 0), ("٣", 0)], ids=repr
)
def test_versions_are_ordered_as_numbers(text, number):
    assert number == codecs.parse_version(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "1970-01-01T00:00:00.000000Z"), (1767614400.25, "2026-01-05T12:00:00.250000Z")],
    ids=str,
)
def test_L6_a_time_is_written_in_utc_with_six_digits(seconds, text):
    assert text == codecs.micro_time(seconds)


def test_M5_nothing_here_is_a_model_of_an_object():
    structs = [
        value
        for value in vars(codecs).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    ]
    fields = {field for struct in structs for field in struct.__struct_fields__}
    assert structs
    assert {"spec", "data"}.isdisjoint(fields)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.Invalid),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (405, "MethodNotAllowed", errors.Invalid),
        (406, "NotAcceptable", errors.Invalid),
        (409, "Conflict", errors.Conflict),
        (409, "AlreadyExists", errors.Conflict),
        (410, "Expired", errors.Gone),
        (410, "", errors.Gone),
        (415, "UnsupportedMediaType", errors.Invalid),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.ServerError),
        (503, "ServiceUnavailable", errors.ServerError),
        (504, "Timeout", errors.ServerError),
        (304, "", errors.ServerError),
    ],
    ids=str,
)
def test_each_refusal_becomes_the_error_it_means(code, reason, kind):
    body = {"kind": "Status", "reason": reason, "message": "the server's words", "code": 999}
    error = error_from_response(GET, code, {}, json.dumps(body).encode())
    assert (kind, code) == (type(error), error.status)
    assert str(error).endswith("get configmaps 'app' in namespace 'shop': the server's words")


def test_a_version_from_the_future_means_list_again():
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    body = {"kind": "Status", "code": 504, "reason": "Timeout", "details": {"causes": causes}}
    assert errors.Gone is type(error_from_response(GET, 504, {}, json.dumps(body).encode()))


def test_a_missing_right_is_named():
    call = Call("patch", DEPLOYMENT, "shop", "app", "scale")
    error = error_from_response(call, 403, {}, b"")
    assert str(error).startswith("may not patch deployments.apps/scale 'app' in namespace 'shop':")


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"Retry-After": "7"}, None, 7.0),
        ({"Retry-After": "7"}, {"retryAfterSeconds": 3}, 7.0),
        ({}, {"retryAfterSeconds": 3}, 3.0),
        ({}, {"retryAfterSeconds": 0}, None),
        ({}, None, None),
    ],
    ids=str,
)
def test_the_time_to_wait_is_taken_from_the_header_or_the_body(headers, details, seconds):
    body = json.dumps({"kind": "Status", "details": details}).encode()
    assert seconds == error_from_response(GET, 429, headers, body).retry_after_s


@pytest.mark.parametrize(
    "value", ["", "-1", "1.5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "٣", None], ids=repr
)
def test_a_time_to_wait_that_is_no_number_of_seconds_is_none(value):
    assert parse_retry_after(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('299 - "plain"', "plain"),
        ('299 kube "with \\"quotes\\" and \\\\"', 'with "quotes" and \\'),
        ('199 - "other code"', None),
        ("299 - unquoted", None),
        ("", None),
    ],
    ids=repr,
)
def test_warnings_are_read_as_they_are_written(value, text):
    assert text == parse_warning(value)
