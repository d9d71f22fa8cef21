"""The composition root: builds every adapter, hands them to the manager, and alone knows them all.

Reading :func:`serve` from top to bottom is reading what a daemon consists of:
connection → telemetry → outside world → controller → probes.
Reading :func:`assemble` is reading the controller:
stores → reflectors → router → questions → manager.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field

from canaryd import __version__
from canaryd.config.settings import Providers, Settings
from canaryd.controller.freshness import Freshness
from canaryd.controller.gather import Gatherer
from canaryd.controller.inquiries import Inquiries
from canaryd.controller.journal import ReconcileJournal
from canaryd.controller.manager import Elector, Log, Manager
from canaryd.controller.perform import Performer, Tools
from canaryd.controller.reconcile import Journal, Reconciler
from canaryd.controller.snapshots import SnapshotStore
from canaryd.controller.tracker import Tracker
from canaryd.controller.workqueue import WorkQueue
from canaryd.core import names, routes_smi, views
from canaryd.core.kinds import (
    CANARY,
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INGRESS,
    NAMESPACE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SCALED_OBJECT,
    SECRET,
    SERVICE,
)
from canaryd.core.model import Dialect, Provider
from canaryd.egress.client import EgressClient
from canaryd.egress.policy import EgressPolicy
from canaryd.kube.client import KubeClient
from canaryd.kube.events import EventRecorder
from canaryd.kube.kubeconfig import Connection, load_connection
from canaryd.kube.lease import LeaderElector
from canaryd.kube.served import ServedVersion
from canaryd.kube.store import Store
from canaryd.kube.watches import Watches, WatchNotes
from canaryd.loadtest.runner import ChildProcessRunner
from canaryd.metrics.registry import KINDS, MetricSources
from canaryd.ports.cache import Cache
from canaryd.ports.clock import Clock
from canaryd.ports.load_test import LoadTester
from canaryd.ports.metric_provider import MetricProvider
from canaryd.ports.recorder import Recorder
from canaryd.ports.router import Router, Routers
from canaryd.ports.webhook import HookCaller
from canaryd.routers.gateway import GatewayRouter
from canaryd.routers.nginx import NginxRouter
from canaryd.routers.none import SelectorRouter
from canaryd.routers.smi import SmiRouter
from canaryd.server import health
from canaryd.telemetry import logging as telemetry_logging
from canaryd.telemetry.clock import SteadyClock
from canaryd.telemetry.logging import get_logger
from canaryd.telemetry.prometheus import Telemetry
from canaryd.webhooks.client import WebhookClient

DEPLOYMENT_MARK = b"canaryd.io/"
"""A Deployment whose JSON does not contain this is none of ours and is dropped undecoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the controller needs of the settings."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty for the whole cluster."""
    secrets: bool = True
    providers: Providers = field(default_factory=Providers)
    keda: bool = False
    """ScaledObjects are looked after."""
    is_kept: bool = False
    """Selectors and replicas are kept at admission."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    workers: int = 16
    run_limit: int = 0
    resync_s: float = 600.0
    once: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Everything beyond the controller that the daemon talks to or is told by."""

    metrics: MetricProvider
    hooks: HookCaller
    load_tester: LoadTester | None
    recorder: Recorder
    elector: Elector | None
    clock: Clock
    journal: Journal
    log: Log
    on_notification_dropped: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Controller:
    """An assembled controller."""

    manager: Manager
    watches: Watches
    cache: Cache
    queue: WorkQueue


