"""The line items of a receipt or an invoice, believed only where they add up to an amount that it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, islice
from typing import Literal

from stanchion.text.money import parse_money
from stanchion.verdict import Evidence, Found

MAX_ROWS = 300
"""Rows that are read; what is longer is no receipt."""

MAX_ROW_CHARS = 160
"""Characters that are read as one row."""

TOLERANCE = Decimal("0.02")
"""What a product or a sum may be off by, as rows are rounded one by one."""

Kind = Literal["priced", "text", "sum", "adjustment", "head", "other", "end"]

_CURRENCY = r"(?:RM|MYR|S\$|US\$|USD|SGD|EUR|GBP|[$€£])"
_PRICE_AT_END = re.compile(
    rf"(?P<times>[@xX×*]\s?)?(?:-?{_CURRENCY}\s{{0,2}})?(?<![\d.,])"
    rf"(?P<price>-?(?:\d{{1,3}}(?:[.,]\d{{3}}){{1,3}}|\d{{0,7}})[.,]\d\d-?)(?:\s{{0,3}}{_CURRENCY})?\s{{0,3}}\*?\(?[A-Z]{{0,3}}\)?\*?$",
    re.I,
)
_NUMBER = re.compile(rf"(?:{_CURRENCY})?(-?\d{{0,5}}[.,]\d{{1,4}}|-?\d{{1,4}})(?:PCS?|EA|UNITS?)?", re.I)
_TIMES = re.compile(r"[xX×*@]")
_UNIT_PRICE_TAIL = re.compile(rf"\s*@\s?(?:{_CURRENCY}\s?)?[\d.,]+$", re.I)
_CODE = re.compile(r"\W{0,2}\d[\d-]{2,}\W{0,2}|\d{1,3}\.|\W{0,2}(?:SR|ZR|S|Z|RM|X|PCS?|UNITS?)\W?|\W+", re.I)
_WORD = re.compile(r"[^\W\d_]{3,40}(?!\w)")

_COLUMN = re.compile(
    r"\b(?:(?P<quantity>QTY|QUANTITY|QNTY|QTE|MENGE|CANT)|(?P<unit>U[/\\.]?P(?:RICE)?|UNIT PRICE|S?/?PRICE|P\.U|PREIS)"
    r"|(?P<other>ITEMS?|DESC(?:RIPTION)?|DESIGNATION|CODE|AMOUNT|AMT|TOTAL|DISC|TAX|PARTICULARS?|ARTIKEL|RM))\b",
    re.I,
)
_END = re.compile(r"\b(?:(?:GST|SST|TAX|VAT) (?:SUMMARY|ANALYSIS|CODE)|CHANGE|THANK YOU)\b", re.I)
_ADJUSTMENT = re.compile(r"\b(?:GST|SST|VAT|TAX|MWST|SERVICE|SERV|SVC|SVR|CHARGE|CHRG|ROUND\w*|RND|ADJ\w*)\b", re.I)
_DISCOUNT = re.compile(r"\b(?:DISC\w*|DISKAUN|RABATT|REMISE)\b", re.I)
_SUM = re.compile(
    r"\b(?:(?:SUB|GRAND|NETT?)? ?-?TOTALS?|SUBTOTAL|JUMLAH|AMOUNT|NETT?|BALANCE|PAYABLE|PAYMENT|PAID|DUE|CASH"
    r"|TENDER\w*|VISA|CARD|MASTER(?:CARD)?|DEBIT|CREDIT|RECEIVED|DEPOSIT|POINTS?|SAVINGS?|COUNT|SUMME|GESAMT)\b"
    r"|\b(?:ITEMS?|QTY|QUANTITY)\W{0,4}:",
    re.I,
)
_LABEL = re.compile(
    r":|^\W*(?:(?:TAX|SIMPLIFIED|CASH|GST|SALES) ?)*(?:INVOICE|RECEIPT|CASH|BILL|TEL|FAX|DATE|CASHIER|TABLE)\b", re.I
)


@dataclass(frozen=True)
class _Row:
    """One row: what it is, its words, the number before them, the numbers after them, and the money at its end."""

    kind: Kind
    start: int
    end: int
    name: str = ""
    lead: Decimal | None = None
    numbers: tuple[Decimal, ...] = ()
    total: Decimal = Decimal(0)

    @property
    def named(self) -> bool:
        return _WORD.search(self.name) is not None


def find_items(text: str) -> Found | None:
    """The line items, where they add up to one of the sums printed under them.

    Args:
        text: the page as text; rows as on the page, columns separated by two or more spaces.

    Returns:
        A list of name, quantity, unit_price and total_price (decimals as strings, None where unknown); discounts given
        on a row of their own are items with a negative total. None where nothing was found that adds up.
    """
    rows = list(_rows(text))
    priced = _added_up(rows)
    if not priced:
        return None
    below = _names_stand_below(rows, priced)
    columns = next((_columns(text[row.start : row.end]) for row in rows if row.kind == "head"), [])
    items = [_item(index, rows, columns, below) for index in priced]
    if not all(item["name"] for item in items):
        return None
    explained = all(item["unit_price"] is not None for item in items)
    return Found(
        value=items,
        confidence=0.9 if explained else 0.7,
        evidence=Evidence(start=rows[priced[0]].start, end=rows[priced[-1]].end),
        note="items add up" + (", quantities too" if explained else ""),
    )


def _rows(text: str) -> Iterator[_Row]:
    """The rows down to the end of the table, each read once."""
    prices = False
    for match in islice(re.finditer(rf"\S[^\n]{{0,{MAX_ROW_CHARS - 1}}}", text), MAX_ROWS):
        row = _row(match.group().rstrip(), match.start())
        if row.kind == "end" and prices:
            return
        prices = prices or row.total != 0
        yield row


def _row(text: str, start: int) -> _Row:
    end = start + len(text)
    if _END.search(text):
        return _Row("end", start, end)
    price = _PRICE_AT_END.search(text)
    total = parse_money(price["price"]) if price else None
    if price is None or total is None or price["times"]:
        return _unpriced(text, start)
    name, lead, numbers = _read(text[: price.start()])
    if _ADJUSTMENT.search(text) or (_DISCOUNT.search(text) and total >= 0):
        return _Row("adjustment", start, end, total=total)
    if _SUM.search(text) or not (name or numbers):
        return _Row("sum", start, end, total=total)
    return _Row("priced", start, end, name, lead, numbers, total)


def _unpriced(text: str, start: int) -> _Row:
    end = start + len(text)
    if len(_columns(text)) >= 2:
        return _Row("head", start, end)
    if _LABEL.search(text) or _SUM.search(text):
        return _Row("other", start, end)
    name, lead, numbers = _read(text)
    if _WORD.search(name):  # a number after the words is a part of the name here, as no column stands beside it
        name = _UNIT_PRICE_TAIL.sub("", text[text.index(name) :]).removesuffix("*S").strip(" *")
    return _Row("text", start, end, name, lead, numbers)


def _columns(text: str) -> list[str]:
    """The names of the columns in a table's head, from left to right."""
    return [match.lastgroup or "" for match in _COLUMN.finditer(text)]


