"""Outgoing hooks.

Implemented by ``canaryd.webhooks.client.WebhookClient``.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from canaryd.core.model import HookAnswer, HookSpec


class HookCaller(Protocol):
    """Calls one hook and tells what came of it."""

    async def call(
        self, hook: HookSpec, payload: Mapping[str, Any], *, namespace: str
    ) -> HookAnswer:
        """POST ``payload`` as JSON. Never raises for what a receiver can do wrong."""
        ...
