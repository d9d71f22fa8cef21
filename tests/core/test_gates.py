from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.gates import judge, share_requests
from canaryd.core.model import (
    Absent,
    Comparator,
    Condition,
    Counts,
    Histogram,
    MetricAnswer,
    MetricCheck,
    Missing,
    NoData,
)
from canaryd.core.verdicts import (
    CheckResult,
    FailureBudget,
    GateReason,
    Outcome,
    Verdict,
    judge_all,
)
from tests.core.answers import CHECKS, TRAEFIK_EDGES, a_check, counted, missing, timed, valued


def verdict_of(check, answer, **more):
    return judge(check, answer, **more).verdict


# --- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "condition", "answer", "verdict", "message"),
    [
        (
            "success-rate",
            ">= 99",
            counted(1284, 36),
            Verdict.FAIL,
            "success-rate 97.2 is below 99 (36 errors of 1,284 requests in 60 s)",
        ),
        (
            "success-rate",
            ">= 99",
            counted(100, 1),
            Verdict.PASS,
            "success-rate 99 is at least 99 (1 error of 100 requests in 60 s)",
        ),
        (
            "success-rate",
            "> 99",
            counted(100, 1),
            Verdict.FAIL,
            "success-rate 99 is not above 99 (1 error of 100 requests in 60 s)",
        ),
        (
            "success-rate",
            ">= 99.99",
            counted(100_000, 11),
            Verdict.FAIL,
            "success-rate 99.989 is below 99.99 (11 errors of 100,000 requests in 60 s)",
        ),
        (
            "success-rate",
            ">= 99",
            counted(10_000_000, 1),
            Verdict.PASS,
            "success-rate 99.99999 is at least 99 (1 error of 10,000,000 requests in 60 s)",
        ),
        (
            "error-rate",
            "< 5%",
            counted(20, 1),
            Verdict.FAIL,
            "error-rate 5% is not below 5% (1 error of 20 requests in 60 s)",
        ),
        (
            "error-rate",
            "<= 5%",
            counted(20, 1, window_s=300.0),
            Verdict.PASS,
            "error-rate 5% is at most 5% (1 error of 20 requests in 300 s)",
        ),
        (
            "success-rate",
            "95..100",
            counted(100, 6),
            Verdict.FAIL,
            "success-rate 94 is below 95..100 (6 errors of 100 requests in 60 s)",
        ),
        (
            "success-rate",
            "95..100",
            counted(1, 0),
            Verdict.PASS,
            "success-rate 100 is within 95..100 (0 errors of 1 request in 60 s)",
        ),
    ],
    ids=[
        "below the threshold",
        "exactly at the threshold",
        "exactly at a strict threshold",
        "a hair below the threshold shows the hair",
        "almost perfect is not shown as perfect",
        "a strict upper limit",
        "an inclusive upper limit",
        "outside of a range",
        "inside of a range, its end included",
    ],
)
def test_a_rate_is_judged_from_counts_and_says_so(name, condition, answer, verdict, message):
    result = judge(a_check(name, condition), answer)
    assert (verdict, message) == (result.verdict, result.message)


def test_a_result_carries_what_the_status_shows():
    expected = CheckResult(
        name="success-rate",
        verdict=Verdict.FAIL,
        reason="ThresholdBroken",
        value="97.2",
        unit="%",
        threshold=">= 99",
        samples=1284,
        message="success-rate 97.2 is below 99 (36 errors of 1,284 requests in 60 s)",
        failure_limit=2,
    )
    assert expected == judge(a_check(failures=2), counted(1284, 36))


@given(st.integers(1, 10_000), st.integers(0, 9999))
def test_a_rate_exactly_at_a_decimal_threshold_keeps_it(scale, hundredths):
    # In floats 100 * (1000 - 3) / 1000 may fall below 99.7.
    total, good = 10_000 * scale, hundredths * scale
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    answer = counted(float(total), float(total - good))
    assert Verdict.PASS == verdict_of(a_check(condition=f">= {text}"), answer)
    assert Verdict.FAIL == verdict_of(a_check(condition=f"> {text}"), answer)


