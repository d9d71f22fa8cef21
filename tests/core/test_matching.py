"""Conditions on requests, and the patterns that every provider reads alike."""

import re
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canaryd.core import re2
from canaryd.core.matching import MAX_CONDITIONS, parse_matches
from canaryd.core.routing import Match, MatchKind
from canaryd.core.units import UnitError
from tests.core.plans import case

HEADER, COOKIE = MatchKind.HEADER, MatchKind.COOKIE

# --- conditions ---


@pytest.mark.parametrize(
    ("text", "match"),
    [
        case("value", "header x-canary=insider", Match(HEADER, "x-canary", value="insider")),
        case("value with blanks", "header x=a b  c", Match(HEADER, "x", value="a b  c")),
        case("value with signs", "header x=a=b~c", Match(HEADER, "x", value="a=b~c")),
        case("pattern", "header x~^in.*$", Match(HEADER, "x", pattern="^in.*$")),
        case("pattern with an equals sign", "header x~^a=b$", Match(HEADER, "x", pattern="^a=b$")),
        case("switch", "header x-canary", Match(HEADER, "x-canary")),
        case("cookie", "cookie canary", Match(COOKIE, "canary")),
        case(
            "name of a header in capitals",
            "header X-Canary=A",
            Match(HEADER, "x-canary", value="A"),
        ),
        case("name of a cookie in capitals", "cookie Canary", Match(COOKIE, "Canary")),
    ],
)
def test_a_condition_is_read(text, match):
    assert (match,) == parse_matches(text)


def test_several_conditions_are_alternatives():
    assert parse_matches("header x-canary=insider ;\n cookie canary; header x-canary=tester") == (
        Match(HEADER, "x-canary", value="insider"),
        Match(COOKIE, "canary"),
        Match(HEADER, "x-canary", value="tester"),
    )


FORMS = "header NAME=VALUE, header NAME~PATTERN, header NAME, cookie NAME"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("nothing", "", "has an empty condition"),
        case("semicolon at the end", "cookie a;", "has an empty condition"),
        case("unknown word", "query a=b", f"is none of {FORMS}"),
        case("no name", "header", f"is none of {FORMS}"),
        case("no blank", "header=a", f"is none of {FORMS}"),
        case("blanks around the sign", "header x = a", f"is none of {FORMS}"),
        case("two names", "cookie a b", f"is none of {FORMS}"),
        case("name that is none", "header x:y=a", 'has "x:y", which is not the name of a header'),
        case(
            "name too long",
            f"cookie {'a' * 64}",
            f'has "{"a" * 29}…", which is not the name of a cookie',
        ),
        case("no value", "header x=", 'has no value of printable ASCII after "="'),
        case("value beyond ascii", "header x=ü", 'has no value of printable ASCII after "="'),
        case("line in a value", "header x=a\nb", 'has no value of printable ASCII after "="'),
        case("no pattern", "header x~", 'has no pattern of printable ASCII after "~"'),
        case(
            "cookie with a value",
            "cookie a=b",
            'has a value: a cookie asks for the canary with the value "always", and only so',
        ),
        case("twice", "cookie a; cookie a", 'has the condition "cookie a" twice'),
        case("twice by case", "header A; header a", 'has the condition "header a" twice'),
        case(
            "too many",
            ";".join(f"cookie c{n}" for n in range(9)),
            "has 9 conditions, and may have 8",
        ),
        case(
            "one of several is named",
            "cookie a; cokie b",
            f'has the condition "cokie b", which is none of {FORMS}',
        ),
    ],
)
def test_a_condition_that_is_none_is_refused_with_a_rule_and_an_example(text, rule):
    with pytest.raises(UnitError) as refused:
        parse_matches(text)
    assert rule == refused.value.rule
    assert parse_matches(refused.value.example.strip('"'))


def test_as_many_conditions_as_allowed_are_read():
    assert MAX_CONDITIONS == len(parse_matches(";".join(f"cookie c{n}" for n in range(8))))


# --- patterns ---


