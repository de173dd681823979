"""Plausible: a date or a number lies where such a value can lie."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from guardrails.validator_base import PassResult

from stanchion.guards import Plausible

TODAY = date(2026, 3, 14)


def look(value, metadata=None, **arguments):
    return Plausible(**arguments).validate(value, {"today": TODAY} if metadata is None else metadata)


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (TODAY, {}),
        (date(1990, 1, 1), {"since": 1990}),
        (date(1, 1, 1), {}),
        (datetime(2026, 3, 14, 23, 59), {}),  # noqa: DTZ001 - documents know no time zone
        (Decimal("0.01"), {"minimum": 0}),
        (0, {"minimum": 0, "maximum": 0}),
        (99.5, {"maximum": 100}),
        (10**50, {}),
    ],
)
def test_a_value_within_its_bounds_passes(value, arguments):
    """The bounds themselves are within."""
    assert isinstance(look(value, **arguments), PassResult)


@pytest.mark.parametrize(
    ("value", "arguments", "reason"),
    [
        (date(2026, 3, 15), {}, "lies after 2026-03-14, in the future"),
        (date(1989, 12, 31), {"since": 1990}, "lies before the year 1990"),
        (Decimal("-0.01"), {"minimum": 0}, "is less than 0"),
        (101, {"maximum": Decimal(100)}, "is more than 100"),
        (float("nan"), {}, "is not a finite number"),
        (float("inf"), {}, "is not a finite number"),
        (Decimal("-Infinity"), {}, "is not a finite number"),
        ("2026-03-14", {}, "a value of type str is neither a date nor a number"),
        (True, {}, "a value of type bool is neither a date nor a number"),
    ],
)
def test_a_value_outside_fails_and_says_where(value, arguments, reason):
    """With the bound that it broke."""
    assert look(value, **arguments).error_message == reason


def test_without_today_the_future_is_allowed():
    """The machine's clock is never asked."""
    assert isinstance(look(date(9999, 1, 1), metadata={}), PassResult)


def test_a_today_that_is_no_date_is_a_failure():
    """A text in its place does not switch the check off."""
    assert look(TODAY, metadata={"today": "2026-03-14"}).error_message == "the metadata 'today' is not a date"
