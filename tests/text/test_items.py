"""Line items are read only where they add up to an amount that the receipt prints."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stanchion.text.items import find_items
from stanchion.text.layout import lay_out

Line = tuple[str | None, str | None, str | None, str | None]


def items(*rows: str) -> list[Line] | None:
    """Name, quantity, unit price and total of every item that is found."""
    found = find_items("\n".join(rows))
    if found is None:
        return None
    return [(each["name"], each["quantity"], each["unit_price"], each["total_price"]) for each in found.value]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("TEA  2  1.50  3.00", "CAKE  1  4.20  4.20"), [("TEA", "2", "1.50", "3.00"), ("CAKE", "1", "4.20", "4.20")]),
        (("TEA  1.50  2  3.00", "CAKE  4.20 S"), [("TEA", "2", "1.50", "3.00"), ("CAKE", None, None, "4.20")]),
        (("2  TEA POT @1.50  3.00", "CAKE  RM4.20"), [("TEA POT", "2", "1.50", "3.00"), ("CAKE", None, None, "4.20")]),
    ],
    ids=["quantity first", "price first", "price beside the name"],
)
def test_rows_with_name_and_price(rows: tuple[str, ...], expected: list[Line]) -> None:
    """Quantity and unit price are the two numbers whose product is the row's total, in any order."""
    assert items("ITEM  AMOUNT", *rows, "TOTAL  7.20") == expected


def test_names_above_their_prices() -> None:
    """A row of numbers takes the name that stands over it, also where the name was broken."""
    rows = ("BLUE PEN 3 PCS", "A4 - 12", "9021937  1 X 3.90  3.90", "PAPER ROLL", "(LARGE)", "9021938  2 X 1.00  2.00")
    expected = [("BLUE PEN 3 PCS", "1", "3.90", "3.90"), ("PAPER ROLL", "2", "1.00", "2.00")]
    assert items("QTY  PRICE", *rows, "TOTAL INCL. GST@6%  RM 5.90", "CASH  10.00", "CHANGE  4.10") == expected


def test_names_below_their_prices() -> None:
    """Where every row of numbers is followed by a name, the names belong to the rows above them."""
    rows = ("1938  2  6.89  13.78  SR", "ROLLER SET", "1618  1  40.28  40.28  SR", "EMULSION PAINT")
    expected = [("ROLLER SET", "2", "6.89", "13.78"), ("EMULSION PAINT", "1", "40.28", "40.28")]
    assert items("ITEM  QTY  S/PRICE  AMOUNT", *rows, "TOTAL QTY:  3  54.06") == expected


def test_quantity_on_a_row_of_its_own() -> None:
    """A row that only multiplies explains the price beside it."""
    rows = ("GREEN TEA  RM13.58 S", "@2 X RM 6.79", "WHITE BREAD  RM3.70 S")
    assert items(*rows, "TOTAL  17.28") == [("GREEN TEA", "2", "6.79", "13.58"), ("WHITE BREAD", None, None, "3.70")]


def test_the_head_says_which_number_is_the_price() -> None:
    """Where both numbers have decimals, the order of the columns' names decides."""
    assert items("ITEM  U/PRICE  QTY  AMOUNT", "FUEL  2.200  22.73  50.00", "TOTAL  50.00") == [
        ("FUEL", "22.73", "2.200", "50.00")
    ]


def test_discounts_count() -> None:
    """A discount on a row of its own is an item with a negative total."""
    rows = ("FACE CREAM  55.90", "DISC 10.00%  -5.59", "TOTAL  50.31")
    assert items(*rows) == [("FACE CREAM", None, None, "55.90"), ("DISC 10.00%", None, None, "-5.59")]


def test_tax_may_stand_between_items_and_total() -> None:
    """Items before tax are believed when the printed tax explains the rest; rounding never becomes an item."""
    rows = ("FRIED RICE  10.00", "GST 6%  0.60", "TOTAL  10.60", "ROUNDING ADJ  -0.02", "AMOUNT DUE  10.58")
    assert items(*rows) == [("FRIED RICE", None, None, "10.00")]


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ("FRIED RICE  10.00",),
        ("FRIED RICE  10.00", "TOTAL  12.00"),
        ("TOTAL  12.00", "CASH  12.00"),
        ("5.00  5.00", "TOTAL  5.00"),
        ("TULIP TRADING", "TEL: 03-1234567", "DATE 01.02.20"),
    ],
)
def test_what_does_not_add_up_is_not_believed(rows: tuple[str, ...]) -> None:
    """Nothing is better than nonsense: no sum, a wrong sum, no items or no name give None."""
    assert items(*rows) is None


