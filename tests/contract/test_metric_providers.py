"""What every metric provider must do, told as stories, against a fake and a real Prometheus.

The real one is the binary of the distribution on loopback, scraping a tiny exporter five times a second: it proves that the
selectors mean what they should to the real parser, and that the fake tells the truth.
"""

import asyncio
import itertools
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from threading import Thread

import pytest

from canaryd.core.model import (
    Builtin,
    Comparator,
    Condition,
    Counts,
    Dialect,
    MetricCheck,
    Missing,
    Side,
    TrafficIdentity,
)
from canaryd.metrics.prometheus import PrometheusProvider
from tests.fakes.http import LoopbackHttp
from tests.fakes.prometheus import FakePrometheus, Fault, error_body

ANY = Condition(Comparator.AT_LEAST, 0.0)
SUCCESS = MetricCheck(name="success-rate", condition=ANY, builtin=Builtin.SUCCESS_RATE)
P99 = MetricCheck(name="latency-p99", condition=ANY, builtin=Builtin.LATENCY_P99)

PLAIN, RENAMING = "plain", "renaming"
TARGET_LABELS = {PLAIN: {}, RENAMING: {"service": "metrics", "namespace": "monitoring"}}
"""Scrape jobs and the labels Prometheus puts on their targets: what a ServiceMonitor does."""

BROKEN = "sum("
NUMBERS = itertools.count()

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(name, value, **labels):
    return {(name, frozenset(labels.items())): float(value)}


# --- worlds -----------------------------------------------------------------------------------------------------------


@dataclass
class FakeWorld:
    """Samples are recorded at an instant that moves only when something is exposed."""

    server: FakePrometheus
    instant: float = 1_800_000_000.0
    exposed: dict[str, Series] = field(default_factory=lambda: {PLAIN: {}, RENAMING: {}})
    failing: set[str] = field(default_factory=set)

    @property
    def url(self):
        return self.server.url

    def now(self):
        return self.instant

    async def expose(self, job, values):
        gone = self.exposed[job].keys() - values.keys()
        self.exposed[job] = dict(values)
        return await self.settle(job, gone)

    async def settle(self, job, gone=()):
        self.instant += 2
        is_up = job not in self.failing
        self.server.record(self.instant - 1, "up", self.labels(job, {}), float(is_up))
        for name, labels in gone if is_up else self.exposed[job]:
            self.server.record(self.instant - 1, name, self.labels(job, dict(labels)), None)
        if is_up:
            for (name, labels), value in self.exposed[job].items():
                self.server.record(self.instant - 1, name, self.labels(job, dict(labels)), value)
        return self.instant

    def labels(self, job, labels):
        added = {"job": job, "instance": f"{job}:1", **TARGET_LABELS[job]}
        return {(f"exported_{n}" if n in added else n): v for n, v in labels.items()} | added


@dataclass
class RealWorld:
    """Prometheus scrapes an exporter of our own, one per job."""

    url: str
    exposed: dict[str, Series]
    scrapes: dict[str, int]
    failing: set[str]

    def now(self):
        return time.time()

    async def expose(self, job, values):
        self.exposed[job] = dict(values)
        return await self.settle(job)

    async def settle(self, job):
        # The first scrape from now on may have begun before; the second is stored soon after it was answered.
        seen = self.scrapes[job]
        async with asyncio.timeout(10):
            while self.scrapes[job] < seen + 2:  # noqa: ASYNC110 - counted by a thread
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        return self.now()


@dataclass
class Clock:
    world: object

    def now(self):
        return self.world.now()

    wall = now

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


@pytest.fixture(scope="module")
def real_prometheus(tmp_path_factory):
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.fail(
            "there is no prometheus on the PATH; install it (Debian: apt install prometheus)"
        )
    exposed, scrapes, failing = {PLAIN: {}, RENAMING: {}}, {PLAIN: 0, RENAMING: 0}, set()
    exporter = ThreadingHTTPServer(("127.0.0.1", 0), exporter_of(exposed, scrapes, failing))
    exporting = Thread(target=exporter.serve_forever, kwargs={"poll_interval": 0.05})
    exporting.start()
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = folder / "prometheus.yml"
    config.write_text(configuration(exporter.server_address[1]))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, folder / "log")
            yield RealWorld(f"http://127.0.0.1:{port}", exposed, scrapes, failing)
        finally:
            process.terminate()
            process.wait(20)
            exporter.shutdown()
            exporter.server_close()
            exporting.join(5)


