"""The daemon's own metrics: one registry, small methods, labels that stay bounded.

Whoever measures calls a method with plain values; the names and labels below are an interface,
dashboards and alerts depend on them. No label takes a value that tenants or servers choose freely:
words outside the known ones become ``other``.

What is told about apps is kept as one record per app and turned into series when somebody scrapes.
To forget an app is then to drop one record: no series of a deleted app can be left behind, and an
app that is not looked at costs a small object instead of a dozen locks and label tables.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import nan
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from canaryd.core.views import Key

MAX_WORDS: Final = 64
"""Different values one label may take before the rest is counted as ``other``."""
MAX_METRICS: Final = 64
"""Checks of one app that are exported."""
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

# A second series for every counter, which says only when we started: the process metrics do too.
disable_created_metrics()  # type: ignore[no-untyped-call]  # upstream has no annotations there


@dataclass(frozen=True, slots=True)
class _App:
    """What is exported of one app; replaced whole, so that a scrape never sees half of a change."""

    phase: str = ""
    weight: int = 0
    failed_checks: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)


class _Apps(Collector):
    """Series of all apps, made at each scrape."""

    def __init__(self) -> None:
        self.apps: dict[Key, _App] = {}
        # Writers are on the event loop, a scrape is on a thread of its own.
        self.lock = threading.Lock()

    def change(self, key: Key, make: Callable[[_App], _App]) -> None:
        with self.lock:
            self.apps[key] = make(self.apps.get(key, _App()))

    def drop(self, key: Key) -> None:
        with self.lock:
            self.apps.pop(key, None)

    def clear(self) -> None:
        with self.lock:
            self.apps.clear()

    def collect(self) -> Iterator[Metric]:
        with self.lock:
            apps = sorted(self.apps.items())
        labels = ("namespace", "name")
        weight = GaugeMetricFamily(
            "canaryd_canary_weight", "Percent of traffic sent to the canary.", labels=labels
        )
        phase = GaugeMetricFamily(
            "canaryd_canary_phase",
            "1 for the phase the app is in; the others are not there.",
            labels=(*labels, "phase"),
        )
        failed = GaugeMetricFamily(
            "canaryd_canary_failed_checks", "Failed checks of the present run.", labels=labels
        )
        value = GaugeMetricFamily(
            "canaryd_metric_value",
            "Last value of each check that had one.",
            labels=(*labels, "metric"),
        )
        runs = CounterMetricFamily(
            "canaryd_runs", "Finished runs by result.", labels=(*labels, "result")
        )
        for key, app in apps:
            if app.phase:
                weight.add_metric(key, app.weight)
                phase.add_metric((*key, app.phase), 1)
                failed.add_metric(key, app.failed_checks)
            for name, number in sorted(app.values.items()):
                value.add_metric((*key, name), number)
            for result, count in sorted(app.runs.items()):
                runs.add_metric((*key, result), count)
        return iter((weight, phase, failed, value, runs))


class _Words:
    """Keeps a label bounded: the first words seen are kept, later ones are ``other``."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, word: str) -> str:
        if word in self._seen:
            return word
        is_word = word.isprintable() and 0 < len(word) <= 80
        if not is_word or len(self._seen) >= MAX_WORDS:
            return "other"
        self._seen.add(word)
        return word


def _or_nan(ask: Callable[[], float]) -> Callable[[], float]:
    def answer() -> float:
        try:
            return ask()
        except Exception:  # noqa: BLE001 - the scrape goes on, and NaN shows in it
            return nan

    return answer


