"""When a run may go on: hours of the week on people's clocks, also when those change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.core.hours import parse_freeze, parse_schedule
from canaryd.core.windows import Span, Window, frozen_until, is_open, opens_in
from tests.core.plans import case

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def at(text, zone="UTC", fold=0):
    """An instant, from what the clocks of a zone show."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def opened(schedule, text, zone="UTC", fold=0):
    return is_open(parse_schedule(schedule), at(text, zone, fold))


# --- open or not ---


def test_without_windows_it_is_always_open():
    assert is_open((), 0.0)
    assert opens_in((), 0.0) == 0.0


@pytest.mark.parametrize(
    ("schedule", "now", "expected"),
    [
        # 2026-03-02 is a Monday.
        case("first minute", "Mon-Fri 09:00-16:30", "2026-03-02T09:00:00", True),
        case("last second", "Mon-Fri 09:00-16:30", "2026-03-02T16:29:59", True),
        case("the end is outside", "Mon-Fri 09:00-16:30", "2026-03-02T16:30:00", False),
        case("too early", "Mon-Fri 09:00-16:30", "2026-03-02T08:59:59", False),
        case("weekend", "Mon-Fri 09:00-16:30", "2026-03-07T12:00:00", False),
        case("listed day", "Mon,Wed 09:00-10:00", "2026-03-04T09:30:00", True),
        case("day between listed ones", "Mon,Wed 09:00-10:00", "2026-03-03T09:30:00", False),
        case("days around the end of the week", "Sat-Mon 09:00-10:00", "2026-03-08T09:30:00", True),
        case(
            "one of several windows",
            "Mon 09:00-10:00; Tue 11:00-12:00",
            "2026-03-03T11:00:00",
            True,
        ),
        case("until midnight", "daily 22:00-24:00", "2026-03-02T23:59:59", True),
        case("not beyond midnight", "daily 22:00-24:00", "2026-03-03T00:00:00", False),
        case("the whole day", "Tue 00:00-24:00", "2026-03-03T00:00:00", True),
        case("evening of a night", "Fri 22:00-02:00", "2026-03-06T22:00:00", True),
        case("morning after a night", "Fri 22:00-02:00", "2026-03-07T01:59:59", True),
        case("end of a night", "Fri 22:00-02:00", "2026-03-07T02:00:00", False),
        case("morning before a night", "Fri 22:00-02:00", "2026-03-06T01:00:00", False),
        case("night over the end of the week", "Sun 22:00-02:00", "2026-03-09T01:00:00", True),
    ],
)
def test_a_window_is_open_from_its_first_minute_until_before_its_end(schedule, now, expected):
    assert expected == opened(schedule, now)


def test_a_window_is_looked_at_on_the_clocks_of_its_zone():
    schedule = "Mon-Fri 09:00-16:30 Asia/Tokyo"
    assert opened(schedule, "2026-03-02T00:00:00")  # 09:00 in Tokyo
    assert not opened(schedule, "2026-03-02T09:00:00")


@pytest.mark.parametrize("day", ["2026-03-27", "2026-03-30", "2026-10-23", "2026-10-26"])
def test_nine_is_nine_before_and_after_clocks_change(day):
    assert opened("Mon-Fri 09:00-10:00 Europe/Berlin", f"{day}T09:00:00", "Europe/Berlin")
    assert not opened("Mon-Fri 09:00-10:00 Europe/Berlin", f"{day}T08:59:00", "Europe/Berlin")


def test_an_hour_that_comes_twice_is_in_the_window_twice():
    # Berlin, 2026-10-25: 03:00 becomes 02:00.
    schedule = "Sun 02:00-03:00 Europe/Berlin"
    assert opened(schedule, "2026-10-25T02:30:00", "Europe/Berlin", fold=0)
    assert opened(schedule, "2026-10-25T02:30:00", "Europe/Berlin", fold=1)


def test_an_hour_that_is_skipped_is_in_no_window():
    # Berlin, 2026-03-29: 02:00 becomes 03:00.
    (window,) = parse_schedule("Sun 02:00-03:00 Europe/Berlin")
    begins = at("2026-03-29T00:00:00", "Europe/Berlin")
    assert not any(is_open((window,), begins + minute * MINUTE) for minute in range(23 * 60))


# --- when it opens ---


@pytest.mark.parametrize(
    ("schedule", "now", "expected"),
    [
        case("open already", "daily 00:00-24:00", "2026-03-02T12:00:00", 0.0),
        case("later today", "Mon-Fri 09:00-16:30", "2026-03-02T08:00:00", HOUR),
        case("to the second", "Mon-Fri 09:00-16:30", "2026-03-02T08:59:59.500000", 0.5),
        case("tomorrow", "Mon-Fri 09:00-16:30", "2026-03-02T16:30:00", 16.5 * HOUR),
        case("after the weekend", "Mon-Fri 09:00-16:30", "2026-03-06T16:30:00", 64.5 * HOUR),
        case("in a week", "Mon 09:00-10:00", "2026-03-02T10:00:00", 7 * DAY - HOUR),
        case(
            "the sooner of two",
            "Mon 09:00-10:00; Tue 11:00-12:00",
            "2026-03-02T10:00:00",
            25 * HOUR,
        ),
        case("this night", "Fri 22:00-02:00", "2026-03-06T12:00:00", 10 * HOUR),
    ],
)
def test_it_is_known_when_a_closed_window_opens(schedule, now, expected):
    assert expected == opens_in(parse_schedule(schedule), at(now))


