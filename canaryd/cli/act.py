"""What every action has in common: ask for it on the Canary, and wait for what comes of it.

The request is an annotation of the Canary, which only canaryd owns: who asks, about which run and
stage, and why. The daemon carries it out or refuses it, and writes either into the status; that
record, found by its nonce, is what is printed here. Nothing is done by the command itself, so the
daemon's rules hold whoever asks, and two people who ask at once move one step.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.identity import require_right, who_am_i
from canaryd.cli.objects import read_canary, state_of, status_of
from canaryd.cli.options import (
    Function,
    Where,
    ask,
    cluster_options,
    name_argument,
    output_option,
    timeout_option,
)
from canaryd.cli.render import clean
from canaryd.core.commands import REASON_CAP, Command, CommandVerb
from canaryd.core.kinds import CANARY
from canaryd.core.rollout.commands import subject_of
from canaryd.core.state import CommandRecord
from canaryd.core.units import format_duration, quote
from canaryd.ports.kube import Manifest

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asks for on the command line."""

    verb: CommandVerb
    name: str
    argument: str = ""
    reason: str = ""
    waits: bool = True
    timeout_s: float = 15.0
    output: str = "text"


def action_options(function: Function) -> Function:
    """Take what every action takes: NAME, why, whether to wait, and where."""
    for decorate in reversed(
        (
            name_argument,
            click.option("-m", "--reason", default="", callback=_reason, help="Why; on record."),
            click.option("--no-wait", is_flag=True, help="Leave as soon as it is asked for."),
            timeout_option("15s", "Leave when canaryd has not answered by then, with exit code 5."),
            output_option("text", "json", "yaml"),
            cluster_options,
        )
    ):
        function = decorate(function)
    return function


def _reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    text = " ".join(value.split())
    if len(text) > REASON_CAP:
        told = f"is {len(text)} characters long; at most {REASON_CAP} are kept"
        raise click.BadParameter(told)
    return text


def word(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Accept a name without blanks, or nothing."""
    if value and (not value.isprintable() or " " in value or value == "-"):
        raise click.BadParameter(f"{quote(value)} is not a name without blanks")
    return value


def act(
    verb: CommandVerb,
    *,
    name: str,
    reason: str,
    no_wait: bool,
    timeout: float,
    output: str,
    where: Where,
    argument: str = "",
) -> int:
    """Ask for an action, and print what came of it."""
    request = Request(
        verb=verb,
        name=name,
        argument=argument,
        reason=reason,
        waits=not no_wait,
        timeout_s=timeout,
        output=output,
    )

    async def question(cluster: "Cluster") -> int:
        return await perform(cluster, request)

    return ask(question, where, is_patient=True)


async def perform(
    cluster: "Cluster", request: Request, nonce: Callable[[], str] = lambda: secrets.token_hex(4)
) -> int:
    """Write the request, and wait for its record.

    Raises:
        CommandError: it is refused, or canaryd does not answer.

    """
    canary = await read_canary(cluster, request.name)
    by = await who_am_i(cluster)
    await require_right(cluster, str(request.verb), request.name, by)
    command = Command(
        verb=request.verb,
        nonce=nonce(),
        subject=_subject(canary, request),
        by=by,
        argument=request.argument,
        reason=request.reason,
    )
    patch = {"metadata": {"annotations": {command.key: command.value}}}
    await cluster.api.merge_patch(CANARY, cluster.namespace, request.name, patch)
    if not request.waits:
        click.echo(f"{request.name}: {request.verb} is asked for ({command.subject})")
        return Exit.OK
    return await _answer(cluster, request, command)


def _subject(canary: Manifest, request: Request) -> str:
    state = state_of(canary)
    subject = subject_of(state) if state is not None else ""
    if not subject:
        told = f"{request.verb} refused: {request.name} is not enrolled yet"
        raise CommandError(told, Exit.REFUSED)
    return subject


async def _answer(cluster: "Cluster", request: Request, command: Command) -> int:
    try:
        async with (
            asyncio.timeout(request.timeout_s),
            cluster.follow(CANARY, request.name) as changes,
        ):
            async for canary in changes:
                if canary is None:
                    told = f"{request.name} was given back before it was answered"
                    raise CommandError(told)
                record = _recorded(canary, command)
                if record is not None:
                    return _told(request, record, canary)
    except TimeoutError:
        raise CommandError(_silence(cluster, request), Exit.TIMED_OUT) from None
    raise AssertionError("unreachable: an object is followed until somebody stops")


def _recorded(canary: Manifest, command: Command) -> CommandRecord | None:
    state = state_of(canary)
    records = state.commands if state is not None else ()
    return next((r for r in reversed(records) if r.nonce == command.nonce), None)


def _silence(cluster: "Cluster", request: Request) -> str:
    return (
        f"canaryd has not answered within {format_duration(request.timeout_s)}: is it running, and"
        f" does it watch namespace {cluster.namespace}?\n"
        "What you asked for stays on the Canary, and is carried out once it is seen, unless the run"
        " has moved on by then.\n"
        "It cannot be taken back; if it is not wanted any more, ask for the opposite, too."
    )


def _told(request: Request, record: CommandRecord, canary: Manifest) -> int:
    message = clean(str(status_of(canary).get("message", "")))
    if request.output != "text":
        write_document(_document(request, record, message), request.output)
    elif not record.refusal:
        click.echo(f"{request.name}: {message}")
    if record.refusal:
        told = f"{request.verb} of {request.name} refused: {clean(record.refusal)}"
        raise CommandError(told, Exit.REFUSED)
    return Exit.OK


def _document(request: Request, record: CommandRecord, message: str) -> dict[str, Any]:
    return {
        "name": request.name,
        "verb": record.verb,
        "nonce": record.nonce,
        "by": record.by,
        "subject": record.subject,
        "argument": record.argument,
        "reason": record.reason,
        "outcome": record.outcome,
        "refusal": record.refusal,
        "message": message,
    }
