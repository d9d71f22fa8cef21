"""``canaryd status``: one app as a tree, for people and for programs, once or until its run ends."""

import asyncio
import json
import re
from dataclasses import replace

import pytest
import yaml

from canaryd.cli import status
from canaryd.cli.exits import Exit
from canaryd.cli.objects import plan_of, state_of
from canaryd.cli.render import Look, paint
from canaryd.cli.render_status import render
from canaryd.cli.report import as_json, report
from canaryd.core.kinds import CANARY, DEPLOYMENT, POD
from canaryd.core.phase import Phase
from tests.cli import apps
from tests.cli.golden import is_golden
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.apiserver import CLOSE, FORBIDDEN
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime
NOW = 1_767_614_400.0

MOMENTS = {
    "idle": apps.idle(NOW),
    "enrolling": apps.idle(
        NOW,
        phase=Phase.INITIALIZING,
        promoted="",
        reason="PrimaryNotReady",
        message="waiting for the primary: 1/3 pods ready",
        history=(),
    ),
    "gate": apps.running(NOW),
    "paused": apps.running(NOW, step=2, paused_at=NOW - 30.0, paused_by="oncall"),
    "held": apps.running(NOW, held="latency-p99 612ms > 500ms", weight=0),
    "promoting": replace(apps.running(NOW, weight=50, step=4), phase=Phase.PROMOTING),
    "failed": apps.idle(NOW, phase=Phase.FAILED, failed="8ab12c03d1", reason="MetricFailed"),
}
LOOKS = {
    "txt": Look(),
    "narrow": Look(width=60),
    "colored": Look(width=100, is_colored=True),
    "ascii": Look(width=100, is_ascii=True),
}


def told(state, *, with_pods=True, notes=(), **changes):
    canary = apps.canary(state, NOW)
    canary["status"] |= changes
    found = state_of(canary)
    sides = apps.sides(NOW) if with_pods else ()
    return report(canary, found, plan_of(canary, found), NOW, sides=sides, notes=notes)


def shown(found, look):
    lines = render(found, look, "kubectl canaryd")
    return "".join(f"{paint(spans, look)}\n" for spans in lines)


# --- what it looks like ---


@pytest.mark.parametrize("moment", MOMENTS)
def test_every_moment_of_an_app_is_drawn_as_agreed(moment):
    assert is_golden(f"status-{moment}.txt", shown(told(MOMENTS[moment]), Look()))


@pytest.mark.parametrize("look", LOOKS)
def test_a_tree_suits_what_the_terminal_can_show(look):
    text = shown(told(MOMENTS["gate"]), LOOKS[look])
    assert is_golden(f"status-gate.{look}", text)
    if look == "narrow":
        assert 60 >= max(len(text) for text in text.splitlines())
    if look == "ascii":
        assert text.isascii()


@pytest.mark.parametrize("moment", MOMENTS)
def test_programs_get_every_moment_as_agreed(moment):
    text = json.dumps(as_json(told(MOMENTS[moment])), indent=2) + "\n"
    assert is_golden(f"status-{moment}.json", text)


def test_what_a_tenant_writes_cannot_move_the_cursor():
    message = "\x1b[2Jgone\nfor good"
    text = shown(
        told(MOMENTS["gate"], message=message, metrics=[{"name": "\x1b[1A", "verdict": "Passed"}]),
        Look(),
    )
    assert "\x1b" not in text
    assert "\\x1b[2Jgone for good" in text


def test_load_tests_and_mirrors_are_told():
    plan = {"enabled": "true", "provider": "gateway", "mirror": "10", "weights": "20"}
    state = apps.running(NOW, plan=plan, step=0, weight=0, mirror=10)
    tests = [{"name": "get", "state": "Passed", "sent": 1200, "failed": 0, "p99": "41ms"}]
    canary = apps.canary(state, NOW, plan=plan)
    canary["status"]["loadTests"] = tests
    found = state_of(canary)
    text = shown(report(canary, found, plan_of(canary, found), NOW), Look())
    assert "get Passed, 1200 sent, 0 failed, 41ms p99" in text
    assert "canary 0%, mirrors 10%" in text


