"""Taking over an app without losing a request.

Order (design 4.1): snapshot → satellites and primary → Services → primary ready and seen by the
data plane → route at weight 0 → apex selector → its endpoints seen → drain → only then the target
to idle.
Every step is recognised by looking at the objects, so a crash anywhere goes on where it was.
"""

from dataclasses import replace

from canaryd.core import names
from canaryd.core.decision import (
    Action,
    Apply,
    Decision,
    DeleteOwned,
    Emit,
    MarkTarget,
    SaveState,
    ScaleTarget,
)
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    acts,
    apex_points_at_primary,
    app_of,
    apply_primary,
    drain_s,
    enter,
    parks,
    point_apex_at_primary,
    primary_is_rolled_out,
    primary_service_name,
    retreat,
    spec_of,
    state_of,
    store_snapshot,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.rollout.satellites import outdated_satellites, outdated_scaler
from canaryd.core.rollout.scalers import sleep_first
from canaryd.core.rollout.upkeep import missing_services, recorded_again
from canaryd.core.routing import PRIMARY_ONLY
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState


def begin(snap: Snapshot, now: float) -> Decision | None:
    """Record the revision that serves now and start enrolling,
    or start over when it changed before users were moved.
    """
    state = snap.state
    if state is not None and state.phase is not Phase.INITIALIZING:
        return None
    if (halted := _await_owner(snap, now)) is not None:
        return halted
    revision = snap.revision.name
    if revision is None:
        obstacle = snap.revision.obstacle
        if obstacle is None:
            return waits(snap, Reason.CONFIG_UNREADABLE, "configs of the target are not read yet")
        return waits(snap, obstacle.reason, obstacle.message, tell="Warning")
    if state is not None and state.promoted and _keeps(snap, state.promoted, revision):
        return None
    if (served := _served_revision(snap)) is not None:
        return _recover(snap, now, served)
    target = target_of(snap)
    started = RolloutState(
        phase=Phase.INITIALIZING,
        target_uid=target.id.uid,
        promoted=revision,
        promoted_tracking=snap.revision.tracking,
        replicas=max(1, target.replicas),
        settled_at=now,
        tracked=snap.revision.seen,
        runs=state.runs if state else 0,
        history=state.history if state else (),
    )
    message = f"enrolling at revision {revision}"
    return acts(
        Reason.ENROLLING,
        message,
        store_snapshot(snap, revision),
        SaveState(with_reason(started, Reason.ENROLLING, message)),
    )


def _await_owner(snap: Snapshot, now: float) -> Decision | None:
    """An app that its owner stopped is not started by us: it is enrolled once it has pods of its
    own. What was made when it was stopped in the middle, before anybody used it, goes.
    """
    if not _is_stopped(snap):
        return None
    state, name = snap.state, snap.key[1]
    text = f"Deployment {name} has 0 replicas: nothing is started, it is enrolled once it has some"
    if state is not None and not state.promoted:
        return waits(snap, Reason.TARGET_STOPPED, text, after=None, tell="Normal")
    blank = RolloutState(
        phase=Phase.INITIALIZING,
        target_uid=target_of(snap).id.uid,
        settled_at=now,
        runs=state.runs if state else 0,
        history=state.history if state else (),
    )
    made: tuple[Action, ...] = (DeleteOwned(),) if state is not None else ()
    saved = SaveState(with_reason(blank, Reason.TARGET_STOPPED, text))
    told = Emit(Reason.TARGET_STOPPED, text)
    return acts(Reason.TARGET_STOPPED, text, *made, saved, told, after=None)


def _is_stopped(snap: Snapshot) -> bool:
    """Whether it was the owner who took the target to zero, and users are not on a primary."""
    target = target_of(snap)
    ours = target.annotations.get(names.MANAGED) == "true" or bool(snap.stray_apexes)
    return target.replicas == 0 and not ours and _served_revision(snap) is None


def _keeps(snap: Snapshot, promoted: str, revision: str) -> bool:
    """Whether enrolment goes on with what it began: users may have been moved already,
    or nothing changed.
    """
    return promoted == revision or apex_points_at_primary(snap)


def _served_revision(snap: Snapshot) -> str | None:
    """What a primary that outlived its record runs: the record was deleted,
    the users are still there.
    """
    if snap.primary is None or (snap.state is not None and snap.state.promoted):
        return None
    return snap.primary.annotations.get(names.REVISION)


def _recover(snap: Snapshot, now: float, served: str) -> Decision:
    """Rebuild the record from the primary, never from the target,
    which may carry a failed revision.
    """
    target, primary = target_of(snap), snap.primary
    message = f"the record was lost; the primary serves revision {served}"
    rebuilt = RolloutState(
        phase=Phase.INITIALIZING,
        target_uid=target.id.uid,
        promoted=served,
        replicas=max(1, primary.replicas if primary else 1),
        settled_at=now,
        route_written_at=now,
    )
    return acts(
        Reason.ENROLLING,
        message,
        SaveState(with_reason(rebuilt, Reason.ENROLLING, message)),
        Emit(Reason.ENROLLING, message, "Warning"),
    )


