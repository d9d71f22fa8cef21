"""Whatever a tenant writes: no exception, every problem names its key, and what is read can be written back."""

import dataclasses
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.core import rule as types
from canaryd.core import units
from canaryd.core.annotations import plan_values, resolve, resolve_deployment
from canaryd.core.coherence import PROVIDERS, STRATEGIES, WATCHING, WEIGHT_KEYS
from canaryd.core.lookup import FAMILIES
from canaryd.core.model import Comparator, Condition
from canaryd.core.problems import CONTROLLER, DEPLOYMENT, NAMESPACE
from canaryd.core.units import UnitError
from canaryd.core.vocabulary import BY_KEY, PLANNED, RULES

pytestmark = pytest.mark.slow
unhurried = settings(deadline=None)
few = settings(deadline=None, max_examples=30)

# --- writing ---

anything = st.text(alphabet=st.characters(), max_size=60)
names = st.sampled_from(["a", "latency-p99", "success-rate", "B", "b", "x" * 25])


@st.composite
def keys(draw):
    """Keys of the table, planned ones and arbitrary ones."""
    general = draw(st.sampled_from([*BY_KEY, *PLANNED]) | anything)
    return general.replace("<name>", draw(names))


texts = anything | st.sampled_from(
    [rule.example for rule in RULES]
    + [rule.default for rule in RULES]
    + ["", "nan", "1e400", "٣", "true", ">= 99"]
)
layers = st.dictionaries(keys(), texts, max_size=12)


STEPS = "match; weight 5; pause 2m; weight 25; gate qa; weight 50; analyze 10m"
CANARY, AB = "header x-canary=insider; cookie canary", "cookie canary"
PLANS = (
    {},
    {"provider": "smi"},
    {"provider": "gateway", "mirror": "30", "match": CANARY},
    {"steps": STEPS, "match": CANARY, "gate.qa": "step approvals=2"},
    {"strategy": "ab", "match": AB},
    {"strategy": "blue-green", "provider": "none"},
    {"strategy": "blue-green", "provider": "gateway", "mirror": "100"},
    {"strategy": "direct"},
)
"""Keys that decide what other keys mean, as they go together."""
DECIDING = {"enabled", "strategy", "provider", "mode", "steps", "match", "mirror", "idle"}


def means_something(key, plan):
    """Whether a key that decides nothing may stand beside those that do."""
    strategy, provider = plan.get("strategy", "canary"), plan.get("provider", "nginx")
    return (
        key not in DECIDING
        and strategy in STRATEGIES.get(key, (strategy,))
        and provider in PROVIDERS.get(key, (provider,))
        and not (strategy == "direct" and key in (*WATCHING, "watch-after-promotion"))
        and not ("steps" in plan and key in WEIGHT_KEYS)
    )


def values(key):
    return st.sampled_from([text for text in (BY_KEY[key].example, BY_KEY[key].default) if text])


@st.composite
def good_layers(draw, plan):
    """Layers that make this plan: examples and defaults of the table under consistent names."""
    plain = [key for key in BY_KEY if key.partition(".")[0] not in FAMILIES]
    usable = [key for key in plain if means_something(key, plan)]
    chosen = {key: draw(values(key)) for key in draw(st.sets(st.sampled_from(usable), max_size=12))}
    if plan.get("strategy") != "direct":
        chosen |= draw(st.sampled_from([{}, JUDGED]))
        chosen |= draw(st.sampled_from([{}, LOADED]))
        chosen |= draw(st.sampled_from([{}, {"gate.g": "start approvals=2 deadline=1h"}]))
    chosen |= draw(st.sampled_from([{}, {"hook.h": "event svc://a/", "hook.h.payload": r"a=b\,c"}]))
    if "watch-after-promotion" in chosen:
        chosen |= JUDGED
    if "weights" in chosen:
        chosen.pop("step-weight", None)
        chosen.pop("max-weight", None)
    return chosen | plan


JUDGED = {"metric.own": "> -3", "metric.own.query": "up"}
LOADED = {"load-test.l": "POST /x rate=2", "load-test.l.body": " b\n"}


@st.composite
def good_stacks(draw, *origins):
    """Layers of one plan, weakest first."""
    plan = draw(st.sampled_from(PLANS))
    chosen = origins or draw(
        st.lists(st.sampled_from([CONTROLLER, NAMESPACE, DEPLOYMENT]), max_size=3)
    )
    return [(origin, draw(good_layers(plan))) for origin in chosen]


@unhurried
@given(
    st.lists(
        st.tuples(st.sampled_from([CONTROLLER, NAMESPACE, DEPLOYMENT, "pinned"]), layers),
        max_size=4,
    )
)
def test_no_text_raises_and_every_problem_names_a_key_that_was_written(stack):
    resolution = resolve(stack)
    given_keys = {key for _, layer in stack for key in layer}
    assert (resolution.spec is None) == bool(resolution.problems)
    for problem in resolution.problems:
        assert problem.key in given_keys
        assert units.quote(problem.key, 100)[1:-1] in problem.message
        assert problem.message.isprintable()
        assert len(problem.message) < 2_000


prefixes = st.sampled_from(
    [
        "canaryd.io/",
        "defaults.canaryd.io/",
        "action.canaryd.io/",
        "x.canaryd.io/",
        "example.com/",
        "",
    ]
)
objects = st.dictionaries(st.builds(str.__add__, prefixes, keys()), texts, max_size=8)


