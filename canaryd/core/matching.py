"""The conditions of ``canaryd.io/match``: which requests ask for the canary.

One sentence a condition, several of them are alternatives. What a header is compared with is never
guessed: ``=`` compares the whole value, ``~`` a pattern that every provider reads alike (see
``re2``). Whether a provider can look at all of it is not decided here.
"""

import re
from collections.abc import Mapping

from canaryd.core import re2
from canaryd.core.routing import Match, MatchKind
from canaryd.core.units import BLANKS, UnitError, quote

MAX_CONDITIONS = 8
"""As many matches as a rule of an HTTPRoute has had from the beginning."""
_EXAMPLE = '"header x-canary=insider; cookie canary"'
_BLANK = r"[ \t\r\n]"
NAME = r"[A-Za-z0-9_-]{1,63}"
_VALUE = r"[!-:<-~](?:[ -:<-~]*[!-:<-~])?"
_CONDITION = rf"(?:header{_BLANK}+{NAME}(?:[=~]{_VALUE})?|cookie{_BLANK}+{NAME})"
MATCHES = rf"{_CONDITION}(?:{_BLANK}*;{_BLANK}*{_CONDITION})*"

CONDITIONS: Mapping[str, str] = {
    "header NAME=VALUE": "the header has this value",
    "header NAME~PATTERN": (
        "the header's value matches a regular expression, anchored with `^` and `$`; a semicolon"
        r" is written `\x3b`"
    ),
    "header NAME": "the header is `always`; `never` keeps a request away whatever the weight",
    "cookie NAME": "the cookie is `always`; `never` keeps a request away whatever the weight",
}
"""Forms of a condition, and when it asks for the canary."""

_SPLIT = re.compile(rf"(header|cookie){_BLANK}+([^=~ \t\r\n]+)(?:([=~])(.*))?", re.DOTALL)
_NAME = re.compile(NAME)
_WHOLE_VALUE = re.compile(_VALUE)


def parse_matches(text: str) -> tuple[Match, ...]:
    """Read conditions with semicolons between them."""
    parts = [part.strip(BLANKS) for part in text.split(";")]
    if "" in parts:
        raise UnitError("has an empty condition", _EXAMPLE)
    if len(parts) > MAX_CONDITIONS:
        rule = f"has {len(parts)} conditions, and may have {MAX_CONDITIONS}"
        raise UnitError(rule, _EXAMPLE)
    found: list[Match] = []
    for part in parts:
        try:
            match = _parse_condition(part)
        except UnitError as error:
            which = f"has the condition {quote(part, 60)}, which " if len(parts) > 1 else ""
            raise UnitError(which + error.rule, error.example) from error
        if match in found:
            raise UnitError(f"has the condition {quote(str(match), 60)} twice", _EXAMPLE)
        found.append(match)
    return tuple(found)


def _parse_condition(text: str) -> Match:
    parts = _SPLIT.fullmatch(text)
    if parts is None:
        forms = ", ".join(CONDITIONS)
        raise UnitError(f"is none of {forms}", _EXAMPLE)
    kind, name, sign, value = MatchKind(parts[1]), parts[2], parts[3] or "", parts[4] or ""
    if not _NAME.fullmatch(name):
        raise UnitError(f"has {quote(name, 30)}, which is not the name of a {kind}", _EXAMPLE)
    if kind is MatchKind.COOKIE:
        if sign:
            rule = 'has a value: a cookie asks for the canary with the value "always", and only so'
            raise UnitError(rule, '"cookie canary"')
        return Match(kind, name)
    # Names of headers are the same in any case, and read-back compares them as text.
    name = name.lower()
    if sign and not _WHOLE_VALUE.fullmatch(value):
        what = "value" if sign == "=" else "pattern"
        raise UnitError(f"has no {what} of printable ASCII after {quote(sign)}", _EXAMPLE)
    if sign == "~":
        _check_pattern(value)
        return Match(kind, name, pattern=value)
    return Match(kind, name, value=value)


def _check_pattern(pattern: str) -> None:
    try:
        re2.check(pattern)
    except UnitError as error:
        raise UnitError(f"has a pattern that {error.rule}", error.example) from error
