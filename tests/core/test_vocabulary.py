"""The rule table agrees with itself, with the model and with the page that is printed from it."""

import importlib.util
import re
from pathlib import Path

import pytest

from canaryd.core import rule as types
from canaryd.core.coherence import OFF, PROVIDERS, STRATEGIES
from canaryd.core.courses import GATE_OPTIONS, GATE_PLACES, STATEMENTS
from canaryd.core.lookup import FAMILIES, Known, Planned, look_up, suggest
from canaryd.core.matching import CONDITIONS
from canaryd.core.model import CanarySpec
from canaryd.core.phrases import LOAD_OPTIONS
from canaryd.core.program import GateAt, Verb
from canaryd.core.vocabulary import BY_KEY, CONFIG_KEYS, PLANNED, RULES
from tests.core.plans import CUSTOM, SAMPLES, written

EVERY = (*RULES, *CONFIG_KEYS.values())
each_rule = pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.key)


def generator():
    path = Path(__file__).parents[2] / "docs" / "generate_annotations.py"
    spec = importlib.util.spec_from_file_location("generate_annotations", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each_rule
def test_the_example_of_a_key_is_a_value_of_it(rule):
    assert None is not rule.parse(rule.example)


@each_rule
def test_the_default_of_a_key_is_a_value_of_it(rule):
    if rule.default:
        assert None is not rule.parse(rule.default)


@each_rule
def test_the_limits_of_a_key_are_values_of_it(rule):
    for limit in filter(None, (rule.at_least, rule.at_most)):
        assert rule.type.parse(limit) == rule.parse(limit)


@each_rule
def test_a_key_belongs_to_a_known_type_and_says_what_it_means(rule):
    assert rule.type in types.TYPES
    assert rule.meaning.endswith(".")


@each_rule
def test_keys_that_a_key_needs_or_excludes_exist(rule):
    assert {*rule.needs, *rule.excludes} <= set(BY_KEY)
    assert all(rule.key in BY_KEY[other].excludes for other in rule.excludes)


@each_rule
def test_a_choice_has_words_and_other_types_have_none(rule):
    assert (rule.type is types.CHOICE) == bool(rule.choices)


def test_keys_are_written_once():
    assert len(EVERY) == len({*BY_KEY, *CONFIG_KEYS, *PLANNED}) - len(PLANNED)


def test_the_samples_have_every_key():
    families = "|".join(FAMILIES)
    generic = {
        re.sub(rf"^({families})\.[^.]+", r"\1.<name>", key) for sample in SAMPLES for key in sample
    }
    assert set(BY_KEY) - {"step-weight", "max-weight"} == generic


@pytest.mark.parametrize("table", [STRATEGIES, PROVIDERS])
def test_what_goes_with_what_is_said_of_keys_that_exist(table):
    assert set() == set(table) - set(BY_KEY)


def test_what_asks_for_nothing_is_the_default_of_its_key():
    assert OFF == {key: BY_KEY[key].default for key in OFF}


def test_the_defaults_of_the_table_are_those_of_the_model():
    defaults = {rule.key: rule.default for rule in RULES if rule.default and "." not in rule.key}
    iterations = defaults.pop("iterations")
    assert CanarySpec() == written(defaults).spec
    assert CanarySpec().iterations == BY_KEY["iterations"].parse(iterations)


def test_the_defaults_of_details_are_those_of_the_model():
    keys = {**CUSTOM, "hook.smoke": "rollout svc://a/", "load-test.get": "GET /"}
    details = {
        key: BY_KEY[f"{key.split('.')[0]}.<name>.{key.split('.')[2]}"].default
        for key in (
            "metric.declines.no-data",
            "metric.declines.source",
            "hook.smoke.timeout",
            "hook.smoke.retries",
            "hook.smoke.order",
        )
    }
    spec = written(keys).spec
    assert spec == written({**keys, **details}).spec
    assert (spec.hooks[0].timeout_s, spec.hooks[0].retries, spec.hooks[0].order) == (10.0, 0, 0)
    assert (
        spec.load_tests[0].concurrency,
        spec.load_tests[0].timeout_s,
        spec.load_tests[0].max_errors,
    ) == (10, 5.0, 1.0)


@pytest.mark.parametrize("kind", types.TYPES, ids=lambda kind: kind.name)
def test_the_example_of_a_type_is_in_its_grammar(kind):
    assert None is not kind.parse(kind.example)
    assert not kind.pattern or re.fullmatch(kind.pattern, kind.example)


@pytest.mark.parametrize(
    "kind", [kind for kind in types.TYPES if kind.pattern], ids=lambda kind: kind.name
)
def test_an_expression_keeps_to_what_other_engines_know(kind):
    # RE2 has no look-around and no back-references; classes like \d mean other things elsewhere; RE2 counts to 1000.
    assert not re.search(r"\(\?[=!<P]|\\[dDwWsSbBAZ1-9]", kind.pattern)
    assert all(int(count) <= 1000 for count in re.findall(r",([0-9]+)\}", kind.pattern))
    assert kind.pattern.isascii()


@pytest.mark.parametrize("option", [*LOAD_OPTIONS, *GATE_OPTIONS], ids=lambda option: option.name)
def test_the_limits_of_an_option_enclose_its_default(option):
    low, high = option.parse(option.at_least), option.parse(option.at_most)
    assert low <= option.parse(option.default or option.at_most) <= high
    assert re.fullmatch(option.pattern, option.default or option.at_most)


@pytest.mark.parametrize("key", [*BY_KEY, *PLANNED])
def test_every_key_of_the_table_is_found_under_a_name(key):
    found = look_up(key.replace("<name>", "x"))
    assert (
        Known(BY_KEY[key], *((key.split(".")[0], "x") if "<" in key else ()))
        if key in BY_KEY
        else Planned(PLANNED[key])
    ) == found


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("Interval", "interval"),
        ("maxweight", "max-weight"),
        ("hooks", "hook.NAME"),
        ("metric", "metric.NAME"),
        ("loadtest.x", "load-test.x"),
        ("hook.x.time-out", "hook.x.timeout"),
        ("qqqq", ""),
        ("metric.<x>.query", ""),
        ("metric.x.", ""),
        ("x" * 10_000, ""),
        ("", ""),
    ],
)
def test_what_was_meant_is_suggested_when_it_is_close(key, meant):
    assert meant == suggest(key)


