"""Tools that change pod templates at admission: the live primary differs from what canaryd applied, and that is no drift.

Istio and Linkerd inject into pods; Kyverno, Reloader and home-grown webhooks change the templates of Deployments.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from canaryd.core.kinds import DEPLOYMENT, Kind
from tests.scenarios.harness import NAMESPACE, Story, scenario

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

SIDECAR = {"name": "proxy", "image": "proxy:1", "ports": [{"containerPort": 15000}]}


def _inject(template: dict[str, Any]) -> None:
    spec = template["spec"]
    if SIDECAR["name"] not in {c["name"] for c in spec["containers"]}:
        spec["containers"].append(dict(SIDECAR))
    env = spec["containers"][0].setdefault("env", [])
    if not env:
        env.append({"name": "REGION", "value": "north"})
    template["metadata"].setdefault("annotations", {})["policy.example/checked"] = "true"


def everything(kind: Kind, obj: dict[str, Any]) -> None:
    """Inject into every Deployment."""
    if kind == DEPLOYMENT:
        _inject(obj["spec"]["template"])


def primaries(kind: Kind, obj: dict[str, Any]) -> None:
    """Inject only where a label says so: the target is none of them."""
    labels = obj["metadata"].get("labels") or {}
    if kind == DEPLOYMENT and labels.get("canaryd.io/role") == "primary":
        _inject(obj["spec"]["template"])


def stamping() -> Callable[[Kind, dict[str, Any]], None]:
    """One that is never satisfied: each write of a primary gets another stamp."""
    stamps = count()

    def stamp(kind: Kind, obj: dict[str, Any]) -> None:
        labels = obj["metadata"].get("labels") or {}
        if kind == DEPLOYMENT and labels.get("canaryd.io/role") == "primary":
            annotations = obj["spec"]["template"]["metadata"].setdefault("annotations", {})
            annotations["policy.example/stamp"] = str(next(stamps))

    return stamp


def containers(told: Story, name: str) -> list[str]:
    return [c["name"] for c in told.template(name)["spec"]["containers"]]


async def release(told: Story) -> None:
    """Enrol, promote one revision, roll another back, and restart in between."""
    await told.enrol()
    told.users()
    told.set_image("app:2")
    await told.until_phase("Progressing")
    await told.until_phase("Succeeded")
    await told.until_idle()
    await told.restart()
    await asyncio.sleep(60)
    told.source.bad_images.add("app:3")
    told.set_image("app:3")
    await told.until_phase("Failed")
    await told.until_idle()
    await asyncio.sleep(60)


@pytest.mark.parametrize("mutator", [everything, primaries, stamping()])
@scenario
async def test_what_is_injected_into_the_primary_at_admission_is_no_drift(told: Story, mutator):
    told.server.store.mutators.append(mutator)
    await release(told)
    assert "PrimaryDrift" not in told.memory.reasons()
    assert ["Succeeded", "Failed"] == told.results()
    assert "app:2" == told.image()
    assert 2 == told.rolled()
    assert [] == told.lost()
    if mutator in (everything, primaries):
        assert ["app", "proxy"] == containers(told, "app-primary")


@scenario
async def test_a_webhook_that_comes_later_reaches_the_primary_with_the_next_revision(told: Story):
    await told.enrol()
    told.server.store.mutators.append(primaries)
    await asyncio.sleep(60)
    assert ["app"] == containers(told, "app-primary")
    told.set_image("app:2")
    await told.until_phase("Succeeded")
    await asyncio.sleep(60)
    assert ["app", "proxy"] == containers(told, "app-primary")
    assert "PrimaryDrift" not in told.memory.reasons()


@scenario
async def test_a_hand_edit_of_a_mutated_primary_is_repaired_once(told: Story):
    told.server.store.mutators.append(primaries)
    await told.enrol()

    def edit(live: dict[str, Any]) -> None:
        live["spec"]["template"]["spec"]["containers"][0]["image"] = "app:evil"

    told.server.edit(DEPLOYMENT, NAMESPACE, "app-primary", edit)
    await told.until(lambda: told.image() == "app:1", "it is put back")
    told.server.requests.clear()
    await asyncio.sleep(120)
    assert 1 == told.memory.reasons().count("PrimaryDrift")
    assert ["app", "proxy"] == containers(told, "app-primary")
    assert not [
        r for r in told.writes() if (r.resource, r.name) == (DEPLOYMENT.resource, "app-primary")
    ]


@scenario
async def test_a_tool_that_changes_the_primarys_template_afterwards_is_answered_ten_times(
    told: Story,
):
    await told.enrol()
    for number in range(12):

        def reload(live: dict[str, Any], number: int = number) -> None:
            annotations = live["spec"]["template"]["metadata"].setdefault("annotations", {})
            annotations["reloader.example/last"] = str(number)

        told.server.edit(DEPLOYMENT, NAMESPACE, "app-primary", reload)
        await asyncio.sleep(5)
    assert 10 == told.memory.reasons().count("PrimaryDrift")
    assert "find the other writer" in told.message()
    assert 2 == told.cluster.ready(NAMESPACE, "app-primary")
