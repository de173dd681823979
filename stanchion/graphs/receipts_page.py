"""A receipt's amounts and what their surroundings call them: read once, asked by every rule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from stanchion.text.layout import COLUMN_GAP
from stanchion.text.money import SeenAmount, find_amounts

LONGEST_RECEIPT = 20_000
"""Characters of a document that the rules read; the longest receipt in the development data has a fifth of that."""

MOST_AMOUNTS = 400
"""Amounts that stand for election, the last ones on the page: rules compare each with each."""

LONGEST_LABEL = 80
"""Characters before an amount that may name it."""

_TOTAL = r"t[o0ae]t[ae][l1i]|\bttl\b|jum[l1]ah|\bjml\b"
_AMOUNT = r"(?:amo?u?n?t|amaun)"
_GST = r"(?:gst|g\.s\.t|tax|sst|vat|cukai)"

LABELS: tuple[tuple[str, str], ...] = (
    ("subtotal", rf"sub.?(?:{_TOTAL})|s/t[o0]tal|jum[l1]ah kecil"),
    ("quantity", r"qty|quantity|item count|no\.? of|(?:total|of|jumlah) (?:items?|pcs|units?)\b|points?|\bpts\b"),
    ("quantity", r"kuantiti|\bktt\b|\bbil\.? (?:item|barang)|mata ganjaran"),
    ("saving", r"sav(?:ing|ed)|you save|member price|jimat"),
    ("final", rf"(?:a[ft]ter|selepas) (?:adj|round|disc|pelaras|bundar|genap|diskaun)"),
    ("final", rf"(?:{_TOTAL})(?: \w+)?[^a-z]*round|round.?d (?:{_TOTAL})"),
    ("rounding", r"r[o0]und|\brnd|bundaran|genapan|bulatan|(?:pe|penye)laras|\b5 ?sen"),
    ("tax", r"service (?:ch|tax)|serv?\.? ?(?:chg|charge)|srv ?chg|perkhidmatan"),
    ("change", r"chang|baki\b|\bbalance(?! due)|kembali|\bchg\b"),
    ("final", rf"(?:net+|grand|final|bill) (?:{_TOTAL}|{_AMOUNT})|balance due|jum[l1]ah (?:besar|akhir|keseluruhan)"),
    ("final", rf"(?:{_TOTAL}|{_AMOUNT}).*(?:payable|\bdue|to pay|to be paid|bayaran|(?:perlu|harus).*bayar)"),
    ("tax", rf"\b{_GST}\W*(?:{_AMOUNT}\W*)?payable"),
    ("final", rf"(?:{_TOTAL}) pay|\bto (?:pay|be paid)\b"),
    ("before_tax", rf"(?:exc|before|w/o|without|sebelum|tidak)[a-z]*\.?[^a-z]*(?:of |termasuk )?{_GST}"),
    ("before_tax", r"taxable|exclu|excl\b|supplies"),
    ("discount", r"disc|diskaun|potongan|\bless\b|voucher|baucar|rebate?\b|promo|offer"),
    ("subtotal", r"gross"),
    ("inclusive", rf"(?:{_TOTAL}|{_AMOUNT}|sales|paid|due).*\b(?:inc|termasuk)"),
    ("tax", rf"{_GST}\W{{0,4}}(?:\d\W{{1,3}})?inc"),
    ("inclusive", rf"(?:inc|with|w/|termasuk)[a-z]*\.?[^a-z]*(?:of )?{_GST}"),
    ("tax", rf"\b{_GST}\b"),
    ("cash", r"cash|tender|tunai|receiv|terima\b(?! kasih)|bayar|\bpaid|payment|deposit|accept|insert"),
    ("card", r"visa|master|\bcard\b|\bkad\b|credit|debit|amex|\bedc\b|\bmcard|\bnets\b|\bpay\b|e.?wallet"),
    ("card", r"t(?:ouch)?.?n.?go|duitnow|\bqr\b|(?:ali|grab)pay"),
    ("total", rf"{_TOTAL}|\bdue\b|{_AMOUNT}|\bnett?\b|\bpayable\b"),
)
"""What a label means, by the first pattern that fits it in lower case."""

_LABELS = tuple((kind, re.compile(pattern)) for kind, pattern in LABELS)
_SUMMARY = re.compile(rf"{_GST} *(?:summary|analysis|rate)|summary|tax code|{_AMOUNT} ?\(rm\) +{_GST} ?\(rm\)", re.I)
_TOTALS = {"final", "inclusive", "total", "subtotal", "cash", "card"}
_WORD = re.compile(r"[a-z]{3}", re.I)
_LETTERS = re.compile(r"[a-z]", re.I)
LARGEST_ROUNDING = Decimal("0.05")
"""Coins below 5 sen are out of use in Malaysia, so that cash totals end in 0 or 5."""


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
        self.readings = list(_readings(self.text))[-MOST_AMOUNTS:]
        self.times = Counter(reading.value for reading in self.readings)

    def values(self, *kinds: str) -> list[Decimal]:
        """The values that carry a label of these kinds outside the tax summary, in the order in which they stand."""
        return [reading.value for reading in self.readings if reading.kind in kinds and not reading.summary]

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
        return {value for value in both if value % LARGEST_ROUNDING == 0}

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
    columns = COLUMN_GAP in text  # without, the text came in single pieces, and a label has its own row
    start, waiting, summary, totalled = 0, "", False, False
    for row, line in enumerate(text.split("\n")):
        amounts = find_amounts(line)
        summary = summary or (totalled and not amounts and _SUMMARY.search(line) is not None)
        end, kind, above = 0, waiting, columns and waiting != ""
        for amount in amounts:
            if _LETTERS.search(own := line[end : amount.start]):
                kind, above = kind_of(own), False
            value = abs(amount.value)
            meant = "final" if kind == "rounding" and value > LARGEST_ROUNDING else kind
            totalled = totalled or meant in _TOTALS
            placed = amount._replace(start=amount.start + start, end=amount.end + start)
            yield Reading(value, placed, meant, above, row, summary)
            end = amount.end
        if amounts or _WORD.search(line):
            heading = line.count(COLUMN_GAP) > 1  # of a table: it names its columns, not the next amount
            waiting = "" if amounts or heading else kind_of(line)
        start += len(line) + 1


def kind_of(label: str) -> str:
    """Say what a label means; of several columns, the last that means something.

    Args:
        label: the text beside an amount; only its last `LONGEST_LABEL` characters count.

    Returns:
        One of the kinds in `LABELS`, or an empty text.
    """
    columns = label[-LONGEST_LABEL:].lower().split(COLUMN_GAP)
    for column in reversed(columns):
        for kind, pattern in _LABELS:
            if pattern.search(column):
                return kind
    return ""
