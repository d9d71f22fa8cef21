"""Every command of the README's console blocks is run, and prints what the README shows.

What cannot be run in a test of its own stands in a table with the place that runs it.
``helm install`` is rendered, with the flags that are printed, by the real Helm.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass, replace

import pytest
import yaml

from canaryd.config.load import load
from canaryd.core.commands import read_commands
from canaryd.core.gates import judge
from canaryd.core.model import (
    Builtin,
    CanarySpec,
    Comparator,
    Condition,
    Counts,
    Histogram,
    MetricAnswer,
    MetricCheck,
)
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.routing import Routing
from canaryd.core.state import RolloutState, RunState
from canaryd.core.status import StatusInput, render
from tests.chart.chart import CHART, Objects, helm
from tests.cli import apps
from tests.cli.commands import Canaryd
from tests.cli.test_status import primary
from tests.cli.world import in_a_world
from tests.docs.markdown import ROOT, blocks, console, documents, read, spans

README = "README.md"


@dataclass(frozen=True)
class Elsewhere:
    """A command that another place runs."""

    file: str
    line: str
    why: str


ELSEWHERE = {
    "make test": Elsewhere(".ci/run", "make test", "these tests are part of it"),
    "make demo": Elsewhere(".ci/run", "make demo", "it ends with 0 only if all of it came true"),
    "make test-fast": Elsewhere(".ci/run", "make test", "all of its tests are part of that"),
}
STATUS = "kubectl canaryd status podinfo"
STEERING = tuple(f"kubectl canaryd {verb} " for verb in ("pause", "promote", "abort", "undo"))
HERE = ("canaryd lint podinfo.yaml", "helm install canaryd ", "kubectl get cnry", STATUS, *STEERING)
"""What the tests below are about."""


def output_of(command):
    [output] = [shown for found, shown in console(read(README)) if found == command]
    return output


def test_every_command_of_the_readme_is_run_somewhere():
    known = (*HERE, *ELSEWHERE)
    named = [command for command, _ in console(read(README))]
    assert [] == [command for command in named if not command.startswith(known)]
    assert [] == [start for start in known if not any(c.startswith(start) for c in named)]


@pytest.mark.parametrize("command", ELSEWHERE)
def test_the_place_that_runs_a_command_runs_it(command):
    place = ELSEWHERE[command]
    assert place.line in (ROOT / place.file).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("command", ELSEWHERE)
def test_make_knows_how_to_run_what_is_run_elsewhere(command):
    dry = ["make", "--no-print-directory", "--dry-run", command.removeprefix("make ")]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    wanted = "tests.demo" if command == "make demo" else "pytest"
    assert wanted in done.stdout


# --- canaryd lint ---


def test_lint_finds_the_four_lines_in_order(tmp_path, capsys, monkeypatch):
    [block] = blocks(read(README), "yaml")
    (tmp_path / "podinfo.yaml").write_text(block.text)
    monkeypatch.chdir(tmp_path)
    outcome = Canaryd(capsys, monkeypatch)("lint", "podinfo.yaml")
    assert (0, "") == (outcome.code, outcome.err)
    assert output_of("canaryd lint podinfo.yaml") == tuple(outcome.out.splitlines())


# --- kubectl get ---


def printer_columns():
    """The columns of ``kubectl get``, from the template, whose every column is a line of YAML."""
    text = (CHART / "templates" / "crd-canaries.yaml").read_text(encoding="utf-8")
    listed = text.partition("additionalPrinterColumns:\n")[2].partition("      schema:")[0]
    columns = yaml.safe_load(listed)
    return [column for column in columns if not column.get("priority")]


def look_up(path, value):
    """The part of a Canary that a column shows, for the two forms of path that there are."""
    for part in re.findall(r"\.(\w+)|\[\?\(@\.type==\"(\w+)\"\)\]", path):
        key, kind = part
        value = value[key] if key else next(item for item in value if item["type"] == kind)
    return str(value)


def as_kubectl_prints(rows):
    """Each column as wide as its widest cell, three blanks between two."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return tuple(line.rstrip() for line in lines)


def test_kubectl_shows_what_the_readme_shows():
    run = RunState(id="r-1", revision="r", started_at=0.0, step=1, weight=20, step_started_at=1.0)
    state = RolloutState(
        phase=Phase.PROGRESSING, promoted="p", run=run, reason=str(Reason.WEIGHT_ADVANCED)
    )
    given = StatusInput(state, CanarySpec(weights=(5, 20, 50)), None, 1, "")
    canary = {"status": render(given, {}, 2.0), "metadata": {"creationTimestamp": "3d"}}
    columns = printer_columns()
    head = ["NAME", *(column["name"].upper() for column in columns)]
    row = ["podinfo", *(look_up(column["jsonPath"], canary) for column in columns)]
    assert as_kubectl_prints([head, row]) == output_of("kubectl get cnry")


# --- kubectl canaryd ---


def plan_of_the_readme():
    [block] = blocks(read(README), "yaml")
    written = yaml.safe_load(block.text)["metadata"]["annotations"]
    return {key.removeprefix("canaryd.io/"): value for key, value in written.items()}


