"""canaryd on a cluster, as the chart installs it, but for the pod: the process runs here, under its own ServiceAccount.

What is applied is what ``helm template`` renders, the Deployment excepted; the daemon authenticates with a token of the rendered
ServiceAccount, so the RBAC is proven by use. Several installations can live side by side under other namespaces.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.local.client import Cluster

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "canaryd"
POLICY_LAG_S = 3.0
"""The API server compiles policies anew about once a second."""
WEBHOOK = "canaryd-webhook"
"""Service and Secret of the webhook."""
NOT_APPLIED = {"Deployment", "PodDisruptionBudget", "Service"}


def render_chart(cluster: Cluster, namespace: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object the chart renders for these values."""
    command = [
        str(cluster.helm_path),
        "template",
        "canaryd",
        str(CHART),
        "--namespace",
        namespace,
        "--values",
        "-",
    ]
    command += ["--kube-version", "1.34.0"]
    for version in ("admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy",):
        command += ["--api-versions", version]
    done = subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise RuntimeError(f"helm template failed: {done.stderr[-2000:]}")
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@dataclass
class Daemon:
    """One canaryd process."""

    process: subprocess.Popen[bytes]
    log_path: Path
    port: int
    user: str
    """User name in the audit log."""
    lines_seen: int = field(default=0)

    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far, read."""
        found = []
        for line in self.log_path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"msg": line})
        return found

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        for line in (
            Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        ):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the daemon is gone")

    def kill(self) -> None:
        """As the kernel's OOM killer does it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def stop(self) -> None:
        """As the kubelet does it; a process that does not end in time is a failure."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)
                raise


class Installation:
    """The chart applied to a cluster; start as many daemons of it as you like."""

    def __init__(
        self, cluster: Cluster, namespace: str, folder: Path, values: dict[str, Any]
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        objects = render_chart(cluster, namespace, values)
        first = [o for o in objects if o["kind"] == "CustomResourceDefinition"]
        cluster.apply(first)
        cluster.kubectl(
            "wait", "--for=condition=established", "--timeout=30s", "crd/canaries.canaryd.io"
        )
        rest = [o for o in objects if o["kind"] not in NOT_APPLIED and o not in first]
        cluster.apply(rest, namespace=namespace)
        self._applied = [*rest, *first]
        [account] = [o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"]
        self.user = f"system:serviceaccount:{namespace}:{account}"
        self.kubeconfig = cluster.token_kubeconfig(
            namespace, account, folder / f"{namespace}.kubeconfig"
        )
        [settings] = [o["data"]["config.yaml"] for o in objects if o["kind"] == "ConfigMap"]
        # A name of its own: a second installation of the namespace must not change what daemons of the first are started with.
        self.config = folder / f"{namespace}-{time.time_ns()}.yaml"
        self.config.write_text(settings, encoding="utf-8")

    def start(self, *flags: str) -> Daemon:
        """Start a daemon and wait until it is ready."""
        port = free_port()
        log_path = self.folder / f"canaryd-{time.time_ns()}.log"
        command = [
            sys.executable,
            "-m",
            "canaryd",
            "run",
            "--config",
            str(self.config),
            "--kubeconfig",
            str(self.kubeconfig),
            "--port",
            str(port),
            *flags,
        ]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment(),
            )
        daemon = Daemon(process, log_path, port, self.user)
        try:
            self._await_ready(daemon)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def _await_ready(self, daemon: Daemon) -> None:
        import urllib.error
        import urllib.request

        end = time.monotonic() + 30
        while time.monotonic() < end:
            if daemon.process.poll() is not None:
                raise RuntimeError(
                    f"canaryd ended with {daemon.process.returncode}:\n{daemon.log_path.read_text()[-3000:]}"
                )
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/readyz", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(
            f"canaryd is not ready after 30 s:\n{daemon.log_path.read_text()[-3000:]}"
        )

    def told(self, lines: int = 60) -> str:
        """The last lines of the daemon that was started last, debug lines aside."""
        logs = sorted(self.folder.glob("canaryd-*.log"))
        text = logs[-1].read_text(encoding="utf-8", errors="replace") if logs else ""
        return "\n".join([x for x in text.splitlines() if '"debug"' not in x][-lines:])

    @contextmanager
    def without_policies(self) -> Iterator[None]:
        """Break glass: the admission policies off for the length of a block."""
        kinds = ("MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicyBinding")
        bindings = [o for o in self._applied if o["kind"] in kinds]
        assert bindings, "the chart rendered no admission policy for this cluster"
        for binding in bindings:
            self.cluster.kubectl("delete", binding["kind"].lower(), binding["metadata"]["name"])
        time.sleep(POLICY_LAG_S)
        try:
            yield
        finally:
            self.cluster.apply(bindings)
            time.sleep(POLICY_LAG_S)

    @contextmanager
    def by_webhook(self) -> Iterator["Installation"]:
        """The same installation, kept by the webhook of its daemon instead of the policies.

        Only where daemon and API server are on one machine: the Service leads to this process.
        """
        port = free_port()
        webhook = {"keep": "webhook", "webhook": {"port": port}}
        values = chart_values(self.cluster, admission=webhook)
        with self.without_policies():
            other = Installation(self.cluster, self.namespace, self.folder, values)
            self.cluster.apply(_to_this_machine(self.cluster, port), namespace=self.namespace)
            try:
                yield other
            finally:
                self.cluster.kubectl("delete", "mutatingwebhookconfiguration", "canaryd")
                for kind in ("secret", "service", "endpointslice"):
                    self.cluster.kubectl("delete", kind, WEBHOOK, "-n", self.namespace)

    def until_webhook(self) -> None:
        """Wait until API servers believe the daemon that was started."""
        self.cluster.wait_for(
            "the webhook's certificate",
            lambda: (
                all(
                    hook["clientConfig"].get("caBundle")
                    for hook in self.cluster.get("mutatingwebhookconfiguration", "canaryd")[
                        "webhooks"
                    ]
                )
                and self.cluster.get("secret", WEBHOOK, "-n", self.namespace).get("data")
            ),
            timeout_s=30,
        )
        time.sleep(POLICY_LAG_S)

    def remove(self) -> None:
        """Remove what belongs to the installation alone; the CRD stays for the next one."""
        self.cluster.kubectl(
            "delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found"
        )


def _to_this_machine(cluster: Cluster, port: int) -> list[dict[str, Any]]:
    """The chart's Service of the webhook, with this machine as its only endpoint."""
    [node] = cluster.get("nodes")["items"]
    [address] = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
    named = {"name": "webhook", "port": 443, "targetPort": port}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": WEBHOOK},
            "spec": {"ports": [named]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": WEBHOOK, "labels": {"kubernetes.io/service-name": WEBHOOK}},
            "addressType": "IPv4",
            "ports": [{"name": "webhook", "port": port}],
            "endpoints": [{"addresses": [address]}],
        },
    ]


def environment() -> dict[str, str]:
    """What a daemon inherits: nothing that tells the tests which cluster they run against."""
    named = ("KUBECONFIG", "CANARYD_INGRESS_URL", "CANARYD_PROMETHEUS_URL")
    return {name: value for name, value in os.environ.items() if name not in named}


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chart_values(cluster: Cluster, **changes: Any) -> dict[str, Any]:
    """Values for the local cluster: Traefik reads the annotations, Prometheus is on loopback."""
    values: dict[str, Any] = {
        "scope": {"mode": "cluster"},
        "providers": {
            "nginx": {"enabled": True, "dialect": "traefik"},
            "gateway": {"enabled": True, "dialect": "traefik"},
        },
        "metricSources": {"default": {"type": "prometheus", "url": cluster.prometheus_url}},
        "secrets": {"access": "all"},
    }
    return values | changes


@contextmanager
def running(installation: Installation, *flags: str) -> Iterator[Daemon]:
    """A daemon for the length of a block."""
    daemon = installation.start(*flags)
    try:
        yield daemon
    finally:
        daemon.stop()
