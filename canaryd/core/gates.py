"""The judge: answers, held against the user's thresholds, become pass, fail or inconclusive.

Three values, because two lie. A gate that must choose between pass and fail calls an idle service
broken, or an unmeasured one good. Here PASS means *measured and within the threshold*, FAIL
*measured and outside*, and everything else (no series, NaN, too few requests, buckets too coarse,
an outage on both sides) is INCONCLUSIVE with its reason: it holds the weight and spends no failure
budget. Unknown is never a pass, whatever the input.

Rates are computed from counts as exact fractions, quantiles as brackets between bucket edges (see
``quantiles``), so that a verdict at the threshold does not hang on float rounding. Numbers in
messages are for people and are printed with as many digits as it takes not to contradict the
verdict.

Pure: no clock, no I/O; counting failures over time is a value passed in and handed back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from math import ceil, inf, isfinite
from typing import assert_never

from canaryd.core.evidence import STRONG, worse_evidence
from canaryd.core.model import (
    Absent,
    Builtin,
    Comparator,
    Condition,
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
from canaryd.core.units import format_condition, format_decimal, format_duration


class Verdict(StrEnum):
    """What a check, or all of them together, came to."""

    PASS = "Passed"  # noqa: S105 - a verdict
    FAIL = "Failed"
    INCONCLUSIVE = "Inconclusive"


Outcome = Verdict
"""The verdict on a whole evaluation."""


class GateReason(StrEnum):
    """Why a verdict came out as it did; where data is missing the word is that of ``Missing``."""

    PASSED = "Passed"
    THRESHOLD_BROKEN = "ThresholdBroken"
    LOAD_TEST_FAILED = "LoadTestFailed"
    BELOW_MINIMUM = "BelowMinimum"
    REQUESTS_UNKNOWN = "RequestsUnknown"
    BUCKET_TOO_COARSE = "BucketTooCoarse"
    BASELINE_UNHEALTHY = "BaselineUnhealthy"
    NO_CHECKS = "NoChecks"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Verdict on one check, with the evidence for it in words.

    ``samples`` is the number of requests judged, when known; ``failure_limit`` the check's own
    limit of failures, None when the run's applies.
    """

    name: str
    verdict: Verdict
    reason: str
    value: str = ""
    unit: str = ""
    threshold: str = ""
    samples: int | None = None
    message: str = ""
    failure_limit: int | None = None


