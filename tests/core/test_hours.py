"""How windows and spans of time are written, and what is said of mistakes."""

import pytest

from canaryd.core.hours import MAX_SPANS, MAX_WINDOWS, parse_freeze, parse_schedule
from canaryd.core.units import UnitError
from canaryd.core.windows import Span, Window
from tests.core.plans import case

WEEKDAYS = frozenset(range(5))

# --- windows ---


@pytest.mark.parametrize(
    ("text", "window"),
    [
        case("a range of days", "Mon-Fri 09:00-16:30", Window(WEEKDAYS, 540, 990)),
        case("every day", "daily 00:00-24:00", Window(frozenset(range(7)), 0, 1440)),
        case("one day", "Wed 00:00-00:01", Window(frozenset({2}), 0, 1)),
        case("listed days", "Mon,Wed,Sun 09:00-10:00", Window(frozenset({0, 2, 6}), 540, 600)),
        case("ranges in a list", "Mon-Tue,Fri 09:00-10:00", Window(frozenset({0, 1, 4}), 540, 600)),
        case(
            "around the end of the week",
            "Sat-Mon 09:00-10:00",
            Window(frozenset({5, 6, 0}), 540, 600),
        ),
        case("from a day to itself", "Mon-Mon 09:00-10:00", Window(frozenset({0}), 540, 600)),
        case("across midnight", "Fri 22:00-02:00", Window(frozenset({4}), 1320, 120)),
        case(
            "zone with an underscore",
            "Mon 09:00-10:00 America/Argentina/Buenos_Aires",
            Window(frozenset({0}), 540, 600, "America/Argentina/Buenos_Aires"),
        ),
        case(
            "fixed zone", "Mon 09:00-10:00 Etc/GMT+5", Window(frozenset({0}), 540, 600, "Etc/GMT+5")
        ),
        case("blanks between words", "Mon \t09:00-10:00\n UTC", Window(frozenset({0}), 540, 600)),
    ],
)
def test_a_window_is_read(text, window):
    assert (window,) == parse_schedule(text)


def test_several_windows_each_have_their_zone():
    assert (
        Window(WEEKDAYS, 540, 600, "Europe/Berlin"),
        Window(WEEKDAYS, 540, 600),
    ) == parse_schedule("Mon-Fri 09:00-10:00 Europe/Berlin ;\nMon-Fri 09:00-10:00")


DAYS = "which are neither daily nor some of Mon, Tue, Wed, Thu, Fri, Sat, Sun, such as Mon-Wed,Fri"
TIMES = "which are not HH:MM-HH:MM from 00:00 to 24:00"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("nothing", "", "has an empty window"),
        case("semicolon at the end", "Mon 09:00-10:00;", "has an empty window"),
        case("no days", "09:00-10:00", "is not DAYS HH:MM-HH:MM [ZONE]"),
        case("blank in a list", "Mon, Wed 09:00-10:00 UTC", "is not DAYS HH:MM-HH:MM [ZONE]"),
        case("full name", "Monday 09:00-10:00", f'has the days "Monday", {DAYS}'),
        case("small letters", "mon 09:00-10:00", f'has the days "mon", {DAYS}'),
        case("one digit", "Mon 9:00-10:00", f'has the times "9:00-10:00", {TIMES}'),
        case("beyond the day", "Mon 23:00-24:01", f'has the times "23:00-24:01", {TIMES}'),
        case("begins at 24:00", "Mon 24:00-01:00", f'has the times "24:00-01:00", {TIMES}'),
        case("no time at all", "Mon 09:00-09:00", "ends when it begins"),
        case(
            "unknown zone",
            "Mon 09:00-10:00 Europe/Berln",
            'has the time zone "Europe/Berln", which the IANA database does not know',
        ),
        case(
            "folder of zones",
            "Mon 09:00-10:00 Europe",
            'has the time zone "Europe", which the IANA database does not know',
        ),
        case(
            "file beside zones",
            "Mon 09:00-10:00 leapseconds",
            'has the time zone "leapseconds", which the IANA database does not know',
        ),
        case(
            "zone of the machine",
            "Mon 09:00-10:00 localtime",
            'has the time zone "localtime", which the IANA database does not know',
        ),
        case(
            "zone with leap seconds",
            "Mon 09:00-10:00 right/Europe/Berlin",
            'has the time zone "right/Europe/Berlin", which the IANA database does not know',
        ),
        case(
            "path",
            "Mon 09:00-10:00 ../../etc/passwd",
            'has the time zone "../../etc/passwd", which the IANA database does not know',
        ),
        case(
            "offset",
            "Mon 09:00-10:00 +01:00",
            'has the time zone "+01:00", which the IANA database does not know',
        ),
        case("too many", ";".join(["Mon 09:00-10:00"] * 21), "has 21 windows, and may have 20"),
        case(
            "one of several is named",
            "Mon 09:00-10:00; Tue 09:00",
            'has the window "Tue 09:00", which has the times "09:00", ' + TIMES,
        ),
    ],
)
def test_a_window_that_is_none_is_refused_with_a_rule(text, rule):
    with pytest.raises(UnitError) as refused:
        parse_schedule(text)
    assert rule == refused.value.rule
    assert parse_schedule(refused.value.example.strip('"'))


