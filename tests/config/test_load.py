"""From file, environment and flags to settings, or to everything that is wrong with all of them."""

import pytest

from canaryd.config.load import CONFIG_VARIABLE, ConfigError, load
from tests.config.loading import at

FILE = """\
scope:
  mode: namespaces
  namespaces: [shop, shop-staging]
log: {level: debug, format: text}
metric_sources:
  default:
    url: http://prometheus:9090
    timeout_s: 5
  long-term:
    url: http://thanos
workers: 4
"""


# --- what wins ---


def test_without_anything_only_the_scope_is_missing(settings):
    advice = 'choose: scope.mode "cluster" (-A), or "namespaces" with a list (-n NAME)'
    assert [f"scope: is missing; {advice}"] == settings.problems()


@pytest.mark.parametrize(
    ("environ", "flags", "expected"),
    [
        ({}, {}, 4),
        ({"CANARYD_WORKERS": "5"}, {}, 5),
        ({}, {"--workers": {"workers": 6}}, 6),
        ({"CANARYD_WORKERS": "5"}, {"--workers": {"workers": 6}}, 6),
    ],
    ids=["the file alone", "environment over file", "flag over file", "flag over environment"],
)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    settings, environ, flags, expected
):
    assert expected == settings.load(FILE, environ, flags).workers


def test_the_file_wins_over_what_is_built_in(settings):
    assert (16, 4) == (settings.load("scope: {mode: cluster}").workers, settings.load(FILE).workers)


def test_sections_are_merged_key_by_key(settings):
    loaded = settings.load(
        FILE, {"CANARYD_LOG__LEVEL": "warning"}, {"--log-format": {"log": {"format": "json"}}}
    )
    assert ("warning", "json") == (loaded.log.level, loaded.log.format)


def test_named_sources_are_merged_key_by_key(settings):
    url = {"metric_sources": {"default": {"url": "http://other"}}}
    sources = settings.load(FILE, flags={"--prometheus-url": url}).metric_sources
    assert ("http://other", 5) == (sources["default"].url, sources["default"].timeout_s)
    assert "http://thanos" == sources["long-term"].url


def test_lists_are_replaced_whole(settings):
    flags = {"-n": {"scope": {"mode": "namespaces", "namespaces": ["ops"]}}}
    assert ("ops",) == settings.load(FILE, flags=flags).scope.namespaces


def test_a_flag_can_take_back_a_list_of_the_file(settings):
    flags = {"-A": {"scope": {"mode": "cluster", "namespaces": []}}}
    assert () == settings.load(FILE, flags=flags).scope.namespaces


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n", "null\n"])
def test_an_empty_file_sets_nothing(settings, text):
    assert "cluster" == settings.load(text, {"CANARYD_SCOPE__MODE": "cluster"}).scope.mode


def test_json_is_a_file_too(settings):
    assert 3 == settings.load('{"scope": {"mode": "cluster"}, "workers": 3}').workers


# --- the environment ---


@pytest.mark.parametrize(
    ("name", "text", "path", "expected"),
    [
        ("CANARYD_WORKERS", " 7 ", "workers", 7),
        ("CANARYD_RESYNC_S", "60.5", "resync_s", 60.5),
        ("CANARYD_DRY_RUN", "true", "dry_run", True),
        ("CANARYD_LEADER_ELECTION__LEASE_S", "30", "leader_election.lease_s", 30),
        ("CANARYD_PROVIDERS__NGINX__DIALECT", "traefik", "providers.nginx.dialect", "traefik"),
        (
            "CANARYD_METRIC_SOURCES__DEFAULT__URL",
            "http://b",
            "metric_sources.default.url",
            "http://b",
        ),
        (
            "CANARYD_METRIC_SOURCES__LONG_TERM__URL",
            "http://b",
            "metric_sources.long-term.url",
            "http://b",
        ),
        ("CANARYD_METRIC_SOURCES", "{a: {url: 'http://b'}}", "metric_sources.a.url", "http://b"),
        ("CANARYD_SCOPE__NAMESPACES", "a, b,", "scope.namespaces", ("a", "b")),
        ("CANARYD_SCOPE__NAMESPACES", "[a, b]", "scope.namespaces", ("a", "b")),
        ("CANARYD_EGRESS__ALLOWED_HOSTS", "", "egress.allowed_hosts", ()),
        ("CANARYD_LOG", "{level: error}", "log.level", "error"),
        ("CANARYD_DEFAULTS", "{interval: 30s}", "defaults.interval", "30s"),
        ("CANARYD_IDENTITY", "", "identity", ""),
    ],
    ids=[
        "a number between blanks",
        "seconds",
        "a switch",
        "a key of a section",
        "a key of a section of a section",
        "a named source",
        "a named source with a dash",
        "all sources",
        "a list with commas",
        "a list as YAML",
        "an empty list",
        "a section",
        "defaults",
        "an empty text",
    ],
)
def test_every_kind_of_value_can_come_from_a_variable(settings, name, text, path, expected):
    assert expected == at(settings.load(FILE, {name: text}), path)


