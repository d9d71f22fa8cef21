"""A Prometheus over loopback: samples scraped or stored, instant selectors, and every way of misbehaving.

Understands what canaryd's built-ins send (``name{label="v",label=~"re"} or ...``) with the look-back and the stale
markers of the real one, also under ``timestamp(...)`` and with a range (``[90s]``); other queries are answered from ``canned``.
A query that is neither is a mistake of the test: it is answered as a parse error and fails the test at the end.
That its selectors mean what Prometheus' do is verified by running ``tests/contract/test_metric_providers.py`` against both.
"""

import asyncio
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Protocol, Self

from aiohttp import web

from canaryd.ports.clock import Clock
from tests.fakes.clock import VirtualClock

LOOKBACK_S = 300.0
RETENTION_SAMPLES = 20_000
"""Samples kept of each series."""
_SELECTOR = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<matchers>(?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})?'
)
_MATCHER = re.compile(
    r'(?P<label>[a-zA-Z_]\w*)\s*(?P<op>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"'
)
_RANGE = re.compile(r"(?P<inner>.*)\[(?P<number>\d+)(?P<unit>ms|s|m|h)\]", re.DOTALL)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMESTAMP = re.compile(r"timestamp\((?P<inner>.*)\)", re.DOTALL)

Labels = frozenset[tuple[str, str]]


class Target(Protocol):
    """Something to scrape: the fake data plane."""

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Every series as it is now: (metric, labels, value)."""
        ...

    def scraped_by(self, scraper: "FakePrometheus", interval_s: float) -> None:
        """Call ``scraper.scrape`` at every multiple of the interval, late but in order."""
        ...

    def advance(self) -> None:
        """Catch up with the present, scrapes included."""
        ...


@dataclass(slots=True)
class Fault:
    """What the server does in place of answering."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    delay_s: float = 0.0
    hangs: bool = False
    """Never answer; the client's own deadline must end it."""
    only_before: float | None = None
    """Misbehave only for queries at instants before this one."""


