"""Dates are read as they are printed, day before month unless told otherwise, and never by today's calendar."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.text.dates import MOST_DATES, find_dates, parse_date


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("02 APR 2018", date(2018, 4, 2)),
        ("4/02/2017 03:30:27PM", date(2017, 2, 4)),
        ("2016-07-31", date(2016, 7, 31)),
        ("2016/05/01", date(2016, 5, 1)),
        ("(12/03/2018)", date(2018, 3, 12)),
        ("31-12-17", date(2017, 12, 31)),
        ("11.02.18", date(2018, 2, 11)),
        ("14/JUN/2017", date(2017, 6, 14)),
        ("3rd March 2018", date(2018, 3, 3)),
        ("OCT 3, 2016", date(2016, 10, 3)),
        ("1 Ogos 2018", date(2018, 8, 1)),
        ("20180428/101530", date(2018, 4, 28)),
        ("25032018", date(2018, 3, 25)),
        ("29 / 03 / 2018", date(2018, 3, 29)),
        ("29/03/1813:24", date(2018, 3, 29)),
        ("1/13/2018", date(2018, 1, 13)),
        ("05-06-98", date(1998, 6, 5)),
        ("09/01/201910:30AM", date(2019, 1, 9)),
        ("02 04 2018", date(2018, 4, 2)),
        ("#19- JAN 18 2018 10:27", date(2018, 1, 18)),
    ],
)
def test_every_usual_form_is_read(text: str, expected: date) -> None:
    """Numeric, named, compact and glued forms all give the date that they mean."""
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l2/O4/2O18", date(2018, 4, 12)),
        ("02/04/20I8", date(2018, 4, 2)),
        ("2O18-O4-02", date(2018, 4, 2)),
        ("1S.12.17", date(2017, 12, 15)),
        ("2 APR 2O18", date(2018, 4, 2)),
        ("02/04/20Z8", None),
        ("BO/IS/SO", None),
    ],
)
def test_letters_that_look_like_digits_are_read_as_digits(text: str, expected: date | None) -> None:
    """Character recognition's slips are put right within a date, and never cut a year short."""
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "31/02/2018",
        "12/2018",
        "03-1234 5678",
        "1.2.3",
        "99/99/9999",
        "12 PCS 2018",
        "001234567890",
        "1/2/2018 or 2/3/2018",
    ],
)
def test_what_is_no_single_date_is_none(text: str) -> None:
    """Telephone numbers, impossible days, other words and two different dates are no date."""
    assert parse_date(text) is None


def test_day_and_month_change_places_when_month_comes_first() -> None:
    """The caller's order decides where both are possible, and the calendar where only one is."""
    assert parse_date("03/04/2018", day_first=False) == date(2018, 3, 4)
    assert parse_date("25/04/2018", day_first=False) == date(2018, 4, 25)


def test_only_a_date_that_swaps_into_another_is_ambiguous() -> None:
    """A day over 12, equal day and month, a named month and a leading year leave no doubt."""
    texts = ["03/04/2018", "13/04/2018", "04/04/2018", "03 APR 2018", "2018-04-03"]
    assert [find_dates(text)[0].ambiguous for text in texts] == [True, False, False, False, False]


def test_dates_come_in_order_with_their_places() -> None:
    """Each date's offsets cut exactly its text out of the document."""
    text = "VALID 31 DEC 2018\nDATE: 05/01/2018 10:15"
    assert [text[seen.start : seen.end] for seen in find_dates(text)] == ["31 DEC 2018", "05/01/2018"]


def test_a_part_of_a_longer_number_is_no_date() -> None:
    """Codes that only look like dates in their middle are left alone."""
    assert find_dates("AB11-22 - 33 and 1-11-12-2017 and 11/12/20175") == []


def test_a_flood_of_dates_is_read_to_a_limit() -> None:
    """However many dates a text holds, only so many are read."""
    assert len(find_dates("01/02/2018 " * 5_000)) == MOST_DATES


@given(st.dates(min_value=date(1970, 1, 1), max_value=date(2068, 12, 31)))
@settings(max_examples=60)
def test_a_printed_date_is_read_back(day: date) -> None:
    """Whatever the day, the usual ways to print it are read back as that day."""
    for form in ("%d/%m/%Y", "%d-%m-%y", "%Y-%m-%d", "%d %b %Y", "%d%b%y", "%B %d, %Y"):
        assert parse_date(day.strftime(form)) == day, form


@given(
    st.text(alphabet=st.characters(exclude_categories=()), max_size=300) | st.text("0123456789/-. APR", max_size=300)
)
@settings(max_examples=150)
def test_any_text_gives_ordered_dates_inside_it(text: str) -> None:
    """No text breaks the reader, and what it finds lies in order, apart, inside the text."""
    seen = find_dates(text)
    assert all(0 <= item.start < item.end <= len(text) for item in seen)
    assert all(one.end <= other.start for one, other in pairwise(seen))


@pytest.mark.parametrize("piece", ["1/", "01-", "1 jan ", "20", "a", "1 ", "12.12.", "jan 1 "])
def test_long_hostile_text_is_read_in_linear_time(piece: str) -> None:
    """A megabyte of almost-dates is read within the suite's time limit, which a quadratic reader exceeds."""
    find_dates(piece * (1_000_000 // len(piece)))
