"""Many stories at the same time: each an app of its own with users of its own, under one daemon.

A story on the real cluster is mostly waiting, so a dozen told side by side take as long as the longest, and are what a
cluster is like: one daemon, many apps, each with its own trouble. Nothing here measures time; what does stays alone.

A story is a test function that takes a :class:`Scene` and is marked by :func:`story`; the fixture ``told`` of the module
that holds it must tell them. The board asks the API server for all Canaries twice a second, so that a dozen stories
that wait do not start a dozen kubectl.
"""

import functools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.cluster.app import App
from tests.cluster.local.client import Cluster
from tests.cluster.local.errors import CommandFailed
from tests.cluster.traffic import Users

LOOK_S = 0.5
RATE = 25.0
"""Requests a second of each app's users."""
AT_ONCE = 8

Status = Mapping[str, Any]
Told = Mapping[str, "Future[int]"]
"""By name; what comes of a story is how many requests its users made."""


class Moment(NamedTuple):
    """What a status said, as far as a story asks about its past."""

    phase: str
    weight: int
    revision: str


@dataclass
class Board:
    """The status of the Canary of every namespace, of which a story has one, and what each has been."""

    cluster: Cluster
    statuses: dict[str, Status] = field(default_factory=dict)
    past: dict[str, list[Moment]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def kept(self) -> Iterator["Board"]:
        """Kept up to date for the length of a block."""
        looking = threading.Thread(target=self._go_on, name="board", daemon=True)
        looking.start()
        try:
            yield self
        finally:
            self._stop.set()
            looking.join(timeout=30)

    def _go_on(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                found = self.cluster.get("canaries.canaryd.io", "-A")["items"]
            except CommandFailed:
                continue  # a story that waits for what never comes says so itself
            self.statuses = {o["metadata"]["namespace"]: o.get("status") or {} for o in found}
            for namespace, status in self.statuses.items():
                moment = Moment(
                    status.get("phase", ""),
                    status.get("canaryWeight", 0),
                    (status.get("run") or {}).get("revision", ""),
                )
                past = self.past.setdefault(namespace, [])
                if past[-1:] != [moment]:
                    past.append(moment)


@dataclass
class Scene:
    """An enrolled app with its users, and what to wait for."""

    app: App
    users: Users
    board: Board

    @property
    def status(self) -> Status:
        return self.board.statuses.get(self.app.namespace) or {}

    @property
    def past(self) -> list[Moment]:
        return self.board.past.get(self.app.namespace) or []

    def until(self, what: str, claim: Callable[[Status], object], timeout_s: float = 150) -> None:
        """Wait until a claim about the status holds."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if claim(self.status):
                return
            time.sleep(LOOK_S / 2)
        raise AssertionError(
            f"{what} did not come in {timeout_s:.0f} s: {self.status.get('message')}; {self.past}"
        )

    def until_phase(self, phase: str, timeout_s: float = 150) -> None:
        self.until(phase, lambda status: status.get("phase") == phase, timeout_s)

    def until_weight(self, weight: int, timeout_s: float = 90) -> None:
        self.until(
            f"weight {weight}", lambda status: status.get("canaryWeight") == weight, timeout_s
        )

    def results(self) -> list[str]:
        """How the runs ended, oldest first."""
        return [entry["result"] for entry in self.status.get("history") or ()]

    def kubectl(self, *words: str) -> str:
        return self.app.cluster.kubectl(*words, "-n", self.app.namespace)


class Story(NamedTuple):
    """As it is registered."""

    tell: Callable[[Scene], None]
    plan: Mapping[str, str | None]
    loses: bool


STORIES: dict[str, Story] = {}


def story(*, loses: bool = False, **plan: str | None) -> Callable[[Callable[[Scene], None]], Any]:
    """Mark a story; the plan is that of :meth:`App.enrol`, changed. ``loses``: its users may be lost."""

    def register(tell: Callable[[Scene], None]) -> Any:
        STORIES[tell.__name__] = Story(tell, plan, loses)

        def test(told: Told) -> None:
            told[tell.__name__].result()

        functools.update_wrapper(test, tell)
        del test.__wrapped__  # pytest must see the fixture, not the scene
        return test

    return register


def _tell(name: str, cluster: Cluster, board: Board) -> int:
    tell, plan, loses = STORIES[name]
    namespace = cluster.create_namespace("story")
    try:
        app = App(cluster, namespace)
        app.deploy()
        with Users(cluster.ingress_url, app.host, rate=RATE) as users:
            scene = Scene(app, users, board)
            cluster.wait_for("users", lambda: users.versions()["one"] > 20 or None)
            since = time.monotonic()
            app.enrol(**{"weights": "20,50", **plan})
            scene.until_phase("Initialized", 120)
            tell(scene)
            time.sleep(3)
        assert loses or [] == users.lost(since), users.summary(since)
        return users.sent
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@contextmanager
def telling(cluster: Cluster, names: Collection[str]) -> Iterator[Told]:
    """Tell these stories, some at a time; a story that ends early makes room for another."""
    with Board(cluster).kept() as board, ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(_tell, name, cluster, board) for name in names}
