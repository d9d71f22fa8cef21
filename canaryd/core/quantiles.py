"""What a cumulative histogram says about a quantile, and what it does not.

A histogram with the edges 0.3 and 1.2 s cannot tell a p99 of 320 ms from one of 1,190 ms.
Interpolation gives a number all the same, and gates built on it pass and fail by the choice of
buckets. So a quantile is a *bracket* here: two neighbouring edges between which it lies for
certain. A limit at an edge is then decided exactly, by counting; a limit strictly inside the
bracket cannot be decided, and the caller must say so. The interpolated value exists for people's
eyes only and decides nothing.

Histograms of different edges, such as those of a data plane and of a load test, are joined without
moving an edge: the bracket then is as wide as what both together leave open.

Ranks are exact fractions: at a boundary one request decides. Nothing here trusts its input: a
histogram that no honest source sends has no bracket.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
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
    return joint_bracket((histogram,), percent)


def joint_bracket(histograms: Sequence[Histogram], percent: int) -> Bracket | None:
    """Find two edges between which the quantile of all histograms' requests together lies.

    Their edges need not be the same, and none is moved: where a histogram has no edge, its count
    there is known only to lie between those at the two edges around it, so the bracket widens.
    None when one of them is damaged or all are empty.
    """
    if not all(map(is_sound, histograms)) or not 0 < percent <= 100:
        return None
    total = sum((Fraction(h.count) for h in histograms), Fraction(0))
    if total <= 0:
        return None
    rank = total * percent / 100
    steps = [_Steps(h) for h in histograms]
    low_s, below = 0.0, Fraction(0)
    for edge_s in sorted({edge for s in steps for edge in s.edges}):
        most = sum((s.at_most(edge_s) for s in steps), Fraction(0))
        least = sum((s.at_least(edge_s) for s in steps), Fraction(0))
        if least >= rank:
            return Bracket(low_s, edge_s, _interpolate(low_s, edge_s, below, least, rank))
        if most < rank:
            low_s, below = edge_s, most
    return None


class _Steps:
    """A sound histogram, to be asked for counts at edges that may be another one's."""

    def __init__(self, histogram: Histogram) -> None:
        self.edges = [edge for edge, _ in histogram.buckets]
        self._counts = [Fraction(count) for _, count in histogram.buckets]

    def at_least(self, edge_s: float) -> Fraction:
        """Requests that were certainly not slower than this."""
        place = bisect_right(self.edges, edge_s)
        return self._counts[place - 1] if place else Fraction(0)

    def at_most(self, edge_s: float) -> Fraction:
        """Requests that may have been no slower than this."""
        return self._counts[bisect_left(self.edges, edge_s)]


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


def _interpolate(
    low_s: float, high_s: float, below: Fraction, count: Fraction, rank: Fraction
) -> float:
    if high_s == inf:
        return low_s
    share = (rank - below) / (count - below)
    return low_s + (high_s - low_s) * float(share)
