"""URL paths of requests, from the static table of kinds.

Names come from annotations and from objects of other people:
one that is no path segment is refused here,
whatever was checked before, so that no name can make a request for something else.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from canaryd.core.kinds import kind_of
from canaryd.kube.answers import Call
from canaryd.ports.errors import Invalid
from canaryd.ports.kube import Manifest


def call_of(verb: str, manifest: Manifest, *, is_named: bool = True) -> Call:
    """Where a manifest goes.

    Raises:
        Invalid: its kind is not in the table, or it has no name.

    """
    try:
        kind = kind_of(manifest)
    except KeyError as error:
        raise Invalid(
            f"{verb}: apiVersion and kind {error} are not in the table of kinds (core/kinds.py)"
        ) from error
    meta = manifest.get("metadata") or {}
    name = str(meta.get("name") or "")
    if not name:
        raise Invalid(f"{verb} {kind.resource}: metadata.name is missing")
    return Call(verb, kind, meta.get("namespace"), name, is_collection=not is_named)


def target(call: Call, query: Mapping[str, str] | None = None) -> str:
    """Path and query of a call; empty parameters are left out.

    Raises:
        Invalid: a namespace or name is missing, or is no path segment.

    """
    if not call.is_collection:
        if not call.name:
            raise Invalid(f"{call}: a name is needed")
        if call.kind.namespaced and not call.namespace:
            raise Invalid(f"{call}: a namespace is needed")
    elif call.verb == "create" and call.kind.namespaced and not call.namespace:
        raise Invalid(f"{call}: metadata.namespace is missing")
    name = "" if call.is_collection else call.name
    path = call.kind.path(_segment(call, call.namespace or ""), _segment(call, name))
    if call.subresource:
        path += f"/{_segment(call, call.subresource)}"
    given = {key: value for key, value in (query or {}).items() if value}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def _segment(call: Call, text: str) -> str:
    """The API server's own rule: no ``.``, no ``..``, no ``/``, no ``%``."""
    if text in (".", "..") or "/" in text or "%" in text:
        raise Invalid(f"{call}: {text!r} cannot be part of a path")
    return quote(text, safe="")