@pytest.mark.parametrize(
    "pattern",
    [
        "^insider$",
        "^(insider|tester)$",
        "^(?:a|b)+?$",
        "^(?i)insider$",
        "^(?i-s:a)$",
        r"^v[0-9]{1,3}\.[^.\]]*$",
        r"^\d+\w\s?\S\D\W$",
        r"^\x41\-\/\$$",
        "^[]a]$",
        "^[^]a]$",
        "^[a-]$",
        r"^[\d\-x]$",
        "^[[:alpha:][:^digit:]]$",
        r"^\Aa\b.\Bb\z$",
        "^(a{10}){100}$",
        "^a{3,}$",
        "^]}$",
        "^$",
        "^a|b$".replace("|", r"\|"),
    ],
)
def test_what_all_providers_read_alike_is_accepted(pattern):
    re2.check(pattern)


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        case("look-ahead", "^(?=a)a$", "has a look-ahead, which not every provider knows"),
        case("negative look-ahead", "^(?!a)b$", "has a look-ahead, which not every provider knows"),
        case("look-behind", "^b(?<=b)$", "has a look-behind, which not every provider knows"),
        case(
            "negative look-behind", "^b(?<!a)$", "has a look-behind, which not every provider knows"
        ),
        case("atomic group", "^(?>a)$", "has an atomic group, which not every provider knows"),
        case(
            "conditional group",
            "^(a)(?(1)b)$",
            "has a conditional group, which not every provider knows",
        ),
        case("comment", "^a(?#b)$", "has a comment, which not every provider knows"),
        case("branch reset", "^(?|a)$", "has a branch reset, which not every provider knows"),
        case("named group", "^(?P<n>a)$", "has a named group, which not every provider knows"),
        case(
            "named group of Perl", "^(?<n>a)$", "has a named group, which not every provider knows"
        ),
        case(
            "recursion",
            "^a(?R)$",
            'has a group that begins with "(?R", which not every provider knows',
        ),
        case(
            "flag of one engine",
            "^(?x)a$",
            'has a group that begins with "(?x", which not every provider knows',
        ),
        case("backreference", r"^(a)\1$", "has a backreference, which not every provider knows"),
        case(
            "named backreference",
            r"^(a)\k<a>$",
            "has a backreference, which not every provider knows",
        ),
        case(
            "possessive",
            "^a++$",
            "repeats a repetition, or has a possessive one, which not every provider knows",
        ),
        case(
            "possessive count",
            "^a{2}+$",
            "repeats a repetition, or has a possessive one, which not every provider knows",
        ),
        case(
            "doubled",
            "^a**$",
            "repeats a repetition, or has a possessive one, which not every provider knows",
        ),
        case("quoting", r"^\Qa\E$", r'has "\Q", which providers do not read alike'),
        case("end of the subject", r"^a\Z$", r'has "\Z", which providers do not read alike'),
        case("vertical blanks", r"^\v$", r'has "\v", which providers do not read alike'),
        case("unicode class", r"^\p{Greek}$", r'has "\p", which providers do not read alike'),
        case("half a code", r"^\x4$", r'has "\x", which providers do not read alike'),
        case("backslash at the end", "^a\\", r'has "\", which providers do not read alike'),
        case("repeats nothing", "^*a$", 'repeats nothing with "*"'),
        case("repeats a beginning", "^(+a)$", 'repeats nothing with "+"'),
        case("repeats an assertion", r"^a\b?$", 'repeats nothing with "?"'),
        case(
            "counts nothing",
            "^a{,3}$",
            r'has a "{" that counts nothing; write \{ for the character',
        ),
        case("plain brace", "^a{b}$", r'has a "{" that counts nothing; write \{ for the character'),
        case("counts backwards", "^a{3,2}$", 'has "{3,2}", whose first number is greater'),
        case("counts too far", "^a{1001}$", "repeats more than 1000 times"),
        case("counts too far together", "^((a{50}){5}){5}$", "repeats more than 1000 times"),
        case("group not closed", "^(a$", "has a group that is not closed"),
        case("group not opened", "^a)$", 'has a ")" without its "("'),
        case("class not closed", "^[a$", 'has a class that is not closed: "[a$"'),
        case("class with nothing in it", "^[]$", 'has a class that is not closed: "[]$"'),
        case("unknown named class", "^[[:foo:]]$", "has a class of characters that is not known"),
        case("collating class", "^[[.a.]]$", "has a class of characters that is not known"),
        case(
            "range backwards", "^[b-a]$", "has a range of characters that runs backwards or nowhere"
        ),
        case(
            "range to a class",
            r"^[a-\d]$",
            "has a range of characters that runs backwards or nowhere",
        ),
        case("assertion in a class", r"^[\b]$", r'has "\b" in a class, where it is no character'),
        case("beyond ascii", "^ü$", "has characters beyond printable ASCII"),
        case("too long", f"^{'a' * 256}$", "is longer than 256 characters"),
        case(
            "alternatives with an anchor each",
            "^a|b$",
            "has alternatives outside of a group; write ^(a|b)$",
        ),
    ],
)
def test_what_some_provider_would_read_otherwise_is_refused(pattern, rule):
    with pytest.raises(UnitError) as refused:
        re2.check(pattern)
    assert rule == refused.value.rule


@pytest.mark.parametrize(
    "pattern", ["insider", "^insider", "insider$", r"^insider\$", "^insider[$]", ""]
)
def test_a_pattern_that_may_match_a_part_of_the_value_is_refused(pattern):
    with pytest.raises(UnitError, match="is not anchored: providers differ"):
        re2.check(pattern)


def test_a_refused_pattern_is_told_as_one_of_its_condition():
    with pytest.raises(UnitError) as refused:
        parse_matches("header x~insider")
    assert refused.value.rule.startswith("has a pattern that is not anchored")


PIECES = (
    *r"ab1-_.,:!=<>#P^$|()[]{}*+?\/ ",
    *("(?:", "(?i:", "(?=", "(?P<n>", "{2}", "{1,3}", "{,3}", "{500}"),
    *("[a-z]", "[^a]", r"\d", r"\.", r"\b", r"\x41", r"\1"),
)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=7))
@example(["[", "]", "^", "]"])
def test_what_is_accepted_is_an_expression_to_another_engine_too(parts):
    pattern = f"^{''.join(parts)}$"
    try:
        re2.check(pattern)
    except UnitError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sets in classes, which Python may have one day
        re.compile(pattern)