@unhurried
@given(objects, objects, objects)
def test_no_annotations_of_any_object_raise(namespace, deployment, template):
    resolution = resolve_deployment(
        controller={}, namespace=namespace, deployment=deployment, template=template
    )
    given_keys = {key for carrier in (namespace, deployment, template) for key in carrier}
    for problem in resolution.problems:
        assert any(key == problem.key or key.endswith(f"/{problem.key}") for key in given_keys)


@unhurried
@given(good_stacks())
def test_a_pinned_plan_gives_back_an_equal_spec(stack):
    # Later layers of the same name are fine: only the order counts.
    resolution = resolve(
        [(origin, {k: v for k, v in layer.items() if k != "enabled"}) for origin, layer in stack]
    )
    assert resolution.problems == ()
    again = resolve([("pinned", plan_values(resolution.values))])
    assert (resolution.spec, ()) == (again.spec, again.problems)
    assert plan_values(resolution.values) == plan_values(again.values)


@unhurried
@given(good_stacks(NAMESPACE, DEPLOYMENT))
def test_the_order_in_which_keys_were_written_does_not_matter(stack):
    first = resolve(stack)
    again = resolve([(origin, dict(reversed(layer.items()))) for origin, layer in stack])
    assert (first.spec, first.values) == (again.spec, again.values)


@unhurried
@given(st.data())
def test_defaults_for_many_apps_keep_none_of_them_from_its_own_plan(data):
    inheritable = [key for key in BY_KEY if key not in DECIDING and BY_KEY[key].inherits]
    plain = [key for key in inheritable if key.partition(".")[0] not in FAMILIES]
    defaults = {key: data.draw(values(key)) for key in data.draw(st.sets(st.sampled_from(plain)))}
    defaults |= data.draw(st.sampled_from([{}, JUDGED | LOADED | {"gate.other": "step"}]))
    if "weights" in defaults:
        defaults.pop("step-weight", None)
        defaults.pop("max-weight", None)
    plan = data.draw(st.sampled_from(PLANS))
    resolution = resolve([(NAMESPACE, defaults), (DEPLOYMENT, plan)])
    assert () == resolution.problems
    again = resolve([("pinned", plan_values(resolution.values))])
    assert (resolution.spec, ()) == (again.spec, again.problems)


# --- reading back what was written ---


@unhurried
@given(st.integers(0, 99_999 * 3_600_000).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_reads_back(seconds):
    assert seconds == units.parse_duration(units.format_duration(seconds))


@unhurried
@given(st.integers(0, 999_999_999))
def test_an_int_reads_back(number):
    assert number == units.parse_int(units.format_int(number))


@unhurried
@given(st.integers(0, 100))
def test_a_percentage_reads_back(number):
    assert number == units.parse_percent(units.format_percent(number))


@unhurried
@given(st.sets(st.integers(1, 100), min_size=1).map(lambda numbers: tuple(sorted(numbers))))
def test_weights_read_back(weights):
    assert weights == units.parse_weights(units.format_weights(weights))


@unhurried
@given(st.integers(1, 100), st.integers(1, 100))
def test_linear_weights_are_weights_that_end_with_the_maximum(step, maximum):
    weights = units.linear_weights(step, maximum)
    assert weights == units.parse_weights(units.format_weights(weights))
    assert maximum == weights[-1]
    assert all(weight % step == 0 for weight in weights[:-1])


@few
@given(
    st.lists(
        st.from_regex(units.SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253),
        min_size=1,
        unique=True,
    )
)
def test_a_list_reads_back(items):
    assert tuple(items) == units.parse_list(units.format_list(items))


map_values = st.text(alphabet=st.characters(min_codepoint=0x20, exclude_characters="\x7f")).map(
    lambda text: text.strip(" \t")
)


@unhurried
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True), map_values, min_size=1
    )
)
def test_a_map_reads_back(pairs):
    assert pairs == units.parse_map(units.format_map(pairs))


decimals = st.decimals(0, 10**11, places=3, allow_nan=False).map(float)


@unhurried
@given(decimals)
def test_a_decimal_reads_back(number):
    assert number == units.parse_decimal(units.format_decimal(number))


@unhurried
@given(
    st.sampled_from([c for c in Comparator if c is not Comparator.BETWEEN]),
    decimals,
    st.sampled_from(["", "ms", "%"]),
)
def test_a_condition_reads_back(comparator, number, unit):
    condition = Condition(comparator, number, unit=unit)
    assert condition == dataclasses.replace(
        units.parse_condition(units.format_condition(condition)), text=""
    )


@unhurried
@given(decimals, decimals, st.sampled_from(["", "ms", "%"]))
def test_a_range_reads_back(one, other, unit):
    condition = Condition(Comparator.BETWEEN, min(one, other), max(one, other), unit)
    assert condition == dataclasses.replace(
        units.parse_condition(units.format_condition(condition)), text=""
    )


@unhurried
@given(st.decimals(-(10**9), 10**9, places=6, allow_nan=False), st.sampled_from([">=", "<", ""]))
def test_a_condition_written_by_hand_is_read_exactly(number, sign):
    text = f"{sign} {number:f}" if sign else f"{number:f}..{number:f}"
    assert float(number) == units.parse_condition(text).low


# --- expressions and parsers ---

patterned = [kind for kind in types.TYPES if kind.pattern]


@pytest.mark.parametrize("kind", patterned, ids=lambda kind: kind.name)
@few
@given(data=st.data())
def test_what_a_parser_reads_its_expression_matches(kind, data):
    text = data.draw(
        st.from_regex(kind.pattern, fullmatch=True)
        | anything
        | st.sampled_from([rule.example for rule in RULES])
    )
    with suppress(UnitError):
        kind.parse(text)
        assert re.fullmatch(kind.pattern, text.strip(units.BLANKS))
