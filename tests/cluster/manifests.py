"""Builders of the objects that cluster tests deploy: podinfo, its Service and its Ingress.

Plain objects as `Cluster.apply` takes them, small enough to read in a failing test.
Images are the ones the local cluster imports, so nothing is ever pulled.
"""

from typing import Any

PORT = 9898


def podinfo(
    name: str,
    *,
    message: str = "",
    image: str = "podinfo:6.9.2",
    replicas: int = 1,
    args: tuple[str, ...] = (),
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A Deployment of podinfo that says `message` at `/`; `args` can make it slow or wrong."""
    container = {
        "name": "podinfo",
        "image": image,
        "imagePullPolicy": "Never",
        "ports": [{"name": "http", "containerPort": PORT}],
        "args": ["--level=error", *args],
        "env": [{"name": "PODINFO_UI_MESSAGE", "value": message or name}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                # Without a cluster DNS, the default policy would be an event per pod.
                "spec": {"dnsPolicy": "Default", "containers": [container]},
            },
        },
    }


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
        },
    }


def ingress(
    name: str, *, host: str, backend: str, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    target = {"service": {"name": backend, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": target}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": host, "http": {"paths": [path]}}],
        },
    }


def canary_ingress(name: str, *, host: str, backend: str, weight: int) -> dict[str, Any]:
    """The second Ingress of a host, which ingress-nginx's annotations call the canary."""
    prefix = "nginx.ingress.kubernetes.io"
    annotations = {f"{prefix}/canary": "true", f"{prefix}/canary-weight": str(weight)}
    return ingress(name, host=host, backend=backend, annotations=annotations)
