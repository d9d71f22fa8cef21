"""Refusals of the fake API server, in the shape of ``metav1.Status``.

Reasons, codes, wording and ``details`` are those of Kubernetes 1.34, because clients parse them:
the conflict of a server-side apply names the manager only in its text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.core.kinds import Kind


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of ``details.causes``."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def as_json(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """A request that is answered with a Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        self.retry_after_s = retry_after_s
        self.continue_token = continue_token

    def body(self) -> dict[str, Any]:
        """The Status object."""
        details = dict(self.details)
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if details:
            status["details"] = details
        status["code"] = self.code
        return status


def details_of(kind: Kind, name: str) -> dict[str, Any]:
    """``details`` as the API server fills them: ``kind`` holds the plural."""
    details: dict[str, Any] = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.plural
    return details


def not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(
        404, "NotFound", f'{kind.resource} "{name}" not found', details=details_of(kind, name)
    )


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> ApiError:
    return ApiError(
        409,
        "AlreadyExists",
        f'{kind.resource} "{name}" already exists',
        details=details_of(kind, name),
    )


def modified(kind: Kind, name: str) -> ApiError:
    return conflict(
        kind,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def conflict(kind: Kind, name: str, why: str) -> ApiError:
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}',
        details=details_of(kind, name),
    )


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> ApiError:
    """Server-side apply without force met fields of others: pairs of (manager in words, field)."""
    managers = dict.fromkeys(manager for manager, _ in conflicts)
    if len(conflicts) == 1:
        manager, field = conflicts[0]
        message = f"Apply failed with 1 conflict: conflict with {manager}: {field}"
    elif len(managers) == 1:
        lines = "".join(f"\n- {field}" for _, field in conflicts)
        message = f"Apply failed with {len(conflicts)} conflicts: conflicts with {conflicts[0][0]}:{lines}"
    else:
        parts = []
        for manager in sorted(managers):
            fields = [field for other, field in conflicts if other == manager]
            parts.append(f"conflicts with {manager}:" + "".join(f"\n- {field}" for field in fields))
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(parts)
    causes = [
        Cause(field, f"conflict with {manager}", "FieldManagerConflict").as_json()
        for manager, field in conflicts
    ]
    return ApiError(409, "Conflict", message, details={"causes": causes})


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    why = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    subject = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details: dict[str, Any] = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.kind
    details["causes"] = [cause.as_json() for cause in causes]
    return ApiError(422, "Invalid", f'{subject} "{name}" is invalid: {why}', details=details)


def bad_request(why: str) -> ApiError:
    return ApiError(400, "BadRequest", why)


def expired(why: str, *, continue_token: str = "") -> ApiError:
    return ApiError(410, "Expired", why, continue_token=continue_token)


def unsupported_media_type(content_type: str) -> ApiError:
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        f"application/merge-patch+json, application/apply-patch+yaml (got {content_type!r})",
    )


def not_acceptable() -> ApiError:
    return ApiError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )


def method_not_allowed() -> ApiError:
    return ApiError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
