"""Rules of an HTTPRoute with a canary in them: put in, read back, taken out again.

The user's own HTTPRoute carries the split. ``rules`` and ``backendRefs`` are atomic lists, which
server-side apply can only own whole, so a write is: take what is there, take our parts out
(:func:`undress`), put them in as they should be (:func:`dress`). Whatever else stands in the route
is kept as it is, also what its owner changed in the middle of a run; a route that was applied again
from Git has lost our parts and gets them back by the same write.

Found by name, never by index. In a rule that leads to the apex, a run adds::

    weight 20        apex 80, canary 20           (of a backend that had weight 1; w: w times that)
    a condition      a rule after all others: the matches of the rule AND the condition
    mirror 10        a RequestMirror filter

Between runs there is nothing of ours in a route: a backend without endpoints is answered with 503
for its share in one implementation and refused in another, at weight 0 too.

What is ours is known without names of rules, which older CRDs drop silently, and without guessing:
beside the apex, or beside anybody else, a backend or mirror of the canary's Service is ours; a rule
is when it leads to nobody but the two and all its matches end in a condition of the plan, or of the
record that a run leaves on the route. A rule of the user's that leads to the canary's Service
alone, a preview say, is none of our business. What a weight was before follows from the sum of
both, which is 100 times as much.
"""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canaryd.core import names
from canaryd.core.promql import quote_regex
from canaryd.core.routing import Match, MatchKind, Routing
from canaryd.core.views import JsonDict, ObjectView

MAX_WEIGHT = 1_000_000
"""Largest weight of a backend (``HTTPRouteRule`` of Gateway API v1)."""
SHARE = 100
"""What a backend's own weight is multiplied by while it is split."""
ALWAYS, NEVER = "always", "never"
_EVERYTHING: Sequence[JsonDict] = ({"path": {"type": "PathPrefix", "value": "/"}},)
"""What a rule without matches matches, as the API server writes it out."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is an app's in the routes of its namespace: its two Services, and the conditions by
    which requests may ask for the canary.
    """

    namespace: str
    apex: str
    matches: tuple[Match, ...] = ()

    @property
    def canary(self) -> str:
        return names.canary_name(self.apex)

    def is_apex(self, reference: Mapping[str, Any]) -> bool:
        return self._is(reference, self.apex)

    def is_canary(self, reference: Mapping[str, Any]) -> bool:
        return self._is(reference, self.canary)

    def is_mirror(self, filter_: Mapping[str, Any]) -> bool:
        mirror = filter_.get("requestMirror") or {}
        return filter_.get("type") == "RequestMirror" and self.is_canary(
            mirror.get("backendRef") or {}
        )

    def asked_by(self, rule: Mapping[str, Any]) -> tuple[Match, ...] | None:
        """The conditions that a rule of ours stands for; none for one that asks for the primary.
        None when it is not ours as a whole.
        """
        references = references_of(rule)
        has_canary = any(self.is_canary(r) for r in references)
        if not has_canary or not all(self.is_canary(r) or self.is_apex(r) for r in references):
            return None
        ends = [(match.get("headers") or [None])[-1] for match in matches_of(rule)]
        is_alone = len(references) == 1
        wanted = [(m, condition(m) if is_alone else refusal(m)) for m in self.matches]
        found = [
            next((m for m, header in wanted if header and header == end), None) for end in ends
        ]
        known = tuple(dict.fromkeys(m for m in found if m is not None))
        if len(known) < len(set(found)):
            return None
        return known if is_alone else ()

    def _is(self, reference: Mapping[str, Any], name: str) -> bool:
        return (
            reference.get("name") == name
            and reference.get("kind", "Service") == "Service"
            and reference.get("group", "") in ("", "core")
            and reference.get("namespace") in (None, "", self.namespace)
        )


def rules_of(route: ObjectView) -> list[JsonDict]:
    """The rules of a route as they are."""
    return list(route.spec.get("rules") or ())


def references_of(rule: Mapping[str, Any]) -> list[JsonDict]:
    """The parts of a rule."""
    return list(rule.get("backendRefs") or ())


def matches_of(rule: Mapping[str, Any]) -> list[JsonDict]:
    """What a rule matches, written out."""
    return list(rule.get("matches") or _EVERYTHING)


def is_ours(rule: Mapping[str, Any], parts: Parts) -> bool:
    """Whether a run added the rule as a whole."""
    return parts.asked_by(rule) is not None


