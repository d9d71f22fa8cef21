"""Argo CD's scripts, against objects as canaryd and the cluster write them in every phase."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from canaryd.core.commands import CommandVerb, read_commands
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.told import Told, as_applied
from tests.core.world import PLAN, World, enrolled
from tests.docs.argocd import ACTIONS, CONFIG, health, offered, patch_of
from tests.docs.markdown import ROOT

ACCOUNT = "system:serviceaccount:argocd:argocd-server"
GATED = {k: v for k, v in PLAN.items() if k != "weights"} | {"steps": "weight 20; gate qa; pause"}


# --- recorded objects ---


def until(world: World, claim: Callable[[World], bool]) -> World:
    for _ in range(800):
        if world.state is not None and claim(world):
            return world
        world.settle(0.25)
    raise AssertionError(f"it never came to that: {world.outcome()}")


def in_phase(phase: Phase) -> Callable[[World], bool]:
    return lambda world: world.state.phase is phase


def at_step(index: int) -> Callable[[World], bool]:
    return lambda world: world.state.run is not None and world.state.run.step == index


def released(claim: Callable[[World], bool], **changes: Any) -> World:
    world = enrolled(**changes)
    world.deploy("B")
    return until(world, claim)


def paused() -> World:
    world = released(at_step(0))
    world.ask("pause")
    world.settle(1)
    return world


def leaving() -> World:
    world = enrolled()
    world.enabled = False
    world.look()
    return world


def begun() -> World:
    world = World()
    world.look()
    return world


def blocked() -> World:
    world = enrolled()
    world.strangers = {"other": {"app": "app"}}
    world.settle(30)
    return world


def misconfigured() -> World:
    world = enrolled()
    world.plan = PLAN | {"interval": "soon"}
    world.settle(1)
    return world


WATCHED = PLAN | {"watch-after-promotion": "15m"}
RECORDED: dict[str, tuple[Callable[[], World], str, set[str]]] = {
    "Initializing": (begun, "Progressing", set()),
    "Initialized": (enrolled, "Healthy", set()),
    "Waiting": (
        lambda: released(
            in_phase(Phase.WAITING),
            plan=PLAN | {"hook.open": "confirm-rollout svc://gate/open"},
            hook_refuses={"open"},
        ),
        "Suspended",
        {"pause", "abort"},
    ),
    "Progressing without users": (
        lambda: released(in_phase(Phase.PROGRESSING), broken={"B"}),
        "Progressing",
        {"pause", "abort"},
    ),
    "Progressing": (
        lambda: released(at_step(0)),
        "Progressing",
        {"pause", "abort", "promote"},
    ),
    "Progressing, paused": (paused, "Suspended", {"resume", "abort", "promote"}),
    "Progressing, at a gate": (
        lambda: released(at_step(0), plan=GATED),
        "Suspended",
        {"pause", "abort", "approve"},
    ),
    "WaitingPromotion": (
        lambda: released(
            in_phase(Phase.WAITING_PROMOTION),
            plan=PLAN | {"hook.go": "confirm-promotion svc://gate/go"},
            hook_refuses={"go"},
        ),
        "Suspended",
        {"pause", "abort", "promote"},
    ),
    "Promoting": (lambda: released(in_phase(Phase.PROMOTING)), "Progressing", {"abort"}),
    "Finalising": (lambda: released(in_phase(Phase.FINALISING)), "Progressing", set()),
    "Watching": (
        lambda: released(in_phase(Phase.WATCHING), plan=WATCHED),
        "Healthy",
        set(),
    ),
    "Succeeded": (lambda: released(in_phase(Phase.SUCCEEDED)), "Healthy", set()),
    "Failed": (
        lambda: released(in_phase(Phase.FAILED), bad={"B"}),
        "Degraded",
        {"retry"},
    ),
    "Progressing, held after a failure": (
        lambda: released(
            lambda world: bool(world.state.run and world.state.run.held),
            plan=PLAN | {"on-failure": "hold"},
            bad={"B"},
        ),
        "Degraded",
        {"pause", "abort", "retry"},
    ),
    "Terminating": (leaving, "Progressing", set()),
    "an obstacle": (blocked, "Degraded", set()),
    "annotations that cannot be read": (misconfigured, "Degraded", set()),
}
PAUSED_BY_PLAN = GATED | {"steps": "weight 20; pause; weight 50"}


def canary(world: World) -> dict[str, Any]:
    return {
        "apiVersion": "canaryd.io/v1beta1",
        "kind": "Canary",
        "metadata": {"namespace": "shop", "name": "app", "generation": 1, "labels": {}},
        "spec": {"values": {}, "targetRef": {"name": "app"}},
        "status": world.status,
    }


# --- a Canary ---


@pytest.mark.parametrize("name", RECORDED)
def test_the_health_of_a_canary_is_that_of_its_phase(name: str):
    make, wanted, _ = RECORDED[name]
    found, message = health("canaryd.io_Canary", canary(make()))
    assert wanted == found
    assert message


def test_every_phase_is_among_the_recorded_objects():
    recorded = {make().status["phase"] for make, _, _ in RECORDED.values()}
    assert {str(phase) for phase in Phase} == recorded


def test_a_pause_of_the_plan_without_an_end_is_suspended_and_one_with_an_end_is_not():
    open_ended = canary(released(at_step(0), plan=PAUSED_BY_PLAN))
    assert "Suspended" == health("canaryd.io_Canary", open_ended)[0]
    assert "resume" in offered(open_ended)
    timed = {k: v.replace("pause", "pause 5m") for k, v in PAUSED_BY_PLAN.items()}
    ends = canary(released(at_step(0), plan=timed))
    assert "Progressing" == health("canaryd.io_Canary", ends)[0]
    assert "resume" in offered(ends)


@pytest.mark.parametrize(
    "changes", [{"status": {}}, {"metadata": {"name": "app", "generation": 2}}, {"status": None}]
)
def test_a_canary_that_was_not_looked_at_yet_is_progressing(changes: dict[str, Any]):
    assert "Progressing" == health("canaryd.io_Canary", canary(enrolled()) | changes)[0]
    if "status" in changes:
        assert set() == offered(canary(enrolled()) | changes)


# --- actions ---


@pytest.mark.parametrize("name", RECORDED)
def test_a_canary_offers_what_can_be_done_with_it(name: str):
    make, _, wanted = RECORDED[name]
    assert wanted == offered(canary(make()))


BUTTONS = [(name, verb) for name, (_, _, verbs) in RECORDED.items() for verb in sorted(verbs)]


@pytest.mark.parametrize(("name", "verb"), BUTTONS)
def test_what_is_pressed_is_one_annotation_that_the_policy_lets_pass_and_canaryd_obeys(
    name: str, verb: str
):
    world = RECORDED[name][0]()
    patch = patch_of(verb, canary(world))
    assert {"metadata"} == set(patch)
    assert {"annotations"} == set(patch["metadata"])
    [(key, value)] = patch["metadata"]["annotations"].items()
    assert re.fullmatch(r"action\.canaryd\.io/[a-z]+\.[0-9a-z]{4,32}", key)
    assert re.fullmatch(r"[^ ]+ [^ ]+( [^\n\r]*)?", value)
    assert ACCOUNT == value.split(" ")[1]
    [command] = read_commands({key: value})
    assert CommandVerb(verb) is command.verb

    world.commands = {key: value}
    world.look_until_it_waits()
    [record] = [r for r in world.state.commands if r.nonce == command.nonce]
    assert ("", ACCOUNT) == (record.refusal, record.by)
    assert {} == world.commands


def test_annotations_that_are_there_stay():
    noted = canary(released(at_step(0)))
    noted["metadata"]["annotations"] = {"note": "x"}
    assert {"metadata"} == set(patch_of("pause", noted))
    assert "note" not in patch_of("pause", noted)["metadata"]["annotations"]


def test_actions_have_the_verbs_that_do_not_take_more_than_a_button():
    """``skip`` and ``undo`` want a reason, or a revision."""
    assert {str(verb) for verb in CommandVerb} - {"skip", "undo"} == {
        definition["name"] for definition in ACTIONS["definitions"]
    }


# --- a Deployment ---


def deployment(*told: Told, **status: Any) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": "app", "generation": 3}
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    conditions = [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]
    applied = as_applied("shop", "app", told, (), "2026-01-01T00:00:00Z")
    conditions += (applied.get("status") or {}).get("conditions") or []
    seen = {"observedGeneration": 3, "conditions": conditions} | counts
    return {"metadata": meta, "spec": {"replicas": 2}, "status": seen | status}


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}


@pytest.mark.parametrize(
    ("obj", "wanted"),
    [
        (deployment(), "Healthy"),
        (deployment() | {"spec": {"replicas": 2, "paused": True}}, "Suspended"),
        (deployment(observedGeneration=2), "Progressing"),
        (deployment(updatedReplicas=1), "Progressing"),
        (deployment(replicas=3), "Progressing"),
        (deployment(availableReplicas=1), "Progressing"),
        (deployment(conditions=[LATE | {"message": "late"}]), "Degraded"),
        (deployment() | {"spec": {"replicas": 0}, "status": {"observedGeneration": 3}}, "Healthy"),
        (deployment() | {"status": {}}, "Progressing"),
    ],
)
def test_a_deployment_that_says_nothing_of_a_run_is_judged_as_argo_cd_does_by_itself(
    obj: dict[str, Any], wanted: str
):
    assert wanted == health("apps_Deployment", obj)[0]


@pytest.mark.parametrize("name", RECORDED)
def test_a_deployment_is_seen_as_its_canary_is(name: str):
    world = RECORDED[name][0]()
    found, message = health("apps_Deployment", deployment(*world.told))
    wanted = health("canaryd.io_Canary", canary(world))[0]
    if name == "annotations that cannot be read":
        wanted = "Healthy"  # the plan that is in force is not touched, nor is who serves
    assert (wanted, bool(world.told)) == (found, bool(message))


def test_a_run_counts_before_the_pods_of_its_canary_do():
    trying = Told("Reconciling", str(Phase.PROGRESSING), "m")
    assert ("Progressing", "m") == health("apps_Deployment", deployment(trying))
    stuck = deployment(trying, conditions=None)
    stuck["status"]["conditions"] = [LATE, {**LATE, "type": "Reconciling", "status": "True"}]
    assert "Progressing" == health("apps_Deployment", stuck)[0]
    failed = Told("Stalled", str(Reason.METRIC_FAILED), "m")
    assert ("Degraded", "m") == health("apps_Deployment", deployment(failed, availableReplicas=1))


# --- the files beside it ---


def test_the_file_says_how_it_is_put_into_argo_cd():
    assert "--patch-file deploy/argocd/argocd-cm.yaml" in CONFIG.read_text(encoding="utf-8")


def test_the_account_of_the_scripts_is_the_one_that_is_given_the_verbs():
    folder = ROOT / "deploy" / "argocd"
    text = (folder / "rights.yaml").read_text(encoding="utf-8")
    subjects = [s for d in yaml.safe_load_all(text) for s in d["subjects"]]
    names = {f"system:serviceaccount:{s['namespace']}:{s['name']}" for s in subjects}
    assert {ACCOUNT} == names
