"""What is beyond the daemon in a story: metric source, hooks, load tests, and whoever listens to Events and log.

Each can be told to misbehave, and remembers what it was asked.
"""

import asyncio
import traceback
from dataclasses import dataclass, field
from math import inf
from typing import Any

from canaryd.core.decision import Decision
from canaryd.core.kinds import INGRESS
from canaryd.core.model import (
    Absent,
    Counts,
    Histogram,
    HookAnswer,
    HookSpec,
    LoadTestAnswer,
    LoadTestSpec,
    MetricAnswer,
    MetricCheck,
    Missing,
    Side,
    TrafficIdentity,
)
from canaryd.core.names import canary_name
from tests.fakes.cluster import FakeCluster


@dataclass
class FakeSource:
    """A metric source that knows which images are bad; it answers after ``delay_s``."""

    cluster: FakeCluster
    bad_images: set[str] = field(default_factory=set)
    bad_for_primary: set[str] = field(default_factory=set)
    """Images that answer with errors once the primary runs them."""
    unrouted: bool = False
    """Nobody gets to the canary, whatever its route says: the data plane does not read it."""
    down: bool = False
    absent: Absent | None = None
    """What the source says in place of counts, as with no traffic."""
    asked: int = 0
    delay_s: float = 0.0

    async def ask(
        self,
        check: MetricCheck,
        identity: TrafficIdentity,
        *,
        since: float,
        side: Side = Side.CANARY,
    ) -> MetricAnswer:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if self.down:
            return MetricAnswer(
                check=check.name, absent=Absent(Missing.SOURCE_UNAVAILABLE, "connection refused")
            )
        if check.builtin is not None and not identity.is_counted:
            uncounted = Absent(Missing.NO_SERIES, "nobody counts")
            return MetricAnswer(check=check.name, absent=uncounted)
        if self.absent:
            return MetricAnswer(check=check.name, absent=self.absent)
        if side is Side.PRIMARY:
            return self._primary(check, identity)
        if self.unrouted:
            return MetricAnswer(check=check.name, absent=Absent(Missing.NO_TRAFFIC))
        images = {p.image for p in self.cluster.pods(identity.namespace, identity.target)}
        errors = 100.0 if images & self.bad_images else 0.0
        dialect = identity.dialect
        return MetricAnswer(
            check=check.name,
            counts=Counts(1000.0, errors, 10.0),
            requests=1000.0,
            has_load=dialect is not None and dialect.counts_at_pods,
        )

    def _primary(self, check: MetricCheck, identity: TrafficIdentity) -> MetricAnswer:
        """As many requests as fit the weight, with errors where the primary itself is bad."""
        weight = self._weight(identity)
        total = 1000.0 * (100 - weight) / weight if 0 < weight < 100 else 1000.0
        primary = f"{identity.target}-primary"
        images = {p.image for p in self.cluster.pods(identity.namespace, primary)}
        errors = total / 10 if images & self.bad_for_primary else 0.0
        return MetricAnswer(check=check.name, counts=Counts(total, errors, 10.0), requests=total)

    def _weight(self, identity: TrafficIdentity) -> int:
        """What the canary Ingress says; 0 where another provider carries the traffic."""
        for name, _, _ in identity.ingresses:
            key = (identity.namespace, canary_name(name))
            found = self.cluster.server.store.get(INGRESS, key) or {}
            annotations = found.get("metadata", {}).get("annotations") or {}
            for annotation, text in annotations.items():
                if annotation.endswith("/canary-weight"):
                    return int(text)
        return 0


@dataclass
class FakeHooks:
    """Receivers of hooks: refusing ones answer 403, hanging ones never."""

    refusing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def called(self, name: str) -> int:
        """How often a hook was called."""
        return sum(called == name for called, _ in self.calls)

    async def call(self, hook: HookSpec, payload: Any, *, namespace: str) -> HookAnswer:
        self.calls.append((hook.name, dict(payload)))
        if hook.name in self.hanging:
            await asyncio.sleep(hook.timeout_s)
            return HookAnswer(hook=hook.name, passed=False, detail="timed out")
        refused = hook.name in self.refusing
        return HookAnswer(hook=hook.name, passed=not refused, status=403 if refused else 200)


@dataclass
class FakeLoadTester:
    """Load tests that take their time; tells which are under way."""

    running: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    void: str = ""
    """Why the generator has nothing to tell; empty when it has."""
    aimed_at: set[str] = field(default_factory=set)
    started: int = 0
    cancelled: int = 0

    async def run(self, test: LoadTestSpec, *, base_url: str, host: str) -> LoadTestAnswer:
        self.running.add(test.name)
        self.aimed_at.add(base_url)
        self.started += 1
        try:
            await asyncio.sleep(test.duration_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running.discard(test.name)
        sent, answered = 100, 50 if test.name in self.failing else 100
        return LoadTestAnswer(
            test=test.name,
            sent=sent,
            failed=sent - answered,
            asked_rate=test.rate,
            achieved_rate=test.rate,
            latency_ms={"p50": 11.0, "p99": 12.0},
            latencies=Histogram(((0.01, 0), (0.012, answered), (inf, answered))),
            absent=Absent(Missing.SOURCE_UNAVAILABLE, self.void) if self.void else None,
        )


@dataclass
class Memory:
    """Events and journal lines, kept for the test."""

    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    looks: list[tuple[tuple[str, str], Decision]] = field(default_factory=list)
    defects: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def emit(
        self,
        regarding: Any,
        reason: str,
        note: str,
        type: str = "Normal",  # noqa: A002 - the port's name
        action: str = "",
        related: Any = None,
    ) -> None:
        self.events.append((regarding["kind"], regarding["name"], reason, note))

    def looked(self, snap: Any, key: tuple[str, str], decision: Decision, seconds: float) -> None:
        self.looks.append((key, decision))

    def info(self, event: str, **values: Any) -> None:
        pass

    def error(self, event: str, **values: Any) -> None:
        self.defects.append((event, values))

    def exception(self, event: str, **values: Any) -> None:
        self.defects.append((event, values | {"traceback": traceback.format_exc()}))

    def reasons(self, kind: str = "Deployment", name: str = "app") -> list[str]:
        return [reason for k, n, reason, _ in self.events if (k, n) == (kind, name)]

    def notes(self, reason: str) -> list[str]:
        """Texts of the Events on Deployments for this reason."""
        return [note for k, _, r, note in self.events if (k, r) == ("Deployment", reason)]
