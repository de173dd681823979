"""The seller's name and address are read by rules that speak of letterheads, not of particular shops."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stanchion.text.layout import lay_out
from stanchion.text.names import find_address, find_company, normal_name


def page(*rows: str) -> str:
    return "\n".join(rows)


def company(*rows: str) -> str | None:
    found = find_company(page(*rows))
    return None if found is None else found.value


def address(*rows: str) -> str | None:
    found = find_address(page(*rows))
    return None if found is None else found.value


def test_normal_name_ignores_case_accents_spaces_and_punctuation() -> None:
    """Two spellings of one name have the same normal form."""
    assert normal_name("Café  D'Or (M) Sdn. Bhd.") == normal_name("CAFE DOR M SDNBHD") == "cafedormsdnbhd"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("SUNRISE", "KLARA VENTURE SDN BHD", "NO 5, JALAN BUNGA 2,"), "KLARA VENTURE SDN BHD"),
        (("AURORA", "BLUE HARBOUR LTD", "12 HIGH STREET"), "BLUE HARBOUR LTD"),
        (("SCHÖN", "HOLZMANN GMBH", "HAUPTSTRASSE 3", "10115 BERLIN"), "HOLZMANN GMBH"),
    ],
)
def test_the_legal_name_wins_over_the_brand_above_it(rows: tuple[str, ...], expected: str) -> None:
    """Where brand and legal form both stand above the address, the legal form is the seller."""
    assert company(*rows) == expected


def test_a_kind_of_trade_wins_over_a_scribbled_first_row() -> None:
    """A person's name over the shop's is not taken for the shop."""
    assert company("LEE MEI ANN", "TULIP HARDWARE", "3, JALAN SATU,") == "TULIP HARDWARE"


def test_what_stands_beside_the_registration_wins_among_trades() -> None:
    """Of two shop-like rows the one over the registration number is the seller's."""
    assert company("FACE NOODLE HOUSE", "FN NOODLE HOUSE", "(002049011-U)", "5, JALAN DUA,") == "FN NOODLE HOUSE"


def test_the_first_row_above_the_address_is_taken_when_nothing_else_speaks() -> None:
    """A name without form and trade is found by where it stands, and with less confidence."""
    found = find_company(page("TAX INVOICE", "SUNFISH", "22 LORONG DUA"))
    assert found is not None
    assert found.value == "SUNFISH"
    assert found.confidence < 0.8


@pytest.mark.parametrize(
    "row",
    [
        "KLARA VENTURE SDN BHD (123456-X)",
        "KLARA VENTURE SDN BHD  (123456-X)",
        "KLARA VENTURE SDN BHD 123456-X",
        "KLARA VENTURE SDN BHD (CO. REG NO: 123456-X)",
        "#000002 KLARA VENTURE SDN BHD",
        "OWNED BY: KLARA VENTURE SDN BHD",
        "KLARA VENTURE SDN BHD  TAX INVOICE",
        "KLARA VENTURE SON BHD",
        "KLARA VENTURE 5DN BND",
    ],
)
def test_the_name_is_cleaned(row: str) -> None:
    """Registration numbers, labels, other columns and misread legal forms are not part of the name."""
    assert company(row, "NO 5, JALAN BUNGA 2,") == "KLARA VENTURE SDN BHD"


@pytest.mark.parametrize(
    "rows",
    [
        ("PASARAYA TIGA", "DARA SDN BHD"),
        ("PASARAYA TIGA DARA", "SDN BHD"),
        ("PASARAYA TIGA DARA SDN", "BHD"),
    ],
)
def test_a_legal_form_on_a_row_of_its_own_is_joined(rows: tuple[str, ...]) -> None:
    """A name broken before its legal form is put together again; one that is whole is not."""
    expected = "DARA SDN BHD" if rows[1] == "DARA SDN BHD" else "PASARAYA TIGA DARA SDN BHD"
    assert company(*rows, "NO 5, JALAN BUNGA 2,") == expected


