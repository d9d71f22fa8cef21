"""A cluster of the user's own, behind the same interface as the local one.

It must bring what the local one builds: an ingress controller that reads ingress-nginx
annotations (class `nginx`), a Prometheus that scrapes it, and the podinfo images of the tests.
Nothing is started, stopped or installed in it; faults that need its machine are refused
with NotSupported, so a test can skip with the reason.
"""

import os
import shutil
from pathlib import Path

from tests.cluster.local.binaries import find_program
from tests.cluster.local.client import Cluster
from tests.cluster.local.errors import NotSupported, PrerequisiteMissing

INGRESS = "CANARYD_INGRESS_URL"
PROMETHEUS = "CANARYD_PROMETHEUS_URL"


class ExternalCluster(Cluster):
    """The cluster that KUBECONFIG names, with the addresses of its ingress and Prometheus."""

    def __init__(self, kubeconfig: Path, ingress_url: str, prometheus_url: str) -> None:
        self.kubeconfig = kubeconfig
        self.ingress_url = ingress_url.rstrip("/")
        self.prometheus_url = prometheus_url.rstrip("/")

    @classmethod
    def from_environment(cls) -> "ExternalCluster":
        """Read KUBECONFIG and the two addresses; PrerequisiteMissing names what is not set."""
        kubeconfig = Path(os.environ["KUBECONFIG"])
        if not kubeconfig.is_file():
            raise PrerequisiteMissing(f"KUBECONFIG names {kubeconfig}, which is not a file")
        missing = [name for name in (INGRESS, PROMETHEUS) if not os.environ.get(name)]
        if missing:
            raise PrerequisiteMissing(
                f"KUBECONFIG is set, so {' and '.join(missing)} must be too: the addresses under "
                "which the cluster's ingress and its Prometheus answer on this machine"
            )
        return cls(kubeconfig, os.environ[INGRESS], os.environ[PROMETHEUS])

    @property
    def kubectl_path(self) -> Path:
        return self._program("kubectl")

    @property
    def helm_path(self) -> Path:
        return self._program("helm")

    def start(self) -> None:
        """Prove that the cluster answers; it runs already."""
        self.kubectl("get", "--raw", "/readyz")

    def stop(self) -> None:
        """Leave the cluster as it is: it is not ours."""

    def restart_apiserver(self) -> None:
        raise NotSupported("only the local cluster's API server can be restarted by a test")

    def pause_process(self, name: str) -> None:
        raise NotSupported(f"only the local cluster's {name} can be paused by a test")

    def resume_process(self, name: str) -> None:
        raise NotSupported(f"only the local cluster's {name} can be resumed by a test")

    def _program(self, name: str) -> Path:
        on_path = shutil.which(name)
        return Path(on_path) if on_path else find_program(name)