def test_what_follows_the_payment_is_no_item() -> None:
    """The table ends where tax summary, change or thanks begin."""
    rows = ("TEA POT  3.00", "TOTAL  3.00", "CHANGE  0.00", "GST SUMMARY", "SR RATE  3.00  0.18", "TOTAL  3.18")
    assert items(*rows) == [("TEA POT", None, None, "3.00")]


def test_evidence_spans_the_items() -> None:
    """The offsets cut the items' rows out of the text."""
    text = "ITEM  QTY\n  TEA POT  3.00\nCAKE  1.00 S\nTOTAL  4.00"
    found = find_items(text)
    assert found is not None
    assert found.evidence is not None
    assert text[found.evidence.start : found.evidence.end] == "TEA POT  3.00\nCAKE  1.00 S"


@given(
    st.lists(
        st.tuples(st.sampled_from(["TEA POT", "RICE BOWL", "PEN (BLUE)"]), st.integers(1, 99), st.integers(1, 99_999)),
        min_size=1,
        max_size=12,
    )
)
@settings(derandomize=True, deadline=None, max_examples=150)
def test_a_plain_table_is_read_back(lines: list[tuple[str, int, int]]) -> None:
    """What was printed as name, quantity, price and amount is found again, whatever the numbers."""
    table = [(name, quantity, Decimal(cents) / 100) for name, quantity, cents in lines]
    rows = [f"{name}  {quantity}  {price:.2f}  {quantity * price:.2f}" for name, quantity, price in table]
    total = sum((quantity * price for _, quantity, price in table), Decimal(0))
    found = items("ITEM  QTY  PRICE  AMOUNT", *rows, f"TOTAL  {total:.2f}")
    assert found is not None
    assert [(name, Decimal(quantity or 0) * Decimal(unit or 0)) for name, quantity, unit, _ in found] == [
        (name, quantity * price) for name, quantity, price in table
    ]


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(["TEA 1.00", "TOTAL 1.00", "@@", "1 X", "-"]))))
@example(["\ud800 1.00", "TOTAL 1.00"])
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_is_survived(lines: list[str]) -> None:
    """No text raises, and every item that is found has a name and a total."""
    found = find_items("\n".join(lines))
    if found is not None:
        assert all(each["name"] and Decimal(each["total_price"]).is_finite() for each in found.value)


@pytest.mark.parametrize(
    "text",
    [" " * 20_000_000, "(" * 100_000, "1 " * 5_000_000, "1.00\n" * 1_000_000, "A 1.00\n" * 1_000_000, "X" * 20_000_000],
    ids=["blanks", "brackets", "numbers", "prices", "items", "letters"],
)
@pytest.mark.timeout(20)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    """Twenty megabytes of anything do not hang the rules."""
    find_items(text)


@pytest.mark.data
def test_items_of_the_development_receipts_add_up(data: Path) -> None:
    """On real receipts most items are found, and their sum is the subtotal or total that a model read independently."""
    with gzip.open(data / "receipts.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line, parse_float=Decimal) for line in lines]
    agreed = []
    for row in rows:
        found = find_items(lay_out(row["input"]["text"].split("\n"), row["input"]["boxes"]))
        recorded = row["recorded"].get("gpt-4o-2024-05-13")
        if found is None or recorded is None:
            continue
        answer = json.loads(recorded, parse_float=Decimal)
        total = sum(Decimal(each["total_price"]) for each in found.value)
        sums = [answer[key] for key in ("subtotal", "total") if answer.get(key) is not None]
        agreed.append(any(abs(total - each) <= Decimal("0.05") for each in sums))
    assert len(agreed) >= 0.8 * len(rows)
    assert sum(agreed) / len(agreed) >= 0.92
