"""A cluster as the command line sees it: the fake API server, and whoever answers in the place of canaryd.

Commands run on the test's own loop, so that a release of half an hour takes no time.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import click

from canaryd.cli import connect
from canaryd.cli.connect import Cluster
from canaryd.core.commands import read_commands
from canaryd.core.kinds import ALL_KINDS, CANARY, DEPLOYMENT, PEOPLES_KINDS
from canaryd.core.memory import load
from canaryd.core.state import CommandRecord, RolloutState
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from tests.cli import apps
from tests.cli.commands import Canaryd, Outcome
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.tasks import running

NAMESPACE = apps.NAMESPACE


@dataclass
class World:
    """``await world("status", "podinfo")`` runs a command to its end."""

    server: FakeApiServer
    client: KubeClient
    clock: VirtualClock
    run: Canaryd
    monkeypatch: Any
    capsys: Any
    user: str = "kubeconfig-user"

    async def __call__(self, *arguments: str, name: str = "canaryd") -> Outcome:
        asked = []

        def remember(question, where, *, is_patient=False):
            asked.append((question, where, is_patient))
            return 0

        with self.monkeypatch.context() as patch:
            patch.setattr(connect, "ask_cluster", remember)
            outcome = self.run(*arguments, name=name)
        if not asked:
            return outcome
        [(question, where, is_patient)] = asked
        code = await self._answer(question, where, is_patient)
        captured = self.capsys.readouterr()
        return Outcome(code, outcome.out + captured.out, outcome.err + captured.err)

    async def _answer(self, question, where, is_patient: bool) -> int:
        cluster = Cluster(self.client, where.namespace or NAMESPACE, self.user, self.clock)
        try:
            with connect.troubles_as_exits():
                async with asyncio.timeout(None if is_patient else connect.TIME_LIMIT_S):
                    return int(await question(cluster))
        except click.ClickException as error:
            error.show()
            return error.exit_code

    # --- what is in the cluster ---

    def now(self) -> float:
        return self.clock.now()

    def tell(self, state: RolloutState | None, **how: Any) -> None:
        """Write an app's Canary as the daemon would."""
        made = apps.canary(state, self.now(), **how)
        if self.server.find(CANARY, NAMESPACE, "podinfo") is None:
            self.server.put(made)
        else:
            status = made.get("status", {})
            self.server.edit(
                CANARY, NAMESPACE, "podinfo", lambda o: o | {"status": status}, subresource="status"
            )

    def wanted(self) -> str:
        """The revision that the Deployment asks for, as the API server has it, defaults and all."""
        return apps.revision(
            self.server.object(DEPLOYMENT, NAMESPACE, "podinfo")["spec"]["template"]
        )

    def state(self) -> RolloutState:
        found = load(self.server.object(CANARY, NAMESPACE, "podinfo")["status"])
        assert found is not None
        return found

    def asked(self) -> dict[str, str]:
        """What is asked for on the Canary."""
        meta = self.server.object(CANARY, NAMESPACE, "podinfo")["metadata"]
        return dict(meta.get("annotations") or {})

    @asynccontextmanager
    async def daemon(
        self, answer: Callable[[Any, RolloutState], tuple[RolloutState, str]]
    ) -> AsyncIterator[None]:
        """Somebody who answers commands: ``answer`` gives the state after one, and why it is refused."""

        async def work() -> None:
            while True:
                await asyncio.sleep(0.2)
                found = self.server.find(CANARY, NAMESPACE, "podinfo")
                for command in read_commands(
                    (found or {}).get("metadata", {}).get("annotations") or {}
                ):
                    state, refusal = answer(command, self.state())
                    record = CommandRecord(
                        verb=str(command.verb),
                        nonce=command.nonce,
                        by=command.by,
                        subject=command.subject,
                        argument=command.argument,
                        reason=command.reason,
                        outcome="ActionRefused" if refusal else state.reason,
                        refusal=refusal,
                        at=self.now(),
                    )
                    self.tell(replace(state, commands=(*state.commands, record)))
                    gone = {"metadata": {"annotations": {command.key: None}}}
                    self.server.patch(CANARY, NAMESPACE, "podinfo", gone)

        async with running(work()):
            yield


@asynccontextmanager
async def a_world(capsys: Any, monkeypatch: Any) -> AsyncIterator[World]:
    """A namespace without apps."""
    clock = VirtualClock()
    async with FakeApiServer((*ALL_KINDS, *PEOPLES_KINDS), clock) as server:
        server.ensure_namespace(NAMESPACE)
        connection = Connection(server=server.url)
        async with KubeClient(connection, clock=clock, field_manager=connect.WHO_WRITES) as client:
            run = Canaryd(capsys, monkeypatch)
            yield World(server, client, clock, run, monkeypatch, capsys)


def in_a_world(test):
    """Tell a test in a world of its own, which is its first argument.

    Not a fixture: time is virtual in tests alone, and what a fixture started would live on real time.
    """

    @wraps(test)
    async def tell(capsys: Any, monkeypatch: Any, **fixtures: Any) -> None:
        async with a_world(capsys, monkeypatch) as world:
            await test(world, **fixtures)

    others = list(inspect.signature(test).parameters.values())[1:]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    mine = [inspect.Parameter(name, kind) for name in ("capsys", "monkeypatch")]
    tell.__signature__ = inspect.Signature([*mine, *others])
    return tell