def exporter_of(exposed, scrapes, failing):
    class Exporter(BaseHTTPRequestHandler):
        def do_GET(self):
            job = self.path.removeprefix("/")
            body = "".join(exposition_line(*key, value) for key, value in exposed[job].items())
            self.send_response(500 if job in failing else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body.encode())
            scrapes[job] += 1

        def log_message(self, *args):
            pass

    return Exporter


def exposition_line(name, labels, value):
    escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    shown = ",".join(f'{label}="{text.translate(escapes)}"' for label, text in sorted(labels))
    return f"{name}{{{shown}}} {value}\n"


def configuration(port):
    def job(name):
        labels = "".join(f"          {k}: {v}\n" for k, v in TARGET_LABELS[name].items())
        return (
            f"- job_name: {name}\n  metrics_path: /{name}\n  static_configs:\n"
            f"    - targets: ['127.0.0.1:{port}']\n"
            + (f"      labels:\n{labels}" if labels else "")
        )

    return (
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n"
        + job(PLAIN)
        + job(RENAMING)
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(url, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"prometheus did not become ready:\n{log.read_text()[-3000:]}")


@pytest.fixture(
    params=["fake", pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.slow])]
)
async def world(request):
    if request.param == "real":
        real = request.getfixturevalue("real_prometheus")
        yield real
        real.failing.clear()
        return
    async with FakePrometheus() as server:
        server.canned[BROKEN] = Fault(status=400, body=error_body("1:5: parse error: unclosed"))
        yield FakeWorld(server)


@pytest.fixture
async def http():
    async with LoopbackHttp() as client:
        yield client


@pytest.fixture
def app():
    """An app of its own for each test: the real Prometheus outlives them."""
    name = f"app-{next(NUMBERS)}"
    return TrafficIdentity(
        namespace="shop",
        target=name,
        apex=name,
        canary_service=f"{name}-canary",
        primary_service=f"{name}-primary",
        ingresses=((name, name, "80"),),
        dialect=Dialect.TRAEFIK,
    )


@pytest.fixture
def ask(world, http):
    async def _ask(check, app, *, since, side=Side.CANARY, dialect=Dialect.TRAEFIK):
        provider = PrometheusProvider("default", world.url, http=http, clock=Clock(world))
        return await provider.ask(check, replace(app, dialect=dialect), since=since, side=side)

    return _ask


def traefik(app, value, code="200", suffix="-canary"):
    service = f"{app.namespace}-{app.apex}-{app.apex}-80{suffix}@kubernetesingressnginx"
    return series("traefik_service_requests_total", value, code=code, service=service)


# --- stories ----------------------------------------------------------------------------------------------------------


async def test_requests_are_counted_exactly_and_per_side(world, ask, app):
    primary = {"suffix": ""}
    since = await world.expose(
        PLAIN,
        traefik(app, 100) | traefik(app, 3, "500") | traefik(app, 1000, **primary),
    )
    await world.expose(
        PLAIN,
        traefik(app, 131) | traefik(app, 5, "500") | traefik(app, 1700, **primary),
    )
    canary = await ask(SUCCESS, app, since=since)
    assert (33, 2, 33) == (canary.counts.total, canary.counts.errors, canary.requests)
    answer = await ask(SUCCESS, app, since=since, side=Side.PRIMARY)
    assert (700, 0) == (answer.counts.total, answer.counts.errors)


async def test_a_series_born_inside_the_window_counts_from_zero(world, ask, app):
    since = await world.expose(PLAIN, traefik(app, 100))
    await world.expose(PLAIN, traefik(app, 100) | traefik(app, 7, "503"))
    answer = await ask(SUCCESS, app, since=since)
    assert (7, 7) == (answer.counts.total, answer.counts.errors)


async def test_the_first_requests_of_a_canary_count_from_zero(world, ask, app):
    since = await world.expose(PLAIN, {})
    await world.expose(PLAIN, traefik(app, 40) | traefik(app, 2, "500"))
    answer = await ask(SUCCESS, app, since=since)
    assert (42, 2) == (answer.counts.total, answer.counts.errors)


