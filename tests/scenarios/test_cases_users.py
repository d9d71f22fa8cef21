"""Users under constant load through everything that may happen to an app: cases X21 and X28.

Nobody is lost while an app is enrolled, released, rolled back and given back, whenever that happens and however late the
data plane is; and giving back never revives what was not promoted.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from canaryd.core.kinds import (
    CANARY,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
)
from canaryd.core.names import MANAGED_BY, MANAGER
from tests.fakes.routes import DataPlaneKind
from tests.fakes.traffic import Outcome
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario, story

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

OWNED = (
    CANARY,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
)


def owned(told: Story) -> list[str]:
    """What is there and ours."""
    return [
        f"{kind.kind} {found['metadata']['name']}"
        for kind in OWNED
        for found in told.server.store.items(kind, NAMESPACE)
        if (found["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
    ]


def marks(told: Story) -> list[str]:
    """Keys of ours on the user's objects, the configuration aside."""
    return [
        key
        for kind in (DEPLOYMENT, SERVICE, INGRESS)
        for part in ("labels", "annotations")
        for key in told.stored(kind)["metadata"].get(part) or {}
        if "canaryd.io/" in key and not key.startswith("canaryd.io/")
    ]


async def until_left(told: Story, seconds: float = 120.0) -> None:
    await told.until(lambda: owned(told) == [], "nothing of ours is left", seconds)
    await asyncio.sleep(10)


@pytest.mark.parametrize("kind", DataPlaneKind)
@pytest.mark.parametrize("always_late", [False, True], ids=["prompt", "late"])
async def test_X28_enrolment_a_release_a_rollback_and_leaving_lose_no_request(kind, always_late):
    async with story(kind=kind, always_late=always_late) as told:
        await told.serve(100.0)
        await told.enrol()
        await told.until_idle()
        assert [] == told.lost()

        told.set_image("app:2")
        await told.until_weight(20)
        await told.until_weight(50)
        half = asyncio.get_running_loop().time() + told.plane.throttle_s
        await told.until_phase("Promoting")
        assert 48 < told.plane.canary_share(since=half) < 52
        await told.until_phase("Succeeded")
        await told.until_idle()
        assert [] == told.lost()

        told.source.bad_images.add("app:3")
        told.set_image("app:3")
        await told.until_weight(20)
        await told.until_phase("Failed")
        await told.until_idle()
        await asyncio.sleep(5)
        assert [] == told.lost()
        assert "app:2" == told.image()

        told.annotate(enabled=None)
        left = asyncio.get_running_loop().time()
        await until_left(told)
        assert [] == told.lost()
        assert {"app:2"} == told.plane.by_version(since=left + told.plane.throttle_s).keys()
        assert {"app": "app"} == told.selector()
        assert "app:2" == told.image("app")
        assert [] == marks(told)
        assert {Outcome.OK} == {sent.outcome for sent in told.plane.sent()}


async def tell_releases(told: Story, **changes: str) -> None:
    """Enrolment, a good release, a bad one, a revert in mid-run, leaving; nobody may be lost on the way."""
    told.source.bad_images.add("app:3")
    await told.serve()
    await told.enrol(annotations=plan(**changes))
    for image, end in (("app:2", "Succeeded"), ("app:3", "Failed"), ("app:4", "Succeeded")):
        told.set_image(image)
        await told.until_phase("Progressing")
        await told.until_phase(end)
        await asyncio.sleep(10)
    told.set_image("app:5")
    await told.until(lambda: bool(told.weight()), "users at app:5")
    told.set_image("app:4")
    await told.until_phase("Succeeded", seconds=5)
    await asyncio.sleep(10)
    told.annotate(enabled=None)
    await until_left(told)

    assert "app:4" == told.image("app")
    assert [] == told.lost()


