"""The state of one app: what must survive a crash and cannot be read off the objects.

How it is kept in the status of the Canary is the matter of ``memory``, and how much of it when it
is large that of ``fitting``. Times are seconds since the epoch, in the records for people without
fractions once they were read back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from canaryd.core.phase import Phase

HISTORY_CAP = 50
COMMANDS_CAP = 20
MESSAGE_CAP = 1024
"""Of what is recorded in words: a status is read by watchers, and written again at every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRecord:
    """Last verdict of one check, for people."""

    name: str
    verdict: str
    value: str = ""
    unit: str = ""
    threshold: str = ""
    samples: int | None = None
    reason: str = ""
    message: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRecord:
    """Last outcome of one hook, for people."""

    name: str
    type: str
    state: str
    code: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """One analysis of one revision.

    ``step`` is -1 until the first weight was written; ``plan`` is the pinned configuration;
    ``evaluation`` counts evaluations and names the questions asked;
    ``confirmed`` says that confirm-rollout passed, ``rehearsed`` that the pre-rollout hooks did.
    """

    id: str
    revision: str
    started_at: float
    tracking: str = ""
    """Rule under which ``revision`` is its name (:mod:`canaryd.core.tracking`)."""
    plan: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False
    rehearsed: bool = False
    restart: int = 0
    """Replicas of the target whose pods were started before a config of theirs changed: they are
    replaced before the analysis begins. 0 when there are none.
    """
    pods_wanted_at: float = 0.0
    """Since when pods are waited for: the progress deadline counts from here."""
    step: int = -1
    """Index of the stage under way."""
    weight: int = 0
    """The weight that is wanted now."""
    matched: bool = False
    """Requests that ask for the canary are to get to it."""
    mirror: int = 0
    """Percent of requests that are to be mirrored."""
    passes: int = 0
    """Passing evaluations of this stage."""
    ready_for: int = -1
    """Stage for which pods are being made ready; -1 when none is waited for."""
    leave_stage: bool = False
    """Somebody asked to go on without waiting for what this stage waits for."""
    skipped: bool = False
    """Somebody asked to promote without a verdict."""
    paused_at: float = 0.0
    """Since when somebody pauses the run; 0 when nobody does."""
    paused_by: str = ""
    approvals: tuple[str, ...] = ()
    """Who approved the gate of this stage."""
    held: str = ""
    """Why the run failed and waits for a person (``on-failure``); empty while it has not."""
    primary_replicas: int = 0
    """Replicas of the primary when the run began: no autoscaler takes it below them meanwhile."""
    step_started_at: float = 0.0
    evaluation: int = 0
    evaluated_at: float = 0.0
    failures: int = 0
    failures_by_metric: Mapping[str, int] = field(default_factory=dict)
    inconclusive_since: float | None = None
    promotion_started_at: float | None = None
    handing_back: bool = False
    """The primary runs the revision, and gets its users back step by step."""
    primary_failed: str = ""
    """Why the primary did not roll out; set while it gets its last good template back."""
    drained_from: float | None = None
    """When the weight went back to 0 at the end."""
    undoes: str = ""
    """The revision this run takes back; empty for an ordinary one."""
    watch_until: float = 0.0
    """Until when a promoted revision is judged on."""

    @property
    def has_users(self) -> bool:
        """Some user's request is to reach the canary."""
        return self.weight > 0 or self.matched

    @property
    def carries(self) -> bool:
        """Any request is to reach the canary, a mirrored one too."""
        return self.has_users or self.mirror > 0

    def off(self) -> "RunState":
        """The same run with nothing routed to the canary."""
        return replace(self, weight=0, matched=False, mirror=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One finished run."""

    revision: str
    result: str
    reason: str
    started_at: float
    finished_at: float
    decision_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRecord:
    """One command that was carried out, or refused."""

    verb: str
    nonce: str
    by: str
    subject: str
    argument: str = ""
    reason: str = ""
    outcome: str = ""
    """The reason word of what it led to."""
    refusal: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Everything canaryd remembers of one app."""

    phase: Phase
    observing: bool = False
    """Nothing but this record is ours: the app is in ``mode: observe``."""
    target_uid: str = ""
    """Of the Deployment this is about: a namesake made later is another app."""
    promoted: str = ""
    """Revision the primary runs, or is to run when it is lost."""
    promoted_tracking: str = ""
    """Rule under which ``promoted`` is its name (:mod:`canaryd.core.tracking`)."""
    promotions: tuple[str, ...] = ()
    """Revisions that were enrolled or promoted, oldest first, each once: there is a way back to
    those. The history is for people, and forgets.
    """
    last_good: str = ""
    """Revision promoted before ``promoted``; kept while a promotion is under way and for undo."""
    primary_fingerprint: str = ""
    """Fingerprint of the primary's live template when it was applied: another one is drift."""
    failed: str = ""
    """Last revision that failed; refused until it changes or a retry is asked for."""
    failed_tracking: str = ""
    retry: str = ""
    """The retry token that was consumed last."""
    runs: int = 0
    run: RunState | None = None
    replicas: int = 1
    """Replicas the app is to have when no autoscaler decides."""
    settled_at: float = 0.0
    """When the phase was entered; drains and holds count from here."""
    route_written_at: float = 0.0
    """When apex selector or routes were last switched; the drain delay counts from here."""
    drift_count: int = 0
    drift_at: float = 0.0
    tracked: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """``kind/name`` to (resourceVersion, content fingerprint):
    spares reading contents again after a restart.
    """
    verdicts: tuple[VerdictRecord, ...] = ()
    hooks: tuple[HookRecord, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    commands: tuple[CommandRecord, ...] = ()
    """What people asked for, oldest first."""
    queued_at: float = 0.0
    """Since when a revision waits for its turn; 0 when none does."""
    cautions: tuple[str, ...] = ()
    """What was told to work and to surprise."""
    config_error: str = ""
    """Why the present annotations are not in force; empty when they are."""
    reason: str = ""
    message: str = ""


def brief(text: str, cap: int = MESSAGE_CAP) -> str:
    """What is recorded of a text: its beginning, and that there was more."""
    return text if len(text) <= cap else f"{text[: max(cap - 1, 0)]}…"[:cap]
