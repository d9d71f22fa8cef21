"""Container images without a registry: one static binary, packed as a docker archive.

An archive is a tar with a manifest, a configuration and one layer, itself a tar with one
file; containerd imports it as if it had been pulled. Several tags of one archive share
everything, so ten "versions" of an app cost no more than one.
Times and owners are zero, so the same binary always makes the same image.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_archive(
    target: Path, binary: Path, tags: Sequence[str], machine: str, env: Sequence[str] = ()
) -> None:
    """Write the docker archive of an image that runs this one binary under these tags."""
    entrypoint = f"/{binary.name}"
    layer = _tar({binary.name: (binary.read_bytes(), 0o755)})
    configuration = json.dumps(
        {
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [entrypoint], "Env": list(env), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
            "history": [{"created_by": "canaryd's local cluster"}],
        },
        sort_keys=True,
    ).encode()
    name = f"{_digest(configuration)}.json"
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": ["layer.tar"]}]
    target.write_bytes(
        _tar(
            {
                "manifest.json": (json.dumps(manifest).encode(), 0o644),
                name: (configuration, 0o644),
                "layer.tar": (layer, 0o644),
            }
        )
    )


def import_command(archive: Path, socket: Path) -> list[str]:
    """Return the command that gives the archive to containerd, where the kubelet looks."""
    return ["ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", str(archive)]


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = mode
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
