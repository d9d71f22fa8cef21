"""Whether traffic moved, told from counts: only gross differences count."""

import pytest

from canaryd.core.model import Absent, Counts, MetricAnswer, Missing
from canaryd.core.shift import not_shifted


def counted(total, **more):
    return MetricAnswer(check="success-rate", counts=Counts(total, 0.0, 10.0), **more)


def absent(why):
    return MetricAnswer(check="success-rate", absent=Absent(why))


@pytest.mark.parametrize(
    ("weight", "canary", "primary"),
    [
        (20, counted(20), counted(80)),
        (20, counted(6), counted(80)),
        (20, counted(12), counted(160)),  # sessions that stick
        (20, counted(0), counted(100)),  # too few to say anything
        (1, counted(0), counted(3000)),
        (50, counted(1000), counted(480)),
        (20, absent(Missing.NO_TRAFFIC), absent(Missing.NO_TRAFFIC)),
        (20, absent(Missing.SOURCE_UNAVAILABLE), counted(1000)),
        (20, counted(1000), absent(Missing.SOURCE_UNAVAILABLE)),
        (20, counted(0, has_load=True), counted(1000)),
    ],
)
def test_a_share_that_may_be_the_weights_is_no_trouble(weight, canary, primary):
    assert "" == not_shifted(weight, canary, primary)


@pytest.mark.parametrize("canary", [counted(0), counted(12), absent(Missing.NO_SERIES)])
def test_a_canary_that_gets_next_to_nothing_of_much_traffic_is_not_routed_to(canary):
    assert "did not shift" in not_shifted(20, canary, counted(1000))


def test_a_canary_that_gets_far_more_than_its_weight_is_told():
    assert "more traffic" in not_shifted(5, counted(500), counted(1000))


def test_testers_beside_a_small_weight_are_no_trouble():
    assert "" == not_shifted(1, counted(600), counted(10_000), has_others=True)
    assert "did not shift" in not_shifted(20, counted(0), counted(1000), has_others=True)
