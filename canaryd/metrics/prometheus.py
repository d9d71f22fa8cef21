"""Metrics from whatever speaks Prometheus' query API: Prometheus, Thanos, Mimir and others.

For a built-in check the raw counters are read twice, now and at the beginning of the window, and
differenced here (see ``growth``). The window never begins before the present weight was written:
what came before says nothing about it. For a custom check the user's query is run once and must
come to one finite number.

Whatever a source does wrong (refusal, outage, HTML, half an answer, a gigabyte of it) becomes an
``Absent`` with its reason and never an exception or a value. Of the source's words only Prometheus'
own error text is passed on, one printable line of it; never a body.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from typing import Any, assert_never
from urllib.parse import urlencode, urlsplit

from canaryd.core.model import (
    Absent,
    Builtin,
    Dialect,
    MetricAnswer,
    MetricCheck,
    Missing,
    Side,
    TrafficIdentity,
)
from canaryd.core.promql import TemplateError, Value, render
from canaryd.metrics.builtin_queries import (
    Selector,
    select_latencies,
    select_requests,
    select_targets,
)
from canaryd.metrics.growth import (
    Labels,
    Looks,
    Series,
    Target,
    count_latencies,
    count_requests,
    target_of,
    unsettled_targets,
)
from canaryd.ports.clock import Clock
from canaryd.ports.http import HttpClient, HttpResponse, HttpTrouble, Trouble

MAX_BYTES = 4 * 1024 * 1024
"""Some 15,000 series: beyond it the answer would hold up the event loop while it is read."""
LOOKBACK_S = 300.0
"""How old a sample may be: Prometheus' own default."""
_ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class _Sample:
    """One element of an answer; ``value`` is None when it is not a number but a histogram."""

    labels: Labels
    value: float | None
    at: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """A parsed answer: ``kind`` is vector or scalar, or what it was instead."""

    kind: str
    samples: tuple[_Sample, ...] = ()


