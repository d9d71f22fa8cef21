"""What commands read of a cluster, each with what it means that it is not there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.report import condition
from canaryd.core import names
from canaryd.core.annotations import ENABLED, plan_values, resolve
from canaryd.core.draft import Resolved
from canaryd.core.kinds import CANARY, DEPLOYMENT, POD
from canaryd.core.memory import StateError, load
from canaryd.core.model import CanarySpec
from canaryd.core.state import RolloutState
from canaryd.ports.errors import Forbidden, KubeError, NotFound
from canaryd.ports.kube import Manifest

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster


def unknown_app(cluster: "Cluster", name: str) -> CommandError:
    """What to say of an app that has no Canary."""
    return CommandError(
        f"there is no Canary {cluster.namespace}/{name}: is canaryd installed, does it watch this "
        f'namespace, and does the Deployment carry canaryd.io/{ENABLED}: "true"?'
    )


async def read_canary(cluster: "Cluster", name: str) -> Manifest:
    """Read the Canary of an app.

    Raises:
        CommandError: there is none.

    """
    try:
        return await cluster.api.get(CANARY, cluster.namespace, name)
    except NotFound:
        raise unknown_app(cluster, name) from None


def status_of(canary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of a Canary, empty while there is none."""
    status = canary.get("status")
    return status if isinstance(status, Mapping) else {}


def condition_of(canary: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """A condition of a Canary by its type, empty when it is not there."""
    return condition(status_of(canary), kind)


def state_of(canary: Mapping[str, Any]) -> RolloutState | None:
    """The daemon's own memory of an app; None when it has none yet.

    Raises:
        CommandError: another version wrote it.

    """
    try:
        return load(status_of(canary))
    except StateError as error:
        raise CommandError(f"the Canary cannot be understood: {error}", Exit.CONFLICT) from None


def state_if_readable(canary: Mapping[str, Any]) -> tuple[RolloutState | None, str]:
    """The same for who only shows things: a memory that cannot be understood is a note."""
    try:
        return load(status_of(canary)), ""
    except StateError as error:
        return None, f"steps and times are not shown: {error}"


def plan_of(canary: Mapping[str, Any], state: RolloutState | None) -> CanarySpec | None:
    """The plan in force: the one that the run began with, else the one of the next run.

    None when this version cannot read it.
    """
    if state is not None and state.run is not None:
        return resolve([("pinned", dict(state.run.plan))]).spec
    spec = canary.get("spec")
    recorded = spec.get("values") if isinstance(spec, Mapping) else None
    if not isinstance(recorded, Mapping) or "step-weight" not in recorded:
        return None
    values = {
        str(key): Resolved(str(entry.get("value", "")), str(entry.get("from", "")))
        for key, entry in recorded.items()
        if isinstance(entry, Mapping)
    }
    return resolve([("recorded", plan_values(values))]).spec


async def read_deployment(cluster: "Cluster", name: str) -> Manifest | None:
    """Read a Deployment; None when there is none, or when we may not."""
    try:
        return await cluster.api.get(DEPLOYMENT, cluster.namespace, name)
    except (NotFound, Forbidden):
        return None


# --- pods -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two Deployments of an app, with its pods."""

    role: str
    deployment: Manifest
    pods: tuple[Manifest, ...]


async def read_pods(cluster: "Cluster", app: str) -> tuple[tuple[Side, ...], str]:
    """Read both sides of an app, and why something of it is not seen (empty when all is)."""
    sides = []
    wanted = (("primary", names.primary_name(app)), ("canary", app))
    try:
        for role, name in wanted:
            deployment = await read_deployment(cluster, name)
            if deployment is not None:
                selector = selector_text((deployment.get("spec") or {}).get("selector") or {})
                pods = await cluster.api.list(POD, cluster.namespace, label_selector=selector)
                sides.append(Side(role, deployment, tuple(pods)))
    except KubeError as error:
        return tuple(sides), f"pods are not shown: {error}"
    return tuple(sides), ""


_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector_text(selector: Mapping[str, Any]) -> str:
    """A workload's selector as a query spells it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression["key"], expression["operator"]
        values = ",".join(expression.get("values") or ())
        match operator:
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
            case _:
                parts.append(f"{key} {_OPERATORS.get(operator, operator)} ({values})")
    return ",".join(parts)