@pytest.mark.parametrize(
    ("schedule", "now", "fold", "expected"),
    [
        # Berlin: 02:00 becomes 03:00 on 2026-03-29, 03:00 becomes 02:00 on 2026-10-25.
        case(
            "a night that is an hour shorter",
            "Sun 09:00-10:00 Europe/Berlin",
            "2026-03-28T09:00:00",
            0,
            23 * HOUR,
        ),
        case(
            "a night that is an hour longer",
            "Sun 09:00-10:00 Europe/Berlin",
            "2026-10-24T09:00:00",
            0,
            25 * HOUR,
        ),
        case(
            "a beginning that is skipped is where clocks jump to",
            "Sun 02:30-04:00 Europe/Berlin",
            "2026-03-29T01:00:00",
            0,
            HOUR,
        ),
        case(
            "a window that is skipped opens a week later",
            "Sun 02:00-03:00 Europe/Berlin",
            "2026-03-29T01:00:00",
            0,
            7 * DAY,
        ),
        case(
            "a beginning that comes twice is the first of them",
            "Sun 02:30-04:00 Europe/Berlin",
            "2026-10-25T02:00:00",
            0,
            30 * MINUTE,
        ),
        case(
            "between its two beginnings it opens at the second",
            "Sun 02:30-02:40 Europe/Berlin",
            "2026-10-25T02:50:00",
            0,
            40 * MINUTE,
        ),
        case(
            "after both it opens a week later",
            "Sun 02:30-02:40 Europe/Berlin",
            "2026-10-25T02:50:00",
            1,
            7 * DAY - 20 * MINUTE,
        ),
        case(
            "clocks that go back lead into it without its beginning",
            "Sun 01:00-02:30 Europe/Berlin",
            "2026-10-25T02:45:00",
            0,
            15 * MINUTE,
        ),
    ],
)
def test_it_is_known_when_a_window_opens_while_clocks_change(schedule, now, fold, expected):
    assert expected == opens_in(parse_schedule(schedule), at(now, "Europe/Berlin", fold))


def test_a_zone_that_skips_midnight_opens_when_its_day_begins():
    # Cairo, 2026-04-24: midnight becomes 01:00.
    windows = parse_schedule("Fri 00:00-06:00 Africa/Cairo")
    assert opens_in(windows, at("2026-04-23T23:00:00", "Africa/Cairo")) == HOUR


def test_a_zone_that_skipped_a_day_opens_a_week_later():
    # Samoa had no 2011-12-30.
    windows = parse_schedule("Fri 09:00-10:00 Pacific/Apia")
    now = at("2011-12-29T09:00:00", "Pacific/Apia")
    assert opens_in(windows, now) == at("2012-01-06T09:00:00", "Pacific/Apia") - now


def test_a_window_without_days_is_an_error_and_no_endless_search():
    with pytest.raises(ValueError, match="never opens"):
        opens_in((Window(frozenset(), 0, 60),), 0.0)


# --- freeze ---


@pytest.mark.parametrize(
    ("now", "until"),
    [
        case("before", "2026-12-19T23:59:59", None),
        case("its first second", "2026-12-20T00:00:00", "2027-01-04T00:00:00"),
        case("its last second", "2027-01-03T23:59:59", "2027-01-04T00:00:00"),
        case("its end", "2027-01-04T00:00:00", None),
    ],
)
def test_a_freeze_holds_from_its_beginning_until_before_its_end(now, until):
    spans = parse_freeze("2026-12-20T00:00:00Z/2027-01-04T00:00:00Z")
    assert (at(until) if until else None) == frozen_until(spans, at(now))


def test_freezes_that_overlap_hold_until_the_last_of_them_ends():
    assert frozen_until((Span(0, 10), Span(5, 30), Span(40, 50)), 6) == 30
    assert frozen_until((), 6) is None


# --- whatever the clocks do ---

zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Asia/Kathmandu",
    ]
)
windows = st.builds(
    lambda days, start, length, zone: Window(
        frozenset(days), start, (start + length) % 1440 if length < 1440 else 1440, zone
    ),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
    zones,
)
# Around the changes of 2026: March and April, and October and November.
instants = st.one_of(
    st.integers(int(at("2026-03-01T00:00:00")), int(at("2026-05-01T00:00:00"))),
    st.integers(int(at("2026-09-25T00:00:00")), int(at("2026-11-10T00:00:00"))),
).map(float)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(windows, min_size=1, max_size=2), instants)
def test_it_opens_when_it_is_said_to_and_not_a_minute_sooner(listed, now):
    wait = opens_in(listed, now)
    assert is_open(listed, now + wait)
    minutes = range(int(now // 60) + 1, int((now + wait) // 60))
    assert not any(is_open(listed, minute * 60.0) for minute in minutes)
    assert (wait == 0) == is_open(listed, now)
