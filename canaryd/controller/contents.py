"""What is in the ConfigMaps and Secrets an app uses, as fingerprints: contents are read,
hashed and dropped.

A content is read once per resourceVersion. Fingerprints known from the recorded state spare the
reads after a restart,
so that an idle daemon reads nothing at all.
"""

from collections import OrderedDict
from collections.abc import Mapping

from canaryd.core.fingerprint import content_fingerprint, revision_of
from canaryd.core.kinds import CONFIG_MAP, SECRET
from canaryd.core.model import CanarySpec
from canaryd.core.reasons import Reason
from canaryd.core.references import Reference
from canaryd.core.snapshot import Obstacle, WantedRevision
from canaryd.core.views import ConfigView, DeploymentView
from canaryd.ports.cache import Cache
from canaryd.ports.errors import KubeError, NotFound
from canaryd.ports.kube import KubeApi

UNTRACKED_SECRETS = frozenset(
    {"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"}
)
"""Credentials of the cluster, not of the app: never copied."""

MEMORY = 4096
"""Fingerprints remembered; the least recently used go first and are read again when needed."""

Known = Mapping[str, tuple[str, str]]


class ConfigContents:
    """Fingerprints of config contents by resourceVersion."""

    def __init__(self, api: KubeApi, cache: Cache) -> None:
        self._api = api
        self._cache = cache
        self._seen: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    async def revision(
        self, target: DeploymentView, spec: CanarySpec, known: Known
    ) -> WantedRevision:
        """The revision the target asks for; unknown, with the reason,
        when a config cannot be read.
        """
        contents: dict[str, tuple[str, str]] = {}
        for reference in self._tracked(target, spec):
            view = self._view(target.id.namespace, reference)
            if view is None or view.id.deleting:
                if reference.optional:
                    continue
                return WantedRevision(obstacle=_missing(target, reference))
            try:
                content = await self._fingerprint(target.id.namespace, reference, view, known)
            except NotFound:
                return WantedRevision(obstacle=_missing(target, reference))
            except KubeError as error:
                return WantedRevision(
                    obstacle=Obstacle(
                        Reason.CONFIG_UNREADABLE, f"{reference.key} cannot be read: {error}"
                    )
                )
            if content:
                contents[reference.key] = (view.version, content)
        name = revision_of(target.fingerprint, {key: c for key, (_, c) in contents.items()})
        return WantedRevision(name=name, contents=contents)

    def _tracked(self, target: DeploymentView, spec: CanarySpec) -> list[Reference]:
        if not spec.config_tracking:
            return []
        return [
            r
            for r in target.references
            if r.key not in spec.config_exclude
            and (r.kind == "configmap" or self._cache.secrets is not None)
        ]

    def _view(self, namespace: str, reference: Reference) -> ConfigView | None:
        if reference.kind == "configmap":
            return self._cache.config_maps.get(namespace, reference.name)
        return self._cache.secrets.get(namespace, reference.name) if self._cache.secrets else None

    async def _fingerprint(
        self, namespace: str, reference: Reference, view: ConfigView, known: Known
    ) -> str:
        memory_key = (namespace, reference.key, view.version)
        if (seen := self._seen.get(memory_key)) is not None:
            self._seen.move_to_end(memory_key)
            return seen
        recorded = known.get(reference.key)
        if recorded is not None and recorded[0] == view.version:
            content = recorded[1]
        else:
            kind = CONFIG_MAP if reference.kind == "configmap" else SECRET
            config = await self._api.get(kind, namespace, reference.name)
            untracked = config.get("type", "") in UNTRACKED_SECRETS
            content = "" if untracked else content_fingerprint({**config, "kind": kind.kind})
        self._seen[memory_key] = content
        if len(self._seen) > MEMORY:
            self._seen.popitem(last=False)
        return content


def _missing(target: DeploymentView, reference: Reference) -> Obstacle:
    kind = "ConfigMap" if reference.kind == "configmap" else "Secret"
    return Obstacle(
        Reason.CONFIG_MISSING,
        f"{kind} {reference.name}, used by Deployment {target.id.name}, does not exist; create it,"
        " or remove the reference",
    )
