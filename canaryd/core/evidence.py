"""How strongly two sides' counts speak for the canary being the worse one.

A threshold alone blames the canary for an outage of a dependency that hits both sides alike.
Given how many bad requests there were on both sides together, which side each of them came from is
a coin whose bias is known when the sides are equally good: the canary's share of the requests. The
evidence is the likelihood ratio of "the canary is k times as bad" against that, averaged over a
grid of k. It is an e-value: under "not worse" its mean is at most 1, so a value of 100 comes up by
chance at most one time in a hundred. (Lindon & Malek 2022, arXiv 2011.03567; the mixture is the
standard one of Robbins.)
"""

from math import exp, inf, log, log1p

STRONG = 100.0
"""Evidence from which on the canary counts as worse than the primary."""

_TIMES_WORSE = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)


def worse_evidence(
    *, canary_bad: float, canary_total: float, primary_bad: float, primary_total: float
) -> float:
    """Return the e-value against "the canary is no worse"; 1 when there is nothing to compare."""
    if not (canary_total > 0 and primary_total > 0):
        return 1.0
    share = canary_total / (canary_total + primary_total)
    bad = canary_bad + primary_bad
    logs = [canary_bad * log(k) - bad * log1p(share * (k - 1)) for k in _TIMES_WORSE]
    top = max(logs)
    if top > 700:  # exp would overflow
        return inf
    return sum(exp(value) for value in logs) / len(logs)
