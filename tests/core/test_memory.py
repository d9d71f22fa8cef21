"""What canaryd remembers of an app, in the status of its Canary: said once, read back, never guessed at."""

import base64
import gzip
import hashlib
import json
from dataclasses import replace

import pytest

from canaryd.core.memory import MAX_PLAN, PLAIN_PLAN, STATE_VERSION, StateError, load
from canaryd.core.phase import Phase
from canaryd.core.state import (
    CommandRecord,
    HistoryEntry,
    HookRecord,
    RolloutState,
    RunState,
    VerdictRecord,
)
from canaryd.core.status import StatusInput, render

NOW = 1764000000.0
STATE = RolloutState(
    phase=Phase.PROGRESSING,
    target_uid="uid",
    promoted="aaaaaaaaaa",
    last_good="9999999999",
    failed="bbbbbbbbbb",
    promotions=("aaaaaaaaaa",),
    runs=3,
    run=RunState(
        id="cccccccccc-3",
        revision="cccccccccc",
        started_at=NOW + 0.25,
        plan={"interval": "10s"},
        step=1,
        weight=20,
        failures=1,
        failures_by_metric={"success-rate": 1},
    ),
    tracked={"configmap/settings": ("12", "f" * 32)},
    verdicts=(
        VerdictRecord(
            name="success-rate",
            verdict="Failed",
            value="97.5",
            unit="%",
            threshold=">= 99",
            samples=400,
            reason="ThresholdBroken",
            message="success-rate 97.5% is below 99%",
            at=NOW + 60,
        ),
    ),
    hooks=(HookRecord(name="smoke", type="pre-rollout", state="Passed", code=200, at=NOW + 10),),
    history=(
        HistoryEntry(
            revision="aaaaaaaaaa",
            result="Succeeded",
            reason="Promoted",
            started_at=NOW - 10000,
            finished_at=NOW - 9700,
            decision_id="aaaaaaaaaa-1",
        ),
        HistoryEntry(
            revision="bbbbbbbbbb",
            result="Failed",
            reason="MetricFailed",
            started_at=NOW - 5000,
            finished_at=NOW - 4700,
            decision_id="bbbbbbbbbb-2",
        ),
    ),
    config_error="interval is not a duration",
    reason="MetricFailed",
    message="success-rate 97.5% is below 99% (failure 1/5)",
)
VERSION_1 = {
    "version": 1,
    "phase": "Progressing",
    "target_uid": "uid",
    "promoted": "aaaaaaaaaa",
    "last_good": "9999999999",
    "failed": "bbbbbbbbbb",
    "runs": 3,
    "run": {
        "id": "cccccccccc-3",
        "revision": "cccccccccc",
        "started_at": NOW + 0.25,
        "plan": {"interval": "10s"},
        "confirmed": False,
        "step": 1,
        "weight": 20,
        "failures": 1,
        "failures_by_metric": {"success-rate": 1},
    },
    "replicas": 1,
    "tracked": {"configmap/settings": ["12", "f" * 32]},
    "verdicts": [
        {
            "name": "success-rate",
            "verdict": "Failed",
            "value": "97.5",
            "unit": "%",
            "threshold": ">= 99",
            "samples": 400,
            "reason": "ThresholdBroken",
            "message": "success-rate 97.5% is below 99%",
            "at": NOW + 60,
        }
    ],
    "hooks": [
        {"name": "smoke", "type": "pre-rollout", "state": "Passed", "code": 200, "at": NOW + 10}
    ],
    "history": [
        {
            "revision": "aaaaaaaaaa",
            "result": "Succeeded",
            "reason": "Promoted",
            "started_at": NOW - 10000,
            "finished_at": NOW - 9700,
            "decision_id": "aaaaaaaaaa-1",
        },
        {
            "revision": "bbbbbbbbbb",
            "result": "Failed",
            "reason": "MetricFailed",
            "started_at": NOW - 5000,
            "finished_at": NOW - 4700,
            "decision_id": "bbbbbbbbbb-2",
        },
    ],
    "config_error": "interval is not a duration",
    "reason": "MetricFailed",
    "message": "success-rate 97.5% is below 99% (failure 1/5)",
}
"""What version 1 wrote of the same state: all of it in ``machine``."""


def written(state, previous=None):
    """The status as the API server keeps it."""
    status = render(StatusInput(state, None, None, 1, "0" * 32), previous or {}, NOW)
    return json.loads(json.dumps(status))


def pinned(plan):
    return replace(STATE, run=replace(STATE.run, plan=plan))


# --- said once ---


def test_a_state_reads_back_from_what_people_read():
    assert STATE == load(written(STATE))


@pytest.mark.parametrize(
    "words",
    [
        "success-rate 97.5% is below 99% (failure 1/5)",  # the beginning is repeated by conditions
        "interval is not a duration",
        "aaaaaaaaaa-1",
        "pre-rollout",
        ">= 99",
        "f" * 32,
        "configmap/settings",
    ],
)
def test_what_people_read_is_not_written_a_second_time_for_the_daemon(words):
    assert words not in json.dumps(written(STATE)["machine"])


def test_a_long_text_stands_at_length_where_it_is_looked_for_and_nowhere_else():
    status = written(replace(STATE, message="m" * 1000, config_error="e" * 1000))
    text = json.dumps(status)
    assert (2, 1) == (text.count("m" * 1000), text.count("e" * 1000))
    ready, valid = status["conditions"][:2]
    assert [status["message"], "m" * 1000, "e" * 1000] == [
        ready["message"],
        ready["message"],
        valid["message"],
    ]


