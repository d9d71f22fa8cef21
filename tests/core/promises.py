"""What must hold after every single action of the daemon, crash or no crash: the promises of a rollout, as claims about the world.

The world keeps a ledger of what really happened (which pods were measured, what they were started with, since when no
user reaches the target); the claims compare that with what the daemon does. None of them asks the core.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from canaryd.core import names
from canaryd.core.decision import (
    Action,
    Apply,
    ApplyPrimary,
    Delete,
    DeleteOwned,
    SaveState,
    ScaleTarget,
    WriteRoute,
)
from canaryd.core.phase import Phase
from canaryd.core.state import RolloutState, RunState, dump, load
from canaryd.core.views import selects

if TYPE_CHECKING:
    from canaryd.core.snapshot import Snapshot
    from tests.core.world import World

Endpoints = Mapping[str, frozenset[str]]
TARGET_PODS = {"app": "app"}
PRIMARY_PODS = {"app": "app-primary"}
OURS = {"app-primary", "app-canary"}
LET_GO_S = 2.0
"""How long the data plane goes on sending requests to where it was told to send them before."""


@dataclass
class Ledger:
    """What happened, told by the world and not by the daemon."""

    evidence: dict[str, dict[int, bool]] = field(default_factory=dict)
    """Run and step to: the last measurement there was good, and of the run's own revision."""
    bad_gates: dict[str, int] = field(default_factory=dict)
    """Run to how many measurements failed."""
    target_exposed_at: float = 0.0
    """When users could last reach the target's pods."""
    primary_exposed_at: float = 0.0

    def measured(self, state: RolloutState | None, revisions: list[str], *, passed: bool) -> None:
        run = state.run if state else None
        if run is not None:
            good = passed and all(r == run.revision for r in revisions)
            self.evidence.setdefault(run.id, {})[run.step] = good

    def gate_failed(self, state: RolloutState | None) -> None:
        if state is not None and state.run is not None:
            self.bad_gates[state.run.id] = self.bad_gates.get(state.run.id, 0) + 1

    def passed(self, world: World) -> None:
        """Time has passed."""
        selector = world.apex_selector or {}
        template = world.target.template if world.target else ""
        pods = TARGET_PODS | {names.POD_TEMPLATE_HASH: f"h{template}"}
        is_canary = world.weight and selects(world.services.get("app-canary", {}), pods)
        if is_canary or selects(selector, TARGET_PODS):
            self.target_exposed_at = world.now
        if selects(selector, PRIMARY_PODS):
            self.primary_exposed_at = world.now

    def proves(self, run: RunState, steps: int) -> bool:
        """Whether the last measurement of every step was good."""
        seen = self.evidence.get(run.id, {})
        return all(seen.get(step, False) for step in range(steps))

    def copy(self) -> Ledger:
        twin = copy.copy(self)
        twin.evidence = {run: dict(steps) for run, steps in self.evidence.items()}
        twin.bad_gates = dict(self.bad_gates)
        return twin


def broken_by(world: World, snap: Snapshot, action: Action, before: Endpoints) -> Iterator[str]:
    """Every promise that this action, which has just been carried out, has broken."""
    match action:
        case WriteRoute(weight) if weight > 0:
            yield from _raised(world, snap, weight)
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
    if world.sight is None:
        yield from _served(world, action, before)


def _raised(world: World, snap: Snapshot, weight: int) -> Iterator[str]:
    run = world.state.run if world.state else None
    if not snap.ready("app-canary") or not snap.target or not snap.target.ready:
        yield f"weight {weight} without ready canary pods"
    if run is None or run.weight != weight:
        yield f"weight {weight} that no run asks for"
    elif snap.revision.name != run.revision and world.state.phase is not Phase.PROMOTING:
        yield f"weight {weight} for revision {run.revision}, which the target has left"


def _saved(world: World, snap: Snapshot, state: RolloutState) -> Iterator[str]:
    if load(dump(state)) != state:
        yield f"the state does not read back: {state}"
    old, new = snap.state.run if snap.state else None, state.run
    if new is not None and new.step < 0:
        world.ledger.evidence.pop(new.id, None)
    if new is not None and new.weight:
        moved = old is None or old.id != new.id or old.weight != new.weight
        weights = [int(w) for w in new.plan["weights"].split(",")]
        if moved and (old is None or new.step != old.step + 1 or weights[new.step] != new.weight):
            yield f"weight {new.weight} at step {new.step} is not next in {weights}"
    if new is not None and world.ledger.bad_gates.get(new.id, 0) > int(
        new.plan["failure-threshold"]
    ):
        yield f"run {new.id} goes on after {world.ledger.bad_gates[new.id]} bad gates"
    if snap.state is not None and snap.state.promoted and snap.state.promoted != state.promoted:
        enrolling = snap.state.phase in (Phase.INITIALIZING, Phase.TERMINATING)
        if not enrolling and (old is None or old.revision != state.promoted):
            yield f"{state.promoted} counts as promoted, and no run promoted it"


def _applied_primary(world: World, snap: Snapshot, revision: str) -> Iterator[str]:
    state = world.state
    if state is not None and revision == state.promoted:
        return
    run = state.run if state else None
    if run is None or state.phase is not Phase.PROMOTING or run.revision != revision:
        yield f"the primary got {revision}, which nobody promoted"
    elif run.plan.get("skip-analysis") != "true":
        steps = len(run.plan["weights"].split(","))
        if not world.ledger.proves(run, steps):
            seen = world.ledger.evidence.get(run.id)
            yield f"the primary got {revision}, which was not analysed at every step: {seen}"


def _parked(world: World, snap: Snapshot) -> Iterator[str]:
    if world.apex_selector is not None and selects(world.apex_selector, TARGET_PODS):
        yield "the target was scaled to zero while the apex points at it"
    if world.weight:
        yield f"the target was scaled to zero at weight {world.weight}"
    gone = world.now - world.ledger.target_exposed_at
    if gone < LET_GO_S and snap.target is not None and snap.target.ready:
        yield f"the target was scaled to zero {gone:.1f} s after users were sent to it"


def _served(world: World, action: Action, before: Endpoints) -> Iterator[str]:
    after = world.endpoints()
    if before.get("app") and not after.get("app"):
        yield f"{type(action).__name__} took the app's last ready pod"
    if world.weight and before.get("app-canary") and not after.get("app-canary"):
        yield f"{type(action).__name__} took the canary's last ready pod at weight {world.weight}"
