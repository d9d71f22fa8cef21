"""YAML of whoever: lines, doubles, and everything that must end in a sentence and not in a crash."""

import io
from itertools import pairwise

import pytest
import yaml

from canaryd.config.yaml_source import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NUMBER,
    Document,
    Duplicate,
    UnreadableError,
    read_file,
    read_stream,
    read_text,
)

LEVELS = "abcdefgh"
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]\n" for below, name in pairwise(LEVELS)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{below}'] * 10)}]}}\n"
    for below, name in pairwise(LEVELS)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(300))


def refusal(text):
    with pytest.raises(UnreadableError) as caught:
        read_text(text, "f")
    return str(caught.value)


def only(text):
    [document] = read_text(text, "f")
    return document


# --- what is read ---


def test_every_key_and_item_has_its_line():
    document = only("a: 1\n\nb:\n  c: 2\n  d:\n    - x\n    - y: 1\n")
    assert {
        (): 1,
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "d"): 5,
        ("b", "d", 0): 6,
        ("b", "d", 1): 7,
        ("b", "d", 1, "y"): 7,
    } == document.lines


def test_the_line_of_what_is_not_there_is_that_of_what_is_around_it():
    document = only("a: 1\nb:\n  c: 2\n")
    assert 2 == document.line(("b", "x", "y"))
    assert 1 == document.line(("z",))


def test_a_document_without_lines_has_no_line():
    assert 0 == Document(None).line(("a", "b"))


def test_documents_keep_their_lines_of_the_file():
    first, second = read_text("a: 1\n---\nb: 2\n", "f")
    assert ({"a": 1}, 1) == (first.value, first.line(("a",)))
    assert ({"b": 2}, 3) == (second.value, second.line(("b",)))


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_a_text_without_content_has_no_document(text):
    assert [] == read_text(text, "f")


def test_a_byte_order_mark_is_passed_over():
    [document] = read_stream(io.BytesIO(b"\xef\xbb\xbfa: 1\n"), "f")
    assert {"a": 1} == document.value


def test_an_alias_is_the_value_it_stands_for():
    document = only("a: &x {k: 1}\nb: *x\n")
    assert {"a": {"k": 1}, "b": {"k": 1}} == document.value
    assert 2 == document.line(("b", "k"))


# --- doubles ---


@pytest.mark.parametrize(
    ("text", "path", "line", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", ("a",), 3, 1),
        ("a:\n  b: 1\n  b: 1\n", ("a", "b"), 3, 2),
        ("a:\n  - b: 1\n    b: 2\n", ("a", 0, "b"), 3, 2),
        ("{a: 1,\n a: 2}", ("a",), 2, 1),
        ("'a': 1\na: 2\n", ("a",), 2, 1),
    ],
    ids=["at the top", "below a key", "in a list", "in braces", "quoted and plain"],
)
def test_a_key_that_stands_twice_is_found(text, path, line, first):
    assert (Duplicate(path, line, first),) == only(text).duplicates


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {k: 1}\nb:\n  <<: *x\n  k: 2\n",
        "a: &x {k: 1}\nb:\n  <<: *x\n  <<: *x\n",
        "a: &x {k: 1}\nb: *x\nc: *x\n",
        "- {a: 1}\n- {a: 2}\n",
    ],
    ids=["merged and overridden", "merged twice", "by aliases", "in two mappings"],
)
def test_what_only_looks_like_a_double_is_none(text):
    assert () == only(text).duplicates


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: 2\n", "f:2: is not YAML: did not find expected ',' or ']'"),
        ("a: *x\n", "f:1: is not YAML: found undefined alias"),
        ("a: 1\nb: !Ref x\n", "f:2: is not YAML: could not determine a constructor"),
        ("? [a]\n: 1\n", "f:1: is not YAML: found unhashable key"),
        ("a: 1\nb: \x01\n", 'f:2: holds "\\x01", which YAML does not allow'),
        ("a: 1\nb: !!bool maybe\n", "f:2: holds a value that cannot be read: it does not fit"),
        ("a: !!int ''\n", "f:1: holds a value that cannot be read: it does not fit its tag"),
        ("a: !!float ''\n", "f:1: holds a value that cannot be read: it does not fit its tag"),
        ("a: !!timestamp soon\n", "f:1: holds a value that cannot be read: it does not fit"),
        ("a: 1\n\nb: 2026-99-99\n", "f:3: holds a value that cannot be read: month must be in"),
        ("a: \ud800\n", "f: is not YAML: 'utf-8' codec can't encode character"),
        ("a: {{ .Values.x }}\n", "f:1: is not YAML: found unhashable key; it looks like a templ"),
        ("{{- if .x }}\na: 1\n", "f:1: is not YAML: did not find expected node content; it lo"),
    ],
    ids=[
        "an open list",
        "an alias of nothing",
        "a tag of somebody else",
        "a list as a key",
        "a control character",
        "no boolean behind !!bool",
        "nothing behind !!int",
        "nothing behind !!float",
        "no time behind !!timestamp",
        "a day that is none",
        "half a surrogate pair",
        "a template that is almost YAML",
        "a template that is none",
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text, expected):
    assert expected in refusal(text)