def test_what_people_asked_for_is_read_back_from_where_it_is_shown():
    asked = CommandRecord(
        verb="promote", nonce="4f9c21ab", by="alice", subject="c-3@1", reason="looks good", at=NOW
    )
    status = written(replace(STATE, commands=(asked,)))
    assert "alice" not in json.dumps(status["machine"])
    assert (asked,) == load(status).commands


def test_failures_by_check_are_read_back_from_where_they_are_shown():
    status = written(STATE)
    status["failures"]["byMetric"] = [{"name": "success-rate", "count": 4}]
    assert {"success-rate": 4} == load(status).run.failures_by_metric


def test_times_of_records_have_whole_seconds_and_those_decisions_count_from_are_exact():
    late = replace(STATE.hooks[0], at=NOW + 10.9)
    read = load(written(replace(STATE, hooks=(late,))))
    assert (NOW + 10, NOW + 0.25) == (read.hooks[0].at, read.run.started_at)


# --- upgrades ---


def test_a_record_of_version_1_is_read_whole():
    assert STATE == load({"machine": VERSION_1})


def test_a_record_of_version_1_goes_by_what_machine_says_and_not_by_what_was_shown_of_it():
    shown = {"history": [], "message": "cut", "trackedConfigs": {"configmap/settings": "f" * 16}}
    assert STATE == load({"machine": VERSION_1, **shown})


def test_an_upgrade_forgets_nothing_when_it_writes_the_record_anew():
    old = {"machine": VERSION_1}
    status = written(load(old), old)
    assert (STATE_VERSION, STATE) == (status["machine"]["version"], load(status))


def test_a_record_of_a_newer_version_is_never_guessed():
    status = written(STATE)
    status["machine"]["version"] = STATE_VERSION + 1
    with pytest.raises(
        StateError, match=r"status\.machine has version 3; .*reads versions 1 and 2"
    ):
        load(status)


def test_no_record_is_no_state():
    assert load({}) is load({"machine": {}}) is load({"machine": None, "history": []}) is None


# --- damage ---


@pytest.mark.parametrize(
    "damage",
    [
        {"history": 7},
        {"history": ["run"]},
        {"history": [{"revision": "a"}]},
        {"metrics": [{"name": "success-rate"}]},
        {"metrics": [{"name": "success-rate", "verdict": 1}]},
        {"metrics": [{"name": "success-rate", "verdict": "Passed", "samples": "many"}]},
        {"metrics": [{"name": "success-rate", "verdict": "Passed", "at": "yesterday"}]},
        {"metrics": [{"name": "success-rate", "verdict": "Passed", "at": "2026-01-05T12:00:00"}]},
        {"metrics": [{"name": "success-rate", "verdict": "Passed", "at": 5}]},
        {"hooks": {"smoke": "Passed"}},
        {"trackedConfigs": {"configmap/settings": "f" * 16}},
        {"trackedConfigs": {"configmap/settings": ["12", "f" * 32]}},
        {"failures": {"byMetric": [{"name": "success-rate"}]}},
        {"failures": [1]},
        {"message": 3},
        {"conditions": ["ConfigValid"]},
        {"machine": "words"},
        {"machine": []},
    ],
    ids=json.dumps,
)
def test_a_damaged_entry_stops_the_app_with_words_instead_of_a_default(damage):
    with pytest.raises(StateError, match="damaged"):
        load({**written(STATE), **damage})


# --- the pinned plan ---


def repetitive_plan():
    query = (
        'sum(rate(errors_total{job="app-%d"}[5m])) / sum(rate(requests_total{job="app-%d"}[5m]))'
    )
    return {f"metric.check-{n}.query": query % (n, n) for n in range(30)}


def test_a_short_plan_stands_in_words():
    assert {"interval": "10s"} == written(STATE)["machine"]["run"]["plan"]


def test_a_long_plan_is_packed_reads_back_whole_and_can_be_read_by_people():
    plan = repetitive_plan()
    status = written(pinned(plan))
    packed = status["machine"]["run"]["plan"]

    assert len(packed) < PLAIN_PLAN < len(json.dumps(plan))
    assert plan == load(status).run.plan
    assert plan == json.loads(gzip.decompress(base64.b64decode(packed)))


def test_a_plan_that_packing_would_not_shorten_stands_as_it_is():
    noise = base64.b85encode(hashlib.shake_256(b"noise").digest(3000)).decode()
    plan = {"load-test.upload.body": noise}
    assert plan == written(pinned(plan))["machine"]["run"]["plan"]


@pytest.mark.parametrize(
    "packed",
    [
        "words",
        "%%%%",
        base64.b64encode(b"not packed").decode(),
        base64.b64encode(gzip.compress(b'{"interval": "10s"}')[:-9]).decode(),
        base64.b64encode(gzip.compress(b'["interval"]')).decode(),
        base64.b64encode(gzip.compress(b"[" * 100_000)).decode(),
        base64.b64encode(gzip.compress(b" " * (MAX_PLAN + 1))).decode(),
    ],
    ids=["words", "alphabet", "form", "cut-off", "list", "nested", "bomb"],
)
def test_a_packed_plan_that_is_damaged_stops_the_app_with_words(packed):
    status = written(STATE)
    status["machine"]["run"]["plan"] = packed
    with pytest.raises(StateError, match="damaged"):
        load(status)
