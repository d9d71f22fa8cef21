"""config.yaml: the daemon's own model accepts it, and every value arrives where it belongs."""

import json

import pytest

from canaryd.config.settings import Settings
from tests.chart.chart import (
    CLUSTER,
    NAMESPACES,
    PROFILES,
    notes,
    render,
    values_file,
)

pytestmark = pytest.mark.cluster
# Told on the command line or found out by the daemon itself, never by a file.
NOT_IN_THE_FILE = {"kubeconfig", "context", "identity", "dry_run", "once"}


def paths(tree, above=()) -> set[str]:
    if not isinstance(tree, dict) or not tree:
        return {".".join(above)}
    return {path for key, below in tree.items() for path in paths(below, (*above, key))}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_daemon_accepts_the_settings_of_every_profile(profile):
    settings = Settings.model_validate(render(*values_file(profile)).settings())
    assert settings.scope.mode in {"cluster", "namespaces"}


def test_every_setting_can_be_reached_from_a_value():
    given = render(*values_file("cluster")).settings()
    known = Settings.model_validate(given).model_dump(mode="json")
    assert NOT_IN_THE_FILE == paths(known) - paths(given)


def test_the_charts_defaults_are_the_daemons_defaults():
    off = ("--set", "admission.keep=off,admission.commands=off")
    given = Settings.model_validate(render(*CLUSTER, *off).settings()).model_dump(mode="json")
    built_in = Settings.model_validate({"scope": {"mode": "cluster"}}).model_dump(mode="json")
    # The Lease lies where the release is; the daemon would find the same namespace by itself.
    assert "canaryd-system" == given["leader_election"].pop("namespace")
    assert "" == built_in["leader_election"].pop("namespace")
    # Only the API server can tell it, and the chart knows.
    assert "system:serviceaccount:canaryd-system:canaryd" == given["admission"].pop("username")
    assert "" == built_in["admission"].pop("username")
    assert built_in == given


def test_every_value_of_the_profile_called_everything_arrives():
    assert {
        "scope": {"mode": "cluster", "namespaces": []},
        "leader_election": {
            "enabled": True,
            "namespace": "leases",
            "name": "canaryd-blue",
            "lease_s": 30,
            "renew_s": 20,
            "retry_s": 4,
        },
        "providers": {
            "nginx": {
                "enabled": True,
                "annotation_prefix": "custom.ingress.example",
                "dialect": "traefik",
                "propagation_s": 5,
            },
            "smi": {
                "enabled": True,
                "version": "v1alpha1",
                "dialect": "linkerd",
                "propagation_s": 6,
            },
            "gateway": {"enabled": True, "dialect": "traefik", "propagation_s": 8},
            "none": {"enabled": False, "propagation_s": 7},
        },
        "autoscalers": {"keda": {"enabled": True}},
        "metric_sources": {
            "default": {
                "type": "prometheus",
                "url": "http://prometheus.monitoring:9090",
                "timeout_s": 5,
            },
            "long-term": {
                "type": "prometheus",
                "url": "https://thanos.example/tenant/a",
                "timeout_s": 10,
            },
        },
        "secrets": {"access": "all"},
        "defaults": {"interval": "30s", "metric.success-rate": ">= 99"},
        "egress": {
            "allowed_hosts": ["hooks.example.com", "*.ci.example.com"],
            "allow_private_networks": ["10.20.0.0/16", "fd00::/8"],
        },
        "load_tests": {"enabled": False, "max_rate": 50, "max_concurrent": 1},
        "log": {"level": "debug", "format": "text"},
        "server": {"host": "::1", "port": 9090},
        "max_runs": 5,
        "workers": 4,
        "resync_s": 60,
        "admission": {
            "keep": "webhook",
            "commands": True,
            "username": "system:serviceaccount:canaryd-system:releases",
            "webhook": {"port": 9444, "name": "releases-webhook", "configuration": "releases"},
        },
    } == render(*values_file("everything")).settings()


def test_listed_namespaces_arrive():
    assert {"mode": "namespaces", "namespaces": ["shop", "shop-staging"]} == (
        render(*NAMESPACES).settings()["scope"]
    )


def test_a_metric_source_without_a_url_is_left_out():
    assert {} == render(*CLUSTER).settings()["metric_sources"]


@pytest.mark.parametrize("text", ["on", "off", "1e3", "0x10", "yes", "a: b", '"', "'", "{}", "#"])
def test_a_default_stays_the_text_it_is(text, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({"defaults": {"retry": text}}))
    settings = render(*CLUSTER, "--values", str(values)).settings()
    assert {"retry": text} == settings["defaults"]


class TestNotes:
    def test_they_tell_what_was_installed(self, tmp_path):
        text = notes(tmp_path, *NAMESPACES, "--set", "secrets.access=all")
        assert "watches       shop, shop-staging" in text
        assert "providers     nginx (ingress-nginx)" in text
        assert "secrets       followed and copied" in text
        assert "keeps         selectors and replicas, by admission policies" in text
        assert "commands      held to RBAC and to the name of who gives them" in text

    def test_they_name_the_deployment_of_the_release(self, tmp_path):
        text = notes(tmp_path, *CLUSTER, "--set", "fullnameOverride=releases")
        assert "kubectl -n canaryd-system rollout status deployment/releases" in text

    def test_they_warn_of_a_missing_metric_source(self, tmp_path):
        assert "no metric source" in notes(tmp_path, *CLUSTER)
        url = ("--set", "metricSources.default.url=http://prometheus")
        assert "no metric source" not in notes(tmp_path, *CLUSTER, *url)

    def test_they_warn_when_nothing_keeps_the_selector(self, tmp_path):
        text = notes(tmp_path, *NAMESPACES, apis=())
        assert "canaryd.io/idle: keep" in text
        assert "ask for it with admission.keep=webhook" in text
        assert "canaryd.io/idle: keep" not in notes(tmp_path, *CLUSTER)
        assert "canaryd.io/idle: keep" not in notes(tmp_path, *CLUSTER, apis=())

    def test_they_warn_when_nothing_holds_commands_to_RBAC(self, tmp_path):
        off = ("--set", "admission.commands=off")
        assert "may give every command, in every name" in notes(tmp_path, *CLUSTER, *off)
        assert "every command" not in notes(tmp_path, *CLUSTER)

    def test_they_warn_of_a_single_replica(self, tmp_path):
        assert "with 1 replica(s)" in notes(tmp_path, *CLUSTER, "--set", "replicas=1")
        assert "replica(s)" not in notes(tmp_path, *CLUSTER)
