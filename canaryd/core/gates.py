"""The judge: answers, held against the user's thresholds, become pass, fail or inconclusive.

Three values, because two lie. A gate that must choose between pass and fail calls an idle service
broken, or an unmeasured one good. Here PASS means *measured and within the threshold*, FAIL
*measured and outside*, and everything else (no series, NaN, too few requests, buckets too coarse,
an outage on both sides) is INCONCLUSIVE with its reason: it holds the weight and spends no failure
budget. Unknown is never a pass, whatever the input.

Rates are computed from counts as exact fractions, quantiles as brackets between bucket edges (see
``quantiles``) and held against the limits in ``thresholds``; how the verdicts of one evaluation
join, and what a run may still fail, is the matter of ``verdicts``. Pure: no clock, no I/O.
"""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import ceil, inf, isfinite
from typing import assert_never

from canaryd.core.evidence import STRONG, worse_evidence
from canaryd.core.model import (
    Absent,
    Builtin,
    Counts,
    Histogram,
    LoadTestAnswer,
    LoadTestSpec,
    MetricAnswer,
    MetricCheck,
    Missing,
    NoData,
)
from canaryd.core.quantiles import Bracket, bracket, is_sound, slower_than
from canaryd.core.thresholds import (
    bracket_holds,
    holds,
    in_ms,
    in_window,
    limits,
    many,
    number,
    relation,
    suffix,
)
from canaryd.core.units import format_condition, format_decimal, format_duration
from canaryd.core.verdicts import CheckResult, GateReason, Verdict

# --- one metric -----------------------------------------------------------------------------------


def judge(
    check: MetricCheck,
    answer: MetricAnswer,
    *,
    min_requests: int = 0,
    primary_answer: MetricAnswer | None = None,
) -> CheckResult:
    """Judge one check.

    With the primary's answer to the same question, a breach that the primary shares is held instead
    of failed, unless the canary is clearly the worse of the two: a rollback in an outage heals
    nothing.
    """
    result = _judge_alone(check, answer, min_requests)
    if result.verdict is not Verdict.FAIL or primary_answer is None or answer.absent is not None:
        return result
    primary = _judge_alone(check, primary_answer, min_requests)
    if primary.verdict is not Verdict.FAIL or primary_answer.absent is not None:
        return result
    shared = f"{result.message}; the primary breaks the limit too, with {primary.value}"
    if _worse(check, answer, primary_answer) >= STRONG:
        return replace(result, message=f"{shared}, but the canary is clearly worse")
    return replace(
        result,
        verdict=Verdict.INCONCLUSIVE,
        reason=GateReason.BASELINE_UNHEALTHY,
        message=f"{shared}: the cause may lie outside the new revision",
    )


def share_requests(answers: Iterable[MetricAnswer]) -> tuple[MetricAnswer, ...]:
    """Tell custom queries of the same evaluation how many requests the built-ins counted.

    A custom query says nothing about its sample, so without this ``min-requests`` could not be
    applied to it.
    """
    known = tuple(answers)
    totals = [answer.counts.total for answer in known if answer.counts is not None]
    totals = totals or [answer.histogram.count for answer in known if answer.histogram is not None]
    if not totals:
        return known
    return tuple(
        (
            replace(answer, requests=max(totals))
            if answer.value is not None and answer.requests is None
            else answer
        )
        for answer in known
    )


def _judge_alone(check: MetricCheck, answer: MetricAnswer, min_requests: int) -> CheckResult:
    if answer.absent is not None:
        return _without_data(check, answer.absent)
    match check.builtin:
        case None:
            return _judge_value(check, answer.value, answer.requests, min_requests)
        case Builtin.SUCCESS_RATE | Builtin.ERROR_RATE:
            return _judge_rate(check, check.builtin, answer.counts, min_requests)
        case Builtin.LATENCY_P50 | Builtin.LATENCY_P90 | Builtin.LATENCY_P95 | Builtin.LATENCY_P99:
            return _judge_latency(check, check.builtin, answer.histogram, min_requests)
        case _:
            assert_never(check.builtin)


