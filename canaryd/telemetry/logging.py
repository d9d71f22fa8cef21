"""Logging of the process: structlog for our own lines, and everybody else's bridged into them.

One record is one line on stderr, written with one call, whoever wrote it: aiohttp, kubernetes,
asyncio and ``warnings`` go the same way as ours. The names of the fields are an interface
(``records.ORDER``); people's alerts depend on them.

Logging never raises into the program: a line that cannot be written is counted, and the next one
that can be written says how many were lost. It never waits for itself either: the collector of
garbage can log in the middle of a write.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

from canaryd.telemetry.records import json_line, text_line, timestamp

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_QUIET: Final = {
    # Its debug lines carry bodies of answers, Secrets included: never below a warning.
    "kubernetes": logging.WARNING,
    "urllib3": logging.WARNING,
    # One line per probe and scrape says nothing that the metrics do not.
    "aiohttp.access": logging.CRITICAL + 1,
}


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger whose lines carry ``logger: name``; usable before anything is configured."""
    # structlog has a parameter called `logger`; `Output.render` gives the field its name.
    logger: FilteringBoundLogger = structlog.get_logger(logger_name=name)
    return logger


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Give every line written inside these fields, whoever writes it.

    Tasks started inside keep them to their end: nothing that several contexts share may be started
    in one.
    """
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def configure(
    level: str = "info",
    format: str = "json",  # noqa: A002 - the setting's name
    *,
    stream: TextIO | None = None,
    wall: Callable[[], float] = time.time,
) -> "Output":
    """Set up logging for the process; calling it again replaces what was set up.

    Args:
        level: least level that is written.
        format: ``json`` or ``text``.
        stream: where to; stderr, as it is at that moment, by default.
        wall: the clock of the ``ts`` field.

    """
    number = LEVELS[level]
    output = Output(stream, json_line if format == "json" else text_line, wall)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            output.processor,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=output.logger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge(output))
    root.setLevel(number)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, number))
    logging.captureWarnings(capture=True)
    return output


def reset() -> None:
    """Undo :func:`configure`; for tests."""
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Bridge)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


class Output:
    """Makes lines of records and writes them, from any thread."""

    def __init__(
        self,
        stream: TextIO | None,
        render: Callable[[Mapping[str, Any]], str],
        wall: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._render = render
        self._wall = wall
        # Reentrant: a `__del__` that logs while a line is written must not wait for that line.
        self._lock = threading.RLock()
        self.lost = 0
        """Lines that could not be written and have not been told of."""

    def processor(
        self, _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
    ) -> tuple[tuple[str], dict[str, Any]]:
        """End structlog's chain: the arguments of :class:`_Line`'s methods."""
        return (self.render(event_dict),), {}

    def logger(self, *_args: Any) -> "_Line":
        """Make what structlog hands finished lines to."""
        return _Line(self)

    def render(self, given: Mapping[str, Any]) -> str:
        """Return the line of a record; ``event`` is its message."""
        try:
            return self._render(self._record(given))
        except Exception as error:  # noqa: BLE001 - whatever a value does when it is looked at
            words = "a record could not be shown"
            broken = {"event": words, "level": "error", "error": type(error).__name__}
            return self._render(self._record({**broken, "logger_name": __name__}))

    def _record(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fields = dict(given)
        record: dict[str, Any] = {
            "ts": timestamp(self._wall()),
            "level": fields.pop("level", "info"),
            "msg": fields.pop("event", ""),
            "logger": fields.pop("logger_name", "canaryd"),
        }
        if exc_info := fields.pop("exc_info", None):
            record["exception"] = _format_exception(exc_info)
        for key, value in fields.items():
            # What the contract fixes is not for callers to overwrite.
            record[f"{key}_" if key in record else key] = value
        return record

    def write(self, line: str) -> None:
        """Write one line in one call, so that lines of threads and processes do not mix."""
        with self._lock:
            # A process can be started without stderr.
            stream: TextIO | None = self._stream or sys.stderr
            note = ""
            if self.lost:
                words = {"event": "lines of log could not be written", "level": "warning"}
                note = self.render({**words, "logger_name": __name__, "lost": self.lost}) + "\n"
            # Lines that fail inside of this one are counted on top, and told of next time.
            told, self.lost = self.lost, 0
            if stream is None or not _put(stream, f"{note}{line}\n"):
                self.lost += told + 1


def _put(stream: TextIO, text: str) -> bool:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError, RuntimeError):  # reader gone, disk full, closed, in use by us
        return False
    return True


class _Line:
    """The end of structlog's chain: whatever the level, a finished line is written."""

    __slots__ = ("critical", "debug", "error", "info", "warning")

    def __init__(self, output: Output) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = output.write


def _format_exception(exc_info: Any) -> str:
    """Return the traceback of what ``exc_info`` may be: an exception, a triple, or true."""
    if isinstance(exc_info, BaseException):
        found: Any = (type(exc_info), exc_info, exc_info.__traceback__)
    else:
        found = exc_info if isinstance(exc_info, tuple) else sys.exc_info()
    return logging.Formatter().formatException(found) if found[0] is not None else ""


class _Bridge(logging.Handler):
    """Takes the records of the standard library's logging the same way as ours."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a message that does not fit its arguments is written without them."""
        fields: dict[str, Any] = {
            **structlog.contextvars.get_contextvars(),
            "level": _level_name(record.levelno),
            "logger_name": record.name,
            "exc_info": record.exc_info,
        }
        try:
            fields["event"] = record.getMessage().rstrip("\n")
        except Exception as error:  # noqa: BLE001 - the caller's slip must not cost the line
            fields["event"] = record.msg
            fields["error"] = f"the message does not fit its arguments: {type(error).__name__}"
        self._output.write(self._output.render(fields))


def _level_name(number: int) -> str:
    if number >= logging.CRITICAL:
        return "critical"
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "debug")
