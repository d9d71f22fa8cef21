"""What the demo shows: lines that stay, and one line that moves.

On a terminal the last line is redrawn in place; in a log every change is a line of its own.
"""

import shutil
import sys
import textwrap
import time

BAR = 20


class Screen:
    """Prints to stdout."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._last = ""
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        width = shutil.get_terminal_size((160, 24)).columns
        lines = textwrap.wrap(text, width - 8, break_long_words=False) or [""]
        print(
            "\n".join([f"{self._clock()}  {lines[0]}", *(f"       {x}" for x in lines[1:])]),
            flush=True,
        )

    def chapter(self, text: str) -> None:
        """A heading."""
        self._clear()
        print(f"\n{self._bold(text)}", flush=True)

    def moving(self, text: str) -> None:
        """The line that moves."""
        if not self._live:
            return
        self._clear()
        line = f"{self._clock()}  {text}"
        print(line[: shutil.get_terminal_size().columns - 1], end="\r", flush=True)
        self._last = line

    def bar(self, percent: int) -> str:
        """Canary's share as a bar with its number."""
        filled = round(percent * BAR / 100)
        return f"[{'#' * filled}{'.' * (BAR - filled)}] {percent:3d}%"

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._live else f"== {text}"

    def _clear(self) -> None:
        if self._live and self._last:
            print("\x1b[2K", end="\r")
            self._last = ""
