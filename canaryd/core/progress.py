"""Where a run is, for people: its stage, what it waits for, and the command that opens a gate.

Derived from the state and its plan at each write; nothing here is read back.
"""

from typing import assert_never

from canaryd.core.memory import timestamp
from canaryd.core.model import CanarySpec
from canaryd.core.program import Analyze, Gate, Job, Pause, Stage
from canaryd.core.state import RolloutState, RunState
from canaryd.core.views import JsonDict


def progress(state: RolloutState, spec: CanarySpec | None, key: tuple[str, str]) -> JsonDict:
    """``step``, ``gates``, ``run`` and ``iterations`` of a status; empty between runs.

    Args:
        state: with the run.
        spec: its pinned plan.
        key: namespace and name of the target.

    """
    run = state.run
    if run is None:
        return {"iterations": 0}
    stages = spec.stages if spec is not None else ()
    stage = stages[run.step] if 0 <= run.step < len(stages) else None
    made: JsonDict = {
        "run": _run(run),
        "step": _step(run, stage, len(stages)),
        "iterations": run.passes if stage is not None and _repeats(stage) else 0,
    }
    if spec is not None and stage is not None and isinstance(stage.wait, Gate):
        made["gates"] = [_gate(run, spec, stage.wait.name, key)]
    return made


def _run(run: RunState) -> JsonDict:
    return _without_empty(
        {
            "id": run.id,
            "revision": run.revision,
            "startedAt": timestamp(run.started_at),
            "pausedBy": run.paused_by if run.paused_at else "",
            "pausedAt": timestamp(run.paused_at) if run.paused_at else "",
            "failure": run.held,
            "undoes": run.undoes,
            "watchedUntil": timestamp(run.watch_until) if run.watch_until else "",
        }
    )


def _step(run: RunState, stage: Stage | None, total: int) -> JsonDict:
    index = max(run.step + 1, 0)
    ends = _ends_at(run, stage) if stage is not None else 0.0
    return _without_empty(
        {
            "index": index,
            "total": total,
            "text": f"{index}/{total}",
            "name": stage.name if stage is not None else "",
            "startedAt": timestamp(run.step_started_at) if run.step_started_at else "",
            "notBefore": timestamp(ends) if ends else "",
        }
    )


def _ends_at(run: RunState, stage: Stage) -> float:
    """When a stage ends at the soonest, as far as its own words say; 0 when they do not."""
    match stage.wait:
        case Pause(for_s):
            return run.step_started_at + for_s if for_s is not None else 0.0
        case Analyze(_, for_s):
            return run.step_started_at + for_s if for_s else 0.0
        case Gate() | Job():
            return 0.0
        case _:
            assert_never(stage.wait)


def _repeats(stage: Stage) -> bool:
    return isinstance(stage.wait, Analyze) and stage.wait.passes > 1


def _gate(run: RunState, spec: CanarySpec, name: str, key: tuple[str, str]) -> JsonDict:
    gate = spec.gate(name)
    wanted = gate.approvals if gate is not None else 1
    until = run.step_started_at + gate.deadline_s if gate is not None and gate.deadline_s else 0.0
    return _without_empty(
        {
            "name": name,
            "state": "Waiting" if len(run.approvals) < wanted else "Approved",
            "since": timestamp(run.step_started_at),
            "deadline": timestamp(until) if until else "",
            "approvals": len(run.approvals),
            "needed": wanted,
            "approvedBy": list(run.approvals),
            "approveWith": f"kubectl canaryd approve {key[1]} -n {key[0]} --gate {name}",
        }
    )


def _without_empty(mapping: JsonDict) -> JsonDict:
    return {k: v for k, v in mapping.items() if v not in ("", None, [])}
