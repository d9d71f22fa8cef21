"""HTTPRoutes as the CRD of Gateway API 1.5 (standard channel) has them: defaults, and what it refuses.

Facts held from ``config/crd/standard/gateway.networking.k8s.io_httproutes.yaml``. A CRD drops fields it does not know
without a word: ``before_1_3`` is one that knows no ``percent`` of a mirror.
"""

from collections.abc import Iterator
from typing import Any

from canaryd.core.kinds import HTTP_ROUTE, Kind
from tests.fakes.apiserver.errors import Cause

Manifest = dict[str, Any]

MAX_RULES, MAX_MATCHES, MAX_ALL_MATCHES, MAX_HEADERS, MAX_REFERENCES, MAX_FILTERS = (
    16,
    64,
    128,
    16,
    16,
    16,
)
MAX_WEIGHT = 1_000_000
EVERYTHING = {"type": "PathPrefix", "value": "/"}


def fill(obj: Manifest) -> None:
    """Complete a route in place."""
    spec = obj.setdefault("spec", {})
    for parent in spec.get("parentRefs") or ():
        parent.setdefault("group", "gateway.networking.k8s.io")
        parent.setdefault("kind", "Gateway")
    spec.setdefault("rules", [{}])
    for rule in spec["rules"]:
        for match in rule.setdefault("matches", [{}]):
            match.setdefault("path", dict(EVERYTHING)).setdefault("type", "PathPrefix")
            for part in ("headers", "queryParams"):
                for item in match.get(part) or ():
                    item.setdefault("type", "Exact")
        for reference in rule.get("backendRefs") or ():
            _fill_reference(reference)
            reference.setdefault("weight", 1)
        for item in rule.get("filters") or ():
            if "requestMirror" in item:
                _fill_reference(item["requestMirror"].get("backendRef") or {})


def _fill_reference(reference: Manifest) -> None:
    reference.setdefault("group", "")
    reference.setdefault("kind", "Service")


def rules(obj: Manifest, _old: Manifest | None) -> Iterator[Cause]:
    """What the CRD refuses."""
    listed = obj["spec"].get("rules") or []
    if not 1 <= len(listed) <= MAX_RULES:
        yield _count("spec.rules", len(listed), MAX_RULES)
    if sum(len(rule.get("matches") or ()) for rule in listed) > MAX_ALL_MATCHES:
        yield Cause(
            "spec.rules",
            "Invalid value: the total number of matches across all rules must be less than 128",
        )
    for index, rule in enumerate(listed):
        yield from _rule(rule, f"spec.rules[{index}]")


def _rule(rule: Manifest, where: str) -> Iterator[Cause]:
    matches, filters = rule.get("matches") or [], rule.get("filters") or []
    if len(matches) > MAX_MATCHES:
        yield _count(f"{where}.matches", len(matches), MAX_MATCHES)
    for match in matches:
        headers = [header["name"] for header in match.get("headers") or ()]
        if len(headers) > MAX_HEADERS:
            yield _count(f"{where}.matches.headers", len(headers), MAX_HEADERS)
        if len(set(headers)) < len(headers):
            yield Cause(f"{where}.matches.headers", "Duplicate value", "FieldValueDuplicate")
    if len(filters) > MAX_FILTERS:
        yield _count(f"{where}.filters", len(filters), MAX_FILTERS)
    for item in filters:
        if {"percent", "fraction"} <= (item.get("requestMirror") or {}).keys():
            yield Cause(
                f"{where}.filters",
                "Invalid value: Only one of percent or fraction may be specified",
            )
        replaces = ((item.get("urlRewrite") or {}).get("path") or {}).get(
            "type"
        ) == "ReplacePrefixMatch"
        if replaces and len(matches) != 1:
            yield Cause(f"{where}", "Invalid value: exactly one PathPrefix match must be specified")
    references = rule.get("backendRefs") or []
    if len(references) > MAX_REFERENCES:
        yield _count(f"{where}.backendRefs", len(references), MAX_REFERENCES)
    for number, reference in enumerate(references):
        place = f"{where}.backendRefs[{number}]"
        if not 0 <= reference["weight"] <= MAX_WEIGHT:
            yield Cause(
                f"{place}.weight", f"Invalid value: {reference['weight']}: 0 to {MAX_WEIGHT}"
            )
        if reference["kind"] == "Service" and "port" not in reference:
            yield Cause(place, "Invalid value: Must have port for Service reference")


def _count(field: str, found: int, most: int) -> Cause:
    return Cause(field, f"Too many: {found}: must have at most {most} items", "FieldValueTooMany")


def before_1_3(kind: Kind, _old: Manifest, new: Manifest, _how: object) -> None:
    """An admission hook that drops what older CRDs do not know."""
    if kind == HTTP_ROUTE:
        for rule in new["spec"].get("rules") or ():
            for item in rule.get("filters") or ():
                (item.get("requestMirror") or {}).pop("percent", None)
