"""The demo's documents: of our own making, well-formed, and of every kind the demo promises."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

FIELDS = {"company", "address", "date", "currency", "subtotal", "tax", "total", "items", "confidence"}


def demo_rows() -> list[dict[str, Any]]:
    """All rows of the demo, read as `stanchion demo` finds them: inside the package."""
    text = (files("stanchion.graphs") / "demo" / "receipts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


ROWS = demo_rows()


def letters(text: str) -> str:
    """The text as one line of lower-case words, so that case, spacing and punctuation make no difference."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def recorded(row: dict[str, Any]) -> list[str]:
    """The row's recorded answers, the first one first."""
    answers = row["recorded"].get("demo", [])
    return [answers] if isinstance(answers, str) else answers


def test_ids_are_unique_and_speak() -> None:
    """Ids are words that say what the row shows, and no two rows share one."""
    ids = [row["id"] for row in ROWS]
    assert len(set(ids)) == len(ids) >= 30
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name in ids)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row_has_the_dataset_s_shape(row: dict[str, Any]) -> None:
    """Every row is a text or a named file, recorded answers of the model `demo`, and a truth."""
    assert set(row) == {"id", "input", "recorded", "truth"}
    assert set(row["input"]) in ({"text"}, {"name", "data"})
    assert set(row["recorded"]) <= {"demo"}
    assert all(isinstance(answer, str) and answer for answer in recorded(row))
    assert set(row["truth"]) <= {"company", "date", "address", "total"}


@pytest.mark.parametrize("row", [row for row in ROWS if "data" in row["input"]], ids=lambda row: row["id"])
def test_files_are_base64(row: dict[str, Any]) -> None:
    """A file's bytes decode, and its beginning is that of the format which its name claims."""
    try:
        data = base64.b64decode(row["input"]["data"], validate=True)
    except binascii.Error:
        pytest.fail("not base64")
    assert data.startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[row["input"]["name"].split(".")[-1]])


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["truth"] and "text" in row["input"]], ids=lambda row: row["id"]
)
def test_the_truth_stands_in_the_text(row: dict[str, Any]) -> None:
    """Company, address and total of the truth can be found in the receipt, line breaks aside."""
    text, truth = letters(row["input"]["text"]), row["truth"]
    assert all(letters(truth[field]) in text for field in ("company", "address", "total"))
    assert 12 <= len(row["input"]["text"].splitlines()) <= 35


@pytest.mark.parametrize("row", [row for row in ROWS if "clean" in row["id"]], ids=lambda row: row["id"])
def test_clean_answers_are_right_and_add_up(row: dict[str, Any]) -> None:
    """A clean row's one answer is a receipt that agrees with the truth and whose items make up its total."""
    (raw,) = recorded(row)
    answer = json.loads(raw, parse_float=lambda number: round(float(number) * 100), parse_int=lambda n: int(n) * 100)
    assert set(answer) == FIELDS
    assert (answer["date"], answer["total"]) == (row["truth"]["date"], round(float(row["truth"]["total"]) * 100))
    assert letters(answer["company"]) == letters(row["truth"]["company"])
    for item in answer["items"]:
        assert item["quantity"] * item["unit_price"] == item["total_price"] * 100
    assert sum(item["total_price"] for item in answer["items"]) in {answer["subtotal"], answer["total"]}
    assert abs(answer["subtotal"] + answer["tax"] - answer["total"]) <= 2  # sen: rounded to five


def test_the_demo_shows_every_way_of_a_run() -> None:
    """There are clean, repaired, unanswered, hopeless, contradicting and unreadable documents to show."""
    lengths = [len(recorded(row)) for row in ROWS if row["truth"]]
    assert sum("clean" in row["id"] for row in ROWS) >= 10
    assert sum("repaired" in row["id"] for row in ROWS) == 3
    assert lengths.count(0) == 3
    assert sum("refuses" in row["id"] for row in ROWS) == 2
    assert sum(not row["truth"] for row in ROWS) >= 6


@pytest.mark.data
def test_no_shop_is_taken_from_the_development_data(data: Path) -> None:
    """No company or address of the demo occurs in any development receipt: all are invented."""
    with gzip.open(data / "receipts.jsonl.gz", "rt", encoding="utf-8") as lines:
        others = [json.loads(line) for line in lines]
    known = "\n".join(letters(f"{row['input']['text']}\n{row['truth'].get('company', '')}") for row in others)
    ours = {letters(row["truth"][field]) for row in ROWS for field in ("company", "address") if row["truth"]}
    assert {text for text in ours if text in known} == set()
