"""Telling people what happened.

Implemented by ``canaryd.kube.events.EventRecorder``.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol


class Recorder(Protocol):
    """Records Events; best effort, never blocks, never raises."""

    def emit(
        self,
        regarding: Mapping[str, Any],
        reason: str,
        note: str,
        type: Literal["Normal", "Warning"] = "Normal",  # noqa: A002 - the field's name in the API
        action: str = "Reconcile",
        related: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue one Event about an object (an ObjectReference)."""
        ...
