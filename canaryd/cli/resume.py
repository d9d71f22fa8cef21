"""``canaryd resume``: let a run go on that somebody, or a step of its plan, paused."""

from typing import Any

import click

from canaryd.cli.act import act, action_options
from canaryd.core.commands import CommandVerb


@click.command("resume")
@action_options
def command(**options: Any) -> int:
    """Let a paused run go on.

    Ends a pause that somebody asked for, or the one of a step without a duration.
    """
    return act(CommandVerb.RESUME, **options)
