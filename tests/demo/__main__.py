"""The main job, really running: enrol, a good release, a bad release, and no lost request.

Uses the cluster of ``KUBECONFIG`` when it is set, else builds and starts the local one.
Exit status 0 only when everything that is shown came true; everything made is removed at the end, also on Ctrl-C.
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import manifests
from tests.cluster.daemon import Daemon, Installation, chart_values
from tests.cluster.local.client import Cluster
from tests.cluster.local.errors import ClusterError
from tests.cluster.local.find import provide_cluster
from tests.cluster.traffic import Users
from tests.demo.screen import Screen

APP = "podinfo"
HOST = "podinfo.demo"
RATE = 50.0
PLAN = {
    "enabled": "true",
    "interval": "10s",
    "weights": "10,30,50",
    "metric.success-rate": ">= 99",
    "metric.latency-p99": "<= 500ms",
    "failure-threshold": "1",
    "min-requests": "20",
    "scale-down-delay": "3s",
}


class DemoFailed(Exception):
    """Something that the demo promises did not come true."""


@dataclass
class Demo:
    """One run of the demo on a running cluster."""

    cluster: Cluster
    screen: Screen
    namespace: str
    users: Users
    began: float = 0.0
    """Since when requests are counted (monotonic): the app was seen behind the ingress."""
    _shown: str = ""
    """The revision of the chapter before."""

    # --- the story ----------------------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Tell the story; returns the lines of the summary."""
        self.screen.chapter("An app as you have it: Deployment, Service, Ingress, users")
        self._deploy()
        self.screen.say(f"podinfo serves {RATE:.0f} requests/s of constant traffic at version one")

        self.screen.chapter("Enrolment: a few annotations on the Deployment")
        for key, value in PLAN.items():
            self.screen.say(f'  canaryd.io/{key}: "{value}"')
        began = time.monotonic()
        self._annotate(PLAN)
        self._until("enrolled", lambda s: s.get("phase") == "Initialized", 90)
        enrolled = self._lost(began, "enrolment")

        self.screen.chapter("A good release: weights rise, then it is promoted")
        began = time.monotonic()
        self._set("good-2", [])
        self._until("promoted", lambda s: s.get("phase") == "Succeeded", 180, "Failed")
        self._expect_version("good-2")
        good = self._lost(began, f"release of good-2, {time.monotonic() - began:.0f} s")

        self.screen.chapter("A bad release: some of its answers are errors")
        began = time.monotonic()
        self._set("bad", ["--random-error=true"])
        self._until("rolled back", lambda s: s.get("phase") == "Failed", 180, "Succeeded")
        time.sleep(3)
        self._expect_version("good-2")
        bad = self._lost(began, f"rollback of bad, {time.monotonic() - began:.0f} s")
        self.screen.say(self._status().get("message", ""))

        self.screen.chapter("What kubectl shows")
        print(self.cluster.kubectl("get", "canaries.canaryd.io", "-n", self.namespace), end="")
        return [enrolled, good, bad]

    # --- acting -------------------------------------------------------------------------------------------------------

    def _deploy(self) -> None:
        self.cluster.apply(
            [
                manifests.podinfo(APP, message="good-1", image="podinfo:good-1", replicas=2),
                manifests.service(APP),
                manifests.ingress(APP, host=HOST, backend=APP),
            ],
            namespace=self.namespace,
        )
        self.cluster.wait_for_rollout(APP, namespace=self.namespace)
        self.users.__enter__()
        self.cluster.wait_for(
            "the app behind the ingress", lambda: self.users.versions().get("good-1")
        )
        time.sleep(1)
        self.began = time.monotonic()

    def _annotate(self, values: dict[str, str]) -> None:
        pairs = [f"canaryd.io/{key}={value}" for key, value in values.items()]
        self.cluster.kubectl(
            "annotate", "deployment", APP, "-n", self.namespace, "--overwrite", *pairs
        )

    def _set(self, version: str, extra: list[str]) -> None:
        """What a team's pipeline does: apply the Deployment with another image."""
        self.screen.say(f"kubectl apply: image podinfo:{version}")
        self._shown = str(self._status().get("lastAppliedSpec", ""))
        wanted = manifests.podinfo(
            APP, message=version, image=f"podinfo:{version}", args=tuple(extra)
        )
        template = wanted["spec"]["template"]
        patch = {"spec": {"template": template}}
        self.cluster.kubectl(
            "patch",
            "deployment",
            APP,
            "-n",
            self.namespace,
            "--type=strategic",
            "-p",
            json.dumps(patch),
        )

    # --- looking ------------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        found = self.cluster.get("canaries.canaryd.io", "-n", self.namespace)["items"]
        return found[0].get("status", {}) if found else {}

    def _until(
        self, what: str, claim: Callable[[dict[str, Any]], bool], seconds: float, never: str = ""
    ) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self._status()
            self._show(status)
            if claim(status):
                self.screen.say(f"came true: {what}")
                return
            if (
                never
                and status.get("phase") == never
                and status.get("weight", {}).get("canary") == 0
                and self._moved(status)
            ):
                raise DemoFailed(f"expected it to be {what}, but: {status.get('message')}")
            time.sleep(0.25)
        raise DemoFailed(
            f"not {what} within {seconds:.0f} s; last: {self._status().get('message')}"
        )

    def _so_far(self) -> str:
        """The client's own count since users were let in: lost of sent."""
        sent = sum(1 for answer in self.users.answers if answer.at >= self.began)
        return f"{len(self.users.lost(self.began))}/{sent}"

    def _moved(self, status: dict[str, Any]) -> bool:
        """Whether the phase belongs to this chapter and is not left over from the last."""
        return status.get("lastAppliedSpec") != self._shown

    def _show(self, status: dict[str, Any]) -> None:
        weight = status.get("weight", {}).get("canary", 0)
        phase = status.get("phase", "-")
        step = status.get("step", {}).get("text", "-")
        verdicts = " ".join(
            f"{m['name']}={m.get('value', '?')}{m.get('unit', '')}:{m['verdict']}"
            for m in status.get("metrics", [])
        )
        self.screen.moving(
            f"{self.screen.bar(weight)} {phase:<16} step {step:<4} lost {self._so_far()} {verdicts}"
        )
        message = status.get("message", "")
        if message and message != self._last_message:
            self._last_message = message
            self.screen.say(f"{self.screen.bar(weight)} {phase}: {message}")

    _last_message: str = ""

    def _expect_version(self, version: str) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.users.share(version, 1.0) == 100.0:
                return
            time.sleep(0.2)
        raise DemoFailed(
            f"users should all see {version}; they see {dict(self.users.versions(time.monotonic() - 1))}"
        )

    def _lost(self, since: float, what: str) -> str:
        time.sleep(1)
        summary = f"{what}: {self.users.summary(since)}"
        self.screen.say(summary)
        if self.users.lost(since):
            raise DemoFailed(summary)
        return summary


