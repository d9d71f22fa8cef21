"""The chart as Helm renders it: real Helm, real templates, plain dictionaries out."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.local.binaries import find_program

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "canaryd"
PROFILES = ("cluster", "everything", "namespaces", "single")
POLICY_V1BETA1 = "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"
POLICY_V1 = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
CLUSTER = ("--set", "scope.mode=cluster")
NAMESPACES = ("--set", "scope.mode=namespaces", "--set", "scope.namespaces={shop,shop-staging}")


@dataclass(frozen=True, slots=True)
class Refused:
    """Helm would not render; this is what it told the user."""

    message: str


class Objects(list[dict[str, Any]]):
    """Rendered objects, with the questions tests ask of them."""

    def of(self, *kinds: str) -> "Objects":
        return Objects(o for o in self if o["kind"] in kinds)

    def one(self, kind: str) -> dict[str, Any]:
        [only] = self.of(kind)
        return only

    def kinds(self) -> set[str]:
        return {o["kind"] for o in self}

    def rules(self) -> list[dict[str, Any]]:
        return [rule for o in self.of("Role", "ClusterRole") for rule in o["rules"]]

    def settings_text(self) -> str:
        return self.one("ConfigMap")["data"]["config.yaml"]

    def settings(self) -> dict[str, Any]:
        return yaml.safe_load(self.settings_text())


@lru_cache(maxsize=1)
def helm() -> str:
    return os.environ.get("HELM") or str(find_program("helm"))


def values_file(profile: str) -> tuple[str, str]:
    return "--values", str(CHART / "ci" / f"{profile}-values.yaml")


@lru_cache(maxsize=256)
def run(
    *flags: str, kube: str = "1.34.0", apis: tuple[str, ...] = (POLICY_V1BETA1,)
) -> str | Refused:
    """The text that `helm template` writes."""
    command = [helm(), "template", "canaryd", str(CHART), "--namespace", "canaryd-system"]
    command += ["--kube-version", kube, *(f"--api-versions={api}" for api in apis), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return Refused(done.stderr) if done.returncode else done.stdout


def render(*flags: str, **options: Any) -> Objects:
    text = run(*flags, **options)
    assert isinstance(text, str), text.message
    return Objects(o for o in yaml.safe_load_all(text) if o)


def refusal(*flags: str, **options: Any) -> str:
    refused = run(*flags, **options)
    assert isinstance(refused, Refused), "Helm accepted it"
    return refused.message


def notes(folder: Path, *flags: str, apis: tuple[str, ...] = (POLICY_V1BETA1,)) -> str:
    """What the user is told after an installation.

    `helm template` leaves NOTES.txt out and a dry run wants a cluster, so a copy of the chart shows it in an object.
    """
    copy = folder / "canaryd"
    shutil.copytree(CHART, copy, dirs_exist_ok=True)
    text = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "_probe.tpl").write_text('{{ define "probe" }}' + text + "{{ end }}")
    (copy / "templates" / "probe.yaml").write_text(
        'kind: Notes\ntext: |\n{{ include "probe" . | indent 2 }}\n'
    )
    command = [helm(), "template", "canaryd", str(copy), "--namespace", "canaryd-system"]
    command += [*(f"--api-versions={api}" for api in apis), "--kube-version=1.34.0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return next(o["text"] for o in yaml.safe_load_all(done.stdout) if o and o["kind"] == "Notes")
