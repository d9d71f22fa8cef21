"""Keeping what was made as it should be, in every phase: guards against drift,
loss and strangers' edits.

All of it is level-based: a hand edit while the daemon was away is repaired at the next look.
Repairs are bounded: the tenth within ten minutes stops and says who to talk to,
instead of fighting for ever.
"""

from dataclasses import replace

from canaryd.core import manifests, names
from canaryd.core.decision import (
    Action,
    Apply,
    Decision,
    Emit,
    SaveState,
    ScalePrimary,
    ScaleTarget,
    WriteRoute,
)
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import (
    acts,
    apex_is_in_order,
    app_of,
    apply_primary,
    canary_service_name,
    drain_s,
    parks,
    point_apex_as_decided,
    primary_serves,
    retreat,
    routes_as_decided,
    spec_of,
    state_of,
    store_snapshot,
    target_of,
    waits,
    wanted_primary_revision,
    wanted_routing,
    with_reason,
)
from canaryd.core.rollout.satellites import outdated_satellites, outdated_scaler
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState
from canaryd.core.status import OBSTACLE_REASONS, StatusInput, claims
from canaryd.core.views import JsonDict

DRIFT_WINDOW_S = 600.0
DRIFT_LIMIT = 10
SERVICE_LATE_S = 5.0
"""A Service is written within a moment of the run's beginning, and a primary within one of the
promotion's, or the write had failed.
"""
HEALTH = frozenset({"PrimaryReady", "CanaryReady", "TrafficRouted"})
"""Conditions that change without a decision of ours."""


def primary_lost(snap: Snapshot, now: float) -> Decision | None:
    """A primary deleted by hand is rebuilt from the promoted snapshot,
    never from the target (case X27).
    """
    state = state_of(snap)
    if snap.primary is not None:
        return None
    revision = wanted_primary_revision(state)
    message = (
        f"primary {names.primary_name(snap.key[1])} is gone; rebuilding it at revision {revision}"
    )
    return acts(
        Reason.PRIMARY_REBUILT,
        message,
        SaveState(
            replace(with_reason(state, Reason.PRIMARY_REBUILT, message), primary_fingerprint="")
        ),
        *(Apply(m) for m in outdated_satellites(snap)),
        *recorded_again(snap, revision),
        apply_primary(snap, revision),
        *(Apply(m) for m in outdated_scaler(snap)),
        Emit(Reason.PRIMARY_REBUILT, message, "Warning"),
    )


def primary_parked(snap: Snapshot, now: float) -> Decision | None:
    """A primary that somebody scaled to zero serves nobody, and no autoscaler would wake it."""
    state, primary = state_of(snap), snap.primary
    if primary is None or primary.replicas > 0:
        return None
    wanted = max(1, state.replicas)
    return repair(
        snap,
        now,
        Reason.PRIMARY_SCALED,
        f"primary {primary.id.name} was scaled to zero by somebody else; giving it {wanted}"
        " replicas again",
        state,
        ScalePrimary(wanted),
        limit=False,
    )


def primary_changed(snap: Snapshot, now: float) -> Decision | None:
    """A primary edited by hand gets its promoted template back."""
    state, primary = state_of(snap), snap.primary
    if primary is None:
        return None
    revision = wanted_primary_revision(state)
    same_template = state.primary_fingerprint in ("", primary.fingerprint)
    if primary.annotations.get(names.REVISION) == revision and same_template:
        return None
    if state.phase is Phase.PROMOTING and primary.annotations.get(names.REVISION) != revision:
        return _roll_again(snap, now, revision)
    return repair(
        snap,
        now,
        Reason.PRIMARY_DRIFT,
        f"primary {primary.id.name} was changed by somebody else; putting revision {revision} back",
        replace(state, primary_fingerprint=""),
        apply_primary(snap, revision),
    )


