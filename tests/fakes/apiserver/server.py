"""The fake API server: a real HTTP server on loopback in front of the store, with switches for everything that can go wrong.

It runs on the test's own event loop, hence under virtual time, and speaks only JSON.
Tests act as another user through ``put``, ``edit`` and ``remove``, which need no HTTP and are in no request log.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from canaryd.core.kinds import ALL_KINDS, EVENT, LEASE, NAMESPACE, Kind, kind_of
from canaryd.ports.clock import Clock
from tests.fakes.apiserver import resources
from tests.fakes.apiserver.addresses import Address, AddressBook, split_path, wants_metadata
from tests.fakes.apiserver.answers import (
    Entry,
    check_watch_options,
    error_response,
    refusal,
    verb_of,
)
from tests.fakes.apiserver.errors import ApiError, not_acceptable
from tests.fakes.apiserver.faults import (
    Body,
    CloseConnection,
    Crash,
    CrashPoint,
    Delay,
    Fault,
    Faults,
    Hang,
    Moment,
    Refuse,
)
from tests.fakes.apiserver.garbage import GarbageCollector
from tests.fakes.apiserver.ownership import clone
from tests.fakes.apiserver.requests import Request, RequestLog
from tests.fakes.apiserver.reviews import REVIEWS, Access
from tests.fakes.apiserver.selectors import parse_field_selector, parse_label_selector
from tests.fakes.apiserver.store import KUBECTL, Manifest, Store, Write, key_of
from tests.fakes.apiserver.watch import DEFAULT_TIMEOUT_S, Watch, WatchRequest, dump
from tests.fakes.clock import VirtualClock
from tests.fakes.tasks import running

VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.4", "platform": "linux/amd64"}


class _Reset(Exception):
    """Reset the client's connection without an answer."""


