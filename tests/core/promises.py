"""What must hold after every single action of the daemon, crash or no crash: the promises of a rollout, as claims about the world.

The world keeps a ledger of what really happened (which pods were measured, what they were started with, since when no
user reaches the target); the claims compare that with what the daemon does. None of them asks the core.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from canaryd.core import names
from canaryd.core.annotations import resolve
from canaryd.core.decision import (
    Action,
    Apply,
    ApplyPrimary,
    Ask,
    Delete,
    DeleteOwned,
    Emit,
    Notify,
    SaveState,
    ScaleTarget,
    StopAsking,
    StoreSnapshot,
    WriteFeedback,
    WriteRoute,
)
from canaryd.core.model import CanarySpec
from canaryd.core.phase import Phase
from canaryd.core.program import Analyze, Stage
from canaryd.core.routing import Routing
from canaryd.core.state import RolloutState, RunState
from canaryd.core.views import selects

if TYPE_CHECKING:
    from canaryd.core.snapshot import Snapshot
    from tests.core.world import World

Endpoints = Mapping[str, frozenset[str]]
TARGET_PODS = {"app": "app"}
PRIMARY_PODS = {"app": "app-primary"}
OURS = {"app-primary", "app-canary"}
MOVES_NO_POD = Ask | StopAsking | Emit | Notify | SaveState | StoreSnapshot | WriteFeedback
"""After these the same pods stand behind the same Services."""
LET_GO_S = 2.0
"""How long the data plane goes on sending requests to where it was told to send them before."""


@dataclass
class Ledger:
    """What happened, told by the world and not by the daemon."""

    evidence: dict[str, dict[int, bool]] = field(default_factory=dict)
    """Run and step to: the last measurement there was good, and of the run's own revision."""
    bad_gates: dict[str, int] = field(default_factory=dict)
    """Run to how many measurements failed."""
    loads: dict[tuple[str, int], bool] = field(default_factory=dict)
    """Run and evaluation to: its load test was good, and sent to the run's own revision."""
    quiet: set[tuple[str, int]] = field(default_factory=set)
    """Runs and evaluations that nobody but a load test made requests for."""
    target_exposed_at: float = 0.0
    """When users could last reach the target's pods."""
    primary_exposed_at: float = 0.0

    def measured(self, state: RolloutState | None, revisions: list[str], *, passed: bool) -> None:
        run = state.run if state else None
        if run is not None:
            good = passed and all(r == run.revision for r in revisions)
            self.evidence.setdefault(run.id, {})[run.step] = good

    def loaded(self, state: RolloutState | None, revisions: list[str], *, passed: bool) -> None:
        """A load test has ended: it counts where nobody else made requests."""
        run = state.run if state else None
        if run is not None:
            good = passed and all(r == run.revision for r in revisions)
            self.loads[run.id, run.evaluation] = good
            self._weigh(run)

    def unused(self, state: RolloutState | None) -> None:
        """A measurement found no request of users."""
        run = state.run if state else None
        if run is not None:
            self.quiet.add((run.id, run.evaluation))
            self._weigh(run)

    def _weigh(self, run: RunState) -> None:
        key = (run.id, run.evaluation)
        if key in self.quiet:
            self.evidence.setdefault(run.id, {})[run.step] = self.loads.get(key, False)

    def gate_failed(self, state: RolloutState | None) -> None:
        if state is not None and state.run is not None:
            self.bad_gates[state.run.id] = self.bad_gates.get(state.run.id, 0) + 1

    def passed(self, world: World) -> None:
        """Time has passed."""
        selector = world.apex_selector or {}
        template = world.target.template if world.target else ""
        pods = TARGET_PODS | {names.POD_TEMPLATE_HASH: f"h{template}"}
        is_canary = world.has_users and selects(world.services.get("app-canary", {}), pods)
        if is_canary or selects(selector, TARGET_PODS):
            self.target_exposed_at = world.now
        if selects(selector, PRIMARY_PODS):
            self.primary_exposed_at = world.now

    def proves(self, run: RunState, stages: tuple[Stage, ...], left: set[str]) -> bool:
        """Whether the last measurement of every stage that is judged was good, those aside that
        somebody asked to leave.
        """
        seen = self.evidence.get(run.id, {})
        judged = [n for n, s in enumerate(stages) if s.has_traffic or isinstance(s.wait, Analyze)]
        return all(seen.get(n, False) for n in judged if f"{run.id}@{n}" not in left)

    def copy(self) -> Ledger:
        twin = copy.copy(self)
        twin.evidence = {run: dict(steps) for run, steps in self.evidence.items()}
        twin.bad_gates = dict(self.bad_gates)
        twin.loads, twin.quiet = dict(self.loads), set(self.quiet)
        return twin


def broken_by(world: World, snap: Snapshot, action: Action, before: Endpoints) -> Iterator[str]:
    """Every promise that this action, which has just been carried out, has broken."""
    match action:
        case WriteRoute(routing) if routing.has_users:
            yield from _raised(world, snap, routing)
        case SaveState(state):
            yield from _saved(world, snap, state)
        case ApplyPrimary(revision):
            yield from _applied_primary(world, snap, revision)
        case ScaleTarget(0):
            yield from _parked(world, snap)
        case Apply(manifest):
            labels = manifest["metadata"]["labels"]
            if manifest["metadata"]["name"] not in OURS or labels[names.MANAGED_BY] != "canaryd":
                yield f"applied {manifest['kind']} {manifest['metadata']['name']}"
        case Delete(kind, name) if f"{kind.kind}/{name}" not in snap.satellites:
            yield f"deleted {kind.kind} {name}"
        case DeleteOwned() if snap.primary is not None and snap.primary.ready:
            if world.now - world.ledger.primary_exposed_at < LET_GO_S:
                yield "the primary was deleted while users reach it"
        case _:
            pass
    if world.sight is None and not isinstance(action, MOVES_NO_POD):
        yield from _served(world, action, before)


