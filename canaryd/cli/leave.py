"""``canaryd leave``: take an app back from canaryd, users first.

Only the wish is written; the daemon moves traffic before it lets go of anything, and this waits
until it has. What is done by hand when no daemon runs is the matter of ``docs/operations.md``.
"""

import asyncio
from typing import TYPE_CHECKING, Final

import click

from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.options import (
    Where,
    ask,
    cluster_options,
    name_argument,
    progress,
    timeout_option,
)
from canaryd.cli.render import clean
from canaryd.core.annotations import ENABLED
from canaryd.core.kinds import CANARY, DEPLOYMENT
from canaryd.core.names import PREFIX
from canaryd.core.units import format_duration
from canaryd.ports.errors import NotFound

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

TICK_S: Final = 2.0


@click.command("leave")
@name_argument
@click.option("--no-wait", is_flag=True, help="Leave as soon as the wish is written.")
@timeout_option("15m", "Leave after this long, with exit code 5; canaryd goes on.")
@cluster_options
def command(*, name: str, no_wait: bool, timeout: float, where: Where) -> int:
    """Take a Deployment back from canaryd, and wait until it is.

    Sets canaryd.io/enabled to "false": users go to the Deployment's own pods, then what canaryd
    made is deleted. In Git, set the annotation there too.
    """

    async def leave(cluster: "Cluster") -> int:
        patch = {"metadata": {"annotations": {f"{PREFIX}{ENABLED}": "false"}}}
        try:
            await cluster.api.merge_patch(DEPLOYMENT, cluster.namespace, name, patch)
        except NotFound:
            told = f"there is no Deployment {cluster.namespace}/{name}"
            raise CommandError(told) from None
        if no_wait:
            click.echo(f"{name} is to be given back; canaryd does it when it sees it")
            return Exit.OK
        return await _wait(cluster, name, timeout)

    return ask(leave, where, is_patient=True)


async def _wait(cluster: "Cluster", name: str, timeout_s: float) -> int:
    last = "canaryd has not said anything yet; is it running?"
    was_there = False
    try:
        async with (
            asyncio.timeout(timeout_s),
            cluster.follow(CANARY, name, tick_s=TICK_S) as changes,
        ):
            async for canary in changes:
                if canary is None:
                    told = "is on its own again" if was_there else "was not enrolled"
                    click.echo(f"{name} {told}")
                    return Exit.OK
                was_there = True
                message = clean(str((canary.get("status") or {}).get("message", "")))
                if message and message != last:
                    progress(message)
                    last = message
    except TimeoutError:
        told = f"not given back within {format_duration(timeout_s)}: {last}"
        raise CommandError(told, Exit.TIMED_OUT) from None
    raise AssertionError("unreachable: an object is followed until somebody stops")
