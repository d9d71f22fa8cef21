"""The composition root: builds every adapter, hands them to the manager, and is the only module that knows them all.

Reading :func:`assemble` from top to bottom is reading what a daemon consists of:
stores → reflectors → router → questions → controller → manager.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from canaryd.controller.gather import Freshness, Gatherer
from canaryd.controller.inquiries import Inquiries
from canaryd.controller.manager import Elector, Log, Manager
from canaryd.controller.perform import Performer, Tools
from canaryd.controller.reconcile import Journal, Reconciler
from canaryd.controller.snapshots import SnapshotStore
from canaryd.controller.tracker import Tracker
from canaryd.controller.workqueue import WorkQueue
from canaryd.core import names, views
from canaryd.core.kinds import (
    CANARY,
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    NAMESPACE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    Kind,
)
from canaryd.kube.client import KubeClient
from canaryd.kube.reflector import Reflector
from canaryd.kube.store import Store
from canaryd.ports.cache import Cache
from canaryd.ports.clock import Clock
from canaryd.ports.kube import Manifest
from canaryd.ports.load_test import LoadTester
from canaryd.ports.metric_provider import MetricProvider
from canaryd.ports.recorder import Recorder
from canaryd.ports.webhook import HookCaller
from canaryd.routers.nginx import NginxRouter

V = TypeVar("V")
DEPLOYMENT_MARK = b"canaryd.io/"
"""A Deployment whose JSON does not contain this is none of ours and is dropped undecoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the controller needs of the settings."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty for the whole cluster."""
    secrets: bool = True
    annotation_prefix: str = "nginx.ingress.kubernetes.io"
    propagation_s: float = 2.0
    defaults: Mapping[str, str] = field(default_factory=dict)
    workers: int = 16
    resync_s: float = 600.0
    once: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Everything beyond the controller that the daemon talks to or is told by."""

    providers: Mapping[str, MetricProvider]
    hooks: HookCaller
    load_tester: LoadTester | None
    recorder: Recorder
    elector: Elector | None
    clock: Clock
    journal: Journal
    log: Log


class Watches:
    """Stores and the reflectors that fill them, one per kind and watched namespace."""

    def __init__(self, client: KubeClient, options: Options, make: "ReflectorFactory") -> None:
        self._client = client
        self._options = options
        self._make = make
        self._stores: dict[Kind, Store[Any]] = {}
        self.reflectors: list[Reflector] = []

    def store(  # noqa: PLR0913 - each names one property of a watch
        self,
        kind: Kind,
        project: Callable[[Manifest], V | None],
        on_change: Callable[[V | None, V | None], None],
        *,
        metadata_only: bool = False,
        label_selector: str = "",
        prefilter: bytes = b"",
        indexers: Mapping[str, Callable[[V], Any]] | None = None,
    ) -> Store[V]:
        """A store for one kind, and its reflectors."""
        store: Store[V] = Store(project, indexers=indexers or {}, on_change=on_change)
        self._stores[kind] = store
        scopes: tuple[str | None, ...] = self._options.namespaces or (None,)
        for namespace in scopes if kind.namespaced else (None,):
            self.reflectors.append(
                self._make(
                    self._client,
                    kind,
                    store,
                    namespace=namespace,
                    metadata_only=metadata_only,
                    label_selector=label_selector,
                    prefilter=prefilter,
                )
            )
        return store

    def observe(self, manifest: Manifest) -> None:
        """Let the store of a kind see what a write of ours came back with."""
        for kind, store in self._stores.items():
            if (kind.api_version, kind.kind) == (manifest.get("apiVersion"), manifest.get("kind")):
                store.observe(manifest)


ReflectorFactory = Callable[..., Reflector]


def assemble(
    client: KubeClient,
    options: Options,
    outside: Outside,
    make_reflector: ReflectorFactory = Reflector,
) -> tuple[Manager, Watches]:
    """Build the controller on a client. The caller connects ``watches.observe`` to the client."""
    queue = WorkQueue()
    tracker = Tracker(queue)
    watches = Watches(client, options, make_reflector)
    cache = _cache(watches, tracker, options)
    tracker.follow(cache.deployments)
    router = NginxRouter(
        client,
        cache.ingresses,
        prefix=options.annotation_prefix,
        propagation_s=options.propagation_s,
    )
    inquiries = Inquiries(
        outside.providers, outside.hooks, outside.load_tester, queue.add, outside.log
    )
    freshness = Freshness()
    gatherer = Gatherer(client, cache, router, inquiries, options.defaults, freshness)
    tools = Tools(
        api=client,
        cache=cache,
        router=router,
        inquiries=inquiries,
        recorder=outside.recorder,
        clock=outside.clock,
        freshness=freshness,
        snapshots=SnapshotStore(client, cache),
    )
    reconciler = Reconciler(
        gatherer, Performer(tools), outside.clock, outside.journal, dry_run=options.dry_run
    )
    manager = Manager(
        watchers=watches.reflectors,
        elector=outside.elector,
        queue=queue,
        tracker=tracker,
        inquiries=inquiries,
        reconciler=reconciler,
        clock=outside.clock,
        log=outside.log,
        workers=options.workers,
        resync_s=options.resync_s,
        once=options.once,
    )
    return manager, watches


def _cache(watches: Watches, tracker: Tracker, options: Options) -> Cache:
    whole_cluster = not options.namespaces
    return Cache(
        deployments=watches.store(
            DEPLOYMENT, views.deployment_view, tracker.deployment, prefilter=DEPLOYMENT_MARK
        ),
        services=watches.store(SERVICE, views.service_view, tracker.service),
        endpoint_slices=watches.store(
            ENDPOINT_SLICE,
            views.endpoint_slice_view,
            tracker.endpoint_slice,
            label_selector=names.LABEL_TARGET,
            indexers={"target": lambda piece: [(piece.id.namespace, piece.target)]},
        ),
        ingresses=watches.store(INGRESS, views.object_view, tracker.object),
        autoscalers=watches.store(HORIZONTAL_POD_AUTOSCALER, views.object_view, tracker.object),
        budgets=watches.store(POD_DISRUPTION_BUDGET, views.object_view, tracker.object),
        policies=watches.store(NETWORK_POLICY, views.object_view, tracker.object),
        config_maps=watches.store(
            CONFIG_MAP, views.config_view, tracker.config, metadata_only=True
        ),
        secrets=(
            watches.store(SECRET, views.config_view, tracker.config, metadata_only=True)
            if options.secrets
            else None
        ),
        namespaces=(
            watches.store(NAMESPACE, views.config_view, tracker.namespace, metadata_only=True)
            if whole_cluster
            else None
        ),
        canaries=watches.store(CANARY, views.canary_view, tracker.canary),
    )
