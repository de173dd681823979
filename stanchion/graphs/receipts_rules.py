"""What a receipt says, read by rules: labels, arithmetic and position, every answer with its place in the text.

`quick` trusts only what a label on the same row says. `thorough` lets every amount on the page compete for being the
total and adds up what speaks for each (`SIGNALS`, `WEIGHTS`); to teach it something new, add a line to a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from math import exp
from typing import TypeVar

from stanchion.graphs.receipts_page import LARGEST_ROUNDING, Page, Reading
from stanchion.text.dates import SeenDate, find_dates
from stanchion.text.items import find_items
from stanchion.text.names import find_address, find_company
from stanchion.verdict import Evidence, Found, Source

_Signal = Callable[[Page, Decimal], bool]


def _is(*kinds: str) -> _Signal:
    """A signal: the value carries one of these labels."""
    return lambda page, value: not page.kinds[value].isdisjoint(kinds)


SIGNALS: dict[str, _Signal] = {
    "is final": _is("final"),
    "is inclusive": _is("inclusive"),
    "is total": _is("total"),
    "is subtotal": _is("subtotal"),
    "is before tax": _is("before_tax"),
    "is tax": _is("tax", "summary:tax"),
    "is rounding": _is("rounding"),
    "is cash": _is("cash"),
    "is card": _is("card"),
    "is change": _is("change"),
    "is quantity": _is("quantity"),
    "is discount": _is("discount", "saving"),
    "total above": _is("above:final", "above:inclusive", "above:total"),
    "other above": _is("above:tax", "above:change", "above:before_tax", "above:quantity"),
    "in summary": _is("summary:", "summary:total"),
    "unnamed": _is(""),
    "cash less change": lambda page, value: value in page.cash_less_change,
    "after rounding": lambda page, value: value in page.rounded,
    "before rounding": lambda page, value: any(
        value + step in page.times for r in page.roundings for step in (r, -r) if value % LARGEST_ROUNDING
    ),
    "with tax": lambda page, value: value in page.with_tax,
    "summary sum": lambda page, value: value in page.summary_sums,
    "largest": lambda page, value: value == page.largest,
    "twice": lambda page, value: page.times[value] >= 2,
    "three times": lambda page, value: page.times[value] >= 3,
    "ends in 5 sen": lambda _, value: value % LARGEST_ROUNDING == 0,
    "last final": lambda page, value: value in page.values("final")[-1:],
    "last total": lambda page, value: value in page.values("final", "inclusive", "total")[-1:],
}
"""What may be said of an amount, each a reason for or against its being the total."""

WEIGHTS: dict[str, float] = {
    "is final": 4.0,
    "is inclusive": 2.5,
    "is total": 2.5,
    "is subtotal": 0.5,
    "is before tax": -1.5,
    "is tax": -3.0,
    "is rounding": -4.0,
    "is cash": -0.5,
    "is card": 0.5,
    "is change": -3.0,
    "is quantity": -2.0,
    "is discount": -3.0,
    "total above": 1.5,
    "other above": -2.0,
    "in summary": -1.0,
    "unnamed": -0.5,
    "cash less change": 2.0,
    "after rounding": 2.0,
    "before rounding": -2.0,
    "with tax": 1.0,
    "summary sum": 1.0,
    "largest": 1.0,
    "twice": 0.7,
    "three times": 0.5,
    "ends in 5 sen": 0.5,
    "last final": 1.0,
    "last total": 0.5,
}
"""How much each signal counts, in log odds: set by hand; benchmarks/receipts_fit.py fits others, which do no better."""

LEFT_OVER = 0.005
"""Share of receipts that are misprinted or mistyped in ways that no rule can see, measured on the development data."""

NO_TOTAL = 0.0
NO_DATE = -1.5
"""Log odds of the page's not showing what is sought: a lone amount or date that nothing speaks for is no sure thing."""

_Value = TypeVar("_Value", bound=Hashable)


def _elect(log_odds: Mapping[_Value, float], nothing: float) -> tuple[_Value, float] | None:
    """The likeliest value and its probability (softmax), less `LEFT_OVER`; `nothing` stands as one more candidate."""
    if not log_odds:
        return None
    winner = max(log_odds, key=log_odds.__getitem__)
    best = log_odds[winner]
    against = exp(min(nothing - best, 50)) + sum(exp(odds - best) for odds in log_odds.values())
    return winner, (1 - LEFT_OVER) / against


def _rounded_by_another_name(page: Page, value: Decimal) -> bool:
    """Whether an amount within a rounding of this one is plainly called the total."""
    return any(0 < abs(total - value) <= LARGEST_ROUNDING for total in page.values("total"))