# --- latency ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "answer", "verdict", "reason", "message"),
    [
        (
            "<= 300ms",
            timed(0, 99, 100, 100, 100),
            Verdict.PASS,
            "Passed",
            "latency-p99 300 ms is at most 300 ms (100 requests in 60 s)",
        ),
        (
            "<= 0.3s",
            timed(0, 98, 100, 100, 100),
            Verdict.FAIL,
            "ThresholdBroken",
            "latency-p99 750 ms is above 300 ms (100 requests in 60 s)",
        ),
        (
            "<= 500ms",
            timed(0, 98, 100, 100, 100),
            Verdict.INCONCLUSIVE,
            "BucketTooCoarse",
            (
                "latency-p99 between 300 ms and 1200 ms cannot be told from 500 ms: "
                "Prometheus has no bucket edge there; add an edge at 0.5 s"
            ),
        ),
        (
            "<= 500ms",
            timed(0, 99, 100, 100, 100),
            Verdict.PASS,
            "Passed",
            "latency-p99 300 ms is at most 500 ms (100 requests in 60 s)",
        ),
        (
            "<= 500ms",
            timed(0, 50, 50, 100, 100),
            Verdict.FAIL,
            "ThresholdBroken",
            "latency-p99 4924 ms is above 500 ms (100 requests in 60 s)",
        ),
        (
            "<= 4s",
            timed(0, 0, 0, 0, 7),
            Verdict.FAIL,
            "ThresholdBroken",
            "latency-p99 over 5000 ms is above 4000 ms (7 requests in 60 s)",
        ),
        (
            "<= 8s",
            timed(0, 0, 0, 0, 7),
            Verdict.INCONCLUSIVE,
            "BucketTooCoarse",
            (
                "latency-p99 over 5000 ms cannot be told from 8000 ms: "
                "Prometheus has no bucket edge there; add an edge at 8 s"
            ),
        ),
        (
            "100ms..300ms",
            timed(0, 100, 100, 100, 100),
            Verdict.PASS,
            "Passed",
            "latency-p99 298 ms is within 100..300 ms (100 requests in 60 s)",
        ),
        (
            "100ms..250ms",
            timed(0, 100, 100, 100, 100),
            Verdict.INCONCLUSIVE,
            "BucketTooCoarse",
            (
                "latency-p99 between 100 ms and 300 ms cannot be told from 250 ms: "
                "Prometheus has no bucket edge there; add an edge at 0.25 s"
            ),
        ),
        (
            ">= 300ms",
            timed(0, 100, 100, 100, 100),
            Verdict.FAIL,
            "ThresholdBroken",
            "latency-p99 298 ms is below 300 ms (100 requests in 60 s)",
        ),
        (
            "<= 300",
            timed(0, 100, 100, 100, 100),
            Verdict.PASS,
            "Passed",
            "latency-p99 298 ms is at most 300 ms (100 requests in 60 s)",
        ),
    ],
    ids=[
        "the limit is an edge and is kept exactly",
        "the limit is an edge and is broken by one request",
        "the limit lies between edges",
        "the upper edge keeps the limit",
        "the lower edge breaks the limit",
        "beyond the last edge and above the limit",
        "beyond the last edge and perhaps below the limit",
        "inside of a range",
        "perhaps inside of a range",
        "a lower limit",
        "a limit without unit is in milliseconds",
    ],
)
def test_a_quantile_is_judged_by_the_edges_around_it(condition, answer, verdict, reason, message):
    result = judge(a_check("latency-p99", condition), answer)
    assert (verdict, reason, message) == (result.verdict, result.reason, result.message)


def test_edges_that_floats_cannot_hold_still_count_as_the_limit():
    answer = timed(0, 100, 100, edges=(1.001, 2.0, inf))  # 1.001 * 1000 is 1000.9999999999999
    assert Verdict.FAIL == verdict_of(a_check("latency-p50", "<= 1001ms"), answer)


SAMPLES = st.lists(st.floats(0, 20), min_size=1, max_size=200)


