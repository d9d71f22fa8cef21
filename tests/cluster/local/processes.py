"""Supervised child processes, and how any process of a run is ended.

A process is known by its number *and* the moment it started: numbers are reused, and a
cluster that crashed an hour ago must not end somebody else's work.
Each child leads a session of its own, so Ctrl-C reaches this program alone and the
children are stopped in order. A process is never looked for by its name.
"""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.local.errors import ProcessFailed

MARKER = "CANARYD_CLUSTER_FOLDER"
"""Set in the environment of every child; what a child starts inherits it."""

WITHHELD = frozenset(
    ["KUBECONFIG"]
    + [f"{one}_proxy" for one in ("http", "https", "no", "all")]
    + [f"{one}_PROXY" for one in ("HTTP", "HTTPS", "NO", "ALL")]
)
"""Not inherited by children: they talk to this cluster, over loopback, and to nobody else."""


@dataclass(frozen=True)
class ProcessRecord:
    """A process that cannot be mistaken for a later one with the same number."""

    name: str
    pid: int
    started: int


def start_time(pid: int) -> int | None:
    """Read when a process started, in clock ticks since boot; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets and may contain anything.
    after_name = text.rpartition(")")[2].split()
    is_zombie = after_name[0] == "Z"
    return None if is_zombie else int(after_name[19])


def is_alive(record: ProcessRecord) -> bool:
    return start_time(record.pid) == record.started


def find_marked(folder: str) -> list[ProcessRecord]:
    """Find processes that were started, by whomever, from a child of the run in this folder."""
    found = []
    wanted = f"{MARKER}={folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        started = start_time(int(entry.name))
        if wanted in environment and started is not None:
            found.append(ProcessRecord("marked", int(entry.name), started))
    return found


def end_process(record: ProcessRecord, grace_s: float = 5) -> None:
    """SIGTERM, then SIGKILL after the grace; a paused process hears SIGCONT first."""
    try:
        handle = os.pidfd_open(record.pid)
    except OSError:
        return
    try:
        # The handle names one process for good, so the check and the signals cannot part.
        if not is_alive(record):
            return
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        if grace_s > 0:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            signal.pidfd_send_signal(handle, signal.SIGCONT)
            if ended.poll(grace_s * 1000):
                return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        ended.poll(10_000)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def end_processes(records: Iterable[ProcessRecord], grace_s: float = 1) -> None:
    """End several at once: the grace is one for all, not one for each."""
    threads = [threading.Thread(target=end_process, args=(one, grace_s)) for one in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Children:
    """The programs of one run: started with a log each, watched, stopped by number.

    `on_start` is told of each child before anything waits for it, so that a record of it
    exists even if this program is killed in the next moment.
    """

    def __init__(
        self, folder: Path, on_start: Callable[[ProcessRecord], None] = lambda _: None
    ) -> None:
        self._folder = folder
        self._on_start = on_start
        self._running: dict[str, tuple[subprocess.Popen[bytes], ProcessRecord]] = {}
        self._given_up = threading.Event()

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        """Start a program; its output is appended to `<name>.log`."""
        if name in self._running:
            raise ProcessFailed(f"{name} is already running")
        environment = {
            **{name: value for name, value in os.environ.items() if name not in WITHHELD},
            **(env or {}),
            MARKER: str(self._folder),
        }
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            )
        record = ProcessRecord(name, child.pid, start_time(child.pid) or 0)
        self._running[name] = (child, record)
        self._on_start(record)

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def tail(self, name: str, lines: int = 15) -> str:
        try:
            text = self.log(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def wait_until(
        self, name: str, what: str, probe: Callable[[], object], timeout_s: float = 60
    ) -> None:
        """Poll until the probe is truthy; ProcessFailed with the log's tail if it cannot be."""
        child, _ = self._running[name]
        deadline = time.monotonic() + timeout_s
        last: object = "no answer"
        while time.monotonic() < deadline and not self._given_up.is_set():
            if child.poll() is not None:
                raise ProcessFailed(
                    f"{name} ended with {child.returncode} before {what}:\n{self.tail(name)}"
                )
            try:
                if probe():
                    return
            except OSError as error:
                last = error
            time.sleep(0.05)
        raise ProcessFailed(
            f"{name} was not ready in {timeout_s:.0f} s ({what}; {last}):\n{self.tail(name)}"
        )

    def names(self) -> list[str]:
        return list(self._running)

    def record(self, name: str) -> ProcessRecord:
        return self._find(name)[1]

    def stop(self, name: str, grace_s: float = 5) -> None:
        child, record = self._find(name)
        end_process(record, grace_s)
        child.wait(timeout=15)
        del self._running[name]

    def reap(self) -> None:
        """Take leave of children that have been ended from outside, so that none stays a zombie."""
        for child, _ in self._running.values():
            child.wait(timeout=15)
        self._running.clear()

    def give_up(self) -> None:
        """Let every wait_until fail now, and every later one: the run is over."""
        self._given_up.set()

    def pause(self, name: str) -> None:
        """Stop a program in its tracks: its sockets stay open and nothing answers."""
        self._find(name)[0].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._find(name)[0].send_signal(signal.SIGCONT)

    def _find(self, name: str) -> tuple[subprocess.Popen[bytes], ProcessRecord]:
        if name not in self._running:
            raise ProcessFailed(f"{name} is not running; these are: {', '.join(self._running)}")
        return self._running[name]
