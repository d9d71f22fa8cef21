import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core import loads, verdicts
from canaryd.core.model import LoadTestSpec, Missing
from canaryd.loadtest.histogram import BUCKETS_PER_DOUBLING
from canaryd.loadtest.report import (
    LINE_BYTES,
    PROTOCOL,
    Order,
    Outcome,
    ProtocolError,
    Report,
    answer_of,
    read_order,
    read_report,
    read_started,
    why_void,
    write_order,
    write_report,
    write_started,
)

TEST = LoadTestSpec(name="get", method="GET", path="/", rate=10.0, duration_s=100.0)
LATENCY = {"p50": 4.0, "p90": 8.0, "p95": 9.0, "p99": 20.0, "max": 31.0}
BUCKETS = {-500: 900, -450: 100}
REPORT = Report(
    planned=1000,
    sent=1000,
    took_s=100.0,
    late=0,
    worst_lag_s=0.002,
    last_lag_s=0.001,
    outcomes={Outcome.SUCCESS: 1000},
    latency_ms=LATENCY,
    latencies=BUCKETS,
)


# --- judging ----------------------------------------------------------------------------------------------------------


def test_server_errors_and_everything_without_an_answer_are_failures():
    outcomes = dict.fromkeys(Outcome, 1)
    del outcomes[Outcome.OWN_LIMIT]
    answer = answer_of(TEST, replace(REPORT, planned=len(outcomes), outcomes=outcomes))
    # Not 1xx, 2xx, 3xx and 4xx.
    assert (len(outcomes), len(outcomes) - 4, None) == (answer.sent, answer.failed, answer.absent)


def test_an_answer_tells_what_was_asked_achieved_and_measured():
    answer = answer_of(TEST, replace(REPORT, sent=600, took_s=120.0))
    assert (10.0, 5.0) == (answer.asked_rate, answer.achieved_rate)
    assert LATENCY == answer.latency_ms
    assert 1000 == answer.latencies.count
    assert "get" == answer.test


def test_what_could_not_be_sent_to_a_slow_target_counts_against_it():
    outcomes = {Outcome.SUCCESS: 900, Outcome.UNSENT: 100}
    answer = answer_of(TEST, replace(REPORT, sent=900, outcomes=outcomes))
    verdict = loads.judge_load_test(TEST, answer)
    assert (verdicts.Verdict.FAIL, "10") == (verdict.verdict, verdict.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"late": 10, "worst_lag_s": 2.0}, ""),
        (
            {"late": 11, "worst_lag_s": 2.0},
            (
                "the generator began 11 of 1,000 requests more than 50 ms late, the worst 2.0 s: CPU "
                "is short on the daemon's node, or its CPU limit is low; give it more, or lower rate="
            ),
        ),
        ({"last_lag_s": 1.0}, ""),
        (
            {"last_lag_s": 1.1},
            (
                "the generator reached 9.89 of 10 requests/s and ended 1.1 s behind its schedule: CPU "
                "is short on the daemon's node, or its CPU limit is low; give it more, or lower rate="
            ),
        ),
        (
            {"last_lag_s": 150.0, "late": 600, "worst_lag_s": 150.0},
            (
                "the generator reached 4 of 10 requests/s and ended 150.0 s behind its schedule: CPU "
                "is short on the daemon's node, or its CPU limit is low; give it more, or lower rate="
            ),
        ),
        (
            {"outcomes": {Outcome.SUCCESS: 999, Outcome.OWN_LIMIT: 1}},
            (
                "the generator ran out of files or ports of its own at 1 of 1,000 requests; "
                "lower the rate or the concurrency"
            ),
        ),
        ({"outcomes": {Outcome.UNSENT: 1000}, "sent": 0}, ""),
    ],
    ids=[
        "one percent late",
        "more than one percent late",
        "one percent behind",
        "more than one percent behind",
        "far behind",
        "out of ports",
        "a target that takes nothing",
    ],
)
def test_what_makes_a_result_void(changes, expected):
    assert expected == why_void(TEST, replace(REPORT, **changes))


@pytest.mark.parametrize(("late", "is_void"), [(1, False), (2, True)])
def test_one_late_start_alone_is_a_hiccup(late, is_void):
    small = replace(REPORT, planned=20, sent=20, outcomes={Outcome.SUCCESS: 20}, late=late)
    assert is_void == bool(why_void(replace(TEST, duration_s=2.0), small))


@pytest.mark.parametrize(("behind_s", "is_void"), [(0.05, False), (0.06, True)])
def test_a_short_test_may_end_as_late_as_any_start(behind_s, is_void):
    assert is_void == bool(
        why_void(replace(TEST, duration_s=1.0), replace(REPORT, last_lag_s=behind_s))
    )


def test_a_void_result_is_inconclusive_however_many_requests_failed():
    outcomes = {Outcome.SERVER_ERROR: 1000}
    answer = answer_of(TEST, replace(REPORT, outcomes=outcomes, late=500))
    assert Missing.SOURCE_UNAVAILABLE == answer.absent.why
    assert verdicts.Verdict.INCONCLUSIVE == loads.judge_load_test(TEST, answer).verdict


# --- lines ------------------------------------------------------------------------------------------------------------


