"""The record of an app: it reads back as it was, whatever happened, and stays small; weights rise and end."""

import base64
import hashlib
import json
from contextlib import suppress
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.core import units
from canaryd.core.annotations import MAX_BYTES, plan_values, resolve
from canaryd.core.fitting import FLOOR, STATUS_LIMIT, size
from canaryd.core.memory import STATE_VERSION, StateError, load
from canaryd.core.model import CanarySpec
from canaryd.core.phase import IDLE_PHASES, TRANSITIONS, Phase, check_transition
from canaryd.core.problems import DEPLOYMENT
from canaryd.core.state import (
    COMMANDS_CAP,
    HISTORY_CAP,
    MESSAGE_CAP,
    CommandRecord,
    HistoryEntry,
    HookRecord,
    RolloutState,
    RunState,
    VerdictRecord,
    brief,
)
from canaryd.core.status import StatusInput, render
from canaryd.core.subset import merge_diff
from tests.properties.strategies import json_values

NOW = 1764000000.0
LISTS = ["metrics", "hooks", "history", "commands"]
times = st.floats(0, 4e9, allow_nan=False, width=32)
seconds = st.integers(0, 4_000_000_000).map(float)
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
    approvals=st.lists(texts, max_size=2).map(tuple),
    inconclusive_since=st.none() | times,
    promotion_started_at=st.none() | times,
    primary_failed=texts,
    drained_from=st.none() | times,
)
verdicts = st.builds(
    VerdictRecord,
    name=texts,
    verdict=texts,
    value=texts,
    samples=st.none() | counts,
    message=texts,
    at=seconds,
)
hooks = st.builds(HookRecord, name=texts, type=texts, state=texts, code=counts, at=seconds)
entries = st.builds(
    HistoryEntry,
    revision=texts,
    result=texts,
    reason=texts,
    started_at=seconds,
    finished_at=seconds,
    decision_id=texts,
)
commands = st.builds(
    CommandRecord,
    verb=texts,
    nonce=texts,
    by=texts,
    subject=texts,
    argument=texts,
    reason=texts,
    outcome=texts,
    refusal=texts,
    at=seconds,
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
    tracked=st.dictionaries(
        texts, st.tuples(texts, st.text("0123456789abcdef", max_size=6)), max_size=2
    ),
    verdicts=st.lists(verdicts, max_size=2).map(tuple),
    hooks=st.lists(hooks, max_size=2).map(tuple),
    history=st.lists(entries, max_size=2).map(tuple),
    promotions=st.lists(texts, max_size=2).map(tuple),
    commands=st.lists(commands, max_size=2).map(tuple),
    config_error=texts,
    reason=texts,
    message=texts,
)


def written(state, spec=None):
    """The status as the API server keeps it."""
    status = render(StatusInput(state, spec, None, 1, "f" * 32), {}, NOW)
    return json.loads(json.dumps(status))


@given(states)
def test_a_state_reads_back_as_it_was_through_json(state):
    assert state == load(written(state))


@given(states)
def test_what_did_not_change_is_not_written_again(state):
    status = written(state)
    again = render(StatusInput(load(status), None, None, 1, "f" * 32), status, NOW)

    assert {} == merge_diff(status, again)


@given(states, texts, texts)
def test_fields_of_a_later_minor_version_are_passed_over(state, name, value):
    status = written(state)
    records = [r for kind in LISTS for r in status[kind]]
    runs = [status["machine"]["run"]] if state.run is not None else []
    for holder in (status, status["machine"], *records, *runs):
        holder[f"later{name}"] = value

    assert state == load(status)


public = st.sampled_from([*LISTS, "message", "trackedConfigs", "failures", "conditions"])


@given(states, public | st.sampled_from([f.name for f in fields(RolloutState)]), rubbish)
def test_a_damaged_state_is_refused_with_a_reason_or_read(state, name, damage):
    status = written(state)
    holder = status if name in status else status["machine"]
    holder[name] = damage
    read = None
    with suppress(StateError):  # and with nothing else
        read = load(status)
    if read is not None:
        assert read == load(written(read))
        assert isinstance(read.replicas, int)
        assert isinstance(read.message, str)
        assert read.run is None or isinstance(read.run.plan, dict)