HANGS = Fault(hangs=True)
HTML = Fault(status=502, body=b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
DOWN = Fault(status=503, body=b"Service Unavailable", content_type="text/plain")


@dataclass(slots=True)
class _Series:
    """Samples of one series in order of time; None marks it stale."""

    times: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def add(self, at: float, value: float | None) -> None:
        place = bisect_right(self.times, at)
        self.times.insert(place, at)
        self.values.insert(place, value)
        if len(self.times) > RETENTION_SAMPLES:
            del self.times[0], self.values[0]

    def at(self, instant: float) -> tuple[float, float] | None:
        """The newest sample that is not stale, with its time."""
        place = bisect_right(self.times, instant) - 1
        if place < 0 or self.times[place] <= instant - LOOKBACK_S:
            return None
        value = self.values[place]
        return None if value is None else (self.times[place], value)

    def between(self, after: float, until: float) -> list[tuple[float, float]]:
        """Samples of a left-open range."""
        places = range(bisect_right(self.times, after), bisect_right(self.times, until))
        found = [(self.times[i], self.values[i]) for i in places]
        return [(time, value) for time, value in found if value is not None]


@dataclass(slots=True)
class FakePrometheus:
    """One server; start it with ``async with``."""

    canned: dict[str, Any] = field(default_factory=dict)
    """Query text to the ``data`` of its answer, or to a :class:`Fault`."""
    fault: Fault | None = None
    """Strikes every query."""
    queries: list[dict[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    url: str = ""
    clock: Clock = field(default_factory=VirtualClock)
    scraping: bool = True
    """Off, the target counts as down: what was scraped grows old, as when Prometheus loses it."""
    _series: dict[str, dict[Labels, _Series]] = field(default_factory=dict)
    _target: Target | None = None
    _target_labels: dict[str, str] = field(default_factory=dict)
    _exposed: set[Labels] = field(default_factory=set)
    _mistakes: list[Exception] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/prefix/api/v1/query", self._handle)
        # A client that gave up takes its handler with it, so that stopping never waits for a delay.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/prefix"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        if self._mistakes:
            raise ExceptionGroup("queries that the fake Prometheus cannot answer", self._mistakes)

    # --- samples ------------------------------------------------------------------------------

    def watch(
        self,
        target: Target,
        *,
        interval_s: float = 1.0,
        job: str = "traefik",
        instance: str = "a:1",
    ) -> None:
        """Scrape a target from now on, at every multiple of the interval."""
        self._target = target
        self._target_labels = {"job": job, "instance": instance}
        target.scraped_by(self, interval_s)

    def scrape(self, at: float) -> None:
        """Read the target: its series, ``up``, and stale markers for what it shows no more."""
        assert self._target is not None
        exposed: set[Labels] = set()
        for name, labels, value in self._target.samples() if self.scraping else ():
            exposed.add(self.record(at, name, labels | self._target_labels, value))
        for gone in self._exposed - exposed:
            labels = dict(gone)
            self.record(at, labels.pop("__name__"), labels, None)
        self._exposed = exposed
        self.record(at, "up", self._target_labels, float(self.scraping))

    def record(
        self, at: float, name: str, labels: Mapping[str, str], value: float | None
    ) -> Labels:
        """Store one sample; None is a stale marker: the series was gone from its target."""
        key = frozenset({"__name__": name, **labels}.items())
        self._series.setdefault(name, {}).setdefault(key, _Series()).add(at, value)
        return key

    # --- queries ------------------------------------------------------------------------------

    def answer(self, query: str, at: float) -> dict[str, Any]:
        """``data`` of the answer to an instant query.

        Raises:
            ValueError: the query is more than the fake understands.
        """
        if ranged := _RANGE.fullmatch(query.strip()):
            span_s = int(ranged["number"]) * _UNITS[ranged["unit"]]
            series = list(self._matching(ranged["inner"]))
            rows = [(dict(key), found.between(at - span_s, at)) for key, found in series]
            result = [
                {"metric": labels, "values": [[t, _print(v)] for t, v in samples]}
                for labels, samples in rows
                if samples
            ]
            return {"resultType": "matrix", "result": result}
        return {"resultType": "vector", "result": self.evaluate(query, at)}

    def evaluate(self, query: str, at: float) -> list[dict[str, Any]]:
        """Answer an instant query made of selectors joined by ``or``.

        Raises:
            ValueError: the query is more than that.
        """
        if wrapped := _TIMESTAMP.fullmatch(query.strip()):
            return [
                {"metric": _without_name(key), "value": [at, _print(sample[0])]}
                for key, sample in self._find(wrapped["inner"], at).items()
            ]
        return [
            {"metric": dict(key), "value": [at, _print(sample[1])]}
            for key, sample in self._find(query, at).items()
        ]

    def _find(self, query: str, at: float) -> dict[Labels, tuple[float, float]]:
        samples = {key: series.at(at) for key, series in self._matching(query)}
        return {key: sample for key, sample in samples.items() if sample is not None}

    def _matching(self, query: str) -> Iterator[tuple[Labels, _Series]]:
        rest = query.strip()
        if not rest:
            raise ValueError("no expression found in input")
        while rest:
            selector = _SELECTOR.match(rest)
            after = rest[selector.end() :].strip() if selector else ""
            if selector is None or (after and not re.match(r"or\s", after)):
                raise ValueError(f"the fake does not understand: {rest}")
            yield from self._select(selector["name"], selector["matchers"] or "")
            rest = after.removeprefix("or").strip()

    def _select(self, name: str, matchers: str) -> Iterator[tuple[Labels, _Series]]:
        wanted = [(m["label"], m["op"], _unquote(m["value"])) for m in _MATCHER.finditer(matchers)]
        for key, series in self._series.get(name, {}).items():
            labels = dict(key)
            if all(_matches(labels.get(label, ""), op, value) for label, op, value in wanted):
                yield key, series

    async def _handle(self, request: web.Request) -> web.Response:
        form: dict[str, Any] = dict(request.query) or dict(await request.post())
        self.queries.append({name: str(value) for name, value in form.items()})
        self.headers.append(dict(request.headers))
        query, at = str(form["query"]), float(str(form.get("time", self.clock.now())))
        canned = self.canned.get(query)
        fault = canned if isinstance(canned, Fault) else self.fault
        if fault is not None and (fault.only_before is None or at < fault.only_before):
            if fault.hangs:
                await asyncio.Event().wait()
            await asyncio.sleep(fault.delay_s)
            return web.Response(
                status=fault.status, body=fault.body, content_type=fault.content_type
            )
        return self._answer(query, at)

    def _answer(self, query: str, at: float) -> web.Response:
        if query in self.canned and not isinstance(self.canned[query], Fault):
            data = self.canned[query]
        else:
            if self._target is not None:
                self._target.advance()
            try:
                data = self.answer(query, at)
            except ValueError as mistake:
                self._mistakes.append(mistake)
                body = error_body(f"1:1: parse error: {mistake}")
                return web.Response(status=400, body=body, content_type="application/json")
        return web.json_response({"status": "success", "data": data})


def vector(*values: float | str, at: float = 0.0, **labels: str) -> dict[str, Any]:
    """``data`` of a canned answer: no value is an empty vector, several are several series."""
    several = len(values) > 1
    return {
        "resultType": "vector",
        "result": [
            {"metric": {"n": str(i), **labels} if several else labels, "value": [at, _text(value)]}
            for i, value in enumerate(values)
        ],
    }


def scalar(value: float | str, at: float = 0.0) -> dict[str, Any]:
    """``data`` of a canned answer that is one number."""
    return {"resultType": "scalar", "result": [at, _text(value)]}


def error_body(text: str) -> bytes:
    """Return an error as Prometheus words it."""
    return json.dumps({"status": "error", "errorType": "bad_data", "error": text}).encode()


def _matches(actual: str, operator: str, value: str) -> bool:
    match operator:
        case "=":
            return actual == value
        case "!=":
            return actual != value
        case "=~":
            return re.fullmatch(value, actual) is not None
        case _:
            return re.fullmatch(value, actual) is None


def _without_name(key: Labels) -> dict[str, str]:
    return {label: value for label, value in key if label != "__name__"}


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], text)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else _print(value)


def _print(value: float) -> str:
    if isnan(value):
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.17g}"
