"""The page of acceptance has every case once, names tests that are there, and says why what is open is."""

import ast
from functools import cache

import pytest

from tests.docs.markdown import ROOT, read, spans
from tests.docs.pages import table

PAGE = "docs/acceptance.md"
HEAD = ("case", "what happens, and what has to come of it", "tests", "state", "not yet")
LISTS = {"X": 28, "A": 10, "E": 43, "U": 21, "F": 40}
"""Cases of each list: they were fixed before there was code, and none is dropped quietly."""
SHOWN, VIRTUAL, OPEN, FOREIGN = "shown", "shown in virtual time", "open", "does not concern"
ROWS = table(read(PAGE), HEAD)
each_row = pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])


@cache
def names_in(path):
    """Names of the tests of a module, those of a class behind its name; empty without a module."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        functions = (n for n in inner if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        found |= {prefix + f.name for f in functions if f.name.startswith("test_")}
    return frozenset(found)


def is_there(test):
    path, _, name = test.partition("::")
    return name in names_in(path)


def problems_of(row):
    """What is wrong with a row, apart from which cases it is about."""
    case, told, cell, state, missing = row
    tests = spans(cell)
    found = [f"{test} is no test" for test in tests if not is_there(test)]
    if not told:
        found.append("it is not said what happens")
    on_cluster = any(test.startswith("tests/cluster/") for test in tests)
    if state in (SHOWN, VIRTUAL):
        wanted = SHOWN if on_cluster else VIRTUAL
        if not tests or state != wanted:
            found.append(f"with these tests it is {wanted if tests else OPEN}")
    elif state in (OPEN, FOREIGN):
        if not missing:
            found.append("it is not said why")
        if tests and state == FOREIGN:
            found.append("it has tests, so it concerns us")
    else:
        found.append(f"{state!r} is no state")
    return [f"{case}: {problem}" for problem in found]


def test_every_case_is_there_once():
    wanted = [f"{name}{number}" for name, count in LISTS.items() for number in range(1, count + 1)]
    found = [case for row in ROWS for case in row[0].split(", ")]
    assert sorted(wanted) == sorted(found)


@each_row
def test_a_row_names_tests_that_are_there_and_tells_its_state_truly(row):
    assert [] == problems_of(row)


def test_the_states_are_those_that_are_explained():
    explained = {state for state, _ in table(read(PAGE), ("state", "means"))}
    assert {SHOWN, VIRTUAL, OPEN, FOREIGN} == explained


def test_every_test_that_is_named_in_code_stands_in_a_row():
    rows = {test for row in ROWS for test in spans(row[2])}
    named = {code for code in spans(read(PAGE)) if "::" in code}
    assert set() == named - rows


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("X1", "it", "`tests/docs/test_acceptance.py::test_nobody`", VIRTUAL, ""), "is no test"),
        (("X1", "it", "`tests/docs/test_lost.py::test_nobody`", VIRTUAL, ""), "is no test"),
        (("X1", "it", "", VIRTUAL, ""), f"with these tests it is {OPEN}"),
        (("X1", "it", "`a`", SHOWN, ""), f"with these tests it is {VIRTUAL}"),
        (("X1", "it", "`tests/cluster/test_a.py::test_b`", VIRTUAL, ""), f"it is {SHOWN}"),
        (("X1", "it", "", OPEN, ""), "it is not said why"),
        (("X1", "it", "`a`", FOREIGN, "Knative"), "it concerns us"),
        (("X1", "it", "", "soon", "later"), "'soon' is no state"),
        (("X1", "", "", OPEN, "later"), "it is not said what happens"),
    ],
)
def test_a_row_that_is_wrong_would_be_noticed(row, problem):
    assert any(problem in found for found in problems_of(row))


@pytest.mark.parametrize(
    "test",
    [
        "tests/docs/test_acceptance.py::test_a_row_that_is_wrong_would_be_noticed",
        "tests/chart/test_rbac.py::TestClusterScope::test_namespaces_may_be_read_but_not_written",
    ],
)
def test_a_test_is_found_by_its_name_and_that_of_its_class(test):
    assert is_there(test)
    assert not is_there(f"{test}_at_all")