def _read(text: str) -> tuple[str, Decimal | None, tuple[Decimal, ...]]:
    """A row's words, without codes around them; the number before them and the numbers after them."""
    tokens = list(re.finditer(r"\S+", text))
    after: list[Decimal] = []
    while tokens and ((numbers := _numbers(tokens[-1].group())) or _CODE.fullmatch(tokens[-1].group())):
        tokens.pop()
        after = [*numbers, *after]
    before: list[Decimal] = []
    while tokens and ((numbers := _numbers(tokens[0].group())) or _CODE.fullmatch(tokens[0].group())):
        if numbers and before:
            break
        tokens.pop(0)
        before = [*before, *numbers]
    name = text[tokens[0].start() : tokens[-1].end()] if tokens else ""
    return name, before[0] if before else None, tuple(after[-8:])


def _numbers(token: str) -> list[Decimal]:
    """The numbers of a piece such as 15.50, @9.00, *3 or 1.40*1; none where it is anything else."""
    parts = [part for part in _TIMES.split(token) if part]
    matches = [_NUMBER.fullmatch(part) for part in parts]
    values = [parse_money(match[1]) for match in matches if match]
    found = [value for value in values if value is not None]
    return found if len(found) == len(parts) else []


def _added_up(rows: Sequence[_Row]) -> list[int]:
    """The priced rows down to the last sum that they add up to, with or without one adjustment; else none."""
    priced: list[int] = []
    confirmed: list[int] = []
    running, adjustments = Decimal(0), [Decimal(0)]
    for index, row in enumerate(rows):
        if row.kind == "priced":
            priced.append(index)
            running += row.total
        elif row.kind in ("sum", "adjustment") and row.total > 0:
            if any(abs(running + adjustment - row.total) <= TOLERANCE for adjustment in adjustments):
                confirmed = list(priced)
            if row.kind == "adjustment":
                adjustments = [*adjustments[:3], row.total]
    return confirmed


