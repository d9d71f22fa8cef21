"""The verbs of the API server on plain dicts; implements ``canaryd.ports.kube.KubeApi``.

One client per process: one set of credentials, one pool of connections, one policy of retries.
Raw bytes in, dicts out: no generated model ever sees an object (M1 to M5),
content types are always said (P1, P2),
addresses come from a static table (D1, D2). There is no PUT.
Reads and repeatable writes honour Retry-After twice, within the request's own time limit;
everything else is the caller's to repeat,
since only the caller knows whether it still wants it.
"""

import copy
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import aiohttp

from canaryd.core.kinds import Kind
from canaryd.kube import codecs, metadata
from canaryd.kube.addresses import call_of, target
from canaryd.kube.answers import Call, error_from_response, parse_warning
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.streams import LineStream
from canaryd.kube.transport import HttpRequest, Transport, transport_errors_mapped
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Gone, KubeError, NotFound, NotLeading, ServerError, Unreachable
from canaryd.ports.kube import Manifest

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 15.0
PAGE_TIMEOUT_S = 60.0
PAGE_SIZE = 500
IDLE_S = 180.0
"""A watch without a line, bookmarks included, for this long is dead:
bookmarks come every minute.
"""
RETRIES = 2
CONNECT_S = 4.0
LEAST_CONNECT_S = 0.5
"""Less than the lease's margin, so that a write leaves within it after the guard let it pass."""
_MAX_BODY_BYTES = 256 * 1024 * 1024
_MAX_ERROR_BYTES = 1024 * 1024
_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"
_JSON = "application/json"

FieldValidation = Literal["Ignore", "Warn", "Strict"]


@dataclass(frozen=True, slots=True)
class _Request:
    """One request with what it takes to repeat and explain it."""

    call: Call
    http: HttpRequest
    is_repeatable: bool = True
    timeout_s: float | None = None


