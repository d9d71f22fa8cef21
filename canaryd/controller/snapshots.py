"""Recorded revisions: take one, read one, put one back, throw old ones away.

A snapshot is a ControllerRevision (immutable by the API server) plus immutable copies of the
configs it uses.
Promotion, rollback, undo and leaving read snapshots and nothing else.
A snapshot is taken of exactly what was decided about: when the live objects differ by then,
:class:`StaleTarget` is raised and the app is looked at again.
"""

from collections.abc import Mapping
from typing import Any

from canaryd.core import manifests, names
from canaryd.core.decision import StoreSnapshot
from canaryd.core.fingerprint import content_fingerprint, copy_digest, template_fingerprint
from canaryd.core.kinds import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, SECRET, Kind
from canaryd.core.references import rename_references
from canaryd.core.subset import merge_diff
from canaryd.core.views import DeploymentView
from canaryd.ports.cache import Cache
from canaryd.ports.errors import Conflict, NotFound
from canaryd.ports.kube import KubeApi, Manifest


class StaleTarget(Exception):  # noqa: N818 - a state of the world, not a fault
    """The target, or a config of it, is not any more what the decision was about."""


class NameTaken(Conflict):
    """A name we want is that of an object of somebody else; it stays so until a person acts."""


class SnapshotGone(NotFound):
    """The record of a revision was deleted; it does not come back."""


