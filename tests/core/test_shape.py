"""The shape of the code, in numbers: what the page on the design promises of modules and functions."""

import ast
import re
from functools import cache
from pathlib import Path
from statistics import quantiles

import pytest

import canaryd

PACKAGE = Path(canaryd.__file__).parent
TESTS = Path(__file__).parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
WRITTEN = [path for path in MODULES if path.read_text(encoding="utf-8").strip()]
TEST_MODULES = sorted(TESTS.rglob("*.py"))

MODULE_LINES = 500
RECONCILE_LINES = 60
FUNCTION_LINES = 80
FUNCTION_LINES_P90 = 35
DOCSTRING_WORDS = 8
LONG_MODULE = 60
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
MOCKS = {"unittest", "mock"}


def name_of(path):
    return path.relative_to(PACKAGE.parent).as_posix()


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def functions():
    """Every function of the package, with its length from ``def`` to its last line."""
    return [
        (f"{name_of(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1)
        for path in WRITTEN
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_every_module_says_what_it_is_for(path):
    told = ast.get_docstring(tree_of(path)) or ""
    is_long = len(path.read_text(encoding="utf-8").splitlines()) > LONG_MODULE

    assert len(told.split()) >= (DOCSTRING_WORDS if is_long else 1)
    assert told.partition("\n\n")[0].endswith((".", ":", "?"))


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_no_module_is_longer_than_it_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES


def test_the_loop_body_fits_on_one_screen():
    reconcile = PACKAGE / "controller" / "reconcile.py"

    assert len(reconcile.read_text(encoding="utf-8").splitlines()) <= RECONCILE_LINES


def test_no_function_is_longer_than_a_screen():
    assert [] == [where for where, lines in functions() if lines > FUNCTION_LINES]


def test_nine_functions_of_ten_fit_into_one_view():
    lengths = [lines for _, lines in functions()]

    assert quantiles(lengths, n=10)[-1] <= FUNCTION_LINES_P90


@pytest.mark.parametrize("path", [*WRITTEN, *TEST_MODULES], ids=str)
def test_what_is_left_to_do_has_the_number_of_an_issue(path):
    if path != Path(__file__):
        assert [] == LEFTOVER.findall(path.read_text(encoding="utf-8"))


def test_no_test_replaces_a_collaborator_with_a_mock():
    mocking = []
    for path in TEST_MODULES:
        for node in ast.walk(tree_of(path)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.partition(".")[0] in MOCKS for name in names):
                mocking.append(path.name)

    assert [] == mocking
