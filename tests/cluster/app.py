"""One app on the real cluster, as its team sees it: deploy, annotate, set an image, look at the Canary.

Looking goes through a watch-free poll of the API server as administrator, so it never shows up among the daemon's requests.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from tests.cluster import manifests
from tests.cluster.local.client import Cluster

PLAN = {
    "enabled": "true",
    "interval": "10s",
    "weights": "10,20,30,40,50",
    "metric.success-rate": ">= 99",
    "metric.latency-p99": "<= 500ms",
    "failure-threshold": "1",
    "min-requests": "5",
    "scale-down-delay": "3s",
    "progress-deadline": "60s",
}


@dataclass
class App:
    """A podinfo with its Service and Ingress in one namespace; versions are told apart by what podinfo says at ``/``."""

    cluster: Cluster
    namespace: str
    name: str = "app"
    replicas: int = 2
    version: str = "one"
    pod_spec: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}.test"

    # --- the team -----------------------------------------------------------------------------------------------------

    def deploy(self) -> None:
        """Deployment, Service, Ingress; returns when the pods are ready."""
        self.cluster.apply(
            [
                self._deployment(self.version),
                manifests.service(self.name),
                manifests.ingress(self.name, host=self.host, backend=self.name),
            ],
            namespace=self.namespace,
        )
        self.cluster.wait_for_rollout(self.name, namespace=self.namespace)

    def enrol(self, **changes: str | None) -> None:
        """Annotate with the usual plan, changed; underscores stand for dashes."""
        values = PLAN | {k.replace("_", "-"): v for k, v in changes.items()}
        self.annotate({k: v for k, v in values.items() if v is not None})

    def annotate(self, values: dict[str, str]) -> None:
        pairs = [f"canaryd.io/{k}={v}" for k, v in values.items()]
        self.cluster.kubectl(
            "annotate", "deployment", self.name, "-n", self.namespace, "--overwrite", *pairs
        )

    def leave(self) -> None:
        self.cluster.kubectl(
            "annotate", "deployment", self.name, "-n", self.namespace, "canaryd.io/enabled-"
        )

    def ship(self, version: str, *args: str, by: str = "") -> float:
        """Roll out another version, wrong in the ways its arguments say; returns when (monotonic).

        ``by`` is who does it, the administrator unless somebody else is named.
        """
        template = self._deployment(version, args)["spec"]["template"]
        self.cluster.kubectl(
            "patch",
            "deployment",
            self.name,
            "-n",
            self.namespace,
            "--type=merge",
            "-p",
            json.dumps({"spec": {"template": template}}),
            *((f"--as={by}", "--as-group=system:masters") if by else ()),
        )
        return time.monotonic()

    def _deployment(self, version: str, args: tuple[str, ...] = ()) -> dict[str, Any]:
        made = manifests.podinfo(
            self.name, message=version, image="podinfo:6.9.2", replicas=self.replicas, args=args
        )
        made["spec"]["template"]["spec"] |= self.pod_spec
        return made

    def canaryd(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What somebody types in the app's namespace, as administrator."""
        return subprocess.run(
            [sys.executable, "-m", "canaryd", *words, "-n", self.namespace],
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # --- looking ------------------------------------------------------------------------------------------------------

    def object(self, kind: str, name: str = "") -> dict[str, Any] | None:
        """One object, or None."""
        text = self.cluster.kubectl(
            "get", kind, name or self.name, "-n", self.namespace, "-o", "json", "--ignore-not-found"
        )
        return json.loads(text) if text.strip() else None

    def status(self) -> dict[str, Any]:
        return (self.object("canaries.canaryd.io") or {}).get("status") or {}

    def phase(self) -> str:
        return str(self.status().get("phase", ""))

    def weight(self) -> int | None:
        found = self.object("ingress", f"{self.name}-canary")
        return (
            int(found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"])
            if found
            else None
        )

    def selector(self) -> dict[str, str]:
        found = self.object("service")
        return found["spec"]["selector"] if found else {}

    def replicas_of(self, name: str = "") -> int:
        found = self.object("deployment", name)
        return int(found["spec"]["replicas"]) if found else -1

    def primary_message(self) -> str:
        """The version in the primary's template."""
        found = self.object("deployment", f"{self.name}-primary")
        if not found:
            return ""
        return next(
            e["value"]
            for e in found["spec"]["template"]["spec"]["containers"][0]["env"]
            if e["name"] == "PODINFO_UI_MESSAGE"
        )

    def events(self, reason: str) -> list[dict[str, Any]]:
        found = self.cluster.get("events.events.k8s.io", "-n", self.namespace)["items"]
        return [e for e in found if e.get("reason") == reason]

    def pod_names(self, selector: str) -> set[str]:
        """Names of the pods that are not being deleted."""
        pods = self.cluster.get("pods", "-n", self.namespace, "-l", selector)["items"]
        return {p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"]}

    def pod_addresses(self, selector: str) -> list[str]:
        pods = self.cluster.get("pods", "-n", self.namespace, "-l", selector)["items"]
        return [p["status"]["podIP"] for p in pods if p["status"].get("podIP")]

    def until_phase(self, phase: str, timeout_s: float = 120) -> float:
        """Wait for a phase; returns when it was seen (monotonic)."""
        self.cluster.wait_for(
            f"{self.namespace}/{self.name} {phase} (now {self.phase()}: {self.status().get('message')})",
            lambda: self.phase() == phase or None,
            timeout_s=timeout_s,
        )
        return time.monotonic()

    def until_step(self, index: int, timeout_s: float = 60) -> float:
        """Wait until the run is at a step, counted from 1; returns when it was seen."""
        self.cluster.wait_for(
            f"{self.namespace}/{self.name} at step {index} (now {self.status().get('message')})",
            lambda: (self.status().get("step", {}).get("index") == index) or None,
            timeout_s=timeout_s,
        )
        return time.monotonic()

    def until_weight(self, weight: int, timeout_s: float = 60) -> float:
        self.cluster.wait_for(
            f"{self.namespace}/{self.name} at weight {weight} (now {self.weight()}: {self.status().get('message')})",
            lambda: (self.weight() == weight) or None,
            timeout_s=timeout_s,
            interval_s=0.05,
        )
        return time.monotonic()


def make_unready(address: str) -> None:
    """Turn a podinfo's readiness off, as an app does that lost its database."""
    request = urllib.request.Request(
        f"http://{address}:{manifests.PORT}/readyz/disable", method="POST"
    )
    urllib.request.urlopen(request, timeout=3).close()
