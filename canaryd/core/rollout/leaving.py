"""Giving an app back: annotation removed, ``enabled: "false"``, or the target deleted.

Order (design 4.5): users to the primary → target at a promoted revision and ready → apex selector
back and its endpoints seen → drain → our objects go. Never the other way round.
A failed or half-analysed revision is never revived: the target gets the promoted template back
first (case X21).
"""

from dataclasses import replace

from canaryd.core import names
from canaryd.core.decision import (
    Action,
    Decision,
    DeleteOwned,
    Emit,
    Forget,
    MarkTarget,
    RemoveRoute,
    RestoreTemplate,
    SaveState,
    ScaleTarget,
    StopAsking,
    SwitchApex,
)
from canaryd.core.model import CanarySpec, Mode
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    acts,
    close_run,
    enter,
    retreat,
    state_of,
    target_of,
    waits,
    with_reason,
)
from canaryd.core.rollout.scalers import sleep_until_left, wake_all
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState
from canaryd.core.views import ServiceView

DEFAULT_DRAIN_S = CanarySpec().scale_down_delay_s
UNKNOWN_REVISION = "unknown"
"""Stands for the promoted revision when nothing tells it any more; nothing is restored then."""


def target_gone(snap: Snapshot, now: float) -> Decision | None:
    """The target was deleted: the garbage collector takes what belonged to it;
    the user's Service is put back as it was.
    """
    if snap.target is not None:
        return None
    serving = [s.id.name for s in snap.stray_apexes if snap.ready(s.id.name)]
    if serving:
        # Still served by a primary that is not collected yet, or never will be (an orphaning
        # deletion): the old selector finds no pods any more.
        return Decision(
            reason=Reason.TARGET_GONE,
            message=f"Deployment {snap.key[1]} is gone; Service {', '.join(serving)} keeps leading"
            " to the primary while it has ready pods",
        )
    if snap.stray_apexes:
        return acts(
            Reason.TARGET_GONE,
            f"Deployment {snap.key[1]} is gone; giving its Service the old selector back",
            *(_give_back(apex) for apex in snap.stray_apexes),
        )
    if woken := wake_all(snap):
        text = f"Deployment {snap.key[1]} is gone; giving its ScaledObject back as it was"
        return acts(Reason.TARGET_GONE, text, *woken)
    return Decision(reason=Reason.TARGET_GONE, message=f"Deployment {snap.key[1]} does not exist")


def not_ours(snap: Snapshot, now: float) -> Decision | None:
    """A Deployment that is not enrolled and never was: nothing of ours is left on its Service."""
    known = snap.state is not None or snap.canary is not None or snap.stray_apexes or wake_all(snap)
    if snap.resolution.enabled or known:
        return None
    return Decision(reason=Reason.NOT_ENROLLED, message='canaryd.io/enabled is not "true"')


def leave(snap: Snapshot, now: float) -> Decision | None:
    """Leave step by step; each is recognised by looking at the objects."""
    state = snap.state
    if snap.resolution.enabled and not _becomes_observed(snap):
        return None
    if state is not None and state.observing:
        return acts(Reason.LEFT, "nothing was changed", Forget(), after=None)
    if state is None or not state.promoted:
        if snap.stray_apexes:
            return _recover(snap, now)
        # Never got as far as making anything but the Canary object, which says why.
        done = (DeleteOwned(), *_unmark(snap), Forget())
        return acts(Reason.LEFT, "nothing was enrolled", *done, after=None)
    if state.phase is not Phase.TERMINATING:
        return _announce(snap, now)
    return _restore_target(snap, now) or _give_apex_back(snap, now) or _remove(snap, now)


def _becomes_observed(snap: Snapshot) -> bool:
    """Whether an enrolled app is to be looked at only: it is given back first."""
    spec, state = snap.fresh_spec, snap.state
    if spec is None or spec.mode is not Mode.OBSERVE:
        return False
    if state is None:
        return bool(snap.stray_apexes)  # enrolled, and its record was lost
    return bool(state.promoted) and not state.observing


def _recover(snap: Snapshot, now: float) -> Decision:
    """The record was lost, and the Service is still ours: leave in order all the same."""
    target, primary = target_of(snap), snap.primary
    served = primary.annotations.get(names.REVISION, "") if primary else ""
    rebuilt = RolloutState(
        phase=Phase.TERMINATING,
        target_uid=target.id.uid,
        promoted=served or snap.revision.name or UNKNOWN_REVISION,
        replicas=max(1, primary.replicas if primary else target.replicas),
        settled_at=now,
        route_written_at=now,
    )
    message = "the record was lost: giving the app back, step by step"
    saved = SaveState(with_reason(rebuilt, Reason.LEAVING, message))
    return acts(Reason.LEAVING, message, saved, Emit(Reason.LEAVING, message, "Warning"))


