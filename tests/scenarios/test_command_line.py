"""The command line steers a running daemon: typed by somebody, done by the daemon, printed again."""

import asyncio

import pytest

from canaryd.cli.connect import WHO_WRITES
from canaryd.cli.exits import Exit
from canaryd.core.kinds import (
    CANARY,
    POD,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SERVICE,
)
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from tests.cli.commands import Canaryd
from tests.cli.world import World
from tests.fakes.tasks import running
from tests.scenarios.harness import plan, scenario
from tests.scenarios.manifests import NAMESPACE

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


class Terminal:
    """``await terminal("oncall", "pause", "app")``: somebody's terminal."""

    def __init__(self, told, capsys, monkeypatch):
        for kind in (POD, SELF_SUBJECT_REVIEW, SELF_SUBJECT_ACCESS_REVIEW):
            told.server.install(kind)
        self._told = told
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    async def __call__(self, user, *arguments):
        told = self._told
        told.server.access.user = user
        connection = Connection(server=told.server.url)
        run = Canaryd(self._capsys, self._monkeypatch)
        async with KubeClient(connection, clock=told.clock, field_manager=WHO_WRITES) as client:
            world = World(told.server, client, told.clock, run, self._monkeypatch, self._capsys)
            return await world(*arguments, "-n", NAMESPACE)


def record(told):
    return told.status()["commands"][-1]


