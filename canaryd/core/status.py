"""The status people and tools read, derived from the machine state: nothing here is remembered.

Conditions follow kstatus: ``Reconciling`` and ``Stalled`` are there only while true,
and a failed run is ``Stalled``, because
``Ready=False`` alone reads as "in progress" for ever.
Flagger's field names are kept beside ours, so that scripts and ``kubectl wait
--for=condition=promoted`` go on working.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from canaryd.core.model import CanarySpec, IdlePolicy
from canaryd.core.phase import RUN_PHASES, Phase
from canaryd.core.reasons import Reason
from canaryd.core.state import RolloutState, dump
from canaryd.core.verdicts import Verdict
from canaryd.core.views import DeploymentView, JsonDict

OBSTACLE_REASONS = frozenset(
    {
        Reason.SERVICE_NOT_FOUND,
        Reason.SERVICE_AMBIGUOUS,
        Reason.INGRESS_NOT_FOUND,
        Reason.INGRESS_INVALID,
        Reason.CONFLICT,
        Reason.NETWORK_POLICY_UNMATCHED,
        Reason.WORKLOAD_UNSUPPORTED,
        Reason.CONFIG_MISSING,
        Reason.CONFIG_UNREADABLE,
    }
)
"""Something about the app is in the way of it, and its end is an end of the complaint."""
STALLED_REASONS = OBSTACLE_REASONS | {Reason.CONFIG_INVALID, Reason.PROMOTION_FAILED}
"""Reasons that need a person even though no run has failed."""

Claim = tuple[str, str, str]
"""Status, reason and message of a condition."""


@dataclass(frozen=True, slots=True)
class StatusInput:
    """What a status is made of."""

    state: RolloutState
    spec: CanarySpec | None
    target: DeploymentView | None
    generation: int
    """Of the Canary object."""
    config_hash: str
    """Of every annotation the configuration comes from: tells that an edit was seen."""
    primary: DeploymentView | None = None
    is_routed: bool = False
    """The routes on the cluster said, when this look began, what had been decided before."""


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render(given: StatusInput, previous: Mapping[str, Any], now: float) -> JsonDict:
    """The whole status; ``previous`` supplies transition times of conditions that did not
    change.
    """
    state, spec, run = given.state, given.spec, given.state.run
    total = len(spec.weights) if spec else 0
    status: JsonDict = {
        "observedGeneration": given.generation,
        "observedSource": _source(given),
        "phase": str(state.phase),
        "message": state.message[:1024],
        "revisions": _without_empty(
            {
                "stable": state.promoted,
                "canary": run.revision if run else "",
                "lastFailed": state.failed,
            }
        ),
        "weight": {
            "canary": run.weight if run else 0,
            "primary": 100 - (run.weight if run else 0),
            "desired": run.weight if run else 0,
        },
        "metrics": [_metric(v) for v in state.verdicts],
        "hooks": [_hook(h) for h in state.hooks],
        "history": [
            {
                "revision": h.revision,
                "result": h.result,
                "reason": h.reason,
                "startedAt": timestamp(h.started_at),
                "finishedAt": timestamp(h.finished_at),
                "decisionID": h.decision_id,
            }
            for h in state.history[-(spec.history_limit if spec else 10) :]
        ],
        "trackedConfigs": {key: content[:16] for key, (_, content) in state.tracked.items()},
        "canaryWeight": run.weight if run else 0,
        "failedChecks": run.failures if run else 0,
        "iterations": 0,
        "lastAppliedSpec": run.revision if run else (state.failed or state.promoted),
        "lastPromotedSpec": state.promoted,
        "machine": dump(state),
    }
    if run is not None:
        step = max(run.step + 1, 0)
        status["step"] = _without_empty(
            {
                "index": step,
                "total": total,
                "text": f"{step}/{total}",
                "name": f"weight {run.weight}" if step else "",
                "startedAt": timestamp(run.step_started_at) if run.step_started_at else "",
            }
        )
        status["failures"] = {
            "count": run.failures,
            "limit": spec.failure_threshold if spec else 0,
            "byMetric": [
                {"name": n, "count": c} for n, c in sorted(run.failures_by_metric.items())
            ],
        }
    status["conditions"] = conditions(given, previous, now)
    status["lastTransitionTime"] = timestamp(state.settled_at or now)
    return status


def conditions(given: StatusInput, previous: Mapping[str, Any], now: float) -> list[JsonDict]:
    """Every condition that applies, with kept transition times."""
    before = {c.get("type"): c for c in previous.get("conditions") or ()}
    made = []
    for kind, (status, reason, message) in claims(given).items():
        old = before.get(kind, {})
        unchanged = old.get("status") == status and old.get("lastTransitionTime")
        made.append(
            {
                "type": kind,
                "status": status,
                "reason": str(reason) or "Unknown",
                "message": message[:1024],
                "observedGeneration": given.generation,
                "lastTransitionTime": old["lastTransitionTime"] if unchanged else timestamp(now),
            }
        )
    return made


def claims(given: StatusInput) -> dict[str, Claim]:
    """Status, reason and message of each condition, by type."""
    return _progress_claims(given.state) | _health_claims(given) | _analysis_claims(given.state)


def _progress_claims(state: RolloutState) -> dict[str, Claim]:
    phase, reason, message = state.phase, state.reason, state.message
    stalled = phase is Phase.FAILED or reason in STALLED_REASONS
    busy = phase in RUN_PHASES or phase in (Phase.INITIALIZING, Phase.TERMINATING)
    ready = phase in (Phase.INITIALIZED, Phase.SUCCEEDED) and not stalled
    invalid = state.config_error
    made: dict[str, Claim] = {
        "Ready": ("True" if ready else "False", _ready_reason(state, ready), message),
        "ConfigValid": (
            "False" if invalid else "True",
            str(Reason.CONFIG_INVALID) if invalid else "Valid",
            invalid,
        ),
        "Promoted": _promoted(state),
    }
    if busy and not stalled:
        made["Reconciling"] = ("True", reason, message)
    if stalled:
        made["Stalled"] = ("True", reason, message)
    return made


def _health_claims(given: StatusInput) -> dict[str, Claim]:
    """What the pods and the routes were like when this look began."""
    state, spec, primary, target = given.state, given.spec, given.primary, given.target
    if not state.promoted or spec is None:
        return {}
    made: dict[str, Claim] = {"PrimaryReady": _pods(primary, spec.primary_ready)}
    if state.run is None and spec.idle is IdlePolicy.SCALE_TO_ZERO:
        made["CanaryReady"] = ("False", "ScaledToZero", "")
    else:
        made["CanaryReady"] = _pods(target, spec.canary_ready)
    if state.phase not in (Phase.INITIALIZING, Phase.TERMINATING):
        routed = ("True", "Applied") if given.is_routed else ("False", "Drifted")
        made["TrafficRouted"] = (*routed, "")
    return made


def _pods(view: DeploymentView | None, percent: int) -> Claim:
    if view is None or view.replicas == 0:
        return "False", "ScaledToZero" if view else "Unavailable", ""
    need = max(1, -(-view.replicas * percent // 100))
    shown = f"{view.ready}/{view.replicas} pods ready"
    return ("True", "Available", shown) if view.ready >= need else ("False", "Unavailable", shown)


def _analysis_claims(state: RolloutState) -> dict[str, Claim]:
    """Outcome of the last evaluation; absent before there was one."""
    if not state.verdicts:
        return {}
    failed = [v for v in state.verdicts if v.verdict == Verdict.FAIL]
    open_ = [v for v in state.verdicts if v.verdict == Verdict.INCONCLUSIVE]
    if failed:
        claim = ("False", str(Reason.METRIC_FAILED))
    elif open_:
        is_down = any(v.reason == "SourceUnavailable" for v in open_)
        claim = ("Unknown", "SourceUnavailable" if is_down else "NoData")
    else:
        claim = ("True", "Passed")
    told = "; ".join(v.message for v in failed or open_ or state.verdicts)
    return {"AnalysisPassing": (*claim, told)}


def _ready_reason(state: RolloutState, ready: bool) -> str:  # noqa: FBT001 - a claim, not a switch
    if ready:
        return "Promoted" if state.phase is Phase.SUCCEEDED else "Initialized"
    if state.phase is Phase.FAILED:
        return "RolledBack"
    return "RollingOut" if state.phase in RUN_PHASES else state.reason or str(state.phase)


def _promoted(state: RolloutState) -> Claim:
    """Flagger's condition: True when idle on a promoted revision, False after a failure,
    Unknown in between.
    """
    match state.phase:
        case Phase.INITIALIZED | Phase.SUCCEEDED:
            return "True", str(state.phase), state.message
        case Phase.FAILED:
            return "False", str(state.phase), state.message
        case _:
            return "Unknown", str(state.phase), state.message


def _source(given: StatusInput) -> JsonDict:
    source: JsonDict = {"configHash": given.config_hash}
    if given.target is not None:
        source["generation"] = given.target.generation
    return source


def _metric(record: Any) -> JsonDict:
    return _without_empty(
        {
            "name": record.name,
            "value": record.value,
            "unit": record.unit,
            "threshold": record.threshold,
            "verdict": record.verdict,
            "samples": record.samples,
            "reason": record.reason,
            "at": timestamp(record.at),
        }
    )


def _hook(record: Any) -> JsonDict:
    return _without_empty(
        {
            "name": record.name,
            "type": record.type,
            "state": record.state,
            "code": record.code,
            "at": timestamp(record.at),
        }
    )


def _without_empty(mapping: Mapping[str, Any]) -> JsonDict:
    return {k: v for k, v in mapping.items() if v not in ("", None)}
