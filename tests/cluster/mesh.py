"""Linkerd as a reader of TrafficSplits: its own destination service, and what it tells the proxies of an app's clients.

The service is the one of Linkerd 2.10, which reads splits by itself; what it answers is what decides where a proxy sends a
request. Proxies are not needed for that and not there: no pod is meshed, so no request goes by a split.
CRDs are made only where the cluster has none, and removed again.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cluster.daemon import environment, free_port
from tests.cluster.local.binaries import find_program
from tests.cluster.local.client import Cluster

SPLITS = "trafficsplits.split.smi-spec.io"
PROFILES = "serviceprofiles.linkerd.io"
DOMAIN = "cluster.local"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def crd(name: str, kind: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
    plural, _, group = name.partition(".")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": versions,
        },
    }


def split_version(name: str, weight: dict[str, Any], *, stored: bool = False) -> dict[str, Any]:
    """A version of TrafficSplit as the extension's chart has it: nothing is converted between them."""
    backend = {
        "type": "object",
        "required": ["service", "weight"],
        "properties": {"service": {"type": "string"}, "weight": weight},
    }
    spec = {
        "type": "object",
        "required": ["service", "backends"],
        "properties": {
            "service": {"type": "string"},
            "backends": {"type": "array", "items": backend},
        },
    }
    schema = {"type": "object", "properties": {"spec": spec}}
    return {
        "name": name,
        "served": True,
        "storage": stored,
        "schema": {"openAPIV3Schema": schema},
    }


def split_crd() -> dict[str, Any]:
    """v1alpha1 stored, with weights of either type, and v1alpha2 with numbers: those of the extension."""
    either = {"x-kubernetes-int-or-string": True}
    return crd(
        SPLITS,
        "TrafficSplit",
        [
            split_version("v1alpha1", either, stored=True),
            split_version("v1alpha2", {"type": "number"}),
        ],
    )


def profile_crd() -> dict[str, Any]:
    version = {
        "name": "v1alpha2",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": ANYTHING},
    }
    return crd(PROFILES, "ServiceProfile", [version])


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running destination service."""

    program: Path
    address: str

    def profiles(self, namespace: str, service: str) -> "Profiles":
        """What the proxies of a Service's clients are told, from now on."""
        return Profiles(self, f"{service}.{namespace}.svc.{DOMAIN}:80")


@contextmanager
def a_mesh(cluster: Cluster, folder: Path) -> Iterator[Mesh]:
    """The CRDs, and Linkerd's destination service with the rights of an administrator."""
    missing = [c for c in (split_crd(), profile_crd()) if not _exists(cluster, c)]
    cluster.apply(missing)
    for made in missing:
        name = f"crd/{made['metadata']['name']}"
        cluster.kubectl("wait", "--for=condition=established", "--timeout=30s", name)
    program, address = find_program("linkerd-destination"), f"127.0.0.1:{free_port()}"
    command = [
        str(program),
        "serve",
        f"-addr={address}",
        f"-metrics-addr=127.0.0.1:{free_port()}",
        f"-kubeconfig={cluster.kubeconfig}",
        f"-cluster-domain={DOMAIN}",
        "-disable-identity",
    ]
    log_path = folder / "linkerd-destination.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        cluster.wait_for(
            f"Linkerd's destination service (see {log_path})",
            lambda: b"starting gRPC server" in log_path.read_bytes() or None,
            timeout_s=60,
        )
        yield Mesh(program, address)
    finally:
        process.terminate()
        process.wait(timeout=15)
        for made in missing:
            cluster.kubectl("delete", "crd", made["metadata"]["name"], "--wait=false")


def _exists(cluster: Cluster, made: dict[str, Any]) -> bool:
    name = made["metadata"]["name"]
    return bool(cluster.kubectl("get", "crd", name, "--ignore-not-found", "-o", "name").strip())


@dataclass
class Profiles:
    """``with mesh.profiles(namespace, "app") as told:`` every profile so far, with the moment it came (monotonic)."""

    mesh: Mesh
    authority: str
    seen: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        command = [str(self.mesh.program), "watch", self.mesh.address, self.authority]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
        self._reader = threading.Thread(target=self._read, name="profiles", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._reader is not None
        self._process.terminate()
        self._process.wait(timeout=15)
        self._reader.join(timeout=15)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append((time.monotonic(), json.loads(line)))

    def shares(self) -> list[int | None]:
        """Percent of requests that went to the canary, profile by profile, repetitions aside; None without a split."""
        found: list[int | None] = []
        for _, weights in list(self.seen):
            share = _share(weights)
            if not found or found[-1] != share:
                found.append(share)
        return found

    def now(self) -> int | None:
        """Percent of requests that go to the canary now; None without a split."""
        return self.shares()[-1] if self.seen else None

    def until(self, cluster: Cluster, share: int | None, timeout_s: float = 60) -> None:
        cluster.wait_for(
            f"proxies to be told {share} (so far {self.shares()})",
            lambda: (bool(self.seen) and self.now() == share) or None,
            timeout_s=timeout_s,
            interval_s=0.05,
        )


def _share(weights: dict[str, int]) -> int | None:
    sides = {authority.partition(".")[0]: weight for authority, weight in weights.items()}
    if set(sides) != {"app-primary", "app-canary"}:
        return None
    return round(100 * sides["app-canary"] / sum(sides.values()))
