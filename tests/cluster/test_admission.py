"""Commands at the API server: by RBAC, in one's own name, and nothing else of a Canary; then what a daemon makes of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from canaryd.core import memory
from canaryd.core.commands import Command, CommandVerb, read_commands
from canaryd.core.rollout.commands import subject_of
from canaryd.core.state import CommandRecord
from tests.cluster.app import App
from tests.cluster.daemon import Daemon, Installation
from tests.cluster.local.client import Cluster
from tests.cluster.people import ADMINISTRATOR, People, Team
from tests.cluster.test_hooks_and_load import BY_LOAD_ALONE
from tests.cluster.test_safety import enrolled

pytestmark = pytest.mark.cluster

OPERATE = {"pause", "resume", "promote", "abort", "retry"}
MAY = {
    "viewer": set(),
    "operator": OPERATE,
    "approver": {"approve"},
    "admin": OPERATE | {"approve", "skip", "undo"},
}
"""The chart's roles, and what each may ask for."""
VERBS = [str(verb) for verb in CommandVerb]
_asked = iter(range(10**6))


def command(verb: str, by: str, **changes: Any) -> dict[str, str]:
    nonce = f"n{next(_asked):06d}"
    made = Command(verb=CommandVerb(verb), nonce=nonce, subject="r-1@2", by=by, reason="because")
    return {made.key: made.value} | changes


@pytest.fixture
def people(cluster: Cluster, namespace: str, installation: Installation) -> Iterator[People]:
    people = People(cluster, namespace, installation.user)
    people.make_canary()
    yield people
    cluster.kubectl("delete", "clusterrole", f"writer-{namespace}", "--ignore-not-found")


def test_the_expressions_fit_the_types_of_what_they_judge(
    cluster: Cluster, installation: Installation
):
    def judged() -> dict[str, Any] | None:
        policy = cluster.get("validatingadmissionpolicy", "canaryd-commands")
        status = policy.get("status") or {}
        return status if status.get("typeChecking") is not None else None

    found = cluster.wait_for("the API server's own check", judged)
    assert {} == found["typeChecking"]


@pytest.mark.parametrize("role", MAY)
def test_each_role_of_the_chart_gives_its_commands_and_no_other(people: People, role: str):
    people.bind(f"canaryd-{role}", "alice")
    taken = set()
    for verb in VERBS:
        refused = people.ask("alice", command(verb, "alice"))
        if not refused:
            taken.add(verb)
        elif role != "viewer":
            assert f'it takes the verb "{verb}" on canaries.canaryd.io "app"' in refused
    assert MAY[role] == taken
    assert taken == {re.split(r"[/.]", key)[3] for key in people.waiting()}


def test_who_may_change_canaries_but_has_no_verb_can_command_nothing(people: People):
    people.may_patch("alice")
    for verb in VERBS:
        refused = people.ask("alice", command(verb, "alice"))
        assert (
            f'user "alice" may not {verb}: it takes the verb "{verb}" on canaries.canaryd.io'
            f' "app" in namespace "{people.namespace}"' in refused
        )
    assert {} == people.waiting()


def test_a_verb_of_another_namespace_counts_for_nothing_here(people: People):
    people.may_patch("alice")
    people.cluster.kubectl(
        *("create", "rolebinding", f"{people.namespace}-alice", "-n", "default"),
        *("--clusterrole=canaryd-admin", "--user=alice"),
    )
    try:
        assert "may not abort" in people.ask("alice", command("abort", "alice"))
    finally:
        people.cluster.kubectl(
            "delete", "rolebinding", f"{people.namespace}-alice", "-n", "default"
        )


def test_several_commands_at_once_need_the_verb_of_each(people: People):
    people.bind("canaryd-operator", "alice")
    mixed = command("pause", "alice") | command("approve", "alice")
    assert "may not approve" in people.ask("alice", mixed)
    assert {} == people.waiting()


# One namespace for each table: to make one takes longer than to be refused.
PLAIN_NAMES = ("alice", "system:serviceaccount:ci:bot", "jörg@müller.de")
ODD_NAMES = ("Ann O'Neill", "50%20off", "a%25 b")
CLAIMS = [("alice", "bob"), ("a b", "a"), ("a%20b", "a b"), ("a b", "a%20b"), ("alice", "Alice")]


