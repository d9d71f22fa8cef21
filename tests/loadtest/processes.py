"""Looking at processes through /proc: who lives, and whose child it is."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether there is anything of the process, a zombie included."""
    return Path(f"/proc/{pid}").exists()


def is_alive(pid: int) -> bool:
    """Whether it runs or could run: a zombie waits for init, which is not our matter."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def read(pid: int, name: str) -> str:
    """What the kernel tells about a process in one of its files."""
    return Path(f"/proc/{pid}/{name}").read_text()


def children_of(pid: int) -> set[int]:
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[1]) == pid
    }


def generators() -> set[int]:
    """Load generators that this process has started."""
    found = set()
    for pid in children_of(os.getpid()):
        with suppress(OSError):
            if b"canaryd.loadtest" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


async def gone(pid: int, *, within_s: float = 5.0) -> bool:
    """Wait until a process that others reap has ended."""
    async with asyncio.timeout(within_s):
        while is_alive(pid):  # noqa: ASYNC110 - nobody tells us when a foreign process ends
            await asyncio.sleep(0.01)
    return True


def _stat(pid: int) -> list[str]:
    """State, parent and so on: what follows the name, which may hold anything."""
    with suppress(OSError):
        return read(pid, "stat").rpartition(")")[2].split()
    return []
