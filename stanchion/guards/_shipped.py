"""What the validators that Stanchion ships have in common: how severe they are, and how they say what they found."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from stanchion.errors import UsageError
from stanchion.guards._guardrails import FailResult, PassResult, ValidationResult, Validator

Severity = Literal["warn", "fail"]
"""Whether a finding stands in the way of an answer or is only said."""

Span = tuple[int, int]
"""Offsets in the source text: of the first character, and after the last."""


class Shipped(Validator):  # type: ignore[misc]
    """A validator of Stanchion's own.

    Args:
        severity: `fail`, or `warn` for findings that shall not stand in the way.
        on_fail: as in guardrails; nothing here offers a fix.
        **arguments: the constructor's other arguments, which guardrails shows and compares.

    Raises:
        UsageError: if the severity is neither.
    """

    def __init__(self, *, severity: Severity, on_fail: Any, **arguments: Any) -> None:
        if severity not in ("warn", "fail"):
            raise UsageError(f"severity is 'warn' or 'fail', not {severity!r}")
        super().__init__(on_fail=on_fail, severity=severity, **arguments)
        self._severity = severity

    def passed(self, evidence: Span | None = None) -> ValidationResult:
        """Say yes, and where the value stands in the source if that is known."""
        return PassResult(metadata={"evidence": evidence} if evidence else None)

    def failed(self, reason: str, evidence: Span | None = None) -> ValidationResult:
        """Say no, or warn where that is this validator's severity."""
        return FailResult(error_message=reason, metadata={"severity": self._severity, "evidence": evidence})


_NUMBERS = (int, float, Decimal)


def is_number(value: Any) -> bool:
    """Whether this is a number; True and False are none."""
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)
