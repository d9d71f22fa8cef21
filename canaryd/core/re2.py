"""Is a text a regular expression that every reader of a route understands, and in the same way?

Some providers hand a pattern to RE2 or Go, some to PCRE; some look for it anywhere in a value, some
want all of the value to match. So only what these agree on is accepted: the expressions of RE2 that
PCRE reads alike, anchored at both ends. What RE2 lacks (look-around, backreferences, possessive
repetition) would end in a route that its provider drops, and so in an A/B test with nobody in it.

A reader of characters, not a compiler: nothing here ever matches anything, and its time is linear.
"""

import re
from dataclasses import dataclass, field

from canaryd.core.units import UnitError, quote

MAX_LENGTH = 256
_MOST = 1000
"""What RE2 repeats at most, counted through nested groups."""
_EXAMPLE = '"header x-canary~^(insider|tester)$"'
_COUNT = re.compile(r"\{([0-9]{1,9})(?:(,)([0-9]{0,9}))?\}")
_FLAGS = re.compile(r"\(\?(?:[ims]+(?:-[ims]+)?|-[ims]+)?:|\(\?(?:[ims]+(?:-[ims]+)?|-[ims]+)\)")
_HEX = re.compile(r"\\x[0-9A-Fa-f]{2}")
_NAMED_CLASS = re.compile(
    r"\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit)"
    r":\]"
)
_BEYOND = {
    "(?=": "a look-ahead",
    "(?!": "a look-ahead",
    "(?<=": "a look-behind",
    "(?<!": "a look-behind",
    "(?>": "an atomic group",
    "(?(": "a conditional group",
    "(?#": "a comment",
    "(?|": "a branch reset",
    "(?P": "a named group",
    "(?<": "a named group",
}
"""What groups can be elsewhere, the longer beginnings first where they share one."""


def check(pattern: str) -> None:
    """Refuse a pattern that providers would not read alike.

    Raises:
        UnitError: why; the rule continues ``the pattern "..."``.

    """
    if len(pattern) > MAX_LENGTH:
        raise UnitError(f"is longer than {MAX_LENGTH} characters", _EXAMPLE)
    if not (pattern.isascii() and pattern.isprintable()):
        raise UnitError("has characters beyond printable ASCII", _EXAMPLE)
    reader = _Reader(pattern)
    while reader.at < len(pattern):
        reader.step()
    reader.finish()


