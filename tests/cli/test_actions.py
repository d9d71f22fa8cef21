"""The actions: asked for on the Canary, by somebody who may, and answered by the daemon's record."""

import asyncio
import json
import re
from dataclasses import replace

import pytest
import yaml

from canaryd.cli.exits import Exit
from canaryd.core.commands import CommandVerb, read_commands
from canaryd.core.kinds import CANARY, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW
from canaryd.core.phase import Phase
from tests.cli import apps
from tests.cli.golden import is_golden
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.apiserver import FORBIDDEN
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime

ACTIONS = {
    ("pause",): CommandVerb.PAUSE,
    ("resume",): CommandVerb.RESUME,
    ("promote",): CommandVerb.PROMOTE,
    ("promote", "--full"): CommandVerb.SKIP,
    ("abort",): CommandVerb.ABORT,
    ("approve",): CommandVerb.APPROVE,
    ("retry",): CommandVerb.RETRY,
    ("skip",): CommandVerb.SKIP,
    ("undo",): CommandVerb.UNDO,
}


def obeys(command, state):
    message = f"{command.verb} by {command.by}: {command.reason}"
    return replace(state, reason="Paused", message=message), ""


def refuses(command, state):
    return state, "nothing is paused"


# --- what is asked for ---


@pytest.mark.parametrize("arguments", ACTIONS, ids=" ".join)
@in_a_world
async def test_an_action_asks_for_its_verb_about_the_run_and_its_stage(world, arguments):
    world.tell(apps.running(world.now()))
    outcome = await world(arguments[0], "podinfo", *arguments[1:], "-m", "too slow", "--no-wait")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    [command] = read_commands(world.asked())
    state = world.state()
    assert (ACTIONS[arguments], f"{state.run.id}@1", "oncall", "too slow", "") == (
        command.verb,
        command.subject,
        command.by,
        command.reason,
        command.argument,
    )
    assert re.fullmatch("[0-9a-f]{8}", command.nonce)


def test_every_verb_can_be_asked_for():
    assert set(CommandVerb) == set(ACTIONS.values())


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [(("approve", "--gate", "qa"), "qa"), (("undo", "--to", "5f7c9e8b11"), "5f7c9e8b11")],
    ids=["a gate", "a revision"],
)
@in_a_world
async def test_what_an_action_is_about_goes_with_it(world, arguments, argument):
    world.tell(apps.running(world.now()))
    await world(*arguments, "podinfo", "--no-wait")
    [command] = read_commands(world.asked())
    assert argument == command.argument


@in_a_world
async def test_between_runs_an_action_is_about_the_revision(world):
    world.tell(apps.idle(world.now()))
    await world("undo", "podinfo", "--no-wait")
    world.tell(apps.idle(world.now(), phase=Phase.FAILED, failed="8ab12c03d1"))
    await world("retry", "podinfo", "--no-wait")
    retry, undo = read_commands(world.asked())
    assert (world.state().promoted, "8ab12c03d1") == (undo.subject, retry.subject)


@in_a_world
async def test_a_name_with_blanks_and_a_reason_of_lines_are_one_line(world):
    world.server.access.user = "CN=On Call, O=shop"
    world.tell(apps.running(world.now()))
    await world("pause", "podinfo", "-m", "  the\n p99\tis up ", "--no-wait")
    [command] = read_commands(world.asked())
    assert ("CN=On Call, O=shop", "the p99 is up") == (command.by, command.reason)


@in_a_world
async def test_nothing_but_the_annotation_is_written_and_under_a_name_of_its_own(world):
    world.tell(apps.running(world.now()))
    await world("pause", "podinfo", "--no-wait")
    [written] = [w for w in world.server.requests.writes() if w.resource == CANARY.resource]
    assert ("patch", "", "kubectl-canaryd", "application/merge-patch+json") == (
        written.verb,
        written.subresource,
        written.manager,
        written.content_type,
    )


# --- what comes of it ---