class FakeApiServer:
    """``async with FakeApiServer() as server:`` inside the test, so that it lives on virtual time."""

    def __init__(self, kinds: Sequence[Kind] = ALL_KINDS, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or VirtualClock()
        self.store = Store(self.clock, kinds)
        self.requests = RequestLog()
        self.faults = Faults()
        self.bookmarks = True
        self.bookmark_interval_s = 60.0
        self.watch_list = True
        """Whether ``sendInitialEvents`` is served; off, it answers 422 as Kubernetes 1.33 does."""
        self.tokens: set[str] | None = None
        """Bearer tokens that are let in; None lets everybody in."""
        self.access = Access()
        self.collector = GarbageCollector(self.store)
        self.url = ""
        self.unknown: list[str] = []
        """Paths that were asked for and are not served."""
        self.discovered: list[str] = []
        """Discovery documents that were asked for, served or not."""
        self.undiscoverable: set[str] = set()
        """Discovery documents that nobody may see, as in a cluster without ``system:discovery``."""
        self._book = AddressBook(kinds)
        self._pages = resources.Pages()
        self._watches: dict[Watch, web.BaseRequest] = {}
        self._delays: dict[Kind, float] = {}
        self._partitioned = False
        self._open: dict[int, web.BaseRequest] = {}
        self._defects: list[Exception] = []
        self._closing = asyncio.Event()
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for name in ("default", "kube-system"):
            self.ensure_namespace(name)
        await self._exits.enter_async_context(running(self.collector.run()))
        runner = web.ServerRunner(
            web.Server(
                self._handle, handler_cancellation=True, access_log=None, keepalive_timeout=86400.0
            ),
            shutdown_timeout=1.0,
        )
        await runner.setup()
        self._exits.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._closing.set()
        self.cut_watches()
        await self._exits.aclose()
        if self._defects:
            raise ExceptionGroup("the fake API server itself failed", self._defects)

    # --- acting as another user ---------------------------------------------------------------

    def ensure_namespace(self, name: str, **labels: str) -> None:
        """Create a namespace unless it is there."""
        if self.store.get(NAMESPACE, ("", name)) is None:
            meta = {"name": name, "labels": labels}
            self.store.create(
                NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
            )

    def put(self, manifest: Mapping[str, Any], manager: str = "kubectl") -> Manifest:
        """Create or replace an object, its status too if the manifest has one; makes the namespace."""
        kind, obj = kind_of(dict(manifest)), clone(dict(manifest))
        meta = obj["metadata"]
        if kind.namespaced:
            self.ensure_namespace(meta.setdefault("namespace", "default"))
        how = Write(manager=manager)
        if self.store.get(kind, key_of(obj)) is None:
            made = self.store.create(kind, obj, how)
        else:
            meta.pop("resourceVersion", None)
            meta.pop("uid", None)
            made = self.store.update(kind, key_of(obj), lambda _: obj, how)
        if "status" in manifest:
            status = clone(manifest["status"])
            how = Write(manager=manager, subresource="status")
            made = self.store.update(kind, key_of(obj), lambda o: o | {"status": status}, how)
        return clone(made)

    def apply(self, manifest: Mapping[str, Any], manager: str, *, force: bool = True) -> Manifest:
        """Server-side apply as another manager, such as a GitOps tool."""
        kind = kind_of(dict(manifest))
        how = Write(manager=manager)
        made, _ = self.store.apply(kind, key_of(manifest), manifest, how, force=force)
        return clone(made)

    def object(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """A copy of an object.

        Raises:
            KeyError: there is none.
        """
        found = self.find(kind, namespace, name)
        if found is None:
            raise KeyError(f"no {kind.kind} {namespace}/{name}")
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """A copy of an object, or None."""
        found = self.store.get(kind, (namespace if kind.namespaced else "", name))
        return None if found is None else clone(found)

    def objects(self, kind: Kind, namespace: str = "") -> list[Manifest]:
        """Copies of all objects of a kind."""
        return [clone(obj) for obj in self.store.items(kind, namespace)]

    def edit(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Manifest], Manifest | None],
        *,
        manager: str = "kubectl",
        subresource: str = "",
    ) -> Manifest:
        """Change an object as another user; ``change`` works in place or returns the new one."""

        def propose(live: Manifest) -> Manifest:
            return change(live) or live

        how = Write(manager=manager, subresource=subresource)
        key = (namespace if kind.namespaced else "", name)
        return clone(self.store.update(kind, key, propose, how))

    def patch(self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]) -> Manifest:
        """Merge patch as another user."""
        key = (namespace if kind.namespaced else "", name)
        return clone(self.store.merge_patch(kind, key, patch, KUBECTL))

    def remove(
        self, kind: Kind, namespace: str, name: str, propagation: str = "Background"
    ) -> None:
        """Delete an object as another user."""
        key = (namespace if kind.namespaced else "", name)
        self.store.delete(kind, key, propagation=propagation)

    def uninstall(self, kind: Kind) -> None:
        """Delete the CustomResourceDefinition of a kind: its objects go, watches end, it is 404."""
        for obj in self.store.items(kind, ""):
            self.store.delete(kind, key_of(obj))
        self._book.serve(tuple(known for known in self._book.kinds if known != kind))
        self.cut_watches(kind)

    def install(self, kind: Kind) -> None:
        """Serve a kind from now on."""
        self.store.know(kind)
        if kind not in self._book.kinds:
            self._book.serve((*self._book.kinds, kind))

    def kubeconfig(self, folder: Path, token: str = "test") -> Path:
        """Write a kubeconfig for this server."""
        user = {"name": "test", "user": {"token": token}}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [user],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "test"}}],
            "current-context": "fake",
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(document))
        return path

    # --- switches -----------------------------------------------------------------------------

    @property
    def watching(self) -> int:
        """Watches that are open."""
        return len(self._watches)

    def cut_watches(self, kind: Kind | None = None, *, clean: bool = True) -> int:
        """End the running watches, by a clean end of stream or by a reset; returns how many."""
        chosen = [w for w in self._watches if kind is None or w.request.kind == kind]
        for watch in chosen:
            if not clean:
                _reset(self._watches[watch])
            watch.cut()
        return len(chosen)

    def inject(self, kind: Kind, line: bytes) -> int:
        """Write a raw line into the running watches of a kind; returns into how many."""
        chosen = [w for w in self._watches if w.request.kind == kind]
        for watch in chosen:
            watch.inject(line)
        return len(chosen)

    def compact(self) -> None:
        """Compact history and void paging tokens: older versions answer 410."""
        self.store.compact()
        self._pages.expire()

    def delay_watch(self, kind: Kind, seconds: float) -> None:
        """Deliver events of this kind late (``math.inf``: not until the delay is taken back)."""
        self._delays[kind] = seconds
        for watch in self._watches:
            watch.nudge()

    def watch_delay(self, kind: Kind) -> float:
        return self._delays.get(kind, 0.0)

    def partition(self) -> None:
        """Cut the server off: running connections are reset, new requests too, until ``heal``."""
        self._partitioned = True
        for request in tuple(self._open.values()):
            _reset(request)

    def heal(self) -> None:
        """End a partition."""
        self._partitioned = False

    def crash_at(
        self,
        number: int,
        when: Moment,
        action: Callable[[], None],
        *,
        ignoring: tuple[Kind, ...] = (LEASE, EVENT),
    ) -> None:
        """Play ``kill -9`` of the client at its ``number``-th write from now (1 is the next).

        ``before``: the write does not happen; ``after``: it took effect, the answer is lost.
        ``action`` ends the client; the server then refuses everything until ``heal``,
        so that what a dying process would not have sent is not sent. Writes to the kinds in
        ``ignoring`` are not counted: their number depends on time, not on the rollout.
        """
        ignored = {kind.resource for kind in ignoring}
        seen = 0

        def hook(point: CrashPoint) -> None:
            nonlocal seen
            if point.request.resource in ignored:
                return
            seen += point.when == "before"
            if seen == number and point.when == when:
                self.faults.write_hooks.remove(hook)
                action()
                self.partition()
                raise Crash

        self.faults.write_hooks.append(hook)

    # --- serving ------------------------------------------------------------------------------

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self._open[id(http)] = http
        try:
            return await self._route(http)
        except (_Reset, Crash):
            _reset(http)
            return web.Response(status=500)
        except Exception as defect:
            # A fault of the fake itself must not pass for a fault of the server it plays.
            self._defects.append(defect)
            raise
        finally:
            del self._open[id(http)]

    async def _route(self, http: web.BaseRequest) -> web.StreamResponse:
        if self._partitioned:
            raise _Reset
        address = self._book.resolve(http.path)
        if address is None:
            return self._discovery(http.path)
        request = self._describe(http, address)
        log = Entry(self.requests, request)
        try:
            await self._strike(request, "before", log)
            self._authenticate(http)
            if request.verb == "watch":
                return await self._watch(http, address, request, log)
            return await self._carry_out(http, address, request, log)
        except ApiError as error:
            return log.answer(error.code, error_response(error))
        except _Faulty as faulty:
            return log.answer(faulty.response.status, faulty.response)
        finally:
            log.close()

    def _describe(self, http: web.BaseRequest, address: Address) -> Request:
        query = http.query
        watching = query.get("watch") in {"1", "true"} and not address.name
        agent = http.headers.get("User-Agent", "")
        return Request(
            verb=verb_of(http.method, bool(address.name), watching=watching),
            resource=address.kind.resource,
            namespace=address.namespace,
            name=address.name,
            subresource=address.subresource,
            user_agent=agent,
            at=self.clock.now(),
            manager=query.get("fieldManager") or agent.partition("/")[0] or "unknown",
            content_type=http.content_type,
            dry_run=query.get("dryRun") == "All",
            metadata_only="as=PartialObjectMetadata" in http.headers.get("Accept", ""),
        )

    def _authenticate(self, http: web.BaseRequest) -> None:
        scheme, _, token = http.headers.get("Authorization", "").partition(" ")
        if self.tokens is not None and (scheme != "Bearer" or token not in self.tokens):
            raise ApiError(401, "Unauthorized", "Unauthorized")

    async def _carry_out(
        self, http: web.BaseRequest, address: Address, request: Request, log: "Entry"
    ) -> web.StreamResponse:
        collection = request.verb == "list"
        metadata_only = wants_metadata(http.headers.get("Accept", ""), collection=collection)
        if metadata_only is None:
            raise not_acceptable()
        call = resources.Call(
            store=self.store,
            pages=self._pages,
            address=address,
            request=request,
            query=dict(http.query),
            body=await http.read(),
            metadata_only=metadata_only,
        )
        if address.kind in REVIEWS and request.verb == "create":
            log.code = 201
            return web.json_response(
                self.access.answer(address.kind, call.json_body()), status=log.code
            )
        number = self.faults.writes
        if request.is_write:
            number = self.faults.writes = self.faults.writes + 1
            self.faults.pass_write(number, "before", request)
        code, body = resources.serve(call)
        log.code = code
        if request.is_write:
            self.faults.pass_write(number, "after", request)
        await self._strike(request, "after", log)
        if self._partitioned:
            raise _Reset
        return web.Response(status=code, body=dump(body), content_type="application/json")

    async def _strike(self, request: Request, when: Moment, log: "Entry") -> None:
        for fault in self.faults.strike(request, when):
            match fault:
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                    if self._partitioned:
                        raise _Reset
                case Refuse():
                    raise refusal(fault, request)
                case Body(status, body, content_type):
                    raise _Faulty(web.Response(status=status, body=body, content_type=content_type))
                case Hang():
                    log.code = 0
                    await self._closing.wait()
                    raise _Reset
                case CloseConnection():
                    log.code = 0
                    raise _Reset

    async def _watch(
        self, http: web.BaseRequest, address: Address, request: Request, log: "Entry"
    ) -> web.StreamResponse:
        watch = Watch(self.store, self, self._watch_request(http, address, request))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(http)
        log.answer(200, response)
        self._watches[watch] = http
        try:
            await watch.serve(response)
            await response.write_eof()
        except ConnectionError:
            # The client left, or the test reset it: a watch has nothing to tell anybody then.
            pass
        finally:
            del self._watches[watch]
        return response

    def _watch_request(
        self, http: web.BaseRequest, address: Address, request: Request
    ) -> WatchRequest:
        query = http.query
        initial = query.get("sendInitialEvents") == "true"
        check_watch_options(query, watch_list=self.watch_list)
        metadata_only = wants_metadata(http.headers.get("Accept", ""), collection=False)
        if metadata_only is None:
            raise not_acceptable()
        version = query.get("resourceVersion", "")
        if version not in {"", "0"}:
            resources.check_version(self.store, version)
        return WatchRequest(
            kind=address.kind,
            namespace=address.namespace,
            labels=parse_label_selector(query.get("labelSelector", "")),
            fields=parse_field_selector(query.get("fieldSelector", ""), address.kind),
            version=version,
            initial_events=initial,
            bookmarks=query.get("allowWatchBookmarks") == "true",
            metadata_only=metadata_only,
            timeout_s=float(query.get("timeoutSeconds") or DEFAULT_TIMEOUT_S),
        )

    def _discovery(self, path: str) -> web.Response:
        self.discovered.append(path)
        if path in self.undiscoverable:
            return error_response(ApiError(403, "Forbidden", f'cannot get path "{path}"'))
        document = resources.discovery(self._book, path)
        if document is not None:
            return web.json_response(document)
        if path == "/version":
            return web.json_response(VERSION)
        if path in {"/readyz", "/livez", "/healthz"}:
            return web.Response(text="ok")
        self.unknown.append(path)
        group, version, _ = split_path(path)
        if version and version in self._book.groups().get(group, ()):
            error = ApiError(
                404, "NotFound", "the server could not find the requested resource", details={}
            )
            return error_response(error)
        return web.Response(status=404, text="404 page not found\n")


class _Faulty(Exception):
    def __init__(self, response: web.Response) -> None:
        self.response = response


def _reset(http: web.BaseRequest) -> None:
    if http.transport is not None:
        http.transport.abort()


__all__ = ["Address", "FakeApiServer", "Fault"]
