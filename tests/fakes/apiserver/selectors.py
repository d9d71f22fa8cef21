"""Label and field selectors in the query-string spelling.

Written apart from the daemon's own matching on purpose: a fake that shared it could not show it wrong.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from canaryd.core.kinds import EVENT, Kind
from tests.fakes.apiserver.errors import bad_request

Matcher = Callable[[Mapping[str, Any]], bool]

_REQUIREMENT = re.compile(
    r"""\s*(?:
        (?P<absent>!\s*(?P<absent_key>[\w./-]+))
      | (?P<set_key>[\w./-]+)\s+(?P<set_op>in|notin)\s*\((?P<values>[^)]*)\)
      | (?P<key>[\w./-]+)\s*(?P<op>==|!=|=)\s*(?P<value>[\w.-]*)
      | (?P<exists>[\w./-]+)
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def parse_label_selector(text: str) -> Matcher:
    """A predicate on labels: ``=``, ``==``, ``!=``, ``in``, ``notin``, ``key``, ``!key``."""
    requirements: list[Matcher] = []
    position = 0
    while position < len(text):
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise bad_request(
                f"unable to parse requirement: found '{text[position:]}', expected: ',' or 'end of string'"
            )
        requirements.append(_requirement(found))
        position = found.end()
    return lambda labels: all(matches(labels) for matches in requirements)


def _requirement(found: re.Match[str]) -> Matcher:
    if found["absent"]:
        absent = found["absent_key"]
        return lambda labels: absent not in labels
    if found["set_key"]:
        key, values = found["set_key"], {v.strip() for v in found["values"].split(",")}
        if found["set_op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found["key"]:
        name, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(name) != value
        return lambda labels: labels.get(name) == value
    exists = found["exists"]
    return lambda labels: exists in labels


_FIELDS = frozenset({"metadata.name", "metadata.namespace"})
_MORE_FIELDS: Mapping[Kind, frozenset[str]] = {
    EVENT: frozenset({"regarding.kind", "regarding.name", "regarding.uid", "reason", "type"})
}


def parse_field_selector(text: str, kind: Kind | None = None) -> Matcher:
    """A predicate on objects; every kind supports ``metadata.name`` and ``metadata.namespace``."""
    supported = _FIELDS | _MORE_FIELDS.get(kind, frozenset())
    requirements: list[tuple[str, bool, str]] = []
    for part in filter(None, text.split(",")):
        field, operator, value = _split_field(part)
        if field not in supported:
            raise bad_request(
                f'Unable to find field selector "{part}": field label not supported: {field}'
            )
        requirements.append((field, operator == "!=", value))

    def matches(obj: Mapping[str, Any]) -> bool:
        return all((_at(obj, path) == value) != negated for path, negated, value in requirements)

    return matches


def _at(obj: Mapping[str, Any], path: str) -> str:
    head, dot, rest = path.partition(".")
    below = obj.get(head, "")
    return _at(below or {}, rest) if dot else str(below)


def _split_field(part: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        field, found, value = part.partition(operator)
        if found:
            return field.strip(), operator, value.strip()
    raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")


def object_selector_matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A LabelSelector object of a workload; None selects nothing, the empty one everything."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], expression.get("values") or ()
        match expression["operator"]:
            case "In":
                matched = labels.get(key) in values
            case "NotIn":
                matched = labels.get(key) not in values
            case "Exists":
                matched = key in labels
            case _:
                matched = key not in labels
        if not matched:
            return False
    return True