class KubeClient:
    """Requests to one API server; ``async with`` or :meth:`close` ends its connections.

    Args:
        connection: which server, and who we are to it.
        clock: for time limits and pauses.
        field_manager: who owns the fields we write, unless an apply says otherwise.
        write_guard: called before each write is sent; raises ``NotLeading`` to stop it.
        observe: given every object that came back from a write,
        so that stores read their own writes.
        on_request: told verb, resource, status (0 for no answer) and seconds of each request.
        on_warning: told the API server's warnings.
        field_validation: what the server does about fields it does not know.
        timeout_s: for each request as a whole, retries included; pages of lists have more.

    """

    def __init__(  # noqa: PLR0913 - the parts of a client, all but one by name
        self,
        connection: Connection,
        *,
        clock: Clock,
        field_manager: str = "canaryd",
        write_guard: Callable[[], None] | None = None,
        observe: Callable[[Manifest], None] | None = None,
        on_request: Callable[[str, str, int, float], None] | None = None,
        on_warning: Callable[[str], None] | None = None,
        field_validation: FieldValidation = "Warn",
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._transport = Transport(connection, clock)
        self._clock = clock
        self._field_manager = field_manager
        self._write_guard = write_guard
        self._observe = observe
        self._on_request = on_request
        self._on_warning = on_warning
        self._field_validation = field_validation
        self._timeout_s = timeout_s
        self._connect_s = CONNECT_S

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection, those of clients made from this one too."""
        await self._transport.close()

    def guarded_by(
        self, write_guard: Callable[[], None], *, margin_s: float = CONNECT_S
    ) -> "KubeClient":
        """The same client, its writes held by a guard.

        ``margin_s`` is how long what the guard allowed stays right: a connection that takes longer
        is given up before the write leaves.
        """
        other = copy.copy(self)
        other._connect_s = min(CONNECT_S, max(margin_s, LEAST_CONNECT_S))  # noqa: SLF001 - ours
        other._write_guard = write_guard  # noqa: SLF001 - a copy of ourselves
        return other

    def unguarded(self) -> "KubeClient":
        """The same client without a guard: for the lease, which must be written to become
        leader.
        """
        other = copy.copy(self)
        other._write_guard = None  # noqa: SLF001 - a copy of ourselves
        return other

    async def get(
        self, kind: Kind, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Manifest:
        """Read one object, quorum-fresh."""
        call = Call("get", kind, namespace, name)
        http = HttpRequest(
            "GET", target(call), {"Accept": metadata.accept(metadata_only=metadata_only)}
        )
        manifest = self._decode(call, await self._send(_Request(call, http)))
        return metadata.identify(manifest, kind, metadata_only=metadata_only)

    async def versions(self, group: str) -> tuple[str, ...]:
        """The versions of an API group that are served; ``NotFound`` without such a group."""
        call = Call("get", Kind("", "", "APIGroup", "apigroups", namespaced=False), name=group)
        http = HttpRequest("GET", f"/apis/{group}", {"Accept": metadata.WHOLE})
        found = self._decode(call, await self._send(_Request(call, http))).get("versions") or ()
        return tuple(str(entry.get("version", "")) for entry in found)

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> list[Manifest]:
        """Read all objects, page by page; each item carries ``apiVersion`` and ``kind``.

        When history is compacted between two pages, all is read again in one: half a list of one
        moment and half of another is no list.
        """
        for limit in (PAGE_SIZE, 0):
            try:
                return [
                    metadata.identify(codecs.decode_object(raw), kind, metadata_only=metadata_only)
                    async for page in self.pages(
                        kind,
                        namespace,
                        label_selector=label_selector,
                        field_selector=field_selector,
                        metadata_only=metadata_only,
                        limit=limit,
                    )
                    for raw in page.items or ()
                ]
            except Gone:
                if not limit:
                    raise
            except codecs.Undecodable as error:
                raise ServerError(f"{Call('list', kind, namespace)}: {error}") from error
        raise AssertionError("unreachable: the second turn returns or raises")

    async def pages(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        limit: int = PAGE_SIZE,
    ) -> AsyncIterator[codecs.Page]:
        """Read a list page by page, objects left raw; no limit reads it in one.

        Raises:
            Gone: the token for the next page expired.

        """
        call = Call("list", kind, namespace, is_collection=True)
        headers = {"Accept": metadata.accept(metadata_only=metadata_only, collection=True)}
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(limit or ""),
        }
        while True:
            http = HttpRequest("GET", target(call, query), headers)
            body = await self._send(
                _Request(call, http, timeout_s=max(PAGE_TIMEOUT_S, self._timeout_s))
            )
            try:
                page = codecs.decode_page(body)
            except codecs.Undecodable as error:
                raise ServerError(f"{call}: {error}") from error
            yield page
            if not page.metadata.continue_:
                return
            query["continue"] = page.metadata.continue_

    def stream(
        self,
        kind: Kind,
        namespace: str | None,
        params: Mapping[str, str],
        *,
        metadata_only: bool = False,
        idle_s: float = IDLE_S,
    ) -> LineStream:
        """Open a watch: ``async with client.stream(...) as lines: async for line in lines``.

        Raises on entering what any request raises: the status is looked at before the first line
        (W4).
        """
        call = Call("watch", kind, namespace, is_collection=True)
        http = HttpRequest(
            "GET",
            target(call, {"watch": "1", **params}),
            {"Accept": metadata.accept(metadata_only=metadata_only)},
        )
        # No total: the packaged 300 s would end every watch (W7).
        limits = aiohttp.ClientTimeout(total=None, connect=self._connect_s, sock_read=idle_s)
        return LineStream(self._exchange(call, http, limits), str(call))

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create; ``Conflict`` when the name exists. Never repeated: the first may have worked."""
        call = call_of("create", manifest, is_named=False)
        query = {
            "fieldManager": self._field_manager,
            "fieldValidation": self._field_validation,
            "dryRun": "All" if dry_run else "",
        }
        http = self._write("POST", call, query, _JSON, manifest)
        made = self._decode(call, await self._send(_Request(call, http, is_repeatable=False)))
        return made if dry_run else self._observed(call.kind, made)

    async def review(self, kind: Kind, spec: Mapping[str, Any]) -> Manifest:
        """Put a question about access (a SelfSubjectAccessReview and its like): it is answered in
        ``status``, and nothing is stored.
        """
        call = Call("create", kind, is_collection=True)
        question: Manifest = {"apiVersion": kind.api_version, "kind": kind.kind}
        if spec:
            question["spec"] = dict(spec)
        headers = {"Accept": metadata.WHOLE, "Content-Type": _JSON}
        http = HttpRequest("POST", target(call), headers, question)
        return self._decode(call, await self._send(_Request(call, http)))

    async def apply(
        self,
        manifest: Manifest,
        *,
        field_manager: str = "",
        force: bool = True,
        subresource: str = "",
    ) -> Manifest:
        """Server-side apply of an object we own, or of fields we own in a subresource of one that
        is there: that makes no object. A ``metadata.resourceVersion`` is a precondition.
        """
        call = replace(call_of("patch", manifest), subresource=subresource)
        query = {
            "fieldManager": field_manager or self._field_manager,
            "force": "true" if force else "false",
            "fieldValidation": self._field_validation,
        }
        # JSON is YAML, and this content type makes the patch an apply (P3).
        http = self._write("PATCH", call, query, _APPLY_PATCH, manifest)
        applied = self._decode(call, await self._send(_Request(call, http)))
        return self._observed(call.kind, applied)

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Manifest:
        """JSON merge patch. ``metadata.resourceVersion`` in the patch is a precondition."""
        call = Call("patch", kind, namespace, name, subresource)
        query = {"fieldManager": self._field_manager, "fieldValidation": self._field_validation}
        http = self._write("PATCH", call, query, _MERGE_PATCH, patch)
        return self._observed(kind, self._decode(call, await self._send(_Request(call, http))))

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """Delete; absent is success. ``uid`` is a precondition: never delete a namesake.

        What comes back is a Status or an object (M6) and is not observed: of an object that may be
        gone already, only the watch knows the truth.
        """
        call = Call("delete", kind, namespace, name)
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        http = self._write("DELETE", call, {}, _JSON, options)
        try:
            await self._send(_Request(call, http))
        except NotFound:
            log.debug("%s: it was gone already", call)

    def _write(
        self,
        method: str,
        call: Call,
        query: Mapping[str, str],
        content_type: str,
        body: Mapping[str, Any],
    ) -> HttpRequest:
        headers = {"Accept": metadata.WHOLE, "Content-Type": content_type}
        return HttpRequest(method, target(call, query), headers, body, self._write_guard)

    async def _send(self, request: _Request) -> bytes:
        """Send, and repeat what may be repeated when the server says when (X2)."""
        ends_at = self._clock.now() + (request.timeout_s or self._timeout_s)
        for retries_left in range(RETRIES, -1, -1):
            left_s = ends_at - self._clock.now()
            try:
                return await self._attempt(request, left_s)
            except KubeError as error:
                pause_s = error.retry_after_s
                if (
                    pause_s is None
                    or error.status not in (429, 503)
                    or not request.is_repeatable
                    or not retries_left
                    or self._clock.now() + pause_s >= ends_at
                ):
                    raise
                log.info("%s: the server is busy, again in %g s", request.call, pause_s)
            await self._clock.sleep(pause_s)
        raise AssertionError("unreachable: the last turn returns or raises")

    async def _attempt(self, request: _Request, timeout_s: float) -> bytes:
        limits = aiohttp.ClientTimeout(total=timeout_s, connect=self._connect_s)
        async with self._exchange(request.call, request.http, limits) as response:
            return await _read(response, _MAX_BODY_BYTES, request.call)

    @asynccontextmanager
    async def _exchange(
        self, call: Call, http: HttpRequest, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send once; the response inside the block is a good one."""
        began = self._clock.now()
        code = 0
        try:
            async with self._transport.open(http, limits) as response:
                code = response.status
                self._report(call, code, began)
                self._pass_on_warnings(response)
                if not 200 <= code < 300:
                    body = await _read_error(response)
                    raise error_from_response(call, code, response.headers, body)
                yield response
        except NotLeading:
            raise
        except Unreachable as error:
            if not code:
                self._report(call, 0, began)
            raise Unreachable(f"{call}: {error}") from error

    def _report(self, call: Call, code: int, began: float) -> None:
        """Count a request, with the time until its answer began."""
        if self._on_request is not None:
            self._on_request(call.verb, call.resource, code, self._clock.now() - began)

    def _pass_on_warnings(self, response: aiohttp.ClientResponse) -> None:
        if self._on_warning is None:
            return
        for value in response.headers.getall("Warning", ()):
            if (text := parse_warning(value)) is not None:
                self._on_warning(text)

    def _decode(self, call: Call, body: bytes) -> Manifest:
        try:
            return codecs.decode_object(body)
        except codecs.Undecodable as error:
            raise ServerError(f"{call}: {error}") from error

    def _observed(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Let the stores see what we wrote; what a subresource answers with may be another kind."""
        is_same = (
            manifest.get("kind") == kind.kind and manifest.get("apiVersion") == kind.api_version
        )
        if self._observe is not None and is_same:
            try:
                self._observe(manifest)
            except Exception:
                # The write happened: nothing may make it look failed. The watch brings the object
                # again.
                log.exception("a written object could not be observed")
        return manifest


async def _read(response: aiohttp.ClientResponse, limit: int, call: Call) -> bytes:
    parts: list[bytes] = []
    size = 0
    with transport_errors_mapped():
        async for chunk in response.content.iter_any():
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise ServerError(f"{call}: the answer is larger than {limit} bytes")
    return b"".join(parts)


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """Body of a refusal, or as much of it as came: the status counts even when its explanation is
    lost.
    """
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
    except (aiohttp.ClientError, OSError) as error:
        log.debug("the body of an HTTP %d broke off: %s", response.status, error)
    return bytes(body)
