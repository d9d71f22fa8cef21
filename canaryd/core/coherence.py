"""Which annotation keys go together: with a strategy, with a provider, with each other.

Nothing is ignored quietly. A key of the Deployment that says nothing beside its other keys is
refused; one that was written for many apps, on the namespace or by the installation, is set aside,
because it is meant for those of them that can use it. Gates, and what users would be routed by, are
refused from wherever they come: an approval that is not asked for, or a condition that is dropped,
does harm.

The table of who belongs to what is also printed in the reference.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from canaryd.core import units
from canaryd.core.draft import Draft
from canaryd.core.model import CanarySpec, HookType, IdlePolicy, Mode, Provider
from canaryd.core.names import PREFIX
from canaryd.core.problems import ProblemReason
from canaryd.core.program import (
    Analyze,
    Gate,
    GateAt,
    GateSpec,
    Job,
    Pause,
    Stage,
    Step,
    Strategy,
    Verb,
)
from canaryd.core.routing import Match, MatchKind
from canaryd.core.units import quote

WEIGHT_KEYS = ("weights", "step-weight", "max-weight")

_JUDGED = (Strategy.CANARY, Strategy.AB, Strategy.BLUE_GREEN)
STRATEGIES: Mapping[str, tuple[Strategy, ...]] = {
    **dict.fromkeys((*WEIGHT_KEYS, "steps"), (Strategy.CANARY,)),
    "iterations": (Strategy.AB, Strategy.BLUE_GREEN),
    "match": (Strategy.CANARY, Strategy.AB),
    "mirror": (Strategy.CANARY, Strategy.BLUE_GREEN),
    "promotion-step-weight": (Strategy.CANARY, Strategy.BLUE_GREEN),
    "warmup": _JUDGED,
    "skip-analysis": _JUDGED,
    "load-test.<name>": _JUDGED,
}
"""Strategies of the keys that not every strategy knows."""
WATCHING = ("metric.<name>", "failure-threshold", "min-requests", "inconclusive-deadline")
"""Keys that strategy ``direct`` has a use for only with ``watch-after-promotion``."""
DIRECT_HOOKS = (HookType.CONFIRM_ROLLOUT, HookType.POST_ROLLOUT, HookType.EVENT)
"""Hooks that are called where nothing is judged."""
PROVIDERS: Mapping[str, tuple[Provider, ...]] = {
    "ingress": (Provider.NGINX,),
    "ingress-class": (Provider.NGINX,),
    "route": (Provider.GATEWAY,),
    "promotion-step-weight": (Provider.NGINX, Provider.SMI, Provider.GATEWAY),
}
"""Providers of the keys that not every provider knows."""
OFF = {
    "mirror": "0",
    "promotion-step-weight": "100",
    "skip-analysis": "false",
    "canary-replicas": "match",
    "watch-after-promotion": "0s",
}
"""Values that ask for nothing, and so may stand anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What decides which keys mean something; None where it could not be read."""

    strategy: Strategy | None
    provider: Provider | None
    steps: tuple[Step, ...] | None
    """Empty when the course is not written as steps."""
    idle: IdlePolicy
    watch_s: float
    can_watch: bool
    """Whether there is something to judge a promoted revision by."""
    watches: bool
    """Whether a promoted revision is judged on, or may be meant to."""


def choose(draft: Draft) -> Choice:
    """Read the keys that decide about others."""
    strategy, provider = draft.read_default("strategy", str), draft.read_default("provider", str)
    idle = draft.read_default("idle", str)
    watch_s = draft.read_default("watch-after-promotion", float)
    can_watch = bool(draft.names("metric")) or not draft.is_sound("watch-after-promotion")
    is_stepped = "steps" in draft.given and strategy == Strategy.CANARY
    steps: tuple[Step, ...] = draft.read("steps", tuple, ()) if is_stepped else ()
    return Choice(
        strategy=Strategy(strategy) if draft.is_sound("strategy") else None,
        provider=Provider(provider) if draft.is_sound("provider") else None,
        steps=steps if draft.is_sound("steps") else None,
        idle=IdlePolicy(idle),
        watch_s=watch_s if can_watch else 0.0,
        can_watch=can_watch,
        watches=watch_s > 0 or not draft.is_sound("watch-after-promotion"),
    )


# --- keys that say nothing ---


def set_aside(draft: Draft, chosen: Choice) -> None:
    """Take keys that say nothing out of the draft, and refuse those of the Deployment."""
    for key, resolved in tuple(draft.given.items()):
        main = ".".join(key.split(".")[:2])
        text = draft.given.get(main, draft.idle.get(main, resolved)).value
        found = _why_idle(main, text, chosen)
        if found is None:
            continue
        # Of a thing with details, the thing itself is told.
        is_told = key != main and draft.knows(main) and not draft.is_inherited(main)
        if not draft.is_inherited(key) and not is_told:
            rule, example = found
            draft.refuse_value(key, rule, example, ProblemReason.CONFLICTING)
        draft.set_aside(key)


def says_nothing(key: str, chosen: Choice) -> bool:
    """Whether a key that nobody wrote has no default either, beside the others."""
    has_steps = chosen.steps is None or bool(chosen.steps)
    return (key in WEIGHT_KEYS and has_steps) or _why_idle(key, "", chosen) is not None


def _why_idle(key: str, text: str, chosen: Choice) -> tuple[str, str] | None:
    """Return why a key says nothing, with an example of what would help; None when it does."""
    if OFF.get(key) == text:
        return None
    family, dot, _ = key.partition(".")
    general = f"{family}.<name>" if dot else key
    known = STRATEGIES.get(general)
    if chosen.strategy is not None and known is not None and chosen.strategy not in known:
        return _only("strategy", chosen.strategy, known)
    if chosen.strategy is Strategy.DIRECT and (found := _why_idle_when_direct(general, text)):
        return None if general in WATCHING and chosen.watches else found
    able = PROVIDERS.get(general)
    if chosen.provider is not None and able is not None and chosen.provider not in able:
        return _only("provider", chosen.provider, able)
    if key == "canary-replicas" and chosen.idle is IdlePolicy.KEEP:
        rule = "means nothing with idle: keep, which leaves the number of pods to the Deployment"
        return rule, f"{PREFIX}idle: {quote(IdlePolicy.SCALE_TO_ZERO)}"
    if key == "watch-after-promotion" and not chosen.can_watch:
        rule = "means nothing without a metric that the promoted revision is judged by"
        return rule, f"{PREFIX}metric.success-rate: {quote('>= 99')}"
    return _why_idle_beside_steps(key, text, chosen)


def _only(key: str, value: str, known: tuple[str, ...]) -> tuple[str, str]:
    words = ", ".join(known[:-1]) + (" or " if known[1:] else "") + known[-1]
    rule = f"means nothing with {key} {value}, only with {words}"
    return rule, f"{PREFIX}{key}: {quote(known[0])}"


def _why_idle_when_direct(general: str, text: str) -> tuple[str, str] | None:
    if general in WATCHING:
        rule = (
            "means nothing with strategy direct, which judges nothing without watch-after-promotion"
        )
        return rule, f"{PREFIX}watch-after-promotion: {quote('15m')}"
    word = text.replace("\t", " ").partition(" ")[0]
    if general == "hook.<name>" and word in HookType.__members__.values():
        if word in DIRECT_HOOKS:
            return None
        called = ", ".join(DIRECT_HOOKS)
        rule = f"is never called with strategy direct, which calls {called}"
        return rule, quote(text.replace(word, HookType.CONFIRM_ROLLOUT, 1))
    return None


def _why_idle_beside_steps(key: str, text: str, chosen: Choice) -> tuple[str, str] | None:
    if chosen.strategy is None or chosen.steps is None:
        return None
    if key == "match" and chosen.steps and not _has(chosen.steps, Verb.MATCH):
        rule = "means nothing beside steps that never say match"
        return rule, f"{PREFIX}steps: {quote('match; analyze 15m; unmatch; weight 10')}"
    if key == "mirror" and chosen.steps:
        rule = "means nothing beside steps; mirror among them"
        return rule, f"{PREFIX}steps: {quote('mirror 100; analyze 10m; mirror 0; weight 10')}"
    is_detail = key.startswith("gate.") and text.split(maxsplit=1)[:1] == [GateAt.STEP]
    name = key.removeprefix("gate.")
    if is_detail and not _has(chosen.steps, Verb.GATE, name):
        rule = f"stands where steps say gate {name}, and none of them does"
        return rule, quote(GateAt.PROMOTION)
    return None


def _has(steps: tuple[Step, ...], verb: Verb, name: str = "") -> bool:
    return any(step.verb is verb and step.name == name for step in steps)


# --- keys that contradict each other ---


def check(draft: Draft, chosen: Choice, spec: CanarySpec) -> None:
    """Refuse what would be carried out otherwise than it is written."""
    _check_strategy(draft, chosen, spec)
    _check_provider(draft, chosen, spec)
    _check_steps(draft, chosen, spec)
    for gate in spec.gates:
        _check_gate(draft, chosen, spec, gate)
    _check_mode(draft, spec)
    _check_watch(draft, spec)
    _check_time(draft, chosen, spec)


def _check_strategy(draft: Draft, chosen: Choice, spec: CanarySpec) -> None:
    if chosen.strategy is Strategy.AB and not spec.matches and draft.is_sound("match"):
        rule = "needs match: it says which requests get to the canary"
        example = f"{PREFIX}match: {quote('header x-canary=insider; cookie canary')}"
        draft.refuse_value("strategy", rule, example, ProblemReason.MISSING_VALUE)
    shared = (Strategy.CANARY, Strategy.AB)
    if chosen.provider is Provider.NONE and chosen.strategy in shared:
        is_chosen = "strategy" in draft.given
        reason = ProblemReason.CONFLICTING if is_chosen else ProblemReason.MISSING_VALUE
        rule = f"cannot send a part of the users to a canary, which strategy {chosen.strategy} does"
        example = f"{PREFIX}strategy: {quote(Strategy.BLUE_GREEN)}"
        draft.refuse_value("provider", rule, example, reason)


def _check_provider(draft: Draft, chosen: Choice, spec: CanarySpec) -> None:
    gateway = f"{PREFIX}provider: {quote(Provider.GATEWAY)}"
    match chosen.provider:
        case None | Provider.GATEWAY:
            return
        case Provider.SMI if spec.matches:
            rule = (
                "cannot be carried out by provider smi: a TrafficSplit sends everybody or a share,"
                " whatever they ask for"
            )
            draft.refuse_value("match", rule, gateway, ProblemReason.CONFLICTING)
        case Provider.NGINX:
            for rule in _nginx_problems(spec.matches):
                draft.refuse_value("match", rule, gateway, ProblemReason.CONFLICTING)
        case Provider.SMI | Provider.NONE:
            pass
        case _:
            assert_never(chosen.provider)
    if any(stage.mirror for stage in spec.stages):
        key = "mirror" if spec.mirror else "steps"
        rule = f"cannot be carried out by provider {chosen.provider}: only gateway mirrors requests"
        draft.refuse_value(key, rule, gateway, ProblemReason.CONFLICTING)


def _nginx_problems(matches: tuple[Match, ...]) -> Iterator[str]:
    for kind in MatchKind:
        count = sum(match.kind is kind for match in matches)
        if count > 1:
            yield f"has {count} {kind}s, and provider nginx can look at one {kind}"


def _check_steps(draft: Draft, chosen: Choice, spec: CanarySpec) -> None:
    steps = chosen.steps or ()
    if _has(steps, Verb.MATCH) and not spec.matches and draft.is_sound("match"):
        rule = "says match, and no key says which requests"
        example = f"{PREFIX}match: {quote('header x-canary=insider')}"
        draft.refuse_value("steps", rule, example, ProblemReason.MISSING_VALUE)
    if chosen.idle is IdlePolicy.KEEP and any(step.verb is Verb.SCALE for step in steps):
        rule = "scales the canary, and idle: keep leaves the number of pods to the Deployment"
        example = f"{PREFIX}idle: {quote(IdlePolicy.SCALE_TO_ZERO)}"
        draft.refuse_value("steps", rule, example, ProblemReason.CONFLICTING)


def _check_gate(draft: Draft, chosen: Choice, spec: CanarySpec, gate: GateSpec) -> None:
    """A gate that would not stand anywhere is an approval that nobody is asked for."""
    key = f"gate.{gate.name}"
    is_planned = draft.is_sound("strategy", "steps", *WEIGHT_KEYS)
    if is_planned and (found := _why_nowhere(chosen, spec, gate)) is not None:
        _conflict(draft, key, *found)
    if gate.deadline_s > spec.max_duration_s and draft.is_sound("max-duration"):
        limit = units.format_duration(spec.max_duration_s)
        rule = f"has a deadline beyond max-duration, which is {limit} and ends the run before"
        _conflict(draft, key, rule, f"{PREFIX}max-duration: {quote('720h')}")


def _why_nowhere(chosen: Choice, spec: CanarySpec, gate: GateSpec) -> tuple[str, str] | None:
    is_on_way = gate.at in (GateAt.WEIGHT, GateAt.EACH_WEIGHT)
    if spec.strategy is Strategy.DIRECT:
        hook = quote(f"{HookType.CONFIRM_ROLLOUT} svc://approvals/")
        rule = "stands nowhere with strategy direct, which waits for readiness and for hooks only"
        return rule, f"{PREFIX}hook.{gate.name}: {hook}"
    if spec.strategy is not Strategy.CANARY and is_on_way:
        rule = f"stands at a weight, and strategy {spec.strategy} has none on its way"
        return rule, quote(GateAt.PROMOTION)
    if chosen.steps and is_on_way:
        rule = f"stands at a weight, and beside steps it must stand among them: gate {gate.name}"
        return rule, quote(GateAt.STEP)
    if gate.at is not GateAt.STEP and _has(spec.steps, Verb.GATE, gate.name):
        rule = f"stands at {gate.at}, and steps name it too; give one of them another name"
        return rule, quote(GateAt.STEP)
    if gate.at is GateAt.WEIGHT and gate.weight not in spec.weights:
        rule = "stands at a weight that the plan does not have; it has "
        example = quote(f"{GateAt.WEIGHT}:{spec.weights[-1]}")
        return rule + units.format_weights(spec.weights), example
    return None


def _conflict(draft: Draft, key: str, rule: str, example: str) -> None:
    draft.refuse_value(key, rule, example, ProblemReason.CONFLICTING)


def _check_mode(draft: Draft, spec: CanarySpec) -> None:
    """``observe`` rehearses a plan as it is, so only what leaves nothing to observe is refused."""
    if spec.mode is not Mode.OBSERVE:
        return
    is_direct = spec.strategy is Strategy.DIRECT and draft.is_sound("strategy")
    if not (is_direct or spec.skip_analysis):
        return
    other = "strategy: direct" if is_direct else "skip-analysis: true"
    rule = f"has nothing to observe with {other}, which judges nothing"
    _conflict(draft, "mode", rule, quote(Mode.ENFORCE))


def _check_watch(draft: Draft, spec: CanarySpec) -> None:
    if 0 < spec.watch_s < spec.interval_s and draft.is_sound("interval"):
        shown = units.format_duration(spec.interval_s)
        rule = f"is shorter than interval, which is {shown}: no judgement would fall into it"
        _conflict(draft, "watch-after-promotion", rule, quote(shown))


# --- time ---

_TIMING = ("max-duration", "interval", "warmup", "steps", "iterations", *WEIGHT_KEYS, "mirror")


def _check_time(draft: Draft, chosen: Choice, spec: CanarySpec) -> None:
    """Refuse a plan that cannot end in time, whatever the metrics say."""
    stages = spec.stages
    if not stages or chosen.strategy is None or not draft.is_sound(*_TIMING):
        return
    needed_s = spec.warmup_s + sum(_least_s(stage, spec.interval_s) for stage in stages)
    if needed_s <= spec.max_duration_s:
        return
    key = next(key for key in _TIMING if key in draft.given)
    count = f"{len(stages)} stages" if len(stages) > 1 else "1 stage"
    rule = (
        f"leaves no time for the plan: {count} and the warm-up take at least"
        f" {units.format_duration(needed_s)}, and max-duration is"
        f" {units.format_duration(spec.max_duration_s)}"
    )
    draft.refuse(key, ProblemReason.CONFLICTING, rule)


def _least_s(stage: Stage, interval_s: float) -> float:
    """Seconds that a stage takes when nobody keeps it waiting."""
    match stage.wait:
        case Analyze(passes, for_s):
            return max(passes * interval_s, for_s)
        case Pause(for_s):
            return for_s or 0.0
        case Gate() | Job():
            return 0.0
        case _:
            assert_never(stage.wait)