@scenario
async def test_a_run_is_paused_resumed_and_moved_on(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol(annotations=plan(interval="60s"))
    told.set_image("app:2")
    await told.until_weight(20)

    paused = await terminal("oncall", "pause", "deploy/app", "-m", "p99 looks odd")
    assert (Exit.OK, "app: paused by oncall: p99 looks odd\n") == (paused.code, paused.out)
    await asyncio.sleep(600)
    assert 20 == told.weight()

    resumed = await terminal("oncall", "resume", "app")
    assert (Exit.OK, "app: resumed by oncall\n") == (resumed.code, resumed.out)
    promoted = await terminal("oncall", "promote", "app", "-m", "looks good")
    assert Exit.OK == promoted.code
    assert await told.until_weight(50) < 1

    [pause, resume, promote] = told.status()["commands"]
    assert ("pause", "oncall", "p99 looks odd") == (pause["verb"], pause["by"], pause["reason"])
    assert ["resume", "promote"] == [resume["verb"], promote["verb"]]
    assert [] == [
        k for k in told.stored(CANARY)["metadata"].get("annotations") or {} if "action" in k
    ]


@scenario
async def test_two_people_at_once_move_one_step(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol(annotations=plan(interval="60s", weights="20,50,80"))
    told.set_image("app:2")
    await told.until_weight(20)
    outcomes = await asyncio.gather(
        terminal("oncall", "promote", "app"), terminal("reviewer", "promote", "app")
    )
    assert [Exit.OK, Exit.REFUSED] == sorted(outcome.code for outcome in outcomes)
    said = "".join(outcome.err for outcome in outcomes)
    told_why = "it is about step 1; the run has moved on from there"
    assert f"canaryd: promote of app refused: {told_why}\n" == said
    await told.until_weight(50)
    await asyncio.sleep(20)
    assert 50 == told.weight()
    assert ["", told_why] == [a.get("refusal", "") for a in told.status()["commands"]]


@scenario
async def test_what_is_refused_is_told_with_the_daemons_reason(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol()
    outcome = await terminal("oncall", "pause", "app")
    expected = (Exit.REFUSED, "canaryd: pause of app refused: no run is under way\n")
    assert expected == (outcome.code, outcome.err)
    assert ("oncall", "no run is under way") == (record(told)["by"], record(told)["refusal"])


@scenario
async def test_a_gate_is_opened_by_two_people_and_the_tree_says_how(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    gated = {"gate_qa": None, "gate.qa": "promotion approvals=2"}
    await told.enrol(annotations=plan(**gated))
    told.set_image("app:2")
    await told.until(lambda: "gate qa" in told.message(), "the gate")
    shown = await terminal("oncall", "status", "app")
    assert f"canaryd approve app -n {NAMESPACE} --gate qa" in shown.out
    assert "▶ 3 gate qa at weight 50, 0 of 2 approvals" in shown.out

    first = await terminal("oncall", "approve", "app", "--gate", "qa")
    assert Exit.OK == first.code
    again = await terminal("oncall", "approve", "app", "--gate", "qa")
    assert (Exit.REFUSED, True) == (again.code, "has approved gate qa already" in again.err)
    second = await terminal("reviewer", "approve", "app")
    assert Exit.OK == second.code
    done = await terminal("oncall", "wait", "app")
    assert Exit.OK == done.code
    assert "app:2" == told.image()


@scenario
async def test_a_release_is_watched_to_its_end_without_a_race(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol()
    told.set_image("app:2")
    outcome = await terminal("oncall", "status", "app", "--watch")
    assert Exit.OK == outcome.code
    phases = [line.split()[1] for line in outcome.out.splitlines()]
    assert "Progressing:" in phases
    assert "Succeeded:" == phases[-1]
    assert "app:2" == told.image()


@scenario
async def test_a_bad_release_ends_the_wait_with_1(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    told.source.bad_images.add("app:2")
    await told.enrol()
    told.set_image("app:2")
    outcome = await terminal("oncall", "wait", "app")
    assert Exit.FAILED == outcome.code
    assert "rolled back" in outcome.err
    # The same once more: it is refused still, and nobody waits for half an hour.
    again = await terminal("oncall", "wait", "app")
    assert Exit.FAILED == again.code


@scenario
async def test_an_aborted_revision_is_tried_again_when_somebody_asks(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    aborted = await terminal("oncall", "abort", "app", "-m", "wrong branch")
    assert Exit.OK == aborted.code
    assert "aborted by oncall: wrong branch" in aborted.out
    assert await told.until_weight(0) < 1
    retried = await terminal("oncall", "retry", "app")
    assert Exit.OK == retried.code
    done = await terminal("oncall", "wait", "app")
    assert (Exit.OK, "app:2") == (done.code, told.image())


@scenario
async def test_a_fix_is_promoted_without_a_verdict_and_then_undone(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol(annotations=plan(interval="60s"))
    told.set_image("app:2")
    await told.until_weight(20)
    skipped = await terminal("oncall", "promote", "app", "--full", "-m", "cannot wait")
    assert Exit.OK == skipped.code
    await told.until_phase("Succeeded")
    assert "app:2" == told.image()

    undone = await terminal("oncall", "undo", "app", "-m", "worse")
    assert Exit.OK == undone.code
    await told.until(lambda: told.image() == "app:1", "the undo")
    await told.until_phase("Succeeded")
    verbs = [action["verb"] for action in told.status()["commands"]]
    assert ["skip", "undo"] == verbs


@scenario
async def test_what_a_run_would_change_is_told(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    outcome = await terminal("oncall", "diff", "app")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    title, *lines = outcome.out.splitlines()
    assert title.endswith("(under way)")
    assert ['- spec.containers[app].image: "app:1"', '+ spec.containers[app].image: "app:2"'] == [
        text for text in lines if text.startswith(("-", "+"))
    ]


@scenario
async def test_an_app_is_enrolled_and_given_back(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    told.deploy()
    values = [f"{key.removeprefix('canaryd.io/')}={value}" for key, value in plan().items()]
    enrolled = await terminal("oncall", "enrol", "deploy/app", *values)
    assert Exit.OK == enrolled.code
    assert enrolled.out.startswith("app enrolled: ")
    await told.until(lambda: told.selector() == {"app": "app-primary"}, "the selector")

    left = await terminal("oncall", "leave", "app")
    assert (Exit.OK, "app is on its own again\n") == (left.code, left.out)
    assert {"app": "app"} == told.selector()
    assert not told.exists(SERVICE, "app-primary")


@scenario
async def test_an_app_in_the_way_of_which_something_stands_ends_the_enrolment(
    told, capsys, monkeypatch
):
    terminal = Terminal(told, capsys, monkeypatch)
    told.deploy()
    told.server.remove(SERVICE, NAMESPACE, "app")
    outcome = await terminal("oncall", "enrol", "app", "metric.success-rate=>= 99")
    assert Exit.FAILED == outcome.code
    assert "it needs a person: " in outcome.err


@scenario
async def test_a_daemon_that_comes_back_does_what_was_asked_meanwhile(told, capsys, monkeypatch):
    terminal = Terminal(told, capsys, monkeypatch)
    await told.enrol(annotations=plan(interval="60s"))
    told.set_image("app:2")
    await told.until_weight(20)
    await told.kill()
    unanswered = await terminal("oncall", "pause", "app")
    assert Exit.TIMED_OUT == unanswered.code

    async def come_back():
        await asyncio.sleep(5)
        await told.start()

    async with running(come_back()):
        await told.until(lambda: bool(told.status().get("commands")), "the pause")
    assert ("pause", "Paused") == (record(told)["verb"], record(told)["outcome"])
