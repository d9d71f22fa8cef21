"""``canaryd history``: the runs of an app, and what people asked for: who, what, and why.

As long as ``history-limit`` says, and as the status has room for; the Events and the log of the
daemon go further back.
"""

from typing import TYPE_CHECKING

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import Exit
from canaryd.cli.objects import read_canary, status_of
from canaryd.cli.options import (
    Where,
    ask,
    cluster_options,
    color_option,
    name_argument,
    output_option,
)
from canaryd.cli.render_why import render_history
from canaryd.cli.terminal import look, write

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster


@click.command("history")
@name_argument
@output_option("text", "json", "yaml")
@color_option
@cluster_options
def command(*, name: str, output: str, no_color: bool, where: Where) -> int:
    """Show the runs of an app, and what people asked for."""
    to = look(no_color=no_color)

    async def show(cluster: "Cluster") -> int:
        canary = await read_canary(cluster, name)
        status = status_of(canary)
        runs, actions = status.get("history") or [], status.get("commands") or []
        if output == "text":
            write(render_history(runs, actions, cluster.clock.now(), to), to)
        else:
            place = {"namespace": cluster.namespace, "name": name}
            write_document(place | {"runs": runs, "actions": actions}, output)
        return Exit.OK

    return ask(show, where)
