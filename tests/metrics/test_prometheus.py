import asyncio
import json
from dataclasses import dataclass, replace
from math import inf

import pytest

from canaryd.core.gates import judge
from canaryd.core.loads import Load
from canaryd.core.model import (
    Absent,
    Builtin,
    Comparator,
    Condition,
    Counts,
    Dialect,
    MetricAnswer,
    MetricCheck,
    Missing,
    Side,
    TrafficIdentity,
)
from canaryd.core.verdicts import Verdict
from canaryd.metrics.builtin_queries import select_requests
from canaryd.metrics.prometheus import PrometheusProvider
from canaryd.metrics.registry import KINDS, MetricSources
from tests.fakes.http import LoopbackHttp
from tests.fakes.prometheus import FakePrometheus, Fault, error_body

NOW = 1_800_000_000.0
IDENTITY = TrafficIdentity(
    namespace="shop",
    target="podinfo",
    apex="podinfo",
    canary_service="podinfo-canary",
    primary_service="podinfo-primary",
    ingresses=(("podinfo", "podinfo", "80"),),
    dialect=Dialect.TRAEFIK,
)
ANY = Condition(Comparator.AT_LEAST, 0.0)
SUCCESS = MetricCheck(name="success-rate", condition=ANY, builtin=Builtin.SUCCESS_RATE)
P99 = MetricCheck(name="latency-p99", condition=ANY, builtin=Builtin.LATENCY_P99)
CUSTOM = MetricCheck(name="custom", condition=ANY, query="custom")
CANARY = "shop-podinfo-podinfo-80-canary@kubernetesingressnginx"


@dataclass
class SetClock:
    instant: float = NOW

    def now(self):
        return self.instant

    def wall(self):
        return self.instant

    async def sleep(self, seconds):
        self.instant += seconds


@pytest.fixture
async def server():
    async with FakePrometheus() as fake:
        yield fake


@pytest.fixture
async def http():
    async with LoopbackHttp() as client:
        yield client


def a_provider(url, http, **changes):
    settings = {"http": http, "clock": SetClock(), "timeout_s": 2.0}
    return PrometheusProvider("default", url, **(settings | changes))


@pytest.fixture
def provider(server, http):
    return a_provider(server.url, http)


def requests_at(server, at, value, *, code="200", instance="a:1", **labels):
    everything = {"job": "traefik", "instance": instance, "service": CANARY, "code": code}
    server.record(at, "traefik_service_requests_total", everything | labels, value)


def up_at(server, at, value, *, instance="a:1"):
    server.record(at, "up", {"job": "traefik", "instance": instance}, value)


async def ask(provider, check=SUCCESS, *, since=0.0, identity=IDENTITY, side=Side.CANARY):
    return await provider.ask(check, identity, since=since, side=side)


async def why(provider, check=SUCCESS, **more):
    answer = await ask(provider, check, **more)
    return answer.absent and answer.absent.why


# --- built-ins --------------------------------------------------------------------------------------------------------


async def test_one_pair_of_queries_gives_total_and_errors(server, provider):
    for at, good, bad in [(NOW - 65, 100, 1), (NOW - 5, 190, 5)]:
        requests_at(server, at, good)
        requests_at(server, at, bad, code="502")
    expected = MetricAnswer(check="success-rate", counts=Counts(94, 4, 60.0), requests=94)
    assert expected == await ask(provider)
    assert sorted(f"{NOW - back:.3f}" for back in (60, 0)) == sorted(
        query["time"] for query in server.queries
    )


async def test_the_window_never_reaches_back_beyond_the_present_weight(server, provider):
    for at, value in [(NOW - 65, 0), (NOW - 25, 70), (NOW - 5, 100)]:
        requests_at(server, at, value)
    answer = await ask(provider, since=NOW - 20)
    assert Counts(30, 0, 20.0) == answer.counts


@pytest.mark.parametrize("since", [NOW, NOW + 3600], ids=["now", "in the future"])
async def test_a_weight_written_just_now_has_seen_no_traffic(server, provider, since):
    assert Missing.NO_TRAFFIC == await why(provider, since=since)
    assert [] == server.queries


