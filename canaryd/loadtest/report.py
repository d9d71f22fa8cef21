"""What the daemon and its load generator say to each other, and what makes a result void.

One JSON object a line. The daemon sends one order; the child answers ``started`` when it is about
to send, and ``report`` at the end. Every line carries the version of this protocol: the files of an
installation can be replaced under a running daemon, and then the two are of different releases.

The daemon believes nothing it reads here: the child has talked to a target that may be hostile.
A report that does not fit the order, or does not add up, is a defect of the generator, no result.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from math import inf
from typing import Any

from canaryd.core.model import Absent, LoadTestAnswer, LoadTestSpec, Missing
from canaryd.loadtest.histogram import cumulate
from canaryd.loadtest.pacer import LATE_S, count_starts

PROTOCOL = 2
ORDER_BYTES = 4 * 1024 * 1024
"""Longest order: annotations hold 256 KiB, and JSON may write a character as six."""
LINE_BYTES = 64 * 1024
"""Longest line of the child; most of a report are its latencies, in 2,000 buckets at the most."""
LATE_SHARE = 0.01
"""A test is void if more of its starts were late, or if it ended further behind its schedule."""
_SHORT_OF_CPU = (
    "CPU is short on the daemon's node, or its CPU limit is low; give it more, or lower rate="
)
PERCENTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Outcome(StrEnum):
    """How one request ended."""

    INFORMATIONAL = "1xx"
    SUCCESS = "2xx"
    REDIRECT = "3xx"
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    NO_STATUS = "no-status"
    """Answered with a status from beyond 599."""
    NO_CONNECTION = "no-connection"
    BROKEN = "broken"
    """The connection ended early, or what came was not HTTP."""
    TIMEOUT = "timeout"
    UNSENT = "unsent"
    """Every connection was busy until its time was over, or too many waited already."""
    OWN_LIMIT = "own-limit"
    """The generator had no file or port left: says nothing about the target."""


FAILED = frozenset(
    {Outcome.SERVER_ERROR, Outcome.NO_STATUS, Outcome.NO_CONNECTION, Outcome.BROKEN}
    | {Outcome.TIMEOUT, Outcome.UNSENT}
)
TIMED = frozenset(
    {Outcome.INFORMATIONAL, Outcome.SUCCESS, Outcome.REDIRECT, Outcome.CLIENT_ERROR}
    | {Outcome.TIMEOUT}
)
"""What the latencies are of, and of those whose time was over before they could be sent: failing
fast must not look like an improvement, waiting must show."""


class ProtocolError(ValueError):
    """A line is not what it should be; the message lacks its subject, whoever sent the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the child is to do. ``base_url`` is the only place it ever connects to."""

    test: LoadTestSpec
    base_url: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the child did. ``outcomes`` add up to ``planned``."""

    planned: int
    sent: int
    """Requests that were begun, in time or not; the others are ``unsent``."""
    took_s: float
    """Length of the schedule, or the time to the last real start if that came after it."""
    late: int
    worst_lag_s: float
    last_lag_s: float
    """How far behind its schedule the generator was at the end."""
    outcomes: Mapping[Outcome, int]
    latency_ms: Mapping[str, float]
    latencies: Mapping[int, int]
    """How many latencies lie in each bucket of ``histogram``."""


# --- judging --------------------------------------------------------------------------------------


def answer_of(test: LoadTestSpec, report: Report) -> LoadTestAnswer:
    """Return the report as an answer, void if the generator did not do what was asked for."""
    void = why_void(test, report)
    return LoadTestAnswer(
        test=test.name,
        sent=report.planned,
        failed=sum(count for outcome, count in report.outcomes.items() if outcome in FAILED),
        asked_rate=test.rate,
        achieved_rate=report.sent / report.took_s,
        latency_ms=report.latency_ms,
        latencies=cumulate(report.latencies, below_s=test.timeout_s),
        absent=Absent(Missing.SOURCE_UNAVAILABLE, void) if void else None,
    )


