"""What is measured and what is not: cases X5 to X7, X16, X23 and X26.

Unknown is never a pass and never a failure; a canary without ready pods has no users a second later;
nothing outside the cluster can delay a rollout that does not wait for it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.core.kinds import DEPLOYMENT, SERVICE
from canaryd.core.model import Absent, Missing
from canaryd.metrics.prometheus import PrometheusProvider
from canaryd.metrics.registry import MetricSources
from tests.fakes.clock import EPOCH, VirtualClock
from tests.fakes.http import LoopbackHttp
from tests.fakes.prometheus import DOWN, HANGS, FakePrometheus, vector
from tests.fakes.traffic import by_version, failing, slow
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario, story

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

QUERY = 'sum(rate(errors_total{app="app"}[1m]))'


@asynccontextmanager
async def measured_story() -> AsyncIterator[tuple[Story, FakePrometheus]]:
    """A story whose metrics are what a Prometheus scraped from the data plane, read by the provider that ships."""
    clock = VirtualClock()
    async with FakePrometheus(clock=clock) as prometheus, LoopbackHttp() as http:
        provider = PrometheusProvider("default", prometheus.url, http=http, clock=clock)
        async with story(metrics=MetricSources({"default": provider})) as told:
            prometheus.watch(told.plane)
            yield told, prometheus


# --- pods that are not ready ------------------------------------------------------------------------------------------


@scenario
async def test_X5_when_every_canary_pod_breaks_at_half_the_traffic_the_weight_is_zero_within_seconds(
    told: Story,
):
    await told.enrol(annotations=plan(interval="60s"))
    told.set_image("app:2")
    await told.until_weight(50)
    users = told.users()
    await asyncio.sleep(10)
    broken = asyncio.get_running_loop().time()
    told.cluster.break_pods("app")
    took = await told.until_weight(0)

    assert took < 1
    await told.until_event("CanaryLost", seconds=1)
    await asyncio.sleep(10)
    told.plane.stop(users)
    # Half of those who came until the data plane took the weight in.
    limit = users.rate / 2 * (took + told.plane.throttle_s + 0.2)
    assert len(told.lost()) <= limit
    assert [] == told.lost(since=broken + took + told.plane.throttle_s + 0.2)


@scenario
async def test_X5_a_canary_that_comes_back_starts_again_at_the_first_weight(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    told.cluster.break_pods("app")
    await told.until_weight(0, seconds=1)
    await asyncio.sleep(5)
    assert "Progressing" == told.phase()
    assert 1 == told.status()["failedChecks"]
    told.cluster.heal_pods()

    await told.until_weight(20)
    await told.until_weight(50)
    await told.until_phase("Succeeded")


@scenario
async def test_X5_one_unready_pod_of_two_keeps_the_run_where_it_is_judged(told: Story):
    await told.enrol()
    told.users()
    told.set_image("app:2")
    await told.until_weight(20)
    [first, _] = [p for p in told.cluster.pods(NAMESPACE, "app") if p.ready]
    told.cluster.break_pods(lambda pod: pod is first)
    await asyncio.sleep(5)

    assert 20 == told.weight()
    assert [] == told.lost()


@scenario
async def test_X5_a_canary_scaled_away_at_weight_loses_its_users_first(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    told.users()
    told.server.patch(DEPLOYMENT, NAMESPACE, "app", {"spec": {"replicas": 0}})

    assert await told.until_weight(0) < 1
    await told.until_weight(20)
    await told.until_phase("Succeeded")


@scenario
async def test_X5_a_canary_that_dies_while_the_primary_rolls_loses_its_users_and_is_promoted(
    told: Story,
):
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Promoting")
    told.cluster.fate = lambda pod: 10.0 if pod.deployment == "app-primary" else 1.0
    told.cluster.break_pods("app")

    assert await told.until_weight(0) < 1
    await told.until_phase("Succeeded")
    assert "app:2" == told.image()


@scenario
async def test_a_primary_that_is_not_ready_holds_the_weight_and_promotes_nothing(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)
    told.cluster.break_pods("app-primary")
    await asyncio.sleep(40)

    assert "Progressing" == told.phase()
    assert ("True", "PrimaryNotReady") == told.condition("Reconciling")
    assert "app:1" == told.image()
    told.cluster.heal_pods()
    await told.until_phase("Succeeded")


# --- no data ----------------------------------------------------------------------------------------------------------


@scenario
async def test_X6_a_metric_source_that_is_down_for_five_minutes_pauses_the_run_and_fails_nothing(
    told: Story,
):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.source.down = True
    for _ in range(10):
        await asyncio.sleep(30)
        assert 20 == told.weight()
        assert 0 == told.status()["failedChecks"]

    assert "Progressing" == told.phase()
    assert ("True", "AdvancementHeld") == told.condition("Reconciling")
    assert "connection refused" in told.message()
    assert "of 1800 s" in told.message()
    assert 1 == told.memory.reasons().count("AdvancementHeld")
    told.source.down = False
    await told.until_weight(50, seconds=15)
    await told.until_phase("Succeeded")
    assert ["Succeeded"] == told.results()


@scenario
async def test_X6_a_daemon_that_restarts_in_the_outage_goes_on_counting_it(told: Story):
    await told.enrol(annotations=plan(inconclusive_deadline="2m"))
    told.set_image("app:2")
    await told.until_weight(20)
    told.source.down = True
    await asyncio.sleep(90)
    await told.restart()

    took = await told.until_phase("Failed")
    assert 20 < took < 50
    assert "inconclusive-deadline" in told.message()


@scenario
async def test_X7_an_idle_app_waits_says_why_and_goes_on_when_users_come(told: Story):
    told.source.absent = Absent(Missing.NO_TRAFFIC)
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    await asyncio.sleep(120)

    assert 20 == told.weight()
    assert 0 == told.status()["failedChecks"]
    assert "no traffic" in told.message().lower() or "no requests" in told.message().lower()
    [metric] = told.status()["metrics"]
    assert ("Inconclusive", "NoTraffic") == (metric["verdict"], metric["reason"])
    told.source.absent = None
    await told.until_phase("Succeeded")


@scenario
async def test_X7_an_idle_app_is_given_up_when_the_time_it_may_wait_is_over(told: Story):
    told.source.absent = Absent(Missing.NO_TRAFFIC)
    await told.enrol(annotations=plan(inconclusive_deadline="1m"))
    told.set_image("app:2")
    took = await told.until_phase("Failed")

    assert 60 < took < 100
    assert "inconclusive-deadline" in told.message()
    assert "app:1" == told.image()


@scenario
async def test_X7_no_data_is_a_failure_for_those_who_want_it_so(told: Story):
    told.source.absent = Absent(Missing.NO_TRAFFIC)
    await told.enrol(annotations=plan(**{"metric.success-rate.no-data": "fail"}))
    told.set_image("app:2")
    await told.until_phase("Failed", seconds=40)

    assert "MetricFailed" in told.memory.reasons()


@scenario
async def test_X7_an_idle_app_can_be_judged_by_its_load_test_alone(told: Story):
    test = {"metric.success-rate": None, "load-test.smoke": "GET / rate=20 for=8s"}
    await told.enrol(annotations=plan(**test))
    told.set_image("app:2")
    await told.until_phase("Succeeded")

    assert 0 == told.source.asked
    assert 2 == told.loads.started
    told.loads.failing.add("smoke")
    told.set_image("app:3")
    await told.until_phase("Failed")


# --- an idle app and its load test ------------------------------------------------------------------------------------

SMOKE = {"load-test.smoke": "GET / rate=20 for=5s"}


def metrics_of(told: Story) -> dict[str, dict[str, Any]]:
    return {metric["name"]: metric for metric in told.status()["metrics"]}


async def test_X7_an_idle_app_is_promoted_by_its_load_test_and_tells_the_evidence():
    async with measured_story() as (told, _):
        checks = SMOKE | {"metric.latency-p99": "<= 500ms"}
        await told.enrol(annotations=plan(**checks, min_requests="50"))
        told.set_image("app:2")
        await told.until_phase("Succeeded")

        assert "app:2" == told.image()
        assert ["Succeeded"] == told.results()
        metrics = metrics_of(told)
        rate, latency = metrics["success-rate"], metrics["latency-p99"]
        load = metrics["load-test.smoke"]
        assert ("Passed", "100", 100) == (rate["verdict"], rate["value"], rate["samples"])
        assert ("Passed", 100) == (latency["verdict"], latency["samples"])
        assert ("Passed", "0", 100) == (load["verdict"], load["value"], load["samples"])
        assert rate["message"].startswith(
            "success-rate 100 is at least 99 (0 errors of 100 requests, 100 of them by load tests)"
        )
        assert "latency-p99 11.98 ms is at most 500 ms (100 requests, 100 of" in latency["message"]
        assert "load-test.smoke: 100 sent, 0 failed, p99 12 ms" == load["message"]


async def test_X7_an_idle_app_whose_load_test_is_bad_is_rolled_back():
    async with measured_story() as (told, _):
        await told.enrol(
            annotations=plan(
                **SMOKE | {"load-test.smoke": f"{SMOKE['load-test.smoke']} max-errors=60%"}
            )
        )
        told.loads.failing.add("smoke")
        told.set_image("app:2")
        await told.until_phase("Failed")

        assert "app:1" == told.image()
        assert "success-rate 50 is below 99 (50 errors of 100 requests" in told.message()


async def test_X7_an_idle_app_without_load_test_holds_and_says_what_to_do():
    async with measured_story() as (told, _):
        await told.enrol()
        told.set_image("app:2")
        await told.until_weight(20)
        await asyncio.sleep(120)

        assert 20 == told.weight()
        assert 0 == told.status()["failedChecks"]
        assert "add canaryd.io/load-test.<name> to make some" in told.message()
        assert "canaryd.io/metric.success-rate.no-data" in told.message()


async def test_X7_too_few_users_for_the_window_hold_and_are_told_what_to_do():
    async with measured_story() as (told, _):
        await told.enrol(annotations=plan(min_requests="1000"))
        told.users(rate=5.0)
        told.set_image("app:2")
        await told.until_weight(20)
        await asyncio.sleep(60)

        assert 20 == told.weight()
        assert "add canaryd.io/load-test.<name>, lower min-requests" in told.message()


async def test_X7_a_few_users_and_a_load_test_are_enough_together():
    async with measured_story() as (told, _):
        await told.enrol(annotations=plan(**SMOKE, min_requests="105"))
        told.users(rate=5.0)
        told.set_image("app:2")
        await told.until_phase("Succeeded")

        [rate, _] = told.status()["metrics"]
        assert 105 < rate["samples"] < 150
        assert [] == told.lost()


async def test_X7_a_good_load_test_never_hides_errors_that_users_got():
    async with measured_story() as (told, _):
        await told.enrol(annotations=plan(**SMOKE, min_requests="100"))
        told.users(rate=5.0)
        told.plane.app = by_version({"app:errors": failing(30.0)})
        told.set_image("app:errors")
        await told.until_phase("Failed")

        assert "app:1" == told.image()
        assert "of them by load tests" in told.message()
        assert "success-rate" in told.message()


async def test_X7_no_amount_of_load_promotes_what_fails_for_the_few_users_there_are():
    async with measured_story() as (told, _):
        checks = SMOKE | {"metric.success-rate": ">= 90"}
        await told.enrol(annotations=plan(**checks, min_requests="100", inconclusive_deadline="1m"))
        told.users(rate=2.0)
        told.plane.app = by_version({"app:errors": failing(60.0)})
        told.set_image("app:errors")
        await told.until_phase("Failed")

        assert "app:1" == told.image()
        assert "load tests do not make up for what users got" in told.message()


@scenario
async def test_X7_a_void_load_test_holds_an_idle_app_in_plain_words_and_is_run_again(told: Story):
    told.source.absent = Absent(Missing.NO_TRAFFIC)
    told.loads.void = "the generator reached 8 of 20 requests/s"
    await told.enrol(annotations=plan(**SMOKE))
    told.set_image("app:2")
    await told.until_weight(20)
    await asyncio.sleep(60)

    assert 20 == told.weight()
    assert 0 == told.status()["failedChecks"]
    assert "load-test.smoke: void, the generator reached 8 of 20 requests/s" in told.message()
    assert "source does not answer" not in told.message()
    assert "LoadTestVoid" == metrics_of(told)["load-test.smoke"]["reason"]
    told.loads.void = ""
    await told.until_phase("Succeeded")


@scenario
async def test_X6_no_load_test_answers_for_a_metric_source_that_is_down(told: Story):
    await told.enrol(annotations=plan(**SMOKE))
    told.set_image("app:2")
    await told.until_weight(20)
    told.source.down = True
    await asyncio.sleep(120)

    assert 20 == told.weight()
    assert "connection refused" in told.message()
    told.source.down = False
    await told.until_phase("Succeeded")


# --- a real Prometheus provider ---------------------------------------------------------------------------------------


async def test_X26_a_query_that_returns_two_series_is_never_a_pass():
    async with measured_story() as (told, prometheus):
        check = {"metric.errors": "<= 1", "metric.errors.query": QUERY}
        prometheus.canned[QUERY] = vector(0.0, 0.0, at=told.clock.now())
        await told.enrol(annotations=plan(**{"metric.success-rate": None, **check}))
        told.users()
        told.set_image("app:2")
        await told.until_weight(20)
        await asyncio.sleep(120)

        assert 20 == told.weight()
        assert 0 == told.status()["failedChecks"]
        [metric] = told.status()["metrics"]
        assert ("Inconclusive", "SeveralSeries") == (metric["verdict"], metric["reason"])
        prometheus.canned[QUERY] = vector(0.0, at=told.clock.now())
        await told.until_phase("Succeeded")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (vector(), "NoSeries"),
        (vector("NaN", at=EPOCH), "NotANumber"),
        (vector("+Inf", at=EPOCH), "NotANumber"),
        (DOWN, "SourceUnavailable"),
        (HANGS, "SourceUnavailable"),
    ],
    ids=["nothing", "NaN", "infinity", "down", "hanging"],
)
async def test_X26_an_answer_that_is_no_number_holds(answer, reason):
    async with measured_story() as (told, prometheus):
        check = {"metric.errors": "<= 1", "metric.errors.query": QUERY}
        prometheus.canned[QUERY] = answer
        await told.enrol(annotations=plan(**{"metric.success-rate": None, **check}))
        told.set_image("app:2")
        await told.until_weight(20)
        await asyncio.sleep(60)

        assert 20 == told.weight()
        assert 0 == told.status()["failedChecks"]
        [metric] = told.status()["metrics"]
        assert ("Inconclusive", reason) == (metric["verdict"], metric["reason"])


async def test_a_release_judged_by_what_its_users_got_is_promoted_or_rolled_back():
    async with measured_story() as (told, _):
        checks = {"metric.latency-p99": "<= 500ms"}
        await told.enrol(annotations=plan(**checks, min_requests="20"))
        told.users()
        told.plane.app = by_version(
            {"app:errors": failing(30.0), "app:slow": slow(2.0, percent=5.0)}
        )
        told.set_image("app:2")
        await told.until_phase("Succeeded")
        told.set_image("app:errors")
        await told.until_phase("Failed")
        assert "success-rate 70 is below 99 (30 errors of 100 requests" in told.message()
        told.set_image("app:slow")
        await told.until_phase("Progressing")
        await told.until_phase("Failed")
        assert "latency-p99" in told.message()
        assert "app:2" == told.image()
        assert [] == told.lost()


# --- what may not delay a release -------------------------------------------------------------------------------------


async def time_of_release(told: Story, **hooks: str) -> float:
    await told.enrol(annotations=plan(**hooks))
    told.set_image("app:2")
    return await told.until_phase("Succeeded")


async def test_X16_an_event_receiver_that_hangs_delays_nothing():
    async with story() as told:
        undisturbed = await time_of_release(told)
    async with story() as told:
        told.hooks.hanging.add("events")
        hook = {"hook.events": "event svc://receiver/", "hook.events.timeout": "1m"}
        disturbed = await time_of_release(told, **hook)

        assert told.hooks.called("events") >= 5
        assert {event for event, _ in told.memory.defects} <= {"hook failed"}
        told.memory.defects.clear()

    assert disturbed == pytest.approx(undisturbed, abs=0.1)


@scenario
async def test_X23_a_load_test_ends_with_the_run_that_is_rolled_back(told: Story):
    test = {"load-test.smoke": "GET / rate=20 for=60s"}
    await told.enrol(annotations=plan(interval="2m", failure_threshold="1", **test))
    told.set_image("app:2")
    await told.until(lambda: told.loads.running == {"smoke"}, "the load test")
    told.cluster.break_pods("app")
    await told.until_phase("Failed", seconds=2)
    await asyncio.sleep(0.1)

    assert set() == told.loads.running
    assert 1 == told.loads.cancelled


@scenario
async def test_X23_a_load_test_ends_with_the_daemon(told: Story):
    test = {"load-test.smoke": "GET / rate=20 for=60s"}
    await told.enrol(annotations=plan(interval="2m", **test))
    told.set_image("app:2")
    await told.until(lambda: told.loads.running == {"smoke"}, "the load test")
    await told.kill()

    assert set() == told.loads.running


@scenario
async def test_a_load_test_is_a_check_and_goes_to_the_canary_service_alone(told: Story):
    test = {"load-test.smoke": "GET / rate=20 for=5s"}
    await told.enrol(annotations=plan(**test))
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    address = told.stored(SERVICE, "app-canary")["spec"]["clusterIP"]
    assert {f"http://{address}:80"} == told.loads.aimed_at
    assert 2 == told.loads.started

    told.loads.failing.add("smoke")
    told.set_image("app:3")
    await told.until_phase("Failed")
    assert "load-test.smoke failed: 100 sent, 50 failed (50%, more than 1%)" in told.message()


# --- traffic that does not move ---


@scenario
async def test_a_data_plane_that_does_not_read_our_routes_promotes_nothing(told: Story):
    """F.3 case 25: good load tests at the canary say nothing of users who never got there."""
    await told.enrol(annotations=plan(**{"load-test.smoke": "GET / rate=10 for=5s"}))
    told.source.unrouted = True
    told.set_image("app:2")
    await told.until(lambda: "TrafficNotShifted" in told.condition("Stalled"), "it is said")
    assert "did not shift" in told.message()
    await asyncio.sleep(120)
    assert 20 == told.weight()

    told.source.unrouted = False
    await told.until_phase("Succeeded")
    assert ("", "") == told.condition("Stalled")


@scenario
async def test_an_outage_that_hits_the_primary_too_holds_and_rolls_nothing_back(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.source.bad_images.add("app:2")
    told.source.bad_for_primary.add("app:1")
    await told.until(lambda: "the primary breaks the limit too" in told.message(), "it is said")
    await asyncio.sleep(120)
    assert ("Progressing", 20) == (told.phase(), told.weight())

    told.source.bad_images.clear()
    told.source.bad_for_primary.clear()
    await told.until_phase("Succeeded")
