"""From texts to a :class:`CanarySpec`: every value parsed, every rule between keys checked.

The layers are merged already; here each key has one text and one origin. All problems are
collected: a value that cannot be read is replaced by its default only to go on looking for more,
and a spec comes out only when there was none. What this version cannot carry out is refused, never
approximated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from canaryd.core import phrases, promql, units
from canaryd.core.lookup import (
    BUILTINS,
    FAMILIES,
    PLANNED_BUILTINS,
    Known,
    look_up,
)
from canaryd.core.model import (
    Builtin,
    CanarySpec,
    Comparator,
    Condition,
    HookSpec,
    IdlePolicy,
    LoadTestSpec,
    MetricCheck,
    NoData,
    OnFailure,
    Provider,
    Strategy,
)
from canaryd.core.names import PREFIX
from canaryd.core.problems import (
    BUILT_IN,
    CONTROLLER,
    NAMESPACE,
    Problem,
    ProblemReason,
    problem_of,
)
from canaryd.core.rule import Rule
from canaryd.core.units import UnitError, quote
from canaryd.core.vocabulary import BY_KEY, RULES

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A value as text, and the layer it comes from."""

    value: str
    origin: str


@dataclass(slots=True)
class _Draft:
    """The texts being read, and what was found wrong so far."""

    given: Mapping[str, Resolved]
    problems: list[Problem] = field(default_factory=list)

    def origin(self, key: str) -> str:
        return self.given[key].origin if key in self.given else BUILT_IN

    def read(self, key: str, kind: type[T], otherwise: T) -> T:
        """Return the value of a key, ``otherwise`` when it is not given or not readable."""
        known = look_up(key)
        if key not in self.given or not isinstance(known, Known):
            return otherwise
        try:
            value = known.rule.parse(self.given[key].value)
        except UnitError as error:
            self.problems.append(problem_of(key, self.given[key].value, error, self.origin(key)))
            return otherwise
        if not isinstance(value, kind):
            raise TypeError(f"the type of {known.rule.key} does not make {kind.__name__} values")
        return value

    def read_default(self, key: str, kind: type[T]) -> T:
        """Return the value of a key whose rule has a default."""
        known = look_up(key)
        default = known.rule.parse(known.rule.default) if isinstance(known, Known) else None
        if not isinstance(default, kind):
            raise TypeError(f"the default of {key} is not a {kind.__name__}")
        return self.read(key, kind, default)

    def refuse(self, key: str, reason: ProblemReason, rule: str, example: str = "") -> None:
        """Record a problem that is not about the value's own grammar."""
        self.problems.append(Problem(key, "", rule, example, reason, self.origin(key)))

    def refuse_value(self, key: str, rule: str, example: str) -> None:
        """Record a value that is readable and makes no sense here."""
        error = UnitError(rule, example)
        self.problems.append(problem_of(key, self.given[key].value, error, self.origin(key)))

    def names(self, family: str) -> list[str]:
        """Return the names of the instances whose main key is given."""
        prefix = f"{family}."
        return sorted(
            key.removeprefix(prefix)
            for key in self.given
            if key.startswith(prefix) and key.count(".") == 1
        )

    def usable(self, family: str) -> list[str]:
        """Return the names up to the limit, beyond which reading would only cost time."""
        return self.names(family)[: FAMILIES[family].limit]


@dataclass(frozen=True, slots=True)
class Plan:
    """What came out: a spec or problems, and in either case every value with its origin."""

    spec: CanarySpec | None
    values: Mapping[str, Resolved]
    problems: tuple[Problem, ...]


def make_plan(given: Mapping[str, Resolved]) -> Plan:
    """Read merged texts, whose keys all are known ones."""
    draft = _Draft(given)
    _check_needs(draft)
    _check_limits(draft)
    spec = _read_spec(draft)
    return Plan(None if draft.problems else spec, _show(draft, spec), tuple(draft.problems))


def _check_needs(draft: _Draft) -> None:
    """Refuse details of things that do not exist.

    Defaults may hold a query for whoever wants to check it: inherited details without their main
    key wait for it and are no mistake.
    """
    for key, resolved in draft.given.items():
        known = look_up(key)
        if not isinstance(known, Known) or resolved.origin in (CONTROLLER, NAMESPACE):
            continue
        for need in known.rule.needs:
            needed = need.replace("<name>", known.name)
            if needed not in draft.given:
                value = "<= 1" if need == "metric.<name>" else BY_KEY[need].example
                example = f"{PREFIX}{needed}: {quote(value)}"
                rule = f"means nothing without {needed}"
                draft.refuse(key, ProblemReason.MISSING_VALUE, rule, example)
                break


def _check_limits(draft: _Draft) -> None:
    for family in FAMILIES.values():
        names = draft.names(family.name)
        if len(names) > family.limit:
            key = f"{family.name}.{names[family.limit]}"
            rule = f"is beyond the limit of {family.limit}: there are {len(names)} keys of its kind"
            draft.refuse(key, ProblemReason.TOO_LARGE, rule)


