"""The decisions of the clean-up: what is ours, in which order it goes, what it never touches."""

from pathlib import Path

import pytest

from tests.cluster.local import cleanup
from tests.cluster.local.processes import ProcessRecord

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw
32 31 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
39 22 0:39 / /tmp/canaryd-cluster-a rw - tmpfs canaryd-cluster rw
40 22 0:40 / /tmp/canaryd-cluster-a/kubelet/pods/1/volumes/token rw - tmpfs tmpfs rw
41 22 0:41 / /tmp/canaryd-cluster-a/containerd/rootfs rw - overlay overlay rw
42 41 0:42 / /tmp/canaryd-cluster-a/containerd/rootfs/with\\040space rw - tmpfs tmpfs rw
43 22 0:43 / /tmp/canaryd-cluster-ab/other rw - tmpfs tmpfs rw
"""


def test_mounts_go_deepest_first_and_only_those_of_the_run() -> None:
    assert cleanup.mounts_below(Path("/tmp/canaryd-cluster-a"), MOUNTINFO) == [
        "/tmp/canaryd-cluster-a/containerd/rootfs/with space",
        "/tmp/canaryd-cluster-a/containerd/rootfs",
        "/tmp/canaryd-cluster-a/kubelet/pods/1/volumes/token",
        "/tmp/canaryd-cluster-a",
    ]


def test_control_groups_are_found_in_both_versions() -> None:
    expected = [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/unified")]

    assert expected == cleanup.cgroup_mounts(MOUNTINFO)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("canaryd-cluster-x1", True), ("important", False), ("canaryd-cluster-missing", False)],
)
def test_only_a_folder_with_our_prefix_is_ever_removed(
    tmp_path: Path, name: str, expected: bool
) -> None:
    if "missing" not in name:
        (tmp_path / name).mkdir()

    assert expected == cleanup.is_ours(tmp_path / name)


def test_a_link_with_our_prefix_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "important").mkdir()
    (tmp_path / "canaryd-cluster-link").symlink_to(tmp_path / "important")

    assert not cleanup.is_ours(tmp_path / "canaryd-cluster-link")


def test_what_makes_pods_ends_before_what_holds_them() -> None:
    alive = [ProcessRecord(name, 1, 1) for name in ("etcd", "kubelet", "containerd", "traefik")]

    first = cleanup.still_named(alive, without={"etcd", "containerd"})
    last = cleanup.still_named(alive, only={"etcd", "containerd"})

    assert [one.name for one in first] == ["kubelet", "traefik"]
    assert [one.name for one in last] == ["etcd", "containerd"]


def test_settings_outside_the_list_are_not_written() -> None:
    host_name = Path("/proc/sys/kernel/hostname").read_text()

    cleanup.restore_settings({"kernel/hostname": "changed"})

    assert host_name == Path("/proc/sys/kernel/hostname").read_text()
