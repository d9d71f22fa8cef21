"""``canaryd explain``: what a key means, offline."""

import json
import re

import pytest
import yaml

from canaryd.cli.exits import Exit
from canaryd.core.vocabulary import CONFIG_KEYS, PLANNED, RULES
from tests.cli.golden import is_golden

EVERY = (*RULES, *CONFIG_KEYS.values())


@pytest.mark.parametrize(
    "key", ["interval", "metric.success-rate", "gate.qa", "hook.<name>.timeout"]
)
def test_a_key_is_explained_as_agreed(canaryd, key):
    outcome = canaryd("explain", key)
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    name = re.sub(r"[^a-z-]+", "-", key)
    assert is_golden(f"explain-{name}.txt", outcome.out)


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.key)
def test_every_key_is_explained_without_markup(canaryd, rule):
    text = canaryd("explain", rule.key).out
    assert text.startswith(f"canaryd.io/{rule.key}\n")
    assert "`" not in text
    assert "](" not in text


@pytest.mark.parametrize("prefix", ["canaryd.io/", "defaults.canaryd.io/"])
def test_a_key_may_carry_its_prefix(canaryd, prefix):
    assert canaryd("explain", "interval").out == canaryd("explain", f"{prefix}interval").out


def test_without_a_key_all_of_them_are_listed(canaryd):
    outcome = canaryd("explain")
    listed = {line.split()[0] for line in outcome.out.splitlines() if line}
    assert {rule.key for rule in EVERY} <= listed


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_key(canaryd, output, read):
    found = read(canaryd("explain", "-o", output).out)["keys"]
    assert [rule.key for rule in EVERY] == [key["key"] for key in found]
    one = read(canaryd("explain", "interval", "-o", output).out)
    assert [one] == [key for key in found if key["key"] == "interval"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("intervall", "intervall is no key of canaryd; did you mean interval?"),
        ("qwertz", "qwertz is no key of canaryd; canaryd explain lists them all"),
        ("metric.Success", '"Success" is no name: names are 1 to 24 of a-z, 0-9 and dashes'),
        (next(iter(PLANNED)), "is not supported by this version: "),
        ("\x1b[2J", "\\x1b[2J is no key of canaryd"),
    ],
    ids=["a slip", "nonsense", "no name", "planned", "control characters"],
)
def test_what_is_no_key_is_told_with_what_was_meant(canaryd, key, expected):
    outcome = canaryd("explain", key)
    assert (Exit.INVALID, "") == (outcome.code, outcome.out)
    assert expected in outcome.err
    assert 1 == outcome.err.count("\n")
