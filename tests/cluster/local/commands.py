"""Runs command line tools to their end, and waits for conditions.

One place for both, so that every failure carries what the tool itself said
and every wait has an end and names what it waited for.
It never goes through a shell and never runs anything in the background: `processes.py` does.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.cluster.local.errors import CommandFailed, WaitedTooLong

T = TypeVar("T")


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> str:
    """Run a command to its end and return its output; CommandFailed carries its words."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=None if env is None else dict(env),
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as missing:
        raise CommandFailed(f"{words[0]} is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(f"`{' '.join(words)}` did not end in {timeout_s:.0f} s") from late
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(f"`{' '.join(words)}` ended with {done.returncode}: {said}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Say whether a command ends well; for undoing what may already be gone."""
    try:
        run(command)
    except CommandFailed:
        return False
    return True


def wait_for(
    what: str,
    probe: Callable[[], T | None],
    *,
    timeout_s: float = 60,
    interval_s: float = 0.1,
) -> T:
    """Ask until the answer is truthy, and return it.

    An OSError or a ClusterError of a probe means "not yet"; the last one is told at the end.
    """
    deadline = time.monotonic() + timeout_s
    last = "no answer"
    while True:
        try:
            answer = probe()
        except (OSError, CommandFailed) as error:
            last = f"{type(error).__name__}: {error}"
        else:
            if answer:
                return answer
            last = f"the answer was {answer!r}"
        if time.monotonic() >= deadline:
            raise WaitedTooLong(f"{what} did not come true in {timeout_s:.0f} s; {last}")
        time.sleep(interval_s)