@dataclass(slots=True)
class _Reader:
    """A place in a pattern.

    ``groups`` holds, for each open group, how often its most repeated part is repeated;
    ``operand`` the same for what stands before, 0 when nothing there can be repeated.
    """

    text: str
    at: int = 0
    groups: list[int] = field(default_factory=lambda: [1])
    operand: int = 0
    is_ended: bool = False
    """The last thing read was the end of the value."""

    def step(self) -> None:
        """Read one thing: a character, a class, the beginning or the end of a group."""
        character = self.text[self.at]
        self.is_ended = character == "$"
        match character:
            case "(":
                self._open()
            case ")":
                self._close()
            case "|":
                self._alternative()
            case "^" | "$":
                self._take(1, 0)
            case "*" | "+" | "?" | "{":
                self._repeat()
            case "[":
                self._class()
            case "\\":
                self._take(*self._escape())
            case _:
                self._take(1, 1)

    def finish(self) -> None:
        """Refuse what is still open, and what may match a part of a value only."""
        if len(self.groups) > 1:
            raise UnitError("has a group that is not closed", _EXAMPLE)
        if not (self.text.startswith("^") and self.is_ended):
            rule = "is not anchored: providers differ in whether it may match a part of the value"
            raise UnitError(f"{rule}; begin it with ^ and end it with $", _EXAMPLE)

    def _take(self, length: int, operand: int) -> None:
        self.at += length
        self.operand = operand

    def _open(self) -> None:
        rest = self.text[self.at :]
        if not rest.startswith("(?"):
            self.groups.append(1)
            self._take(1, 0)
            return
        flags = _FLAGS.match(rest)
        if flags is None:
            kind = next((k for start, k in _BEYOND.items() if rest.startswith(start)), "")
            shown = kind or f"a group that begins with {quote(rest[:3])}"
            raise UnitError(f"has {shown}, which not every provider knows", _EXAMPLE)
        if flags[0].endswith(":"):
            self.groups.append(1)
        self._take(len(flags[0]), 0)

    def _close(self) -> None:
        if len(self.groups) == 1:
            raise UnitError('has a ")" without its "("', _EXAMPLE)
        inner = self.groups.pop()
        self.groups[-1] = max(self.groups[-1], inner)
        self._take(1, inner)

    def _alternative(self) -> None:
        if len(self.groups) == 1:
            # ^a|b$ begins with a, or ends with b: hardly ever what was meant.
            raise UnitError("has alternatives outside of a group; write ^(a|b)$", _EXAMPLE)
        self._take(1, 0)

    def _repeat(self) -> None:
        sign, times = self._repetition()
        if self.operand == 0:
            raise UnitError(f"repeats nothing with {quote(sign)}", _EXAMPLE)
        if self.operand * times > _MOST:
            raise UnitError(f"repeats more than {_MOST} times", _EXAMPLE)
        self.groups[-1] = max(self.groups[-1], self.operand * times)
        self._take(len(sign), 0)
        if self.text[self.at : self.at + 1] == "?":
            self._take(1, 0)
        if self.text[self.at : self.at + 1] in ("*", "+", "?", "{"):
            rule = "repeats a repetition, or has a possessive one, which not every provider knows"
            raise UnitError(rule, _EXAMPLE)

    def _repetition(self) -> tuple[str, int]:
        """Return how a repetition is written, and how many copies it makes at least."""
        if self.text[self.at] != "{":
            return self.text[self.at], 1
        counted = _COUNT.match(self.text, self.at)
        if counted is None:
            raise UnitError(r'has a "{" that counts nothing; write \{ for the character', _EXAMPLE)
        low, high = int(counted[1]), int(counted[3] or counted[1])
        if low > high:
            raise UnitError(f"has {quote(counted[0])}, whose first number is greater", _EXAMPLE)
        return counted[0], max(low, high, 1)

    def _escape(self) -> tuple[int, int]:
        """Return the length of an escape, and whether it can be repeated."""
        escaped = self.text[self.at + 1 : self.at + 2]
        if escaped in "dDwWsStnrf" and escaped:
            return 2, 1
        if escaped in "bBAz" and escaped:
            return 2, 0
        if escaped and not escaped.isalnum():
            return 2, 1
        if _HEX.match(self.text, self.at):
            return 4, 1
        if escaped.isdigit() or escaped in ("k", "g"):
            raise UnitError("has a backreference, which not every provider knows", _EXAMPLE)
        raise UnitError(f"has {_shown(escaped)}, which providers do not read alike", _EXAMPLE)

    # --- classes ---

    def _class(self) -> None:
        start = self.at
        self.at += 2 if self.text[self.at + 1 : self.at + 2] == "^" else 1
        is_first = True
        while is_first or self.text[self.at : self.at + 1] != "]":
            if self.at >= len(self.text):
                shown = quote(self.text[start:], 20)
                raise UnitError(f"has a class that is not closed: {shown}", _EXAMPLE)
            self._class_item()
            is_first = False
        self._take(1, 1)

    def _class_item(self) -> None:
        if named := _NAMED_CLASS.match(self.text, self.at):
            self.at += len(named[0])
            return
        if self.text[self.at : self.at + 2] in ("[:", "[.", "[="):
            raise UnitError("has a class of characters that is not known", _EXAMPLE)
        low = self._class_character()
        rest = self.text[self.at : self.at + 2]
        if not rest.startswith("-") or rest in ("-", "-]"):
            return
        self.at += 1
        high = self._class_character() if self.at < len(self.text) else ""
        if not low or not high or low > high:
            raise UnitError("has a range of characters that runs backwards or nowhere", _EXAMPLE)

    def _class_character(self) -> str:
        """Return one character of a class; empty for an escape that stands for several."""
        if self.text[self.at] != "\\":
            self.at += 1
            return self.text[self.at - 1]
        length, is_character = self._escape()
        if not is_character:
            shown = _shown(self.text[self.at + 1])
            raise UnitError(f"has {shown} in a class, where it is no character", _EXAMPLE)
        written = self.text[self.at + 1 : self.at + length]
        self.at += length
        if written[0] == "x":
            return chr(int(written[1:], 16))
        named = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
        return named.get(written, "" if written.isalpha() else written)


def _shown(escaped: str) -> str:
    return f'"\\{escaped}"'
