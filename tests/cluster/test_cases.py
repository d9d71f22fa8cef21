"""Cases of the acceptance list on the real cluster, each with users at a constant rate, told side by side under one daemon."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from canaryd.core.commands import Command, CommandVerb
from canaryd.core.memory import load
from canaryd.core.rollout.commands import subject_of
from tests.cluster import manifests
from tests.cluster.app import make_unready
from tests.cluster.daemon import Installation, running
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.stories import STORIES, Scene, Told, story, telling

# A test waits for its story, which may have waited for others.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

BAD = "--random-error=true"
SLOW = (
    "--random-delay=true",
    "--random-delay-unit=ms",
    "--random-delay-min=700",
    "--random-delay-max=900",
)


@pytest.fixture(scope="module")
def told(
    request: pytest.FixtureRequest, cluster: Cluster, installation: Installation
) -> Iterator[Told]:
    """Every story that was selected, under way."""
    selected = [n for n in STORIES if any(i.name == n for i in request.session.items)]
    with running(installation), telling(cluster, selected) as stories:
        yield stories
        whole = [f.result() for n, f in stories.items() if not (f.exception() or STORIES[n].loses)]
        record(
            f"lost requests, {len(whole)} of {len(stories)} stories side by side",
            f"0 of {sum(whole)}",
            "0",
        )


# --- revisions ----------------------------------------------------------------------------------------------------------


@story()
def test_X1_a_revision_that_arrives_while_a_failed_one_is_taken_away_is_not_lost(scene: Scene):
    scene.app.ship("two", BAD)
    scene.until_phase("Failed")
    scene.app.ship("three")
    scene.until_phase("Succeeded")
    assert ["Failed", "Succeeded"] == scene.results()
    assert "three" == scene.app.primary_message()


@story(weights="50")
def test_X4_a_revision_that_arrives_during_a_promotion_is_analysed_before_it_is_promoted(
    scene: Scene,
):
    scene.app.ship("two")
    scene.until_phase("Promoting")
    first = scene.past[-1].revision
    scene.app.ship("three")
    scene.until("the next run", lambda s: (s.get("run") or {}).get("revision", first) != first)
    scene.until_phase("Succeeded")
    assert "three" == scene.app.primary_message()
    assert any(m.weight == 50 and m.revision not in (first, "") for m in scene.past)


@story()
def test_U10_a_newer_revision_at_weight_sends_users_back_before_it_begins(scene: Scene):
    scene.app.ship("two")
    scene.until_weight(20)
    first = scene.past[-1].revision
    scene.app.ship("three")
    scene.until_phase("Succeeded")
    assert "three" == scene.app.primary_message()
    weights = [m.weight for m in scene.past if m.revision not in (first, "")]
    assert 0 == weights[0]
    assert [20, 50] == sorted(set(weights) - {0})
    assert {20} == {m.weight for m in scene.past if m.revision == first} - {0}


@story(weights="50")
def test_F29_ten_revisions_in_a_minute_end_in_one_analysis_of_the_last(scene: Scene):
    for number in range(10):
        scene.app.ship(f"v{number}")
        time.sleep(1)
    scene.until("the last of them", lambda s: "Succeeded" in scene.results())
    assert ["Succeeded"] == [r for r in scene.results() if r != "Superseded"]
    assert "v9" == scene.app.primary_message()
    assert {"one", "v9"} <= set(scene.users.versions())  # a slow cluster shows some of v0 to v8 too


# --- failures -----------------------------------------------------------------------------------------------------------


@story(progress_deadline="15s")
def test_E24_an_image_that_does_not_exist_fails_and_nobody_notices(scene: Scene):
    scene.kubectl("set", "image", "deployment/app", "podinfo=podinfo:none")
    scene.until_phase("Failed")
    assert "one" == scene.app.primary_message()
    assert {"one"} == set(scene.users.versions())


@story()
def test_E33_a_slow_canary_is_rolled_back_by_latency(scene: Scene):
    scene.app.ship("two", *SLOW)
    scene.until_phase("Failed")
    assert "latency-p99" in scene.status["message"]
    assert "one" == scene.app.primary_message()


@story(weights="20")
def test_E6_E7_a_failed_revision_that_is_taken_back_ends_the_complaint_and_fails_again_when_it_comes_again(
    scene: Scene,
):
    scene.app.ship("two", BAD)
    scene.until_phase("Failed")
    scene.app.ship("one")
    scene.until("no complaint", lambda status: status.get("phase") != "Failed", 30)
    scene.app.ship("two", BAD)
    scene.until_phase("Failed")
    assert ["Failed", "Failed"] == scene.results()
    assert "one" == scene.app.primary_message()


@story(
    weights="20",
    **{"hook.smoke": "pre-rollout svc://receiver/status/200", "hook.smoke.timeout": "3s"},
)
def test_E8_the_same_revision_is_tried_again_when_the_cause_was_mended_outside(scene: Scene):
    scene.app.ship("two")
    scene.until_phase("Failed")
    objects = [manifests.podinfo("receiver"), manifests.service("receiver")]
    scene.app.cluster.apply(objects, namespace=scene.app.namespace)
    scene.app.cluster.wait_for_rollout("receiver", namespace=scene.app.namespace)
    time.sleep(5)
    assert "Failed" == scene.status["phase"]
    scene.app.annotate({"retry": "now"})
    scene.until_phase("Succeeded")
    assert "two" == scene.app.primary_message()


# --- what others do -----------------------------------------------------------------------------------------------------


@story()
def test_X21_an_app_that_leaves_after_a_failure_is_given_back_as_it_was_promoted(scene: Scene):
    scene.app.ship("two", BAD)
    scene.until_phase("Failed")
    scene.app.leave()
    scene.until("it left", lambda status: not status)
    scene.app.cluster.wait_for(
        "the primary gone", lambda: scene.app.object("deployment", "app-primary") is None or None
    )
    left = time.monotonic()
    assert {"app": "app"} == scene.app.selector()
    assert 2 == scene.app.replicas_of()
    time.sleep(5)
    assert {"one"} == set(scene.users.versions(left))


@story(loses=True)
def test_X27_a_primary_that_is_deleted_while_the_target_is_failed_is_rebuilt_of_what_was_promoted(
    scene: Scene,
):
    scene.app.ship("two", BAD)
    scene.until_phase("Failed")
    scene.kubectl("delete", "deployment", "app-primary")
    scene.app.cluster.wait_for(
        "the primary", lambda: scene.app.primary_message() == "one" or None, timeout_s=30
    )
    scene.app.cluster.wait_for_rollout("app-primary", namespace=scene.app.namespace)
    time.sleep(5)
    rebuilt = time.monotonic()
    time.sleep(5)
    assert [] == scene.users.lost(rebuilt)
    assert {"one"} == set(scene.users.versions(rebuilt))


@story()
def test_E3_F24_the_ingress_is_applied_again_and_the_canarys_is_deleted_in_mid_run(scene: Scene):
    ours = manifests.ingress("app", host=scene.app.host, backend="app")
    scene.app.ship("two")
    scene.until_weight(20)
    scene.app.cluster.apply([ours], namespace=scene.app.namespace)
    scene.kubectl("delete", "ingress", "app-canary")
    scene.app.until_weight(20, 15)
    scene.until_phase("Succeeded")
    scene.app.cluster.apply([ours], namespace=scene.app.namespace)
    assert ["Succeeded"] == scene.results()
    assert "two" == scene.app.primary_message()


@story(interval="20s")
def test_F28_pods_that_are_evicted_on_both_sides_fail_no_run(scene: Scene):
    scene.app.ship("two")
    scene.until_weight(20)
    for label in ("app=app", "app=app-primary"):
        one = min(scene.app.pod_names(label))
        scene.kubectl("delete", "pod", one, "--wait=false")
    scene.until_phase("Succeeded")
    assert ["Succeeded"] == scene.results()


@story()
def test_F20_a_primary_with_an_unready_pod_holds_the_run_and_is_promoted_over_later(scene: Scene):
    scene.app.ship("two")
    scene.until_weight(20)
    pods = scene.app.cluster.get("pods", "-n", scene.app.namespace, "-l", "app=app-primary")
    unready = pods["items"][0]
    make_unready(unready["status"]["podIP"])
    scene.until("it is held", lambda s: "the primary is not ready" in s["message"], 30)
    assert 20 == scene.status["canaryWeight"]
    time.sleep(12)  # longer than an interval: a run that is not held would be further
    assert 20 == scene.status["canaryWeight"]
    scene.kubectl("delete", "pod", unready["metadata"]["name"], "--wait=false")
    scene.until_phase("Succeeded")
    assert "two" == scene.app.primary_message()


@story()
def test_F39_what_is_ours_is_made_again_when_somebody_deletes_it_in_mid_run(scene: Scene):
    scene.app.ship("two")
    scene.until_weight(20)
    scene.kubectl("delete", "service", "app-canary")
    scene.app.cluster.wait_for(
        "the canary Service", lambda: scene.app.object("service", "app-canary")
    )
    scene.kubectl("delete", "service", "app-primary")
    scene.app.cluster.wait_for(
        "the primary's Service", lambda: scene.app.object("service", "app-primary")
    )
    before = (scene.app.object("canaries.canaryd.io") or {})["metadata"]["uid"]
    scene.kubectl("delete", "canaries.canaryd.io", "app")
    scene.until_phase("Succeeded")
    assert before != (scene.app.object("canaries.canaryd.io") or {})["metadata"]["uid"]
    assert "two" == scene.app.primary_message()


# --- plans --------------------------------------------------------------------------------------------------------------


@story(skip_analysis="true")
def test_E23_U7_a_revision_is_promoted_without_analysis_when_the_user_says_so(scene: Scene):
    scene.app.ship("two", BAD)
    scene.until_phase("Succeeded")
    assert "two" == scene.app.primary_message()
    assert {0} == {m.weight for m in scene.past}


@story(weights="100", promotion_step_weight="50")
def test_U8_everybody_in_one_step_and_back_to_the_primary_step_by_step(scene: Scene):
    scene.app.ship("two")
    scene.until_weight(100)
    scene.until_phase("Succeeded")
    assert "two" == scene.app.primary_message()
    assert 50 in {m.weight for m in scene.past}


@story(
    provider="none",
    strategy="blue-green",
    weights=None,
    iterations="1",
    min_requests=None,
    **{
        "metric.success-rate": None,
        "metric.latency-p99": None,
        "gate.go": "promotion",
        "hook.smoke": "pre-rollout svc://app-canary/status/200",
        # kube-proxy learns of the pods up to a second after their EndpointSlice does.
        "hook.smoke.retries": "3",
        "load-test.get": "GET / rate=20 for=3s",
    },
)
def test_E13_blue_green_of_a_Service_with_a_hook_a_load_test_and_a_gate(scene: Scene):
    scene.app.ship("two", by="ci")
    scene.until("the gate", lambda status: status.get("gates"))
    assert {"one"} == set(scene.users.versions())
    assert 0 == scene.app.canaryd("approve", "app", "--gate", "go").returncode
    scene.until_phase("Succeeded")
    assert "two" == scene.app.primary_message()


@story(weights=None, steps="weight 20; pause; weight 40; pause; weight 60; analyze")
def test_A9_of_two_people_who_promote_at_the_same_moment_one_moves_one_step(scene: Scene):
    scene.app.ship("two")
    scene.until("the pause", lambda s: "weight 20, paused" in s["message"])
    seen = subject_of(load(scene.status))
    with ThreadPoolExecutor(2) as people:
        list(people.map(lambda name: promotes(scene, name, seen), ("alice", "bob")))
    scene.until_weight(40)
    time.sleep(12)  # longer than an interval: a second step would have been taken
    assert 40 == scene.status["canaryWeight"]
    first, second = load(scene.status).commands
    assert {"alice", "bob"} == {first.by, second.by}
    assert ("", True) == (first.refusal, bool(second.refusal))
    assert 0 == scene.app.canaryd("promote", "app").returncode
    scene.until_phase("Succeeded")


def promotes(scene: Scene, name: str, subject: str) -> None:
    """What the command line writes for somebody who looked at this run and stage."""
    command = Command(
        verb=CommandVerb.PROMOTE, nonce=f"from{name}", subject=subject, by=name, reason="it is good"
    )
    patch = json.dumps({"metadata": {"annotations": {command.key: command.value}}})
    scene.kubectl(
        *(f"--as={name}", "--as-group=system:masters"),
        *("patch", "canaries.canaryd.io", scene.app.name, "--type=merge", "-p", patch),
    )
