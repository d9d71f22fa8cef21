"""Actions become requests: one small function per action, no decisions.

Actions run in the order the decision gave. The first that fails ends the list,
except that a retreat still to come
(users off the canary) is tried all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from canaryd.controller.configuration import canary_spec, same_spec
from canaryd.controller.feedback import Feedback
from canaryd.controller.freshness import Freshness
from canaryd.controller.gather import Gathered, is_primary_of
from canaryd.controller.inquiries import Context, Inquiries
from canaryd.controller.snapshots import NameTaken, SnapshotStore, StaleTarget
from canaryd.core import keda, manifests, names
from canaryd.core.decision import (
    Action,
    Apply,
    ApplyPrimary,
    Ask,
    CollectGarbage,
    CopyConfig,
    Decision,
    Delete,
    DeleteOwned,
    Dismiss,
    Emit,
    Forget,
    MarkTarget,
    Notify,
    PutToSleep,
    RemoveRoute,
    RestoreTemplate,
    SaveState,
    ScalePrimary,
    ScaleTarget,
    StopAsking,
    StoreSnapshot,
    SwitchApex,
    WakeUp,
    WriteFeedback,
    WriteRoute,
)
from canaryd.core.fingerprint import canonical_json
from canaryd.core.kinds import (
    CANARY,
    DEPLOYMENT,
    SATELLITE_KINDS,
    SCALED_OBJECT,
    SERVICE,
    kind_of,
)
from canaryd.core.model import HookType
from canaryd.core.rollout.facts import hidden_by, routes_as_decided
from canaryd.core.routing import Routing
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState
from canaryd.core.status import StatusInput, render
from canaryd.core.subset import merge_diff
from canaryd.core.told import Told
from canaryd.core.views import DeploymentView, Identity, Key, ObjectView, ServiceView
from canaryd.ports.cache import Cache
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Conflict, KubeError, NotFound
from canaryd.ports.kube import KubeApi
from canaryd.ports.recorder import Recorder
from canaryd.ports.router import Routers


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What performing needs."""

    api: KubeApi
    cache: Cache
    routers: Routers
    inquiries: Inquiries
    recorder: Recorder
    clock: Clock
    freshness: Freshness
    snapshots: SnapshotStore


