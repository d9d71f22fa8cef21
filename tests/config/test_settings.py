"""Every key, its limits, its default, and the sentence for what is beyond them."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import annotated_types
import pytest
from pydantic import BaseModel, ValidationError

from canaryd.config.settings import MetricSource, Settings
from tests.config.loading import CLUSTER, at

SOURCE = "metric_sources.default"
WIDE_NINE = "\N{FULLWIDTH DIGIT NINE}"
LEASE = {"lease_s": 300, "renew_s": 299, "retry_s": 0.1}

DEFAULTS = {
    "scope": {"mode": "cluster", "namespaces": []},
    "leader_election": {
        "enabled": True,
        "namespace": "",
        "name": "canaryd",
        "lease_s": 15.0,
        "renew_s": 10.0,
        "retry_s": 2.0,
    },
    "providers": {
        "nginx": {
            "enabled": True,
            "annotation_prefix": "nginx.ingress.kubernetes.io",
            "dialect": "ingress-nginx",
            "propagation_s": 3.0,
        },
        "smi": {"enabled": False, "version": "auto", "dialect": "linkerd", "propagation_s": 3.0},
        "gateway": {"enabled": False, "dialect": "other", "propagation_s": 3.0},
        "none": {"enabled": True, "propagation_s": 3.0},
    },
    "autoscalers": {"keda": {"enabled": False}},
    "metric_sources": {},
    "secrets": {"access": "none"},
    "defaults": {},
    "egress": {"allowed_hosts": [], "allow_private_networks": []},
    "load_tests": {"enabled": True, "max_rate": 500, "max_concurrent": 4},
    "log": {"level": "info", "format": "json"},
    "server": {"host": "", "port": 8080},
    "max_runs": 0,
    "workers": 16,
    "resync_s": 600.0,
    "admission": {
        "keep": "off",
        "commands": False,
        "username": "",
        "webhook": {"port": 9443, "name": "canaryd-webhook", "configuration": "canaryd"},
    },
    "kubeconfig": "",
    "context": "",
    "identity": "",
    "dry_run": False,
    "once": False,
}

NUMBERS = {
    "leader_election.lease_s": (2, 300),
    "leader_election.renew_s": (1, 299),
    "leader_election.retry_s": (0.1, 298),
    "providers.nginx.propagation_s": (0, 300),
    "providers.smi.propagation_s": (0, 300),
    "providers.gateway.propagation_s": (0, 300),
    "providers.none.propagation_s": (0, 300),
    f"{SOURCE}.timeout_s": (0.1, 300),
    "load_tests.max_rate": (1, 100_000),
    "load_tests.max_concurrent": (1, 100),
    "server.port": (0, 65535),
    "admission.webhook.port": (0, 65535),
    "max_runs": (0, 10_000),
    "workers": (1, 256),
    "resync_s": (10, 86_400),
}
CHOICES = {
    "scope.mode": ("cluster", "namespaces"),
    "providers.nginx.dialect": ("ingress-nginx", "traefik", "higress"),
    "providers.smi.version": ("auto", "v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"),
    "providers.smi.dialect": ("linkerd",),
    "providers.gateway.dialect": (
        "traefik",
        "kgateway",
        "contour",
        "istio",
        "istio-ambient",
        "linkerd",
        "envoy-gateway",
        "nginx-gateway-fabric",
        "other",
    ),
    f"{SOURCE}.type": ("prometheus",),
    "secrets.access": ("none", "all"),
    "admission.keep": ("policy", "webhook", "off"),
    "log.level": ("debug", "info", "warning", "error"),
    "log.format": ("json", "text"),
}
SWITCHES = (
    "leader_election.enabled",
    "providers.nginx.enabled",
    "providers.smi.enabled",
    "providers.gateway.enabled",
    "providers.none.enabled",
    "autoscalers.keda.enabled",
    "load_tests.enabled",
    "admission.commands",
    "dry_run",
    "once",
)


def fields(model: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is no section, with its dotted path."""
    for name, field in model.model_fields.items():
        path = above + name
        kind = field.annotation
        if name == "metric_sources":
            yield from fields(MetricSource, f"{SOURCE}.")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{path}.")
        else:
            yield path, field


def limits(field: Any) -> tuple[float, float] | None:
    least = [m.ge for m in field.metadata if isinstance(m, annotated_types.Ge)]
    most = [m.le for m in field.metadata if isinstance(m, annotated_types.Le)]
    return (least[0], most[0]) if least and most else None