def test_a_refusal_is_one_printable_line_however_long_and_hostile_the_text():
    text = refusal(f"a: !<tag:x,2026:%1b[31m{'x' * 5000}> 1\n")
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 1_000_000, "f:1: is nested too deeply"),
        ("- " * 1_000_000, "f:1: is nested too deeply"),
        ("{a: " * 1_000_000, "f:1: is nested too deeply"),
        (LAUGHS, "f:6: comes to more than 1000000 values with its aliases written out"),
        (MERGES, "f:7: comes to more than 1000000 values with its aliases written out"),
        (CHAIN, "f:99: is nested too deeply by its aliases"),
        ("a: &a [*a]\n", "f:1: contains itself by an alias"),
        ("x: 1\ny: &a {b: {c: *a}}\n", "f:2: contains itself by an alias"),
        (f"a: 0x{'f' * 5000}\n", "f:1: has a number of 5002 characters; quote it if it is text"),
        (f"a: {'9' * 5000}\n", "f:1: has a number of 5000 characters; quote it if it is text"),
        (f"x:\n  ? 0x{'f' * 5000}\n  : 1\n", "f:2: has a number of 5002 characters; quote it"),
    ],
    ids=[
        "a million brackets",
        "a million dashes",
        "a million braces",
        "a billion laughs",
        "a billion merges",
        "a ladder of aliases",
        "a list that contains itself",
        "a mapping that contains itself",
        "a number no one can print, in hex",
        "a number no one can print",
        "a number as a key",
    ],
)
def test_a_bomb_is_refused_before_it_goes_off(text, expected):
    assert expected in refusal(text)


def test_what_is_just_below_the_limits_is_read():
    value = only("[" * MAX_DEPTH + "]" * MAX_DEPTH).value
    depth = 0
    while value is not None:
        depth, value = depth + 1, value[0] if value else None
    assert MAX_DEPTH == depth
    assert int("9" * MAX_NUMBER) == only(f"a: {'9' * MAX_NUMBER}\n").value["a"]


def test_the_loader_is_the_safe_one():
    assert "could not determine a constructor" in refusal("a: !!python/object/apply:os.getcwd []\n")


def test_bytes_that_are_not_utf_8_are_refused_with_their_line():
    with pytest.raises(UnreadableError) as caught:
        read_stream(io.BytesIO(b"a: 1\nb: \xff\xfe\n"), "f")
    assert "f:2: is not UTF-8 text" == str(caught.value)


def test_a_stream_without_an_end_is_refused_after_a_limit():
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size=-1):
            self.asked += size
            return b"\0" * size

    stream = Endless()
    with pytest.raises(UnreadableError) as caught:
        read_stream(stream, "f")
    assert "f: is larger than 16 MiB" == str(caught.value)
    assert MAX_BYTES + 1 == stream.asked


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
    ],
    ids=["missing", "a directory"],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, make, why):
    path = tmp_path / "f.yaml"
    make(path)
    with pytest.raises(UnreadableError) as caught:
        read_file(path)
    assert f"{path}: cannot be read: {why}" == str(caught.value)


def test_the_pure_python_loader_would_do_too(monkeypatch):
    # Where PyYAML was built without libyaml.
    monkeypatch.setattr("canaryd.config.yaml_source._Loader", yaml.SafeLoader)
    assert 2 == only("a: 1\nb: {c: 2}\n").line(("b", "c"))
    assert "f:1: is nested too deeply" == refusal("[" * 200)
    assert 'f:2: holds "\\x01", which YAML does not allow' == refusal("a: 1\nb: \x01\n")
