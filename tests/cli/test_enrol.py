"""``canaryd enrol`` and ``canaryd leave``: the wish is written, and waited for until it is true."""

import asyncio
import json

import pytest
import yaml

from canaryd.cli.exits import Exit
from canaryd.core.kinds import CANARY, DEPLOYMENT, NAMESPACE
from canaryd.core.phase import Phase
from tests.cli import apps
from tests.cli.golden import is_golden
from tests.cli.world import in_a_world
from tests.fakes.apiserver import FORBIDDEN
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime
SHOP = apps.NAMESPACE


def plain(**more):
    made = apps.deployment(plan={})
    made["metadata"] |= more
    return made


def annotations(world):
    return world.server.object(DEPLOYMENT, SHOP, "podinfo")["metadata"].get("annotations") or {}


async def after(seconds, action):
    await asyncio.sleep(seconds)
    action()


# --- the patch ---


@pytest.mark.parametrize("output", ["yaml", "json"])
@in_a_world
async def test_a_dry_run_prints_the_patch_and_sends_nothing(world, output):
    world.server.put(plain())
    values = ("interval=30s", "canaryd.io/metric.success-rate=>= 99", "weights-")
    outcome = await world("enrol", "deploy/podinfo", *values, "--dry-run", "-o", output)
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert is_golden(f"enrol-dry-run.{output}", outcome.out)
    read = yaml.safe_load if output == "yaml" else json.loads
    assert {
        "canaryd.io/enabled": "true",
        "canaryd.io/interval": "30s",
        "canaryd.io/metric.success-rate": ">= 99",
        "canaryd.io/weights": None,
    } == read(outcome.out)["metadata"]["annotations"]
    assert {} == annotations(world)
    assert [] == world.server.requests.writes()


@in_a_world
async def test_what_lint_refuses_is_refused_and_nothing_is_sent(world):
    world.server.put(plain())
    outcome = await world("enrol", "podinfo", "interval=10 minutes", "weigths=5,20")
    assert (Exit.INVALID, "") == (outcome.code, outcome.out)
    assert is_golden("enrol-refused.txt", outcome.err)
    assert {} == annotations(world)


@in_a_world
async def test_what_is_there_already_and_the_defaults_of_the_namespace_are_checked_too(world):
    world.server.put(plain(annotations={"canaryd.io/step-weight": "10"}))
    metadata = {"name": SHOP, "annotations": {"defaults.canaryd.io/interval": "soon"}}
    world.server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    outcome = await world("enrol", "podinfo", "weights=5,20")
    assert Exit.INVALID == outcome.code
    assert "defaults.canaryd.io/interval" in outcome.err
    assert "cannot stand beside" in outcome.err


@in_a_world
async def test_a_key_that_is_taken_away_is_not_checked(world):
    world.server.put(plain(annotations={"canaryd.io/step-weight": "10"}))
    outcome = await world("enrol", "podinfo", "weights=5,20", "step-weight-", "--no-wait")
    assert Exit.OK == outcome.code
    assert {"canaryd.io/enabled": "true", "canaryd.io/weights": "5,20"} == annotations(world)


@in_a_world
async def test_a_namespace_that_may_not_be_read_is_left_out_of_the_check(world):
    world.server.put(plain())
    world.server.faults.on(FORBIDDEN, kind=NAMESPACE)
    outcome = await world("enrol", "podinfo", "--no-wait")
    assert Exit.OK == outcome.code
    assert "canaryd: the namespace's defaults may not be read" in outcome.err


@in_a_world
async def test_who_applies_the_deployment_from_git_is_named(world):
    world.server.apply(plain(), "argocd-controller")
    outcome = await world("enrol", "podinfo", "--no-wait")
    assert (
        "canaryd: Argo CD applies this Deployment: write the annotations into its source"
        in outcome.err
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("interval",), '"interval" is neither KEY=VALUE nor KEY-'),
        (("=1m",), '"=1m" is neither KEY=VALUE nor KEY-'),
        (("-",), '"-" is neither KEY=VALUE nor KEY-'),
        (("enabled=false",), 'enabled must be "true" to enrol; canaryd leave gives back'),
    ],
    ids=["no value", "no key", "nothing", "not enabled"],
)
@in_a_world
async def test_slips_are_explained(world, values, expected):
    world.server.put(plain())
    outcome = await world("enrol", "podinfo", *values)
    assert Exit.USAGE == outcome.code
    assert expected in outcome.err
    assert {} == annotations(world)


