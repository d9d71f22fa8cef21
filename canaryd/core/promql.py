r"""Insertion of variables into a user's PromQL: no value can change the meaning of the query.

A tenant chooses names and variables, and a query that a value could break out of would read other
tenants' series (threat 9). So the template is read with PromQL's own rules for string literals, and
a variable is inserted only inside one, escaped for the kind of literal it stands in::

    app="{{ target }}"          quoted       backslash, quote and control characters escaped
    app=~"{{ target }}-.*"      matcher      RE2 metacharacters quoted first, then as above
    app=`{{ target }}`          raw          knows no escapes: a backtick in the value is refused

Outside of a literal only ``{{ interval }}`` may stand, a duration of our own making.
Values are inserted once and never read again as template text.
What is wrong raises :class:`TemplateError` with words for the person who wrote the annotation;
nothing is ever dropped or guessed. The query's own PromQL errors are for Prometheus to find.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from canaryd.core.units import quote

Value = str | tuple[str, ...]
"""One value, or several that mean "any of these" and need a regex matcher."""

INTERVAL = "interval"
_PLACEHOLDER = re.compile(r"\{\{[ \t]*([A-Za-z][A-Za-z0-9_.-]*)[ \t]*\}\}")
_RE2_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_QUOTES = "\"'`"


class TemplateError(ValueError):
    """The template, or a value for it, cannot be used."""


@dataclass(frozen=True, slots=True)
class _Variable:
    """A placeholder; ``quote_mark`` is that of the literal it stands in, empty outside of one."""

    name: str
    quote_mark: str
    is_regex: bool


def render(template: str, variables: Mapping[str, Value], *, interval_s: float) -> str:
    """Return the query with every placeholder replaced.

    Raises:
        TemplateError: the template is malformed, names an unknown variable, or a value cannot stand
        where it would.

    """
    _require_text(template, "the query")
    values: dict[str, Value] = dict(variables) | {INTERVAL: f"{max(1, int(interval_s))}s"}
    return "".join(_insert(piece, values) for piece in _Scanner(template).pieces())


def check_template(template: str, names: Iterable[str]) -> None:
    """Tell whether a template could be rendered with variables of these names.

    Raises:
        TemplateError: it could not.

    """
    render(template, dict.fromkeys(names, "x"), interval_s=60)


def literal(value: str) -> str:
    """Return a value as a double-quoted PromQL string."""
    return f'"{_escape(value, chr(34))}"'


def quote_regex(value: str) -> str:
    """Return a regular expression (RE2) that matches exactly this text."""
    return _RE2_SPECIAL.sub(r"\\\g<0>", value)


# --- reading the template -------------------------------------------------------------------------


@dataclass(slots=True)
class _Scanner:
    """One pass over a template, minding strings, escapes and comments."""

    template: str
    position: int = 0
    quote_mark: str = ""
    is_regex: bool = False
    recent: str = ""
    """The last two characters outside of strings that mean something: the operator in front of a
    literal.
    """

    def pieces(self) -> Iterator[str | _Variable]:
        """Split the template into text and placeholders."""
        start = 0
        while self.position < len(self.template):
            if self.template.startswith("{{", self.position):
                yield self.template[start : self.position]
                yield self._placeholder()
                start = self.position
            elif self.quote_mark:
                self._inside()
            else:
                self._outside()
        if self.quote_mark:
            raise TemplateError(f"the query has a string that is not closed with {self.quote_mark}")
        yield self.template[start:]

    def _placeholder(self) -> _Variable:
        found = _PLACEHOLDER.match(self.template, self.position)
        if found is None:
            shown = quote(self.template[self.position : self.position + 24])
            raise TemplateError(
                f"the query has a malformed variable at {shown}; write {{{{ target }}}}"
            )
        self.position = found.end()
        return _Variable(found[1], self.quote_mark, self.is_regex)

    def _inside(self) -> None:
        character = self.template[self.position]
        self.position += 1
        if character == "\\" and self.quote_mark != "`":
            # A backslash right before a placeholder would escape the first character of the
            # inserted value, and with it turn our escape of that character into the end of the
            # string.
            if self.template.startswith("{{", self.position):
                raise TemplateError("the query has a backslash right before a variable; remove it")
            self.position += 1
        elif character == self.quote_mark:
            self.quote_mark = ""

    def _outside(self) -> None:
        character = self.template[self.position]
        if character == "#":
            self._comment()
            return
        self.position += 1
        if character in _QUOTES:
            self.quote_mark, self.is_regex = character, self.recent in ("=~", "!~")
        elif not character.isspace():
            self.recent = self.recent[-1:] + character

    def _comment(self) -> None:
        end = self.template.find("\n", self.position)
        end = len(self.template) if end < 0 else end
        if "{{" in self.template[self.position : end]:
            raise TemplateError("the query has a variable in a comment; remove it")
        self.position = end


# --- inserting ------------------------------------------------------------------------------------


def _insert(piece: str | _Variable, values: Mapping[str, Value]) -> str:
    if isinstance(piece, str):
        return piece
    if piece.name not in values:
        known = ", ".join(sorted(values))
        raise TemplateError(
            f"the query names the unknown variable {quote(piece.name)}; known are {known}"
        )
    value = values[piece.name]
    if piece.quote_mark:
        return _inside(piece, value)
    if piece.name == INTERVAL:
        return str(value)
    raise TemplateError(
        f"the variable {quote(piece.name)} stands outside a string; "
        "variables are inserted inside quotes only"
    )


def _inside(piece: _Variable, value: Value) -> str:
    options = (value,) if isinstance(value, str) else value
    for option in options:
        _require_text(option, f"the variable {quote(piece.name)}")
    is_raw = piece.quote_mark == "`"
    if piece.is_regex:
        quoted = [quote_regex(option) for option in options]
        text = quoted[0] if len(quoted) == 1 else f"(?:{'|'.join(quoted)})"
        # Raw strings know no escapes, but RE2 does.
        return text.replace("`", r"\x60") if is_raw else _escape(text, piece.quote_mark)
    if len(options) != 1:
        raise TemplateError(
            f"the variable {quote(piece.name)} has {len(options)} values; "
            "match it with =~ in place of ="
        )
    if is_raw and "`" in options[0]:
        raise TemplateError(
            f"the variable {quote(piece.name)} has a backtick, which no raw string can hold; "
            "use a double-quoted string"
        )
    return options[0] if is_raw else _escape(options[0], piece.quote_mark)


def _escape(value: str, quote_mark: str) -> str:
    """Escape a value for a string in these quotes: a quote of the other kind must not be escaped in
    PromQL.
    """
    return "".join(_escape_character(character, quote_mark) for character in value)


def _escape_character(character: str, quote_mark: str) -> str:
    if character in ("\\", quote_mark):
        return f"\\{character}"
    if character == "\n":
        return r"\n"
    if ord(character) < 0x20 or ord(character) == 0x7F:
        return f"\\x{ord(character):02x}"
    return character


def _require_text(text: str, what: str) -> None:
    """Refuse lone surrogates: JSON can smuggle them in, UTF-8 cannot carry them out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TemplateError(f"{what} is not valid Unicode text") from None
