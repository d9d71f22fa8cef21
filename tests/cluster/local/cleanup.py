"""Removes everything a run left on the machine; the one way, for a stop and after a crash.

    programs that act on pods   kubelet, kube-proxy, ... so that nothing is started again
    pods                        all processes in our control group
    containerd and its shims    found by the marker in their environment, ended by number
    mounts                      at and below the run's folder, deepest first
    bridges, routes, tables     by our fixed names
    control groups, settings, folder

It only touches what carries our marks, and each step works when its object is already gone.
The order is the promise: a mount cannot go before its process, nor a folder before its mounts
(a folder with a mount in it is never removed, since that would delete through the mount).
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.cluster.local import network as networks
from tests.cluster.local.commands import run, succeeds
from tests.cluster.local.configuration import CGROUP
from tests.cluster.local.processes import (
    ProcessRecord,
    end_processes,
    find_marked,
    is_alive,
    start_time,
)
from tests.cluster.local.record import RunRecord

FOLDER_PREFIX = "canaryd-cluster-"

SETTINGS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Kernel settings that the CNI bridge and the kubelet change."""

KUBELET_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
FOREIGN_FOLDERS = (
    "/var/lib/kubelet",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/run/containerd",
    "/run/containerd/s",
    "/var/log/containers",
)
"""Folders with fixed paths in the kubelet, the CNI library and the shim; parents first."""


def remove_leftovers(
    record: RunRecord, network: networks.Network, say: Callable[[str], None] = lambda _: None
) -> None:
    """Remove all that a run left; safe to call again, and for a run that is already gone."""
    folder = Path(record.folder)
    alive = [one for one in record.processes if is_alive(one)]
    last = {"containerd", "kube-apiserver", "etcd"}
    end_processes(still_named(alive, without=last))
    _end_pods()
    end_processes(still_named(alive, only=last))
    if record.folder:
        # The shims, and whatever a kill between start and record has hidden from us.
        end_processes(find_marked(record.folder), grace_s=0)
        _end_pods()
    # Before the mounts: the run's folder says where the shims' sockets are.
    _remove_foreign_files(folder)
    left = unmount_below(folder) if record.folder else []
    networks.undo(network)
    _remove_cgroups()
    restore_settings(record.settings)
    _remove_foreign_folders(record.absent)
    if left:
        say(f"could not unmount {', '.join(left)}; {folder} stays")
    elif is_ours(folder):
        shutil.rmtree(folder, ignore_errors=True)


def still_named(
    alive: Iterable[ProcessRecord], *, without: Iterable[str] = (), only: Iterable[str] = ()
) -> list[ProcessRecord]:
    """Pick processes by their place in the order of the stop."""
    chosen = set(only)
    return [
        one for one in alive if (not chosen or one.name in chosen) and one.name not in set(without)
    ]


def is_ours(folder: Path) -> bool:
    """Say whether a folder may be removed: the record's text alone does not decide that."""
    return folder.name.startswith(FOLDER_PREFIX) and folder.is_dir() and not folder.is_symlink()


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Read the mount points at and below a folder, the deepest and latest first."""
    prefix = f"{folder}/"
    points = [
        line.split(" ")[4].replace("\\040", " ")
        for line in mountinfo.splitlines()
        if line.count(" ") > 4
    ]
    return [point for point in reversed(points) if f"{point}/".startswith(prefix)]


def make_folder_in_memory(folder: Path) -> None:
    """Mount memory at the run's folder: thousands of small files that nobody keeps.

    A slow disk needs 10 seconds and more to remove what 40 pods have written; this takes none.
    """
    run(["mount", "-t", "tmpfs", "-o", "mode=0700", "canaryd-cluster", str(folder)])


def unmount_below(folder: Path) -> list[str]:
    """Unmount everything below a folder; return what would not go."""
    for extra in ([], ["--lazy"]):
        for point in mounts_below(folder, _mountinfo()):
            succeeds(["umount", *extra, point])
    return mounts_below(folder, _mountinfo())


def cgroup_mounts(mountinfo: str) -> list[Path]:
    """Read where the control group hierarchies are: one in version 2, many in version 1."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith(("cgroup ", "cgroup2 ")):
            found.append(Path(before.split(" ")[4]))
    return found


def make_cgroups() -> None:
    """Make our control group in every hierarchy, so that each process of a pod is found in it."""
    for mount in cgroup_mounts(_mountinfo()):
        (mount / CGROUP).mkdir(exist_ok=True)
        subtree = mount / "cgroup.subtree_control"
        if subtree.exists():
            for controller in ("cpuset", "cpu", "io", "memory", "pids", "hugetlb"):
                with contextlib.suppress(OSError):
                    subtree.write_text(f"+{controller}", encoding="ascii")


def read_settings() -> dict[str, str]:
    found = {}
    for name in SETTINGS:
        with contextlib.suppress(OSError):
            found[name] = Path("/proc/sys", name).read_text(encoding="ascii").strip()
    return found


def absent_folders() -> list[str]:
    """List the foreign folders that the run is about to bring into being."""
    return [path for path in FOREIGN_FOLDERS if not Path(path).exists()]


def restore_settings(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        if name in SETTINGS:
            with contextlib.suppress(OSError):
                Path("/proc/sys", name).write_text(value, encoding="ascii")


def _mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def _end_pods() -> None:
    pids: set[int] = set()
    for mount in cgroup_mounts(_mountinfo()):
        for listed in (mount / CGROUP).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in listed.read_text(encoding="ascii").split())
    started = {pid: start_time(pid) for pid in pids}
    end_processes(
        (ProcessRecord("pod", pid, at) for pid, at in started.items() if at is not None),
        grace_s=0,
    )


def _remove_cgroups() -> None:
    for mount in cgroup_mounts(_mountinfo()):
        ours = mount / CGROUP
        if not ours.is_dir():
            continue
        folders = [path for path in ours.rglob("*") if path.is_dir()]
        for path in sorted(folders, key=lambda one: len(one.parts), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            ours.rmdir()


def _remove_foreign_files(folder: Path) -> None:
    """Remove what the kubelet, the shims and the CNI library put outside of the run's folder."""
    for link in Path("/var/log/containers").glob("*.log"):
        with contextlib.suppress(OSError):
            if link.is_symlink() and str(link.readlink()).startswith(f"{folder}/"):
                link.unlink()
    bundles = folder / "containerd/state/io.containerd.runtime.v2.task/k8s.io"
    for address in bundles.glob("*/address"):
        with contextlib.suppress(OSError):
            Path(address.read_text(encoding="utf-8").removeprefix("unix://")).unlink()
    results = Path("/var/lib/cni/results")
    for result in results.glob("canaryd-*"):
        container = result.name.removeprefix("canaryd-").removesuffix("-eth0")
        (results / f"cni-loopback-{container}-lo").unlink(missing_ok=True)
        result.unlink(missing_ok=True)


def _remove_foreign_folders(absent: Iterable[str]) -> None:
    """Remove folders that were not there before the run, unless somebody else uses them now."""
    if str(KUBELET_SOCKET.parent) in absent:
        KUBELET_SOCKET.unlink(missing_ok=True)
    for path in reversed(FOREIGN_FOLDERS):
        if path in absent:
            with contextlib.suppress(OSError):
                Path(path).rmdir()
