"""ConfigMaps and Secrets belong to a revision: cases X8 to X10.

What the primary reads are immutable copies of its own; what somebody edits is seen by the canary first.
"""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from canaryd.core.kinds import CONFIG_MAP, CONTROLLER_REVISION, SECRET, Kind
from tests.fakes.apiserver import INTERNAL_ERROR
from tests.scenarios.harness import NAMESPACE, Story, plan, scenario

pytestmark = [pytest.mark.looptime, pytest.mark.slow]


def config(kind: Kind, name: str = "settings", **parts: Any) -> dict[str, Any]:
    meta = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": "v1", "kind": kind.kind, "metadata": meta, **parts}


def container(**fields: Any) -> dict[str, Any]:
    ports = [{"containerPort": 8080}]
    return {"containers": [{"name": "app", "image": "app:1", "ports": ports, **fields}]}


MOUNTED = {"volumes": [{"name": "settings", "configMap": {"name": "settings"}}]}
USES = {
    "configmap-volume": (CONFIG_MAP, MOUNTED),
    "configmap-env-from": (
        CONFIG_MAP,
        container(envFrom=[{"configMapRef": {"name": "settings"}}]),
    ),
    "configmap-key": (
        CONFIG_MAP,
        container(
            env=[
                {
                    "name": "colour",
                    "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}},
                }
            ]
        ),
    ),
    "configmap-projected": (
        CONFIG_MAP,
        {
            "volumes": [
                {"name": "all", "projected": {"sources": [{"configMap": {"name": "settings"}}]}}
            ]
        },
    ),
    "secret-volume": (
        SECRET,
        {"volumes": [{"name": "settings", "secret": {"secretName": "settings"}}]},
    ),
    "secret-env-from": (SECRET, container(envFrom=[{"secretRef": {"name": "settings"}}])),
}
BLUE, RED = {"colour": "Ymx1ZQ=="}, {"colour": "cmVk"}


def used_by(told: Story, deployment: str) -> set[str]:
    """Configs that the running pods of a Deployment have, by name."""
    names = set()
    for pod in told.cluster.pods(NAMESPACE, deployment):
        names |= {name.partition("/")[2] for name in pod.config_volumes}
        for part in pod.template["spec"]["containers"]:
            for source in part.get("envFrom") or ():
                names |= {reference["name"] for reference in source.values()}
            for variable in part.get("env") or ():
                names |= {reference["name"] for reference in variable["valueFrom"].values()}
    return names


@pytest.mark.parametrize("use", USES)
@scenario
async def test_a_change_of_a_config_alone_is_a_revision_of_its_own(told: Story, use):
    kind, pod_spec = USES[use]
    told.server.put(config(kind, data=BLUE))
    await told.enrol(pod_spec=pod_spec)
    [blue] = used_by(told, "app-primary")
    assert BLUE == told.stored(kind, blue)["data"]

    told.server.put(config(kind, data=RED))
    await told.until_weight(20)
    assert {blue} == used_by(told, "app-primary")
    assert BLUE == told.stored(kind, blue)["data"]
    await told.until_phase("Succeeded")

    await told.until(lambda: used_by(told, "app-primary") != {blue}, "the old pods are gone")
    await told.until(lambda: len(used_by(told, "app-primary")) == 1, "the old pods are gone")
    [red] = used_by(told, "app-primary")
    assert RED == told.stored(kind, red)["data"]
    assert told.stored(kind, red)["immutable"] is True


