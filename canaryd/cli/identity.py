"""Who runs the command, and whether they may: asked of the API server, which decides.

The daemon acts on a command that it finds on a Canary, whoever wrote it there. That only those do
who may is the API server's matter (RBAC on verbs of our own, held by the chart's admission policy);
to ask before writing makes a refusal one sentence with the rule that is missing.
"""

from typing import TYPE_CHECKING

from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.options import note
from canaryd.core.kinds import CANARY, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW
from canaryd.ports.errors import Forbidden, Invalid, NotFound

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster


async def who_am_i(cluster: "Cluster") -> str:
    """Our name to the API server; what the kubeconfig calls us when the server does not say.

    Raises:
        CommandError: nothing tells it.

    """
    try:
        review = await cluster.api.review(SELF_SUBJECT_REVIEW, {})
    except (NotFound, Forbidden, Invalid):
        if not cluster.user:
            told = "the API server does not say who you are, and the kubeconfig names no user"
            raise CommandError(told, Exit.UNREACHABLE) from None
        note(f"the API server does not say who you are; asking as {cluster.user} (kubeconfig)")
        return cluster.user
    return str(review["status"]["userInfo"].get("username") or "system:anonymous")


async def require_right(cluster: "Cluster", verb: str, name: str, user: str) -> None:
    """Make sure that we may do something to a Canary.

    Raises:
        CommandError: we may not; the message has the rule of a Role that would allow it.

    """
    missing = [v for v in (verb, "patch") if not await _may(cluster, v, name)]
    if not missing:
        return
    raise CommandError(
        f"{user} may not {verb}: on canaries.canaryd.io {name!r} in namespace"
        f" {cluster.namespace!r} the verb {' and the verb '.join(missing)} is not granted.\n"
        "A Role that grants what it takes has this rule:\n"
        f"  - apiGroups: [canaryd.io]\n"
        f"    resources: [canaries]\n"
        f"    verbs: [get, watch, patch, {verb}]",
        Exit.UNREACHABLE,
    )


async def _may(cluster: "Cluster", verb: str, name: str) -> bool:
    attributes = {
        "namespace": cluster.namespace,
        "verb": verb,
        "group": CANARY.group,
        "resource": CANARY.plural,
        "name": name,
    }
    spec = {"resourceAttributes": attributes}
    try:
        review = await cluster.api.review(SELF_SUBJECT_ACCESS_REVIEW, spec)
    except (NotFound, Forbidden):
        return True  # whether we may is said when we do it
    return bool(review.get("status", {}).get("allowed"))
