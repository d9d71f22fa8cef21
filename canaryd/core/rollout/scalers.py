"""The user's ScaledObject sleeps while the target's replicas are canaryd's to say (:mod:`keda`).

Level-based: whether it should sleep follows from phase and run, whether it does from the object.
It falls asleep before the target goes to zero, or an active trigger would wake the target at once.
"""

from collections.abc import Iterable

from canaryd.core import keda
from canaryd.core.decision import Action, Decision, PutToSleep, WakeUp
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import ANALYSIS, acts, app_of, parks, state_of
from canaryd.core.rollout.upkeep import repair
from canaryd.core.snapshot import Snapshot
from canaryd.core.views import ObjectView


def scaler_switched(snap: Snapshot, now: float) -> Decision | None:
    """Each ScaledObject of the target sleeps or works as it should."""
    for scaler in snap.scalers:
        should_sleep = _should_sleep(snap, scaler)
        if should_sleep and not keda.is_asleep(scaler):
            return _put_to_sleep(snap, now, scaler)
        if not should_sleep and keda.is_marked(scaler):
            text = f"ScaledObject {scaler.id.name} works again"
            return acts(Reason.SCALER_RESUMED, text, WakeUp(scaler))
    return None


def _should_sleep(snap: Snapshot, scaler: ObjectView) -> bool:
    app = app_of(snap)
    if app.scaler is None or app.scaler.id.name != scaler.id.name or not parks(snap):
        return False
    return not (keda.scales_canary(scaler) and _is_tried(snap))


def _is_tried(snap: Snapshot) -> bool:
    """Whether the target's pods are those of a run, and load may say how many there are."""
    state = state_of(snap)
    run = state.run
    if run is None or not run.confirmed or run.restart or run.undoes:
        return False
    return state.phase in ANALYSIS or state.phase is Phase.PROMOTING


def _put_to_sleep(snap: Snapshot, now: float, scaler: ObjectView) -> Decision:
    name, target = scaler.id.name, snap.key[1]
    if not keda.is_marked(scaler):
        text = f"ScaledObject {name} sleeps: canaryd scales Deployment {target} now"
        return acts(Reason.SCALER_PAUSED, text, PutToSleep(scaler))
    text = (
        f"the pause of ScaledObject {name} was changed by somebody else: it sleeps again, what was"
        " written is kept for later"
    )
    return repair(snap, now, Reason.SCALER_PAUSED, text, state_of(snap), PutToSleep(scaler))


def sleep_first(snap: Snapshot) -> Iterable[Action]:
    """What comes before the target goes to zero at the end of enrolment."""
    scaler = snap.app.scaler if snap.app is not None else None
    return () if scaler is None or keda.is_asleep(scaler) else (PutToSleep(scaler),)


def sleep_until_left(snap: Snapshot) -> Decision | None:
    """While an app is given back its pods are counted: no autoscaler takes any of them away."""
    if snap.spec is not None and snap.spec.autoscaler == "none":
        return None
    working = [scaler for scaler in snap.scalers if not keda.is_asleep(scaler)]
    if not working:
        return None
    text = f"ScaledObject {', '.join(s.id.name for s in working)} sleeps until the app is left"
    return acts(Reason.LEAVING, text, *(PutToSleep(scaler) for scaler in working))


def wake_all(snap: Snapshot) -> tuple[Action, ...]:
    """Give every ScaledObject that sleeps by our doing back as it was."""
    return tuple(WakeUp(scaler) for scaler in snap.scalers if keda.is_marked(scaler))
