"""What the API server fills in: the defaults of Kubernetes 1.34 that reach a stored object.

They matter because a client that compares what it sent with what it reads back must not see a difference of its own making.
"""

import base64
from collections.abc import Callable
from typing import Any

from tests.fakes.apiserver import httproutes

Manifest = dict[str, Any]

POD_DEFAULTS: Manifest = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
CONTAINER_DEFAULTS: Manifest = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
PROBE_DEFAULTS: Manifest = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def fill_defaults(plural: str, obj: Manifest) -> None:
    """Complete an object in place."""
    filler = _FILLERS.get(plural)
    if filler is not None:
        filler(obj)


def fill_pod_template(template: Manifest) -> None:
    """Complete a pod template in place."""
    spec = template.setdefault("spec", {})
    _fill(spec, POD_DEFAULTS)
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            _fill_container(container)
    for volume in spec.get("volumes") or ():
        _fill_volume(volume)


def _fill(target: Manifest, defaults: Manifest) -> None:
    for key, value in defaults.items():
        if key not in target:
            target[key] = {} if value == {} else value


def _fill_container(container: Manifest) -> None:
    _fill(container, CONTAINER_DEFAULTS)
    image = str(container.get("image", "")).rpartition("/")[2]
    _, tagged, tag = image.partition(":")
    floating = "@" not in image and (not tagged or tag == "latest")
    container.setdefault("imagePullPolicy", "Always" if floating else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for name in PROBES:
        if probe := container.get(name):
            _fill(probe, PROBE_DEFAULTS)
            if "httpGet" in probe:
                probe["httpGet"].setdefault("scheme", "HTTP")
    for variable in container.get("env") or ():
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            field.setdefault("apiVersion", "v1")


def _fill_volume(volume: Manifest) -> None:
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", 420)


def _deployment(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    fill_pod_template(spec.setdefault("template", {}))
    obj.setdefault("status", {})


def _replica_set(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    fill_pod_template(spec.setdefault("template", {}))
    obj.setdefault("status", {"replicas": 0})


def _ingress(obj: Manifest) -> None:
    obj.setdefault("status", {"loadBalancer": {}})


def _disruption_budget(obj: Manifest) -> None:
    keys = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    obj.setdefault("status", dict.fromkeys(keys, 0))


def _service(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec.get("clusterIP"):
            spec.setdefault("clusterIPs", [spec["clusterIP"]])
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _secret(obj: Manifest) -> None:
    obj.setdefault("type", "Opaque")
    if text := obj.pop("stringData", None):
        data = obj.setdefault("data", {})
        data.update({k: base64.b64encode(v.encode()).decode() for k, v in text.items()})


def _autoscaler(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        spec["metrics"] = [{"type": "Resource", "resource": cpu}]
    obj.setdefault("status", {"desiredReplicas": 0, "currentMetrics": None})


def _network_policy(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _namespace(obj: Manifest) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _endpoint_slice(obj: Manifest) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


_FILLERS: dict[str, Callable[[Manifest], None]] = {
    "deployments": _deployment,
    "replicasets": _replica_set,
    "ingresses": _ingress,
    "poddisruptionbudgets": _disruption_budget,
    "services": _service,
    "secrets": _secret,
    "horizontalpodautoscalers": _autoscaler,
    "networkpolicies": _network_policy,
    "namespaces": _namespace,
    "endpointslices": _endpoint_slice,
    "httproutes": httproutes.fill,
}
