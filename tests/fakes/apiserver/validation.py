"""What the API server refuses: the rules of Kubernetes 1.34 that a progressive-delivery daemon can run into.

Two kinds of refusal, as in the real one: a body that does not decode is 400, a decoded object that breaks a rule is 422.
A fake that accepts what a cluster refuses proves nothing, so a rule is only left out when nothing of ours could break it.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from canaryd.core.kinds import Kind
from tests.fakes.apiserver import httproutes
from tests.fakes.apiserver.errors import ApiError, Cause, bad_request, invalid
from tests.fakes.apiserver.selectors import object_selector_matches

Manifest = dict[str, Any]
Rule = Callable[[Manifest, Manifest | None], Iterator[Cause]]

_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_MAX_ANNOTATIONS = 256 * 1024
_IMMUTABLE = "field is immutable"


def check_decodes(kind: Kind, obj: Manifest) -> None:
    """Refuse a body that Go would not decode.

    Raises:
        ApiError: 400.
    """
    meta = obj.get("metadata") or {}
    for key in ("labels", "annotations"):
        _check_strings(kind, meta.get(key), f"metadata.{key}")
    if kind.plural == "configmaps":
        _check_strings(kind, obj.get("data"), "data")
    if kind.plural == "secrets":
        _check_strings(kind, obj.get("data"), "data")
        for key, value in (obj.get("data") or {}).items():
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error as error:
                raise _undecodable(kind, f"data.{key}: illegal base64 data") from error
    if kind.plural == "leases":
        for key in ("acquireTime", "renewTime"):
            _check_micro_time(kind, (obj.get("spec") or {}).get(key), f"spec.{key}")
    if kind.plural == "events":
        _check_micro_time(kind, obj.get("eventTime"), "eventTime")
        _check_micro_time(kind, (obj.get("series") or {}).get("lastObservedTime"), "series")
    for path in (("spec", "replicas"), ("spec", "leaseDurationSeconds")):
        value = (obj.get(path[0]) or {}).get(path[1])
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise _undecodable(kind, f"{'.'.join(path)}: cannot unmarshal into int32")


def _undecodable(kind: Kind, why: str) -> ApiError:
    return bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled: json: {why}')


def _check_strings(kind: Kind, mapping: Any, where: str) -> None:
    if mapping is None:
        return
    if not isinstance(mapping, dict):
        raise _undecodable(kind, f"{where}: cannot unmarshal into map[string]string")
    for key, value in mapping.items():
        if not isinstance(value, str):
            raise _undecodable(kind, f"{where}.{key}: cannot unmarshal into string")


def _check_micro_time(kind: Kind, value: Any, where: str) -> None:
    if value is not None and not (isinstance(value, str) and _MICRO_TIME.fullmatch(value)):
        raise _undecodable(
            kind, f'{where}: parsing time {value!r} as "2006-01-02T15:04:05.000000Z07:00"'
        )


def check_valid(kind: Kind, obj: Manifest, old: Manifest | None) -> None:
    """Refuse an object that breaks a rule; ``old`` is None on creation.

    Raises:
        ApiError: 422 with one cause for each broken rule.
    """
    causes = list(_metadata(kind, obj))
    rule = _RULES.get(kind.plural)
    if rule is not None:
        causes.extend(rule(obj, old))
    if causes:
        raise invalid(kind, obj["metadata"].get("name", ""), causes)


def _metadata(kind: Kind, obj: Manifest) -> Iterator[Cause]:
    meta = obj["metadata"]
    name = meta.get("name", "")
    if kind.plural == "services":
        good = bool(_SERVICE_NAME.fullmatch(name))
    elif kind.plural == "namespaces":
        good = bool(_DNS_LABEL.fullmatch(name))
    else:
        good = len(name) <= 253 and bool(_DNS_SUBDOMAIN.fullmatch(name))
    if not good:
        yield Cause("metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 name')
    yield from _labels(meta.get("labels"), "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in annotations:
        yield from _qualified(key, "metadata.annotations")
    if sum(len(k) + len(v) for k, v in annotations.items()) > _MAX_ANNOTATIONS:
        message = f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
        yield Cause("metadata.annotations", message, "FieldValueTooLong")
    for index, owner in enumerate(meta.get("ownerReferences") or ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield _required(f"metadata.ownerReferences[{index}].{key}")


def _labels(labels: Mapping[str, str] | None, where: str) -> Iterator[Cause]:
    for key, value in (labels or {}).items():
        yield from _qualified(key, where)
        if value and not _LABEL_NAME.fullmatch(value):
            yield Cause(where, f'Invalid value: "{value}": must be a valid label value')


def _qualified(key: str, where: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not _DNS_SUBDOMAIN.fullmatch(prefix)):
        yield Cause(where, f'Invalid value: "{key}": must be a qualified name')


def _required(field: str, why: str = "") -> Cause:
    return Cause(field, f"Required value{': ' + why if why else ''}", "FieldValueRequired")


def _wrong(field: str, value: Any, why: str) -> Cause:
    return Cause(field, f"Invalid value: {json.dumps(value)}: {why}")


def _unchanged(obj: Manifest, old: Manifest | None, *path: str) -> Iterator[Cause]:
    if old is None:
        return
    new_value, old_value = _at(obj, path), _at(old, path)
    if new_value != old_value:
        yield _wrong(".".join(path), new_value, _IMMUTABLE)


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        obj = (obj or {}).get(key)
    return obj


def _workload(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    spec = obj["spec"]
    selector, template = spec.get("selector"), spec["template"]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selector:
        yield _required("spec.selector")
    elif not object_selector_matches(selector, labels):
        where = "spec.template.metadata.labels"
        yield _wrong(where, labels, "`selector` does not match template `labels`")
    yield from _unchanged(obj, old, "spec", "selector")
    yield from _labels(labels, "spec.template.metadata.labels")
    if spec["replicas"] < 0:
        yield _wrong("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    yield from _pod(template["spec"], "spec.template.spec")


def _pod(spec: Manifest, where: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield _required(f"{where}.containers")
    if spec["restartPolicy"] != "Always":
        yield Cause(
            f"{where}.restartPolicy",
            f'Unsupported value: "{spec["restartPolicy"]}": supported values: "Always"',
            "FieldValueNotSupported",
        )
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    for index, container in enumerate(containers):
        place = f"{where}.containers[{index}]"
        for key in ("name", "image"):
            if not container.get(key):
                yield _required(f"{place}.{key}")
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            if mount.get("name") not in volumes:
                name = mount.get("name")
                yield Cause(f"{place}.volumeMounts[{number}].name", f'Not found: "{name}"')


def _deployment(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    yield from _workload(obj, old)
    spec = obj["spec"]
    strategy = spec["strategy"]
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "Recreate" and rolling is not None:
        message = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield Cause("spec.strategy.rollingUpdate", message, "FieldValueForbidden")
    nothing = (0, "0", "0%")
    if rolling and rolling["maxUnavailable"] in nothing and rolling["maxSurge"] in nothing:
        where = "spec.strategy.rollingUpdate.maxUnavailable"
        yield _wrong(where, rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0")
    if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
        where = "spec.progressDeadlineSeconds"
        yield _wrong(where, spec["progressDeadlineSeconds"], "must be greater than minReadySeconds")


def _service(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    spec = obj["spec"]
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield _required("spec.ports")
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"spec.ports[{index}]", port.get("name", "")
        if not isinstance(port.get("port"), int) or not 0 < port["port"] < 65536:
            yield _wrong(
                f"{where}.port", port.get("port"), "must be between 1 and 65535, inclusive"
            )
        if len(ports) > 1 and not name:
            yield _required(f"{where}.name")
        if name and name in seen:
            yield Cause(f"{where}.name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
        seen.add(name)
    if old is not None and spec["type"] == old["spec"]["type"] == "ClusterIP":
        yield from _unchanged(obj, old, "spec", "clusterIP")
    yield from _labels(spec.get("selector"), "spec.selector")


def _config(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    if old is None or not old.get("immutable"):
        return
    frozen = "Forbidden: field is immutable when `immutable` is set"
    if not obj.get("immutable"):
        yield Cause("immutable", frozen, "FieldValueForbidden")
    for part in ("data", "binaryData"):
        if (obj.get(part) or {}) != (old.get(part) or {}):
            yield Cause(part, frozen, "FieldValueForbidden")


def _secret(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    yield from _unchanged(obj, old, "type")
    yield from _config(obj, old)


def _controller_revision(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    if obj.get("data") is None:
        yield _required("data", "data is mandatory")
    if not isinstance(obj.get("revision"), int) or obj["revision"] < 0:
        yield _wrong("revision", obj.get("revision"), "must be greater than or equal to 0")
    yield from _unchanged(obj, old, "data")


def _ingress(obj: Manifest, _old: Manifest | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield _wrong("spec", [], "either `defaultBackend` or `rules` must be specified")
    if "defaultBackend" in spec:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    for number, rule in enumerate(spec.get("rules") or ()):
        http = rule.get("http")
        if http is None:
            continue
        where = f"spec.rules[{number}].http.paths"
        if not http.get("paths"):
            yield _required(where)
        for index, path in enumerate(http.get("paths") or ()):
            place = f"{where}[{index}]"
            if not path.get("pathType"):
                yield _required(f"{place}.pathType", "pathType must be specified")
            elif path["pathType"] not in {"Exact", "Prefix", "ImplementationSpecific"}:
                message = f'Unsupported value: "{path["pathType"]}"'
                yield Cause(f"{place}.pathType", message, "FieldValueNotSupported")
            elif path["pathType"] != "ImplementationSpecific" and not str(
                path.get("path", "")
            ).startswith("/"):
                yield _wrong(f"{place}.path", path.get("path"), "must be an absolute path")
            yield from _backend(path.get("backend") or {}, f"{place}.backend")


def _backend(backend: Manifest, where: str) -> Iterator[Cause]:
    service = backend.get("service")
    if service is None:
        if "resource" not in backend:
            yield _required(where, "port name or number is required")
        return
    if not service.get("name"):
        yield _required(f"{where}.service.name")
    port = service.get("port") or {}
    if ("name" in port) == ("number" in port):
        why = (
            "port name or number is required"
            if not port
            else "cannot set both port name & port number"
        )
        yield _required(where, why)


def _autoscaler(obj: Manifest, _old: Manifest | None) -> Iterator[Cause]:
    spec = obj["spec"]
    target = spec.get("scaleTargetRef") or {}
    for key in ("kind", "name"):
        if not target.get(key):
            yield _required(f"spec.scaleTargetRef.{key}")
    if spec["minReplicas"] < 1:
        why = "must be greater than or equal to 1"
        yield _wrong("spec.minReplicas", spec["minReplicas"], why)
    if not isinstance(spec.get("maxReplicas"), int) or spec["maxReplicas"] < 1:
        yield _wrong("spec.maxReplicas", spec.get("maxReplicas"), "must be greater than 0")
    elif spec["maxReplicas"] < spec["minReplicas"]:
        why = "must be greater than or equal to `minReplicas`"
        yield _wrong("spec.maxReplicas", spec["maxReplicas"], why)


def _disruption_budget(obj: Manifest, _old: Manifest | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield _wrong("spec", {}, "minAvailable and maxUnavailable cannot be both set")


def _endpoint_slice(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    if not obj.get("addressType"):
        yield _required("addressType")
    yield from _unchanged(obj, old, "addressType")


def _lease(obj: Manifest, _old: Manifest | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        yield _wrong("spec.leaseDurationSeconds", duration, "must be greater than 0")
    if transitions is not None and transitions < 0:
        why = "must be greater than or equal to 0"
        yield _wrong("spec.leaseTransitions", transitions, why)


def _event(obj: Manifest, old: Manifest | None) -> Iterator[Cause]:
    if not obj.get("eventTime"):
        yield _required("eventTime")
    if obj.get("type") not in {"Normal", "Warning"}:
        yield _wrong("type", "", f"has invalid value: {obj.get('type', '')}")
    for key, limit in (("reportingController", 253), ("reportingInstance", 128), ("action", 128)):
        yield from _text(obj, key, limit)
    yield from _text(obj, "reason", 128)
    if len(str(obj.get("note", "")).encode()) > 1024:
        yield _wrong("message", "", "can have at most 1024 characters")
    namespace = obj["metadata"].get("namespace", "")
    about = (obj.get("regarding") or {}).get("namespace", "")
    if not about and namespace not in {"default", "kube-system"}:
        yield _wrong("involvedObject.namespace", about, "does not match event.namespace")
    series = obj.get("series")
    if series and (old is None or series != old.get("series")) and series.get("count", 0) < 2:
        yield _wrong("series.count", "", "should be at least 2")
    for key in ("regarding", "reason", "note", "type", "eventTime", "action"):
        yield from _unchanged(obj, old, key)


def _text(obj: Manifest, key: str, limit: int) -> Iterator[Cause]:
    value = obj.get(key, "")
    if not value:
        yield _required(key)
    elif len(value) > limit:
        yield _wrong(key, "", f"can have at most {limit} characters")


_RULES: dict[str, Rule] = {
    "deployments": _deployment,
    "replicasets": _workload,
    "services": _service,
    "configmaps": _config,
    "secrets": _secret,
    "controllerrevisions": _controller_revision,
    "ingresses": _ingress,
    "httproutes": httproutes.rules,
    "horizontalpodautoscalers": _autoscaler,
    "poddisruptionbudgets": _disruption_budget,
    "endpointslices": _endpoint_slice,
    "leases": _lease,
    "events": _event,
}
