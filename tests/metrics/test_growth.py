from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.model import Absent, Counts, Histogram, Missing
from canaryd.metrics.growth import (
    Looks,
    count_latencies,
    count_requests,
    target_of,
    unsettled_targets,
)


def labelled(**labels):
    return frozenset({"job": "traefik", "instance": "10.0.0.1:9100", **labels}.items())


OK, BAD = labelled(code="200"), labelled(code="500")
OTHER_OK = labelled(code="200", instance="10.0.0.2:9100")
HERE, THERE = ("traefik", "10.0.0.1:9100"), ("traefik", "10.0.0.2:9100")


def is_error(labels):
    return labels["code"].startswith("5")


def counts_of(before, now, scraped=()):
    return count_requests(Looks(before, now, 60.0, frozenset(scraped)), is_error)


@pytest.mark.parametrize(
    ("before", "now", "scraped", "total", "errors"),
    [
        ({OK: 100, BAD: 3}, {OK: 190, BAD: 5}, [], 92, 2),
        ({OK: 100}, {OK: 190, BAD: 5}, [], 95, 5),
        ({}, {OK: 90, BAD: 5}, [HERE], 95, 5),
        ({OK: 100, BAD: 3}, {OK: 20, BAD: 5}, [], 22, 2),
        ({OK: 100, OTHER_OK: 7}, {OK: 20, OTHER_OK: 9}, [], 22, 0),
        ({OK: 100, BAD: 3}, {OK: 190}, [], 90, 0),
        ({OK: 100}, {OK: 190, OTHER_OK: 5000}, [], 90, 0),
        ({OK: 100}, {OK: 190, OTHER_OK: 5}, [THERE], 95, 0),
    ],
    ids=[
        "two growing series",
        "an error series that is born on a known target counts from zero",
        "the first series of a target that was scraped before count from zero",
        "a counter that fell was reset and grew by what it shows",
        "replicas are reset one by one",
        "a series that vanished is left out",
        "a target seen for the first time has a past that is not counted",
        "a target that was scraped without such series has none",
    ],
)
def test_requests_are_the_growth_of_counters(before, now, scraped, total, errors):
    assert Counts(total, errors, 60.0) == counts_of(before, now, scraped)


def test_a_source_that_keeps_no_instances_is_believed():
    bare = frozenset({("code", "200")})
    assert Counts(9, 0, 60.0) == counts_of({}, {bare: 9})


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ({}, {}, Missing.NO_SERIES),
        ({OK: 5}, {}, Missing.NO_SERIES),
        ({OK: 5}, {OK: 5}, Missing.NO_TRAFFIC),
        ({OK: 5}, {OTHER_OK: 7}, Missing.NO_TRAFFIC),
        ({OK: 5}, {OK: nan}, Missing.NOT_A_NUMBER),
        ({OK: 5, BAD: -1}, {OK: 9}, Missing.NOT_A_NUMBER),
        ({OK: 5}, {OK: inf}, Missing.NOT_A_NUMBER),
        ({OK: 5}, {OK: 9e307, BAD: 9e307}, Missing.NOT_A_NUMBER),
        ({OK: 5}, {OK: 9, BAD: nan}, Missing.NOT_A_NUMBER),
    ],
    ids=[
        "no series at all",
        "all series gone",
        "no counter moved",
        "only a target that is seen for the first time",
        "a NaN now",
        "a negative counter before",
        "an infinite counter",
        "counters whose sum is infinite",
        "one bad series spoils the answer",
    ],
)
def test_growth_that_cannot_be_known_is_absent_with_its_reason(before, now, why):
    answer = counts_of(before, now)
    assert isinstance(answer, Absent)
    assert why == answer.why


VALUES = st.dictionaries(
    st.sampled_from([OK, BAD, OTHER_OK]), st.floats() | st.integers(0, 50).map(float), max_size=3
)


@given(VALUES, VALUES, st.sets(st.sampled_from([HERE, THERE])))
def test_counts_are_sound_whatever_the_source_sends(before, now, scraped):
    match counts_of(before, now, scraped):
        case Counts(total, errors):
            assert 0 <= errors <= total < inf
            assert total > 0
        case Absent():
            pass


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.data())
def test_any_two_looks_at_an_honest_counter_count_what_happened_between(steps, data):
    value, history = 0.0, [0.0]
    for step in steps:
        value += step
        history.append(value)
    first = data.draw(st.integers(0, len(history) - 1))
    answer = counts_of({OK: history[first]}, {OK: history[-1]})
    happened = sum(steps[first:])
    assert happened == (answer.total if isinstance(answer, Counts) else 0)


def test_only_targets_without_any_earlier_series_have_to_be_looked_into():
    bare = frozenset({("code", "200")})
    now = {OK: 1.0, BAD: 1.0, OTHER_OK: 1.0, bare: 1.0}
    assert {THERE} == unsettled_targets({OK: 1.0}, now)
    assert (HERE, None) == (target_of(OK), target_of(bare))


