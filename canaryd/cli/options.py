"""What commands share on their command lines: kubectl's flags, and names as kubectl takes them.

Light on purpose: a command's module imports this one, and its help has to come at once. What talks
to a cluster is imported when the command runs.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from canaryd.core.units import UnitError, parse_duration, parse_subdomain, quote

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

Function = Callable[..., Any]
T = TypeVar("T")

KINDS: Final = (
    *("deploy", "deployment", "deployments", "deployment.apps", "deployments.apps"),
    *("cnry", "canary", "canaries", "canary.canaryd.io", "canaries.canaryd.io"),
)
"""What may stand before a name, and a slash."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster and namespace are meant; empty: what kubectl would take."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""


def app_name(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Accept what kubectl accepts: ``podinfo``, ``deploy/podinfo``, ``cnry/podinfo``."""
    if value is None:
        return None
    kind, slash, name = value.rpartition("/")
    if _is_name(name) and (kind in KINDS or not slash):
        return name
    raise click.BadParameter(f"{quote(value)} is no name of a Deployment, such as podinfo")


def _is_name(text: str) -> bool:
    try:
        parse_subdomain(text)
    except UnitError:
        return False
    return True


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except UnitError as error:
        raise click.BadParameter(f"{quote(value)} {error}") from None


name_argument: Final = click.argument("name", callback=app_name)


def cluster_options(function: Function) -> Function:
    """Take kubectl's flags for where to look; the command gets them as ``where``."""

    @click.option("-n", "--namespace", default="", help="Namespace; the context's when not given.")
    @click.option("--context", default="", help="Context of the kubeconfig.")
    @click.option("--kubeconfig", default="", help="Kubeconfig to connect with.")
    @wraps(function)
    def taking(*arguments: Any, namespace: str, context: str, kubeconfig: str, **more: Any) -> Any:
        return function(*arguments, where=Where(kubeconfig, context, namespace), **more)

    return taking


def output_option(*formats: str, meaning: str = "Format.") -> Callable[[Function], Function]:
    """Offer formats, the first one being what comes without the flag."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=meaning,
    )


def color_option(function: Function) -> Function:
    """Take ``--no-color``."""
    flag = click.option("--no-color", is_flag=True, help="No colours, also on a terminal.")
    return flag(function)


def timeout_option(default: str, meaning: str) -> Callable[[Function], Function]:
    """Take ``--timeout``."""
    return click.option(
        "--timeout",
        callback=_seconds,
        default=default,
        show_default=True,
        metavar="DURATION",
        help=meaning,
    )


def ask(
    question: "Callable[[Cluster], Awaitable[T]]", where: Where, *, is_patient: bool = False
) -> T:
    """Connect, ask, disconnect; ``is_patient`` leaves it to the question when to give up."""
    from canaryd.cli import connect  # noqa: PLC0415 - takes most of a second

    return connect.ask_cluster(question, where, is_patient=is_patient)


def program() -> str:
    """What the user calls us: ``canaryd`` or ``kubectl canaryd``."""
    context = click.get_current_context(silent=True)
    return (context.find_root().info_name if context is not None else None) or "canaryd"


def note(text: str) -> None:
    """Say something beside the outcome, on stderr."""
    click.echo(f"canaryd: {text}", err=True)


def progress(text: str) -> None:
    """Say what happens while somebody waits, on stderr."""
    click.echo(text, err=True)
