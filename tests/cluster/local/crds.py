"""CustomResourceDefinitions out of Go modules, as JSON that an API server takes.

A kind of somebody else's is published as YAML in the repository of its types; the Go module of
those types has the same files, pinned by `go.mod` and `go.sum` like the programs are.
The cache keeps them read, since reading half a megabyte of YAML takes longer than the rest of
the cluster's start.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.local.commands import run
from tests.cluster.local.locking import FileLock
from tests.cluster.local.places import GO_SOURCES, cache_folder
from tests.cluster.local.toolchain import find_go

Say = Callable[[str], None]


@dataclass(frozen=True)
class Definitions:
    """The definitions in one folder of a module; `name` is that of the wrapper under `go/`."""

    name: str
    module: str
    folder: str

    @property
    def sources(self) -> Path:
        return GO_SOURCES / self.name

    def file(self, cache: Path) -> Path:
        digest = hashlib.sha256(repr(self).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((self.sources / name).read_bytes() + b"\0")
        return cache / "crds" / f"{self.name}-{digest.hexdigest()[:12]}.json"


GATEWAY_API = Definitions("gateway-api", "sigs.k8s.io/gateway-api", "config/crd/standard")


def find_crds(definitions: Definitions, say: Say) -> list[dict[str, Any]]:
    """Return the definitions; download their module if the cache lacks them."""
    cache = cache_folder()
    file = definitions.file(cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock"), f"reads {definitions.name}", say):
        if not file.is_file():
            _write(file, read_crds(_download(definitions, cache, say) / definitions.folder))
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def read_crds(folder: Path) -> list[dict[str, Any]]:
    """Every CustomResourceDefinition in the YAML files of a folder."""
    documents = [
        document
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return [d for d in documents if d and d.get("kind") == "CustomResourceDefinition"]


def is_established(crd: dict[str, Any]) -> bool:
    """Whether the API server serves the kind."""
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _download(definitions: Definitions, cache: Path, say: Say) -> Path:
    command = [find_go(cache, say), "-C", definitions.sources]
    env = {**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    answer = run([*command, "mod", "download", "-json", definitions.module], env=env, timeout_s=300)
    return Path(json.loads(answer)["Dir"])


def _write(file: Path, crds: list[dict[str, Any]]) -> None:
    """What has a name in the cache is complete."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as unfinished:
        json.dump(crds, unfinished)
    Path(unfinished.name).rename(file)
