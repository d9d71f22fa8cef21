"""The core reads no clock, throws no dice and does no I/O: read off its source, import by import and call by call."""

import ast
import sys
from pathlib import Path

import pytest

import canaryd.core

FOLDER = Path(canaryd.core.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
IMPURE = {
    "asyncio",
    "concurrent",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
    "warnings",
}
CLOCKS = {"now", "utcnow", "today", "fromtimestamp"}
IO_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval", "globals", "__import__"}


def name_of(path):
    return path.relative_to(FOLDER).as_posix()


def nodes(path, kind):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def imported(path):
    for node in nodes(path, ast.Import):
        yield from (alias.name for alias in node.names)
    for node in nodes(path, ast.ImportFrom):
        assert node.level == 0, f"{name_of(path)}: relative import"
        yield node.module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_core_imports_itself_and_what_is_pure_of_the_standard_library(path):
    tops = {module.partition(".")[0] for module in imported(path)}

    assert set() == tops - sys.stdlib_module_names - {"canaryd"}
    assert set() == tops & IMPURE
    assert [] == [m for m in imported(path) if m.startswith("canaryd") and ".core" not in m]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_core_asks_no_clock_and_calls_nothing_that_reads_or_writes(path):
    for call in nodes(path, ast.Call):
        where = f"{name_of(path)}:{call.lineno}"
        if isinstance(call.func, ast.Name):
            assert call.func.id not in IO_CALLS, where
        if isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS:
            # A point in time that was passed in may be written down; the zone has to be said.
            is_given = call.func.attr == "fromtimestamp" and len(call.args) == 2
            assert is_given, f"{where}: datetime.{call.func.attr}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_core_remembers_nothing_between_two_decisions(path):
    assert [] == nodes(path, ast.Global)
    assert [] == nodes(path, ast.Nonlocal)
    assert [] == nodes(path, ast.Await)
    assert [] == nodes(path, ast.AsyncFunctionDef)


def test_every_module_of_the_core_is_looked_at():
    assert {"decide.py", "rollout/analysis.py"} <= {name_of(path) for path in MODULES}
