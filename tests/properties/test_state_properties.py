"""The record of an app: it reads back as it was, whatever happened, and stays small; weights rise and end."""

import json
from contextlib import suppress
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core import units
from canaryd.core.annotations import resolve
from canaryd.core.model import CanarySpec
from canaryd.core.phase import IDLE_PHASES, TRANSITIONS, Phase, check_transition
from canaryd.core.problems import DEPLOYMENT
from canaryd.core.state import (
    HISTORY_CAP,
    MESSAGE_CAP,
    STATE_VERSION,
    HistoryEntry,
    HookRecord,
    RolloutState,
    RunState,
    StateError,
    VerdictRecord,
    brief,
    dump,
    load,
)
from canaryd.core.status import StatusInput, render
from tests.properties.strategies import json_values

times = st.floats(0, 4e9, allow_nan=False, width=32)
texts = st.text(max_size=6)
counts = st.integers(0, 9)
rubbish = json_values | st.dictionaries(texts, json_values, min_size=1, max_size=2)
pairs = st.dictionaries(texts, texts, max_size=2)

runs = st.builds(
    RunState,
    id=texts,
    revision=texts,
    started_at=times,
    plan=pairs,
    confirmed=st.booleans(),
    rehearsed=st.booleans(),
    restart=counts,
    pods_wanted_at=times,
    step=st.integers(-1, 5),
    weight=st.integers(0, 100),
    step_started_at=times,
    evaluation=counts,
    evaluated_at=times,
    failures=counts,
    failures_by_metric=st.dictionaries(texts, counts, max_size=2),
    inconclusive_since=st.none() | times,
    promotion_started_at=st.none() | times,
    primary_failed=texts,
    drained_from=st.none() | times,
)
verdicts = st.builds(
    VerdictRecord, name=texts, verdict=texts, value=texts, samples=st.none() | counts, at=times
)
hooks = st.builds(HookRecord, name=texts, type=texts, state=texts, code=counts, at=times)
entries = st.builds(
    HistoryEntry,
    revision=texts,
    result=texts,
    reason=texts,
    started_at=times,
    finished_at=times,
    decision_id=texts,
)
states = st.builds(
    RolloutState,
    phase=st.sampled_from(Phase),
    target_uid=texts,
    promoted=texts,
    last_good=texts,
    primary_fingerprint=texts,
    failed=texts,
    retry=texts,
    runs=counts,
    run=st.none() | runs,
    replicas=counts,
    settled_at=times,
    route_written_at=times,
    drift_count=counts,
    drift_at=times,
    tracked=st.dictionaries(texts, st.tuples(texts, texts), max_size=2),
    verdicts=st.lists(verdicts, max_size=2).map(tuple),
    hooks=st.lists(hooks, max_size=2).map(tuple),
    history=st.lists(entries, max_size=2).map(tuple),
    config_error=texts,
    reason=texts,
    message=texts,
)


@given(states)
def test_a_state_reads_back_as_it_was_through_json(state):
    assert state == load(json.loads(json.dumps(dump(state))))


@given(states, texts, texts)
def test_fields_of_a_later_minor_version_are_passed_over(state, name, value):
    written = dump(state)
    written[f"later{name}"] = value
    if state.run is not None:
        written["run"][f"later{name}"] = value

    assert state == load(written)


nested = st.sampled_from(["tracked", "run", "verdicts", "hooks", "history", "phase"])


@given(states, nested | st.sampled_from([f.name for f in fields(RolloutState)]), rubbish)
def test_a_damaged_state_is_refused_with_a_reason_or_read(state, name, damage):
    written = dump(state) | {name: damage}
    read = None
    with suppress(StateError):  # and with nothing else
        read = load(written)
    if read is not None:
        assert read == load(dump(read))
        assert isinstance(read.replicas, int)
        assert isinstance(read.message, str)
        assert read.run is None or isinstance(read.run.plan, dict)


@given(states, st.integers(2, 9) | texts)
def test_a_state_of_another_version_is_never_guessed(state, version):
    written = dump(state) | {"version": version}

    if version != STATE_VERSION:
        with pytest.raises(StateError, match=r"status\.machine has version"):
            load(written)


# --- size ---


