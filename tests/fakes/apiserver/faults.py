"""Things that go wrong between a client and the API server, switched on by a test.

A fault is a value; a rule says for which requests, how many of them, and whether it strikes before the request is carried out
or after, when only the answer is lost. Every write has a number, which makes each of them a point to crash at.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.fakes.apiserver.requests import Request, matches

Moment = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with a Status; ``retry_after_s`` sets header and details."""

    code: int
    reason: str = ""
    message: str = ""
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """Answer with this body, whatever it is: an HTML page of a load balancer, nothing at all."""

    status: int = 502
    body: bytes = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n"
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; the client's own deadline must end it."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Reset the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Carry out the request, this much later."""

    seconds: float


Fault = Refuse | Body | Hang | CloseConnection | Delay

UNAUTHORIZED = Refuse(401, "Unauthorized", "Unauthorized")
FORBIDDEN = Refuse(403, "Forbidden")
CONFLICT = Refuse(409, "Conflict")
INTERNAL_ERROR = Refuse(500, "InternalError", "etcdserver: leader changed")
UNAVAILABLE = Refuse(
    503, "ServiceUnavailable", "the server is currently unable to handle the request"
)
HTML = Body()
EMPTY = Body(200, b"", "application/json")
HANG = Hang()
CLOSE = CloseConnection()


def too_many_requests(retry_after_s: int = 1) -> Refuse:
    """429 as priority and fairness sends it."""
    message = "Too many requests, please try again later."
    return Refuse(429, "TooManyRequests", message, retry_after_s)


@dataclass(slots=True)
class Rule:
    """One switched-on fault. ``struck`` counts how often it happened."""

    fault: Fault
    when: Moment
    times: int | None
    every: int
    skip: int
    filters: dict[str, object]
    seen: int = 0
    struck: int = 0
    active: bool = True

    def strikes(self, request: Request) -> bool:
        if not self.active or not matches(request, self.filters):
            return False
        self.seen += 1
        due = self.seen > self.skip and (self.seen - self.skip - 1) % self.every == 0
        if not due or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def stop(self) -> None:
        """Switch the fault off."""
        self.active = False


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """A write that is about to take effect, or just did."""

    number: int
    when: Moment
    request: Request


@dataclass(slots=True)
class Faults:
    """All faults of one server."""

    rules: list[Rule] = field(default_factory=list)
    write_hooks: list[Callable[[CrashPoint], None]] = field(default_factory=list)
    """Called around every write; a hook that raises :class:`Crash` resets the connection."""
    writes: int = 0
    """Writes so far: the number of the last crash point."""

    def on(
        self,
        fault: Fault,
        *,
        when: Moment = "before",
        times: int | None = None,
        every: int = 1,
        skip: int = 0,
        **filters: object,
    ) -> Rule:
        """Strike requests that match ``filters`` (fields of :class:`Request`, ``kind`` or ``write=True``).

        ``times`` limits how often, ``every`` strikes each n-th only, ``skip`` lets the first ones through.
        """
        rule = Rule(fault, when, times, every, skip, filters)
        self.rules.append(rule)
        return rule

    def next(self, fault: Fault, *, when: Moment = "before", **filters: object) -> Rule:
        """Strike the next matching request only."""
        rule = Rule(fault, when, 1, 1, 0, filters)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Switch everything off."""
        self.rules.clear()
        self.write_hooks.clear()

    def strike(self, request: Request, when: Moment) -> list[Fault]:
        """Faults that hit this request now; every rule counts it, so that rules do not hide each other."""
        return [rule.fault for rule in self.rules if rule.when == when and rule.strikes(request)]

    def pass_write(self, number: int, when: Moment, request: Request) -> None:
        """Run the hooks of one crash point."""
        for hook in tuple(self.write_hooks):
            hook(CrashPoint(number, when, request))


class Crash(Exception):
    """Raised by a write hook: the client dies here, its connection is reset."""
