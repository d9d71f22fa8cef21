"""The judge: answers, held against the user's thresholds, become pass, fail or inconclusive.

Three values, because two lie. A gate that must choose between pass and fail calls an idle service
broken, or an unmeasured one good. Here PASS means *measured and within the threshold*, FAIL
*measured and outside*, and everything else (no series, NaN, too few requests, buckets too coarse,
an outage on both sides) is INCONCLUSIVE with its reason: it holds the weight and spends no failure
budget. Unknown is never a pass, whatever the input.

An app that hardly anybody uses is judged with the requests of its load tests added (``loads``), and
says how many of them those were. They stand in for traffic that is missing and for nothing else:
they never answer for a source that is down, and never outvote a user.

Rates are computed from counts as exact fractions, quantiles as brackets between bucket edges (see
``quantiles``) and held against the limits in ``thresholds``; how the verdicts of one evaluation
join, and what a run may still fail, is the matter of ``verdicts``. Pure: no clock, no I/O.
"""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import ceil, inf, isfinite
from typing import assert_never

from canaryd.core import names
from canaryd.core.evidence import STRONG, worse_evidence
from canaryd.core.loads import NO_LOAD, Load
from canaryd.core.model import (
    Absent,
    Builtin,
    Counts,
    Histogram,
    MetricAnswer,
    MetricCheck,
    Missing,
    NoData,
)
from canaryd.core.quantiles import Bracket, is_sound, joint_bracket, slower_than
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
from canaryd.core.units import format_condition, format_duration
from canaryd.core.verdicts import CheckResult, GateReason, Verdict

# --- one metric -----------------------------------------------------------------------------------


def judge(
    check: MetricCheck,
    answer: MetricAnswer,
    *,
    min_requests: int = 0,
    primary_answer: MetricAnswer | None = None,
    load: Load = NO_LOAD,
) -> CheckResult:
    """Judge one check.

    With the load tests of the same evaluation, a built-in that lacks traffic is judged by their
    requests too. Only where the data plane counts at the ingress: one that counts at the pods
    (``answer.has_load``) has them among its own already.

    With the primary's answer to the same question, a breach that the primary shares is held instead
    of failed, unless the canary is clearly the worse of the two: a rollback in an outage heals
    nothing.
    """
    result, seen, added = _judge_canary(check, answer, min_requests, load)
    if result.verdict is not Verdict.FAIL or primary_answer is None or seen.absent is not None:
        return result
    primary = _judge_alone(check, primary_answer, min_requests)
    if primary.verdict is not Verdict.FAIL or primary_answer.absent is not None:
        return result
    shared = f"{result.message}; the primary breaks the limit too, with {primary.value}"
    if _worse(check, seen, added, primary_answer) >= STRONG:
        return replace(result, message=f"{shared}, but the canary is clearly worse")
    return replace(
        result,
        verdict=Verdict.INCONCLUSIVE,
        reason=GateReason.BASELINE_UNHEALTHY,
        message=f"{shared}: the cause may lie outside the new revision",
    )


def _judge_canary(
    check: MetricCheck, answer: MetricAnswer, min_requests: int, load: Load
) -> tuple[CheckResult, MetricAnswer, Load]:
    """Judge by what the data plane saw, or with load tests where that is too little; return with
    the result what it was judged by.
    """
    alone = _judge_alone(check, answer, min_requests)
    if not _lacks_traffic(check, answer, alone):
        return alone, answer, NO_LOAD
    if answer.has_load or not _requests_of(check, load):
        return _unrelieved(check, answer, alone, load), answer, NO_LOAD
    seen = answer if answer.absent is None else _nothing(check)
    together = _judge_alone(check, seen, min_requests, load)
    if answer.absent is not None and answer.absent.why is Missing.NO_SERIES:
        shown = f"{together.message}; the source has no series of the canary"
        together = replace(together, message=shown)
    if alone.reason == GateReason.BELOW_MINIMUM and together.verdict is Verdict.PASS:
        users = _judge_alone(check, answer, 0)
        if users.verdict is not Verdict.PASS:
            together = _outvoted(users, min_requests)
    return together, seen, load


def _lacks_traffic(check: MetricCheck, answer: MetricAnswer, alone: CheckResult) -> bool:
    """Whether it is for want of requests that a built-in has no verdict of its own.

    By the reason, not the verdict: ``no-data: fail`` makes a failure of it.
    """
    if check.builtin is None:
        return False
    if answer.absent is not None:
        return answer.absent.why in (Missing.NO_SERIES, Missing.NO_TRAFFIC)
    return alone.reason in (Missing.NO_TRAFFIC, GateReason.BELOW_MINIMUM)


