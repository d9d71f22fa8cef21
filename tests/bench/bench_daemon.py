"""What the process costs: to say what it can do, to be ready, to enrol an app, to watch over it, to wait.

Run it with ``python -m tests.bench.bench_daemon``. The daemon is ``canaryd run`` as a user starts it; the API server is a
fake in another process, with 100 apps. Enrolling an app takes the daemon some fifteen looks and as many writes: gather,
decide, perform, and the events that its own writes cause.
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measuring import ROOT, Row, cpu_s, finish, rss_mib

APPS = 100
IDLE_S = 8.0
BUDGET_HELP_RATIO = 1.0
"""``canaryd --help``, in imports of aiohttp by a new Python: 150 ms where that takes as long."""
BUDGET_READY_RATIO = 10.0
"""``canaryd run`` to ready with 100 Deployments, in the same unit: 1.5 s. Nearly all of it is imports,
and processor time, which on a quiet machine is the time that passes.
"""
BUDGET_IDLE_PERCENT = 2.0
BUDGET_RSS_MIB = 128.0
BUDGET_PER_APP_KIB = 64.0


def cpu_of(*command):
    """Processor seconds of a command, the least of five."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def a_cluster(folder, enrolled):
    command = [sys.executable, "-m", "tests.bench.fake_cluster", folder, str(APPS), str(enrolled)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def a_daemon(folder, kubeconfig, port):
    command = [sys.executable, "-m", "canaryd", "run", "-A", "--no-leader-elect", "--dialect"]
    command += ["traefik", "--kubeconfig", kubeconfig, "--port", str(port), "--log-format", "json"]
    command += ["--prometheus-url", "http://127.0.0.1:9"]
    log = Path(folder) / "canaryd.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT) as made:
        try:
            yield made, log
        finally:
            made.terminate()
            made.wait(timeout=20)


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as response:
        return response.read().decode()


def wait_until(claim, process, log, seconds=60.0):
    """Seconds until a claim holds; a look every 10 ms costs the daemon next to nothing."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if process.poll() is not None:
            break
        try:
            if claim():
                return time.perf_counter() - began
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.01)
    raise RuntimeError(f"it never came to that:\n{log.read_text()[-3000:]}")


def enrolled_apps(log):
    return log.read_text(encoding="utf-8").count('"reason": "Initialized"')


def main():
    unit_s = cpu_of(sys.executable, "-c", "import aiohttp")
    help_s = cpu_of(sys.executable, "-m", "canaryd", "--help")
    os.environ["KUBECONFIG"] = ""
    with (
        tempfile.TemporaryDirectory() as folder,
        a_cluster(folder, 0) as (cluster, kubeconfig),
    ):
        port = free_port()
        with a_daemon(folder, kubeconfig, port) as (daemon, log):
            ready_s = wait_until(lambda: get(port, "readyz"), daemon, log)
            rss_before, ready_cpu_s = rss_mib(daemon.pid), cpu_s(daemon.pid)
            cluster.stdin.write(f"{APPS}\n")
            cluster.stdin.flush()
            wait_until(lambda: enrolled_apps(log) >= APPS, daemon, log, 90)
            enrol_s = (cpu_s(daemon.pid) - ready_cpu_s) / APPS
            rss_after = rss_mib(daemon.pid)
            time.sleep(2)
            idle_before = cpu_s(daemon.pid)
            time.sleep(IDLE_S)
            idle = 100 * (cpu_s(daemon.pid) - idle_before) / IDLE_S
    per_app = 1024 * (rss_after - rss_before) / APPS
    return finish(
        [
            Row("a new Python imports aiohttp", unit_s * 1e3, "ms"),
            Row(
                "canaryd --help", help_s / unit_s, "x", BUDGET_HELP_RATIO, f"{help_s * 1e3:.0f} ms"
            ),
            Row(
                "canaryd run to ready",
                ready_cpu_s / unit_s,
                "x",
                BUDGET_READY_RATIO,
                f"{ready_cpu_s:.2f} s of CPU, {ready_s:.2f} s",
            ),
            Row("CPU of one enrolment", enrol_s * 1e3, "ms", 60.0),
            Row("idle with 100 apps", idle, "% of a core", BUDGET_IDLE_PERCENT),
            Row("memory per app", per_app, "KiB", BUDGET_PER_APP_KIB),
            Row("memory with 100 apps", rss_after, "MiB", BUDGET_RSS_MIB),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