@scenario
async def test_X8_a_config_that_fails_is_never_seen_by_the_primarys_pods(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.enrol(pod_spec=MOUNTED)
    told.users()
    [blue] = used_by(told, "app-primary")
    before = told.template()
    told.source.bad_images.add("app:1")  # the image is the same: the config is what is bad

    told.server.put(config(CONFIG_MAP, data={"colour": "red"}))
    await told.until_phase("Failed")
    told.cluster.kill_pods("app-primary")
    await asyncio.sleep(10)

    assert before == told.template()
    assert {blue} == used_by(told, "app-primary")
    assert {"colour": "blue"} == told.stored(CONFIG_MAP, blue)["data"]


@scenario
async def test_X9_two_apps_that_share_a_config_are_judged_each_for_itself(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.enrol("good", pod_spec=MOUNTED, host="good.test", image="good:1")
    await told.enrol("bad", pod_spec=MOUNTED, host="bad.test", image="bad:1")
    [of_good], [of_bad] = used_by(told, "good-primary"), used_by(told, "bad-primary")
    assert of_good != of_bad
    told.source.bad_images.add("bad:1")

    told.server.put(config(CONFIG_MAP, data={"colour": "red"}))
    await told.until_phase("Succeeded", "good")
    await told.until_phase("Failed", "bad")
    await asyncio.sleep(10)

    assert {of_bad} == used_by(told, "bad-primary")
    assert {"colour": "blue"} == told.stored(CONFIG_MAP, of_bad)["data"]
    [now] = used_by(told, "good-primary")
    assert {"colour": "red"} == told.stored(CONFIG_MAP, now)["data"]


@scenario
async def test_X10_binary_data_and_immutable_secrets_are_copied_exactly(told: Story):
    binary = config(CONFIG_MAP, "logo", data={"a": "b"}, binaryData={"logo.png": "iVBORw0KGgo="})
    sealed = config(SECRET, "key", data={"tls.key": "aw=="}, type="example.com/key", immutable=True)
    told.server.put(binary)
    told.server.put(sealed)
    volumes = [
        {"name": "logo", "configMap": {"name": "logo"}},
        {"name": "key", "secret": {"secretName": "key"}},
    ]
    await told.enrol(pod_spec={"volumes": volumes})

    names = sorted(used_by(told, "app-primary"))
    copied_key, copied_logo = told.stored(SECRET, names[0]), told.stored(CONFIG_MAP, names[1])
    assert {"logo.png": "iVBORw0KGgo="} == copied_logo["binaryData"]
    assert {"a": "b"} == copied_logo["data"]
    assert ({"tls.key": "aw=="}, "example.com/key") == (copied_key["data"], copied_key["type"])

    told.server.put(binary | {"binaryData": {"logo.png": "R0lGODlh"}})
    await told.until_weight(20)
    await told.until_phase("Succeeded")
    await asyncio.sleep(5)
    [logo] = [n for n in used_by(told, "app-primary") if n.startswith("logo")]
    assert {"logo.png": "R0lGODlh"} == told.stored(CONFIG_MAP, logo)["binaryData"]


@scenario
async def test_a_config_put_back_in_mid_run_ends_the_run(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.enrol(pod_spec=MOUNTED)
    told.server.put(config(CONFIG_MAP, data={"colour": "red"}))
    await told.until_weight(20)
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))

    assert await told.until_weight(0) < 1
    await told.until_idle()
    assert ["Cancelled"] == told.results()
    assert "Initialized" == told.phase()


@scenario
async def test_a_config_that_is_gone_starts_and_promotes_nothing_and_is_named(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.enrol(pod_spec=MOUNTED)
    told.server.remove(CONFIG_MAP, NAMESPACE, "settings")
    await asyncio.sleep(1)  # seen in that order: the two come by watches of their own
    told.set_image("app:2")
    await told.until_event("ConfigMissing")
    await asyncio.sleep(30)

    assert "Initialized" == told.phase()
    assert "ConfigMap settings" in told.message()
    assert 2 == told.cluster.ready(NAMESPACE, "app-primary")
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.until_phase("Succeeded")


@scenario
async def test_a_config_that_cannot_be_read_is_no_change(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.enrol(pod_spec=MOUNTED)
    fault = told.server.faults.on(INTERNAL_ERROR, verb="get", kind=CONFIG_MAP)
    told.server.put(config(CONFIG_MAP, data={"colour": "red"}))
    await told.until_event("ConfigUnreadable")
    await asyncio.sleep(60)
    assert "Initialized" == told.phase()

    fault.stop()
    await told.until_phase("Succeeded")


@scenario
async def test_an_excluded_config_is_shared_and_starts_nothing(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "blue"}))
    await told.enrol(pod_spec=MOUNTED, annotations=plan(config_exclude="configmap/settings"))
    assert {"settings"} == used_by(told, "app-primary")
    told.server.put(config(CONFIG_MAP, data={"colour": "red"}))
    await asyncio.sleep(30)

    assert "Initialized" == told.phase()


@scenario
async def test_copies_and_snapshots_of_old_revisions_are_collected(told: Story):
    told.server.put(config(CONFIG_MAP, data={"colour": "0"}))
    await told.enrol(pod_spec=MOUNTED, annotations=plan(history_limit="2"))
    for number in range(1, 5):
        told.server.put(config(CONFIG_MAP, data={"colour": str(number)}))
        await told.until_phase("Progressing")
        await told.until_phase("Succeeded")
    await asyncio.sleep(5)

    copies = [c for c in told.server.objects(CONFIG_MAP, NAMESPACE) if c.get("immutable")]
    assert {"3", "4"} == {c["data"]["colour"] for c in copies}
    assert 2 == len(told.server.objects(CONTROLLER_REVISION, NAMESPACE))
    assert used_by(told, "app-primary") <= {c["metadata"]["name"] for c in copies}


# --- what is tracked ---


@pytest.mark.parametrize(
    "setting", [{"config_exclude": "configmap/settings"}, {"config_tracking": "disabled"}]
)
@scenario
async def test_a_setting_about_tracking_starts_no_run_and_holds_from_the_next_revision_on(
    told: Story, setting
):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED)
    told.annotate(**setting)
    await asyncio.sleep(120)
    assert "Initialized" == told.phase()

    # What is not tracked any more is no reason for a run either.
    told.server.put(config(CONFIG_MAP, data=RED))
    await asyncio.sleep(120)
    assert "Initialized" == told.phase()

    told.set_image("app:2")
    await told.until_phase("Succeeded")
    assert {"settings"} == used_by(told, "app-primary")