async def test_the_first_errors_of_a_canary_are_counted(server, provider):
    up_at(server, NOW - 65, 1)
    requests_at(server, NOW - 5, 7, code="500")
    assert Counts(7, 7, 60.0) == (await ask(provider)).counts


@pytest.mark.parametrize(
    "was_up", [0, None], ids=["the scrape before had failed", "nobody scraped it before"]
)
async def test_a_target_that_was_not_scraped_before_is_not_counted_yet(server, provider, was_up):
    if was_up is not None:
        up_at(server, NOW - 65, was_up)
    requests_at(server, NOW - 5, 1_000_000)
    assert Missing.NO_TRAFFIC == await why(provider)


async def test_series_of_other_apps_and_of_the_primary_are_not_counted(server, provider):
    for at, value in [(NOW - 65, 0), (NOW - 5, 10)]:
        requests_at(server, at, value)
        requests_at(server, at, value * 7, service="shop-podinfo-podinfo-80@kubernetesingressnginx")
        requests_at(server, at, value * 9, service=f"evil-{CANARY}")
    assert Counts(10, 0, 60.0) == (await ask(provider)).counts
    assert Counts(70, 0, 60.0) == (await ask(provider, side=Side.PRIMARY)).counts


async def test_labels_that_prometheus_renamed_are_found(server, provider):
    for at, value in [(NOW - 65, 0), (NOW - 5, 10)]:
        requests_at(server, at, value, service="traefik-metrics", exported_service=CANARY)
    assert Counts(10, 0, 60.0) == (await ask(provider)).counts


async def test_pinned_labels_keep_out_series_that_others_export(server, http):
    for at, value in [(NOW - 65, 0), (NOW - 5, 10)]:
        requests_at(server, at, value)
        requests_at(server, at, value * 100, job="evil", instance="evil:1")
    pinned = a_provider(server.url, http, matchers={"job": "traefik"})
    assert Counts(10, 0, 60.0) == (await ask(pinned)).counts


async def test_latencies_come_as_one_histogram_of_successful_requests(server, provider):
    for at, values in [(NOW - 65, (0, 0, 0)), (NOW - 5, (5, 8, 9))]:
        for code in ("200", "503"):
            for edge, value in zip(("0.1", "1.2", "+Inf"), values, strict=True):
                labels = {"job": "t", "instance": "a:1", "service": CANARY, "code": code}
                name = "traefik_service_request_duration_seconds_bucket"
                server.record(at, name, {**labels, "le": edge}, value)
    answer = await ask(provider, P99)
    assert (((0.1, 5.0), (1.2, 8.0), (inf, 9.0)), 60.0, 9.0) == (
        answer.histogram.buckets,
        answer.histogram.window_s,
        answer.requests,
    )


async def test_an_app_without_ingresses_has_no_built_ins(server, provider):
    answer = await ask(provider, identity=replace(IDENTITY, ingresses=()))
    assert Missing.NO_SERIES == answer.absent.why
    assert [] == server.queries


async def test_a_failure_of_the_earlier_query_alone_is_enough_to_know_nothing(server, provider):
    up_at(server, NOW - 65, 1)
    requests_at(server, NOW - 5, 10)
    counters = select_requests(Dialect.TRAEFIK, IDENTITY, Side.CANARY, {}).expression
    server.canned[counters] = Fault(status=503, body=b"busy", only_before=NOW - 30)
    assert Missing.SOURCE_UNAVAILABLE == await why(provider)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([("200", "NaN")], Missing.NOT_A_NUMBER),
        ([("200", "+Inf")], Missing.NOT_A_NUMBER),
        ([("200", "-1")], Missing.NOT_A_NUMBER),
        ([], Missing.NO_SERIES),
    ],
)
async def test_counters_that_are_none_are_not_counted(server, provider, values, expected):
    result = [
        {"metric": {"code": code, "instance": "a:1"}, "value": [NOW, value]}
        for code, value in values
    ]
    body = {"status": "success", "data": {"resultType": "vector", "result": result}}
    server.fault = Fault(body=json.dumps(body).encode())
    assert expected == await why(provider)