def test_who_asks_for_the_canary_is_told_of():
    plan = {"enabled": "true", "strategy": "ab", "match": "header x-canary=insider"}
    state = apps.running(NOW, plan=plan, step=0, weight=0, matched=True)
    canary = apps.canary(state, NOW, plan=plan)
    found = state_of(canary)
    text = shown(report(canary, found, plan_of(canary, found), NOW), Look())
    assert "canary 0%, and who asks for the canary gets it" in text


# --- once ---


@in_a_world
async def test_an_app_is_read_with_its_pods(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.server.put(primary())
    for name, side in (("podinfo-a", "podinfo"), ("podinfo-primary-a", "podinfo-primary")):
        world.server.put(pod(name, side))
    world.tell(apps.running(world.now()))
    outcome = await world("status", "deploy/podinfo", name="kubectl-canaryd")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert "├─ primary podinfo-primary: 0/3 pods ready, revision 5f7c9e8b11" in outcome.out
    assert "│  └─ ✔ podinfo-primary-a Running, 0s old" in outcome.out
    assert "   └─ ✔ podinfo-a Running, 0s old" in outcome.out
    assert "kubectl canaryd approve podinfo -n shop --gate qa" in outcome.out
    assert outcome.out.isprintable() is False  # it has lines, and nothing else that is not
    assert outcome.out.replace("\n", "").isprintable()


def primary():
    made = apps.deployment(name="podinfo-primary", plan={})
    made["metadata"]["annotations"] = {"internal.canaryd.io/revision": "5f7c9e8b11"}
    made["spec"]["replicas"] = 3
    made["spec"]["selector"]["matchLabels"] = {"app": "podinfo-primary"}
    made["spec"]["template"]["metadata"]["labels"] = {"app": "podinfo-primary"}
    return made


def pod(name, label, **status):
    statuses = [{"name": "app", "ready": True, "restartCount": 0, "state": {"running": {}}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app": label}},
        "spec": {"containers": [{"name": "app", "image": "podinfo:1"}]},
        "status": {"phase": "Running", "containerStatuses": statuses} | status,
    }


@pytest.mark.parametrize(
    ("pod_status", "word"),
    [
        ({"phase": "Pending", "containerStatuses": []}, "Pending 0/1"),
        (
            {
                "containerStatuses": [
                    {
                        "ready": False,
                        "restartCount": 3,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    }
                ]
            },
            "CrashLoopBackOff 0/1, 3 restarts",
        ),
        (
            {
                "initContainerStatuses": [
                    {"ready": False, "state": {"terminated": {"reason": "Completed"}}},
                    {"ready": False, "state": {"waiting": {"reason": "ImagePullBackOff"}}},
                ]
            },
            "ImagePullBackOff 1/1",
        ),
        ({"phase": "Failed", "reason": "Evicted", "containerStatuses": []}, "Evicted 0/1"),
    ],
    ids=["pending", "crashing", "a first container that waits", "evicted"],
)
@in_a_world
async def test_a_pod_that_is_not_ready_says_why(world, pod_status, word):
    world.server.put(apps.deployment("podinfo:2"))
    world.server.put(pod("podinfo-a", "podinfo", **pod_status))
    world.tell(apps.running(world.now()))
    outcome = await world("status", "podinfo")
    assert f"◌ podinfo-a {word}," in outcome.out


@in_a_world
async def test_pods_that_may_not_be_read_are_a_note_and_no_failure(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.server.faults.on(FORBIDDEN, kind=POD)
    world.tell(apps.running(world.now()))
    outcome = await world("status", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert "└─ pods are not shown: may not list pods in namespace 'shop'" in outcome.out


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@in_a_world
async def test_programs_get_a_document(world, output, read):
    world.tell(apps.running(world.now()))
    outcome = await world("status", "podinfo", "-o", output)
    found = read(outcome.out)
    assert ("shop", "podinfo", "Progressing") == (found["namespace"], found["name"], found["phase"])
    assert ["done", "now", "next"] == [stage["progress"] for stage in found["stages"][:3]]
    approve = ["kubectl", "canaryd", "approve", "podinfo", "-n", "shop", "--gate", "qa"]
    assert approve == found["waitsFor"][0]["command"]


@in_a_world
async def test_the_name_is_one_that_kubectl_takes(world):
    world.tell(apps.idle(world.now()))
    outcome = await world("status", "podinfo", "-o", "name")
    assert (Exit.OK, "canary.canaryd.io/podinfo\n", "") == (outcome.code, outcome.out, outcome.err)


@in_a_world
async def test_a_canary_without_a_status_is_drawn(world):
    world.tell(None)
    outcome = await world("status", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert outcome.out.startswith("podinfo in shop: not looked at yet\n")


@in_a_world
async def test_an_app_nobody_knows_is_told_with_what_to_look_at(world):
    outcome = await world("status", "podinfo")
    assert (Exit.FAILED, "") == (outcome.code, outcome.out)
    assert outcome.err.startswith("canaryd: there is no Canary shop/podinfo: is canaryd installed")


NEWER = {"phase": "Progressing", "message": "at weight 20", "machine": {"version": 99}}


@in_a_world
async def test_of_a_status_of_another_version_the_public_part_is_shown(world):
    world.server.put(apps.canary(None, 0.0) | {"status": NEWER})
    outcome = await world("status", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert "podinfo in shop: Progressing\n├─ at weight 20\n" in outcome.out
    assert "steps and times are not shown: status.machine has version 99" in outcome.out


@in_a_world
async def test_the_end_of_a_run_is_not_guessed_from_a_status_of_another_version(world):
    world.server.put(apps.canary(None, 0.0) | {"status": NEWER})
    outcome = await world("status", "podinfo", "--watch")
    assert Exit.CONFLICT == outcome.code
    assert "the Canary cannot be understood: status.machine has version 99" in outcome.err


# --- until the run ends ---


async def after(world, seconds, state):
    await asyncio.sleep(seconds)
    world.tell(state)


@in_a_world
async def test_a_run_that_ends_well_ends_the_command_well(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.tell(apps.running(world.now()))
    promoted = apps.idle(world.now(), promoted=apps.revision(apps.template("podinfo:2")))
    async with running(after(world, 90.0, promoted)):
        outcome = await world("status", "podinfo", "--watch")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    first, second = outcome.out.splitlines()
    assert first.endswith("Z Progressing: latency-p99 612ms > 500ms (failure 2/5)")
    assert re.fullmatch(r"2026-01-05T12:01:3\d?Z? ?.*Succeeded: revision \w+ promoted", second)


@in_a_world
async def test_a_run_that_fails_ends_the_command_with_1(world):
    world.tell(apps.running(world.now()))
    failed = apps.idle(world.now(), phase=Phase.FAILED, failed="8ab12c03d1", message="rolled back")
    async with running(after(world, 30.0, failed)):
        outcome = await world("status", "podinfo", "--watch")
    assert (Exit.FAILED, "") == (outcome.code, outcome.err)
    assert outcome.out.splitlines()[-1].endswith("Failed: rolled back")


@in_a_world
async def test_a_revision_that_nobody_has_seen_yet_is_waited_for(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.tell(apps.idle(world.now()))
    began = world.now()
    promoted = apps.idle(world.now(), promoted=apps.revision(apps.template("podinfo:2")))
    story = (after(world, 20.0, apps.running(began)), after(world, 60.0, promoted))
    async with running(*story):
        outcome = await world("status", "podinfo", "--watch")
    assert Exit.OK == outcome.code
    assert 60.0 <= world.now() - began < 65.0


@in_a_world
async def test_when_nothing_is_under_way_it_ends_at_once_as_the_last_run_did(world):
    world.server.put(apps.deployment())
    world.tell(apps.idle(world.now(), promoted=world.wanted()))
    assert Exit.OK == (await world("status", "podinfo", "-w")).code
    failed = {"failed": world.wanted(), "failed_tracking": apps.RULE}
    world.tell(apps.idle(world.now(), phase=Phase.FAILED, **failed))
    assert Exit.FAILED == (await world("status", "podinfo", "-w")).code


@in_a_world
async def test_programs_that_watch_get_a_line_for_each_thing_that_happens(world):
    world.tell(apps.running(world.now()))
    async with running(after(world, 30.0, apps.idle(world.now()))):
        outcome = await world("status", "podinfo", "-w", "-o", "json")
    documents = [json.loads(line) for line in outcome.out.splitlines()]
    assert ["Progressing", "Succeeded"] == [document["phase"] for document in documents]


@in_a_world
async def test_yaml_documents_that_follow_each_other_are_several(world):
    world.tell(apps.running(world.now()))
    async with running(after(world, 30.0, apps.idle(world.now()))):
        outcome = await world("status", "podinfo", "-w", "-o", "yaml")
    assert 2 == len(list(yaml.safe_load_all(outcome.out)))


@in_a_world
async def test_an_app_that_is_given_back_meanwhile_ends_it_with_1(world):
    world.tell(apps.running(world.now()))

    async def leave():
        await asyncio.sleep(10.0)
        world.server.remove(CANARY, NAMESPACE, "podinfo")

    async with running(leave()):
        outcome = await world("status", "podinfo", "-w")
    assert Exit.FAILED == outcome.code
    assert "canaryd: podinfo was given back before its run ended\n" == outcome.err


@in_a_world
async def test_trouble_that_passes_does_not_end_the_watch(world):
    world.tell(apps.running(world.now()))

    async def trouble():
        await asyncio.sleep(5.0)
        rule = world.server.faults.on(CLOSE, kind=CANARY)
        world.server.cut_watches(CANARY, clean=False)
        await asyncio.sleep(20.0)
        rule.stop()
        world.tell(apps.idle(world.now()))

    async with running(trouble()):
        outcome = await world("status", "podinfo", "-w")
    assert Exit.OK == outcome.code
    assert outcome.out.splitlines()[-1].endswith("promoted")


@in_a_world
async def test_trouble_that_lasts_is_told(world):
    world.tell(apps.running(world.now()))
    world.server.faults.on(CLOSE, verb="watch", kind=CANARY)
    world.server.faults.on(CLOSE, verb="get", kind=CANARY, skip=1)
    outcome = await world("status", "podinfo", "-w")
    assert Exit.UNREACHABLE == outcome.code
    assert 1 == outcome.err.count("\n")


@in_a_world
async def test_whoever_may_read_and_not_watch_is_served_by_asking_again(world):
    world.server.faults.on(FORBIDDEN, verb="watch")
    world.server.faults.on(FORBIDDEN, kind=DEPLOYMENT)
    world.tell(apps.running(world.now()))
    async with running(after(world, 30.0, apps.idle(world.now()))):
        outcome = await world("status", "podinfo", "-w")
    assert (Exit.OK, "") == (outcome.code, outcome.err)


@in_a_world
async def test_pods_that_nobody_is_shown_are_not_asked_for(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.tell(apps.running(world.now()))
    async with running(after(world, 60.0, apps.idle(world.now()))):
        await world("status", "podinfo", "-w")
    assert 0 == world.server.requests.count(verb="list", kind=POD)


@in_a_world
async def test_the_pods_are_not_asked_for_at_every_change(world):
    world.server.put(apps.deployment("podinfo:2"))
    world.tell(apps.running(world.now()))
    async with running(after(world, 60.0, apps.idle(world.now()))):
        await world("status", "podinfo", "-w", "-o", "json")
    assert 60.0 / status.PODS_AGAIN_S + 2 >= world.server.requests.count(verb="list", kind=POD)
