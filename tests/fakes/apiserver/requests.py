"""The request log of the fake API server: what an audit log would hold, for budgets and for "nobody wrote that"."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from canaryd.core.kinds import Kind

WRITES = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request in the words of the audit log. ``code`` is 0 when there was no answer."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    user_agent: str = ""
    code: int = 0
    at: float = 0.0
    manager: str = ""
    content_type: str = ""
    dry_run: bool = False
    metadata_only: bool = False

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES and not self.dry_run

    def __str__(self) -> str:
        sub = f"/{self.subresource}" if self.subresource else ""
        place = f"{self.namespace}/{self.name}" if self.name else self.namespace or "*"
        return f"{self.at:9.3f} {self.code} {self.verb} {self.resource}{sub} {place}"


def matches(request: Request, filters: dict[str, object]) -> bool:
    """Whether a request has these values; a set or tuple offers alternatives.

    ``kind`` (a :class:`Kind`) stands for its resource, ``write=True`` for every verb that changes something,
    ``user_agent`` is looked for as a part.
    """
    return all(_matches(request, key, wanted) for key, wanted in filters.items())


def _matches(request: Request, key: str, wanted: object) -> bool:
    match key:
        case "write":
            return request.is_write is wanted
        case "user_agent":
            return str(wanted) in request.user_agent
        case "kind":
            resource = wanted.resource if isinstance(wanted, Kind) else wanted
            return request.resource == resource
    present = getattr(request, key)
    if isinstance(wanted, set | frozenset | tuple):
        return present in wanted
    return bool(present == wanted)


class RequestLog:
    """The last requests, oldest first, bounded."""

    def __init__(self, limit: int = 200_000) -> None:
        self._entries: deque[Request] = deque(maxlen=limit)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, request: Request) -> None:
        self._entries.append(request)

    def matching(self, *, since: float = 0.0, **filters: object) -> list[Request]:
        """Requests that match, from ``since`` (seconds since the epoch) on."""
        return [r for r in self._entries if r.at >= since and matches(r, filters)]

    def count(self, *, since: float = 0.0, **filters: object) -> int:
        """How many requests match."""
        return len(self.matching(since=since, **filters))

    def writes(self, *, since: float = 0.0, **filters: object) -> list[Request]:
        """Requests that tried to change something."""
        return self.matching(since=since, write=True, **filters)

    def clear(self) -> None:
        self._entries.clear()
