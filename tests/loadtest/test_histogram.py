from math import ceil, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.quantiles import bracket, is_sound
from canaryd.loadtest.histogram import BUCKETS_PER_DOUBLING, SHORTEST_S, Histogram, cumulate

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


# --- counts up to edges -----------------------------------------------------------------------------------------------

# Powers of two are edges, and so are some sums of them.
EXACT = st.sampled_from([0.25, 0.5, 0.5078125, 1.0, 2.0, 3.0])


@given(st.lists(DURATIONS | EXACT, min_size=1, max_size=200))
def test_at_every_edge_the_count_of_what_is_not_slower_is_exact(values):
    found = cumulate(histogram_of(values).buckets, below_s=inf)
    assert is_sound(found)
    assert len(values) == found.count
    known = [max(value, SHORTEST_S) for value in values]
    for edge, count in found.buckets:
        assert sum(value <= edge for value in known) == count


@given(st.lists(st.floats(1e-5, 3600) | EXACT, min_size=1, max_size=200), st.integers(1, 100))
def test_a_quantile_lies_in_a_bracket_of_less_than_two_percent(values, percent):
    found = bracket(cumulate(histogram_of(values).buckets, below_s=inf), percent)
    exact = sorted(values)[-(-percent * len(values) // 100) - 1]
    assert found.low_s < exact <= found.high_s
    assert found.high_s <= found.low_s * (1 + 1 / BUCKETS_PER_DOUBLING)


@given(st.lists(st.floats(1e-5, 10), max_size=50), st.sampled_from([0.1, 0.5, 5.0]))
def test_what_waited_to_the_end_is_only_known_to_be_slower(values, limit_s):
    waited = [limit_s * (1 - 1e-12), limit_s, limit_s * 1.001]
    answered = [value for value in values if value < limit_s * 0.98]
    found = cumulate(histogram_of(answered + waited).buckets, below_s=limit_s)
    # An edge just before the limit may part what was answered from what was not, never more.
    assert len(answered) == found.buckets[-2][1]
    assert limit_s > found.buckets[-2][0] >= limit_s * (1 - 1 / BUCKETS_PER_DOUBLING)
    assert len(answered) + 3 == found.count


def test_nothing_counted_is_a_sound_histogram_of_nothing():
    found = cumulate({}, below_s=5.0)
    assert (True, 0) == (is_sound(found), found.count)


@pytest.mark.parametrize("buckets", [{-99999: 1}, {99999: 1}, {0: 0}, {0: -1}])
def test_a_bucket_that_cannot_be_is_refused(buckets):
    with pytest.raises(ValueError, match="in bucket"):
        cumulate(buckets, below_s=5.0)
