"""The nouns of a rollout, as frozen values.

Everything here is immutable, comparable and free of behaviour beyond small derived facts:
the annotation grammar makes a :class:`CanarySpec`, the shell makes observations,
``decide`` compares them.
Durations are seconds, weights are percent of traffic sent to the canary,
times are seconds since the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from canaryd.core.program import Course, GateSpec, Scale, Stage, Step, Strategy, compile_program
from canaryd.core.routing import Match
from canaryd.core.windows import Span, Window


class Provider(StrEnum):
    """Who carries the traffic split."""

    NGINX = "nginx"
    SMI = "smi"
    GATEWAY = "gateway"
    NONE = "none"


class Mode(StrEnum):
    """Whether canaryd acts or only says what it would do."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class IdlePolicy(StrEnum):
    """What becomes of the target's pods between runs."""

    SCALE_TO_ZERO = "scale-to-zero"
    KEEP = "keep"


class Feedback(StrEnum):
    """What is said of a run on the user's own Deployment."""

    CONDITIONS = "conditions"
    """``Reconciling`` and ``Stalled`` in its status."""
    NONE = "none"


class OnFailure(StrEnum):
    """What a failed run does."""

    ROLLBACK = "rollback"
    HOLD = "hold"
    """Users off, pods stay, until a person decides."""
    NOTIFY = "notify"
    """Only told: the weight stays, until a person decides."""


class NoData(StrEnum):
    """What a check without data counts as."""

    HOLD = "hold"
    FAIL = "fail"


class Comparator(StrEnum):
    """Relation between a value and its threshold."""

    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"
    BETWEEN = ".."


@dataclass(frozen=True, slots=True)
class Condition:
    """A threshold: ``value <comparator> low`` or ``low..high``, both ends included."""

    comparator: Comparator
    low: float
    high: float = 0.0
    unit: str = ""
    text: str = ""
    """The condition as the user wrote it."""


class Builtin(StrEnum):
    """Metrics canaryd knows how to ask the data plane for."""

    SUCCESS_RATE = "success-rate"
    ERROR_RATE = "error-rate"
    LATENCY_P50 = "latency-p50"
    LATENCY_P90 = "latency-p90"
    LATENCY_P95 = "latency-p95"
    LATENCY_P99 = "latency-p99"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCheck:
    """One metric with its threshold.

    Either ``builtin`` or ``query`` is set.
    ``window_s`` is the time looked back over; ``failures`` is the metric's own limit of failed
    checks, None for the run's.
    """

    name: str
    condition: Condition
    builtin: Builtin | None = None
    query: str = ""
    window_s: float = 60.0
    failures: int | None = None
    no_data: NoData = NoData.HOLD
    variables: Mapping[str, str] = field(default_factory=dict)
    source: str = "default"


class HookType(StrEnum):
    """When a hook is called: Flagger's eight types, same meaning."""

    CONFIRM_ROLLOUT = "confirm-rollout"
    PRE_ROLLOUT = "pre-rollout"
    ROLLOUT = "rollout"
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"
    CONFIRM_PROMOTION = "confirm-promotion"
    POST_ROLLOUT = "post-rollout"
    ROLLBACK = "rollback"
    EVENT = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSpec:
    """One outgoing webhook. ``timeout_s`` is per attempt; ``retries`` counts attempts after the
    first.
    """

    name: str
    type: HookType
    url: str
    timeout_s: float = 10.0
    retries: int = 0
    payload: Mapping[str, str] = field(default_factory=dict)
    order: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestSpec:
    """One embedded load test: open loop at ``rate`` requests per second,
    at the canary Service only.
    """

    name: str
    method: str
    path: str
    rate: float
    duration_s: float
    concurrency: int = 10
    timeout_s: float = 5.0
    max_errors: float = 1.0
    """Percent of failed requests (5xx, connection error, time-out) that still passes."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySpec:
    """The resolved plan of one app: defaults, namespace and annotations already merged."""

    strategy: Strategy = Strategy.CANARY
    provider: Provider = Provider.NGINX
    service: str = ""
    port: str = ""
    ingresses: tuple[str, ...] = ()
    ingress_class: str = ""
    selector_label: str = ""
    routes: tuple[str, ...] = ()
    """HTTPRoutes, when they are named."""
    mode: Mode = Mode.ENFORCE
    feedback: Feedback = Feedback.CONDITIONS
    interval_s: float = 60.0
    weights: tuple[int, ...] = (10, 20, 30, 40, 50)
    steps: tuple[Step, ...] = ()
    iterations: int = 10
    matches: tuple[Match, ...] = ()
    mirror: int = 0
    gates: tuple[GateSpec, ...] = ()
    promotion_step_weight: int = 100
    """Percent that goes back to the primary at a time, once it runs the new revision."""
    canary_replicas: Scale | None = None
    """None: as many as the primary has."""
    schedule: tuple[Window, ...] = ()
    freeze: tuple[Span, ...] = ()
    watch_s: float = 0.0
    """How long a promoted revision is judged on."""
    warmup_s: float = 0.0
    progress_deadline_s: float = 600.0
    max_duration_s: float = 86400.0
    inconclusive_deadline_s: float = 1800.0
    primary_ready: int = 100
    canary_ready: int = 100
    scale_down_delay_s: float = 30.0
    idle: IdlePolicy = IdlePolicy.SCALE_TO_ZERO
    metrics: tuple[MetricCheck, ...] = ()
    failure_threshold: int = 5
    min_requests: int = 0
    hooks: tuple[HookSpec, ...] = ()
    load_tests: tuple[LoadTestSpec, ...] = ()
    config_tracking: bool = True
    config_exclude: tuple[str, ...] = ()
    autoscaler: str = "auto"
    on_failure: OnFailure = OnFailure.ROLLBACK
    keep_failed_s: float = 0.0
    history_limit: int = 10
    suspend: bool = False
    skip_analysis: bool = False
    skip_revision: str = ""
    """Revision (or how its name begins) that is promoted without a verdict."""
    retry: str = ""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The course of a run."""
        return compile_program(
            Course(
                strategy=self.strategy,
                weights=self.weights,
                steps=self.steps,
                matched=bool(self.matches),
                mirror=self.mirror,
                iterations=self.iterations,
                gates=self.gates,
            )
        )

    def gate(self, name: str) -> GateSpec | None:
        """A gate by its name; None for one that no key describes."""
        return next((gate for gate in self.gates if gate.name == name), None)

    def skips(self, revision: str) -> bool:
        """Whether a revision is promoted without a verdict."""
        named = bool(self.skip_revision) and revision.startswith(self.skip_revision)
        return self.skip_analysis or named or self.strategy is Strategy.DIRECT

    def hooks_of(self, *types: HookType) -> tuple[HookSpec, ...]:
        """The hooks of these types, in the order they are to be called."""
        return tuple(
            sorted((h for h in self.hooks if h.type in types), key=lambda h: (h.order, h.name))
        )


