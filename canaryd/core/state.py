"""The machine state of one app: what must survive a crash and cannot be read off the objects.

Lives in ``status.machine`` of the Canary, versioned and bounded,
written with the resourceVersion it was read at.
Times are seconds since the epoch.
A state this code cannot read is never replaced by defaults: :class:`StateError` stops the app for
a human,
because forgetting which revision was promoted could make a bad one stable.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from types import UnionType
from typing import Any, get_args, get_origin

from canaryd.core.phase import Phase

STATE_VERSION = 1
HISTORY_CAP = 50
MESSAGE_CAP = 1024
"""Of what is recorded in words: a status is read by watchers, and written again at every step."""


class StateError(Exception):
    """The recorded state cannot be understood."""


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
    weight: int = 0
    """The weight that is wanted now."""
    step_started_at: float = 0.0
    evaluation: int = 0
    evaluated_at: float = 0.0
    failures: int = 0
    failures_by_metric: Mapping[str, int] = field(default_factory=dict)
    inconclusive_since: float | None = None
    promotion_started_at: float | None = None
    primary_failed: str = ""
    """Why the primary did not roll out; set while it gets its last good template back."""
    drained_from: float | None = None
    """When the weight went back to 0 at the end."""


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
class RolloutState:
    """Everything canaryd remembers of one app."""

    phase: Phase
    target_uid: str = ""
    """Of the Deployment this is about: a namesake made later is another app."""
    promoted: str = ""
    """Revision the primary runs, or is to run when it is lost."""
    last_good: str = ""
    """Revision promoted before ``promoted``; kept while a promotion is under way and for undo."""
    primary_fingerprint: str = ""
    """Fingerprint of the primary's live template when it was applied: another one is drift."""
    failed: str = ""
    """Last revision that failed; refused until it changes or a retry is asked for."""
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
    config_error: str = ""
    """Why the present annotations are not in force; empty when they are."""
    reason: str = ""
    message: str = ""


def brief(text: str) -> str:
    """What is recorded of a text: its beginning, and that there was more."""
    return text if len(text) <= MESSAGE_CAP else f"{text[: MESSAGE_CAP - 1]}…"


def dump(state: RolloutState) -> dict[str, Any]:
    """The state as JSON; empty and default values are left out."""
    return {"version": STATE_VERSION} | _dump(state)


def load(data: Mapping[str, Any] | None) -> RolloutState | None:
    """Read a state back; None when there is none.

    Raises:
        StateError: it is of a newer version, or damaged.

    """
    if not data:
        return None
    version = data.get("version")
    if version != STATE_VERSION:
        raise StateError(
            f"status.machine has version {version!r}; this canaryd reads version {STATE_VERSION}."
            " Run the canaryd that wrote it, or delete the Canary object to enrol anew from the"
            " primary"
        )
    try:
        return _load(data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"status.machine is damaged ({type(error).__name__}: {error})") from error


def bounded(state: RolloutState, limit: int) -> RolloutState:
    """The same state with its history cut to ``limit`` entries."""
    return replace(state, history=state.history[-min(limit, HISTORY_CAP) :])


def _dump(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = {}
    for entry in fields(value):
        item = getattr(value, entry.name)
        required = entry.default is MISSING and entry.default_factory is MISSING
        if not required and (item is None or item in ("", (), {})):
            continue
        dumped[entry.name] = _dump_item(item)
    return dumped


def _dump_item(item: Any) -> Any:
    if isinstance(item, tuple):
        return [_dump_item(part) for part in item]
    if isinstance(item, Mapping):
        return {key: _dump_item(part) for key, part in item.items()}
    if hasattr(item, "__dataclass_fields__"):
        return _dump(item)
    return str(item) if isinstance(item, Phase) else item


def _load(data: Mapping[str, Any]) -> RolloutState:
    known = {f.name for f in fields(RolloutState)}
    values = {k: v for k, v in data.items() if k in known}
    values["phase"] = Phase(values["phase"])
    if "run" in values:
        values["run"] = RunState(**_known(RunState, values["run"]))
    values["tracked"] = {
        str(k): (str(v[0]), str(v[1])) for k, v in (values.get("tracked") or {}).items()
    }
    for name, kind in (
        ("verdicts", VerdictRecord),
        ("hooks", HookRecord),
        ("history", HistoryEntry),
    ):
        values[name] = tuple(kind(**_known(kind, item)) for item in values.get(name) or ())
    return RolloutState(**_known(RolloutState, values))


def _known(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields this version knows, each of its type; a later minor version may have added some."""
    known = {f.name: _classes(f.type) for f in fields(kind) if f.name in data}
    for name, classes in known.items():
        if not isinstance(data[name], classes):
            raise TypeError(f"{name} is a {type(data[name]).__name__}")
    return {name: data[name] for name in known}


def _classes(kind: Any) -> tuple[type, ...]:
    """What a field of this type may hold once it was JSON."""
    if isinstance(kind, UnionType):
        return tuple(c for part in get_args(kind) for c in _classes(part))
    return (int, float) if kind is float else (get_origin(kind) or kind,)
