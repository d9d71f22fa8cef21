"""``canaryd retry``: another run of a revision that failed."""

from typing import Any

import click

from canaryd.cli.act import act, action_options
from canaryd.core.commands import CommandVerb


@click.command("retry")
@action_options
def command(**options: Any) -> int:
    """Try a revision again that failed.

    Also a run that is held after a failure: it begins again with its first step.
    """
    return act(CommandVerb.RETRY, **options)
