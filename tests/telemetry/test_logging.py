"""One record is one line, whoever wrote it, and to write it never harms who did."""

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import structlog

from canaryd.telemetry import logging as telemetry
from canaryd.telemetry.logging import configure, get_logger, log_context

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _restored():
    yield
    telemetry.reset()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def log(stream):
    configure("info", "json", stream=stream, wall=lambda: NOON)
    return get_logger("canaryd.test")


@contextmanager
def without_pytests_handlers():
    """They stand beside ours, put up anew for each phase of a test, and raise where ours must not."""
    root = logging.getLogger()
    others = [h for h in root.handlers if not isinstance(h, telemetry._Bridge)]
    for handler in others:
        root.removeHandler(handler)
    try:
        yield
    finally:
        for handler in others:
            root.addHandler(handler)


def records(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def only(stream):
    [record] = records(stream)
    return record


# --- a record is a line ---


def test_a_line_has_time_level_message_and_logger_first(log, stream):
    log.info("weight 5 -> 20", weight=20, namespace="shop", reason="WeightAdvanced")
    assert (
        '{"ts": "2026-01-05T12:00:00.000Z", "level": "info", "msg": "weight 5 -> 20", '
        '"logger": "canaryd.test", "namespace": "shop", "weight": 20, '
        '"reason": "WeightAdvanced"}\n'
    ) == stream.getvalue()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_the_level_is_the_word_of_the_method(stream, level):
    configure("debug", "json", stream=stream)
    getattr(get_logger("canaryd"), level)("m")
    assert level == only(stream)["level"]


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_what_is_below_the_level_is_not_written(stream, level, written):
    configure(level, "json", stream=stream)
    for logger in (get_logger("ours"), logging.getLogger("theirs")):
        for method in ("debug", "info", "warning", "error"):
            getattr(logger, method)("m")
    assert [written, written] == [
        sum(record["logger"] == name for record in records(stream)) for name in ("ours", "theirs")
    ]


def test_people_get_text(stream):
    configure("info", "text", stream=stream, wall=lambda: NOON)
    get_logger("canaryd").info("canaryd starts", version="1.2.3")
    expected = "2026-01-05T12:00:00.000Z info    canaryd starts  logger=canaryd version=1.2.3\n"
    assert expected == stream.getvalue()


def test_a_message_may_have_percent_signs(log, stream):
    log.info("100 % of %s")
    assert "100 % of %s" == only(stream)["msg"]


@pytest.mark.parametrize("key", ["ts", "msg", "logger", "exception"])
def test_what_the_contract_fixes_is_not_for_callers(log, stream, key):
    log.info("m", exc_info=ValueError("no"), **{key: "mine"})
    record = only(stream)
    assert "mine" == record[f"{key}_"]
    assert "mine" != record[key]


def test_an_exception_is_one_field_at_the_end(log, stream):
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("it failed", weight=5)
    record = only(stream)
    assert ("error", "exception") == (record["level"], list(record)[-1])
    assert record["exception"].startswith("Traceback (most recent call last):\n")
    assert record["exception"].endswith("ValueError: no")


@pytest.mark.parametrize(
    "exc_info",
    [ValueError("no"), (ValueError, ValueError("no"), None)],
    ids=["an exception", "a triple"],
)
def test_an_exception_can_be_given(log, stream, exc_info):
    log.error("it failed", exc_info=exc_info)
    assert "ValueError: no" == only(stream)["exception"]


@pytest.mark.parametrize("exc_info", [True, (None, None, None), None, False])
def test_without_an_exception_there_is_none_to_show(log, stream, exc_info):
    log.error("it failed", exc_info=exc_info)
    assert not only(stream).get("exception")


# --- context ---


async def test_everything_inside_carries_the_context(log, stream):
    with log_context(namespace="shop", deployment="podinfo"):
        log.info("ours")
        logging.getLogger("theirs").warning("theirs")
        await asyncio.create_task(asyncio.to_thread(log.info, "in a task and a thread"))
    log.info("after")
    seen = [(r["msg"], r.get("namespace"), r.get("deployment")) for r in records(stream)]
    assert [
        ("ours", "shop", "podinfo"),
        ("theirs", "shop", "podinfo"),
        ("in a task and a thread", "shop", "podinfo"),
        ("after", None, None),
    ] == seen


def test_contexts_nest_and_end_with_an_error_too(log, stream):
    with log_context(namespace="shop"):
        with pytest.raises(ValueError), log_context(namespace="ops", step=1):
            raise ValueError
        log.info("m")
    record = only(stream)
    assert ("shop", None) == (record["namespace"], record.get("step"))


def test_what_is_said_in_place_wins_over_the_context(log, stream):
    with log_context(weight=5):
        log.info("m", weight=20)
    assert 20 == only(stream)["weight"]


# --- everybody else's lines ---


def test_the_standard_library_goes_the_same_way(log, stream):
    logging.getLogger("aiohttp.client").warning("no answer from %s", "host")
    assert {
        "ts": "2026-01-05T12:00:00.000Z",
        "level": "warning",
        "msg": "no answer from host",
        "logger": "aiohttp.client",
    } == only(stream)


def test_exceptions_of_others_are_kept(log, stream):
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("theirs").exception("it failed")
    assert only(stream)["exception"].endswith("ValueError: no")


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (5, "debug"),
        (10, "debug"),
        (15, "debug"),
        (25, "info"),
        (35, "warning"),
        (45, "error"),
        (99, "critical"),
    ],
)
def test_levels_between_ours_are_the_one_below(log, stream, number, level):
    logging.getLogger().setLevel(1)
    logging.getLogger("theirs").log(number, "m")
    assert level == only(stream)["level"]


