"""The verbs on resources: from one parsed request to (status code, JSON body), without any I/O."""

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from canaryd.core.kinds import Kind
from tests.fakes.apiserver.addresses import Address, AddressBook, split_path
from tests.fakes.apiserver.errors import (
    ApiError,
    Cause,
    bad_request,
    expired,
    invalid,
    method_not_allowed,
    no_such_path,
    not_found,
    unsupported_media_type,
)
from tests.fakes.apiserver.requests import Request
from tests.fakes.apiserver.schema import TYPED_ITEMS
from tests.fakes.apiserver.selectors import parse_field_selector, parse_label_selector
from tests.fakes.apiserver.store import Key, Manifest, Store, Write, key_of
from tests.fakes.apiserver.strategy import WITH_SCALE, WITH_STATUS
from tests.fakes.apiserver.watch import metadata_of

Answer = tuple[int, Manifest]

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


class Pages:
    """Snapshots behind ``continue`` tokens, so that all pages of a list show one version."""

    def __init__(self, limit: int = 64) -> None:
        self._snapshots: OrderedDict[int, tuple[list[Manifest], int]] = OrderedDict()
        self._limit = limit
        self._serial = 0

    def expire(self) -> None:
        """Forget all snapshots: their tokens answer 410 from now on."""
        self._snapshots.clear()

    def keep(self, rest: list[Manifest], version: int) -> str:
        self._serial += 1
        self._snapshots[self._serial] = rest, version
        while len(self._snapshots) > self._limit:
            self._snapshots.popitem(last=False)
        return self._token({"id": self._serial, "start": list(key_of(rest[0]))})

    def resume(
        self, store: Store, kind: Kind, namespace: str, token: str
    ) -> tuple[list[Manifest], int]:
        """Items left and the version they are of.

        Raises:
            ApiError: 410, with a token that goes on from the same place at today's version.
        """
        try:
            place = json.loads(base64.urlsafe_b64decode(token))
        except ValueError as error:
            raise bad_request(f"continue key is not valid: {error}") from error
        start: Key = (place["start"][0], place["start"][1])
        if place["id"] == 0:
            return [o for o in store.items(kind, namespace) if key_of(o) >= start], store.version
        if place["id"] not in self._snapshots:
            again = self._token({"id": 0, "start": list(start)})
            raise expired(_TOO_OLD, continue_token=again)
        return self._snapshots[place["id"]]

    def _token(self, place: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request with everything needed to serve it."""

    store: Store
    pages: Pages
    address: Address
    request: Request
    query: Mapping[str, str]
    body: bytes
    metadata_only: bool

    @property
    def kind(self) -> Kind:
        return self.address.kind

    @property
    def key(self) -> Key:
        return self.address.namespace, self.address.name

    @property
    def how(self) -> Write:
        return Write(
            manager=self.request.manager,
            subresource=self.address.subresource,
            dry_run=self.request.dry_run,
        )

    def json_body(self) -> Manifest:
        """The body as a JSON object; applied configurations may be YAML, of which JSON is a part."""
        try:
            if self.request.content_type == "application/apply-patch+yaml":
                parsed = _parse_yaml(self.body)
            else:
                parsed = json.loads(self.body or b"{}")
        except ValueError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
        if not isinstance(parsed, dict):
            raise bad_request("couldn't get version/kind; json parse error: not an object")
        return parsed


def _parse_yaml(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        try:
            return yaml.safe_load(body)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error


def serve(call: Call) -> Answer:
    """Carry out one request.

    Raises:
        ApiError: it is refused.
    """
    _check_subresource(call)
    match call.request.verb:
        case "get":
            return 200, _view(call, _read(call))
        case "list":
            return 200, _list(call)
        case "create" if not call.address.name:
            return _create(call)
        case "update" if call.address.name:
            return _update(call)
        case "patch" if call.address.name:
            return _patch(call)
        case "delete" if call.address.name and not call.address.subresource:
            return _delete(call)
        case _:
            raise method_not_allowed()


def _check_subresource(call: Call) -> None:
    match call.address.subresource:
        case "":
            return
        case "status" if call.kind in WITH_STATUS:
            return
        case "scale" if call.kind in WITH_SCALE:
            return
        case _:
            raise no_such_path()


def _read(call: Call) -> Manifest:
    found = call.store.get(call.kind, call.key)
    if found is None:
        raise not_found(call.kind, call.address.name)
    return found


def _view(call: Call, obj: Manifest) -> Manifest:
    """An object as this request wants to see it."""
    if call.address.subresource == "scale":
        return _scale_of(obj)
    if call.metadata_only:
        return metadata_of(obj)
    return {"kind": call.kind.kind, "apiVersion": call.kind.api_version, **obj}


def _scale_of(obj: Manifest) -> Manifest:
    meta, spec = obj["metadata"], obj["spec"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec["replicas"]} if spec["replicas"] else {},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": ",".join(f"{k}={v}" for k, v in sorted(selector.items())),
        },
    }


def check_version(store: Store, version: str) -> int:
    """A resourceVersion of a query as a number.

    Raises:
        ApiError: 400 when it is none, 504 when the server has not got there yet.
    """
    if not version.isdigit():
        cause = Cause("resourceVersion", f'Invalid value: "{version}": strconv.ParseUint: parsing')
        raise ApiError(400, "BadRequest", cause.message)
    if int(version) > store.version:
        message = f"Too large resource version: {version}, current: {store.version}"
        cause = Cause("", message, "ResourceVersionTooLarge")
        details = {"causes": [cause.as_json()]}
        raise ApiError(504, "Timeout", f"Timeout: {message}", details=details, retry_after_s=1)
    return int(version)


def _list(call: Call) -> Manifest:
    query, store = call.query, call.store
    if "sendInitialEvents" in query:
        why = "Forbidden: sendInitialEvents is forbidden for list"
        options = Kind("meta.k8s.io", "v1", "ListOptions", "listoptions")
        raise invalid(options, "", [Cause("sendInitialEvents", why, "FieldValueForbidden")])
    labels = parse_label_selector(query.get("labelSelector", ""))
    fields = parse_field_selector(query.get("fieldSelector", ""), call.kind)
    if version := query.get("resourceVersion", ""):
        asked = check_version(store, version)
        exact = query.get("resourceVersionMatch") == "Exact"
        if exact and asked != store.version:
            raise expired(f"The resourceVersion for the provided list is too old: {asked}")
    namespace = call.address.namespace
    if token := query.get("continue", ""):
        items, at = call.pages.resume(store, call.kind, namespace, token)
    else:
        items, at = store.items(call.kind, namespace), store.version
    items = [o for o in items if labels(o["metadata"].get("labels") or {}) and fields(o)]
    limit = int(query.get("limit") or 0)
    meta: Manifest = {"resourceVersion": str(at)}
    if limit and len(items) > limit:
        meta["continue"] = call.pages.keep(items[limit:], at)
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            meta["remainingItemCount"] = len(items) - limit
        items = items[:limit]
    return _list_document(call, items, meta)


def _list_document(call: Call, items: list[Manifest], meta: Manifest) -> Manifest:
    if call.metadata_only:
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "items": [metadata_of(item) for item in items],
        }
    if call.kind not in TYPED_ITEMS:
        # Typed lists name the kind once: their items have none.
        items = [{k: v for k, v in o.items() if k not in {"kind", "apiVersion"}} for o in items]
    return {
        "kind": f"{call.kind.kind}List",
        "apiVersion": call.kind.api_version,
        "metadata": meta,
        "items": items,
    }


def _body_of(call: Call) -> Manifest:
    """The body as an object of the kind and place that the URL names."""
    body = call.json_body()
    for key, wanted in (("kind", call.kind.kind), ("apiVersion", call.kind.api_version)):
        if body.setdefault(key, wanted) != wanted:
            raise bad_request(
                f"the {key} in the data ({body[key]}) does not match the expected one ({wanted})"
            )
    meta = body.setdefault("metadata", {})
    place = call.address.namespace
    if call.kind.namespaced and meta.setdefault("namespace", place) != place:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if call.address.name and meta.setdefault("name", call.address.name) != call.address.name:
        raise bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL "
            f"({call.address.name})"
        )
    return body


def _create(call: Call) -> Answer:
    body = _body_of(call)
    meta = body["metadata"]
    if not meta.get("name") and not meta.get("generateName"):
        cause = Cause(
            "metadata.name",
            "Required value: name or generateName is required",
            "FieldValueRequired",
        )
        raise invalid(call.kind, "", [cause])
    return 201, _view(call, call.store.create(call.kind, body, call.how))


def _update(call: Call) -> Answer:
    if call.address.subresource == "scale":
        return _scale(call, call.json_body())
    made = call.store.replace(call.kind, call.key, _body_of(call), call.how)
    return 200, _view(call, made)


def _patch(call: Call) -> Answer:
    match call.request.content_type:
        case "application/merge-patch+json":
            patch = call.json_body()
            if call.address.subresource == "scale":
                return _scale(call, patch)
            made = call.store.merge_patch(call.kind, call.key, patch, call.how)
            return 200, _view(call, made)
        case "application/apply-patch+yaml":
            return _apply(call)
        case other:
            raise unsupported_media_type(other)


def _apply(call: Call) -> Answer:
    if not call.query.get("fieldManager"):
        options = Kind("meta.k8s.io", "v1", "PatchOptions", "patchoptions")
        why = "Required value: is required for apply patch"
        raise invalid(options, "", [Cause("fieldManager", why, "FieldValueRequired")])
    body = call.json_body()
    for key in ("apiVersion", "kind"):
        if not body.get(key):
            raise bad_request(
                f"Object 'Kind' is missing: {key} must be set in an applied configuration"
            )
    if call.address.subresource == "scale":
        return _scale(call, body)
    if call.address.subresource and call.store.get(call.kind, call.key) is None:
        raise not_found(call.kind, call.address.name)
    force = call.query.get("force") in {"true", "1"}
    made, created = call.store.apply(call.kind, call.key, _body_of(call), call.how, force=force)
    return 201 if created else 200, _view(call, made)


def _scale(call: Call, body: Manifest) -> Answer:
    replicas = (body.get("spec") or {}).get("replicas")
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
        scale = Kind("autoscaling", "v1", "Scale", "scales")
        why = f"Invalid value: {json.dumps(replicas)}: must be greater than or equal to 0"
        raise invalid(scale, call.address.name, [Cause("spec.replicas", why)])
    version = (body.get("metadata") or {}).get("resourceVersion", "")
    return 200, _view(call, call.store.scale(call.kind, call.key, replicas, call.how, version))


def _delete(call: Call) -> Answer:
    options = call.json_body()
    conditions = options.get("preconditions") or {}
    propagation = options.get("propagationPolicy") or call.query.get("propagationPolicy")
    uid = _read(call)["metadata"]["uid"]
    held = call.store.delete(
        call.kind,
        call.key,
        uid=conditions.get("uid") or "",
        version=conditions.get("resourceVersion") or "",
        propagation=propagation or "Background",
        dry_run=call.request.dry_run,
    )
    if held is not None:
        return 200, _view(call, held)
    details = {"name": call.address.name, "kind": call.kind.plural, "uid": uid}
    if call.kind.group:
        details["group"] = call.kind.group
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return 200, status | {"details": details}


def discovery(book: AddressBook, path: str) -> Manifest | None:
    """``/api``, ``/apis``, ``/apis/<group>`` and the resource lists of a version."""
    groups = book.groups()
    if path == "/api":
        return {"kind": "APIVersions", "versions": groups.get("", [])}
    documents = {name: _group(name, versions) for name, versions in groups.items() if name}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(documents.values())}
    parts = path.strip("/").split("/")
    if len(parts) == 2 and parts[0] == "apis":
        return documents.get(parts[1])
    group, version, rest = split_path(path)
    if rest or version not in groups.get(group, ()):
        return None
    kinds = [k for k in book.kinds if (k.group, k.version) == (group, version)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": kinds[0].api_version,
        "resources": [
            {"name": k.plural, "kind": k.kind, "namespaced": k.namespaced} for k in kinds
        ],
    }


def _group(name: str, versions: list[str]) -> Manifest:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"kind": "APIGroup", "name": name, "versions": listed, "preferredVersion": listed[0]}
