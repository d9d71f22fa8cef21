"""``canaryd diff``: what a promotion would change, and never a value of a Secret."""

import base64
import json

import pytest
import yaml

from canaryd.cli.compare import Config, Revision, changes
from canaryd.cli.exits import Exit
from canaryd.cli.render import PLAIN, Look, paint
from canaryd.cli.render_diff import render_diff
from canaryd.core.kinds import SECRET
from canaryd.core.phase import Phase
from tests.cli import apps
from tests.cli.golden import is_golden
from tests.cli.world import NAMESPACE, in_a_world
from tests.fakes.apiserver import FORBIDDEN

pytestmark = pytest.mark.looptime
PASSWORD, NEW_PASSWORD = "correct horse", "battery staple"


def secret(**values):
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


BEFORE = Revision(
    "07b1913898",
    apps.template(terminationGracePeriodSeconds=30),
    {
        "configmap/settings": Config(
            "settings-1", {"LEVEL": "info", "app.ini": "[a]\nx = 1\ny = 2\n", "OLD": ""}
        ),
        "configmap/flags": Config("flags-1", {}),
        "secret/keys": Config("keys-1", secret(password=PASSWORD, old="x", same="same")),
        "secret/hidden": Config("hidden-1", None),
    },
)
AFTER = Revision(
    "3d4993f59f",
    apps.template("podinfo:2", nodeSelector={"kubernetes.io/arch": "arm64"}),
    {
        "configmap/settings": Config(
            "settings-2", {"LEVEL": "debug", "app.ini": "[a]\nx = 1\ny = 3\n", "NEW": "1"}
        ),
        "configmap/extra": Config("extra-1", {}),
        "secret/keys": Config("keys-2", secret(password=NEW_PASSWORD, new="y", same="same")),
        "secret/hidden": Config("hidden-2", None),
    },
)


@pytest.mark.parametrize(
    ("name", "look"), [("diff.txt", PLAIN), ("diff.colored", Look(100, is_colored=True))]
)
def test_differences_are_told_as_agreed(name, look):
    lines = render_diff(
        "podinfo in shop: 07b1913898 (primary) → 3d4993f59f", changes(BEFORE, AFTER)
    )
    assert is_golden(name, "".join(f"{paint(spans, look)}\n" for spans in lines))


def test_equal_revisions_have_no_difference():
    assert () == changes(BEFORE, BEFORE)


def test_no_value_of_a_secret_gets_out():
    told = repr(changes(BEFORE, AFTER))
    for value in (PASSWORD, NEW_PASSWORD, "same"):
        assert value not in told
        assert base64.b64encode(value.encode()).decode() not in told


def test_items_of_a_list_are_known_by_their_names():
    first = {"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}}
    second = {
        "spec": {"containers": [{"name": "b", "image": "b:1"}, {"name": "a", "image": "a:2"}]}
    }
    [change] = changes(Revision("1", first), Revision("2", second))
    expected = ("spec.containers[a].image", '"a:1"', '"a:2"')
    assert expected == (change.path, change.before, change.after)


@pytest.mark.parametrize(
    "items", [[{"name": "a"}, {"name": "a"}], [{"port": 1}, {"port": 2}], [1, 2]]
)
def test_items_without_names_of_their_own_are_counted(items):
    [change] = changes(
        Revision("1", {"spec": {"x": items}}), Revision("2", {"spec": {"x": [*items, 3]}})
    )
    assert ("spec.x[2]", None, "3") == (change.path, change.before, change.after)


# --- from the cluster ---


def recorded(name, template, configs=None):
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"namespace": NAMESPACE, "name": f"podinfo-canaryd-{name}"},
        "revision": 1,
        "data": {"template": template, "configs": configs or {}},
    }


def config(name, data, kind="ConfigMap", **more):
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"namespace": NAMESPACE, "name": name},
        "data": data,
    } | more


def put_both(world):
    """The promoted revision and the one under way, as snapshots with copies of their configs."""
    state = apps.running(world.now())
    configs = {"configmap/settings": "settings-1", "secret/keys": "keys-1"}
    world.server.put(recorded(state.promoted, apps.template(), configs))
    configs = {"configmap/settings": "settings-2", "secret/keys": "keys-2"}
    world.server.put(recorded(state.run.revision, apps.template("podinfo:2"), configs))
    world.server.put(config("settings-1", {"LEVEL": "info"}, binaryData={"logo": "AAEC"}))
    world.server.put(config("settings-2", {"LEVEL": "debug"}, binaryData={"logo": "AAED"}))
    world.server.put(config("keys-1", secret(password=PASSWORD), "Secret"))
    world.server.put(config("keys-2", secret(password=NEW_PASSWORD), "Secret"))
    world.tell(state)
    return state


