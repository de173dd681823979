"""Grounded: what a model says must stand in the text that it read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from stanchion.errors import UsageError
from stanchion.guards._guardrails import ValidationResult, register_validator
from stanchion.guards._shipped import Severity, Shipped, Span, is_number
from stanchion.guards._source import find_name, find_similar
from stanchion.text.dates import SeenDate, find_dates
from stanchion.text.money import find_amounts

_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d{1,6})?")
_PLAIN_NUMBER = re.compile(rf"(?<![\d.,/-])(?:{_THOUSANDS.pattern}|\d{{1,15}}(?:[.,]\d{{1,6}})?)(?![.,/-]?\d)")
"""A number as most documents write it, money or not; not a piece of a date or of a longer number."""


@register_validator(name="stanchion/grounded", data_type="all")
class Grounded(Shipped):
    """The value, or its normal form, occurs in the text in `metadata["source"]`; where, is given as evidence.

    Text is found whatever its case, accents, spaces and punctuation, but not inside a longer word; a number among the
    amounts and numbers of the source, in whatever way it is written; a date among its dates. A list is not looked at
    as a whole: put the guard on its items.

    Args:
        similar: share, 0 to 1, of a text's three-letter pieces that must stand together in the source. 1 asks for the
            whole text; less is for long texts that models tidy up, such as addresses.
        day_first: whether the source writes 03/04/2018 for a day in April.
        severity: `fail`, or `warn` for a finding that shall not stand in the way.
        on_fail: as in guardrails.

    Raises:
        UsageError: if `similar` is not in that range.
    """

    required_metadata_keys = ["source"]  # noqa: RUF012 - guardrails declares it so

    def __init__(
        self, *, similar: float = 1.0, day_first: bool = True, severity: Severity = "fail", on_fail: Any = None
    ) -> None:
        if not 0 < similar <= 1:
            raise UsageError(f"similar is a share above 0 and up to 1, not {similar!r}")
        super().__init__(severity=severity, on_fail=on_fail, similar=similar, day_first=day_first)
        self._similar = similar
        self._day_first = day_first

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        source = metadata["source"]
        if not isinstance(source, str):
            return self.failed("the metadata 'source' is not a text")
        if isinstance(value, str):
            return self._text(value, source)
        if isinstance(value, date):
            return self._date(value.date() if isinstance(value, datetime) else value, source)
        if is_number(value):
            return self._number(Decimal(str(value)), source)
        return self.failed(f"a value of type {type(value).__name__} cannot be looked up in a text")

    def _text(self, value: str, source: str) -> ValidationResult:
        span = find_name(value, source)
        if span is None and self._similar < 1:
            span = find_similar(value, source, self._similar)
        return self.passed(span) if span else self.failed("does not occur in the source")

    def _number(self, value: Decimal, source: str) -> ValidationResult:
        if not value.is_finite():
            return self.failed("is not a finite number")
        # Plain numbers first: find_amounts knows more ways to write one, but takes a millisecond on a receipt.
        for match in _PLAIN_NUMBER.finditer(source):
            if value == _number(match[0]):
                return self.passed(match.span())
        for amount in find_amounts(source):
            # A dash before an amount may be a mere dash, so it does not speak against a positive value.
            if amount.value == value or -amount.value == value > 0:
                return self.passed((amount.start, amount.end))
        return self.failed("does not occur among the numbers of the source")

    def _date(self, value: date, source: str) -> ValidationResult:
        span = _where(value, find_dates(source, day_first=self._day_first))
        if span:
            return self.passed(span)
        swapped = _where(value, find_dates(source, day_first=not self._day_first))
        if swapped:
            order = "day" if self._day_first else "month"
            return self.failed(f"day and month are swapped: the source writes the {order} first", swapped)
        return self.failed("does not occur among the dates of the source")


def _number(text: str) -> Decimal:
    """A plain number; commas before each three digits part thousands, any other comma is a decimal point."""
    return Decimal(text.replace(",", "" if _THOUSANDS.fullmatch(text) else "."))


def _where(value: date, seen: Iterable[SeenDate]) -> Span | None:
    return next(((each.start, each.end) for each in seen if each.value == value), None)