def valid_with(settings, path, value):
    """Load with one value that is beside others which it needs."""
    if path.startswith(SOURCE):
        settings.set(
            SOURCE, {"url": "http://prometheus"} | {path.removeprefix(f"{SOURCE}."): value}
        )
    elif path.startswith("leader_election.") and path.endswith("_s"):
        key = path.removeprefix("leader_election.")
        low = {"lease_s": {"renew_s": 1}, "renew_s": {"retry_s": 0.1}, "retry_s": {}}[key]
        settings.set("leader_election", LEASE | low | {key: value})
    else:
        settings.set(path, value)


# --- the tables below are whole ---


def test_every_default_is_the_one_that_is_documented_here():
    assert DEFAULTS == Settings.model_validate(CLUSTER).model_dump(mode="json")


def test_every_number_has_limits_and_is_in_the_table_of_limits():
    kinds = {path: field.annotation for path, field in fields()}
    numbers = {path for path, kind in kinds.items() if kind in (int, float)}
    assert NUMBERS == {path: limits(f) for path, f in fields() if path in numbers}


def test_every_choice_is_in_the_table_of_choices():
    found = {p: get_args(f.annotation) for p, f in fields() if get_origin(f.annotation) is Literal}
    assert CHOICES == found


def test_every_switch_is_in_the_table_of_switches():
    assert set(SWITCHES) == {path for path, field in fields() if field.annotation is bool}


# --- numbers ---


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_may_be_at_its_limits(settings, path):
    for limit in NUMBERS[path]:
        valid_with(settings, path, limit)


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_below_its_minimum_is_refused(settings, path):
    least, _ = NUMBERS[path]
    [found] = [m for m in settings.refusals(path, least - 1) if m.startswith(f"{path}: ")]
    assert f"{path}: {least - 1} is below the minimum of {least:g}" == found


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_above_its_maximum_is_refused(settings, path):
    _, most = NUMBERS[path]
    [found] = [m for m in settings.refusals(path, most + 1) if m.startswith(f"{path}: ")]
    assert f"{path}: {most + 1} is above the maximum of {most:g}" == found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ten", 'workers: "ten" is not a whole number'),
        (1.5, "workers: 1.5 is not a whole number"),
        (True, "workers: true is not a number"),
        (None, "workers: null is not a whole number"),
        ([1], "workers: is not a whole number"),
        ({"a": 1}, "workers: is not a whole number"),
        (float("nan"), "workers: nan is not a finite number"),
        (10**30, f"workers: {10**30} is above the maximum of 256"),
        (WIDE_NINE, f'workers: "{WIDE_NINE}" is not a whole number'),
    ],
    ids=["a word", "a fraction", "yes", "nothing", "a list", "a mapping", "NaN", "huge", "wide"],
)
def test_a_whole_number_is_nothing_else(settings, value, expected):
    assert [expected] == settings.refusals("workers", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10m", 'resync_s: "10m" is not a number'),
        (True, "resync_s: true is not a number"),
        (float("inf"), "resync_s: inf is not a finite number"),
        (float("nan"), "resync_s: nan is not a finite number"),
    ],
    ids=["a duration", "yes", "infinity", "NaN"],
)
def test_seconds_are_a_finite_number(settings, value, expected):
    assert [expected] == settings.refusals("resync_s", value)


# --- choices and switches ---


@pytest.mark.parametrize("path", CHOICES)
def test_a_choice_outside_of_its_list_is_refused_with_the_list(settings, path):
    words = CHOICES[path]
    rule = f"is not one of {', '.join(words)}" if len(words) > 1 else f"is not {words[0]}"
    assert f'{path}: "nonsense" {rule}' in settings.refusals(path, "nonsense")


@pytest.mark.parametrize("path", SWITCHES)
def test_a_switch_is_true_or_false(settings, path):
    assert at(settings.set(path, True), path) is True
    assert at(settings.set(path, False), path) is False
    assert [f'{path}: "maybe" is not true or false'] == settings.refusals(path, "maybe")


def test_a_webhook_that_does_not_know_its_own_name_is_refused(settings):
    rule = 'is empty; "webhook" needs it, or canaryd\'s own writes are kept off'
    assert [f"admission.username: {rule}"] == settings.refusals("admission", {"keep": "webhook"})
    kept = {"keep": "webhook", "username": "system:serviceaccount:canaryd:canaryd"}
    assert "webhook" == settings.set("admission", kept).admission.keep


# --- sections ---

