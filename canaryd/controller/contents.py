"""What is in the ConfigMaps and Secrets an app uses, as fingerprints: contents are read,
hashed and dropped.

A content is read once per resourceVersion. Fingerprints known from the recorded state spare the
reads after a restart,
so that an idle daemon reads nothing at all.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from canaryd.core.fingerprint import content_fingerprint
from canaryd.core.kinds import CONFIG_MAP, SECRET
from canaryd.core.model import CanarySpec
from canaryd.core.owners import wish_of
from canaryd.core.reasons import Reason
from canaryd.core.references import Reference
from canaryd.core.snapshot import Obstacle, WantedRevision
from canaryd.core.tracking import Recorded, Tracking, identify
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
        self,
        target: DeploymentView,
        spec: CanarySpec,
        known: Known,
        recorded: Iterable[Recorded] = (),
    ) -> WantedRevision:
        """The revision the target asks for; unknown, with the reason,
        when a config cannot be read.

        ``spec`` says what is tracked from now on, ``recorded`` what was under which rule.
        """
        contents: dict[str, tuple[str, str]] = {}
        rule = self._rule(target, spec)
        for reference in target.references:
            if not rule.covers(reference.key):
                continue
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
        found = identify(target.fingerprint, contents, rule, known=recorded, remembered=known)
        return WantedRevision(
            name=found.name,
            contents=found.contents,
            tracking=found.rule,
            beside=found.beside,
            shared=frozenset(k for k, v in self.views(target).items() if not wish_of(v).copy),
        )

    def views(self, workload: DeploymentView) -> dict[str, ConfigView]:
        """The configs (``kind/name``) a workload names, as far as they exist and may be read."""
        found = ((r.key, self._view(workload.id.namespace, r)) for r in workload.references)
        return {key: view for key, view in found if view is not None}

    def missing(self, workload: DeploymentView) -> tuple[str, ...]:
        """Configs (``kind/name``) without which pods of a workload cannot start."""
        return tuple(
            r.key
            for r in workload.references
            if not r.optional
            and (r.kind == "configmap" or self._cache.secrets is not None)
            and self._view(workload.id.namespace, r) is None
        )

    def _rule(self, target: DeploymentView, spec: CanarySpec) -> Tracking:
        """What is tracked of this target from now on."""
        kinds = {"configmap"} if self._cache.secrets is None else {"configmap", "secret"}
        untracked = (k for k, v in self.views(target).items() if not wish_of(v).track)
        rule = Tracking(
            frozenset(kinds if spec.config_tracking else ()),
            frozenset((*spec.config_exclude, *untracked)),
        )
        return rule.about(r.key for r in target.references)

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
