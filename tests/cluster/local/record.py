"""What a run leaves on the machine, written down while it happens.

A run that is killed cannot tidy up, so each thing that outlives it is in this file before it
is needed: the folder, the processes with their start times, the kernel settings as
they were, and which folders of other programs did not exist. Bridges, routes, tables and control groups have fixed names and need no record.
Written by replacing the file, never in place: a killed run leaves the old text or the new one.
"""

import json
import os
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.local.processes import ProcessRecord


@dataclass
class RunRecord:
    """One run: its folder and owner, what it started and what it changed."""

    folder: str
    owner: ProcessRecord
    processes: list[ProcessRecord] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_text(cls, text: str) -> "RunRecord":
        raw: dict[str, Any] = json.loads(text)
        return cls(
            folder=raw["folder"],
            owner=ProcessRecord(**raw["owner"]),
            processes=[ProcessRecord(**one) for one in raw["processes"]],
            settings=dict(raw["settings"]),
            absent=list(raw.get("absent", [])),
        )


class RecordFile:
    """The file of the record; there is none when nothing is left on the machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> RunRecord | None:
        """Return the record of the last run, or None if that one tidied up.

        A text that cannot be read stands for a run of which only the fixed names are known:
        what a crash has left must not keep the next run from starting.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return RunRecord.from_text(text)
        except (ValueError, KeyError, TypeError):
            return RunRecord(folder="", owner=ProcessRecord("unknown", 0, 0))

    def save(self, record: RunRecord) -> None:
        with self._lock:
            fresh = self._path.with_suffix(".new")
            with fresh.open("w", encoding="utf-8") as file:
                file.write(record.to_text())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