# --- latencies --------------------------------------------------------------------------------------------------------


def buckets(spelling=("0.1", "1", "+Inf"), **labels):
    return [labelled(le=le, **labels) for le in spelling]


def series(names, *values):
    return dict(zip(names, map(float, values), strict=True))


def histogram_of(before, now, **more):
    return count_latencies(Looks(before, now, 60.0), **more)


def test_buckets_are_differenced_and_summed():
    first, second = buckets(), buckets(code="404")
    before = series(first, 1, 2, 3) | series(second, 0, 0, 5)
    now = series(first, 11, 22, 33) | series(second, 1, 2, 8)
    assert Histogram(((0.1, 11.0), (1.0, 22.0), (inf, 33.0)), 60.0) == histogram_of(before, now)


@pytest.mark.parametrize("spelling", [("0.1", "1.0", "+Inf"), ("+Inf", "1e-01", "1")])
def test_edges_are_numbers_however_they_are_spelled(spelling):
    names = buckets(spelling)
    values = {"0.1": 1.0, "1e-01": 1.0, "1": 2.0, "1.0": 2.0, "+Inf": 3.0}
    now = {name: values[dict(name)["le"]] for name in names}
    before = dict.fromkeys(names, 0.0)
    assert Histogram(((0.1, 1.0), (1.0, 2.0), (inf, 3.0)), 60.0) == histogram_of(before, now)


def test_all_buckets_of_a_histogram_are_reset_together():
    # The +Inf bucket has outgrown its old value since the restart; on its own it would look intact.
    names = buckets()
    before, now = series(names, 100, 150, 200), series(names, 5, 100, 250)
    assert Histogram(((0.1, 5.0), (1.0, 100.0), (inf, 250.0)), 60.0) == histogram_of(before, now)


def test_a_histogram_born_on_a_known_target_counts_from_zero():
    old, new = buckets(), buckets(code="404")
    now = series(old, 1, 1, 1) | series(new, 1, 2, 3)
    expected = Histogram(((0.1, 1.0), (1.0, 2.0), (inf, 3.0)), 60.0)
    assert expected == histogram_of(series(old, 1, 1, 1), now)


def test_replicas_with_different_edges_are_joined_over_the_edges_they_share():
    first = buckets(("0.1", "0.5", "1", "+Inf"))
    second = buckets(("0.1", "1", "5", "+Inf"), instance="10.0.0.2:9100")
    before = dict.fromkeys([*first, *second], 0.0)
    now = series(first, 1, 2, 3, 4) | series(second, 10, 20, 30, 40)
    assert Histogram(((0.1, 11.0), (1.0, 23.0), (inf, 44.0)), 60.0) == histogram_of(before, now)


def test_edges_in_milliseconds_become_seconds():
    names = buckets(("25", "500", "+Inf"))
    answer = histogram_of(series(names, 0, 0, 0), series(names, 1, 2, 3), edges_per_s=1000.0)
    assert ((0.025, 1.0), (0.5, 2.0), (inf, 3.0)) == answer.buckets


def test_a_bucket_read_an_instant_too_early_does_not_make_counts_fall():
    names = buckets()
    answer = histogram_of(series(names, 0, 0, 0), series(names, 5, 4, 6))
    assert ((0.1, 5.0), (1.0, 5.0), (inf, 6.0)) == answer.buckets


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ({}, {}, Missing.NO_SERIES),
        (series(buckets(), 1, 2, 3), series(buckets(), 1, 2, 3), Missing.NO_TRAFFIC),
        ({}, series(buckets(("0.1", "1", "5")), 1, 2, 3), Missing.NOT_A_NUMBER),
        ({}, series(buckets(("0.1", "soon", "+Inf")), 1, 2, 3), Missing.NOT_A_NUMBER),
        ({}, series(buckets(("0.1", "nan", "+Inf")), 1, 2, 3), Missing.NOT_A_NUMBER),
        ({}, {labelled(code="200"): 1.0}, Missing.NOT_A_NUMBER),
        ({}, series(buckets(), 1, nan, 3), Missing.NOT_A_NUMBER),
        ({}, series(buckets(), 1, 2, 3), Missing.NO_TRAFFIC),
    ],
    ids=[
        "no series",
        "no bucket moved",
        "no infinite bucket",
        "an edge that is a word",
        "an edge that is NaN",
        "no edge",
        "a NaN bucket",
        "a target seen for the first time",
    ],
)
def test_a_histogram_that_cannot_be_known_is_absent_with_its_reason(before, now, why):
    answer = histogram_of(before, now)
    assert isinstance(answer, Absent)
    assert why == answer.why