def main() -> int:
    """Run the demo; returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    screen = Screen()
    screen.chapter("A cluster")
    try:
        cluster = provide_cluster(screen.say)
        with cluster, tempfile.TemporaryDirectory(prefix="canaryd-demo-") as folder:
            screen.say("the cluster runs: API server, kubelet with real pods, Traefik, Prometheus")
            return _on(cluster, screen, Path(folder))
    except ClusterError as error:
        screen.say(str(error))
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted; everything was removed")
        return 130


def _on(cluster: Cluster, screen: Screen, folder: Path) -> int:
    namespace = cluster.create_namespace("demo")
    installation: Installation | None = None
    daemon: Daemon | None = None
    users = Users(cluster.ingress_url, HOST, rate=RATE)
    try:
        installation = Installation(
            cluster, cluster.create_namespace("canaryd"), folder, chart_values(cluster)
        )
        daemon = installation.start()
        screen.say(
            f"canaryd runs as {installation.user}, with exactly the rights that the chart renders"
        )
        summary = Demo(cluster, screen, namespace, users).run()
    except DemoFailed as failed:
        screen.say(f"FAILED: {failed}")
        if daemon is not None:
            print(daemon.log_path.read_text(encoding="utf-8", errors="replace")[-4000:])
        return 1
    finally:
        users.stop()
        if daemon is not None:
            daemon.stop()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")
        if installation is not None:
            installation.remove()
    screen.chapter("Summary")
    for line in summary:
        screen.say(line)
    screen.say(
        "the good revision was promoted, the bad one was rolled back, and no request was lost"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
