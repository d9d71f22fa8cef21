"""A world of one app, small enough to run hundreds of rollouts a second: pods, Services, endpoints and a route as plain values.

It applies the core's actions and answers its questions without I/O, finds the app with the real ``discover``,
and lets time pass as the daemon lives it: it looks when it asked to, or when something it watches changed, and at no
other time. So a decision that forgets to ask for its next look stands still here as it would in a cluster.

What it can do to the daemon: a crash or a refused request before any action, a cache that lags behind, pods lost, a
source that is down. After every action of the daemon ``tests.core.promises`` looks whether a promise was broken.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from canaryd.core import names
from canaryd.core.annotations import Resolution, plan_values, resolve
from canaryd.core.commands import Command, CommandVerb, read_commands
from canaryd.core.decide import decide
from canaryd.core.decision import (
    Action,
    Apply,
    ApplyPrimary,
    Ask,
    CollectGarbage,
    Decision,
    Delete,
    DeleteOwned,
    Dismiss,
    Emit,
    Forget,
    MarkTarget,
    Notify,
    Question,
    RemoveRoute,
    RestoreTemplate,
    SaveState,
    ScalePrimary,
    ScaleTarget,
    StopAsking,
    StoreSnapshot,
    SwitchApex,
    WriteFeedback,
    WriteRoute,
)
from canaryd.core.discovery import Surroundings, discover
from canaryd.core.memory import load
from canaryd.core.model import (
    Absent,
    Answer,
    CanarySpec,
    Counts,
    HookAnswer,
    HookSpec,
    LoadTestAnswer,
    LoadTestSpec,
    MetricAnswer,
    MetricCheck,
    Missing,
    Side,
)
from canaryd.core.reasons import Reason
from canaryd.core.rollout.commands import subject_of
from canaryd.core.rollout.facts import hidden_by, routes_as_decided
from canaryd.core.routing import Routing
from canaryd.core.snapshot import App, Obstacle, RouteState, Snapshot, WantedRevision
from canaryd.core.state import RolloutState, RunState
from canaryd.core.status import StatusInput, render
from canaryd.core.told import Told
from canaryd.core.views import (
    DeploymentView,
    Identity,
    ObjectView,
    ServicePort,
    ServiceView,
    selects,
)
from tests.core import promises

KEY = ("shop", "app")
PLAN = {
    "interval": "10s",
    "weights": "20,50",
    "metric.success-rate": ">= 99",
    "failure-threshold": "2",
    "scale-down-delay": "3s",
    "progress-deadline": "60s",
    "inconclusive-deadline": "120s",
}
PROPAGATION_S = 2.0
BACKOFF_S = 1.0
RECHECK_S = 30.0
LOOKS_AT_ONE_INSTANT = 100
Content = tuple[str, str]
"""(template, config): what a pod was started with."""


class Crash(Exception):
    """The daemon died."""


class Refused(Exception):
    """The API server refused a request."""


class RecordGone(Refused):
    """There is no snapshot of a revision: it does not come back, so the next look tells it."""


@dataclass
class Pods:
    """Pods of one Deployment, all alike, and while they boot those they replace."""

    template: str
    replicas: int
    ready_at: float
    config: str = ""
    old: Content | None = None
    old_ready: int = 0

    @property
    def content(self) -> Content:
        return self.template, self.config

    def ready(self, now: float, healthy: Callable[[Content], bool]) -> dict[Content, int]:
        """Ready pods by what they run; the old ones serve until the new ones are there."""
        if self.is_rolled(now, healthy):
            return {self.content: self.replicas if healthy(self.content) else 0}
        old = self.old if self.old is not None and healthy(self.old) else None
        return {old: min(self.old_ready, self.replicas)} if old else {}

    def is_rolled(self, now: float, healthy: Callable[[Content], bool]) -> bool:
        return self.old is None or (now >= self.ready_at and healthy(self.content))

    def settle(self, now: float, healthy: Callable[[Content], bool]) -> None:
        """Forget the old pods once the new ones serve: they do not come back."""
        if self.is_rolled(now, healthy):
            self.old, self.old_ready = None, 0


@dataclass(frozen=True)
class Sight:
    """What others do to the objects, as the caches show it: it may be old."""

    target: Pods | None
    uid: str
    config: str
    target_ready: dict[Content, int]
    primary_ready: dict[Content, int]
    primary_rolled: bool
    endpoints: dict[str, frozenset[str]]


@dataclass
class World:
    """One app and the clock."""

    plan: Mapping[str, str] = field(default_factory=lambda: dict(PLAN))
    enabled: bool = True
    now: float = 1000.0
    boot_s: float = 2.0
    answer_s: float = 0.0
    """How long the world takes to answer a question."""
    bad: set[str] = field(default_factory=set)
    """Templates and configs whose pods answer with errors."""
    broken: set[str] = field(default_factory=set)
    """Templates and configs whose pods never get ready."""
    primary_broken: set[str] = field(default_factory=set)
    """Templates that do not get ready as primary."""
    down: dict[str, int] = field(default_factory=dict)
    """How many pods of a Deployment are not ready although they could be."""
    source_down: bool = False
    no_traffic: bool = False
    hook_refuses: set[str] = field(default_factory=set)
    target: Pods | None = field(default_factory=lambda: Pods("A", 2, 0.0))
    uid: str = "uid-app"
    config: str = ""
    """Content of the ConfigMap that the template names."""
    marked: bool = False
    primary: Pods | None = None
    primary_revision: str = ""
    primary_edited: bool = False
    autoscaled: bool = False
    apex_selector: dict[str, str] | None = field(default_factory=lambda: {"app": "app"})
    apex_marked: bool = False
    services: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of ours, by name."""
    strangers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Services that are not ours, the apex aside, by name."""
    satellites: dict[str, ObjectView] = field(default_factory=dict)
    ingress: bool = True
    routing: Routing | None = None
    machine: Mapping[str, object] | None = None
    """The record that is read back: the last status, None when somebody deleted it."""
    machine_uid: str = ""
    status: Mapping[str, object] = field(default_factory=dict)
    """The last record, deleted or not."""
    snapshots: dict[str, Content] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: dict[str, tuple[float, Question]] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    """Annotations of the Canary by which people ask for something."""
    author: str = ""
    run_limit: int = 0
    queue_place: int = 0
    told: tuple[Told, ...] = ()
    """What the target's status says of us."""
    tellings: int = 0
    """How often it was written."""
    bad_primary: set[str] = field(default_factory=set)
    """Contents that answer with errors once the primary runs them."""
    bad_target: set[str] = field(default_factory=set)
    """Contents that answer with errors while nothing but the target serves."""
    last_valid: CanarySpec | None = None
    last_plan: Mapping[str, str] = field(default_factory=dict)
    budget: int = -1
    """Actions until the daemon dies; -1 means never."""
    refuse_at: int = -1
    """Requests until one is refused; -1 means never."""
    lag_until: float = 0.0
    sight: Sight | None = None
    """What the caches show while they lag."""
    waits_for_own_write: bool = False
    obstructed: Obstacle | None = None
    """What the last write met with, for the next look to tell."""
    performed: int = 0
    log: list[tuple[float, Decision]] = field(default_factory=list)
    emitted: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    ledger: promises.Ledger = field(default_factory=promises.Ledger)
    _read: tuple[object, RolloutState | None] = (None, None)

    # --- pods ---------------------------------------------------------------------------------------------------------

    def fails(self, content: Content) -> bool:
        """Whether pods of this content answer with errors."""
        return not self.bad.isdisjoint(content)

    def _healthy(self, content: Content) -> bool:
        return self.broken.isdisjoint(content)

    def _healthy_primary(self, content: Content) -> bool:
        return self.primary_broken.isdisjoint(content)

    def target_ready(self) -> dict[Content, int]:
        return _ready(self.target, self.now, self._healthy, self.down.get("app", 0))

    def primary_ready(self) -> dict[Content, int]:
        return _ready(
            self.primary, self.now, self._healthy_primary, self.down.get("app-primary", 0)
        )

    def endpoints(self) -> dict[str, frozenset[str]]:
        pods: list[tuple[str, dict[str, str]]] = []
        for (template, config), count in self.target_ready().items():
            labels = {"app": "app", names.POD_TEMPLATE_HASH: f"h{template}"}
            pods += [(f"t-{template}{config}-{n}", labels) for n in range(count)]
        for (template, config), count in self.primary_ready().items():
            pods += [(f"p-{template}{config}-{n}", {"app": "app-primary"}) for n in range(count)]
        selectors = {**self.services, **self.strangers}
        if self.apex_selector is not None:
            selectors["app"] = self.apex_selector
        return {
            service: frozenset(pod for pod, labels in pods if selects(selector, labels))
            for service, selector in selectors.items()
        }

    def _serving(self, pods: Pods) -> dict[Content, int]:
        """Pods that are ready, or would be if they were not down."""
        healthy = self._healthy if pods is self.target else self._healthy_primary
        return pods.ready(self.now, healthy)

    def _roll(self, pods: Pods, content: Content) -> Pods:
        """The same Deployment with other pods; what serves now goes on until they are there."""
        serving = self._serving(pods)
        old = next((c for c, count in serving.items() if count), ("", ""))
        ready_at = self.now + self.boot_s
        return Pods(content[0], pods.replicas, ready_at, content[1], old, serving.get(old, 0))

    def _scale(self, pods: Pods, replicas: int, config: str) -> None:
        """Other replicas; new pods take their time, and those that serve go on."""
        if replicas > pods.replicas:
            serving = sum(self._serving(pods).values())
            if pods.replicas == 0:
                pods.config = config
            if pods.old is None or not serving:
                pods.old, pods.old_ready = pods.content, serving
            pods.ready_at = self.now + self.boot_s
        pods.replicas = replicas

    # --- observing ----------------------------------------------------------------------------------------------------

    def see(self) -> Sight:
        """What the caches show: the present, unless they lag."""
        if self.sight is not None:
            return self.sight
        rolled = self.primary is not None and self.primary.is_rolled(
            self.now, self._healthy_primary
        )
        return Sight(
            self.target,
            self.uid,
            self.config,
            self.target_ready(),
            self.primary_ready(),
            rolled,
            self.endpoints(),
        )

    def lag(self, seconds: float) -> None:
        """From now on the caches show the others' part of the world as it is now."""
        if self.sight is None:
            self.sight = replace(self.see(), target=copy.copy(self.target))
        self.lag_until = max(self.lag_until, self.now + seconds)

    @property
    def state(self) -> RolloutState | None:
        if self._read[0] is not self.machine:
            self._read = (self.machine, load(self.machine or {}))
        return self._read[1]

    def _target_view(self, sight: Sight) -> DeploymentView | None:
        pods = sight.target
        if pods is None:
            return None
        ready = sum(sight.target_ready.values())
        old = sum(n for c, n in sight.target_ready.items() if c[0] != pods.template)
        view = _deployment(
            "app",
            sight.uid,
            pods.template,
            replicas=pods.replicas,
            ready=ready,
            old=old,
            marked=self.marked,
        )
        return replace(view, told=self.told)

    def _primary_view(self, sight: Sight) -> DeploymentView | None:
        if self.primary is None:
            return None
        pods, ready = self.primary, sum(sight.primary_ready.values())
        old = 0 if sight.primary_rolled else ready
        fingerprint = pods.template + pods.config + ("-edited" if self.primary_edited else "")
        view = _deployment(
            "app-primary",
            "p",
            fingerprint,
            replicas=pods.replicas,
            ready=ready,
            old=old,
            made_of=self.primary_revision,
        )
        return view if self.sight is None else replace(view, observed_generation=0)

    def snapshot(self) -> Snapshot:
        """What ``controller.gather`` makes of all this."""
        sight = self.see()
        target = self._target_view(sight)
        apexes = (self._apex(),) if self.apex_selector is not None and self.apex_marked else ()
        if target is None:
            return Snapshot(
                key=KEY,
                target=None,
                resolution=_GONE,
                spec=None,
                endpoints=sight.endpoints,
                stray_apexes=apexes,
            )
        error = ""
        state = self.state
        if state is not None and self.machine_uid != sight.uid:
            state, error = None, "it belongs to a Deployment of the same name that is gone"
        values = tuple(
            sorted({**self.plan, "enabled": "true" if self.enabled else "false"}.items())
        )
        resolution = _resolve("deployment", values)
        if resolution.spec:
            self.last_valid, self.last_plan = resolution.spec, _plan(values)
        enrolled = state is not None and bool(state.promoted)
        fresh = resolution.spec or (self.last_valid if enrolled else None)
        run = state.run if state else None
        spec = _resolve("pinned", tuple(sorted(run.plan.items()))).spec if run else fresh
        app, obstacles = self._discover(target, spec)
        if self.obstructed is not None:
            obstacles += (self.obstructed,)
        return Snapshot(
            key=KEY,
            target=target,
            resolution=resolution,
            spec=spec,
            fresh_spec=fresh,
            plan=self.last_plan if fresh else {},
            canary=self._canary(),
            state=state,
            state_error=error,
            commands=read_commands(self.commands),
            author=self.author,
            run_limit=self.run_limit,
            queue_place=self.queue_place,
            app=app,
            obstacles=obstacles,
            primary=self._primary_view(sight),
            services={
                n: _service(n, tuple(s.items()), ours=True) for n, s in self.services.items()
            },
            satellites=dict(self.satellites),
            endpoints=sight.endpoints,
            revision=_wanted(sight.target.template, sight.config) if spec else WantedRevision(),
            pods=_analysed_pods(run, sight),
            route=self._route(app),
            answers=dict(self.answers),
            stray_apexes=apexes,
            propagation_s=PROPAGATION_S,
        )

    def _discover(
        self, target: DeploymentView, spec: CanarySpec | None
    ) -> tuple[App | None, tuple[Obstacle, ...]]:
        if spec is None or not self.enabled:
            return None, ()
        ours = [_service(n, tuple(s.items()), ours=True) for n, s in self.services.items()]
        others = [_service(n, tuple(s.items()), ours=False) for n, s in self.strangers.items()]
        apex = [self._apex()] if self.apex_selector is not None else []
        taken = {f"Service/{n}": False for n in self.strangers}
        around = Surroundings(
            services=[*apex, *ours, *others],
            ingresses=[_INGRESS] if self.ingress else [],
            autoscalers=[_AUTOSCALER] if self.autoscaled else [],
            taken=taken,
        )
        return discover(target, spec, around)

    def _apex(self) -> ServiceView:
        return _apex_view(tuple(self.apex_selector.items()), self.apex_marked)

    def _canary(self) -> ObjectView | None:
        if self.machine is None:
            return None
        return ObjectView(Identity("shop", "app", "c"), {}, {}, {}, dict(self.status))

    @property
    def has_users(self) -> bool:
        """Somebody's request may reach the canary."""
        return self.routing is not None and self.routing.has_users

    def ask(self, verb: str, by: str = "alice", argument: str = "", subject: str = "") -> None:
        """Somebody asks for something, about what is there now unless ``subject`` says otherwise."""
        command = Command(
            verb=CommandVerb(verb),
            nonce=f"n{len(self.log):05}{len(self.commands)}",
            subject=subject or subject_of(self.state),
            by=by,
            argument=argument,
            reason="because",
        )
        self.commands[command.key] = command.value

    @property
    def weight(self) -> int | None:
        """Percent of users on the canary; None without a canary route."""
        return self.routing.weight if self.routing is not None else None

    @weight.setter
    def weight(self, weight: int | None) -> None:
        self.routing = None if weight is None else Routing(weight)

    def _route(self, app: App | None) -> RouteState:
        if app is None:
            lost = self.weight is not None and not self.ingress
            return RouteState(routing=self.routing, orphaned=lost)
        return RouteState(routing=self.routing, in_sync=self.routing is not None)

    # --- acting -------------------------------------------------------------------------------------------------------

    def look(self) -> Decision:
        """One look; a crash loses what is still to do and everything held in memory."""
        self.pass_time(0.0)
        if self.waits_for_own_write:
            return Decision(reason=Reason.API_ERROR, message="cache lags", requeue_after=BACKOFF_S)
        snap = self.snapshot()
        self.obstructed = None
        decision = self.decide(snap)
        self.log.append((self.now, decision))
        pending, untold = list(decision.actions), False
        try:
            while pending:
                untold |= not self._was_carried_out(snap, pending.pop(0))
        except Crash:
            self.budget = -1
            self.answers.clear()
            self.asked.clear()
            return Decision(reason=decision.reason, requeue_after=0.0)
        except Refused as refused:
            if isinstance(refused, RecordGone):
                self.obstructed = Obstacle(Reason.CONFLICT, str(refused))
            for later in pending:
                if isinstance(later, WriteRoute) and later.is_retreat:
                    self._carry_out(snap, later)
            return Decision(reason=Reason.API_ERROR, message=str(refused), requeue_after=BACKOFF_S)
        if untold and decision.requeue_after is None:
            return replace(decision, requeue_after=BACKOFF_S)
        if decision.requeue_after is None and any(
            o.reason is Reason.CONFLICT for o in snap.obstacles
        ):
            return replace(decision, requeue_after=RECHECK_S)
        return decision

    def decide(self, snap: Snapshot) -> Decision:
        """Ask the core."""
        return decide(snap, self.now)

    def _was_carried_out(self, snap: Snapshot, action: Action) -> bool:
        """False where an aside was refused, which stops nothing."""
        try:
            self._carry_out(snap, action)
        except Refused:
            if isinstance(action, WriteFeedback):
                return False
            raise
        return True

    def _carry_out(self, snap: Snapshot, action: Action) -> None:
        if self.budget == 0:
            raise Crash
        self.budget -= 1 if self.budget > 0 else 0
        if not isinstance(action, Ask | StopAsking | Emit | Notify):
            if self.refuse_at == 0:
                self.refuse_at = -1
                raise Refused(f"{type(action).__name__}: 500")
            self.refuse_at -= 1 if self.refuse_at > 0 else 0
        self.performed += 1
        before = {} if isinstance(action, promises.MOVES_NO_POD) else self.endpoints()
        self._perform(snap, action)
        self.violations += [
            f"{self.now}: {broken}" for broken in promises.broken_by(self, snap, action, before)
        ]

    def _perform(self, snap: Snapshot, action: Action) -> None:
        match action:
            case SaveState(state):
                self._save(snap, state)
            case StoreSnapshot(revision, fingerprint, contents):
                if fingerprint != self.target.template or contents != _contents(self.config):
                    raise Refused("the target changed while its snapshot was taken")
                self.snapshots[revision] = (self.target.template, self.config)
            case ApplyPrimary(revision, replicas):
                if snap.app is None:
                    raise Refused("what is around the target hides how the primary is made")
                self._apply_primary(revision, replicas)
            case Apply(manifest):
                self._apply(manifest)
            case SwitchApex(_, selector, keep_record):
                if self.apex_selector is None:
                    raise Refused("the Service is gone")
                self.apex_selector, self.apex_marked = dict(selector), keep_record
            case WriteRoute(routing):
                if snap.app is not None or (routing.is_retreat and self.routing is not None):
                    self.routing = routing
            case RemoveRoute():
                self.routing = None
            case ScaleTarget(replicas):
                self._scale(self._live_target(), replicas, self.config)
                self.waits_for_own_write = self.sight is not None
            case ScalePrimary(replicas):
                if self.primary is None:
                    raise Refused("the primary is gone")
                self._scale(self.primary, replicas, self.primary.config)
            case MarkTarget(managed):
                self.marked = managed
            case WriteFeedback(told):
                self.told = told
                self.tellings += 1
            case RestoreTemplate(revision):
                self._restore(self._recorded(revision))
                self.waits_for_own_write = self.sight is not None
            case CollectGarbage(keep):
                self.snapshots = {r: c for r, c in self.snapshots.items() if r in keep}
            case DeleteOwned():
                self.routing, self.primary, self.services, self.satellites = None, None, {}, {}
                self.snapshots = {}
            case Forget():
                self.machine = None
            case Dismiss(key):
                self.commands.pop(key, None)
            case Ask(questions):
                self._ask(questions)
            case StopAsking():
                self.answers.clear()
                self.asked.clear()
            case Emit(reason):
                self.emitted.append(str(reason))
            case Delete(kind, name):
                self.satellites.pop(f"{kind.kind}/{name}", None)
            case Notify():
                pass

    def _save(self, snap: Snapshot, state: RolloutState) -> None:
        previous = self.status if self.machine is not None else {}
        begins = state.run is not None and (snap.state is None or snap.state.run is None)
        spec = (snap.fresh_spec or snap.spec) if begins else snap.spec
        given = StatusInput(
            state,
            spec,
            snap.target,
            1,
            "",
            primary=snap.primary,
            is_routed=routes_as_decided(snap),
            hidden_by=hidden_by(snap),
        )
        self.status = render(given, previous, self.now)
        self.machine, self.machine_uid = self.status, snap.target.id.uid

    def _live_target(self) -> Pods:
        if self.target is None:
            raise Refused("the target is gone")
        return self.target

    def _restore(self, content: Content) -> None:
        """The template again, reading the recorded copy of its config when that has changed."""
        target = self._live_target()
        if (target.template, self.config) != content:
            self.config = content[1]
            self.target = self._roll(target, content)

    def _recorded(self, revision: str) -> Content:
        if revision not in self.snapshots:
            raise RecordGone(f"there is no snapshot of {revision}")
        return self.snapshots[revision]

    def _apply_primary(self, revision: str, replicas: int) -> None:
        content = self._recorded(revision)
        if self.primary is None:
            self.primary = Pods(*_booting(content, replicas, self.now + self.boot_s))
        elif self.primary.content != content or self.primary_edited:
            self.primary = self._roll(self.primary, content)
        if self.primary.replicas != replicas:
            self._scale(self.primary, replicas, content[1])
        self.primary_revision, self.primary_edited = revision, False

    def _apply(self, manifest: Mapping[str, object]) -> None:
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "Service":
            if name in self.strangers:
                self.violations.append(f"{self.now}: applied over Service {name} of somebody else")
                raise Refused(f"Service {name} is not ours")
            self.services[name] = dict(manifest["spec"]["selector"])
            return
        metadata = manifest["metadata"]
        view = ObjectView(
            Identity("shop", name, name),
            metadata["labels"],
            metadata["annotations"],
            manifest["spec"],
        )
        self.satellites[f"{manifest['kind']}/{name}"] = view

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, questions: tuple[Question, ...]) -> None:
        for question in questions:
            if question.id not in self.answers and question.id not in self.asked:
                self.asked[question.id] = (self.now + self.answer_s, question)
        self._hear()

    def _hear(self) -> None:
        for key, (due, question) in list(self.asked.items()):
            if due <= self.now:
                del self.asked[key]
                self.answers[key] = self._answer(question.what, question.side)

    def _answer(self, what: MetricCheck | HookSpec | LoadTestSpec, side: Side) -> Answer:
        match what:
            case MetricCheck(name=name) if side is Side.PRIMARY:
                return self._measure_primary(name)
            case MetricCheck(name=name):
                return self._measure(name)
            case HookSpec(name=name):
                return HookAnswer(hook=name, passed=name not in self.hook_refuses, status=200)
            case LoadTestSpec(name=name):
                return self._load(name)

    def _load(self, test: str) -> LoadTestAnswer:
        served = [content for content, count in self.target_ready().items() if count]
        failed = 0 if served and not any(map(self.fails, served)) else 100
        self.ledger.loaded(self.state, [revision(*c) for c in served], passed=not failed)
        return LoadTestAnswer(test=test, sent=100, failed=failed, asked_rate=10, achieved_rate=10)

    def _measure_primary(self, check: str) -> MetricAnswer:
        if self.source_down or self.no_traffic:
            why = Missing.SOURCE_UNAVAILABLE if self.source_down else Missing.NO_TRAFFIC
            return MetricAnswer(check=check, absent=Absent(why))
        served = [content for content, count in self.primary_ready().items() if count]
        is_bad = any(not self.bad_primary.isdisjoint(content) for content in served)
        if self.primary is None:  # only observed: the target serves
            served = [content for content, count in self.target_ready().items() if count]
            is_bad = any(not self.bad_target.isdisjoint(content) for content in served)
        weight = self.weight or 0
        total = 1000.0 * (100 - weight) / weight if 0 < weight < 100 else 1000.0
        counts = Counts(total, total / 20 if is_bad else 0.0, 10.0)
        return MetricAnswer(check=check, counts=counts, requests=total)

    def _measure(self, check: str) -> MetricAnswer:
        served = [content for content, count in self.target_ready().items() if count]
        if self.source_down:
            absent = Absent(Missing.SOURCE_UNAVAILABLE, "connection refused")
        elif self.no_traffic or not served or not self.has_users:
            absent = Absent(Missing.NO_TRAFFIC)
        else:
            absent = None
        errors = 50.0 if any(map(self.fails, served)) else 0.0
        self.ledger.measured(
            self.state, [revision(*c) for c in served], passed=absent is None and not errors
        )
        if absent is None and errors:
            self.ledger.gate_failed(self.state)
        if absent is not None and absent.why is Missing.NO_TRAFFIC:
            self.ledger.unused(self.state)
        if absent is not None:
            return MetricAnswer(check=check, absent=absent)
        return MetricAnswer(check=check, counts=Counts(1000.0, errors, 10.0), requests=1000.0)

    # --- the user, and time -------------------------------------------------------------------------------------------

    def deploy(self, template: str) -> None:
        """The user applies another pod template."""
        if self.target.template != template:
            self.target = self._roll(self.target, (template, self.config))

    def configure(self, config: str) -> None:
        """The user edits the ConfigMap; pods that run keep what they were started with."""
        self.config = config

    def scale_target(self, replicas: int) -> None:
        """Somebody scales the target by hand."""
        self._scale(self.target, replicas, self.config)

    def scale_primary(self, replicas: int) -> None:
        """Somebody scales the primary by hand."""
        self._scale(self.primary, replicas, self.primary.config)

    def delete_target(self) -> None:
        """The user deletes the Deployment; what it owns is collected by :meth:`collect`."""
        self.target, self.sight, self.waits_for_own_write = None, None, False

    def recreate_target(self, template: str) -> None:
        """The user makes it anew: another object of the same name."""
        self.uid = f"{self.uid}+"
        self.marked, self.told = False, ()
        self.target = Pods(*_booting((template, self.config), 2, self.now + self.boot_s))

    def collect(self) -> None:
        """The cluster collects what belonged to a Deployment that is gone."""
        self.machine, self.primary, self.services, self.satellites = None, None, {}, {}
        self.routing, self.snapshots = None, {}

    def settle(self, seconds: float = 600.0) -> None:
        """Let time pass; look at once, whenever a look was asked for, and when something changed."""
        for _ in self.turns(self.now + seconds):
            pass

    def turns(self, end: float) -> Iterator[None]:
        """The same up to an instant, look by look: before each the world may be copied, and the copy
        goes on by turns of its own.
        """
        while self.now < end:
            yield
            after = self.look_until_it_waits().requeue_after
            wakes = [end, *self._changes()]
            if after is not None:
                wakes.append(self.now + (after if after > 0 else BACKOFF_S))
            self.pass_time(max(min(wakes), self.now + 0.001) - self.now)

    def look_until_it_waits(self) -> Decision:
        """Look until a decision does not ask for another look at once."""
        for _ in range(LOOKS_AT_ONE_INSTANT):
            decision = self.look()
            heard = any(isinstance(a, Ask) for a in decision.actions) and not self.asked
            if decision.requeue_after != 0.0 and not heard:
                return decision
        raise AssertionError(f"no end of looking: {decision}")

    def _changes(self) -> Iterator[float]:
        """When something that is watched will change by itself."""
        for pods in (self.target, self.primary):
            if pods is not None and pods.ready_at > self.now:
                yield pods.ready_at
        yield from (due for due, _ in self.asked.values())
        if self.sight is not None:
            yield self.lag_until

    def pass_time(self, seconds: float) -> None:
        """The world goes on; nobody looks."""
        self.now += seconds
        if self.target is not None:
            self.target.settle(self.now, self._healthy)
        if self.primary is not None:
            self.primary.settle(self.now, self._healthy_primary)
        if self.sight is not None and self.now >= self.lag_until:
            self.sight, self.waits_for_own_write = None, False
        self._hear()
        self.ledger.passed(self)

    def copy(self) -> "World":
        """Another world that has come to the same point, and goes its own way from here."""
        twin = copy.copy(self)
        for name in ("bad", "broken", "primary_broken", "down", "hook_refuses", "services"):
            setattr(twin, name, copy.copy(getattr(self, name)))
        for name in (
            "strangers",
            "satellites",
            "snapshots",
            "answers",
            "asked",
            "target",
            "primary",
        ):
            setattr(twin, name, copy.copy(getattr(self, name)))
        for name in ("log", "emitted", "violations"):
            setattr(twin, name, list(getattr(self, name)))
        twin.ledger = self.ledger.copy()
        return twin

    def outcome(self) -> dict[str, object]:
        """Where everything stands, times and counters aside."""
        state = self.state
        return {
            "phase": str(state.phase) if state else None,
            "promoted": state.promoted if state else None,
            "failed": state.failed if state else None,
            "run": state.run is not None if state else None,
            "target": (self.target.content, self.target.replicas) if self.target else None,
            "primary": (self.primary.content, self.primary.replicas) if self.primary else None,
            "apex": self.apex_selector,
            "weight": self.weight,
            "services": self.services,
            "satellites": sorted(self.satellites),
            "marked": self.marked,
            "told": [(condition.type, condition.reason) for condition in self.told],
        }


