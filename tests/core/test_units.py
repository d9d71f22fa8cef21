"""The grammar of plain values: what is read, how it is written back, and what is refused with which words."""

import pytest

from canaryd.core import units
from canaryd.core.model import Comparator, Condition
from canaryd.core.units import UnitError, UnsupportedError


def case(sentence, *values):
    return pytest.param(*values, id=sentence.replace(" ", "-"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        case("seconds", "90s", 90.0),
        case("hours and minutes", "1h30m", 5400.0),
        case("milliseconds are not minutes and seconds", "500ms", 0.5),
        case("all units in falling order", "1h2m3s4ms", 3723.004),
        case("more minutes than an hour has", "90m", 5400.0),
        case("minutes then milliseconds", "1m500ms", 60.5),
        case("a bare zero needs no unit", "0", 0.0),
        case("zero with a unit", "0s", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text, seconds):
    assert seconds == units.parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        case("words", "10 minutes"),
        case("no unit", "90"),
        case("nothing", ""),
        case("fraction", "1.5h"),
        case("wrong order", "30m1h"),
        case("same unit twice", "1m1m"),
        case("sign", "-5s"),
        case("days", "1d"),
        case("upper case", "5M"),
        case("trailing line end", "5m\n"),
        case("infinity", "inf"),
        case("not a number", "nan"),
        case("exponent", "1e3s"),
        case("underscore", "1_000s"),
        case("digits of another script", "٣s"),
        case("full width digits", "９０s"),
        case("more digits than anybody needs", "123456789012345678901234567890s"),
    ],
)
def test_what_is_not_a_duration_is_refused_with_an_example(text):
    with pytest.raises(UnitError) as caught:
        units.parse_duration(text)
    assert (caught.value.rule, caught.value.example) == ("is not a duration", '"10m" or "90s"')


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        case("zero keeps its unit", 0, "0s"),
        case("whole minutes", 600, "10m"),
        case("ninety seconds", 90, "1m30s"),
        case("half a second", 0.5, "500ms"),
        case("a day in hours", 86400, "24h"),
        case("floating point noise is rounded to the millisecond", 0.1 + 0.2, "300ms"),
    ],
)
def test_a_duration_is_written_in_falling_units(seconds, text):
    assert text == units.format_duration(seconds)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_what_no_duration_can_be_is_not_written(seconds):
    with pytest.raises(ValueError, match="is not a duration"):
        units.format_duration(seconds)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_a_bool_is_one_of_two_words(text, value):
    assert (value, text) == (units.parse_bool(text), units.format_bool(value))


@pytest.mark.parametrize("text", ["True", "yes", "1", "on", "", "true ", "ｔｒｕｅ"])
def test_no_other_spelling_of_a_bool_is_guessed(text):
    with pytest.raises(UnitError, match="neither true nor false"):
        units.parse_bool(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("999999999", 999_999_999)])
def test_an_int_is_read_from_plain_digits(text, value):
    assert value == units.parse_int(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "007", "1_0", "1.0", "1e3", "٣", "²", "1,000", "1234567890", " 1"]
)
def test_an_int_has_no_sign_separator_or_leading_zero(text):
    with pytest.raises(UnitError, match="whole number"):
        units.parse_int(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("20", 20), ("100", 100)])
def test_a_percentage_is_a_whole_number(text, value):
    assert value == units.parse_percent(text)


@pytest.mark.parametrize("text", ["101", "10%", "0.5", "-1", "", "1e1", "nan"])
def test_a_percentage_beyond_its_range_or_with_a_sign_is_refused(text):
    with pytest.raises(UnitError, match="percentage from 0 to 100 without the sign"):
        units.parse_percent(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.5, "0.5"), (1e-9, "0.000000001"), (1e14, "100000000000000"), (100.0, "100")],
)
def test_a_decimal_is_written_without_exponent(value, text):
    assert (text, value) == (units.format_decimal(value), units.parse_decimal(text))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_decimal_that_is_no_number_is_not_written(value):
    with pytest.raises(ValueError, match="no decimal form"):
        units.format_decimal(value)