def test_a_key_wins_over_its_section_in_the_environment(settings):
    environ = {"CANARYD_LOG__LEVEL": "debug", "CANARYD_LOG": "{level: error, format: text}"}
    log = settings.load("scope: {mode: cluster}", environ).log
    assert ("debug", "text") == (log.level, log.format)


def test_variables_of_others_are_not_ours(settings):
    environ = {"HOME": "/", "CANARY_WORKERS": "x", "XCANARYD_WORKERS": "x", "workers": "x"}
    assert 4 == settings.load(FILE, environ).workers


def test_the_variable_that_names_the_file_is_no_setting(settings):
    assert 4 == settings.load(FILE, {CONFIG_VARIABLE: "/etc/canaryd/config.yaml"}).workers


SERVICE_LINKS = {
    "CANARYD_PORT": "tcp://10.96.0.7:8080",
    "CANARYD_PORT_8080_TCP": "tcp://10.96.0.7:8080",
    "CANARYD_PORT_8080_TCP_ADDR": "10.96.0.7",
    "CANARYD_PORT_8080_TCP_PORT": "8080",
    "CANARYD_PORT_8080_TCP_PROTO": "tcp",
    "CANARYD_SERVICE_HOST": "10.96.0.7",
    "CANARYD_SERVICE_PORT": "8080",
    "CANARYD_SERVICE_PORT_HTTP_METRICS": "8080",
    "CANARYD_METRICS_PORT": "udp://[fd00::7]:8080",
    "CANARYD_METRICS_SERVICE_HOST": "fd00::7",
    "CANARYD_METRICS_PORT_8080_SCTP_PROTO": "sctp",
}


