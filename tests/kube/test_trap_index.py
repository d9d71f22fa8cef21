"""The design page lists every trap of the client, and every trap has a test that bears its code."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "design" / "20261124-kubernetes-client.md"
COUNTS = {"W": 13, "M": 6, "P": 3, "D": 3, "A": 9, "L": 7, "X": 2}
CODES = [f"{letter}{number}" for letter, last in COUNTS.items() for number in range(1, last + 1)]
ROW = re.compile(r"^\| ([A-Z]\d+) \|.*\| (.*) \| `(test_[A-Z]\d+_)` \|$", re.MULTILINE)
CITED = re.compile(r"\b([WMPDALX]\d{1,2})\b")


@pytest.fixture(scope="module")
def rows():
    return {code: (places, pattern) for code, places, pattern in ROW.findall(PAGE.read_text())}


@pytest.fixture(scope="module")
def names():
    """Names of all tests of this folder."""
    return {
        node.name
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def test_the_page_lists_every_trap_in_order_and_no_other(rows):
    assert CODES == list(rows)


@pytest.mark.parametrize("code", CODES)
def test_every_trap_has_a_test_that_bears_its_code(code, rows, names):
    _, pattern = rows[code]
    assert f"test_{code}_" == pattern
    assert [name for name in names if name.startswith(pattern)]


def test_every_test_that_bears_a_code_is_about_a_listed_trap(rows, names):
    bearing = {match.group(1) for name in names if (match := re.match(r"test_([A-Z]\d+)_", name))}
    assert set() == bearing - set(rows)


@pytest.mark.parametrize("code", CODES)
def test_the_place_that_avoids_a_trap_exists(code, rows):
    places = re.findall(r"`([^`]+)`", rows[code][0])
    assert places
    for place in places:
        candidates = (ROOT / "canaryd" / "kube" / place, ROOT / "canaryd" / place, ROOT / place)
        assert any(path.is_file() for path in candidates), place


def test_every_trap_that_the_code_cites_is_listed(rows):
    cited = {
        (path.name, code)
        for path in (ROOT / "canaryd" / "kube").glob("*.py")
        for code in CITED.findall(path.read_text())
    }
    assert {"W4", "L2", "A3"} <= {code for _, code in cited}
    assert set() == {entry for entry in cited if entry[1] not in rows}
