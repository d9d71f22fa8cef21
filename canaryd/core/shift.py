"""Did the traffic move? What the data plane counted on both sides, against the weight it was given.

A controller that ignores our annotations (another class, a risk limit, a version that does not know
them) looks like a canary without errors, and a weight that means more than it says sends users to
what was not meant for them yet. Only gross differences count: sessions that stick, several replicas
that switch at different moments and a few requests more or less are none of our business.
"""

from canaryd.core.model import MetricAnswer, Missing

EXPECTED_AT_LEAST = 40.0
"""Requests the canary should have had before their absence says anything: at a true share of the
weight, fewer than a quarter of 40 come up by chance less than once in ten million times.
"""
MISSED = 4.0
"""So many times too few requests is not shifted."""
EXCESS = 2.0
"""So many times too many, and :data:`EXPECTED_AT_LEAST` on top, is too much."""


def not_shifted(
    weight: int, canary: MetricAnswer, primary: MetricAnswer, *, has_others: bool = False
) -> str:
    """Why the measured share is not that of a weight, in words; empty when it is, or nothing is
    known.

    Args:
        weight: percent of users on the canary, 1 to 99.
        canary: counts of the canary since the weight was written.
        primary: the same of the primary.
        has_others: requests get to the canary beside the weight, of testers or from a mirror, so
            many of them say nothing.

    """
    seen, beside = _requests(canary), _requests(primary)
    if canary.has_load or seen is None or not beside:
        return ""
    expected = beside * weight / (100 - weight)
    if expected < EXPECTED_AT_LEAST:
        return ""
    counted = f"{seen:,.0f} requests on the canary and {beside:,.0f} on the primary"
    if seen * MISSED < expected:
        return (
            f"traffic did not shift: {counted} at weight {weight}. Does the data plane read these"
            " routes (class, controller, version)?"
        )
    if not has_others and seen > expected * EXCESS + EXPECTED_AT_LEAST:
        return f"more traffic shifted than was asked for: {counted} at weight {weight}"
    return ""


def _requests(answer: MetricAnswer) -> float | None:
    """Requests of one side; None while nothing says how many."""
    if answer.counts is not None:
        return answer.counts.total
    if answer.absent is not None and answer.absent.why in (Missing.NO_TRAFFIC, Missing.NO_SERIES):
        return 0.0
    return None
