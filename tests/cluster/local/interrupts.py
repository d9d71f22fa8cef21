"""Signals: an end that was asked for becomes an orderly stop, and a stop is not interrupted.

SIGTERM and SIGHUP would end Python without unwinding, and leave a cluster behind;
they become KeyboardInterrupt here, as Ctrl-C does by itself: pytest ends a session for that,
while a SystemExit would only fail the test that happens to run.
A handler that somebody else has set is left alone, and so is every thread but the main one.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class OrderlyExit:
    """While installed, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread."""

    def __init__(self) -> None:
        self._taken: list[signal.Signals] = []

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for one in ENDINGS:
            if signal.getsignal(one) is signal.SIG_DFL:
                signal.signal(one, _interrupt)
                self._taken.append(one)

    def remove(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        while self._taken:
            signal.signal(self._taken.pop(), signal.SIG_DFL)


@contextmanager
def uninterrupted(say: Callable[[str], None]) -> Iterator[None]:
    """Hold back Ctrl-C and endings: half a stop would leave what a whole one removes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def patience(number: int, frame: FrameType | None) -> None:
        say("stopping the cluster; a few seconds more")

    before = {one: signal.signal(one, patience) for one in (signal.SIGINT, *ENDINGS)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler if handler is not None else signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
