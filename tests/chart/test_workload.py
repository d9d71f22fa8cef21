"""The Deployment and what stands around it: restricted pod security, probes, upgrades, disruption."""

import pytest

from tests.chart.chart import CLUSTER, PROFILES, render, values_file

pytestmark = pytest.mark.cluster
# Of the Pod Security Standards, profile "restricted".
ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def pod(objects) -> dict:
    return objects.one("Deployment")["spec"]["template"]["spec"]


def container(objects) -> dict:
    [only] = pod(objects)["containers"]
    return only


def renders(*flags: str):
    return render(*CLUSTER, *(part for flag in flags for part in ("--set", flag)))


@pytest.mark.parametrize("profile", PROFILES)
class TestRestrictedPodSecurity:
    def test_the_pod_shares_nothing_with_the_node(self, profile):
        spec = pod(render(*values_file(profile)))
        assert {} == {
            key: spec[key] for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)
        }
        assert [] == [
            p for p in container(render(*values_file(profile)))["ports"] if "hostPort" in p
        ]
        types = {key for volume in spec["volumes"] for key in volume if key != "name"}
        assert set() == types - ALLOWED_VOLUMES

    def test_nothing_runs_as_root_or_gains_rights(self, profile):
        objects = render(*values_file(profile))
        assert True is pod(objects)["securityContext"]["runAsNonRoot"]
        assert {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == container(objects)["securityContext"]

    def test_system_calls_are_filtered(self, profile):
        context = pod(render(*values_file(profile)))["securityContext"]
        assert {"type": "RuntimeDefault"} == context["seccompProfile"]
        assert set() == context.keys() & {"sysctls", "seLinuxOptions", "windowsOptions"}

    def test_only_tmp_can_be_written_and_it_is_bounded_memory(self, profile):
        objects = render(*values_file(profile))
        writable = [m for m in container(objects)["volumeMounts"] if not m.get("readOnly")]
        assert [{"name": "tmp", "mountPath": "/tmp"}] == writable
        [tmp] = [v for v in pod(objects)["volumes"] if v["name"] == "tmp"]
        assert {"medium": "Memory", "sizeLimit": "32Mi"} == tmp["emptyDir"]


def test_the_user_is_a_number_so_that_the_kubelet_can_check_it():
    context = pod(renders())["securityContext"]
    assert [65532, 65532, 65532] == [context[k] for k in ("runAsUser", "runAsGroup", "fsGroup")]


def test_the_platform_may_choose_the_user():
    context = pod(renders("openshift=true"))["securityContext"]
    assert {"runAsNonRoot", "seccompProfile"} == context.keys()


def test_only_the_daemons_own_pod_gets_the_token():
    objects = renders()
    assert False is objects.one("ServiceAccount")["automountServiceAccountToken"]
    assert True is pod(objects)["automountServiceAccountToken"]
    assert objects.one("ServiceAccount")["metadata"]["name"] == pod(objects)["serviceAccountName"]


def test_the_daemon_is_started_with_the_mounted_settings():
    objects = renders("extraArgs={--dry-run}")
    assert ["run", "--config", "/etc/canaryd/config.yaml", "--dry-run"] == container(objects)[
        "args"
    ]
    assert {"name": "config", "mountPath": "/etc/canaryd", "readOnly": True} in (
        container(objects)["volumeMounts"]
    )
    [volume] = [v for v in pod(objects)["volumes"] if v["name"] == "config"]
    assert objects.one("ConfigMap")["metadata"]["name"] == volume["configMap"]["name"]
    assert ["config.yaml"] == list(objects.one("ConfigMap")["data"])


def test_probes_ask_over_http_on_the_port_of_the_settings():
    objects = renders("server.port=9090")
    one = container(objects)
    assert {
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "startupProbe": {"path": "/healthz", "port": "http"},
    } == {k: one[k]["httpGet"] for k in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert [{"name": "http", "containerPort": 9090, "protocol": "TCP"}] == one["ports"]
    assert 9090 == objects.settings()["server"]["port"]


def test_the_service_leads_to_that_port_and_selects_the_pods():
    objects = renders("service.port=80")
    spec = objects.one("Service")["spec"]
    assert [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}] == spec["ports"]
    labels = objects.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= labels.items()


def test_two_replicas_by_default_and_a_new_pod_is_warm_before_an_old_one_goes():
    spec = renders().one("Deployment")["spec"]
    assert 2 == spec["replicas"]
    assert {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    } == spec["strategy"]


def test_without_election_the_old_daemon_stops_before_the_new_one_starts():
    spec = renders("leaderElection.enabled=false", "replicas=1").one("Deployment")["spec"]
    assert {"type": "Recreate"} == spec["strategy"]


@pytest.mark.parametrize(("replicas", "budgets"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_there_is_a_disruption_budget_if_there_is_more_than_one_replica(replicas, budgets):
    assert budgets == len(renders(f"replicas={replicas}").of("PodDisruptionBudget"))


def test_a_daemon_that_is_not_ready_does_not_hold_up_a_drain():
    spec = renders().one("PodDisruptionBudget")["spec"]
    assert (1, "AlwaysAllow") == (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"])


def test_changed_settings_roll_the_pods_and_other_changes_do_not():
    def annotations(*flags: str) -> dict:
        return renders(*flags).one("Deployment")["spec"]["template"]["metadata"]["annotations"]

    assert annotations() != annotations("workers=8")
    assert annotations() == annotations("service.port=80")


def test_there_is_a_limit_of_memory_and_none_of_cpu():
    resources = container(renders())["resources"]
    assert {"memory": "512Mi"} == resources["limits"]
    assert {"cpu": "100m", "memory": "128Mi"} == resources["requests"]


def test_replicas_prefer_different_nodes_until_the_user_says_otherwise():
    assert ["podAntiAffinity"] == list(pod(renders())["affinity"])
    flags = "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1"
    assert ["podAffinity"] == list(pod(renders(flags))["affinity"])


@pytest.mark.parametrize(
    ("flags", "image"),
    [
        ((), "canaryd:0.1.0"),
        (("image.tag=edge",), "canaryd:edge"),
        (("image.registry=one.test",), "one.test/canaryd:0.1.0"),
        (("image.registry=one.test", "global.imageRegistry=all.test/"), "all.test/canaryd:0.1.0"),
        (("image.tag=edge", f"image.digest=sha256:{'a' * 64}"), f"canaryd@sha256:{'a' * 64}"),
    ],
)
def test_the_digest_wins_over_the_tag_and_the_shared_registry_over_the_own(flags, image):
    assert image == container(renders(*flags))["image"]


def test_pull_secrets_of_parent_and_chart_are_both_used_once():
    spec = pod(
        renders(
            "global.imagePullSecrets[0].name=a",
            "imagePullSecrets[0].name=a",
            "imagePullSecrets[1].name=b",
        )
    )
    assert [{"name": "a"}, {"name": "b"}] == spec["imagePullSecrets"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_object_carries_the_labels_of_the_release(profile):
    for o in render(*values_file(profile)):
        labels = o["metadata"]["labels"]
        assert ("canaryd", "canaryd", "Helm") == (
            labels["app.kubernetes.io/name"],
            labels["app.kubernetes.io/instance"],
            labels["app.kubernetes.io/managed-by"],
        )
        # No label by which the daemon would take an object of its own release for one of an app.
        assert set() == {key for key in labels if key.startswith("canaryd.io/")}
