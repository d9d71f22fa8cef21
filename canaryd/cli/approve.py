"""``canaryd approve``: open the gate that a run waits at."""

from typing import Any

import click

from canaryd.cli.act import act, action_options, word
from canaryd.core.commands import CommandVerb


@click.command("approve")
@click.option("--gate", default="", callback=word, help="Its name; the one that is waited at.")
@action_options
def command(*, gate: str, **options: Any) -> int:
    """Approve the gate that a run waits at.

    Nobody approves a revision of their own, and nobody twice. An approval is for this run alone.
    """
    return act(CommandVerb.APPROVE, argument=gate, **options)