def test_an_open_bracket_goes_on_in_the_next_row() -> None:
    """A name is joined over as many rows as its bracket and its legal form need."""
    rows = ("GEMILANG HARDWARE", "ENTERPRISE (TAMAN", "LAUT) SDN BHD", "NO 5, JALAN BUNGA 2,")
    assert company(*rows) == "GEMILANG HARDWARE ENTERPRISE (TAMAN LAUT) SDN BHD"


@pytest.mark.parametrize("label", ["BILL TO :", "M/S", "SOLD TO:"])
def test_a_customer_is_not_the_seller(label: str) -> None:
    """The name under a customer's label is passed over, legal form or not."""
    assert company("TULIP HARDWARE", label, "OTHER PARTY SDN BHD", "NO 5, JALAN BUNGA 2,") == "TULIP HARDWARE"


def test_an_operator_below_the_address_needs_its_registration() -> None:
    """A registered operator under the address is believed where nothing above it has a form or a trade."""
    head = ("PETRA PERMAI 2", "LOT 101 JALAN PERMAI", "81750 MASAI, JOHOR")
    assert company(*head, "ESA FUEL ENTERPRISE", "CO. REG. NO: 001011128-T") == "ESA FUEL ENTERPRISE"
    assert company(*head, "ESA FUEL ENTERPRISE", "CASHIER: 4") == "PETRA PERMAI 2"


def test_evidence_points_at_the_rows_of_the_name() -> None:
    """The offsets cut the name out of the text as it stands there."""
    text = "  RECEIPT\n\nTULIP TRADING  (JM0123456-A)\n9, JALAN SATU,"
    found = find_company(text)
    assert found is not None
    assert found.evidence is not None
    assert text[found.evidence.start : found.evidence.end] == "TULIP TRADING"


@pytest.mark.parametrize("text", ["", "   \n\t\n ", "1234\n---\n12.50", "TAX INVOICE\nTEL: 03-1234567"])
def test_nothing_is_found_where_there_is_no_name(text: str) -> None:
    """Blanks, numbers, titles and telephone numbers are no company and no address."""
    assert find_company(text) is None
    assert find_address(text) is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            ("NO 5, JALAN BUNGA 2,", "BANDAR BARU,", "47100 PUCHONG,", "SELANGOR", "TEL: 03-1234567"),
            "NO 5, JALAN BUNGA 2, BANDAR BARU, 47100 PUCHONG, SELANGOR",
        ),
        (("12 HIGH STREET", "LONDON SW1 2AB", "VAT NO 123"), "12 HIGH STREET LONDON SW1 2AB"),
        (("HAUPTSTRASSE 3", "10115 BERLIN", "DATE: 01/02/2020"), "HAUPTSTRASSE 3 10115 BERLIN"),
        (("WISMA TIGA", "LOT 3, JALAN DUA,", "SETAPAK", "53200 KL"), "WISMA TIGA LOT 3, JALAN DUA, SETAPAK 53200 KL"),
        (("7, JALAN DUA, 47400 PJ, TEL: 03-1234567",), "7, JALAN DUA, 47400 PJ"),
    ],
)
def test_an_address_runs_from_its_street_to_its_town(rows: tuple[str, ...], expected: str) -> None:
    """The rows between the name and what follows are joined on one line."""
    assert address("TULIP TRADING", "(123456-X)", *rows) == expected


def test_a_name_after_the_town_does_not_belong_to_the_address() -> None:
    """Once the town is named, only a region may follow."""
    rows = ("NO 5, JALAN BUNGA 2,", "47100 PUCHONG", "MEGA MALL BRANCH OUTLET", "TAX INVOICE")
    assert address("TULIP TRADING", *rows) == "NO 5, JALAN BUNGA 2, 47100 PUCHONG"


def test_an_article_number_is_not_a_postcode() -> None:
    """Five digits and words among the items do not begin an address."""
    assert address("TULIP TRADING", "22241 WS CUT SCISSORS", "64542 TEMPO TWEEZER", "TOTAL 5.00") is None


