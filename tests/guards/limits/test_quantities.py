"""Quantities: what is written with its unit is read exactly, written back the same, and anything else is refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stanchion.guards.limits import quantities
from stanchion.guards.limits.quantities import (
    dollars,
    duration,
    per_minute,
    share,
    share_or_nothing,
    shown,
    written_dollars,
    written_duration,
    written_rate,
    written_share,
)

READERS: list[Callable[[Any], Any]] = [duration, dollars, share, share_or_nothing, per_minute]


def refused(reader: Callable[[Any], Any], value: Any) -> str:
    """What the reader says of a value that it does not take."""
    with pytest.raises(ValueError, match=r"^takes ") as refusal:
        reader(value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("500ms", 0.5), ("2m", 120), ("1.5h", 5400), (" 0.5 s ", 0.5), ("1_000ms", 1), ("720h", 2_592_000)],
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    """ms, s, m and h, with fractions."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["$0.50", "0.50 USD", "$ 0.5", "0.50USD"])
def test_money_is_read_exactly(text: str) -> None:
    """Dollars before or after the number, as a Decimal."""
    assert dollars(text) == Decimal("0.5")


@pytest.mark.parametrize(
    ("text", "expected"), [("10/s", 600), ("500/min", 500), ("200_000/min", 200_000), ("30/h", 0.5), ("7 / min", 7)]
)
def test_rates_are_read_per_minute(text: str, expected: float) -> None:
    """Seconds, minutes and hours end as the same unit."""
    assert per_minute(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("10%", 0.1), ("33.3 %", 0.333), ("100%", 1.0), ("0.1%", 0.001)])
def test_shares_are_read_in_percent(text: str, expected: float) -> None:
    """A share is a float of 0 to 1 inside, and a percentage outside."""
    assert share(text) == share_or_nothing(text) == expected


def test_python_values_that_carry_their_unit_are_taken() -> None:
    """A timedelta is a duration and a Decimal is money; both are kept as they are."""
    assert duration(timedelta(seconds=90)) == timedelta(seconds=90)
    assert dollars(Decimal("0.50")) == Decimal("0.50")


def test_a_share_of_nothing_is_taken_only_where_it_means_something() -> None:
    """0% of retries is a choice; a breaker that opens at 0% failures is a mistake."""
    assert share_or_nothing("0%") == 0
    assert "above 0%" in refused(share, "0%")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "value",
    [
        *[0, 1, 90, -1, 0.5, True, None, b"90s", [], {}, ["90s"], float("nan"), float("inf"), 10**5000],
        *["", " ", "90", "0.5", "-90s", "-$1", "$-1", "-5%", "-1/min", "+1s", "nan", "NaNs", "inf s", "$inf", "$nan"],
        *["1e3s", "$1e3", "1,000s", "$1,000", ".5s", "5.s", "1__.0s", "90 sec", "90sx", "$1 USD", "0.50 EUR", "€1"],
        *["10 percent", "10%%", "500/day", "/min", "500 per minute", "9٣s", "１s", "1s\x00", "\ud800s", "1s\n2s"],
        *["9" * 10**6 + "s", "$" + "_" * 10**6, " " * 10**6],
    ],
    ids=lambda value: re.sub(r"\W", "", repr(value)[:12]) if not isinstance(value, int) else "number",
)
def test_what_lacks_its_unit_or_is_no_number_is_refused(reader: Callable[[Any], Any], value: Any) -> None:
    """The refusal shows a right example, and little of what was given, on one line of printable text."""
    said = refused(reader, value)

    assert re.search(r'such as "[^"]+"; not ', said)
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        *[(duration, value) for value in ("0s", "0.9ms", "721h", "9" * 38 + "h", timedelta(0), timedelta(days=-1))],
        *[(dollars, value) for value in ("$0", "$0.0000001", "$1000000.01", Decimal("NaN"), Decimal("sNaN"))],
        *[(dollars, value) for value in (Decimal("Infinity"), Decimal("-1"), Decimal("1e999999"))],
        *[(share, value) for value in ("100.1%", "0.0%")],
        *[(per_minute, value) for value in ("0/min", "0.9/h", "1_000_000_001/min")],
    ],
)
def test_what_is_out_of_bounds_is_refused(reader: Callable[[Any], Any], value: Any) -> None:
    """Nothing, next to nothing and absurdly much are mistakes."""
    assert "; not " in refused(reader, value)


@given(st.timedeltas(min_value=quantities.SHORTEST_DURATION, max_value=quantities.LONGEST_DURATION))
@example(timedelta(microseconds=1001))
def test_durations_come_back_as_they_were_written(value: timedelta) -> None:
    """Every duration that is taken, to the microsecond."""
    assert duration(written_duration(value)) == value


@given(st.decimals(min_value=quantities.LEAST_DOLLARS, max_value=quantities.MOST_DOLLARS, places=9))
@example(Decimal("1E+6"))
@example(Decimal("0.000001"))
def test_money_comes_back_as_it_was_written(value: Decimal) -> None:
    """Every amount, exactly."""
    assert dollars(written_dollars(value)) == value


@given(st.decimals(min_value=Decimal("0.001"), max_value=100, places=3))
def test_shares_come_back_as_they_were_written(percent: Decimal) -> None:
    """Every share, to the last bit."""
    value = share(f"{percent}%")
    assert share(written_share(value)) == value


@given(st.decimals(min_value=1, max_value=10_000, places=2), st.sampled_from(["s", "min", "h"]))
def test_rates_come_back_as_they_were_written(amount: Decimal, unit: str) -> None:
    """Every rate, whatever the unit it was written in."""
    value = per_minute(f"{amount}/{unit}")
    assert per_minute(written_rate(value)) == value


@settings(max_examples=300)
@given(st.text() | st.from_regex(r"[$]?[-+0-9_.,e]{1,12} ?(ms|s|m|h|d|USD|%|/min|/s)?", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text brings another exception than the refusal, and what is taken is finite and not below zero."""
    for reader in READERS:
        with contextlib.suppress(ValueError):
            value = reader(text)
            assert 0 <= (value.total_seconds() if isinstance(value, timedelta) else value) < float("inf")


@given(st.integers(0, 40))
def test_a_text_is_shown_as_far_as_the_longest_that_is_taken(length: int) -> None:
    """A text that could have been a quantity is shown whole; a longer one is cut."""
    assert shown("x" * length) == repr("x" * length)
    assert shown("x" * (41 + length)) == repr("x" * 40) + "…"
