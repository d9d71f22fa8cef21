"""How the state of an app is kept in the status of its Canary, and read back from there.

Nothing is said twice: results of checks and hooks, the history, tracked configs, failures by check
and the two long texts stand in the fields that people read, and are read back from those. All else
is in ``status.machine``, and so are the few words that decisions hang on, whatever a public field
calls them. The whole is one write with one resourceVersion: its parts are always of one state.

Times of public fields have whole seconds. What decisions count from is in ``machine``, exactly.

A state this code cannot read is never replaced by defaults: :class:`StateError` stops the app for
a human, because forgetting which revision was promoted could make a bad one stable.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from types import UnionType
from typing import Any, get_args, get_origin

from canaryd.core.phase import Phase
from canaryd.core.state import (
    CommandRecord,
    HistoryEntry,
    HookRecord,
    RolloutState,
    RunState,
    VerdictRecord,
)
from canaryd.core.views import JsonDict

STATE_VERSION = 2
"""Version 1 had everything in ``machine``. It is read, and written anew as version 2."""
PLAIN_PLAN = 2048
"""Bytes of JSON up to which a pinned plan is kept as it is; a longer one is packed."""
MAX_PLAN = 1024 * 1024
"""Bytes that a packed plan may unpack to: 16 KiB of annotations are some ten times less."""

_LISTS = (
    ("verdicts", "metrics", VerdictRecord),
    ("hooks", "hooks", HookRecord),
    ("history", "history", HistoryEntry),
    ("commands", "commands", CommandRecord),
)
"""Lists of records by their names here and in public."""
_APART = frozenset(
    {"message", "config_error", "cautions", "tracked", "run", *(name for name, _, _ in _LISTS)}
)
_APART_OF_RUN = frozenset({"plan", "failures_by_metric"})
"""What does not stand in ``machine`` as it is."""
_NAMES = {"started_at": "startedAt", "finished_at": "finishedAt", "decision_id": "decisionID"}
"""Fields of records that have another name in public."""
_GZIP = 16 + zlib.MAX_WBITS
_DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class StateError(Exception):
    """The recorded state cannot be understood."""


def timestamp(seconds: float) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- writing --------------------------------------------------------------------------------------


def remember(state: RolloutState) -> JsonDict:
    """The fields of a status that :func:`load` reads, conditions aside: of these it needs the
    message of ``ConfigValid`` while that is False, which is ``config_error``.
    """
    run = state.run
    kept: JsonDict = {
        "message": state.message,
        "cautions": list(state.cautions),
        "trackedConfigs": {k: f"{content}@{seen}" for k, (seen, content) in state.tracked.items()},
        "machine": {"version": STATE_VERSION} | _plain(state, _APART),
    }
    for name, public, _ in _LISTS:
        kept[public] = [_record(record) for record in getattr(state, name)]
    if run is not None:
        failures = sorted(run.failures_by_metric.items())
        kept["failures"] = {"byMetric": [{"name": n, "count": c} for n, c in failures]}
        kept["machine"]["run"] = _plain(run, _APART_OF_RUN) | _pinned(run.plan)
    return kept


def _plain(value: Any, without: frozenset[str]) -> JsonDict:
    """The fields of a state as JSON. What has its default is left out: another default is another
    version.
    """
    plain: JsonDict = {}
    for entry in fields(value):
        item = getattr(value, entry.name)
        if entry.name in without or item == entry.default or (item in ((), {})):
            continue
        if isinstance(item, tuple):
            item = list(item)  # as it comes back: what did not change must compare equal
        plain[entry.name] = str(item) if isinstance(item, Phase) else item
    return plain


def _record(record: Any) -> JsonDict:
    """A record under the names that people know."""
    public: JsonDict = {}
    for entry in fields(record):
        item, is_time = getattr(record, entry.name), entry.type is float
        is_empty = item in ("", None) or (is_time and item == 0)
        if entry.default is MISSING or not is_empty:
            public[_public_name(entry.name)] = timestamp(item) if is_time else item
    return public


def _pinned(plan: Mapping[str, str]) -> JsonDict:
    """A plan as it is, or what ``base64 -d | gunzip`` makes JSON of when that is shorter.

    It holds what somebody wrote and no built-in default, up to 16 KiB each of the Deployment and
    its Namespace. None of it can be left out; much of it says nearly the same in every check.
    """
    if not plan:
        return {}
    text = json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()
    if len(text) > PLAIN_PLAN:
        deflate = zlib.compressobj(9, wbits=_GZIP)
        packed = base64.b64encode(deflate.compress(text) + deflate.flush()).decode()
        if len(packed) < len(text):
            return {"plan": packed}
    return {"plan": dict(plan)}


# --- reading --------------------------------------------------------------------------------------


def load(status: Mapping[str, Any]) -> RolloutState | None:
    """Read the state back from the status of a Canary; None when there is none.

    Raises:
        StateError: it is of a newer version, or damaged.

    """
    machine = status.get("machine")
    if machine is None or machine == {}:
        return None
    try:
        version = machine.get("version")
        if version not in (1, STATE_VERSION):
            raise StateError(
                f"status.machine has version {version!r}; this canaryd reads versions 1 and"
                f" {STATE_VERSION}. Run the canaryd that wrote it, or delete the Canary object to"
                " enrol anew from the primary"
            )
        return _version_1(machine) if version == 1 else _version_2(status, machine)
    except (*_DAMAGE, zlib.error) as error:
        raise StateError(f"status is damaged ({type(error).__name__}: {error})") from error


def _version_2(status: Mapping[str, Any], machine: Mapping[str, Any]) -> RolloutState:
    values = dict(machine) | {
        "message": status.get("message", ""),
        "config_error": _config_error(status),
        "cautions": tuple(str(text) for text in _list(status, "cautions")),
        "tracked": {key: _tracked(text) for key, text in _map(status, "trackedConfigs").items()},
    }
    for name, public, kind in _LISTS:
        values[name] = tuple(_read(kind, item) for item in _list(status, public))
    if "run" in machine:
        failures = _list(_map(status, "failures"), "byMetric")
        by_metric = {str(item["name"]): int(item["count"]) for item in failures}
        values["run"] = dict(machine["run"]) | {"failures_by_metric": by_metric}
    return _state(values)


def _version_1(machine: Mapping[str, Any]) -> RolloutState:
    values = dict(machine)
    values["tracked"] = {
        str(key): (str(pair[0]), str(pair[1])) for key, pair in _map(machine, "tracked").items()
    }
    for name, _, kind in _LISTS:
        values[name] = tuple(kind(**_known(kind, item)) for item in _list(machine, name))
    ended = reversed(values["history"])
    promoted = dict.fromkeys(entry.revision for entry in ended if entry.result == "Succeeded")
    values["promotions"] = tuple(reversed(promoted))
    return _state(values)


def _state(values: dict[str, Any]) -> RolloutState:
    values["phase"] = Phase(values["phase"])
    if "run" in values:
        run = dict(values["run"])
        run["plan"] = _plan(run.get("plan", {}))
        values["run"] = RunState(**_known(RunState, run))
    return RolloutState(**_known(RolloutState, values))


def _plan(pinned: Any) -> dict[str, str]:
    if isinstance(pinned, str):
        inflate = zlib.decompressobj(_GZIP)
        text = inflate.decompress(base64.b64decode(pinned, validate=True), MAX_PLAN)
        if not inflate.eof:
            raise ValueError("the pinned plan is cut off, or longer than any plan")
        pinned = json.loads(text)
    return {str(key): str(value) for key, value in pinned.items()}


def _config_error(status: Mapping[str, Any]) -> Any:
    """The message of a ``ConfigValid`` that is False."""
    for condition in _list(status, "conditions"):
        if condition.get("type") == "ConfigValid" and condition.get("status") == "False":
            return condition.get("message", "")
    return ""


def _tracked(text: str) -> tuple[str, str]:
    content, at, version = text.partition("@")
    if not at:
        raise ValueError(f"a tracked config is {text!r}, not CONTENT@VERSION")
    return version, content


def _read(kind: Any, item: Mapping[str, Any]) -> Any:
    """A record from its public form."""
    values = {}
    for entry in fields(kind):
        name = _public_name(entry.name)
        if name in item:
            is_time = entry.type is float
            values[entry.name] = _seconds(item[name]) if is_time else item[name]
    return kind(**_known(kind, values))


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()


def _public_name(name: str) -> str:
    return _NAMES.get(name, name)


def _list(mapping: Mapping[str, Any], name: str) -> list[Any]:
    found = mapping.get(name)
    if not isinstance(found, list | None):
        raise TypeError(f"{name} is a {type(found).__name__}")
    return found or []


def _map(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = mapping.get(name)
    if not isinstance(found, Mapping | None):
        raise TypeError(f"{name} is a {type(found).__name__}")
    return found or {}


def _known(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields this version knows, each of its type; a later minor version may have added some."""
    known = {}
    for entry in fields(kind):
        if entry.name not in data:
            continue
        item, classes = data[entry.name], _classes(entry.type)
        if classes == (tuple,) and isinstance(item, list):
            item = tuple(item)  # JSON has no tuples
        if not isinstance(item, classes):
            raise TypeError(f"{entry.name} is a {type(item).__name__}")
        known[entry.name] = item
    return known


def _classes(kind: Any) -> tuple[type, ...]:
    """What a field of this type may hold once it was JSON."""
    if isinstance(kind, UnionType):
        return tuple(c for part in get_args(kind) for c in _classes(part))
    return (int, float) if kind is float else (get_origin(kind) or kind,)
