"""GitOps tools beside canaryd: they see what a run is about, and what they write back does not hurt it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.core.kinds import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
)
from canaryd.core.names import MANAGED_BY, MANAGER, STATUS_MANAGER
from tests.fakes.admission import keep_what_canaryd_set
from tests.fakes.apiserver.faults import FORBIDDEN
from tests.fakes.apiserver.requests import Request
from tests.fakes.apiserver.store import Change
from tests.fakes.kstatus import kstatus
from tests.scenarios.harness import Story, plan, scenario, story
from tests.scenarios.manifests import HOST, NAMESPACE, deployment, ingress, service

pytestmark = pytest.mark.looptime

EVERY_S = 5.0
REQUESTS = 38
"""Of a release in five steps, in a world without wasted looks."""
WRITES = 24
"""Of a release in two steps."""


# --- what they see ------------------------------------------------------------------------------------------------------


def conditions(told: Story) -> dict[str, str]:
    """Types and reasons of all conditions of the Deployment that hold."""
    found = told.stored(DEPLOYMENT)["status"].get("conditions") or ()
    return {c["type"]: c["reason"] for c in found if c["status"] == "True"}


def feedback(told: Story) -> list[Request]:
    """What was written into the status of Deployments."""
    return told.server.requests.writes(kind=DEPLOYMENT, subresource="status")


@dataclass
class Flux:
    """Whoever looks at a Deployment by kstatus at every change of it, until it is current or failed."""

    told: Story
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.told.server.store.subscribe(self._look)

    def _look(self, change: Change) -> None:
        if change.kind == DEPLOYMENT and change.key == (NAMESPACE, "app"):
            now = kstatus(change.new)
            if self.seen[-1:] != [now]:
                self.seen.append(now)

    @property
    def words(self) -> list[str]:
        """What it came to, one after the other, moments aside in which a spec is not seen yet."""
        found = [word for word, why in self.seen if why != "generation"]
        return [word for i, word in enumerate(found) if i == 0 or found[i - 1] != word]


@scenario
async def test_a_release_is_in_progress_from_its_first_moment_until_it_is_promoted(told: Story):
    await told.enrol()
    flux = Flux(told)
    told.server.requests.clear()
    told.set_image("app:2")
    await told.until_weight(20)
    assert "Progressing" == conditions(told)["Reconciling"]
    await told.until_phase("Promoting")
    assert ["InProgress"] == flux.words
    await told.until_phase("Succeeded")
    assert ("InProgress", "Promoting") in flux.seen
    await told.until_idle()
    await asyncio.sleep(5)

    assert ["InProgress", "Current"] == flux.words
    assert {"Available", "Progressing"} == set(conditions(told))
    assert 3 == len(feedback(told))
    assert {STATUS_MANAGER} == {r.manager for r in feedback(told)}


@scenario
async def test_a_failed_release_has_failed_for_who_waits_until_git_asks_for_another(told: Story):
    told.source.bad_images = {"app:2"}
    await told.enrol()
    flux = Flux(told)
    told.set_image("app:2")
    await told.until_phase("Failed")
    await told.until_idle()
    assert ["InProgress", "Failed"] == flux.words
    assert "MetricFailed" == conditions(told)["Stalled"]

    told.set_image("app:3")
    await told.until_phase("Succeeded")
    await told.until_idle()
    await asyncio.sleep(5)
    assert ["InProgress", "Failed", "InProgress", "Current"] == flux.words


@scenario
async def test_conditions_outlive_what_the_deployment_controller_does_to_the_status(told: Story):
    """It computes a whole status anew at every scale and roll, and keeps the types that it does not know."""
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    told.server.edit(DEPLOYMENT, NAMESPACE, "app", lambda d: d["spec"].update(replicas=4))
    await told.until(lambda: told.cluster.ready(NAMESPACE, "app") == 4, "four pods")
    told.set_image("app:3")
    await told.until(lambda: "app:3" in told.plane.by_version() or told.weight() == 0, "the roll")
    await told.until_weight(20)
    assert {"Available", "Progressing", "Reconciling"} == set(conditions(told))
    await told.until_phase("Succeeded")
    await told.until(lambda: "Reconciling" not in conditions(told), "it is taken back", 1)
    assert {"Available", "Progressing"} == set(conditions(told))


@scenario
async def test_a_release_needs_few_more_requests_than_it_did_and_wakes_no_endless_loop(
    told: Story,
):
    await told.enrol(annotations=plan(weights="10,20,30,40,50"))
    told.server.requests.clear()
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    await told.until_idle()
    await asyncio.sleep(30)
    counted = [r for r in told.server.requests if r.verb != "watch"]
    assert 3 == len(feedback(told))
    assert len(counted) <= REQUESTS, [str(r) for r in counted]
    told.server.requests.clear()
    await asyncio.sleep(600)
    assert [] == told.writes()


@scenario
async def test_enrolling_and_leaving_are_told_and_leave_nothing_behind(told: Story):
    flux = Flux(told)
    await told.enrol()
    assert "Reconciling" not in conditions(told)
    assert ("InProgress", "Initializing") in flux.seen
    told.annotate(enabled=None)
    await told.until(
        lambda: not told.exists(DEPLOYMENT, "app-primary"), "our objects are gone", 120
    )
    await asyncio.sleep(10)
    assert ("InProgress", "Terminating") in flux.seen
    assert {"Available", "Progressing"} == set(conditions(told))
    managers = {e["manager"] for e in told.stored(DEPLOYMENT)["metadata"]["managedFields"]}
    assert STATUS_MANAGER not in managers


@scenario
async def test_a_daemon_that_died_in_mid_run_takes_back_what_is_over_when_it_comes_again(
    told: Story,
):
    await told.enrol()
    told.set_image("app:2")
    await told.until_weight(20)
    await told.kill()
    told.set_image("app:1")
    await asyncio.sleep(20)
    assert "Reconciling" in conditions(told)
    await told.start()
    await told.until(lambda: "Reconciling" not in conditions(told), "the condition is gone")


@scenario
async def test_a_status_that_may_not_be_written_holds_nothing_up(told: Story):
    told.server.faults.on(FORBIDDEN, write=True, kind=DEPLOYMENT, subresource="status")
    await told.enrol()
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    await told.until_idle()
    assert "app:2" == told.image()
    assert {"Available", "Progressing"} == set(conditions(told))
    refused = [r for r in told.server.requests if r.subresource == "status" and r.code == 403]
    assert len(refused) <= 2


# --- what they write back -----------------------------------------------------------------------------------------------

MARKS = {
    "app.kubernetes.io/instance": "shop",
    "kustomize.toolkit.fluxcd.io/name": "shop",
    "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
    "helm.toolkit.fluxcd.io/name": "shop",
    "argocd.argoproj.io/instance": "shop",
}
NOTES = {
    "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/app",
    "argocd.argoproj.io/sync-wave": "3",
    "meta.helm.sh/release-name": "shop",
    "kubectl.kubernetes.io/last-applied-configuration": "{}",
    "deployment.kubernetes.io/revision": "1",
}


def in_git(image: str, **changes: str | None) -> list[dict[str, Any]]:
    """What a tool applies, replicas and selector included, all of it marked as its own."""
    labels = {"app": "app"}
    app = deployment(
        "app",
        image=image,
        replicas=2,
        annotations=plan(**changes),
        pod_spec={"containers": [container(image)]},
        labels=labels,
    )
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"colour": "blue"}}
    settings["metadata"] = {"namespace": NAMESPACE, "name": "settings"}
    secret = {"apiVersion": "v1", "kind": "Secret", "data": {"key": "eA=="}}
    secret["metadata"] = {"namespace": NAMESPACE, "name": "keys"}
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"namespace": NAMESPACE, "name": "app"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    }
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": NAMESPACE, "name": "app"},
        "spec": {"podSelector": {"matchLabels": labels}, "ingress": [{}]},
    }
    made = [app, service("app", labels), ingress("app", HOST), settings, secret, budget, policy]
    for obj in made:
        meta = obj["metadata"]
        meta["labels"] = (meta.get("labels") or {}) | MARKS
        meta["annotations"] = (meta.get("annotations") or {}) | NOTES
    app["spec"]["template"]["metadata"]["labels"] = labels | {"app.kubernetes.io/instance": "shop"}
    return made


def container(image: str) -> dict[str, Any]:
    sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}]
    return {
        "name": "app",
        "image": image,
        "ports": [{"containerPort": 8080}],
        "envFrom": sources,
    }


Apply = Callable[[Story, dict[str, Any]], object]


def server_side(told: Story, obj: dict[str, Any]) -> object:
    """As Argo CD with ``ServerSideApply=true`` and Flux do it: forced."""
    return told.server.apply(obj, "argocd-controller")


def client_side(told: Story, obj: dict[str, Any]) -> object:
    """As ``kubectl apply`` and Argo CD do it by default: what differs from the manifest is patched."""
    kind = {k.kind: k for k in KINDS}[obj["kind"]]
    if told.exists(kind, obj["metadata"]["name"]):
        return told.server.patch(kind, NAMESPACE, obj["metadata"]["name"], obj)
    return told.server.put(obj)


KINDS = (DEPLOYMENT, SERVICE, INGRESS, CONFIG_MAP, SECRET, POD_DISRUPTION_BUDGET, NETWORK_POLICY)


@dataclass
class Git:
    """A tool that applies everything that is in Git, again and again."""

    told: Story
    apply: Apply
    changes: dict[str, str | None]
    image: str = "app:1"
    syncs: int = 0

    def sync(self) -> None:
        for obj in in_git(self.image, **self.changes):
            self.apply(self.told, obj)
        self.syncs += 1

    async def go_on(self) -> None:
        while True:
            self.sync()
            await asyncio.sleep(EVERY_S)


@asynccontextmanager
async def synced(told: Story, apply: Apply, **changes: str | None) -> AsyncIterator[Git]:
    """A tool at work beside the daemon, for the length of a block."""
    git = Git(told, apply, changes)
    going = asyncio.create_task(git.go_on(), name="git")
    try:
        yield git
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def release(told: Story, git: Git) -> None:
    """Enrolled, released, idle again, and users all the time, with the tool at work throughout."""
    await told.until_phase("Initialized")
    told.users()
    await asyncio.sleep(3 * EVERY_S)
    told.server.requests.clear()
    git.image, git.syncs = "app:2", 0
    await told.until_phase("Succeeded", seconds=400)
    await asyncio.sleep(4 * EVERY_S)
    assert "app:2" == told.image()
    assert ["Succeeded"] == told.results()
    assert git.syncs >= 9


WAYS = pytest.mark.parametrize("apply", [server_side, client_side])


@WAYS
async def test_a_tool_that_applies_again_and_again_costs_nothing_under_the_policy(apply: Apply):
    async with story() as told:
        told.server.store.admission.append(keep_what_canaryd_set)
        async with synced(told, apply) as git:
            await release(told, git)
        assert [] == told.lost()
        assert 0 == told.replicas()
        assert {"app": "app-primary"} == told.selector()
        assert len(told.writes()) <= WRITES, [str(r) for r in told.writes()]


@WAYS
async def test_a_tool_that_applies_again_and_again_loses_nobody_under_idle_keep(apply: Apply):
    async with story() as told:
        async with synced(told, apply, idle="keep") as git:
            await release(told, git)
        assert [] == told.lost()
        written = told.writes()
        assert len(written) <= WRITES + 2 * git.syncs, [str(r) for r in written]


@WAYS
async def test_with_neither_a_release_succeeds_with_as_many_writes_as_the_tool_makes_necessary(
    apply: Apply,
):
    async with story() as told:
        async with synced(told, apply) as git:
            await release(told, git)
        written = told.writes()
        assert len(written) <= WRITES + 5 * git.syncs, [str(r) for r in written]
        assert "SelectorDrift" in told.memory.reasons()
        told.server.requests.clear()
        git.sync()
        await asyncio.sleep(60)
        assert {"app": "app-primary"} == told.selector()
        assert 0 == told.replicas()


# --- replicas leave Git -------------------------------------------------------------------------------------------------


def without_replicas(obj: dict[str, Any], **values: Any) -> dict[str, Any]:
    spec = {k: v for k, v in obj["spec"].items() if k != "replicas"}
    return obj | {"spec": spec | values}


async def enrolled_by(told: Story, apply: Apply) -> dict[str, Any]:
    """An app that a tool made; returns its Deployment as it is in Git."""
    [app, *others] = in_git("app:1")
    for obj in (*others, app):
        apply(told, obj)
    await told.until_phase("Initialized")
    await told.until_idle()
    return app


async def settled(told: Story) -> tuple[int, int]:
    """Replicas of target and primary, once nothing moves any more."""
    await asyncio.sleep(60)
    return told.replicas(), told.replicas("app-primary")


@scenario
async def test_replicas_that_an_applier_no_longer_says_stay_as_canaryd_set_them(told: Story):
    """Server-side: by then the field is canaryd's, so the applier has nothing to let go of."""
    app = await enrolled_by(told, server_side)
    server_side(told, without_replicas(app))
    assert (0, 2) == await settled(told)