def _names_stand_below(rows: Sequence[_Row], priced: Sequence[int]) -> bool:
    """Whether the name of an item stands under its price rather than over it."""
    nameless = [index for index in priced if not rows[index].named]
    return bool(nameless) and all(_neighbour(index, rows, 1) is not None for index in nameless)


def _neighbour(index: int, rows: Sequence[_Row], step: Literal[-1, 1]) -> int | None:
    """The row with the name, above or below: the first one of a name that was broken over rows."""
    found = []
    at = index + step
    while 0 <= at < len(rows) and rows[at].kind == "text":
        if rows[at].named:
            found.append(at)
        at += step
    bounded = at >= 0 and step < 0 and rows[at].kind in ("priced", "head")
    return (found[-1] if bounded else found[0]) if found else None


def _item(index: int, rows: Sequence[_Row], columns: Sequence[str], below: bool) -> dict[str, str | None]:
    row = rows[index]
    name_at = index if row.named else _neighbour(index, rows, 1 if below else -1)
    name = re.sub(r"\s+", " ", rows[name_at].name if name_at is not None else row.name)
    beside = [each for each in rows[max(0, index - 1) : index + 2] if each.kind == "text" and not each.named]
    for numbers in (_all_numbers(row), _all_numbers(row, *(rows[i] for i in [name_at] if i is not None), *beside)):
        if pair := _quantity_and_unit(numbers, row.total, columns):
            return _as_json(name, pair[0], pair[1], row.total)
    counted = columns[:1] == ["quantity"] and row.lead is not None and row.lead < 100
    quantity = row.lead if counted else None
    return _as_json(name, quantity, None, row.total)


def _all_numbers(*rows: _Row) -> list[Decimal]:
    return [number for row in rows for number in (row.lead, *row.numbers) if number is not None][:8]


def _quantity_and_unit(
    numbers: Sequence[Decimal], total: Decimal, columns: Sequence[str]
) -> tuple[Decimal, Decimal] | None:
    """Two numbers whose product is the total; the one with decimals, or the one that the head says, is the price."""
    unit_first = "unit" in columns and "quantity" in columns[columns.index("unit") :]
    for one, other in combinations(numbers, 2):
        if one and abs(one * other - total) <= TOLERANCE:
            if _has_decimals(one) == _has_decimals(other):
                return (other, one) if unit_first else (one, other)
            return (other, one) if _has_decimals(one) else (one, other)
    return (Decimal(1), total) if total in numbers or Decimal(1) in numbers else None


def _has_decimals(number: Decimal) -> bool:
    return "." in str(number)


def _as_json(name: str, quantity: Decimal | None, unit: Decimal | None, total: Decimal) -> dict[str, str | None]:
    return {
        "name": name,
        "quantity": None if quantity is None else str(quantity),
        "unit_price": None if unit is None else str(unit),
        "total_price": str(total),
    }
