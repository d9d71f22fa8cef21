"""Checks that this machine can run the cluster, and installs what is missing where it may.

Only root can make bridges and mounts, and only apt is asked to install;
anywhere else the answer is one sentence that names what is missing and the way out.
Nothing that is installed here is ever removed or reconfigured.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster.local.commands import run
from tests.cluster.local.errors import CommandFailed, PrerequisiteMissing

WAY_OUT = "use a cluster of your own: create one with kind and set KUBECONFIG"

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "prometheus": "prometheus",
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "mount": "mount",
    "openssl": "openssl",
}
"""The command that is needed, and the Debian package that brings it."""

CNI_PACKAGE = "containernetworking-plugins"
CNI_PLUGINS = ("bridge", "host-local", "loopback")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


def find_cni_folder(folders: Sequence[Path] = CNI_FOLDERS) -> Path | None:
    for folder in folders:
        if all((folder / plugin).is_file() for plugin in CNI_PLUGINS):
            return folder
    return None


def missing_packages(has_command: Callable[[str], bool], cni_folder: Path | None) -> dict[str, str]:
    """Say which command is missing, and from which package it would come."""
    missing = {name: package for name, package in PACKAGES.items() if not has_command(name)}
    if cni_folder is None:
        missing["the CNI plugins"] = CNI_PACKAGE
    return missing


def check(say: Callable[[str], None]) -> None:
    """Raise PrerequisiteMissing unless the machine has, or can be given, all that is needed."""
    if os.uname().sysname != "Linux":
        raise PrerequisiteMissing(f"the local cluster needs Linux; {WAY_OUT}")
    if os.geteuid() != 0:
        raise PrerequisiteMissing(f"the local cluster needs root; {WAY_OUT}")
    missing = missing_packages(_has_command, find_cni_folder())
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise PrerequisiteMissing(f"{_listed(missing)} missing on this machine; {WAY_OUT}")
    _install(sorted(set(missing.values())), say)
    missing = missing_packages(_has_command, find_cni_folder())
    if missing:
        raise PrerequisiteMissing(f"{_listed(missing)} missing after apt-get install; {WAY_OUT}")


def _install(packages: list[str], say: Callable[[str], None]) -> None:
    say(f"installing with apt-get: {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    try:
        try:
            run(install, env=env, timeout_s=900)
        except CommandFailed:
            # The lists may be empty or old.
            run(["apt-get", "update"], env=env, timeout_s=300)
            run(install, env=env, timeout_s=900)
    except CommandFailed as error:
        raise PrerequisiteMissing(
            f"apt-get could not install {' '.join(packages)} ({error}); {WAY_OUT}"
        ) from error


def _has_command(name: str) -> bool:
    # Not every root shell has the sbin folders on its PATH.
    return shutil.which(name, path=search_path()) is not None


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])


def _listed(missing: dict[str, str]) -> str:
    names = sorted(missing)
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
