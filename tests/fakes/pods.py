"""Simulated pods: not API objects, yet with everything that decides whether a request is answered.

A pod starts when its configs exist and its fate says so, may be broken and healed, and after its deletion
goes on serving for a while, as an app does that handles SIGTERM.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.core.kinds import CONFIG_MAP, SECRET, Kind
from tests.fakes.apiserver.store import Manifest, Store

Fate = Callable[["Pod"], float | None]
"""Seconds from creation to readiness, None for never."""


@dataclass(slots=True, eq=False)
class Pod:
    """One pod. ``started`` is its container's own readiness; ``ready`` is what endpoints say."""

    namespace: str
    name: str
    ip: str
    labels: dict[str, str]
    template: Manifest
    deployment: str
    replica_set: str
    created_at: float
    started: bool = False
    broken: bool = False
    deleted_at: float | None = None
    gone: bool = False
    ready_since: float | None = None
    env: dict[str, str] = field(default_factory=dict)
    """Variables of all containers as they were at start, with values out of ConfigMaps and Secrets."""
    waiting_for: tuple[str, ...] = ()
    """Configs that keep the pod from starting, as ``configmap/name``."""

    @property
    def ready(self) -> bool:
        return self.answers and self.deleted_at is None

    @property
    def answers(self) -> bool:
        """Whether a request that reaches the pod is answered: also true while it terminates."""
        return self.started and not self.broken and not self.gone

    @property
    def image(self) -> str:
        return str(self.template["spec"]["containers"][0]["image"])

    @property
    def version(self) -> str:
        """Label ``version`` if the template has one, else the image."""
        return self.labels.get("version") or self.image

    @property
    def hash(self) -> str:
        return self.labels.get("pod-template-hash", "")

    @property
    def config_volumes(self) -> tuple[str, ...]:
        """ConfigMaps and Secrets mounted as volumes, as ``configmap/name``."""
        volumes = self.template["spec"].get("volumes") or ()
        return tuple(dict.fromkeys(name for volume in volumes for name, _ in _of_volume(volume)))

    def __str__(self) -> str:
        state = "gone" if self.gone else "terminating" if self.deleted_at is not None else ""
        state = state or ("ready" if self.ready else "broken" if self.broken else "starting")
        return f"{self.namespace}/{self.name} ({self.image}, {state})"


