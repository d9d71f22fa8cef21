"""Metadata-only requests: ``PartialObjectMetadata`` in place of whole objects.

Keeps the payloads of users' ConfigMaps and Secrets out of this process:
the server leaves them out, and what a server sends in spite of that is dropped on arrival.
There is no ``application/json`` alternative in the Accept headers on purpose:
a server that cannot do it
shall refuse (406), not send the payloads.
"""

from canaryd.core.kinds import Kind
from canaryd.ports.kube import Manifest

WHOLE = "application/json"
ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_KEPT = ("apiVersion", "kind", "metadata")


def accept(*, metadata_only: bool, collection: bool = False) -> str:
    """Value of the Accept header; watches ask for :data:`ONE`, since each event is one object."""
    if not metadata_only:
        return WHOLE
    return LIST if collection else ONE


def identify(manifest: Manifest, kind: Kind, *, metadata_only: bool) -> Manifest:
    """Give an object its own ``apiVersion`` and ``kind``: items of lists have none,
    partial ones have those of the envelope (M3).
    """
    if metadata_only:
        manifest = {key: manifest[key] for key in _KEPT if key in manifest}
        return manifest | {"apiVersion": kind.api_version, "kind": kind.kind}
    manifest.setdefault("apiVersion", kind.api_version)
    manifest.setdefault("kind", kind.kind)
    return manifest