@pytest.mark.parametrize("verb", ["enrol", "leave"])
@in_a_world
async def test_a_deployment_that_is_not_there_is_told(world, verb):
    outcome = await world(verb, "podinfo")
    expected = (Exit.FAILED, "canaryd: there is no Deployment shop/podinfo\n")
    assert expected == (outcome.code, outcome.err)


# --- until it is enrolled ---


@in_a_world
async def test_it_ends_when_users_are_served_by_the_primary(world):
    world.server.put(plain())
    making = apps.idle(
        world.now(), phase=Phase.INITIALIZING, promoted="", message="making the primary"
    )
    made = apps.idle(world.now(), phase=Phase.INITIALIZED, message="enrolled at 07b1913898")
    story = (after(2.0, lambda: world.tell(making)), after(30.0, lambda: world.tell(made)))
    async with running(*story):
        outcome = await world("enrol", "podinfo")
    assert (Exit.OK, "podinfo enrolled: enrolled at 07b1913898\n") == (outcome.code, outcome.out)
    assert "making the primary\nenrolled at 07b1913898\n" == outcome.err


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        (
            {"reason": "ServiceNotFound", "message": "no Service selects the pods"},
            Exit.FAILED,
            "canaryd: it needs a person: no Service selects the pods\n",
        ),
        (
            {"config_error": "canaryd.io/interval: above the limit of the installation"},
            Exit.INVALID,
            "canaryd: canaryd refuses the annotations: canaryd.io/interval: above",
        ),
    ],
    ids=["an obstacle", "a policy of the installation"],
)
@in_a_world
async def test_what_needs_a_person_ends_it(world, changes, code, expected):
    world.server.put(plain())
    state = apps.idle(world.now(), phase=Phase.INITIALIZING, promoted="", **changes)
    async with running(after(2.0, lambda: world.tell(state))):
        outcome = await world("enrol", "podinfo")
    assert (code, "") == (outcome.code, outcome.out)
    assert expected in outcome.err


@in_a_world
async def test_a_daemon_that_does_not_look_is_waited_for_so_long(world):
    world.server.put(plain())
    outcome = await world("enrol", "podinfo", "--timeout", "1m")
    assert Exit.TIMED_OUT == outcome.code
    assert (
        "canaryd: not enrolled within 1m: canaryd has not looked at it yet; is it running, and does"
        " it watch this namespace?\n"
    ) == outcome.err


@in_a_world
async def test_an_app_that_is_enrolled_takes_new_annotations_with_its_next_run(world):
    world.server.put(plain())
    world.tell(apps.idle(world.now()))
    outcome = await world("enrol", "podinfo", "interval=30s")
    expected = "podinfo is enrolled already; its next run takes the new annotations\n"
    assert (Exit.OK, expected) == (outcome.code, outcome.out)
    assert "30s" == annotations(world)["canaryd.io/interval"]


# --- leaving ---


@in_a_world
async def test_leaving_ends_when_the_canary_is_gone(world):
    world.server.put(apps.deployment())
    world.tell(apps.idle(world.now()))
    going = apps.idle(world.now(), phase=Phase.TERMINATING, message="scaling the target to 3")
    gone = after(60.0, lambda: world.server.remove(CANARY, SHOP, "podinfo"))
    async with running(after(5.0, lambda: world.tell(going)), gone):
        outcome = await world("leave", "podinfo")
    assert (Exit.OK, "podinfo is on its own again\n") == (outcome.code, outcome.out)
    assert outcome.err.endswith("scaling the target to 3\n")
    assert "false" == annotations(world)["canaryd.io/enabled"]


@in_a_world
async def test_whoever_does_not_wait_is_told_what_is_to_come(world):
    world.server.put(apps.deployment())
    world.tell(apps.idle(world.now()))
    outcome = await world("leave", "podinfo", "--no-wait")
    expected = "podinfo is to be given back; canaryd does it when it sees it\n"
    assert (Exit.OK, expected) == (outcome.code, outcome.out)


@in_a_world
async def test_what_was_not_enrolled_has_left_already(world):
    world.server.put(plain())
    outcome = await world("leave", "podinfo")
    assert (Exit.OK, "podinfo was not enrolled\n") == (outcome.code, outcome.out)


@in_a_world
async def test_leaving_that_takes_too_long_says_where_it_stands(world):
    world.server.put(apps.deployment())
    world.tell(apps.idle(world.now(), message="waiting for the target's rollout"))
    outcome = await world("leave", "podinfo", "--timeout", "1m")
    assert Exit.TIMED_OUT == outcome.code
    assert outcome.err.endswith(
        "canaryd: not given back within 1m: waiting for the target's rollout\n"
    )
