"""Who owns which field: ``managedFields`` and server-side apply.

An object is flattened to leaves, each under a path spelled as in ``fieldsV1`` (``f:name``, ``k:{keys}``, ``v:value``, ``.``);
ownership is then arithmetic on sets of paths. Semantics follow structured-merge-diff:
an apply owns exactly what it says, takes fields from others only by force,
and removes what it said last time, says no more, and nobody else owns, together with what was only defaulted beneath it.
"""

import copy
import json
import marshal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from canaryd.core.kinds import Kind
from tests.fakes.apiserver.errors import apply_conflict
from tests.fakes.apiserver.schema import MergeSchema
from tests.fakes.apiserver.schema import Path as FieldPath

Manifest = dict[str, Any]
Path = tuple[str, ...]
T = TypeVar("T")

_UNOWNED = {("f:apiVersion",), ("f:kind",)} | {
    ("f:metadata", f"f:{name}")
    for name in (
        "name",
        "namespace",
        "generateName",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "uid",
        "generation",
        "resourceVersion",
    )
}


@dataclass(frozen=True, slots=True)
class Manager:
    """One writer: an entry of ``managedFields`` without its fields."""

    name: str
    operation: str = "Update"
    api_version: str = ""
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes two writes the same manager; appliers keep theirs across API versions."""
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    def in_words(self) -> str:
        words = f'"{self.name}"'
        if self.subresource:
            words += f' with subresource "{self.subresource}"'
        return f"{words} using {self.api_version}" if self.operation == "Update" else words


@dataclass(frozen=True, slots=True)
class Ownership:
    """The fields of one manager and when they last changed."""

    manager: Manager
    fields: frozenset[Path]
    time: str


Owners = tuple[Ownership, ...]


def clone(value: T) -> T:
    """A deep copy of JSON."""
    try:
        # Several times as fast as a walk, and objects are copied all the time.
        return cast("T", marshal.loads(marshal.dumps(value)))
    except ValueError:
        # Not plain: somebody put a StrEnum or the like into a manifest.
        return copy.deepcopy(value)


def flatten(kind: Kind, manifest: Manifest) -> dict[Path, Any]:
    """Every leaf of an object under its path, metadata that nobody owns left out."""
    schema = MergeSchema(kind)
    body = {
        key: {k: v for k, v in value.items() if k != "managedFields"}
        if key == "metadata"
        else value
        for key, value in manifest.items()
    }
    leaves: dict[Path, Any] = {}
    _collect(schema, body, (), (), leaves)
    return {path: value for path, value in leaves.items() if path not in _UNOWNED and path}


def _collect(
    schema: MergeSchema, value: Any, path: Path, fields: FieldPath, into: dict[Path, Any]
) -> None:
    if isinstance(value, dict) and value and not schema.is_atomic_map(fields):
        for key, item in value.items():
            _collect(schema, item, (*path, f"f:{key}"), (*fields, key), into)
    elif isinstance(value, list) and schema.is_set(fields):
        for item in value:
            into[(*path, f"v:{json.dumps(item)}")] = item
    elif isinstance(value, list) and (keys := schema.keys_of(fields)):
        for item in value:
            item_path = (*path, item_key(keys, item))
            into[(*item_path, ".")] = True
            for key, part in item.items():
                _collect(schema, part, (*item_path, f"f:{key}"), (*fields, key), into)
    else:
        into[path] = value


def _differing(
    schema: MergeSchema, old: Manifest, new: Manifest, fields: FieldPath
) -> tuple[Manifest, Manifest]:
    """Of two maps what is not the same in both: most of an object is, and need not be taken apart."""
    before: Manifest = {}
    after: Manifest = {}
    for key in {**old, **new}:
        if key not in old:
            after[key] = new[key]
        elif key not in new:
            before[key] = old[key]
        elif old[key] != new[key]:
            x, y, within = old[key], new[key], (*fields, key)
            are_maps = isinstance(x, dict) and isinstance(y, dict) and x and y
            if are_maps and not schema.is_atomic_map(within):
                x, y = _differing(schema, x, y, within)
                # What has nothing of its own has no leaf either.
                before |= {key: x} if x else {}
                after |= {key: y} if y else {}
            else:
                before[key], after[key] = x, y
    return before, after


def item_key(keys: tuple[str, ...], item: Manifest) -> str:
    """``k:{"name":"app"}``; a missing protocol is TCP, as the schema's default says."""
    named = {key: item.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return "k:" + json.dumps(named, separators=(",", ":"), sort_keys=True)


def as_update(
    kind: Kind, owners: Owners, old: Manifest | None, new: Manifest, *, manager: Manager, now: str
) -> Owners:
    """Owners after a POST, PUT or merge patch: the writer owns what it changed."""
    differing = _differing(MergeSchema(kind), old or {}, new, ())
    before, after = (flatten(kind, part) for part in differing)
    changed = frozenset(
        path for path, value in after.items() if path not in before or before[path] != value
    )
    gone = frozenset(before.keys() - after.keys())
    return _transfer(owners, manager, changed, gone, now)


def as_apply(
    kind: Kind,
    owners: Owners,
    live: Manifest | None,
    config: Manifest,
    *,
    manager: Manager,
    now: str,
    force: bool,
) -> tuple[Manifest, Owners]:
    """The object and its owners after a server-side apply.

    Raises:
        ApiError: 409 when another manager owns a field that would change, without ``force``.
    """
    config = without_nulls(config)
    wanted = flatten(kind, config)
    present = flatten(kind, live) if live else {}
    others = [entry for entry in owners if entry.manager.identity != manager.identity]
    changed = frozenset(p for p, v in wanted.items() if p not in present or present[p] != v)
    conflicts = [
        (entry.manager.in_words(), spell(path))
        for entry in others
        for path in sorted(entry.fields & changed)
    ]
    if conflicts and not force:
        raise apply_conflict(conflicts)
    merged = merge(MergeSchema(kind), live or {}, config, ())
    held = {path for entry in others for path in entry.fields} | wanted.keys()
    for entry in owners:
        if entry.manager.identity == manager.identity:
            _prune(kind, merged, entry.fields - wanted.keys(), held)
    gone = frozenset(present.keys() - flatten(kind, merged).keys())
    kept = _transfer(tuple(others), None, changed, gone, now)
    return merged, _claim(owners, kept, manager, frozenset(wanted), now)


def _claim(
    before: Owners, others: Owners, manager: Manager, fields: frozenset[Path], now: str
) -> Owners:
    """Put the applier's entry in its old place, with a new time only if its set changed."""
    previous = next((e for e in before if e.manager.identity == manager.identity), None)
    time = previous.time if previous and previous.fields == fields else now
    entry = Ownership(manager, fields, time)
    if not fields:
        return others
    if previous is None:
        return (*others, entry)
    by_identity = {e.manager.identity: e for e in others} | {manager.identity: entry}
    order = [e.manager.identity for e in before]
    return tuple(by_identity[identity] for identity in order if identity in by_identity)


def _transfer(
    owners: Owners,
    manager: Manager | None,
    changed: frozenset[Path],
    gone: frozenset[Path],
    now: str,
) -> Owners:
    """Take ``changed`` from everybody but ``manager``, give it to ``manager``, forget ``gone``."""
    result: list[Ownership] = []
    found = False
    for entry in owners:
        if manager is not None and entry.manager.identity == manager.identity:
            found = True
            time = now if changed else entry.time
            result.append(Ownership(manager, (entry.fields - gone) | changed, time))
        else:
            result.append(replace(entry, fields=entry.fields - changed - gone))
    if manager is not None and not found:
        result.append(Ownership(manager, changed, now))
    return tuple(entry for entry in result if entry.fields)


def without_nulls(value: Any) -> Any:
    """An applied configuration as its typed decoding leaves it: null is absent."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def merge(schema: MergeSchema, live: Any, config: Any, fields: FieldPath) -> Any:
    """Live object with the configuration laid over it."""
    if isinstance(config, dict) and isinstance(live, dict) and not schema.is_atomic_map(fields):
        merged = {key: clone(value) for key, value in live.items()}
        for key, value in config.items():
            merged[key] = (
                merge(schema, live[key], value, (*fields, key)) if key in live else clone(value)
            )
        return merged
    if isinstance(config, list) and isinstance(live, list):
        if schema.is_set(fields):
            return clone(live) + [item for item in config if item not in live]
        if keys := schema.keys_of(fields):
            return _merge_items(schema, live, config, fields, keys)
    return clone(config)


def _merge_items(
    schema: MergeSchema,
    live: list[Manifest],
    config: list[Manifest],
    fields: FieldPath,
    keys: tuple[str, ...],
) -> list[Manifest]:
    items = {item_key(keys, item): item for item in live}
    for item in config:
        key = item_key(keys, item)
        items[key] = merge(schema, items[key], item, fields) if key in items else item
    return [clone(item) for item in items.values()]


def _prune(kind: Kind, obj: Manifest, gone: Iterable[Path], held: Iterable[Path]) -> None:
    """Remove the fields in ``gone``, each from the highest place beneath which nobody holds anything."""
    prefixes = {path[:length] for path in held for length in range(1, len(path) + 1)}
    # Metadata holds what the server writes itself and nobody owns.
    prefixes.add(("f:metadata",))
    schema = MergeSchema(kind)
    for path in sorted(gone, key=len):
        place = next((path[:n] for n in range(1, len(path) + 1) if path[:n] not in prefixes), None)
        if place is not None:
            _remove(schema, obj, place[:-1] if place[-1] == "." else place)


def _remove(schema: MergeSchema, obj: Manifest, path: Path) -> None:
    holder: Any = obj
    fields: FieldPath = ()
    for element in path[:-1]:
        holder, fields = _step(schema, holder, element, fields)
        if holder is None:
            return
    last = path[-1]
    if last.startswith("f:") and isinstance(holder, dict):
        holder.pop(last[2:], None)
    elif isinstance(holder, list):
        keys = schema.keys_of(fields)
        holder[:] = [
            item
            for item in holder
            if (item_key(keys, item) if keys else f"v:{json.dumps(item)}") != last
        ]


def _step(
    schema: MergeSchema, holder: Any, element: str, fields: FieldPath
) -> tuple[Any, FieldPath]:
    if element.startswith("f:"):
        found = holder.get(element[2:]) if isinstance(holder, dict) else None
        return found, (*fields, element[2:])
    keys = schema.keys_of(fields)
    for item in holder if isinstance(holder, list) else ():
        if item_key(keys, item) == element:
            return item, fields
    return None, fields


def render(owners: Owners) -> list[Manifest]:
    """``metadata.managedFields``."""
    rendered = []
    for entry in owners:
        made = {
            "manager": entry.manager.name,
            "operation": entry.manager.operation,
            "apiVersion": entry.manager.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(entry.fields),
        }
        if entry.manager.subresource:
            made["subresource"] = entry.manager.subresource
        rendered.append(made)
    return rendered


@lru_cache(maxsize=1024)
def _tree(fields: frozenset[Path]) -> Manifest:
    """Paths as FieldsV1; shared between objects, since a stored object is never changed in place."""
    tree: Manifest = {}
    for path in sorted(fields):
        place = tree
        for element in path:
            place = place.setdefault(element, {})
    return tree


def spell(path: Path) -> str:
    """A path as conflict messages spell it: ``.spec.template.spec.containers[name="app"].image``."""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        elif element.startswith("v:"):
            text += f"[={element[2:]}]"
    return text