def test_what_kubernetes_tells_of_services_called_canaryd_is_passed_over(settings):
    assert settings.load(FILE) == settings.load(FILE, SERVICE_LINKS)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("CANARYD_WORKER", "4", "is no setting; did you mean CANARYD_WORKERS?"),
        ("CANARYD_LOG_LEVEL", "debug", "is no setting; did you mean CANARYD_LOG__LEVEL?"),
        ("CANARYD_log__level", "debug", "is no setting"),
        ("CANARYD_PORT", "8080", "is no setting"),
        ("CANARYD_PORT", "yes", "is no setting"),
        ("CANARYD_SERVICE_HOST", "me", "is no setting"),
        ("CANARYD_SERVICE_PORT", "tcp", "is no setting"),
        ("CANARYD_PORT_8080_TCP_PROTO", "8080", "is no setting"),
        ("CANARYD_DEFAULTS__INTERVAL", "30s", "is no setting; did you mean CANARYD_DEFAULTS?"),
        ("CANARYD_METRIC_SOURCES____URL", "http://b", "is no setting"),
        ("CANARYD_", "x", "is no setting"),
        ("CANARYD_\x1b[31m", "x", "is no setting"),
    ],
    ids=[
        "a letter missing",
        "one underscore",
        "small letters",
        "a port that is no link",
        "no port at all",
        "a host that is no address",
        "a protocol for a port",
        "a port for a protocol",
        "a single default",
        "a source without a name",
        "nothing",
        "a hostile name",
    ],
)
def test_a_misspelt_variable_is_refused(settings, name, text, expected):
    [found] = settings.problems(FILE, {name: text})
    assert found.startswith("environment: ")
    assert expected in found
    assert found.isprintable()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("CANARYD_WORKERS", "many", 'workers: "many" is not a whole number'),
        ("CANARYD_WORKERS", "", 'workers: "" is not a whole number'),
        ("CANARYD_DRY_RUN", "perhaps", 'dry_run: "perhaps" is not true or false'),
        ("CANARYD_LOG", "[", "log: is not YAML: did not find expected node content"),
        ("CANARYD_LOG", "{level: info, level: info}", "log: has a key twice"),
        ("CANARYD_LOG", "", "log: null is not a section; its keys are level, format"),
        ("CANARYD_SCOPE__NAMESPACES", "a,A", 'scope.namespaces[1]: "A" is not the name of a'),
        (
            "CANARYD_IDENTITY",
            "\udcff",
            'identity: "\\udcff" has a character that cannot be printed',
        ),
    ],
    ids=[
        "no number",
        "nothing for a number",
        "no switch",
        "no YAML",
        "a key twice",
        "nothing for a section",
        "an item",
        "bytes that are no text",
    ],
)
def test_a_bad_variable_is_named(settings, name, text, expected):
    [found] = settings.problems(FILE, {name: text})
    assert found.startswith(f"environment {name}: {expected}")


# --- the file ---


def test_a_key_that_stands_twice_is_refused_with_both_lines(settings):
    text = "scope: {mode: cluster}\nlog:\n  level: info\nworkers: 1\nlog:\n  level: debug\n"
    assert ["FILE:5: log: stands here twice, first on line 2; remove one"] == settings.problems(
        text
    )


def test_a_key_that_stands_twice_below_another_is_refused(settings):
    text = "scope: {mode: cluster}\nlog:\n  level: info\n  level: debug\n"
    expected = "FILE:4: log.level: stands here twice, first on line 3; remove one"
    assert [expected] == settings.problems(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [\n", "FILE:2: (the file): is not YAML: did not find expected node content"),
        ("- a\n", 'FILE: (the file): is not a mapping, such as "log: ..."'),
        ("hello\n", 'FILE: (the file): is not a mapping, such as "log: ..."'),
        ("a: 1\n---\nb: 2\n", "FILE: (the file): holds 2 documents; write one"),
        ("a: &a [*a]\n", "FILE:1: (the file): contains itself by an alias"),
        ("[" * 100_000, "FILE:1: (the file): is nested too deeply"),
        ("a: {{ .Values.x }}\n", "FILE:1: (the file): is not YAML: found unhashable key; it looks"),
    ],
    ids=[
        "no YAML",
        "a list",
        "a word",
        "two documents",
        "a loop",
        "a bomb",
        "a template",
    ],
)
def test_a_file_that_cannot_be_used_is_the_only_complaint_about_it(settings, text, expected):
    # Not that the scope is missing: it may well be in there.
    [found] = settings.problems(text)
    assert found.startswith(expected)


def test_what_is_wrong_beside_a_file_that_cannot_be_used_is_told_too(settings):
    found = settings.problems("a: [\n", {"CANARYD_WORKERS": "0"}, {"-n": {"scope": 5}})
    assert [
        "FILE:2: (the file): is not YAML: did not find expected node content",
        "-n: scope: 5 is not a section; its keys are mode, namespaces",
        'environment CANARYD_WORKERS: workers: "0" is below the minimum of 1',
    ] == found


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    expected = f"{path}: (the file): cannot be read: No such file or directory"
    assert [expected] == [problem.message for problem in caught.value.problems]


def test_keys_that_are_no_text_are_refused_like_others(settings):
    text = "scope: {mode: cluster}\n1: x\n2026-01-01: x\nnull: x\n"
    found = settings.problems(text)
    assert 3 == len(found)
    assert all(": is not a known key; " in message for message in found)


# --- all at once ---