def leads_to(rule: Mapping[str, Any], parts: Parts) -> bool:
    """Whether a rule of the user's sends requests to the apex: one with weight 0 does not, unless
    it is a run that has put it there.
    """
    references = references_of(rule)
    apexes = [r for r in references if parts.is_apex(r)]
    is_split = any(parts.is_canary(r) for r in references)
    weighs = is_split or any(weight_of(r) > 0 for r in apexes)
    return bool(apexes) and weighs and not is_ours(rule, parts)


def weight_of(reference: Mapping[str, Any]) -> int:
    """Weight of a backend; 1 when none is given."""
    weight = reference.get("weight")
    return 1 if weight is None else int(weight)


# --- taking out -----------------------------------------------------------------------------------


def undress(rules: Iterable[JsonDict], parts: Parts) -> list[JsonDict]:
    """The rules without any part of ours, weights as they were; never fewer than one."""
    listed = list(rules)
    kept = [_undressed(rule, parts) for rule in listed if not is_ours(rule, parts)]
    if kept or not listed:
        return kept
    # Somebody removed every rule but ours: what is left of the route goes to the apex.
    left = copy.deepcopy(listed[0])
    left["backendRefs"] = [_reference(references_of(left)[0], parts.apex, 1)]
    return [left]


def _undressed(rule: JsonDict, parts: Parts) -> JsonDict:
    plain: JsonDict = {}
    for key, value in rule.items():
        if key == "backendRefs":
            plain[key] = _unsplit(value or [], parts)
        elif key == "filters":
            kept = [f for f in value or () if not parts.is_mirror(f)]
            if kept or not value:
                plain[key] = kept
        else:
            plain[key] = value
    return plain


def _unsplit(references: list[JsonDict], parts: Parts) -> list[JsonDict]:
    kept = [r for r in references if not parts.is_canary(r)]
    if not kept or len(kept) == len(references):
        return references
    added = sum(weight_of(r) for r in references if parts.is_canary(r))
    return [
        {**r, "weight": _weight_before(weight_of(r), added)} if parts.is_apex(r) else r
        for r in kept
    ]


def _weight_before(apex: int, canary: int) -> int:
    """Weight that the apex had: a hundredth of both. Of weights that somebody changed by hand the
    apex's own, if the canary had none; else 1, which of a single backend is as good as any other.
    """
    whole, rest = divmod(apex + canary, SHARE)
    if whole and not rest:
        return whole
    return apex if apex and not canary else 1


# --- putting in -----------------------------------------------------------------------------------


def dress(rules: Iterable[JsonDict], parts: Parts, routing: Routing) -> list[JsonDict]:
    """The rules, of which none has a part of ours, with what a run wants in each that leads to the
    apex.
    """
    made: list[JsonDict] = []
    added: list[JsonDict] = []
    for rule in rules:
        if not leads_to(rule, parts):
            made.append(rule)
            continue
        made.append(_mirrored(_split(rule, parts, routing.weight), parts, routing.mirror))
        added += _conditional_rules(rule, parts, routing)
    # Behind all others: more header conditions win wherever a rule stands, and among equals the
    # first does, which must not be ours where it is somebody else's now.
    return [*made, *added]


def follow(rules: Iterable[JsonDict], parts: Parts, routing: Routing) -> list[JsonDict]:
    """What a route with these rules is to say."""
    return dress(undress(rules, parts), parts, routing)


def _split(rule: JsonDict, parts: Parts, weight: int) -> JsonDict:
    if weight == 0:
        return rule
    references = references_of(rule)
    apex = next(r for r in references if parts.is_apex(r))
    before = weight_of(apex)
    split = [
        {**r, "weight": before * (SHARE - weight)} if parts.is_apex(r) else r for r in references
    ]
    return {**rule, "backendRefs": [*split, _reference(apex, parts.canary, before * weight)]}


def _mirrored(rule: JsonDict, parts: Parts, percent: int) -> JsonDict:
    if percent == 0:
        return rule
    apex = next(r for r in references_of(rule) if parts.is_apex(r))
    backend = {"group": "", "kind": "Service", "name": parts.canary, "port": apex.get("port")}
    mirror: JsonDict = {"backendRef": {k: v for k, v in backend.items() if v is not None}}
    if percent < SHARE:  # without it everything is mirrored, and CRDs before 1.3 have no percent
        mirror["percent"] = percent
    added = {"type": "RequestMirror", "requestMirror": mirror}
    return {**rule, "filters": [*(rule.get("filters") or ()), added]}


def _reference(apex: Mapping[str, Any], service: str, weight: int) -> JsonDict:
    """The same backend, port and filters included, on another Service."""
    return {**copy.deepcopy(dict(apex)), "name": service, "weight": weight}