def _outvoted(users: CheckResult, minimum: int) -> CheckResult:
    """Hold what load tests alone make good: a share of any size could be hidden in enough load."""
    message = (
        f"{users.message}; they are fewer than the {minimum:,} of min-requests, but load tests do "
        "not make up for what users got"
    )
    return replace(
        users, verdict=Verdict.INCONCLUSIVE, reason=GateReason.BELOW_MINIMUM, message=message
    )


def _unrelieved(
    check: MetricCheck, answer: MetricAnswer, alone: CheckResult, load: Load
) -> CheckResult:
    """Want of traffic that no load test relieves: say why none does, or that one could."""
    if load.void:
        # The generator's fault like a source's: what it would have sent, the app would have had.
        if alone.verdict is Verdict.FAIL:
            alone = _judge_alone(replace(check, no_data=NoData.HOLD), answer, 0)
        return replace(alone, message=f"{alone.message}, and {', '.join(load.void)} is void")
    if load.names:
        tests = ", ".join(load.names)
        told = f"no request of {tests} was answered"
        if answer.has_load:
            told = f"requests of {tests} are among what is counted there"
        return replace(alone, message=f"{alone.message}, and {told}")
    if alone.verdict is Verdict.FAIL or alone.reason == GateReason.BELOW_MINIMUM:
        return alone
    advice = (
        f"add {names.PREFIX}load-test.<name> to make some, or set "
        f"{names.PREFIX}metric.{check.name}.no-data to fail"
    )
    return replace(alone, message=f"{alone.message}; {advice}")


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


def _judge_alone(
    check: MetricCheck, answer: MetricAnswer, min_requests: int, added: Load = NO_LOAD
) -> CheckResult:
    """Judge one side, with the requests of load tests counted in where there are some."""
    if answer.absent is not None:
        return _without_data(check, answer.absent)
    match check.builtin:
        case None:
            return _judge_value(check, answer.value, answer.requests, min_requests)
        case Builtin.SUCCESS_RATE | Builtin.ERROR_RATE:
            return _judge_rate(check, check.builtin, answer.counts, min_requests, added)
        case Builtin.LATENCY_P50 | Builtin.LATENCY_P90 | Builtin.LATENCY_P95 | Builtin.LATENCY_P99:
            return _judge_latency(check, check.builtin, answer.histogram, min_requests, added)
        case _:
            assert_never(check.builtin)


def _judge_rate(
    check: MetricCheck, builtin: Builtin, counts: Counts | None, min_requests: int, added: Load
) -> CheckResult:
    if counts is None:
        return _without_data(check, Absent(Missing.NO_SERIES, "the source sent no counts"))
    # NaN fails every comparison, so this also refuses NaN.
    if not (0 <= counts.errors <= counts.total < inf):
        shown = f"{counts.errors} errors of {counts.total} requests"
        return _without_data(check, Absent(Missing.NOT_A_NUMBER, shown))
    errors = Fraction(counts.errors) + added.failed
    total = Fraction(counts.total) + added.sent
    if total == 0:
        return _without_data(check, Absent(Missing.NO_TRAFFIC))
    if total < min_requests:
        return _below_minimum(check, float(total), min_requests, counts.window_s, added)
    rate = 100 * (errors if builtin is Builtin.ERROR_RATE else total - errors) / total
    ok = holds(check.condition, rate)
    value = number(rate, (*limits(check.condition), 0, 100))
    evidence = many(float(errors), "error")
    evidence += f" of {_requests(check, float(total), counts.window_s, added)}"
    return _decided(
        check,
        ok=ok,
        value=value,
        unit="%",
        samples=float(total),
        message=(
            f"{check.name} {value}{suffix(check.condition.unit)} "
            f"{relation(check.condition, rate, ok=ok)} ({evidence})"
        ),
    )


def _judge_latency(
    check: MetricCheck,
    builtin: Builtin,
    histogram: Histogram | None,
    min_requests: int,
    added: Load,
) -> CheckResult:
    if histogram is None:
        return _without_data(check, Absent(Missing.NO_SERIES, "the source sent no histogram"))
    if not is_sound(histogram):
        return _without_data(check, Absent(Missing.NOT_A_NUMBER, "the histogram is damaged"))
    total, window_s = histogram.count + added.timed, histogram.window_s
    found = joint_bracket((histogram, *added.latencies), int(builtin.removeprefix("latency-p")))
    if found is None:
        return _without_data(check, Absent(Missing.NO_TRAFFIC))
    if total < min_requests:
        return _below_minimum(check, total, min_requests, window_s, added)
    ok = bracket_holds(check.condition, found)
    if ok is None:
        return _too_coarse(check, found, total, histogram, added)
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
            f"({_requests(check, total, window_s, added)})"
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
        return _below_minimum(check, requests, min_requests, 0.0, NO_LOAD)
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


