"""A lock between programs that the kernel takes back when its holder dies.

Used for the machine's one cluster and for each program that is built.
The file stays; only the lock on it counts, so a killed run blocks nobody.
Never removed: two programs would otherwise lock two files of one name.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """An exclusive lock, waited for with one line that names who holds it."""

    def __init__(self, path: Path, what: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._what = what
        self._say = say
        self._file: int | None = None

    def acquire(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited by children: a leftover etcd must not hold the lock of a dead run.
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "?"
                self._say(f"waiting for process {holder}, which {self._what}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        except BaseException:
            os.close(handle)
            raise
        self._file = handle

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
