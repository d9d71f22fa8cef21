"""The front door of the configuration: pick our keys, merge the layers, resolve them to a plan.

Weakest first: built-in < controller < namespace < deployment. The last layer that has a key wins;
an empty value takes the inherited one away. ``enabled`` is never inherited: who is enrolled is
decided on the Deployment alone.

Nothing is ignored quietly and nothing is raised: what is wrong comes back as problems, all at once,
and without a spec, so that whoever forgets to look at the problems cannot act on half a plan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from canaryd.core import rule as types
from canaryd.core.draft import Resolved
from canaryd.core.lookup import Known, Misnamed, Planned, Unknown, look_up, suggest
from canaryd.core.model import CanarySpec
from canaryd.core.names import INTERNAL, PREFIX
from canaryd.core.plan import make_plan
from canaryd.core.problems import (
    BUILT_IN,
    CONTROLLER,
    DEFAULTS_PREFIX,
    DEPLOYMENT,
    NAMESPACE,
    Problem,
    ProblemReason,
    problem_of,
)
from canaryd.core.units import BLANKS, UnitError, parse_bool, quote
from canaryd.core.vocabulary import BY_KEY, CONFIG_KEYS

ENABLED = "enabled"
MAX_BYTES = 16 * 1024
"""Limit of our annotations on one object; the API server allows 256 KiB for all of everybody's."""
MAX_SUGGESTIONS = 10
"""Unknown keys that get a "did you mean": the search is the one costly thing about a key."""

