"""Load tests as evidence: alone, and added to what users of a quiet app got."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.gates import judge
from canaryd.core.loads import add_up, judge_load_test
from canaryd.core.model import (
    Absent,
    Histogram,
    LoadTestAnswer,
    LoadTestSpec,
    Missing,
    NoData,
)
from canaryd.core.verdicts import Verdict
from tests.core.answers import CHECKS, TRAEFIK_EDGES, a_check, counted, missing, timed, valued

# --- load tests -------------------------------------------------------------------------------------------------------


SHORT = "the generator reached 3 of 20 requests/s"


def a_load_test(max_errors=1.0):
    return LoadTestSpec(
        name="get", method="GET", path="/", rate=20, duration_s=60, max_errors=max_errors
    )


@pytest.mark.parametrize(
    ("answer", "verdict", "reason", "message"),
    [
        (
            LoadTestAnswer(test="get", sent=1200, failed=12),
            Verdict.PASS,
            "Passed",
            "load-test.get: 1,200 sent, 12 failed (1%)",
        ),
        (
            LoadTestAnswer(test="get", sent=300, failed=0, latency_ms={"p50": 4.0, "p99": 12.0}),
            Verdict.PASS,
            "Passed",
            "load-test.get: 300 sent, 0 failed, p99 12 ms",
        ),
        (
            LoadTestAnswer(test="get", sent=1200, failed=13, latency_ms={"p99": 812.3456}),
            Verdict.FAIL,
            "LoadTestFailed",
            "load-test.get failed: 1,200 sent, 13 failed (1.083%, more than 1%), p99 812.3 ms",
        ),
        (
            LoadTestAnswer(test="get", sent=0),
            Verdict.INCONCLUSIVE,
            "LoadTestVoid",
            "load-test.get: void, no request was sent",
        ),
        (
            LoadTestAnswer(test="get", sent=5, failed=6),
            Verdict.INCONCLUSIVE,
            "LoadTestVoid",
            "load-test.get: void, the generator counted 6 failures of 5 requests",
        ),
        (
            LoadTestAnswer(test="get", sent=1200, absent=Absent(Missing.SOURCE_UNAVAILABLE, SHORT)),
            Verdict.INCONCLUSIVE,
            "LoadTestVoid",
            f"load-test.get: void, {SHORT}",
        ),
        (
            LoadTestAnswer(
                test="get", absent=Absent(Missing.QUERY_REFUSED, "it asks for too much")
            ),
            Verdict.INCONCLUSIVE,
            "LoadTestVoid",
            "load-test.get: void, it asks for too much",
        ),
        (
            LoadTestAnswer(test="get", absent=Absent(Missing.SOURCE_UNAVAILABLE)),
            Verdict.INCONCLUSIVE,
            "LoadTestVoid",
            "load-test.get: void, the generator gave no result",
        ),
    ],
    ids=[
        "exactly as many failures as allowed",
        "no failure, with a latency",
        "one failure too many",
        "nothing sent",
        "impossible counts",
        "a generator that could not keep its rate proves nothing",
        "a test that was refused proves nothing",
        "nor does one without a word",
    ],
)
def test_a_load_test_is_judged_by_its_failures(answer, verdict, reason, message):
    result = judge_load_test(a_load_test(), answer)
    assert (verdict, reason, message) == (result.verdict, result.reason, result.message)


# --- too little traffic, and load tests -------------------------------------------------------------------------------

FINE = 0.0078125


def loaded(sent=300, failed=0, latencies=None, test="smoke"):
    """A load test; ``latencies`` are numbers of answers up to edges, 5 ms for all of them if None."""
    answered = sent - failed
    buckets = ((0.004, 0.0), (0.005, answered), (inf, answered)) if latencies is None else latencies
    return LoadTestAnswer(test=test, sent=sent, failed=failed, latencies=Histogram(buckets))


def a_void_test(sent=300, failed=0):
    return LoadTestAnswer(
        test="smoke",
        sent=sent,
        failed=failed,
        latencies=Histogram(((inf, float(sent)),)),
        absent=Absent(Missing.SOURCE_UNAVAILABLE, SHORT),
    )


def judged(check, answer, *tests, minimum=100):
    return judge(check, answer, min_requests=minimum, load=add_up(tests))


LATENCY = a_check("latency-p99", "<= 300ms")
QUIET = [Missing.NO_SERIES, Missing.NO_TRAFFIC]


@pytest.mark.parametrize("why", QUIET)
@pytest.mark.parametrize("no_data", list(NoData))
@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            a_check(),
            (
                "success-rate 100 is at least 99 "
                "(0 errors of 300 requests, 300 of them by load tests)"
            ),
        ),
        (
            a_check("error-rate", "<= 1%"),
            "error-rate 0% is at most 1% (0 errors of 300 requests, 300 of them by load tests)",
        ),
        (
            LATENCY,
            "latency-p99 4.99 ms is at most 300 ms (300 requests, 300 of them by load tests)",
        ),
    ],
    ids=["success-rate", "error-rate", "latency-p99"],
)
def test_an_idle_app_is_judged_by_its_load_tests_and_says_so(check, message, why, no_data):
    # Also with no-data: fail, for where requests were sent there is data.
    result = judged(replace(check, no_data=no_data), missing(why), loaded())
    told = "; the source has no series of the canary" if why is Missing.NO_SERIES else ""
    assert (Verdict.PASS, 300, message + told) == (result.verdict, result.samples, result.message)


@pytest.mark.parametrize(
    ("answer", "tests", "verdict", "message"),
    [
        (
            missing(Missing.NO_TRAFFIC),
            [loaded(300, 3)],
            Verdict.PASS,
            "success-rate 99 is at least 99 (3 errors of 300 requests, 300 of them by load tests)",
        ),
        (
            missing(Missing.NO_TRAFFIC),
            [loaded(300, 4)],
            Verdict.FAIL,
            "success-rate 98.67 is below 99 (4 errors of 300 requests, 300 of them by load tests)",
        ),
        (
            counted(0, 0),
            [loaded(60), loaded(40, 1, test="more")],
            Verdict.PASS,
            "success-rate 99 is at least 99 (1 error of 100 requests, 100 of them by load tests)",
        ),
        (
            counted(12, 0),
            [loaded(300)],
            Verdict.PASS,
            "success-rate 100 is at least 99 (0 errors of 312 requests, 300 of them by load tests)",
        ),
        (
            counted(12, 6),
            [loaded(300)],
            Verdict.FAIL,
            "success-rate 98.08 is below 99 (6 errors of 312 requests, 300 of them by load tests)",
        ),
        (
            counted(12, 6, window_s=10.0),
            [loaded(30_000)],
            Verdict.INCONCLUSIVE,
            (
                "success-rate 50 is below 99 (6 errors of 12 requests in 10 s); they are fewer than "
                "the 100 of min-requests, but load tests do not make up for what users got"
            ),
        ),
        (
            counted(40, 0),
            [loaded(50)],
            Verdict.INCONCLUSIVE,
            (
                "success-rate has 90 of the 100 requests that min-requests asks for, 50 of them by "
                "load tests: raise rate= or for= of load-test.smoke, or lower min-requests"
            ),
        ),
        (
            counted(99, 99),
            [loaded(300, 300)],
            Verdict.FAIL,
            "success-rate 0 is below 99 (399 errors of 399 requests, 300 of them by load tests)",
        ),
    ],
    ids=[
        "failed requests of a load test are errors",
        "and too many of them fail the check",
        "several load tests add up",
        "users and load tests add up",
        "errors that users got fail the check though the load test was good",
        "no amount of load hides what users got",
        "too few requests together hold",
        "both bad",
    ],
)
def test_requests_of_load_tests_and_of_users_are_one_sum(answer, tests, verdict, message):
    result = judged(a_check(), answer, *tests)
    assert (verdict, message) == (result.verdict, result.message)


AT_PODS = [counted(40, 0), missing(Missing.NO_TRAFFIC), missing(Missing.NO_SERIES)]


@pytest.mark.parametrize("answer", AT_PODS, ids=["few", "none", "unknown"])
def test_a_data_plane_that_counts_at_the_pods_has_seen_the_load_test_already(answer):
    answer = replace(answer, has_load=True)
    result = judged(a_check(), answer, loaded())
    assert (Verdict.INCONCLUSIVE, answer.requests) == (result.verdict, result.samples)
    assert result.message.endswith("requests of load-test.smoke are among what is counted there")
    assert "add canaryd.io/load-test" in judge(a_check(), answer, min_requests=100).message


def test_an_app_of_a_mesh_is_not_blamed_for_a_void_load_test():
    answer = replace(missing(Missing.NO_TRAFFIC), has_load=True)
    result = judged(a_check(no_data=NoData.FAIL), answer, a_void_test())
    assert Verdict.INCONCLUSIVE is result.verdict


@pytest.mark.parametrize("answer", [counted(100, 0), counted(100, 50)], ids=["good", "bad"])
@pytest.mark.parametrize("tests", [[loaded()], [loaded(300, 300)], [a_void_test()]])
def test_where_users_are_enough_no_load_test_changes_a_word(answer, tests):
    assert judge(a_check(), answer, min_requests=100) == judged(a_check(), answer, *tests)
    without_minimum = judge(a_check(), counted(1, 0))
    assert without_minimum == judged(a_check(), counted(1, 0), *tests, minimum=0)


NOT_QUIET = [why for why in Missing if why not in QUIET]


@pytest.mark.parametrize("check", [a_check(), LATENCY], ids=["success-rate", "latency-p99"])
@pytest.mark.parametrize("no_data", list(NoData))
@pytest.mark.parametrize("why", NOT_QUIET)
def test_no_load_test_answers_for_a_source_that_is_down_or_a_number_that_is_none(
    check, no_data, why
):
    check, answer = replace(check, no_data=no_data), missing(why)
    assert judge(check, answer, min_requests=100) == judged(check, answer, loaded(), a_void_test())


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (a_check(), counted(nan, 0)),
        (a_check(), counted(10, 11)),
        (a_check(), valued(100)),
        (LATENCY, timed(9, 8, 7, 6, 5)),
        (LATENCY, counted(10, 0)),
    ],
    ids=[
        "a NaN total",
        "more errors than requests",
        "no counts",
        "falling bucket counts",
        "no histogram",
    ],
)
def test_no_load_test_mends_an_unusable_answer(check, answer):
    result = judged(check, answer, loaded())
    assert judge(check, answer, min_requests=100) == result
    assert Verdict.INCONCLUSIVE is result.verdict


@pytest.mark.parametrize(
    "answer", [missing(Missing.NO_SERIES), missing(Missing.NO_TRAFFIC), valued(1.0, requests=3)]
)
def test_a_custom_query_is_never_judged_by_load_tests(answer):
    check = a_check("declines", "<= 2")
    assert judge(check, answer, min_requests=100) == judged(check, answer, loaded())


# --- void load tests


@pytest.mark.parametrize("check", [a_check(), LATENCY], ids=["success-rate", "latency-p99"])
@pytest.mark.parametrize("why", QUIET)
@pytest.mark.parametrize("no_data", list(NoData))
def test_a_void_load_test_adds_nothing_and_the_app_is_not_blamed_for_it(check, why, no_data):
    result = judged(replace(check, no_data=no_data), missing(why), a_void_test(300, 300))
    assert (Verdict.INCONCLUSIVE, why, None) == (result.verdict, result.reason, result.samples)
    assert result.message.endswith(", and load-test.smoke is void")
    assert "no-data" not in result.message


def test_a_void_load_test_adds_nothing_to_too_few_requests():
    result = judged(a_check(), counted(40, 0), a_void_test())
    assert (Verdict.INCONCLUSIVE, "BelowMinimum", 40) == (
        result.verdict,
        result.reason,
        result.samples,
    )
    assert result.message.endswith(", and load-test.smoke is void")


def test_a_number_that_is_none_fails_where_the_user_says_so_though_a_load_test_is_void():
    check = a_check(no_data=NoData.FAIL)
    assert Verdict.FAIL is judged(check, missing(Missing.NOT_A_NUMBER), a_void_test()).verdict


def test_a_good_load_test_counts_beside_a_void_one():
    result = judged(a_check(), missing(Missing.NO_TRAFFIC), loaded(200), a_void_test(300, 300))
    assert (Verdict.PASS, 200) == (result.verdict, result.samples)


@pytest.mark.parametrize("answer", [LoadTestAnswer(test="a"), LoadTestAnswer(test="a", failed=-1)])
def test_a_load_test_that_sent_nothing_is_void_for_metrics_too(answer):
    assert (("load-test.a",), 0) == (add_up([answer]).void, add_up([answer]).sent)


# --- latency with load tests


def spread(*counts, edges):
    return tuple(zip((*edges, inf), counts, strict=True))


@pytest.mark.parametrize(
    ("condition", "answer", "latencies", "verdict", "message"),
    [
        (
            "<= 300ms",
            timed(10, 12, 12, 12, 12),
            spread(0, 290, 300, 300, edges=(0.1, 0.11, 0.2)),
            Verdict.PASS,
            ("latency-p99 187.4 ms is at most 300 ms (312 requests, 300 of them by load tests)"),
        ),
        (
            "<= 300ms",
            timed(0, 12, 12, 12, 12),
            spread(0, 300, 300, edges=(0.39, 0.4)),
            Verdict.FAIL,
            ("latency-p99 399.9 ms is above 300 ms (312 requests, 300 of them by load tests)"),
        ),
        (
            "<= 300ms",
            timed(0, 6, 12, 12, 12),
            spread(0, 300, 300, edges=(0.004, 0.005)),
            Verdict.FAIL,
            ("latency-p99 732 ms is above 300 ms (312 requests, 300 of them by load tests)"),
        ),
        (
            "<= 300ms",
            timed(0, 6, 12, 12, 12, window_s=10.0),
            spread(0, 3000, 3000, edges=(0.004, 0.005)),
            Verdict.INCONCLUSIVE,
            (
                "latency-p99 1182 ms is above 300 ms (12 requests in 10 s); they are fewer than the "
                "100 of min-requests, but load tests do not make up for what users got"
            ),
        ),
        (
            "<= 500ms",
            timed(0, 6, 12, 12, 12),
            spread(0, 3000, 3000, edges=(0.004, 0.005)),
            Verdict.INCONCLUSIVE,
            (
                "latency-p99 between 300 ms and 1200 ms cannot be told from 500 ms: "
                "Prometheus has no bucket edge there; add an edge at 0.5 s; they are fewer than the 100 "
                "of min-requests, but load tests do not make up for what users got"
            ),
        ),
        (
            "<= 500ms",
            missing(Missing.NO_TRAFFIC),
            spread(0, 300, 300, edges=(0.496, 0.504)),
            Verdict.INCONCLUSIVE,
            (
                "latency-p99 between 496 ms and 504 ms cannot be told from 500 ms: "
                "load tests tell latencies to within 2%, and this is nearer; they run again"
            ),
        ),
        (
            "<= 8s",
            missing(Missing.NO_TRAFFIC),
            spread(290, 300, edges=(4.9,)),
            Verdict.INCONCLUSIVE,
            (
                "latency-p99 over 4900 ms cannot be told from 8000 ms: "
                "load tests waited no longer; raise timeout= of load-test.smoke"
            ),
        ),
        (
            "<= 4s",
            missing(Missing.NO_TRAFFIC),
            spread(290, 300, edges=(4.9,)),
            Verdict.FAIL,
            ("latency-p99 over 4900 ms is above 4000 ms (300 requests, 300 of them by load tests)"),
        ),
    ],
    ids=[
        "two kinds of edges, both fast",
        "the load test slow",
        "users slow",
        "users slow in so much load that it would not show",
        "users perhaps slow in so much load that it would not show",
        "as good as at the limit",
        "requests that waited to the end, for less than the limit",
        "requests that waited to the end, for more than the limit",
    ],
)
def test_latencies_of_load_tests_are_joined_without_moving_an_edge(
    condition, answer, latencies, verdict, message
):
    check, total = a_check("latency-p99", condition), int(latencies[-1][1])
    result = judged(check, answer, loaded(total, latencies=latencies))
    assert (verdict, message) == (result.verdict, result.message)


def test_a_minimum_of_latencies_counts_what_has_one():
    result = judged(LATENCY, missing(Missing.NO_TRAFFIC), loaded(300, 210))
    assert (Verdict.INCONCLUSIVE, "BelowMinimum", 90) == (
        result.verdict,
        result.reason,
        result.samples,
    )


@pytest.mark.parametrize(
    ("no_data", "verdict"),
    [(NoData.HOLD, Verdict.INCONCLUSIVE), (NoData.FAIL, Verdict.FAIL)],
)
def test_a_load_test_without_an_answer_leaves_a_latency_unknown(no_data, verdict):
    check = replace(LATENCY, no_data=no_data)
    result = judged(check, missing(Missing.NO_TRAFFIC), loaded(300, 300))
    assert verdict is result.verdict
    assert result.message.endswith(", and no request of load-test.smoke was answered")


@given(
    st.lists(st.floats(0, 20), max_size=99),
    st.lists(st.floats(0, 20), min_size=1, max_size=200),
    st.integers(1, 20_000),
    st.sampled_from(["p50", "p90", "p95", "p99"]),
)
def test_a_joint_latency_verdict_is_never_wrong_about_the_samples(users, ours, limit_ms, quantile):
    edges = [FINE * i for i in range(1, 2600)]
    fine = spread(*(float(sum(s <= e for s in ours)) for e in (*edges, inf)), edges=edges)
    answer = timed(*(float(sum(s <= edge for s in users)) for edge in TRAEFIK_EDGES))
    check = a_check(f"latency-{quantile}", f"<= {limit_ms}ms")
    verdict = judged(check, answer, loaded(len(ours), latencies=fine)).verdict

    def is_kept(samples):
        rank = -(-int(quantile[1:]) * len(samples) // 100)
        return not samples or sorted(samples)[rank - 1] <= limit_ms / 1000

    if verdict is Verdict.PASS:
        assert is_kept(users + ours)
        assert is_kept(users)
    elif verdict is Verdict.FAIL:
        assert not is_kept(users + ours)


# --- no load test


@pytest.mark.parametrize("check", [a_check(), LATENCY], ids=["success-rate", "latency-p99"])
@pytest.mark.parametrize("why", QUIET)
def test_who_is_held_for_want_of_traffic_is_told_what_to_do(check, why):
    result = judge(check, missing(why), min_requests=100)
    assert Verdict.INCONCLUSIVE is result.verdict
    assert result.message.endswith(
        "; add canaryd.io/load-test.<name> to make some, or set "
        f"canaryd.io/metric.{check.name}.no-data to fail"
    )


@pytest.mark.parametrize("why", [w for w in Missing if w not in QUIET])
def test_who_is_held_for_another_reason_is_not_sent_to_load_tests(why):
    assert "load-test" not in judge(a_check(), missing(why), min_requests=100).message


def test_a_load_test_is_no_advice_for_a_custom_query():
    result = judge(a_check("declines", "<= 2"), missing(Missing.NO_SERIES), min_requests=100)
    assert "load-test" not in result.message


# --- what load tests can never do

COUNTS = st.builds(counted, st.integers(0, 500), st.just(0)).flatmap(
    lambda a: st.builds(counted, st.just(a.counts.total), st.integers(0, int(a.counts.total)))
)
TESTS = st.lists(
    st.integers(1, 10_000).flatmap(
        lambda sent: st.builds(loaded, st.just(sent), st.integers(0, sent))
    )
    | st.builds(a_void_test),
    max_size=3,
)


@given(st.sampled_from(["success-rate", "error-rate"]), COUNTS, TESTS, st.integers(0, 400))
def test_no_load_makes_good_what_users_alone_show_to_be_bad(name, answer, tests, minimum):
    check = a_check(name, ">= 99" if name == "success-rate" else "<= 1")
    users = judge(check, answer)
    result = judged(check, answer, *tests, minimum=minimum)
    if users.verdict is Verdict.FAIL:
        assert Verdict.PASS is not result.verdict
    if judge(check, answer, min_requests=minimum).verdict is Verdict.FAIL:
        assert Verdict.FAIL is result.verdict


@given(CHECKS, st.sampled_from(NOT_QUIET), TESTS, st.integers(0, 400))
def test_no_load_passes_what_is_unknown_for_another_reason(check, why, tests, minimum):
    assert Verdict.PASS != judged(check, missing(why), *tests, minimum=minimum).verdict


@given(CHECKS, st.sampled_from(QUIET), st.integers(1, 400))
def test_void_load_tests_alone_never_pass(check, why, minimum):
    assert Verdict.PASS != judged(check, missing(why), a_void_test(), minimum=minimum).verdict


def test_a_breach_that_the_primary_shares_is_held_for_load_tests_too():
    load = add_up([loaded(100, 5)])
    quiet = missing(Missing.NO_TRAFFIC)
    held = judge(a_check(), quiet, min_requests=100, load=load, primary_answer=counted(900, 45))
    assert (Verdict.INCONCLUSIVE, "BaselineUnhealthy") == (held.verdict, held.reason)
    worse = add_up([loaded(100, 60)])
    failed = judge(a_check(), quiet, min_requests=100, load=worse, primary_answer=counted(900, 45))
    assert Verdict.FAIL is failed.verdict
    slow = add_up([loaded(100, latencies=spread(0, 90, 100, 100, edges=(0.2, 0.3, 0.4)))])
    primary = timed(0, 810, 900, 900, 900)
    held = judge(LATENCY, quiet, min_requests=100, load=slow, primary_answer=primary)
    assert "BaselineUnhealthy" == held.reason