class Telemetry:
    """Everything that is counted, in a registry of its own.

    Args:
        version: what ``canaryd_info`` says.
        is_process: also export memory, CPU and open files of the process; off in tests.

    """

    def __init__(self, version: str, *, is_process: bool = False) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        if is_process:
            ProcessCollector(registry=registry)
        Info("canaryd", "What is running.", registry=registry).info({"version": version})
        self._apps = _Apps()
        registry.register(self._apps)
        self._reconcile_seconds = Histogram(
            "canaryd_reconcile_seconds",
            "Time of one look at an app.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._reconciles = Counter(
            "canaryd_reconcile", "Looks at apps by result.", ("result",), registry=registry
        )
        self._queue_depth = Gauge(
            "canaryd_queue_depth", "Apps that wait to be looked at.", registry=registry
        )
        self._queue_age = Gauge(
            "canaryd_queue_age_seconds",
            "How long the app that waits longest has waited.",
            registry=registry,
        )
        self._api_requests = Counter(
            "canaryd_api_requests",
            "Requests to the API server; code 0 is no answer.",
            ("verb", "resource", "code"),
            registry=registry,
        )
        self._api_seconds = Histogram(
            "canaryd_api_request_seconds",
            "Time until the API server began to answer.",
            ("verb",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._watch_restarts = Counter(
            "canaryd_watch_restarts",
            "Watches that were started again, by reason.",
            ("resource", "reason"),
            registry=registry,
        )
        self._decode_errors = Counter(
            "canaryd_decode_errors",
            "Objects or events that could not be read.",
            ("resource",),
            registry=registry,
        )
        self._leader = Gauge("canaryd_leader", "1 while this process leads.", registry=registry)
        self._events_dropped = Counter(
            "canaryd_events_dropped", "Events that could not be recorded.", registry=registry
        )
        self._notifications_dropped = Counter(
            "canaryd_notifications_dropped",
            "Hooks that were not called to the end because too many of their app were on the way.",
            registry=registry,
        )
        self._reviews = Counter(
            "canaryd_admission_reviews",
            "Objects that the API server asked the webhook about, by what was said.",
            ("outcome",),
            registry=registry,
        )
        self._certificate_ends = Gauge(
            "canaryd_admission_certificate_end_seconds",
            "When the certificate that the webhook serves ends, since the epoch; 0 without one.",
            registry=registry,
        )
        self._loop_lag = Histogram(
            "canaryd_loop_lag_seconds",
            "How much later than asked the event loop woke a timer.",
            buckets=_LAGS,
            registry=registry,
        )
        self._results, self._verbs, self._resources, self._reasons = (_Words() for _ in range(4))

    # --- the loop ---

    def reconciled(self, result: str, seconds: float) -> None:
        """One look at an app ended; ``result`` is its reason word."""
        self._reconciles.labels(self._results(result)).inc()
        self._reconcile_seconds.observe(seconds)

    def watch_queue(self, depth: Callable[[], float], age: Callable[[], float]) -> None:
        """Ask these two at each scrape, from another thread: they only read.

        One that fails is exported as NaN and hides nothing else.
        """
        self._queue_depth.set_function(_or_nan(depth))
        self._queue_age.set_function(_or_nan(age))

    def lagged(self, seconds: float) -> None:
        """The event loop woke a timer this much too late."""
        self._loop_lag.observe(max(0.0, seconds))

    def leading(self, is_leader: bool) -> None:  # noqa: FBT001 - a claim, not a switch
        """Leadership was gained or lost; who does not lead knows nothing of the apps any more."""
        self._leader.set(1 if is_leader else 0)
        if not is_leader:
            self._apps.clear()

    # --- the API server ---

    def api_request(self, verb: str, resource: str, code: int, seconds: float | None) -> None:
        """One request was answered; code 0 when nobody did. No time, if it was not taken."""
        word = str(code) if 100 <= code <= 599 else "0"
        name = self._verbs(verb)
        self._api_requests.labels(name, self._resources(resource), word).inc()
        if seconds is not None:
            self._api_seconds.labels(name).observe(seconds)

    def watch_restarted(self, resource: str, reason: str) -> None:
        """A watch was started again."""
        self._watch_restarts.labels(self._resources(resource), self._reasons(reason)).inc()

    def decode_failed(self, resource: str) -> None:
        """An object or event could not be read."""
        self._decode_errors.labels(self._resources(resource)).inc()

    def event_dropped(self, count: int = 1) -> None:
        """Events could not be recorded."""
        self._events_dropped.inc(count)

    # --- hooks ---

    def notification_dropped(self) -> None:
        """A hook whose answer decides nothing had to make room for a newer one."""
        self._notifications_dropped.inc()

    # --- admission ---

    def reviewed(self, outcome: str) -> None:
        """The webhook answered: ``kept``, ``passed`` or ``unreadable``."""
        self._reviews.labels(outcome).inc()

    def certificate_ends(self, at: float) -> None:
        """The webhook serves a certificate that ends then, in seconds since the epoch."""
        self._certificate_ends.set(at)

    # --- apps ---

    def canary(
        self, namespace: str, name: str, *, phase: str, weight: int, failed_checks: int
    ) -> None:
        """Where an app stands."""
        self._apps.change(
            (namespace, name),
            lambda app: replace(app, phase=phase, weight=weight, failed_checks=failed_checks),
        )

    def metric_values(self, namespace: str, name: str, values: Mapping[str, float]) -> None:
        """The last values of an app's checks; checks that are not among them are gone."""
        kept = dict(sorted(values.items())[:MAX_METRICS])
        self._apps.change((namespace, name), lambda app: replace(app, values=kept))

    def run_ended(self, namespace: str, name: str, result: str) -> None:
        """A run of an app ended."""

        def count(app: _App) -> _App:
            is_known = result in app.runs or len(app.runs) < MAX_WORDS
            word = result if is_known else "other"
            return replace(app, runs={**app.runs, word: app.runs.get(word, 0) + 1})

        self._apps.change((namespace, name), count)

    def forget(self, namespace: str, name: str) -> None:
        """Drop every series of an app that is gone."""
        self._apps.drop((namespace, name))

    # --- scraping ---

    def expose(self) -> bytes:
        """Return everything as text of :data:`CONTENT_TYPE`; for thousands of apps that takes long
        enough to be done on a thread.
        """
        return generate_latest(self.registry)