def _announce(snap: Snapshot, now: float) -> Decision:
    state = state_of(snap)
    message = "canaryd.io/enabled was removed: giving the app back"
    if snap.resolution.enabled:
        message = "canaryd.io/mode is observe: giving the app back"
    restored = state.failed
    if state.run is not None and state.run.revision != state.promoted:
        restored = state.run.revision
    closed = close_run(state, now, "Cancelled", Reason.LEAVING)
    saved = replace(enter(closed, Phase.TERMINATING, now, Reason.LEAVING, message), failed=restored)
    actions: list[Action] = [StopAsking(), SaveState(saved)]
    if snap.route.carries:
        actions.append(retreat())
    return acts(Reason.LEAVING, message, *actions, Emit(Reason.LEAVING, message))


def _restore_target(snap: Snapshot, now: float) -> Decision | None:
    state, target = state_of(snap), target_of(snap)
    if snap.route.carries:
        return acts(Reason.LEAVING, "all users to the primary first", retreat())
    if _apex_is_switched(snap) and (asleep := sleep_until_left(snap)) is not None:
        return asleep
    bad = bool(state.failed) and snap.revision.name == state.failed
    if bad and _apex_is_switched(snap):
        message = (
            f"revision {state.failed} was not promoted: giving the target revision {state.promoted}"
            " back"
        )
        return acts(
            Reason.LEAVING, message, RestoreTemplate(state.promoted), Emit(Reason.LEAVING, message)
        )
    wanted = max(1, snap.primary.replicas if snap.primary else state.replicas)
    if target.replicas == 0 or (target.replicas < wanted and _apex_is_switched(snap)):
        return acts(Reason.LEAVING, f"scaling the target to {wanted}", ScaleTarget(wanted))
    if _apex_is_switched(snap) and not target.is_rolled_out():
        return waits(
            snap,
            Reason.LEAVING,
            f"waiting for the target's rollout: {target.updated}/{target.replicas} pods updated,"
            f" {target.available} available; the primary serves meanwhile",
        )
    return None


def _give_apex_back(snap: Snapshot, now: float) -> Decision | None:
    state = state_of(snap)
    switched = [s for s in snap.stray_apexes if dict(s.selector) != s.original_selector()]
    if switched:
        message = "pointing the Service at the target again"
        return acts(
            Reason.LEAVING,
            message,
            SaveState(replace(with_reason(state, Reason.LEAVING, message), route_written_at=now)),
            *(_point_back(apex) for apex in switched),
        )
    behind_primary = _primary_addresses(snap)
    for apex in snap.stray_apexes:
        behind = snap.ready(apex.id.name)
        if not behind or behind & behind_primary:
            return waits(
                snap,
                Reason.WAITING_FOR_ENDPOINTS,
                f"waiting until Service {apex.id.name} leads to the target's pods",
            )
    if snap.stray_apexes and state.reason != Reason.DRAINING:
        # Whoever pointed the Service back, we or a GitOps tool: the data plane has its time from
        # the moment its endpoints were seen. A mesh leads to the primary's own Service, past this
        # one, until its route is gone: it gets the same time to forget it.
        message = "the Service leads to the target's pods; draining the primary"
        drains = replace(with_reason(state, Reason.DRAINING, message), route_written_at=now)
        return acts(Reason.DRAINING, message, RemoveRoute(), SaveState(drains))
    left = state.route_written_at + _drain_s(snap) - now
    if snap.stray_apexes and left > 0:
        return waits(snap, Reason.DRAINING, f"draining for {left:.0f} s", after=left)
    return None


def _remove(snap: Snapshot, now: float) -> Decision:
    actions: list[Action] = [DeleteOwned(), *(_give_back(apex) for apex in snap.stray_apexes)]
    actions += _unmark(snap)
    message = f"Deployment {snap.key[1]} is on its own again"
    # One that is looked at from now on begins anew at once.
    after = 1.0 if snap.resolution.enabled else None
    return acts(Reason.LEFT, message, *actions, Emit(Reason.LEFT, message), Forget(), after=after)


def _unmark(snap: Snapshot) -> list[Action]:
    """Also what the admission policy noted on an app that never was enrolled."""
    marks = {names.MANAGED, names.AUTHOR} & target_of(snap).annotations.keys()
    return [*wake_all(snap), *((MarkTarget(managed=False),) if marks else ())]


def _apex_is_switched(snap: Snapshot) -> bool:
    return any(dict(s.selector) != s.original_selector() for s in snap.stray_apexes)


def _primary_addresses(snap: Snapshot) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    for apex in snap.stray_apexes:
        found |= snap.ready(names.primary_name(apex.id.name))
    return found


def _drain_s(snap: Snapshot) -> float:
    delay = snap.spec.scale_down_delay_s if snap.spec else DEFAULT_DRAIN_S
    return max(snap.propagation_s, delay)


def _point_back(apex: ServiceView) -> SwitchApex:
    """The original selector, the record kept until everything else is gone."""
    return SwitchApex(apex, tuple(sorted(apex.original_selector().items())), keep_record=True)


def _give_back(apex: ServiceView) -> SwitchApex:
    return SwitchApex(apex, tuple(sorted(apex.original_selector().items())), keep_record=False)
