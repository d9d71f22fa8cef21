"""What is to be told of one app, out of its Canary and its pods: one value for text and for JSON.

Pure. Public fields of the status are read leniently, since another version of the daemon may have
written them; stages and times come from the daemon's own memory when this version can read it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from canaryd.cli.progress import StageView, least_left_s, stages_of
from canaryd.core import names
from canaryd.core.memory import timestamp
from canaryd.core.model import CanarySpec
from canaryd.core.phase import Phase
from canaryd.core.program import Gate, Pause
from canaryd.core.state import RolloutState, RunState

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """One pod."""

    name: str
    ready: int
    containers: int
    status: str
    restarts: int
    age_s: float

    @property
    def is_ready(self) -> bool:
        """Whether all of its containers are."""
        return self.status == "Running" and 0 < self.containers == self.ready


@dataclass(frozen=True, slots=True, kw_only=True)
class SideView:
    """The primary or the canary."""

    role: str
    deployment: str
    revision: str
    wanted: int
    ready: int
    pods: tuple[PodView, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person may have to do, and the arguments of ``canaryd`` that do it."""

    why: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that ``status`` tells."""

    namespace: str
    name: str
    phase: str
    reason: str
    message: str
    provider: str
    strategy: str
    interval: str
    stable: str
    before: str
    canary: str
    failed: str
    weight: int
    run: RunState | None
    stages: tuple[StageView, ...]
    wishes: tuple[Wish, ...]
    failures: int
    failure_limit: int
    checks: tuple[Json, ...]
    hooks: tuple[Json, ...]
    load_tests: tuple[Json, ...]
    conditions: tuple[Json, ...]
    sides: tuple[SideView, ...]
    notes: tuple[str, ...]
    now: float

    @property
    def least_left_s(self) -> float | None:
        """Seconds that the run still takes at the least; None when there is none."""
        return least_left_s(self.stages) if self.run is not None and self.stages else None


def report(
    canary: Json,
    state: RolloutState | None,
    spec: CanarySpec | None,
    now: float,
    *,
    sides: Sequence[SideView] = (),
    notes: Iterable[str] = (),
) -> Report:
    """Put together what is known of an app."""
    meta, status = _map(canary, "metadata"), _map(canary, "status")
    revisions, failures = _map(status, "revisions"), _map(status, "failures")
    run = state.run if state is not None else None
    namespace, name = str(meta.get("namespace", "")), str(meta.get("name", ""))
    return Report(
        namespace=namespace,
        name=name,
        phase=str(status.get("phase", "")),
        reason=state.reason if state is not None else _ready(status),
        message=str(status.get("message", "")),
        provider=_value(canary, "provider"),
        strategy=_value(canary, "strategy"),
        interval=_value(canary, "interval"),
        stable=str(revisions.get("stable", "")),
        before=state.last_good if state is not None else "",
        canary=str(revisions.get("canary", "")),
        failed=str(revisions.get("lastFailed", "")),
        weight=int(_map(status, "weight").get("canary") or 0),
        run=run,
        stages=stages_of(spec, state, now) if spec is not None and state is not None else (),
        wishes=tuple(_wishes(state, spec, (name, "-n", namespace))),
        failures=int(failures.get("count") or 0),
        failure_limit=int(failures.get("limit") or 0),
        checks=_list(status, "metrics"),
        hooks=_list(status, "hooks"),
        load_tests=_list(status, "loadTests"),
        conditions=_list(status, "conditions"),
        sides=tuple(sides),
        notes=tuple(notes),
        now=now,
    )


def waits_for_people(state: RolloutState, spec: CanarySpec | None) -> bool:
    """Whether a run is under way that only a person can move on."""
    return state.run is not None and any(_wishes(state, spec, ()))


def _wishes(
    state: RolloutState | None, spec: CanarySpec | None, app: tuple[str, ...]
) -> Iterator[Wish]:
    run = state.run if state is not None else None
    if state is None or run is None or spec is None:
        if state is not None and state.phase is Phase.FAILED:
            yield Wish(f"revision {state.failed} is refused until it changes", ("retry", *app))
        return
    if run.held:
        why = "the run has failed and waits for a decision"
        for arguments in (("abort", *app), ("retry", *app), ("promote", *app, "--full")):
            yield Wish(why, arguments)
    elif run.paused_at:
        by = f", by {run.paused_by}" if run.paused_by else ""
        yield Wish(f"the run is paused{by}", ("resume", *app))
    elif 0 <= run.step < len(spec.stages) and state.phase is Phase.PROGRESSING:
        match spec.stages[run.step].wait:
            case Gate(name):
                yield Wish(f"gate {name} waits for approval", ("approve", *app, "--gate", name))
            case Pause(None):
                yield Wish("the run is paused by its plan", ("resume", *app))
            case _:
                return


# --- pods -----------------------------------------------------------------------------------------


def side_view(
    role: str, deployment: Json, pods: Sequence[Json], revision: str, now: float
) -> SideView:
    """One side of an app out of its Deployment and its pods."""
    name = str(_map(deployment, "metadata").get("name", ""))
    annotations = _map(_map(deployment, "metadata"), "annotations")
    views = [_pod_view(pod, now) for pod in pods]
    return SideView(
        role=role,
        deployment=name,
        revision=str(annotations.get(names.REVISION) or revision),
        wanted=int(_map(deployment, "spec").get("replicas") or 0),
        ready=int(_map(deployment, "status").get("readyReplicas") or 0),
        pods=tuple(sorted(views, key=lambda pod: (-pod.age_s, pod.name))),
    )


def _pod_view(pod: Json, now: float) -> PodView:
    meta, status = _map(pod, "metadata"), _map(pod, "status")
    containers = _list(status, "containerStatuses")
    return PodView(
        name=str(meta.get("name", "")),
        ready=sum(bool(c.get("ready")) for c in containers),
        containers=len(_list(_map(pod, "spec"), "containers")),
        status=_pod_status(meta, status, containers),
        restarts=sum(int(c.get("restartCount") or 0) for c in containers),
        age_s=now - (seconds(meta.get("creationTimestamp")) or now),
    )


def _pod_status(meta: Json, status: Json, containers: Sequence[Json]) -> str:
    """The word that kubectl would show, for the cases that matter to a release."""
    if meta.get("deletionTimestamp"):
        return "Terminating"
    for container in (*_list(status, "initContainerStatuses"), *containers):
        current = _map(container, "state")
        for kind in ("waiting", "terminated"):
            reason = _map(current, kind).get("reason")
            if reason and reason != "Completed":
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


# --- for programs ---------------------------------------------------------------------------------


def as_json(told: Report) -> dict[str, Any]:
    """The report for programs: times as RFC 3339 or in seconds, nothing that only reads well."""
    run, left_s = told.run, told.least_left_s
    return {
        "namespace": told.namespace,
        "name": told.name,
        "phase": told.phase,
        "reason": told.reason,
        "message": told.message,
        "provider": told.provider,
        "strategy": told.strategy,
        "interval": told.interval,
        "revisions": {
            "stable": told.stable,
            "before": told.before,
            "canary": told.canary,
            "lastFailed": told.failed,
        },
        "weight": {"primary": 100 - told.weight, "canary": told.weight},
        "run": _run_json(run) if run is not None else None,
        "stages": [_stage_json(stage) for stage in told.stages],
        "leastSecondsLeft": None if left_s is None else round(left_s),
        "waitsFor": [
            {"why": wish.why, "command": ["kubectl", "canaryd", *wish.arguments]}
            for wish in told.wishes
        ],
        "failures": {"count": told.failures, "limit": told.failure_limit},
        "checks": [dict(check) for check in told.checks],
        "hooks": [dict(hook) for hook in told.hooks],
        "loadTests": [dict(test) for test in told.load_tests],
        "conditions": [dict(condition) for condition in told.conditions],
        "deployments": [_side_json(side) for side in told.sides],
        "notes": list(told.notes),
    }


def _run_json(run: RunState) -> dict[str, Any]:
    return {
        "id": run.id,
        "revision": run.revision,
        "startedAt": timestamp(run.started_at),
        "stage": run.step + 1,
        "pausedBy": run.paused_by,
        "approvals": list(run.approvals),
        "held": run.held,
        "undoes": run.undoes,
        "skipped": run.skipped,
    }


def _stage_json(stage: StageView) -> dict[str, Any]:
    return {
        "number": stage.number,
        "name": stage.name,
        "progress": str(stage.progress),
        "detail": stage.detail,
        "weight": stage.weight,
        "mirror": stage.mirror,
        "matched": stage.is_matched,
        "leastSeconds": round(stage.least_s),
        "isOpen": stage.is_open,
    }


def _side_json(side: SideView) -> dict[str, Any]:
    return {
        "role": side.role,
        "name": side.deployment,
        "revision": side.revision,
        "replicas": side.wanted,
        "ready": side.ready,
        "pods": [
            {
                "name": pod.name,
                "status": pod.status,
                "ready": pod.ready,
                "containers": pod.containers,
                "restarts": pod.restarts,
            }
            for pod in side.pods
        ],
    }


# --- reading --------------------------------------------------------------------------------------


def seconds(text: Any) -> float | None:
    """Seconds since the epoch of a timestamp; None when it is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def condition(status: Json, kind: str) -> Json:
    """A condition by its type, empty when it is not there."""
    return next((c for c in _list(status, "conditions") if c.get("type") == kind), {})


def _ready(status: Json) -> str:
    return str(condition(status, "Ready").get("reason", ""))


def _value(canary: Json, key: str) -> str:
    entry = _map(_map(_map(canary, "spec"), "values"), key)
    return str(entry.get("value", ""))


def _map(mapping: Json, key: str) -> Json:
    found = mapping.get(key)
    return found if isinstance(found, Mapping) else {}


def _list(mapping: Json, key: str) -> tuple[Json, ...]:
    found = mapping.get(key)
    return tuple(i for i in found if isinstance(i, Mapping)) if isinstance(found, list) else ()
