"""The page about logs: its samples are made here, by the code that makes them in production.

``CANARYD_UPDATE_GOLDEN=1 pytest tests/docs`` writes them anew.
"""

import io
import json
import logging
import os
import re
from datetime import UTC, datetime

import pytest

from canaryd.controller.journal import DECISIONS, ReconcileJournal
from canaryd.telemetry import logging as telemetry_logging
from canaryd.telemetry.logging import configure, get_logger, log_context
from canaryd.telemetry.prometheus import Telemetry
from canaryd.telemetry.records import MAX_LINE, ORDER
from tests.core.world import KEY, World, revision
from tests.docs.pages import REFERENCE, page, table

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def _restored():
    yield
    telemetry_logging.reset()


class Journaled(World):
    """A world whose looks are told, at its own time."""

    def tell(self, form, stream):
        configure("info", form, stream=stream, wall=lambda: NOON - 1000 + self.now)
        self.journal = ReconcileJournal(get_logger("canaryd.controller"), Telemetry("1.2.3"))
        return self

    def look(self):
        snapshot = self.snapshot()
        decision = super().look()
        self.journal.looked(snapshot, KEY, decision, 0.0042)
        return decision


def story(form):
    """The log of an app that is enrolled, released well, then badly."""
    stream = io.StringIO()
    world = Journaled().tell(form, stream)
    world.settle(60)
    world.deploy("B")
    world.settle(120)
    world.bad = {"C"}
    world.deploy("C")
    world.settle(120)
    shown = {revision("A"): "6f9c4d7b58", revision("B"): "7c5ddbdf54", revision("C"): "5bd8d9c7f4"}
    lines = stream.getvalue()
    for name, sample in shown.items():
        lines = lines.replace(name, sample)
    return lines


def decisions():
    return [line for line in story("json").splitlines() if "decision" in json.loads(line)]


def text():
    return [line for line in story("text").splitlines() if "decision=advance" in line][1:2]


class Unsteady(io.StringIO):
    is_broken = False

    def write(self, written):
        if self.is_broken:
            raise OSError(28, "No space left on device")
        return super().write(written)


def from_here(write):
    """The lines that ``write`` leads to; it is given a logger and the stream."""
    stream = Unsteady()
    configure("info", "json", stream=stream, wall=lambda: NOON)
    write(get_logger("canaryd"), stream)
    return stream.getvalue().splitlines()


def bridged():
    def write(_log, _stream):
        call = "get deployments.apps 'app' in namespace 'shop'"
        theirs = logging.getLogger("canaryd.kube.client")
        with log_context(namespace="shop", deployment="app"):
            theirs.info("%s: the server is busy, again in %g s", call, 1.0)

    return from_here(write)


def exception():
    def write(log, _stream):
        # As raised: a traceback of this file would change with every line above.
        log.error("the heartbeat ended", exc_info=ZeroDivisionError("division by zero"))

    return from_here(write)


def masked():
    def write(log, _stream):
        url = "https://me:hunter2@hooks.example.com/smoke?token=hunter2"
        log.warning("a hook failed", url=url, api_key="hunter2")

    return from_here(write)


def lost():
    def write(log, stream):
        stream.is_broken = True
        log.info("this one is lost")
        stream.is_broken = False
        log.info("and this one is not")

    return from_here(write)


SAMPLES = {
    sample.__name__: sample for sample in (decisions, text, bridged, exception, masked, lost)
}
BLOCK = re.compile(r"<!-- sample: (\w+) -->\n```(json|text)\n(.*?)```\n", re.DOTALL)


def test_every_sample_of_the_page_is_checked():
    assert list(SAMPLES) == [name for name, _, _ in BLOCK.findall(page("logs.md"))]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_the_page_is_what_the_code_writes(name):
    wanted = "".join(f"{line}\n" for line in SAMPLES[name]())
    assert wanted
    if os.environ.get("CANARYD_UPDATE_GOLDEN"):

        def renew(block):
            head = f"<!-- sample: {block[1]} -->\n```{block[2]}\n"
            return f"{head}{wanted if block[1] == name else block[3]}```\n"

        (REFERENCE / "logs.md").write_text(BLOCK.sub(renew, page("logs.md")), encoding="utf-8")
    [shown] = [content for found, _, content in BLOCK.findall(page("logs.md")) if found == name]
    assert wanted == shown


def test_the_page_has_the_fields_in_the_order_of_a_line():
    fields = [
        field.strip("`") for field, _, _ in table(page("logs.md"), ("field", "type", "meaning"))
    ]
    assert [*ORDER, "exception"] == fields


def test_the_page_has_the_words_of_a_decision():
    [meaning] = [
        row[2]
        for row in table(page("logs.md"), ("field", "type", "meaning"))
        if row[0] == "`decision`"
    ]
    assert set(DECISIONS.values()) == set(re.findall(r"`(\w+)`", meaning))


def test_the_page_has_the_length_of_a_line():
    assert f"at most {MAX_LINE:,} bytes".replace(",", " ") in page("logs.md")


def test_a_line_of_a_decision_has_the_types_of_the_page():
    types = {
        field.strip("`"): {"text": str, "number": int | float}[kind]
        for field, kind, _ in table(page("logs.md"), ("field", "type", "meaning"))
    }
    wrong = [
        (key, value)
        for line in decisions()
        for key, value in json.loads(line).items()
        if not isinstance(value, types[key])
    ]
    assert [] == wrong
