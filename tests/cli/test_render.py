"""Lines for a terminal: width, colours, letters, and nothing that would move a cursor."""

import pytest

from canaryd.cli.render import (
    PLAIN,
    Look,
    Span,
    Tone,
    age,
    clean,
    columns,
    cut,
    line,
    node,
    paint,
    table,
    text_of,
    took,
    tree,
)

COLORED = Look(width=80, is_colored=True)
ASCII = Look(is_ascii=True)


def texts(lines):
    return [text_of(spans) for spans in lines]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("a\nb", "a b"),
        ("a \r\n  b", "a b"),
        ("\ta", "    a"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x07", "\\x07"),
        ("\u202eleft", "\\u202eleft"),
        ("Größe 東京", "Größe 東京"),
    ],
)
def test_nothing_that_a_terminal_would_obey_gets_out(given, shown):
    assert shown == clean(given)
    assert clean(given).isprintable()


def test_wide_and_combining_characters_are_counted_as_they_are_shown():
    assert (2, 4, 1) == (columns("ab"), columns("東京"), columns("e\u0301"))


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abcd", 4, "abcd"), ("abcde", 4, "abc…"), ("東京都", 5, "東京…"), ("東京都", 4, "東…")],
)
def test_what_is_too_long_is_cut_with_a_mark(text, width, shown):
    assert shown == cut(text, width)
    assert columns(shown) <= width


def test_a_line_has_colours_only_where_they_are_shown():
    spans = line(Span("✔ ", Tone.GOOD), "well", Span("", Tone.BAD))
    assert "✔ well" == paint(spans, PLAIN)
    assert "\x1b[32m✔ \x1b[0mwell" == paint(spans, COLORED)


def test_blanks_at_the_end_of_a_line_are_not_written():
    assert "a" == paint(line("a", Span("  ", Tone.GOOD), " "), PLAIN)


def test_without_unicode_every_letter_is_one_of_ascii():
    spans = line("├─ ", "│  ", "└─ ", "✔✖▶◌●…█░→⚠ 東")
    shown = paint(spans, ASCII)
    assert shown.isascii()
    assert "|- |  `- +x>" in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (-3, "0s"),
        (45.4, "45s"),
        (60, "1m"),
        (270, "4m 30s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (90061, "1d 1h"),
        (86400 + 59, "1d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, words):
    assert words == took(seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172800, "2d"),
    ],
)
def test_an_age_is_told_as_kubectl_does(seconds, words):
    assert words == age(seconds)


# --- tables ---


def test_a_table_has_straight_columns():
    lines = table(("NAME", "STATE"), [("a", "ok"), ("longer", Span("bad", Tone.BAD))], PLAIN)
    assert ["NAME     STATE", "a        ok", "longer   bad"] == texts(lines)


def test_the_last_column_of_a_table_gives_way_to_the_width():
    lines = table(("NAME", "MESSAGE"), [("a", "x" * 100)], Look(width=30))
    assert 30 == columns(text_of(lines[1]))
    assert text_of(lines[1]).endswith("…")


def test_the_lines_of_a_cell_are_one():
    assert "a   b c" == text_of(table(("A", "B"), [("a", "b\nc")], PLAIN)[1])


# --- trees ---

TREE = node("root", below=[node("first", below=[node("leaf")]), node("last")])


def test_a_tree_has_branches():
    assert ["root", "├─ first", "│  └─ leaf", "└─ last"] == texts(tree(TREE, PLAIN))


def test_what_is_too_long_for_a_branch_goes_on_below():
    words = " ".join(["word"] * 12)
    lines = texts(tree(node("root", below=[node(words), node("last")]), Look(width=40)))
    assert [
        "root",
        "├─ word word word word word word word",
        "│     word word word word word",
        "└─ last",
    ] == lines


def test_a_line_with_lines_below_it_keeps_the_rail_when_it_goes_on():
    words = " ".join(["word"] * 8)
    lines = texts(tree(node(words, below=[node("leaf")]), Look(width=30)))
    assert ["word word word word word word", "│  word word", "└─ leaf"] == lines


def test_a_terminal_too_narrow_for_a_tree_breaks_nothing():
    words = " ".join(["word"] * 8)
    assert [words] == texts(tree(node(words), Look(width=10)))


def test_a_word_longer_than_the_line_is_left_whole():
    lines = texts(tree(node(f"a {'x' * 60} b"), Look(width=40)))
    assert ["a", f"   {'x' * 60}", "   b"] == lines
