"""What a receipt says, read by rules: labels, arithmetic and position, every answer with its place in the text.

`quick` trusts only what a label on the same row says. `thorough` lets every amount on the page compete for being the
total and adds up what speaks for each (`SIGNALS`, `WEIGHTS`); to teach it something new, add a line to a table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from math import exp
from typing import NamedTuple, TypeVar

from stanchion.text.dates import SeenDate, find_dates
from stanchion.text.money import SeenAmount, find_amounts
from stanchion.text.names import find_address, find_company
from stanchion.verdict import Evidence, Found, Source

LONGEST_RECEIPT = 20_000
"""Characters of a document that the rules read; the longest receipt in the development data has a fifth of that."""

LONGEST_LABEL = 80
"""Characters before an amount that may name it."""

_TOTAL = r"t[o0ae]t[ae][l1i]|\bttl\b|jum[l1]ah|\bt ?l\b"
_AMOUNT = r"amo?u?n?t"
_GST = r"(?:gst|g\.s\.t|tax|sst|vat)"

LABELS: tuple[tuple[str, str], ...] = (
    ("quantity", r"qty|quantity|item count|no\.? of|(?:total|of) (?:items?|pcs|units?)\b|points?|\bpts\b"),
    ("saving", r"sav(?:ing|ed)|you save|member price"),
    ("final", rf"after (?:adj|round|disc)|(?:{_TOTAL})(?: \w+)?[^a-z]*round|round.?d (?:{_TOTAL})"),
    ("rounding", r"r[o0]und|\brnd|bundaran|pelarasan|\b5 ?sen"),
    ("change", r"chang|baki\b|\bbalance(?! due)|kembali|\bchg\b"),
    ("final", rf"(?:net+|grand|final|bill) (?:{_TOTAL}|{_AMOUNT})|balance due"),
    ("final", rf"(?:{_TOTAL}|{_AMOUNT}).*(?:payable|\bdue|to pay|to be paid)|(?:{_TOTAL}) pay"),
    ("before_tax", rf"(?:exc|before|w/o|without)[a-z]*\.?[^a-z]*(?:of )?{_GST}|taxable|exclu|excl\b|supplies"),
    ("discount", r"disc|\bless\b|voucher|rebate|promo|offer"),
    ("subtotal", rf"sub.?(?:{_TOTAL})|gross|s/t[o0]tal"),
    ("inclusive", rf"(?:inc|with|w/)[a-z]*\.?[^a-z]*(?:of )?{_GST}|{_GST} inc"),
    ("tax", rf"\b{_GST}\b|service charge|serv(?:ice)? chg"),
    ("cash", r"cash|tender|tunai|receiv|bayar|\bpaid|payment|deposit|accept|insert"),
    ("card", r"visa|master|\bcard\b|credit|debit|amex|\bedc\b|\bmcard|\bnets\b|\bpay\b|e.?wallet|t(?:ouch)?.?n.?go"),
    ("total", rf"{_TOTAL}|\bdue\b|{_AMOUNT}|\bnet\b"),
)
"""What a label means, by the first pattern that fits it in lower case."""

_LABELS = tuple((kind, re.compile(pattern)) for kind, pattern in LABELS)
_SUMMARY = re.compile(rf"{_GST} *(?:summary|analysis|rate)|summary|tax code|{_AMOUNT} ?\(rm\) +{_GST} ?\(rm\)", re.I)
_WORD = re.compile(r"[a-z]{3}", re.I)
_LETTERS = re.compile(r"[a-z]{2}", re.I)
_LARGEST_ROUNDING = Decimal("0.05")


class Reading(NamedTuple):
    """One amount on the page and what its surroundings call it.

    Args:
        value: the amount, without a sign.
        seen: the amount as it stands, with its place.
        kind: the kind of its label (`LABELS`), or an empty text.
        above: whether that label stands alone on a row above.
        row: number of its row from the top.
        summary: whether it stands below the heading of a tax summary.
    """

    value: Decimal
    seen: SeenAmount
    kind: str
    above: bool
    row: int
    summary: bool


class Page:
    """A receipt's amounts, read once for all rules.

    Args:
        text: the document.
    """

    def __init__(self, text: str) -> None:
        self.text = text[:LONGEST_RECEIPT]
        self.readings = list(_readings(self.text))
        self.times = Counter(reading.value for reading in self.readings)

    def values(self, *kinds: str) -> list[Decimal]:
        """The values that carry a label of these kinds, in the order in which they stand."""
        return [reading.value for reading in self.readings if reading.kind in kinds]

    def best_reading(self, value: Decimal) -> Reading:
        """Where a value stands with the label that says most, the last of several."""
        order = ("final", "inclusive", "total", "subtotal", "card", "cash")
        here = [reading for reading in self.readings if reading.value == value]
        return min(reversed(here), key=lambda r: (r.above, order.index(r.kind) if r.kind in order else len(order)))

    @cached_property
    def roundings(self) -> set[Decimal]:
        """By how much the total was rounded; the sign is as often misprinted as printed, so it is left out."""
        return {value for value in self.values("rounding") if value}

    @cached_property
    def cash_less_change(self) -> set[Decimal]:
        """What was paid in cash less what was given back."""
        return {paid - back for paid in self.values("cash", "card") for back in self.values("change")}

    @cached_property
    def rounded(self) -> set[Decimal]:
        """Totals on the page after the rounding on the page."""
        totals = self.values("total", "inclusive", "subtotal", "final")
        both = {total + step for total in totals for r in self.roundings for step in (r, -r)}
        return {value for value in both if value % _LARGEST_ROUNDING == 0}

    @cached_property
    def with_tax(self) -> set[Decimal]:
        """Amounts before tax with a tax on the page added."""
        taxes = [tax for tax in self.values("tax") if tax]
        return {net + tax for net in self.values("before_tax", "subtotal", "total") for tax in taxes}

    @cached_property
    def summary_sums(self) -> set[Decimal]:
        """Two neighbours in the tax summary, amount and tax, added up."""
        summary = [reading for reading in self.readings if reading.summary]
        return {a.value + b.value for a, b in pairwise(summary) if a.row == b.row and b.value}

    @cached_property
    def largest(self) -> Decimal:
        """The largest amount with a total's label, or of all where there is none."""
        totals = self.values("final", "inclusive", "total", "subtotal")
        return max(totals or self.times, default=Decimal(0))

    @cached_property
    def kinds(self) -> dict[Decimal, set[str]]:
        """Per value, the kinds of the labels that it carries; `above:` before one that stands on a row above."""
        kinds: dict[Decimal, set[str]] = {}
        for reading in self.readings:
            where = "above:" if reading.above else "summary:" if reading.summary else ""
            kinds.setdefault(reading.value, set()).add(where + reading.kind)
        return kinds


