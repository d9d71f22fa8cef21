"""``canaryd enrol``: hand a Deployment to canaryd, after the check that ``lint`` would make.

What is checked is what will be in force: the annotations that are there, the new ones, and the
namespace's defaults. With ``--dry-run`` nothing is sent: the patch is for Git, where annotations
belong when a tool applies them.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.objects import condition_of, state_of
from canaryd.cli.options import (
    Where,
    ask,
    cluster_options,
    name_argument,
    note,
    output_option,
    progress,
    timeout_option,
)
from canaryd.cli.render import clean
from canaryd.core.annotations import ENABLED, resolve_deployment
from canaryd.core.gitops import writer_of
from canaryd.core.kinds import CANARY, DEPLOYMENT, NAMESPACE
from canaryd.core.names import PREFIX
from canaryd.core.phase import Phase
from canaryd.core.units import format_duration, quote
from canaryd.ports.errors import Forbidden, NotFound
from canaryd.ports.kube import Manifest

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

TICK_S: Final = 2.0


@click.command("enrol")
@name_argument
@click.argument("values", nargs=-1, metavar="[KEY=VALUE | KEY-]...")
@click.option("--dry-run", is_flag=True, help="Print the patch, send nothing.")
@click.option("--no-wait", is_flag=True, help="Leave as soon as the patch is sent.")
@timeout_option("10m", "Leave after this long, with exit code 5; canaryd goes on.")
@output_option("yaml", "json", meaning="Format of the patch that --dry-run prints.")
@cluster_options
def command(
    *,
    name: str,
    values: Sequence[str],
    dry_run: bool,
    no_wait: bool,
    timeout: float,
    output: str,
    where: Where,
) -> int:
    """Hand a Deployment to canaryd, with these annotations.

    KEY has no prefix: metric.success-rate=">= 99". KEY- takes an annotation away. What canaryd lint
    would refuse is refused, with exit code 3. It ends when users are served by the primary, or when
    that needs a person.
    """
    wanted = dict(_parse(values))

    async def enrol(cluster: "Cluster") -> int:
        patch = await _patch(cluster, name, wanted)
        if dry_run:
            write_document(patch, output)
            return Exit.OK
        canary = await _canary(cluster, name)
        await cluster.api.merge_patch(DEPLOYMENT, cluster.namespace, name, patch)
        if _is_enrolled(canary):
            click.echo(f"{name} is enrolled already; its next run takes the new annotations")
            return Exit.OK
        if no_wait:
            click.echo(f"{name} is annotated; canaryd takes it over when it sees it")
            return Exit.OK
        return await _wait(cluster, name, timeout)

    return ask(enrol, where, is_patient=True)


def _parse(values: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    for text in values:
        key, equals, value = text.partition("=")
        key = key.removeprefix(PREFIX)
        if equals and key:
            yield key, value
        elif not equals and len(key) > 1 and key.endswith("-"):
            yield key[:-1], None
        else:
            told = f"{quote(text)} is neither KEY=VALUE nor KEY-"
            raise click.UsageError(told)


# --- the patch ------------------------------------------------------------------------------------


async def _patch(cluster: "Cluster", name: str, wanted: Mapping[str, str | None]) -> Manifest:
    """The merge patch of the Deployment.

    Raises:
        CommandError: there is no such Deployment, or what it would say is not valid.

    """
    try:
        deployment = await cluster.api.get(DEPLOYMENT, cluster.namespace, name)
    except NotFound:
        raise CommandError(f"there is no Deployment {cluster.namespace}/{name}") from None
    added = {f"{PREFIX}{key}": value for key, value in ({ENABLED: "true"} | dict(wanted)).items()}
    before = deployment["metadata"].get("annotations") or {}
    after = {k: v for k, v in ({**before, **added}).items() if v is not None}
    template = (deployment["spec"].get("template") or {}).get("metadata") or {}
    resolution = resolve_deployment(
        controller={},
        namespace=await _defaults(cluster),
        deployment=after,
        template=template.get("annotations") or {},
    )
    if resolution.problems:
        lines = "\n".join(f"  {problem.message}" for problem in resolution.problems)
        raise CommandError(
            f"the annotations have problems, nothing was sent:\n{lines}", Exit.INVALID
        )
    if not resolution.enabled:
        raise CommandError('enabled must be "true" to enrol; canaryd leave gives back', Exit.USAGE)
    _warn(deployment)
    return {"metadata": {"annotations": added}}


async def _defaults(cluster: "Cluster") -> Mapping[str, str]:
    try:
        found = await cluster.api.get(NAMESPACE, None, cluster.namespace)
    except (Forbidden, NotFound):
        note("the namespace's defaults may not be read; they are left out of the check")
        return {}
    annotations: Mapping[str, str] = found["metadata"].get("annotations") or {}
    return annotations


def _warn(deployment: Mapping[str, Any]) -> None:
    tool = writer_of(deployment["metadata"], "spec", "template")
    if tool:
        note(f"{tool} applies this Deployment: write the annotations into its source, too")


# --- waiting --------------------------------------------------------------------------------------


async def _canary(cluster: "Cluster", name: str) -> Manifest | None:
    try:
        return await cluster.api.get(CANARY, cluster.namespace, name)
    except (NotFound, Forbidden):
        return None


def _is_enrolled(canary: Manifest | None) -> bool:
    state = state_of(canary) if canary is not None else None
    return (
        state is not None
        and bool(state.promoted)
        and state.phase not in (Phase.INITIALIZING, Phase.TERMINATING)
    )


async def _wait(cluster: "Cluster", name: str, timeout_s: float) -> int:
    last = "canaryd has not looked at it yet; is it running, and does it watch this namespace?"
    try:
        async with (
            asyncio.timeout(timeout_s),
            cluster.follow(CANARY, name, tick_s=TICK_S) as changes,
        ):
            async for canary in changes:
                if canary is None:
                    continue
                message = clean(str((canary.get("status") or {}).get("message", "")))
                if message and message != last:
                    progress(message)
                    last = message
                if _is_enrolled(canary):
                    click.echo(f"{name} enrolled: {message}")
                    return Exit.OK
                _require_no_person(canary, message)
    except TimeoutError:
        told = f"not enrolled within {format_duration(timeout_s)}: {last}"
        raise CommandError(told, Exit.TIMED_OUT) from None
    raise AssertionError("unreachable: an object is followed until somebody stops")


def _require_no_person(canary: Manifest, message: str) -> None:
    """End when canaryd says that it needs somebody.

    Raises:
        CommandError: it does.

    """
    if condition_of(canary, "ConfigValid").get("status") == "False":
        told = clean(str(condition_of(canary, "ConfigValid").get("message", "")))
        raise CommandError(f"canaryd refuses the annotations: {told}", Exit.INVALID)
    if condition_of(canary, "Stalled").get("status") == "True":
        raise CommandError(f"it needs a person: {message}")