def test_every_statement_place_and_condition_is_explained():
    assert set(Verb) == set(STATEMENTS)
    assert set(GateAt) == set(GATE_PLACES)
    assert all(form.startswith(verb) for verb, (form, _) in STATEMENTS.items())
    assert all(form.startswith(place) for place, (form, _) in GATE_PLACES.items())
    assert {"header", "cookie"} == {form.split()[0] for form in CONDITIONS}


def test_families_are_those_of_the_table():
    assert {key.split(".")[0] for key in BY_KEY if "." in key} == set(FAMILIES)


def test_the_reference_page_is_current():
    module = generator()
    assert module.render() == module.PAGE.read_text(encoding="utf-8"), (
        "run docs/generate_annotations.py"
    )


CHAPTERS = {
    "conditions-on-requests",
    "gates-and-their-options",
    "keys-that-go-together",
    "steps-of-a-canary",
}


def test_the_reference_page_has_one_anchor_per_key_type_and_chapter_and_no_dead_link():
    page = generator().render()
    anchors = re.findall(r'<a id="([^"]+)">', page)
    assert len(set(anchors)) == len(anchors)
    rules = len(RULES) + len(CONFIG_KEYS)
    assert len(anchors) == rules + len(types.TYPES) + len(CHAPTERS)
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) | CHAPTERS <= set(anchors)


def test_the_check_of_the_page_fails_when_the_page_differs(tmp_path, capsys):
    module = generator()
    module.PAGE = tmp_path / "reference" / "annotations.md"
    assert module.main(["--check"]) == 1
    assert "is not current" in capsys.readouterr().err
    assert module.main([]) == 0
    assert module.main(["--check"]) == 0
