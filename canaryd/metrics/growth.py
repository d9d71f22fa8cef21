"""What raw counters grew by between two looks at them: exact counts of requests.

Per series, then summed, never the other way round: replicas of a data plane restart one by one, and
a sum of counters hides every reset.

- A value that fell was reset: it grew by what it shows now. All buckets of a histogram are reset
  together, since a bucket that has meanwhile outgrown its old value would otherwise look intact.
- A series born in between grew by its whole value, if its target was being scraped before.
  Otherwise it is not newly born but newly *seen*, with a history that is none of our business:
  errors of last week, or successes enough to hide today's errors. It counts from the next window.
- A series that vanished grew by an unknown amount and is left out: its target is gone.

Pure. A value that no counter can have (negative, NaN, beyond all requests there will ever be)
spoils the whole answer, it is never skipped.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from canaryd.core.model import Absent, Counts, Histogram, Missing

Labels = frozenset[tuple[str, str]]
Series = Mapping[Labels, float]
"""Values of one instant vector, by label set; names of metrics do not matter here."""

MOST: Final = 2.0**64
"""No counter of requests ever gets there; sums of values below it stay finite."""

Target = tuple[str, str]
"""(job, instance) of a scraped process."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The same selector at two instants, ``window_s`` apart.

    ``scraped`` are the targets that were up at the earlier one, as far as it had to be asked.
    """

    before: Series
    now: Series
    window_s: float
    scraped: frozenset[Target] = frozenset()


def target_of(labels: Labels) -> Target | None:
    """Tell which process a series comes from; None when the source does not keep it."""
    found = dict(labels)
    return (found.get("job", ""), found["instance"]) if "instance" in found else None


def unsettled_targets(before: Series, now: Series) -> frozenset[Target]:
    """Find the targets that have series now and had none before: were they being scraped at all?"""
    known = {target_of(labels) for labels in before}
    born = {target_of(labels) for labels in now} - known
    return frozenset(target for target in born if target is not None)


def count_requests(looks: Looks, is_error: Callable[[Mapping[str, str]], bool]) -> Counts | Absent:
    """Count the requests of a window and those that failed."""
    trouble = _refuse(looks)
    if trouble is not None:
        return trouble
    total = errors = 0.0
    for labels, grown in _growth(looks, group=lambda labels: labels).items():
        total += grown
        errors += grown if is_error(dict(labels)) else 0.0
    if total == 0:
        return _no_traffic(looks)
    return Counts(total=total, errors=errors, window_s=looks.window_s)


def count_latencies(looks: Looks, *, edges_per_s: float = 1.0) -> Histogram | Absent:
    """Sum the bucket counters of a window into one histogram, over the edges all series share."""
    trouble = _refuse(looks)
    if trouble is not None:
        return trouble
    histograms: dict[Labels, dict[float, float]] = {}
    for labels, grown in _growth(looks, group=_without_edge).items():
        edge = _edge(labels)
        if edge is None:
            shown = dict(labels).get("le", "none")
            return Absent(Missing.NOT_A_NUMBER, f"a bucket has the edge {shown[:20]!r}")
        histograms.setdefault(_without_edge(labels), {})[edge] = grown
    shared = set.intersection(*(set(buckets) for buckets in histograms.values()))
    if inf not in shared:
        return Absent(Missing.NOT_A_NUMBER, "a histogram has no +Inf bucket")
    sums = [(edge, sum(b[edge] for b in histograms.values())) for edge in sorted(shared)]
    buckets: list[tuple[float, float]] = []
    for edge, count in sums:
        # Exporters that do not read their buckets in one instant can be off by a request.
        least = buckets[-1][1] if buckets else 0.0
        buckets.append((edge / edges_per_s, max(count, least)))
    if buckets[-1][1] == 0:
        return _no_traffic(looks)
    return Histogram(tuple(buckets), looks.window_s)


def _growth(looks: Looks, group: Callable[[Labels], Labels]) -> dict[Labels, float]:
    """Return what each series grew by; series of a group are reset together."""
    known_targets = {target_of(labels) for labels in looks.before} | looks.scraped
    known_groups = {group(labels) for labels in looks.before}
    reset = {
        group(labels) for labels, value in looks.now.items() if value < looks.before.get(labels, 0)
    }
    grown = {}
    for labels, value in looks.now.items():
        family, target = group(labels), target_of(labels)
        is_counted = family in known_groups or target is None or target in known_targets
        start = 0.0 if family in reset else looks.before.get(labels, 0.0)
        grown[labels] = value - start if is_counted else 0.0
    return grown


def _refuse(looks: Looks) -> Absent | None:
    if not looks.now:
        return Absent(
            Missing.NO_SERIES,
            "no request reached it yet, or the source does not scrape the data plane",
        )
    bad = next((v for v in _values(looks) if not 0 <= v < MOST), None)
    if bad is not None:
        return Absent(Missing.NOT_A_NUMBER, f"a counter has the value {bad}")
    return None


def _values(looks: Looks) -> Iterable[float]:
    yield from looks.now.values()
    yield from looks.before.values()


def _no_traffic(looks: Looks) -> Absent:
    return Absent(Missing.NO_TRAFFIC, f"no counter moved in {looks.window_s:.0f} s")


def _without_edge(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "le")


def _edge(labels: Labels) -> float | None:
    """Read ``le`` as a number: Prometheus 3 prints ``1.0`` where 2 printed ``1``."""
    try:
        edge = float(dict(labels).get("le", ""))
    except ValueError:
        return None
    return edge if edge >= 0 else None
