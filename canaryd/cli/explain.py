"""``canaryd explain``: what a key means, offline, from the table that the parser is made of."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

from canaryd.cli.document import write_document
from canaryd.cli.exits import CommandError, Exit
from canaryd.cli.options import color_option, output_option
from canaryd.cli.render import Cell, Line, Look, Span, Tone, line, table
from canaryd.cli.terminal import look, write
from canaryd.core import coherence
from canaryd.core.lookup import FAMILIES, Known, Misnamed, Planned, look_up, suggest
from canaryd.core.names import PREFIX
from canaryd.core.problems import DEFAULTS_PREFIX
from canaryd.core.rule import Rule, Section
from canaryd.core.units import INSTANCE_NAME, quote
from canaryd.core.vocabulary import BY_KEY, CONFIG_KEYS, RULES

_EVERY = (*RULES, *CONFIG_KEYS.values())
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@click.command("explain")
@click.argument("key", required=False)
@output_option("text", "json", "yaml")
@color_option
def command(*, key: str | None, output: str, no_color: bool) -> int:
    """Explain an annotation key; without KEY, list all of them.

    KEY is written with its prefix or without, a name inside it as it is or as <name>:
    metric.success-rate, metric.<name>.query.
    """
    to = look(no_color=no_color)
    if key is None:
        if output == "text":
            write(_all(to), to)
        else:
            write_document({"keys": [_document(rule) for rule in _EVERY]}, output)
        return Exit.OK
    rule = _find(key)
    if output == "text":
        write(list(_one(rule, key.removeprefix(PREFIX).removeprefix(DEFAULTS_PREFIX), to)), to)
    else:
        write_document(_document(rule), output)
    return Exit.OK


def _find(given: str) -> Rule:
    key = given.removeprefix(PREFIX).removeprefix(DEFAULTS_PREFIX)
    if rule := BY_KEY.get(key) or CONFIG_KEYS.get(key):
        return rule
    match look_up(key):
        case Known(rule=rule):
            return rule
        case Planned(advice):
            told = f"{quote(key)[1:-1]} is not supported by this version: {advice}"
        case Misnamed(name):
            told = f"{quote(name)} is no name: names are 1 to 24 of a-z, 0-9 and dashes"
        case _:
            meant = suggest(key)
            told = f"{quote(key)[1:-1]} is no key of canaryd"
            told += f"; did you mean {meant}?" if meant else "; canaryd explain lists them all"
    raise CommandError(told, Exit.INVALID)


# --- text -----------------------------------------------------------------------------------------


def _all(to: Look) -> list[Line]:
    lines: list[Line] = []
    for section in Section:
        rows: list[tuple[Cell, ...]] = [
            (rule.key, rule.type.name, _default(rule), _words(rule.meaning))
            for rule in _EVERY
            if rule.section is section
        ]
        if rows:
            lines += [line("")] if lines else []
            lines += table((section.upper(), "TYPE", "DEFAULT", "MEANING"), rows, to)
    return lines


def _one(rule: Rule, key: str, to: Look) -> Iterator[Line]:
    yield line(Span(f"{PREFIX}{key}", Tone.STRONG))
    yield line("")
    yield from _wrapped(_words(rule.meaning), "  ", to)
    yield line("")
    for name, value in _facts(rule):
        first, *more = _wrapped(value, " " * 11, to)
        yield line(Span(f"  {name:<9}", Tone.FAINT), first[0].text.lstrip())
        yield from more
    yield line("")
    yield line(Span(f'  {PREFIX}{key}: "{rule.example}"', Tone.GOOD))


def _wrapped(text: str, indent: str, to: Look) -> list[Line]:
    """The text in lines that fit, all of them indented."""
    width = max(40, to.width - len(indent)) if to.width else len(text) + 1
    return [line(indent + part) for part in textwrap.wrap(text, width)] or [line(indent)]


def _facts(rule: Rule) -> Iterator[tuple[str, str]]:
    family = FAMILIES.get(rule.key.partition(".")[0]) if "<name>" in rule.key else None
    strategies = ", ".join(coherence.STRATEGIES.get(rule.key, ()))
    providers = ", ".join(coherence.PROVIDERS.get(rule.key, ()))
    facts = (
        ("type", f"{rule.type.name}: {_words(rule.type.meaning)}"),
        ("values", ", ".join(rule.choices)),
        ("default", _default(rule)),
        ("at least", rule.at_least),
        ("at most", rule.at_most or (f"{rule.max_length} characters" if rule.max_length else "")),
        ("needs", ", ".join(rule.needs)),
        ("excludes", ", ".join(rule.excludes)),
        ("only with", f"strategy {strategies}" if strategies else ""),
        ("only with", f"provider {providers}" if providers else ""),
        ("inherited", "" if rule.inherits else f"never; it is written on each {_place(rule)}"),
        ("<name>", f"{INSTANCE_NAME}, at most {family.limit} of them" if family else ""),
    )
    yield from ((name, value) for name, value in facts if value)


def _place(rule: Rule) -> str:
    return "ConfigMap or Secret" if rule.section is Section.CONFIGS else "Deployment"


def _default(rule: Rule) -> str:
    return rule.default or _words(rule.default_note) or "none"


def _words(text: str) -> str:
    """A text of the reference page without its markup."""
    return _LINK.sub(r"\1", text).replace("`", "")


# --- programs -------------------------------------------------------------------------------------


def _document(rule: Rule) -> Mapping[str, Any]:
    return {
        "key": rule.key,
        "annotation": f"{PREFIX}{rule.key}",
        "section": str(rule.section),
        "meaning": _words(rule.meaning),
        "type": rule.type.name,
        "pattern": rule.type.pattern,
        "values": [str(choice) for choice in rule.choices],
        "default": rule.default,
        "defaultNote": _words(rule.default_note),
        "atLeast": rule.at_least,
        "atMost": rule.at_most,
        "maxLength": rule.max_length,
        "needs": list(rule.needs),
        "excludes": list(rule.excludes),
        "strategies": [str(s) for s in coherence.STRATEGIES.get(rule.key, ())],
        "providers": [str(p) for p in coherence.PROVIDERS.get(rule.key, ())],
        "inherits": rule.inherits,
        "example": rule.example,
    }