def assemble(
    client: KubeClient, options: Options, outside: Outside, notes: WatchNotes | None = None
) -> "Controller":
    """Build the controller on a client. The caller connects ``watches.observe`` to the client."""
    queue = WorkQueue()
    tracker = Tracker(queue)
    watches = Watches(
        client,
        options.namespaces,
        outside.clock,
        notes or WatchNotes(),
        on_served=tracker.resync,
    )
    splits = ServedVersion(client, routes_smi.versions(options.providers.smi.version))
    cache = _cache(watches, tracker, options, splits)
    tracker.follow(cache.deployments)
    routers = _routers(client, cache, options, splits)
    inquiries = Inquiries(
        outside.metrics,
        outside.hooks,
        outside.load_tester,
        queue.add,
        outside.log,
        on_dropped=outside.on_notification_dropped,
    )
    freshness = Freshness()
    gatherer = Gatherer(
        client,
        cache,
        routers,
        inquiries,
        options.defaults,
        freshness,
        is_kept=options.is_kept,
        run_limit=options.run_limit,
    )
    tools = Tools(
        api=client,
        cache=cache,
        routers=routers,
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
    return Controller(manager, watches, cache, queue)


def _routers(client: KubeClient, cache: Cache, options: Options, splits: ServedVersion) -> Routers:
    """The enabled providers; a new one is one entry."""
    enabled: dict[Provider, Router] = {}
    nginx = options.providers.nginx
    if nginx.enabled:
        enabled[Provider.NGINX] = NginxRouter(
            client,
            cache.ingresses,
            prefix=nginx.annotation_prefix,
            dialect=Dialect(nginx.dialect),
            propagation_s=nginx.propagation_s,
        )
    gateway = options.providers.gateway
    if gateway.enabled:
        enabled[Provider.GATEWAY] = GatewayRouter(
            client,
            cache.http_routes,
            dialect=gateway.dialect,
            propagation_s=gateway.propagation_s,
        )
    smi = options.providers.smi
    if smi.enabled:
        enabled[Provider.SMI] = SmiRouter(
            client,
            cache.traffic_splits,
            routes=cache.http_routes,
            kind=lambda: splits.kind,
            choices=splits.choices,
            dialect=Dialect(smi.dialect),
            propagation_s=smi.propagation_s,
        )
    none = options.providers.none
    if none.enabled:
        enabled[Provider.NONE] = SelectorRouter(
            client, cache.services, cache.endpoint_slices, propagation_s=none.propagation_s
        )
    return Routers(enabled)


def _cache(watches: Watches, tracker: Tracker, options: Options, splits: ServedVersion) -> Cache:
    whole_cluster = not options.namespaces
    return Cache(
        deployments=watches.store(
            DEPLOYMENT,
            views.deployment_view,
            tracker.deployment,
            mark=DEPLOYMENT_MARK,
            renew=views.deployment_view,
        ),
        services=watches.store(SERVICE, views.service_view, tracker.service),
        endpoint_slices=watches.store(
            ENDPOINT_SLICE,
            views.endpoint_slice_view,
            tracker.endpoint_slice,
            label_selector=names.LABEL_TARGET,
            indexers={"target": lambda piece: [(piece.id.namespace, piece.target)]},
        ),
        ingresses=(
            watches.store(INGRESS, views.object_view, tracker.object)
            if options.providers.nginx.enabled
            else Store(views.object_view)  # nobody may use them: not watched, and no right to it
        ),
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
        http_routes=(
            watches.store(HTTP_ROUTE, views.http_route_view, tracker.object, optional=True)
            if options.providers.gateway.enabled
            else Store(views.http_route_view)
        ),
        traffic_splits=(
            watches.store(
                splits.kind, views.object_view, tracker.object, optional=True, served=splits
            )
            if options.providers.smi.enabled
            else Store(views.object_view)
        ),
        scaled_objects=(
            watches.store(SCALED_OBJECT, views.object_view, tracker.object, optional=True)
            if options.keda
            else None
        ),
    )


# --- the process ---

_Work = Callable[[], Coroutine[object, object, None]]


def run(settings: Settings) -> int:
    """Run the daemon until it is told to end; returns the exit code.

    Raises:
        CredentialsError: there is no way to authenticate.
        KubeError: with ``once``, the API server could not be read.
        OSError: the port of the probes cannot be listened on.

    """
    telemetry_logging.configure(settings.log.level, settings.log.format)
    connection = load_connection(settings.kubeconfig, settings.context)
    return asyncio.run(_until_told(settings, connection))


async def _until_told(settings: Settings, connection: Connection) -> int:
    """Serve until SIGTERM or SIGINT, then put down what is held: leadership first."""
    serving = asyncio.ensure_future(serve(settings, connection))
    with _told_to_end(serving.cancel):
        try:
            await serving
        except asyncio.CancelledError:
            get_logger("canaryd").info("told to end", reason="Terminated")
    return 0


@contextmanager
def _told_to_end(end: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def serve(settings: Settings, connection: Connection) -> None:
    """Build the daemon and run it until cancelled; with ``once`` until nothing is left to do."""
    clock, telemetry = SteadyClock(), Telemetry(__version__, is_process=True)
    log, identity = get_logger("canaryd"), settings.identity or _own_name()
    async with AsyncExitStack() as exits:
        parts: list[Controller] = []
        client = await exits.enter_async_context(
            KubeClient(
                connection,
                clock=clock,
                observe=lambda manifest: parts[0].watches.observe(manifest),  # noqa: PLW0108 - made below
                on_request=telemetry.api_request,
                on_warning=lambda text: log.warning("the API server warns", warning=text),
            )
        )
        elector = _elector(settings, connection, client, identity, clock, telemetry)
        recorder = EventRecorder(
            client, identity=identity, clock=clock, on_dropped=telemetry.event_dropped
        )
        egress = EgressClient(
            EgressPolicy.of(settings.egress),
            clock=clock,
            service_address=lambda namespace, name: _cluster_ip(parts[0].cache, namespace, name),
        )
        exits.push_async_callback(egress.close)
        outside = Outside(
            metrics=_metric_sources(settings, egress, clock),
            hooks=WebhookClient(egress.for_namespace, clock=clock),
            load_tester=_load_tester(settings),
            recorder=recorder,
            elector=elector,
            clock=clock,
            journal=ReconcileJournal(get_logger("canaryd.controller"), telemetry),
            log=log,
            on_notification_dropped=telemetry.notification_dropped,
        )
        writer = _guarded(client, elector, settings)
        controller = assemble(
            writer,
            _options(settings),
            outside,
            WatchNotes(restarted=telemetry.watch_restarted, undecodable=telemetry.decode_failed),
        )
        parts.append(controller)
        telemetry.watch_queue(lambda: len(controller.queue), lambda: controller.queue.oldest_s)
        host, port = await exits.enter_async_context(
            health.serve(
                settings.server, not_ready=controller.manager.not_ready, telemetry=telemetry
            )
        )
        log.info("canaryd starts", version=__version__, identity=identity, probes=f"{host}:{port}")
        if elector is None:
            telemetry.leading(is_leader=True)
        work: dict[str, _Work] = {"events": recorder.run}
        if settings.admission.keep == "webhook" and not (settings.once or settings.dry_run):
            guard = elector.guard if elector is not None else lambda: None
            place = connection.namespace
            served = _webhook(settings, writer, place, guard, clock, telemetry)
            work["webhook certificate"] = await exits.enter_async_context(served)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(run(), name=name) for name, run in work.items()]
            await controller.manager.run()
            for task in beside:
                task.cancel()


def _webhook(
    settings: Settings,
    writer: KubeClient,
    namespace: str,
    guard: Callable[[], None],
    clock: Clock,
    telemetry: Telemetry,
) -> AbstractAsyncContextManager[_Work]:
    """The admission webhook; only now, because it needs a library that nobody else needs."""
    from canaryd.server import admission  # noqa: PLC0415

    return admission.serve(
        settings, writer, namespace=namespace, guard=guard, clock=clock, telemetry=telemetry
    )


def _options(settings: Settings) -> Options:
    return Options(
        namespaces=settings.scope.namespaces,
        secrets=settings.secrets.access == "all",
        providers=settings.providers,
        keda=settings.autoscalers.keda.enabled,
        is_kept=settings.admission.keep != "off",
        defaults=settings.defaults,
        workers=settings.workers,
        run_limit=settings.max_runs,
        resync_s=settings.resync_s,
        once=settings.once,
        dry_run=settings.dry_run,
    )


def _guarded(client: KubeClient, elector: LeaderElector | None, settings: Settings) -> KubeClient:
    """The client of who leads: a write leaves before somebody else may have taken over."""
    if elector is None:
        return client
    election = settings.leader_election
    return client.guarded_by(elector.guard, margin_s=election.lease_s - election.renew_s)


def _own_name() -> str:
    """A name no other replica has: the pod's, and a random part for namesakes outside a cluster."""
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"


def _elector(
    settings: Settings,
    connection: Connection,
    client: KubeClient,
    identity: str,
    clock: Clock,
    telemetry: Telemetry,
) -> LeaderElector | None:
    election = settings.leader_election
    if not election.enabled or settings.dry_run:
        return None
    return LeaderElector(
        client,
        namespace=election.namespace or connection.namespace,
        name=election.name,
        identity=identity,
        clock=clock,
        lease_s=election.lease_s,
        renew_s=election.renew_s,
        retry_s=election.retry_s,
        on_change=telemetry.leading,
    )


def _cluster_ip(cache: Cache, namespace: str, name: str) -> str | None:
    """Address of a Service, so that hooks need no cluster DNS; None for headless ones."""
    service = cache.services.get(namespace, name)
    if service is None or service.cluster_ip in ("", "None"):
        return None
    return service.cluster_ip


def _metric_sources(settings: Settings, egress: EgressClient, clock: Clock) -> MetricSources:
    return MetricSources(
        {
            name: KINDS[source.type](
                name,
                source.url,
                http=egress.for_source(source.url),
                clock=clock,
                timeout_s=source.timeout_s,
            )
            for name, source in settings.metric_sources.items()
        }
    )


def _load_tester(settings: Settings) -> LoadTester | None:
    limits = settings.load_tests
    if not limits.enabled:
        return None
    return ChildProcessRunner(
        max_rate=limits.max_rate,
        max_concurrent=limits.max_concurrent,
        log=get_logger("canaryd.loadtest"),
    )
