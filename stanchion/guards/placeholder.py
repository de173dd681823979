"""Placeholder: what a model writes where it has nothing to say."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from stanchion.guards._guardrails import ValidationResult, register_validator
from stanchion.guards._shipped import Severity, Shipped

LONGEST = 100
"""Characters of the longest placeholder; lorem ipsum apart, what is longer is not looked at."""


def _phrases(block: str) -> frozenset[str]:
    return frozenset(phrase.strip() for line in block.strip().splitlines() for phrase in line.split("|"))


_PHRASES = _phrases("""
    n/a | n.a. | n.a | n/d | not available | not applicable | not found | not provided | not specified | not stated
    not given | not known | not visible | not mentioned | not present | no data | unknown | unspecified | undefined
    unavailable | missing | illegible | unreadable | none | tbd | tba | tbc | to be determined | to be confirmed
    to be announced | todo | to do | placeholder | redacted | foobar | foo bar | john doe | jane doe | jon doe
    joe bloggs | max mustermann | erika mustermann | company name | your company | your company name | store name
    shop name | merchant name | vendor name | customer name | your name | full name | first name | last name
    your address | company address | street address | acme corp | acme corporation | acme inc | acme inc.
    example | example company | example corp | example inc | sample | sample company | 123 main st | 123 main st.
    123 main street | 123 main street, anytown | 123 main street, anytown, usa | 123 main st, anytown, usa
    user@example.com | email@example.com | name@example.com | john.doe@example.com
""")
"""Compared without case, and with single spaces."""

_WORDS = _phrases("""
    NA | NIL | NULL | NaN | null | nil | nan | string | str | text | value | number | integer | float | date | name
    company | address | description
""")
"""Compared as they stand, because in another case they are somebody's name: Null, Nil, Na, Date, Name."""

_SHAPES = re.compile(
    r"""
      <[^<>]{1,60}> | \[[^\[\]]{1,60}\] | \{+[^{}]{1,60}\}+ | \$\{[^{}]{1,60}\}   # <company> [company] {{company}}
    | [ymd]{1,4}\ ?[-/. ]\ ?[ymd]{1,4}\ ?[-/. ]\ ?[ymd]{1,4}                      # YYYY-MM-DD
    | [hms]{1,2}:[hms]{1,2}(?::[hms]{1,2})?                                       # HH:MM
    | 0{1,4}([-/.])0{1,2}\1(?:0{1,4})                                               # 0000-00-00
    | x{3,}
    | [!-/:-@\[-`{-~\ \u2000-\u206f\u3000-\u303f]+                                # --- ??? …
    """,
    re.IGNORECASE | re.VERBOSE,
)

_QUOTES = "\"'` "

_DATES = frozenset({date.min, date(1900, 1, 1), date(1970, 1, 1), date.max})
"""Where calendars and computers begin and end."""


@register_validator(name="stanchion/placeholder", data_type="all")
class Placeholder(Shipped):
    """The value is none of the things that stand in the place of a value: "N/A", "YYYY-MM-DD", "<company>", "".

    An honest null is no placeholder and is not looked at; nor are numbers.

    Args:
        severity: `fail`, or `warn` for a finding that shall not stand in the way.
        on_fail: as in guardrails.
    """

    def __init__(self, *, severity: Severity = "fail", on_fail: Any = None) -> None:
        super().__init__(severity=severity, on_fail=on_fail)

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:  # noqa: ARG002
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, date) and date(value.year, value.month, value.day) in _DATES:
            return self.failed("is where a calendar begins or ends, not a date that was read")
        return self.passed()

    def _text(self, value: str) -> ValidationResult:
        # Long enough to see that a text is more than a placeholder, and no more of a hostile one.
        text = " ".join(value[: 2 * LONGEST].split())
        if not text and not value.strip():
            return self.failed("is empty")
        folded = text.casefold()
        if folded.startswith("lorem ipsum") or (len(text) <= LONGEST and _is_placeholder(text, folded)):
            return self.failed("is a placeholder, not a value")
        return self.passed()


def _is_placeholder(text: str, folded: str) -> bool:
    bare = text.strip(_QUOTES)
    return not bare or bare in _WORDS or folded.strip(_QUOTES) in _PHRASES or _SHAPES.fullmatch(bare) is not None
