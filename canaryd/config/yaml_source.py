"""YAML as people write it: values with the lines they stand on, and duplicate keys found.

PyYAML takes the last of two equal keys without a word, so a setting or an annotation can be there
and not count. Here every mapping is walked before it is constructed. Nothing is ever constructed
but plain data (the safe loader).

What comes out is safe to walk as a tree: bounded in depth and in size with every alias written out,
without cycles, without numbers too long to print. Depth is looked at in the stream of events,
before nodes are made of it: the C loader recurses on the stack of the process, and ends it.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import yaml

from canaryd.core.units import quote

Path_ = tuple[str | int, ...]
"""Where a value stands: keys and list indexes from the root."""

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_VALUES: Final = 1_000_000
"""Values of one document, those behind aliases counted each time they are referred to."""
MAX_NUMBER: Final = 1_000
"""Characters of a whole number; Python refuses to print one of more than 4300 digits."""

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableError(Exception):
    """A text is not YAML, or cannot be read at all.

    Args:
        source: the file, as the user named it.
        rule: what is wrong.
        line: where, counted from 1; 0 when that is not known.

    """

    def __init__(self, source: str, rule: str, line: int = 0) -> None:
        shown = quote(source, 1024)[1:-1]
        super().__init__(f"{shown}:{line}: {rule}" if line else f"{shown}: {rule}")
        self.source = source
        self.rule = rule
        self.line = line


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that stands twice in one mapping."""

    path: Path_
    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: ``lines`` has the line of every key and list item."""

    value: Any
    lines: Mapping[Path_, int] = field(default_factory=dict)
    duplicates: tuple[Duplicate, ...] = ()

    def line(self, path: Path_) -> int:
        """The line of a path, or of the nearest thing around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 0)


def read_file(path: Path) -> list[Document]:
    """Read every document of a file.

    Raises:
        UnreadableError: there is no such file, it may not be read, or it is not YAML.

    """
    try:
        with path.open("rb") as stream:
            return read_stream(stream, str(path))
    except OSError as error:
        raise UnreadableError(str(path), f"cannot be read: {error.strerror or error}") from None


def read_stream(stream: BinaryIO, source: str) -> list[Document]:
    """Read every document of a stream of bytes.

    Raises:
        UnreadableError: it is too large or not YAML.

    """
    content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnreadableError(source, f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError(source, "is not UTF-8 text", line) from None
    return read_text(text, source)


def read_text(text: str, source: str) -> list[Document]:
    """Read every document of a text.

    Raises:
        UnreadableError: it is not YAML.

    """
    try:
        _check_depth(text, source)
        loader = _Loader(text)
        try:
            return list(_documents(loader, source))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = quote(str(error.problem or error.context), 200)[1:-1]
        rule = f"is not YAML: {problem}{_advice(text)}"
        raise UnreadableError(source, rule, mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.encode(errors="replace")[: error.position].count(b"\n") + 1
        rule = f"holds {quote(chr(error.character))}, which YAML does not allow"
        raise UnreadableError(source, rule, line) from None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        reason = quote(str(error).partition("\n")[0], 200)[1:-1]
        raise UnreadableError(source, f"is not YAML: {reason}") from None


def _advice(text: str) -> str:
    if "{{" not in text:
        return ""
    return "; it looks like a template: render it first"


def _check_depth(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise UnreadableError(source, "is nested too deeply", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _documents(loader: Any, source: str) -> Iterator[Document]:
    while loader.check_node():
        node = loader.get_node()
        walk = _Walk(source)
        walk.visit(node, (), 0)
        yield Document(_construct(loader, node, source), walk.lines, tuple(walk.duplicates))


def _construct(loader: Any, node: Any, source: str) -> Any:
    try:
        return loader.construct_document(node)
    except yaml.YAMLError:
        raise
    except Exception as error:  # noqa: BLE001 - `!!bool x` is a KeyError, `!!int ""` an IndexError
        why = "it does not fit its tag"
        if isinstance(error, ValueError):
            why = quote(str(error), 200)[1:-1]
        line = next((n.start_mark.line + 1 for n in _scalars(node) if _is_bad(loader, n)), 0)
        raise UnreadableError(source, f"holds a value that cannot be read: {why}", line) from None


def _scalars(root: Any) -> Iterator[Any]:
    """Every scalar of a document, in the order of the text, aliases once."""
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        match node:
            case yaml.MappingNode():
                waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
            case yaml.SequenceNode():
                waiting += reversed(node.value)
            case _:
                yield node


def _is_bad(loader: Any, scalar: Any) -> bool:
    try:
        loader.construct_object(scalar)
    except Exception:  # noqa: BLE001 - whatever it was that went wrong with the whole
        return True
    return False


@dataclass(frozen=True, slots=True)
class _Extent:
    """How much is below a node, aliases written out: values in all, and levels."""

    values: int = 1
    levels: int = 0


class _Walk:
    """Collects lines and duplicates of one document, before it is constructed."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Path_, int] = {}
        self.duplicates: list[Duplicate] = []
        self._extents: dict[int, _Extent] = {}
        self._open: set[int] = set()

    def visit(self, node: Any, path: Path_, depth: int) -> _Extent:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        # An alias is the same node again: walked once, or a few lines of YAML take for ever.
        extent = self._extents.get(id(node))
        if extent is None:
            if id(node) in self._open:
                raise UnreadableError(self.source, "contains itself by an alias", line)
            self._open.add(id(node))
            extent = self._extents[id(node)] = self._below(node, path, depth)
            self._open.discard(id(node))
        if depth + extent.levels > MAX_DEPTH:
            raise UnreadableError(self.source, "is nested too deeply by its aliases", line)
        return extent

    def _below(self, node: Any, path: Path_, depth: int) -> _Extent:
        match node:
            case yaml.MappingNode():
                parts = self._visit_mapping(node, path, depth)
            case yaml.SequenceNode():
                parts = [
                    self.visit(item, (*path, index), depth + 1)
                    for index, item in enumerate(node.value)
                ]
            case _:
                self._check_scalar(node)
                return _Extent()
        values = 1 + sum(part.values for part in parts)
        if values > MAX_VALUES:
            rule = f"comes to more than {MAX_VALUES} values with its aliases written out"
            raise UnreadableError(self.source, rule, node.start_mark.line + 1)
        return _Extent(values, 1 + max((part.levels for part in parts), default=0))

    def _check_scalar(self, node: Any) -> None:
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MAX_NUMBER:
            rule = f"has a number of {len(node.value)} characters; quote it if it is text"
            raise UnreadableError(self.source, rule, node.start_mark.line + 1)

    def _visit_mapping(self, node: Any, path: Path_, depth: int) -> list[_Extent]:
        first: dict[Hashable, int] = {}
        parts = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            # Other keys cannot be constructed, and are refused there.
            name = f"<line {line}>"
            if isinstance(key, yaml.ScalarNode):
                self._check_scalar(key)
                name = key.value
            here = (*path, name)
            # `<<` may stand more than once: it merges, it does not set.
            if name in first and key.tag != "tag:yaml.org,2002:merge":
                self.duplicates.append(Duplicate(here, line, first[name]))
            first.setdefault(name, line)
            self.lines.setdefault(here, line)
            parts.append(self.visit(value, here, depth + 1))
        return parts
