"""From what came back over HTTP to the tree of errors in ``canaryd.ports.errors``.

The message of an error holds the API server's own ``message`` and nothing else of a body:
an error page of something in between may hold anything, and messages reach logs and Events.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from canaryd.core.kinds import Kind
from canaryd.kube.codecs import Status, decode_status
from canaryd.ports import errors

_MESSAGE_CHARACTERS = 2000
_WARNING = re.compile(r'^299 \S+ "((?:[^"\\]|\\.)*)"')
_BY_STATUS: Mapping[int, type[errors.KubeError]] = {
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Gone,
    429: errors.TooManyRequests,
}


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, for messages and metrics."""

    verb: str
    kind: Kind
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    is_collection: bool = False
    """The request goes to the collection: list, watch, and create, whose name is in its body."""

    @property
    def resource(self) -> str:
        tail = f"/{self.subresource}" if self.subresource else ""
        return self.kind.resource + tail

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}"
        if self.name:
            what += f" {self.name!r}"
        return f"{what} in namespace {self.namespace!r}" if self.namespace else what


def error_from_response(
    call: Call, code: int, headers: Mapping[str, str], body: bytes
) -> errors.KubeError:
    """Turn an answer that is not 2xx into the error it means."""
    status = decode_status(body) or Status()
    status.code = code  # the body's own copy may be missing or wrong
    return _error(call, status, parse_retry_after(headers.get("Retry-After")))


def error_from_event(call: Call, status: Status | None) -> errors.KubeError:
    """Turn the object of an ERROR event into the error it means; its fields may be missing (W5)."""
    return _error(call, status or Status(code=500), None)


def _error(call: Call, status: Status, retry_after_s: float | None) -> errors.KubeError:
    code = status.code
    if retry_after_s is None and status.details and status.details.retry_after_s > 0:
        retry_after_s = status.details.retry_after_s
    said = status.message[:_MESSAGE_CHARACTERS] or _unexplained(code)
    may = "may not " if code == 403 else ""
    message = f"{may}{call}: {said}"
    kind = _error_class(status)
    return kind(message, status=code, retry_after_s=retry_after_s)


def _error_class(status: Status) -> type[errors.KubeError]:
    # A version from before a restore of etcd, or from a server ahead of this one: list again.
    if status.has_cause("ResourceVersionTooLarge") or status.reason in ("Expired", "Gone"):
        return errors.Gone
    if found := _BY_STATUS.get(status.code):
        return found
    return errors.Invalid if 400 <= status.code < 500 else errors.ServerError


def _unexplained(code: int) -> str:
    if code == 404:  # what the API server itself says of a group that it does not have, too
        why = "no such API group or version here, or something in front answered"
        return f"HTTP 404 without a Status: {why}"
    return f"HTTP {code} without a Status: something in front of the API server may have answered"


def parse_retry_after(value: str | None) -> float | None:
    """Seconds to wait; None when the header is missing or not a number of seconds."""
    return float(value) if value and value.isascii() and value.isdigit() else None


def parse_warning(value: str) -> str | None:
    """Text of one ``Warning`` header of the API server; None for other warn-codes."""
    found = _WARNING.match(value)
    return re.sub(r"\\(.)", r"\1", found.group(1)) if found else None