def _judge_rate(
    check: MetricCheck, builtin: Builtin, counts: Counts | None, min_requests: int
) -> CheckResult:
    if counts is None:
        return _without_data(check, Absent(Missing.NO_SERIES, "the source sent no counts"))
    # NaN fails every comparison, so this also refuses NaN.
    if not (0 <= counts.errors <= counts.total < inf):
        shown = f"{counts.errors} errors of {counts.total} requests"
        return _without_data(check, Absent(Missing.NOT_A_NUMBER, shown))
    if counts.total == 0:
        return _without_data(check, Absent(Missing.NO_TRAFFIC))
    if counts.total < min_requests:
        return _below_minimum(check, counts.total, min_requests, counts.window_s)
    errors, total = Fraction(counts.errors), Fraction(counts.total)
    rate = 100 * (errors if builtin is Builtin.ERROR_RATE else total - errors) / total
    ok = holds(check.condition, rate)
    value = number(rate, (*limits(check.condition), 0, 100))
    evidence = f"{many(counts.errors, 'error')} of {many(counts.total, 'request')}"
    return _decided(
        check,
        ok=ok,
        value=value,
        unit="%",
        samples=counts.total,
        message=(
            f"{check.name} {value}{suffix(check.condition.unit)} "
            f"{relation(check.condition, rate, ok=ok)} ({evidence}{in_window(counts.window_s)})"
        ),
    )


def _judge_latency(
    check: MetricCheck, builtin: Builtin, histogram: Histogram | None, min_requests: int
) -> CheckResult:
    if histogram is None:
        return _without_data(check, Absent(Missing.NO_SERIES, "the source sent no histogram"))
    if not is_sound(histogram):
        return _without_data(check, Absent(Missing.NOT_A_NUMBER, "the histogram is damaged"))
    total, window_s = histogram.count, histogram.window_s
    found = bracket(histogram, int(builtin.removeprefix("latency-p")))
    if found is None:
        return _without_data(check, Absent(Missing.NO_TRAFFIC))
    if total < min_requests:
        return _below_minimum(check, total, min_requests, window_s)
    ok = bracket_holds(check.condition, found)
    if ok is None:
        return _too_coarse(check, found, total)
    shown_ms = found.shown_s * 1000
    value = number(shown_ms, limits(check.condition))
    is_open = found.high_s == inf
    return _decided(
        check,
        ok=ok,
        value=f">{value}" if is_open else value,
        unit="ms",
        samples=total,
        message=(
            f"{check.name} {'over ' if is_open else ''}{value} ms "
            f"{relation(in_ms(check.condition), shown_ms, ok=ok)} "
            f"({many(total, 'request')}{in_window(window_s)})"
        ),
    )


def _judge_value(
    check: MetricCheck, value: float | None, requests: float | None, min_requests: int
) -> CheckResult:
    if value is None:
        return _without_data(check, Absent(Missing.NO_SERIES, "the source sent no value"))
    if not isfinite(value):
        return _without_data(check, Absent(Missing.NOT_A_NUMBER, f"the value is {value}"))
    if min_requests > 0 and (requests is None or not 0 <= requests < inf):
        return _result(
            check,
            Verdict.INCONCLUSIVE,
            GateReason.REQUESTS_UNKNOWN,
            f"{check.name}: nobody counts the canary's requests, so min-requests {min_requests:,} "
            "cannot be checked; add metric.success-rate, or remove min-requests",
        )
    if requests is not None and requests < min_requests:
        return _below_minimum(check, requests, min_requests, 0.0)
    exact = Fraction(str(value))
    ok = holds(check.condition, exact)
    text, unit = number(value, limits(check.condition)), check.condition.unit
    return _decided(
        check,
        ok=ok,
        value=text,
        unit=unit,
        samples=requests,
        message=f"{check.name} {text}{suffix(unit)} {relation(check.condition, exact, ok=ok)}",
    )


def _worse(check: MetricCheck, canary: MetricAnswer, primary: MetricAnswer) -> float:
    """Return the evidence that the canary is worse than a primary that fails as well."""
    if canary.counts is not None and primary.counts is not None:
        return worse_evidence(
            canary_bad=canary.counts.errors,
            canary_total=canary.counts.total,
            primary_bad=primary.counts.errors,
            primary_total=primary.counts.total,
        )
    if canary.histogram is not None and primary.histogram is not None:
        limit_s = float(limits(check.condition)[-1]) / 1000
        return worse_evidence(
            canary_bad=slower_than(canary.histogram, limit_s)[0],
            canary_total=canary.histogram.count,
            primary_bad=slower_than(primary.histogram, limit_s)[1],
            primary_total=primary.histogram.count,
        )
    return 1.0


# --- load tests -----------------------------------------------------------------------------------


