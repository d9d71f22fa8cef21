"""What a cumulative histogram says about a quantile, and what it does not.

A histogram with the edges 0.3 and 1.2 s cannot tell a p99 of 320 ms from one of 1,190 ms.
Interpolation gives a number all the same, and gates built on it pass and fail by the choice of
buckets. So a quantile is a *bracket* here: two neighbouring edges between which it lies for
certain. A limit at an edge is then decided exactly, by counting; a limit strictly inside the
bracket cannot be decided, and the caller must say so. The interpolated value exists for people's
eyes only and decides nothing.

Ranks are exact fractions: at a boundary one request decides. Nothing here trusts its input: a
histogram that no honest source sends has no bracket.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import inf, isfinite

from canaryd.core.model import Histogram


@dataclass(frozen=True, slots=True)
class Bracket:
    """The quantile lies above ``low_s`` and at or below ``high_s``; ``shown_s`` is the interpolated
    guess for display.
    """

    low_s: float
    high_s: float
    shown_s: float


def is_sound(histogram: Histogram) -> bool:
    """Tell whether a histogram can be counted on: ascending edges up to infinity, counts finite,
    positive and rising.
    """
    buckets = histogram.buckets
    if not buckets or buckets[-1][0] != inf:
        return False
    edges_rise = all(a < b for (a, _), (b, _) in pairwise(buckets))
    counts_rise = all(a <= b for (_, a), (_, b) in pairwise(buckets))
    # NaN fails every comparison, so this also refuses NaN.
    is_positive = buckets[0][0] >= 0 and buckets[0][1] >= 0
    return edges_rise and counts_rise and is_positive and isfinite(buckets[-1][1])


def bracket(histogram: Histogram, percent: int) -> Bracket | None:
    """Find the bucket that holds a quantile; None when there is none to find.

    The quantile of n values is the smallest value with at least ``percent`` of n at or below it.
    """
    if not is_sound(histogram) or histogram.count <= 0 or not 0 < percent <= 100:
        return None
    rank = Fraction(histogram.count) * percent / 100
    low_s, below = 0.0, 0.0
    for edge_s, count in histogram.buckets:
        if Fraction(count) >= rank:
            return Bracket(low_s, edge_s, _interpolate(low_s, edge_s, below, count, rank))
        low_s, below = edge_s, count
    return None


def slower_than(histogram: Histogram, limit_s: float) -> tuple[float, float]:
    """Return the least and the greatest number of requests that may have taken longer than
    ``limit_s``.
    """
    total = histogram.count
    at_or_below = max((count for edge, count in histogram.buckets if edge <= limit_s), default=0.0)
    at_or_above = min(
        (count for edge, count in histogram.buckets if edge >= limit_s), default=total
    )
    return total - at_or_above, total - at_or_below


def _interpolate(low_s: float, high_s: float, below: float, count: float, rank: Fraction) -> float:
    if high_s == inf:
        return low_s
    share = (rank - Fraction(below)) / (Fraction(count) - Fraction(below))
    return low_s + (high_s - low_s) * float(share)
