"""The one door to a cluster: the user's own where there is one, else a local one.

KUBECONFIG is set            that cluster, with CANARYD_INGRESS_URL and CANARYD_PROMETHEUS_URL
KUBEBUILDER_ASSETS is set    a local cluster with the kube-apiserver and etcd found there
neither                      a local cluster, built from source at its first run
"""

import os
from collections.abc import Callable

from tests.cluster.local.binaries import print_line
from tests.cluster.local.client import Cluster
from tests.cluster.local.cluster import LocalCluster
from tests.cluster.local.external import ExternalCluster


def provide_cluster(say: Callable[[str], None] = print_line) -> Cluster:
    """Return a cluster that is not started yet: a context manager."""
    if os.environ.get("KUBECONFIG"):
        return ExternalCluster.from_environment()
    return LocalCluster(say)