def _roll_again(snap: Snapshot, now: float, revision: str) -> Decision:
    """A primary that did not get the revision to run has its time once it has: a daemon or an API
    server that was away must not fail a promotion.
    """
    state, run = state_of(snap), state_of(snap).run
    message = f"rolling the primary to {revision}"
    actions = [*recorded_again(snap, revision), apply_primary(snap, revision)]
    if run is not None and now - (run.promotion_started_at or now) > SERVICE_LATE_S:
        actions.append(SaveState(replace(state, run=replace(run, promotion_started_at=now))))
    return acts(Reason.PROMOTING, message, *actions)


def recorded_again(snap: Snapshot, revision: str) -> tuple[Action, ...]:
    """The record of a revision, which somebody may have deleted, while the target still has it;
    recording it twice does nothing.
    """
    return (store_snapshot(snap, revision),) if snap.revision.name == revision else ()


def fingerprint_known(snap: Snapshot, now: float) -> Decision | None:
    """Remember how the primary's template looks on the server,
    so that a later change is seen as one.
    """
    state, primary = state_of(snap), snap.primary
    if (
        state.primary_fingerprint
        or primary is None
        or state.phase in (Phase.INITIALIZING, Phase.PROMOTING)
    ):
        return None
    return acts(
        Reason.IDLE,
        "recording the primary's template",
        SaveState(replace(state, primary_fingerprint=primary.fingerprint)),
    )


def services_lost(snap: Snapshot, now: float) -> Decision | None:
    """The primary and canary Services exist and select what they should.

    Canary pods are seen ready behind their Service only. Where it could not be written for a while,
    the time they have begins anew with it: an outage of the API server must not fail a revision.
    """
    missing = missing_services(snap)
    if not missing:
        return None
    listed = ", ".join(m["metadata"]["name"] for m in missing)
    actions: list[Action] = [Apply(m) for m in missing]
    state, run = state_of(snap), state_of(snap).run
    if run is not None and run.step < 0 and now - run.pods_wanted_at > SERVICE_LATE_S:
        actions.append(SaveState(replace(state, run=replace(run, pods_wanted_at=now))))
    return acts(Reason.SERVICE_WRITTEN, f"writing Service {listed}", *actions)


def apex_drift(snap: Snapshot, now: float) -> Decision | None:
    """The apex selector is put back at once: with the old one users would reach an idle target
    (case X12).
    """
    if apex_is_in_order(snap) or not primary_serves(snap):
        return None
    apex, switch = app_of(snap).apex, point_apex_as_decided(snap)
    side = "canary" if names.POD_TEMPLATE_HASH in dict(switch.selector) else "primary"
    cost = "" if target_of(snap).ready else "; until then its users may have got no answer"
    return repair(
        snap,
        now,
        Reason.SELECTOR_DRIFT,
        f"the selector of Service {apex.id.name} was changed by somebody else; pointing it at the"
        f" {side} again{cost}",
        replace(state_of(snap), route_written_at=now),
        switch,
        limit=False,
    )


def stranded(snap: Snapshot, now: float) -> Decision | None:
    """Users leave a canary without ready pods, and one that no run answers for, also while an
    obstacle, or a record that cannot be read, keeps us from everything else.
    """
    said, run = snap.route.routing, snap.state.run if snap.state else None
    hindered = bool(snap.state_error) or (snap.app is None and (run is None or not run.carries))
    if said is None or said.is_retreat or not hindered:
        return None
    canaries = [n for n, s in snap.services.items() if s.labels.get(names.LABEL_ROLE) == "canary"]
    message = f"no canary pod is ready at {said}: users are back on the primary"
    if any(snap.ready(name) for name in canaries):
        # With an unreadable record there may be a run; without a ready primary, no better place.
        if snap.state_error or snap.primary is None or not snap.primary.ready:
            return None
        message = f"no run answers for {said}: users are back on the primary"
    return acts(
        Reason.CANARY_LOST, message, retreat(), Emit(Reason.CANARY_LOST, message, "Warning")
    )


def unwanted_weight(snap: Snapshot, now: float) -> Decision | None:
    """Users whom no run wants on the canary leave before anything behind the canary Service
    changes: a crash right after a run ended must not leave them to a Service without pods.
    """
    run = state_of(snap).run
    if not snap.route.carries or (run is not None and run.carries):
        return None
    return route_drift(snap, now)


