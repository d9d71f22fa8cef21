"""What a test may ask of a cluster, whichever it is: the interface, and all that kubectl does.

Local and external clusters differ in how they come to be and in which faults they can
produce; everything else is here, written against kubectl and a kubeconfig alone.
A test that needs a fault asks for `is_local` first, or lets NotSupported tell its reason.
"""

import base64
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.cluster.local import commands, configuration

T = TypeVar("T")

TOKEN_SECONDS = 24 * 3600


class Cluster(ABC):
    """A running cluster with an ingress that reads ingress-nginx annotations, and Prometheus.

    kubeconfig      file with the rights of an administrator
    ingress_url     where requests of users go in, without a slash at the end
    prometheus_url  where their metrics can be asked for, likewise
    """

    is_local = False
    kubeconfig: Path
    ingress_url: str
    prometheus_url: str

    @property
    @abstractmethod
    def kubectl_path(self) -> Path: ...

    @property
    @abstractmethod
    def helm_path(self) -> Path: ...

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def restart_apiserver(self) -> None:
        """Stop the API server, start it again and wait until it is ready."""

    @abstractmethod
    def pause_process(self, name: str) -> None:
        """Freeze a program: it keeps its connections and answers nothing."""

    @abstractmethod
    def resume_process(self, name: str) -> None: ...

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - named as subprocess names it
        timeout_s: float = 120,
    ) -> str:
        """Run kubectl as administrator and return its output; CommandFailed otherwise."""
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        return commands.run([self.kubectl_path, *args], stdin=input, env=env, timeout_s=timeout_s)

    def apply(self, objects: Sequence[dict[str, Any]], *, namespace: str = "default") -> None:
        """Apply objects on the server's side; the namespace is for those that name none."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=cluster-tests"),
            *("-n", namespace, "-f", "-"),
            input=json.dumps(listed),
        )

    def get(self, *args: str) -> Any:
        """Return what `kubectl get ... -o json` prints, read."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def wait_for(
        self,
        what: str,
        probe: Callable[[], T | None],
        *,
        timeout_s: float = 60,
        interval_s: float = 0.1,
    ) -> T:
        """Ask until the answer is truthy and return it; WaitedTooLong names what did not come."""
        return commands.wait_for(what, probe, timeout_s=timeout_s, interval_s=interval_s)

    def wait_for_rollout(self, name: str, *, namespace: str = "default") -> None:
        """Wait until a Deployment has rolled out."""
        self.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=90s")

    def token_kubeconfig(
        self, namespace: str, service_account: str, path: Path, *, seconds: int = TOKEN_SECONDS
    ) -> Path:
        """Write a kubeconfig for a ServiceAccount, with a token of the TokenRequest API."""
        answer = self.kubectl(
            *("create", "-f", "-", "--raw"),
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token",
            input=json.dumps(configuration.token_request(seconds)),
        )
        token = json.loads(answer)["status"]["token"]
        view = json.loads(
            self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        )
        server = view["clusters"][0]["cluster"]
        text = configuration.kubeconfig(
            server["server"],
            ca=base64.b64decode(server.get("certificate-authority-data", "")),
            token=token,
            namespace=namespace,
        )
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def create_namespace(self, prefix: str) -> str:
        """Create a namespace of a fresh name, ready for pods, and return the name."""
        name = f"{prefix}-{time.time_ns() % 10**9:09d}"
        self.kubectl("create", "namespace", name)
        # A pod is refused until the controller manager has made the account.
        self.wait_for(
            f"the default ServiceAccount of {name}",
            lambda: self.kubectl("get", "serviceaccount", "default", "-n", name),
        )
        return name
