"""The status people and tools read, made of the state: nothing here is remembered beside it.

What of the state stands in it for people is read back from there (``memory``), and how much of it
is told has a limit (``fitting``).
Conditions follow kstatus: ``Reconciling`` and ``Stalled`` are there only while true,
and a failed run is ``Stalled``, because
``Ready=False`` alone reads as "in progress" for ever.
Flagger's field names are kept beside ours, so that scripts and ``kubectl wait
--for=condition=promoted`` go on working.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from canaryd.core.fitting import FITS, STATUS_LIMIT, fitted, forget_oldest, size
from canaryd.core.memory import remember, timestamp
from canaryd.core.model import CanarySpec, IdlePolicy
from canaryd.core.phase import RUN_PHASES, Phase
from canaryd.core.progress import progress
from canaryd.core.reasons import Reason
from canaryd.core.state import HISTORY_CAP, RolloutState, RunState, brief
from canaryd.core.verdicts import Verdict
from canaryd.core.views import DeploymentView, JsonDict

OBSTACLE_REASONS = frozenset(
    {
        Reason.SERVICE_NOT_FOUND,
        Reason.SERVICE_AMBIGUOUS,
        Reason.INGRESS_NOT_FOUND,
        Reason.INGRESS_INVALID,
        Reason.ROUTE_NOT_FOUND,
        Reason.ROUTE_INVALID,
        Reason.CONFLICT,
        Reason.NETWORK_POLICY_UNMATCHED,
        Reason.WORKLOAD_UNSUPPORTED,
        Reason.CONFIG_MISSING,
        Reason.CONFIG_UNREADABLE,
        Reason.COPY_LOST,
    }
)
"""Something about the app is in the way of it, and its end is an end of the complaint."""
STALLED_REASONS = OBSTACLE_REASONS | {
    Reason.CONFIG_INVALID,
    Reason.PROMOTION_FAILED,
    Reason.FAILURE_HELD,
    Reason.TRAFFIC_NOT_SHIFTED,
    Reason.ROUTE_REFUSED,
    Reason.CONTESTED,
    Reason.WATCH_FAILED,
}
"""Reasons that need a person even though no run has failed."""

SETTLED = frozenset({Phase.INITIALIZED, Phase.SUCCEEDED, Phase.WATCHING})
"""The promoted revision serves everybody, and nothing newer is on its way."""
REPEAT_CAP = 256
"""Characters of a text that a condition repeats; at length it stands in another field."""
AT_LENGTH = frozenset({"Ready", "ConfigValid"})
"""Conditions that say their text to its end, where it tells what to do: tools show nothing else."""

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
    is_routed: bool | None = None
    """The routes on the cluster said, when this look began, what had been decided before; None
    while something hides them.
    """
    hidden_by: str = ""
    """Reason of the obstacle that hides the routes."""


def render(given: StatusInput, previous: Mapping[str, Any], now: float) -> JsonDict:
    """The whole status, as much of it as fits; ``previous`` supplies transition times of conditions
    that did not change.
    """
    # Without a plan nothing says how much is wanted, and what is left out is forgotten.
    limit = given.spec.history_limit if given.spec else HISTORY_CAP
    status: JsonDict = {}
    for fit in FITS:
        told = replace(given, state=fitted(given.state, fit, limit))
        status = _whole(told, previous, now)
        if forget_oldest(status["history"], size(status) - STATUS_LIMIT, fit) <= 0:
            break
    return status


def _whole(given: StatusInput, previous: Mapping[str, Any], now: float) -> JsonDict:
    state, spec, run = given.state, given.spec, given.state.run
    status: JsonDict = remember(state) | {
        "observedGeneration": given.generation,
        "observedSource": _source(given),
        "phase": str(state.phase),
        "revisions": _without_empty(
            {
                "stable": state.promoted,
                "canary": run.revision if run else "",
                "lastFailed": state.failed,
            }
        ),
        "weight": _weight(run, spec),
        "canaryWeight": run.weight if run else 0,
        "failedChecks": run.failures if run else 0,
        "lastAppliedSpec": run.revision if run else (state.failed or state.promoted),
        "lastPromotedSpec": state.promoted,
    }
    status |= progress(state, spec, _key(given))
    if run is not None:
        status["failures"] |= {
            "count": run.failures,
            "limit": spec.failure_threshold if spec else 0,
        }
    status["conditions"] = conditions(given, previous, now)
    status["lastTransitionTime"] = timestamp(state.settled_at or now)
    return status


def _weight(run: RunState | None, spec: CanarySpec | None) -> JsonDict:
    """Who gets to the canary."""
    share = run.weight if run is not None else 0
    made: JsonDict = {"canary": share, "primary": 100 - share, "desired": share}
    if run is not None and run.mirror:
        made["mirror"] = run.mirror
    if run is not None and run.matched and spec is not None:
        made["match"] = [str(match) for match in spec.matches]
    return made


def _key(given: StatusInput) -> tuple[str, str]:
    return given.target.id.key if given.target is not None else ("", "")


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
                "message": message if kind in AT_LENGTH else brief(message, REPEAT_CAP),
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
    # Who waits for an app that its owner stopped waits for ever.
    begun = phase is Phase.INITIALIZING and reason != Reason.TARGET_STOPPED
    busy = phase in RUN_PHASES or phase is Phase.TERMINATING or begun
    ready = phase in SETTLED and not stalled
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
    if not state.promoted or spec is None or state.observing:
        return {}
    made: dict[str, Claim] = {"PrimaryReady": _pods(primary, spec.primary_ready)}
    is_idle = state.run is None or state.phase is Phase.WATCHING
    if is_idle and spec.idle is IdlePolicy.SCALE_TO_ZERO:
        made["CanaryReady"] = ("False", "ScaledToZero", "")
    else:
        made["CanaryReady"] = _pods(target, spec.canary_ready)
    if state.phase not in (Phase.INITIALIZING, Phase.TERMINATING):
        made["TrafficRouted"] = _routed(given)
    return made


def _routed(given: StatusInput) -> Claim:
    match given.is_routed:
        case None:
            return "Unknown", given.hidden_by, ""
        case True:
            return "True", "Applied", ""
        case False:
            return "False", "Drifted", ""


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
    told = "; ".join(v.message for v in failed or open_ or state.verdicts if v.message)
    return {"AnalysisPassing": (*claim, told)}


def _ready_reason(state: RolloutState, ready: bool) -> str:  # noqa: FBT001 - a claim, not a switch
    if ready:
        return "Initialized" if state.phase is Phase.INITIALIZED else "Promoted"
    if state.phase is Phase.FAILED:
        return "RolledBack"
    return "RollingOut" if state.phase in RUN_PHASES else state.reason or str(state.phase)


def _promoted(state: RolloutState) -> Claim:
    """Flagger's condition: True when idle on a promoted revision, False after a failure,
    Unknown in between.
    """
    match state.phase:
        case Phase.INITIALIZED | Phase.SUCCEEDED | Phase.WATCHING:
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


def _without_empty(mapping: Mapping[str, Any]) -> JsonDict:
    return {k: v for k, v in mapping.items() if v not in ("", None)}