def _raised(world: World, snap: Snapshot, routing: Routing) -> Iterator[str]:
    run = world.state.run if world.state else None
    if not snap.ready("app-canary") or not snap.target or not snap.target.ready:
        yield f"{routing} without ready canary pods"
    if run is None or (run.weight, run.matched) != (routing.weight, bool(routing.matches)):
        yield f"{routing} that no run asks for"
    elif snap.revision.name != run.revision and world.state.phase is not Phase.PROMOTING:
        yield f"{routing} for revision {run.revision}, which the target has left"


def _as_recorded(state: RolloutState, read: RolloutState) -> RolloutState:
    """The state with its records for people as they are kept: to the second, the oldest forgotten."""
    kept = len(read.history)
    return replace(
        state,
        verdicts=tuple(replace(v, at=float(int(v.at))) for v in state.verdicts),
        hooks=tuple(replace(h, at=float(int(h.at))) for h in state.hooks),
        commands=tuple(
            replace(c, at=float(int(c.at)))
            for c in state.commands[len(state.commands) - len(read.commands) :]
        ),
        history=tuple(
            replace(h, started_at=float(int(h.started_at)), finished_at=float(int(h.finished_at)))
            for h in state.history[len(state.history) - kept :]
        ),
    )


def _saved(world: World, snap: Snapshot, state: RolloutState) -> Iterator[str]:
    if _as_recorded(state, world.state) != world.state:
        yield f"the state does not read back: {state}"
    old, new = snap.state.run if snap.state else None, state.run
    if new is not None and new.step < 0:
        world.ledger.evidence.pop(new.id, None)
    if new is not None and new.has_users and not new.handing_back:
        yield from _moved(old, new)
    limit = spec_of_plan(new).failure_threshold if new is not None else 0
    is_over = new is None or new.held or new.skipped
    if new is not None and not is_over and world.ledger.bad_gates.get(new.id, 0) > limit:
        yield f"run {new.id} goes on after {world.ledger.bad_gates[new.id]} bad gates"
    if snap.state is not None and snap.state.promoted and snap.state.promoted != state.promoted:
        enrolling = snap.state.phase in (Phase.INITIALIZING, Phase.TERMINATING)
        enrolling = enrolling or snap.state.observing
        if not enrolling and (old is None or old.revision != state.promoted):
            yield f"{state.promoted} counts as promoted, and no run promoted it"


def _moved(old: RunState | None, new: RunState) -> Iterator[str]:
    """Users come to the canary stage by stage, as the plan says."""
    same = old is not None and old.id == new.id and old.step == new.step
    if same and (old.weight, old.matched) == (new.weight, new.matched):
        return
    stages = spec_of_plan(new).stages
    wanted = (stages[new.step].weight, stages[new.step].matched)
    if old is None or new.step != old.step + 1 or wanted != (new.weight, new.matched):
        yield f"weight {new.weight} at step {new.step} is not next in {stages}"


def spec_of_plan(run: RunState) -> CanarySpec:
    """The plan a run has pinned."""
    return _spec(tuple(run.plan.items()))


@lru_cache(maxsize=256)
def _spec(plan: tuple[tuple[str, str], ...]) -> CanarySpec:
    spec = resolve([("pinned", dict(plan))]).spec
    assert spec is not None
    return spec


def _applied_primary(world: World, snap: Snapshot, revision: str) -> Iterator[str]:
    state = world.state
    if state is not None and revision == state.promoted:
        return
    run = state.run if state else None
    if run is None or state.phase is not Phase.PROMOTING or run.revision != revision:
        yield f"the primary got {revision}, which nobody promoted"
        return
    if run.skipped or run.undoes or spec_of_plan(run).skips(revision):
        return  # a person said so
    left = {c.subject for c in state.commands if c.outcome in ("StepSkipped", "Resumed")}
    if not world.ledger.proves(run, spec_of_plan(run).stages, left):
        seen = world.ledger.evidence.get(run.id)
        yield f"the primary got {revision}, which was not analysed at every step: {seen}"


def _parked(world: World, snap: Snapshot) -> Iterator[str]:
    if world.apex_selector is not None and selects(world.apex_selector, TARGET_PODS):
        yield "the target was scaled to zero while the apex points at it"
    if world.has_users:
        yield f"the target was scaled to zero at {world.routing}"
    gone = world.now - world.ledger.target_exposed_at
    if gone < LET_GO_S and snap.target is not None and snap.target.ready:
        yield f"the target was scaled to zero {gone:.1f} s after users were sent to it"


def _served(world: World, action: Action, before: Endpoints) -> Iterator[str]:
    after = world.endpoints()
    if before.get("app") and not after.get("app"):
        yield f"{type(action).__name__} took the app's last ready pod"
    if world.has_users and before.get("app-canary") and not after.get("app-canary"):
        yield f"{type(action).__name__} took the canary's last ready pod at weight {world.weight}"