def _read_spec(draft: _Draft) -> CanarySpec:
    interval_s = draft.read_default("interval", float)
    weights = _read_weights(draft)
    spec = CanarySpec(
        strategy=Strategy(draft.read_default("strategy", str)),
        provider=Provider(draft.read_default("provider", str)),
        service=draft.read("service", str, ""),
        port=draft.read("port", str, ""),
        ingresses=draft.read("ingress", tuple, ()),
        ingress_class=draft.read("ingress-class", str, ""),
        selector_label=draft.read("selector-label", str, ""),
        interval_s=interval_s,
        weights=weights,
        warmup_s=draft.read_default("warmup", float),
        progress_deadline_s=draft.read_default("progress-deadline", float),
        max_duration_s=draft.read_default("max-duration", float),
        inconclusive_deadline_s=draft.read(
            "inconclusive-deadline", float, max(1800.0, 10 * interval_s)
        ),
        primary_ready=draft.read_default("primary-ready", int),
        canary_ready=draft.read_default("canary-ready", int),
        scale_down_delay_s=draft.read_default("scale-down-delay", float),
        idle=IdlePolicy(draft.read_default("idle", str)),
        metrics=tuple(_read_metric(draft, name, interval_s) for name in draft.usable("metric")),
        failure_threshold=draft.read_default("failure-threshold", int),
        min_requests=draft.read_default("min-requests", int),
        hooks=tuple(_read_hooks(draft)),
        load_tests=tuple(_read_load_tests(draft, interval_s)),
        config_tracking=draft.read_default("config-tracking", str) == "enabled",
        config_exclude=draft.read("config-exclude", tuple, ()),
        autoscaler=draft.read_default("autoscaler", str),
        on_failure=OnFailure(draft.read_default("on-failure", str)),
        keep_failed_s=draft.read_default("keep-failed", float),
        history_limit=draft.read_default("history-limit", int),
        suspend=draft.read_default("suspend", bool),
        skip_analysis=draft.read_default("skip-analysis", bool),
        retry=draft.read("retry", str, ""),
    )
    _check_time(draft, spec)
    return spec


def _read_weights(draft: _Draft) -> tuple[int, ...]:
    step = draft.read_default("step-weight", int)
    maximum = draft.read_default("max-weight", int)
    # Only a step that somebody asked for can be too large: a lone small max-weight means one step.
    if "step-weight" in draft.given and step > maximum:
        draft.refuse_value("step-weight", f"is above max-weight, which is {maximum}", '"5"')
    return draft.read("weights", tuple, units.linear_weights(step, maximum))


def _check_time(draft: _Draft, spec: CanarySpec) -> None:
    """Refuse a plan that cannot end in time, whatever the metrics say."""
    needed_s = spec.warmup_s + (len(spec.weights) - 1) * spec.interval_s
    if needed_s <= spec.max_duration_s:
        return
    keys = ("max-duration", "interval", "warmup", "weights", "step-weight", "max-weight")
    key = next(key for key in keys if key in draft.given)
    rule = (
        f"leaves no time for the plan: {len(spec.weights)} steps and the warm-up take at least"
        f" {units.format_duration(needed_s)}, and max-duration is"
        f" {units.format_duration(spec.max_duration_s)}"
    )
    draft.refuse(key, ProblemReason.CONFLICTING, rule)


# --- metrics ---


def _read_metric(draft: _Draft, name: str, interval_s: float) -> MetricCheck:
    key = f"metric.{name}"
    condition = draft.read(key, Condition, Condition(Comparator.AT_LEAST, 0))
    variables = draft.read(f"{key}.vars", dict, {})
    query = draft.read(f"{key}.query", str, "")
    has_query = f"{key}.query" in draft.given
    builtin = Builtin(name) if name in BUILTINS and not has_query else None
    if has_query:
        _check_query(draft, f"{key}.query", query, variables)
        _check_bare(draft, key, condition)
    elif builtin is not None:
        _check_builtin(draft, key, builtin, condition)
    else:
        _refuse_unknown_metric(draft, key, name)
    failures = draft.read(f"{key}.failures", int, -1)
    return MetricCheck(
        name=name,
        condition=condition,
        builtin=builtin,
        query=query,
        window_s=draft.read(f"{key}.interval", float, interval_s),
        failures=None if failures < 0 else failures,
        no_data=NoData(draft.read_default(f"{key}.no-data", str)),
        variables=variables,
        source=draft.read_default(f"{key}.source", str),
    )


def _refuse_unknown_metric(draft: _Draft, key: str, name: str) -> None:
    if name in PLANNED_BUILTINS:
        rule = "is not built in yet in this version and needs a query"
        reason = ProblemReason.NOT_SUPPORTED
    else:
        rule = f"needs a query: {quote(name)} is none of {', '.join(Builtin)}"
        reason = ProblemReason.MISSING_VALUE
    draft.refuse(key, reason, rule, f"{PREFIX}{key}.query: {quote('sum(rate(...))')}")


