"""``canaryd pause``: hold a run where it is, users included."""

from typing import Any

import click

from canaryd.cli.act import act, action_options
from canaryd.core.commands import CommandVerb


@click.command("pause")
@action_options
def command(**options: Any) -> int:
    """Hold the run of an app where it is.

    The weight stays, checks and clocks stand still; a canary whose pods are lost still loses its
    users at once. A pause is state of the run, not of the Deployment: no GitOps tool reverts it.
    """
    return act(CommandVerb.PAUSE, **options)
