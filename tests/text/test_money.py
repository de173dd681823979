"""Amounts are read with their sign, their currency and their place; other numbers are left alone."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.text.money import LONGEST_AMOUNT, MOST_NUMBERS, find_amounts, parse_money


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RM 1,234.50", "1234.50"),
        ("$8.20", "8.20"),
        ("RM8.35", "8.35"),
        ("8.20-", "-8.20"),
        ("-8.20", "-8.20"),
        ("-RM 8.20", "-8.20"),
        ("RM-8.20", "-8.20"),
        ("(8.20)", "-8.20"),
        ("1.234,50", "1234.50"),
        ("12,50 EUR", "12.50"),
        ("31", "31"),
        ("8.2", "8.2"),
        ("0.375", "0.375"),
        (".50", "0.50"),
        (" 5.00 RM ", "5.00"),
    ],
)
def test_an_amount_is_read_as_it_is_meant(text: str, expected: str) -> None:
    """Signs before and after, brackets, currencies and both ways of grouping are understood."""
    assert parse_money(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "-", "RM", "abc", "5.00 apples", "12.50SR", "1.2.3", "8.20 9.30", "5" * 41])
def test_what_is_not_an_amount_alone_is_none(text: str) -> None:
    """Words, two amounts, and numbers of absurd length are no amount."""
    assert parse_money(text) is None


def test_amounts_are_found_with_their_places_and_currencies() -> None:
    """Each amount's offsets cut its sign, currency and digits out of the document."""
    text = "TOTAL  RM  47.70\nDISC -5.30\nCASH S$50 BACK 2.30-"
    seen = find_amounts(text)
    assert [text[item.start : item.end] for item in seen] == ["RM  47.70", "-5.30", "S$50", "2.30-"]
    assert [item.value for item in seen] == [Decimal(value) for value in ("47.70", "-5.30", "50", "-2.30")]
    assert [item.currency for item in seen] == ["MYR", None, "SGD", None]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("RM1O.5O", ["10.50"]),
        ("l5.90", ["15.90"]),
        ("1,2OO.00 12.0O SR", ["1200.00", "12.00"]),
        ("SO.OO RM lO.OO B5.00", ["5.00"]),
        ("3x5.00 ITEM1.50", ["5.00", "1.50"]),
    ],
)
def test_letters_that_look_like_digits_are_read_as_digits(text: str, values: list[str]) -> None:
    """Character recognition's slips are put right where most of a number is digits; words and codes stay."""
    assert [str(item.value) for item in find_amounts(text)] == values


@pytest.mark.parametrize(
    "text", ["GST 6.00%", "11.02.18", "TEL 03-12345678", "QTY 4", "2.450 L", "1234567890123.00", "10.15.20"]
)
def test_other_numbers_are_not_amounts(text: str) -> None:
    """Percentages, dates, telephones, bare counts and weights are not found as money."""
    assert find_amounts(text) == []


def test_a_hyphen_inside_a_code_is_no_minus() -> None:
    """A dash that ties a number to a word before it does not make it negative."""
    assert [item.value for item in find_amounts("RON97-5.00")] == [Decimal("5.00")]


def test_a_flood_of_numbers_is_read_to_a_limit() -> None:
    """However many numbers a text holds, only so many are looked at."""
    assert len(find_amounts("1.00 " * (MOST_NUMBERS + 100))) == MOST_NUMBERS


@given(st.decimals(min_value=Decimal("-999999.99"), max_value=Decimal("999999.99"), places=2))
@settings(max_examples=100)
def test_a_printed_amount_is_read_back(value: Decimal) -> None:
    """Whatever the amount, with or without grouping and currency, reading gives it back."""
    for printed in (f"{value:.2f}", f"{value:,.2f}", f"RM {value:.2f}".replace("RM -", "-RM ")):
        assert parse_money(printed) == value
        assert [item.value for item in find_amounts(f"TOTAL {printed}")] == [value]


@given(
    st.text(alphabet=st.characters(exclude_categories=()), max_size=300) | st.text("0123456789,.-()RM$ ", max_size=300)
)
@settings(max_examples=200)
def test_any_text_gives_finite_amounts_inside_it(text: str) -> None:
    """No text breaks the reader; what it finds is finite and lies inside the text."""
    parse_money(text[:LONGEST_AMOUNT])
    for item in find_amounts(text):
        assert item.value.is_finite()
        assert 0 <= item.start < item.end <= len(text)


@pytest.mark.parametrize("piece", ["1", "1,234", "1.", "-", "RM ", "(", "1,"])
def test_long_hostile_text_is_read_in_linear_time(piece: str) -> None:
    """A megabyte of almost-amounts is read within the suite's time limit, which a quadratic reader exceeds."""
    find_amounts(piece * (1_000_000 // len(piece)))