def _check_query(draft: _Draft, key: str, query: str, variables: Mapping[str, str]) -> None:
    names = (*phrases.QUERY_VARIABLES, *(f"vars.{variable}" for variable in variables))
    try:
        promql.check_template(query, names)
    except promql.TemplateError as error:
        draft.refuse(key, ProblemReason.INVALID_VALUE, str(error))


def _check_bare(draft: _Draft, key: str, condition: Condition) -> None:
    # A query may answer in seconds or in ratios: "<= 500ms" would compare 0.9 s with 500 and pass.
    if condition.unit:
        rule = "has a unit, and a query answers with a bare number: write the number in its unit"
        draft.refuse_value(key, rule, '"<= 0.5"')


_UPPER = (Comparator.AT_MOST, Comparator.BELOW)


def _check_builtin(draft: _Draft, key: str, builtin: Builtin, condition: Condition) -> None:
    match builtin:
        case Builtin.SUCCESS_RATE:
            example, unit, wrong = '">= 99"', "%", _UPPER
        case Builtin.ERROR_RATE:
            example, unit, wrong = '"<= 1"', "%", (Comparator.AT_LEAST, Comparator.ABOVE)
        case _:
            example, unit, wrong = '"<= 500ms"', "ms", (Comparator.AT_LEAST, Comparator.ABOVE)
    if not condition.text:  # it was not readable, and that has been said
        return
    if unit == "ms" and condition.unit != "ms":
        draft.refuse_value(key, "is a latency without its unit, ms or s", example)
    elif unit == "%" and not _is_percentage(condition):
        draft.refuse_value(key, "is not a condition on a percentage from 0 to 100", example)
    elif condition.comparator in wrong:
        draft.refuse_value(key, f"points the wrong way: it would fail a good {builtin}", example)


def _is_percentage(condition: Condition) -> bool:
    return condition.unit in ("", "%") and all(
        0 <= end <= 100 for end in (condition.low, condition.high)
    )


# --- hooks and load tests ---


def _read_hooks(draft: _Draft) -> Iterator[HookSpec]:
    for name in draft.usable("hook"):
        key = f"hook.{name}"
        timeout_s = draft.read_default(f"{key}.timeout", float)
        retries = draft.read_default(f"{key}.retries", int)
        payload = draft.read(f"{key}.payload", dict, {})
        order = draft.read_default(f"{key}.order", int)
        call = draft.read(key, phrases.HookCall, None)
        if call is not None:
            yield HookSpec(
                name=name,
                type=call.type,
                url=call.url,
                timeout_s=timeout_s,
                retries=retries,
                payload=payload,
                order=order,
            )


def _read_load_tests(draft: _Draft, interval_s: float) -> Iterator[LoadTestSpec]:
    for name in draft.usable("load-test"):
        key = f"load-test.{name}"
        headers = draft.read(f"{key}.headers", dict, {})
        body = draft.read(f"{key}.body", str, "")
        phrase = draft.read(key, phrases.LoadPhrase, None)
        if phrase is None:
            continue
        if body and phrase.method not in phrases.METHODS_WITH_BODY:
            rule = f"is a body, and the load test sends {phrase.method}"
            draft.refuse(f"{key}.body", ProblemReason.CONFLICTING, rule)
        yield LoadTestSpec(
            name=name,
            method=phrase.method,
            path=phrase.path,
            rate=phrase.options["rate"],
            duration_s=phrase.options.get("for", min(interval_s, phrases.LONGEST_LOAD_S)),
            concurrency=int(phrase.options["concurrency"]),
            timeout_s=phrase.options["timeout"],
            max_errors=phrase.options["max-errors"],
            headers=headers,
            body=body,
        )


# --- showing what is in force ---


def _show(draft: _Draft, spec: CanarySpec) -> dict[str, Resolved]:
    """Return every key with its text and origin, in the order of the vocabulary."""
    computed = {
        "inconclusive-deadline": units.format_duration(spec.inconclusive_deadline_s),
        "metric.<name>.interval": units.format_duration(spec.interval_s),
        "metric.<name>.failures": str(spec.failure_threshold),
    }
    shown: dict[str, Resolved] = {}
    for rule in RULES:
        default = Resolved(computed.get(rule.key, rule.default), BUILT_IN)
        for key in _instances(draft, rule):
            shown[key] = draft.given.get(key, default)
    if "weights" in draft.given:
        # The pair is not in force, and must not look as if it were.
        not_in_force = Resolved("", draft.origin("weights"))
        return shown | {"step-weight": not_in_force, "max-weight": not_in_force}
    pair = [key for key in ("max-weight", "step-weight") if key in draft.given]
    origin = draft.origin(pair[0]) if pair else BUILT_IN
    return shown | {"weights": Resolved(units.format_weights(spec.weights), origin)}


def _instances(draft: _Draft, rule: Rule) -> list[str]:
    family, dot, _ = rule.key.partition(".")
    if not dot:
        return [rule.key]
    return [rule.key.replace("<name>", name) for name in draft.usable(family)]
