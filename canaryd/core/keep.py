"""What another writer may not change of a user's objects, as a patch at admission.

The selector of an apex Service and the replicas of a target stay what canaryd made them, canaryd's
marks stay where they are, and who changed a target's template is noted beside it. Everything else
in the request goes through, also the removal of ``canaryd.io/enabled``.

The same in the words of the API server, condition by condition, is in the chart's
``admission-policy.yaml``; a cluster has one of the two. The same stories are told to both
(``tests/cluster/test_admission.py``), because neither can be made of the other.
Never refuse anything here: what is not understood is let through as it came.
"""

from collections.abc import Mapping
from typing import Any, Final

from canaryd.core import names
from canaryd.core.annotations import ENABLED
from canaryd.core.kinds import DEPLOYMENT, SERVICE

CONTROL_PLANE: Final = "system:serviceaccounts:kube-system"
"""Group of the controllers of the cluster itself."""

Operation = dict[str, Any]
"""One operation of a JSON Patch (RFC 6902)."""
Marks = dict[str, str | None]
"""Wanted values of labels or annotations; None where none is wanted."""


def keep(request: Mapping[str, Any], *, daemon: str) -> list[Operation]:
    """Return what has to be patched before the object may be stored; mostly nothing.

    Args:
        request: of an AdmissionReview (``admission.k8s.io/v1``).
        daemon: name of the user that canaryd itself is; what it writes is left alone.

    """
    user = _map(request, "userInfo")
    writer = str(user.get("username") or "")
    if writer == daemon or request.get("subResource"):
        return []
    new, old = _map(request, "object"), _map(request, "oldObject")
    match str(request.get("operation")), _kind(request):
        case "UPDATE", (SERVICE.api_version, SERVICE.kind):
            return _service(old, new)
        case "UPDATE", (DEPLOYMENT.api_version, DEPLOYMENT.kind):
            groups = user.get("groups")
            is_controller = isinstance(groups, list) and CONTROL_PLANE in groups
            return _deployment(old, new, writer, keeps=not is_controller)
        case "CREATE", (DEPLOYMENT.api_version, DEPLOYMENT.kind):
            return _marks("annotations", new, _author({}, new, writer))
    return []


def _service(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Operation]:
    if names.LABEL_APEX not in _meta(old, "labels"):
        return []
    return [
        *_field("selector", old, new),
        *_marks("labels", new, _as_before("labels", old, names.LABEL_APEX, names.LABEL_TARGET)),
        *_marks("annotations", new, _as_before("annotations", old, names.ORIGINAL_SELECTOR)),
    ]


def _deployment(
    old: Mapping[str, Any], new: Mapping[str, Any], writer: str, *, keeps: bool
) -> list[Operation]:
    annotations = _author(old, new, writer)
    if not keeps or not _is_managed(old):
        return _marks("annotations", new, annotations)
    annotations |= _as_before("annotations", old, names.MANAGED)
    return [
        *_field("replicas", old, new),
        *_marks("labels", new, _as_before("labels", old, names.LABEL_TARGET)),
        *_marks("annotations", new, annotations),
    ]


def _author(old: Mapping[str, Any], new: Mapping[str, Any], writer: str) -> Marks:
    """Who made the template: the writer if it changed, else whoever it was before."""
    is_enrolled = _meta(new, "annotations").get(names.PREFIX + ENABLED) == "true" or _is_managed(
        old
    )
    if is_enrolled and _spec(old).get("template") != _spec(new).get("template"):
        return {names.AUTHOR: writer}
    return {names.AUTHOR: _meta(old, "annotations").get(names.AUTHOR) or None}


def _is_managed(deployment: Mapping[str, Any]) -> bool:
    return _meta(deployment, "annotations").get(names.MANAGED) == "true"


def _as_before(part: str, old: Mapping[str, Any], *keys: str) -> Marks:
    before = _meta(old, part)
    return {key: before[key] for key in keys if key in before}


# --- JSON Patch -----------------------------------------------------------------------------------


def _field(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Operation]:
    before = _spec(old)
    if name not in before or _spec(new).get(name) == before[name]:
        return []
    return [{"op": "add", "path": f"/spec/{name}", "value": before[name]}]


def _marks(part: str, new: Mapping[str, Any], wanted: Marks) -> list[Operation]:
    have = _meta(new, part)
    made: list[Operation] = []
    if not isinstance(_map(new, "metadata").get(part), Mapping):
        # A patch makes no parents.
        made.append({"op": "add", "path": f"/metadata/{part}", "value": {}})
    parents = len(made)
    for key, value in wanted.items():
        if have.get(key) == value:
            continue
        path = f"/metadata/{part}/{key.replace('~', '~0').replace('/', '~1')}"
        change = {"op": "remove"} if value is None else {"op": "add", "value": value}
        made.append(change | {"path": path})
    return made if len(made) > parents else []


# --- reading what anybody may have sent -----------------------------------------------------------


def _kind(request: Mapping[str, Any]) -> tuple[str, str]:
    kind = _map(request, "kind")
    group, version = kind.get("group"), kind.get("version")
    return f"{group}/{version}" if group else str(version), str(kind.get("kind"))


def _spec(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return _map(obj, "spec")


def _meta(obj: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return _map(_map(obj, "metadata"), part)


def _map(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, Mapping) else {}
