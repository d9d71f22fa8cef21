"""``canaryd skip``: promote what is under analysis without a verdict."""

from typing import Any

import click

from canaryd.cli.act import act, action_options
from canaryd.core.commands import CommandVerb


@click.command("skip")
@action_options
def command(**options: Any) -> int:
    """Promote the revision under analysis without a verdict.

    For a fix that cannot wait. Steps, checks and gates are left out; pods still have to be ready.
    """
    return act(CommandVerb.SKIP, **options)