class PodBook:
    """All pods of the cluster, with the hooks by which others follow them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[tuple[str, str], Pod] = {}
        self._by_ip: dict[str, Pod] = {}
        self._before: list[Callable[[], None]] = []
        self._after: list[Callable[[Pod], None]] = []
        self._serial = 0

    def __iter__(self) -> Iterator[Pod]:
        return iter(tuple(self._pods.values()))

    def get(self, key: tuple[str, str]) -> Pod | None:
        return self._pods.get(key)

    def by_ip(self, ip: str) -> Pod | None:
        """The pod at an address, None once it is gone."""
        return self._by_ip.get(ip)

    def before_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` just before any pod changes, while the old state still holds."""
        self._before.append(listener)

    def after_change(self, listener: Callable[[Pod], None]) -> None:
        self._after.append(listener)

    def create(self, replica_set: Manifest, deployment: str) -> Pod:
        """A pod for a ReplicaSet, not started."""
        self._serial += 1
        meta, template = replica_set["metadata"], replica_set["spec"]["template"]
        high, low = divmod(self._serial, 250)
        pod = Pod(
            namespace=meta["namespace"],
            name=f"{meta['name']}-{_letters(self._serial)}",
            ip=f"10.244.{high}.{low + 1}",
            labels=dict(template["metadata"]["labels"]),
            template=template,
            deployment=deployment,
            replica_set=meta["uid"],
            created_at=asyncio.get_running_loop().time(),
        )

        def add() -> None:
            self._pods[pod.namespace, pod.name] = pod
            self._by_ip[pod.ip] = pod

        self._change(pod, add)
        return pod

    def start(self, pod: Pod) -> bool:
        """Let the containers start and be ready; False while a config is missing."""
        missing = tuple(self._missing(pod))
        if missing:
            pod.waiting_for = missing
            return False

        def begin() -> None:
            pod.waiting_for = ()
            pod.env = dict(self._environment(pod))
            pod.started = True
            pod.ready_since = asyncio.get_running_loop().time()

        self._change(pod, begin)
        return True

    def set_broken(self, pod: Pod, *, broken: bool) -> None:
        """Turn a pod unready, or ready again."""
        if pod.broken == broken or pod.gone:
            return

        def turn() -> None:
            pod.broken = broken
            pod.ready_since = None if broken else asyncio.get_running_loop().time()

        self._change(pod, turn)

    def terminate(self, pod: Pod) -> None:
        """Delete: out of the ready endpoints at once, gone later."""

        def mark() -> None:
            pod.deleted_at = asyncio.get_running_loop().time()

        self._change(pod, mark)

    def finish(self, pod: Pod) -> None:
        """End of a terminating pod: nobody answers at its address any more."""

        def drop() -> None:
            pod.gone = True
            del self._pods[pod.namespace, pod.name]
            del self._by_ip[pod.ip]

        self._change(pod, drop)

    def _change(self, pod: Pod, change: Callable[[], None]) -> None:
        for listener in self._before:
            listener()
        change()
        for notify in self._after:
            notify(pod)

    def _missing(self, pod: Pod) -> Iterator[str]:
        for reference, optional in _references(pod.template["spec"]):
            if not optional and self._config(pod.namespace, reference) is None:
                yield reference

    def _config(self, namespace: str, reference: str) -> Manifest | None:
        kind, _, name = reference.partition("/")
        return self._store.get(_KINDS[kind], (namespace, name))

    def _environment(self, pod: Pod) -> Iterator[tuple[str, str]]:
        for container in pod.template["spec"]["containers"]:
            for source in container.get("envFrom") or ():
                for reference, _ in _of_source(source):
                    config = self._config(pod.namespace, reference) or {}
                    for key, value in (config.get("data") or {}).items():
                        yield source.get("prefix", "") + key, value
            for variable in container.get("env") or ():
                if "value" in variable:
                    yield variable["name"], variable["value"]
                for reference, _ in _of_variable(variable):
                    origin = variable["valueFrom"]
                    key = (origin.get("configMapKeyRef") or origin["secretKeyRef"])["key"]
                    config = self._config(pod.namespace, reference) or {}
                    if key in (config.get("data") or {}):
                        yield variable["name"], config["data"][key]


_KINDS: dict[str, Kind] = {"configmap": CONFIG_MAP, "secret": SECRET}
Mention = tuple[str, bool]
"""(``configmap/name``, optional)."""


def _references(spec: Mapping[str, Any]) -> Iterator[Mention]:
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume)
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            for variable in container.get("env") or ():
                yield from _of_variable(variable)
            for source in container.get("envFrom") or ():
                yield from _of_source(source)


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Mention]:
    for holder in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if config_map := holder.get("configMap"):
            yield f"configmap/{config_map['name']}", bool(config_map.get("optional"))
        if secret := holder.get("secret"):
            name = secret.get("secretName") or secret.get("name")
            yield f"secret/{name}", bool(secret.get("optional"))


def _of_variable(variable: Mapping[str, Any]) -> Iterator[Mention]:
    origin = variable.get("valueFrom") or {}
    for key, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
        if key in origin:
            yield f"{kind}/{origin[key]['name']}", bool(origin[key].get("optional"))


def _of_source(source: Mapping[str, Any]) -> Iterator[Mention]:
    for key, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
        if key in source:
            yield f"{kind}/{source[key]['name']}", bool(source[key].get("optional"))


def _letters(serial: int) -> str:
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    text = ""
    for _ in range(5):
        serial, digit = divmod(serial, len(alphabet))
        text = alphabet[digit] + text
    return text