@given(states, st.sampled_from(LISTS), st.data())
def test_a_damaged_record_is_refused_with_a_reason_or_read(state, kind, data):
    status = written(state)
    if not status[kind]:
        return
    record = data.draw(st.sampled_from(status[kind]))
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(rubbish)
    read = None
    with suppress(StateError):  # and with nothing else
        read = load(status)
    if read is not None:
        assert read == load(written(read))


@given(states, st.integers(3, 9) | texts)
def test_a_state_of_another_version_is_never_guessed(state, version):
    status = written(state)
    status["machine"]["version"] = version

    assert STATE_VERSION < 3
    with pytest.raises(StateError, match=r"status\.machine has version"):
        load(status)


# --- size ---


NAMES = [f"{n:02}{'x' * 22}" for n in range(30)]
METRICS, HOOKS, LOAD_TESTS = NAMES, NAMES, NAMES[:10]
QUERY = (
    'sum(rate(errors_%d_total{namespace="{{ namespace }}"}[{{ interval }}]))'
    ' / sum(rate(requests_%d_total{namespace="{{ namespace }}"}[{{ interval }}]))'
)


def the_largest_plan():
    """As many checks, hooks and load tests as there may be, in as many bytes as they may have."""
    given = {"enabled": "true", "history-limit": "50"}
    for n, name in enumerate(METRICS):
        given |= {f"metric.{name}": "<= 0.05", f"metric.{name}.query": QUERY % (n, n)}
    for n, name in enumerate(HOOKS):
        given[f"hook.{name}"] = f"confirm-promotion svc://qa-runner:8080/checks/{n}?all=yes&n={n}"
    for n, name in enumerate(LOAD_TESTS):
        given[f"load-test.{name}"] = f"POST /api/items/{n} rate=20 for=1m"
    spare = MAX_BYTES - sum(len("canaryd.io/") + len(k) + len(v) for k, v in given.items())
    size_of_key = len("canaryd.io/load-test..body") + len(NAMES[0])
    for name in LOAD_TESTS:
        given[f"load-test.{name}.body"] = ('{"item": 1}' * 500)[: spare // 10 - size_of_key]
    return given


def noise(length):
    """Text in which nothing repeats."""
    return base64.b85encode(hashlib.shake_256(b"noise").digest(length)).decode()[:length]


def a_crowded_state(metrics, hooks, entries, message, *, configs=6, plan=()):
    """Every check and hook of a plan failing, the annotations invalid, a full history."""
    at, revision = NOW, "f" * 10
    return RolloutState(
        phase=Phase.PROGRESSING,
        target_uid="8" * 36,
        promoted=revision,
        last_good=revision,
        failed=revision,
        primary_fingerprint="f" * 32,
        run=RunState(
            id=f"{revision}-100",
            revision=revision,
            started_at=at + 0.123,
            plan=dict(plan),
            failures_by_metric={
                **dict.fromkeys(metrics, 999),
                **{f"hook {name}": 999 for name in hooks},
            },
        ),
        tracked={f"configmap/settings-{n}": ("1234567", "f" * 32) for n in range(configs)},
        verdicts=tuple(
            VerdictRecord(
                name=name,
                verdict="Failed",
                value="612.125",
                unit="ms",
                threshold="<= 500ms",
                samples=123_456_789,
                reason="ThresholdBroken",
                message=f"{name} " + "m" * 275,
                at=at,
            )
            for name in metrics
        ),
        hooks=tuple(
            HookRecord(name=name, type="confirm-promotion", state="Failed", code=500, at=at)
            for name in hooks
        ),
        history=tuple(
            HistoryEntry(
                revision=revision,
                result="Superseded",
                reason="ProgressDeadlineExceeded",
                started_at=at - 60,
                finished_at=at,
                decision_id=f"{revision}-{n}",
            )
            for n in range(entries)
        ),
        promotions=(revision,) * entries,
        config_error="e" * MESSAGE_CAP,
        reason="ConfigInvalid",
        message="e" * message,
    )


def everything(**changes):
    """Every cap at once."""
    checks = [*METRICS, *(f"load-test.{name}" for name in LOAD_TESTS)]
    state = a_crowded_state(checks, HOOKS, HISTORY_CAP, MESSAGE_CAP, **changes)
    asked = CommandRecord(
        verb="approve",
        nonce="0" * 32,
        by="system:serviceaccount:" + "n" * 60,
        subject="ffffffffff-100@12",
        argument="g" * 24,
        reason="r" * 300,
        outcome="CommandRefused",
        refusal="w" * 300,
        at=NOW,
    )
    return replace(state, commands=(asked,) * COMMANDS_CAP)


SPEC = CanarySpec(history_limit=HISTORY_CAP)


def needed(state):
    """Bytes of the status without what is for people alone."""
    return size(written(replace(state, verdicts=(), hooks=(), history=(), commands=()), SPEC))


def test_a_full_plan_on_its_worst_day_is_told_whole():
    state = a_crowded_state(METRICS[:6], HOOKS[:6], 10, 300)

    assert state == load(written(state, SPEC))
    assert size(written(state, SPEC)) <= STATUS_LIMIT


def test_every_cap_at_once_stays_within_the_limit_and_loses_nothing_that_a_run_needs():
    resolution = resolve([(DEPLOYMENT, the_largest_plan())])
    assert ((), 30, 30, 10) == (
        resolution.problems,
        len(resolution.spec.metrics),
        len(resolution.spec.hooks),
        len(resolution.spec.load_tests),
    )
    state = everything(configs=30, plan=plan_values(resolution.values))

    status = render(StatusInput(state, resolution.spec, None, 1, "f" * 32), {}, NOW)

    assert len(json.dumps(status, separators=(",", ":"))) <= size(status) <= STATUS_LIMIT
    read = load(status)
    assert (state.run, state.tracked) == (read.run, read.tracked)
    assert (state.message, state.config_error) == (read.message, read.config_error)
    assert state.promotions == read.promotions
    told = (read.verdicts, read.hooks, read.history, read.commands)
    assert 0 not in map(len, told)


@pytest.mark.parametrize("configs", [10, 200])
@pytest.mark.parametrize("length", [12_000, 32_000])
def test_what_a_run_needs_is_kept_whatever_its_size_and_people_have_3_kib_beside_it(
    configs, length
):
    state = everything(configs=configs, plan={"load-test.x.body": noise(length)})

    status = written(state, SPEC)

    assert size(status) <= max(STATUS_LIMIT, needed(state) + FLOOR)
    read = load(status)
    assert (state.run, state.tracked) == (read.run, read.tracked)
    assert [h.decision_id for h in state.history[-1:]] == [h.decision_id for h in read.history]


crowds = st.builds(
    lambda checks, hooks, runs, configs, length: a_crowded_state(
        METRICS[:checks],
        HOOKS[:hooks],
        runs,
        MESSAGE_CAP,
        configs=configs,
        plan={"load-test.x.body": noise(length)},
    ),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, HISTORY_CAP),
    st.integers(0, 60),
    st.integers(0, 16_000),
)


