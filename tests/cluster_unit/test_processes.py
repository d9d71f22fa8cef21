"""Children and strangers: who is ended, who is not, and what is told when a start fails."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.local import processes
from tests.cluster.local.errors import ProcessFailed
from tests.cluster.local.processes import Children, ProcessRecord

SLEEPER = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    started: list[ProcessRecord] = []
    kept = Children(tmp_path, started.append)
    yield kept
    processes.end_processes(started, grace_s=0)
    kept.reap()


def test_a_process_is_known_by_number_and_start() -> None:
    own = ProcessRecord("me", os.getpid(), processes.start_time(os.getpid()) or 0)

    assert processes.is_alive(own)
    assert not processes.is_alive(replace(own, started=own.started - 1))


def test_a_later_process_with_the_number_of_a_recorded_one_is_spared(children: Children) -> None:
    children.start("sleeper", SLEEPER)
    record = children.record("sleeper")

    processes.end_process(replace(record, started=record.started - 1), grace_s=0)
    assert processes.is_alive(record)

    processes.end_process(record)
    assert not processes.is_alive(record)


def test_ending_a_process_that_is_gone_is_fine() -> None:
    processes.end_process(ProcessRecord("gone", 2**22 + 1, 1))


def test_a_paused_child_is_stopped_all_the_same(children: Children) -> None:
    children.start("sleeper", SLEEPER)
    record = children.record("sleeper")
    children.pause("sleeper")

    children.stop("sleeper")

    assert not processes.is_alive(record)
    assert children.names() == []


def test_marked_processes_are_found_by_their_folder(children: Children, tmp_path: Path) -> None:
    children.start("sleeper", SLEEPER)
    children.wait_until("sleeper", "it printed", lambda: children.tail("sleeper"))
    record = children.record("sleeper")

    assert [record.pid] == [one.pid for one in processes.find_marked(str(tmp_path))]
    assert processes.find_marked(f"{tmp_path}-other") == []


def test_a_child_that_ends_early_is_told_with_its_last_words(children: Children) -> None:
    children.start("broken", [sys.executable, "-S", "-c", "raise SystemExit('no such port')"])

    with pytest.raises(ProcessFailed, match="broken ended with 1 before it was ready:\nno such"):
        children.wait_until("broken", "it was ready", lambda: False)


def test_giving_up_ends_every_wait(children: Children) -> None:
    children.start("sleeper", SLEEPER)
    children.give_up()

    with pytest.raises(ProcessFailed, match="sleeper was not ready"):
        children.wait_until("sleeper", "it was ready", lambda: False)


def test_children_do_not_inherit_another_cluster_or_a_proxy(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    code = "import os; print('KUBECONFIG' in os.environ, 'https_proxy' in os.environ, flush=True)"

    children.start("asked", [sys.executable, "-S", "-c", code + "; import time; time.sleep(60)"])
    children.wait_until("asked", "it printed", lambda: children.tail("asked"))

    assert children.tail("asked") == "False False"


def test_a_name_that_is_not_running_is_told_with_those_that_are(children: Children) -> None:
    children.start("sleeper", SLEEPER)

    with pytest.raises(ProcessFailed, match="etcd is not running; these are: sleeper"):
        children.pause("etcd")
