"""When a receipt's value counts as right: by what it means, not by how it is written."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from stanchion.text.dates import parse_date
from stanchion.text.money import parse_money
from stanchion.text.names import normal_name


def same_date(value: Any, truth: Any) -> bool | None:
    """Compare as days, day before month in the truth.

    Args:
        value: ISO date or None.
        truth: as a person wrote it; None is returned where it cannot be read.
    """
    expected = parse_date(str(truth)) if truth else None
    if expected is None:
        return None
    try:
        return date.fromisoformat(str(value)) == expected
    except ValueError:
        return False


def same_total(value: Any, truth: Any) -> bool | None:
    """Compare as amounts, to the cent.

    Args:
        value: digits or None.
        truth: as a person wrote it, such as `RM8.35`; None is returned where it cannot be read.
    """
    expected = parse_money(str(truth)) if truth else None
    if expected is None:
        return None
    try:
        return Decimal(str(value)) == expected
    except InvalidOperation:
        return False


def same_company(value: Any, truth: Any) -> bool | None:
    """Compare without case, spaces and punctuation.

    Args:
        value: the name or None.
        truth: the name on record.
    """
    if not truth:
        return None
    return normal_name(str(value or "")) == normal_name(str(truth))
