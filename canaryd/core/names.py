"""Names, labels and annotations that canaryd writes, in one place.

Users' dashboards, queries and policies depend on them: changing one is a migration,
not a refactoring.
User input lives under ``canaryd.io/`` on the Deployment and is never written by us.
"""

import hashlib

PREFIX = "canaryd.io/"
INTERNAL = "internal.canaryd.io/"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "canaryd"
STATUS_MANAGER = "canaryd-status"
"""Field manager of the conditions on the target: an apply of theirs must not let go of others."""

LABEL_TARGET = "canaryd.io/target"
"""On everything we own, and on the apex Service: the name of the target (EndpointSlices inherit
it).
"""
LABEL_APEX = "canaryd.io/apex"
"""On the apex Service: the admission policy keeps the selector of Services that carry it."""
LABEL_ROLE = "canaryd.io/role"

REVISION = INTERNAL + "revision"
"""On the primary: the revision its template was made of."""
SOURCE = INTERNAL + "source"
"""On copies: the object they were copied from, as ``Kind/name``."""
MANAGED = INTERNAL + "managed"
"""On the target: the admission policy keeps the replicas of Deployments that carry it."""
AUTHOR = INTERNAL + "author"
"""On the target: who wrote its present template, kept by the admission policy."""
ORIGINAL_SELECTOR = INTERNAL + "original-selector"
"""On the apex Service: its selector before enrolment, as JSON."""
APPLIED = INTERNAL + "applied"
"""On copies: hash of what we applied last, so that an equal apply is not sent."""

ORIGINAL_PAUSE = INTERNAL + "original-pause"
"""On a ScaledObject that we put to sleep: the annotations of its pause before, as JSON."""
ROUTE = INTERNAL + "route"
"""On an HTTPRoute with parts of a run in it, with the target's name behind a dot: the record."""

POD_TEMPLATE_HASH = "pod-template-hash"
DEPLOYMENT_REVISION = "deployment.kubernetes.io/revision"
NO_PODS = "none"
"""Value of ``pod-template-hash`` that no pod carries: the canary Service between runs."""

SELECTOR_LABELS = ("app.kubernetes.io/name", "app", "name")
"""Keys of the target's selector, in the order in which they are tried,
whose value is rewritten for the primary.
"""

TRACKING_KEYS = (
    "app.kubernetes.io/instance",
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
)
TRACKING_DOMAINS = (
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "canaryd.io/",
    "internal.canaryd.io/",
    "defaults.canaryd.io/",
    "status.canaryd.io/",
    "action.canaryd.io/",
)
"""Marks by which GitOps tools call an object theirs: a copy that carried them would be pruned."""

MAX_NAME = 63
PRIMARY_SUFFIX = "-primary"


def primary_name(target: str) -> str:
    """Name of the primary Deployment, its Service and its autoscaler for a target (or Service,
    or HPA) of this name.
    """
    return f"{target}-primary"


def canary_name(base: str) -> str:
    """Name of the canary Service or canary Ingress."""
    return f"{base}-canary"


def snapshot_name(target: str, revision: str) -> str:
    """Name of the ControllerRevision that holds a snapshot."""
    return f"{target}-canaryd-{revision}"


def config_copy_name(name: str, digest: str) -> str:
    """Name of a versioned copy of a ConfigMap or Secret."""
    return f"{name}-{digest}"


def primary_label_value(value: str) -> str:
    """Value of the selector label on primary pods, within the 63 characters a label value may
    have.
    """
    suffixed = f"{value}{PRIMARY_SUFFIX}"
    if len(suffixed) <= MAX_NAME:
        return suffixed
    digest = hashlib.blake2b(value.encode(), digest_size=4).hexdigest()
    return f"{value[: MAX_NAME - 17]}-{digest}-primary"


def without_primary(value: str) -> str:
    """The label value a primary's was made of; one that had to be shortened stays as it is."""
    return value.removesuffix(PRIMARY_SUFFIX)


def is_tracking_key(key: str) -> bool:
    """Whether a label or annotation must not be carried over to a copy."""
    return key in TRACKING_KEYS or key.startswith(TRACKING_DOMAINS)


def ownership_labels(target: str) -> dict[str, str]:
    """Labels by which we know what is ours."""
    return {MANAGED_BY: MANAGER, LABEL_TARGET: target}
