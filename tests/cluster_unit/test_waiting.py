"""Waiting for conditions, for locks and for command line tools."""

import threading
from pathlib import Path

import pytest

from tests.cluster.local import commands
from tests.cluster.local.errors import CommandFailed, WaitedTooLong
from tests.cluster.local.locking import FileLock


def test_waiting_returns_the_first_answer_that_is_true() -> None:
    answers = iter([None, 0, "ready"])

    assert commands.wait_for("it", lambda: next(answers), interval_s=0) == "ready"


def test_a_refused_connection_means_not_yet() -> None:
    attempts = iter([ConnectionRefusedError("refused"), CommandFailed("not found"), None])

    def probe() -> bool:
        error = next(attempts)
        if error is not None:
            raise error
        return True

    assert commands.wait_for("it", probe, interval_s=0)


def test_the_end_of_waiting_tells_what_and_why() -> None:
    def probe() -> bool:
        raise ConnectionRefusedError("refused")

    with pytest.raises(WaitedTooLong, match=r"the ingress did not come true in 0 s; .*refused"):
        commands.wait_for("the ingress", probe, timeout_s=0)


def test_a_failed_command_carries_its_words() -> None:
    with pytest.raises(CommandFailed, match=r"`ls /nowhere/at/all` ended with 2: .*No such file"):
        commands.run(["ls", "/nowhere/at/all"])


def test_a_missing_command_is_named() -> None:
    with pytest.raises(CommandFailed, match="no-such-command is not installed"):
        commands.run(["no-such-command"])


def test_a_second_holder_waits_and_says_for_whom(tmp_path: Path) -> None:
    said: list[str] = []
    told = threading.Event()
    got = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        told.set()

    def second() -> None:
        with FileLock(tmp_path / "lock", "runs a cluster", say):
            got.set()

    with FileLock(tmp_path / "lock", "runs a cluster", say):
        other = threading.Thread(target=second)
        other.start()
        assert told.wait(timeout=5)
        assert not got.is_set()
    other.join(timeout=5)

    assert got.is_set()
    assert len(said) == 1
    assert said[0].endswith("which runs a cluster")