def cautions_told(snap: Snapshot, now: float) -> Decision | None:
    """What will surprise is told once, and forgotten when it is over."""
    state, found = state_of(snap), app_of(snap).cautions
    if state.cautions == found:
        return None
    new = [text for text in found if text not in state.cautions]
    message = "; ".join(new) or "no caution is left"
    saved = SaveState(replace(state, cautions=found))
    told = (Emit(Reason.CAUTION, text, "Warning") for text in new)
    return acts(Reason.CAUTION, message, saved, *told)


def route_drift(snap: Snapshot, now: float) -> Decision | None:
    """The route says what was decided; a step during which it did not starts over."""
    state = state_of(snap)
    wanted, applied = wanted_routing(snap), snap.route.routing
    if routes_as_decided(snap):
        return None
    handed_back = applied is not None and applied.weight < wanted.weight
    if state.phase is Phase.PROMOTING and snap.route.in_sync and handed_back:
        # The primary is about to get everybody: a hand-back that could not be recorded stands.
        return None
    if applied is None or not snap.route.in_sync:
        message = f"writing the canary route at {wanted}"
    else:
        message = f"the canary route said {applied}, not {wanted}; writing it again"
    run = state.run
    if run is not None and run.step >= 0:
        # Also what was asked already: it is about another split.
        again = replace(run, step_started_at=now, evaluation=run.evaluation + 1)
        state = replace(state, run=again)
    if applied is not None and applied != wanted:
        state = replace(state, route_written_at=now)
        return repair(
            snap,
            now,
            Reason.TRAFFIC_DRIFT,
            message,
            state,
            WriteRoute(wanted),
            limit=not wanted.is_retreat,
        )
    return acts(Reason.TRAFFIC_DRIFT, message, SaveState(state), WriteRoute(wanted))


def idle_target(snap: Snapshot, now: float) -> Decision | None:
    """Between runs the target has no pods; replicas that somebody gave it are for the primary."""
    state, target = state_of(snap), target_of(snap)
    is_tried = state.run is not None and state.phase is not Phase.WATCHING
    if is_tried or not parks(snap) or target.replicas == 0:
        return None
    hold = drain_s(snap)
    if state.phase is Phase.FAILED:
        hold = max(hold, spec_of(snap).keep_failed_s)
    # Also after a revert, or a selector or weight put back: users may still be on their way here.
    left = max(state.settled_at + hold, state.route_written_at + drain_s(snap)) - now
    if snap.route.carries or left > 0:
        return waits(
            snap,
            Reason.DRAINING,
            f"target goes to zero in {max(left, 0):.0f} s",
            after=max(left, 1),
        )
    if not primary_serves(snap):
        return waits(
            snap, Reason.PRIMARY_NOT_READY, "the primary serves nobody; the target keeps its pods"
        )
    actions: list[Action] = []
    message = f"scaling Deployment {target.id.name} to zero"
    if (
        state.phase is not Phase.FAILED
        and not app_of(snap).is_autoscaled
        and target.replicas != state.replicas
    ):
        message = f"{target.replicas} replicas were asked for: they are the primary's; {message}"
        # The primary first: a crash in between leaves the wish readable off one of the two.
        state = replace(state, replicas=target.replicas)
        actions += [ScalePrimary(target.replicas), ScaleTarget(0), SaveState(state)]
    else:
        actions.append(ScaleTarget(0))
    if state.phase is not Phase.FAILED:
        actions.append(Emit(Reason.REPLICAS_DRIFT, message))
    return acts(Reason.REPLICAS_DRIFT, message, *actions)


def mended(snap: Snapshot, now: float) -> Decision | None:
    """What stood in the way is gone, and so is the complaint about it."""
    state = state_of(snap)
    if state.reason not in OBSTACLE_REASONS:
        return None
    message = f"what was in the way is gone ({state.reason}); the primary serves {state.promoted}"
    reason = Reason.MENDED
    if state.phase is Phase.FAILED:
        message, reason = f"revision {state.failed} stays rolled back", Reason.ROLLED_BACK
    saved = with_reason(state, reason, message)
    return acts(Reason.MENDED, message, SaveState(saved), Emit(Reason.MENDED, message))