@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        ("%d apps", ("many",), "TypeError"),
        ("%s %s", ("one",), "TypeError"),
        ("%q", (1,), "ValueError"),
    ],
    ids=["a word for a number", "one too few", "no such format"],
)
def test_a_slip_of_others_does_not_cost_the_line(log, stream, message, arguments, shown):
    with without_pytests_handlers():
        logging.getLogger("theirs").warning(message, *arguments)
    record = only(stream)
    assert (message, f"the message does not fit its arguments: {shown}") == (
        record["msg"],
        record["error"],
    )


def test_warnings_are_lines(log, stream):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure("info", "json", stream=stream)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    record = only(stream)
    assert ("warning", "py.warnings") == (record["level"], record["logger"])
    assert "DeprecationWarning: old ways" in record["msg"]
    assert not record["msg"].endswith("\n")


async def test_what_the_event_loop_complains_of_is_a_line(log, stream):
    asyncio.get_running_loop().call_exception_handler({"message": "a task was lost"})
    record = only(stream)
    assert ("error", "asyncio", "a task was lost") == (
        record["level"],
        record["logger"],
        record["msg"],
    )


@pytest.mark.parametrize("name", ["kubernetes.client.rest", "urllib3.connectionpool"])
def test_those_who_would_log_bodies_are_quiet_below_a_warning(log, stream, name):
    logger = logging.getLogger(name)
    logger.debug("response body: hunter2")
    logger.info("response body: hunter2")
    logger.warning("no luck")
    assert "no luck" == only(stream)["msg"]


def test_they_are_not_louder_than_the_level(stream):
    configure("error", "json", stream=stream)
    logging.getLogger("kubernetes").warning("no luck")
    assert "" == stream.getvalue()


def test_access_is_never_logged(log, stream):
    logging.getLogger("aiohttp.access").critical("GET /healthz")
    assert "" == stream.getvalue()


def test_it_can_be_configured_again(stream):
    other = io.StringIO()
    configure("info", "json", stream=other)
    log = get_logger("canaryd")
    configure("info", "text", stream=stream)
    log.info("once")
    logging.getLogger("theirs").info("once")
    assert "" == other.getvalue()
    assert 2 == stream.getvalue().count("once")


def test_to_undo_it_touches_nobody_elses_handlers(stream):
    root, theirs = logging.getLogger(), logging.NullHandler()
    root.addHandler(theirs)
    try:
        configure("info", "json", stream=stream)
        telemetry.reset()
        assert theirs in root.handlers
        assert not any(isinstance(handler, telemetry._Bridge) for handler in root.handlers)
    finally:
        root.removeHandler(theirs)


def test_a_logger_can_be_used_before_anything_is_configured(capsys):
    structlog.reset_defaults()
    get_logger("canaryd").info("early")
    assert "early" in capsys.readouterr().out


def test_by_default_lines_go_to_stderr_as_it_is_at_that_moment(monkeypatch):
    configure("info", "json")
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    get_logger("canaryd").info("m")
    assert "m" == only(later)["msg"]