def clear_route(snap: Snapshot, now: float) -> Decision | None:
    """Weight left over from a run whose record was lost, or set by hand, goes first: the canary
    Service is about to lead nowhere.
    """
    if not snap.route.carries:
        return None
    message = f"the canary route says {snap.route.routing}, which no run asked for; writing 0"
    return acts(Reason.ENROLLING, message, retreat())


def make_primary(snap: Snapshot, now: float) -> Decision | None:
    """Copies of what selects the target's pods first, then the primary:
    it must not start cut off or unprotected.
    """
    state = _initializing(snap)
    if state is None:
        return None
    actions: list[Action] = [Apply(m) for m in outdated_satellites(snap)]
    primary = snap.primary
    stale = primary is None or primary.annotations.get(names.REVISION) != state.promoted
    if primary is None or stale or primary.replicas == 0:
        actions += [*recorded_again(snap, state.promoted), apply_primary(snap, state.promoted)]
    actions.extend(Apply(m) for m in (*missing_services(snap), *outdated_scaler(snap)))
    if not actions:
        return None
    return acts(Reason.ENROLLING, f"making primary {names.primary_name(snap.key[1])}", *actions)


def await_primary(snap: Snapshot, now: float) -> Decision | None:
    """Wait until the primary is rolled out and its Service sees the pods."""
    state = _initializing(snap)
    if state is None or primary_is_rolled_out(snap, state.promoted):
        return None
    primary = snap.primary
    ready = f"{primary.ready}/{primary.replicas}" if primary else "0"
    message = f"waiting for primary {names.primary_name(snap.key[1])}: {ready} pods ready"
    late = now - state.settled_at > spec_of(snap).progress_deadline_s
    if late or (primary is not None and (primary.deadline_exceeded or primary.failing)):
        why = (primary.failing or primary.deadline_exceeded) if primary else ""
        return waits(
            snap,
            Reason.PRIMARY_NOT_READY,
            f"{message}; nothing was switched, users are still served by Deployment {snap.key[1]}."
            f" {why}".strip(),
            tell="Warning",
        )
    return waits(snap, Reason.PRIMARY_NOT_READY, message)


def switch_apex(snap: Snapshot, now: float) -> Decision | None:
    """Route at weight 0 first, then the apex selector: from here on the primary serves."""
    state = _initializing(snap)
    if state is None:
        return None
    if not snap.route.in_sync or snap.route.routing != PRIMARY_ONLY:
        return acts(Reason.ENROLLING, "writing the canary route at weight 0", retreat())
    if apex_points_at_primary(snap):
        return None
    app = app_of(snap)
    message = f"pointing Service {app.apex.id.name} at the primary"
    return acts(
        Reason.ENROLLING,
        message,
        SaveState(replace(with_reason(state, Reason.ENROLLING, message), route_written_at=now)),
        point_apex_at_primary(snap),
    )


def await_endpoints(snap: Snapshot, now: float) -> Decision | None:
    """Wait until the apex's endpoints are the primary's, then until the data plane has surely
    seen it.
    """
    state = _initializing(snap)
    if state is None:
        return None
    app = app_of(snap)
    behind_apex = snap.ready(app.apex.id.name)
    behind_primary = snap.ready(primary_service_name(app))
    if not behind_apex or not behind_apex <= behind_primary:
        return waits(
            snap,
            Reason.WAITING_FOR_ENDPOINTS,
            f"waiting until Service {app.apex.id.name} leads to the primary's pods",
        )
    left = state.route_written_at + drain_s(snap) - now
    if left > 0:
        return waits(snap, Reason.DRAINING, f"draining for {left:.0f} s", after=left)
    return None


def finish(snap: Snapshot, now: float) -> Decision | None:
    """Mark the target, take it to idle, and be enrolled."""
    state = _initializing(snap)
    if state is None:
        return None
    target = target_of(snap)
    message = f"enrolled: {names.primary_name(snap.key[1])} serves revision {state.promoted}"
    done = replace(
        enter(state, Phase.INITIALIZED, now, Reason.INITIALIZED, message),
        primary_fingerprint=snap.primary.fingerprint if snap.primary else "",
        promotions=(*(r for r in state.promotions if r != state.promoted), state.promoted),
    )
    actions: list[Action] = []
    if target.annotations.get(names.MANAGED) != "true":
        actions.append(MarkTarget(managed=True))
    if parks(snap) and snap.revision.name == state.promoted and target.replicas > 0:
        actions += [*sleep_first(snap), ScaleTarget(0)]
    actions += [SaveState(done), Emit(Reason.INITIALIZED, message)]
    return acts(Reason.INITIALIZED, message, *actions)


def enrol_again(snap: Snapshot, now: float) -> Decision | None:
    """Enrolled again while leaving: go on from what still serves; what is gone already is made
    again by the steps of enrolment.
    """
    state = state_of(snap)
    message = "enrolled again while leaving"
    again = replace(
        enter(state, Phase.INITIALIZING, now, Reason.ENROLLING, message),
        run=None,
        failed="",
    )
    return acts(Reason.ENROLLING, message, SaveState(again))


def _initializing(snap: Snapshot) -> RolloutState | None:
    state = state_of(snap)
    return state if state.phase is Phase.INITIALIZING else None


CHAIN = (begin, clear_route, make_primary, await_primary, switch_apex, await_endpoints, finish)
"""Enrolment, in the order that keeps traffic safe."""
