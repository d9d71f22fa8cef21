"""The API server as the controller and the routers see it: a handful of verbs on plain dicts.

Implemented by ``canaryd.kube.client.KubeClient``; in tests by the same client against the fake
API server.
Objects are JSON dicts, never typed models: unknown fields must survive (traps M1, M2, M4).
There is no ``replace``: a PUT of a user's object can delete what a newer API server knows and we
do not.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from canaryd.core.kinds import Kind

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


class KubeApi(Protocol):
    """Requests to one API server. Every method raises :class:`canaryd.ports.errors.KubeError`."""

    async def get(
        self, kind: Kind, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Manifest:
        """Read one object, quorum-fresh."""
        ...

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> list[Manifest]:
        """Read all objects, page by page; each item carries ``apiVersion`` and ``kind``."""
        ...

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create; :class:`Conflict` when the name exists."""
        ...

    async def apply(
        self,
        manifest: Manifest,
        *,
        field_manager: str = "canaryd",
        force: bool = True,
        subresource: str = "",
    ) -> Manifest:
        """Server-side apply of an object we own, or of fields we own in a subresource of one that
        is there; ``metadata.resourceVersion`` is a precondition.
        """
        ...

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Manifest:
        """JSON merge patch. ``metadata.resourceVersion`` in the patch is a precondition."""
        ...

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """Delete; absent is success. ``uid`` is a precondition: never delete a namesake."""
        ...