def health_changed(snap: Snapshot, now: float) -> Decision | None:
    """The conditions about pods and routes follow them while nothing else is written."""
    state, canary = state_of(snap), snap.canary
    if canary is None:
        return None
    given = StatusInput(
        state,
        spec_of(snap),
        target_of(snap),
        0,
        "",
        primary=snap.primary,
        is_routed=routes_as_decided(snap),
    )
    said = {str(c.get("type")): c.get("status") for c in canary.status.get("conditions") or ()}
    changed = [
        f"{kind} is {status}"
        for kind, (status, _, _) in claims(given).items()
        if kind in HEALTH and said.get(kind) != status
    ]
    if not changed:
        return None
    return acts(Reason.HEALTH_CHANGED, ", ".join(changed), SaveState(state))


def primary_scale(snap: Snapshot, now: float) -> Decision | None:
    """Without an autoscaler the primary has the replicas the app is to have (never below one)."""
    state, primary = state_of(snap), snap.primary
    if primary is None or app_of(snap).is_autoscaled or primary.replicas == state.replicas:
        return None
    if state.run is not None:
        return None
    # Somebody scaled the primary by hand: that is what they want the app to have.
    replicas = primary.replicas
    message = f"{names.primary_name(snap.key[1])} was scaled to {replicas}; later runs use that"
    saved = replace(with_reason(state, Reason.PRIMARY_SCALED, message), replicas=replicas)
    return acts(Reason.PRIMARY_SCALED, message, SaveState(saved))


def missing_services(snap: Snapshot) -> list[JsonDict]:
    """The two Services as they should be, as far as they are not."""
    app = app_of(snap)
    wanted = [
        manifests.primary_service(app.apex, app.target, app.label, app.value),
        manifests.canary_service(app.apex, app.target, app.match_labels, analysed_pods(snap)),
    ]
    found = []
    for manifest in wanted:
        existing = snap.services.get(manifest["metadata"]["name"])
        ports = [(p["port"], p["targetPort"], p.get("name", "")) for p in manifest["spec"]["ports"]]
        if (
            existing is None
            or dict(existing.selector) != manifest["spec"]["selector"]
            or [(p.port, p.target_port, p.name) for p in existing.ports] != ports
        ):
            found.append(manifest)
    return found


def analysed_pods(snap: Snapshot) -> str:
    """The ``pod-template-hash`` the canary Service is to select now."""
    state = snap.state
    run = state.run if state else None
    if run is None or not run.confirmed:
        return names.NO_PODS
    if snap.revision.name == run.revision and snap.pods:
        return snap.pods
    # The target moved on, or its ReplicaSet is not known yet: keep selecting what is analysed.
    existing = snap.services.get(canary_service_name(app_of(snap)))
    return (
        existing.selector.get(names.POD_TEMPLATE_HASH, names.NO_PODS) if existing else names.NO_PODS
    )


def repair(
    snap: Snapshot,
    now: float,
    reason: Reason,
    message: str,
    state: RolloutState,
    *actions: Action,
    limit: bool = True,
) -> Decision:
    """Put something back, counting how often; past the limit only say so,
    until the window is over.
    """
    recent = now - state.drift_at < DRIFT_WINDOW_S
    count = state.drift_count + 1 if recent else 1
    if limit and recent and count > DRIFT_LIMIT:
        return waits(
            snap,
            Reason.CONTESTED,
            f"{message}: stopped after {DRIFT_LIMIT} repairs in {DRIFT_WINDOW_S / 60:.0f} minutes;"
            " find the other writer",
            after=state.drift_at + DRIFT_WINDOW_S - now,
            tell="Warning",
        )
    saved = replace(
        with_reason(state, reason, message),
        drift_count=count,
        drift_at=now if not recent else state.drift_at,
    )
    # Counted once done: a write that failed is no repair, and says nothing of another writer.
    done = (*actions, SaveState(saved)) if limit else (SaveState(saved), *actions)
    return acts(reason, message, *done, Emit(reason, message, "Warning"))