@pytest.mark.parametrize("text", ["1e400", "nan", "inf", "1_0", ".5", "5.", "-1", "١", "0x10", ""])
def test_a_decimal_has_no_surprises(text):
    with pytest.raises(UnitError, match="is not a number"):
        units.parse_decimal(text)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        case("at least", ">= 99", (Comparator.AT_LEAST, 99.0, 0.0, "")),
        case("no blank needed", ">=99.95", (Comparator.AT_LEAST, 99.95, 0.0, "")),
        case("milliseconds", "<= 500ms", (Comparator.AT_MOST, 500.0, 0.0, "ms")),
        case("seconds become milliseconds", "<= 0.5s", (Comparator.AT_MOST, 500.0, 0.0, "ms")),
        case("scaling is exact", "<= 1.005s", (Comparator.AT_MOST, 1005.0, 0.0, "ms")),
        case("above", "> 1", (Comparator.ABOVE, 1.0, 0.0, "")),
        case("below with a sign", "< 5%", (Comparator.BELOW, 5.0, 0.0, "%")),
        case("negative", ">= -5", (Comparator.AT_LEAST, -5.0, 0.0, "")),
        case("range", "95..100", (Comparator.BETWEEN, 95.0, 100.0, "")),
        case("range of one number", "5..5", (Comparator.BETWEEN, 5.0, 5.0, "")),
        case("range with fractions", "0.5..1.5", (Comparator.BETWEEN, 0.5, 1.5, "")),
        case("unit at the end serves both", "95..100%", (Comparator.BETWEEN, 95.0, 100.0, "%")),
        case("both in time", "100ms..0.5s", (Comparator.BETWEEN, 100.0, 500.0, "ms")),
        case("negative range", "-5..-1", (Comparator.BETWEEN, -5.0, -1.0, "")),
    ],
)
def test_a_condition_is_normalised_and_keeps_its_text(text, condition):
    assert Condition(*condition, text) == units.parse_condition(text)


def test_minus_zero_is_zero():
    assert str(units.parse_condition(">= -0").low) == "0.0"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("no comparison", "99", "is not a condition"),
        case("equality", "== 5", "is not a condition"),
        case("unicode comparison", "≥ 99", "is not a condition"),
        case("exponent", ">= 1e400", "is not a condition"),
        case("nan", ">= nan", "is not a condition"),
        case("infinity", "<= inf", "is not a condition"),
        case("underscore", ">= 9_9", "is not a condition"),
        case("digits of another script", ">= ٩٩", "is not a condition"),
        case("two points", ">= 1.2.3", "is not a condition"),
        case("unknown unit", "<= 5m", "is not a condition"),
        case("three points", "1...5", "is not a condition"),
        case("open range", "5..", "is not a condition"),
        case("falling range", "100..95", "is a range whose first number is the greater one"),
        case("mixed units", "1%..5ms", "is a range whose ends have different units"),
        case("unit at the start only", "5ms..9", "is a range whose ends have different units"),
        case("negative time", "<= -5ms", "is a condition with a negative time or percentage"),
        case("negative share", "-5%..5%", "is a condition with a negative time or percentage"),
        case(
            "too large after scaling",
            "<= 999999999999999s",
            "is a condition with a number of more than 15 digits",
        ),
    ],
)
def test_what_is_not_a_condition_is_refused(text, rule):
    with pytest.raises(UnitError) as caught:
        units.parse_condition(text)
    assert rule == caught.value.rule
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize("text", ["<= 110% of primary", "of primary", ">= 1 of  primary"])
def test_a_comparison_with_the_primary_is_known_and_refused(text):
    with pytest.raises(UnsupportedError, match="compares with the primary"):
        units.parse_condition(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [(">=99", ">= 99"), ("<= 0.5s", "<= 500ms"), ("95..100%", "95%..100%"), ("-5..-1", "-5..-1")],
)
def test_a_condition_is_written_canonically(text, canonical):
    assert canonical == units.format_condition(units.parse_condition(text))


