"""The record of a run: written while it happens, readable after whatever ended it."""

from pathlib import Path

import pytest

from tests.cluster.local.processes import ProcessRecord
from tests.cluster.local.record import RecordFile, RunRecord


def a_record() -> RunRecord:
    return RunRecord(
        folder="/tmp/canaryd-cluster-a",
        owner=ProcessRecord("owner", 10, 1000),
        processes=[ProcessRecord("etcd", 11, 1001)],
        settings={"net/ipv4/ip_forward": "0"},
        absent=["/var/lib/cni"],
    )


def test_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "record.json")

    file.save(a_record())

    assert a_record() == file.load()
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_no_record_means_nothing_is_left(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "record.json")
    file.save(a_record())

    file.remove()

    assert file.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": "/tmp/x"}', '{"owner": 1}'])
def test_unreadable_record_leaves_only_the_fixed_names_to_clean(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)

    loaded = RecordFile(path).load()

    assert loaded is not None
    assert (loaded.folder, loaded.processes) == ("", [])