SECTIONS = {
    "scope": "mode, namespaces",
    "leader_election": "enabled, namespace, name, lease_s, renew_s, retry_s",
    "providers": "nginx, smi, gateway, none",
    "providers.nginx": "enabled, annotation_prefix, dialect, propagation_s",
    "providers.smi": "enabled, version, dialect, propagation_s",
    "providers.gateway": "enabled, dialect, propagation_s",
    "providers.none": "enabled, propagation_s",
    "autoscalers": "keda",
    "autoscalers.keda": "enabled",
    SOURCE: "type, url, timeout_s",
    "secrets": "access",
    "egress": "allowed_hosts, allow_private_networks",
    "load_tests": "enabled, max_rate, max_concurrent",
    "log": "level, format",
    "server": "host, port",
    "admission": "keep, commands, username, webhook",
    "admission.webhook": "port, name, configuration",
}


@pytest.mark.parametrize("path", SECTIONS)
def test_a_section_that_is_none_is_refused_with_its_keys(settings, path):
    expected = f'{path}: "x" is not a section; its keys are {SECTIONS[path]}'
    assert [expected] == settings.refusals(path, "x")


@pytest.mark.parametrize("path", SECTIONS)
def test_an_unknown_key_is_refused_with_those_that_are_known(settings, path):
    expected = f"{path}.zzz: is not a known key; known here: {SECTIONS[path]}"
    assert expected in settings.refusals(f"{path}.zzz", 1)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("worker", "workers"),
        ("leaderElection", "leader_election"),
        ("log.levle", "level"),
        ("providers.nginx.propagation", "propagation_s"),
        (f"{SOURCE}.timeout", "timeout_s"),
        ("egress.allowedHosts", "allowed_hosts"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_one_that_was_meant(settings, path, meant):
    expected = f'{path}: is not a known key; did you mean "{meant}"?'
    assert expected in settings.refusals(path, 1)


@pytest.mark.parametrize("path", ["metric_sources", "defaults"])
def test_a_mapping_that_is_none_is_refused(settings, path):
    assert [f'{path}: "x" is not a mapping of names to values'] == settings.refusals(path, "x")


def test_nothing_can_be_changed_later(settings):
    loaded = settings.set(SOURCE, {"url": "http://prometheus"})
    with pytest.raises(ValidationError):
        loaded.workers = 1
    with pytest.raises(ValidationError):
        loaded.log.level = "debug"
    with pytest.raises(TypeError):
        loaded.metric_sources["other"] = loaded.metric_sources["default"]
    with pytest.raises(TypeError):
        loaded.defaults["interval"] = "1s"
    with pytest.raises(TypeError):
        Settings.model_validate(CLUSTER).metric_sources["other"] = None


# --- scope ---


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (
            {"mode": "namespaces"},
            'scope.namespaces: is empty; name a namespace, or set scope.mode to "cluster"',
        ),
        (
            {"mode": "namespaces", "namespaces": []},
            'scope.namespaces: is empty; name a namespace, or set scope.mode to "cluster"',
        ),
        (
            {"mode": "cluster", "namespaces": ["shop"]},
            'scope.namespaces: has names; set scope.mode to "namespaces" or remove them',
        ),
        (
            {"mode": "namespaces", "namespaces": "shop"},
            'scope.namespaces: "shop" is not a list, such as "[one, two]"',
        ),
        (
            {"mode": "namespaces", "namespaces": ["shop", 7]},
            "scope.namespaces[1]: 7 is not text; quote it",
        ),
        (
            {"mode": "namespaces", "namespaces": ["shop", "Shop"]},
            'scope.namespaces[1]: "Shop" is not the name of a namespace, such as "shop"',
        ),
        (
            {"mode": "namespaces", "namespaces": ["shop\n"]},
            'scope.namespaces[0]: "shop\\n" is not the name of a namespace, such as "shop"',
        ),
        (
            {"mode": "namespaces", "namespaces": ["x" * 64]},
            f'scope.namespaces[0]: "{"x" * 64}" is not the name of a namespace, such as "shop"',
        ),
    ],
    ids=[
        "namespaces without names",
        "an empty list",
        "the cluster with names",
        "a name that is no list",
        "a number as a name",
        "a capital",
        "a line end",
        "a long name",
    ],
)
def test_the_scope_says_what_it_needs(settings, scope, expected):
    # A mode of its own: laid over the other tests' file it would not be alone.
    [found] = [m for m in settings.refusals("scope", scope) if "scope.namespaces" in m]
    assert expected == found


