"""The policies that keep what canaryd set: to whom and to what they apply, and when they are installed.

That they keep it is shown where an API server runs, by the cluster tests.
"""

import pytest
import yaml

from canaryd.core import names
from tests.chart.chart import CLUSTER, NAMESPACES, POLICY_V1, POLICY_V1BETA1, render

pytestmark = pytest.mark.cluster
SELECTOR, REPLICAS = "canaryd-keep-selector", "canaryd-keep-replicas"


def policies(*flags: str, **options) -> dict:
    return {
        o["metadata"]["name"]: o["spec"]
        for o in render(*CLUSTER, *flags, **options).of("MutatingAdmissionPolicy")
    }


def expressions(spec) -> str:
    mutations = [m["jsonPatch"]["expression"] for m in spec["mutations"]]
    return "\n".join([*(c["expression"] for c in spec["matchConditions"]), *mutations])


def versions(*flags: str, **options) -> set[str]:
    kinds = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
    found = render(*CLUSTER, *flags, **options).of(*kinds)
    assert len(found) in {0, 4}
    return {o["apiVersion"].removeprefix("admissionregistration.k8s.io/") for o in found}


@pytest.mark.parametrize(
    ("keep", "kube", "apis", "wanted"),
    [
        ("auto", "1.36.0", (POLICY_V1, POLICY_V1BETA1), {"v1"}),
        ("auto", "1.34.0", (POLICY_V1BETA1,), {"v1beta1"}),
        ("auto", "1.34.0", (), set()),
        ("on", "1.34.0", (), {"v1beta1"}),
        ("on", "1.36.0", (), {"v1"}),
        ("off", "1.36.0", (POLICY_V1,), set()),
    ],
)
def test_they_are_installed_in_the_version_the_api_server_has(keep, kube, apis, wanted):
    assert wanted == versions("--set", f"admission.keep={keep}", kube=kube, apis=apis)


@pytest.mark.parametrize(("unquoted", "wanted"), [("on", {"v1beta1"}), ("off", set())])
def test_a_word_that_yaml_reads_as_a_boolean_means_the_same(unquoted, wanted, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(f"admission:\n  keep: {unquoted}\n")
    assert isinstance(yaml.safe_load(values.read_text())["admission"]["keep"], bool)
    assert wanted == versions("--values", str(values))


@pytest.mark.parametrize("name", [SELECTOR, REPLICAS])
def test_a_fault_in_a_policy_blocks_nobody(name):
    assert "Ignore" == policies()[name]["failurePolicy"]


@pytest.mark.parametrize("name", [SELECTOR, REPLICAS])
def test_a_webhook_that_writes_later_does_not_have_the_last_word(name):
    assert "IfNeeded" == policies()[name]["reinvocationPolicy"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (SELECTOR, {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}),
        (REPLICAS, {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}),
    ],
)
def test_they_look_at_updates_of_one_kind_and_not_at_its_subresources(name, rule):
    [only] = policies()[name]["matchConstraints"]["resourceRules"]
    assert rule | {"operations": ["UPDATE"]} == only


@pytest.mark.parametrize("name", [SELECTOR, REPLICAS])
def test_the_daemon_writes_what_it_likes(name):
    flags = ("--set", "serviceAccount.name=releaser")
    [condition] = [
        c["expression"]
        for c in policies(*flags)[name]["matchConditions"]
        if c["name"] == "writer-is-not-canaryd"
    ]
    user = "system:serviceaccount:canaryd-system:releaser"
    assert f"request.userInfo.username != '{user}'" == condition


def test_the_selector_is_kept_on_services_that_are_marked_as_apex():
    spec = policies()[SELECTOR]
    [mark] = spec["matchConstraints"]["objectSelector"]["matchExpressions"]
    assert {"key": names.LABEL_APEX, "operator": "Exists"} == mark
    assert f"'{names.LABEL_APEX}' in oldObject.metadata.labels" in expressions(spec)
    assert 'path: "/spec/selector"' in expressions(spec)


def test_the_replicas_are_kept_on_deployments_that_are_marked_as_targets():
    spec = policies()[REPLICAS]
    assert f"oldObject.metadata.annotations['{names.MANAGED}'] == 'true'" in expressions(spec)
    assert 'path: "/spec/replicas"' in expressions(spec)


def test_controllers_of_the_cluster_may_set_replicas():
    conditions = [c["expression"] for c in policies()[REPLICAS]["matchConditions"]]
    assert "!('system:serviceaccounts:kube-system' in request.userInfo.groups)" in conditions


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        (SELECTOR, {names.LABEL_APEX, names.LABEL_TARGET, names.ORIGINAL_SELECTOR}),
        (REPLICAS, {names.LABEL_TARGET, names.MANAGED}),
    ],
)
def test_the_marks_are_kept_and_nothing_that_users_write(name, marks):
    mutations = "\n".join(m["jsonPatch"]["expression"] for m in policies()[name]["mutations"])
    assert marks == {word for word in mutations.split("'") if "canaryd.io/" in word}
    assert f"{names.PREFIX}enabled" not in mutations


def test_with_listed_namespaces_they_hold_nowhere_else():
    for binding in render(*NAMESPACES).of("MutatingAdmissionPolicyBinding"):
        [where] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": ["shop", "shop-staging"],
        } == where


def test_with_the_whole_cluster_they_hold_everywhere():
    for binding in render(*CLUSTER).of("MutatingAdmissionPolicyBinding"):
        assert {"policyName": binding["metadata"]["name"]} == binding["spec"]
