"""Rules and a model are weighed by what stands on the page: agreement is believed, invention is not."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.graphs.receipts_rules import quick, thorough
from stanchion.graphs.receipts_weigh import as_date, as_money, weigh
from stanchion.text.dates import parse_date
from stanchion.text.layout import lay_out
from stanchion.text.money import parse_money
from stanchion.verdict import Candidate, Rung, Source

SURE = 0.97

CLEAR = Source(
    text="LILY MART\nDATE : 04/03/2018 18:08\nTEH O  6.00\nROTI  5.25\nTOTAL  11.25\nCASH  20.00\nCHANGE  8.75"
)
FAINT = Source(text="LILY MART\n04/03/2018\nTEH O  6.00\nROTI  5.25\n11.25")


def rules(source: Source, rung: Rung = "rules") -> Candidate:
    found = (quick if rung == "rules" else thorough)(source)
    return Candidate(rung=rung, output={name: item.value for name, item in found.items()}, found=found)


def model(rung: Rung = "model", **output: Any) -> Candidate:
    return Candidate(rung=rung, output=output, claimed=0.95)


def test_rules_and_model_that_agree_are_believed() -> None:
    """Where both say the same of a clear page, date and total together are sure."""
    chosen = weigh(CLEAR, [rules(CLEAR), model(date="2018-03-04", total=11.25)])
    assert (chosen["date"].value, chosen["total"].value) == ("2018-03-04", "11.25")
    assert chosen["date"].confidence * chosen["total"].confidence >= SURE
    assert chosen["total"].rung == "model"


def test_a_model_that_swaps_day_and_month_is_overruled() -> None:
    """The page says day first; a model's swapped reading of the same digits neither wins nor raises a doubt."""
    chosen = weigh(CLEAR, [rules(CLEAR), model(date="2018-04-03", total=11.25)])["date"]
    assert chosen.value == "2018-03-04"
    assert chosen.confidence >= 0.98
    assert chosen.rung == "rules"
    assert weigh(FAINT, [model(date="2018-04-03")])["date"] == weigh(FAINT, [model()])["date"].model_copy(
        update={"reason": "on the page; the model says otherwise"}
    )


def test_a_date_that_only_the_model_saw_leaves_a_doubt() -> None:
    """Another date than the page's may be the picture's: the page wins, but a person should look."""
    assert weigh(FAINT, [rules(FAINT), model(date="2018-11-04", total=11.25)])["date"].value == "2018-03-04"
    assert weigh(FAINT, [rules(FAINT), model(date="2018-11-04", total=11.25)])["date"].confidence < SURE


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        ({"date": "2018-03-05", "total": 11.25}, False),
        ({"date": "2018-03-04", "total": 17.5}, False),
        ({"date": "2018-04-03", "total": 11.25}, True),
        ({"date": "2013-03-04", "total": 11.25}, True),
        ({"date": "2018-03-04", "total": 11.27}, True),
        ({"date": None, "total": None}, True),
    ],
)
def test_only_what_no_slip_explains_contradicts_the_page(said: dict[str, Any], believed: bool) -> None:
    """Another day or amount calls a person even to a clear page; swaps, misread years and roundings are models' slips."""
    chosen = weigh(CLEAR, [rules(CLEAR), model(**said)])
    assert (chosen["date"].value, chosen["total"].value) == ("2018-03-04", "11.25")
    assert (chosen["date"].confidence * chosen["total"].confidence >= 0.95) == believed


def test_an_amount_that_is_nowhere_on_the_page_does_not_win() -> None:
    """A total that the model made up loses against a labelled one."""
    assert weigh(CLEAR, [rules(CLEAR), model(date="2018-03-04", total=17.5)])["total"].value == "11.25"


def test_the_model_decides_where_the_page_is_faint() -> None:
    """Among unlabelled amounts the model's voice picks the total and adds confidence, though not enough to accept."""
    alone = weigh(FAINT, [rules(FAINT, "fallback")])["total"]
    chosen = weigh(FAINT, [rules(FAINT), model(total="RM 6.00")])["total"]
    assert (alone.value, chosen.value) == ("11.25", "6.00")
    assert chosen.confidence < SURE


