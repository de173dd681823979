"""Amounts of money as documents print them; what a number's dots and commas mean is price-parser's to say."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from price_parser import Price

CURRENCIES = {
    "RM": "MYR", "MYR": "MYR", "S$": "SGD", "SGD": "SGD", "US$": "USD", "USD": "USD", "€": "EUR", "EUR": "EUR",
    "£": "GBP", "GBP": "GBP", "¥": "JPY", "JPY": "JPY", "IDR": "IDR", "THB": "THB", "₹": "INR", "INR": "INR",
    "CHF": "CHF", "AUD": "AUD", "CAD": "CAD", "$": None,
}  # fmt: skip
"""What stands beside an amount, and the ISO 4217 code it means; None where it means several."""

MOST_NUMBERS = 5_000
"""Numbers looked at in one text; a document with more is no receipt or invoice, and reading stops there."""

LONGEST_AMOUNT = 40
"""Characters that an amount takes at most, its currency and sign included."""

_MARK = "|".join(re.escape(mark) for mark in sorted(CURRENCIES, key=len, reverse=True))
_DECIMAL = r"\d{1,3}(?:,\d{3}){1,4}\.\d\d|\d{1,3}(?:\.\d{3}){1,4},\d\d|\d{1,12}[.,]\d\d|(?<!\w)\.\d\d"
_WHOLE = r"\d{1,3}(?:,\d{3}){1,4}|\d{1,12}"
_NUMBER = re.compile(rf"(?<![\d.,])(?:(?P<decimal>{_DECIMAL})|(?:{_WHOLE}))(?!\d|[.,]\d|[ ]?%)")
_BEFORE = re.compile(
    rf"(?P<sign>(?<![\w-])-[ ]?|\([ ]?)?(?:(?<![A-Za-z])(?P<mark>{_MARK})(?P<minus>-)?[ ]{{0,2}})?\Z", re.I
)
_AFTER = re.compile(rf"(?P<minus>-(?![\w-]))?(?:[ ]?(?P<mark>{_MARK})(?![\w$]))?(?P<close>[ ]?\))?", re.I)
_DIGITS = re.compile(r"\d[\d.,' ]*|\.\d+")
_LOOKALIKES = str.maketrans("OoIl|SB", "0011158")
_MISREAD = re.compile(r"(?:(?<=RM)|(?<![\w.,|]))[\dOoIl|][\dOoIl|SB,]{0,11}[.,][\dOoIl|SB]{2}(?![\w.,|])")
"""What has an amount's shape once letters that character recognition takes for digits are read as those."""
_THREE_DECIMALS = re.compile(r"\d+\.\d{3}")


class SeenAmount(NamedTuple):
    """An amount of money and where it stands.

    Args:
        value: the amount, negative where a minus stands before or after it, or brackets around it.
        start: offset of its first character in the text, sign and currency included.
        end: offset after its last character.
        currency: ISO 4217 code of the mark beside it; None where there is none or it means several.
    """

    value: Decimal
    start: int
    end: int
    currency: str | None


def find_amounts(text: str) -> list[SeenAmount]:
    """Find the amounts of money in a text: numbers with two decimals, and whole numbers beside a currency.

    Args:
        text: any text; only its first `MOST_NUMBERS` numbers are looked at.

    Returns:
        The amounts in the order in which they stand; percentages, dates and longer numbers are none.
    """
    text = _MISREAD.sub(_as_digits, text)  # of the same length, so that places stay
    seen: list[SeenAmount] = []
    for count, match in enumerate(_NUMBER.finditer(text)):
        if count == MOST_NUMBERS:
            break
        amount, marked = _read(text, match.start(), match.end())
        if amount and (marked or match["decimal"]):
            seen.append(amount)
    return seen


def parse_money(text: str) -> Decimal | None:
    """Read a text that is an amount of money and nothing else.

    Args:
        text: such as "RM 1,234.50", "$8.20", "31" or "8.20-".

    Returns:
        The amount, or None where the text is not one.
    """
    text = text.strip()
    if len(text) > LONGEST_AMOUNT:
        return None
    text = _MISREAD.sub(_as_digits, text)
    if not (match := _DIGITS.search(text)):
        return None
    amount, _ = _read(text, match.start(), match.start() + len(match[0].rstrip()))
    return amount.value if amount and (amount.start, amount.end) == (0, len(text)) else None


def _as_digits(match: re.Match[str]) -> str:
    """The match with its look-alike letters as digits; what has fewer than two digits of its own stays."""
    return match[0].translate(_LOOKALIKES) if sum(map(str.isdigit, match[0])) >= 2 else match[0]


def _read(text: str, start: int, end: int) -> tuple[SeenAmount | None, bool]:
    """Read the number between two offsets with its sign and currency, and say whether it has the latter."""
    before = _BEFORE.search(text, max(0, start - 8), start)
    after = _AFTER.match(text, end, end + 8)
    value = _number(text[start:end])
    if value is None or before is None or after is None:
        return None, False
    bracketed = bool((before["sign"] or "").startswith("(") and after["close"])
    minus = (before["sign"] or "").startswith("-") or before["minus"] or after["minus"]
    mark = before["mark"] or after["mark"]
    amount = SeenAmount(
        value=-value if bracketed or minus else value,
        start=before.start() if bracketed or minus or before["mark"] else start,
        end=after.end() if bracketed else max(after.end("minus"), after.end("mark"), end),
        currency=CURRENCIES[mark.upper()] if mark else None,
    )
    return amount, bool(mark)


def _number(text: str) -> Decimal | None:
    # One dot before three digits: price-parser takes it for thousands, receipts mean litres and kilograms.
    return Price.fromstring(text, decimal_separator="." if _THREE_DECIMALS.fullmatch(text) else None).amount
