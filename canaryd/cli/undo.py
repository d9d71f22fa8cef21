"""``canaryd undo``: back to a revision that was promoted before, configs included."""

from typing import Any

import click

from canaryd.cli.act import act, action_options, word
from canaryd.core.commands import CommandVerb


@click.command("undo")
@click.option("--to", default="", callback=word, help="Which revision; the one before.")
@action_options
def command(*, to: str, **options: Any) -> int:
    """Go back to a revision that was promoted before.

    Template and configs together, by the same order as any promotion. The Deployment stays as it
    is, because Git owns it; the revision that it asks for is refused until it changes, or canaryd
    retry asks for it again. canaryd history lists the revisions.
    """
    return act(CommandVerb.UNDO, argument=to, **options)
