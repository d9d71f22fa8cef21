"""Exit codes and the one way a command ends badly: a sentence on stderr, never a traceback.

======  ==========================================
code    meaning
======  ==========================================
0       done
1       failed
2       the command line is wrong, or a file cannot be read
3       the configuration is invalid, or annotations have problems
4       the API server cannot be reached, or does not allow it
5       the time was used up
6       somebody else changed it at the same time, or the answer is stale
7       canaryd refused the action, as things are
======  ==========================================

Scripts and pipelines depend on these numbers.
"""

from enum import IntEnum
from typing import IO, Any

import click


class Exit(IntEnum):
    """Why a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INVALID = 3
    UNREACHABLE = 4
    TIMED_OUT = 5
    CONFLICT = 6
    REFUSED = 7


class CommandError(click.ClickException):
    """A command cannot do what was asked.

    Args:
        message: what was wrong and what to do about it, for people.
        code: why.

    """

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on stderr."""
        click.echo(f"canaryd: {self.format_message()}", file=file, err=True)
