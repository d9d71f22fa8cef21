"""People at the API server: each call acts as one of them, and says what they were answered.

They are impersonated by the administrator, so names are as the API server knows them.
"""

import itertools
import json
from typing import Any

from canaryd.core import names
from tests.cluster import manifests
from tests.cluster.local.client import Cluster
from tests.cluster.local.errors import CommandFailed

ADMINISTRATOR = "admin"
"""Whom RBAC refuses nothing."""
_bindings = itertools.count()


class People:
    """One Canary, and people who write it; each call says what the API server answered."""

    def __init__(self, cluster: Cluster, namespace: str, daemon: str) -> None:
        self.cluster, self.namespace, self.daemon = cluster, namespace, daemon

    def make_canary(self) -> None:
        """A record without a daemon behind it, so that what waits goes on waiting."""
        refused = self.as_user(self.daemon, "create", "-f", "-", input=json.dumps(self.canary()))
        assert "" == refused

    def canary(self) -> dict[str, Any]:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}
        return {
            "apiVersion": "canaryd.io/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "app", "labels": {"team": "shop"}, "annotations": {"note": "x"}},
            "spec": {"targetRef": target, "provider": "nginx"},
        }

    def bind(self, role: str, user: str) -> None:
        binding = f"{role}-{next(_bindings)}"
        self.cluster.kubectl(
            *("create", "rolebinding", binding, "-n", self.namespace),
            *(f"--clusterrole={role}", f"--user={user}"),
        )

    def may_patch(self, *users: str) -> None:
        """The widest rights there are on Canaries, but for the verbs of commands."""
        name = f"writer-{self.namespace}"
        verbs = "get,list,watch,create,update,patch,delete"
        named = ("canaries.canaryd.io", "canaries.canaryd.io/status")
        resources = ",".join((*named, "deployments.apps", "deployments.apps/scale"))
        self.cluster.kubectl(
            "create", "clusterrole", name, f"--verb={verbs}", f"--resource={resources}"
        )
        for user in users:
            self.bind(name, user)

    def as_user(self, user: str, *args: str, **options: Any) -> str:
        """What was refused, in the words of the API server; empty when it was done."""
        groups = ("--as-group=system:masters",) if user == ADMINISTRATOR else ()
        try:
            self.cluster.kubectl(f"--as={user}", *groups, "-n", self.namespace, *args, **options)
        except CommandFailed as error:
            return str(error)
        return ""

    def patch(self, user: str, body: dict[str, Any], *args: str, kind: str = "canary") -> str:
        kind = {"canary": "canaries.canaryd.io"}.get(kind, kind)
        return self.as_user(
            user, "patch", kind, "app", "--type=merge", *args, "-p", json.dumps(body)
        )

    def ask(self, user: str, values: dict[str, str | None]) -> str:
        return self.patch(user, {"metadata": {"annotations": values}})

    def waiting(self) -> dict[str, str]:
        found = self.cluster.get("canaries.canaryd.io", "app", "-n", self.namespace)
        values = found["metadata"].get("annotations") or {}
        return {k: v for k, v in values.items() if k.startswith("action.canaryd.io/")}


class Team(People):
    """One Deployment that is enrolled, and people who change it."""

    def deploy(self, user: str, message: str = "one", **annotations: str) -> str:
        enabled = {"canaryd.io/enabled": "true"} | annotations
        made = manifests.podinfo("app", message=message, replicas=0, annotations=enabled)
        return self.as_user(
            *(user, "apply", "--server-side", "--force-conflicts", "-f", "-"),
            input=json.dumps(made),
        )

    def live(self) -> dict[str, Any]:
        return self.cluster.get("deployment", "app", "-n", self.namespace)

    def author(self) -> str:
        return str(self.live()["metadata"].get("annotations", {}).get(names.AUTHOR, ""))

    def note(self, user: str, value: str | None) -> str:
        return self.patch(
            user, {"metadata": {"annotations": {names.AUTHOR: value}}}, kind="deployment"
        )
