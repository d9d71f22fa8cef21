"""The command line of each program of the cluster, as pure functions of one layout.

The layout says which file lies where and which port is whose; it is filled before anything
starts, so that every program can be told about every other one.
All listen on loopback, but for the kubelet, which needs the node's own address;
no program may ever ask the network for a version, a licence or a time.
"""

import socket
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.local.certificates import Authority, Pair
from tests.cluster.local.configuration import LATENCY_BUCKETS
from tests.cluster.local.network import Network

LOOPBACK = "127.0.0.1"
NODE = "canaryd-node"
SYSTEM_NAMESPACE = "kube-system"
TRAEFIK_ACCOUNT = "traefik"
GATEWAY = "web"
"""The Gateway in SYSTEM_NAMESPACE that routes may name as their parent."""


def free_ports(count: int) -> list[int]:
    """Find ports that nobody uses; all are held at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True)
class Ports:
    etcd: int
    etcd_peer: int
    api: int
    kubelet: int
    proxy_health: int
    proxy_metrics: int
    ingress: int
    traefik: int
    prometheus: int

    @classmethod
    def choose(cls) -> "Ports":
        return cls(*free_ports(9))


@dataclass(frozen=True)
class Certificates:
    """Who is who towards the API server: each program has an identity of its own."""

    authority: Authority
    server: Pair
    accounts: Pair
    admin: Pair
    to_kubelet: Pair
    controller_manager: Pair
    scheduler: Pair
    kubelet: Pair
    proxy: Pair

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        authority = Authority(folder)
        names = ["localhost", LOOPBACK, "kubernetes", "kubernetes.default.svc", "10.96.0.1"]
        return cls(
            authority=authority,
            server=authority.server("kube-apiserver", names),
            accounts=authority.service_account_keys(),
            admin=authority.client("admin", "admin", "system:masters"),
            to_kubelet=authority.client("to-kubelet", "kube-apiserver", "system:masters"),
            controller_manager=authority.client(
                "controller-manager", "system:kube-controller-manager"
            ),
            scheduler=authority.client("scheduler", "system:kube-scheduler"),
            kubelet=authority.client("kubelet", f"system:node:{NODE}", "system:nodes"),
            proxy=authority.client("proxy", "system:kube-proxy"),
        )


@dataclass(frozen=True)
class Layout:
    """Files, ports and names of one run."""

    folder: Path
    ports: Ports
    network: Network = field(default_factory=Network)

    @property
    def api_url(self) -> str:
        return f"https://{LOOPBACK}:{self.ports.api}"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def container_folder(self) -> Path:
        return self.folder / "containerd"

    @property
    def container_socket(self) -> Path:
        return self.container_folder / "containerd.sock"

    def kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"


def etcd(program: Path, layout: Layout) -> list[str]:
    clients = f"http://{LOOPBACK}:{layout.ports.etcd}"
    peers = f"http://{LOOPBACK}:{layout.ports.etcd_peer}"
    return [
        str(program),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(program: Path, layout: Layout, certificates: Certificates) -> list[str]:
    return [
        str(program),
        f"--etcd-servers=http://{LOOPBACK}:{layout.ports.etcd}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.ports.api}",
        f"--cert-dir={layout.folder / 'apiserver'}",
        f"--tls-cert-file={certificates.server.cert}",
        f"--tls-private-key-file={certificates.server.key}",
        f"--client-ca-file={certificates.authority.cert}",
        f"--kubelet-client-certificate={certificates.to_kubelet.cert}",
        f"--kubelet-client-key={certificates.to_kubelet.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={certificates.accounts.cert}",
        f"--service-account-signing-key-file={certificates.accounts.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={layout.network.service_range}",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--allow-privileged=true",
        # No endpoints for `kubernetes.default`: loopback is not an address pods can reach.
        "--endpoint-reconciler-type=none",
        f"--audit-policy-file={layout.folder / 'audit-policy.json'}",
        f"--audit-log-path={layout.audit_log}",
        # One file for all of a run: by default it is turned over at 100 MB.
        "--audit-log-maxsize=100000",
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
    ]


def controller_manager(program: Path, layout: Layout, certificates: Certificates) -> list[str]:
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('controller-manager')}",
        f"--service-account-private-key-file={certificates.accounts.key}",
        f"--root-ca-file={certificates.authority.cert}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        # It makes this folder if it is missing, by default outside of ours.
        f"--flex-volume-plugin-dir={layout.folder / 'volume-plugins'}",
    ]


def scheduler(program: Path, layout: Layout) -> list[str]:
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
    ]


def containerd(program: Path, layout: Layout) -> list[str]:
    return [str(program), f"--config={layout.container_folder / 'config.toml'}", "-l", "warn"]


def kubelet(program: Path, layout: Layout) -> list[str]:
    return [
        str(program),
        f"--config={layout.folder / 'kubelet.json'}",
        f"--kubeconfig={layout.kubeconfig('kubelet')}",
        f"--root-dir={layout.folder / 'kubelet'}",
        f"--cert-dir={layout.folder / 'kubelet-certificates'}",
        f"--hostname-override={NODE}",
        f"--node-ip={layout.network.node_address}",
    ]


def kube_proxy(program: Path, layout: Layout) -> list[str]:
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('proxy')}",
        "--proxy-mode=nftables",
        f"--hostname-override={NODE}",
        f"--cluster-cidr={layout.network.pod_range}",
        # Without br_netfilter the answer of a pod to its neighbour would not be translated back.
        "--masquerade-all=true",
        f"--bind-address={LOOPBACK}",
        f"--healthz-bind-address={LOOPBACK}:{layout.ports.proxy_health}",
        f"--metrics-bind-address={LOOPBACK}:{layout.ports.proxy_metrics}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]


def traefik(program: Path, layout: Layout, certificates: Certificates) -> list[str]:
    provider, gateway = "--providers.kubernetesingressnginx", "--providers.kubernetesgateway"
    return [
        str(program),
        f"--entrypoints.web.address={LOOPBACK}:{layout.ports.ingress}",
        f"--entrypoints.traefik.address={LOOPBACK}:{layout.ports.traefik}",
        f"{provider}=true",
        f"{provider}.endpoint={layout.api_url}",
        f"{provider}.token={layout.folder / 'traefik.token'}",
        f"{provider}.certauthfilepath={certificates.authority.cert}",
        f"{provider}.httpentrypoint=web",
        f"{gateway}=true",
        f"{gateway}.endpoint={layout.api_url}",
        f"{gateway}.token={layout.folder / 'traefik.token'}",
        f"{gateway}.certauthfilepath={certificates.authority.cert}",
        "--ping=true",
        "--metrics.prometheus=true",
        "--metrics.prometheus.addserviceslabels=true",
        f"--metrics.prometheus.buckets={LATENCY_BUCKETS}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
    ]


def prometheus(program: Path, layout: Layout) -> list[str]:
    return [
        str(program),
        f"--config.file={layout.folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={layout.folder / 'prometheus'}",
        f"--web.listen-address={LOOPBACK}:{layout.ports.prometheus}",
        "--log.level=warn",
    ]