@given(SAMPLES, st.integers(1, 20_000), st.sampled_from(["p50", "p90", "p95", "p99"]))
def test_a_latency_verdict_is_never_wrong_about_the_samples(samples, limit_ms, quantile):
    answer = timed(*(float(sum(s <= edge for s in samples)) for edge in TRAEFIK_EDGES))
    verdict = verdict_of(a_check(f"latency-{quantile}", f"<= {limit_ms}ms"), answer)
    rank = -(-int(quantile[1:]) * len(samples) // 100)
    is_kept = sorted(samples)[rank - 1] <= limit_ms / 1000
    # A value of 0 s is below every edge, the bracket begins at 0.
    assert verdict is Verdict.INCONCLUSIVE or is_kept is (verdict is Verdict.PASS)


# --- custom queries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "value", "verdict", "message"),
    [
        ("<= 2", 1.5, Verdict.PASS, "declines 1.5 is at most 2"),
        ("<= 2", 2.0000001, Verdict.FAIL, "declines 2.0000001 is above 2"),
        ("> 1", -3.0, Verdict.FAIL, "declines -3 is not above 1"),
        ("< 5%", 5.0, Verdict.FAIL, "declines 5% is not below 5%"),
        ("<= 500ms", 499.0, Verdict.PASS, "declines 499 ms is at most 500 ms"),
        ("1..2", 2.5, Verdict.FAIL, "declines 2.5 is above 1..2"),
        (">= 99.7", 99.7, Verdict.PASS, "declines 99.7 is at least 99.7"),
        ("<= 1", 123456.0, Verdict.FAIL, "declines 123456 is above 1"),
    ],
)
def test_a_value_is_compared_with_its_condition(condition, value, verdict, message):
    result = judge(a_check("declines", condition), valued(value))
    assert (verdict, message) == (result.verdict, result.message)


# --- no data ----------------------------------------------------------------------------------------------------------

ABOUT_THE_APP = [Missing.NO_SERIES, Missing.NO_TRAFFIC, Missing.NOT_A_NUMBER, Missing.STALE]
ABOUT_THE_SOURCE = [Missing.SOURCE_UNAVAILABLE, Missing.QUERY_REFUSED, Missing.SEVERAL_SERIES]


@pytest.mark.parametrize("why", list(Missing))
def test_missing_data_holds_with_its_reason(why):
    result = judge(a_check(), missing(why, "the detail"))
    assert (Verdict.INCONCLUSIVE, why) == (result.verdict, result.reason)
    assert result.message.startswith("success-rate cannot be judged: ")
    assert "(the detail)" in result.message


@pytest.mark.parametrize("why", ABOUT_THE_APP)
def test_missing_data_fails_where_the_user_says_so(why):
    result = judge(a_check(no_data=NoData.FAIL), missing(why))
    assert (Verdict.FAIL, why) == (result.verdict, result.reason)
    assert result.message.endswith("; no-data is set to fail")


@pytest.mark.parametrize("why", ABOUT_THE_SOURCE)
def test_a_broken_source_or_query_never_fails_an_app(why):
    assert Verdict.INCONCLUSIVE == verdict_of(a_check(no_data=NoData.FAIL), missing(why))


