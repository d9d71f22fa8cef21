"""Verdicts as values, and how those of one evaluation join.

One failure fails an evaluation, else one unknown holds it; only what is measured and within its
threshold passes. Who asked, and how an answer became a verdict, is the matter of ``gates``.
Counting failures over time is a value passed in and handed back: nothing is remembered here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum


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
    LOAD_TEST_VOID = "LoadTestVoid"
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
