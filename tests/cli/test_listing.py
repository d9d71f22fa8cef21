"""``canaryd list``: the apps, one a line, in the columns that kubectl shows."""

import asyncio
import json
import re
from pathlib import Path

import pytest
import yaml

from canaryd.cli import listing
from canaryd.cli.exits import Exit
from canaryd.cli.render import Look, paint
from canaryd.cli.render_list import NARROW, WIDE, render
from canaryd.core.kinds import CANARY
from canaryd.core.phase import Phase
from tests.cli import apps
from tests.cli.golden import is_golden
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime
NOW = 1_767_614_400.0
CRD = Path(__file__).parents[2] / "deploy/helm/canaryd/templates/crd-canaries.yaml"


def canaries():
    """Three apps: one under way, one idle, one that failed."""
    states = {
        "podinfo": apps.running(NOW),
        "backend": apps.idle(NOW),
        "cart": apps.idle(NOW, phase=Phase.FAILED, reason="MetricFailed", message="rolled back"),
    }
    made = []
    for name, state in sorted(states.items()):
        canary = apps.canary(state, NOW)
        canary["metadata"] |= {"name": name, "creationTimestamp": "2026-01-01T12:00:00Z"}
        made.append(canary)
    return made


def shown(look, **how):
    lines = render(canaries(), NOW, look, **how)
    return "".join(f"{paint(spans, look)}\n" for spans in lines)


@pytest.mark.parametrize(
    ("name", "look", "how"),
    [
        ("list.txt", Look(), {"is_wide": False, "with_namespace": False}),
        ("list-wide.txt", Look(), {"is_wide": True, "with_namespace": False}),
        ("list-everywhere.txt", Look(), {"is_wide": False, "with_namespace": True}),
        ("list.colored", Look(100, is_colored=True), {"is_wide": False, "with_namespace": False}),
        ("list-wide.narrow", Look(140), {"is_wide": True, "with_namespace": False}),
    ],
)
def test_the_table_is_drawn_as_agreed(name, look, how):
    assert is_golden(name, shown(look, **how))


def test_the_columns_are_those_of_kubectl():
    listed = CRD.read_text(encoding="utf-8").partition("additionalPrinterColumns:\n")[2]
    columns = yaml.safe_load(listed.partition("      schema:")[0])
    names = {
        wide: [c["name"].upper() for c in columns if bool(c.get("priority")) is wide]
        for wide in (False, True)
    }
    assert ["NAME", *names[False]] == list(NARROW)
    assert names[True] == list(WIDE)


@in_a_world
async def test_the_apps_of_a_namespace_are_listed(world):
    world.tell(apps.idle(world.now()))
    outcome = await world("list")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    head, row = outcome.out.splitlines()
    assert list(NARROW) == head.split()
    assert ["podinfo", "Succeeded", "0", "True", "Promoted", "0s"] == row.split()


async def two_namespaces(world):
    world.tell(apps.idle(world.now()))
    other = apps.canary(apps.idle(world.now()), world.now())
    other["metadata"] |= {"namespace": "bank", "labels": {"team": "money"}}
    world.server.put(other)


@in_a_world
async def test_the_apps_of_every_namespace_are_listed_with_it(world):
    await two_namespaces(world)
    outcome = await world("list", "-A")
    assert ["bank", "shop"] == [row.split()[0] for row in outcome.out.splitlines()[1:]]


@in_a_world
async def test_another_namespace_is_looked_into_when_it_is_named(world):
    await two_namespaces(world)
    outcome = await world("list", "-n", "bank", "-o", "json")
    assert ["bank"] == [app["namespace"] for app in json.loads(outcome.out)["apps"]]


@in_a_world
async def test_apps_are_chosen_by_labels(world):
    await two_namespaces(world)
    outcome = await world("list", "-A", "-l", "team=money", "-o", "name")
    assert "canary.canaryd.io/podinfo\n" == outcome.out


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@in_a_world
async def test_programs_get_the_public_part_of_each_status(world, output, read):
    world.tell(apps.idle(world.now()))
    [app] = read((await world("list", "-o", output)).out)["apps"]
    assert ("shop", "podinfo", "nginx", "1m") == (
        app["namespace"],
        app["name"],
        app["provider"],
        app["interval"],
    )
    assert "Succeeded" == app["status"]["phase"]
    assert "machine" not in app["status"]


@pytest.mark.parametrize(
    ("arguments", "place"), [((), "namespace shop"), (("-A",), "any namespace")], ids=["one", "all"]
)
@in_a_world
async def test_that_there_are_none_is_said_beside_the_output(world, arguments, place):
    outcome = await world("list", *arguments)
    expected = (Exit.OK, "", f"canaryd: there are no Canaries in {place}\n")
    assert expected == (outcome.code, outcome.out, outcome.err)


@in_a_world
async def test_a_cluster_without_canaryd_is_told(world):
    world.server.uninstall(CANARY)
    outcome = await world("list")
    expected = "canaryd: the cluster does not know canaries.canaryd.io: is canaryd installed?\n"
    assert (Exit.FAILED, "", expected) == (outcome.code, outcome.out, outcome.err)


@in_a_world
async def test_a_canary_without_a_status_has_a_row(world):
    world.tell(None)
    outcome = await world("list", "-o", "wide")
    assert ["podinfo", "0s", "nginx", "1m"] == outcome.out.splitlines()[1].split()


# --- watching ---


@in_a_world
async def test_what_changes_is_added_below(world):
    world.tell(apps.running(world.now()))
    other = apps.canary(apps.idle(world.now()), world.now())
    other["metadata"]["name"] = "backend"
    world.server.put(other)

    async def story():
        await asyncio.sleep(2 * listing.AGAIN_S)
        world.tell(apps.idle(world.now()))
        await asyncio.sleep(3 * listing.AGAIN_S)
        world.server.uninstall(CANARY)

    async with running(story()):
        outcome = await world("list", "--watch")
    rows = [re.split(r"   +", row)[:2] for row in outcome.out.splitlines()]
    assert [
        ["NAME", "STATUS"],
        ["backend", "Succeeded"],
        ["podinfo", "Progressing"],
        ["podinfo", "Succeeded"],
    ] == rows


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-A", "-n", NAMESPACE), "Error: -n and -A exclude each other; give one of them"),
        (("-w", "-o", "json"), "Error: --watch shows a table, not json"),
    ],
    ids=["two scopes", "a watch for programs"],
)
@in_a_world
async def test_slips_are_explained(world, arguments, expected):
    outcome = await world("list", *arguments)
    assert Exit.USAGE == outcome.code
    assert expected in outcome.err
