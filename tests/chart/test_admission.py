"""What the chart installs at admission: to whom and to what it applies, and when it is there.

That it does what it says is shown where an API server runs, by ``tests/cluster/test_admission.py``.
"""

import re

import pytest
import yaml

from canaryd.core import names
from canaryd.core.annotations import ENABLED
from canaryd.core.commands import ACTION, NONCE, VALUE_CAP, CommandVerb, as_word
from canaryd.server.webhook import PATH
from tests.chart.chart import CLUSTER, NAMESPACES, POLICY_V1, POLICY_V1BETA1, render

pytestmark = pytest.mark.cluster
SELECTOR, REPLICAS, AUTHOR = "canaryd-keep-selector", "canaryd-keep-replicas", "canaryd-author"
EVERY = [SELECTOR, REPLICAS, AUTHOR]
USER = "system:serviceaccount:canaryd-system:canaryd"


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
    assert len(found) in {0, 6}
    return {o["apiVersion"].removeprefix("admissionregistration.k8s.io/") for o in found}


@pytest.mark.parametrize(
    ("keep", "kube", "apis", "wanted"),
    [
        ("auto", "1.36.0", (POLICY_V1, POLICY_V1BETA1), {"v1"}),
        ("auto", "1.34.0", (POLICY_V1BETA1,), {"v1beta1"}),
        ("auto", "1.34.0", (), set()),
        ("policy", "1.34.0", (), {"v1beta1"}),
        ("policy", "1.36.0", (), {"v1"}),
        ("off", "1.36.0", (POLICY_V1,), set()),
        ("webhook", "1.36.0", (POLICY_V1,), set()),
    ],
)
def test_they_are_installed_in_the_version_the_api_server_has(keep, kube, apis, wanted):
    assert wanted == versions("--set", f"admission.keep={keep}", kube=kube, apis=apis)


@pytest.mark.parametrize(
    ("flags", "apis", "wanted"),
    [
        (CLUSTER, (POLICY_V1,), "policy"),
        (CLUSTER, (POLICY_V1BETA1,), "policy"),
        (CLUSTER, (), "webhook"),
        (NAMESPACES, (POLICY_V1BETA1,), "policy"),
        # The webhook takes a right in the cluster, which a team's installation has to ask for.
        (NAMESPACES, (), "off"),
        ((*NAMESPACES, "--set", "admission.keep=webhook"), (), "webhook"),
        ((*CLUSTER, "--set", "admission.keep=off"), (), "off"),
    ],
)
def test_the_daemon_is_told_what_keeps_and_that_alone_is_installed(flags, apis, wanted):
    objects = render(*flags, apis=apis)
    assert wanted == objects.settings()["admission"]["keep"]
    kinds = {"policy": "MutatingAdmissionPolicy", "webhook": "MutatingWebhookConfiguration"}
    assert {kinds[wanted]} if wanted in kinds else set() == objects.kinds() & set(kinds.values())


def test_a_word_that_yaml_reads_as_a_boolean_means_the_same(tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text("admission:\n  keep: off\n  commands: on\n")
    assert yaml.safe_load(values.read_text())["admission"] == {"keep": False, "commands": True}
    told = render(*CLUSTER, "--values", str(values), kube="1.28.0").settings()["admission"]
    assert ("off", True) == (told["keep"], told["commands"])


@pytest.mark.parametrize("name", EVERY)
def test_a_fault_in_a_policy_blocks_nobody(name):
    assert "Ignore" == policies()[name]["failurePolicy"]


@pytest.mark.parametrize("name", EVERY)
def test_a_webhook_that_writes_later_does_not_have_the_last_word(name):
    assert "IfNeeded" == policies()[name]["reinvocationPolicy"]


SERVICES = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}
DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (SELECTOR, SERVICES | {"operations": ["UPDATE"]}),
        (REPLICAS, DEPLOYMENTS | {"operations": ["UPDATE"]}),
        (AUTHOR, DEPLOYMENTS | {"operations": ["CREATE", "UPDATE"]}),
    ],
)
def test_they_look_at_one_kind_and_not_at_its_subresources(name, rule):
    [only] = policies()[name]["matchConstraints"]["resourceRules"]
    assert rule == only


@pytest.mark.parametrize("name", EVERY)
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


def test_who_made_a_template_is_noted_in_the_annotation_that_the_daemon_reads():
    spec = policies()[AUTHOR]
    told = [v["expression"] for v in spec["variables"]]
    words = {
        w for text in (*told, expressions(spec)) for w in text.split("'") if "canaryd.io/" in w
    }
    assert {f"{names.PREFIX}{ENABLED}", names.MANAGED, names.AUTHOR} == words


# --- the webhook ---


def webhook(*flags: str) -> dict:
    flags = (*CLUSTER, "--set", "admission.keep=webhook", *flags)
    configuration = render(*flags).one("MutatingWebhookConfiguration")
    return {hook["name"]: hook for hook in configuration["webhooks"]}


HOOKS = {"services.keep.canaryd.io": SELECTOR, "deployments.keep.canaryd.io": AUTHOR}


def test_the_webhook_blocks_nobody_and_holds_nobody_up():
    for hook in webhook().values():
        assert ("Ignore", 2, "None") == (
            hook["failurePolicy"],
            hook["timeoutSeconds"],
            hook["sideEffects"],
        )
        assert "IfNeeded" == hook["reinvocationPolicy"]