# --- conditions -----------------------------------------------------------------------------------


def _conditional_rules(rule: JsonDict, parts: Parts, routing: Routing) -> list[JsonDict]:
    """Rules for those who ask for the canary, and for those who ask for the primary.

    A header decides before a cookie, and "never" before "always".
    """
    apex = next(r for r in references_of(rule) if parts.is_apex(r))
    to_canary = [_reference(apex, parts.canary, 1)]
    # The canary at weight 0 makes the rule one that no user writes.
    to_primary = [_reference(apex, parts.apex, 1), _reference(apex, parts.canary, 0)]
    has_rivals = routing.weight > 0 or len(routing.matches) > 1
    made: list[JsonDict] = []
    for kind in MatchKind:
        of_kind = [match for match in routing.matches if match.kind is kind]
        refusals = [refused for match in of_kind if (refused := refusal(match)) and has_rivals]
        made += _rules_for(rule, refusals, to_primary)
        made += _rules_for(rule, [condition(match) for match in of_kind], to_canary)
    return made


def _rules_for(
    rule: JsonDict, conditions: Sequence[JsonDict], references: list[JsonDict]
) -> list[JsonDict]:
    """A copy of a rule for requests that meet one of these conditions as well."""
    matches = [_both(match, c) for c in conditions for match in matches_of(rule)]
    if not matches:
        return []
    # Names are unique in a route, and that of the rule stays with it.
    kept = {k: v for k, v in rule.items() if k not in ("name", "matches", "backendRefs")}
    groups = [[match] for match in matches] if needs_one_match(rule) else [matches]
    return [
        {**copy.deepcopy(kept), "matches": group, "backendRefs": copy.deepcopy(references)}
        for group in groups
    ]


def needs_one_match(rule: Mapping[str, Any]) -> bool:
    """Whether the rule replaces a prefix, which the API allows beside exactly one match."""
    filters = [*(rule.get("filters") or ())]
    for reference in references_of(rule):
        filters += reference.get("filters") or ()
    return any(
        ((f.get("urlRewrite") or {}).get("path") or {}).get("type") == "ReplacePrefixMatch"
        for f in filters
    )


def _both(match: JsonDict, header: JsonDict) -> JsonDict:
    return {**copy.deepcopy(match), "headers": [*(match.get("headers") or ()), header]}


def condition(match: Match) -> JsonDict:
    """A condition as a header match.

    Some data planes want the whole value matched by a pattern and some any part of it: patterns are
    anchored at both ends (``core.re2``), and so are ours, which means the same to both.
    """
    if match.kind is MatchKind.COOKIE:
        return _cookie(match.name, ALWAYS)
    if match.pattern:
        return _header("RegularExpression", match.name, match.pattern)
    return _header("Exact", match.name, match.value or ALWAYS)


def refusal(match: Match) -> JsonDict | None:
    """Of a switch, how a request asks for the primary."""
    if match.value or match.pattern:
        return None
    if match.kind is MatchKind.COOKIE:
        return _cookie(match.name, NEVER)
    return _header("Exact", match.name, NEVER)


def _header(kind: str, name: str, value: str) -> JsonDict:
    return {"type": kind, "name": name, "value": value}


def _cookie(name: str, value: str) -> JsonDict:
    pattern = rf"^(?:.*;\s*)?{quote_regex(name)}={value}\s*(?:;.*)?$"
    return _header("RegularExpression", "Cookie", pattern)


# --- reading --------------------------------------------------------------------------------------


def routing_of(rules: Iterable[JsonDict], parts: Parts) -> Routing:
    """What rules say; of several rules whatever brings most to the canary."""
    weight = mirror = 0
    asked: set[Match] = set()
    for rule in rules:
        conditions = parts.asked_by(rule)
        if conditions is not None:
            asked.update(conditions)
            continue
        weight = max(weight, _share(references_of(rule), parts))
        mirror = max([mirror, *(_percent(f, parts) for f in rule.get("filters") or ())])
    return Routing(weight, tuple(m for m in parts.matches if m in asked), mirror)


