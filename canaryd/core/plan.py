"""From texts to a :class:`CanarySpec`: every value parsed, every rule between keys checked.

The layers are merged already; here each key has one text and one origin. All problems are
collected: a value that cannot be read is replaced by its default only to go on looking for more,
and a spec comes out only when there was none. What this version cannot carry out is refused, never
approximated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from canaryd.core import coherence, courses, phrases, promql, units
from canaryd.core.draft import Draft, Resolved, copy_of
from canaryd.core.lookup import BUILTINS, FAMILIES, PLANNED_BUILTINS, Known, look_up
from canaryd.core.model import (
    Builtin,
    CanarySpec,
    Comparator,
    Condition,
    Feedback,
    HookSpec,
    LoadTestSpec,
    MetricCheck,
    Mode,
    NoData,
    OnFailure,
    Provider,
)
from canaryd.core.names import PREFIX
from canaryd.core.problems import BUILT_IN, CONTROLLER, NAMESPACE, Problem, ProblemReason
from canaryd.core.program import GateSpec, Scale, Strategy
from canaryd.core.rule import Rule
from canaryd.core.units import quote
from canaryd.core.vocabulary import BY_KEY, RULES


@dataclass(frozen=True, slots=True)
class Plan:
    """What came out: a spec or problems, and in either case every value with its origin."""

    spec: CanarySpec | None
    values: Mapping[str, Resolved]
    problems: tuple[Problem, ...]


def make_plan(given: Mapping[str, Resolved]) -> Plan:
    """Read merged texts, whose keys all are known ones."""
    draft = copy_of(given)
    chosen = coherence.choose(draft)
    coherence.set_aside(draft, chosen)
    _check_needs(draft)
    _check_limits(draft)
    spec = _read_spec(draft, chosen)
    coherence.check(draft, chosen, spec)
    shown = _show(draft, chosen, spec)
    return Plan(None if draft.problems else spec, shown, tuple(draft.problems))


def _check_needs(draft: Draft) -> None:
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


def _check_limits(draft: Draft) -> None:
    for family in FAMILIES.values():
        names = draft.names(family.name)
        if len(names) > family.limit:
            key = f"{family.name}.{names[family.limit]}"
            rule = f"is beyond the limit of {family.limit}: there are {len(names)} keys of its kind"
            draft.refuse(key, ProblemReason.TOO_LARGE, rule)


def _read_spec(draft: Draft, chosen: coherence.Choice) -> CanarySpec:
    interval_s = draft.read_default("interval", float)
    pods = draft.read_default("canary-replicas", Scale)
    skip = draft.read_default("skip-analysis", str)
    return CanarySpec(
        strategy=chosen.strategy or Strategy.CANARY,
        provider=chosen.provider or Provider.NGINX,
        mode=Mode(draft.read_default("mode", str)),
        feedback=Feedback(draft.read_default("feedback", str)),
        service=draft.read("service", str, ""),
        port=draft.read("port", str, ""),
        ingresses=draft.read("ingress", tuple, ()),
        ingress_class=draft.read("ingress-class", str, ""),
        routes=draft.read("route", tuple, ()),
        selector_label=draft.read("selector-label", str, ""),
        interval_s=interval_s,
        weights=_read_weights(draft, chosen),
        steps=chosen.steps or (),
        iterations=draft.read_default("iterations", int),
        matches=draft.read("match", tuple, ()),
        mirror=draft.read_default("mirror", int),
        gates=tuple(_read_gates(draft)),
        promotion_step_weight=draft.read_default("promotion-step-weight", int),
        canary_replicas=None if pods == courses.MATCHING else pods,
        schedule=draft.read("schedule", tuple, ()),
        freeze=draft.read("freeze", tuple, ()),
        watch_s=chosen.watch_s,
        warmup_s=draft.read_default("warmup", float),
        progress_deadline_s=draft.read_default("progress-deadline", float),
        max_duration_s=draft.read_default("max-duration", float),
        inconclusive_deadline_s=draft.read(
            "inconclusive-deadline", float, max(1800.0, 10 * interval_s)
        ),
        primary_ready=draft.read_default("primary-ready", int),
        canary_ready=draft.read_default("canary-ready", int),
        scale_down_delay_s=draft.read_default("scale-down-delay", float),
        idle=chosen.idle,
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
        skip_analysis=skip == "true",
        skip_revision="" if skip in ("true", "false") else skip,
        retry=draft.read("retry", str, ""),
    )


def _read_weights(draft: Draft, chosen: coherence.Choice) -> tuple[int, ...]:
    if chosen.strategy not in (None, Strategy.CANARY) or "steps" in draft.given:
        return ()
    step = draft.read_default("step-weight", int)
    maximum = draft.read_default("max-weight", int)
    # Only a step that somebody asked for can be too large: a lone small max-weight means one step.
    if "step-weight" in draft.given and step > maximum:
        draft.refuse_value("step-weight", f"is above max-weight, which is {maximum}", '"5"')
    return draft.read("weights", tuple, units.linear_weights(step, maximum))


def _read_gates(draft: Draft) -> Iterator[GateSpec]:
    for name in draft.usable("gate"):
        gate = draft.read(f"gate.{name}", GateSpec, None)
        if gate is not None:
            yield replace(gate, name=name)


# --- metrics ---


def _read_metric(draft: Draft, name: str, interval_s: float) -> MetricCheck:
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


def _refuse_unknown_metric(draft: Draft, key: str, name: str) -> None:
    if name in PLANNED_BUILTINS:
        rule = "is not built in yet in this version and needs a query"
        reason = ProblemReason.NOT_SUPPORTED
    else:
        rule = f"needs a query: {quote(name)} is none of {', '.join(Builtin)}"
        reason = ProblemReason.MISSING_VALUE
    draft.refuse(key, reason, rule, f"{PREFIX}{key}.query: {quote('sum(rate(...))')}")


def _check_query(draft: Draft, key: str, query: str, variables: Mapping[str, str]) -> None:
    names = (*phrases.QUERY_VARIABLES, *(f"vars.{variable}" for variable in variables))
    try:
        promql.check_template(query, names)
    except promql.TemplateError as error:
        draft.refuse(key, ProblemReason.INVALID_VALUE, str(error))


def _check_bare(draft: Draft, key: str, condition: Condition) -> None:
    # A query may answer in seconds or in ratios: "<= 500ms" would compare 0.9 s with 500 and pass.
    if condition.unit:
        rule = "has a unit, and a query answers with a bare number: write the number in its unit"
        draft.refuse_value(key, rule, '"<= 0.5"')


_UPPER = (Comparator.AT_MOST, Comparator.BELOW)


def _check_builtin(draft: Draft, key: str, builtin: Builtin, condition: Condition) -> None:
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


def _read_hooks(draft: Draft) -> Iterator[HookSpec]:
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


def _read_load_tests(draft: Draft, interval_s: float) -> Iterator[LoadTestSpec]:
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


def _show(draft: Draft, chosen: coherence.Choice, spec: CanarySpec) -> dict[str, Resolved]:
    """Return every key with its text and origin, in the order of the vocabulary.

    What is not in force has no text: it must not look as if it were.
    """
    computed = {
        "inconclusive-deadline": units.format_duration(spec.inconclusive_deadline_s),
        "metric.<name>.interval": units.format_duration(spec.interval_s),
        "metric.<name>.failures": str(spec.failure_threshold),
    }
    shown: dict[str, Resolved] = {}
    for rule in RULES:
        default = Resolved(computed.get(rule.key, rule.default), BUILT_IN)
        if coherence.says_nothing(rule.key, chosen):
            aside = draft.idle.get(rule.key)
            default = Resolved("", aside.origin if aside else BUILT_IN)
        for key in _instances(draft, rule):
            shown[key] = draft.given.get(key, default)
    return shown | _show_weights(draft, spec)


def _show_weights(draft: Draft, spec: CanarySpec) -> dict[str, Resolved]:
    """Return the keys of the weights that are in force otherwise than they are written."""
    pair = ("step-weight", "max-weight")
    if "steps" in draft.given:
        not_in_force = Resolved("", draft.origin("steps"))
        return dict.fromkeys((*pair, "weights"), not_in_force)
    if "weights" in draft.given:
        return dict.fromkeys(pair, Resolved("", draft.origin("weights")))
    if not spec.weights:
        return {}
    written = [key for key in ("max-weight", "step-weight") if key in draft.given]
    origin = draft.origin(written[0]) if written else BUILT_IN
    return {"weights": Resolved(units.format_weights(spec.weights), origin)}


def _instances(draft: Draft, rule: Rule) -> list[str]:
    family, dot, _ = rule.key.partition(".")
    if not dot:
        return [rule.key]
    return [rule.key.replace("<name>", name) for name in draft.usable(family)]
