"""pydantic's findings in the words of the person who has to correct them.

pydantic says "Input should be a valid integer, unable to parse string as an integer"; a user needs
to know which line, what stands there, and what would be right. Wording is kept apart from loading,
so that neither hides the other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from canaryd.config.problems import SettingProblem, dotted, show
from canaryd.config.settings import CUSTOM, Settings

Keys = tuple[str | int, ...]
_ABSENT = object()

_RULES: Mapping[str, str] = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is not true or false",
    "bool_type": "is not true or false",
    "string_type": "is not text; quote it",
    "string_unicode": "is not UTF-8 text",
    "tuple_type": 'is not a list, such as "[one, two]"',
    "list_type": 'is not a list, such as "[one, two]"',
    "mapping_type": "is not a mapping of names to values",
    "dict_type": "is not a mapping of names to values",
    "string_pattern_mismatch": "is not a name as Kubernetes writes them: a-z, 0-9, dashes and dots",
}

_MISSING_ADVICE: Mapping[Keys, str] = {
    ("scope",): 'choose: scope.mode "cluster" (-A), or "namespaces" with a list (-n NAME)',
    ("scope", "mode"): 'write "cluster" (-A), or "namespaces" with a list (-n NAME)',
}


@dataclass(frozen=True, slots=True)
class Where:
    """The merged settings, and who gave what."""

    values: Mapping[str, Any]
    sources: Mapping[Keys, str]

    def source(self, keys: Keys) -> str:
        """Who gave the value at ``keys``, or the nearest thing around it."""
        while keys and keys not in self.sources:
            keys = keys[:-1]
        return self.sources.get(keys, "")

    def value(self, keys: Keys) -> Any:
        """The value at ``keys``, or a mark that there is none."""
        value: Any = self.values
        for key in keys:
            match value:
                case Mapping() if key in value:
                    value = value[key]
                case list() | tuple() if isinstance(key, int) and key < len(value):
                    value = value[key]
                case _:
                    return _ABSENT
        return value


def describe(error: Mapping[str, Any], where: Where) -> Iterator[SettingProblem]:
    """Put one finding into words; it can be several problems of one mapping."""
    keys: Keys = error["loc"]
    if keys[-1:] == ("[key]",):  # pydantic's mark for a name in a mapping that is itself wrong
        keys = keys[:-1]
    if error["type"] == CUSTOM:
        for rule, below in error["ctx"]["problems"]:
            yield _problem((*keys, *below), rule, where)
    else:
        yield _problem(keys, _rule(error, keys), where)


def _problem(keys: Keys, rule: str, where: Where) -> SettingProblem:
    value = where.value(keys)
    # What is below a key that is wrong itself says nothing about the key.
    is_shown = value is not _ABSENT and not isinstance(value, Mapping | list | tuple)
    shown = show(value) if is_shown and not rule.startswith("is not a known key") else ""
    return SettingProblem(dotted(keys), shown, rule, where.source(keys))


def _rule(error: Mapping[str, Any], keys: Keys) -> str:
    context = error.get("ctx") or {}
    match error["type"]:
        case "extra_forbidden":
            return _unknown(keys)
        case "missing":
            advice = _MISSING_ADVICE.get(keys, "write it")
            return f"is missing; {advice}"
        case "model_type" | "model_attributes_type":
            return f"is not a section; its keys are {', '.join(_fields(_annotation(keys)))}"
        case "literal_error":
            words = [str(word) for word in get_args(_annotation(keys))]
            return f"is not one of {', '.join(words)}" if len(words) > 1 else f"is not {words[0]}"
        case "greater_than_equal":
            return f"is below the minimum of {context['ge']:g}"
        case "less_than_equal":
            return f"is above the maximum of {context['le']:g}"
        case "string_too_long" | "too_long":
            return f"is longer than {context['max_length']} characters"
        case known if known in _RULES:
            return _RULES[known]
        case _:
            return f"is refused: {error['msg']}"


def _unknown(keys: Keys) -> str:
    siblings = list(_fields(_annotation(keys[:-1])))
    meant = get_close_matches(str(keys[-1]), siblings, 1, 0.6)
    if meant:
        return f'is not a known key; did you mean "{meant[0]}"?'
    return f"is not a known key; known here: {', '.join(siblings)}"


def _fields(kind: Any) -> Mapping[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields
    return {}


def _annotation(keys: Keys) -> Any:
    """The type declared at ``keys``; names in a mapping stand for its kind of value."""
    kind: Any = Settings
    for key in keys:
        fields = _fields(kind)
        if str(key) in fields:
            kind = fields[str(key)].annotation
        else:
            arguments = get_args(kind)
            kind = arguments[-1] if arguments else None
    return kind