@pytest.mark.parametrize(
    "changes",
    [
        {"idle": "keep"},
        {"weights": "100"},
        {"weights": "1,100"},
        {"scale_down_delay": "0s"},
        {"keep_failed": "1m"},
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()),
)
@scenario
async def test_X28_other_plans_lose_no_request_either(told: Story, changes):
    await tell_releases(told, **changes)


@pytest.mark.parametrize("replicas", [1, 5])
@scenario
async def test_X28_apps_of_other_sizes_lose_no_request_either(told: Story, replicas):
    await told.serve()
    await told.enrol(replicas=replicas)
    told.set_image("app:2")
    await told.until_weight(20)
    assert replicas == told.replicas()
    await told.until_phase("Succeeded")
    await told.until_idle()
    await asyncio.sleep(5)

    assert replicas == told.cluster.ready(NAMESPACE, "app-primary")
    assert [] == told.lost()


# --- leaving ----------------------------------------------------------------------------------------------------------

Stage = Callable[[Story], Awaitable[object]]


async def initializing(told: Story) -> None:
    told.deploy(annotations=plan())
    await told.until(lambda: told.exists(DEPLOYMENT, "app-primary"), "the primary is made")


async def switched(told: Story) -> None:
    told.deploy(annotations=plan())
    await told.until(lambda: told.selector() == {"app": "app-primary"}, "the apex is switched")


async def initialized(told: Story) -> None:
    await told.enrol()


async def waiting(told: Story) -> None:
    told.hooks.refusing.add("gate")
    await told.enrol(annotations=plan(**{"hook.gate": "confirm-rollout svc://gate/ok"}))
    told.set_image("app:2")
    await told.until_phase("Waiting")


async def starting(told: Story) -> None:
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Progressing")


async def progressing(told: Story) -> None:
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(50)


async def waiting_promotion(told: Story) -> None:
    told.hooks.refusing.add("gate")
    await told.enrol(annotations=plan(**{"hook.gate": "confirm-promotion svc://gate/ok"}))
    told.set_image("app:2")
    await told.until_phase("WaitingPromotion")


async def promoting(told: Story) -> None:
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Promoting")
    await asyncio.sleep(1.5)


async def finalising(told: Story) -> None:
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Finalising")


async def succeeded(told: Story) -> None:
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Succeeded")


async def failed(told: Story) -> None:
    told.source.bad_images.add("app:2")
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Failed")


async def failed_and_idle(told: Story) -> None:
    await failed(told)
    await told.until_idle()


STAGES: dict[Stage, str] = {
    initializing: "app:1",
    switched: "app:1",
    initialized: "app:1",
    waiting: "app:1",
    starting: "app:1",
    progressing: "app:1",
    waiting_promotion: "app:1",
    promoting: "app:1",
    finalising: "app:2",
    succeeded: "app:2",
    failed: "app:1",
    failed_and_idle: "app:1",
}
"""Ways to come to a stage, and the image that is the promoted one there."""
each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)


@each_stage
@scenario
async def test_X21_leaving_at_any_stage_gives_back_the_promoted_revision_and_loses_nobody(
    told: Story, stage
):
    await told.serve()
    await stage(told)
    told.annotate(enabled="false")
    await until_left(told)

    assert STAGES[stage] == told.image("app")
    assert {"app": "app"} == told.selector()
    assert [] == marks(told)
    assert 2 == told.cluster.ready(NAMESPACE, "app")
    assert 0 == len(told.cluster.pods(NAMESPACE, "app-primary"))
    assert [] == told.lost()
    since = asyncio.get_running_loop().time() - 5
    assert {STAGES[stage]} == told.plane.by_version(since=since).keys()


@scenario
async def test_X21_the_whole_annotation_block_removed_while_failed_is_the_same_as_leaving(
    told: Story,
):
    await told.serve()
    await failed_and_idle(told)
    told.server.edit(
        DEPLOYMENT,
        NAMESPACE,
        "app",
        lambda d: d["metadata"].update(
            annotations={
                k: v
                for k, v in d["metadata"]["annotations"].items()
                if not k.startswith("canaryd.io/")
            }
        ),
    )
    await until_left(told)

    assert "app:1" == told.image("app")
    assert [] == told.lost()


