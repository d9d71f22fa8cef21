"""Apps at moments of a release, as the daemon's own code writes them down."""

from dataclasses import replace
from typing import Any

from canaryd.cli.report import PodView, SideView
from canaryd.core.annotations import plan_values, resolve, resolve_deployment
from canaryd.core.fingerprint import template_fingerprint
from canaryd.core.phase import Phase
from canaryd.core.state import (
    CommandRecord,
    HistoryEntry,
    HookRecord,
    RolloutState,
    RunState,
    VerdictRecord,
)
from canaryd.core.status import StatusInput, render
from canaryd.core.tracking import Tracking, identify

NAMESPACE = "shop"
RULE = "configmap,secret"
PLAN = {
    "enabled": "true",
    "interval": "1m",
    "metric.success-rate": ">= 99",
    "metric.latency-p99": "<= 500ms",
    "failure-threshold": "5",
    "steps": "weight 5; weight 20; gate qa; pause 10m; weight 50; pause",
    "gate.qa": "step approvals=2 deadline=8h",
    "watch-after-promotion": "30m",
}


def annotations(plan: dict[str, str]) -> dict[str, str]:
    return {f"canaryd.io/{key}": value for key, value in plan.items()}


def template(image: str = "podinfo:1", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "app", "image": image}]
    return {
        "metadata": {"labels": {"app": "podinfo"}},
        "spec": {"containers": containers} | spec,
    }


def revision(of: dict[str, Any]) -> str:
    """The name of the revision of a template that uses no configs."""
    empty = Tracking(frozenset({"configmap", "secret"}))
    return identify(template_fingerprint(of), {}, empty, known=(), remembered={}).name


def deployment(
    image: str = "podinfo:1", *, plan: dict[str, str] | None = None, name: str = "podinfo"
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "annotations": annotations(PLAN if plan is None else plan),
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "podinfo"}},
            "template": template(image),
        },
    }


def canary(
    state: RolloutState | None, now: float, *, plan: dict[str, str] | None = None
) -> dict[str, Any]:
    """The Canary of an app in this state, written ``now``."""
    told = PLAN if plan is None else plan
    resolution = resolve_deployment(
        controller={}, namespace={}, deployment=annotations(told), template={}
    )
    assert resolution.problems == ()
    made: dict[str, Any] = {
        "apiVersion": "canaryd.io/v1beta1",
        "kind": "Canary",
        "metadata": {"namespace": NAMESPACE, "name": "podinfo"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "provider": resolution.values["provider"].value,
            "interval": resolution.values["interval"].value,
            "values": {
                key: {"value": entry.value, "from": entry.origin}
                for key, entry in sorted(resolution.values.items())
            },
        },
    }
    if state is not None:
        spec = resolve([("run", dict(state.run.plan))]).spec if state.run else resolution.spec
        given = StatusInput(state, spec, None, 1, "hash", is_routed=True)
        made["status"] = render(given, {}, now)
    return made


# --- moments --------------------------------------------------------------------------------------


def plan_of(plan: dict[str, str]) -> dict[str, str]:
    """What a run pins of a plan."""
    resolution = resolve_deployment(
        controller={}, namespace={}, deployment=annotations(plan), template={}
    )
    return dict(plan_values(resolution.values))


def idle(now: float, **changes: Any) -> RolloutState:
    """An app between runs, its revision promoted five minutes ago."""
    before = {
        "phase": Phase.SUCCEEDED,
        "promoted": revision(template()),
        "promoted_tracking": RULE,
        "last_good": "5f7c9e8b11",
        "runs": 7,
        "settled_at": now - 300.0,
        "reason": "Promoted",
        "message": f"revision {revision(template())} promoted",
        "history": (
            HistoryEntry(
                revision="77d01ac9e2",
                result="Failed",
                reason="MetricFailed",
                started_at=now - 90000.0,
                finished_at=now - 89700.0,
                decision_id="77d01ac9e2-6",
            ),
            HistoryEntry(
                revision=revision(template()),
                result="Succeeded",
                reason="Promoted",
                started_at=now - 1500.0,
                finished_at=now - 300.0,
                decision_id=f"{revision(template())}-7",
            ),
        ),
        "commands": (
            CommandRecord(
                verb="promote",
                nonce="4f9c21ab",
                by="oncall",
                subject=f"{revision(template())}-7@1",
                reason="looks good on the canary",
                outcome="StepSkipped",
                at=now - 900.0,
            ),
            CommandRecord(
                verb="approve",
                nonce="77aa21ab",
                by="author",
                subject=f"{revision(template())}-7@2",
                argument="qa",
                outcome="ActionRefused",
                refusal="author made this revision; somebody else must approve gate qa",
                at=now - 800.0,
            ),
        ),
    }
    return RolloutState(**(before | changes))


def running(
    now: float, *, image: str = "podinfo:2", plan: dict[str, str] | None = None, **run: Any
):
    """The same app with a run under way, at weight 20."""
    wanted = revision(template(image))
    begun = {
        "id": f"{wanted}-8",
        "revision": wanted,
        "tracking": RULE,
        "started_at": now - 275.4,
        "plan": plan_of(PLAN if plan is None else plan),
        "confirmed": True,
        "rehearsed": True,
        "step": 1,
        "weight": 20,
        "step_started_at": now - 80.4,
        "evaluated_at": now - 20.4,
        "evaluation": 3,
        "failures": 2,
        "failures_by_metric": {"latency-p99": 2},
    }
    message = "latency-p99 612ms > 500ms (failure 2/5)"
    return replace(
        idle(now),
        phase=Phase.PROGRESSING,
        runs=8,
        run=RunState(**(begun | run)),
        reason="MetricFailed",
        message=message,
        verdicts=(
            VerdictRecord(
                name="latency-p99",
                verdict="Failed",
                value="612",
                unit="ms",
                threshold="<= 500ms",
                samples=412,
                reason="ThresholdBroken",
                message="latency-p99 612ms > 500ms of 412 requests",
                at=now - 20.4,
            ),
            VerdictRecord(
                name="success-rate",
                verdict="Passed",
                value="99.53",
                unit="%",
                threshold=">= 99",
                samples=412,
                reason="Passed",
                at=now - 20.4,
            ),
        ),
        hooks=(
            HookRecord(name="smoke", type="pre-rollout", state="Passed", code=200, at=now - 200.4),
        ),
    )


def sides(now: float) -> tuple[SideView, ...]:
    """Pods of both sides: the primary whole, the canary with one that does not start."""

    def pod(name: str, *, status: str = "Running", age_s: float = 3 * 86400.0) -> PodView:
        is_up = status == "Running"
        return PodView(
            name=name,
            ready=int(is_up),
            containers=1,
            status=status,
            restarts=0 if is_up else 3,
            age_s=age_s,
        )

    primary = tuple(pod(f"podinfo-primary-7c9d-{letter}") for letter in "abc")
    canary_pods = (
        pod("podinfo-5b8f-a", age_s=200.0),
        pod("podinfo-5b8f-b", status="CrashLoopBackOff", age_s=190.0),
    )
    return (
        SideView(
            role="primary",
            deployment="podinfo-primary",
            revision=revision(template()),
            wanted=3,
            ready=3,
            pods=primary,
        ),
        SideView(
            role="canary",
            deployment="podinfo",
            revision=revision(template("podinfo:2")),
            wanted=2,
            ready=1,
            pods=canary_pods,
        ),
    )
