"""A metric source that is away, silent or talks nonsense holds the weight and never counts; bad values act at once.

The provider that ships asks a Prometheus over loopback, which scraped the data plane; every way of going wrong is told with its
own word in ``status.metrics``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from canaryd.metrics.prometheus import PrometheusProvider
from canaryd.metrics.registry import MetricSources
from tests.fakes.clock import EPOCH, VirtualClock
from tests.fakes.http import LoopbackHttp
from tests.fakes.prometheus import (
    DOWN,
    HANGS,
    HTML,
    FakePrometheus,
    Fault,
    error_body,
    scalar,
    vector,
)
from tests.fakes.routes import DataPlaneKind
from tests.fakes.traffic import by_version, failing, slow
from tests.scenarios.harness import Story, plan, story

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

RATE = 30.0
"""Requests of users a second."""
QUERY = 'max(queue_length{app="app"})'
LATE = Fault(body=b'{"status":"success","data":{"resultType":"vector","result":[]}}', delay_s=7.0)
OK_HTML = Fault(body=b"<html><h1>Sign in</h1></html>", content_type="text/html")
DRIP = Fault(body=b"x" * (5 * 1024 * 1024))
HALF = Fault(body=b'{"status":"success","data":{"resultType":"vector","result":[{"metric"')
REFUSED = Fault(status=422, body=error_body("1:5: parse error: unclosed left parenthesis"))
MATRIX = {"resultType": "matrix", "result": []}

EVERYTHING = {
    "down": (DOWN, "SourceUnavailable", "503"),
    "HTML": (HTML, "SourceUnavailable", "502"),
    "HTML that claims to be fine": (OK_HTML, "SourceUnavailable", "something else than metrics"),
    "hanging": (HANGS, "SourceUnavailable", "no answer within 5 s"),
    "too slow": (LATE, "SourceUnavailable", "no answer within 5 s"),
    "too large": (DRIP, "SourceUnavailable", "more than"),
    "cut off": (HALF, "SourceUnavailable", "something else than metrics"),
    "a refusal": (REFUSED, "QueryRefused", "unclosed left parenthesis"),
}
"""What befalls the source as a whole, whatever it is asked: the word for it, and what is told beside."""
ANSWERS = {
    "no series": (vector(), "NoSeries", ""),
    "NaN": (vector("NaN"), "NotANumber", "nan"),
    "+Inf": (vector("+Inf"), "NotANumber", "inf"),
    "a scalar that is no number": (scalar("NaN"), "NotANumber", "nan"),
    "a range": (MATRIX, "NotANumber", "a range vector"),
    "two series": (vector(1.0, 2.0), "SeveralSeries", "2 series"),
    "an old sample": (vector(1.0, at=EPOCH - 600), "Stale", "old"),
}
"""What one query may come to."""


@asynccontextmanager
async def measured(
    kind: DataPlaneKind = DataPlaneKind.TRAEFIK,
) -> AsyncIterator[tuple[Story, FakePrometheus]]:
    """A story whose metrics are what a Prometheus scraped from the data plane; everything is well yet."""
    clock = VirtualClock()
    async with FakePrometheus(clock=clock) as prometheus, LoopbackHttp() as http:
        provider = PrometheusProvider("default", prometheus.url, http=http, clock=clock)
        async with story(metrics=MetricSources({"default": provider}), kind=kind) as told:
            prometheus.watch(told.plane)
            prometheus.canned[QUERY] = vector(3.0, at=EPOCH + 10_000)
            yield told, prometheus


async def release(told: Story, **changes: str | None) -> None:
    """An enrolled app with users and a new revision at its first weight."""
    values = {"metric.queue": "<= 10", "metric.queue.query": QUERY, "inconclusive-deadline": "5m"}
    await told.enrol(annotations=plan(**values | changes))
    told.users(RATE)
    told.set_image("app:2")
    await told.until_weight(20)


def verdict(told: Story, name: str) -> dict[str, object]:
    return next(m for m in told.status()["metrics"] if m["name"] == name)


def messages(told: Story) -> str:
    return "\n".join(decision.message for _, decision in told.memory.looks)


# --- it holds, says why, counts nothing, and goes on --------------------------------------------


@pytest.mark.parametrize("trouble", EVERYTHING)
async def test_a_source_in_trouble_holds_the_weight_with_its_own_word_and_the_run_goes_on_after(
    trouble,
):
    fault, word, words = EVERYTHING[trouble]
    async with measured() as (told, prometheus):
        await release(told)
        prometheus.fault = prometheus.canned[QUERY] = fault
        await asyncio.sleep(45)

        assert 20 == told.weight()
        for name in ("success-rate", "queue"):
            assert ("Inconclusive", word) == (
                verdict(told, name)["verdict"],
                verdict(told, name)["reason"],
            )
        assert words in messages(told)
        assert 0 == told.status()["failures"]["count"]
        assert "AdvancementHeld" in told.memory.reasons()
        prometheus.fault, prometheus.canned[QUERY] = None, vector(3.0, at=EPOCH + 10_000)
        await told.until_weight(50, seconds=30)
        await told.until_phase("Succeeded")
        assert [] == told.lost()


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_that_is_no_number_is_unknown_and_never_a_pass(answer):
    data, word, words = ANSWERS[answer]
    async with measured() as (told, prometheus):
        await release(told)
        prometheus.canned[QUERY] = data
        await asyncio.sleep(45)

        assert 20 == told.weight()
        assert ("Inconclusive", word) == (
            verdict(told, "queue")["verdict"],
            verdict(told, "queue")["reason"],
        )
        assert "Passed" == verdict(told, "success-rate")["verdict"]
        assert words in messages(told)
        assert 0 == told.status()["failures"]["count"]
        prometheus.canned[QUERY] = vector(3.0, at=EPOCH + 10_000)
        await told.until_phase("Succeeded")


async def test_users_who_are_gone_leave_nothing_to_judge_by():
    async with measured() as (told, _):
        await release(told)
        await asyncio.sleep(8)
        told.plane.set_rate(told.plane._clients[0], 0)
        await told.until_weight(50)
        await asyncio.sleep(45)
        assert 50 == told.weight()
        assert ("Inconclusive", "NoTraffic") == (
            verdict(told, "success-rate")["verdict"],
            verdict(told, "success-rate")["reason"],
        )
        assert 0 == told.status()["failures"]["count"]
        told.plane.set_rate(told.plane._clients[0], RATE)
        await told.until_phase("Succeeded")


async def test_samples_that_nobody_scrapes_any_more_are_never_taken_for_news():
    async with measured() as (told, prometheus):
        await release(told)
        prometheus.scraping = False
        await asyncio.sleep(90)
        assert 20 == told.weight()
        assert "Inconclusive" == verdict(told, "success-rate")["verdict"]
        assert 0 == told.status()["failures"]["count"]
        prometheus.scraping = True
        await told.until_phase("Succeeded")


async def test_a_data_plane_that_restarts_in_mid_step_is_no_outage_and_no_failure():
    async with measured() as (told, _):
        await release(told)
        await asyncio.sleep(5)
        told.plane.restart()
        await told.until_phase("Succeeded")
        assert [] == told.lost()


# --- it ends ------------------------------------------------------------------------------------


async def test_a_source_that_does_not_come_back_ends_the_run_at_the_deadline():
    async with measured() as (told, prometheus):
        await release(told, inconclusive_deadline="60s")
        prometheus.fault = DOWN
        took = await told.until_phase("Failed")

        assert 60 <= took <= 90
        await told.until_weight(0, seconds=0.5)
        assert "no verdict for" in told.message()
        assert "503" in told.message()
        assert ["Failed"] == told.results()
        assert "InconclusiveTooLong" == told.status()["history"][-1]["reason"]
        assert [] == told.lost()


async def test_no_data_that_is_to_count_as_a_failure_does():
    async with measured() as (told, prometheus):
        await release(told, **{"metric.queue.no-data": "fail"})
        prometheus.canned[QUERY] = vector()
        await told.until_phase("Failed", seconds=45)
        await told.until_weight(0, seconds=0.5)


# --- bad values act in the same evaluation --------------------------------------------------------


async def test_errors_of_the_canary_roll_back_in_the_evaluation_that_sees_them():
    async with measured() as (told, _):
        told.plane.app = by_version({"app:2": failing(20)})
        await release(told, failure_threshold="1")
        took = await told.until_weight(0)

        assert 9.9 < took < 10.5
        assert "success-rate 80" in told.message()
        assert [] == told.lost()


async def test_errors_that_begin_later_are_seen_at_the_next_evaluation():
    async with measured() as (told, _):
        await release(told, failure_threshold="1")
        await told.until_weight(50)
        told.plane.app = by_version({"app:2": failing(50)})
        took = await told.until_weight(0)
        assert took < 10.5
        assert "Failed" == verdict(told, "success-rate")["verdict"]


async def test_a_canary_that_became_slow_is_rolled_back():
    async with measured() as (told, _):
        told.plane.app = by_version({"app:2": slow(0.4)})
        await release(told, failure_threshold="1", **{"metric.latency-p99": "<= 300ms"})
        await told.until_weight(0, seconds=12)
        assert "latency-p99" in told.message()


async def test_a_bad_value_of_a_query_rolls_back_although_another_check_is_unknown():
    async with measured() as (told, prometheus):
        await release(told, failure_threshold="1")
        prometheus.scraping = False
        prometheus.canned[QUERY] = vector(11.0, at=EPOCH + 10_000)
        await told.until_weight(0, seconds=11)
        assert "Inconclusive" == verdict(told, "success-rate")["verdict"]
        assert "queue 11 is above 10" in told.message()


async def test_the_judgement_is_the_same_by_the_metrics_of_ingress_nginx():
    async with measured(DataPlaneKind.INGRESS_NGINX) as (told, _):
        told.plane.app = by_version({"app:3": failing(20)})
        await release(told)
        await told.until_phase("Succeeded")
        told.annotate(**{"failure-threshold": "1"})
        told.set_image("app:3")
        await told.until_weight(20)
        assert 10.5 > await told.until_weight(0)
        await told.until_phase("Failed")
        assert [] == told.lost()
