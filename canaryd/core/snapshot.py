"""All that was observed for one decision, as one value.

Gathered by ``controller.gather``; compared with what should be by ``core.decide``.
A snapshot says what is known and, as explicitly, what is not: an unknown revision is None,
never a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from canaryd.core.annotations import Resolution
from canaryd.core.model import Answer, CanarySpec
from canaryd.core.reasons import Reason
from canaryd.core.state import RolloutState
from canaryd.core.views import (
    DeploymentView,
    Identity,
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
    ingresses: tuple[ObjectView, ...] = ()
    autoscaler: ObjectView | None = None
    budgets: tuple[ObjectView, ...] = ()
    policies: tuple[ObjectView, ...] = ()

    @property
    def value(self) -> str:
        """Value of the selector label on the target's pods."""
        return self.match_labels[self.label]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteState:
    """What the routing objects say now.

    ``weight`` is None when there is no canary route; ``in_sync`` is False when the route object
    is missing or does not follow the user's main route any more.
    """

    weight: int | None = None
    in_sync: bool = False
    orphaned: bool = False
    """A canary route exists whose main route is gone."""
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRevision:
    """The revision the target asks for; ``name`` is None while a config it uses cannot be read."""

    name: str | None = None
    contents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """``kind/name`` of tracked configs to (resourceVersion, content fingerprint)."""
    obstacle: Obstacle | None = None


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
    answers: Mapping[str, Answer] = field(default_factory=dict)
    stray_apexes: tuple[ServiceView, ...] = ()
    """Services that carry our apex mark for this target."""
    propagation_s: float = 2.0
    """How long the data plane takes to act on what was written."""

    def ready(self, service: str) -> frozenset[str]:
        """Ready addresses behind a Service."""
        return self.endpoints.get(service, frozenset())