# --- hostile records ---


class Liar(dict):
    def items(self):
        raise RuntimeError("no")


class Mute:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def test_a_value_that_cannot_be_looked_at_does_not_harm_who_logs(log, stream):
    log.info("m", key=Liar(a=1))
    record = only(stream)
    assert ("error", "a record could not be shown", "RuntimeError") == (
        record["level"],
        record["msg"],
        record["error"],
    )


@pytest.mark.parametrize("write", ["ours", "theirs"])
def test_a_message_without_text_does_not_harm_who_logs(log, stream, write):
    logger = log if write == "ours" else logging.getLogger("theirs")
    with without_pytests_handlers():
        logger.warning(Mute())
    assert "<Mute without text>" == only(stream)["msg"]


def test_secrets_are_masked_whoever_logs_them(log, stream):
    log.info("m", password="hunter2", url="http://me:hunter2@host")
    logging.getLogger("theirs").warning("GET http://host/?token=%s", "hunter2")
    try:
        raise ConnectionError("http://me:hunter2@host")
    except ConnectionError:
        log.exception("m")
    lines = stream.getvalue()
    assert 3 == lines.count("\n")
    assert "raise ConnectionError" in lines  # the source line of the traceback, masked as well
    assert "hunter2" not in lines


# --- a stream that breaks ---


class Breakable(io.StringIO):
    """Refuses what is written while ``error`` is set."""

    error = None

    def write(self, text):
        if self.error is not None:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(32, "Broken pipe"),
        OSError(28, "No space left on device"),
        BlockingIOError(11, "Resource temporarily unavailable"),
        ValueError("I/O operation on closed file."),
        RuntimeError("reentrant call inside a buffered writer"),
    ],
    ids=["reader gone", "disk full", "pipe full", "closed", "in use"],
)
def test_lines_that_cannot_be_written_are_counted_and_told(error):
    stream = Breakable()
    output = configure("info", "json", stream=stream)
    log = get_logger("canaryd")
    stream.error = error
    log.info("lost")
    log.info("lost")
    assert 2 == output.lost
    stream.error = None
    log.info("here again")
    log.info("and again")
    told, *lines = records(stream)
    assert ("warning", "lines of log could not be written", 2, "canaryd.telemetry.logging") == (
        told["level"],
        told["msg"],
        told["lost"],
        told["logger"],
    )
    assert ["here again", "and again"] == [record["msg"] for record in lines]
    assert 0 == output.lost


def test_a_line_that_is_lost_with_the_note_is_counted_on_top():
    stream = Breakable()
    output = configure("info", "json", stream=stream)
    stream.error = OSError()
    for _ in range(5):
        get_logger("canaryd").info("lost")
    assert 5 == output.lost


def test_a_process_without_stderr_counts_its_lines(monkeypatch):
    output = configure("info", "json")
    monkeypatch.setattr(sys, "stderr", None)
    get_logger("canaryd").info("lost")
    logging.getLogger("theirs").warning("lost")
    assert 2 == output.lost


def test_a_closed_stream_counts_its_lines(stream):
    output = configure("info", "json", stream=stream)
    stream.close()
    get_logger("canaryd").info("lost")
    assert 1 == output.lost


def test_who_logs_in_the_middle_of_a_line_does_not_wait_for_it():
    # The collector of garbage runs where it likes, and `Task.__del__` logs.
    class Nosy(io.StringIO):
        inside = False

        def write(self, text):
            if not self.inside:
                self.inside = True
                logging.getLogger("asyncio").error("inside")
            return super().write(text)

    stream = Nosy()
    configure("info", "json", stream=stream)
    writer = threading.Thread(target=get_logger("canaryd").info, args=("outside",), daemon=True)
    writer.start()
    writer.join(timeout=5)
    assert not writer.is_alive()
    assert {"inside", "outside"} == {record["msg"] for record in records(stream)}


def test_lines_of_many_threads_do_not_mix():
    class Torn(io.StringIO):
        """Lets other threads run in the middle of a write."""

        def write(self, text):
            for piece in (text[:10], text[10:]):
                super().write(piece)
                threading.Event().wait(0.0001)
            return len(text)

    stream = Torn()
    configure("info", "json", stream=stream)
    log = get_logger("canaryd")
    threads = [
        threading.Thread(target=lambda n=n: [log.info("m", n=n) for _ in range(10)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 40 == len(records(stream))
