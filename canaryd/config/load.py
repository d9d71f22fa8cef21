"""From file, environment and flags to :class:`Settings`, or to everything that is wrong with them.

Weakest first: built-in < file < environment < flags. Sections are merged key by key, lists are
replaced whole. Who gave a value is remembered, so that a complaint points at the line, the variable
or the flag to change.

A variable is called after its key: ``CANARYD_LOG__LEVEL`` is ``log.level``. Kubernetes puts
variables of its own into every Pod for each Service of the namespace, and for a Service called
``canaryd`` they begin with ``CANARYD_`` too (``CANARYD_PORT=tcp://...``). Those are passed over;
any other variable with our prefix that means nothing is a misspelt setting, and refused.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from canaryd.config.problems import ConfigError, SettingProblem, dotted, show
from canaryd.config.settings import Settings
from canaryd.config.wording import Where, describe
from canaryd.config.yaml_source import UnreadableError, read_file, read_text
from canaryd.core.units import quote

__all__ = ["CONFIG_VARIABLE", "ENV_PREFIX", "ConfigError", "load"]

ENV_PREFIX: Final = "CANARYD_"
CONFIG_VARIABLE: Final = f"{ENV_PREFIX}CONFIG"
"""Names the file; read by the command line, never a setting."""

_ADDRESS = r"(?:[0-9.]+|[0-9a-fA-F:]+)"
_SERVICE_LINK = re.compile(
    rf"(?:.*_)?(?:SERVICE_HOST={_ADDRESS}|SERVICE_PORT(?:_[A-Z0-9_]+)?=[0-9]+"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://.+"
    rf"|PORT_[0-9]+_(?:TCP|UDP|SCTP)_(?:PROTO=(?:tcp|udp|sctp)|PORT=[0-9]+|ADDR={_ADDRESS}))"
)
"""Name and value of what Kubernetes tells of a Service; other values are somebody's mistake."""

Keys = tuple[str | int, ...]


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Merge the layers and check the outcome.

    Args:
        path: the file, if there is one.
        environ: the process's environment; variables of others are ignored.
        flags: for each flag, as the user writes it, the part of the settings it stands for.

    Raises:
        ConfigError: anything is wrong with any of them.

    """
    draft = _Draft()
    if path is not None:
        draft.add_file(path)
    draft.add_environment(environ or {})
    for flag, part in (flags or {}).items():
        draft.merge(part, flag)
    return draft.validate()


class _Draft:
    """The merged layers, who gave what, and the problems so far."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[Keys, str] = {}
        self.problems: list[SettingProblem] = []
        self.is_whole = True
        """Every layer could be read; what is missing from half of them may not be missing."""

    def refuse(self, key: str, value: str, rule: str, source: str) -> None:
        self.problems.append(SettingProblem(key, value, rule, source))

    # --- layers ---

    def add_file(self, path: Path) -> None:
        try:
            documents = read_file(path)
        except UnreadableError as error:
            place = f"{error.source}:{error.line}" if error.line else error.source
            self._refuse_file(error.rule, place)
            return
        if len(documents) > 1:
            self._refuse_file(f"holds {len(documents)} documents; write one", str(path))
            return
        for document in documents:
            for double in document.duplicates:
                rule = f"stands here twice, first on line {double.first_line}; remove one"
                self.refuse(dotted(double.path), "", rule, f"{path}:{double.line}")
            if document.value is None:
                continue
            if not isinstance(document.value, dict):
                self._refuse_file('is not a mapping, such as "log: ..."', str(path))
                continue
            lines = {keys: f"{path}:{line}" for keys, line in document.lines.items()}
            self._merge(self.values, _with_text_keys(document.value), (), str(path), lines)

    def _refuse_file(self, rule: str, place: str) -> None:
        self.is_whole = False
        self.refuse("(the file)", "", rule, place)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        for name in sorted(environ):
            if not name.startswith(ENV_PREFIX) or name == CONFIG_VARIABLE:
                continue
            rest, text = name.removeprefix(ENV_PREFIX), environ[name]
            found = _find_key(rest)
            if found is not None:
                self._add_variable(name, *found, text)
            elif not _SERVICE_LINK.fullmatch(f"{rest}={text}"):
                meant = get_close_matches(rest, _variables(), 1, 0.6)
                advice = f"; did you mean {ENV_PREFIX}{meant[0]}?" if meant else ""
                self.refuse(quote(name)[1:-1], "", f"is no setting{advice}", "environment")

    def _add_variable(self, name: str, keys: tuple[str, ...], kind: Any, text: str) -> None:
        try:
            value = _read_variable(kind, text)
        except UnreadableError as error:
            self.is_whole = False
            self.refuse(dotted(keys), "", error.rule, f"environment {name}")
            return
        for key in reversed(keys):
            value = {key: value}
        self.merge(value, f"environment {name}")

    def merge(self, part: Mapping[str, Any], source: str) -> None:
        """Lay a part over what is there."""
        self._merge(self.values, part, (), source, {})

    def _merge(
        self,
        into: dict[str, Any],
        part: Mapping[str, Any],
        at: Keys,
        source: str,
        lines: Mapping[Keys, str],
    ) -> None:
        for key, value in part.items():
            here = (*at, key)
            place = lines.get(here, source)
            weaker, self.sources[here] = self.sources.get(here, ""), place
            if isinstance(value, Mapping):
                below = into.get(key)
                if below is not None and not isinstance(below, Mapping):
                    # Laid over, it would be out of sight of the model.
                    self.refuse(dotted(here), show(below), "is not a section or mapping", weaker)
                into[key] = dict(below) if isinstance(below, Mapping) else {}
                self._merge(into[key], value, here, place, lines)
            else:
                into[key] = value
                for index in range(len(value) if isinstance(value, list | tuple) else 0):
                    self.sources[*here, index] = lines.get((*here, index), place)

    # --- the outcome ---

    def validate(self) -> Settings:
        try:
            settings = Settings.model_validate(self.values)
        except ValidationError as error:
            where = Where(self.values, self.sources)
            found = [e for e in error.errors() if self.is_whole or e["type"] != "missing"]
            problems = (p for item in found for p in describe(item, where))
            raise ConfigError([*self.problems, *problems]) from None
        if self.problems:
            raise ConfigError(self.problems)
        return settings


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in value]
    return value


