"""Rights: what each scope and each switch renders, and what is never rendered."""

import pytest

from canaryd.core.commands import CommandVerb
from tests.chart.chart import CLUSTER, NAMESPACES, PROFILES, ROOT, Objects, render, values_file
from tests.chart.scripts import load_script

table = load_script("generate_rbac_table")
ALL_ON = ("--set", "secrets.access=all,providers.smi.enabled=true,providers.gateway.enabled=true")
ALL_ON += ("--set", "autoscalers.keda.enabled=true")
FORBIDDEN = {"*", "escalate", "bind", "impersonate"}
LOOK, OPERATE = {"get", "list", "watch"}, {"pause", "resume", "promote", "abort", "retry"}
PEOPLE = {f"canaryd-{name}" for name in ("viewer", "operator", "approver", "admin")}
RULE = "# Why.\n- apiGroups: [apps]\n  resources: [deployments]\n  verbs: [get]\n"


def block(body: str) -> str:
    return f'{{{{- define "x" -}}}}\n{body}{{{{- end }}}}\n'


def resources(objects) -> set[str]:
    return {resource for rule in objects.rules() for resource in rule["resources"]}


def as_granted(rule) -> tuple:
    names = tuple(rule.get("resourceNames", ()))
    return tuple(rule["apiGroups"]), tuple(rule["resources"]), tuple(rule["verbs"]), names


def peoples_roles(objects) -> dict[str, set[str]]:
    named = {o["metadata"]["name"]: o for o in objects.of("ClusterRole")}
    return {name: set(named[name]["rules"][0]["verbs"]) for name in PEOPLE & named.keys()}


def aggregated(objects) -> dict[str, str]:
    mark = "rbac.authorization.k8s.io/aggregate-to-"
    return {
        label.removeprefix(mark): role["metadata"]["name"]
        for role in objects.of("ClusterRole")
        for label in role["metadata"]["labels"]
        if label.startswith(mark)
    }


@pytest.mark.cluster
@pytest.mark.parametrize("profile", PROFILES)
def test_no_rule_has_a_wildcard_or_a_verb_that_raises_rights(profile):
    for rule in render(*values_file(profile)).rules():
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert set() == words & FORBIDDEN
        assert "nonResourceURLs" not in rule


@pytest.mark.cluster
@pytest.mark.parametrize("profile", PROFILES)
def test_no_rule_is_about_pods_or_rights(profile):
    granted = resources(render(*values_file(profile)))
    assert set() == {r for r in granted if r.startswith(("pods", "role", "clusterrole", "node"))}


@pytest.mark.cluster
class TestClusterScope:
    def test_there_is_one_cluster_role_and_the_daemon_is_bound_to_it(self):
        objects = render(*CLUSTER)
        binding = objects.one("ClusterRoleBinding")
        assert {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "canaryd",
        } == binding["roleRef"]
        assert [
            {"kind": "ServiceAccount", "name": "canaryd", "namespace": "canaryd-system"}
        ] == binding["subjects"]

    def test_namespaces_may_be_read_but_not_written(self):
        [rule] = [r for r in render(*CLUSTER).rules() if r["resources"] == ["namespaces"]]
        assert ["get", "list", "watch"] == rule["verbs"]

    def test_there_is_a_whole_role_for_each_kind_of_person(self):
        assert {
            "canaryd-viewer": LOOK,
            "canaryd-operator": LOOK | {"patch"} | OPERATE,
            "canaryd-approver": LOOK | {"patch", "approve"},
            "canaryd-admin": LOOK | {"patch", "approve", "skip", "undo"} | OPERATE,
        } == peoples_roles(render(*CLUSTER))

    def test_every_command_is_somebodys_and_none_is_unknown(self):
        granted = set().union(*peoples_roles(render(*CLUSTER)).values())
        assert {str(verb) for verb in CommandVerb} == granted - LOOK - {"patch"}

    def test_people_change_canaries_and_nothing_else(self):
        for role in render(*CLUSTER).of("ClusterRole"):
            if role["metadata"]["name"] in PEOPLE:
                [rule] = role["rules"]
                assert (["canaryd.io"], ["canaries"]) == (rule["apiGroups"], rule["resources"])

    def test_without_the_policy_on_commands_only_admins_may_write(self):
        # There ``patch`` would give every command, in every name.
        roles = peoples_roles(render(*CLUSTER, "--set", "admission.commands=off"))
        assert {"canaryd-admin"} == {name for name, verbs in roles.items() if "patch" in verbs}

    def test_they_are_added_to_the_roles_that_every_cluster_has(self):
        assert {
            "view": "canaryd-viewer",
            "edit": "canaryd-operator",
            "admin": "canaryd-admin",
        } == aggregated(render(*CLUSTER))

    @pytest.mark.parametrize("role", ["view", "edit", "admin"])
    def test_each_can_be_kept_out_of_them_and_is_there_all_the_same(self, role):
        objects = render(*CLUSTER, "--set", f"rbac.aggregate.{role}=false")
        assert role not in aggregated(objects)
        assert PEOPLE == set(peoples_roles(objects))


