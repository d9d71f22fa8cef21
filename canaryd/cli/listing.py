"""``canaryd list``: the apps of a namespace, or of the cluster, one a line.

With ``--watch`` the table is drawn again at every change on a terminal; piped, a line is added for
each app that changed, as kubectl does.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.options import Where, ask, cluster_options, color_option, note, output_option
from canaryd.cli.render import Line, Look, table
from canaryd.cli.render_list import head, render, row
from canaryd.cli.terminal import Screen, look, write
from canaryd.core.kinds import CANARY
from canaryd.ports.errors import NotFound
from canaryd.ports.kube import Manifest

if TYPE_CHECKING:
    from canaryd.cli.connect import Cluster

AGAIN_S: Final = 2.0


@click.command("list")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("-l", "--selector", default="", help="Labels of the Canaries, as kubectl takes them.")
@click.option("-w", "--watch", is_flag=True, help="Stay, and show what changes.")
@output_option("table", "wide", "json", "yaml", "name")
@color_option
@cluster_options
def command(
    *,
    all_namespaces: bool,
    selector: str,
    watch: bool,
    output: str,
    no_color: bool,
    where: Where,
) -> int:
    """List the apps that canaryd releases."""
    if all_namespaces and where.namespace:
        raise click.UsageError("-n and -A exclude each other; give one of them")
    if watch and output not in ("table", "wide"):
        raise click.UsageError(f"--watch shows a table, not {output}")
    listing = _Listing(selector, output, look(no_color=no_color), is_everywhere=all_namespaces)
    return ask(listing.watch if watch else listing.once, where, is_patient=watch)


class _Listing:
    """Reads the apps and writes them."""

    def __init__(self, selector: str, output: str, to: Look, *, is_everywhere: bool) -> None:
        self._selector = selector
        self._output = output
        self._look = to
        self._is_everywhere = is_everywhere
        self._is_wide = output == "wide"

    async def once(self, cluster: "Cluster") -> int:
        """Show the apps as they are."""
        canaries = await self._read(cluster)
        if self._output == "name":
            for canary in canaries:
                click.echo(f"canary.canaryd.io/{canary['metadata']['name']}")
        elif self._output in ("json", "yaml"):
            write_document({"apps": [_document(canary) for canary in canaries]}, self._output)
        elif canaries:
            write(self._table(canaries, cluster.clock.now()), self._look)
        else:
            note(f"there are no Canaries in {self._place(cluster)}")
        return Exit.OK

    async def watch(self, cluster: "Cluster") -> int:
        """Show the apps whenever one of them changes."""
        screen = Screen(self._look) if self._look.width else None
        known: dict[tuple[str, str], str] = {}
        while True:
            canaries, now = await self._read(cluster), cluster.clock.now()
            if screen is not None:
                screen.draw(self._table(canaries, now))
            else:
                news = [c for c in canaries if known.get(_key(c)) != _version(c)]
                if news:
                    write(self._more(canaries, news, now, is_first=not known), self._look)
                known = {_key(canary): _version(canary) for canary in canaries}
            await cluster.clock.sleep(AGAIN_S)

    async def _read(self, cluster: "Cluster") -> list[Manifest]:
        namespace = None if self._is_everywhere else cluster.namespace
        try:
            found = await cluster.api.list(CANARY, namespace, label_selector=self._selector)
        except NotFound:
            told = f"the cluster does not know {CANARY.resource}: is canaryd installed?"
            raise CommandError(told) from None
        return sorted(found, key=_key)

    def _place(self, cluster: "Cluster") -> str:
        return "any namespace" if self._is_everywhere else f"namespace {cluster.namespace}"

    def _table(self, canaries: list[Manifest], now: float) -> list[Line]:
        return render(
            canaries, now, self._look, is_wide=self._is_wide, with_namespace=self._is_everywhere
        )

    def _more(
        self, canaries: list[Manifest], news: list[Manifest], now: float, *, is_first: bool
    ) -> list[Line]:
        """Lines of what is new, in columns as wide as the whole table's; with its head at first."""
        columns = head(is_wide=self._is_wide, with_namespace=self._is_everywhere)
        wide, everywhere = self._is_wide, self._is_everywhere
        rows = [row(c, now, is_wide=wide, with_namespace=everywhere) for c in canaries]
        lines = table(columns, rows, self._look)
        shown = [line for line, c in zip(lines[1:], canaries, strict=True) if c in news]
        return [lines[0], *shown] if is_first else shown


def _key(canary: Mapping[str, Any]) -> tuple[str, str]:
    meta = canary["metadata"]
    return str(meta.get("namespace", "")), str(meta["name"])


def _version(canary: Mapping[str, Any]) -> str:
    return str(canary["metadata"].get("resourceVersion", ""))


def _document(canary: Mapping[str, Any]) -> dict[str, Any]:
    """What programs get of one app: the public fields, without the daemon's own memory."""
    status = {k: v for k, v in (canary.get("status") or {}).items() if k != "machine"}
    namespace, name = _key(canary)
    return {
        "namespace": namespace,
        "name": name,
        "createdAt": canary["metadata"].get("creationTimestamp", ""),
        "provider": (canary.get("spec") or {}).get("provider", ""),
        "interval": (canary.get("spec") or {}).get("interval", ""),
        "status": status,
    }
