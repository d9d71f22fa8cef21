"""What can go wrong at the API server, as one tree.

::

    KubeError
    ├── Unreachable          no answer: connection refused, reset, DNS, time-out
    ├── Unauthorized         401 after one forced refresh of the credentials
    ├── Forbidden            403; names the missing verb and resource
    ├── NotFound             404
    ├── Conflict             409: the resourceVersion moved on, or the name exists,
    or SSA is refused
    ├── Gone                 410: the resourceVersion is too old, or a paging token expired
    ├── Invalid              400, 415, 422: our request is wrong; retrying cannot help
    ├── TooManyRequests      429; ``retry_after_s`` says when
    ├── ServerError          5xx, or a body that is not what the API server would send
    └── NotLeading           the write was not sent: this process does not hold the lease (any more)

Callers catch the class, never a status number.
The message never carries the body of an answer beyond the API server's own ``message`` field.
"""


class KubeError(Exception):
    """The API server did not do what was asked.

    Args:
        message: what was asked and what came back, in words.
        status: HTTP status, 0 when there was no answer.
        retry_after_s: seconds the server asked us to wait, when it did.

    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Unreachable(KubeError):  # noqa: N818 - reads as a state of the world, as in the tree above
    """Nobody answered."""


class Unauthorized(KubeError):  # noqa: N818
    """Our credentials were refused twice, the second time after a refresh."""


class Forbidden(KubeError):  # noqa: N818
    """RBAC or admission refused the request."""


class NotFound(KubeError):  # noqa: N818
    """There is no such object, or no such kind."""


class Conflict(KubeError):  # noqa: N818
    """Somebody else was faster, or owns the field or the name."""


class Gone(KubeError):  # noqa: N818
    """History was compacted; list again."""


class Invalid(KubeError):  # noqa: N818
    """The request itself is wrong."""


class TooManyRequests(KubeError):  # noqa: N818
    """The server is busy and says so."""


class ServerError(KubeError):
    """The server failed, or something in front of it answered."""


class NotLeading(KubeError):  # noqa: N818
    """Leadership ran out before the write: another process may be acting already."""
