"""Hooks of all eight types: when each is called, what a refusal does, and that none is asked more than it should be."""

import asyncio

import pytest

from tests.scenarios.harness import NAMESPACE, Story, plan, scenario

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

TYPES = (
    "confirm-rollout",
    "pre-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "post-rollout",
    "rollback",
    "event",
)
NEVER = "rollback"
"""The one hook whose consent ends a run: in these stories it refuses unless said otherwise."""


def hooks(*types: str) -> dict[str, str]:
    return {f"hook.{kind}": f"{kind} svc://gate/{kind}" for kind in types}


def in_order(told: Story) -> list[str]:
    """Hooks by the order of their first call."""
    return list(dict.fromkeys(name for name, _ in told.hooks.calls))


@scenario
async def test_every_hook_is_called_in_its_place_in_a_release_that_is_promoted(told: Story):
    told.hooks.refusing.add(NEVER)
    await told.enrol(annotations=plan(**hooks(*TYPES)))
    assert {"event"} == set(in_order(told))
    told.hooks.calls.clear()
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    await told.until(lambda: told.hooks.called("post-rollout") == 1, "post-rollout", 1)

    expected = [
        "event",
        "confirm-rollout",
        "pre-rollout",
        "confirm-traffic-increase",
        "rollback",
        "rollout",
        "confirm-promotion",
        "post-rollout",
    ]
    assert expected == in_order(told)
    called = {kind: told.hooks.called(kind) for kind in TYPES if kind != "event"}
    assert {
        "confirm-rollout": 1,
        "pre-rollout": 1,
        "rollout": 2,
        "confirm-traffic-increase": 3,
        "confirm-promotion": 1,
        "post-rollout": 1,
        "rollback": 2,
    } == called
    types = {name: payload["type"] for name, payload in told.hooks.calls}
    assert {kind: kind for kind in TYPES} == types


@scenario
async def test_a_hook_is_told_the_app_the_run_and_a_key_that_names_the_call(told: Story):
    extra = {"hook.rollout.payload": "suite=smoke"}
    await told.enrol(annotations=plan(**hooks("rollout"), **extra))
    told.set_image("app:2")
    await told.until_phase("Succeeded")

    payloads = [payload for _, payload in told.hooks.calls]
    assert [("app", NAMESPACE, 20), ("app", NAMESPACE, 50)] == [
        (p["name"], p["namespace"], p["weight"]) for p in payloads
    ]
    assert {"suite": "smoke"} == payloads[0]["metadata"]
    assert 1 == len({p["runId"] for p in payloads})
    assert 2 == len({p["idempotencyKey"] for p in payloads})


@scenario
async def test_confirm_rollout_refused_moves_nothing_until_it_passes(told: Story):
    told.hooks.refusing.add("confirm-rollout")
    await told.enrol(annotations=plan(**hooks("confirm-rollout")))
    told.set_image("app:2")
    await told.until_phase("Waiting")
    await asyncio.sleep(45)

    assert 0 == told.replicas()
    assert "hook confirm-rollout: status 403" in told.message()
    assert 5 == told.hooks.called("confirm-rollout")
    told.hooks.refusing.clear()
    await told.until_phase("Succeeded")


@scenario
async def test_a_revision_that_waits_for_confirmation_can_be_taken_back(told: Story):
    told.hooks.refusing.add("confirm-rollout")
    await told.enrol(annotations=plan(**hooks("confirm-rollout")))
    told.set_image("app:2")
    await told.until_phase("Waiting")
    told.set_image("app:1")
    await told.until_phase("Initialized", seconds=1)
    assert 0 == told.replicas()


@scenario
async def test_a_newer_revision_is_confirmed_anew(told: Story):
    await told.enrol(annotations=plan(**hooks("confirm-rollout")))
    told.set_image("app:2")
    await told.until_weight(20)
    told.hooks.refusing.add("confirm-rollout")
    told.set_image("app:3")
    await told.until_phase("Waiting", seconds=1)
    await told.until_weight(0, seconds=1)
    await asyncio.sleep(30)
    assert "Waiting" == told.phase()

    told.hooks.refusing.clear()
    await told.until_phase("Succeeded")
    assert "app:3" == told.image()