def _share(references: list[JsonDict], parts: Parts) -> int:
    """Percent of a rule that goes to the canary, rounded up: somebody does as soon as it is not 0.
    A rule that leads nowhere else is the user's own way to it.
    """
    ours = [weight_of(r) for r in references if parts.is_canary(r)]
    total = sum(weight_of(r) for r in references)
    if len(ours) == len(references) or not total:
        return 0
    return -(-sum(ours) * SHARE // total)


def _percent(filter_: Mapping[str, Any], parts: Parts) -> int:
    if not parts.is_mirror(filter_):
        return 0
    mirror = filter_["requestMirror"]
    if fraction := mirror.get("fraction"):
        whole = int(fraction.get("denominator") or SHARE)
        return -(-int(fraction.get("numerator") or 0) * SHARE // whole) if whole else SHARE
    return int(mirror.get("percent", SHARE))


_REFUSED = ("Accepted", "ResolvedRefs")


def refusal_of(route: ObjectView) -> str:
    """Why its readers do not serve a route as it is now, in words; empty when they do or have not
    said. Of several parents, one that accepts it is enough.
    """
    words: dict[str, list[str]] = {kind: [] for kind in _REFUSED}
    parents = list(route.status.get("parents") or ())
    for parent in parents:
        reference = parent.get("parentRef") or {}
        for said in parent.get("conditions") or ():
            is_old = said.get("observedGeneration", route.generation) < route.generation
            if said.get("type") in words and said.get("status") == "False" and not is_old:
                who = f"{reference.get('kind', 'Gateway')} {reference.get('name', '')}"
                why = f"{said['type']} is False ({said.get('reason', '')})"
                words[said["type"]].append(f"{who}: {why} {said.get('message', '')}".strip())
    found = list(words["ResolvedRefs"])
    if len(words["Accepted"]) == len(parents):
        found += words["Accepted"]
    return f"HTTPRoute {route.id.name} is not served: {'; '.join(found)}" if found else ""


# --- the record -----------------------------------------------------------------------------------


def mark_key(target: str) -> str:
    """Annotation that holds the record of a target's run on a route."""
    return f"{names.ROUTE}.{target}"


def mark_of(parts: Parts) -> str:
    """The record: what has to be known to find our parts without the plan."""
    matches = [[str(m.kind), m.name, m.value, m.pattern] for m in parts.matches]
    return json.dumps({"service": parts.apex, "matches": matches}, separators=(",", ":"))


def recorded(route: ObjectView, target: str) -> Parts | None:
    """What a run of this target has put into a route; None without a readable record."""
    try:
        record = json.loads(route.annotations.get(mark_key(target), ""))
        matches = tuple(
            Match(MatchKind(kind), str(name), str(value), str(pattern))
            for kind, name, value, pattern in record["matches"]
        )
        return Parts(route.id.namespace, str(record["service"]), matches)
    except (ValueError, TypeError, KeyError):
        return None


def with_recorded(parts: Parts, route: ObjectView, target: str) -> Parts:
    """The parts of a plan, and those of an earlier one that the record names."""
    before = recorded(route, target)
    if before is None or before.apex != parts.apex:
        return parts
    return replace(parts, matches=tuple(dict.fromkeys((*parts.matches, *before.matches))))


def patch(route: ObjectView, target: str, parts: Parts, routing: Routing) -> JsonDict:
    """The merge patch that makes a route say this and nothing else of ours; empty when it does.

    The record stands beside the rules in one write: there is none of the two without the other.
    """
    rules = rules_of(route)
    change: JsonDict = {}
    wanted = follow(rules, with_recorded(parts, route, target), routing)
    if _written(wanted, parts) != _written(rules, parts):
        change["spec"] = {"rules": wanted}
    mark = None if routing.is_retreat else mark_of(replace(parts, matches=routing.matches))
    if route.annotations.get(mark_key(target)) != mark:
        change["metadata"] = {"annotations": {mark_key(target): mark}}
    return change


def _written(rules: Iterable[JsonDict], parts: Parts) -> list[JsonDict]:
    """Rules without what a later API server may add by default to conditions and mirrors, which we
    make of nothing; the rest of ours is made of what is there.
    """
    return [
        {
            **rule,
            "matches": [_without_added_to_headers(match) for match in matches_of(rule)],
            "filters": [
                _without_added_to_mirror(f) if parts.is_mirror(f) else f
                for f in rule.get("filters") or ()
            ],
        }
        for rule in rules
    ]


def _without_added_to_headers(match: JsonDict) -> JsonDict:
    headers = match.get("headers") or ()
    return {**match, "headers": [(h.get("type"), h.get("name"), h.get("value")) for h in headers]}


def _without_added_to_mirror(filter_: JsonDict) -> JsonDict:
    mirror = filter_["requestMirror"]
    backend = mirror.get("backendRef") or {}
    return {"to": (backend.get("port"), mirror.get("percent"), mirror.get("fraction"))}
