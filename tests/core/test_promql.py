from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canaryd.core.promql import TemplateError, check_template, literal, quote_regex, render

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HOSTILE = st.text(st.sampled_from("\"'`\\{}[]()\n\r\t\0|.*+?^$#=~!,a1é\u202e"), max_size=20)
ANY_VALUE = TEXT | HOSTILE


def rendered(template, interval_s=60, **variables):
    return render(template, {"target": "app", **variables}, interval_s=interval_s)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('up{app="{{ target }}"}', 'up{app="app"}'),
        ('up{app="{{target}}"}', 'up{app="app"}'),
        ("up{app='{{ target }}'}", "up{app='app'}"),
        ("up{app=`{{ target }}`}", "up{app=`app`}"),
        ('rate(x{app="{{ target }}"}[{{ interval }}])', 'rate(x{app="app"}[60s])'),
        ('up{app="x"} # {not a variable}', 'up{app="x"} # {not a variable}'),
        ("sum(up)", "sum(up)"),
        ("", ""),
    ],
    ids=[
        "double-quoted",
        "without blanks",
        "single-quoted",
        "raw",
        "an interval outside of strings",
        "a comment is left alone",
        "no variables",
        "nothing",
    ],
)
def test_variables_are_inserted_where_strings_are(template, expected):
    assert expected == rendered(template)


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ('x{a="{{ v }}"}', 'q"uote', r'x{a="q\"uote"}'),
        ("x{a='{{ v }}'}", "q'uote", r"x{a='q\'uote'}"),
        ('x{a="{{ v }}"}', "q'uote", 'x{a="q\'uote"}'),
        ('x{a="{{ v }}"}', "back\\slash", r'x{a="back\\slash"}'),
        ('x{a="{{ v }}"}', "new\nline\ttab", r'x{a="new\nline\x09tab"}'),
        ('x{a="{{ v }}"}', "{{ target }}", 'x{a="{{ target }}"}'),
        ('x{a=~"{{ v }}.*"}', "5..", r'x{a=~"5\\.\\..*"}'),
        ('x{a !~ "{{ v }}"}', "a|b", r'x{a !~ "a\\|b"}'),
        ('x{a=~ # why\n "{{ v }}"}', ".*", 'x{a=~ # why\n "\\\\.\\\\*"}'),
        ("x{a=~`{{ v }}`}", "a.`b", r"x{a=~`a\.\x60b`}"),
        ('x{a="=~"} + y{b="{{ v }}"}', "a.b", 'x{a="=~"} + y{b="a.b"}'),
    ],
    ids=[
        "a double quote",
        "a single quote in single quotes",
        "a single quote in double quotes stays: PromQL refuses to see it escaped",
        "a backslash",
        "control characters",
        "template text in a value is not read again",
        "a regex matcher quotes metacharacters",
        "a negative regex matcher with blanks",
        "a comment between operator and string hides nothing",
        "a backtick in a raw regex",
        "an operator inside a string is no operator",
    ],
)
def test_values_are_escaped_for_where_they_stand(template, value, expected):
    assert expected == rendered(template, v=value)


def test_several_values_become_alternatives_in_a_regex_matcher():
    assert 'x{ingress=~"(?:a\\\\.b|c)"}' == rendered('x{ingress=~"{{ i }}"}', i=("a.b", "c"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('x{a="{{ taget }}"}', 'unknown variable "taget"; known are interval, many, '),
        ('x{a="{{ target"}', "malformed variable"),
        ('x{a="{{ tar get }}"}', "malformed variable"),
        ('x{a="{{ target }}', 'not closed with "'),
        ("{{ target }}", 'variable "target" stands outside a string'),
        ('x{a="\\{{ target }}"}', "backslash right before a variable"),
        ("x # {{ target }}", "variable in a comment"),
        ("x{a=`{{ tick }}`}", "backtick, which no raw string can hold"),
        ('x{a="{{ many }}"}', 'variable "many" has 2 values; match it with =~'),
        ('x{a="{{ surrogate }}"}', "not valid Unicode"),
        ('x{a="\ud800"}', "the query is not valid Unicode"),
    ],
    ids=[
        "an unknown variable is named",
        "an open brace",
        "two words",
        "an open string",
        "a variable outside of strings",
        "a backslash would escape the first character of a value",
        "a variable in a comment",
        "a backtick in a raw string",
        "several values for an equality matcher",
        "half a character in a value",
        "half a character in the query",
    ],
)
def test_what_cannot_be_rendered_is_said(template, message):
    with pytest.raises(TemplateError) as caught:
        rendered(template, tick="a`b", many=("a", "b"), surrogate="\ud800")
    assert message in str(caught.value)