@in_a_world
async def test_what_is_under_way_is_compared_with_what_the_primary_runs(world):
    state = put_both(world)
    world.server.put(apps.deployment("podinfo:3"))
    outcome = await world("diff", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    title, *lines = outcome.out.splitlines()
    expected = f"podinfo in shop: {state.promoted} (primary) → {state.run.revision} (under way)"
    assert expected == title
    assert '+ spec.containers[app].image: "podinfo:2"' in lines
    assert ["- LEVEL: info", "+ LEVEL: debug"] == [text for text in lines if "LEVEL" in text]
    assert "  password differs" in lines
    assert 2 == sum("logo: (binary, " in text for text in lines)
    assert PASSWORD not in outcome.out


@in_a_world
async def test_a_secret_that_may_not_be_read_still_differs(world):
    put_both(world)
    world.server.faults.on(FORBIDDEN, kind=SECRET)
    outcome = await world("diff", "podinfo")
    assert Exit.OK == outcome.code
    assert "secret/keys\n  differs, and may not be read\n" in outcome.out


@in_a_world
async def test_a_deployment_that_nobody_recorded_is_compared_as_it_is(world):
    world.server.put(apps.deployment("podinfo:9"))
    live = world.server.put(apps.deployment("podinfo:1"))["spec"]["template"]
    state = apps.idle(world.now(), promoted=apps.revision(live))
    world.server.put(recorded(state.promoted, live))
    world.tell(state)
    world.server.put(apps.deployment("podinfo:9"))
    outcome = await world("diff", "podinfo")
    title, _, where, *lines = outcome.out.splitlines()
    assert title.endswith("(primary) → the Deployment as it is")
    assert "template" == where
    assert [
        '- spec.containers[app].image: "podinfo:1"',
        '+ spec.containers[app].image: "podinfo:9"',
    ] == lines


@in_a_world
async def test_what_is_promoted_already_is_no_difference(world):
    live = world.server.put(apps.deployment())["spec"]["template"]
    state = apps.idle(world.now(), promoted=apps.revision(live))
    world.server.put(recorded(state.promoted, live))
    world.tell(state)
    outcome = await world("diff", "podinfo")
    assert outcome.out.endswith(f"→ {state.promoted} (promoted)\nno difference\n")


@in_a_world
async def test_a_revision_that_failed_is_compared_from_its_snapshot(world):
    live = world.server.put(apps.deployment("podinfo:2"))["spec"]["template"]
    bad = apps.revision(live)
    told = {"phase": Phase.FAILED, "failed": bad, "failed_tracking": apps.RULE}
    state = apps.idle(world.now(), **told)
    world.server.put(recorded(state.promoted, apps.template()))
    world.server.put(recorded(bad, apps.template("podinfo:2")))
    world.tell(state)
    outcome = await world("diff", "podinfo")
    assert outcome.out.splitlines()[0].endswith(f"→ {bad} (failed)")
    assert '+ spec.containers[app].image: "podinfo:2"' in outcome.out


@in_a_world
async def test_live_configs_are_read_by_their_own_names(world):
    uses = [{"name": "app", "image": "a", "envFrom": [{"configMapRef": {"name": "settings"}}]}]
    deployment = apps.deployment()
    deployment["spec"]["template"]["spec"]["containers"] = uses
    live = world.server.put(deployment)["spec"]["template"]
    state = apps.idle(world.now())
    world.server.put(recorded(state.promoted, live, {"configmap/settings": "settings-1"}))
    world.server.put(config("settings-1", {"LEVEL": "info"}))
    world.server.put(config("settings", {"LEVEL": "debug"}))
    world.tell(state)
    outcome = await world("diff", "podinfo")
    assert outcome.out.endswith("\nconfigmap/settings\n- LEVEL: info\n+ LEVEL: debug\n")


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@in_a_world
async def test_programs_get_every_change(world, output, read):
    state = put_both(world)
    found = read((await world("diff", "podinfo", "-o", output)).out)
    assert (state.promoted, state.run.revision) == (found["from"], found["to"])
    [told] = [change for change in found["changes"] if change["where"] == "secret/keys"]
    assert {
        "where": "secret/keys",
        "path": "password",
        "before": None,
        "after": None,
        "word": "differs",
    } == told


@in_a_world
async def test_without_a_snapshot_of_the_promoted_revision_it_is_told(world):
    state = apps.running(world.now())
    world.tell(state)
    outcome = await world("diff", "podinfo")
    assert Exit.FAILED == outcome.code
    assert f"ControllerRevision podinfo-canaryd-{state.promoted}" in outcome.err


@in_a_world
async def test_an_app_without_a_promoted_revision_has_nothing_to_compare(world):
    world.tell(None)
    outcome = await world("diff", "podinfo")
    expected = "canaryd: podinfo is not enrolled yet: nothing was promoted\n"
    assert (Exit.REFUSED, expected) == (outcome.code, outcome.err)