def why_void(test: LoadTestSpec, report: Report) -> str:
    """Say why this report tells nothing about the target; empty if it does.

    A target that is slow makes no test void: its requests wait, expire and count as failed.
    """
    if lacking := report.outcomes.get(Outcome.OWN_LIMIT, 0):
        return (
            f"the generator ran out of files or ports of its own at {lacking:,} of "
            f"{report.planned:,} requests; lower the rate or the concurrency"
        )
    if report.last_lag_s > max(LATE_S, LATE_SHARE * test.duration_s):
        reached = report.planned / (test.duration_s + report.last_lag_s)
        return (
            f"the generator reached {reached:.3g} of {test.rate:g} requests/s and ended "
            f"{report.last_lag_s:.1f} s behind its schedule: {_SHORT_OF_CPU}"
        )
    # One late start alone is a hiccup of the machine, also when a test has fewer than a hundred.
    if report.late > max(1, LATE_SHARE * report.planned):
        return (
            f"the generator began {report.late:,} of {report.planned:,} requests more than "
            f"{LATE_S * 1000:g} ms late, the worst {report.worst_lag_s:.1f} s: {_SHORT_OF_CPU}"
        )
    return ""


# --- lines ----------------------------------------------------------------------------------------


def write_order(order: Order) -> bytes:
    """Return the order as a line."""
    return _line({"kind": "order", **asdict(order)})


def read_order(line: bytes) -> Order:
    """Read the daemon's order; ``ProtocolError`` says what is wrong with it."""
    found = _object(line, "order")
    try:
        return Order(
            test=LoadTestSpec(**found["test"]),
            base_url=str(found["base_url"]),
            host=str(found["host"]),
        )
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"sent a malformed order: {error}") from error


def write_started() -> bytes:
    """Return the line that says that the first request is about to be sent."""
    return _line({"kind": "started"})


def read_started(line: bytes) -> None:
    """Make sure that this is the line of a child that has started; else ``ProtocolError``."""
    _object(line, "started")


def write_report(report: Report) -> bytes:
    """Return the report as a line."""
    return _line({"kind": "report", **asdict(report)})


def read_report(line: bytes, test: LoadTestSpec) -> Report:
    """Read a report on this test; ``ProtocolError`` if it cannot be one."""
    found = _object(line, "report")
    try:
        report = Report(**{f.name: found[f.name] for f in fields(Report)})
        outcomes = {Outcome(name): _count(count) for name, count in report.outcomes.items()}
        percentiles = {name: _positive(value) for name, value in report.latency_ms.items()}
        latencies = {int(bucket): _count(count) for bucket, count in report.latencies.items()}
        cumulate(latencies, below_s=inf)
        for count in (report.planned, report.sent, report.late):
            _count(count)
        for number in (report.took_s, report.worst_lag_s, report.last_lag_s):
            _positive(number)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"sent a malformed report ({type(error).__name__})") from error
    planned = count_starts(test.rate, test.duration_s)
    if not planned == report.planned == sum(outcomes.values()) or report.sent > planned:
        raise ProtocolError(f"sent a report that does not add up to {planned:,} requests")
    known = PERCENTILES.keys() if latencies else set()
    if not report.took_s or percentiles.keys() != known:
        raise ProtocolError("sent a report without its time or its percentiles")
    timed = sum(count for outcome, count in outcomes.items() if outcome in TIMED)
    if not timed <= sum(latencies.values()) <= timed + outcomes.get(Outcome.UNSENT, 0):
        raise ProtocolError(f"sent a report with other latencies than of {timed:,} requests")
    return replace(report, outcomes=outcomes, latency_ms=percentiles, latencies=latencies)


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps({"protocol": PROTOCOL, **content}, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes, kind: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"sent something else than a line of JSON, its {kind}") from error
    if not isinstance(found, dict) or "protocol" not in found:
        raise ProtocolError(f"sent something else than an object of JSON, its {kind}")
    if found["protocol"] != PROTOCOL:
        raise ProtocolError(
            f"speaks another version of the protocol than {PROTOCOL}; "
            "restart canaryd after an upgrade in place"
        )
    if found.get("kind") != kind:
        raise ProtocolError(f"sent something else than its {kind}")
    return found


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _positive(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < inf:
        raise ValueError("not a positive number")
    return float(value)
