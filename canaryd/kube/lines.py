"""Splits a byte stream into lines.

Over chunks, not ``readline``: aiohttp's limit would end a stream at 4 MiB (W11),
and a line that spans many chunks is copied once, not once per chunk.
"""

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Ten times etcd's limit for one object; beyond it something else is talking."""


class LineTooLong(Exception):  # noqa: N818 - reads as what happened
    """A line went past the limit."""


class LineSplitter:
    """Feed it chunks, get whole lines without their line ends; what has no end yet stays inside."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk; empty lines are left out.

        Raises:
            LineTooLong: a line, ended or not, is longer than the limit.

        """
        *ended, rest = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join((*self._parts, ended[0]))
            self._parts.clear()
            self._size = 0
        self._parts.append(rest)
        self._size += len(rest)
        longest = max(self._size, *(len(line) for line in ended), 0)
        if longest > self._limit:
            raise LineTooLong(f"a line of {longest} bytes; the limit is {self._limit}")
        return [line for line in ended if line.strip()]

    def take_rest(self) -> bytes:
        """Take out what came after the last line end."""
        rest = b"".join(self._parts).strip()
        self._parts.clear()
        self._size = 0
        return rest
