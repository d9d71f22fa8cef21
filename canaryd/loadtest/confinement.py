"""What the child process does to itself first: it must harm nobody and outlive nobody.

It ends with the daemon, by two ways that fail differently:

- The kernel kills it when its parent dies (``PR_SET_PDEATHSIG``). Works also while it is stopped or
  stuck, but only on Linux.
- It watches its standard input, which the daemon holds open and nobody else has: end of file means
  that the daemon is gone. Works on every POSIX system and closes the moment before the first way is
  set up, but needs a running event loop.

Leases and rollouts come before load, so it gives way to the daemon for the processor, and if memory
runs out it goes first. None of this needs a privilege; where the system refuses, the test runs on.
"""

import asyncio
import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

NICENESS = 10
MEMORY_BYTES = 192 * 1024 * 1024
"""Of data the child may hold, four times what a thousand busy connections were seen to need.
A container that runs out of memory can be killed as a whole, with the daemon in it."""
EXIT_ORPHANED = 3
_PR_SET_PDEATHSIG = 1


def confine() -> None:
    """Bind this process to its parent and put it behind everybody else."""
    _die_with_parent()
    with suppress(OSError):
        os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for limit, value in ((resource.RLIMIT_DATA, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        # A hard limit can never be raised again, so the lower one of both holds.
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value))


def watch_parent(stdin: int = 0) -> None:
    """End this process as soon as its standard input ends; call it inside of the event loop."""
    asyncio.get_running_loop().add_reader(stdin, _end_if_orphaned, stdin)


def _die_with_parent() -> None:
    # The signal comes when the *thread* that started us ends. The daemon starts us from its event
    # loop's thread, which lives as long as anything that wants the result.
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # a Python without dynamic loading
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_if_orphaned(stdin: int) -> None:
    if not os.read(stdin, 4096):
        # Nobody is left who would read a report, and nothing of ours needs tidying.
        os._exit(EXIT_ORPHANED)