@pytest.mark.parametrize(("hook", "policy"), HOOKS.items())
def test_the_webhook_is_asked_where_a_policy_would_look(hook, policy):
    asked, would = webhook()[hook], policies()[policy]
    [rule] = asked["rules"]
    [ruled] = would["matchConstraints"]["resourceRules"]
    assert ruled | {"scope": "Namespaced"} == rule
    conditions = {c["name"]: c["expression"] for c in would["matchConditions"]}
    assert {
        c["name"]: c["expression"] for c in asked["matchConditions"]
    }.items() <= conditions.items()
    selector = would["matchConstraints"].get("objectSelector")
    assert selector == asked.get("objectSelector")


def test_the_webhook_is_where_the_daemon_serves_it():
    objects = render(
        *CLUSTER, "--set", "admission.keep=webhook", "--set", "admission.webhook.port=9555"
    )
    told = objects.settings()["admission"]
    [hook, _] = objects.one("MutatingWebhookConfiguration")["webhooks"]
    [service] = [
        o for o in objects.of("Service") if o["metadata"]["name"] == told["webhook"]["name"]
    ]
    assert {
        "namespace": "canaryd-system",
        "name": service["metadata"]["name"],
        "path": PATH,
        "port": service["spec"]["ports"][0]["port"],
    } == hook["clientConfig"]["service"]
    pod = objects.one("Deployment")["spec"]["template"]
    [port] = [p for p in pod["spec"]["containers"][0]["ports"] if p["name"] == "webhook"]
    assert "webhook" == service["spec"]["ports"][0]["targetPort"]
    assert 9555 == port["containerPort"] == told["webhook"]["port"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_what_the_daemon_fills_is_rendered_empty():
    objects = render(*CLUSTER, "--set", "admission.keep=webhook")
    told = objects.settings()["admission"]["webhook"]
    secret = objects.one("Secret")
    assert (told["name"], "Opaque") == (secret["metadata"]["name"], secret["type"])
    assert set() == secret.keys() & {"data", "stringData"}
    configuration = objects.one("MutatingWebhookConfiguration")
    assert told["configuration"] == configuration["metadata"]["name"]
    assert all("caBundle" not in hook["clientConfig"] for hook in configuration["webhooks"])


def test_the_webhook_lets_the_daemon_pass_by_the_name_it_is_told():
    told = render(*CLUSTER, "--set", "admission.keep=webhook").settings()["admission"]
    assert USER == told["username"]
    for hook in webhook().values():
        written = [c["expression"] for c in hook["matchConditions"]]
        assert f"request.userInfo.username != '{USER}'" in written


def test_with_listed_namespaces_the_webhook_is_asked_nowhere_else():
    objects = render(*NAMESPACES, "--set", "admission.keep=webhook")
    for hook in objects.one("MutatingWebhookConfiguration")["webhooks"]:
        [where] = hook["namespaceSelector"]["matchExpressions"]
        assert ["shop", "shop-staging"] == where["values"]


# --- commands ---


def commands(*flags: str, **options) -> dict:
    return render(*CLUSTER, *flags, **options).one("ValidatingAdmissionPolicy")["spec"]


@pytest.mark.parametrize(
    ("value", "kube", "wanted"),
    [
        ("auto", "1.30.0", True),
        ("auto", "1.36.0", True),
        ("auto", "1.29.0", False),
        ("on", "1.29.0", True),
        ("off", "1.36.0", False),
    ],
)
def test_commands_are_held_to_RBAC_where_the_API_server_can(value, kube, wanted):
    objects = render(*CLUSTER, "--set", f"admission.commands={value}", kube=kube)
    assert wanted is objects.settings()["admission"]["commands"]
    kinds = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert (kinds if wanted else set()) == objects.kinds() & kinds


def test_what_cannot_be_judged_does_not_pass():
    objects = render(*CLUSTER)
    assert "Fail" == commands()["failurePolicy"]
    assert ["Deny"] == objects.one("ValidatingAdmissionPolicyBinding")["spec"]["validationActions"]


def test_every_verb_has_a_question_to_the_authorizer_of_its_own():
    asked = [v["expression"] for v in commands()["validations"] if "authorizer" in v["expression"]]
    # One expression may cost three of them at most.
    assert [1] * len(CommandVerb) == [expression.count("authorizer.") for expression in asked]
    assert {str(verb) for verb in CommandVerb} == {
        found for text in asked for found in re.findall(r"check\('(\w+)'\)", text)
    }


def test_the_policy_and_the_daemon_agree_on_what_a_command_is():
    told = "\n".join(v["expression"] for v in commands()["validations"])
    verbs = "|".join(CommandVerb)
    assert f"^{ACTION}({verbs})[.]{NONCE}$" in told
    assert f".size() <= {VALUE_CAP}" in told
    [writer] = [v["expression"] for v in commands()["variables"] if v["name"] == "writer"]
    # The same replacements in the same order as in ``as_word``.
    assert "request.userInfo.username.replace('%', '%25').replace(' ', '%20')" == writer
    assert "a%2520b%20c" == as_word("a%20b c")


def test_every_message_fits_a_line():
    # The API server throws away what does not.
    for validation in commands()["validations"]:
        assert "\n" not in validation["message"]
        assert "\n" not in validation.get("messageExpression", "")


def test_the_daemon_and_who_collects_garbage_are_let_through():
    conditions = [c["expression"] for c in commands()["matchConditions"]]
    assert f"request.userInfo.username != '{USER}'" in conditions
    assert any("generic-garbage-collector" in text for text in conditions)


def test_commands_are_held_to_RBAC_in_the_listed_namespaces_alone():
    binding = render(*NAMESPACES).one("ValidatingAdmissionPolicyBinding")
    [where] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert ["shop", "shop-staging"] == where["values"]
