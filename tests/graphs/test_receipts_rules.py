"""The receipt rules find date and total by what the page says, show where, and say honestly how sure they are."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.graphs.receipts_page import MOST_AMOUNTS, kind_of
from stanchion.graphs.receipts_rules import SIGNALS, WEIGHTS, quick, thorough
from stanchion.text.dates import parse_date
from stanchion.text.layout import lay_out
from stanchion.text.money import parse_money
from stanchion.verdict import Found, Source

RECEIPT = """\
SUNRISE MINI MART SDN BHD
(123456-X)
NO 5, JALAN BUNGA 2, 43000 KAJANG
TAX INVOICE
DATE : 04/03/2018  18:08
TEH O  2  3.00  6.00
ROTI KAYA  1  4.62  4.62
SUBTOTAL  10.62
GST 6%  0.64
TOTAL  RM  11.26
ROUNDING ADJ  -0.01
TOTAL AFTER ROUNDING  RM  11.25
CASH  20.00
CHANGE  8.75
GST SUMMARY  AMOUNT(RM)  TAX(RM)
S = 6%  10.62  0.64"""


def read(*rows: str) -> dict[str, Found]:
    return thorough(Source(text="\n".join(rows)))


def total(*rows: str) -> str | None:
    found = read(*rows).get("total")
    return None if found is None else found.value


@pytest.mark.parametrize("rules", [quick, thorough])
def test_a_clear_receipt_is_read_whole(rules: Any) -> None:
    """Seller, day, currency, amounts and items of a plain receipt are all found."""
    found = rules(Source(text=RECEIPT))
    values = {name: item.value for name, item in found.items()}
    assert values["company"] == "SUNRISE MINI MART SDN BHD"
    assert values["date"] == "2018-03-04"
    assert values["currency"] == "MYR"
    assert (values["subtotal"], values["tax"], values["total"]) == ("10.62", "0.64", "11.25")
    assert [item["total_price"] for item in values["items"]] == ["6.00", "4.62"]


def test_evidence_shows_where_the_value_stands() -> None:
    """Every date and amount is cut out of the text by its evidence."""
    for name, item in thorough(Source(text=RECEIPT)).items():
        if name in ("date", "subtotal", "tax", "total"):
            assert item.evidence is not None
            seen = RECEIPT[item.evidence.start : item.evidence.end]
            read_as = parse_date(seen).isoformat() if name == "date" else str(parse_money(seen))  # type: ignore[union-attr]
            assert read_as == item.value


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("TOTAL", "total"),
        ("T0TAL RM", "total"),
        ("TOTAL QTY : 3", "quantity"),
        ("TOTAL SALES (INCLUSIVE OF GST)", "inclusive"),
        ("TOTAL (GST INCL)", "inclusive"),
        ("TOTAL EXCL. GST", "before_tax"),
        ("GST @6% INCLUDED IN TOTAL", "tax"),
        ("NETT TOTAL", "final"),
        ("TOTAL AMOUNT PAYABLE", "final"),
        ("ROUNDED TOTAL (RM)", "final"),
        ("ROUNDING ADJUSTMENT", "rounding"),
        ("TOTAL PAID", "cash"),
        ("CHANGE DUE", "change"),
        ("SUB-TOTAL (QTY 4)", "subtotal"),
        ("10% SRV CHG", "tax"),
        ("COUPON DISCOUNT", "discount"),
        ("VISA CARD", "card"),
        ("QTY : 1  TOTAL RM :", "total"),
        ("TEH TARIK", ""),
        ("NETT", "total"),
        ("AMAUN", "total"),
        ("JUMLAH (RM)", "total"),
        ("JUMLAH KECIL", "subtotal"),
        ("JUMLAH PERLU DIBAYAR", "final"),
        ("JUMLAH SELEPAS PELARASAN", "final"),
        ("AMOUNT TO PAY", "final"),
        ("GST PAYABLE (6%)", "tax"),
        ("CUKAI PERKHIDMATAN", "tax"),
        ("JUMLAH TIDAK TERMASUK CUKAI", "before_tax"),
        ("JUMLAH TERMASUK CUKAI", "inclusive"),
        ("PENGGENAPAN", "rounding"),
        ("TUNAI DITERIMA", "cash"),
        ("BAKI", "change"),
        ("DISKAUN", "discount"),
    ],
)
def test_a_label_means_what_a_cashier_means_by_it(label: str, kind: str) -> None:
    """Labels are told apart, abbreviated and misread ones too; of several columns the last counts."""
    assert kind_of(label) == kind


def test_the_rounded_total_is_what_was_payable() -> None:
    """Where the receipt says what to pay after rounding, that is the total, not the sum before."""
    assert (
        total("TOTAL INCL GST  11.26", "ROUNDING  -0.01", "AMOUNT DUE  11.25", "CASH  20.00", "CHANGE  8.75") == "11.25"
    )


def test_cash_less_change_finds_a_total_that_nothing_names() -> None:
    """Where OCR lost the label, arithmetic still tells which amount was paid."""
    assert total("NASI LEMAK  7.50", "MILO  3.00", "10.50", "CASH  20.00", "CHANGE  9.50") == "10.50"


def test_a_label_on_the_row_above_counts() -> None:
    """Where a page came without columns, a label alone on its row names the amount below it, for quick rules too."""
    rows = ("NASI LEMAK", "7.50", "MILO", "3.00", "TOTAL", "RM", "10.50", "CASH", "20.00", "CHANGE", "9.50")
    assert quick(Source(text="\n".join(rows)))["total"].value == "10.50"


def test_a_refund_keeps_its_minus() -> None:
    """A total below zero is given as it is printed."""
    assert total("RETURNS  -12.00", "TOTAL PAYABLE  -1.40") == "-1.40"


def test_quick_rules_need_a_label_beside_the_total() -> None:
    """The cheap rules leave the total open where only arithmetic knows it."""
    source = Source(text="NASI LEMAK  7.50\nMILO  3.00\n10.50\nCASH  20.00\nCHANGE  9.50")
    assert "total" not in quick(source)


def test_two_totals_within_a_rounding_leave_a_doubt() -> None:
    """Where both the sum before and after rounding are called total, the rules are less sure than with one."""
    one = read("TOTAL  11.25", "CASH  20.00", "CHANGE  8.75")["total"].confidence
    two = read("TOTAL  11.26", "ROUNDING  -0.01", "AMOUNT DUE  11.25", "CASH  20.00", "CHANGE  8.75")[
        "total"
    ].confidence
    assert two < 0.85 < 0.95 < one


def test_a_discount_after_a_larger_total_leaves_a_doubt() -> None:
    """People disagree which of the two is the total, so that even a clear page is not sure."""
    found = read("SUBTOTAL  24.60", "DISCOUNT  10.10", "GRAND TOTAL  14.50", "CASH  15.00", "CHANGE  0.50")["total"]
    assert (found.value, found.confidence < 0.85) == ("14.50", True)


def test_a_lone_amount_without_a_name_is_no_sure_total() -> None:
    """The only amount on a page is not believed merely because there is no other."""
    assert read("PARKING", "5.00")["total"].confidence < 0.9


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("27/02/18 21:22", "CARD EXPIRY : 31/05/18"), "2018-02-27"),
        (("CARD EXPIRY : 31/05/18", "27/02/18 21:22"), "2018-02-27"),
        (("INVOICE NO: INV-18/06/04-77", "04/06/2018"), "2018-06-04"),
        (("PROMO VALID UNTIL 31/12/2018", "DATE 03/11/2018"), "2018-11-03"),
        (("10/03/2018 23:03", "CLOSED: 11/03/2018 00:32"), "2018-03-10"),
        (("10/03/2018 23:03", "PRINT DATE: 12/03/2018 09:32"), "2018-03-10"),
        (("ORDER DATE : 07/03/2018", "10/03/2018"), "2018-03-10"),
        (("CHECK-IN 09/03/2018 14:00", "10/03/2018"), "2018-03-10"),
        (("TARIKH LUPUT : 01/01/2019", "10/03/2018"), "2018-03-10"),
        (("FROM 01/03/2018 - 31/05/2018", "10/03/2018"), "2018-03-10"),
        (("BOOK SHOP DATE 10/03/2018", "MEMBER DOB 03/05/1985"), "2018-03-10"),
    ],
)
def test_the_day_of_purchase_is_told_from_other_dates(rows: tuple[str, ...], expected: str) -> None:
    """Expiry dates, promotions and codes that look like dates lose against a labelled, timed or first date."""
    assert read(*rows)["date"].value == expected


def test_an_expiry_date_alone_is_not_believed() -> None:
    """A date that is labelled as something else is given, but without confidence."""
    assert read("CARD EXPIRY : 31/05/18")["date"].confidence < 0.7


def test_every_signal_has_a_weight() -> None:
    """What may be said of an amount and what it counts are listed together."""
    assert SIGNALS.keys() == WEIGHTS.keys()


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=400))
@settings(max_examples=60)
def test_any_text_gives_probabilities_and_places_inside_it(text: str) -> None:
    """No text breaks the rules; confidences are probabilities and evidence lies in the text."""
    for item in [*quick(Source(text=text)).values(), *thorough(Source(text=text)).values()]:
        assert 0 <= item.confidence <= 1
        assert item.evidence is None or 0 <= item.evidence.start <= item.evidence.end <= len(text)


@pytest.mark.parametrize(
    "row", ["TOTAL 1.00  GST 0.05  ROUNDING 0.02  CASH 5.00  CHANGE 4.00\n", "9.99 ", "TOTAL (", "GST      "]
)
def test_a_huge_hostile_receipt_is_read_in_time(row: str) -> None:
    """A megabyte of labels and amounts is read within the suite's time limit."""
    numbered = "".join(row.replace("1.00", f"{number}.00") for number in range(MOST_AMOUNTS))
    thorough(Source(text=numbered + row * (1_000_000 // len(row))))


@pytest.mark.data
def test_rules_alone_are_right_on_real_receipts(data: Path) -> None:
    """Date right on 97 % and total on 95 % of the real receipts, and of their companies on average too."""
    with gzip.open(data / "receipts.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    right: dict[str, list[bool]] = {"date": [], "total": []}
    by_company: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        found = thorough(Source(text=lay_out(row["input"]["text"].split("\n"), row["input"]["boxes"])))
        day, amount = parse_date(row["truth"]["date"]), parse_money(row["truth"]["total"])
        right["date"].append(day is not None and "date" in found and found["date"].value == day.isoformat())
        if amount is not None:
            right["total"].append("total" in found and Decimal(found["total"].value) == amount)
            by_company[row["truth"]["company"]].append(right["total"][-1])
    assert sum(right["date"]) >= 0.97 * len(right["date"])
    assert sum(right["total"]) >= 0.95 * len(right["total"])
    assert sum(sum(group) / len(group) for group in by_company.values()) >= 0.95 * len(by_company)