# --- spans ---


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        case("UTC", "2026-01-01T00:00:00Z/2026-01-01T00:00:01Z", [(1_767_225_600, 1_767_225_601)]),
        case(
            "offsets",
            "2026-01-01T01:00:00+01:00/2026-01-01T00:30:00-00:30",
            [(1_767_225_600, 1_767_229_200)],
        ),
        case(
            "fractions",
            "2026-01-01T00:00:00.5Z/2026-01-01T00:00:01Z",
            [(1_767_225_600.5, 1_767_225_601)],
        ),
        case(
            "several, by commas and semicolons",
            "2026-01-01T00:00:00Z/2026-01-01T00:00:01Z, 2026-01-01T00:00:02Z/2026-01-01T00:00:03Z;2026-01-01T00:00:04Z/2026-01-01T00:00:05Z",
            [
                (1_767_225_600, 1_767_225_601),
                (1_767_225_602, 1_767_225_603),
                (1_767_225_604, 1_767_225_605),
            ],
        ),
    ],
)
def test_spans_of_time_are_read(text, spans):
    assert [Span(float(start), float(end)) for start, end in spans] == list(parse_freeze(text))


@pytest.mark.parametrize(
    "text",
    [
        case("only one end", "2026-01-01T00:00:00Z"),
        case("days without times", "2026-12-20/2027-01-04"),
        case("no zone", "2026-01-01T00:00:00/2026-01-02T00:00:00"),
        case("a day that no month has", "2026-02-30T00:00:00Z/2026-03-01T00:00:00Z"),
        case("an hour that no day has", "2026-01-01T24:00:00Z/2026-01-02T00:00:00Z"),
        case("a blank for the T", "2026-01-01 00:00:00Z/2026-01-02T00:00:00Z"),
        case("a duration", "2026-01-01T00:00:00Z/P1D"),
        case("three ends", "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z/2026-01-03T00:00:00Z"),
        case("digits of another script", "٢026-01-01T00:00:00Z/2026-01-02T00:00:00Z"),
    ],
)
def test_what_is_no_span_of_time_is_refused(text):
    with pytest.raises(UnitError, match=r"which is not BEGIN/END with both in RFC 3339"):
        parse_freeze(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        case("nothing", "", "has an empty span of time"),
        case(
            "comma at the end",
            "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z,",
            "has an empty span of time",
        ),
        case(
            "the wrong way round",
            "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z",
            'has "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z", which ends before it begins',
        ),
        case(
            "too many",
            ",".join(["2026-01-01T00:00:00Z/2026-01-02T00:00:00Z"] * 51),
            "has 51 spans of time, and may have 50",
        ),
    ],
)
def test_spans_that_make_no_sense_are_refused_with_a_rule(text, rule):
    with pytest.raises(UnitError) as refused:
        parse_freeze(text)
    assert rule == refused.value.rule
    assert parse_freeze(refused.value.example.strip('"'))


def test_as_many_as_allowed_are_read():
    assert len(parse_schedule(";".join(["daily 01:00-02:00"] * MAX_WINDOWS))) == MAX_WINDOWS
    span = "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z"
    assert len(parse_freeze(";".join([span] * MAX_SPANS))) == MAX_SPANS
