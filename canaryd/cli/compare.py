"""What is different between two revisions: pod template field by field, configs key by key.

Pure. Of Secrets only the names of keys get out of here, never a value nor its length. Items of
lists that have names are compared by name, so that a container that was put first does not make
every other one look changed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

OF_SECRETS: Final = "secret/"
TEMPLATE: Final = "template"


@dataclass(frozen=True, slots=True)
class Config:
    """A ConfigMap or Secret of a revision; ``data`` is None when it may not be read.

    ``identity`` is equal for equal contents, empty when nothing tells.
    """

    identity: str
    data: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Revision:
    """One side of a comparison; ``configs`` by ``kind/name``."""

    name: str
    template: Mapping[str, Any]
    configs: Mapping[str, Config] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different.

    ``before`` and ``after`` are None where there is nothing; of a Secret both are always None, and
    ``word`` says all that is told.
    """

    where: str
    path: str
    before: str | None
    after: str | None
    word: str = ""


def changes(before: Revision, after: Revision) -> tuple[Change, ...]:
    """Everything that is different, the template first."""
    return (*_template(before, after), *_configs(before, after))


def _template(before: Revision, after: Revision) -> Iterator[Change]:
    old, new = dict(_leaves(before.template)), dict(_leaves(after.template))
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield Change(TEMPLATE, path, old.get(path), new.get(path))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            shown = f"[{key}]" if "/" in key or "." in key else f".{key}" if path else key
            yield from _leaves(below, f"{path}{shown}")
    elif isinstance(value, list) and value:
        for key, below in zip(_item_names(value), value, strict=True):
            yield from _leaves(below, f"{path}[{key}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _item_names(items: list[Any]) -> list[str]:
    names = [str(i.get("name", "")) if isinstance(i, Mapping) else "" for i in items]
    is_named = all(names) and len(set(names)) == len(names)
    return names if is_named else [str(number) for number in range(len(items))]


def _configs(before: Revision, after: Revision) -> Iterator[Change]:
    for key in sorted(before.configs.keys() | after.configs.keys()):
        old, new = before.configs.get(key), after.configs.get(key)
        if old is None or new is None:
            yield Change(key, "", None, None, "is used now" if old is None else "is used no more")
        elif old.data is None or new.data is None:
            if old.identity != new.identity or not old.identity:
                yield Change(key, "", None, None, "differs, and may not be read")
        else:
            yield from _keys(key, old.data, new.data)


def _keys(config: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        if config.startswith(OF_SECRETS):
            word = "differs" if key in old and key in new else "is new" if key in new else "is gone"
            yield Change(config, key, None, None, word)
        else:
            yield Change(config, key, old.get(key), new.get(key))