@scenario
async def test_a_config_that_is_tracked_newly_starts_a_run_when_it_changes_and_not_before(
    told: Story,
):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED, annotations=plan(config_exclude="configmap/settings"))
    told.annotate(config_exclude=None)
    await asyncio.sleep(120)
    assert "Initialized" == told.phase()

    told.server.put(config(CONFIG_MAP, data=RED))
    await told.until_phase("Succeeded")
    [copied] = used_by(told, "app-primary")
    assert RED == told.stored(CONFIG_MAP, copied)["data"]


@scenario
async def test_a_daemon_that_may_not_read_secrets_any_more_starts_no_run(told: Story):
    told.server.put(config(SECRET, data=BLUE))
    await told.enrol(pod_spec=USES["secret-volume"][1])
    for allowed in (False, True):
        told.options = replace(told.options, secrets=allowed)
        await told.restart()
        await asyncio.sleep(120)
        assert "Initialized" == told.phase()


# --- what the owner of the data says on it ---


def annotated(data: dict[str, str], **wishes: str) -> dict[str, Any]:
    made = config(CONFIG_MAP, data=data)
    made["metadata"]["annotations"] = {f"canaryd.io/{key}": text for key, text in wishes.items()}
    return made


@scenario
async def test_a_config_whose_owner_wants_it_untracked_is_shared_and_starts_nothing(told: Story):
    told.server.put(annotated(BLUE, track="false"))
    await told.enrol(pod_spec=MOUNTED)
    assert {"settings"} == used_by(told, "app-primary")
    told.server.put(annotated(RED, track="false"))
    await asyncio.sleep(30)

    assert "Initialized" == told.phase()
    assert [] == [c for c in told.server.objects(CONFIG_MAP, NAMESPACE) if c.get("immutable")]


@scenario
async def test_a_config_whose_owner_wants_no_copies_starts_a_run_and_is_shared(told: Story):
    told.server.put(annotated(BLUE, copy="false"))
    await told.enrol(pod_spec=MOUNTED)
    assert {"settings"} == used_by(told, "app-primary")
    told.server.put(annotated(RED, copy="false"))
    await told.until_weight(20)
    await told.until_phase("Succeeded")

    assert {"settings"} == used_by(told, "app-primary")
    assert [] == [c for c in told.server.objects(CONFIG_MAP, NAMESPACE) if c.get("immutable")]


