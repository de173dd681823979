"""Plausible: a date or a number lies where such a value can lie."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from stanchion.errors import UsageError
from stanchion.guards._guardrails import ValidationResult, register_validator
from stanchion.guards._shipped import Severity, Shipped, is_number


@register_validator(name="stanchion/plausible", data_type="all")
class Plausible(Shipped):
    """A date is not after `metadata["today"]` and not before a year; a number is within bounds.

    Today is never asked of the machine: where the metadata does not say it, a date may lie in the future.

    Args:
        since: the first year in which a date may lie.
        minimum: the least number allowed.
        maximum: the greatest number allowed.
        severity: `fail`, or `warn` for a finding that shall not stand in the way.
        on_fail: as in guardrails.

    Raises:
        UsageError: if a bound is no finite number, the bounds are the wrong way round, or the year is none.
    """

    def __init__(
        self,
        *,
        since: int | None = None,
        minimum: Decimal | int | None = None,
        maximum: Decimal | int | None = None,
        severity: Severity = "fail",
        on_fail: Any = None,
    ) -> None:
        if since is not None and not date.min.year <= since <= date.max.year:
            raise UsageError(f"since is a year, 1 to 9999, not {since!r}")
        least, greatest = _bound("minimum", minimum), _bound("maximum", maximum)
        if least is not None and greatest is not None and least > greatest:
            raise UsageError(f"minimum {least} is above maximum {greatest}")
        super().__init__(severity=severity, on_fail=on_fail, since=since, minimum=minimum, maximum=maximum)
        self._since = since
        self._minimum = least
        self._maximum = greatest

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        if isinstance(value, date):
            return self._date(_day(value), metadata.get("today"))
        if is_number(value):
            return self._number(Decimal(str(value)))
        return self.failed(f"a value of type {type(value).__name__} is neither a date nor a number")

    def _date(self, value: date, today: Any) -> ValidationResult:
        if today is not None and not isinstance(today, date):
            return self.failed("the metadata 'today' is not a date")
        if today is not None and value > _day(today):
            return self.failed(f"lies after {_day(today)}, in the future")
        if self._since is not None and value.year < self._since:
            return self.failed(f"lies before the year {self._since}")
        return self.passed()

    def _number(self, value: Decimal) -> ValidationResult:
        if not value.is_finite():
            return self.failed("is not a finite number")
        if self._minimum is not None and value < self._minimum:
            return self.failed(f"is less than {self._minimum}")
        if self._maximum is not None and value > self._maximum:
            return self.failed(f"is more than {self._maximum}")
        return self.passed()


def _day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _bound(name: str, value: Decimal | int | None) -> Decimal | None:
    if value is None:
        return None
    if not isinstance(value, Decimal | int) or not (number := Decimal(value)).is_finite():
        raise UsageError(f"{name} is a finite Decimal or int, not {value!r}")
    return number
