"""What the benchmarks share: a reference to measure against, a table, and children that serve.

Seconds of one machine say nothing about another; a ratio to ``json.loads`` of one Deployment, measured in the same run
on the same core, says nearly the same everywhere. Processor time is measured where it can be, so that a busy machine
fails nobody.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    """One line of the table. ``value`` and ``budget`` are in ``unit``; without a budget it is told only."""

    what: str
    value: float
    unit: str
    budget: float | None = None
    note: str = ""

    @property
    def is_over(self):
        return self.budget is not None and self.value > self.budget


def deployment(number, version=1, *, annotated=True, generation=None, ready=3):
    """A Deployment as rich as real ones are, some 6 KB; each version is a generation of its own unless one is named."""
    generation = version if generation is None else generation
    name, labels = f"app-{number}", {"app": f"app-{number}", "team": f"team-{number % 40}"}
    annotations = {"deployment.kubernetes.io/revision": "7", "team.example/on-call": "x" * 40}
    if annotated:
        annotations |= {"canaryd.io/enabled": "true", "canaryd.io/metric.success-rate": ">= 99"}
    env = [{"name": f"VARIABLE_{n}", "value": "value " * 8} for n in range(25)]
    probe = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5}
    container = {"name": "app", "image": f"app:{generation}", "env": env, "readinessProbe": probe}
    managed = {
        "manager": "kubectl",
        "operation": "Update",
        "fieldsV1": {"f:spec": {f"f:{n}": {} for n in range(60)}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": f"ns-{number % 50}",
            "name": name,
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "generation": generation,
            "labels": labels,
            "annotations": annotations,
            "managedFields": [managed],
        },
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
        "status": {"observedGeneration": generation, "replicas": 3, "readyReplicas": ready},
    }


def watch_line(kind, obj):
    """One line of a watch."""
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def cpu_per_call(call, times):
    """Processor seconds of one call, the least of three rounds."""
    rounds = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            call()
        rounds.append((time.process_time() - began) / times)
    return min(rounds)


def reference():
    """Processor seconds of ``json.loads`` of one Deployment in a watch event: the unit of all ratios."""
    body = watch_line("MODIFIED", deployment(1))
    return cpu_per_call(lambda: json.loads(body), 2_000)


def finish(rows):
    """Print the table; the exit status is 1 when a budget is broken."""
    width = max(len(row.what) for row in rows)
    for row in rows:
        bar = "" if row.budget is None else f"  bar {row.budget:g} {row.unit}"
        over = "  OVER" if row.is_over else ""
        note = f"  ({row.note})" if row.note else ""
        print(f"  {row.what:{width}}  {row.value:9.2f} {row.unit}{bar}{over}{note}")
    return 1 if any(row.is_over for row in rows) else 0


# --- processes ---


@contextmanager
def child(module, *arguments):
    """A Python module as a child that serves; yields the first line it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def rss_mib(pid="self"):
    """Resident memory in MiB."""
    rows = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmRSS"))


def cpu_s(pid):
    """Processor seconds that a process has taken so far."""
    parts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / TICKS
