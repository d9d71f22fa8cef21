"""Which revision is analysed, which is promoted, and what becomes of the others: cases X1 to X4, X15 and X25.

Only one thing is ever promoted: what was analysed. Whatever arrives meanwhile waits, restarts the analysis or ends it.
"""

import asyncio

import pytest

from canaryd.core.kinds import CONTROLLER_REVISION, DEPLOYMENT
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario

pytestmark = pytest.mark.looptime


def images_of(told: Story, name: str) -> list[str]:
    """Every image that a Deployment is to run from now on, in order, each once."""
    seen: list[str] = [told.image(name)]

    def note(change) -> None:
        if change.kind == DEPLOYMENT and change.key == (NAMESPACE, name):
            image = change.new["spec"]["template"]["spec"]["containers"][0]["image"]
            if image != seen[-1]:
                seen.append(image)

    told.server.store.subscribe(note)
    return seen


async def fail_release(told: Story, image: str) -> None:
    told.source.bad_images.add(image)
    told.set_image(image)
    await told.until_phase("Failed")


@scenario
async def test_X1_a_revision_that_arrives_while_the_primary_scales_after_a_failure_is_not_lost(
    told: Story,
):
    await told.enrol()
    await fail_release(told, "app:bad")
    told.cluster.fate = lambda pod: 20.0 if pod.deployment == "app-primary" else 1.0

    told.server.patch(DEPLOYMENT, NAMESPACE, "app-primary", {"spec": {"replicas": 4}})
    told.set_image("app:3")
    await told.until_phase("Progressing", seconds=2)
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 2, "the canary is ready")
    await asyncio.sleep(2)

    assert 2 == told.cluster.ready(NAMESPACE, "app-primary")
    assert 0 == told.weight()
    await told.until_weight(20)
    assert 4 == told.cluster.ready(NAMESPACE, "app-primary")
    told.cluster.fate = lambda _: 1.0
    await told.until_phase("Succeeded")
    assert "app:3" == told.image()


