"""What is wrong with the configuration of the process, as values that read as sentences.

All problems come out at once: nobody should have to start a daemon five times to learn of five
slips. Each sentence says where the value was written, its key, the value, and what would be right.
Values are shown shortened and printable, and of URLs neither the user nor the query is shown:
these sentences end in terminals, in logs and in the status of a pod.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from canaryd.core.units import quote

# To the last @: whoever writes a password into a URL does not always escape it.
_CREDENTIALS = re.compile(r"://.*@", re.DOTALL)
_QUERY = re.compile(r"(://[^?#]*)[?#].*", re.DOTALL)
_BARE_CREDENTIALS = re.compile(r"^\s*[^\s:]*:\S*@")


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One thing to correct: ``key`` is the dotted path, ``source`` the file, variable or flag."""

    key: str
    value: str
    rule: str
    source: str = ""

    @property
    def message(self) -> str:
        """The sentence for people."""
        place = f"{self.source}: " if self.source else ""
        shown = f"{self.value} " if self.value else ""
        return f"{place}{self.key}: {shown}{self.rule}"


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` has everything that is wrong with it."""

    def __init__(self, problems: Iterable[SettingProblem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "one problem" if count == 1 else f"{count} problems"
        lines = (f"  {problem.message}" for problem in self.problems)
        super().__init__("\n".join((f"{head} in the configuration:", *lines)))


def show(value: Any) -> str:
    """Return a value for a message: one printable line, shortened, without credentials."""
    match value:
        case str():
            return quote(_mask(value))
        case bool() | None:
            return {True: "true", False: "false", None: "null"}[value]
        case int() | float():
            return quote(str(value), 40)[1:-1]
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return quote(str(value))


def _mask(text: str) -> str:
    if "://" not in text:
        return _BARE_CREDENTIALS.sub("***@", text)
    return _QUERY.sub(r"\1?***", _CREDENTIALS.sub("://***@", text))


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as people write it: ``scope.namespaces[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = quote(part)[1:-1]
            text += f".{name}" if text else name
    return text or "(the whole)"
