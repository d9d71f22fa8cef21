"""``canaryd status``: one app as a tree, once or live until its run ends.

On a terminal the live view redraws itself; piped, it is one line for each thing that happens. It
leaves with the exit code of how the run ended, so that a pipeline needs nothing else.
"""

from typing import TYPE_CHECKING, Final

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.objects import (
    Side,
    plan_of,
    read_canary,
    read_deployment,
    read_pods,
    state_if_readable,
    state_of,
    unknown_app,
)
from canaryd.cli.options import (
    Where,
    ask,
    cluster_options,
    color_option,
    name_argument,
    output_option,
    program,
)
from canaryd.cli.outcome import ending, wanted_revision
from canaryd.cli.render import Look, clean
from canaryd.cli.render_status import render
from canaryd.cli.report import Report, as_json, report, side_view
from canaryd.cli.terminal import Screen, look, write
from canaryd.core.kinds import CANARY
from canaryd.core.memory import timestamp
from canaryd.core.state import RolloutState
from canaryd.ports.kube import Manifest

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

PODS_AGAIN_S: Final = 3.0
TICK_S: Final = 1.0


@click.command("status")
@name_argument
@click.option("-w", "--watch", is_flag=True, help="Stay until the run ends; end as it did.")
@output_option("text", "json", "yaml", "name")
@color_option
@cluster_options
def command(*, name: str, watch: bool, output: str, no_color: bool, where: Where) -> int:
    """Show how the release of an app goes.

    NAME is that of the Deployment. With --watch the exit code is 0 when the run ended well, 1 when
    it did not; when none is under way and none is to come, that of the last one.
    """
    view = _View(name, output, look(no_color=no_color), program())
    if watch:
        return ask(view.follow, where, is_patient=True)
    return ask(view.once, where)


class _View:
    """Reads one app and writes it."""

    def __init__(self, name: str, output: str, to: Look, called: str) -> None:
        self._name = name
        self._output = output
        self._look = to
        self._program = called
        self._screen = Screen(to) if to.width else None
        self._has_pods = self._output in ("json", "yaml") or self._screen is not None
        self._told = ""
        self._sides: tuple[Side, ...] = ()
        self._note = ""
        self._pods_at = float("-inf")

    async def once(self, cluster: "Cluster") -> int:
        """Show the app as it is."""
        self._has_pods = self._output != "name"
        told = await self._read(cluster, await read_canary(cluster, self._name))
        if self._output == "text":
            write(render(told, self._look, self._program), self._look)
        else:
            self._document(told, is_one_of_many=False)
        return Exit.OK

    async def follow(self, cluster: "Cluster") -> int:
        """Show the app at every change until its run has ended."""
        was_there = was_running = False
        async with cluster.follow(CANARY, self._name, tick_s=TICK_S) as changes:
            async for canary in changes:
                if canary is None:
                    raise self._gone(cluster, was_there=was_there)
                was_there, state = True, state_of(canary)
                self._show(await self._read(cluster, canary))
                was_running = was_running or (state is not None and state.run is not None)
                wanted = await _wanted(cluster, self._name, state)
                if (end := ending(state, wanted, was_running=was_running)) is not None:
                    return end.code
        raise AssertionError("unreachable: an object is followed until somebody stops")

    def _gone(self, cluster: "Cluster", *, was_there: bool) -> CommandError:
        if was_there:
            return CommandError(f"{self._name} was given back before its run ended")
        return unknown_app(cluster, self._name)

    async def _read(self, cluster: "Cluster", canary: Manifest) -> Report:
        state, note = state_if_readable(canary)
        now = cluster.clock.now()
        if self._has_pods and now - self._pods_at >= PODS_AGAIN_S:
            self._sides, self._note = await read_pods(cluster, self._name)
            self._pods_at = now
        revision = state.run.revision if state is not None and state.run is not None else ""
        sides = [side_view(s.role, s.deployment, s.pods, revision, now) for s in self._sides]
        notes = [text for text in (note, self._note) if text]
        return report(canary, state, plan_of(canary, state), now, sides=sides, notes=notes)

    # --- writing ---

    def _show(self, told: Report) -> None:
        """Show the present state among others before and after it."""
        if self._output == "text" and self._screen is not None:
            self._screen.draw(render(told, self._look, self._program))
            return
        event = f"{told.phase}: {clean(told.message)}"
        if event == self._told:
            return
        self._told = event
        if self._output == "text":
            click.echo(f"{timestamp(told.now)} {event}")
        else:
            self._document(told, is_one_of_many=True)

    def _document(self, told: Report, *, is_one_of_many: bool) -> None:
        if self._output == "name":
            click.echo(f"canary.canaryd.io/{told.name}")
        else:
            write_document(as_json(told), self._output, is_one_of_many=is_one_of_many)


async def _wanted(cluster: "Cluster", name: str, state: RolloutState | None) -> str:
    """The revision that is asked for, when nothing is under way."""
    if state is None or state.run is not None:
        return ""
    return wanted_revision(await read_deployment(cluster, name), state)