class PrometheusProvider:
    """One named source; implements ``canaryd.ports.metric_provider.MetricProvider``.

    Args:
        name: what ``metric.<name>.source`` calls it; appears in messages, the URL does not.
        url: base URL, with a path prefix if there is one.
        http: how requests are sent.
        clock: whose ``now`` is the end of every window.
        matchers: labels that every series of the built-ins must carry: pins a cluster in a shared
        store, or the
            scrape job of the data plane, so that no tenant can export series in its name.
        headers: sent with each request, for example a tenant or a token.
        timeout_s: for each request, as a whole.
        max_bytes: of each answer.

    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        http: HttpClient,
        clock: Clock,
        matchers: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"metric source {name!r}: the URL must begin with http:// or https://")
        self.name = name
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._http = http
        self._clock = clock
        self._matchers = dict(matchers or {})
        self._headers = {
            **(headers or {}),
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    async def ask(
        self,
        check: MetricCheck,
        identity: TrafficIdentity,
        *,
        since: float,
        side: Side = Side.CANARY,
    ) -> MetricAnswer:
        """Answer one check over the window that ends now; see the port for the rules."""
        now = self._clock.now()
        window_s = min(check.window_s, now - since)
        if window_s <= 0:
            shown = "the present weight was written only just now"
            return _absent(check, Absent(Missing.NO_TRAFFIC, shown))
        if check.builtin is None:
            return await self._ask_query(check, identity, now, window_s)
        dialect = _dialect_of(identity)
        if isinstance(dialect, Absent):
            return _absent(check, dialect)
        match check.builtin:
            case Builtin.SUCCESS_RATE | Builtin.ERROR_RATE:
                selector = select_requests(dialect, identity, side, self._matchers)
                answer = await self._ask_requests(check, selector, now, window_s)
            case (
                Builtin.LATENCY_P50
                | Builtin.LATENCY_P90
                | Builtin.LATENCY_P95
                | Builtin.LATENCY_P99
            ):
                selector = select_latencies(dialect, identity, side, self._matchers)
                answer = await self._ask_latencies(check, selector, now, window_s)
            case _:
                assert_never(check.builtin)
        return replace(answer, has_load=dialect.counts_at_pods)

    # --- built-ins

    async def _ask_requests(
        self, check: MetricCheck, selector: Selector, now: float, window_s: float
    ) -> MetricAnswer:
        looks = await self._look_twice(selector, now, window_s)
        if isinstance(looks, Absent):
            return _absent(check, looks)
        counts = count_requests(looks, selector.is_error)
        if isinstance(counts, Absent):
            return _absent(check, counts)
        return MetricAnswer(check=check.name, counts=counts, requests=counts.total)

    async def _ask_latencies(
        self, check: MetricCheck, selector: Selector, now: float, window_s: float
    ) -> MetricAnswer:
        looks = await self._look_twice(selector, now, window_s)
        if isinstance(looks, Absent):
            return _absent(check, looks)
        histogram = count_latencies(looks, edges_per_s=selector.edges_per_s)
        if isinstance(histogram, Absent):
            return _absent(check, histogram)
        return MetricAnswer(check=check.name, histogram=histogram, requests=histogram.count)

    async def _look_twice(self, selector: Selector, now: float, window_s: float) -> Looks | Absent:
        then = now - window_s
        async with asyncio.TaskGroup() as both:
            earlier = both.create_task(self._read_counters(selector.expression, then))
            later = both.create_task(self._read_counters(selector.expression, now))
        before, after = earlier.result(), later.result()
        if isinstance(after, Absent):
            return after
        if isinstance(before, Absent):
            return before
        unsettled = unsettled_targets(before, after)
        if not unsettled:
            return Looks(before, after, window_s)
        scraped = await self._read_scraped(unsettled, then)
        if isinstance(scraped, Absent):
            return scraped
        return Looks(before, after, window_s, scraped)

    async def _read_counters(self, expression: str, at: float) -> Series | Absent:
        answer = await self._query(expression, at)
        if isinstance(answer, Absent):
            return answer
        if answer.kind != "vector":
            shown = f"{self.name} answered a selector with a {answer.kind}"
            return Absent(Missing.SOURCE_UNAVAILABLE, shown)
        series: dict[Labels, float] = {}
        for sample in answer.samples:
            if sample.value is None:
                return Absent(Missing.NOT_A_NUMBER, "a counter has a histogram for a value")
            series[sample.labels] = sample.value
        return series

    async def _read_scraped(
        self, targets: frozenset[Target], at: float
    ) -> frozenset[Target] | Absent:
        """Find which of these targets were up: only from them can a series have been born since."""
        instances = {instance for _, instance in targets}
        found = await self._read_counters(select_targets(instances, self._matchers), at)
        if isinstance(found, Absent):
            return found
        up = {target_of(labels) for labels, value in found.items() if value == 1}
        return frozenset(target for target in targets if target in up)

    # --- custom queries

    async def _ask_query(
        self, check: MetricCheck, identity: TrafficIdentity, now: float, window_s: float
    ) -> MetricAnswer:
        try:
            query = render(check.query, variables_of(check, identity), interval_s=window_s)
        except TemplateError as error:
            return _absent(check, Absent(Missing.QUERY_REFUSED, str(error)))
        answer = await self._query(query, now)
        if isinstance(answer, Absent):
            return _absent(check, answer)
        value = _one_number(answer, now)
        if isinstance(value, Absent):
            return _absent(check, value)
        return MetricAnswer(check=check.name, value=value)

    # --- one request

    async def _query(self, expression: str, at: float) -> _Answer | Absent:
        form = {"query": expression, "time": f"{at:.3f}", "timeout": f"{self._timeout_s:g}s"}
        try:
            response = await self._http.request(
                "POST",  # a query may be longer than a URL can be
                self._url,
                headers=self._headers,
                body=urlencode(form).encode(),
                timeout_s=self._timeout_s,
                max_bytes=self._max_bytes,
            )
        except HttpTrouble as trouble:
            return self._describe(trouble)
        return _parse(self.name, response)

    def _describe(self, trouble: HttpTrouble) -> Absent:
        detail = f"source {self.name}: {_printable(str(trouble))}"
        if trouble.kind is Trouble.TOO_LARGE:
            detail += "; narrow the query, or aggregate in it"
        return Absent(Missing.SOURCE_UNAVAILABLE, detail)


def variables_of(check: MetricCheck, identity: TrafficIdentity) -> dict[str, Value]:
    """Return the variables a custom query may use; ``ingress`` may stand for several."""
    variables: dict[str, Value] = {
        "namespace": identity.namespace,
        "target": identity.target,
        "canary": identity.canary_service,
        "primary": identity.primary_service,
        "service": identity.apex,
    }
    ingresses = tuple(dict.fromkeys(name for name, _, _ in identity.ingresses))
    if ingresses:
        variables["ingress"] = ingresses
    return variables | {f"vars.{name}": value for name, value in check.variables.items()}


# --- reading answers ------------------------------------------------------------------------------


def _parse(source: str, response: HttpResponse) -> _Answer | Absent:
    """Read an answer of the query API; anything else that speaks HTTP is an unavailable source."""
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("status") not in ("success", "error"):
        document = None
    if response.status != 200 or document is None or document["status"] == "error":
        return _refusal(source, response.status, document)
    try:
        return _parse_data(document["data"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        shown = f"source {source} sent a malformed answer"
        return Absent(Missing.SOURCE_UNAVAILABLE, shown)


def _refusal(source: str, status: int, document: Mapping[str, Any] | None) -> Absent:
    words = _printable(str(document.get("error", ""))) if document else ""
    detail = f"source {source} answered {status}" + (f": {words}" if words else "")
    if status == 200 and document is None:
        return Absent(Missing.SOURCE_UNAVAILABLE, f"{detail} with something else than metrics")
    # 408 and 429 are about the moment, the other 4xx about the query or the configuration of the
    # source.
    if 400 <= status < 500 and status not in (408, 429):
        return Absent(Missing.QUERY_REFUSED, detail)
    return Absent(Missing.SOURCE_UNAVAILABLE, detail)


def _parse_data(data: Mapping[str, Any]) -> _Answer:
    kind, result = str(data["resultType"]), data["result"]
    if kind == "scalar":
        return _Answer(kind, (_Sample(frozenset(), _number(result[1]), float(result[0])),))
    if kind != "vector":
        return _Answer(kind if kind in ("matrix", "string") else "result of an unknown type")
    return _Answer(kind, tuple(_parse_sample(element) for element in result))


def _parse_sample(element: Mapping[str, Any]) -> _Sample:
    labels = frozenset(
        (str(name), str(value)) for name, value in element["metric"].items() if name != "__name__"
    )
    if "value" not in element:
        return _Sample(labels, None, float(element["histogram"][0]))
    at, value = element["value"]
    return _Sample(labels, _number(value), float(at))


def _number(value: Any) -> float:
    """Read a sample value: Prometheus sends numbers as strings, to carry NaN and the infinities."""
    if not isinstance(value, str):
        raise TypeError("a sample value is not a string")
    return float(value)


def _one_number(answer: _Answer, now: float) -> float | Absent:
    if answer.kind not in ("vector", "scalar"):
        article = {"matrix": "a range vector", "string": "a string"}.get(answer.kind, answer.kind)
        return Absent(Missing.NOT_A_NUMBER, f"the query returns {article}")
    if not answer.samples:
        return Absent(Missing.NO_SERIES)
    if len(answer.samples) > 1:
        shown = "; ".join(_labels(sample) for sample in islice(answer.samples, 2))
        return Absent(Missing.SEVERAL_SERIES, f"{len(answer.samples)} series, such as {shown}")
    sample = answer.samples[0]
    if sample.value is None:
        return Absent(Missing.NOT_A_NUMBER, "the query returns a histogram")
    if not isfinite(sample.value):
        return Absent(Missing.NOT_A_NUMBER, f"the query returns {sample.value}")
    age_s = now - sample.at
    # Prometheus stamps answers with the time they were asked for; a store that stamps them with the
    # sample's own time may still not pass off an old one.
    if not age_s <= LOOKBACK_S:
        return Absent(Missing.STALE, f"the sample is {age_s:.0f} s old")
    return sample.value


def _labels(sample: _Sample) -> str:
    pairs = ",".join(f"{name}={value}" for name, value in sorted(sample.labels))
    return _printable("{" + pairs + "}", 80)


def _printable(text: str, limit: int = _ERROR_CHARACTERS) -> str:
    """Cut a foreign text to one printable line."""
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _dialect_of(identity: TrafficIdentity) -> Dialect | Absent:
    """Whose metrics built-in checks of an app are to be read of."""
    match identity.dialect:
        case None:
            shown = "no metric of its data plane tells canary and primary apart; use a custom query"
            return Absent(Missing.QUERY_REFUSED, shown)
        case Dialect.INGRESS_NGINX | Dialect.TRAEFIK | Dialect.HIGRESS:
            kind, is_named = "Ingress", bool(identity.ingresses)
        case Dialect.TRAEFIK_GATEWAY | Dialect.KGATEWAY | Dialect.CONTOUR:
            kind, is_named = "HTTPRoute", bool(identity.routes and identity.ports)
        case Dialect.ISTIO | Dialect.ISTIO_AMBIENT | Dialect.LINKERD:
            return identity.dialect
        case _:
            assert_never(identity.dialect)
    if not is_named:
        return Absent(Missing.NO_SERIES, f"no {kind} leads to the app; use a custom query")
    return identity.dialect


def _absent(check: MetricCheck, absent: Absent) -> MetricAnswer:
    return MetricAnswer(check=check.name, absent=absent)
