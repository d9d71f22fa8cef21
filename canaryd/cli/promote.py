"""``canaryd promote``: the next step now, or with ``--full`` all of it without a verdict.

Two verbs of RBAC behind one word: who may leave out one wait may not for that reason leave out
every check, so ``--full`` asks for ``skip``.
"""

from typing import Any

import click

from canaryd.cli.act import act, action_options
from canaryd.core.commands import CommandVerb


@click.command("promote")
@click.option("--full", is_flag=True, help="Promote without a verdict: the same as canaryd skip.")
@action_options
def command(*, full: bool, **options: Any) -> int:
    """Go on to the next step of a run.

    What the step waits for is left out; the next one is judged as always. When somebody else was
    faster it is refused: two people move one step, not two. A gate is opened by canaryd approve.
    """
    return act(CommandVerb.SKIP if full else CommandVerb.PROMOTE, **options)
