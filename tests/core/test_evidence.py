from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core.evidence import STRONG, worse_evidence


def evidence(canary, primary):
    (canary_bad, canary_total), (primary_bad, primary_total) = canary, primary
    return worse_evidence(
        canary_bad=canary_bad,
        canary_total=canary_total,
        primary_bad=primary_bad,
        primary_total=primary_total,
    )


@pytest.mark.parametrize(
    ("canary", "primary", "is_strong"),
    [
        ((50, 100), (20, 900), True),
        ((3, 3), (30, 1000), True),
        ((5, 100), (45, 900), False),
        ((0, 100), (500, 900), False),
        ((1, 10), (0, 90), False),
        ((10**6, 10**6), (0, 10**6), True),
    ],
    ids=[
        "half of the canary's requests fail and hardly any of the primary's",
        "three of three against three in a hundred",
        "both sides fail alike",
        "the primary is the broken one",
        "one error is no evidence",
        "counts beyond what exp can hold",
    ],
)
def test_evidence_is_strong_only_when_the_canary_is_clearly_worse(canary, primary, is_strong):
    assert is_strong is (evidence(canary, primary) >= STRONG)


def test_without_requests_on_either_side_there_is_no_evidence():
    assert [1.0, 1.0] == [evidence((0, 0), (1, 2)), evidence((1, 2), (0, 0))]


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 60))
def test_the_mean_under_no_difference_is_at_most_one(canary_total, primary_total, bad):
    # Given how many requests were bad in all, each came from the canary with the canary's share of the traffic.
    share = canary_total / (canary_total + primary_total)
    mean = sum(
        comb(bad, k)
        * share**k
        * (1 - share) ** (bad - k)
        * evidence((k, canary_total), (bad - k, primary_total))
        for k in range(bad + 1)
    )
    assert mean <= 1 + 1e-9


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_more_bad_requests_of_the_canary_never_weaken_the_evidence_against_it(n, m, data):
    bad = data.draw(st.integers(0, n - 1))
    primary_bad = data.draw(st.integers(0, m))
    assert evidence((bad, n), (primary_bad, m)) <= evidence((bad + 1, n), (primary_bad, m)) + 1e-9
