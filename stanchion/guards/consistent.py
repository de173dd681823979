"""Consistent: the numbers of an answer add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from stanchion.errors import UsageError
from stanchion.guards._guardrails import ValidationResult, register_validator
from stanchion.guards._shipped import Severity, Shipped


@register_validator(name="stanchion/consistent", data_type="object")
class Consistent(Shipped):
    """A total of a model is the sum of its parts, or of one amount of each of its items.

    `Annotated[Receipt, Consistent(total="total", parts=("subtotal", "tax"))]`, or
    `Consistent(total="subtotal", each="items", amount="total_price")`. Where the total or any part is None, or there
    are no items, nothing can be said, and it passes.

    Args:
        total: the field that holds the sum.
        parts: the fields that are added.
        each: in their place, the field that holds a list of items.
        amount: the field of each item that is added.
        tolerance: how far total and sum may lie apart, in the unit of the total; documents round.
        severity: `warn`, because documents themselves do not always add up, or `fail`.
        on_fail: as in guardrails.

    Raises:
        UsageError: if neither `parts` nor `each` with `amount` is given, or both; or the tolerance is negative.
    """

    def __init__(
        self,
        *,
        total: str,
        parts: tuple[str, ...] = (),
        each: str | None = None,
        amount: str | None = None,
        tolerance: Decimal = Decimal("0.05"),
        severity: Severity = "warn",
        on_fail: Any = None,
    ) -> None:
        if isinstance(parts, str) or bool(parts) == bool(each) or bool(each) != bool(amount):
            raise UsageError(
                "Consistent takes either parts=(field, …), or each=field of items and amount=field of an item"
            )
        if not Decimal(tolerance).is_finite() or tolerance < 0:
            raise UsageError(f"tolerance is a finite amount of 0 or more, not {tolerance}")
        super().__init__(
            severity=severity, on_fail=on_fail, total=total, parts=parts, each=each, amount=amount, tolerance=tolerance
        )
        self._total = total
        self._parts = tuple(parts)
        self._each = each
        self._amount = amount
        self._tolerance = Decimal(tolerance)

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:  # noqa: ARG002
        try:
            total, parts = _number(_field(value, self._total)), self._numbers(value)
            if total is None or not parts or None in parts:
                return self.passed()
            added = sum((part for part in parts if part is not None), start=Decimal(0))
            adds_up = abs(total - added) <= self._tolerance
        except _Unreadable as error:
            return self.failed(str(error))
        except ArithmeticError:
            return self.failed("its numbers are too large to be added")
        if adds_up:
            return self.passed()
        return self.failed(f"{self._total} is {total:f}, but {self._sum_named()} is {added:f}")

    def _numbers(self, value: Any) -> list[Decimal | None]:
        if self._each is None:
            return [_number(_field(value, part)) for part in self._parts]
        items: Iterable[Any] = _field(value, self._each) or ()
        return [_number(_field(item, self._amount or "")) for item in items]

    def _sum_named(self) -> str:
        return " + ".join(self._parts) if self._each is None else f"the sum of {self._amount} over {self._each}"


class _Unreadable(Exception):
    """A field that is not there, or is no number; the message says which."""


def _field(holder: Any, name: str) -> Any:
    """A field of a model, or of the plain dictionary that stands for one."""
    try:
        return holder[name] if isinstance(holder, Mapping) else getattr(holder, name)
    except (KeyError, AttributeError):
        raise _Unreadable(f"{type(holder).__name__} has no field {name!r}") from None


def _number(value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise _Unreadable("one of the amounts is not a finite number")
    return number