def test_a_command_in_the_name_of_its_writer_passes_whatever_the_name_is(people: People):
    for user in (*PLAIN_NAMES, *ODD_NAMES):
        people.bind("canaryd-operator", user)
        assert "" == people.ask(user, command("pause", user))
    found = [c.by for c in read_commands(people.waiting()) if isinstance(c, Command)]
    assert {*PLAIN_NAMES, *ODD_NAMES} == set(found)


def test_a_command_in_the_name_of_somebody_else_is_refused(people: People):
    for writer in {writer for writer, _ in CLAIMS}:
        people.bind("canaryd-admin", writer)
    for writer, claimed in CLAIMS:
        refused = people.ask(writer, command("approve", claimed))
        assert "a command carries the name of who writes it, here" in refused
    assert {} == people.waiting()


LONG = "x" * 1100


NO_COMMANDS = [
    ("explode.abcd", "r@0 alice", "the verbs are pause, resume"),
    ("pause", "r@0 alice", "the verbs are pause, resume"),
    ("pause.ABCD", "r@0 alice", "the nonce has 4 to 32"),
    ("pause.abc", "r@0 alice", "the nonce has 4 to 32"),
    ("pausexabcd", "r@0 alice", "<verb>.<nonce>"),
    ("pause.abcd", "r@0", "one line"),
    ("pause.abcd", "", "one line"),
    ("pause.abcd", "r@0 alice - one\ntwo", "one line"),
    ("pause.abcd", f"r@0 alice - {LONG}", "1024 characters"),
]


def test_what_is_no_command_is_refused_with_how_to_write_one(people: People):
    people.bind("canaryd-admin", "alice")
    for key, value, why in NO_COMMANDS:
        assert why in people.ask("alice", {f"action.canaryd.io/{key}": value})
    assert {} == people.waiting()


def test_commands_cannot_pile_up(people: People):
    people.bind("canaryd-admin", "alice")
    five = {k: v for _ in range(5) for k, v in command("pause", "alice").items()}
    assert "at most 4 at once" in people.ask("alice", five)
    for _ in range(5):
        four = {k: v for _ in range(4) for k, v in command("pause", "alice").items()}
        assert "" == people.ask("alice", four)
    assert "20 that wait" in people.ask("alice", command("pause", "alice"))


def test_a_command_that_waits_is_nobodys_to_change_or_to_take_back(people: People):
    people.bind("canaryd-admin", "alice")
    people.bind("canaryd-admin", "bob")
    abort = command("abort", "alice")
    assert "" == people.ask("alice", abort)
    [key] = abort

    assert "neither changed nor taken back" in people.ask("bob", {key: None})
    assert "neither changed nor taken back" in people.ask("bob", {key: "other@0 bob"})
    everything = {"metadata": {"annotations": {"note": "x"} | {key: None}}}
    assert "neither changed nor taken back" in people.patch("bob", everything)
    assert "written by canaryd alone" in people.patch("bob", {"metadata": {"annotations": None}})
    assert abort == people.waiting()


OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}


EDITS: list[tuple[dict[str, Any], str]] = [
    ({"spec": {"provider": "smi"}}, "the spec of a Canary is written by canaryd alone"),
    ({"spec": {"values": {"interval": {"value": "1s", "from": "x"}}}}, "the spec of a Canary"),
    ({"metadata": {"labels": {"team": "other"}}}, "everything else is written by canaryd"),
    ({"metadata": {"labels": None}}, "everything else is written by canaryd alone"),
    ({"metadata": {"annotations": {"note": "y"}}}, "everything else is written by canaryd"),
    ({"metadata": {"annotations": {"note": None}}}, "everything else is written by canaryd"),
    ({"metadata": {"annotations": {"more": "z"}}}, "everything else is written by canaryd"),
    ({"metadata": {"ownerReferences": [OWNER]}}, "everything else is written by canaryd"),
    ({"metadata": {"finalizers": ["a.test/b"]}}, "everything else is written by canaryd"),
]


