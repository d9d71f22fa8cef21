"""Values: what is refused, what is generated from their comments, and that none is there in vain."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from canaryd import __version__
from tests.chart.chart import CHART, CLUSTER, NAMESPACES, ROOT, refusal, render
from tests.chart.scripts import load_script

schema = load_script("generate_schema")
VALUES = (CHART / "values.yaml").read_text()


def every_object(node, path=()):
    """Every schema of an object, with its path."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield ".".join(path), node
        for key, below in node.items():
            yield from every_object(below, (*path, key))


def template_references() -> set[str]:
    texts = (p.read_text() for p in (CHART / "templates").iterdir())
    return {found for text in texts for found in re.findall(r"\.Values\.([A-Za-z0-9_.]*\w)", text)}


@pytest.mark.parametrize("script", ["generate_schema.py", "generate_rbac_table.py"])
def test_what_is_generated_is_current(script):
    command = [sys.executable, str(ROOT / "deploy" / "helm" / script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_every_value_is_read_by_a_template():
    used = template_references()
    in_vain = [
        leaf.name
        for leaf in schema.leaves(schema.read_values(VALUES))
        if not leaf.comment.unused and leaf.name not in used
    ]
    assert [] == in_vain


def test_every_reference_in_a_template_is_a_documented_value():
    documented = {leaf.name for leaf in schema.leaves(schema.read_values(VALUES))}
    assert set() == template_references() - documented


def test_a_value_that_no_template_reads_says_who_does():
    unused = [
        leaf.name for leaf in schema.leaves(schema.read_values(VALUES)) if leaf.comment.unused
    ]
    assert ["enabled"] == unused


def test_no_object_accepts_unknown_properties_but_those_that_kubernetes_or_a_parent_chart_defines():
    made = schema.make_schema(VALUES)
    open_ones = {path for path, s in every_object(made) if s.get("additionalProperties") is True}
    assert {
        "properties.global",
        "properties.affinity.properties.nodeAffinity",
        "properties.affinity.properties.podAffinity",
        "properties.affinity.properties.podAntiAffinity",
        "properties.extraEnv.items.properties.valueFrom",
    } == open_ones
    unsaid = [path for path, s in every_object(made) if "additionalProperties" not in s]
    assert [] == unsaid


def test_a_value_without_a_comment_is_an_error():
    with pytest.raises(schema.CommentError, match=r"^a\.b has no comment"):
        schema.make_schema("a:\n  # about b\n  b: 1\n")


def test_a_broken_schema_comment_is_an_error_that_names_the_value():
    with pytest.raises(schema.CommentError, match="@schema of a must be a mapping"):
        schema.make_schema("# -- A.\n# @schema minimum\na: 1\n")


def test_a_default_without_a_type_is_an_error():
    with pytest.raises(schema.CommentError, match="a has the default None"):
        schema.make_schema("# -- A.\na:\n")


def test_comments_become_schema_and_table():
    text = "# -- How many,\n# at most.\n# @schema {minimum: 1}\nmany: 2\n# -- Names | words.\nnames: []\n"
    assert {"minimum": 1, "type": "integer", "default": 2, "description": "How many, at most."} == (
        schema.make_schema(text)["properties"]["many"]
    )
    assert [
        "| value | default | meaning |",
        "|---|---|---|",
        "| `many` | `2` | How many, at most. |",
        "| `names` | `[]` | Names \\| words. |",
    ] == schema.make_table(text).splitlines()


def test_a_page_without_its_marks_is_an_error():
    with pytest.raises(schema.CommentError, match=r"README\.md needs the lines"):
        schema.insert_table("# Chart\n", "table")


def test_the_chart_has_the_version_of_the_package():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (__version__, __version__) == (chart["version"], chart["appVersion"])


def test_the_image_has_the_version_of_the_package():
    [version] = re.findall(
        r"^ARG VERSION=(.*)$", (ROOT / "Containerfile").read_text(), re.MULTILINE
    )
    assert __version__ == version


def test_every_profile_for_chart_testing_is_a_golden_one():
    profiles = {p.name.removesuffix("-values.yaml") for p in (CHART / "ci").iterdir()}
    golden = {p.stem for p in (Path(__file__).parent / "golden").iterdir()}
    assert profiles == golden


def overridable(value, given):
    """Paths of values that a profile does not set to something else."""
    for leaf in schema.leaves(value):
        below = given
        for part in leaf.path:
            below = below.get(part) if isinstance(below, dict) else None
        if below is None or below == leaf.default:
            yield leaf.name


def test_the_profile_called_everything_leaves_out_only_what_excludes_something_else():
    given = yaml.safe_load((CHART / "ci" / "everything-values.yaml").read_text())
    assert {
        "enabled",  # read by a parent chart
        "image.registry",  # global.imageRegistry wins
        "scope.namespaces",  # not in cluster mode
        "leaderElection.enabled",  # more than one replica
        "providers.nginx.enabled",  # the other nginx values would show nothing
        "providers.smi.dialect",  # there is no other
        "openshift",  # would hide the user ids
        "crds.install",
        "rbac.create",
        "rbac.aggregate.view",
        "rbac.aggregate.admin",
        "serviceAccount.create",
        "serviceAccount.name",
        "service.enabled",
        "podDisruptionBudget.enabled",
    } == set(overridable(schema.read_values(VALUES), given))


@pytest.mark.cluster
class TestHelmRefuses:
    @pytest.mark.parametrize(
        ("typo", "where"),
        [
            ("replica=2", "at ''"),
            ("leaderElection.enable=true", "at '/leaderElection'"),
            ("providers.nginx.dialekt=traefik", "at '/providers/nginx'"),
            ("metricSources.default.uri=http://p", "at '/metricSources/default'"),
            ("resources.limit.memory=1Gi", "at '/resources'"),
            ("tolerations[0].efect=NoSchedule", "at '/tolerations/0'"),
        ],
    )
    def test_a_misspelt_value(self, typo, where):
        message = refusal(*CLUSTER, "--set", typo)
        assert where in message
        assert "not allowed" in message

    @pytest.mark.parametrize(
        ("bad", "where"),
        [
            ("replicas=two", "/replicas"),
            ("providers.nginx.dialect=nginx", "/providers/nginx/dialect"),
            ("providers.smi.version=v1beta1", "/providers/smi/version"),
            ("secrets.access=some", "/secrets/access"),
            ("admission.keep=maybe", "/admission/keep"),
            ("log.level=verbose", "/log/level"),
            ("image.digest=sha256:abc", "/image/digest"),
            ("server.port=80", "/server/port"),
            ("metricSources.default.url=prometheus:9090", "/metricSources/default/url"),
            ("metricSources.default.url=http://user:pw@prometheus", "/metricSources/default/url"),
            ("egress.allowPrivateNetworks={10.0.0.0}", "/egress/allowPrivateNetworks/0"),
            ("egress.allowedHosts={https://example.com}", "/egress/allowedHosts/0"),
            ("defaults.weights=5", "/defaults/weights"),
            ("defaults.Interval=1m", "/defaults"),
        ],
    )
    def test_a_bad_value(self, bad, where):
        assert where in refusal(*CLUSTER, "--set", bad)

    def test_to_choose_the_scope_for_the_user(self):
        assert "at '/scope/mode': value must be one of 'cluster', 'namespaces'" in refusal()

    def test_to_choose_the_scope_for_the_user_who_skips_the_schema_too(self):
        message = refusal("--skip-schema-validation")
        assert 'scope.mode: choose "cluster"' in message
        assert "--set scope.mode=cluster" in message

    def test_namespaces_without_a_name(self):
        assert "/scope/namespaces" in refusal("--set", "scope.mode=namespaces")

    def test_names_of_namespaces_while_watching_the_whole_cluster(self):
        assert "/scope/namespaces" in refusal(*CLUSTER, "--set", "scope.namespaces={shop}")

    def test_two_replicas_without_election(self):
        assert "at '/replicas'" in refusal(*CLUSTER, "--set", "leaderElection.enabled=false")

    def test_two_replicas_without_election_when_the_schema_is_skipped(self):
        flags = (*CLUSTER, "--skip-schema-validation", "--set", "leaderElection.enabled=false")
        assert "only one replica may run" in refusal(*flags)

    @pytest.mark.parametrize("times", [(10, 10, 2), (15, 10, 10), (5, 10, 2)])
    def test_times_of_the_lease_with_which_two_could_lead(self, times):
        lease, renew, retry = times
        message = refusal(
            *CLUSTER,
            "--set",
            f"leaderElection.leaseSeconds={lease},leaderElection.renewSeconds={renew},leaderElection.retrySeconds={retry}",
        )
        assert "retrySeconds < renewSeconds < leaseSeconds" in message
        assert f"got {retry}, {renew} and {lease}" in message

    def test_enabled_as_a_default_for_all_apps(self):
        assert "/defaults" in refusal(*CLUSTER, "--set-string", "defaults.enabled=true")

    def test_a_borrowed_service_account_without_a_name(self):
        message = refusal(*CLUSTER, "--set", "serviceAccount.create=false")
        assert "serviceAccount.name: name an existing ServiceAccount" in message

    def test_a_kubernetes_that_is_too_old(self):
        assert "requires kubeVersion" in refusal(*CLUSTER, kube="1.26.9")


@pytest.mark.cluster
class TestHelmAccepts:
    @pytest.mark.parametrize("kube", ["1.27.0", "1.29.3-gke.1000", "1.37.0"])
    def test_every_kubernetes_from_the_oldest_supported_one(self, kube):
        assert "Deployment" in render(*CLUSTER, kube=kube).kinds()

    def test_one_replica_without_election(self):
        objects = render(*CLUSTER, "--set", "replicas=1,leaderElection.enabled=false")
        assert 1 == objects.one("Deployment")["spec"]["replicas"]

    def test_values_of_a_parent_chart_under_global(self):
        assert render(*CLUSTER, "--set", "global.company.region=eu,enabled=true")

    def test_only_the_url_of_a_metric_source(self):
        objects = render(*NAMESPACES, "--set", "metricSources.default.url=http://p.monitoring:9090")
        assert {
            "default": {"type": "prometheus", "url": "http://p.monitoring:9090", "timeout_s": 10}
        } == objects.settings()["metric_sources"]
