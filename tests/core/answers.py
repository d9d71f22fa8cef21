"""Checks and what sources and load tests say about them, for tables of verdicts."""

from math import inf

from hypothesis import strategies as st

from canaryd.core.model import (
    Absent,
    Builtin,
    Counts,
    Histogram,
    MetricAnswer,
    MetricCheck,
    NoData,
)
from canaryd.core.units import parse_condition

TRAEFIK_EDGES = (0.1, 0.3, 1.2, 5.0, inf)


def a_check(name="success-rate", condition=">= 99", **changes):
    builtin = Builtin(name) if name in list(Builtin) else None
    query = "" if builtin else "vector(1)"
    return MetricCheck(
        name=name, condition=parse_condition(condition), builtin=builtin, query=query, **changes
    )


def counted(total, errors, window_s=60.0):
    return MetricAnswer(check="x", counts=Counts(total, errors, window_s), requests=total)


def timed(*counts, edges=TRAEFIK_EDGES, window_s=60.0):
    buckets = tuple(zip(edges, counts, strict=True))
    return MetricAnswer(check="x", histogram=Histogram(buckets, window_s), requests=counts[-1])


def valued(value, requests=None):
    return MetricAnswer(check="x", value=value, requests=requests)


def missing(why, detail=""):
    return MetricAnswer(check="x", absent=Absent(why, detail))


CONDITIONS = st.sampled_from([">= 0", "<= 1000000", "> 0", "< 1000000", "0..1000000"])
CHECKS = st.builds(
    a_check,
    st.sampled_from([*Builtin, "custom"]),
    CONDITIONS,
    no_data=st.sampled_from(NoData),
)
