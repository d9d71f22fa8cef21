"""A histogram of latencies whose buckets grow with the value: 64 to each power of two.

A load test of an hour is millions of latencies; sorting them would cost memory without bound, and
fixed buckets would have to know beforehand what is slow. Here a bucket is as wide as 1/64 of the
power of two it lies in, so a value read back from the middle of its bucket is less than 0.8 % off,
whether it was 2 ms or 2 min. Buckets exist only once they are hit: from a microsecond to an hour
there are 2,048 of them. Extremes are kept exactly. Two histograms merge without loss.

A bucket includes its upper edge, like Prometheus' ``le``: at every edge the count of what is at or
below it is exact, so that the verdict on a limit need not trust the middle of a bucket.
"""

from collections.abc import Mapping
from math import ceil, frexp, inf, ldexp

from canaryd.core import model

BUCKETS_PER_DOUBLING = 64
SHORTEST_S = 1e-6
"""What is shorter is counted as this: no clock here is finer."""
LONGEST_S = 1e9
"""What is longer is no latency; no time limit that can be written is."""


class Histogram:
    """Counts durations in seconds."""

    __slots__ = ("buckets", "count", "highest", "lowest")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.lowest = inf
        self.highest = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration; ``ValueError`` if it is negative or not a finite number."""
        if not 0 <= seconds < inf:
            raise ValueError(f"a duration cannot be {seconds}")
        bucket = _bucket_of(max(seconds, SHORTEST_S))
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.lowest = min(self.lowest, seconds)
        self.highest = max(self.highest, seconds)

    def merge(self, other: "Histogram") -> None:
        """Count everything that the other one has counted."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)

    def quantile(self, q: float) -> float:
        """Return the duration that a share ``q`` of all durations does not exceed (nearest rank).

        ``ValueError`` if nothing was counted, or ``q`` is not above 0 and at most 1.
        """
        if not 0 < q <= 1:
            raise ValueError(f"a quantile lies above 0 and at most at 1, not at {q}")
        if not self.count:
            raise ValueError("nothing was counted")
        # 0.07 * 100 is a little more than 7, and would be the eighth of a hundred.
        rank = ceil(round(q * self.count, 6))
        if rank >= self.count:
            return self.highest
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return min(max(_middle_of(bucket), self.lowest), self.highest)
        raise AssertionError("buckets hold fewer durations than were counted")


def cumulate(buckets: Mapping[int, int], *, below_s: float) -> model.Histogram:
    """Return counts up to edges, for whoever judges; ``ValueError`` for a bucket that cannot be.

    No edge lies at or above ``below_s``: what waited that long was not seen to the end, and is only
    known to be slower than the edges before it.
    """
    edges: list[tuple[float, float]] = []
    seen, last = 0, None
    for bucket in sorted(buckets):
        if not _SHORTEST <= bucket <= _LONGEST or buckets[bucket] < 1:
            raise ValueError(f"{buckets[bucket]} latencies in bucket {bucket}")
        # Without its lower edge, a bucket behind a gap would reach down to the one before the gap.
        if last != bucket - 1:
            edges.append((_edge_of(bucket - 1), seen))
        seen, last = seen + buckets[bucket], bucket
        edges.append((_edge_of(bucket), seen))
    known = [edge for edge in edges if edge[0] < below_s]
    return model.Histogram((*known, (inf, seen)))


def _bucket_of(seconds: float) -> int:
    fraction, exponent = frexp(seconds)  # fraction from 0.5 up to, not including, 1
    return exponent * BUCKETS_PER_DOUBLING + ceil((2 * fraction - 1) * BUCKETS_PER_DOUBLING) - 1


def _middle_of(bucket: int) -> float:
    exponent, step = divmod(bucket, BUCKETS_PER_DOUBLING)
    return ldexp((1 + (step + 0.5) / BUCKETS_PER_DOUBLING) / 2, exponent)


def _edge_of(bucket: int) -> float:
    """Return the upper edge."""
    exponent, step = divmod(bucket + 1, BUCKETS_PER_DOUBLING)
    return ldexp((1 + step / BUCKETS_PER_DOUBLING) / 2, exponent)


_SHORTEST, _LONGEST = _bucket_of(SHORTEST_S), _bucket_of(LONGEST_S)
