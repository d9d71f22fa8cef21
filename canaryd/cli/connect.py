"""From a command to the API server, and from its refusals to sentences and exit codes.

The only place of the command line that knows the client. Every request of a command ends within
``TIME_LIMIT_S``: a person is waiting.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from canaryd.cli.exits import CommandError, Exit
from canaryd.kube.client import KubeClient
from canaryd.kube.credentials import CredentialsError
from canaryd.kube.kubeconfig import load_connection
from canaryd.ports.errors import (
    Conflict,
    Forbidden,
    Gone,
    KubeError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from canaryd.ports.kube import KubeApi
from canaryd.telemetry.clock import SteadyClock

T = TypeVar("T")
TIME_LIMIT_S: Final = 30.0


def ask_cluster(
    question: Callable[[KubeApi, str], Awaitable[T]], *, kubeconfig: str, context: str
) -> T:
    """Connect, ask, disconnect.

    Args:
        question: given the API and the namespace of the context.
        kubeconfig: file, empty for where kubectl would look.
        context: of the kubeconfig, empty for the current one.

    Raises:
        CommandError: there is no answer, or none that helps.

    """

    async def ask() -> T:
        connection = load_connection(kubeconfig, context)
        async with (
            asyncio.timeout(TIME_LIMIT_S),
            KubeClient(connection, clock=SteadyClock()) as client,
        ):
            return await question(client, connection.namespace)

    with troubles_as_exits():
        return asyncio.run(ask())


@contextmanager
def troubles_as_exits() -> Iterator[None]:
    """Turn what the world can do wrong into a sentence and an exit code; defects pass through.

    Raises:
        CommandError: instead of what was raised inside.

    """
    try:
        yield
    except TimeoutError:
        words = f"no answer within {TIME_LIMIT_S:g} s"
        raise CommandError(words, Exit.TIMED_OUT) from None
    except KubeError as error:
        raise CommandError(str(error), _code(error)) from None
    except CredentialsError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(str(error)) from None


def _code(error: KubeError) -> Exit:
    match error:
        case Unreachable() | Unauthorized() | Forbidden():
            return Exit.UNREACHABLE
        case Conflict() | Gone():
            return Exit.CONFLICT
        case TooManyRequests():
            return Exit.TIMED_OUT
        case _:
            return Exit.FAILED