def test_everything_that_is_wrong_with_all_layers_comes_out_at_once(settings):
    text = """\
scope:
  mode: everything
log:
  level: loud
  levle: info
workers: 0
workers: 0
metric_sources:
  default:
    url: http://me:hunter2@prometheus
"""
    environ = {"CANARYD_RESYNC_S": "1", "CANARYD_WORKER": "1", "CANARYD_LOG__FORMAT": "xml"}
    flags = {"--port": {"server": {"port": 99999}}}
    assert [
        "FILE:7: workers: stands here twice, first on line 6; remove one",
        "environment: CANARYD_WORKER: is no setting; did you mean CANARYD_WORKERS?",
        'FILE:2: scope.mode: "everything" is not one of cluster, namespaces',
        (
            'FILE:10: metric_sources.default.url: "http://***@prometheus" carries credentials, '
            "which would end in logs; leave out what is before the @"
        ),
        'FILE:4: log.level: "loud" is not one of debug, info, warning, error',
        'environment CANARYD_LOG__FORMAT: log.format: "xml" is not one of json, text',
        'FILE:5: log.levle: is not a known key; did you mean "level"?',
        "--port: server.port: 99999 is above the maximum of 65535",
        "FILE:6: workers: 0 is below the minimum of 1",
        'environment CANARYD_RESYNC_S: resync_s: "1" is below the minimum of 10',
    ] == settings.problems(text, environ, flags)


@pytest.mark.parametrize(
    ("text", "environ", "flags", "expected"),
    [
        ("log:\n  level: loud\n", {}, {}, "FILE:2: log.level: "),
        ("scope:\n  namespaces:\n    - a\n    - B\n", {}, {}, "FILE:4: scope.namespaces[1]: "),
        ("", {"CANARYD_LOG__LEVEL": "loud"}, {}, "environment CANARYD_LOG__LEVEL: log.level: "),
        (
            "log: {level: info}",
            {},
            {"--log-level": {"log": {"level": "x"}}},
            "--log-level: log.lev",
        ),
        ("log: {level: loud}", {"CANARYD_LOG__FORMAT": "json"}, {}, "FILE:1: log.level: "),
        ("leader_election:\n  lease_s: 5\n", {}, {}, "FILE:1: leader_election.renew_s: "),
    ],
    ids=["a line", "an item's line", "a variable", "a flag", "beside another", "a default"],
)
def test_a_complaint_points_at_who_gave_the_value(settings, text, environ, flags, expected):
    found = settings.problems(text, environ, flags)
    assert any(message.startswith(expected) for message in found), found


def test_a_value_in_place_of_a_section_is_told_although_a_flag_covers_it(settings):
    text = "scope: {mode: cluster}\nlog: loud\n"
    flags = {"--log-level": {"log": {"level": "debug"}}}
    assert ['FILE:2: log: "loud" is not a section or mapping'] == settings.problems(
        text, flags=flags
    )


def test_nothing_behind_a_section_is_told(settings):
    text = "scope: {mode: cluster}\nlog:\n"
    expected = "FILE:2: log: null is not a section; its keys are level, format"
    assert [expected] == settings.problems(text)


def test_the_error_reads_as_a_list():
    with pytest.raises(ConfigError) as caught:
        load(None, {"CANARYD_SCOPE__MODE": "x", "CANARYD_WORKERS": "0"})
    assert (
        "2 problems in the configuration:\n"
        '  environment CANARYD_SCOPE__MODE: scope.mode: "x" is not one of cluster, namespaces\n'
        '  environment CANARYD_WORKERS: workers: "0" is below the minimum of 1'
    ) == str(caught.value)


def test_one_problem_is_called_one():
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    assert str(caught.value).startswith("one problem in the configuration:\n")


def test_hostile_keys_and_values_stay_printable_and_short(settings):
    text = 'scope: {mode: cluster}\n"\\e[31m\\u202e": 1\nidentity: "' + "x" * 9000 + '\\e[0m"\n'
    found = settings.problems(text)
    assert 2 == len(found)
    assert all(message.isprintable() and len(message) < 300 for message in found)
