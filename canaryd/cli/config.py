"""``canaryd config``: every value in force for an app and where it comes from.

With a cluster it shows what the daemon wrote down, not what this program would make of the
annotations: the two can differ in version, and the daemon is the one that acts. With ``--file`` it
resolves a manifest that no cluster has seen yet.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from canaryd.cli.exits import CommandError, Exit
from canaryd.core.annotations import ENABLED
from canaryd.core.units import quote

if TYPE_CHECKING:
    from canaryd.cli.manifests import Checked

Values = dict[str, dict[str, str]]

KINDS: Final = (
    *("deploy", "deployment", "deployments", "deployment.apps", "deployments.apps"),
    *("cnry", "canary", "canaries", "canary.canaryd.io", "canaries.canaryd.io"),
)
"""What may stand before the name, and a slash."""


@click.command("config")
@click.argument("name", required=False)
@click.option("-n", "--namespace", help="Namespace of the app; the context's when not given.")
@click.option("--file", "file", help="Resolve a Deployment in a YAML file; - for standard input.")
@click.option("--kubeconfig", default="", help="Kubeconfig to connect with.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="Format; a table leaves out keys without a value.",
)
def command(
    *,
    name: str | None,
    namespace: str | None,
    file: str | None,
    kubeconfig: str,
    context: str,
    output: str,
) -> int:
    """Show the values in force for an app, and where from."""
    if file is not None and (kubeconfig or context):
        raise click.UsageError("--file needs no cluster; leave out --kubeconfig and --context")
    if name is not None:
        name = _name(name)
    if file is not None:
        subject, values = _from_file(file, name, namespace)
    elif name is None:
        raise click.UsageError("name an app, or a file with --file")
    else:
        subject, values = _from_cluster(name, namespace, kubeconfig, context)
    _print(subject, values, output)
    return Exit.OK


def _name(given: str) -> str:
    """Accept what kubectl accepts: ``podinfo``, ``deploy/podinfo``, ``cnry/podinfo``."""
    kind, _, name = given.rpartition("/")
    if not name or (kind and kind not in KINDS):
        raise click.UsageError(f"{quote(given)} is no name of a Deployment, such as podinfo")
    return name


# --- offline ---


def _from_file(file: str, name: str | None, namespace: str | None) -> tuple[str, Values]:
    from canaryd.cli.lint import read  # noqa: PLC0415 - YAML only when there is a file
    from canaryd.cli.manifests import check  # noqa: PLC0415

    manifests, unreadable = read([file])
    if unreadable:
        raise CommandError(str(unreadable[0]), Exit.USAGE)
    checked, elsewhere = check(manifests, namespace or "")
    item = _choose(file, checked, name, namespace)
    where = item.manifest.namespace or namespace
    inherited = [p for p in elsewhere if p.subject == f"Namespace {where}"]
    if problems := sorted([*inherited, *item.problems], key=lambda located: located.line):
        lines = "\n".join(f"  {located.message}" for located in problems)
        raise CommandError(f"the annotations have problems:\n{lines}", Exit.INVALID)
    resolved = item.resolution.values.items()
    values = {key: {"value": entry.value, "from": entry.origin} for key, entry in resolved}
    return item.manifest.subject, values


def _choose(
    file: str, checked: "Sequence[Checked]", name: str | None, namespace: str | None
) -> "Checked":
    """Find the one Deployment that is meant; one without a namespace is in any."""
    found = [
        item
        for item in checked
        if name in (None, item.manifest.name)
        and (namespace is None or item.manifest.namespace in ("", namespace))
    ]
    if len(found) == 1:
        return found[0]
    shown = _plain(file, 1024)
    if not checked:
        raise CommandError(f"{shown}: no Deployment in it has annotations of canaryd", Exit.USAGE)
    have = ", ".join(item.manifest.subject for item in found or checked)
    rule = "name one of" if found else "there is no such annotated Deployment, only"
    raise CommandError(f"{shown}: {rule}: {have}", Exit.USAGE)


# --- from the cluster ---


def _from_cluster(
    name: str, namespace: str | None, kubeconfig: str, context: str
) -> tuple[str, Values]:
    from canaryd.cli.connect import ask_cluster  # noqa: PLC0415 - takes most of a second
    from canaryd.core.kinds import CANARY  # noqa: PLC0415
    from canaryd.ports.errors import NotFound  # noqa: PLC0415
    from canaryd.ports.kube import KubeApi  # noqa: PLC0415

    async def ask(api: KubeApi, current: str) -> tuple[str, dict[str, Any]]:
        where = namespace or current
        try:
            return where, await api.get(CANARY, where, name)
        except NotFound:
            raise CommandError(
                f"there is no Canary {where}/{name}: is canaryd installed, does it watch this "
                f'namespace, and does the Deployment carry canaryd.io/{ENABLED}: "true"?'
            ) from None

    where, canary = ask_cluster(ask, kubeconfig=kubeconfig, context=context)
    _warn(canary)
    return f"Deployment {where}/{name}", _recorded(canary)


def _recorded(canary: Mapping[str, Any]) -> Values:
    spec = canary.get("spec")
    values = spec.get("values") if isinstance(spec, Mapping) else None
    if not isinstance(values, Mapping):
        raise CommandError("the Canary has no values: was it written by another version?")
    return {
        str(key): {"value": str(entry.get("value", "")), "from": str(entry.get("from", ""))}
        for key, entry in sorted(values.items())
        if isinstance(entry, Mapping)
    }


def _warn(canary: Mapping[str, Any]) -> None:
    """Say on stderr when the newest annotations are not what is in force."""
    status = canary.get("status")
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    for condition in conditions or ():
        if condition.get("type") == "ConfigValid" and condition.get("status") == "False":
            message = _plain(str(condition.get("message", "")), 1024)
            click.echo(f"canaryd: the annotations are refused: {message}", err=True)


# --- printing ---


def _print(subject: str, values: Values, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"object": subject, "values": values}, indent=2))
    elif output == "yaml":
        import yaml  # noqa: PLC0415 - only where it is wanted

        click.echo(yaml.safe_dump({"object": subject, "values": values}, sort_keys=False), nl=False)
    else:
        click.echo(_table(values))


def _table(values: Values) -> str:
    rows = [("KEY", "VALUE", "FROM")]
    for key, entry in values.items():
        if entry["value"]:
            # Queries have lines: in a table they are one.
            value = _plain(" ".join(entry["value"].split()), 60)
            rows.append((_plain(key, 100), value, _plain(entry["from"], 30)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)


def _plain(text: str, limit: int) -> str:
    """Shortened, on one line, nothing a terminal would obey: tenants write these."""
    return quote(text, limit)[1:-1]
