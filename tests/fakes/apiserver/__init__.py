"""A Kubernetes API server in the test's own process: see :class:`FakeApiServer`."""

from tests.fakes.apiserver.errors import ApiError
from tests.fakes.apiserver.faults import (
    CLOSE,
    CONFLICT,
    EMPTY,
    FORBIDDEN,
    HANG,
    HTML,
    INTERNAL_ERROR,
    UNAUTHORIZED,
    UNAVAILABLE,
    Body,
    CloseConnection,
    Crash,
    CrashPoint,
    Delay,
    Hang,
    Refuse,
    Rule,
    too_many_requests,
)
from tests.fakes.apiserver.requests import Request, RequestLog
from tests.fakes.apiserver.server import FakeApiServer
from tests.fakes.apiserver.store import Change, Store, Write

__all__ = [
    "CLOSE",
    "CONFLICT",
    "EMPTY",
    "FORBIDDEN",
    "HANG",
    "HTML",
    "INTERNAL_ERROR",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "ApiError",
    "Body",
    "Change",
    "CloseConnection",
    "Crash",
    "CrashPoint",
    "Delay",
    "FakeApiServer",
    "Hang",
    "Refuse",
    "Request",
    "RequestLog",
    "Rule",
    "Store",
    "Write",
    "too_many_requests",
]