# --- observations ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Histogram:
    """Growth of a cumulative histogram over a window: ``(upper edge in seconds,
    requests at or below it)``, ascending.

    The last edge is infinity and its count the total. ``window_s`` is 0 when it is not known.
    """

    buckets: tuple[tuple[float, float], ...]
    window_s: float = 0.0

    @property
    def count(self) -> float:
        """Requests observed in the window."""
        return self.buckets[-1][1] if self.buckets else 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one side over a window, as exact counter growth, never a rate."""

    total: float
    errors: float
    window_s: float


class Missing(StrEnum):
    """Why a source had no usable answer. Never a value, never a pass."""

    NO_SERIES = "NoSeries"
    NO_TRAFFIC = "NoTraffic"
    NOT_A_NUMBER = "NotANumber"
    SEVERAL_SERIES = "SeveralSeries"
    STALE = "Stale"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    QUERY_REFUSED = "QueryRefused"


@dataclass(frozen=True, slots=True)
class Absent:
    """A source answered without a usable value, or did not answer."""

    why: Missing
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAnswer:
    """What a source said about one :class:`MetricCheck`.

    For built-ins ``counts`` or ``histogram`` is set, for queries ``value``;
    ``requests`` is the canary's request count when known.
    """

    check: str
    value: float | None = None
    counts: Counts | None = None
    histogram: Histogram | None = None
    requests: float | None = None
    absent: Absent | None = None
    has_load: bool = False
    """Requests of load tests are among those that were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """Outcome of one hook: ``status`` is the HTTP status, 0 when nobody answered.
    Never the body.
    """

    hook: str
    passed: bool
    status: int = 0
    detail: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestAnswer:
    """Outcome of one load test. ``latency_ms`` maps a percentile name (``p50``...) to milliseconds
    from the intended start; ``latencies`` is what they were read from, as exact counts up to edges,
    none of which lies at or above the test's time limit.
    """

    test: str
    sent: int = 0
    failed: int = 0
    asked_rate: float = 0.0
    achieved_rate: float = 0.0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    latencies: Histogram = Histogram(())
    absent: Absent | None = None
    """Set when the generator itself could not keep the rate, crashed, or was refused:
    the result is void.
    """


Answer = MetricAnswer | HookAnswer | LoadTestAnswer


class Side(StrEnum):
    """Which of the two sets of pods a question is about."""

    CANARY = "canary"
    PRIMARY = "primary"


class Dialect(StrEnum):
    """Whose metrics count the requests of an app, and in which words.

    What reads the routes decides it, so it comes from the app's provider, never from the source of
    metrics: one daemon may have apps behind several data planes.
    """

    INGRESS_NGINX = "ingress-nginx"
    TRAEFIK = "traefik"
    """Traefik as reader of the ingress-nginx annotations."""
    HIGRESS = "higress"
    TRAEFIK_GATEWAY = "traefik-gateway"
    """Traefik as reader of HTTPRoutes."""
    KGATEWAY = "kgateway"
    CONTOUR = "contour"
    ISTIO = "istio"
    """Sidecars, as the receiving one reports."""
    ISTIO_AMBIENT = "istio-ambient"
    """Waypoints."""
    LINKERD = "linkerd"

    @property
    def counts_at_pods(self) -> bool:
        """Whether requests that pass the routes by, such as a load test's, are counted too."""
        return self in (Dialect.ISTIO, Dialect.ISTIO_AMBIENT, Dialect.LINKERD)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficIdentity:
    """How the data plane names one side of one app in its metrics.

    ``ingresses`` holds (ingress name, backend Service name, port as the data plane spells it):
    the user's main Ingresses and the apex Service they point at. ``routes`` are the HTTPRoutes
    that lead to the app, ``ports`` those of the apex Service that they name.
    """

    namespace: str
    target: str
    apex: str
    canary_service: str
    primary_service: str
    ingresses: tuple[tuple[str, str, str], ...]
    routes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    dialect: Dialect | None = None
    """None: no built-in metric can be asked for."""
    is_counted: bool = True
    """False where no data plane sees requests at all: load tests are all the evidence there is."""