@scenario
async def test_an_app_that_left_can_be_enrolled_again(told: Story):
    await told.serve()
    await succeeded(told)
    told.annotate(enabled=None)
    await until_left(told)
    told.annotate(enabled="true")
    await told.until_phase("Initialized")
    await told.until_idle()
    told.set_image("app:3")
    await told.until_phase("Succeeded")

    assert "app:3" == told.image()
    assert [] == told.lost()


@scenario
async def test_an_app_enrolled_again_while_it_leaves_goes_back_to_its_primary(told: Story):
    await told.serve()
    await failed_and_idle(told)
    told.annotate(enabled="false")
    await told.until_phase("Terminating")
    await asyncio.sleep(2)
    told.annotate(enabled="true")
    await told.until_phase("Initialized")
    await told.until_idle()
    await asyncio.sleep(10)

    assert "app:1" == told.image()
    assert {"app": "app-primary"} == told.selector()
    assert [] == told.lost()


# --- the target is deleted --------------------------------------------------------------------------------------------


@each_stage
@scenario
async def test_a_target_deleted_at_any_stage_takes_everything_of_ours_with_it(told: Story, stage):
    await stage(told)
    told.server.remove(DEPLOYMENT, NAMESPACE, "app")
    await told.until(lambda: owned(told) == [], "nothing of ours is left", 60)
    await told.until(lambda: told.selector() == {"app": "app"}, "the Service is as it was", 60)
    await asyncio.sleep(30)

    assert [] == told.cluster.pods(NAMESPACE)
    assert set() == told.loads.running
    assert told.exists(INGRESS, "app")
    told.hooks.refusing.clear()
    told.source.bad_images.clear()
    await told.enrol(image="app:9")
    told.users()
    await asyncio.sleep(10)
    assert [] == told.lost()
    assert {"app:9"} == told.plane.by_version().keys()


@pytest.mark.parametrize("stage", [initialized, progressing], ids=lambda stage: stage.__name__)
@scenario
async def test_a_target_deleted_and_made_again_at_once_is_another_app(told: Story, stage):
    await stage(told)
    told.server.remove(DEPLOYMENT, NAMESPACE, "app")
    told.deploy(image="app:5", annotations=plan())
    await told.until(lambda: told.image() == "app:5" and told.phase() == "Initialized", "enrolled")
    await told.until_idle()
    await asyncio.sleep(5)

    told.users()
    await asyncio.sleep(10)
    assert {"app:5"} == told.plane.by_version().keys()
    assert [] == told.results()


# --- pods and the primary ---------------------------------------------------------------------------------------------


@scenario
async def test_an_app_whose_primary_never_gets_ready_is_left_as_it_is_and_says_so(told: Story):
    told.cluster.fate = lambda pod: None if pod.deployment == "app-primary" else 1.0
    await told.serve()
    told.deploy(annotations=plan())
    await told.until_event("PrimaryNotReady", seconds=120)
    await asyncio.sleep(60)

    assert {"app": "app"} == told.selector()
    assert 2 == told.replicas()
    assert "Initializing" == told.phase()
    told.cluster.fate = lambda _: 1.0
    await told.until_phase("Initialized")
    assert [] == told.lost()


@scenario
async def test_evicted_pods_on_both_sides_lose_nobody_and_fail_nothing(told: Story):
    await told.serve()
    await progressing(told)
    for name in ("app", "app-primary"):
        [first, *_] = [p for p in told.cluster.pods(NAMESPACE, name) if p.ready]
        told.cluster.kill_pods(lambda pod, chosen=first: pod is chosen)
        await asyncio.sleep(3)
    await told.until_phase("Succeeded")

    assert [] == told.lost()
    assert 0 == told.status()["failedChecks"]
