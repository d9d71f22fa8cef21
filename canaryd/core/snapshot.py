"""All that was observed for one decision, as one value.

Gathered by ``controller.gather``; compared with what should be by ``core.decide``.
A snapshot says what is known and, as explicitly, what is not: an unknown revision is None,
never a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from canaryd.core import keda
from canaryd.core.annotations import Resolution
from canaryd.core.commands import Command, Unreadable
from canaryd.core.model import Answer, CanarySpec
from canaryd.core.reasons import Reason
from canaryd.core.routing import Routing
from canaryd.core.state import RolloutState
from canaryd.core.views import (
    DeploymentView,
    Identity,
    JsonDict,
    Key,
    ObjectView,
    ServiceView,
)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an app cannot be handled as asked, in words for the person who can change it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What was found around a target: everything canaryd will write follows from it."""

    target: Identity
    spec: CanarySpec
    label: str
    """Key of the selector label whose value is rewritten."""
    match_labels: Mapping[str, str]
    apex: ServiceView
    match_expressions: tuple[JsonDict, ...] = ()
    """What the target's selector demands beside ``match_labels``, as written."""
    ingresses: tuple[ObjectView, ...] = ()
    http_routes: tuple[ObjectView, ...] = ()
    autoscaler: ObjectView | None = None
    """The HorizontalPodAutoscaler of the target."""
    scaler: ObjectView | None = None
    """The ScaledObject of the target (KEDA); there is never one beside ``autoscaler``."""
    budgets: tuple[ObjectView, ...] = ()
    policies: tuple[ObjectView, ...] = ()
    cautions: tuple[str, ...] = ()
    """What works, and will surprise: told once, in status and Event."""

    @property
    def value(self) -> str:
        """Value of the selector label on the target's pods."""
        return self.match_labels[self.label]

    @property
    def is_autoscaled(self) -> bool:
        """Whether load decides how many pods the primary has."""
        return self.autoscaler is not None or self.scaler is not None

    @property
    def scales_canary(self) -> bool:
        """Whether load decides how many pods the canary has during a run."""
        by_keda = self.scaler is not None and keda.scales_canary(self.scaler)
        return self.autoscaler is not None or by_keda


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteState:
    """What the routing objects say now.

    ``routing`` is None when there is no canary route; ``in_sync`` is False when a route object
    is missing or does not follow the user's main route any more.
    """

    routing: Routing | None = None
    in_sync: bool = False
    orphaned: bool = False
    """A canary route exists whose main route is gone."""
    obstacle: str = ""
    """Why what was written is not in force, in words."""
    is_refused: bool = False
    """It never will be: whoever reads the routes fails the canary's share."""

    @property
    def weight(self) -> int | None:
        """Percent of users on the canary; None when there is no canary route."""
        return self.routing.weight if self.routing is not None else None

    @property
    def carries_users(self) -> bool:
        """Some user's request may reach the canary."""
        return self.routing is not None and self.routing.has_users

    @property
    def carries(self) -> bool:
        """Any request may reach the canary, a mirrored one too."""
        return self.routing is not None and not self.routing.is_retreat


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRevision:
    """The revision the target asks for; ``name`` is None while a config it uses cannot be read."""

    name: str | None = None
    contents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """``kind/name`` of tracked configs to (resourceVersion, content fingerprint)."""
    tracking: str = ""
    """The rule of :mod:`canaryd.core.tracking` under which this is its name."""
    beside: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Configs that are tracked from the next revision on."""
    shared: frozenset[str] = frozenset()
    """Configs (``kind/name``) that their owner does not want copied."""
    obstacle: Obstacle | None = None

    @property
    def seen(self) -> dict[str, tuple[str, str]]:
        """Every config that was looked at."""
        return {**self.contents, **self.beside}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at one app and its surroundings."""

    key: Key
    target: DeploymentView | None
    resolution: Resolution
    spec: CanarySpec | None
    """The plan in force: the run's pinned one, else the current valid one,
    else the last valid one.
    """
    fresh_spec: CanarySpec | None = None
    """The plan the next run will pin: the current annotations when valid,
    else the last valid ones.
    """
    plan: Mapping[str, str] = field(default_factory=dict)
    """``fresh_spec`` as the annotation values it comes from."""
    canary: ObjectView | None = None
    state: RolloutState | None = None
    state_error: str = ""
    app: App | None = None
    obstacles: tuple[Obstacle, ...] = ()
    primary: DeploymentView | None = None
    services: Mapping[str, ServiceView] = field(default_factory=dict)
    """Services of the namespace that are ours for this target, by name."""
    satellites: Mapping[str, ObjectView] = field(default_factory=dict)
    """Copies we made of autoscalers, budgets and policies, by ``Kind/name``."""
    endpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ready addresses behind a Service, by Service name."""
    revision: WantedRevision = field(default_factory=WantedRevision)
    pods: str = ""
    """``pod-template-hash`` of the ReplicaSet of the target's present template;
    empty while unknown.
    """
    route: RouteState = field(default_factory=RouteState)
    queue_place: int = 0
    """Runs under way, and apps that wait for a run longer than this one."""
    run_limit: int = 0
    """How many runs may be under way at once; 0 for any number."""
    commands: tuple[Command | Unreadable, ...] = ()
    """What people ask for, most urgent first."""
    author: str = ""
    """Who made the target's present template, where the admission policy says so."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    primary_lacks: tuple[str, ...] = ()
    """Configs (``kind/name``) that the primary's pods need and that do not exist."""
    stray_apexes: tuple[ServiceView, ...] = ()
    """Services that carry our apex mark for this target."""
    scalers: tuple[ObjectView, ...] = ()
    """The user's ScaledObjects of the target, found whether it is enrolled or not."""
    propagation_s: float = 2.0
    """How long the data plane takes to act on what was written."""

    def ready(self, service: str) -> frozenset[str]:
        """Ready addresses behind a Service."""
        return self.endpoints.get(service, frozenset())
