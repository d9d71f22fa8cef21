"""What the API server's audit log says of one user: every request, counted by verb and resource."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered."""

    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    at: str


@dataclass(slots=True)
class AuditLog:
    """The log from a point on; make it before what is to be counted."""

    path: Path
    user: str
    offset: int = 0

    def __post_init__(self) -> None:
        self.offset = self.path.stat().st_size

    def requests(self) -> list[Request]:
        """Requests of the user since the log was made, watches once each, at their start."""
        found = []
        with self.path.open(encoding="utf-8") as log:
            log.seek(self.offset)
            for line in log:
                if not line.endswith("\n"):
                    break
                event = json.loads(line)
                if event.get("user", {}).get("username") != self.user:
                    continue
                final = "ResponseStarted" if event.get("verb") == "watch" else "ResponseComplete"
                if event.get("stage") != final:
                    continue
                reference = event.get("objectRef") or {}
                resource = reference.get("resource", "")
                if reference.get("subresource"):
                    resource += "/" + reference["subresource"]
                found.append(
                    Request(
                        event["verb"],
                        resource,
                        reference.get("namespace", ""),
                        reference.get("name", ""),
                        (event.get("responseStatus") or {}).get("code", 0),
                        event["requestReceivedTimestamp"],
                    )
                )
        return found

    def counted(self) -> list[Request]:
        """Requests that count: watches and the renewal of the lease go on whatever happens."""
        return [r for r in self.requests() if r.verb != "watch" and r.resource != "leases"]

    def table(self) -> str:
        """Counts by verb and resource, for people."""
        counts = Counter((r.verb, r.resource) for r in self.counted())
        return "\n".join(
            f"{n:4d} {verb:7s} {resource}" for (verb, resource), n in counts.most_common()
        )
