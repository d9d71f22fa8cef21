"""From a key to a snapshot: reads only, almost all of them from the caches.

The network is asked for what a watch does not hold: contents of configs that changed,
the ReplicaSet of a revision under analysis (once a run),
whether a primary that we do not know is somebody else's,
and a target that lost every mark of ours or does not come back through the watch as we wrote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from canaryd.controller.configuration import Configuration, configure
from canaryd.controller.contents import ConfigContents
from canaryd.controller.inquiries import Inquiries
from canaryd.core import names
from canaryd.core.annotations import ENABLED, Resolution
from canaryd.core.discovery import Surroundings, discover
from canaryd.core.fingerprint import template_fingerprint
from canaryd.core.kinds import DEPLOYMENT, REPLICA_SET
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import App, Obstacle, Snapshot, WantedRevision
from canaryd.core.state import RolloutState, StateError, load
from canaryd.core.views import DeploymentView, Key, ObjectView, ServiceView, deployment_view
from canaryd.ports.cache import Cache
from canaryd.ports.errors import NotFound
from canaryd.ports.kube import KubeApi
from canaryd.ports.router import Router

NOT_ENROLLED = Resolution(enabled=False, spec=None, values={}, problems=())


OVERDUE_WAITS = 10
"""Looks at a cache behind our own write until the API server is asked: seconds, about as many."""
RECHECK_S = 30.0
"""How often an obstacle that no watch tells the end of is looked at again."""
UNWATCHED = frozenset({Reason.CONFLICT, Reason.CONFIG_UNREADABLE, Reason.API_ERROR})
"""Obstacles of which that is so: names of objects we do not watch, refusals of the API server."""


class StaleCache(Exception):  # noqa: N818 - a state of the world, not a fault
    """The cache has not caught up with our own last write yet."""


@dataclass(slots=True)
class _Write:
    """The newest write of ours to one target."""

    version: int
    waits: int = 0
    """Looks that found the cache behind it."""


@dataclass(slots=True)
class Freshness:
    """Which resourceVersions of targets we wrote and which Canaries we deleted, so that nothing is
    decided on an older view.
    """

    _written: dict[Key, _Write] = field(default_factory=dict)
    _deleted: dict[Key, str] = field(default_factory=dict)

    def wrote(self, key: Key, resource_version: str) -> None:
        """A write to the target came back with this resourceVersion."""
        version = int(resource_version) if resource_version.isdigit() else 0
        known = self._written.get(key)
        if version and (known is None or known.version < version):
            self._written[key] = _Write(version)

    def check(self, key: Key, resource_version: str) -> None:
        """Raise :class:`StaleCache` when what was seen is older than what we wrote."""
        write = self._written.get(key)
        if write is None:
            return
        if int(resource_version or 0) < write.version:
            write.waits += 1
            waited_for = f"waiting for resourceVersion {write.version}"
            raise StaleCache(f"Deployment {key[0]}/{key[1]}: {waited_for}")
        del self._written[key]

    def deleted(self, key: Key, uid: str) -> None:
        """The Canary of this uid was deleted: the app has left."""
        self._deleted[key] = uid

    def check_canary(self, key: Key, canary: ObjectView | None) -> None:
        """Raise :class:`StaleCache` while the cache still holds a Canary that we deleted:
        an app must not leave twice.
        """
        uid = self._deleted.get(key)
        is_held = canary is not None and canary.id.uid == uid and not canary.id.deleting
        if is_held:
            raise StaleCache(f"Canary {key[0]}/{key[1]}: waiting until it is gone")
        self._deleted.pop(key, None)

    def is_overdue(self, key: Key) -> bool:
        """Whether so many looks waited that the API server itself should be asked."""
        write = self._written.get(key)
        return write is not None and write.waits >= OVERDUE_WAITS

    def forget(self, key: Key) -> None:
        self._written.pop(key, None)
        self._deleted.pop(key, None)


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
        router: who carries the split.
        inquiries: answers that came in.
        defaults: the controller's default annotation values.
        freshness: shared with the performer.

    """

    def __init__(
        self,
        api: KubeApi,
        cache: Cache,
        router: Router,
        inquiries: Inquiries,
        defaults: Mapping[str, str],
        freshness: Freshness,
    ) -> None:
        self._api = api
        self._cache = cache
        self._router = router
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
            stray_apexes=self._marked_services(key),
            propagation_s=self._router.propagation_s,
        )
        if not configured.resolution.enabled and state is None:
            return Gathered(snapshot, configured.digest)
        return Gathered(
            await self._surround(snapshot, target, configured, state), configured.digest
        )

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
            around = self._surroundings(snap.key, await self._foreign_primary(snap, primary))
            app, obstacles = discover(target, spec, around)
            refusals = self._router.validate(spec)
            if refusals:
                app = None
                obstacles += tuple(Obstacle(Reason.CONFIG_INVALID, text) for text in refusals)
        route = self._router.read(app) if app else self._router.orphans(snap.key)
        revision = WantedRevision()
        if spec is not None:
            revision = await self._contents.revision(target, spec, state.tracked if state else {})
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
            app=app,
            obstacles=obstacles,
            primary=primary,
            services=self._own_services(snap.key),
            satellites=self._satellites(snap.key),
            endpoints=self._endpoints(snap.key),
            revision=revision,
            pods=await self._analysed_pods(snap.key, target, state, revision),
            route=route,
            answers=self._inquiries.answers(snap.key),
            stray_apexes=snap.stray_apexes,
            propagation_s=snap.propagation_s,
        )

    def _surroundings(self, key: Key, taken: dict[str, bool]) -> Surroundings:
        namespace, target = key
        objects: tuple[tuple[str, list[ObjectView] | list[ServiceView]], ...] = (
            ("Service", list(self._cache.services.list(namespace))),
            ("Ingress", list(self._cache.ingresses.list(namespace))),
            ("HorizontalPodAutoscaler", list(self._cache.autoscalers.list(namespace))),
            ("PodDisruptionBudget", list(self._cache.budgets.list(namespace))),
            ("NetworkPolicy", list(self._cache.policies.list(namespace))),
        )
        for kind, views in objects:
            for view in views:
                mine = view.is_ours and view.labels.get(names.LABEL_TARGET) == target
                taken[f"{kind}/{view.id.name}"] = mine
        return Surroundings(
            services=list(self._cache.services.list(namespace)),
            ingresses=list(self._cache.ingresses.list(namespace)),
            autoscalers=list(self._cache.autoscalers.list(namespace)),
            budgets=list(self._cache.budgets.list(namespace)),
            policies=list(self._cache.policies.list(namespace)),
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
        )
        return {
            f"{kind}/{view.id.name}": view
            for kind, store in stores
            for view in store.list(namespace)
            if view.is_copy_for(target)
        }

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
        state = load(canary.status.get("machine"))
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
