"""Who else writes an object: GitOps tools put back at every sync what they hold in Git.

Read off ``metadata.managedFields``, where the API server records who wrote which field last. Only
tools that write again by themselves count: a person with kubectl, or Helm, does not.
"""

from collections.abc import Mapping
from typing import Any

TOOLS: Mapping[str, str] = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "fleetagent": "Fleet",
    "fleet-agent": "Fleet",
    "config-sync": "Config Sync",
    "configsync": "Config Sync",
}
"""Names of field managers (Argo CD 2.5 to 3.5, Flux 2, Fleet 0.9 on) to the tools behind them."""


def writer_of(metadata: Mapping[str, Any], *path: str) -> str:
    """The GitOps tool that owns a field, as ``spec, selector``; empty when none does."""
    for entry in metadata.get("managedFields") or ():
        tool = TOOLS.get(str(entry.get("manager", "")))
        if tool and _owns(entry.get("fieldsV1"), path):
            return tool
    return ""


def _owns(fields: object, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(fields, Mapping):
            return False
        fields = fields.get(f"f:{part}")
    return fields is not None
