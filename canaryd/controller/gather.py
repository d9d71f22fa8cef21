"""From a key to a snapshot: reads only, almost all of them from the caches.

The network is asked for what a watch does not hold: contents of configs that changed,
the ReplicaSet of a revision under analysis (once a run),
whether a primary that we do not know is somebody else's,
and a target that lost every mark of ours or does not come back through the watch as we wrote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from canaryd.controller.configuration import Configuration, configure
from canaryd.controller.contents import ConfigContents
from canaryd.controller.freshness import Freshness, StaleCache
from canaryd.controller.inquiries import Inquiries
from canaryd.controller.turns import Turns
from canaryd.core import keda, names
from canaryd.core.annotations import ENABLED, Resolution
from canaryd.core.cautions import cautions_of
from canaryd.core.commands import read_commands
from canaryd.core.discovery import Surroundings, discover
from canaryd.core.fingerprint import template_fingerprint
from canaryd.core.kinds import DEPLOYMENT, REPLICA_SET, SCALED_OBJECT
from canaryd.core.memory import StateError, load
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import App, Obstacle, Snapshot, WantedRevision
from canaryd.core.state import RolloutState
from canaryd.core.tracking import Recorded
from canaryd.core.views import DeploymentView, Key, ObjectView, ServiceView, deployment_view
from canaryd.ports.cache import Cache
from canaryd.ports.errors import NotFound
from canaryd.ports.kube import KubeApi
from canaryd.ports.router import Routers

NOT_ENROLLED = Resolution(enabled=False, spec=None, values={}, problems=())


RECHECK_S = 30.0
"""How often an obstacle that no watch tells the end of is looked at again."""
UNWATCHED = frozenset({Reason.CONFLICT, Reason.CONFIG_UNREADABLE, Reason.API_ERROR})
"""Obstacles of which that is so: names of objects we do not watch, refusals of the API server."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A snapshot, and what the status needs beside it."""

    snapshot: Snapshot
    config_digest: str = ""

    @property
    def recheck_s(self) -> float | None:
        """When to look again although nothing is left to do; None: a watch tells of every change
        that matters.
        """
        if any(obstacle.reason in UNWATCHED for obstacle in self.snapshot.obstacles):
            return RECHECK_S
        return None


