"""From a command to the API server, and from its refusals to sentences and exit codes.

The only place of the command line that makes a client. Every request has a time limit of its own;
a command that only asks ends within ``TIME_LIMIT_S`` as a whole, since a person is waiting.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.follow import Follower
from canaryd.cli.options import Where
from canaryd.core.kinds import Kind
from canaryd.kube.client import KubeClient
from canaryd.kube.credentials import CredentialsError
from canaryd.kube.kubeconfig import load_connection
from canaryd.ports.clock import Clock
from canaryd.ports.errors import (
    Conflict,
    Forbidden,
    Gone,
    KubeError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from canaryd.ports.kube import Manifest
from canaryd.telemetry.clock import SteadyClock

T = TypeVar("T")
TIME_LIMIT_S: Final = 30.0
WHO_WRITES: Final = "kubectl-canaryd"
"""Field manager of what people write through us."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The API server a command talks to, and the namespace it is about.

    ``user`` is what the kubeconfig calls us, empty when nothing does.
    """

    api: KubeClient
    namespace: str
    user: str
    clock: Clock

    def follow(
        self, kind: Kind, name: str, *, tick_s: float | None = None
    ) -> AbstractAsyncContextManager[AsyncGenerator[Manifest | None]]:
        """One object now and at every change, and at least every ``tick_s``; None while there is
        none.
        """
        follower = Follower(self.api, self.clock, kind, self.namespace, name, tick_s)
        return aclosing(follower.follow())


def ask_cluster(
    question: Callable[[Cluster], Awaitable[T]], where: Where, *, is_patient: bool = False
) -> T:
    """Connect, ask, disconnect.

    Args:
        question: what to do with the cluster.
        where: which cluster and namespace.
        is_patient: the question knows itself when to give up.

    Raises:
        CommandError: there is no answer, or none that helps.

    """

    async def answer() -> T:
        connection = load_connection(where.kubeconfig, where.context)
        clock = SteadyClock()
        async with (
            asyncio.timeout(None if is_patient else TIME_LIMIT_S),
            KubeClient(connection, clock=clock, field_manager=WHO_WRITES) as client,
        ):
            namespace = where.namespace or connection.namespace
            return await question(Cluster(client, namespace, connection.user, clock))

    with troubles_as_exits():
        return asyncio.run(answer())


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