def enrolled(**changes: object) -> World:
    """A world whose app is enrolled and idle at template A."""
    world = World(**changes)
    world.settle(60)
    return world


def revision(template: str, config: str = "") -> str:
    """The revision name of a template and a config in this world."""
    return f"{ord(template[0]):06x}{ord(config[0]) if config else 0:04x}"


def _ready(
    pods: Pods | None, now: float, healthy: Callable[[Content], bool], down: int
) -> dict[Content, int]:
    if pods is None:
        return {}
    return {c: max(0, n - down) for c, n in pods.ready(now, healthy).items()}


def _booting(content: Content, replicas: int, ready_at: float) -> tuple[object, ...]:
    return content[0], replicas, ready_at, content[1], ("", ""), 0


def _analysed_pods(run: RunState | None, sight: Sight) -> str:
    wanted = revision(sight.target.template, sight.config)
    return f"h{sight.target.template}" if run and run.confirmed and run.revision == wanted else ""


def _contents(config: str) -> tuple[tuple[str, str], ...]:
    return (("configmap/app", config),)


@lru_cache(maxsize=1024)
def _wanted(template: str, config: str) -> WantedRevision:
    contents = {key: ("1", content) for key, content in _contents(config)}
    return WantedRevision(name=revision(template, config), contents=contents)


