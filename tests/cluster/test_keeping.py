"""What is kept of a user's objects whoever writes them, and who is noted: by the policies, and by the daemon's webhook."""

import json
import time
from collections.abc import Iterator

import pytest

from canaryd.core import names
from tests.cluster import manifests
from tests.cluster.daemon import Installation, running
from tests.cluster.figures import record
from tests.cluster.local.client import Cluster
from tests.cluster.people import Team
from tests.cluster.test_safety import enrolled, put_back

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", params=["policy", "webhook"])
def kept(
    request: pytest.FixtureRequest, cluster: Cluster, installation: Installation
) -> Iterator[str]:
    """By what: the same stories are told under both."""
    if request.param == "policy":
        yield "policy"
        return
    if not cluster.is_local:
        pytest.skip("the API server must reach a daemon on this machine")
    with installation.by_webhook() as other, running(other):
        other.until_webhook()
        yield "webhook"


@pytest.fixture
def team(cluster: Cluster, kept: str, namespace: str, installation: Installation) -> Iterator[Team]:
    team = Team(cluster, namespace, installation.user)
    team.may_patch("alice", "bob", "Ann O'Neill")
    yield team
    cluster.kubectl("delete", "clusterrole", f"writer-{namespace}", "--ignore-not-found")


def test_who_makes_and_who_changes_a_template_is_noted_beside_it(team: Team):
    assert "" == team.deploy("alice")
    assert "alice" == team.author()
    assert "" == team.deploy("Ann O'Neill", "two")
    assert "Ann O'Neill" == team.author()


def test_the_note_does_not_touch_the_template(team: Team):
    team.deploy("alice")
    asked = manifests.podinfo("app", message="one")["spec"]["template"]
    live = team.live()
    assert asked["metadata"] == live["spec"]["template"]["metadata"]
    assert names.AUTHOR not in json.dumps(live["spec"])


def test_whoever_leaves_the_template_alone_leaves_the_note_alone(team: Team):
    team.deploy("alice")
    assert "" == team.deploy("bob", "one", **{"canaryd.io/interval": "30s"})
    assert "" == team.as_user("bob", "scale", "deployment", "app", "--replicas=0")
    assert "" == team.as_user("bob", "annotate", "deployment", "app", "a=b")
    assert "alice" == team.author()


def test_the_note_cannot_be_forged_dropped_or_brought_along(team: Team):
    assert "" == team.deploy("alice", **{names.AUTHOR: "bob"})
    assert "alice" == team.author()
    assert "" == team.note("alice", "bob")
    assert "alice" == team.author()
    assert "" == team.note("alice", None)
    assert "alice" == team.author()
    bare = {"name": "app", "annotations": {"canaryd.io/enabled": "true"}}
    replaced = json.dumps(team.live() | {"metadata": bare})
    assert "" == team.as_user("alice", "replace", "-f", "-", input=replaced)
    assert "alice" == team.author()
    assert "" == team.deploy("bob", "two", **{names.AUTHOR: "alice"})
    assert "bob" == team.author()


def test_where_nobody_is_noted_nobody_can_be(team: Team):
    made = manifests.podinfo("app", replicas=0, annotations={})
    assert "" == team.as_user("alice", "create", "-f", "-", input=json.dumps(made))
    assert "" == team.author()
    assert "" == team.note("alice", "bob")
    assert "" == team.author()


def test_the_daemon_takes_the_note_away(team: Team):
    team.deploy("alice")
    assert "" == team.note(team.daemon, None)
    assert "" == team.author()


# --- selector and replicas ---


@pytest.mark.parametrize("kept", ["webhook"], indirect=True)
def test_X12_replicas_and_selector_put_back_lose_nobody_under_the_daemons_own_webhook(
    cluster: Cluster, namespace: str, kept: str
):
    app = enrolled(cluster, namespace)
    lost, sent = put_back(cluster, app)

    record("lost, selector and replicas written back, webhook", f"{lost} of {sent}", "0")
    assert 0 == lost
    assert 0 == app.replicas_of()
    # Kept, not repaired: nothing had to be pointed back.
    assert [] == app.events("SelectorDrift")


@pytest.mark.parametrize("kept", ["policy"], indirect=True)
def test_a_webhook_that_is_down_holds_nobody_up(
    cluster: Cluster, namespace: str, installation: Installation, kept: str
):
    if not cluster.is_local:
        pytest.skip("the API server must reach a daemon on this machine")
    team = Team(cluster, namespace, installation.user)
    team.may_patch("alice")
    with installation.by_webhook() as other:
        with running(other):
            other.until_webhook()
            assert "" == team.deploy("alice")
            assert "alice" == team.author()
        before = time.monotonic()
        assert "" == team.deploy("alice", "two")
        assert time.monotonic() - before < 5
    cluster.kubectl("delete", "clusterrole", f"writer-{namespace}")
