"""``canaryd why``: why an app is where it is, in the words the daemon used when it decided."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import Exit
from canaryd.cli.objects import read_canary, state_if_readable, status_of
from canaryd.cli.options import (
    Where,
    ask,
    cluster_options,
    color_option,
    name_argument,
    output_option,
)
from canaryd.cli.render_why import EventView, as_json, events_of, render_why
from canaryd.cli.report import Report, report
from canaryd.cli.terminal import look, write
from canaryd.core.kinds import EVENT
from canaryd.ports.errors import KubeError

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster


@click.command("why")
@name_argument
@output_option("text", "json", "yaml")
@color_option
@cluster_options
def command(*, name: str, output: str, no_color: bool, where: Where) -> int:
    """Show the last decisions about an app, and their reasons."""
    to = look(no_color=no_color)

    async def show(cluster: "Cluster") -> int:
        canary = await read_canary(cluster, name)
        events, note = await _events(cluster, name)
        state, unread = state_if_readable(canary)
        notes = [text for text in (note, unread) if text]
        told = report(canary, state, None, cluster.clock.now(), notes=notes)
        actions = status_of(canary).get("commands") or []
        if output == "text":
            write(render_why(told, actions, events, to), to)
        else:
            write_document(_document(told, actions, events), output)
        return Exit.OK

    return ask(show, where)


async def _events(cluster: "Cluster", name: str) -> tuple[tuple[EventView, ...], str]:
    """Events of the Deployment and of the Canary, which have one name; and why there are none."""
    try:
        found = await cluster.api.list(
            EVENT, cluster.namespace, field_selector=f"regarding.name={name}"
        )
    except KubeError as error:
        return (), f"Events are not shown: {error}"
    ours = [e for e in found if str(e.get("reportingController", "")).startswith("canaryd.io/")]
    return events_of(ours), ""


def _document(told: Report, actions: list[Any], events: tuple[EventView, ...]) -> Mapping[str, Any]:
    return {
        "namespace": told.namespace,
        "name": told.name,
        "phase": told.phase,
        "reason": told.reason,
        "message": told.message,
        "failures": {"count": told.failures, "limit": told.failure_limit},
        "checks": [dict(check) for check in told.checks],
        "conditions": [dict(condition) for condition in told.conditions],
        "actions": [dict(action) for action in actions],
        "events": [as_json(event) for event in events],
        "notes": list(told.notes),
    }
