"""Load tests as evidence: each of them judged, and what all of an evaluation add to a quiet app.

A canary that nobody uses cannot be judged by what users got. Its load tests are requests as well,
and the data plane does not see them: they go to the canary's Service, past the ingress whose
counters the built-in metrics read. So they may be added to those without counting any twice. When
they are, and how, is the matter of ``gates``.

A void test tells nothing about the app: its generator was short of something, crashed or was
refused. It never adds a request, passes or fails; it holds, and says what happened in the words of
whoever saw it. It is not an outage of a metric source, and must not read like one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from canaryd.core.model import Histogram, LoadTestAnswer, LoadTestSpec
from canaryd.core.quantiles import is_sound
from canaryd.core.thresholds import number
from canaryd.core.units import format_decimal
from canaryd.core.verdicts import CheckResult, GateReason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load tests of one evaluation sent, all together.

    ``names`` are the tests that count, ``void`` those that tell nothing. ``latencies`` are of
    requests that got an answer or ran out of time, as many as there are, not of all that were sent.
    """

    names: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    sent: int = 0
    failed: int = 0
    latencies: tuple[Histogram, ...] = ()

    @property
    def timed(self) -> float:
        """Requests with a latency."""
        return sum(h.count for h in self.latencies)


NO_LOAD = Load()


def add_up(answers: Iterable[LoadTestAnswer]) -> Load:
    """Add up what the load tests of one evaluation sent; a void one is named and adds nothing."""
    known = tuple(answers)
    good = [a for a in known if not why_void(a)]
    return Load(
        names=tuple(_name(a.test) for a in good),
        void=tuple(_name(a.test) for a in known if why_void(a)),
        sent=sum(a.sent for a in good),
        failed=sum(a.failed for a in good),
        latencies=tuple(a.latencies for a in good if is_sound(a.latencies) and a.latencies.count),
    )


def why_void(answer: LoadTestAnswer) -> str:
    """Say why a result tells nothing about the app; empty if it does."""
    if answer.absent is not None:
        return answer.absent.detail or "the generator gave no result"
    if answer.sent <= 0:
        return "no request was sent"
    if not 0 <= answer.failed <= answer.sent:
        return f"the generator counted {answer.failed:,} failures of {answer.sent:,} requests"
    return ""


def judge_load_test(spec: LoadTestSpec, answer: LoadTestAnswer) -> CheckResult:
    """Judge one load test by its share of failed requests; a void test is inconclusive."""
    name, limit = _name(spec.name), Fraction(str(spec.max_errors))
    shown_limit = f"{format_decimal(spec.max_errors)}%"

    def result(verdict: Verdict, reason: GateReason, message: str, value: str = "") -> CheckResult:
        return CheckResult(
            name=name,
            verdict=verdict,
            reason=reason,
            value=value,
            unit="%",
            threshold=f"<= {shown_limit}",
            samples=answer.sent if value else None,
            message=f"{name}{message}",
        )

    if why := why_void(answer):
        return result(Verdict.INCONCLUSIVE, GateReason.LOAD_TEST_VOID, f": void, {why}")
    share = Fraction(100 * answer.failed, answer.sent)
    value = number(share, (limit, 0, 100))
    p99 = answer.latency_ms.get("p99")
    latency = "" if p99 is None else f", p99 {number(p99)} ms"
    counts = f"{answer.sent:,} sent, {answer.failed:,} failed"
    if share > limit:
        shown = f" failed: {counts} ({value}%, more than {shown_limit}){latency}"
        return result(Verdict.FAIL, GateReason.LOAD_TEST_FAILED, shown, value)
    part = f" ({value}%)" if answer.failed else ""
    return result(Verdict.PASS, GateReason.PASSED, f": {counts}{part}{latency}", value)


def _name(test: str) -> str:
    return f"load-test.{test}"