@pytest.mark.parametrize(
    ("text", "weights"),
    [("1,5,20,50", (1, 5, 20, 50)), ("100", (100,)), (" 1 ,\n 2 ".strip(), (1, 2))],
)
def test_weights_rise(text, weights):
    assert weights == units.parse_weights(text)


@pytest.mark.parametrize(
    "text", ["0,5", "5,5", "50,20", "1,101", "1,,2", "1,", "", "1;2", "5%", "01"]
)
def test_weights_that_do_not_rise_within_1_to_100_are_refused(text):
    with pytest.raises(UnitError, match="strictly rising list of percentages from 1 to 100"):
        units.parse_weights(text)


@pytest.mark.parametrize(
    ("step", "maximum", "weights"),
    [
        case("the defaults", 10, 50, (10, 20, 30, 40, 50)),
        case("the maximum is met exactly", 20, 50, (20, 40, 50)),
        case("one step", 50, 50, (50,)),
        case("a step beyond the maximum is one step to it", 10, 5, (5,)),
        case("all the way", 50, 100, (50, 100)),
        case("the finest", 1, 3, (1, 2, 3)),
    ],
)
def test_linear_weights_end_with_the_maximum(step, maximum, weights):
    assert weights == units.linear_weights(step, maximum)


@pytest.mark.parametrize(
    ("text", "items"),
    [("a,b", ("a", "b")), (" a , b.c ", ("a", "b.c")), ("a", ("a",)), ("b\n,a", ("b", "a"))],
)
def test_a_list_keeps_its_order_and_loses_its_blanks(text, items):
    assert items == units.parse_list(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("nothing", "", "has an empty item"),
        case("trailing comma", "a,", "has an empty item"),
        case("repeated", "a,b, a", 'has the item "a" twice'),
        case("bad item among several", "a,B", 'has the item "B", which is not an object\'s name'),
        case("a lone bad item is the value itself", "B", "is not an object's name"),
    ],
)
def test_a_list_says_which_item_is_wrong(text, rule):
    with pytest.raises(UnitError) as caught:
        units.parse_list(text)
    assert caught.value.rule.startswith(rule)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        case("pairs", "k=v,k2=v2", {"k": "v", "k2": "v2"}),
        case("blanks around", " k = v ,\n k2=v2", {"k": "v", "k2": "v2"}),
        case("equals sign in a value", "q=a=b", {"q": "a=b"}),
        case("empty value", "k=", {"k": ""}),
        case("escaped comma", r"a=1\,2,b=3", {"a": "1,2", "b": "3"}),
        case("escaped backslash", r"a=\\,b=x", {"a": "\\", "b": "x"}),
        case("any script in a value", "k=größe", {"k": "größe"}),
    ],
)
def test_a_map_is_read(text, pairs):
    assert pairs == units.parse_map(text)


@pytest.mark.parametrize(
    "text", ["", "k", "=v", "k=v,", "k v=1", "ключ=v", "k=a\nb", "k=\x00", "k=a\\b", "k=v,,a=b"]
)
def test_what_is_not_a_map_is_refused(text):
    with pytest.raises(UnitError, match="key=value pairs"):
        units.parse_map(text)


def test_a_map_with_a_repeated_key_is_refused():
    with pytest.raises(UnitError, match='has the key "k" twice'):
        units.parse_map("k=1,k=2")


def test_a_map_is_written_with_commas_and_backslashes_escaped():
    assert units.format_map({"a": "1,2", "b": "\\"}) == r"a=1\,2,b=\\"


@pytest.mark.parametrize("text", ["a", "a-b", "0", "a" * 63])
def test_a_label_is_a_dns_label(text):
    assert text == units.parse_label(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "ä", "a\n"])
def test_what_is_not_a_dns_label_is_refused(text):
    with pytest.raises(UnitError, match="at most 63"):
        units.parse_label(text)


@pytest.mark.parametrize("text", ["a.b", "a", "x" * 63 + ".y"])
def test_an_objects_name_may_have_dots(text):
    assert text == units.parse_subdomain(text)


