"""Runs the command line in this process, as its script does, and catches what comes out."""

import io
import sys
from dataclasses import dataclass

from canaryd.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Canaryd:
    """``canaryd("lint", "x.yaml")`` in the place of ``canaryd lint x.yaml``."""

    def __init__(self, capsys, monkeypatch):
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments, stdin=b"", name="canaryd"):
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [f"/usr/local/bin/{name}", *arguments])
            is_text = isinstance(stdin, bytes)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)) if is_text else stdin)
            try:
                main()
            except SystemExit as end:
                code = end.code
            else:
                raise AssertionError("main came back")
            captured = self._capsys.readouterr()
        return Outcome(code, captured.out, captured.err)
