"""What the documents say of the tree is true: links, paths, targets, keys, flags, names, numbers.

A document is read by people who cannot see the code. So each claim that can be compared with the
code is compared with it here, by the code itself where that is possible.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from canaryd.cli.main import COMMANDS, CONTEXT, cli
from canaryd.core import keda, names, shift
from canaryd.core.commands import ACTION, CommandVerb
from canaryd.core.feedback import WAITS
from canaryd.core.kinds import CANARY
from canaryd.core.lookup import Known, look_up
from canaryd.core.model import OnFailure
from canaryd.core.phase import Phase
from canaryd.core.program import Strategy
from canaryd.core.reasons import Reason
from canaryd.core.rollout.upkeep import DRIFT_LIMIT, DRIFT_WINDOW_S
from canaryd.core.status import STALLED_REASONS
from canaryd.core.vocabulary import BY_KEY, CONFIG_KEYS
from tests.cli.commands import Canaryd
from tests.docs.markdown import (
    ROOT,
    anchors,
    blocks,
    commands,
    documents,
    is_generated,
    links,
    prose,
    read,
    section,
    spans,
)
from tests.docs.pages import table

WRITTEN = tuple(name for name in documents() if not is_generated(name))
each_document = pytest.mark.parametrize("name", documents())
each_written = pytest.mark.parametrize("name", WRITTEN)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHART = ROOT / "deploy" / "helm" / "canaryd"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def flat(text):
    return " ".join(text.split())


# --- links ---


def is_there(name, target):
    path, _, anchor = target.partition("#")
    found = (ROOT / name).parent / path if path else ROOT / name
    if not found.exists():
        return False
    return not anchor or anchor in anchors(found.read_text(encoding="utf-8"))


@each_document
def test_every_link_within_the_tree_leads_somewhere(name):
    within = [t for t in links(read(name)) if not re.match(r"[a-z]+:", t)]
    assert [] == [target for target in within if not is_there(name, target)]


def test_a_link_that_leads_nowhere_would_be_noticed():
    assert is_there("docs/README.md", "concepts.md#words")
    assert not is_there("docs/README.md", "concepts.md#wards")
    assert not is_there("docs/README.md", "conceits.md")
    assert ["a.md", "b.md#c"] == links("[a](a.md) `[x](y)` [`b`](b.md#c)\n```\n[n](o)\n```\n")


def test_the_index_leads_to_every_page():
    pages = [name for name in documents() if re.fullmatch(r"docs/(?:reference/)?[\w-]+\.md", name)]
    known = {f"docs/{target}" for target in links(read("docs/README.md"))} | {"docs/README.md"}
    assert set() == set(pages) - known


def test_the_readme_fits_on_a_few_screens():
    assert len(read("README.md").splitlines()) <= 149


# --- the map of the tree ---


def cells(text):
    """The code in the first cell of each row of the tables in a text."""
    rows = re.findall(r"^\| *(`[^|]*?) *\|", text, re.MULTILINE)
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row)]


def test_every_path_that_contributing_names_is_there():
    paths = [
        c for c in spans(read("CONTRIBUTING.md")) if re.fullmatch(r"[\w.][\w./-]*/[\w./-]*", c)
    ]
    assert len(paths) > 20
    assert [] == [path for path in paths if not (ROOT / path).exists()]


def test_the_map_has_every_package():
    mapped = cells(section(read("CONTRIBUTING.md"), "## Map of the tree"))
    assert [] == [path for path in mapped if not (ROOT / path).exists()]
    packages = {f"canaryd/{path.parent.name}/" for path in ROOT.glob("canaryd/*/__init__.py")}
    assert set() == packages - set(mapped)


def test_the_table_of_tests_has_every_folder():
    told = section(read("CONTRIBUTING.md"), "## Tests")
    named = {
        folder
        for _, folders, _ in table(told, ("tier", "folders of `tests/`", "what it proves"))
        for folder in re.findall(r"`(\w+)`", folders)
    }
    folders = {path.parent.name for path in ROOT.glob("tests/*/*.py")}
    assert folders == named | {"fakes"}


def test_the_layers_are_those_that_are_checked():
    [block] = blocks(section(read("CONTRIBUTING.md"), "## Layers"), "text")
    [layers] = [c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    assert layers["layers"] == block.text.splitlines()


def test_pages_and_tests_that_the_code_refers_to_are_there():
    lost = {
        (path.relative_to(ROOT).as_posix(), reference)
        for path in sorted(ROOT.glob("canaryd/**/*.py"))
        for reference in re.findall(
            r"\b(?:docs/[\w/-]+\.md|tests/[\w/-]+\.py)", path.read_text(encoding="utf-8")
        )
        if not (ROOT / reference).exists()
    }
    assert set() == lost


# --- make ---


def targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


@each_document
def test_every_target_of_make_that_is_named_exists(name):
    named = {words[1] for words in commands(read(name)) if words[0] == "make" and words[1:]}
    assert set() == named - targets()


def test_make_help_lists_every_target():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert targets() == {line.split()[0] for line in done.stdout.splitlines()}


# --- annotations ---

_OURS = re.compile(r"(?<![\w.@-])((?:[a-z]+\.)?canaryd\.io/)([a-z0-9.<>-]*)")
MARKS = {
    value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)
} - {names.PREFIX, names.INTERNAL}


def is_known(prefix, key):
    if not key or prefix + key in MARKS | {CANARY.api_version}:
        return True
    if prefix == ACTION:
        return key.partition(".")[0] in {"<verb>", *CommandVerb}
    if prefix not in (names.PREFIX, "defaults.canaryd.io/"):
        return False
    of_configs = prefix == names.PREFIX and key in CONFIG_KEYS
    return of_configs or key in BY_KEY or isinstance(look_up(key), Known)


@each_written
def test_every_annotation_that_is_named_is_known(name):
    # A key at the end of a sentence, a key that kubectl is to remove.
    named = [(prefix, key.rstrip(".-")) for prefix, key in _OURS.findall(read(name))]
    assert [] == [prefix + key for prefix, key in named if not is_known(prefix, key)]


def manifest_of(text):
    """An example as an object that can be applied; empty if it carries no annotation of ours."""
    value = yaml.safe_load(text)
    if names.PREFIX not in text or not isinstance(value, dict):
        return ""
    if "kind" in value:
        return text
    head = "apiVersion: apps/v1\nkind: Deployment\n"
    if "metadata" in value:
        return head + text
    if all(str(key).startswith(names.PREFIX) for key in value):
        return f"{head}metadata:\n  annotations:\n" + re.sub(r"(?m)^", "    ", text)
    return ""


EXAMPLES = [
    pytest.param(manifest, id=f"{name}-{number}")
    for name in WRITTEN
    for number, block in enumerate(blocks(read(name), "yaml"))
    if (manifest := manifest_of(block.text))
]


@pytest.mark.parametrize("manifest", EXAMPLES)
def test_an_example_can_be_applied_as_it_is(manifest, capsys, monkeypatch):
    outcome = Canaryd(capsys, monkeypatch)("lint", "-", stdin=manifest.encode())
    assert (0, "1 annotated Deployment, no problems\n", "") == (
        outcome.code,
        outcome.out,
        outcome.err,
    )


def test_there_are_examples():
    assert {"README.md-0", "docs/reference/hooks.md-0"} <= {e.id for e in EXAMPLES}


# --- commands of canaryd ---


def complaints(words):
    """What is wrong with a command line of canaryd, as far as names go."""
    command, rest = cli, words[1:]
    if rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        if rest[0] not in COMMANDS:
            return [f"there is no {' '.join(words[:2])}"]
        command, rest = cli.get_command(click.Context(cli), rest[0]), rest[1:]
    flags = {o for param in command.params for o in (*param.opts, *param.secondary_opts)}
    flags |= set(CONTEXT["help_option_names"])
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
    return [f"{command.name} has no {flag}" for flag in given if flag not in flags]


@each_document
def test_every_command_of_canaryd_that_is_named_exists_with_its_flags(name):
    named = [
        words[1:] if words[0] == "kubectl" else words
        for words in commands(read(name))
        if words[0] == "canaryd" or words[:2] == ["kubectl", "canaryd"]
    ]
    assert [] == [wrong for words in named for wrong in complaints(words)]


def test_a_command_or_flag_that_does_not_exist_would_be_noticed():
    assert ["there is no canaryd ship"] == complaints(["canaryd", "ship", "podinfo"])
    assert ["run has no --fast"] == complaints(["canaryd", "run", "-A", "--fast=1", "--once"])


# --- the chart ---


def value_at(path):
    node = VALUES
    for part in path.split("."):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    return (node,)


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "docs/operations.md"])
def test_every_value_of_the_chart_that_is_named_exists(name):
    code = [*spans(read(name)), *(word for words in commands(read(name)) for word in words)]
    paths = [re.fullmatch(r"(?:--set )?([\w.]+)(?:=.*)?", text) for text in code]
    named = {path[1] for path in paths if path and path[1].partition(".")[0] in VALUES}
    assert "scope.mode" in named
    assert set() == {path for path in named if value_at(path) is None}


@pytest.mark.parametrize(
    "name", ["README.md", "docs/operations.md", "deploy/helm/canaryd/README.md"]
)
def test_the_oldest_version_of_kubernetes_is_the_charts(name):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    [oldest] = re.findall(r">=(\d+\.\d+)\.", chart["kubeVersion"])
    assert f"Kubernetes {oldest} or newer" in flat(read(name))


def test_the_times_of_an_election_are_the_charts():
    told, times = flat(read("docs/operations.md")), VALUES["leaderElection"]
    lease, renew, retry = (times[f"{name}Seconds"] for name in ("lease", "renew", "retry"))
    assert f"another leads within `leaderElection.retrySeconds` ({retry} s)" in told
    assert f"and `leaderElection.retrySeconds` at most ({lease} s and {retry} s)" in told
    assert f"cannot renew for `leaderElection.renewSeconds` ({renew} s)" in told


# --- words and marks ---


def test_the_page_of_concepts_has_every_phase():
    rows = table(read("docs/concepts.md"), ("phase", "the app is"))
    assert [f"`{phase}`" for phase in Phase] == [phase for phase, _ in rows]


def test_the_page_of_concepts_calls_objects_as_they_are_called():
    told = section(read("docs/concepts.md"), "## What canaryd makes, and who owns it")
    rows = [row for row, _ in table(told, ("object", "what it is"))]
    assert [
        f"Deployment `{names.primary_name('app')}`",
        f"Service `{names.primary_name('app')}`",
        f"Service `{names.canary_name('app')}`",
        f"Ingress `{names.canary_name('web')}`",
        "TrafficSplit `app`",
        f"HorizontalPodAutoscaler, ScaledObject `{names.primary_name('NAME')}`",
        f"PodDisruptionBudget, NetworkPolicy `{names.primary_name('NAME')}`",
        f"ConfigMap, Secret `{names.config_copy_name('NAME', 'HASH')}`",
        f"ControllerRevision `{names.snapshot_name('app', 'HASH')}`",
        "Canary `app`",
    ] == rows
    label, value = next(iter(names.ownership_labels("app").items()))
    assert f"`{label}: {value}`" in told
    assert f"`{names.LABEL_TARGET}: app`" in told


def first_cells(head):
    """The code in the first cells of the one table of the page of concepts with this head."""
    rows = table(read("docs/concepts.md"), head)
    return {code for row in rows for code in re.findall(r"`([\w-]+)`", row[0])}


def test_the_page_of_concepts_has_every_strategy_action_and_way_to_fail():
    strategies = first_cells(("strategy", "who gets to the canary", "judged"))
    assert set(map(str, Strategy)) == strategies - {"steps"}
    assert set(map(str, CommandVerb)) == first_cells(("action", "what happens"))
    assert set(map(str, OnFailure)) == first_cells(("value", "users", "pods", "then"))


def test_the_page_of_concepts_says_what_is_gross():
    told = flat(read("docs/concepts.md"))
    assert (4.0, 2.0) == (shift.MISSED, shift.EXCESS)
    assert "fewer than a quarter of the expected requests, or more than twice as many" in told
    assert f"where at least {shift.EXPECTED_AT_LEAST:.0f} were expected" in told


LABELS = {names.LABEL_APEX, names.LABEL_TARGET}
ANNOTATIONS = {names.ORIGINAL_SELECTOR, names.MANAGED, names.AUTHOR}
ON_ROUTES = {f"{names.ROUTE}.TARGET"}
ON_SCALERS = {names.ORIGINAL_PAUSE, keda.PAUSED, keda.PAUSED_REPLICAS}


def test_the_page_of_concepts_has_every_mark_on_the_users_objects():
    told = section(read("docs/concepts.md"), "## What canaryd makes, and who owns it")
    rows = table(told, ("object", "what is changed", "for how long"))
    marks = {code for row in rows for code in re.findall(r"`([^`]+/[^`]+)`", row[1])}
    assert LABELS | ANNOTATIONS | ON_ROUTES | ON_SCALERS == marks


def test_argo_cd_is_told_of_every_field_that_canaryd_writes():
    [application] = [
        value
        for block in blocks(read("docs/gitops.md"), "yaml")
        if (value := yaml.safe_load(block.text)).get("kind") == "Application"
    ]
    pointers = {
        p for rule in application["spec"]["ignoreDifferences"] for p in rule["jsonPointers"]
    }
    marks = {f"/metadata/labels/{key.replace('/', '~1')}" for key in LABELS}
    marks |= {f"/metadata/annotations/{key.replace('/', '~1')}" for key in ANNOTATIONS}
    assert marks | {"/spec/selector", "/spec/replicas"} == pointers


def test_the_page_of_operations_has_every_reason_that_needs_a_person():
    told = section(read("docs/operations.md"), "## When an app does not move")
    rows = table(told, ("reason", "what is wrong", "what to do"))
    found = [word for row in rows for word in re.findall(r"`(\w+)`", row[0])]
    assert sorted(map(str, STALLED_REASONS)) == sorted(found)


def test_the_page_of_operations_has_every_wait_that_a_person_or_the_clock_ends():
    told = section(read("docs/operations.md"), "## When an app does not move")
    waits = table(told, ("reason", "it waits for", "to move it on"))
    failed = table(told, ("reason", "why the run failed"))
    found = {word for row in (*waits, *failed) for word in re.findall(r"`(\w+)`", row[0])}
    assert set() == {str(reason) for reason in (*WAITS, Reason.PAUSED)} - found
    assert set() == found - set(map(str, Reason))


def test_every_metric_of_the_process_that_is_named_is_documented():
    documented = set(re.findall(r"\bcanaryd_\w+", read("docs/reference/metrics.md")))
    for name in WRITTEN:
        named = {code for code in spans(read(name)) if re.fullmatch(r"canaryd_\w+", code)}
        assert (name, set()) == (name, named - documented)


def test_the_page_of_operations_says_when_repairs_stop():
    stops = f"{DRIFT_LIMIT} times in {DRIFT_WINDOW_S / 60:.0f} minutes"
    assert stops in flat(read("docs/operations.md"))


# --- whom and what no document names ---

HOSTS = {
    "kubernetes.io",
    "app.kubernetes.io",
    "nginx.ingress.kubernetes.io",
    "smi.linkerd.io",
    "kubectl.kubernetes.io",
    "admissionregistration.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "gateway.networking.k8s.io",
    "split.smi-spec.io",
    "argoproj.io",
    "semver.org",
}
"""Groups of APIs, prefixes of keys, and the one page beyond the tree that is linked to."""
OWN = ("canaryd.io", "example.com")
_HOST = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:cloud|com|dev|io|net|org)\b")
_MACHINE = re.compile(r"(?<![\w.}~-])/(?:home|mnt|private|root|srv|tmp/\w|Users|work)\b")
_PERSON = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+|(?<![\w/.*`])@[A-Za-z][\w-]+")


def named_by(text):
    """Hosts that are not ours to name, paths of somebody's machine, people."""
    hosts = {host for host in _HOST.findall(text) if not host.endswith(OWN)} - HOSTS
    people = [found for found in _PERSON.findall(prose(text)) if not found.endswith(OWN)]
    return [*sorted(hosts), *_MACHINE.findall(text), *people]


