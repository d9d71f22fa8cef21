"""Answers of the fake API server: log entries, refusals, and the rules about a watch's options."""

from collections.abc import Mapping
from dataclasses import replace

from aiohttp import web

from canaryd.core.kinds import Kind
from tests.fakes.apiserver.errors import ApiError, Cause, details_of, invalid
from tests.fakes.apiserver.faults import Refuse
from tests.fakes.apiserver.requests import Request, RequestLog
from tests.fakes.apiserver.watch import dump


class Entry:
    """One line of the request log, written once: when the answer is known, or when there is none."""

    def __init__(self, log: RequestLog, request: Request) -> None:
        self.code = 0
        self._log = log
        self._request: Request | None = request

    def answer(self, code: int, response: web.StreamResponse) -> web.StreamResponse:
        self.code = code
        self.close()
        return response

    def close(self) -> None:
        if self._request is not None:
            self._log.add(replace(self._request, code=self.code))
            self._request = None


def verb_of(method: str, named: bool, *, watching: bool) -> str:
    if method == "GET":
        return "watch" if watching else "get" if named else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
        method, method.lower()
    )


def refusal(fault: Refuse, request: Request) -> ApiError:
    resource, _, group = request.resource.partition(".")
    kind = Kind(group, "v1", "", resource)
    message = fault.message
    if fault.code == 403 and not message:
        scope = f' in the namespace "{request.namespace}"' if request.namespace else ""
        message = (
            f'{request.resource} "{request.name}" is forbidden: User "system:serviceaccount:'
            f'canaryd:canaryd" cannot {request.verb} resource "{resource}" in API group "{group}"{scope}'
        )
    elif fault.code == 409 and not message:
        message = (
            f'Operation cannot be fulfilled on {request.resource} "{request.name}": the object has '
            "been modified; please apply your changes to the latest version and try again"
        )
    return ApiError(
        fault.code,
        fault.reason,
        message or "the server reported a fault",
        details=details_of(kind, request.name),
        retry_after_s=fault.retry_after_s,
    )


def error_response(error: ApiError) -> web.Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return web.Response(
        status=error.code,
        body=dump(error.body()),
        content_type="application/json",
        headers=headers,
    )


def check_watch_options(query: Mapping[str, str], *, watch_list: bool) -> None:
    """The API server's rules about initial events, word for word in their fields."""
    match_rule = query.get("resourceVersionMatch", "")
    causes = []

    def forbid(field: str, why: str) -> None:
        causes.append(Cause(field, f"Forbidden: {why}", "FieldValueForbidden"))

    if "sendInitialEvents" in query:
        if match_rule != "NotOlderThan":
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            forbid("resourceVersionMatch", why)
        if not watch_list:
            why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            forbid("sendInitialEvents", why)
    elif match_rule:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        forbid("resourceVersionMatch", why)
    if causes:
        options = Kind("meta.k8s.io", "v1", "ListOptions", "listoptions")
        raise invalid(options, "", causes)
