from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.model import Histogram
from canaryd.core.quantiles import Bracket, bracket, is_sound, joint_bracket, slower_than

EDGES = (0.1, 0.3, 1.2, 5.0, inf)


def histogram(*counts, edges=EDGES):
    return Histogram(tuple(zip(edges, counts, strict=True)))


def observe(samples, edges=EDGES):
    return histogram(*(sum(s <= edge for s in samples) for edge in edges), edges=edges)


def true_quantile(samples, percent):
    ordered = sorted(samples)
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1]


def test_a_quantile_lies_between_the_edges_of_its_bucket():
    found = bracket(histogram(50, 90, 100, 100, 100), 95)
    assert Bracket(0.3, 1.2, pytest.approx(0.75)) == found


def test_a_quantile_at_the_count_of_an_edge_belongs_to_the_bucket_below():
    assert 0.3 == bracket(histogram(0, 99, 100, 100, 100), 99).high_s
    assert 1.2 == bracket(histogram(0, 98, 100, 100, 100), 99).high_s


def test_a_quantile_beyond_the_last_edge_has_no_upper_end():
    assert Bracket(5.0, inf, 5.0) == bracket(histogram(0, 0, 0, 1, 100), 99)


@pytest.mark.parametrize(
    "buckets",
    [
        (),
        ((0.1, 1.0),),
        ((0.1, 5.0), (inf, 3.0)),
        ((0.1, -1.0), (inf, 3.0)),
        ((-0.1, 0.0), (inf, 3.0)),
        ((0.1, nan), (inf, 3.0)),
        ((0.1, 1.0), (inf, nan)),
        ((nan, 1.0), (inf, 3.0)),
        ((0.1, 1.0), (inf, inf)),
        ((0.3, 1.0), (0.1, 1.0), (inf, 3.0)),
        ((inf, nan),),
    ],
    ids=[
        "no buckets",
        "no infinite bucket",
        "falling counts",
        "a negative count",
        "a negative edge",
        "a NaN count",
        "a NaN total",
        "a NaN edge",
        "an infinite total",
        "edges out of order",
        "nothing but NaN",
    ],
)
def test_a_damaged_histogram_has_no_bracket(buckets):
    damaged = Histogram(buckets)
    assert (False, None) == (is_sound(damaged), bracket(damaged, 99))


def test_an_empty_histogram_has_no_bracket():
    assert bracket(histogram(0, 0, 0, 0, 0), 99) is None


SAMPLES = st.lists(
    st.floats(0, 20, allow_nan=False) | st.sampled_from([0.1, 0.3, 1.2]), min_size=1, max_size=300
)
ANY_EDGES = st.lists(
    st.sampled_from([0.005, 0.01, 0.1, 0.25, 0.3, 0.5, 1.0, 2.5, 10.0]), unique=True
)


@given(SAMPLES, ANY_EDGES, st.sampled_from([50, 90, 95, 99, 100]))
def test_the_bracket_contains_the_true_quantile(samples, edges, percent):
    edges = (*sorted(edges), inf)
    found = bracket(observe(samples, edges), percent)
    exact = true_quantile(samples, percent)
    assert found.low_s < exact <= found.high_s or exact == found.low_s == 0
    assert found.low_s <= found.shown_s <= found.high_s


@given(SAMPLES, st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.2, 9.0]))
def test_the_number_of_slow_requests_lies_between_the_counts(samples, limit_s):
    least, most = slower_than(observe(samples), limit_s)
    exact = sum(sample > limit_s for sample in samples)
    assert least <= exact <= most
    if limit_s in EDGES:
        assert least == most


@given(st.integers(1, 10**7), st.sampled_from([50, 90, 95, 99]))
def test_the_rank_is_exact_for_any_number_of_requests(total, percent):
    rank = -(-percent * total // 100)
    at_rank = bracket(Histogram(((1.0, float(rank)), (inf, float(total)))), percent)
    one_less = bracket(Histogram(((1.0, float(rank - 1)), (inf, float(total)))), percent)
    assert (1.0, inf) == (at_rank.high_s, one_less.high_s)
    assert Fraction(rank - 1, total) < Fraction(percent, 100) <= Fraction(rank, total)


# --- several histograms together --------------------------------------------------------------------------------------


def test_where_a_histogram_has_no_edge_its_count_is_taken_to_lie_between_those_around_it():
    coarse = histogram(0, 10, 10, 10, 10)  # all of them somewhere between 0.1 and 0.3
    fine = histogram(0, 90, 90, edges=(0.19, 0.2, inf))
    # At 0.2 there are at least 90 of the 100, and at 0.19 at most 10.
    assert Bracket(0.19, 0.2, pytest.approx(0.195)) == joint_bracket((coarse, fine), 50)
    assert 0.2 == joint_bracket((coarse, fine), 90).high_s
    # The tenth of a hundred is the slowest of those ten.
    found = joint_bracket((coarse, histogram(0, 90, edges=(1.0, inf))), 10)
    assert (0.1, 0.3) == (found.low_s, found.high_s)


@given(SAMPLES, ANY_EDGES, SAMPLES, ANY_EDGES, st.sampled_from([50, 90, 95, 99, 100]))
def test_the_joint_bracket_contains_the_true_quantile_of_all_samples(
    first, first_edges, second, second_edges, percent
):
    histograms = (
        observe(first, (*sorted(first_edges), inf)),
        observe(second, (*sorted(second_edges), inf)),
    )
    found = joint_bracket(histograms, percent)
    exact = true_quantile(first + second, percent)
    assert found.low_s < exact <= found.high_s or exact == found.low_s == 0
    assert found.low_s <= found.shown_s <= found.high_s
    assert found == joint_bracket(histograms[::-1], percent)


@given(SAMPLES, SAMPLES, ANY_EDGES, st.sampled_from([50, 90, 95, 99, 100]))
def test_histograms_of_the_same_edges_are_joined_as_if_they_were_one(first, second, edges, percent):
    edges = (*sorted(edges), inf)
    joint = joint_bracket((observe(first, edges), observe(second, edges)), percent)
    assert bracket(observe(first + second, edges), percent) == joint


def test_an_empty_histogram_changes_nothing_and_a_damaged_one_spoils_all():
    some, none = histogram(50, 90, 100, 100, 100), Histogram(((inf, 0.0),))
    assert bracket(some, 95) == joint_bracket((some, none), 95)
    assert joint_bracket((some, Histogram(((0.1, nan), (inf, 3.0)))), 95) is None
    assert joint_bracket((none, none), 95) is None
    assert joint_bracket((), 95) is None