@pytest.mark.cluster
class TestListedNamespaces:
    def test_there_is_no_cluster_role_and_no_cluster_role_binding(self):
        assert set() == render(*NAMESPACES).kinds() & {"ClusterRole", "ClusterRoleBinding"}

    def test_each_listed_namespace_has_a_role_bound_to_the_daemon_and_no_other_has(self):
        objects = render(*NAMESPACES)
        for kind in ("Role", "RoleBinding"):
            places = [o["metadata"]["namespace"] for o in objects.of(kind)]
            assert ["canaryd-system", "shop", "shop-staging"] == sorted(places)
        for binding in objects.of("RoleBinding"):
            assert [
                {"kind": "ServiceAccount", "name": "canaryd", "namespace": "canaryd-system"}
            ] == binding["subjects"]
            assert "Role" == binding["roleRef"]["kind"]

    def test_the_role_grants_what_the_cluster_role_grants_but_for_namespaces(self):
        granted = {as_granted(r) for r in render(*NAMESPACES).rules()}
        in_cluster = {
            as_granted(r)
            for o in render(*CLUSTER).of("ClusterRole", "Role")
            if o["metadata"]["name"] not in PEOPLE
            for r in o["rules"]
        }
        assert {((("",)), ("namespaces",), ("get", "list", "watch"), ())} == in_cluster - granted
        assert set() == granted - in_cluster

    def test_releases_in_two_namespaces_share_no_name(self):
        one = render(*NAMESPACES)
        names = {o["metadata"]["name"] for o in one if "namespace" not in o["metadata"]}
        assert {
            "canaries.canaryd.io",
            "canaryd.canaryd-system-keep-selector",
            "canaryd.canaryd-system-keep-replicas",
            "canaryd.canaryd-system-author",
            "canaryd.canaryd-system-commands",
        } == names

    def test_the_webhook_alone_takes_a_right_in_the_cluster_and_on_one_object(self):
        objects = render(*NAMESPACES, "--set", "admission.keep=webhook")
        [rule] = objects.one("ClusterRole")["rules"]
        name = objects.one("MutatingWebhookConfiguration")["metadata"]["name"]
        assert {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": [name],
            "verbs": ["get", "patch"],
        } == rule


@pytest.mark.cluster
class TestSwitches:
    def test_the_webhook_takes_a_right_on_one_secret_where_the_release_is(self):
        objects = render(*CLUSTER, "--set", "admission.keep=webhook")
        [role] = [o for o in objects.of("Role") if "secrets" in resources(Objects([o]))]
        [rule] = role["rules"]
        assert "canaryd-system" == role["metadata"]["namespace"]
        assert ["canaryd-webhook"] == rule["resourceNames"]
        assert ["get", "patch"] == rule["verbs"]
        assert "secrets" not in resources(render(*CLUSTER, "--set", "admission.keep=policy"))

    def test_without_the_nginx_provider_there_is_no_rule_about_ingresses(self):
        assert "ingresses" in resources(render(*CLUSTER))
        assert "ingresses" not in resources(
            render(*CLUSTER, "--set", "providers.nginx.enabled=false")
        )

    def test_splits_are_not_granted_until_the_smi_provider_is_asked_for(self):
        assert "trafficsplits" not in resources(render(*CLUSTER))
        [rule] = [
            r for r in render(*CLUSTER, *ALL_ON).rules() if r["resources"] == ["trafficsplits"]
        ]
        assert ["list", "watch", "create", "patch", "delete"] == rule["verbs"]

    def test_routes_are_not_granted_until_the_gateway_provider_is_asked_for_and_never_made(self):
        assert "httproutes" not in resources(render(*CLUSTER))
        enabled = ("--set", "providers.gateway.enabled=true")
        [rule] = [r for r in render(*CLUSTER, *enabled).rules() if r["resources"] == ["httproutes"]]
        assert ["get", "list", "watch", "patch"] == rule["verbs"]

    def test_scaled_objects_are_not_granted_until_they_are_to_be_looked_after(self):
        assert "scaledobjects" not in resources(render(*CLUSTER))
        enabled = ("--set", "autoscalers.keda.enabled=true")
        [rule] = [
            r for r in render(*CLUSTER, *enabled).rules() if r["resources"] == ["scaledobjects"]
        ]
        assert ["get", "list", "watch", "create", "patch", "delete"] == rule["verbs"]

    def test_secrets_are_not_granted_until_they_are_asked_for(self):
        assert "secrets" not in resources(render(*CLUSTER))
        [rule] = [r for r in render(*CLUSTER, *ALL_ON).rules() if r["resources"] == ["secrets"]]
        assert ["get", "list", "watch", "create", "patch", "delete"] == rule["verbs"]

    def test_without_election_there_is_no_rule_about_leases(self):
        objects = render(*CLUSTER, "--set", "leaderElection.enabled=false,replicas=1")
        assert "leases" not in resources(objects)

    def test_rights_can_be_granted_elsewhere(self):
        objects = render(*CLUSTER, "--set", "rbac.create=false")
        assert set() == objects.kinds() & {
            "Role",
            "RoleBinding",
            "ClusterRole",
            "ClusterRoleBinding",
        }