# --- custom queries ---------------------------------------------------------------------------------------------------


def vector(*values, at=NOW, **labels):
    return {
        "resultType": "vector",
        "result": [
            {"metric": {"n": str(i), **labels}, "value": [at, value]}
            for i, value in enumerate(values)
        ],
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (vector("1.5"), 1.5),
        (vector("-2e3"), -2000.0),
        ({"resultType": "scalar", "result": [NOW, "7"]}, 7.0),
        (vector(), Missing.NO_SERIES),
        (vector("1", "2"), Missing.SEVERAL_SERIES),
        (vector("NaN"), Missing.NOT_A_NUMBER),
        (vector("+Inf"), Missing.NOT_A_NUMBER),
        (vector("-Inf"), Missing.NOT_A_NUMBER),
        ({"resultType": "scalar", "result": [NOW, "NaN"]}, Missing.NOT_A_NUMBER),
        ({"resultType": "string", "result": [NOW, "7"]}, Missing.NOT_A_NUMBER),
        (
            {"resultType": "matrix", "result": [{"metric": {}, "values": [[NOW, "1"]]}]},
            Missing.NOT_A_NUMBER,
        ),
        (
            {"resultType": "vector", "result": [{"metric": {}, "histogram": [NOW, {}]}]},
            Missing.NOT_A_NUMBER,
        ),
        (vector("1", at=NOW - 600), Missing.STALE),
        (vector(1), Missing.SOURCE_UNAVAILABLE),
        (vector("many"), Missing.SOURCE_UNAVAILABLE),
        ({"resultType": "vector", "result": None}, Missing.SOURCE_UNAVAILABLE),
        ({"resultType": "vector", "result": [7]}, Missing.SOURCE_UNAVAILABLE),
        ({"result": []}, Missing.SOURCE_UNAVAILABLE),
        ([], Missing.SOURCE_UNAVAILABLE),
        (None, Missing.SOURCE_UNAVAILABLE),
    ],
    ids=[
        "one series",
        "a negative number",
        "a scalar",
        "no series",
        "two series",
        "NaN",
        "infinity",
        "negative infinity",
        "a NaN scalar",
        "a string",
        "a range vector",
        "a native histogram",
        "a sample ten minutes old",
        "a bare number",
        "a word",
        "no result",
        "a result of another shape",
        "no type",
        "a list for data",
        "nothing for data",
    ],
)
async def test_a_query_must_come_to_one_finite_number(server, provider, data, expected):
    server.canned["custom"] = data
    answer = await ask(provider, CUSTOM)
    if isinstance(expected, Missing):
        assert expected == answer.absent.why
        assert answer.value is None
    else:
        assert MetricAnswer(check="custom", value=expected) == answer


async def test_variables_and_the_window_are_inserted(server, provider):
    check = replace(
        CUSTOM,
        query='x{ns="{{ namespace }}",d="{{ target }}",c="{{ canary }}",p="{{ primary }}",'
        's="{{ service }}",i="{{ ingress }}",v="{{ vars.tier }}"}[{{ interval }}]',
        variables={"tier": 'a"b'},
        window_s=300.0,
    )
    await ask(provider, check, since=NOW - 90.5)
    assert (
        'x{ns="shop",d="podinfo",c="podinfo-canary",p="podinfo-primary",'
        's="podinfo",i="podinfo",v="a\\"b"}[90s]'
    ) == server.queries[0]["query"]


async def test_a_query_with_an_unknown_variable_is_never_sent(server, provider):
    answer = await ask(provider, replace(CUSTOM, query='x{a="{{ vars.teir }}"}'))
    assert Missing.QUERY_REFUSED == answer.absent.why
    assert 'unknown variable "vars.teir"' in answer.absent.detail
    assert [] == server.queries


async def test_several_series_are_shown_so_that_the_query_can_be_mended(server, provider):
    server.canned["custom"] = vector("1", "2", "3", pod="a\nb")
    answer = await ask(provider, CUSTOM)
    assert "3 series, such as {n=0,pod=a b}; {n=1,pod=a b}" == answer.absent.detail