@pytest.mark.parametrize("text", ["a..b", ".a", "a.", "A.b", ".".join(["a" * 60] * 5), "../etc"])
def test_what_is_not_an_objects_name_is_refused(text):
    with pytest.raises(UnitError, match="is not an object's name"):
        units.parse_subdomain(text)


@pytest.mark.parametrize("text", ["app", "app.kubernetes.io/name", "A_b.c"])
def test_a_label_key_may_have_a_domain(text):
    assert text == units.parse_label_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/b/c",
        "/a",
        "a/",
        "-a",
        "A.B/c",
        "a" * 64,
        "a b",
        ".".join(["a" * 60] * 5) + "/b",
        "a" * 400,
    ],
)
def test_what_is_not_a_label_key_is_refused(text):
    with pytest.raises(UnitError, match="is not the key of a label"):
        units.parse_label_key(text)


@pytest.mark.parametrize("text", ["1", "65535", "http", "a1", "0a"])
def test_a_port_is_a_number_or_a_name(text):
    assert text == units.parse_port(text)


@pytest.mark.parametrize(
    "text", ["0", "080", "65536", "a" * 16, "a--b", "1-2", "Http", "-http", "", "8080 "]
)
def test_what_is_not_a_port_is_refused(text):
    with pytest.raises(UnitError, match="port number from 1 to 65535"):
        units.parse_port(text)


@pytest.mark.parametrize("text", ["configmap/feature-flags", "secret/shared.ca"])
def test_a_config_reference_has_a_kind_and_a_name(text):
    assert text == units.parse_config_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "feature-flags",
        "ConfigMap/a",
        "secret/",
        "secret/A",
        "configmap/" + ".".join(["a" * 60] * 5),
    ],
)
def test_what_is_not_a_config_reference_is_refused(text):
    with pytest.raises(UnitError, match="configmap/NAME"):
        units.parse_config_reference(text)


@pytest.mark.parametrize("text", ["2026-02-01a", "!", "x" * 64])
def test_a_word_is_any_visible_ascii(text):
    assert text == units.parse_word(text)


@pytest.mark.parametrize("text", ["", "a b", "x" * 65, "é", "a\tb"])
def test_a_word_has_no_blanks_and_an_end(text):
    with pytest.raises(UnitError, match="visible ASCII"):
        units.parse_word(text)


def test_free_text_keeps_tabs_and_line_ends():
    assert units.parse_text("a\tb\r\nc ü") == "a\tb\r\nc ü"


@pytest.mark.parametrize("text", ["\x00", "a\x1bb", "\x7f"])
def test_free_text_has_no_other_control_characters(text):
    with pytest.raises(UnitError, match="control characters"):
        units.parse_text(text)


@pytest.mark.parametrize(
    "url",
    [
        "svc://qa-runner/smoke",
        "svc://qa-runner:8080/smoke?x=1",
        "svc://qa-runner",
        "https://qa.example.com/a%20b;c=d?e=@f",
        "http://10.0.0.1:8080/",
        "http://[2001:db8::1]:80/x",
        "http://1host/",
    ],
)
def test_a_hook_url_is_kept_as_written(url):
    assert url == units.parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        case("no scheme", "qa-runner/smoke"),
        case("another scheme", "file:///etc/passwd"),
        case("gopher", "gopher://x/"),
        case("upper case scheme", "HTTP://x/"),
        case("another namespace", "svc://qa.other/smoke"),
        case("no host", "http:///x"),
        case("port zero", "http://a:0/"),
        case("port too high", "http://a:65536/"),
        case("empty port", "http://a:/"),
        case("fragment", "http://a/#x"),
        case("blank", "http://a/b c"),
        case("line end", "http://a/\r\nX-Evil: 1"),
        case("bad percent code", "http://a/%zz"),
        case("trailing dot", "http://example.com./"),
        case("decimal address", "http://2130706433/"),
        case("hexadecimal address", "http://0x7f000001/"),
        case("hexadecimal part", "http://127.0.0.0x1/"),
        case("octal address", "http://0177.0.0.1/"),
        case("short address", "http://127.1/"),
        case("address out of range", "http://256.1.1.1/"),
        case("bad ipv6", "http://[::g]/"),
        case("ipv6 with too many parts", "http://[1:2:3:4:5:6:7:8:9]/"),
        case("ipv6 zone", "http://[fe80::1%25eth0]/"),
        case("name of another script", "http://exаmple.com/"),
        case("name too long", "http://" + ".".join(["a" * 60] * 5) + "/"),
    ],
)
def test_a_url_that_could_mean_something_else_is_refused(url):
    with pytest.raises(UnitError, match="is not a URL with"):
        units.parse_url(url)