async def test_a_restart_of_the_data_plane_counts_from_zero(world, ask, app):
    since = await world.expose(PLAIN, traefik(app, 5000) | traefik(app, 1, "500"))
    await world.expose(PLAIN, traefik(app, 20) | traefik(app, 4, "500"))
    answer = await ask(SUCCESS, app, since=since)
    assert (23, 3) == (answer.counts.total, answer.counts.errors)


async def test_counters_that_do_not_move_are_no_traffic(world, ask, app):
    since = await world.expose(PLAIN, traefik(app, 100))
    await world.settle(PLAIN)
    assert Missing.NO_TRAFFIC == (await ask(SUCCESS, app, since=since)).absent.why


async def test_series_that_are_gone_are_no_series(world, ask, app):
    since = await world.expose(PLAIN, traefik(app, 100))
    await world.expose(PLAIN, {})
    assert Missing.NO_SERIES == (await ask(SUCCESS, app, since=since)).absent.why


async def test_a_failed_scrape_at_the_start_of_the_window_brings_no_old_errors_in(world, ask, app):
    await world.expose(PLAIN, traefik(app, 10) | traefik(app, 1_000_000, "500"))
    world.failing.add(PLAIN)
    since = await world.settle(PLAIN)
    world.failing.discard(PLAIN)
    await world.settle(PLAIN)
    assert Missing.NO_TRAFFIC == (await ask(SUCCESS, app, since=since)).absent.why


async def test_renamed_labels_are_found(world, ask, app):
    since = await world.expose(RENAMING, traefik(app, 100))
    await world.expose(RENAMING, traefik(app, 109))
    assert 9 == (await ask(SUCCESS, app, since=since)).counts.total


@pytest.mark.parametrize("job", [PLAIN, RENAMING])
async def test_ingress_nginx_is_told_apart_by_its_canary_label(world, ask, app, job):
    def requests(value, *, canary, status="200", namespace="shop"):
        return series(
            "nginx_ingress_controller_requests",
            value,
            namespace=namespace,
            ingress=app.apex,
            service=app.apex,
            canary=canary,
            status=status,
        )

    canary = f"shop-{app.apex}-canary-80"
    before = requests(10, canary=canary) | requests(10, canary="")
    since = await world.expose(job, before | requests(10, canary=canary, namespace="other"))
    after = requests(15, canary=canary) | requests(70, canary="")
    after |= requests(3, canary=canary, status="502")
    await world.expose(job, after | requests(999, canary=canary, namespace="other"))
    answer = await ask(SUCCESS, app, since=since, dialect=Dialect.INGRESS_NGINX)
    assert (8, 3) == (answer.counts.total, answer.counts.errors)
    primary = {"side": Side.PRIMARY, "dialect": Dialect.INGRESS_NGINX}
    answer = await ask(SUCCESS, app, since=since, **primary)
    assert (60, 0) == (answer.counts.total, answer.counts.errors)


async def test_higress_is_told_apart_by_its_cluster(world, ask, app):
    def requests(value, service, klass):
        return series(
            "envoy_cluster_upstream_rq",
            value,
            cluster_name=f"outbound|80||{service}.shop.svc.cluster.local",
            response_code_class=klass,
        )

    canary = f"{app.apex}-canary"
    since = await world.expose(PLAIN, requests(1, canary, "2xx") | requests(5, app.apex, "2xx"))
    after = requests(4, canary, "2xx") | requests(2, canary, "5xx") | requests(9, app.apex, "2xx")
    await world.expose(PLAIN, after)
    answer = await ask(SUCCESS, app, since=since, dialect=Dialect.HIGRESS)
    assert (5, 2) == (answer.counts.total, answer.counts.errors)
    answer = await ask(SUCCESS, app, since=since, side=Side.PRIMARY, dialect=Dialect.HIGRESS)
    assert (4, 0) == (answer.counts.total, answer.counts.errors)


async def test_several_ingresses_are_summed(world, ask, app):
    both = replace(app, ingresses=((app.apex, app.apex, "80"), (f"{app.apex}.x", app.apex, "80")))

    def requests(first, second):
        service = f"shop-{app.apex}-x-{app.apex}-80-canary@kubernetesingressnginx"
        name = "traefik_service_requests_total"
        return traefik(app, first) | series(name, second, code="200", service=service)

    since = await world.expose(PLAIN, requests(1, 10))
    await world.expose(PLAIN, requests(3, 15))
    assert 7 == (await ask(SUCCESS, both, since=since)).counts.total