def _discounted(page: Page, value: Decimal) -> bool:
    """Whether a larger amount is called a total, as before a discount."""
    return any(total > value + LARGEST_ROUNDING for total in page.values("subtotal", "inclusive", "total", "final"))


DOUBTS: dict[str, tuple[_Signal, float]] = {
    "another total before rounding": (_rounded_by_another_name, 0.8),
    "a larger total before a discount": (_discounted, 0.8),
}
"""What makes even a clear winner doubtful, and how often it is right all the same."""


def elect_total(page: Page, voices: Mapping[Decimal, float] | None = None) -> tuple[Decimal, float] | None:
    """Let every amount on the page stand for the total.

    Args:
        page: the receipt.
        voices: log odds that others give to amounts; amounts that are not on the page stand with these alone.

    Returns:
        The likeliest amount, without its sign, and the probability that it is right; None where there is no amount.
    """
    log_odds = dict(voices or {})
    for value in page.times:
        if value:
            signals = sum(WEIGHTS[name] for name, holds in SIGNALS.items() if holds(page, value))
            log_odds[value] = log_odds.get(value, 0.0) + signals
    elected = _elect(log_odds, NO_TOTAL)
    if elected is None:
        return None
    value, confidence = elected
    for holds, factor in DOUBTS.values():
        confidence *= factor if holds(page, value) else 1
    return value, confidence


def quick(source: Source) -> dict[str, Found]:
    """Read a receipt by labels that stand on the same row as their value, and nothing else.

    Args:
        source: the document.

    Returns:
        What was found of company, address, date, currency, subtotal, tax, total and items.
    """
    page = Page(source.text)
    return _read(page, _total(page, labelled=True))


def thorough(source: Source) -> dict[str, Found]:
    """Read a receipt by everything that labels, arithmetic, repetition and position say about its amounts.

    Args:
        source: the document.

    Returns:
        What was found of company, address, date, currency, subtotal, tax, total and items.
    """
    page = Page(source.text)
    return _read(page, _total(page))


def _read(page: Page, total: Found | None) -> dict[str, Found]:
    found = {
        "company": find_company(page.text),
        "address": find_address(page.text),
        "date": _date(page.text),
        "currency": _currency(page.text),
        "total": total,
        **_parts(page, Decimal(total.value) if total else None),
        "items": find_items(page.text),
    }
    return {field: value for field, value in found.items() if value is not None}


def _total(page: Page, *, labelled: bool = False) -> Found | None:
    """The amount for which most speaks; where it must be labelled, only if its own row calls it the total."""
    elected = elect_total(page)
    if elected is None:
        return None
    value, confidence = elected
    if labelled and page.kinds[value].isdisjoint({"final", "inclusive", "total"}):
        return None
    return _found(page.best_reading(value), confidence, reasons(page, value))


def reasons(page: Page, value: Decimal) -> str:
    """Say what speaks most for an amount's being the total.

    Args:
        page: the receipt.
        value: an amount on it, without its sign.
    """
    speak = [name for name, holds in SIGNALS.items() if WEIGHTS[name] > 0 and holds(page, value)]
    return ", ".join(sorted(speak, key=WEIGHTS.__getitem__, reverse=True)[:4])


def _found(reading: Reading, confidence: float, note: str) -> Found:
    start, end = reading.seen.start, reading.seen.end
    return Found(
        value=str(reading.seen.value), confidence=confidence, evidence=Evidence(start=start, end=end), note=note
    )


# ---------------------------------------------------------------------------------------------------------- the date

_NOT_THE_DAY = re.compile(
    r"expir|valid|\bdue\b|\bexp\b|until|effective|since|birth|before|best|next|promo|warranty"
    r"|luput|hingga|sah laku|lahir|\bdob\b|exchange|return|redeem|contest|campaign"
)
_ANOTHER_DAY = re.compile(
    r"(?:print|cetak|order|deliver|hantar|ship|check.?(?:in|out)|arriv|depart|booking|reserv|pick.?up|closed)\w*"
    r"\W{0,4}(?:(?:dat[ea]|tarikh|on|at|time)\W{0,4})?\Z"
)
_RANGE = r"(?:[-–~]|to|till|until|hingga)"
_RANGE_AFTER = re.compile(rf"\s{{0,3}}{_RANGE}\s{{0,3}}\d{{1,4}}(?:[-/.]\d{{1,2}}[-/.]\d|[ -]?[A-Za-z]{{3}})")
_RANGE_BEFORE = re.compile(rf"[-/. ](?:\d\d|20\d\d)\s{{0,3}}{_RANGE}\s{{0,3}}\Z")
_DAY = re.compile(r"dat[ea]|tarikh|\btkh\b|issued")
_TIME = re.compile(r"\W{1,6}(?:\w{2,4}\W{1,3})?\d{1,2}[:;.]\d\d")