class SnapshotStore:
    """Snapshots in the API server.

    Args:
        api: where they are kept.
        cache: tells which config copies exist already.

    """

    def __init__(self, api: KubeApi, cache: Cache) -> None:
        self._api = api
        self._cache = cache

    async def store(self, target: DeploymentView, wanted: StoreSnapshot) -> None:
        """Record the target's present revision; doing it again changes nothing.

        Raises:
            StaleTarget: template or configs moved on.
            NameTaken: a name is that of an object that is not ours.

        """
        live = await self._api.get(DEPLOYMENT, *target.id.key)
        if template_fingerprint(live["spec"]["template"]) != wanted.fingerprint:
            raise StaleTarget(f"Deployment {target.id.name} changed while its snapshot was taken")
        copies = {}
        for key, content in wanted.contents:
            copies[key] = await self._copy_config(target, key, content)
        manifest = manifests.snapshot_manifest(live, target.id, wanted.revision, copies)
        try:
            await self._api.create(manifest)
        except Conflict:
            existing = await self._read(target, wanted.revision)
            _require_ours(existing, target)

    async def copy(self, target: DeploymentView, key: str, content: str) -> None:
        """Make one config copy again; doing it twice changes nothing.

        Raises:
            StaleTarget: the config holds something else by now.
            NameTaken: the copy's name is that of an object that is not ours.

        """
        await self._copy_config(target, key, content)

    async def data(self, target: DeploymentView, revision: str) -> Mapping[str, Any]:
        """What a snapshot holds: template, rollout settings, names of config copies.

        Raises:
            SnapshotGone: there is no snapshot of this revision.

        """
        recorded = await self._read(target, revision)
        _require_ours(recorded, target)
        data: Mapping[str, Any] = recorded["data"]
        return data

    async def restore(self, target: DeploymentView, revision: str) -> Manifest:
        """Give the target the recorded template back.

        Configs whose content is still the recorded one keep their own name;
        others are replaced by their copies,
        so that template and configs belong together again.
        """
        data = await self.data(target, revision)
        live = await self._api.get(DEPLOYMENT, *target.id.key)
        changed = {}
        for key, copy_name in (data.get("configs") or {}).items():
            content = await self._content(target, key)
            kind = key.partition("/")[0]
            if not copy_name.endswith(copy_digest(target.id.name, kind, content)):
                changed[key] = copy_name
        template = rename_references(data["template"], changed)
        return await self._api.merge_patch(
            DEPLOYMENT,
            *target.id.key,
            {
                "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]},
                "spec": {"template": merge_diff(live["spec"]["template"], template)},
            },
        )

    async def collect(self, target: DeploymentView, keep: frozenset[str]) -> None:
        """Delete snapshots of other revisions, then config copies that no kept snapshot uses."""
        used: set[str] = set()
        for recorded in await self._list(target):
            metadata = recorded["metadata"]
            if (metadata.get("annotations") or {}).get(names.REVISION) in keep:
                used.update((recorded["data"].get("configs") or {}).values())
            else:
                await self._api.delete(
                    CONTROLLER_REVISION, target.id.namespace, metadata["name"], uid=metadata["uid"]
                )
        await self._delete_copies(target, used)

    async def delete_all(self, target: DeploymentView) -> None:
        """Delete every snapshot, and every copy that the target's own template does not name."""
        for recorded in await self._list(target):
            metadata = recorded["metadata"]
            await self._api.delete(
                CONTROLLER_REVISION, target.id.namespace, metadata["name"], uid=metadata["uid"]
            )
        await self._delete_copies(target, {r.name for r in target.references})

    # --- parts ------------------------------------------------------------------------------------

    async def _copy_config(self, target: DeploymentView, key: str, content: str) -> str:
        kind_word, _, name = key.partition("/")
        kind = _kind(kind_word)
        copy_name = names.config_copy_name(name, copy_digest(target.id.name, kind_word, content))
        if self._has_copy(target, kind, copy_name):
            return copy_name
        config = await self._api.get(kind, target.id.namespace, name)
        config = {**config, "kind": kind.kind}
        if content_fingerprint(config) != content:
            raise StaleTarget(f"{kind.kind} {name} changed while its copy was made")
        try:
            await self._api.create(manifests.config_copy(config, target.id, copy_name))
        except Conflict:
            existing = await self._api.get(kind, target.id.namespace, copy_name, metadata_only=True)
            _require_ours(existing, target)
        return copy_name

    def _has_copy(self, target: DeploymentView, kind: Kind, name: str) -> bool:
        store = self._cache.config_maps if kind is CONFIG_MAP else self._cache.secrets
        view = store.get(target.id.namespace, name) if store is not None else None
        return view is not None and view.labels.get(names.LABEL_TARGET) == target.id.name

    async def _content(self, target: DeploymentView, key: str) -> str:
        kind_word, _, name = key.partition("/")
        kind = _kind(kind_word)
        try:
            config = await self._api.get(kind, target.id.namespace, name)
        except NotFound:
            return ""
        return content_fingerprint({**config, "kind": kind.kind})

    async def _read(self, target: DeploymentView, revision: str) -> Manifest:
        name = names.snapshot_name(target.id.name, revision)
        try:
            return await self._api.get(CONTROLLER_REVISION, target.id.namespace, name)
        except NotFound as error:
            raise SnapshotGone(
                f"ControllerRevision {name}, the record of revision {revision}, does not exist any"
                " more, so nothing can be made of that revision. Release a new one",
                status=error.status,
            ) from error

    async def _list(self, target: DeploymentView) -> list[Manifest]:
        return await self._api.list(
            CONTROLLER_REVISION,
            target.id.namespace,
            label_selector=(
                f"{names.MANAGED_BY}={names.MANAGER},{names.LABEL_TARGET}={target.id.name}"
            ),
        )

    async def _delete_copies(self, target: DeploymentView, used: set[str]) -> None:
        for kind, store in ((CONFIG_MAP, self._cache.config_maps), (SECRET, self._cache.secrets)):
            for view in list(store.list(target.id.namespace)) if store is not None else ():
                ours = view.is_ours and view.labels.get(names.LABEL_TARGET) == target.id.name
                if ours and view.id.name not in used:
                    await self._api.delete(kind, target.id.namespace, view.id.name, uid=view.id.uid)


def _kind(word: str) -> Kind:
    return CONFIG_MAP if word == "configmap" else SECRET


def _require_ours(existing: Mapping[str, Any], target: DeploymentView) -> None:
    metadata = existing["metadata"]
    labels = metadata.get("labels") or {}
    if (
        labels.get(names.MANAGED_BY) != names.MANAGER
        or labels.get(names.LABEL_TARGET) != target.id.name
    ):
        raise NameTaken(
            f"{existing.get('kind', 'object')} {metadata['name']} exists and is not canaryd's;"
            " rename or delete it"
        )
