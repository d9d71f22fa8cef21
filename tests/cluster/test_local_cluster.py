"""Proves the cluster itself: what every other cluster test takes for granted."""

import http.client
import json
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import manifests
from tests.cluster.local.client import Cluster
from tests.cluster.local.cluster import LocalCluster
from tests.cluster.local.commands import run
from tests.cluster.local.errors import CommandFailed

pytestmark = pytest.mark.cluster


def ask(url: str, host: str) -> tuple[int, dict[str, Any]]:
    """Send one request to the ingress under a host's name."""
    place = urllib.parse.urlsplit(url).netloc
    connection = http.client.HTTPConnection(place, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(content) if answer.status == 200 else {}


def query(cluster: Cluster, expression: str) -> dict[str, float]:
    """Ask Prometheus; return the value of each Traefik service."""
    asked = urllib.parse.urlencode({"query": expression})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{cluster.prometheus_url}/api/v1/query?{asked}", timeout=5) as answer:
        result = json.load(answer)["data"]["result"]
    return {one["metric"]["service"]: float(one["value"][1]) for one in result}


def test_traffic_is_split_by_weight_and_counted_for_each_side(
    cluster: Cluster, namespace: str
) -> None:
    host = f"{namespace}.test"
    cluster.apply(
        [
            manifests.podinfo("stable", replicas=2),
            manifests.service("stable"),
            manifests.ingress("app", host=host, backend="stable"),
        ],
        namespace=namespace,
    )
    cluster.wait_for_rollout("stable", namespace=namespace)
    cluster.wait_for("200 from the ingress", lambda: ask(cluster.ingress_url, host)[0] == 200)

    cluster.apply(
        [
            manifests.podinfo("new", image="podinfo:good-2"),
            manifests.service("new"),
        ],
        namespace=namespace,
    )
    cluster.wait_for_rollout("new", namespace=namespace)
    cluster.apply(
        [manifests.canary_ingress("app-canary", host=host, backend="new", weight=30)],
        namespace=namespace,
    )
    cluster.wait_for(
        "an answer of the canary",
        lambda: ask(cluster.ingress_url, host)[1].get("message") == "new",
    )
    said = Counter(ask(cluster.ingress_url, host)[1]["message"] for _ in range(100))

    assert {"stable", "new"} == set(said)
    assert 20 <= said["new"] <= 40
    counted = cluster.wait_for(
        "both sides in Prometheus",
        lambda: both(query(cluster, requests_of(namespace))),
    )
    assert all(value > 0 for value in counted.values())


def requests_of(namespace: str) -> str:
    return f'sum by (service) (traefik_service_requests_total{{service=~"{namespace}-.*"}})'


def both(counted: dict[str, float]) -> dict[str, float] | None:
    # The canary's series carries a suffix on the main Ingress's name.
    sides = {"-canary@" in name for name in counted}
    return counted if sides == {True, False} else None


def test_an_account_may_do_what_its_role_says_and_no_more(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    cluster.kubectl(
        *("create", "rolebinding", "reader", "--clusterrole=view", "-n", namespace),
        f"--serviceaccount={namespace}:reader",
    )
    path = cluster.token_kubeconfig(namespace, "reader", tmp_path / "reader.kubeconfig")
    kubectl = [str(cluster.kubectl_path), f"--kubeconfig={path}"]

    me = json.loads(run([*kubectl, "auth", "whoami", "-o", "json"]))

    assert f"system:serviceaccount:{namespace}:reader" == me["status"]["userInfo"]["username"]
    assert "items" in json.loads(run([*kubectl, "get", "pods", "-o", "json"]))
    with pytest.raises(CommandFailed, match="forbidden"):
        run([*kubectl, "get", "nodes"])


def test_every_request_leaves_a_line_in_the_audit_log(cluster: Cluster, namespace: str) -> None:
    if not isinstance(cluster, LocalCluster):
        pytest.skip("the audit log of an external cluster is not at hand")
    cluster.kubectl("get", "configmaps", "-n", namespace)

    lines = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
    wanted = {"verb": "list", "user": "admin", "resource": "configmaps", "namespace": namespace}

    assert wanted in [
        {
            "verb": line["verb"],
            "user": line["user"]["username"],
            "resource": line.get("objectRef", {}).get("resource"),
            "namespace": line.get("objectRef", {}).get("namespace"),
        }
        for line in lines
    ]


def test_a_service_address_answers_and_nothing_leaves_when_it_has_no_pods(
    cluster: Cluster, namespace: str
) -> None:
    if not cluster.is_local:
        pytest.skip("the addresses of an external cluster may not be reachable from here")
    cluster.apply([manifests.podinfo("one"), manifests.service("one")], namespace=namespace)
    cluster.wait_for_rollout("one", namespace=namespace)
    address = cluster.get("service", "one", "-n", namespace)["spec"]["clusterIP"]
    cluster.wait_for("the Service", lambda: ask(f"http://{address}", "any")[0] == 200)
    cluster.kubectl("scale", "deployment/one", "--replicas=0", "-n", namespace)

    def is_refused() -> bool:
        try:
            ask(f"http://{address}", "any")
        except ConnectionRefusedError:
            return True
        return False

    cluster.wait_for("a refusal", is_refused)


def test_a_restarted_api_server_keeps_objects_and_tokens(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    if not cluster.is_local:
        pytest.skip("an external cluster's API server is not ours to restart")
    path = cluster.token_kubeconfig(namespace, "default", tmp_path / "kubeconfig")

    cluster.restart_apiserver()

    assert namespace == cluster.get("namespace", namespace)["metadata"]["name"]
    kubectl = [str(cluster.kubectl_path), f"--kubeconfig={path}"]
    assert "status" in json.loads(run([*kubectl, "auth", "whoami", "-o", "json"]))


def test_a_paused_api_server_answers_nothing_until_it_is_resumed(
    cluster: Cluster, namespace: str
) -> None:
    if not cluster.is_local:
        pytest.skip("an external cluster's API server is not ours to pause")
    cluster.pause_process("kube-apiserver")
    try:
        with pytest.raises(CommandFailed, match="did not end"):
            cluster.kubectl("get", "namespace", namespace, timeout_s=1)
    finally:
        cluster.resume_process("kube-apiserver")

    assert namespace == cluster.get("namespace", namespace)["metadata"]["name"]
