"""Consistent: the numbers of an answer add up."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import pytest
from guardrails.validator_base import FailResult, PassResult
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stanchion.guards import Consistent, check


class Line(BaseModel):
    """An item with its price."""

    total_price: Decimal | None = None


class Bill(BaseModel):
    """What a receipt adds up."""

    subtotal: Decimal | None = None
    tax: Decimal | None = None
    total: Decimal | None = None
    items: list[Line] = []


PARTS = {"total": "total", "parts": ("subtotal", "tax")}
ITEMS: dict[str, Any] = {"total": "subtotal", "each": "items", "amount": "total_price"}


def look(bill, **arguments):
    return Consistent(**arguments).validate(bill, {})


@pytest.mark.parametrize(
    "bill",
    [
        {"subtotal": "68", "tax": "4.08", "total": "72.08"},
        {"subtotal": "68", "tax": "4.08", "total": "72.10"},  # rounded to five cents
        {"subtotal": "68", "tax": "4.08", "total": "72.13"},  # the tolerance itself
        {"subtotal": "68", "tax": None, "total": "99"},
        {"subtotal": "68", "tax": "4.08"},
        {"subtotal": "-68", "tax": "4.08", "total": "-63.92"},
    ],
)
def test_a_sum_that_is_right_or_unknown_passes(bill):
    """Within the tolerance, or where a part is missing, there is nothing to say."""
    assert isinstance(look(Bill(**bill), **PARTS), PassResult)


def test_a_wrong_sum_says_what_it_found():
    """The reason has both numbers; by default it is a warning."""
    result = look(Bill(subtotal=Decimal(68), tax=Decimal("4.08"), total=Decimal("99.00")), **PARTS)

    assert result.error_message == "total is 99.00, but subtotal + tax is 72.08"
    assert result.metadata["severity"] == "warn"


def test_items_are_summed():
    """The amounts of a list of items make up another field."""
    lines = [Line(total_price=Decimal(40)), Line(total_price=Decimal(28))]

    assert isinstance(look(Bill(subtotal=Decimal(68), items=lines), **ITEMS), PassResult)
    assert (
        look(Bill(subtotal=Decimal(70), items=lines), **ITEMS).error_message
        == "subtotal is 70, but the sum of total_price over items is 68"
    )
    assert isinstance(look(Bill(subtotal=Decimal(70), items=[*lines, Line()]), **ITEMS), PassResult)
    assert isinstance(look(Bill(subtotal=Decimal(70)), **ITEMS), PassResult)


def test_as_a_guard_it_warns_or_fails_as_told():
    """On a model, at its path, with the severity that was chosen."""
    bill = {"subtotal": "1", "tax": "1", "total": "5"}

    warned = check(Annotated[Bill, Consistent(**PARTS)], bill)
    refused = check(Annotated[Bill, Consistent(**PARTS, severity="fail")], bill)

    assert (warned.ok, warned.checks[0].status) == (True, "warn")
    assert (refused.ok, refused.checks[0].status) == (False, "fail")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"subtotal": 1, "total": 1}, "dict has no field 'tax'"),
        ({"subtotal": "many", "tax": 1, "total": 1}, "one of the amounts is not a finite number"),
        ({"subtotal": float("nan"), "tax": 1, "total": 1}, "one of the amounts is not a finite number"),
        ({"subtotal": True, "tax": 1, "total": 1}, "one of the amounts is not a finite number"),
        (
            {"subtotal": Decimal("9E+999999"), "tax": Decimal("9E+999999"), "total": 1},
            "its numbers are too large to be added",
        ),
    ],
)
def test_what_cannot_be_added_is_said(value, reason):
    """A field that is not there, or is no number, is no reason to pass."""
    result = look(value, **PARTS)

    assert isinstance(result, FailResult)
    assert result.error_message == reason


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=20), st.decimals(-100, 100, places=2))
def test_a_sum_passes_exactly_within_its_tolerance(amounts, off):
    """Whatever the amounts are, only a total that lies further away than the tolerance is refused."""
    bill = Bill(subtotal=sum(amounts) + off, items=[Line(total_price=amount) for amount in amounts])

    assert isinstance(look(bill, **ITEMS, tolerance=Decimal("0.05")), PassResult) == (abs(off) <= Decimal("0.05"))