def test_without_a_model_only_a_clear_page_is_sure() -> None:
    """Rules alone reach the threshold on a page where labels and arithmetic agree, and not on a faint one."""
    sure, unsure = (weigh(source, [rules(source, "fallback")]) for source in (CLEAR, FAINT))
    assert sure["date"].confidence * sure["total"].confidence >= SURE
    assert unsure["date"].confidence * unsure["total"].confidence < 0.9


def test_the_last_answer_of_the_model_counts() -> None:
    """After a repair, what the model said before is not weighed."""
    candidates = [rules(FAINT), model(total=6.00), model("repair", total=11.25)]
    assert weigh(FAINT, candidates)["total"].value == "11.25"


def test_other_fields_come_from_the_most_trusted_rung() -> None:
    """A confident rule beats the model's brand name, and a field that only the model has is taken from it."""
    source = Source(text="SUNRISE MART SDN BHD\n(123456-X)\nNO 5, JALAN BUNGA 2,\nTOTAL  5.00")
    chosen = weigh(source, [rules(source), model(company="Sunrise", address="elsewhere", items=[])])
    assert chosen["company"].value == "SUNRISE MART SDN BHD"
    assert chosen["items"].value is None


def test_a_blank_page_has_no_value_and_no_confidence() -> None:
    """Without text and without a model, date and total are None with probability 0."""
    chosen = weigh(Source(text=""), [])
    assert [(chosen[name].value, chosen[name].confidence) for name in ("date", "total")] == [(None, 0.0)] * 2


def test_a_model_alone_on_a_blank_page_is_not_believed() -> None:
    """A page that shows neither date nor total cannot confirm the model's."""
    chosen = weigh(Source(text="HELLO"), [model(date="2018-03-04", total=5)])
    assert chosen["date"].confidence < 0.9
    assert chosen["total"].confidence < 0.9


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "5.00"),
        (8.2, "8.20"),
        ("RM 8.20", "8.20"),
        (None, None),
        (True, None),
        ([], None),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_amounts_of_odd_types_are_read_or_left(value: Any, expected: str | None) -> None:
    """Numbers and texts become cents; anything else is no amount."""
    assert as_money(value) == (None if expected is None else Decimal(expected))


def test_dates_of_odd_types_are_read_or_left() -> None:
    """Texts are read as dates, anything else is none."""
    assert as_date("2018-03-04T10:00:00") == date(2018, 3, 4)
    assert [as_date(value) for value in (None, 20180304, ["2018-03-04"], "YYYY-MM-DD")] == [None] * 4


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries(dict.fromkeys(("date", "total", "company", "items", "tax"), json_values)))
@settings(max_examples=100)
def test_no_answer_of_a_model_breaks_the_weighing(output: dict[str, Any]) -> None:
    """Whatever JSON a model gives, every choice has a probability, and the page's own values stay."""
    chosen = weigh(CLEAR, [rules(CLEAR), model(**output)])
    assert all(0 <= choice.confidence <= 1 for choice in chosen.values())
    assert chosen["date"].value is not None


@pytest.mark.data
def test_silent_errors_are_rare_on_real_receipts(data: Path) -> None:
    """With a recorded model at least 85 % of the receipts are accepted, and at most 1 % of those wrongly."""
    accepted = []
    with gzip.open(data / "receipts.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        source = Source(text=lay_out(row["input"]["text"].split("\n"), row["input"]["boxes"]))
        answer = row["recorded"].get("gpt-4o-2024-05-13")
        other = model(**json.loads(answer)) if answer else rules(source, "fallback")
        chosen = weigh(source, [rules(source), other])
        if chosen["date"].confidence * chosen["total"].confidence >= SURE:
            day, total = parse_date(row["truth"]["date"]), parse_money(row["truth"]["total"])
            right = as_date(chosen["date"].value) == day and total in (None, as_money(chosen["total"].value))
            accepted.append(right)
    assert len(accepted) >= 0.85 * len(rows)
    assert accepted.count(False) <= 0.01 * len(accepted)
