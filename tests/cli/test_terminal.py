"""What the output can show, and drawing the same thing again in its place."""

import pytest

from canaryd.cli import terminal
from canaryd.cli.render import Look, Span, Tone, line
from canaryd.cli.terminal import Screen, look, write


class Out:
    """Standard output of some kind."""

    def __init__(self, *, is_terminal=True, encoding="utf-8"):
        self._is_terminal = is_terminal
        self.encoding = encoding

    def isatty(self):
        return self._is_terminal


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(
        terminal.shutil, "get_terminal_size", lambda: terminal.os.terminal_size((90, 30))
    )


def test_a_terminal_has_a_size_and_colours():
    assert Look(width=90, height=30, is_colored=True) == look(stream=Out())


def test_a_pipe_has_neither():
    assert Look() == look(stream=Out(is_terminal=False))


@pytest.mark.parametrize(
    ("name", "value"),
    [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")],
    ids=["NO_COLOR", "dumb", "none"],
)
def test_who_wants_no_colours_gets_none(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not look(stream=Out()).is_colored


def test_no_colours_can_be_asked_for():
    assert not look(no_color=True, stream=Out()).is_colored


@pytest.mark.parametrize("is_terminal", [True, False])
def test_an_output_without_unicode_gets_ascii(is_terminal):
    out = Out(is_terminal=is_terminal, encoding="latin-1")
    assert look(stream=out).is_ascii


@pytest.mark.parametrize("term", ["linux", "dumb"])
def test_a_simple_terminal_gets_ascii(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    assert look(stream=Out()).is_ascii


def test_lines_are_written_as_they_look(capsys):
    spans = line(Span("✔", Tone.GOOD), " well")
    write([spans], Look())
    write([spans], Look(80, is_colored=True))
    assert "✔ well\n\x1b[32m✔\x1b[0m well\n" == capsys.readouterr().out


# --- drawing again ---


def drawn(capsys, screen, *texts):
    screen.draw([line(text) for text in texts])
    return capsys.readouterr().out


def test_what_was_drawn_is_replaced(capsys):
    screen = Screen(Look(80, 30))
    assert "\x1b[Ja\nb\n" == drawn(capsys, screen, "a", "b")
    assert "\x1b[2F\x1b[Jc\n" == drawn(capsys, screen, "c")
    assert "\x1b[1F\x1b[Jd\n" == drawn(capsys, screen, "d")


def test_what_is_higher_than_the_terminal_is_counted(capsys):
    screen = Screen(Look(80, 4))
    assert "\x1b[Ja\nb\n(2 more lines)\n" == drawn(capsys, screen, "a", "b", "c", "d")
    assert drawn(capsys, screen, "a", "b", "c").startswith("\x1b[3F")
