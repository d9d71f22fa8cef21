"""``canaryd run``: settings from file, environment and flags, then the daemon.

A flag that is not given says nothing: it must not push a built-in default over what the file says.
"""

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from canaryd.cli.exits import CommandError, Exit
from canaryd.config.load import CONFIG_VARIABLE, ConfigError, load

_HELP = f"""\
Watch Deployments and roll out their new revisions.

Settings come from the file, then the environment (CANARYD_LOG__LEVEL is log.level), then flags.
What is watched has to be chosen: -A, or -n for each namespace, or scope in the file.

Without --config the file is what {CONFIG_VARIABLE} names, if anything.
"""


@click.command("run", help=_HELP, short_help="Watch Deployments and roll out their new revisions.")
@click.option("-n", "--namespace", multiple=True, help="Namespace to watch; may be repeated.")
@click.option("-A", "--all-namespaces", is_flag=True, default=None, help="Watch the cluster.")
@click.option("--once", is_flag=True, default=None, help="Look at every app once, then end.")
@click.option("--dry-run", is_flag=True, default=None, help="Decide and tell, change nothing.")
@click.option("--config", type=click.Path(path_type=Path), help="File with settings.")
@click.option("--kubeconfig", help="Kubeconfig to connect with.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--log-format", type=click.Choice(["json", "text"]))
@click.option("--port", type=click.IntRange(0, 65535), help="Port of probes and metrics.")
@click.option("--leader-elect/--no-leader-elect", default=None, help="Elect a leader by a Lease.")
@click.option("--prometheus-url", help="URL of the metric source called default.")
@click.option(
    "--dialect",
    type=click.Choice(["ingress-nginx", "traefik", "higress"]),
    help="Who reads the annotations of Ingresses.",
)
def command(config: Path | None, **flags: Any) -> int:
    """Run the daemon until it is told to end."""
    if flags["namespace"] and flags["all_namespaces"]:
        raise click.UsageError("-n and -A exclude each other; give one of them")
    named = os.environ.get(CONFIG_VARIABLE, "")
    path = config or (Path(named) if named else None)
    try:
        settings = load(path, os.environ, dict(_parts(flags)))
    except ConfigError as error:
        raise CommandError(str(error), Exit.INVALID) from None
    if settings.admission.keep == "webhook" and find_spec("cryptography") is None:
        words = 'admission.keep: "webhook" needs the package cryptography: install canaryd[webhook]'
        raise CommandError(words, Exit.INVALID)

    # Only now: it takes most of a second, and a slip in the settings should not.
    from canaryd import app  # noqa: PLC0415
    from canaryd.cli.connect import troubles_as_exits  # noqa: PLC0415

    with troubles_as_exits():
        return app.run(settings)


def _parts(flags: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each given flag, as it is written, and the part of the settings it stands for."""
    if flags["all_namespaces"]:
        yield "-A", {"scope": {"mode": "cluster", "namespaces": []}}
    if flags["namespace"]:
        yield "-n", {"scope": {"mode": "namespaces", "namespaces": list(flags["namespace"])}}
    if url := flags["prometheus_url"]:
        source = {"type": "prometheus", "url": url}
        yield "--prometheus-url", {"metric_sources": {"default": source}}
    simple: Mapping[str, tuple[str, ...]] = {
        "once": ("once",),
        "dry_run": ("dry_run",),
        "kubeconfig": ("kubeconfig",),
        "context": ("context",),
        "log_level": ("log", "level"),
        "log_format": ("log", "format"),
        "port": ("server", "port"),
        "leader_elect": ("leader_election", "enabled"),
        "dialect": ("providers", "nginx", "dialect"),
    }
    for flag, keys in simple.items():
        if flags[flag] is None:
            continue
        part: Any = flags[flag]
        for key in reversed(keys):
            part = {key: part}
        yield f"--{flag.replace('_', '-')}", part