class Performer:
    """Carries out decisions."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._feedback = Feedback(tools.api, tools.clock)

    async def perform(self, gathered: Gathered, decision: Decision) -> float | None:
        """Carry out every action, in order; return after how many seconds to look again for what
        could not be told, None when all was.

        Raises:
            KubeError: a request failed; what followed it was not done, retreats excepted.
            StaleTarget: the target changed while its snapshot was taken.

        """
        news = _Occasion(gathered.snapshot, decision)
        pending = list(decision.actions)
        while pending:
            action = pending.pop(0)
            try:
                await self._one(gathered, action, news)
            except (KubeError, StaleTarget):
                for later in pending:
                    if isinstance(later, WriteRoute) and later.is_retreat:
                        await self._one(gathered, later, news)
                raise
        return self._feedback.again_in_s(gathered.snapshot.key)

    async def _one(self, gathered: Gathered, action: Action, news: "_Occasion") -> None:
        snap = gathered.snapshot
        match action:
            case SaveState(state):
                await self._save_state(gathered, state)
            case StoreSnapshot():
                await self._tools.snapshots.store(_target(snap), action)
            case CopyConfig(key, content):
                await self._tools.snapshots.copy(_target(snap), key, content)
            case ApplyPrimary(revision, replicas):
                await self._apply_primary(snap, revision, replicas)
            case Apply(manifest):
                await self._apply(snap, manifest)
            case Delete(kind, name, uid):
                await self._tools.api.delete(kind, snap.key[0], name, uid=uid)
            case SwitchApex(apex, selector, keep_record):
                await self._switch_apex(snap, apex, dict(selector), keep_record=keep_record)
            case WriteRoute(routing):
                await self._write_route(snap, routing)
            case RemoveRoute():
                await self._tools.routers.cleanup(snap.key)
            case ScaleTarget(replicas):
                await self._scale(snap, snap.key[1], replicas)
            case ScalePrimary(replicas):
                await self._scale(snap, names.primary_name(snap.key[1]), replicas)
            case PutToSleep(scaler):
                await self._annotate_scaler(scaler, keda.to_sleep(scaler))
            case WakeUp(scaler):
                await self._annotate_scaler(scaler, keda.to_wake(scaler))
            case MarkTarget(managed):
                await self._mark_target(snap, managed=managed)
            case WriteFeedback(told):
                await self._write_feedback(snap, told)
            case RestoreTemplate(revision):
                restored = await self._tools.snapshots.restore(_target(snap), revision)
                self._wrote(snap.key, restored)
            case CollectGarbage(keep):
                await self._tools.snapshots.collect(_target(snap), keep)
            case DeleteOwned():
                await self._delete_owned(snap)
            case Forget():
                await self._forget(snap)
            case Dismiss(key):
                await self._dismiss(snap, key)
            case Ask() | StopAsking() | Notify() | Emit():
                self._tell(snap, action, news)
            case _:
                assert_never(action)

    # --- our own objects --------------------------------------------------------------------------

    async def _save_state(self, gathered: Gathered, state: RolloutState) -> None:
        snap = gathered.snapshot
        canary = await self._canary(snap, state)
        run_spec = snap.spec
        if state.run is not None and (snap.state is None or snap.state.run is None):
            run_spec = snap.fresh_spec or snap.spec
        status = render(
            StatusInput(
                state,
                run_spec,
                snap.target,
                canary.generation,
                gathered.config_digest,
                primary=snap.primary,
                is_routed=routes_as_decided(snap),
                hidden_by=hidden_by(snap),
            ),
            canary.status,
            self._tools.clock.now(),
        )
        patch = merge_diff(canary.status, status)
        if not patch:
            return
        await self._tools.api.merge_patch(
            CANARY,
            *snap.key,
            {"metadata": {"resourceVersion": canary.id.resource_version}, "status": patch},
            subresource="status",
        )

    async def _canary(self, snap: Snapshot, state: RolloutState) -> ObjectView:
        """The Canary as it is now, created or brought up to date first when its spec says
        something else.
        """
        target = _target(snap)
        live = self._tools.cache.canaries.get(*snap.key)
        wanted = canary_spec(snap.resolution, target)
        keeps_last_valid = snap.resolution.spec is None and state.promoted
        if live is not None and (keeps_last_valid or same_spec(live.spec, wanted)):
            return live
        await self._tools.api.apply(
            {
                "apiVersion": CANARY.api_version,
                "kind": CANARY.kind,
                "metadata": {
                    "namespace": snap.key[0],
                    "name": snap.key[1],
                    "labels": names.ownership_labels(snap.key[1]),
                    "ownerReferences": [manifests.owner_reference(target.id)],
                },
                "spec": wanted,
            }
        )
        made = self._tools.cache.canaries.get(*snap.key)
        if made is None:
            raise Conflict(f"Canary {snap.key[0]}/{snap.key[1]} was applied but is gone again")
        return made

    async def _dismiss(self, snap: Snapshot, key: str) -> None:
        # Without a version: the key is of this command alone, whatever else was asked meanwhile.
        await self._tools.api.merge_patch(
            CANARY, *snap.key, {"metadata": {"annotations": {key: None}}}
        )

    async def _forget(self, snap: Snapshot) -> None:
        if snap.canary is not None:
            uid = snap.canary.id.uid
            await self._tools.api.delete(CANARY, *snap.key, uid=uid)
            self._tools.freshness.deleted(snap.key, uid)

    async def _apply_primary(self, snap: Snapshot, revision: str, replicas: int) -> None:
        target, app = _target(snap), snap.app
        if app is None:
            raise Conflict(f"Deployment {target.id.name}: its surroundings changed, looking again")
        data = await self._tools.snapshots.data(target, revision)
        name = names.primary_name(target.id.name)
        existing = self._tools.cache.deployments.get(target.id.namespace, name)
        if existing is None or not is_primary_of(existing, target.id.name):
            await self._refuse_foreign_primary(target.id, name)
        await self._tools.api.apply(
            manifests.primary_manifest(
                data,
                target.id,
                revision=revision,
                label=app.label,
                match_labels=app.match_labels,
                match_expressions=app.match_expressions,
                replicas=replicas,
            )
        )

    async def _refuse_foreign_primary(self, target: Identity, name: str) -> None:
        """A forced apply would take over somebody else's Deployment; make sure there is none."""
        try:
            live = await self._tools.api.get(DEPLOYMENT, target.namespace, name, metadata_only=True)
        except NotFound:
            return
        labels = live["metadata"].get("labels") or {}
        if (
            labels.get(names.LABEL_TARGET) != target.name
            or labels.get(names.MANAGED_BY) != names.MANAGER
        ):
            raise NameTaken(f"Deployment {name} exists and is not canaryd's; rename or delete it")

    async def _apply(self, snap: Snapshot, manifest: Mapping[str, Any]) -> None:
        """Apply an object of ours; one of that name made by somebody else is refused by its
        absence from our cache.
        """
        kind = kind_of(dict(manifest))
        name = manifest["metadata"]["name"]
        if not self._is_known(snap, kind.kind, name):
            try:
                live = await self._tools.api.get(kind, snap.key[0], name, metadata_only=True)
            except NotFound:
                pass
            else:
                labels = live["metadata"].get("labels") or {}
                if labels.get(names.MANAGED_BY) != names.MANAGER:
                    raise NameTaken(f"{kind.kind} {name} exists and is not canaryd's")
        await self._tools.api.apply(dict(manifest))

    def _is_known(self, snap: Snapshot, kind: str, name: str) -> bool:
        return name in snap.services if kind == "Service" else f"{kind}/{name}" in snap.satellites

    async def _delete_owned(self, snap: Snapshot) -> None:
        """Route first, pods last: nothing is deleted while something that serves points at it."""
        target = _target(snap)
        await self._tools.routers.cleanup(snap.key)
        for service in snap.services.values():
            await self._tools.api.delete(SERVICE, snap.key[0], service.id.name, uid=service.id.uid)
        for key, view in snap.satellites.items():
            kind = SATELLITE_KINDS[key.partition("/")[0]]
            await self._tools.api.delete(kind, snap.key[0], view.id.name, uid=view.id.uid)
        if snap.primary is not None:
            await self._tools.api.delete(
                DEPLOYMENT, snap.key[0], snap.primary.id.name, uid=snap.primary.id.uid
            )
        await self._tools.snapshots.delete_all(target)

    # --- the user's objects -----------------------------------------------------------------------

    async def _switch_apex(
        self, snap: Snapshot, apex: ServiceView, selector: dict[str, str], *, keep_record: bool
    ) -> None:
        labels: dict[str, str | None] = {names.LABEL_APEX: None, names.LABEL_TARGET: None}
        annotations: dict[str, str | None] = {names.ORIGINAL_SELECTOR: None}
        if keep_record:
            labels = {names.LABEL_APEX: snap.key[1], names.LABEL_TARGET: snap.key[1]}
            annotations = {
                names.ORIGINAL_SELECTOR: canonical_json(apex.original_selector()).decode()
            }
        await self._tools.api.merge_patch(
            SERVICE,
            apex.id.namespace,
            apex.id.name,
            {
                "metadata": {
                    "resourceVersion": apex.id.resource_version,
                    "labels": labels,
                    "annotations": annotations,
                },
                "spec": {"selector": merge_diff(apex.selector, selector)},
            },
        )

    async def _scale(self, snap: Snapshot, name: str, replicas: int) -> None:
        scaled = await self._tools.api.merge_patch(
            DEPLOYMENT, snap.key[0], name, {"spec": {"replicas": replicas}}, subresource="scale"
        )
        if name == snap.key[1]:
            self._wrote(snap.key, scaled)

    async def _mark_target(self, snap: Snapshot, *, managed: bool) -> None:
        marks: dict[str, str | None] = {names.MANAGED: "true"}
        if not managed:
            marks = {names.MANAGED: None, names.AUTHOR: None}
        await self._tools.api.merge_patch(
            DEPLOYMENT, *snap.key, {"metadata": {"annotations": marks}}
        )

    async def _write_feedback(self, snap: Snapshot, told: Sequence[Told]) -> None:
        written = await self._feedback.tell(_target(snap), told)
        if written is not None:
            self._wrote(snap.key, written)

    async def _annotate_scaler(
        self, scaler: ObjectView, annotations: Mapping[str, str | None]
    ) -> None:
        meta = {"resourceVersion": scaler.id.resource_version, "annotations": dict(annotations)}
        await self._tools.api.merge_patch(SCALED_OBJECT, *scaler.id.key, {"metadata": meta})

    async def _write_route(self, snap: Snapshot, routing: Routing) -> None:
        if snap.app is not None:
            await self._tools.routers.write(snap.app, routing)
        elif routing.is_retreat:
            await self._tools.routers.retreat(snap.key)

    def _wrote(self, key: Key, response: Mapping[str, Any]) -> None:
        self._tools.freshness.wrote(key, str(response["metadata"].get("resourceVersion", "")))

    # --- people and the world ---------------------------------------------------------------------

    def _tell(
        self, snap: Snapshot, action: Ask | StopAsking | Notify | Emit, news: "_Occasion"
    ) -> None:
        match action:
            case Ask(questions):
                self._tools.inquiries.ask(self._context(snap), questions)
            case StopAsking():
                self._tools.inquiries.stop(snap.key)
            case Notify(hooks, occasion):
                name = f"{news.run_id}/{occasion}"
                self._tools.inquiries.notify(snap.key, news.payload(), hooks, name)
            case Emit():
                self._emit(snap, action, news)
            case _:
                assert_never(action)

    def _emit(self, snap: Snapshot, event: Emit, news: "_Occasion") -> None:
        target = snap.target
        deployment = _reference("apps/v1", "Deployment", snap.key, target.id.uid if target else "")
        canary = self._tools.cache.canaries.get(*snap.key)
        record = self._tools.recorder.emit
        note = f"{snap.key[1]}.{snap.key[0]}: {event.message}"
        record(deployment, str(event.reason), note, event.severity)
        if canary is not None and not event.brief:
            record(
                _reference(CANARY.api_version, CANARY.kind, snap.key, canary.id.uid),
                str(event.reason),
                note,
                event.severity,
            )
        hooks = snap.spec.hooks_of(HookType.EVENT) if snap.spec else ()
        if hooks:
            extra = {"eventMessage": event.message, "eventType": event.severity}
            extra["timestamp"] = str(int(self._tools.clock.wall() * 1000))
            told = tuple(replace(h, payload={**h.payload, **extra}) for h in hooks)
            # Not through the context: while leaving, or behind an obstacle, there is no app.
            occasion = f"event/{event.reason}/{extra['timestamp']}"
            self._tools.inquiries.notify(snap.key, news.payload(), told, occasion)

    def _context(self, snap: Snapshot) -> Context:
        app = snap.app
        if app is None:
            raise Conflict(f"Deployment {snap.key[1]}: its surroundings changed, looking again")
        service = snap.services.get(names.canary_name(app.apex.id.name))
        address = service.cluster_ip if service else ""
        port = _port(service, app.spec.port) if service else 0
        return Context(
            key=snap.key,
            identity=self._tools.routers.identity(app),
            hook_payload=_hook_payload(
                snap.key, snap.state, snap.state.run if snap.state else None
            ),
            load_url=_url(address, port),
            load_host=f"{app.apex.id.name}.{snap.key[0]}",
        )


