"""ConfigMaps and Secrets a pod template names: find them, rename them.

Every place where a *container* can read one is covered: env, envFrom, volumes, projected volumes,
in containers, init containers and ephemeral containers. What is in there is the app's, is part of
its revision and is copied for the primary.

Credentials that others use on the pod's behalf are not the app's and are left as they are, neither
tracked nor copied: ``imagePullSecrets`` of the kubelet, and the ``secretRef`` or ``secretName`` of
a volume's driver (CSI's ``nodePublishSecretRef``, azureFile, cephfs, cinder, flexVolume, iscsi,
rbd, scaleIO, storageos). Whoever runs registry or storage renews them: no change of an app follows
from that, and a primary held to an immutable copy of an old one could not start another pod.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ConfigKind = Literal["configmap", "secret"]


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One ConfigMap or Secret named by a template; ``optional`` when every mention says so."""

    kind: ConfigKind
    name: str
    optional: bool = False

    @property
    def key(self) -> str:
        """``configmap/name`` or ``secret/name``, as annotations and status spell it."""
        return f"{self.kind}/{self.name}"


def find_references(template: Mapping[str, Any]) -> tuple[Reference, ...]:
    """All references of a pod template, sorted, each once."""
    found: dict[tuple[ConfigKind, str], bool] = {}
    for kind, holder, field in _mentions(template.get("spec") or {}):
        name = holder.get(field)
        if not name:
            continue
        optional = bool(holder.get("optional", False))
        found[kind, name] = found.get((kind, name), True) and optional
    return tuple(
        sorted(Reference(kind, name, optional) for (kind, name), optional in found.items())
    )


def rename_references(template: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the template in which ``names`` (``kind/name`` to new name) are put in place."""
    renamed: dict[str, Any] = copy.deepcopy(dict(template))
    for kind, holder, field in _mentions(renamed.get("spec") or {}):
        new = names.get(f"{kind}/{holder.get(field)}")
        if new is not None:
            holder[field] = new
    return renamed


def _mentions(spec: Mapping[str, Any]) -> Iterator[tuple[ConfigKind, dict[str, Any], str]]:
    """Each place of a pod spec that names a config: its kind, the dict that holds the name,
    the field.
    """
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            yield from _container_mentions(container)
    for volume in spec.get("volumes") or ():
        if config_map := volume.get("configMap"):
            yield "configmap", config_map, "name"
        if secret := volume.get("secret"):
            yield "secret", secret, "secretName"
        for source in (volume.get("projected") or {}).get("sources") or ():
            if config_map := source.get("configMap"):
                yield "configmap", config_map, "name"
            if secret := source.get("secret"):
                yield "secret", secret, "name"


def _container_mentions(
    container: Mapping[str, Any],
) -> Iterator[tuple[ConfigKind, dict[str, Any], str]]:
    for variable in container.get("env") or ():
        value_from = variable.get("valueFrom") or {}
        if config_map := value_from.get("configMapKeyRef"):
            yield "configmap", config_map, "name"
        if secret := value_from.get("secretKeyRef"):
            yield "secret", secret, "name"
    for source in container.get("envFrom") or ():
        if config_map := source.get("configMapRef"):
            yield "configmap", config_map, "name"
        if secret := source.get("secretRef"):
            yield "secret", secret, "name"