# --- the environment ---


def _find_key(rest: str) -> tuple[tuple[str, ...], Any] | None:
    """Return the path a variable's name stands for and the kind of value there."""
    kind: Any = Settings
    keys: list[str] = []
    for part in rest.split("__"):
        name = part.lower()
        if part != part.upper():
            return None
        if _is_model(kind) and name in kind.model_fields:
            kind = kind.model_fields[name].annotation
        elif (model := _model_in_mapping(kind)) is not None and name:
            # Names of sources are labels: no underscore, no capital.
            name, kind = name.replace("_", "-"), model
        else:
            return None
        keys.append(name)
    return tuple(keys), kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _model_in_mapping(kind: Any) -> Any:
    inner = get_args(kind)[1] if _is_mapping(kind) else None
    return inner if _is_model(inner) else None


def _variables(model: Any = Settings, prefix: str = "") -> Iterator[str]:
    """Every variable there is, without the prefix; names of sources cannot be known."""
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if _is_model(field.annotation):
            yield from _variables(field.annotation, f"{variable}__")
        else:
            yield variable


def _read_variable(kind: Any, text: str) -> Any:
    """Read a variable: sections and mappings as YAML, lists as YAML or with commas, else as it is.

    Raises:
        UnreadableError: it is not YAML where YAML is needed.

    """
    if _is_model(kind) or _is_mapping(kind):
        return _read_yaml(text)
    if get_origin(kind) is tuple:
        if text.lstrip().startswith("["):
            return _read_yaml(text)
        return [item for part in text.split(",") if (item := part.strip())]
    # Numbers and booleans are made of text by the model; blanks around them are slips.
    return text.strip()


def _read_yaml(text: str) -> Any:
    documents = read_text(text, "the variable")
    if any(document.duplicates for document in documents):
        raise UnreadableError("the variable", "has a key twice")
    return _with_text_keys(documents[0].value) if len(documents) == 1 else None
