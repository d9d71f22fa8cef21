"""``canaryd wait``: for pipelines; says nothing but how it ended, and ends with a code for it."""

import asyncio
from typing import TYPE_CHECKING, Final

import click

from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.objects import plan_of, read_deployment, state_of, unknown_app
from canaryd.cli.options import Where, ask, cluster_options, name_argument, timeout_option
from canaryd.cli.outcome import Ending, ending, wanted_revision
from canaryd.cli.render import clean
from canaryd.cli.report import waits_for_people
from canaryd.core.kinds import CANARY
from canaryd.core.phase import Phase
from canaryd.core.units import format_duration
from canaryd.ports.kube import Manifest

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

GOALS: Final = ("succeeded", "failed", "idle", "running", "waiting", "enrolled", "left")
"""What can be waited for; each stands in the help."""
TICK_S: Final = 2.0


@click.command("wait")
@name_argument
@click.option(
    "--for",
    "goal",
    type=click.Choice(GOALS),
    default="succeeded",
    show_default=True,
    help="What to wait for.",
)
@timeout_option("30m", "Give up after this long, with exit code 5.")
@cluster_options
def command(*, name: str, goal: str, timeout: float, where: Where) -> int:
    """Wait until an app is somewhere.

    \b
    succeeded  the wanted revision is promoted, or the app is enrolled and runs it already
    failed     the wanted revision is refused, or its run is held after a failure
    idle       no run is under way, however the last one ended
    running    a run is under way
    waiting    the run waits for a person: gate, pause, or a failure that is held
    enrolled   users are served by the primary
    left       canaryd has given the app back

    A revision that was applied a moment ago is waited for also while canaryd has not seen it yet.
    Exit code 1: it ended otherwise.
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    return ask(_Waiting(name, goal, timeout).run, where, is_patient=True)


class _Waiting:
    """Looks at one app until it is where it should be."""

    def __init__(self, name: str, goal: str, timeout_s: float) -> None:
        self._name = name
        self._goal = goal
        self._timeout_s = timeout_s
        self._last = "nothing is known of it yet"
        self._was_running = False

    async def run(self, cluster: "Cluster") -> int:
        """Wait, and say how it ended."""
        try:
            async with asyncio.timeout(self._timeout_s):
                end = await self._end(cluster)
        except TimeoutError:
            told = f"not {self._goal} within {format_duration(self._timeout_s)}: {self._last}"
            raise CommandError(told, Exit.TIMED_OUT) from None
        if end.code is not Exit.OK:
            raise CommandError(clean(end.message), end.code)
        click.echo(f"{self._name} {self._goal}: {clean(end.message)}")
        return Exit.OK

    async def _end(self, cluster: "Cluster") -> Ending:
        is_first = True
        async with cluster.follow(CANARY, self._name, tick_s=TICK_S) as changes:
            async for canary in changes:
                if canary is None and is_first and self._goal not in ("enrolled", "left"):
                    raise unknown_app(cluster, self._name)
                is_first = False
                if (end := await self._look(cluster, canary)) is not None:
                    return end
        raise AssertionError("unreachable: an object is followed until somebody stops")

    async def _look(self, cluster: "Cluster", canary: Manifest | None) -> Ending | None:
        if canary is None:
            if self._goal == "left":
                return Ending(Exit.OK, "canaryd has given it back")
            if self._goal == "enrolled":
                return None
            return Ending(Exit.FAILED, f"{self._name} was given back")
        state = state_of(canary)
        self._last = clean(str((canary.get("status") or {}).get("message", "")))
        if state is None:
            return None
        is_enrolled = bool(state.promoted) and state.phase is not Phase.INITIALIZING
        match self._goal:
            case "left":
                return None
            case "enrolled":
                return Ending(Exit.OK, state.message) if is_enrolled else None
            case "running" if state.run is not None:
                return Ending(Exit.OK, state.message)
            case "waiting" if waits_for_people(state, plan_of(canary, state)):
                return Ending(Exit.OK, state.message)
            case _:
                pass
        self._was_running = self._was_running or state.run is not None
        wanted = ""
        if state.run is None:
            deployment = await read_deployment(cluster, self._name)
            wanted = wanted_revision(deployment, state)
        return self._judge(ending(state, wanted, was_running=self._was_running))

    def _judge(self, end: Ending | None) -> Ending | None:
        """What the end of a run is for whoever waits for something else."""
        if end is None:
            return None
        match self._goal:
            case "idle":
                return Ending(Exit.OK, end.message)
            case "failed":
                code = Exit.OK if end.code is Exit.FAILED else Exit.FAILED
                return Ending(code, end.message)
            case "running" | "waiting":
                is_over = self._was_running
                return Ending(Exit.FAILED, f"its run is over: {end.message}") if is_over else None
            case _:
                return end
