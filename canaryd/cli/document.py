"""What programs read: JSON and YAML of a value, spelled the same by every command."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

Value = Mapping[str, Any] | Sequence[Any]


def write_document(value: Value, output: str, *, is_one_of_many: bool = False) -> None:
    """Write a value as JSON or YAML; ``is_one_of_many``: others follow, so JSON takes one line."""
    if output == "yaml":
        import yaml  # noqa: PLC0415 - only where it is wanted

        start = "---\n" if is_one_of_many else ""
        plain = json.loads(json.dumps(value))  # words of an enumeration are words to YAML, too
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
        click.echo(start + text, nl=False)
    elif is_one_of_many:
        click.echo(json.dumps(value, separators=(",", ":")))
    else:
        click.echo(json.dumps(value, indent=2))