@pytest.mark.parametrize(
    "url", ["http://u:p@h/", "https://token@h", "svc://a@b/", "http://a@b?x#y", "http://a\\@b/"]
)
def test_a_url_with_credentials_is_refused_as_such(url):
    with pytest.raises(UnitError, match="user name or password"):
        units.parse_url(url)


def test_a_url_without_end_is_refused():
    with pytest.raises(UnitError, match="more than 2048"):
        units.parse_url("http://a/" + "x" * 2048)


@pytest.mark.parametrize("path", ["/", "/a", "/a/b?c=d&e=%20", "/?x=1", "/a//b"])
def test_a_path_is_kept_as_written(path):
    assert path == units.parse_path(path)


@pytest.mark.parametrize(
    "path", ["", "a", "//evil.example.com/", "/a b", "/a#b", "/%", "/ü", "/a\r\nb", "http://x/"]
)
def test_a_path_that_is_more_than_a_path_is_refused(path):
    with pytest.raises(UnitError, match="starts with one slash"):
        units.parse_path(path)


def test_a_path_without_end_is_refused():
    with pytest.raises(UnitError, match="more than 2048"):
        units.parse_path("/" + "x" * 2048)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        case("plain", "a b", '"a b"'),
        case("line ends are escaped", "a\nb", r'"a\nb"'),
        case("reversing characters are escaped", "a\u202eb", r'"a\u202eb"'),
        case("terminal sequences are escaped", "\x1b[31m", r'"\x1b[31m"'),
        case("lone surrogates are escaped", "\ud800", r'"\ud800"'),
        case("other scripts stay readable", "größe", '"größe"'),
        case("long values are cut", "x" * 100, '"' + "x" * 79 + '…"'),
    ],
)
def test_a_quoted_value_is_one_printable_line(text, shown):
    assert shown == units.quote(text)


HOSTILE = [
    *(
        "a" * 50_000,
        "a-" * 25_000,
        "a." * 25_000,
        "1," * 25_000,
        "1" * 50_000,
        "k=" + " " * 50_000 + "\x00",
    ),
    *(
        "k=" + "\\" * 50_001,
        "/" + "%" * 50_000,
        "9" * 15 + ".." * 25_000,
        " " * 50_000,
        "1h" * 25_000,
    ),
    *(
        "http://" + "a" * 50_000 + "!",
        "http://" + "a." * 25_000 + "!",
        "a=b," * 12_500 + "!",
        "0" * 50_000 + "s",
    ),
    *(
        "GET / " + "rate=1 " * 7_000 + "!",
        "svc://" + "a-" * 25_000,
        "{{" * 25_000,
        ">=" + " " * 50_000 + "x",
    ),
]
PARSERS = [
    *(
        units.parse_bool,
        units.parse_int,
        units.parse_percent,
        units.parse_decimal,
        units.parse_duration,
    ),
    *(
        units.parse_word,
        units.parse_label,
        units.parse_subdomain,
        units.parse_label_key,
        units.parse_port,
    ),
    *(
        units.parse_config_reference,
        units.parse_url,
        units.parse_path,
        units.parse_list,
        units.parse_map,
    ),
    *(units.parse_weights, units.parse_condition),
]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{text[:6]!a}x{len(text)}")
def test_hostile_texts_of_50_kb_are_refused_without_hanging(parser, text):
    # A quadratic expression would need minutes for the whole table, a linear one milliseconds.
    with pytest.raises(UnitError) as caught:
        parser(text)
    assert len(str(caught.value)) < 1_000