def test_people_edit_nothing_of_a_canary(people: People):
    people.may_patch("alice")
    before = people.cluster.get("canaries.canaryd.io", "app", "-n", people.namespace)
    for body, why in EDITS:
        assert why in people.patch("alice", body)
        assert why in people.patch(ADMINISTRATOR, body)
    assert before == people.cluster.get("canaries.canaryd.io", "app", "-n", people.namespace)


def test_people_write_no_status(people: People):
    people.may_patch("alice")
    forged = {"status": {"phase": "Succeeded"}}
    assert "the status of a Canary is written by canaryd alone" in people.patch(
        "alice", forged, "--subresource=status"
    )
    assert "" == people.patch(people.daemon, forged, "--subresource=status")


def test_people_make_no_canary_but_may_delete_one(people: People):
    people.may_patch("alice")
    assert "" == people.as_user("alice", "delete", "canaries.canaryd.io", "app")
    refused = people.as_user("alice", "create", "-f", "-", input=json.dumps(people.canary()))
    assert "Canaries are made by canaryd; to enrol an app, annotate its Deployment" in refused


def test_a_write_that_changes_nothing_is_nobodys_business(people: People):
    people.may_patch("alice")
    same = people.cluster.get("canaries.canaryd.io", "app", "-n", people.namespace)
    assert "" == people.as_user("alice", "replace", "-f", "-", input=json.dumps(same))


def test_who_collects_garbage_takes_owner_references_away(people: People, cluster: Cluster):
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}
    cluster.apply([made], namespace=people.namespace)
    uid = cluster.get("configmap", "owner", "-n", people.namespace)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    assert "" == people.patch(people.daemon, {"metadata": {"ownerReferences": [owner]}})
    collector = "system:serviceaccount:kube-system:generic-garbage-collector"
    assert "" == people.patch(collector, {"metadata": {"ownerReferences": None}})


# --- commands that a daemon carries out ---


GATED = {"weights": None, "steps": "weight 20; gate qa; weight 50", "gate.qa": "step"}


def test_a_daemon_obeys_in_the_name_of_who_asks_and_who_made_the_revision_approves_nothing(
    cluster: Cluster, namespace: str, daemon: Daemon, installation: Installation
):
    team = Team(cluster, namespace, installation.user)
    app = enrolled(cluster, namespace, **BY_LOAD_ALONE | GATED)
    for role, user in (("operator", "Olga Op"), ("approver", "alice"), ("approver", "bob")):
        team.bind(f"canaryd-{role}", user)
    team.may_patch("alice")
    try:
        assert "" == team.deploy("alice", "two")
    finally:
        cluster.kubectl("delete", "clusterrole", f"writer-{namespace}")
    app.until_weight(20)
    cluster.wait_for("the gate", lambda: "gate qa" in app.status()["message"] or None)

    assert [("pause", "Olga Op", "")] == asked(app, team, "pause", "Olga Op")[-1:]
    assert [("resume", "Olga Op", "")] == asked(app, team, "resume", "Olga Op")[-1:]
    [(_, _, refusal)] = asked(app, team, "approve", "alice")[-1:]
    assert "alice made this revision; somebody else must approve gate qa" == refusal
    assert [("approve", "bob", "")] == asked(app, team, "approve", "bob")[-1:]
    app.until_weight(50)
    assert {} == team.waiting()


def asked(app: App, team: Team, verb: str, user: str) -> list[tuple[str, str, str]]:
    """Ask as ``kubectl canaryd`` does, and return the audit as soon as the daemon has answered."""
    state = memory.load(app.status())
    assert state is not None
    before = len(state.commands)
    [key] = values = command(verb, user)
    assert "" == team.ask(user, {key: values[key].replace("r-1@2", subject_of(state), 1)})

    def answered() -> tuple[CommandRecord, ...] | None:
        now = memory.load(app.status())
        return now.commands if now and len(now.commands) > before else None

    records = app.cluster.wait_for(f"an answer to {verb} by {user}", answered, timeout_s=10)
    return [(r.verb, r.by, r.refusal) for r in records]
