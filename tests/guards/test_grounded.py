"""Grounded: a value stands in the source, in whatever way it is written there."""

from __future__ import annotations

import string
from datetime import date, datetime
from decimal import Decimal

import pytest
from guardrails.validator_base import PassResult
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stanchion.guards import Grounded

SOURCE = """Blue Harbour Büchér Sdn. Bhd.
No. 53, Quay Street,   45600 Port Ashby
Date: 03/04/2018   Qty 2   0.250 kg
CABLE TIE          RM 1,234.50   20,5   (12.00)
TOTAL              72.50 MYR
"""


def look(value, source=SOURCE, **arguments):
    return Grounded(**arguments).validate(value, {"source": source})


def passes(value, source=SOURCE, **arguments):
    return isinstance(look(value, source, **arguments), PassResult)


def seen(value, source=SOURCE, **arguments):
    """The piece of the source that is given as evidence."""
    return source[slice(*look(value, source, **arguments).metadata["evidence"])]


@pytest.mark.parametrize(
    ("value", "evidence"),
    [
        ("BLUE HARBOUR BUCHER SDN BHD", "Blue Harbour Büchér Sdn. Bhd"),
        ("Cable-Tie", "CABLE TIE"),
        ("45600", "45600"),
        (Decimal("1234.5"), "1,234.50"),
        (1234.5, "1,234.50"),
        (Decimal("72.50"), "72.50"),
        (Decimal("-12"), "(12.00)"),
        (Decimal("20.5"), "20,5"),
        (Decimal("0.25"), "0.250"),
        (2, "2"),
        (date(2018, 4, 3), "03/04/2018"),
        (datetime(2018, 4, 3, 12), "03/04/2018"),  # noqa: DTZ001 - documents know no time zone
    ],
)
def test_a_value_of_the_source_passes_with_its_place(value, evidence):
    """Case, accents, spaces, punctuation and ways of writing numbers do not matter."""
    assert passes(value)
    assert seen(value) == evidence


@pytest.mark.parametrize(
    "value",
    [
        "Red Harbour",
        "Cab",  # inside a longer word
        "able",
        "",
        "  ",
        "*",
        Decimal("1234.05"),
        Decimal("-72.50"),
        Decimal(205),  # 20,5 is no two hundred and five
        7250,
        1,  # only a digit of longer numbers
        2018,  # only a piece of a date
        Decimal("NaN"),
        float("inf"),
        date(2018, 4, 5),
        True,
        ["CABLE TIE"],
    ],
)
def test_a_value_that_the_source_does_not_hold_fails(value):
    """Neither invented values nor pieces of others are grounded."""
    assert not passes(value)


def test_swapped_day_and_month_are_named():
    """A date that is right only month first fails, with the place where it was misread."""
    result = look(date(2018, 3, 4))

    assert result.error_message == "day and month are swapped: the source writes the day first"
    assert seen(date(2018, 3, 4)) == "03/04/2018"
    assert passes(date(2018, 3, 4), day_first=False)
    assert not passes(date(2018, 4, 3), day_first=False)


def test_an_address_may_be_tidied_up_as_far_as_allowed():
    """`similar` says how many of its three-letter pieces must stand together."""
    address = "53 Quay Street, 45600 Port Ashby, Malaysia"

    assert not passes(address)
    assert not passes(address, similar=0.9)
    assert seen(address, similar=0.6) == "53, Quay Street,   45600 Port Ashby"
    assert not passes("99 Other Road, 10000 Elsewhere", similar=0.3)


def test_similar_pieces_must_stand_together():
    """An address whose words are scattered over the page is not there."""
    scattered = "Quay\n" + "other words entirely\n" * 20 + "Street\n" + "still more of them\n" * 20 + "Port Ashby"

    assert not passes("Quay Street Port Ashby", scattered, similar=0.7)


def test_scripts_without_spaces_are_looked_up_too():
    """A Chinese or Japanese name is found inside a row that has no spaces."""
    assert seen("ローソン", "株式会社ローソン渋谷店") == "ローソン"


@pytest.mark.parametrize("source", [None, b"bytes", ["text"]])
def test_a_source_that_is_no_text_is_a_failure(source):
    """And not an exception."""
    assert "source" in look("x", source).error_message


words = st.text(string.ascii_letters + string.digits + "àéîöüßñøł", min_size=1, max_size=12)
phrases = st.lists(words, min_size=1, max_size=5).map(" ".join)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(max_size=60), phrases, st.text(max_size=60))
def test_any_text_is_found_where_it_was_put(before, value, after):
    """A phrase between any two other texts is grounded, also in capitals, and its evidence reads the same."""
    source = f"{before} {value} {after}"

    assert passes(value, source)
    assert passes(value.upper(), source)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.decimals(0, 10**9, places=2),
    st.sampled_from(["{:.2f}", "{:,.2f}", "RM {:,.2f}", "{:.2f}-", "-{:,.2f}", "${:,.2f}"]),
)
def test_any_amount_is_found_in_whatever_way_it_is_written(amount, form):
    """Thousands, a currency and a dash before or after an amount do not hide it."""
    assert passes(amount, f"TOTAL  {form.format(amount)}  thank you")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.decimals(0, 10**6, places=2), st.decimals(0, 10**6, places=2))
def test_no_other_amount_is_found(amount, other):
    """An amount grounds no amount but itself."""
    assume(amount != other)

    assert not passes(other, f"TOTAL  {amount:,.2f}")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.dates(date(1990, 1, 1), date(2059, 12, 31)),
    st.sampled_from(["%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y-%m-%d", "%d/%m/%y", "%d %b %Y"]),
)
def test_any_date_is_found_and_its_swap_is_not(day, form):
    """However a date is written, it is found; where day and month could be swapped, the swapped one is not."""
    source = f"Date: {day.strftime(form)} 10:15"

    assert passes(day, source)
    if day.day <= 12 and day.day != day.month:
        assert not passes(day.replace(day=day.month, month=day.day), source)


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("a" * 1_999, "a" * 300_000),
        ("ab" * 999, "ab" * 150_000),
        (Decimal(5), "1." * 150_000),
        (Decimal(5), "1,111" * 60_000),
        (date(2018, 1, 1), "1/" * 150_000),
        ("x" * 1_000_000, "x" * 1_000_000),
        ("\x00\ud800", "\x00" * 300_000),
    ],
)
@pytest.mark.timeout(20)
def test_hostile_texts_take_linear_time(value, source):
    """Repetitions that make a naive search quadratic end in time, with an answer."""
    look(value, source)
    look(value, source, similar=0.5)