def _worse(check: MetricCheck, canary: MetricAnswer, added: Load, primary: MetricAnswer) -> float:
    """Return the evidence that the canary is worse than a primary that fails as well."""
    if canary.counts is not None and primary.counts is not None:
        return worse_evidence(
            canary_bad=canary.counts.errors + added.failed,
            canary_total=canary.counts.total + added.sent,
            primary_bad=primary.counts.errors,
            primary_total=primary.counts.total,
        )
    if canary.histogram is not None and primary.histogram is not None:
        limit_s = float(limits(check.condition)[-1]) / 1000
        both = (canary.histogram, *added.latencies)
        return worse_evidence(
            canary_bad=sum(slower_than(h, limit_s)[0] for h in both),
            canary_total=sum(h.count for h in both),
            primary_bad=slower_than(primary.histogram, limit_s)[1],
            primary_total=primary.histogram.count,
        )
    return 1.0


def _requests_of(check: MetricCheck, load: Load) -> float:
    """Return how many requests of load tests count for this check."""
    is_rate = check.builtin in (Builtin.SUCCESS_RATE, Builtin.ERROR_RATE)
    return load.sent if is_rate else load.timed


def _nothing(check: MetricCheck) -> MetricAnswer:
    """What a data plane that has seen no request would answer in numbers."""
    empty = Histogram(((inf, 0.0),))
    is_rate = check.builtin in (Builtin.SUCCESS_RATE, Builtin.ERROR_RATE)
    if is_rate:
        return MetricAnswer(check=check.name, counts=Counts(0.0, 0.0, 0.0))
    return MetricAnswer(check=check.name, histogram=empty)


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


def _requests(check: MetricCheck, total: float, window_s: float, added: Load) -> str:
    """Say how many requests were judged, and how many of them nobody but us has sent."""
    ours = _requests_of(check, added)
    source = f", {ours:,.0f} of them by load tests" if ours else in_window(window_s)
    return f"{many(total, 'request')}{source}"


def _below_minimum(
    check: MetricCheck, requests: float, minimum: int, window_s: float, added: Load
) -> CheckResult:
    message = (
        f"{check.name} has {requests:,.0f} of the {minimum:,} requests that min-requests asks for"
    )
    if ours := _requests_of(check, added):
        message += (
            f", {ours:,.0f} of them by load tests: raise rate= or for= of "
            f"{' or '.join(added.names)}, or lower min-requests"
        )
        return _result(check, Verdict.INCONCLUSIVE, GateReason.BELOW_MINIMUM, message, requests)
    message += in_window(window_s)
    if requests > 0 and window_s > 0:
        needed_s = ceil(minimum / requests * window_s)
        message += f"; at this rate they take {format_duration(needed_s)}"
        if needed_s > check.window_s:
            message += (
                f", longer than the window of {format_duration(check.window_s)}: "
                f"add {names.PREFIX}load-test.<name>, lower min-requests, "
                f"or raise metric.{check.name}.interval"
            )
    return _result(check, Verdict.INCONCLUSIVE, GateReason.BELOW_MINIMUM, message, requests)


def _too_coarse(
    check: MetricCheck, found: Bracket, total: float, histogram: Histogram, added: Load
) -> CheckResult:
    low, high = number(found.low_s * 1000), number(found.high_s * 1000)
    inside = [
        limit
        for limit in limits(check.condition)
        if found.low_s * 1000 < limit < found.high_s * 1000
    ]
    limit = inside[0]
    where = f"over {low} ms" if found.high_s == inf else f"between {low} ms and {high} ms"
    least, most = slower_than(histogram, float(limit) / 1000)
    if least < most or not added.latencies:
        why = f"Prometheus has no bucket edge there; add an edge at {number(limit / 1000)} s"
    elif found.high_s == inf:
        why = f"load tests waited no longer; raise timeout= of {' and '.join(added.names)}"
    else:
        why = "load tests tell latencies to within 2%, and this is nearer; they run again"
    message = f"{check.name} {where} cannot be told from {number(limit)} ms: {why}"
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
