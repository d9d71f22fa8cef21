"""``canaryd diff``: what a promotion would change, from what the primary runs.

The primary's side is its snapshot, never its live template, which canaryd has rewritten. The other
side is the snapshot under analysis; without a run that of the revision that failed, or the
Deployment as it is. Values of Secrets are compared here and shown nowhere.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from canaryd.cli.compare import Change, Config, Revision, changes
from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.objects import read_canary, read_deployment, state_of
from canaryd.cli.options import (
    Where,
    ask,
    cluster_options,
    color_option,
    name_argument,
    output_option,
)
from canaryd.cli.outcome import wanted_revision
from canaryd.cli.render_diff import render_diff
from canaryd.cli.terminal import look, write
from canaryd.core import names
from canaryd.core.kinds import CONFIG_MAP, CONTROLLER_REVISION, SECRET
from canaryd.core.references import find_references
from canaryd.core.state import RolloutState
from canaryd.core.tracking import parse
from canaryd.ports.errors import Forbidden, NotFound

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

_KINDS: Final = {"configmap": CONFIG_MAP, "secret": SECRET}


@click.command("diff")
@name_argument
@output_option("text", "json", "yaml")
@color_option
@cluster_options
def command(*, name: str, output: str, no_color: bool, where: Where) -> int:
    """Show what a promotion would change.

    Compares the revision under analysis, or the one that the Deployment asks for, with the one that
    the primary runs: the pod template field by field, configs key by key. Of Secrets only the keys
    that differ are named; their values are never shown.
    """
    to = look(no_color=no_color)

    async def show(cluster: "Cluster") -> int:
        pair = await _read(cluster, name)
        found = changes(pair.before, pair.after)
        if output == "text":
            title = f"{name} in {cluster.namespace}: {pair.before.name} (primary) → {pair.what}"
            write(render_diff(title, found), to)
        else:
            write_document(_document(cluster.namespace, name, pair, found), output)
        return Exit.OK

    return ask(show, where)


@dataclass(frozen=True, slots=True)
class _Pair:
    before: Revision
    after: Revision
    what: str
    """The other side in words."""


async def _read(cluster: "Cluster", name: str) -> _Pair:
    state = state_of(await read_canary(cluster, name))
    if state is None or not state.promoted:
        raise CommandError(f"{name} is not enrolled yet: nothing was promoted", Exit.REFUSED)
    reader = _Reader(cluster, name)
    before = await reader.recorded(state.promoted)
    if before is None:
        told = f"the snapshot of the promoted revision {state.promoted} is missing"
        raise CommandError(f"{told}: ControllerRevision {reader.snapshot(state.promoted)}")
    deployment = await read_deployment(cluster, name)
    for revision, what in _candidates(state, wanted_revision(deployment, state)):
        if revision == before.name:
            return _Pair(before, before, f"{revision} ({what})")
        after = await reader.recorded(revision)
        if after is not None:
            return _Pair(before, after, f"{revision} ({what})")
    if deployment is None:
        raise CommandError(f"Deployment {cluster.namespace}/{name} cannot be read")
    template = (deployment.get("spec") or {}).get("template") or {}
    return _Pair(before, await reader.live(template, state), "the Deployment as it is")


def _candidates(state: RolloutState, wanted: str) -> list[tuple[str, str]]:
    """Revisions that may be recorded, and what they are."""
    if state.run is not None:
        return [(state.run.revision, "under way")]
    if wanted and wanted == state.failed:
        return [(wanted, "failed")]
    return [(wanted, "promoted")] if wanted == state.promoted else []


class _Reader:
    """Reads both sides of a comparison."""

    def __init__(self, cluster: "Cluster", app: str) -> None:
        self._cluster = cluster
        self._app = app

    def snapshot(self, revision: str) -> str:
        """Name of the object that a revision is recorded in."""
        return names.snapshot_name(self._app, revision)

    async def recorded(self, revision: str) -> Revision | None:
        """A revision from its snapshot; None when there is no snapshot of it."""
        try:
            found = await self._cluster.api.get(
                CONTROLLER_REVISION, self._cluster.namespace, self.snapshot(revision)
            )
        except NotFound:
            return None
        data = found.get("data") or {}
        configs = {
            key: await self._config(key, copy) for key, copy in (data.get("configs") or {}).items()
        }
        return Revision(revision, data.get("template") or {}, configs)

    async def live(self, template: Mapping[str, Any], state: RolloutState) -> Revision:
        """What the Deployment asks for now, recorded or not."""
        rule = parse(state.promoted_tracking)
        keys = [r.key for r in find_references(template)]
        tracked = [key for key in keys if rule is None or rule.covers(key)]
        configs = {key: await self._config(key, key.partition("/")[2]) for key in tracked}
        shown = {k: v for k, v in template.items() if k != "metadata"}
        metadata = dict(template.get("metadata") or {})
        metadata.pop("creationTimestamp", None)
        return Revision("", shown | {"metadata": metadata}, configs)

    async def _config(self, key: str, name: str) -> Config:
        kind = _KINDS[key.partition("/")[0]]
        try:
            found = await self._cluster.api.get(kind, self._cluster.namespace, name)
        except Forbidden:
            return Config(name, None)
        except NotFound:
            return Config("", None)
        data = {str(k): str(v) for k, v in (found.get("data") or {}).items()}
        # Bytes are compared and never shown.
        for entry, text in (found.get("binaryData") or {}).items():
            digest = hashlib.sha256(base64.b64decode(text)).hexdigest()[:12]
            data[str(entry)] = f"(binary, {digest})"
        return Config(name, data)


def _document(
    namespace: str, name: str, pair: _Pair, found: tuple[Change, ...]
) -> Mapping[str, Any]:
    return {
        "namespace": namespace,
        "name": name,
        "from": pair.before.name,
        "to": pair.after.name,
        "changes": [
            {
                "where": change.where,
                "path": change.path,
                "before": change.before,
                "after": change.after,
                "word": change.word,
            }
            for change in found
        ],
    }