@pytest.mark.parametrize(
    ("check", "answer", "reason"),
    [
        (a_check(), counted(0, 0), "NoTraffic"),
        (a_check(), counted(10, 11), "NotANumber"),
        (a_check(), counted(nan, 0), "NotANumber"),
        (a_check(), counted(10, nan), "NotANumber"),
        (a_check(), counted(inf, 0), "NotANumber"),
        (a_check(), counted(-1, -1), "NotANumber"),
        (a_check(), valued(100), "NoSeries"),
        (a_check("latency-p99", "<= 1s"), counted(10, 0), "NoSeries"),
        (a_check("latency-p99", "<= 1s"), timed(0, 0, 0, 0, 0), "NoTraffic"),
        (a_check("latency-p99", "<= 1s"), timed(9, 8, 7, 6, 5), "NotANumber"),
        (a_check("custom", "<= 1"), counted(10, 0), "NoSeries"),
        (a_check("custom", "<= 1"), valued(nan), "NotANumber"),
        (a_check("custom", "<= 1"), valued(-inf), "NotANumber"),
        (a_check("custom", "<= 1"), MetricAnswer(check="x"), "NoSeries"),
    ],
    ids=[
        "no requests",
        "more errors than requests",
        "a NaN total",
        "NaN errors",
        "an infinite total",
        "negative counts",
        "a value in place of counts",
        "counts in place of a histogram",
        "an empty histogram",
        "falling bucket counts",
        "counts in place of a value",
        "a NaN value",
        "an infinite value",
        "an empty answer",
    ],
)
def test_an_unusable_answer_is_inconclusive(check, answer, reason):
    result = judge(check, answer)
    assert (Verdict.INCONCLUSIVE, reason) == (result.verdict, result.reason)


ODD = st.sampled_from([nan, inf, -inf, -1.0, -0.5])
NUMBER = st.floats() | ODD | st.none()


@given(CHECKS, st.sampled_from(Missing), NUMBER, st.integers(0, 5))
def test_an_absent_answer_never_passes(check, why, value, min_requests):
    answer = MetricAnswer(check="x", value=value, absent=Absent(why))
    assert Verdict.PASS != verdict_of(check, answer, min_requests=min_requests)


@given(CHECKS, st.lists(NUMBER, min_size=2, max_size=2), ODD, st.booleans())
def test_counts_with_an_impossible_number_never_pass(check, numbers, odd, is_total):
    total, errors = (odd, numbers[0]) if is_total else (numbers[1], odd)
    answer = MetricAnswer(check="x", counts=Counts(total or 0.0, errors or 0.0, 60.0))
    assert Verdict.PASS != verdict_of(check, answer)


@given(CHECKS, st.lists(st.floats(0, 1e6), max_size=5), st.integers(0, 5), ODD)
def test_a_histogram_with_an_impossible_number_never_passes(check, counts, position, odd):
    counts = sorted(counts)
    counts.insert(position, odd)
    edges = [*sorted(0.1 * (i + 1) for i in range(len(counts) - 1)), inf]
    answer = MetricAnswer(
        check="x", histogram=Histogram(tuple(zip(edges, counts, strict=True)), 60.0)
    )
    assert Verdict.PASS != verdict_of(check, answer)


@given(CHECKS, st.sampled_from([nan, inf, -inf]))
def test_a_value_that_is_no_number_never_passes(check, value):
    assert Verdict.PASS != verdict_of(check, valued(value))


@given(
    st.integers(1, 10_000),
    st.data(),
    st.sampled_from([("success-rate", ">= "), ("success-rate", "> "), ("error-rate", "<= ")]),
    st.decimals(0, 100, places=2),
)
def test_more_errors_never_turn_a_failure_into_a_pass(total, data, kind, limit):
    name, operator = kind
    fewer = data.draw(st.integers(0, total))
    more = data.draw(st.integers(fewer, total))
    check = a_check(name, f"{operator}{limit}")
    verdicts = [verdict_of(check, counted(total, errors)) for errors in (fewer, more)]
    assert [Verdict.FAIL, Verdict.PASS] != verdicts


# --- too few requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "answer", "message"),
    [
        (
            a_check(window_s=300.0),
            counted(40, 40, window_s=60.0),
            (
                "success-rate has 40 of the 200 requests that min-requests asks for in 60 s; "
                "at this rate they take 5m"
            ),
        ),
        (
            a_check("latency-p99", "<= 1s"),
            timed(0, 0, 1, 40, 40),
            (
                "latency-p99 has 40 of the 200 requests that min-requests asks for in 60 s; "
                "at this rate they take 5m, longer than the window of 1m: "
                "add canaryd.io/load-test.<name>, lower min-requests, "
                "or raise metric.latency-p99.interval"
            ),
        ),
        (
            a_check("declines", "<= 2"),
            valued(9.0, requests=40),
            "declines has 40 of the 200 requests that min-requests asks for",
        ),
    ],
    ids=["a window that will hold them", "a window too short for them", "a custom query"],
)
def test_too_few_requests_hold_and_tell_how_long_enough_would_take(check, answer, message):
    result = judge(check, answer, min_requests=200)
    assert (Verdict.INCONCLUSIVE, "BelowMinimum", 40, message) == (
        result.verdict,
        result.reason,
        result.samples,
        result.message,
    )


