from math import ceil, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.loadtest.histogram import SHORTEST_S, Histogram

DURATIONS = st.floats(min_value=0.0, max_value=3600.0, allow_subnormal=False)
SHARES = st.sampled_from([0.01, 0.07, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])


def histogram_of(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def exact_quantile(values, q):
    return sorted(values)[ceil(round(q * len(values), 6)) - 1]


@given(st.lists(DURATIONS, min_size=1, max_size=300), SHARES)
def test_a_quantile_is_less_than_one_percent_off_the_exact_one(values, q):
    expected = exact_quantile(values, q)
    found = histogram_of(values).quantile(q)
    assert abs(found - expected) <= max(0.008 * expected, 1.01 * SHORTEST_S)


@given(st.lists(DURATIONS, max_size=100), st.lists(DURATIONS, max_size=100))
def test_merging_is_as_good_as_recording_everything_in_one(first, second):
    merged, whole = histogram_of(first), histogram_of(first + second)
    merged.merge(histogram_of(second))
    assert (whole.buckets, whole.count, whole.lowest, whole.highest) == (
        merged.buckets,
        merged.count,
        merged.lowest,
        merged.highest,
    )


@given(st.lists(DURATIONS, min_size=1, max_size=100))
def test_quantiles_rise_and_stay_between_the_extremes(values):
    histogram = histogram_of(values)
    found = [histogram.quantile(q) for q in (0.1, 0.5, 0.9, 0.99, 1.0)]
    assert sorted(found) == found
    assert min(values) <= found[0]
    assert max(values) == found[-1]


def test_a_hundred_thousand_different_latencies_take_a_bounded_number_of_buckets():
    histogram = Histogram()
    value = SHORTEST_S
    for _ in range(100_000):
        histogram.record(value)
        value = value * 1.00022 if value < 3600 else SHORTEST_S
    assert 3600 > histogram.highest > 3500
    assert len(histogram.buckets) <= 32 * 64


def test_the_seventh_of_a_hundred_is_its_seven_percent():
    histogram = histogram_of([*range(1, 101)])
    assert histogram.quantile(0.07) == pytest.approx(7, rel=0.008)


@pytest.mark.parametrize("value", [-0.001, inf, nan])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="a duration cannot be"):
        Histogram().record(value)


def test_nothing_has_no_quantile():
    with pytest.raises(ValueError, match="nothing was counted"):
        Histogram().quantile(0.5)


@pytest.mark.parametrize("q", [0, -0.1, 1.01, nan])
def test_what_is_no_share_is_refused(q):
    with pytest.raises(ValueError, match="a quantile lies"):
        histogram_of([1.0]).quantile(q)