def test_a_template_can_be_checked_before_there_are_values():
    check_template('x{a="{{ target }}"}[{{ interval }}]', ["target"])
    with pytest.raises(TemplateError, match=r"vars\.code"):
        check_template('x{a="{{ vars.code }}"}', ["target"])


@pytest.mark.parametrize(
    ("interval_s", "expected"), [(60, "60s"), (59.9, "59s"), (0.2, "1s"), (3600, "3600s")]
)
def test_the_interval_is_in_whole_seconds(interval_s, expected):
    assert f"x[{expected}]" == rendered("x[{{ interval }}]", interval_s=interval_s)


# --- the value never leaves its string --------------------------------------------------------------------------------


def read_string(text):
    """Read one PromQL string literal by the rules of Prometheus' own strutil.Unquote: (value, rest)."""
    quote, position, value = text[0], 1, ""
    simple = {
        "n": "\n",
        "t": "\t",
        "r": "\r",
        "a": "\a",
        "b": "\b",
        "f": "\f",
        "v": "\v",
        "\\": "\\",
    }
    while True:
        character = text[position]
        if character == quote:
            return value, text[position + 1 :]
        if quote != "`" and character == "\n":
            raise ValueError("a raw line end in a quoted string")
        if quote == "`" or character != "\\":
            value, position = value + character, position + 1
            continue
        code = text[position + 1]
        if code == "x":
            value, position = value + chr(int(text[position + 2 : position + 4], 16)), position + 4
            continue
        if code in "\"'" and code != quote:
            raise ValueError("the escaped quote is not the one that closes")
        value, position = value + (quote if code == quote else simple[code]), position + 2


@given(ANY_VALUE, st.sampled_from("\"'"))
@example('"} or vector(1) #', '"')
@example("\\", '"')
@example("'", '"')
def test_a_value_is_read_back_unchanged_and_what_follows_stays(value, mark):
    head, tail = "x{a=", ',b="c"} > 1'
    query = rendered(f"{head}{mark}{{{{ v }}}}{mark}{tail}", v=value)
    assert query.startswith(head)
    assert (value, tail) == read_string(query[len(head) :])


@given(ANY_VALUE, st.sampled_from("\"'`"))
@example(".*", '"')
@example("`} or x{", "`")
def test_in_a_regex_matcher_a_value_matches_itself_and_nothing_else(value, mark):
    head, tail = "x{a=~", "}"
    query = rendered(f"{head}{mark}{{{{ v }}}}{mark}{tail}", v=value)
    pattern, rest = read_string(query[len(head) :])
    assert tail == rest
    assert value == unquote_regex(pattern)


def unquote_regex(pattern):
    """Read a pattern of literals only; any metacharacter left is a failure."""
    value, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        if pattern.startswith(r"\x60", position):
            value, position = value + "`", position + 4
        elif character == "\\":
            assert not pattern[position + 1].isalnum(), "an escape with a meaning of its own"
            value, position = value + pattern[position + 1], position + 2
        else:
            assert character not in "\\.+*?()|[]{}^$"
            value, position = value + character, position + 1
    return value


@given(ANY_VALUE)
def test_a_value_in_a_raw_string_stays_inside_or_is_refused(value):
    if "`" in value:
        with pytest.raises(TemplateError):
            rendered("x{a=`{{ v }}`}", v=value)
    else:
        assert (value, "}") == read_string(rendered("x{a=`{{ v }}`}", v=value)[4:])


@given(st.text(max_size=60) | st.text(st.sampled_from("{}\"'`\\# \n=~av.x"), max_size=40))
def test_any_template_is_rendered_in_full_or_refused(template):
    with suppress(TemplateError):
        assert "{{" not in render(template, {"a": "b", "vars.x": '"'}, interval_s=60)


@given(ANY_VALUE)
def test_literals_of_our_own_are_read_back_unchanged(value):
    assert (value, "") == read_string(literal(value))
    assert value == unquote_regex(quote_regex(value))