def _date(text: str) -> Found | None:
    seen = find_dates(text)
    elected = elect_date(text, seen)
    if elected is None:
        return None
    value, confidence = elected
    here = max((item for item in seen if item.value == value), key=lambda item: _points(text, item))
    return Found(
        value=value.isoformat(),
        confidence=confidence,
        evidence=Evidence(start=here.start, end=here.end),
        note=("only date" if len(seen) == 1 else "likeliest date") + (", day before month" if here.ambiguous else ""),
    )


def elect_date(
    text: str, seen: Sequence[SeenDate], voices: Mapping[date, float] | None = None
) -> tuple[date, float] | None:
    """Let every date in the text stand for the day of purchase: labelled, beside a time or first on the page.

    Args:
        text: the document.
        seen: the dates in it (`find_dates`).
        voices: log odds that others give to dates; a date that is not in the text stands with these alone.

    Returns:
        The likeliest date and the probability that it is right; None where there is no date.
    """
    odds: dict[date, float] = {}
    for index, item in enumerate(seen):
        here = 2.0 + _points(text, item) + (0.5 if index == 0 else 0.0)
        odds[item.value] = max(here, odds.get(item.value, here))
    for value, voice in (voices or {}).items():
        odds[value] = odds.get(value, 0.0) + voice
    return _elect(odds, NO_DATE)


def _points(text: str, seen: SeenDate) -> int:
    """What speaks for a date's being the day of purchase, in log odds."""
    before = text[max(0, seen.start - 30) : seen.start].rpartition("\n")[2].lower()
    points = 2 if _DAY.search(before) else 0
    points += 1 if _TIME.match(text, seen.end) else 0
    points -= 5 if _NOT_THE_DAY.search(before) else 0
    points -= 4 if _ANOTHER_DAY.search(before) else 0
    points -= 3 if _RANGE_AFTER.match(text, seen.end) or _RANGE_BEFORE.search(before) else 0
    points -= 4 if before[-1:].isalnum() or before[-1:] in ("-", "/") else 0
    return points


# ------------------------------------------------------------------------------------------- currency, tax, subtotal

CURRENCY_SIGNS: tuple[tuple[str, str, float], ...] = (
    (r"\b(?:rm|myr)(?=\b|\d)", "MYR", 0.99),
    (r"(?<![a-z])s\$|\bsgd\b|singapore", "SGD", 0.9),
    (r"sdn\W{0,2}bhd|malaysia|\bgst\b.{0,20}\b6 ?%|jalan\b", "MYR", 0.9),
    (r"us\$|\busd\b", "USD", 0.9),
    (r"€|\beur\b", "EUR", 0.9),
    (r"£|\bgbp\b", "GBP", 0.9),
)
"""What names a currency, its ISO 4217 code and how sure that is; the first that is on the page counts."""

_CURRENCY_SIGNS = tuple((re.compile(pattern, re.I), code, sure) for pattern, code, sure in CURRENCY_SIGNS)


def _currency(text: str) -> Found | None:
    for pattern, code, sure in _CURRENCY_SIGNS:
        if match := pattern.search(text):
            evidence = Evidence(start=match.start(), end=match.end())
            return Found(value=code, confidence=sure, evidence=evidence, note=f"{match[0]} on the page")
    return None


def _parts(page: Page, total: Decimal | None) -> dict[str, Found]:
    """Subtotal and tax: a pair on the page that adds up to the total, or else a labelled subtotal alone."""
    nets = [r for r in page.readings if r.kind in ("before_tax", "subtotal", "total") or r.summary]
    taxes = [r for r in page.readings if r.value and (r.kind == "tax" or r.summary)]
    for net in nets if total is not None else ():
        for tax in taxes:
            if tax.value < net.value and abs(net.value + tax.value - (total or 0)) <= LARGEST_ROUNDING:
                note = "subtotal and tax add up to the total"
                return {"subtotal": _found(net, 0.9, note), "tax": _found(tax, 0.9, note)}
    labelled = [r for r in page.readings if r.kind == "subtotal" and not r.above]
    return {"subtotal": _found(labelled[-1], 0.6, "labelled as the subtotal")} if labelled else {}