@in_a_world
async def test_what_the_daemon_did_is_printed(world):
    world.tell(apps.running(world.now()))
    async with world.daemon(obeys):
        outcome = await world("pause", "deploy/podinfo", "-m", "too slow")
    expected = (Exit.OK, "podinfo: pause by oncall: too slow\n", "")
    assert expected == (outcome.code, outcome.out, outcome.err)


@in_a_world
async def test_a_refusal_is_told_with_an_exit_code_of_its_own(world):
    world.tell(apps.running(world.now()))
    async with world.daemon(refuses):
        outcome = await world("resume", "podinfo")
    expected = (Exit.REFUSED, "", "canaryd: resume of podinfo refused: nothing is paused\n")
    assert expected == (outcome.code, outcome.out, outcome.err)


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@pytest.mark.parametrize("answer", [obeys, refuses], ids=["done", "refused"])
@in_a_world
async def test_programs_get_the_record_also_of_a_refusal(world, output, read, answer):
    world.tell(apps.running(world.now()))
    async with world.daemon(answer):
        outcome = await world("pause", "podinfo", "-m", "too slow", "-o", output)
    found = read(outcome.out)
    is_refused = answer is refuses
    assert (Exit.REFUSED if is_refused else Exit.OK) == outcome.code
    assert ("pause", "oncall", "too slow") == (found["verb"], found["by"], found["reason"])
    assert ("nothing is paused" if is_refused else "") == found["refusal"]
    assert ("ActionRefused" if is_refused else "Paused") == found["outcome"]


@in_a_world
async def test_the_answer_to_somebody_elses_request_is_not_taken_for_ours(world):
    world.tell(apps.running(world.now()))

    def answer(command, state):
        return (state, "you are late") if command.by == "oncall" else (state, "")

    async def somebody():
        await asyncio.sleep(0.1)
        other = {"action.canaryd.io/promote.0000aaaa": f"{world.state().run.id}@1 author -"}
        patch = {"metadata": {"annotations": other}}
        world.server.patch(CANARY, NAMESPACE, "podinfo", patch)

    async with world.daemon(answer), running(somebody()):
        outcome = await world("promote", "podinfo")
    assert (Exit.REFUSED, "canaryd: promote of podinfo refused: you are late\n") == (
        outcome.code,
        outcome.err,
    )
    assert {"author", "oncall"} == {record.by for record in world.state().commands[-2:]}


@in_a_world
async def test_a_daemon_that_does_not_answer_is_told_and_what_becomes_of_the_request(world):
    world.tell(apps.running(world.now()))
    began = world.now()
    outcome = await world("abort", "podinfo")
    assert Exit.TIMED_OUT == outcome.code
    assert 15.0 <= world.now() - began < 17.0
    assert 1 == len(world.asked())
    assert is_golden("action-unanswered.txt", outcome.err)


@in_a_world
async def test_how_long_an_answer_is_waited_for_can_be_said(world):
    world.tell(apps.running(world.now()))
    began = world.now()
    outcome = await world("abort", "podinfo", "--timeout", "2m")
    assert Exit.TIMED_OUT == outcome.code
    assert 120.0 <= world.now() - began < 123.0


@in_a_world
async def test_an_app_that_is_given_back_meanwhile_is_told(world):
    world.tell(apps.running(world.now()))

    async def leave():
        await asyncio.sleep(1.0)
        world.server.remove(CANARY, NAMESPACE, "podinfo")

    async with running(leave()):
        outcome = await world("abort", "podinfo")
    assert Exit.FAILED == outcome.code
    assert "canaryd: podinfo was given back before it was answered\n" == outcome.err


# --- what is refused before anything is written ---


@pytest.mark.parametrize(
    "state",
    [None, apps.idle(0.0, phase=Phase.INITIALIZING, promoted="")],
    ids=["unseen", "enrolling"],
)
@in_a_world
async def test_an_app_that_is_not_enrolled_yet_has_nothing_to_act_on(world, state):
    world.tell(state)
    outcome = await world("pause", "podinfo")
    expected = (Exit.REFUSED, "canaryd: pause refused: podinfo is not enrolled yet\n")
    assert expected == (outcome.code, outcome.err)
    assert {} == world.asked()