@scenario
async def test_replicas_that_kubectl_takes_out_stay_as_they_are_under_the_policy(told: Story):
    told.server.store.admission.append(keep_what_canaryd_set)
    app = await enrolled_by(told, client_side)
    client_side(told, without_replicas(app, replicas=None))
    assert (0, 2) == await settled(told)


@scenario
async def test_replicas_that_kubectl_takes_out_with_nothing_to_keep_them_are_a_wish_for_one(
    told: Story,
):
    """The API server's default is not told from a wish: hence the order in docs/gitops.md."""
    app = await enrolled_by(told, client_side)
    client_side(told, without_replicas(app, replicas=None))
    assert (0, 1) == await settled(told)
    assert any("1 replicas were asked for" in note for note in told.memory.notes("ReplicasDrift"))


# --- whose is what ------------------------------------------------------------------------------------------------------

OWNED = (*KINDS, HORIZONTAL_POD_AUTOSCALER, CONTROLLER_REVISION)
POD_LABELS = {"app.kubernetes.io/instance"}
"""Marks that pods may keep: tools do not track pods, and selectors may name them."""


@scenario
async def test_nothing_that_canaryd_makes_in_a_release_carries_a_mark_of_another_tool(told: Story):
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": NAMESPACE, "name": "app", "labels": MARKS, "annotations": NOTES},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }
    made: dict[tuple[str, str], dict[str, Any]] = {}

    def note(change: Change) -> None:
        labels = change.new["metadata"].get("labels") or {}
        if change.kind in OWNED and labels.get(MANAGED_BY) == MANAGER:
            made[change.kind.kind, change.key[1]] = change.new
            assert [] == foreign(change.new), f"{change.kind.kind} {change.key[1]}"

    told.server.store.subscribe(note)
    told.server.put(scaler)
    for obj in in_git("app:1"):
        client_side(told, obj)
    await told.until_phase("Initialized")
    for obj in in_git("app:2"):
        client_side(told, obj)
    await told.until_phase("Succeeded")

    kinds = {kind for kind, _ in made}
    assert {kind.kind for kind in OWNED} == kinds
    pods = told.template()["metadata"]["labels"]
    assert POD_LABELS <= pods.keys()


def foreign(obj: dict[str, Any]) -> list[str]:
    """Marks of other tools on an object itself, and on its pods those that nobody needs there."""
    meta = obj["metadata"]
    found = [*(meta.get("labels") or {}), *(meta.get("annotations") or {})]
    if obj["kind"] == "Deployment":
        pods = obj["spec"]["template"]["metadata"]
        found += [*(pods.get("annotations") or {}), *(pods["labels"].keys() - POD_LABELS)]
    # The daemon's own Deployment controller is the cluster's.
    return [key for key in found if key in (MARKS | NOTES) and not key.startswith("deployment.")]