@lru_cache(maxsize=1024)
def _resolve(origin: str, values: tuple[tuple[str, str], ...]) -> Resolution:
    return resolve([(origin, dict(values))])


@lru_cache(maxsize=1024)
def _plan(values: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return plan_values(_resolve("deployment", values).values)


@lru_cache(maxsize=4096)
def _deployment(
    name: str,
    uid: str,
    fingerprint: str,
    *,
    replicas: int,
    ready: int,
    old: int,
    marked: bool = False,
    made_of: str = "",
) -> DeploymentView:
    annotations = {"canaryd.io/enabled": "true"} | ({names.MANAGED: "true"} if marked else {})
    ours = {names.REVISION: made_of}
    return DeploymentView(
        id=Identity("shop", name, uid, "1"),
        generation=1,
        observed_generation=1,
        annotations=ours if made_of else annotations,
        labels=names.ownership_labels("app") if made_of else {},
        replicas=replicas,
        match_labels={"app": "app"},
        match_expressions=(),
        template_labels={"app": "app"},
        template_annotations={},
        fingerprint=fingerprint,
        references=(),
        deployment_revision="1",
        status_replicas=replicas + old,
        updated=replicas,
        ready=ready,
        available=ready,
        deadline_exceeded="",
        failing="",
        paused=False,
        recreates=False,
    )


@lru_cache(maxsize=1024)
def _service(name: str, selector: tuple[tuple[str, str], ...], *, ours: bool) -> ServiceView:
    return ServiceView(
        Identity("shop", name, f"uid-{name}"),
        names.ownership_labels("app") | {names.LABEL_ROLE: name.removeprefix("app-")}
        if ours
        else {},
        {},
        dict(selector),
        (ServicePort("http", 80, 8080),),
        "10.0.0.2",
        "ClusterIP",
    )


@lru_cache(maxsize=64)
def _apex_view(selector: tuple[tuple[str, str], ...], marked: bool) -> ServiceView:
    annotations = {names.ORIGINAL_SELECTOR: '{"app":"app"}'} if marked else {}
    labels = {names.LABEL_APEX: "app", names.LABEL_TARGET: "app"} if marked else {}
    return ServiceView(
        Identity("shop", "app", "s"),
        labels,
        annotations,
        dict(selector),
        (ServicePort("http", 80, 8080),),
        "10.0.0.1",
        "ClusterIP",
    )


_GONE = Resolution(enabled=False, spec=None, values={}, problems=())
_AUTOSCALER = ObjectView(
    Identity("shop", "app", "hpa"),
    {},
    {},
    {"scaleTargetRef": {"kind": "Deployment", "name": "app"}, "minReplicas": 2, "maxReplicas": 5},
)
_PATH = {
    "path": "/",
    "pathType": "Prefix",
    "backend": {"service": {"name": "app", "port": {"number": 80}}},
}
_INGRESS = ObjectView(
    Identity("shop", "app", "i"),
    {},
    {},
    {"rules": [{"host": "app.test", "http": {"paths": [_PATH]}}]},
)