@scenario
async def test_X1_the_size_somebody_gave_the_primary_in_mid_run_survives_the_promotion(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.server.patch(DEPLOYMENT, NAMESPACE, "app-primary", {"spec": {"replicas": 5}})
    await told.until_phase("Succeeded")

    assert 5 == told.replicas("app-primary")
    told.set_image("app:3")
    await told.until_weight(20)
    assert 5 == told.replicas("app")


@scenario
async def test_X2_a_primary_that_does_not_come_up_gets_its_good_template_back_and_a_fix_is_analysed(
    told: Story,
):
    await told.enrol()
    told.users()
    told.cluster.fate = lambda pod: (
        None if (pod.deployment, pod.image) == ("app-primary", "app:2") else 1.0
    )
    told.set_image("app:2")
    await told.until_phase("Promoting")
    await asyncio.sleep(30)

    assert 50 == told.weight()
    assert 2 == told.cluster.ready(NAMESPACE, "app-primary")
    await told.until_phase("Failed")
    assert "app:1" == told.image()
    assert "PromotionFailed" in told.memory.reasons()
    assert ("True", "PromotionFailed") == told.condition("Stalled")
    await told.until_weight(0)
    await told.until_idle()

    told.set_image("app:3")
    await told.until_weight(20)
    await told.until_weight(50)
    await told.until_phase("Succeeded")
    assert "app:3" == told.image()
    assert [] == told.lost()


@scenario
async def test_X3_a_revert_at_half_the_traffic_ends_the_run_within_seconds_and_starts_no_other(
    told: Story,
):
    await told.enrol()
    told.users()
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    primary = images_of(told, "app-primary")
    told.set_image("app:3")
    await told.until_weight(50)

    told.set_image("app:2")
    took = await told.until_weight(0)
    await told.until_phase("Succeeded", seconds=5)

    assert took < 1
    await told.until_idle()
    await asyncio.sleep(60)
    assert ["Succeeded", "Cancelled"] == told.results()
    assert "Succeeded" == told.phase()
    assert ["app:2"] == primary
    assert ("True", "Promoted") == told.condition("Ready")
    assert [] == told.lost()


@scenario
async def test_X3_the_canarys_pods_stay_until_nobody_is_sent_to_them_any_more(told: Story):
    await told.enrol(annotations=plan(scale_down_delay="20s"))
    told.set_image("app:2")
    await told.until_weight(50)
    told.set_image("app:1")
    await told.until_weight(0)
    await asyncio.sleep(15)

    assert 2 == told.replicas()
    await told.until_idle(seconds=10)


@scenario
async def test_X4_a_revision_that_arrives_during_the_last_check_is_analysed_before_any_promotion(
    told: Story,
):
    await told.enrol()
    primary = images_of(told, "app-primary")
    told.set_image("app:2")
    await told.until_weight(50)

    asked, told.source.delay_s = told.source.asked, 2.0
    await told.until(lambda: told.source.asked > asked, "the last check")
    told.set_image("app:3")
    await told.until_weight(0, seconds=1)
    await told.until_weight(20)
    assert ["app:1"] == primary
    await told.until_weight(50)
    await told.until_phase("Succeeded")

    assert ["app:1", "app:3"] == primary
    assert ["Superseded", "Succeeded"] == told.results()


@scenario
async def test_X4_a_revision_that_arrives_while_the_primary_rolls_is_never_promoted_unanalysed(
    told: Story,
):
    await told.enrol()
    told.users()
    primary = images_of(told, "app-primary")
    told.set_image("app:2")
    await told.until_phase("Promoting")
    told.set_image("app:3")
    await told.until_weight(0, seconds=1)
    await told.until(lambda: told.results() == ["Succeeded"], "the promotion of app:2")

    await told.until_weight(20)
    await told.until_weight(50)
    await told.until(lambda: told.results() == ["Succeeded", "Succeeded"], "that of app:3")
    assert ["app:1", "app:2", "app:3"] == primary
    assert [] == told.lost()


@scenario
async def test_X4_what_is_recorded_of_a_revision_is_that_revision_however_late_the_watch_is(
    told: Story,
):
    recorded: dict[str, set[str]] = {}

    def note(change) -> None:
        if change.kind == CONTROLLER_REVISION and change.type == "ADDED":
            [container] = change.new["data"]["template"]["spec"]["containers"]
            recorded.setdefault(change.new["metadata"]["name"], set()).add(container["image"])

    told.server.store.subscribe(note)
    await told.enrol()
    told.server.delay_watch(DEPLOYMENT, 1.0)
    told.set_image("app:2")
    await asyncio.sleep(0.9)
    told.set_image("app:3")
    await told.until_phase("Succeeded")
    told.server.delay_watch(DEPLOYMENT, 0.0)
    assert "app:3" == told.image()

    told.set_image("app:2")
    await told.until_phase("Progressing")
    await told.until_phase("Succeeded")
    assert "app:2" == told.image()
    assert [{"app:1"}, {"app:2"}, {"app:3"}] == sorted(recorded.values(), key=sorted)


@scenario
async def test_X15_a_plan_edited_in_mid_run_is_used_by_the_next_run(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.annotate(interval="20m", weights="1,2")
    await told.until_weight(50, seconds=15)
    await told.until_phase("Succeeded", seconds=30)

    told.annotate(interval="10s")
    told.set_image("app:3")
    await told.until_weight(1)
    await told.until_weight(2)
    await told.until_phase("Succeeded")


@scenario
async def test_X25_weights_that_do_not_rise_are_refused_in_mid_run_and_the_old_plan_stays(
    told: Story,
):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.annotate(weights="50,20")
    await told.until_event("ConfigInvalid")

    assert "False" == told.condition("ConfigValid")[0]
    assert 20 == told.weight()
    assert 1 == told.memory.reasons().count("ConfigInvalid")
    assert "canaryd.io/weights" in told.memory.notes("ConfigInvalid")[0]
    await told.until_weight(50)
    await told.until_phase("Succeeded")
    told.set_image("app:3")
    await told.until_weight(20)
    await told.until_weight(50)
    await told.until_phase("Succeeded")
    assert "False" == told.condition("ConfigValid")[0]
    told.annotate(weights="20,50")
    await told.until(lambda: told.condition("ConfigValid")[0] == "True", "the plan is valid again")


@scenario
async def test_a_new_revision_in_mid_run_takes_users_off_the_old_canary_and_starts_over(
    told: Story,
):
    await told.enrol()
    told.users()
    told.set_image("app:2")
    await told.until_weight(50)
    told.set_image("app:3")
    took = await told.until_weight(0)
    restarted = asyncio.get_running_loop().time()
    await told.until_weight(20)
    await told.until_phase("Succeeded")

    assert took < 1
    assert ["Superseded", "Succeeded"] == told.results()
    assert "app:3" == told.image()
    assert "app:2" not in told.plane.by_version(since=restarted + told.plane.throttle_s)
    assert [] == told.lost()


@scenario
async def test_ten_edits_in_a_minute_end_in_one_analysis_of_the_last(told: Story):
    await told.enrol()
    told.users()
    primary = images_of(told, "app-primary")
    for number in range(2, 12):
        told.set_image(f"app:{number}")
        await asyncio.sleep(6)
    await told.until_phase("Succeeded")
    await asyncio.sleep(30)

    assert ["app:1", "app:11"] == primary
    assert ["Superseded"] * 9 + ["Succeeded"] == told.results()
    assert [] == told.lost()


@scenario
async def test_a_failed_revision_is_not_tried_again_until_a_retry_is_asked_for(told: Story):
    await told.enrol()
    await fail_release(told, "app:2")
    await asyncio.sleep(120)
    assert ["Failed"] == told.results()
    told.source.bad_images.clear()

    told.annotate(retry="1")
    await told.until_phase("Succeeded")
    assert ["Failed", "Succeeded"] == told.results()
    assert "app:2" == told.image()


@scenario
async def test_a_failed_revision_that_is_reverted_leaves_nothing_to_complain_about(told: Story):
    await told.enrol()
    await fail_release(told, "app:2")
    told.set_image("app:1")
    await told.until_phase("Succeeded")

    assert ("True", "Promoted") == told.condition("Ready")
    assert ("", "") == told.condition("Stalled")
    await told.until_idle()
    assert ["Failed"] == told.results()


@scenario
async def test_skip_analysis_promotes_a_ready_canary_without_asking_anybody(told: Story):
    await told.enrol(annotations=plan(skip_analysis="true"))
    told.users()
    told.set_image("app:2")
    await told.until_phase("Succeeded", seconds=60)

    assert "app:2" == told.image()
    assert 0 == told.source.asked
    assert [] == told.lost()


@scenario
async def test_skip_analysis_does_not_promote_a_canary_that_never_gets_ready(told: Story):
    await told.enrol(annotations=plan(skip_analysis="true"))
    told.set_image("app:crash")
    await told.until_phase("Failed")

    assert "app:1" == told.image()


@scenario
async def test_suspend_starts_nothing_and_holds_what_runs_at_its_weight(told: Story):
    await told.enrol(annotations=plan(suspend="true"))
    told.set_image("app:2")
    await told.until(lambda: "suspend" in told.message(), "the reason")
    await asyncio.sleep(60)
    assert "Initialized" == told.phase()

    told.annotate(suspend=None)
    await told.until_weight(20)
    told.annotate(suspend="true")
    await asyncio.sleep(60)
    assert 20 == told.weight()
    assert "Suspended" in told.memory.reasons()
    told.annotate(suspend=None)
    await told.until_phase("Succeeded")


@scenario
async def test_suspend_does_not_leave_users_on_a_canary_that_dies(told: Story):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.annotate(suspend="true")
    await asyncio.sleep(5)
    told.cluster.break_pods("app")

    assert await told.until_weight(0) < 1


@scenario
async def test_pods_that_are_not_ready_by_the_progress_deadline_end_the_run(told: Story):
    await told.enrol(annotations=plan(progress_deadline="30s"))
    told.users()
    told.set_image("app:crash")
    took = await told.until_phase("Failed")

    assert 29 < took < 35
    assert "0/2 canary pods ready" in told.message()
    assert [] == told.lost()
    await told.until_idle()


@scenario
async def test_a_run_that_takes_longer_than_max_duration_ends(told: Story):
    await told.enrol(annotations=plan(max_duration="70s", weights="10,20,30,40,50,60,70"))
    told.set_image("app:2")
    took = await told.until_phase("Failed")

    assert 70 < took < 85
    assert "max-duration" in told.message()
    await told.until_weight(0, seconds=1)


@scenario
async def test_a_run_that_only_waits_ends_at_max_duration_too(told: Story):
    hook = {"hook.gate": "confirm-rollout svc://gate/ok"}
    told.hooks.refusing.add("gate")
    await told.enrol(annotations=plan(max_duration="1m", **hook))
    told.set_image("app:2")
    took = await told.until_phase("Failed")

    assert 60 < took < 75
    assert 0 == told.replicas()


@scenario
async def test_the_pods_of_a_failed_revision_stay_as_long_as_they_are_to_be_looked_into(
    told: Story,
):
    await told.enrol(annotations=plan(keep_failed="5m"))
    await fail_release(told, "app:2")
    await asyncio.sleep(280)
    assert 2 == told.cluster.ready(NAMESPACE, "app")
    assert 0 == told.weight()

    await told.until_idle(seconds=30)


@scenario
async def test_the_first_verdict_waits_for_the_warmup(told: Story):
    await told.enrol(annotations=plan(warmup="1m"))
    told.set_image("app:2")
    await told.until_weight(20)
    assert 70 <= await told.until_weight(50) < 75
    assert 10 <= await told.until_phase("Promoting") < 12