@pytest.mark.looptime
@in_a_world
async def test_the_tree_of_a_run_is_the_one_that_the_readme_shows(world):
    plan = plan_of_the_readme()
    for side in (apps.deployment("podinfo:2", plan=plan), primary()):
        side["status"] = {"readyReplicas": side["spec"]["replicas"]}
        world.server.put(side)
    running = apps.running(world.now(), plan=plan, failures=0, failures_by_metric={})
    latency, success = running.verdicts
    verdicts = (replace(latency, verdict="Passed", value="297.7"), success)
    message = f"{Routing(5)} -> {Routing(20)}"
    told = {"hooks": (), "reason": str(Reason.WEIGHT_ADVANCED), "message": message}
    world.tell(replace(running, verdicts=verdicts, **told), plan=plan)
    outcome = await world("status", "podinfo", name="kubectl-canaryd")
    assert (0, "") == (outcome.code, outcome.err)
    assert tuple(outcome.out.splitlines()) == output_of(STATUS)


@pytest.mark.looptime
@pytest.mark.parametrize("line", [c for c, _ in console(read(README)) if c.startswith(STEERING)])
@in_a_world
async def test_an_action_of_the_readme_is_asked_for_as_it_stands_there(world, line):
    state = apps.idle if " undo " in line else apps.running
    world.tell(state(world.now()))
    _, *arguments = shlex.split(line)[1:]
    outcome = await world(*arguments, "--no-wait", name="kubectl-canaryd")
    assert (0, "") == (outcome.code, outcome.err)
    [command] = read_commands(world.asked())
    assert arguments[0] == command.verb


# --- the line of log ---


def test_the_line_of_log_is_one_that_is_written():
    [block] = blocks(read(README), "text")
    success = MetricCheck(
        name="success-rate",
        builtin=Builtin.SUCCESS_RATE,
        condition=Condition(Comparator.AT_LEAST, 99.0),
    )
    latency = MetricCheck(
        name="latency-p99",
        builtin=Builtin.LATENCY_P99,
        condition=Condition(Comparator.AT_MOST, 500.0, unit="ms"),
    )
    counts = Counts(214.0, 0.0, 60.0)
    histogram = Histogram(((0.1, 200.0), (0.3, 212.0), (1.2, 214.0), (float("inf"), 214.0)), 60.0)
    verdicts = [
        judge(success, MetricAnswer(check="success-rate", counts=counts), min_requests=0),
        judge(latency, MetricAnswer(check="latency-p99", histogram=histogram), min_requests=0),
    ]
    words = ", ".join(verdict.message for verdict in verdicts)
    assert f"{Routing(5)} -> {Routing(20)}: {words}\n" == block.text


# --- helm ---

INSTALLATIONS = sorted(
    {
        (command, name)
        for name in documents()
        for command, _ in console(read(name))
        if command.startswith(("helm install ", "helm upgrade "))
    }
)


def as_template(command):
    """The command with ``template`` in the place of its verb; it takes the flags of ``install``."""
    _, verb, *rest = shlex.split(command)
    if verb == "upgrade":
        rest.remove("--reset-then-reuse-values")
        rest += ["--set", "scope.mode=cluster"]
    return [helm(), "template", *rest, "--kube-version=1.34.0"]


def render_chart(command):
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == done.returncode, done.stderr
    return Objects(o for o in yaml.safe_load_all(done.stdout) if o)


@pytest.mark.cluster
@pytest.mark.parametrize(("command", "name"), INSTALLATIONS, ids=str)
def test_what_helm_is_told_renders_a_daemon_that_starts(command, name, tmp_path):
    objects = render_chart(as_template(command))
    assert {"Deployment", "CustomResourceDefinition", "ClusterRole"} <= objects.kinds()
    config = tmp_path / "config.yaml"
    config.write_text(objects.settings_text())
    assert "cluster" == load(config).scope.mode


@pytest.mark.cluster
def test_the_readme_installs_with_the_metric_source_it_names(tmp_path):
    [command] = [command for command, name in INSTALLATIONS if name == README]
    config = tmp_path / "config.yaml"
    config.write_text(render_chart(as_template(command)).settings_text())
    assert "http://prometheus.monitoring:9090" == load(config).metric_sources["default"].url


@pytest.mark.cluster
@pytest.mark.parametrize("more", [s for s in spans(read(README)) if s.startswith("--set ")])
def test_what_the_readme_adds_to_the_installation_renders(more):
    [command] = [command for command, name in INSTALLATIONS if name == README]
    objects = render_chart([*as_template(command), *shlex.split(more.replace("…", "images.test"))])
    value = more.rpartition("=")[2].replace("…", "images.test")
    pod = objects.one("Deployment")["spec"]["template"]["spec"]
    assert value in objects.settings_text() + pod["containers"][0]["image"]


def test_the_image_is_built_as_its_own_head_says():
    [built] = [code for code in spans(read(README)) if code.startswith("podman build")]
    assert f"{built}\n" in (ROOT / "Containerfile").read_text(encoding="utf-8")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert f"--tag {chart['name']}:{chart['appVersion']} " in built