def _readings(text: str) -> Iterator[Reading]:
    start, waiting, summary = 0, "", False
    for row, line in enumerate(text.split("\n")):
        amounts = find_amounts(line)
        summary = summary or (not amounts and _SUMMARY.search(line) is not None)
        end, kind, above = 0, waiting, bool(waiting)
        for amount in amounts:
            if _LETTERS.search(own := line[end : amount.start]):
                kind, above = kind_of(own), False
            value = abs(amount.value)
            meant = "final" if kind == "rounding" and value > _LARGEST_ROUNDING else kind
            placed = amount._replace(start=amount.start + start, end=amount.end + start)
            yield Reading(value, placed, meant, above, row, summary)
            end = amount.end
        if amounts or _WORD.search(line):
            heading = line.count("  ") > 1  # of a table: it names its columns, not the next amount
            waiting = "" if amounts or heading else kind_of(line)
        start += len(line) + 1


def kind_of(label: str) -> str:
    """Say what a label means; of several columns, the last that means something.

    Args:
        label: the text beside an amount; only its last `LONGEST_LABEL` characters count.

    Returns:
        One of the kinds in `LABELS`, or an empty text.
    """
    columns = label[-LONGEST_LABEL:].lower().split("  ")
    for column in reversed(columns):
        for kind, pattern in _LABELS:
            if pattern.search(column):
                return kind
    return ""


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
        value + step in page.times for r in page.roundings for step in (r, -r) if value % _LARGEST_ROUNDING
    ),
    "with tax": lambda page, value: value in page.with_tax,
    "summary sum": lambda page, value: value in page.summary_sums,
    "largest": lambda page, value: value == page.largest,
    "twice": lambda page, value: page.times[value] >= 2,
    "three times": lambda page, value: page.times[value] >= 3,
    "ends in 5 sen": lambda _, value: value % _LARGEST_ROUNDING == 0,
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
"""How much each signal counts, in log odds."""

LEFT_OVER = 0.005
"""Share of receipts that are misprinted or mistyped in ways that no rule can see, measured on the development data."""

_Value = TypeVar("_Value", bound=Hashable)