def test_lines_come_out_as_they_went_in():
    test = replace(TEST, headers={"Accept": "a\nb"}, body='{"ü": "\u2028\n"}')
    order = Order(test=test, base_url="http://10.0.0.1:80", host="app.shop")
    read_started(write_started())
    assert order == read_order(write_order(order))
    assert REPORT == read_report(write_report(REPORT), TEST)


def test_a_line_is_one_line():
    order = Order(test=replace(TEST, body="a\nb\r\n"), base_url="", host="")
    for line in (write_order(order), write_started(), write_report(REPORT)):
        assert b"\n" == line[-1:]
        assert 1 == len(line.splitlines())


def test_the_largest_report_fits_into_a_line():
    big = 10**9
    report = Report(
        planned=big,
        sent=big,
        took_s=1e5 / 3,
        late=big,
        worst_lag_s=1e5 / 3,
        last_lag_s=1e5 / 3,
        outcomes=dict.fromkeys(Outcome, big),
        latency_ms=dict.fromkeys(LATENCY, 1e9 / 3),
        latencies=dict.fromkeys(range(-1217, -1217 + 32 * BUCKETS_PER_DOUBLING), big),
    )
    assert LINE_BYTES / 1.5 > len(write_report(report))


def changed(**changes):
    line = json.loads(write_report(REPORT))
    return json.dumps(line | changes).encode()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "something else than a line of JSON"),
        (b"Traceback (most recent call last):\n", "something else than a line of JSON"),
        (b"[" * 100_000, "something else than a line of JSON"),
        (b"[]", "something else than an object"),
        (b"{}", "something else than an object"),
        (write_started(), "something else than its report"),
        (changed(protocol=PROTOCOL + 1), "restart canaryd after an upgrade in place"),
        (changed(planned=999), "does not add up to 1,000 requests"),
        (changed(planned=0, outcomes={}), "does not add up"),
        (changed(outcomes={"2xx": 999}), "does not add up"),
        (changed(sent=1001), "does not add up"),
        (changed(outcomes={"2xx": 1001, "5xx": -1}), "malformed"),
        (changed(outcomes={"2xx": 1000.0}), "malformed"),
        (changed(outcomes={"good": 1000}), "malformed"),
        (changed(outcomes=[]), "malformed"),
        (changed(outcomes=None), "malformed"),
        (changed(late=True), "malformed"),
        (changed(late="many"), "malformed"),
        (changed(took_s=float("nan")), "malformed"),
        (changed(took_s=float("inf")), "malformed"),
        (changed(worst_lag_s=-1), "malformed"),
        (changed(took_s=0), "without its time"),
        (changed(latency_ms={"p50": 1}), "without its time or its percentiles"),
        (changed(latency_ms=LATENCY | {"p99": "slow"}), "malformed"),
        (changed(latency_ms={}), "without its time or its percentiles"),
        (changed(latency_ms={}, latencies={}), "other latencies than of 1,000 requests"),
        (changed(latencies={"-500": 999}), "other latencies than of 1,000 requests"),
        (changed(latencies={"-500": 1001}), "other latencies than of 1,000 requests"),
        (changed(latencies={"-500": 1001, "-499": -1}), "malformed"),
        (changed(latencies={"-500": 1000, "-499": 0}), "malformed"),
        (changed(latencies={"-500": 1000.0}), "malformed"),
        (changed(latencies={"fast": 1000}), "malformed"),
        (changed(latencies={"-5000": 1000}), "malformed"),
        (changed(latencies={"99999999": 1000}), "malformed"),
        (changed(latencies=[1000]), "malformed"),
    ],
    ids=range(35),
)
def test_a_report_that_cannot_be_is_refused(line, expected):
    with pytest.raises(ProtocolError, match=expected):
        read_report(line, TEST)


def test_a_report_on_requests_that_were_never_answered_has_no_latencies():
    refused = {"no-connection": 400, "unsent": 600}
    line = changed(outcomes=refused, sent=400, latency_ms={}, latencies={})
    assert {} == read_report(line, TEST).latency_ms


def test_of_the_unsent_some_had_waited_to_the_end_and_some_were_never_begun():
    refused = {"2xx": 400, "unsent": 600}
    for waited in (0, 600):
        line = changed(outcomes=refused, sent=400, latencies={"-500": 400 + waited})
        assert 400 + waited == answer_of(TEST, read_report(line, TEST)).latencies.count
    with pytest.raises(ProtocolError, match="other latencies"):
        read_report(changed(outcomes=refused, sent=400, latencies={"-500": 1001}), TEST)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    ),
    st.sampled_from(sorted(json.loads(write_report(REPORT)))),
)
def test_no_value_in_a_report_raises_anything_else(value, field):
    try:
        read_report(changed(**{field: value}), TEST)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", write_started(), json.dumps({"protocol": PROTOCOL, "kind": "order"}).encode()],
    ids=["nothing", "an object", "another line", "an empty order"],
)
def test_an_order_that_cannot_be_is_refused(line):
    with pytest.raises(ProtocolError):
        read_order(line)


def test_an_order_with_unknown_fields_is_refused():
    line = json.loads(write_order(Order(test=TEST, base_url="", host="")))
    line["test"]["think_time"] = 1
    with pytest.raises(ProtocolError, match="think_time"):
        read_order(json.dumps(line).encode())