def test_every_name_that_is_there_again_is_told():
    scope = {"mode": "namespaces", "namespaces": ["a", "b", "a", "c", "b", "a"]}
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"scope": scope})
    [error] = caught.value.errors()
    assert [2, 4, 5] == [keys[0] for _, keys in error["ctx"]["problems"]]


# --- leader election ---


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        (
            {"lease_s": 8, "renew_s": 8},
            ["leader_election.renew_s: 8 is not less than lease_s (8)"],
        ),
        (
            {"lease_s": 8},
            [
                "leader_election.renew_s: has the default 10, which is not less than lease_s (8)",
            ],
        ),
        (
            {"lease_s": 5, "renew_s": 6, "retry_s": 7},
            [
                "leader_election.renew_s: 6 is not less than lease_s (5)",
                "leader_election.retry_s: 7 is not less than renew_s (6)",
            ],
        ),
    ],
    ids=["as long as the Lease", "the default is too long", "all three the wrong way round"],
)
def test_a_leader_stops_before_its_lease_runs_out(settings, lease, expected):
    assert expected == settings.refusals("leader_election", lease)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("namespace", "A", '"A" is not the name of a namespace, such as "shop"'),
        ("name", "a b", '"a b" is not a name as Kubernetes writes them: a-z, 0-9, dashes and dots'),
        ("name", "", '"" is not a name as Kubernetes writes them: a-z, 0-9, dashes and dots'),
        (
            "name",
            "a\n",
            '"a\\n" is not a name as Kubernetes writes them: a-z, 0-9, dashes and dots',
        ),
        ("name", "x." * 127 + "xy", "is longer than 253 characters"),
    ],
    ids=["a namespace with a capital", "a blank", "empty", "a line end", "too long"],
)
def test_the_lease_has_a_name_that_kubernetes_takes(settings, key, value, expected):
    [found] = settings.refusals(f"leader_election.{key}", value)
    assert found.startswith(f"leader_election.{key}: ")
    assert found.endswith(expected)


# --- metric sources ---


@pytest.mark.parametrize(
    "url",
    [
        "http://prometheus",
        "https://prometheus.monitoring:9090",
        "http://thanos.example/tenant/a",
        "http://10.0.0.1:9090",
        "http://[fd00::1]:9090",
        "http://prometheus_1:9090",
        "HTTP://Prometheus:9090",
    ],
)
def test_a_source_is_any_http_url(settings, url):
    assert url == settings.set(SOURCE, {"url": url}).metric_sources["default"].url


def test_a_slash_at_the_end_of_a_source_does_not_count(settings):
    loaded = settings.set(SOURCE, {"url": "http://prometheus/x//"})
    assert "http://prometheus/x" == loaded.metric_sources["default"].url


NO_URL = 'is not an http or https URL, such as "http://prometheus.monitoring:9090"'
NO_QUERY = "has more than a host and a path; leave out blanks, `?` and `#`"
NO_USER = "carries credentials, which would end in logs; leave out what is before the @"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("prometheus:9090", f'"prometheus:9090" {NO_URL}'),
        ("ftp://prometheus", f'"ftp://prometheus" {NO_URL}'),
        ("http://", f'"http://" {NO_URL}'),
        ("http://:9090", f'"http://:9090" {NO_URL}'),
        ("http://prometheus:0", f'"http://prometheus:0" {NO_URL}'),
        ("http://prometheus:99999", f'"http://prometheus:99999" {NO_URL}'),
        ("http://prometheus:web", f'"http://prometheus:web" {NO_URL}'),
        ("http://[::1", f'"http://[::1" {NO_URL}'),
        ("http://a\\b", f'"http://a\\b" {NO_URL}'),
        ("http:/prometheus", f'"http:/prometheus" {NO_URL}'),
        ("http://prometheus/?x=1", f'"http://prometheus/?***" {NO_QUERY}'),
        ("http://prometheus/?", f'"http://prometheus/?***" {NO_QUERY}'),
        ("http://prometheus/#", f'"http://prometheus/?***" {NO_QUERY}'),
        ("http://prome theus", f'"http://prome theus" {NO_QUERY}'),
        ("http://prometheus\n", f'"http://prometheus\\n" {NO_QUERY}'),
        ("http://prometheus\x7f", f'"http://prometheus\\x7f" {NO_QUERY}'),
        (f"http://{'x' * 2048}", "is longer than 2048 characters"),
    ],
    ids=[
        "without a scheme",
        "another scheme",
        "nothing",
        "no host",
        "port 0",
        "a port beyond the last",
        "a named port",
        "half an address",
        "a backslash",
        "one slash",
        "a query",
        "an empty query",
        "an empty fragment",
        "a blank",
        "a line end",
        "a control character",
        "far too long",
    ],
)
def test_a_source_that_is_no_plain_url_is_refused(settings, url, expected):
    [found] = settings.refusals(f"{SOURCE}.url", url)
    assert found.startswith(f"{SOURCE}.url: ")
    assert found.endswith(expected)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hunter2@prometheus", "http://***@prometheus"),
        ("http://hunter2@prometheus:9090/x", "http://***@prometheus:9090/x"),
        ("http://me:hun@ter2@prometheus", "http://***@prometheus"),
        ("http://me:hunter2/x@prometheus", "http://***@prometheus"),
        ("http://me:hunter2?x@prometheus", "http://***@prometheus"),
        ("http://me:hunter2#x@prometheus", "http://***@prometheus"),
        ("http://me:hunter2 x@prometheus", "http://***@prometheus"),
        ("me:hunter2@prometheus:9090", "***@prometheus:9090"),
        ("http://me:hunter2@prometheus/?token=hunter2", "http://***@prometheus/?***"),
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(settings, url, shown):
    assert [f'{SOURCE}.url: "{shown}" {NO_USER}'] == settings.refusals(f"{SOURCE}.url", url)


