"""``canaryd lint``: what is wrong with the annotations in files, all of it, without a cluster.

Made for pipelines: one line a problem, with file and line, and an exit code that tells a problem
from a file that could not be read.

Of a directory only files that speak of us are looked at. Templates and other people's YAML live
beside manifests, and what does not contain our domain cannot carry an annotation of ours.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from canaryd.cli.exits import Exit
from canaryd.cli.manifests import Located, Manifest, check, find_manifests
from canaryd.config.yaml_source import (
    MAX_BYTES,
    Document,
    UnreadableError,
    read_file,
    read_stream,
)
from canaryd.core.names import PREFIX

_SUFFIXES: Final = (".yaml", ".yml")
_MARK: Final = PREFIX.encode()


@click.command("lint")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Format.")
def command(files: tuple[str, ...], output: str) -> int:
    """Check the annotations in YAML files, without a cluster.

    FILE is YAML with any objects in it, - for standard input, or a directory, of which every .yaml
    and .yml file is read that mentions canaryd.io/. Exit code 0: no problems, 3: problems, 2: a
    file could not be read.
    """
    names, missing = find_files(files)
    manifests, broken = read(names)
    unreadable = [*missing, *broken]
    checked, elsewhere = check(manifests)
    position = {name: index for index, name in enumerate(names)}
    problems = sorted(
        [*elsewhere, *(p for deployment in checked for p in deployment.problems)],
        key=lambda located: (position[located.file], located.line),
    )
    if output == "json":
        _print_json(len(checked), problems, unreadable)
    else:
        _print_text(len(checked), problems, unreadable)
    if unreadable:
        return Exit.USAGE
    return Exit.INVALID if problems else Exit.OK


def find_files(given: Sequence[str]) -> tuple[list[str], list[UnreadableError]]:
    """Put the files below a directory in its place; what cannot be looked into is said."""
    found: dict[str, None] = {}
    unreadable: list[UnreadableError] = []
    for name in given:
        if name == "-" or not _is_folder(name):
            found[name] = None
            continue
        below = list(_yaml_below(name, unreadable))
        if not below:
            rule = "has no .yaml or .yml file in it; nothing was checked"
            unreadable.append(UnreadableError(name, rule))
        found |= dict.fromkeys(str(path) for path in below if _mentions_us(path))
    return list(found), unreadable


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:
        return False  # reading it says why not


def _yaml_below(folder: str, unreadable: list[UnreadableError]) -> Iterator[Path]:
    def tell(error: OSError) -> None:
        rule = f"cannot be read: {error.strerror or error}"
        unreadable.append(UnreadableError(str(error.filename), rule))

    for root, folders, files in os.walk(folder, onerror=tell):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(root, name)


def _mentions_us(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError:
        return True  # reading it says why not
    return _MARK in content or len(content) > MAX_BYTES


def read(files: Sequence[str]) -> tuple[list[Manifest], list[UnreadableError]]:
    """Read all files; one that cannot be read does not keep the others from it."""
    manifests: list[Manifest] = []
    unreadable: list[UnreadableError] = []
    for file in dict.fromkeys(files):
        try:
            manifests += find_manifests(file, _documents(file))
        except UnreadableError as error:
            unreadable.append(error)
    return manifests, unreadable


def _documents(file: str) -> list[Document]:
    if file == "-":
        if sys.stdin is None:
            raise UnreadableError(file, "cannot be read: there is no standard input")
        return read_stream(sys.stdin.buffer, file)
    return read_file(Path(file))


def _print_text(
    count: int, problems: Sequence[Located], unreadable: Sequence[UnreadableError]
) -> None:
    for error in unreadable:
        click.echo(f"canaryd: {error}", err=True)
    for located in problems:
        click.echo(located.message)
    if not unreadable and not problems:
        noun = "Deployment" if count == 1 else "Deployments"
        click.echo(f"{count} annotated {noun}, no problems")


def _print_json(
    count: int, problems: Sequence[Located], unreadable: Sequence[UnreadableError]
) -> None:
    report = {
        "deployments": count,
        "problems": [located.as_json() for located in problems],
        "unreadable": [
            {"file": e.source, "line": e.line or None, "message": e.rule} for e in unreadable
        ],
    }
    click.echo(json.dumps(report, indent=2))