async def test_latencies_are_a_histogram_of_successful_requests(world, ask, app):
    def buckets(values, code):
        service = f"shop-{app.apex}-{app.apex}-80-canary@kubernetesingressnginx"
        name = "traefik_service_request_duration_seconds_bucket"
        found = {}
        for edge, value in zip(("0.1", "1", "+Inf"), values, strict=True):
            found |= series(name, value, code=code, service=service, le=edge)
        return found

    since = await world.expose(PLAIN, buckets((1, 2, 3), "200"))
    await world.expose(PLAIN, buckets((6, 9, 13), "200") | buckets((90, 90, 90), "500"))
    answer = await ask(P99, app, since=since)
    assert ((0.1, 5.0), (1.0, 7.0), (inf, 10.0)) == answer.histogram.buckets
    assert 0 < answer.histogram.window_s <= 60


HOSTILE = "a\"b\\c\nd{{e}}'`.*|é"


@pytest.mark.parametrize("operator", ["=", "=~"])
async def test_a_hostile_value_selects_exactly_itself(world, ask, app, operator):
    name = "hostile_equal" if operator == "=" else "hostile_regex"
    check = MetricCheck(
        name="custom",
        condition=ANY,
        query=f'{name}{{v{operator}"{{{{ vars.v }}}}"}}',
        variables={"v": HOSTILE},
    )
    since = await world.expose(PLAIN, series(name, 7, v=HOSTILE) | series(name, 9, v="a"))
    await world.settle(PLAIN)
    answer = await ask(check, app, since=since)
    assert (7.0, None) == (answer.value, answer.absent)


async def test_a_query_that_is_none_is_refused_with_the_words_of_the_source(world, ask, app):
    since = await world.expose(PLAIN, {})
    await world.settle(PLAIN)
    answer = await ask(MetricCheck(name="x", condition=ANY, query=BROKEN), app, since=since)
    assert Missing.QUERY_REFUSED == answer.absent.why
    assert "parse error" in answer.absent.detail


# --- what only the real one can tell ----------------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("vector(1.5)", 1.5),
        ("1 + 1", 2.0),
        ("1" + " + 1" * 5000, 5001.0),
        ('"text"', Missing.NOT_A_NUMBER),
        ("up[1m]", Missing.NOT_A_NUMBER),
        ("vector(0) / 0", Missing.NOT_A_NUMBER),
        ("1 / 0", Missing.NOT_A_NUMBER),
        ('up{job="nobody"}', Missing.NO_SERIES),
        ("up", Missing.SEVERAL_SERIES),
        ("{{ target }}", Missing.QUERY_REFUSED),
        ("nonsense(", Missing.QUERY_REFUSED),
    ],
    ids=[
        "one series",
        "a scalar",
        "a query longer than a URL",
        "a string",
        "a range vector",
        "NaN",
        "infinity",
        "no series",
        "several series",
        "a variable outside of a string",
        "a syntax error",
    ],
)
async def test_each_kind_of_answer_is_understood(real_prometheus, http, app, query, expected):
    await real_prometheus.settle(RENAMING)
    clock = Clock(real_prometheus)
    provider = PrometheusProvider("default", real_prometheus.url, http=http, clock=clock)
    check = MetricCheck(name="x", condition=ANY, query=query)
    answer = await provider.ask(check, app, since=clock.now() - 60)
    assert expected == (answer.absent.why if answer.absent else answer.value)


@pytest.mark.cluster
@pytest.mark.slow
async def test_the_window_is_what_the_counts_are_for(real_prometheus, http, app):
    since = await real_prometheus.expose(PLAIN, traefik(app, 1))
    await real_prometheus.expose(PLAIN, traefik(app, 2))
    clock = Clock(real_prometheus)
    provider = PrometheusProvider("default", real_prometheus.url, http=http, clock=clock)
    answer = await provider.ask(SUCCESS, app, since=since)
    assert isinstance(answer.counts, Counts)
    assert 0.2 < answer.counts.window_s <= clock.now() - since


def test_the_fake_spells_target_labels_as_prometheus_does():
    world = FakeWorld(FakePrometheus())
    spelled: Mapping[str, str] = world.labels(RENAMING, {"service": "x", "code": "200"})
    assert {
        "exported_service": "x",
        "service": "metrics",
        "namespace": "monitoring",
        "code": "200",
        "job": RENAMING,
        "instance": "renaming:1",
    } == spelled
