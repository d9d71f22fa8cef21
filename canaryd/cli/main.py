"""The command line: names the commands, imports one only when it runs.

``canaryd --help`` has to be instant and shell completion more so, while the daemon needs a second
of imports. So this module imports click and nothing else, and the help text of each command stands
in the table here (a test holds it equal to the command's own).

Whatever the world does to a command ends in one sentence and an exit code; a traceback is a defect
of ours.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import click

from canaryd import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "See": {
        "list": "List the apps that canaryd releases.",
        "status": "Show how the release of an app goes.",
        "wait": "Wait until an app is somewhere.",
        "why": "Show the last decisions about an app, and their reasons.",
        "history": "Show the runs of an app, and what people asked for.",
        "diff": "Show what a promotion would change.",
        "config": "Show the values in force for an app, and where from.",
    },
    "Steer": {
        "pause": "Hold the run of an app where it is.",
        "resume": "Let a paused run go on.",
        "promote": "Go on to the next step of a run.",
        "approve": "Approve the gate that a run waits at.",
        "abort": "End a run, users to the primary first.",
        "retry": "Try a revision again that failed.",
        "skip": "Promote the revision under analysis without a verdict.",
        "undo": "Go back to a revision that was promoted before.",
    },
    "Annotate": {
        "enrol": "Hand a Deployment to canaryd, with these annotations.",
        "leave": "Take a Deployment back from canaryd, and wait until it is.",
        "lint": "Check the annotations in YAML files, without a cluster.",
        "explain": "Explain an annotation key; without KEY, list all of them.",
    },
    "Run": {
        "run": "Watch Deployments and roll out their new revisions.",
        "version": "Show the version.",
    },
}
"""Commands as the help lists them, each with its short help."""

MODULES: Final[Mapping[str, str]] = {"list": "listing"}
"""Modules of this package that are not called like their command."""

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    name: (f"canaryd.cli.{MODULES.get(name, name)}", text)
    for commands in SECTIONS.values()
    for name, text in commands.items()
}
"""Name of a command: the module that has it as ``command``, and its short help."""

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

INTERRUPTED: Final = 130
"""What a shell says of a program ended by Ctrl-C."""
READER_GONE: Final = 141
"""What a shell says of a program ended by SIGPIPE."""


class LazyGroup(click.Group):
    """Commands by name; a command's module is imported when the command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands without importing any."""
        longest = max(map(len, COMMANDS))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                # The same column in every section.
                rows = [(name.ljust(longest), text) for name, text in commands.items()]
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete the names of commands without importing any."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only for a shell

        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the command line, which writes the help when that is asked for."""
        with _reader_may_leave():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _reader_may_leave():
            return super().invoke(ctx)


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End quietly when the reader has seen enough, as in ``canaryd lint ... | head``.

    Done below click, which would make an exit code of its own of it.
    """
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(READER_GONE) from None


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, "-V", "--version", message="canaryd %(version)s")
def cli() -> None:
    """Progressive delivery for the Deployments you already have."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    name = PurePath(sys.argv[0]).name
    program = "kubectl canaryd" if name.startswith("kubectl-") else "canaryd"
    try:
        code = cli.main(arguments, prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except OSError as error:
        # Commands handle their own; what is left is output that cannot be written.
        click.echo(f"canaryd: cannot write: {error.strerror or error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