@pytest.mark.cluster
def test_only_its_own_lease_can_be_changed():
    objects = render(*CLUSTER, "--set", "leaderElection.name=blue,leaderElection.namespace=leases")
    [role] = objects.of("Role")
    assert "leases" == role["metadata"]["namespace"]
    assert [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["blue"],
            "verbs": ["get", "update", "patch"],
        },
    ] == role["rules"]


@pytest.mark.cluster
def test_the_page_lists_every_rule_that_is_rendered_and_no_other():
    template = (table.TEMPLATES / "_rules.tpl").read_text()
    listed = {
        as_granted(entry.rule)
        for name, _, _ in table.SECTIONS
        for entry in table.read_rules(template, name)
    }
    shown = {
        ("canaryd",): ("`leaderElection.name`",),
        ("releases",): ("`<release>`",),
        ("releases-webhook",): ("`<release>-webhook`",),
    }
    flags = ("--set", "admission.keep=webhook,fullnameOverride=releases")
    rendered = {
        tuple(shown.get(part, part) for part in as_granted(rule))
        for role in render(*CLUSTER, *ALL_ON, *flags).of("ClusterRole", "Role")
        if role["metadata"]["name"].replace("releases", "canaryd") not in PEOPLE
        for rule in role["rules"]
    }
    assert rendered == listed


class TestPage:
    @pytest.mark.cluster
    def test_it_says_which_role_gives_people_which_verbs(self):
        rows = [
            [cell.strip(" `") for cell in line.split("|")[1:-1]]
            for line in table.render().splitlines()
            if line.startswith("| `<release>-")
        ]
        told = {row[0].replace("<release>", "canaryd"): set(row[2].split(", ")) for row in rows}
        roles = peoples_roles(render(*CLUSTER))
        assert roles == told

    def test_it_says_upon_which_value_a_rule_depends(self):
        template = block('{{- if eq .Values.secrets.access "all" }}\n' + RULE + "{{- end }}\n")
        [rule] = table.read_rules(template, "x")
        assert (("`secrets.access=all`",), "Why.") == (rule.conditions, rule.reason)

    def test_a_rule_after_the_end_of_a_condition_does_not_depend_on_it(self):
        template = block("{{- if .Values.a.b }}\n" + RULE + "{{- end }}\n" + RULE)
        assert [("`a.b`",), ()] == [r.conditions for r in table.read_rules(template, "x")]

    def test_a_rule_without_a_reason_is_an_error(self):
        with pytest.raises(table.RuleError, match="no comment with its reason"):
            list(table.read_rules(block(RULE.removeprefix("# Why.\n")), "x"))

    def test_a_condition_it_cannot_explain_is_an_error(self):
        template = block("{{- if not .Values.a }}\n" + RULE + "{{- end }}\n")
        with pytest.raises(table.RuleError, match="cannot explain the condition"):
            list(table.read_rules(template, "x"))

    def test_it_stands_among_the_references(self):
        assert ROOT / "docs" / "reference" / "rbac.md" == table.PAGE