@dataclass(frozen=True, slots=True)
class FailureBudget:
    """Failures of a run so far, and how many end it.

    ``spent`` counts evaluations in which a check without a limit of its own failed, ``by_check``
    the failures of each check. A limit of 0 or 1 ends the run at the first failure.
    """

    limit: int = 1
    spent: int = 0
    by_check: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Verdict on all checks together, and the failure budget after it."""

    outcome: Outcome
    reason: str
    message: str
    results: tuple[CheckResult, ...]
    budget: FailureBudget
    exhausted: bool = False
    """The budget of the run, or of one of its checks, is used up."""


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
    ok = _holds(check.condition, rate)
    value = _number(rate, (*_limits(check.condition), 0, 100))
    evidence = f"{_many(counts.errors, 'error')} of {_many(counts.total, 'request')}"
    return _decided(
        check,
        ok=ok,
        value=value,
        unit="%",
        samples=counts.total,
        message=(
            f"{check.name} {value}{_suffix(check.condition.unit)} "
            f"{_relation(check.condition, rate, ok=ok)} ({evidence}{_in_window(counts.window_s)})"
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
    ok = _bracket_holds(check.condition, found)
    if ok is None:
        return _too_coarse(check, found, total)
    shown_ms = found.shown_s * 1000
    value = _number(shown_ms, _limits(check.condition))
    is_open = found.high_s == inf
    return _decided(
        check,
        ok=ok,
        value=f">{value}" if is_open else value,
        unit="ms",
        samples=total,
        message=(
            f"{check.name} {'over ' if is_open else ''}{value} ms "
            f"{_relation(_in_ms(check.condition), shown_ms, ok=ok)} "
            f"({_many(total, 'request')}{_in_window(window_s)})"
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
    ok = _holds(check.condition, exact)
    text, unit = _number(value, _limits(check.condition)), check.condition.unit
    return _decided(
        check,
        ok=ok,
        value=text,
        unit=unit,
        samples=requests,
        message=f"{check.name} {text}{_suffix(unit)} {_relation(check.condition, exact, ok=ok)}",
    )


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
    value = _number(share, (limit, 0, 100))
    evidence = f"{value}% of {_many(answer.sent, 'request')} failed"
    if share > limit:
        shown = f"failed: {evidence}, more than {format_decimal(spec.max_errors)}%"
        return result(Verdict.FAIL, GateReason.LOAD_TEST_FAILED, shown, value)
    return result(Verdict.PASS, GateReason.PASSED, f"passed: {evidence}", value)


# --- all checks together --------------------------------------------------------------------------


def judge_all(results: Sequence[CheckResult], budget: FailureBudget) -> Evaluation:
    """Join verdicts: one failure fails, else one unknown holds; every deciding check is named."""
    if not results:
        return Evaluation(
            outcome=Outcome.PASS,
            reason=GateReason.NO_CHECKS,
            message="no checks are configured",
            results=(),
            budget=budget,
            exhausted=_is_exhausted(budget, {}),
        )
    outcome = next(
        verdict
        for verdict in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
        if any(result.verdict is verdict for result in results)
    )
    deciding = [result for result in results if result.verdict is outcome]
    after = _spend(budget, [result for result in results if result.verdict is Verdict.FAIL])
    return Evaluation(
        outcome=outcome,
        reason=deciding[0].reason,
        message="; ".join(result.message for result in deciding),
        results=tuple(results),
        budget=after,
        exhausted=_is_exhausted(
            after,
            {r.name: r.failure_limit for r in results if r.failure_limit is not None},
        ),
    )


def _spend(budget: FailureBudget, failed: Sequence[CheckResult]) -> FailureBudget:
    by_check = dict(budget.by_check)
    for result in failed:
        by_check[result.name] = by_check.get(result.name, 0) + 1
    of_the_run = any(result.failure_limit is None for result in failed)
    return replace(budget, spent=budget.spent + of_the_run, by_check=by_check)


def _is_exhausted(budget: FailureBudget, own_limits: Mapping[str, int]) -> bool:
    return budget.spent >= max(1, budget.limit) or any(
        budget.by_check.get(name, 0) >= max(1, limit) for name, limit in own_limits.items()
    )


# --- thresholds -----------------------------------------------------------------------------------


def _holds(condition: Condition, value: Fraction) -> bool:
    """Compare exactly: the limit is the decimal the user wrote, not its nearest float."""
    low, high = Fraction(str(condition.low)), Fraction(str(condition.high))
    match condition.comparator:
        case Comparator.AT_LEAST:
            return value >= low
        case Comparator.AT_MOST:
            return value <= low
        case Comparator.ABOVE:
            return value > low
        case Comparator.BELOW:
            return value < low
        case Comparator.BETWEEN:
            return low <= value <= high
        case _:
            assert_never(condition.comparator)


def _bracket_holds(condition: Condition, found: Bracket) -> bool | None:
    """Tell whether a latency within these edges keeps the limit; None when it may or may not.

    Time is continuous, so ``<`` and ``<=`` are the same here.
    """
    low_ms, high_ms = found.low_s * 1000, found.high_s * 1000
    low, high = 0.0, inf
    match condition.comparator:
        case Comparator.AT_MOST | Comparator.BELOW:
            high = condition.low
        case Comparator.AT_LEAST | Comparator.ABOVE:
            low = condition.low
        case Comparator.BETWEEN:
            low, high = condition.low, condition.high
        case _:
            assert_never(condition.comparator)
    if _at_least(low_ms, low) and _at_least(high, high_ms):
        return True
    return False if _at_least(low, high_ms) or _at_least(low_ms, high) else None


def _at_least(a: float, b: float) -> bool:
    """Compare milliseconds, blind to what multiplying an edge by 1000 does in its last digit."""
    return a >= b or a >= b * (1 - 1e-12)


def _limits(condition: Condition) -> tuple[Fraction, ...]:
    low = Fraction(str(condition.low))
    if condition.comparator is Comparator.BETWEEN:
        return low, Fraction(str(condition.high))
    return (low,)


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
        limit_s = float(_limits(check.condition)[-1]) / 1000
        return worse_evidence(
            canary_bad=slower_than(canary.histogram, limit_s)[0],
            canary_total=canary.histogram.count,
            primary_bad=slower_than(primary.histogram, limit_s)[1],
            primary_total=primary.histogram.count,
        )
    return 1.0


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
        f"{_in_window(window_s)}"
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
    low, high = _number(found.low_s * 1000), _number(found.high_s * 1000)
    inside = [
        limit
        for limit in _limits(check.condition)
        if found.low_s * 1000 < limit < found.high_s * 1000
    ]
    limit = inside[0]
    where = f"over {low} ms" if found.high_s == inf else f"between {low} ms and {high} ms"
    message = (
        f"{check.name} {where} cannot be told from {_number(limit)} ms: "
        f"Prometheus has no bucket edge there; add an edge at {_number(limit / 1000)} s"
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


# --- words ----------------------------------------------------------------------------------------


def _relation(condition: Condition, value: Fraction | float, *, ok: bool) -> str:
    """Say how a value stands to its threshold."""
    limit = f"{format_decimal(condition.low)}{_suffix(condition.unit)}"
    match condition.comparator:
        case Comparator.AT_LEAST:
            return f"is at least {limit}" if ok else f"is below {limit}"
        case Comparator.AT_MOST:
            return f"is at most {limit}" if ok else f"is above {limit}"
        case Comparator.ABOVE:
            return f"is above {limit}" if ok else f"is not above {limit}"
        case Comparator.BELOW:
            return f"is below {limit}" if ok else f"is not below {limit}"
        case Comparator.BETWEEN:
            ends = f"{format_decimal(condition.low)}..{format_decimal(condition.high)}"
            ends += _suffix(condition.unit)
            side = "below" if value < condition.low else "above"
            return f"is within {ends}" if ok else f"is {side} {ends}"
        case _:
            assert_never(condition.comparator)


def _in_ms(condition: Condition) -> Condition:
    return replace(condition, unit="ms")


def _suffix(unit: str) -> str:
    return f" {unit}" if unit.isalpha() else unit


def _in_window(window_s: float) -> str:
    return f" in {window_s:.0f} s" if window_s > 0 else ""


def _many(count: float, noun: str) -> str:
    return f"{count:,.0f} {noun}" + ("" if round(count) == 1 else "s")


def _number(value: Fraction | float, marks: Sequence[Fraction | float] = ()) -> str:
    """Print a number with four digits, or as many as keep it on its side of the marks."""
    exact = float(value)
    if not isfinite(exact):
        return str(exact)
    digits = max(4, len(str(int(abs(exact)))))
    rounded = exact
    for precision in range(digits, 17):
        rounded = float(f"{exact:.{precision}g}")
        shown = Fraction(str(rounded))
        if all(_sign(shown, mark) == _sign(value, mark) for mark in marks):
            break
    return format_decimal(rounded)


def _sign(value: Fraction | float, mark: Fraction | float) -> int:
    return (value > mark) - (value < mark)
