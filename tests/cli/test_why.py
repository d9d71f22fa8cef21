"""``canaryd why`` and ``canaryd history``: what was decided, by whom, and for which reason."""

import json

import pytest
import yaml

from canaryd.cli.exits import Exit
from canaryd.cli.objects import state_of
from canaryd.cli.render import PLAIN, Look, paint
from canaryd.cli.render_why import EventView, events_of, render_history, render_why
from canaryd.cli.report import report
from canaryd.core.kinds import EVENT
from tests.cli import apps
from tests.cli.golden import is_golden
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.apiserver import FORBIDDEN

pytestmark = pytest.mark.looptime
NOW = 1_767_614_400.0


def written(lines, look=PLAIN):
    return "".join(f"{paint(spans, look)}\n" for spans in lines)


def event(reason, note, *, at="2026-01-05T11:50:00.000000Z", kind="Deployment", **more):
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": NAMESPACE, "name": f"{kind.lower()}.{reason.lower()}"},
        "eventTime": at,
        "regarding": {"kind": kind, "namespace": NAMESPACE, "name": "podinfo"},
        "reason": reason,
        "action": "Reconcile",
        "note": f"podinfo.shop: {note}",
        "type": "Normal",
        "reportingController": "canaryd.io/controller",
        "reportingInstance": "canaryd-0",
    } | more


# --- events ---


def test_what_is_told_of_both_objects_stands_once():
    told = [event("Promoted", "x"), event("Promoted", "x", kind="Canary")]
    [found] = events_of(told)
    assert ("Promoted", "podinfo.shop: x", 1) == (found.reason, found.note, found.count)


def test_a_series_stands_at_its_last_time_with_its_count():
    series = {"count": 7, "lastObservedTime": "2026-01-05T11:59:00.000000Z"}
    [found] = events_of([event("MetricFailed", "x", series=series)])
    assert (7, NOW - 60.0) == (found.count, found.at)


def test_an_event_of_an_older_api_has_its_time():
    old = event("Promoted", "x", eventTime=None) | {
        "deprecatedLastTimestamp": "2026-01-05T11:59:00Z",
        "deprecatedCount": 3,
    }
    [found] = events_of([old])
    assert (3, NOW - 60.0) == (found.count, found.at)


def test_events_come_in_the_order_they_happened():
    told = [
        event("Second", "x", at="2026-01-05T11:59:00Z"),
        event("First", "x", at="2026-01-05T11:58:00Z"),
    ]
    assert ["First", "Second"] == [found.reason for found in events_of(told)]


# --- why ---

EVENTS = (
    EventView(NOW - 275.0, "Normal", "NewRevisionDetected", "podinfo.shop: new revision", 1),
    EventView(NOW - 20.0, "Warning", "MetricFailed", "podinfo.shop: latency-p99 612ms > 500ms", 2),
)


def why(look=PLAIN, *, state=None, notes=()):
    canary = apps.canary(state or apps.running(NOW), NOW)
    told = report(canary, state_of(canary), None, NOW, notes=notes)
    return written(render_why(told, canary["status"]["commands"], EVENTS, look), look)


@pytest.mark.parametrize(
    ("name", "look"), [("why.txt", PLAIN), ("why.colored", Look(100, is_colored=True))]
)
def test_why_is_told_as_agreed(name, look):
    assert is_golden(name, why(look))


def test_where_nothing_failed_and_nothing_was_refused_nothing_is_said_of_it():
    text = why(state=apps.idle(NOW, commands=()))
    assert "CHECKS THAT DID NOT PASS" not in text
    assert "REFUSED" not in text


@in_a_world
async def test_why_reads_the_events_of_the_app_and_of_nobody_else(world):
    world.tell(apps.running(world.now()))
    world.server.put(event("MetricFailed", "latency-p99 612ms > 500ms"))
    other = event("Promoted", "x")
    other["metadata"]["name"], other["regarding"]["name"] = "other.1", "other"
    world.server.put(other)
    foreign = event("ScalingReplicaSet", "x", reportingController="deployment-controller")
    world.server.put(foreign)
    outcome = await world("why", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    events = outcome.out[outcome.out.index("EVENT ") :].splitlines()
    assert 2 == len(events)
    assert ["MetricFailed", "10m", "1"] == events[1].split()[:3]
    assert events[1].endswith("   latency-p99 612ms > 500ms")


@in_a_world
async def test_events_that_may_not_be_read_are_a_note(world):
    world.tell(apps.running(world.now()))
    world.server.faults.on(FORBIDDEN, kind=EVENT)
    outcome = await world("why", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert "Events are not shown: may not list events.events.k8s.io" in outcome.out


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@in_a_world
async def test_programs_get_reasons_actions_and_events(world, output, read):
    world.tell(apps.running(world.now()))
    world.server.put(event("MetricFailed", "x"))
    found = read((await world("why", "podinfo", "-o", output)).out)
    assert ("Progressing", "MetricFailed") == (found["phase"], found["reason"])
    assert ["MetricFailed"] == [told["reason"] for told in found["events"]]
    assert ["promote", "approve"] == [action["verb"] for action in found["actions"]]
    assert {"Ready", "ConfigValid"} <= {condition["type"] for condition in found["conditions"]}


@in_a_world
async def test_why_of_an_app_nobody_knows_is_told(world):
    outcome = await world("why", "podinfo")
    assert (Exit.FAILED, "") == (outcome.code, outcome.out)
    assert outcome.err.startswith("canaryd: there is no Canary shop/podinfo")


# --- history ---


@pytest.mark.parametrize(
    ("name", "look"),
    [("history.txt", PLAIN), ("history.colored", Look(100, is_colored=True))],
)
def test_the_history_is_told_as_agreed(name, look):
    status = apps.canary(apps.idle(NOW), NOW)["status"]
    lines = render_history(status["history"], status["commands"], NOW, look)
    assert is_golden(name, written(lines, look))


def test_a_history_without_runs_says_so():
    assert "no run has ended yet\n" == written(render_history([], [], NOW, PLAIN))


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@in_a_world
async def test_programs_get_runs_and_actions(world, output, read):
    world.tell(apps.idle(world.now()))
    found = read((await world("history", "podinfo", "-o", output)).out)
    assert ["Failed", "Succeeded"] == [run["result"] for run in found["runs"]]
    assert ["oncall", "author"] == [action["by"] for action in found["actions"]]


@in_a_world
async def test_the_history_of_an_app_is_read(world):
    world.tell(apps.idle(world.now()))
    outcome = await world("history", "cnry/podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert ["REVISION", "RESULT", "REASON", "ENDED", "TOOK", "RUN"] == outcome.out.split()[:6]