def test_as_many_requests_as_asked_for_are_enough():
    assert Verdict.PASS == verdict_of(a_check(), counted(200, 0), min_requests=200)


def test_a_custom_query_without_a_request_count_holds_when_a_minimum_is_set():
    result = judge(a_check("declines", "<= 2"), valued(1.0), min_requests=10)
    assert (Verdict.INCONCLUSIVE, "RequestsUnknown") == (result.verdict, result.reason)
    assert "add metric.success-rate, or remove min-requests" in result.message


def test_built_ins_tell_custom_queries_how_many_requests_there_were():
    custom, told = valued(1.0), valued(1.0, requests=7)
    assert (counted(40, 0), valued(1.0, requests=40), told) == share_requests(
        [counted(40, 0), custom, told]
    )
    assert (timed(0, 0, 0, 3, 3), valued(1.0, requests=3)) == share_requests(
        [timed(0, 0, 0, 3, 3), custom]
    )
    assert (custom,) == share_requests([custom])


# --- the primary fails as well ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "canary", "primary", "verdict", "reason"),
    [
        (a_check(), counted(100, 5), counted(900, 45), Verdict.INCONCLUSIVE, "BaselineUnhealthy"),
        (a_check(), counted(100, 15), counted(900, 45), Verdict.INCONCLUSIVE, "BaselineUnhealthy"),
        (a_check(), counted(100, 16), counted(900, 45), Verdict.FAIL, "ThresholdBroken"),
        (a_check(), counted(100, 5), counted(900, 0), Verdict.FAIL, "ThresholdBroken"),
        (a_check(), counted(100, 5), missing(Missing.NO_SERIES), Verdict.FAIL, "ThresholdBroken"),
        (a_check(), counted(100, 0), counted(900, 900), Verdict.PASS, "Passed"),
        (
            a_check("latency-p99", "<= 300ms"),
            timed(0, 95, 100, 100, 100),
            timed(0, 855, 900, 900, 900),
            Verdict.INCONCLUSIVE,
            "BaselineUnhealthy",
        ),
        (
            a_check("latency-p99", "<= 300ms"),
            timed(0, 10, 100, 100, 100),
            timed(0, 855, 900, 900, 900),
            Verdict.FAIL,
            "ThresholdBroken",
        ),
        (
            a_check("custom", "<= 1"),
            valued(2.0),
            valued(2.0),
            Verdict.INCONCLUSIVE,
            "BaselineUnhealthy",
        ),
        (
            a_check(no_data=NoData.FAIL),
            missing(Missing.NO_TRAFFIC),
            counted(900, 900),
            Verdict.FAIL,
            "NoTraffic",
        ),
    ],
    ids=[
        "both sides alike: hold",
        "the canary perhaps worse: hold",
        "the canary clearly worse: fail",
        "the primary healthy: fail",
        "the primary unknown: fail",
        "the canary healthy: pass",
        "both equally slow: hold",
        "the canary much slower: fail",
        "a value alone cannot tell who is worse: hold",
        "the canary without data fails where the user says so",
    ],
)
def test_a_breach_that_the_primary_shares_is_held_unless_the_canary_is_worse(
    check, canary, primary, verdict, reason
):
    result = judge(check, canary, primary_answer=primary)
    assert (verdict, reason) == (result.verdict, result.reason)


def test_a_shared_breach_names_both_numbers():
    held = judge(a_check(), counted(100, 5), primary_answer=counted(900, 45))
    assert (
        "success-rate 95 is below 99 (5 errors of 100 requests in 60 s); the primary breaks the "
        "limit too, with 95: the cause may lie outside the new revision"
    ) == held.message
    failed = judge(a_check(), counted(100, 50), primary_answer=counted(900, 45))
    assert failed.message.endswith("with 95, but the canary is clearly worse")


