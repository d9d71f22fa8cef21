"""When are two pod templates, or two configs, the same?

Hashes are taken over the raw object as the API server returned it,
canonicalised as JSON with sorted keys,
never over a typed model: a newer client library would change every hash and start every canary
(case X18).
Version prefixes are not needed as long as the canonical form stands; changing it is a migration.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from canaryd.core.names import INTERNAL, PREFIX

REVISION_CHARS = 10
_NULL = ":null"
"""What a null in an object is spelled as; in a text it may stand for nothing."""
_SCALARS = frozenset({str, int, bool, float})
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(value: Any) -> bytes:
    """One spelling for one value: sorted keys, no blanks, nulls dropped from objects."""
    # Hardly anything holds a null, and to copy it all for the sake of that costs a third of a
    # fingerprint: look first whether the spelling has the word.
    try:
        text = _ENCODER.encode(value)
    except TypeError:  # a mapping that is no dict
        text = _NULL
    return (_ENCODER.encode(_without_nulls(value)) if _NULL in text else text).encode()


def template_fingerprint(template: Mapping[str, Any]) -> str:
    """128-bit hash of a pod template, our own annotations aside."""
    metadata = dict(template.get("metadata") or {})
    metadata.pop("creationTimestamp", None)
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith((PREFIX, INTERNAL))
    }
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    return _digest(canonical_json({"metadata": metadata, "spec": template.get("spec") or {}}), 16)


def content_fingerprint(config: Mapping[str, Any]) -> str:
    """128-bit hash of what a ConfigMap or Secret holds: ``data``, ``binaryData`` and ``type``."""
    content = {
        "kind": config.get("kind", ""),
        "data": config.get("data") or {},
        "binaryData": config.get("binaryData") or {},
        "type": config.get("type", ""),
    }
    return _digest(canonical_json(content), 16)


def revision_of(template: str, configs: Mapping[str, str]) -> str:
    """The name of a revision: template fingerprint plus content fingerprints by ``kind/name``."""
    return _digest(canonical_json({"template": template, "configs": dict(configs)}), 16)[
        :REVISION_CHARS
    ]


def copy_digest(target: str, kind: str, content: str) -> str:
    """Suffix of a config copy: differs by target, so that two apps never share a copy (case X9)."""
    return _digest(canonical_json([target, kind, content]), 16)[:REVISION_CHARS]


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Hash of a manifest we are about to apply, to recognise an apply that changes nothing."""
    return _digest(canonical_json(manifest), 8)


def _digest(data: bytes, size: int) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()


def _without_nulls(value: Any) -> Any:
    # Exact types first: this runs over every template of every event, and asking an abstract base
    # class costs more than all the rest.
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict or isinstance(value, Mapping):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if kind is list or isinstance(value, list | tuple):
        return [_without_nulls(v) for v in value]
    return value