def test_a_token_in_a_query_is_not_repeated(settings):
    [found] = settings.refusals(f"{SOURCE}.url", "http://prometheus/?token=hunter2")
    assert "hunter2" not in found


def test_a_source_needs_a_url(settings):
    assert [f"{SOURCE}.url: is missing; write it"] == settings.refusals(SOURCE, {"timeout_s": 1})


@pytest.mark.parametrize("name", ["Default", "a_b", "", "[key]", "x" * 64])
def test_the_name_of_a_source_is_a_label(settings, name):
    rule = 'is not a name for a source, such as "default"'
    shown = f"metric_sources.{name}" if name else "metric_sources."
    assert [f"{shown}: {rule}"] == settings.refusals(
        "metric_sources", {name: {"url": "http://prometheus"}}
    )


# --- egress ---


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("hooks.example.com", "hooks.example.com"),
        ("Hooks.Example.COM", "hooks.example.com"),
        ("*.example.com", "*.example.com"),
        ("localhost", "localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("FD00::1", "fd00::1"),
    ],
)
def test_an_allowed_host_is_a_name_or_an_address(settings, host, kept):
    assert (kept,) == settings.set("egress.allowed_hosts", [host]).egress.allowed_hosts


@pytest.mark.parametrize(
    "host",
    [
        *("", "*", "*.*.com", "a..b", ".a", "a.", "-a", "http://a", "a:443", "a/b", "ä.com", "a\n"),
        "a." * 127 + "a",
    ],
)
def test_what_is_no_host_would_never_match_and_is_refused(settings, host):
    [found] = settings.refusals("egress.allowed_hosts", [host])
    assert found.startswith("egress.allowed_hosts[0]: ")
    assert found.endswith('is not a host name; write "hooks.example.com" or "*.example.com"')


@pytest.mark.parametrize("value", ["10.20.0.0/16", "fd00::/8", "10.1.2.3"])
def test_an_allowed_network_is_in_cidr_notation(settings, value):
    path = "egress.allow_private_networks"
    kept = value if "/" in value else f"{value}/32"
    assert (kept,) == settings.set(path, [value]).egress.allow_private_networks


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10.20.1.0/16", '"10.20.1.0/16" has bits beyond its length; write "10.20.0.0/16"'),
        ("ten", '"ten" is not a network in CIDR notation, such as "10.20.0.0/16"'),
        ("10.0.0.0/33", '"10.0.0.0/33" is not a network in CIDR notation, such as "10.20.0.0/16"'),
    ],
)
def test_what_is_no_network_is_refused(settings, value, expected):
    path = "egress.allow_private_networks"
    assert [f"{path}[0]: {expected}"] == settings.refusals(path, [value])


@pytest.mark.parametrize(
    ("path", "twice", "shown"),
    [
        ("egress.allowed_hosts", ["a.example", "A.example"], '"A.example"'),
        ("egress.allow_private_networks", ["10.0.0.1", "10.0.0.1/32"], '"10.0.0.1/32"'),
    ],
)
def test_the_same_in_another_spelling_is_there_twice(settings, path, twice, shown):
    [found] = settings.refusals(path, twice)
    assert found.startswith(f"{path}[1]: {shown} is there twice: ")