@pytest.mark.parametrize(
    "row",
    [
        "2 x 4,95 9,90 A",
        "2 x 4,95          9,90 A",
        "3 @ RM1,200.50",
        "ROAD MAP, 3RD EDITION 12.00",
        "ROAD MAP, 3RD EDITION  RM 12.00 SR",
        "SUMME EUR",
        "SUBTOTAL, CASH: 3",
    ],
)
def test_a_row_with_a_price_or_a_sum_is_no_part_of_an_address(row: str) -> None:
    """An item or a total neither begins an address nor goes on with one, nor does what follows it."""
    assert address("TULIP TRADING", "DATE 01/02/2020", row, "INK BLUE", row) is None
    assert address("TULIP TRADING", "NO 5, JALAN BUNGA 2,", row, "INK BLUE") == "NO 5, JALAN BUNGA 2,"


@pytest.mark.parametrize("row", ["LOT 2.15, MEGA MALL", "JALAN DUA, LOT 2.15", "TOTAL PLAZA, LEVEL 2"])
def test_a_number_of_a_lot_is_no_price(row: str) -> None:
    """Malls number their lots like amounts, and a building may be called like a sum."""
    assert address("TULIP TRADING", row, "47100 PUCHONG") == f"{row} 47100 PUCHONG"


def test_a_german_street_begins_an_address() -> None:
    """A street that is one word with its kind is known by its house number."""
    rows = ("FEDERKIEL GMBH", "Amselgasse 7", "99998 Musterhausen", "Datum 18.09.2023", "2 x 4,95 9,90 A")
    assert address(*rows) == "Amselgasse 7 99998 Musterhausen"


LETTERHEAD = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(["ABC SDN BHD (1-X)", "NO 5, JALAN", "47100 PUCHONG", "((((", "  ", "TEL: 1", "SDN", "& CO"]),
    ),
    max_size=40,
).map("\n".join)


@given(LETTERHEAD)
@example("\ud800 SDN BHD\x00\n5, JALAN \udfff")
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_is_survived_and_evidence_stays_inside(text: str) -> None:
    """No text raises; every answer has words, a probability and offsets within the text."""
    for found in (find_company(text), find_address(text)):
        if found is not None:
            assert found.value.strip()
            assert found.evidence is not None
            assert 0 <= found.evidence.start < found.evidence.end <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        " " * 20_000_000,
        "(" * 100_000,
        "A" * 20_000_000,
        "A  " * 1_000_000,
        "1" * 1_000_000,
        "\n" * 5_000_000,
        "A.:" * 99_999,
        "1.000" * 99_999,
        "TOTAL RM " * 99_999,
    ],
    ids=["blanks", "brackets", "letters", "columns", "digits", "newlines", "labels", "prices", "sums"],
)
@pytest.mark.timeout(20)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    """Twenty megabytes of anything do not hang the rules."""
    find_company(text)
    find_address(text)


@pytest.mark.data
def test_companies_and_addresses_of_the_development_receipts(data: Path) -> None:
    """Over receipts that nobody wrote for us, companies and addresses stay as right as they were measured."""
    right: dict[str, list[bool]] = defaultdict(list)
    addresses: list[bool] = []
    with gzip.open(data / "receipts.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        text = lay_out(row["input"]["text"].split("\n"), row["input"]["boxes"])
        truth = row["truth"]
        found, seen = find_company(text), find_address(text)
        expected = normal_name(truth["company"])
        right[expected].append(found is not None and normal_name(found.value) == expected)
        if truth.get("address"):
            addresses.append(seen is not None and normal_name(seen.value) == normal_name(truth["address"]))
    every = [each for answers in right.values() for each in answers]
    assert sum(every) / len(every) >= 0.93
    assert sum(sum(answers) / len(answers) for answers in right.values()) / len(right) >= 0.87
    assert sum(addresses) / len(addresses) >= 0.86
