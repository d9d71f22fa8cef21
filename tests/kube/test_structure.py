"""Traps that are avoided by not being near them.

Each test here fails when somebody brings one back; what the client does instead is tested beside it.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import canaryd
from canaryd.kube import transport
from canaryd.kube.kubeconfig import Connection

ROOT = Path(canaryd.__file__).parent
KUBE = sorted((ROOT / "kube").glob("*.py"))


@cache
def nodes(path):
    return tuple(ast.walk(ast.parse(path.read_text())))


def imports_of(path):
    """(module, name) of every import, wherever in the file it stands."""
    for node in nodes(path):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, "") for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from ((module or "", alias.name) for alias in names)


def test_A9_of_the_official_package_only_the_transport_is_used_and_in_one_module():
    """No model (M1 to M5), no Watch (W1 to W13), no dynamic client (D1 to D3), no config loader
    (A1 to A7), no elector (L1 to L7).
    """
    used = {
        (path.relative_to(ROOT).as_posix(), module, name)
        for path in ROOT.rglob("*.py")
        for module, name in imports_of(path)
        if module.partition(".")[0] in {"kubernetes", "kubernetes_asyncio"}
    }
    assert {
        ("kube/packaged.py", "kubernetes.aio.client.api_client", "ApiClient"),
        ("kube/packaged.py", "kubernetes.aio.client.configuration", "Configuration"),
    } == used


def test_A9_nothing_of_it_is_imported_by_a_string():
    named = [
        (path.name, node.value)
        for path in ROOT.rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and str(node.value).startswith(
            ("kubernetes.aio", "kubernetes.client", "kubernetes_asyncio")
        )
    ]
    assert [] == named


def test_D1_no_code_asks_which_groups_and_kinds_there_are():
    asking = [
        (path.name, node.value)
        for path in ROOT.rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.Constant) and node.value in {"/api", "/apis", "/openapi/v2"}
    ]
    assert [] == asking


def test_D2_temporary_files_are_made_in_one_place_only():
    """Where the TLS library takes a client certificate from files, which are gone a moment later."""
    makers = [path.name for path in KUBE if any(m == "tempfile" for m, _ in imports_of(path))]
    assert ["transport.py"] == makers


async def test_X2_no_library_repeats_requests_behind_our_back():
    assert transport._configure(Connection("https://host")).retries is None
    for path in KUBE:
        repeaters = {m.partition(".")[0] for m, _ in imports_of(path)} & {
            "tenacity",
            "aiohttp_retry",
        }
        assert set() == repeaters, path.name


async def test_X1_the_environment_is_not_trusted_for_each_request():
    session = transport._configure(Connection("https://host")).client_session_kwargs
    assert session["trust_env"] is False


def test_no_task_is_started_that_nobody_waits_for():
    """A leader whose work nobody watches is how L2 and L5 begin."""
    bare = [
        (path.name, node.lineno)
        for path in KUBE
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"asyncio.create_task", "asyncio.ensure_future"}
    ]
    assert [] == bare


def test_there_is_no_shell_and_no_clock_but_the_one_that_is_given():
    banned = {"asyncio.create_subprocess_shell", "time.time", "time.monotonic", "datetime.now"}
    used = [
        (path.name, ast.unparse(node))
        for path in KUBE
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in banned
    ]
    assert [] == used


def test_the_synchronous_half_of_the_official_package_is_not_loaded():
    program = (
        "import sys, canaryd.kube.client;"
        "print([m for m in sys.modules if m.startswith('kubernetes.client')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert "[]" == done.stdout.strip()
