"""The page on GitOps: every command is run somewhere, every file is what the page says of it."""

import json
import re

import pytest
import yaml

from canaryd.core import names
from canaryd.core.model import Feedback
from canaryd.core.told import TYPES
from tests.docs.markdown import ROOT, blocks, console, read, section
from tests.docs.pages import table

PAGE = "docs/gitops.md"
ON_A_CLUSTER = ROOT / "tests" / "cluster" / "test_gitops.py"
FILES = sorted(p for f in ("argocd", "flux") for p in (ROOT / "deploy" / f).glob("*.yaml"))


def documents_of(path):
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def test_every_command_of_the_page_is_run_on_a_cluster():
    """There by its number, so that a command that comes in between is noticed."""
    text = ON_A_CLUSTER.read_text(encoding="utf-8")
    numbers = {int(n) for n in re.findall(r"command\((\d+)", text)}
    assert set(range(len(console(read(PAGE))))) == numbers


def test_files_that_commands_name_are_there():
    named = re.findall(r"deploy/[\w/.-]+\.yaml", " ".join(c for c, _ in console(read(PAGE))))
    assert len(named) == 2
    assert [] == [path for path in named if not (ROOT / path).exists()]


def test_the_conditions_of_the_page_are_those_that_are_written():
    rows = table(
        section(read(PAGE), "## What your tool sees"),
        ("condition", "is there", "kstatus", "Argo CD, [with the script](#argo-cd)"),
    )
    assert [*(f"`{kind}`" for kind in TYPES), "neither"] == [row[0] for row in rows]


def test_the_last_command_takes_away_our_conditions_and_no_other():
    command = console(read(PAGE))[-1][0]
    [patch] = re.findall(r"--patch '(.*)'", command)
    [(part, items)] = json.loads(patch)["status"].items()
    assert "conditions" == part
    assert [{"$patch": "delete", "type": kind} for kind in TYPES] == items


@pytest.mark.parametrize("word", Feedback)
def test_values_of_the_key_are_those_of_the_page(word):
    assert word in (Feedback.CONDITIONS, Feedback.NONE)
    assert 'canaryd.io/feedback: "none"' in read(PAGE)
    assert f"`{names.STATUS_MANAGER}`" in read(PAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_a_file_says_where_it_is_explained_and_is_explained_there(path):
    assert "docs/gitops.md" in path.read_text(encoding="utf-8")
    assert f"../{path.relative_to(ROOT)}" in read(PAGE) or str(path.relative_to(ROOT)) in read(PAGE)


def test_the_application_of_the_page_is_that_of_the_file():
    [shown] = [yaml.safe_load(b.text) for b in blocks(read(PAGE), "yaml")]
    [whole] = documents_of(ROOT / "deploy" / "argocd" / "application.yaml")
    assert shown["spec"]["ignoreDifferences"] == whole["spec"]["ignoreDifferences"]
    assert shown["spec"]["syncPolicy"]["syncOptions"] == whole["spec"]["syncPolicy"]["syncOptions"]


@pytest.mark.parametrize("name", ["kustomization", "helmrelease"])
def test_flux_leaves_alone_what_canaryd_writes_and_waits_longer_than_by_default(name):
    [made] = documents_of(ROOT / "deploy" / "flux" / f"{name}.yaml")
    spec = made["spec"]
    rules = spec.get("ignore") or spec["driftDetection"]["ignore"]
    assert {
        ("Deployment", "/spec/replicas"),
        ("Service", "/spec/selector"),
    } == {(rule["target"]["kind"], path) for rule in rules for path in rule["paths"]}
    assert "45m" == spec["timeout"]