# --- what a source can do wrong ---------------------------------------------------------------------------------------

HTML = b"<!doctype html><html><body>Sign in</body></html>"
PROBLEM = error_body("1:5: parse error: unexpected character: '\u202e'\n" + "x" * 1000)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, HTML, Missing.SOURCE_UNAVAILABLE),
        (200, b"", Missing.SOURCE_UNAVAILABLE),
        (200, b'"success"', Missing.SOURCE_UNAVAILABLE),
        (200, b"[" * 100_000, Missing.SOURCE_UNAVAILABLE),
        (200, b'{"status":"success","data":' + b"9" * 5000 + b"}", Missing.SOURCE_UNAVAILABLE),
        (200, b"\xff\xfe\x00", Missing.SOURCE_UNAVAILABLE),
        (200, error_body("half an answer"), Missing.SOURCE_UNAVAILABLE),
        (302, b"", Missing.SOURCE_UNAVAILABLE),
        (400, PROBLEM, Missing.QUERY_REFUSED),
        (401, HTML, Missing.QUERY_REFUSED),
        (404, HTML, Missing.QUERY_REFUSED),
        (422, error_body("query processing would load too many samples"), Missing.QUERY_REFUSED),
        (429, b"slow down", Missing.SOURCE_UNAVAILABLE),
        (500, HTML, Missing.SOURCE_UNAVAILABLE),
        (503, error_body("query timed out"), Missing.SOURCE_UNAVAILABLE),
    ],
    ids=[
        "HTML with 200",
        "an empty body",
        "a JSON string",
        "JSON nested too deeply",
        "an integer too long to read",
        "not text at all",
        "an error with 200",
        "a redirect is not followed",
        "a syntax error",
        "no permission",
        "a wrong URL",
        "a query that is too heavy",
        "too many requests",
        "a server error",
        "a time-out inside of Prometheus",
    ],
)
@pytest.mark.parametrize("check", [SUCCESS, P99, CUSTOM], ids=["rate", "latency", "custom"])
async def test_a_misbehaving_source_is_absent_with_its_reason(
    server, provider, check, status, body, expected
):
    server.fault = Fault(status=status, body=body)
    answer = await ask(provider, check)
    assert expected == answer.absent.why
    assert "Sign in" not in answer.absent.detail


async def test_the_error_text_of_prometheus_is_passed_on_short_and_printable(server, provider):
    server.fault = Fault(status=400, body=PROBLEM)
    detail = (await ask(provider, CUSTOM)).absent.detail
    assert detail.startswith("source default answered 400: 1:5: parse error: unexpected character")
    assert len(detail) < 250
    assert detail.isprintable()


async def test_an_answer_beyond_the_cap_is_not_read(server, http):
    server.canned["custom"] = vector(*["1"] * 1000)
    answer = await ask(a_provider(server.url, http, max_bytes=1000), CUSTOM)
    assert Missing.SOURCE_UNAVAILABLE == answer.absent.why
    assert "narrow the query" in answer.absent.detail


async def test_a_source_that_hangs_is_given_up_in_time(server, http):
    server.fault = Fault(delay_s=30)
    async with asyncio.timeout(5):
        answer = await ask(a_provider(server.url, http, timeout_s=0.05))
    assert Absent(Missing.SOURCE_UNAVAILABLE, "source default: no answer within 0.05 s") == (
        answer.absent
    )


async def test_a_source_that_is_not_there_is_unavailable(http):
    async with FakePrometheus() as gone:
        url = gone.url
    assert Missing.SOURCE_UNAVAILABLE == await why(a_provider(url, http))


# --- how it asks ------------------------------------------------------------------------------------------------------


