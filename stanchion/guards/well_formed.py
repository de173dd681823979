"""WellFormed: text that a person could have written, not what broke on the way."""

from __future__ import annotations

import re
from typing import Any

from ftfy.badness import is_bad

from stanchion.errors import UsageError
from stanchion.guards._guardrails import ValidationResult, register_validator
from stanchion.guards._shipped import Severity, Shipped

_FLAW = re.compile(
    r"(?P<control>[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff])"
    r"|(?P<replacement>\ufffd)"
    r"|(?P<markup></?[a-z][^<>]{0,200}>|<!--|&(?:[a-z]{2,8}|\#\d{1,7}|\#x[0-9a-f]{1,6});)",
    re.IGNORECASE,
)
"""What shows that a text broke on the way; tabs and line breaks are right in an address."""

_NAMES = {
    "control": "a control character",
    "replacement": "a replacement character",
    "markup": "an HTML tag or entity",
}


@register_validator(name="stanchion/well_formed", data_type="string")
class WellFormed(Shipped):
    """A text is of a sensible length, without control characters, markup, and wrongly decoded letters (mojibake).

    Args:
        shortest: characters that it has at least, blanks around it not counted.
        longest: characters that it has at most.
        severity: `fail`, or `warn` for a finding that shall not stand in the way.
        on_fail: as in guardrails.

    Raises:
        UsageError: if the lengths are negative or the wrong way round.
    """

    def __init__(
        self, *, shortest: int = 0, longest: int = 1_000, severity: Severity = "fail", on_fail: Any = None
    ) -> None:
        if not 0 <= shortest <= longest:
            raise UsageError(f"shortest and longest are lengths, 0 or more, in this order; not {shortest}, {longest}")
        super().__init__(severity=severity, on_fail=on_fail, shortest=shortest, longest=longest)
        self._shortest = shortest
        self._longest = longest

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:  # noqa: ARG002
        if not isinstance(value, str):
            return self.failed(f"a value of type {type(value).__name__} is not a text")
        if len(value) > self._longest:
            return self.failed(f"has {len(value):,} characters, more than {self._longest:,}")
        if len(value.strip()) < self._shortest:
            return self.failed(f"has {len(value.strip())} characters, fewer than {self._shortest}")
        return self.passed() if _is_plain(value) else self._looked_through(value)

    def _looked_through(self, value: str) -> ValidationResult:
        if match := _FLAW.search(value):
            return self.failed(f"holds {_NAMES[match.lastgroup or '']} at character {match.start() + 1}")
        if is_bad(value):  # ftfy: sequences of characters that are common in mojibake and rare in text
            return self.failed("holds wrongly decoded letters")
        return self.passed()


def _is_plain(value: str) -> bool:
    """Whether a text is as most are, so that nothing need be searched for."""
    return value.isascii() and value.isprintable() and "<" not in value and "&" not in value