@scenario
async def test_pre_rollout_refused_gives_nobody_to_the_canary_and_fails_the_run(told: Story):
    told.hooks.refusing.add("pre-rollout")
    await told.enrol(annotations=plan(**hooks("pre-rollout")))
    told.users()
    told.set_image("app:2")
    await told.until_phase("Failed")

    assert 2 == told.hooks.called("pre-rollout")
    assert {"app:1"} == told.plane.by_version().keys()
    assert "hook pre-rollout: status 403" in told.message()


@scenario
async def test_rollout_refused_counts_as_a_failed_check(told: Story):
    told.hooks.refusing.add("rollout")
    await told.enrol(annotations=plan(**hooks("rollout")))
    told.set_image("app:2")
    await told.until(lambda: told.status().get("failedChecks") == 1, "a failure")
    assert 20 == told.weight()
    told.hooks.refusing.clear()
    await told.until_weight(50)
    told.hooks.refusing.add("rollout")
    await told.until_phase("Failed")

    assert "HookFailed" in told.memory.reasons()


@scenario
async def test_confirm_traffic_increase_refused_holds_the_weight_and_judges_on(told: Story):
    await told.enrol(annotations=plan(**hooks("confirm-traffic-increase")))
    told.set_image("app:2")
    await told.until_weight(20)
    told.hooks.refusing.add("confirm-traffic-increase")
    await asyncio.sleep(60)
    assert 20 == told.weight()
    assert ("True", "WaitingForGate") == told.condition("Reconciling")
    assert 0 == told.status()["failedChecks"]

    told.source.bad_images.add("app:2")
    await told.until_phase("Failed")


@scenario
async def test_confirm_promotion_refused_waits_at_the_last_weight_until_it_passes(told: Story):
    told.hooks.refusing.add("confirm-promotion")
    await told.enrol(annotations=plan(**hooks("confirm-promotion")))
    told.set_image("app:2")
    await told.until_phase("WaitingPromotion")
    await asyncio.sleep(60)

    assert 50 == told.weight()
    assert "app:1" == told.image()
    told.hooks.refusing.clear()
    await told.until_phase("Succeeded")


@scenario
async def test_a_canary_that_dies_while_promotion_waits_loses_its_users_at_once(told: Story):
    told.hooks.refusing.add("confirm-promotion")
    await told.enrol(annotations=plan(**hooks("confirm-promotion")))
    told.set_image("app:2")
    await told.until_phase("WaitingPromotion")
    told.cluster.break_pods("app")

    assert await told.until_weight(0) < 1


@scenario
async def test_a_rollback_hook_that_consents_ends_the_run_at_the_next_check(told: Story):
    told.hooks.refusing.add(NEVER)
    await told.enrol(annotations=plan(**hooks("rollback", "post-rollout")))
    told.set_image("app:2")
    await told.until_weight(20)
    told.hooks.refusing.clear()
    took = await told.until_phase("Failed")

    assert took < 11
    await told.until(lambda: told.hooks.called("post-rollout") == 1, "post-rollout", 1)
    assert ("True", "RollbackRequested") == told.condition("Stalled")


@scenario
async def test_events_are_told_to_event_hooks_also_of_an_app_that_leaves(told: Story):
    await told.enrol(annotations=plan(**hooks("event")))
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    told.annotate(enabled=None)
    await told.until(lambda: not told.status(), "the app has left")
    await asyncio.sleep(1)

    told_of = [payload["metadata"]["eventMessage"] for _, payload in told.hooks.calls]
    assert any("promoted" in text for text in told_of)
    assert "Deployment app is on its own again" in told_of
    assert 1 == told.memory.reasons().count("Unenrolled")


@scenario
async def test_events_are_told_to_event_hooks_also_of_an_app_with_an_obstacle(told: Story):
    told.deploy(annotations=plan(**hooks("event"), service="nowhere"))
    await told.until_event("ServiceNotFound")
    await asyncio.sleep(30)

    assert 1 == told.hooks.called("event")
    assert [] == [d for _, d in told.memory.looks if d.reason == "Conflict"]


@scenario
async def test_a_gate_is_not_asked_again_by_changes_around_it(told: Story):
    told.hooks.refusing.add("confirm-promotion")
    await told.enrol(annotations=plan(**hooks("confirm-promotion")))
    told.set_image("app:2")
    await told.until_phase("WaitingPromotion")
    before = told.hooks.called("confirm-promotion")
    for number in range(8):
        told.annotate(retry=str(number))
        await asyncio.sleep(1)

    assert told.hooks.called("confirm-promotion") <= before + 1