@pytest.mark.parametrize("wish", [{"track": "false"}, {"copy": "false"}])
@scenario
async def test_a_wish_of_a_configs_owner_starts_no_run_and_holds_from_the_next_revision_on(
    told: Story, wish
):
    told.server.put(annotated(BLUE))
    await told.enrol(pod_spec=MOUNTED)
    [copied] = used_by(told, "app-primary")
    told.server.put(annotated(BLUE, **wish))
    await asyncio.sleep(120)
    assert ("Initialized", {copied}) == (told.phase(), used_by(told, "app-primary"))

    told.set_image("app:2")
    await told.until_phase("Succeeded")
    await told.until(lambda: used_by(told, "app-primary") == {"settings"}, "it is shared")

    told.server.put(annotated(BLUE))
    await asyncio.sleep(120)
    assert ("Succeeded", {"settings"}) == (told.phase(), used_by(told, "app-primary"))
    told.set_image("app:3")
    await told.until_phase("Progressing")
    await told.until_phase("Succeeded")
    await told.until(lambda: used_by(told, "app-primary") == {copied}, "copied again")


@scenario
async def test_a_wish_that_cannot_be_read_is_a_caution_and_the_config_is_copied(told: Story):
    told.server.put(annotated(BLUE, track="no", cpoy="false"))
    await told.enrol(pod_spec=MOUNTED)
    assert {"settings"} != used_by(told, "app-primary")
    await told.until(lambda: len(told.status()["cautions"]) == 2, "both are told")
    cautions = sorted(told.status()["cautions"])
    assert cautions[0].startswith("ConfigMap settings: canaryd.io/cpoy: is not a key of a")
    assert 'canaryd.io/track: "no" is neither true nor false' in cautions[1]
    assert cautions[1].endswith('meanwhile it counts as "true"')

    told.server.put(annotated(BLUE))
    await told.until(lambda: not told.status().get("cautions"), "the cautions are over")


@scenario
async def test_a_shared_config_that_is_gone_is_said_in_words_that_fit(told: Story):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED, annotations=plan(config_exclude="configmap/settings"))
    told.server.remove(CONFIG_MAP, NAMESPACE, "settings")
    await told.until(lambda: "does not exist" in told.message(), "it is said")
    assert "configmap/settings, which the primary shares with Deployment app" in told.message()

    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.until(lambda: "does not exist" not in told.message(), "the complaint is over")


# --- copies that somebody deletes ---


@scenario
async def test_a_deleted_copy_is_made_again_at_once_with_the_content_it_had(told: Story):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED)
    [copied] = used_by(told, "app-primary")
    told.server.remove(CONFIG_MAP, NAMESPACE, copied)
    await told.until(lambda: told.exists(CONFIG_MAP, copied), "the copy is there again")
    assert BLUE == told.stored(CONFIG_MAP, copied)["data"]
    await told.until_event("ConfigCopyLost")


@scenario
async def test_a_deleted_copy_whose_content_is_nowhere_any_more_is_said_and_mended_by_the_next_revision(
    told: Story,
):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED)
    [copied] = used_by(told, "app-primary")
    told.source.bad_images.add("app:1")
    told.server.put(config(CONFIG_MAP, data=RED))
    await told.until_phase("Failed")
    told.server.remove(CONFIG_MAP, NAMESPACE, copied)
    await told.until(lambda: "cannot be made again" in told.message(), "it is said")
    assert not told.exists(CONFIG_MAP, copied)
    assert 2 == len(told.cluster.pods(NAMESPACE, "app-primary"))

    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.until(lambda: told.exists(CONFIG_MAP, copied), "the copy is there again")
    await told.until(lambda: "cannot be made again" not in told.message(), "the complaint is over")


# --- what is in the way of a run ---


@pytest.mark.parametrize("suspend", [False, True])
@scenario
async def test_a_run_whose_config_went_missing_ends_at_max_duration_unless_it_is_suspended(
    told: Story, suspend
):
    told.server.put(config(CONFIG_MAP, data=BLUE))
    await told.enrol(pod_spec=MOUNTED, annotations=plan(max_duration="5m"))
    told.set_image("app:2")
    await told.until_weight(20)
    told.server.remove(CONFIG_MAP, NAMESPACE, "settings")
    if suspend:
        told.annotate(suspend="true")
        await asyncio.sleep(600)
        assert 20 == told.weight()
        return
    await told.until_phase("Failed", seconds=400)
    assert "max-duration" in told.message()
    await told.until_weight(0)
