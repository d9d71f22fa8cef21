"""``canaryd version``: what is installed, for people and for programs."""

import json
import platform

import click

from canaryd import __version__


@click.command("version")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Format.")
def command(output: str) -> None:
    """Show the version."""
    if output == "json":
        click.echo(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        click.echo(f"canaryd {__version__}")