@given(crowds)
def test_a_status_that_was_shortened_is_written_again_as_it_was_read(state):
    status = written(state, SPEC)

    assert size(status) <= max(STATUS_LIMIT, needed(state) + FLOOR)
    assert status == written(load(status), SPEC)


@given(crowds)
def test_the_history_is_forgotten_from_its_oldest_end(state):
    kept = load(written(state, SPEC)).history

    assert kept
    assert kept == state.history[-len(kept) :]


def test_what_passed_makes_room_for_what_did_not():
    state = everything(plan={"load-test.x.body": noise(9000)})
    passing = tuple(replace(v, verdict="Passed") for v in state.verdicts[:-3])
    state = replace(state, verdicts=(*passing, *state.verdicts[-3:]))

    kept = load(written(state, SPEC)).verdicts

    assert len(kept) < len(state.verdicts)
    assert ["Failed"] * 3 == [v.verdict for v in kept[-3:]]
    assert {""} == {v.message for v in kept[:-3]}


def test_a_status_has_as_many_results_as_are_asked_for():
    state = a_crowded_state([], [], 50, 300)

    assert state.history[-3:] == load(written(state, CanarySpec(history_limit=3))).history


def test_a_history_is_not_forgotten_because_no_plan_can_be_read():
    state = a_crowded_state([], [], 50, 300)

    assert state.history == load(written(state, None)).history


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