class Gatherer:
    """Takes snapshots.

    Args:
        api: the API server, for the three reads named above.
        cache: everything watched.
        routers: who carries the split.
        inquiries: answers that came in.
        defaults: the controller's default annotation values.
        freshness: shared with the performer.
        is_kept: selectors and replicas are kept at admission.
        run_limit: how many runs may be under way at once; 0 for any number.

    """

    def __init__(
        self,
        api: KubeApi,
        cache: Cache,
        routers: Routers,
        inquiries: Inquiries,
        defaults: Mapping[str, str],
        freshness: Freshness,
        *,
        is_kept: bool = False,
        run_limit: int = 0,
    ) -> None:
        self._api = api
        self._cache = cache
        self._is_kept = is_kept
        self.turns = Turns(run_limit)
        self._routers = routers
        self._inquiries = inquiries
        self._defaults = defaults
        self._freshness = freshness
        self._contents = ConfigContents(api, cache)
        self._pods: dict[Key, tuple[str, str]] = {}
        self._obstructed: dict[Key, Obstacle] = {}

    async def gather(self, key: Key) -> Gathered:
        """Look at one app.

        Raises:
            StaleCache: our own last write has not come back through the watch yet.
            KubeError: a live read failed.

        """
        namespace, name = key
        target = self._cache.deployments.get(namespace, name) or await self._stripped(key)
        if target is None or target.id.deleting:
            self.forget(key)
            return Gathered(self._without_target(key))
        await self._await_own_write(key, target)
        canary = self._cache.canaries.get(namespace, name)
        self._freshness.check_canary(key, canary)
        state, state_error = _read_state(canary, target)
        scope = self._cache.namespaces.get("", namespace) if self._cache.namespaces else None
        configured = configure(target, scope, self._defaults, canary, state)
        snapshot = Snapshot(
            key=key,
            target=target,
            resolution=configured.resolution,
            spec=configured.spec,
            fresh_spec=configured.fresh,
            plan=configured.plan,
            canary=canary,
            state=state,
            state_error=state_error,
            commands=read_commands(canary.annotations) if canary is not None else (),
            author=target.annotations.get(names.AUTHOR, ""),
            run_limit=self.turns.limit,
            stray_apexes=self._marked_services(key),
            scalers=self._scalers(key),
            propagation_s=self._routers.propagation_s(configured.spec),
        )
        if not configured.resolution.enabled and state is None:
            return Gathered(snapshot, configured.digest)
        snapshot = await self._surround(snapshot, target, configured, state)
        # Last, with nothing to wait for between it and the decision.
        place = self.turns.place(key, self._cache.canaries.list())
        return Gathered(replace(snapshot, queue_place=place), configured.digest)

    def obstruct(self, key: Key, obstacle: Obstacle) -> None:
        """Let the next snapshot of an app show what a write met with."""
        self._obstructed[key] = obstacle

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an app that is gone, and end what is asked about it."""
        self._pods.pop(key, None)
        self._obstructed.pop(key, None)
        self._freshness.forget(key)
        self._inquiries.stop(key)

    # --- parts of a snapshot ----------------------------------------------------------------------

    async def _stripped(self, key: Key) -> DeploymentView | None:
        """A target that lost every annotation of ours: it is not cached, and not gone either.

        It is seen as one that says ``enabled: "false"``, so that it leaves in order:
        its Service must not lead to it before it has pods again.
        """
        if self._cache.canaries.get(*key) is None and not self._marked_services(key):
            return None
        try:
            live = await self._api.get(DEPLOYMENT, *key)
        except NotFound:
            return None
        meta = live["metadata"]
        annotations = {**(meta.get("annotations") or {}), names.PREFIX + ENABLED: "false"}
        return deployment_view({**live, "metadata": {**meta, "annotations": annotations}})

    async def _await_own_write(self, key: Key, target: DeploymentView) -> None:
        """Refuse to look at a target older than what we wrote.

        After a restore of etcd versions may have gone backwards, and it would be waited for ever:
        the API server's own answer, which is never older than our write, tells the two apart.

        Raises:
            StaleCache: the write has not come back through the watch yet.

        """
        try:
            self._freshness.check(key, target.id.resource_version)
        except StaleCache:
            if not self._freshness.is_overdue(key):
                raise
            live = await self._api.get(DEPLOYMENT, *key, metadata_only=True)
            version = str(live["metadata"].get("resourceVersion", ""))
            if version != target.id.resource_version:
                raise
            self._freshness.forget(key)

    def _without_target(self, key: Key) -> Snapshot:
        return Snapshot(
            key=key,
            target=None,
            resolution=NOT_ENROLLED,
            spec=None,
            stray_apexes=self._marked_services(key),
            scalers=self._scalers(key),
            endpoints=self._endpoints(key),
        )

    async def _surround(
        self,
        snap: Snapshot,
        target: DeploymentView,
        configured: Configuration,
        state: RolloutState | None,
    ) -> Snapshot:
        namespace, name = snap.key
        found = self._cache.deployments.get(namespace, names.primary_name(name))
        primary = found if found is not None and is_primary_of(found, name) else None
        spec = configured.spec
        app: App | None = None
        obstacles: tuple[Obstacle, ...] = ()
        if spec is not None and configured.resolution.enabled:
            around = self._surroundings(target, await self._foreign_primary(snap, primary))
            app, obstacles = discover(target, spec, around)
            if app is not None:
                told = self._routers.cautions(app) if not obstacles else ()
                cautions = cautions_of(app, target, around, told, is_kept=self._is_kept)
                app = replace(app, cautions=cautions)
            refusals = self._routers.validate(spec)
            if refusals:
                app = None
                obstacles += tuple(Obstacle(Reason.CONFIG_INVALID, text) for text in refusals)
        route = self._routers.read(app) if app else self._routers.orphans(snap.key)
        revision = WantedRevision()
        if spec is not None:
            revision = await self._contents.revision(
                target, configured.fresh or spec, state.tracked if state else {}, _recorded(state)
            )
        if revision.obstacle is not None and (state is None or not state.promoted):
            # There is nothing to hold on to before enrolment: a config that is missing is in the
            # way like anything else, and is told like it.
            obstacles += (revision.obstacle,)
        if (refusal := self._obstructed.pop(snap.key, None)) is not None:
            obstacles += (refusal,)
        return Snapshot(
            key=snap.key,
            target=target,
            resolution=snap.resolution,
            spec=spec,
            fresh_spec=snap.fresh_spec,
            plan=snap.plan,
            canary=snap.canary,
            state=state,
            state_error=snap.state_error,
            commands=snap.commands,
            author=snap.author,
            run_limit=snap.run_limit,
            app=app,
            obstacles=obstacles,
            primary=primary,
            primary_lacks=self._contents.missing(primary) if primary is not None else (),
            services=self._own_services(snap.key),
            satellites=self._satellites(snap.key),
            endpoints=self._endpoints(snap.key),
            revision=revision,
            pods=await self._analysed_pods(snap.key, target, state, revision),
            route=route,
            answers=self._inquiries.answers(snap.key),
            stray_apexes=snap.stray_apexes,
            scalers=snap.scalers,
            propagation_s=snap.propagation_s,
        )

    def _surroundings(self, target: DeploymentView, taken: dict[str, bool]) -> Surroundings:
        namespace = target.id.namespace
        objects: tuple[tuple[str, list[ObjectView] | list[ServiceView]], ...] = (
            ("Service", list(self._cache.services.list(namespace))),
            ("Ingress", list(self._cache.ingresses.list(namespace))),
            ("HorizontalPodAutoscaler", list(self._cache.autoscalers.list(namespace))),
            ("PodDisruptionBudget", list(self._cache.budgets.list(namespace))),
            ("NetworkPolicy", list(self._cache.policies.list(namespace))),
            ("TrafficSplit", list(self._cache.traffic_splits.list(namespace))),
        )
        scalers = self._cache.scaled_objects
        if scalers is not None:
            objects += ((SCALED_OBJECT.kind, list(scalers.list(namespace))),)
        for kind, views in objects:
            for view in views:
                mine = view.is_ours and view.labels.get(names.LABEL_TARGET) == target.id.name
                taken[f"{kind}/{view.id.name}"] = mine
        return Surroundings(
            services=list(self._cache.services.list(namespace)),
            ingresses=list(self._cache.ingresses.list(namespace)),
            http_routes=(
                list(self._cache.http_routes.list(namespace))
                if self._cache.http_routes.is_served
                else None
            ),
            traffic_splits=list(self._cache.traffic_splits.list(namespace)),
            autoscalers=list(self._cache.autoscalers.list(namespace)),
            scalers=None if scalers is None else list(scalers.list(namespace)),
            budgets=list(self._cache.budgets.list(namespace)),
            policies=list(self._cache.policies.list(namespace)),
            configs=self._contents.views(target),
            taken=taken,
        )

    async def _foreign_primary(
        self, snap: Snapshot, primary: DeploymentView | None
    ) -> dict[str, bool]:
        """Whether the primary's name is taken by somebody else;
        Deployments without our marks are not cached.
        """
        name = names.primary_name(snap.key[1])
        if primary is not None:
            return {f"Deployment/{name}": True}
        try:
            live = await self._api.get(DEPLOYMENT, snap.key[0], name, metadata_only=True)
        except NotFound:
            return {}
        labels = live["metadata"].get("labels") or {}
        mine = (
            labels.get(names.MANAGED_BY) == names.MANAGER
            and labels.get(names.LABEL_TARGET) == snap.key[1]
        )
        return {f"Deployment/{name}": mine}

    def _own_services(self, key: Key) -> dict[str, ServiceView]:
        namespace, target = key
        return {
            s.id.name: s
            for s in self._cache.services.list(namespace)
            if s.is_ours and s.labels.get(names.LABEL_TARGET) == target
        }

    def _marked_services(self, key: Key) -> tuple[ServiceView, ...]:
        namespace, target = key
        return tuple(
            s
            for s in self._cache.services.list(namespace)
            if s.labels.get(names.LABEL_APEX) == target and not s.is_ours
        )

    def _satellites(self, key: Key) -> dict[str, ObjectView]:
        namespace, target = key
        stores = (
            ("HorizontalPodAutoscaler", self._cache.autoscalers),
            ("PodDisruptionBudget", self._cache.budgets),
            ("NetworkPolicy", self._cache.policies),
            (SCALED_OBJECT.kind, self._cache.scaled_objects),
        )
        return {
            f"{kind}/{view.id.name}": view
            for kind, store in stores
            for view in (store.list(namespace) if store is not None else ())
            if view.is_copy_for(target)
        }

    def _scalers(self, key: Key) -> tuple[ObjectView, ...]:
        store = self._cache.scaled_objects
        return tuple(
            view
            for view in (store.list(key[0]) if store is not None else ())
            if not view.is_ours and not view.id.deleting and keda.scales(view, key[1])
        )

    def _endpoints(self, key: Key) -> dict[str, frozenset[str]]:
        ready: dict[str, frozenset[str]] = {}
        for piece in self._cache.endpoint_slices.by("target", key):
            ready[piece.service] = ready.get(piece.service, frozenset()) | piece.ready
        return ready

    async def _analysed_pods(
        self,
        key: Key,
        target: DeploymentView,
        state: RolloutState | None,
        revision: WantedRevision,
    ) -> str:
        """``pod-template-hash`` of the ReplicaSet whose template is exactly the target's,
        listed once a revision.
        """
        run = state.run if state else None
        if run is None or not run.confirmed or run.revision != revision.name:
            return ""
        if state is not None and state.phase is Phase.FINALISING:
            return self._pods.get(key, ("", ""))[1]
        known = self._pods.get(key)
        if known is not None and known[0] == target.fingerprint:
            return known[1]
        if not target.is_observed:
            return ""
        selector = ",".join(f"{k}={v}" for k, v in sorted(target.match_labels.items()))
        for candidate in await self._api.list(REPLICA_SET, key[0], label_selector=selector):
            found = _hash_if_same(candidate, target)
            if found:
                self._pods[key] = (target.fingerprint, found)
                return found
        return ""


def is_primary_of(view: DeploymentView, target: str) -> bool:
    """Whether a Deployment is the primary we made for this target."""
    return (
        view.labels.get(names.MANAGED_BY) == names.MANAGER
        and view.labels.get(names.LABEL_TARGET) == target
    )


def _recorded(state: RolloutState | None) -> tuple[Recorded, ...]:
    """Revisions the target may still ask for, and the rules they were named under, the one that
    was recorded last first.
    """
    if state is None:
        return ()
    run = state.run
    under_way = (Recorded(run.revision, run.tracking),) if run is not None else ()
    return (
        *under_way,
        Recorded(state.failed, state.failed_tracking),
        Recorded(state.promoted, state.promoted_tracking),
    )


def _hash_if_same(replica_set: Mapping[str, object], target: DeploymentView) -> str:
    """The ReplicaSet's hash when it is the target's and has exactly its template."""
    meta = replica_set["metadata"]
    spec = replica_set.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        return ""
    owners = [o.get("uid") for o in meta.get("ownerReferences") or ()]
    if target.id.uid not in owners:
        return ""
    template = dict(spec.get("template") or {})
    pod_meta = dict(template.get("metadata") or {})
    labels = dict(pod_meta.get("labels") or {})
    found = str(labels.pop(names.POD_TEMPLATE_HASH, ""))
    template["metadata"] = pod_meta | {"labels": labels}
    return found if template_fingerprint(template) == target.fingerprint else ""


def _read_state(
    canary: ObjectView | None, target: DeploymentView
) -> tuple[RolloutState | None, str]:
    if canary is None or canary.id.deleting:
        return None, "it is being deleted" if canary is not None else ""
    try:
        state = load(canary.status)
    except StateError as error:
        return None, str(error)
    if state is not None and state.target_uid not in ("", target.id.uid):
        return (
            None,
            (
                "it belongs to a Deployment of the same name that is gone; waiting until it is"
                " collected"
            ),
        )
    return state, ""