def chances(log_odds: Mapping[_Value, float]) -> dict[_Value, float]:
    """Turn log odds into probabilities that add up to 1 - `LEFT_OVER` (softmax).

    Args:
        log_odds: value to log odds; only their differences count.
    """
    most = max(log_odds.values(), default=0.0)
    weights = {value: exp(score - most) for value, score in log_odds.items()}
    whole = sum(weights.values())
    return {value: (1 - LEFT_OVER) * weight / whole for value, weight in weights.items()}


def total_log_odds(page: Page) -> dict[Decimal, float]:
    """Weigh every amount on the page as the total.

    Args:
        page: the receipt.

    Returns:
        Per amount above zero and without its sign, the sum of the weights of the signals that hold for it.
    """
    return {
        value: sum(WEIGHTS[name] for name, holds in SIGNALS.items() if holds(page, value))
        for value in page.times
        if value > 0
    }


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
        "date": find_date(page.text),
        "currency": _currency(page.text),
        "total": total,
        **_parts(page, Decimal(total.value) if total else None),
    }
    return {field: value for field, value in found.items() if value is not None}


def _total(page: Page, *, labelled: bool = False) -> Found | None:
    """The amount for which most speaks; where it must be labelled, only if its own row calls it the total."""
    likely = chances(total_log_odds(page))
    if not likely:
        return None
    value = max(likely, key=likely.__getitem__)
    if labelled and page.kinds[value].isdisjoint({"final", "inclusive", "total"}):
        return None
    return _found(page.best_reading(value), likely[value], reasons(page, value))


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

_NOT_THE_DAY = re.compile(r"expir|valid|\bdue\b|\bexp\b|until|effective|since|birth|before|best|next|promo|warranty")
_DAY = re.compile(r"dat[ea]|tarikh|\btkh\b|issued")
_TIME = re.compile(r"\W{1,6}(?:\w{2,4}\W{1,3})?\d{1,2}[:;.]\d\d")


def find_date(text: str) -> Found | None:
    """Find the day of purchase: labelled, beside a time or first on the page, day before month.

    Args:
        text: the document.

    Returns:
        The date in ISO form, or None where the text has none.
    """
    seen = find_dates(text[:LONGEST_RECEIPT])
    if not seen:
        return None
    log_odds = date_log_odds(text, seen)
    value = max(log_odds, key=log_odds.__getitem__)
    here = max((item for item in seen if item.value == value), key=lambda item: _points(text, item))
    note = (
        ("labelled as the date" if _points(text, here) >= 2 else "likeliest date") if len(log_odds) > 1 else "only date"
    )
    return Found(
        value=value.isoformat(),
        confidence=chances(log_odds)[value],
        evidence=Evidence(start=here.start, end=here.end),
        note=note + (", day before month" if here.ambiguous else ""),
    )


def date_log_odds(text: str, seen: list[SeenDate]) -> dict[date, float]:
    """Weigh every date in the text as the day of purchase.

    Args:
        text: the document.
        seen: its dates (`find_dates`).

    Returns:
        Per date, log odds.
    """
    log_odds: dict[date, float] = {}
    for index, item in enumerate(seen):
        odds = 2.0 + _points(text, item) + (0.5 if index == 0 else 0.0)
        log_odds[item.value] = max(odds, log_odds.get(item.value, odds))
    return log_odds


def _points(text: str, seen: SeenDate) -> int:
    """What speaks for a date's being the day of purchase, in log odds."""
    before = text[max(0, seen.start - 30) : seen.start].rpartition("\n")[2].lower()
    points = 2 if _DAY.search(before) else 0
    points += 1 if _TIME.match(text, seen.end) else 0
    points -= 5 if _NOT_THE_DAY.search(before) else 0
    points -= 4 if before[-1:].isalnum() or before[-1:] in ("-", "/") else 0
    return points


# ------------------------------------------------------------------------------------------- currency, tax, subtotal

CURRENCY_SIGNS: tuple[tuple[str, str, float], ...] = (
    (r"\b(?:rm|myr)(?=\b|\d)", "MYR", 0.99),
    (r"s\$|\bsgd\b|singapore", "SGD", 0.9),
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
            if tax.value < net.value and abs(net.value + tax.value - (total or 0)) <= _LARGEST_ROUNDING:
                note = "subtotal and tax add up to the total"
                return {"subtotal": _found(net, 0.9, note), "tax": _found(tax, 0.9, note)}
    labelled = [r for r in page.readings if r.kind == "subtotal" and not r.above]
    return {"subtotal": _found(labelled[-1], 0.6, "labelled as the subtotal")} if labelled else {}