@each_document
def test_no_document_names_a_person_a_machine_or_a_registry(name):
    assert [] == named_by(read(name))


def test_a_person_a_machine_or_a_registry_would_be_noticed():
    text = "Pull from images.invalid.io, see /home/jo/x, ask jo@invalid.org or @jo.\n"
    assert ["images.invalid.io", "invalid.org", "/home", "jo@invalid.org", "@jo"] == named_by(text)


# --- news ---

NEWS = ROOT / PROJECT["tool"]["towncrier"]["directory"]
FRAGMENTS = sorted(path for path in NEWS.iterdir() if not path.name.startswith("."))


def kinds():
    told = section(read("CONTRIBUTING.md"), "## Before you send it")
    [sentence] = re.findall(r"`KIND` is ([^;]+);", told)
    return re.findall(r"`(\w+)`", sentence)


def draft(folder):
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return flat(done.stdout)


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_news_fragment_has_a_kind_that_is_known(path):
    assert re.fullmatch(rf"\+[a-z0-9-]+\.(?:{'|'.join(kinds())})\.md", path.name)


@pytest.mark.slow
def test_every_news_fragment_is_in_the_draft():
    shown = draft(ROOT)
    assert "## 9.9.9 (" in shown
    told = {path.name: flat(path.read_text(encoding="utf-8")) for path in FRAGMENTS}
    assert [] == [name for name, text in told.items() if not text or text not in shown]


@pytest.mark.slow
def test_every_kind_that_contributing_names_is_one(tmp_path):
    settings = "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in PROJECT["tool"]["towncrier"].items()
    )
    (tmp_path / "pyproject.toml").write_text(f"[tool.towncrier]\n{settings}")
    folder = tmp_path / PROJECT["tool"]["towncrier"]["directory"]
    folder.mkdir()
    for kind in kinds():
        (folder / f"+{kind}.{kind}.md").write_text(f"about a {kind}\n")
    (folder / "+typo.featrue.md").write_text("about a typo\n")
    shown = draft(tmp_path)
    assert [] == [kind for kind in kinds() if f"about a {kind}" not in shown]
    assert "about a typo" not in shown


def test_the_changelog_has_the_place_where_releases_go():
    assert 1 == read("CHANGELOG.md").count("<!-- towncrier release notes start -->\n")


def test_the_documents_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/concepts.md"} <= set(documents())
    assert not any(Path(name).parts[0].startswith(".") for name in documents())