def a_crowded_state(metrics, hooks, entries, message):
    """Every check and hook of a plan failing, the annotations invalid, a full history."""
    at, revision, name = 1764000000.123, "f" * 10, "x" * 25
    return RolloutState(
        phase=Phase.PROGRESSING,
        target_uid="8" * 36,
        promoted=revision,
        last_good=revision,
        failed=revision,
        primary_fingerprint="f" * 32,
        run=RunState(id=f"{revision}-100", revision=revision, started_at=at),
        tracked={f"configmap/settings-{n}": ("1234567", "f" * 32) for n in range(6)},
        verdicts=tuple(
            VerdictRecord(
                name=f"{name}{n}", verdict="Failed", reason="NoSeries", message="m" * 300, at=at
            )
            for n in range(metrics)
        ),
        hooks=tuple(
            HookRecord(name=f"{name}{n}", type="confirm-rollout", state="Failed", code=500, at=at)
            for n in range(hooks)
        ),
        history=tuple(
            HistoryEntry(
                revision=revision,
                result="Superseded",
                reason="ProgressDeadlineExceeded",
                started_at=at,
                finished_at=at,
                decision_id=f"{revision}-{n}",
            )
            for n in range(entries)
        ),
        config_error="e" * MESSAGE_CAP,
        reason="ConfigInvalid",
        message="e" * message,
    )


@pytest.mark.parametrize(
    ("metrics", "hooks", "entries", "message", "limit"),
    [
        pytest.param(6, 6, 10, 300, 16 * 1024, id="a-full-plan-on-its-worst-day"),
        pytest.param(12, 30, HISTORY_CAP, MESSAGE_CAP, 48 * 1024, id="every-cap-at-once"),
    ],
)
def test_the_status_stays_small_on_the_worst_day(metrics, hooks, entries, message, limit):
    spec = resolve([(DEPLOYMENT, {"enabled": "true", "history-limit": str(entries)})]).spec
    state = a_crowded_state(metrics, hooks, entries, message)

    status = render(StatusInput(state, spec, None, 1, "f" * 32), {}, 1764000000.0)

    assert len(json.dumps(status, separators=(",", ":"))) <= limit


def test_a_long_message_is_recorded_by_its_beginning_once():
    text = "because " * 1000

    assert MESSAGE_CAP == len(brief(text))
    assert brief(text) == brief(brief(text))
    assert "short" == brief("short")


# --- the schedule, and the table of phases ---

plans_of_weights = st.one_of(
    st.sets(st.integers(1, 100), min_size=1, max_size=8).map(
        lambda weights: {"weights": units.format_weights(tuple(sorted(weights)))}
    ),
    st.tuples(st.integers(1, 100), st.integers(1, 100))
    .map(sorted)
    .map(lambda pair: {"step-weight": str(pair[0]), "max-weight": str(pair[1])}),
    st.just({}),
)


@given(plans_of_weights)
def test_weights_rise_strictly_between_one_and_a_hundred(plan):
    spec = resolve([(DEPLOYMENT, {"enabled": "true", **plan})]).spec

    assert spec.weights
    assert sorted(set(spec.weights)) == list(spec.weights)
    assert 1 <= spec.weights[0] <= spec.weights[-1] <= 100
    assert len(spec.weights) <= 100


@given(st.lists(st.integers(-5, 200), min_size=1, max_size=5))
def test_weights_that_do_not_rise_are_refused(weights):
    good = sorted(set(weights)) == weights and weights[0] >= 1 and weights[-1] <= 100
    text = ",".join(map(str, weights))
    spec = resolve([(DEPLOYMENT, {"enabled": "true", "weights": text})]).spec

    assert (spec is not None) == good
    assert spec is None or spec.weights == tuple(weights)
    assert CanarySpec().weights == (10, 20, 30, 40, 50)


@given(st.sampled_from(Phase), st.sampled_from(Phase))
def test_a_run_begins_only_from_rest_and_success_comes_only_after_draining_or_a_revert(old, new):
    reason = TRANSITIONS.get((old, new), "")
    if new in (Phase.WAITING, Phase.PROGRESSING) and reason and old in IDLE_PHASES:
        assert "new revision" in reason
    if new is Phase.SUCCEEDED and reason:
        assert "revert" in reason or old is Phase.FINALISING
    assert bool(check_transition(old, new)) == (
        old == new or bool(reason) or new in (Phase.TERMINATING, Phase.INITIALIZING)
    )
