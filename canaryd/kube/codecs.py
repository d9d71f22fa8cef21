"""JSON of the API server, decoded in two stages.

Decoding is nearly the whole cost of a controller in Python, and most objects of a cluster are
none of our business.
So an event is first cut into its envelope, with the object left as raw bytes;
a byte search then tells
whether the object can concern us at all, and only then it becomes a dict.
Never a typed model of an object: unknown fields must survive (M1),
and metadata-only answers must pass (M3).
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from canaryd.core.kinds import Kind
from canaryd.kube import metadata
from canaryd.ports.kube import Manifest

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Undecodable(Exception):  # noqa: N818 - reads as what it is
    """Bytes that the API server would not send."""


class Event(msgspec.Struct, gc=False):
    """Envelope of one watch event."""

    type: str
    object: msgspec.Raw


class Metadata(msgspec.Struct, gc=False):
    """As much of ``metadata`` as it takes to know which object, and which version of it."""

    name: str = ""
    namespace: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class Head(msgspec.Struct, gc=False):
    """The identifying part of an object."""

    metadata: Metadata


class _BookmarkMetadata(msgspec.Struct, gc=False):
    version: str = msgspec.field(default="", name="resourceVersion")
    annotations: dict[str, str] | None = None


class Bookmark(msgspec.Struct, gc=False):
    """Object of a BOOKMARK event."""

    metadata: _BookmarkMetadata

    @property
    def ends_initial_events(self) -> bool:
        """The annotation tells, not the first bookmark to come along (W12)."""
        return (self.metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"


class _ListMetadata(msgspec.Struct, gc=False):
    version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, gc=False):
    """One page of a list, its objects left raw."""

    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class Cause(msgspec.Struct, gc=False):
    """One cause of a Status."""

    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, gc=False):
    causes: list[Cause] | None = None
    retry_after_s: float = msgspec.field(default=0.0, name="retryAfterSeconds")


class Status(msgspec.Struct, gc=False):
    """The API server's own account of a failure; every field may be missing (W5)."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None

    def has_cause(self, reason: str) -> bool:
        causes = (self.details.causes if self.details else None) or ()
        return any(cause.reason == reason for cause in causes)


_EVENT = msgspec.json.Decoder(Event)
_HEAD = msgspec.json.Decoder(Head)
_BOOKMARK = msgspec.json.Decoder(Bookmark)
_PAGE = msgspec.json.Decoder(Page)
_STATUS = msgspec.json.Decoder(Status)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
# Malformed JSON, the wrong shape, bytes that are not UTF-8, nesting without end.
_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_event(line: bytes) -> Event:
    """Cut a line of a watch.

    Raises:
        Undecodable: the line is no watch event, such as a proxy's error page (W3).

    """
    try:
        return _EVENT.decode(line)
    except _FAULTS as error:
        raise Undecodable(f"a line of {len(line)} bytes is no watch event: {error}") from error


def decode_head(raw: bytes | msgspec.Raw) -> Head:
    """Read which object this is.

    Raises:
        Undecodable: there is no ``metadata``.

    """
    try:
        return _HEAD.decode(raw)
    except _FAULTS as error:
        raise Undecodable(f"an object without readable metadata: {error}") from error


def decode_bookmark(raw: bytes | msgspec.Raw) -> Bookmark:
    """Read the object of a BOOKMARK event.

    Raises:
        Undecodable: there is no ``metadata``.

    """
    try:
        return _BOOKMARK.decode(raw)
    except _FAULTS as error:
        raise Undecodable(f"a bookmark without readable metadata: {error}") from error


def decode_page(body: bytes) -> Page:
    """Cut a page of a list into its objects.

    Raises:
        Undecodable: the body is no list.

    """
    try:
        return _PAGE.decode(body)
    except _FAULTS as error:
        raise Undecodable(f"a body of {len(body)} bytes is no list: {error}") from error


def decode_status(body: bytes | msgspec.Raw) -> Status | None:
    """Read a Status; None when the bytes are something else, such as a proxy's error page."""
    try:
        status = _STATUS.decode(body)
    except _FAULTS:
        return None
    return status if status.kind == "Status" else None


def decode_object(raw: bytes | msgspec.Raw) -> Manifest:
    """Decode one whole object, nothing left out.

    Raises:
        Undecodable: the bytes are no JSON object.

    """
    try:
        return _OBJECT.decode(raw)
    except _FAULTS as error:
        raise Undecodable(f"a body that is no JSON object: {error}") from error


def decode_for_cache(raw: bytes | msgspec.Raw, kind: Kind, *, metadata_only: bool) -> Manifest:
    """Decode one object of a list or a watch, without what a cache must not hold.

    Raises:
        Undecodable: the bytes are no JSON object.

    """
    whole = metadata.identify(decode_object(raw), kind, metadata_only=metadata_only)
    return trim(whole, keeps_owners=not metadata_only)


def trim(manifest: Manifest, *, keeps_owners: bool) -> Manifest:
    """Leave out last-applied, which is the data on a Secret that kubectl applied, and, unless a
    view is made that tells who wrote a field, ``managedFields``.
    """
    meta = manifest.get("metadata")
    if not isinstance(meta, dict):
        return manifest
    kept = {k: v for k, v in meta.items() if keeps_owners or k != "managedFields"}
    annotations = kept.get("annotations")
    if isinstance(annotations, dict) and LAST_APPLIED in annotations:
        kept["annotations"] = {k: v for k, v in annotations.items() if k != LAST_APPLIED}
    return manifest | {"metadata": kept}


def parse_version(text: str) -> int:
    """Order resource versions: they compare as integers within a kind; 0 for one that does not."""
    return int(text) if text.isascii() and text.isdigit() else 0


def micro_time(seconds: float) -> str:
    """``metav1.MicroTime`` of seconds since the epoch: always UTC, always six digits (L6)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