_RESERVED = {
    "status.canaryd.io/": "is written by canaryd only; remove it",
    "action.canaryd.io/": "is a request, and belongs on the Canary object of this Deployment",
    DEFAULTS_PREFIX: "is a default, and belongs on the Namespace; here write canaryd.io/ keys",
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the layers come to.

    ``enabled`` is the wish of the Deployment. When it cannot be read it counts as True: with no
    spec nothing new is enrolled, and nothing enrolled is let go because of a slip of the pen.
    ``spec`` is None when there are problems. ``values`` has every key, defaults included.
    """

    enabled: bool
    spec: CanarySpec | None
    values: Mapping[str, Resolved]
    problems: tuple[Problem, ...]


def own_annotations(annotations: Mapping[str, str]) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Pick a Deployment's keys that are ours, without prefix, and what is wrong with them.

    When there is too much of them only ``enabled`` comes back: too large must not mean left.
    """
    own = {k.removeprefix(PREFIX): v for k, v in annotations.items() if k.startswith(PREFIX)}
    problems = [*_check_domains(annotations), *_check_size(own, DEPLOYMENT)]
    if any(problem.reason is ProblemReason.TOO_LARGE for problem in problems):
        own = {ENABLED: own[ENABLED]} if ENABLED in own else {}
    return own, tuple(problems)


def namespace_defaults(
    annotations: Mapping[str, str],
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Pick the defaults of a Namespace, without their prefix, and what is wrong with them."""
    own = {
        k.removeprefix(DEFAULTS_PREFIX): v
        for k, v in annotations.items()
        if k.startswith(DEFAULTS_PREFIX)
    }
    rule = f"does nothing on a Namespace; defaults are written {DEFAULTS_PREFIX}KEY"
    misplaced = [
        Problem(key, "", rule, "", ProblemReason.MISPLACED, NAMESPACE)
        for key in annotations
        if key.startswith(PREFIX)
    ]
    too_large = _check_size(own, NAMESPACE)
    return {} if too_large else own, (*misplaced, *too_large)


def template_problems(annotations: Mapping[str, str]) -> tuple[Problem, ...]:
    """Refuse our keys on a pod template, where they would do nothing but start a rollout."""
    rule = "stands on the pod template; move it to metadata.annotations of the Deployment"
    return tuple(
        Problem(key.removeprefix(PREFIX), "", rule, "", ProblemReason.MISPLACED)
        for key in annotations
        if (domain := _domain(key)) == PREFIX or (_is_beneath(domain) and domain != INTERNAL)
    )


def resolve_deployment(
    *,
    controller: Mapping[str, str],
    namespace: Mapping[str, str],
    deployment: Mapping[str, str],
    template: Mapping[str, str],
) -> Resolution:
    """Resolve a Deployment from what the objects carry: nothing that is wrong can be left out.

    Args:
        controller: defaults of the installation, keys without prefix.
        namespace: annotations of the Namespace, all of them.
        deployment: annotations of the Deployment, all of them.
        template: annotations of its pod template, all of them.

    """
    defaults, namespace_problems = namespace_defaults(namespace)
    own, own_problems = own_annotations(deployment)
    return resolve(
        ((CONTROLLER, controller), (NAMESPACE, defaults), (DEPLOYMENT, own)),
        problems=(*namespace_problems, *own_problems, *template_problems(template)),
    )


def resolve(
    layers: Sequence[tuple[str, Mapping[str, str]]], *, problems: Iterable[Problem] = ()
) -> Resolution:
    """Merge layers of texts, weakest first, and read the outcome.

    Args:
        layers: name of each layer and its keys without prefix. The built-in defaults are implied.
        problems: what was found wrong before; no spec comes out if there are any.

    """
    found = list(problems)
    merged: dict[str, Resolved] = {}
    enabled = Resolved("", DEPLOYMENT)
    for origin, layer in layers:
        known = _accept(origin, layer, found)
        if origin == DEPLOYMENT and ENABLED in known:
            enabled = Resolved(known.pop(ENABLED), origin)
        merged = _overlay(merged, origin, known)
    plan = make_plan(merged)
    is_enabled = _read_enabled(enabled, found)
    found += plan.problems
    shown = enabled if enabled.value else plan.values[ENABLED]
    return Resolution(
        is_enabled,
        None if found else plan.spec,
        {**plan.values, ENABLED: shown},
        tuple(found),
    )


def plan_values(values: Mapping[str, Resolved]) -> dict[str, str]:
    """Return what has to be kept so that the same plan can be resolved again, as one layer."""
    # The list of weights is shown also when it was made of the pair; both together would conflict.
    derived = {ENABLED, "weights"} if values["step-weight"].value else {ENABLED}
    return {
        key: resolved.value
        for key, resolved in values.items()
        if resolved.origin != BUILT_IN and resolved.value and key not in derived
    }


def describe_non_string(key: str, value: object) -> Problem | None:
    """Say how to quote a value that YAML does not read as text; None when it is text."""
    if isinstance(value, str):
        return None
    match value:
        case bool():
            rule, text = "is a boolean, and annotations are text: quote it", str(value).lower()
        case int() | float():
            rule, text = "is a number, and annotations are text: quote it", str(value)
        case None:
            rule, text = "has no value; quote an empty one to unset what is inherited", ""
        case dict() | list():
            rule, text = "is a structure, and annotations are text: quote it", "..."
        case _:
            rule, text = "is not text: quote it", str(value)
    name = key.removeprefix(PREFIX)
    return Problem(name, text, rule, quote(text), ProblemReason.INVALID_VALUE)


# --- picking ---


def _check_domains(annotations: Mapping[str, str]) -> list[Problem]:
    """Refuse keys under subdomains of ours that do not belong on a Deployment."""
    problems = []
    for key in annotations:
        domain = _domain(key)
        if not _is_beneath(domain) or domain == INTERNAL:
            continue
        rest = key.removeprefix(domain)
        if rule := _RESERVED.get(domain):
            problems.append(Problem(key, "", rule, "", ProblemReason.MISPLACED))
        else:
            example = quote(PREFIX + rest) if isinstance(look_up(rest), Known) else ""
            rule = "has a prefix that canaryd does not know"
            problems.append(Problem(key, "", rule, example, ProblemReason.UNKNOWN_KEY))
    return problems


def _domain(key: str) -> str:
    domain, slash, _ = key.partition("/")
    return domain + slash


def _is_beneath(domain: str) -> bool:
    return domain.endswith(f".{PREFIX}")


def _check_size(own: Mapping[str, str], origin: str) -> list[Problem]:
    sizes = {key: _size(PREFIX + key) + _size(value) for key, value in own.items()}
    total = sum(sizes.values())
    if total <= MAX_BYTES:
        return []
    largest = max(sizes, key=lambda key: (sizes[key], key))
    rule = (
        f"is the largest with {sizes[largest]} bytes; all {PREFIX} annotations of an object"
        f" together have {total} and may have {MAX_BYTES}"
    )
    return [Problem(largest, "", rule, "", ProblemReason.TOO_LARGE, origin)]


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


# --- merging ---


def _accept(origin: str, layer: Mapping[str, str], found: list[Problem]) -> dict[str, str]:
    """Return the keys of a layer that have a rule, with the blanks around values removed."""
    accepted = {}
    suggestions = 0
    for key, text in layer.items():
        match look_up(key):
            case Known(rule=rule):
                if not rule.inherits and origin != DEPLOYMENT:
                    why = "is never inherited; write it on each Deployment"
                    found.append(Problem(key, "", why, "", ProblemReason.MISPLACED, origin))
                else:
                    accepted[key] = _strip(rule, text)
            case Planned(advice):
                why = f"is not supported by this version: {advice}"
                found.append(Problem(key, "", why, "", ProblemReason.NOT_SUPPORTED, origin))
            case Misnamed(name):
                found.append(_misnamed(key, name, layer, origin))
            case Unknown() if key in CONFIG_KEYS:
                why = "does nothing here; it belongs on a ConfigMap or Secret"
                found.append(Problem(key, "", why, "", ProblemReason.MISPLACED, origin))
            case Unknown():
                suggestions += 1
                meant = suggest(key) if suggestions <= MAX_SUGGESTIONS else ""
                example = quote(_prefix(origin) + meant) if meant else ""
                why = "is not a known key"
                found.append(Problem(key, "", why, example, ProblemReason.UNKNOWN_KEY, origin))
    found += _check_excludes(accepted, origin)
    return accepted


def _prefix(origin: str) -> str:
    return {DEPLOYMENT: PREFIX, NAMESPACE: DEFAULTS_PREFIX}.get(origin, "")


def _strip(rule: types.Rule, text: str) -> str:
    stripped = text.strip(BLANKS)
    return text if rule.type is types.TEXT and stripped else stripped


def _misnamed(key: str, name: str, layer: Mapping[str, str], origin: str) -> Problem:
    lower = key.lower()
    if lower != key and lower in layer:
        rule = f"differs from {lower} by case only; remove one of them"
        return Problem(key, "", rule, "", ProblemReason.CONFLICTING, origin)
    example = quote(_prefix(origin) + lower) if isinstance(look_up(lower), Known) else ""
    rule = f"has the name {quote(name, 30)}, and names are 1 to 24 of a-z, 0-9 and dashes"
    return Problem(key, "", rule, example, ProblemReason.UNKNOWN_KEY, origin)


def _check_excludes(layer: Mapping[str, str], origin: str) -> list[Problem]:
    """Refuse keys of one layer that exclude each other; between layers the later one wins."""
    problems: list[Problem] = []
    told: set[str] = set()
    for key in sorted(layer, reverse=True):
        others = [other for other in _excluded(key) if layer.get(other)] if layer[key] else []
        if others and told.isdisjoint(others):
            told.add(key)
            rule = f"cannot stand beside {' and '.join(others)}; keep one or the other"
            problems.append(Problem(key, "", rule, "", ProblemReason.CONFLICTING, origin))
    return problems


def _excluded(key: str) -> tuple[str, ...]:
    rule = BY_KEY.get(key)
    return rule.excludes if rule else ()


def _overlay(
    below: Mapping[str, Resolved], origin: str, layer: Mapping[str, str]
) -> dict[str, Resolved]:
    """Lay a layer over what was merged: set, unset, and replace what the new keys exclude."""
    gone = {key for key, text in layer.items() if not text}
    gone |= {other for key, text in layer.items() if text for other in _excluded(key)}
    # Who takes a check, hook or load test away takes its details away too.
    things = tuple(f"{key}." for key in gone if key.count(".") == 1)
    kept = {
        key: resolved
        for key, resolved in below.items()
        if key not in gone and not key.startswith(things)
    }
    return kept | {key: Resolved(text, origin) for key, text in layer.items() if text}


def _read_enabled(enabled: Resolved, found: list[Problem]) -> bool:
    if not enabled.value:
        return False
    try:
        return parse_bool(enabled.value)
    except UnitError as error:
        found.append(problem_of(ENABLED, enabled.value, error, enabled.origin))
        return True