# --- all together -----------------------------------------------------------------------------------------------------


def a_result(verdict, name="a", failure_limit=None):
    return CheckResult(
        name=name,
        verdict=verdict,
        reason=f"{verdict}Reason",
        message=f"{name} {verdict}",
        failure_limit=failure_limit,
    )


PASSED, FAILED, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ([PASSED, PASSED], Outcome.PASS),
        ([PASSED, UNKNOWN], Outcome.INCONCLUSIVE),
        ([UNKNOWN, FAILED, PASSED], Outcome.FAIL),
        ([UNKNOWN], Outcome.INCONCLUSIVE),
    ],
)
def test_one_failure_fails_and_else_one_unknown_holds(verdicts, outcome):
    evaluation = judge_all([a_result(v) for v in verdicts], FailureBudget(5))
    assert (outcome, f"{outcome}Reason") == (evaluation.outcome, evaluation.reason)


def test_every_failing_check_is_reported():
    results = [a_result(FAILED, "a"), a_result(PASSED, "b"), a_result(FAILED, "c")]
    evaluation = judge_all(results, FailureBudget(5))
    assert ("a Failed; c Failed", tuple(results)) == (evaluation.message, evaluation.results)


def test_no_checks_at_all_pass_and_say_so():
    evaluation = judge_all([], FailureBudget(5, 2))
    assert (Outcome.PASS, GateReason.NO_CHECKS) == (evaluation.outcome, evaluation.reason)
    assert FailureBudget(5, 2) == evaluation.budget


@pytest.mark.parametrize(
    ("limit", "spent", "results", "after", "is_exhausted"),
    [
        (3, 1, [a_result(FAILED, "a"), a_result(FAILED, "b")], 2, False),
        (3, 2, [a_result(FAILED)], 3, True),
        (0, 0, [a_result(FAILED)], 1, True),
        (1, 0, [a_result(FAILED)], 1, True),
        (3, 2, [a_result(UNKNOWN)], 2, False),
        (3, 2, [a_result(PASSED)], 2, False),
        (0, 0, [a_result(PASSED)], 0, False),
        (3, 0, [a_result(FAILED, failure_limit=0)], 0, True),
        (3, 0, [a_result(FAILED, failure_limit=9)], 0, False),
        (3, 0, [a_result(UNKNOWN, failure_limit=0)], 0, False),
        (3, 0, [a_result(FAILED, "a", failure_limit=9), a_result(FAILED, "b")], 1, False),
    ],
    ids=[
        "an evaluation costs one, however many checks fail",
        "the last failure",
        "a limit of 0 ends it at the first failure",
        "so does a limit of 1",
        "unknown costs nothing",
        "a pass gives nothing back",
        "a limit of 0 is not used up before the first failure",
        "a check's own limit ends the run",
        "a check's own limit replaces the run's",
        "unknown costs nothing of a check's own limit either",
        "own limits and the run's are kept apart",
    ],
)
def test_failures_spend_a_budget(limit, spent, results, after, is_exhausted):
    evaluation = judge_all(results, FailureBudget(limit, spent))
    assert (after, is_exhausted) == (evaluation.budget.spent, evaluation.exhausted)


def test_failures_are_counted_per_check_too():
    budget = FailureBudget(9, 0, {"a": 1})
    results = [a_result(FAILED, "a", failure_limit=2), a_result(FAILED, "b")]
    evaluation = judge_all(results, budget)
    assert ({"a": 2, "b": 1}, True) == (dict(evaluation.budget.by_check), evaluation.exhausted)
    assert {"a": 1} == dict(budget.by_check)


def test_a_condition_without_its_text_is_still_shown():
    check = MetricCheck(name="x", condition=Condition(Comparator.AT_MOST, 2.0), query="q")
    assert "<= 2" == judge(check, valued(1.0)).threshold