def _target(snap: Snapshot) -> DeploymentView:
    if snap.target is None:
        raise Conflict(f"Deployment {snap.key[1]} is gone")
    return snap.target


@dataclass(frozen=True, slots=True)
class _Occasion:
    """What people are told of: the app as the decision leaves it, and the run it began or ended."""

    snapshot: Snapshot
    decision: Decision

    @property
    def state(self) -> RolloutState | None:
        """The state after the decision."""
        saved = [a.state for a in self.decision.actions if isinstance(a, SaveState)]
        return saved[-1] if saved else self.snapshot.state

    @property
    def run(self) -> RunState | None:
        """The run under way after the decision, else the one it ended."""
        before = self.snapshot.state.run if self.snapshot.state else None
        return (self.state.run if self.state else None) or before

    @property
    def run_id(self) -> str:
        return self.run.id if self.run else ""

    def payload(self) -> dict[str, Any]:
        return _hook_payload(self.snapshot.key, self.state, self.run)


def _hook_payload(key: Key, state: RolloutState | None, run: RunState | None) -> dict[str, Any]:
    """What every hook is told: the app and its run. Flagger's fields, then ours."""
    return {
        "name": key[1],
        "namespace": key[0],
        "phase": str(state.phase) if state else "",
        "checksum": run.id if run else "",
        "runId": run.id if run else "",
        "revision": run.revision if run else "",
        "weight": run.weight if run else 0,
        "step": run.step + 1 if run else 0,
    }


def _url(address: str, port: int) -> str:
    """Where load tests go; empty while there is no address, as for a headless Service."""
    if address in ("", "None") or not port:
        return ""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _port(service: ServiceView, wanted: str) -> int:
    """The Service port that load tests use: the one named in ``canaryd.io/port``,
    else the first.
    """
    for port in service.ports:
        if wanted in (port.name, str(port.port)):
            return port.port
    return service.ports[0].port if service.ports and not wanted else 0


def _reference(api_version: str, kind: str, key: Key, uid: str) -> dict[str, str]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "namespace": key[0],
        "name": key[1],
        "uid": uid,
    }
