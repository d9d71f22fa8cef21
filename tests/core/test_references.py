"""Every place of a pod spec that can name a ConfigMap or Secret, against the API's own types: which are the app's, and
which are credentials that others use for it.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from canaryd.core.references import find_references, rename_references

CONTAINERS = ("containers[]", "initContainers[]", "ephemeralContainers[]")
APPS = {
    **{f"{c}.env[].valueFrom.configMapKeyRef.name": "configmap" for c in CONTAINERS},
    **{f"{c}.env[].valueFrom.secretKeyRef.name": "secret" for c in CONTAINERS},
    **{f"{c}.envFrom[].configMapRef.name": "configmap" for c in CONTAINERS},
    **{f"{c}.envFrom[].secretRef.name": "secret" for c in CONTAINERS},
    "volumes[].configMap.name": "configmap",
    "volumes[].secret.secretName": "secret",
    "volumes[].projected.sources[].configMap.name": "configmap",
    "volumes[].projected.sources[].secret.name": "secret",
}
"""Copied, and a reason for a run."""
OTHERS = {
    "imagePullSecrets[].name",
    "volumes[].azureFile.secretName",
    "volumes[].cephfs.secretRef.name",
    "volumes[].cinder.secretRef.name",
    "volumes[].csi.nodePublishSecretRef.name",
    "volumes[].flexVolume.secretRef.name",
    "volumes[].iscsi.secretRef.name",
    "volumes[].rbd.secretRef.name",
    "volumes[].scaleIO.secretRef.name",
    "volumes[].storageos.secretRef.name",
}
"""Credentials of kubelet and drivers: left as they are."""
NEITHER = {
    # A file on the node.
    "volumes[].cephfs.secretFile",
    # What a new volume claim is filled from: a snapshot or another claim.
    "volumes[].ephemeral.volumeClaimTemplate.spec.dataSource.name",
}
_NAMES_ONE = re.compile(r"Secret|ConfigMap|LocalObjectReference")


def places(kind: str, path: str = "", above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Places below a type of the API whose type or name says that it is about a ConfigMap or Secret."""
    from kubernetes.client import models

    model = getattr(models, kind, None)
    if model is None or kind in above:
        return
    for attribute, written in model.openapi_types.items():
        found = re.fullmatch(r"(?i:list)\[(.*)\]", written)
        below = found[1] if found else written
        here = f"{path}{model.attribute_map[attribute]}{'[]' if found else ''}"
        deeper = set(places(below, f"{here}.", above | {kind}))
        if _NAMES_ONE.search(below):
            yield f"{here}.{_name_of(below)}"
        elif below == "str" and re.search(r"(?i)secret|configmap", here.rpartition(".")[2]):
            yield here
        yield from deeper


def _name_of(kind: str) -> str:
    from kubernetes.client import models

    fields = getattr(models, kind).attribute_map.values()
    return "secretName" if "secretName" in fields else "name"


def pod_spec(path: str, name: str) -> dict[str, Any]:
    """A pod spec that names something in this one place."""
    spec: Any = name
    for part in reversed(path.split(".")):
        spec = {part.removesuffix("[]"): [spec] if part.endswith("[]") else spec}
    made: dict[str, Any] = spec
    return made


@pytest.mark.slow
def test_the_api_knows_no_place_that_is_not_decided_about_here():
    assert set(places("V1PodSpec")) == set(APPS) | OTHERS | NEITHER


@pytest.mark.parametrize("path", APPS)
def test_what_containers_read_is_found_and_renamed(path):
    template = {"spec": pod_spec(path, "settings")}
    [reference] = find_references(template)
    assert (f"{APPS[path]}/settings", False) == (reference.key, reference.optional)
    before = copy.deepcopy(template)
    renamed = rename_references(template, {reference.key: "settings-0123456789"})
    assert {"spec": pod_spec(path, "settings-0123456789")} == renamed
    assert before == template


@pytest.mark.parametrize("path", APPS)
def test_a_name_of_the_other_kind_is_not_renamed(path):
    template = {"spec": pod_spec(path, "settings")}
    other = {"configmap": "secret", "secret": "configmap"}[APPS[path]]
    assert template == rename_references(template, {f"{other}/settings": "x"})


@pytest.mark.parametrize("path", sorted(OTHERS | NEITHER))
def test_credentials_of_kubelet_and_drivers_are_left_alone(path):
    template = {"spec": pod_spec(path, "settings")}
    assert () == find_references(template)
    names = {"secret/settings": "x", "configmap/settings": "y"}
    assert template == rename_references(template, names)


def test_one_that_every_mention_calls_optional_is_optional():
    optional = {"secretRef": {"name": "s", "optional": True}}
    needed = {"secretRef": {"name": "s"}}
    for sources, expected in (
        ([optional, optional], True),
        ([optional, needed], False),
        ([needed, optional], False),
    ):
        spec = {"containers": [{"envFrom": [source]} for source in sources]}
        [reference] = find_references({"spec": spec})
        assert expected == reference.optional


@pytest.mark.parametrize("spec", [None, {}, {"containers": None, "volumes": None}])
def test_a_template_that_names_nothing_has_no_references(spec):
    assert () == find_references({"spec": spec})


def test_a_reference_without_a_name_is_none():
    assert () == find_references({"spec": pod_spec("volumes[].configMap.name", "")})
