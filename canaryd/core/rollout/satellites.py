"""Copies of what selects or scales the target's pods: made for the primary, kept like the original.

Budgets and policies come before the primary, which must not start unprotected or cut off; a
ScaledObject comes after it, because KEDA's admission looks for the Deployment (:mod:`keda`).
"""

from collections.abc import Iterable

from canaryd.core import keda, manifests, names
from canaryd.core.decision import Action, Apply, Decision, Delete
from canaryd.core.kinds import SATELLITE_KINDS
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import acts, app_of
from canaryd.core.snapshot import Snapshot
from canaryd.core.views import JsonDict


def satellites_changed(snap: Snapshot, now: float) -> Decision | None:
    """Edits of the target's autoscaler, budgets and policies reach the primary's copies;
    vanished originals take theirs along.
    """
    actions: list[Action] = [Apply(m) for m in outdated_satellites(snap)]
    actions += [Apply(m) for m in outdated_scaler(snap)]
    actions += _orphaned(snap)
    if not actions:
        return None
    return acts(Reason.SATELLITE_CHANGED, "following what selects the target's pods", *actions)


def outdated_satellites(snap: Snapshot) -> list[JsonDict]:
    """Copies that do not exist or do not follow their original any more, a ScaledObject aside."""
    return _outdated(snap, _wanted(snap))


def outdated_scaler(snap: Snapshot) -> list[JsonDict]:
    """The copy of a ScaledObject, if it is not as it should be: one at most."""
    return _outdated(snap, _wanted_scaler(snap))


def _outdated(snap: Snapshot, wanted: Iterable[JsonDict]) -> list[JsonDict]:
    found = []
    for manifest in wanted:
        existing = snap.satellites.get(_key(manifest))
        digest = manifest["metadata"]["annotations"][names.APPLIED]
        if existing is None or existing.annotations.get(names.APPLIED) != digest:
            found.append(manifest)
    return found


def _wanted(snap: Snapshot) -> list[JsonDict]:
    app = app_of(snap)
    made = [
        manifests.disruption_budget_copy(b, app.target, app.label, app.value) for b in app.budgets
    ]
    made += [
        manifests.network_policy_copy(p, app.target, app.label, app.value) for p in app.policies
    ]
    if app.autoscaler is not None:
        floor = _floor(snap)
        made.append(manifests.autoscaler_copy(app.autoscaler, app.target, at_least=floor))
    return made


def _wanted_scaler(snap: Snapshot) -> list[JsonDict]:
    app = app_of(snap)
    if app.scaler is None:
        return []
    return [keda.scaler_copy(app.scaler, app.target, at_least=_floor(snap))]


def _floor(snap: Snapshot) -> int:
    """Replicas that no autoscaler takes the primary below: those a run began with."""
    run = snap.state.run if snap.state else None
    return run.primary_replicas if run is not None else 0


def _orphaned(snap: Snapshot) -> list[Action]:
    wanted = {_key(manifest) for manifest in (*_wanted(snap), *_wanted_scaler(snap))}
    return [
        Delete(SATELLITE_KINDS[key.partition("/")[0]], view.id.name, view.id.uid)
        for key, view in snap.satellites.items()
        if key not in wanted
    ]


def _key(manifest: JsonDict) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"
