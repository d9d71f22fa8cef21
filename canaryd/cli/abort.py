"""``canaryd abort``: users off the canary now; the revision counts as failed."""

from typing import Any

import click

from canaryd.cli.act import act, action_options
from canaryd.core.commands import CommandVerb


@click.command("abort")
@action_options
def command(**options: Any) -> int:
    """End a run, users to the primary first.

    The revision is refused from then on, until it changes or canaryd retry asks for it again.
    """
    return act(CommandVerb.ABORT, **options)