async def test_queries_are_posted_as_forms_with_the_headers_of_the_source(server, http):
    server.canned["custom"] = vector("1")
    tenant = a_provider(f"{server.url}/", http, headers={"X-Scope-OrgID": "shop"})
    assert 1.0 == (await ask(tenant, CUSTOM)).value
    assert {"query": "custom", "time": f"{NOW:.3f}", "timeout": "2s"} == server.queries[0]
    headers = server.headers[0]
    assert "shop" == headers["X-Scope-OrgID"]
    assert "application/x-www-form-urlencoded" == headers["Content-Type"]


async def test_a_query_may_be_longer_than_a_url(server, provider):
    long = "1" + "+1" * 10_000
    server.canned[long] = vector("10001")
    assert 10001.0 == (await ask(provider, replace(CUSTOM, query=long))).value


async def test_cancelling_a_question_leaves_nothing_running(server, provider):
    server.fault = Fault(delay_s=30)
    before = asyncio.all_tasks()
    asking = asyncio.ensure_future(ask(provider))
    while not server.queries:  # noqa: ASYNC110 - the fake only keeps a list
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    ours = {t for t in asyncio.all_tasks() - before if "_read_counters" in repr(t)}
    assert set() == ours


async def test_a_url_that_is_none_is_refused_at_once(http):
    with pytest.raises(ValueError, match="must begin with http"):
        a_provider("prometheus:9090", http)


# --- sources by name --------------------------------------------------------------------------------------------------


async def test_a_check_is_answered_by_the_source_it_names(server, provider):
    server.canned["custom"] = vector("1")
    sources = MetricSources({"team-thanos": provider})
    assert 1.0 == (await ask(sources, replace(CUSTOM, source="team-thanos"))).value
    refused = await ask(sources, CUSTOM)
    assert (
        Absent(
            Missing.QUERY_REFUSED,
            'there is no metric source "default"; configured: team-thanos',
        )
        == refused.absent
    )


async def test_what_nobody_counts_is_no_question_for_any_source_and_load_tests_may_answer_it(
    server, provider
):
    sources, uncounted = MetricSources({}), replace(IDENTITY, is_counted=False)
    answer = await sources.ask(SUCCESS, uncounted, since=NOW - 60)
    assert Absent(Missing.NO_SERIES, "nobody counts the requests of podinfo") == answer.absent

    load = Load(names=("load-test.get",), sent=200)
    assert Verdict.PASS is judge(SUCCESS, answer, load=load).verdict
    assert Verdict.INCONCLUSIVE is judge(SUCCESS, answer).verdict
    assert [] == server.queries


async def test_a_query_of_the_users_own_is_asked_also_where_nobody_counts(server, provider):
    server.canned["custom"] = vector("1")
    sources = MetricSources({"default": provider})
    answer = await sources.ask(CUSTOM, replace(IDENTITY, is_counted=False), since=NOW - 60)
    assert 1.0 == answer.value


def test_prometheus_is_a_kind_of_source():
    assert PrometheusProvider is KINDS["prometheus"]


@pytest.mark.parametrize(
    ("changes", "why", "words"),
    [
        ({"dialect": None}, Missing.QUERY_REFUSED, "tells canary and primary apart"),
        ({"ingresses": ()}, Missing.NO_SERIES, "no Ingress leads to the app"),
        ({"dialect": Dialect.CONTOUR}, Missing.NO_SERIES, "no HTTPRoute leads to the app"),
    ],
    ids=["no metrics of its own", "no Ingress", "no HTTPRoute"],
)
async def test_a_side_that_cannot_be_named_is_not_asked_about(
    server, provider, changes, why, words
):
    answer = await provider.ask(SUCCESS, replace(IDENTITY, **changes), since=NOW - 60)
    assert why is answer.absent.why
    assert words in answer.absent.detail
    assert [] == server.queries


@pytest.mark.parametrize("check", [SUCCESS, P99], ids=["a rate", "a latency"])
async def test_what_is_counted_at_the_pods_says_that_load_tests_are_in_it(provider, check):
    at_pods = await provider.ask(check, replace(IDENTITY, dialect=Dialect.LINKERD), since=NOW - 60)
    at_ingress = await provider.ask(check, IDENTITY, since=NOW - 60)
    assert (True, False) == (at_pods.has_load, at_ingress.has_load)
