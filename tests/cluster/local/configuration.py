"""The texts that the programs of the cluster read: configuration files, as pure functions.

JSON wherever the reader takes it, so that no text is put together by hand;
containerd alone wants TOML. What is written here is for tests on one small machine:
nothing is evicted, nothing is pulled, nothing listens beyond loopback and our own bridge.
"""

import base64
import json
from pathlib import Path
from typing import Any

CGROUP = "canaryd-cluster"
SANDBOX_IMAGE = "canaryd-pause:1"
NO_REGISTRY = {
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "NO_PROXY": "",
}
"""Environment of containerd: every pull, of any registry, fails at once at a closed port."""

GATEWAY_GROUP = "gateway.networking.k8s.io"
GATEWAY_KINDS = (
    "gatewayclasses",
    "gateways",
    "httproutes",
    "grpcroutes",
    "tlsroutes",
    "referencegrants",
    "backendtlspolicies",
)
"""What Traefik watches; it starts nothing of its Gateway provider if one of them is missing."""
LATENCY_BUCKETS = "0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5"


def audit_policy() -> str:
    """One line per request, with its user, verb and resource, and no bodies."""
    return json.dumps(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        }
    )


def kubeconfig(
    server: str, *, ca: bytes, cert: bytes = b"", key: bytes = b"", token: str = "", namespace: str
) -> str:
    """A kubeconfig that carries everything in itself, so the file can be moved."""
    user: dict[str, str] = {"token": token} if token else {}
    if cert:
        user["client-certificate-data"] = _base64(cert)
        user["client-key-data"] = _base64(key)
    cluster = {"server": server, "certificate-authority-data": _base64(ca)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [
                {
                    "name": "local",
                    "context": {"cluster": "local", "user": "user", "namespace": namespace},
                }
            ],
            "current-context": "local",
        },
        indent=2,
    )


def containerd(folder: Path, cni_binaries: Path, cni_conf: Path) -> str:
    """All of containerd's folders and sockets below one folder of ours.

    `restrict_oom_score_adj`: a machine without CAP_SYS_RESOURCE fails every sandbox otherwise,
    with "can't get final child's PID from pipe: EOF".
    `netns_mounts_under_state_dir`: so that unmounting our folder forgets no namespace.
    """
    return f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_binaries}"
    conf_dir = "{cni_conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{folder}/runc"
"""


def kubelet(folder: Path, ca: Path, node_address: str, port: int, container_socket: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node_address,
            "port": port,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(ca)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{container_socket}",
            # Pods have no resolver: nobody out there shall be asked.
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
            "evictionHard": {
                "memory.available": "1Mi",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
                "imagefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "maxPods": 250,
            "podLogsDir": str(folder / "pod-logs"),
            "volumePluginDir": str(folder / "volume-plugins"),
        },
        indent=2,
    )


def prometheus(traefik_metrics: str) -> str:
    """Scrape Traefik every second, since a step of a test's analysis takes two."""
    return json.dumps(
        {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "traefik", "static_configs": [{"targets": [traefik_metrics]}]}
            ],
        },
        indent=2,
    )


def traefik_objects(namespace: str, account: str) -> list[tuple[str, dict[str, Any]]]:
    """What Traefik needs in the cluster: path and object, in the order of creation."""
    role_path = "/apis/rbac.authorization.k8s.io/v1"
    watch = ["get", "list", "watch"]
    resources = {
        "": ["services", "secrets", "configmaps", "namespaces", "pods", "nodes"],
        "discovery.k8s.io": ["endpointslices"],
        "networking.k8s.io": ["ingresses", "ingressclasses"],
        GATEWAY_GROUP: list(GATEWAY_KINDS),
    }
    rules: list[dict[str, Any]] = [
        {"apiGroups": [group], "resources": names, "verbs": watch}
        for group, names in resources.items()
    ]
    statuses = [f"{kind}/status" for kind in GATEWAY_KINDS]
    rules.append({"apiGroups": [GATEWAY_GROUP], "resources": statuses, "verbs": ["update"]})
    rules.append(
        {
            "apiGroups": ["networking.k8s.io"],
            "resources": ["ingresses/status"],
            "verbs": ["update"],
        }
    )
    named = {"metadata": {"name": account}}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account}
    ingress_class = {
        "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    }
    return [
        (f"/api/v1/namespaces/{namespace}/serviceaccounts", named),
        (f"{role_path}/clusterroles", {**named, "rules": rules}),
        (f"{role_path}/clusterrolebindings", {**named, "subjects": [subject], "roleRef": role}),
        ("/apis/networking.k8s.io/v1/ingressclasses", ingress_class),
    ]


def gateway_objects(namespace: str, name: str, port: int) -> list[tuple[str, dict[str, Any]]]:
    """A Gateway that Traefik serves at its entry point, for routes of every namespace."""
    root = f"/apis/{GATEWAY_GROUP}/v1"
    gateway_class = {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "traefik"},
        "spec": {"controllerName": "traefik.io/gateway-controller"},
    }
    listener = {
        "name": "web",
        "protocol": "HTTP",
        # Traefik finds the entry point of a listener by its port.
        "port": port,
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    gateway = {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
    }
    return [
        (f"{root}/gatewayclasses", gateway_class),
        (f"{root}/namespaces/{namespace}/gateways", gateway),
    ]


def token_request(seconds: int) -> dict[str, Any]:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