# --- server ---


@pytest.mark.parametrize("host", ["", "127.0.0.1", "::1", "::", "fe80::1%eth0", "canaryd.local"])
def test_the_server_listens_on_an_address_a_name_or_everything(settings, host):
    assert host == settings.set("server.host", host).server.host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("*", '"*" is no address; leave it empty for every interface'),
        ("[::1]", '"[::1]" has brackets; write "::1"'),
        ("a b", "is neither an address nor a host name"),
        ("http://a", "is neither an address nor a host name"),
        ("0.0.0.0:8080", "is neither an address nor a host name"),
        ("x" * 64, "is neither an address nor a host name"),
        ("[a]", "is neither an address nor a host name"),
        ("x::1x", "is neither an address nor a host name"),
        ("a." * 127 + "a", "is longer than 253 characters"),
        ("*.a", "is neither an address nor a host name"),
        ("a\0", "has a character that cannot be printed"),
    ],
)
def test_a_host_nobody_can_listen_on_is_refused_before_it_is_tried(settings, host, expected):
    [found] = settings.refusals("server.host", host)
    assert found.startswith("server.host: ")
    assert expected in found


# --- texts ---


@pytest.mark.parametrize("path", ["kubeconfig", "context", "identity", "leader_election.namespace"])
def test_a_text_with_nothing_behind_it_is_empty(settings, path):
    assert "" == at(settings.set(path, None), path)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("identity", 5, "5 is not text; quote it"),
        ("identity", "a\nb", '"a\\nb" has a character that cannot be printed'),
        ("identity", "x" * 254, "is longer than 253 characters"),
        ("kubeconfig", "x" * 4097, "is longer than 4096 characters"),
        ("providers.nginx.annotation_prefix", "a/b", "is not a name as Kubernetes writes them"),
    ],
    ids=["a number", "two lines", "a long identity", "a long path", "a prefix with a slash"],
)
def test_a_text_that_cannot_be_used_is_refused(settings, path, value, expected):
    [found] = settings.refusals(path, value)
    assert found.startswith(f"{path}: ")
    assert expected in found


# --- defaults for annotations ---


def test_defaults_are_annotations_without_their_prefix(settings):
    values = {"interval": "30s", "metric.success-rate": ">= 99", "metric.own.query": "sum(x)"}
    assert values == dict(settings.set("defaults", values).defaults)


def test_keys_that_only_some_strategies_know_are_sensible_defaults(settings):
    values = {"iterations": "6", "route": "web", "schedule": "Mon-Fri 09:00-17:00 Europe/Berlin"}
    assert values == dict(settings.set("defaults", values).defaults)


@pytest.mark.parametrize("values", [{"strategy": "ab"}, {"provider": "none"}])
def test_a_strategy_whose_details_only_deployments_have_is_a_sensible_default(settings, values):
    assert values == dict(settings.set("defaults", values).defaults)


def test_a_check_whose_query_only_deployments_have_is_a_sensible_default(settings):
    assert {"metric.own": "<= 2"} == dict(settings.set("defaults", {"metric.own": "<= 2"}).defaults)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "interval",
            "10 minutes",
            'defaults.interval: "10 minutes" is not a duration; write for example "10m" or "90s"',
        ),
        (
            "interval",
            30,
            'defaults.interval: 30 is a number, and annotations are text: quote it; write "30"',
        ),
        (
            "skip-analysis",
            True,
            'true is a boolean, and annotations are text: quote it; write "true"',
        ),
        (
            "intervall",
            "30s",
            'defaults.intervall: is not a known key; did you mean "interval"?',
        ),
        ("enabled", "true", "is never inherited; write it on each Deployment"),
        ("canaryd.io/interval", "30s", "is not a known key"),
    ],
    ids=["a bad value", "a number", "a boolean", "a slip", "enrolment", "a prefix"],
)
def test_defaults_are_held_to_the_rules_of_annotations(settings, key, value, expected):
    [found] = settings.refusals("defaults", {key: value})
    assert expected in found


def test_a_password_in_a_default_is_not_repeated(settings):
    values = {"hook.smoke.url": "ftp://me:hunter2@host/x"}
    assert all("hunter2" not in message for message in settings.refusals("defaults", values))