@in_a_world
async def test_an_app_nobody_knows_is_told(world):
    outcome = await world("pause", "podinfo")
    assert Exit.FAILED == outcome.code
    assert outcome.err.startswith("canaryd: there is no Canary shop/podinfo")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("pause", "podinfo", "-m", "x" * 301), "is 301 characters long; at most 300 are kept"),
        (("approve", "podinfo", "--gate", "a b"), '"a b" is not a name without blanks'),
        (("undo", "podinfo", "--to", "-"), '"-" is not a name without blanks'),
        (("pause", "pod/podinfo"), '"pod/podinfo" is no name of a Deployment, such as podinfo'),
        (("pause", "a,b"), '"a,b" is no name of a Deployment, such as podinfo'),
        (("pause",), "Missing argument 'NAME'"),
    ],
    ids=["a long reason", "a gate", "a revision", "another kind", "a name", "no name"],
)
@in_a_world
async def test_slips_are_explained(world, arguments, expected):
    outcome = await world(*arguments)
    assert Exit.USAGE == outcome.code
    assert expected in outcome.err


# --- who asks, and whether they may ---


@in_a_world
async def test_whoever_lacks_the_verb_is_told_which_rule_grants_it(world):
    world.server.access.deny("skip")
    world.tell(apps.running(world.now()))
    outcome = await world("promote", "podinfo", "--full")
    assert (Exit.UNREACHABLE, "") == (outcome.code, outcome.out)
    assert is_golden("action-without-right.txt", outcome.err)
    assert {} == world.asked()


@in_a_world
async def test_whoever_may_not_write_the_canary_is_told_so(world):
    world.server.access.deny("skip", "patch")
    world.tell(apps.running(world.now()))
    outcome = await world("skip", "podinfo")
    assert "the verb skip and the verb patch is not granted" in outcome.err


@in_a_world
async def test_the_right_is_asked_for_on_this_canary(world):
    world.tell(apps.running(world.now()))
    await world("approve", "podinfo", "--no-wait")
    wanted = {"namespace": "shop", "group": "canaryd.io", "resource": "canaries", "name": "podinfo"}
    assert [wanted | {"verb": verb} for verb in ("approve", "patch")] == world.server.access.asked


@in_a_world
async def test_a_server_that_does_not_say_who_we_are_is_told_what_the_kubeconfig_calls_us(world):
    world.server.faults.on(FORBIDDEN, kind=SELF_SUBJECT_REVIEW)
    world.tell(apps.running(world.now()))
    outcome = await world("pause", "podinfo", "--no-wait")
    assert Exit.OK == outcome.code
    assert "asking as kubeconfig-user (kubeconfig)" in outcome.err
    [command] = read_commands(world.asked())
    assert "kubeconfig-user" == command.by


@in_a_world
async def test_nobody_asks_without_a_name(world):
    world.user = ""
    world.server.faults.on(FORBIDDEN, kind=SELF_SUBJECT_REVIEW)
    world.tell(apps.running(world.now()))
    outcome = await world("pause", "podinfo", "--no-wait")
    assert Exit.UNREACHABLE == outcome.code
    assert {} == world.asked()


@in_a_world
async def test_a_server_that_does_not_answer_about_rights_decides_when_it_is_written_to(world):
    world.server.faults.on(FORBIDDEN, kind=SELF_SUBJECT_ACCESS_REVIEW)
    world.server.faults.on(FORBIDDEN, verb="patch", kind=CANARY)
    world.tell(apps.running(world.now()))
    outcome = await world("pause", "podinfo")
    assert Exit.UNREACHABLE == outcome.code
    assert outcome.err.startswith("canaryd: may not patch canaries.canaryd.io 'podinfo'")
