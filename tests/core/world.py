"""A world of one app, small enough to run thousands of rollouts a second: pods, Services, endpoints and a route as plain values.

It applies the core's actions and answers its questions, at once and without I/O.
A crash is modelled as the loss of every action after the n-th of a run; the next look starts from what is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from canaryd.core import names
from canaryd.core.annotations import Resolution, plan_values, resolve
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
    Emit,
    Forget,
    MarkTarget,
    Notify,
    RemoveRoute,
    RestoreTemplate,
    SaveState,
    ScalePrimary,
    ScaleTarget,
    StopAsking,
    StoreSnapshot,
    SwitchApex,
    WriteRoute,
)
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
)
from canaryd.core.snapshot import App, RouteState, Snapshot, WantedRevision
from canaryd.core.state import RolloutState, dump, load
from canaryd.core.views import (
    DeploymentView,
    Identity,
    ObjectView,
    ServicePort,
    ServiceView,
    selects,
)

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


class Crash(Exception):
    """The daemon died."""


@dataclass
class Pods:
    """Pods of one Deployment, all alike."""

    template: str
    replicas: int
    ready_at: float

    def ready(self, now: float, healthy: Callable[[str], bool]) -> int:
        return self.replicas if now >= self.ready_at and healthy(self.template) else 0


@dataclass
class World:
    """One app and the clock."""

    plan: Mapping[str, str] = field(default_factory=lambda: dict(PLAN))
    enabled: bool = True
    now: float = 1000.0
    boot_s: float = 2.0
    bad: set[str] = field(default_factory=set)
    """Templates that answer with errors."""
    broken: set[str] = field(default_factory=set)
    """Templates whose pods never get ready."""
    primary_broken: set[str] = field(default_factory=set)
    """Templates that do not get ready as primary."""
    source_down: bool = False
    hook_refuses: set[str] = field(default_factory=set)
    target: Pods | None = field(default_factory=lambda: Pods("A", 2, 0.0))
    marked: bool = False
    primary: Pods | None = None
    old_primary_ready: int = 0
    primary_revision: str = ""
    apex_selector: dict[str, str] = field(default_factory=lambda: {"app": "app"})
    apex_marked: bool = False
    services: dict[str, dict[str, str]] = field(default_factory=dict)
    weight: int | None = None
    machine: dict[str, object] | None = None
    snapshots: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    last_valid: CanarySpec | None = None
    budget: int = -1
    """Actions until the daemon dies; -1 means never."""
    performed: int = 0
    log: list[tuple[float, Decision]] = field(default_factory=list)
    emitted: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    # --- observing ----------------------------------------------------------------------------------------------------

    def _healthy(self, template: str) -> bool:
        return template not in self.broken

    def _primary_ready(self) -> int:
        if self.primary is None:
            return 0
        new = self.primary.ready(self.now, lambda t: t not in self.primary_broken)
        return new or self.old_primary_ready

    def _target_ready(self) -> int:
        return self.target.ready(self.now, self._healthy) if self.target else 0

    def _target_view(self) -> DeploymentView:
        pods = self.target
        ready = self._target_ready()
        return _deployment(
            "app", pods.template, pods.replicas, ready, updated=pods.replicas, marked=self.marked
        )

    def _primary_view(self) -> DeploymentView | None:
        if self.primary is None:
            return None
        done = self.primary.ready(self.now, lambda t: t not in self.primary_broken)
        view = _deployment(
            "app-primary",
            self.primary.template,
            self.primary.replicas,
            self._primary_ready(),
            updated=done,
        )
        return replace(
            view,
            annotations={names.REVISION: self.primary_revision},
            labels={names.LABEL_TARGET: "app"},
        )

    def _endpoints(self) -> dict[str, frozenset[str]]:
        pods: list[tuple[str, dict[str, str]]] = []
        if self.target:
            labels = {"app": "app", names.POD_TEMPLATE_HASH: f"h{self.target.template}"}
            pods += [(f"t-{self.target.template}-{n}", labels) for n in range(self._target_ready())]
        pods += [(f"p-{n}", {"app": "app-primary"}) for n in range(self._primary_ready())]
        selectors = {"app": self.apex_selector, **self.services}
        return {
            service: frozenset(pod for pod, labels in pods if selects(selector, labels))
            for service, selector in selectors.items()
        }

    def _apex(self) -> ServiceView:
        annotations = {names.ORIGINAL_SELECTOR: '{"app":"app"}'} if self.apex_marked else {}
        labels = {names.LABEL_APEX: "app", names.LABEL_TARGET: "app"} if self.apex_marked else {}
        return ServiceView(
            Identity("shop", "app", "s"),
            labels,
            annotations,
            dict(self.apex_selector),
            (ServicePort("http", 80, 8080),),
            "10.0.0.1",
            "ClusterIP",
        )

    @property
    def state(self) -> RolloutState | None:
        return load(self.machine)

    def snapshot(self) -> Snapshot:
        state = self.state
        resolution = _resolve(
            "deployment",
            tuple(sorted({**self.plan, "enabled": "true" if self.enabled else "false"}.items())),
        )
        run = state.run if state else None
        last = resolution.spec or self.last_valid
        self.last_valid = fresh = last
        spec = _resolve("pinned", tuple(sorted(run.plan.items()))).spec if run else fresh
        target = self._target_view() if self.target else None
        app = None
        if target and spec and self.enabled:
            app = App(
                target=target.id,
                spec=spec,
                label="app",
                match_labels={"app": "app"},
                apex=self._apex(),
                ingresses=(_ingress(),),
            )
        template = self.target.template if self.target else ""
        pods = (
            f"h{template}" if run and run.confirmed and run.revision == _revision(template) else ""
        )
        return Snapshot(
            key=KEY,
            target=target,
            resolution=resolution,
            spec=spec,
            fresh_spec=fresh,
            plan=plan_values(resolution.values) if resolution.spec else {},
            state=state,
            app=app,
            primary=self._primary_view(),
            services={n: _service(n, s) for n, s in self.services.items()},
            endpoints=self._endpoints(),
            revision=WantedRevision(name=_revision(template), contents={}),
            pods=pods,
            route=RouteState(weight=self.weight, in_sync=self.weight is not None),
            answers=dict(self.answers),
            stray_apexes=(self._apex(),) if self.apex_marked else (),
            propagation_s=2.0,
        )

    # --- acting -------------------------------------------------------------------------------------------------------

    def look(self) -> Decision:
        """One look; a crash loses what is still to do and everything held in memory."""
        decision = decide(self.snapshot(), self.now)
        self.log.append((self.now, decision))
        try:
            for action in decision.actions:
                if self.budget == 0:
                    raise Crash
                self.budget -= 1 if self.budget > 0 else 0
                self.performed += 1
                self.perform(action)
                self._check_promises(action)
        except Crash:
            self.budget = -1
            self.answers.clear()
            return Decision(reason=decision.reason, requeue_after=0.0)
        return decision

    def perform(self, action: Action) -> None:
        match action:
            case SaveState(state):
                self.machine = dump(state)
            case StoreSnapshot(revision, fingerprint, _):
                assert fingerprint == self.target.template
                self.snapshots[revision] = self.target.template
            case ApplyPrimary(revision, replicas):
                template = self.snapshots[revision]
                if self.primary is None or self.primary.template != template:
                    self.old_primary_ready = self._primary_ready()
                    self.primary = Pods(template, replicas, self.now + self.boot_s)
                self.primary.replicas = replicas
                self.primary_revision = revision
            case Apply(manifest):
                self.services[manifest["metadata"]["name"]] = manifest["spec"]["selector"]
            case SwitchApex(_, selector, keep_record):
                self.apex_selector = dict(selector)
                self.apex_marked = keep_record
            case WriteRoute(weight):
                if self.weight is not None or self.enabled:
                    self.weight = weight
            case RemoveRoute():
                self.weight = None
            case ScaleTarget(replicas):
                if replicas > self.target.replicas:
                    self.target.ready_at = self.now + self.boot_s
                self.target.replicas = replicas
            case ScalePrimary(replicas):
                self.primary.replicas = replicas
            case MarkTarget(managed):
                self.marked = managed
            case RestoreTemplate(revision):
                self.deploy(self.snapshots[revision])
            case CollectGarbage(keep):
                self.snapshots = {r: t for r, t in self.snapshots.items() if r in keep}
            case DeleteOwned():
                self.weight, self.primary, self.services = None, None, {}
                self.snapshots = {}
            case Forget():
                self.machine = None
            case Ask(questions):
                for question in questions:
                    self.answers.setdefault(question.id, self._answer(question.what))
            case StopAsking():
                self.answers.clear()
            case Emit(reason):
                self.emitted.append(str(reason))
            case Delete() | Notify():
                pass

    def _answer(self, what: MetricCheck | HookSpec | LoadTestSpec) -> Answer:
        template = self.target.template if self.target else ""
        match what:
            case MetricCheck(name=name):
                if self.source_down:
                    return MetricAnswer(
                        check=name, absent=Absent(Missing.SOURCE_UNAVAILABLE, "connection refused")
                    )
                errors = 50.0 if template in self.bad else 0.0
                return MetricAnswer(
                    check=name, counts=Counts(1000.0, errors, 10.0), requests=1000.0
                )
            case HookSpec(name=name):
                return HookAnswer(hook=name, passed=name not in self.hook_refuses, status=200)
            case LoadTestSpec(name=name):
                return LoadTestAnswer(
                    test=name, sent=100, failed=0, asked_rate=10, achieved_rate=10
                )

    # --- the user, and time -------------------------------------------------------------------------------------------

    def deploy(self, template: str) -> None:
        """The user applies another pod template."""
        if self.target.template != template:
            self.target = Pods(template, self.target.replicas, self.now + self.boot_s)

    def settle(self, seconds: float = 600.0) -> None:
        """Look whenever it was asked for, and every second, until nothing moves for a while."""
        end = self.now + seconds
        while self.now < end:
            decision = self.look()
            looks = 0
            while decision.requeue_after == 0.0:
                decision = self.look()
                looks += 1
                assert looks < 100, f"no end of looking: {decision}"
            if any(isinstance(a, Ask) for a in decision.actions):
                continue
            self.now += 0.5
            if self.primary and self.primary.ready(
                self.now, lambda t: t not in self.primary_broken
            ):
                self.old_primary_ready = 0

    def _check_promises(self, action: Action) -> None:
        """What must hold after every single action, crash or no crash."""
        endpoints = self._endpoints()
        if isinstance(action, WriteRoute) and action.weight > 0 and not endpoints.get("app-canary"):
            self.violations.append(f"{self.now}: weight {action.weight} without canary endpoints")
        if (
            isinstance(action, ScaleTarget)
            and action.replicas == 0
            and selects(self.apex_selector, {"app": "app"})
        ):
            self.violations.append(f"{self.now}: target scaled to zero while the apex points at it")
        if isinstance(action, ScaleTarget) and action.replicas == 0 and self.weight:
            self.violations.append(f"{self.now}: target scaled to zero at weight {self.weight}")
        if isinstance(action, ApplyPrimary) and self.snapshots[action.revision] in self.bad:
            self.violations.append(f"{self.now}: a bad revision was promoted")

    def outcome(self) -> dict[str, object]:
        """Where everything stands, times and counters aside."""
        state = self.state
        return {
            "phase": str(state.phase) if state else None,
            "promoted": state.promoted if state else None,
            "failed": state.failed if state else None,
            "run": state.run is not None if state else None,
            "target": (self.target.template, self.target.replicas) if self.target else None,
            "primary": (self.primary.template, self.primary.replicas) if self.primary else None,
            "apex": self.apex_selector,
            "weight": self.weight,
            "services": self.services,
            "marked": self.marked,
        }


def enrolled(**changes: object) -> World:
    """A world whose app is enrolled and idle at template A."""
    world = World(**changes)
    world.settle(60)
    return world


@lru_cache(maxsize=256)
def _resolve(origin: str, values: tuple[tuple[str, str], ...]) -> Resolution:
    return resolve([(origin, dict(values))])


def _revision(template: str) -> str:
    return f"{ord(template[0]):010x}" if template else ""


def revision(template: str) -> str:
    """The revision name of a template in this world."""
    return _revision(template)


def _deployment(
    name: str, template: str, replicas: int, ready: int, *, updated: int, marked: bool = False
) -> DeploymentView:
    annotations = {"canaryd.io/enabled": "true"} | ({names.MANAGED: "true"} if marked else {})
    return DeploymentView(
        id=Identity("shop", name, f"uid-{name}", "1"),
        generation=1,
        observed_generation=1,
        annotations=annotations,
        labels={},
        replicas=replicas,
        match_labels={"app": "app"},
        has_match_expressions=False,
        template_labels={"app": "app"},
        template_annotations={},
        fingerprint=template,
        references=(),
        deployment_revision="1",
        status_replicas=updated,
        updated=updated,
        ready=ready,
        available=ready,
        deadline_exceeded="",
        failing="",
        paused=False,
        recreates=False,
    )


def _service(name: str, selector: dict[str, str]) -> ServiceView:
    labels = names.ownership_labels("app")
    return ServiceView(
        Identity("shop", name, f"uid-{name}"),
        labels,
        {},
        selector,
        (ServicePort("http", 80, 8080),),
        "10.0.0.2",
        "ClusterIP",
    )


def _ingress() -> ObjectView:
    spec = {
        "rules": [
            {
                "host": "app.test",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "app", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ]
    }
    return ObjectView(Identity("shop", "app", "i"), {}, {}, spec)