def judge_load_test(spec: LoadTestSpec, answer: LoadTestAnswer) -> CheckResult:
    """Judge one load test by its share of failed requests; a void test is inconclusive."""
    name, threshold = f"load-test.{spec.name}", f"<= {format_decimal(spec.max_errors)}%"

    def result(verdict: Verdict, reason: str, message: str, value: str = "") -> CheckResult:
        return CheckResult(
            name=name,
            verdict=verdict,
            reason=reason,
            value=value,
            unit="%",
            threshold=threshold,
            samples=answer.sent if value else None,
            message=f"{name} {message}",
        )

    if answer.absent is not None:
        words = _words(answer.absent)
        return result(Verdict.INCONCLUSIVE, answer.absent.why, f"is void: {words}")
    if answer.sent <= 0:
        return result(Verdict.INCONCLUSIVE, Missing.NO_TRAFFIC, "is void: no request was sent")
    if not 0 <= answer.failed <= answer.sent:
        shown = f"is void: {answer.failed} failures of {answer.sent} requests"
        return result(Verdict.INCONCLUSIVE, Missing.NOT_A_NUMBER, shown)
    share = Fraction(100 * answer.failed, answer.sent)
    limit = Fraction(str(spec.max_errors))
    value = number(share, (limit, 0, 100))
    evidence = f"{value}% of {many(answer.sent, 'request')} failed"
    if share > limit:
        shown = f"failed: {evidence}, more than {format_decimal(spec.max_errors)}%"
        return result(Verdict.FAIL, GateReason.LOAD_TEST_FAILED, shown, value)
    return result(Verdict.PASS, GateReason.PASSED, f"passed: {evidence}", value)


# --- results --------------------------------------------------------------------------------------


def _result(
    check: MetricCheck,
    verdict: Verdict,
    reason: str,
    message: str,
    samples: float | None = None,
) -> CheckResult:
    return CheckResult(
        name=check.name,
        verdict=verdict,
        reason=reason,
        threshold=check.condition.text or format_condition(check.condition),
        samples=None if samples is None else round(samples),
        message=message,
        failure_limit=check.failures,
    )


def _decided(
    check: MetricCheck,
    *,
    ok: bool,
    value: str,
    unit: str,
    samples: float | None,
    message: str,
) -> CheckResult:
    verdict = Verdict.PASS if ok else Verdict.FAIL
    reason = GateReason.PASSED if ok else GateReason.THRESHOLD_BROKEN
    return replace(_result(check, verdict, reason, message, samples), value=value, unit=unit)


_NOT_DATA = (Missing.SOURCE_UNAVAILABLE, Missing.QUERY_REFUSED, Missing.SEVERAL_SERIES)
"""Faults of the source or of the query: ``no-data: fail`` is about the app, and does not cover
them.
"""


def _without_data(check: MetricCheck, absent: Absent) -> CheckResult:
    message = f"{check.name} cannot be judged: {_words(absent)}"
    if check.no_data is NoData.FAIL and absent.why not in _NOT_DATA:
        shown = f"{message}; no-data is set to fail"
        return _result(check, Verdict.FAIL, absent.why, shown)
    return _result(check, Verdict.INCONCLUSIVE, absent.why, message)


def _below_minimum(
    check: MetricCheck, requests: float, minimum: int, window_s: float
) -> CheckResult:
    message = (
        f"{check.name} has {requests:,.0f} of the {minimum:,} requests that min-requests asks for"
        f"{in_window(window_s)}"
    )
    if requests > 0 and window_s > 0:
        needed_s = ceil(minimum / requests * window_s)
        message += f"; at this rate they take {format_duration(needed_s)}"
        if needed_s > check.window_s:
            message += (
                f", longer than the window of {format_duration(check.window_s)}: "
                f"raise metric.{check.name}.interval or the load"
            )
    return _result(check, Verdict.INCONCLUSIVE, GateReason.BELOW_MINIMUM, message, samples=requests)


def _too_coarse(check: MetricCheck, found: Bracket, total: float) -> CheckResult:
    low, high = number(found.low_s * 1000), number(found.high_s * 1000)
    inside = [
        limit
        for limit in limits(check.condition)
        if found.low_s * 1000 < limit < found.high_s * 1000
    ]
    limit = inside[0]
    where = f"over {low} ms" if found.high_s == inf else f"between {low} ms and {high} ms"
    message = (
        f"{check.name} {where} cannot be told from {number(limit)} ms: "
        f"Prometheus has no bucket edge there; add an edge at {number(limit / 1000)} s"
    )
    return _result(
        check, Verdict.INCONCLUSIVE, GateReason.BUCKET_TOO_COARSE, message, samples=total
    )


_MISSING = {
    Missing.NO_SERIES: "there is no such series",
    Missing.NO_TRAFFIC: "there were no requests",
    Missing.NOT_A_NUMBER: "the answer is not a finite number",
    Missing.SEVERAL_SERIES: "the query returns several series and must return one",
    Missing.STALE: "the newest sample is too old",
    Missing.SOURCE_UNAVAILABLE: "the source does not answer",
    Missing.QUERY_REFUSED: "the query was refused",
}


def _words(absent: Absent) -> str:
    return _MISSING[absent.why] + (f" ({absent.detail})" if absent.detail else "")
