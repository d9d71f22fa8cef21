"""The archive that containerd imports: its layout, read back with the standard library."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.cluster.local import images


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name] = file.read()
        return found


def write(folder: Path, *, name: str = "app", tags: tuple[str, ...] = ("app:1",)) -> Path:
    binary = folder / "app"
    binary.write_bytes(b"\x7fELF and more")
    images.write_archive(folder / name, binary, tags, "x86_64", env=["A=1"])
    return folder / name


def test_archive_names_its_parts_by_the_hash_that_containerd_checks(tmp_path: Path) -> None:
    files = read(write(tmp_path / ".", name="app.tar", tags=("app:1", "app:2")))

    manifest = json.loads(files["manifest.json"])
    assert len(manifest) == 1
    assert manifest[0]["RepoTags"] == ["app:1", "app:2"]
    configuration = files[manifest[0]["Config"]]
    assert f"{hashlib.sha256(configuration).hexdigest()}.json" == manifest[0]["Config"]
    layer = files[manifest[0]["Layers"][0]]
    described = json.loads(configuration)
    assert [f"sha256:{hashlib.sha256(layer).hexdigest()}"] == described["rootfs"]["diff_ids"]
    assert (described["architecture"], described["os"]) == ("amd64", "linux")
    assert described["config"]["Entrypoint"] == ["/app"]
    assert described["config"]["Env"] == ["A=1"]


def test_layer_holds_the_binary_alone_and_executable(tmp_path: Path) -> None:
    layer = read(write(tmp_path, name="app.tar"))["layer.tar"]

    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        entries = archive.getmembers()

    assert [(one.name, one.mode, one.uid, one.mtime) for one in entries] == [("app", 0o755, 0, 0)]


def test_same_binary_makes_the_same_archive(tmp_path: Path) -> None:
    first = write(tmp_path, name="first.tar").read_bytes()
    second = write(tmp_path, name="second.tar").read_bytes()

    assert first == second
