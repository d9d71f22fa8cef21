"""``canaryd config``: every value in force for an app and where it comes from.

With a cluster it shows what the daemon wrote down, not what this program would make of the
annotations: the two can differ in version, and the daemon is the one that acts. With ``--file`` it
resolves a manifest that no cluster has seen yet.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.objects import read_canary
from canaryd.cli.options import Where, app_name, ask, cluster_options, output_option
from canaryd.core.units import quote

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster
    from canaryd.cli.manifests import Checked

Values = dict[str, dict[str, str]]


@click.command("config")
@click.argument("name", required=False, callback=app_name)
@click.option("--file", "file", help="Resolve a Deployment in a YAML file; - for standard input.")
@output_option("table", "json", "yaml", meaning="Format; a table leaves out keys without a value.")
@cluster_options
def command(*, name: str | None, file: str | None, output: str, where: Where) -> int:
    """Show the values in force for an app, and where from."""
    if file is not None and (where.kubeconfig or where.context):
        raise click.UsageError("--file needs no cluster; leave out --kubeconfig and --context")
    if file is not None:
        subject, values = _from_file(file, name, where.namespace)
        _print(subject, values, output)
        return Exit.OK
    if name is None:
        raise click.UsageError("name an app, or a file with --file")
    app = name

    async def show(cluster: "Cluster") -> int:
        canary = await read_canary(cluster, app)
        _warn(canary)
        _print(f"Deployment {cluster.namespace}/{app}", _recorded(canary), output)
        return Exit.OK

    return ask(show, where)


# --- offline ---


def _from_file(file: str, name: str | None, namespace: str) -> tuple[str, Values]:
    from canaryd.cli.lint import read  # noqa: PLC0415 - YAML only when there is a file
    from canaryd.cli.manifests import check  # noqa: PLC0415

    manifests, unreadable = read([file])
    if unreadable:
        raise CommandError(str(unreadable[0]), Exit.USAGE)
    checked, elsewhere = check(manifests, namespace)
    item = _choose(file, checked, name, namespace)
    where = item.manifest.namespace or namespace
    inherited = [p for p in elsewhere if p.subject == f"Namespace {where}"]
    if problems := sorted([*inherited, *item.problems], key=lambda located: located.line):
        lines = "\n".join(f"  {located.message}" for located in problems)
        raise CommandError(f"the annotations have problems:\n{lines}", Exit.INVALID)
    resolved = item.resolution.values.items()
    values = {key: {"value": entry.value, "from": entry.origin} for key, entry in resolved}
    return item.manifest.subject, values


def _choose(file: str, checked: "Sequence[Checked]", name: str | None, namespace: str) -> "Checked":
    """Find the one Deployment that is meant; one without a namespace is in any."""
    found = [
        item
        for item in checked
        if name in (None, item.manifest.name)
        and (not namespace or item.manifest.namespace in ("", namespace))
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
    if output == "table":
        click.echo(_table(values))
    else:
        write_document({"object": subject, "values": values}, output)


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
