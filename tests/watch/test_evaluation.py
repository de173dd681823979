"""What the report of `eval` says of scored rows, and how one row is written."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from rich.console import Console

from stanchion.watch.evaluation import Report, Row, evaluate, line, tables
from stanchion.watch.statistics import wilson

CRITICAL = ["total", "date"]


def scored(row_id: str = "a", outcome: str = "accepted", **fields: Any) -> Row:
    """A row that is right and accepted unless the test says otherwise."""
    correct = {"total": True, "date": True}
    return Row(**{"id": row_id, "outcome": outcome, "rung": "rules", "ms": 1.0, "correct": correct, **fields})


def report_of(*rows: Row) -> Report:
    """The report of a workflow whose critical fields are total and date."""
    return evaluate(rows, critical=CRITICAL)


def shown(report: Report) -> str:
    """The tables as a person sees them."""
    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(*tables(report))
    return captured.get()


def test_accuracy_counts_only_fields_whose_truth_is_known() -> None:
    """Two of three known companies are right; the unknown one is in no denominator."""
    rights = [True, None, False, True]
    report = report_of(*(scored(str(i), correct={"company": right}) for i, right in enumerate(rights)))
    company = report.fields["company"]
    interval = wilson(2, 3)
    assert (company.count, company.of, company.share) == (2, 3, 2 / 3)
    assert (company.low, company.high) == (interval.low, interval.high)


def test_critical_fields_come_first() -> None:
    """The table begins with the fields that matter, then the others by name."""
    report = report_of(scored(correct={"company": True, "address": True, "date": True, "total": True}))
    assert list(report.fields) == ["total", "date", "address", "company"]


def test_only_accepted_rows_are_covered() -> None:
    """What goes to a person, is refused or failed counts only in the denominator; outcomes are listed by name."""
    outcomes = ["accepted", "review", "refused", "failed", "reviewed"]
    report = report_of(*(scored(str(i), outcome) for i, outcome in enumerate(outcomes)))
    assert (report.coverage.count, report.coverage.of) == (1, 5)
    assert list(report.outcomes.items()) == [(outcome, 1) for outcome in sorted(outcomes)]


@pytest.mark.parametrize(
    ("correct", "errors", "of"),
    [
        ({"total": True, "date": True, "company": False}, 0, 1),
        ({"total": False, "date": True}, 1, 1),
        ({"total": False, "date": None}, 1, 1),
        ({"total": True, "date": None}, 0, 0),
        ({"total": True}, 0, 0),
    ],
)
def test_a_silent_error_is_an_accepted_row_with_a_wrong_critical_field(
    correct: dict[str, bool | None], errors: int, of: int
) -> None:
    """One known wrong critical field is enough; without one, every critical field must be known to be right."""
    silent = report_of(scored(correct=correct)).silent_errors
    assert (silent.count, silent.of) == (errors, of)


def test_errors_that_a_person_sees_are_not_silent() -> None:
    """A wrong answer that goes to review is no silent error."""
    assert report_of(scored(outcome="review", correct={"total": False, "date": False})).silent_errors.of == 0


def test_a_workflow_without_critical_fields_has_no_silent_errors_to_count() -> None:
    """Nothing to be wrong about is unknown, not perfect."""
    report = evaluate([scored("a"), scored("b")], critical=[])
    assert report.silent_errors.share is None
    assert report.tuned is None


def test_every_row_belongs_to_one_rung() -> None:
    """Rungs come in the order in which they are climbed; rows without one are counted as `none`."""
    wrong = {"total": False, "date": True}
    report = report_of(
        scored("a", "refused", rung=None, correct={}),
        scored("b", rung="model", correct=wrong),
        scored("c", "review", rung="model"),
        scored("d", rung="rules"),
    )
    assert list(report.rungs) == ["rules", "model", "none"]
    model = report.rungs["model"]
    assert (model.rows, model.accepted, model.silent_errors.count) == (2, 1, 1)
    assert sum(figures.rows for figures in report.rungs.values()) == report.rows


def test_cost_is_summed_as_money() -> None:
    """A tenth and two tenths are three tenths, and three rows share them."""
    report = report_of(scored(cost_usd="0.1", calls=1), scored(cost_usd="0.2", calls=2), scored(cost_usd="0"))
    assert (report.cost.calls, report.cost.total_usd, report.cost.per_row_usd) == (3, Decimal("0.3"), Decimal("0.1"))


def test_one_unknown_price_makes_the_total_unknown() -> None:
    """A sum over some of the rows would be taken for the whole."""
    cost = report_of(scored(cost_usd="0.1", calls=1), scored(cost_usd=None, calls=1)).cost
    assert (cost.calls, cost.total_usd, cost.per_row_usd) == (2, None, None)


def test_percentiles_are_times_of_real_rows() -> None:
    """Of the times 1 to 21 ms, the nearest-rank median is 11 and the 95th percentile 20."""
    latency = report_of(*(scored(str(ms), ms=ms) for ms in range(21, 0, -1))).latency
    assert (latency.p50_ms, latency.p95_ms) == (11, 20)


def test_tuned_figures_are_measured_on_companies_that_did_not_choose() -> None:
    """Company b is judged by a's threshold 0.6, so its error slips through; a's rows are all above b's 0.9."""
    right, wrong = {"total": True, "date": True}, {"total": False, "date": True}
    report = report_of(
        *(scored(f"a{i}", confidence=confidence, group="a") for i, confidence in enumerate([0.95, 0.6])),
        *(scored(f"b{i}", confidence=confidence, group="b", correct=right) for i, confidence in enumerate([0.95, 0.9])),
        scored("b2", "review", confidence=0.7, group="b", correct=wrong),
    )
    assert report.tuned is not None
    few = report.tuned.coverage_at_risk
    assert (few.target, few.coverage.count, few.coverage.of) == (0.01, 4, 5)
    assert (few.silent_errors.count, few.silent_errors.of) == (1, 4)
    assert few.thresholds == [0.6, 0.9]
    much = report.tuned.errors_at_coverage
    assert (much.target, much.coverage.count, much.silent_errors.count) == (0.85, 4, 1)
    assert much.thresholds == [0.6, 0.7]


def test_rows_without_a_company_stand_alone() -> None:
    """Two rows without a group are two groups, and one group alone cannot be tuned."""
    assert report_of(scored("a", confidence=0.9), scored("b", confidence=0.9)).tuned is not None
    assert report_of(scored("a", confidence=0.9, group="x"), scored("b", confidence=0.9, group="x")).tuned is None


def test_rows_without_an_answer_count_in_tuned_coverage() -> None:
    """A row whose truth is known but that nobody answered can never be covered."""
    missing = scored("c", "refused", correct={"total": False, "date": False})
    report = report_of(scored("a", confidence=0.9), scored("b", confidence=0.9), missing)
    assert report.tuned is not None
    assert (report.tuned.coverage_at_risk.coverage.count, report.tuned.coverage_at_risk.coverage.of) == (2, 3)


def test_no_rows_give_nulls() -> None:
    """An empty dataset is reported, not raised."""
    report = report_of().to_json_dict()
    nothing = {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    assert report == {
        "rows": 0,
        "critical": CRITICAL,
        "fields": {"total": nothing, "date": nothing},
        "coverage": nothing,
        "silent_errors": nothing,
        "rungs": {},
        "outcomes": {},
        "cost": {"calls": 0, "total_usd": None, "per_row_usd": None},
        "latency": {"p50_ms": None, "p95_ms": None},
        "tuned": None,
    }
    assert "unknown" in shown(report_of())


def test_money_in_the_report_is_a_string_without_exponent() -> None:
    """A tenth of a millionth of a dollar is written out."""
    cost = report_of(scored(cost_usd="1E-7")).to_json_dict()["cost"]
    assert cost == {"calls": 0, "total_usd": "0.0000001", "per_row_usd": "0.0000001"}


def test_the_tables_say_what_the_report_says() -> None:
    """A person reads the same figures with their intervals, and what they were counted from."""
    rows = [scored(str(i), confidence=0.9, cost_usd="0.5", calls=1, ms=20.0) for i in range(9)]
    text = shown(report_of(*rows, scored("x", "review", rung="model", confidence=0.1, ms=20.0)))
    interval = wilson(9, 10)
    assert "10 rows" in text
    assert "silent errors (total, date)" in text
    assert f"90.0% │ {interval.low:.1%} to {interval.high:.1%} │ 9 of 10" in text
    assert "tuned to 85% coverage, out of fold" in text
    assert "unknown" in text.split("cost in USD, all rows")[1].splitlines()[0]
    assert text.index("Accuracy per field") < text.index("Per rung")


verdicts_known = st.sampled_from([True, False, None])
any_row = st.builds(
    Row,
    id=st.text("abcdef", min_size=1, max_size=3),
    outcome=st.sampled_from(["accepted", "review", "refused", "failed"]),
    rung=st.sampled_from(["rules", "model", "repair", "fallback", None]),
    confidence=st.none() | st.floats(0, 1),
    calls=st.integers(0, 3),
    cost_usd=st.none() | st.decimals(0, 1, places=6),
    ms=st.floats(0, 1e6),
    correct=st.fixed_dictionaries({"total": verdicts_known}, optional={"date": verdicts_known, "x": verdicts_known}),
    group=st.none() | st.sampled_from("pqr"),
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(rows=st.lists(any_row, max_size=15), data=st.data())
def test_the_order_of_rows_makes_no_difference(rows: list[Row], data: st.DataObject) -> None:
    """Shuffled rows give the same report, and it is JSON without NaN."""
    report = report_of(*rows)
    assert report_of(*data.draw(st.permutations(rows))) == report
    assert json.loads(json.dumps(report.to_json_dict(), allow_nan=False)) == report.to_json_dict()


@pytest.mark.parametrize("confidence", [float("nan"), -0.1, 1.1])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    """A row with a confidence that is none cannot be made, so no report can hold it."""
    with pytest.raises(ValidationError):
        scored(confidence=confidence)


def test_a_row_is_one_line_of_json_in_a_fixed_order() -> None:
    """The line says exactly what the issue promised, without truth or group, and in the letters of the document."""
    row = scored(
        "café-1",
        rung="model",
        output={"company": "Café Ünï", "total": "12.50", "items": []},
        confidence=0.75,
        verdicts=[{"decision": "accept"}],
        calls=2,
        cost_usd="0.0010",
        ms=12.5,
        group="secret",
    )
    assert line(row) == (
        '{"id": "café-1", "outcome": "accepted", "rung": "model", "output": {"company": "Café Ünï", "total": "12.50", '
        '"items": []}, "confidence": 0.75, "verdicts": [{"decision": "accept"}], "calls": 2, "cost_usd": "0.0010", '
        '"ms": 12.5}'
    )


def test_unknown_is_null() -> None:
    """What nobody knows is written as null, not left out."""
    written = json.loads(line(Row(id="a", outcome="refused", ms=0)))
    assert (written["rung"], written["confidence"], written["cost_usd"], written["output"]) == (None, None, None, {})


class Amount(BaseModel):
    """A model inside an output."""

    value: Decimal


def test_python_values_become_json_values() -> None:
    """Money is a string of digits, a date ISO 8601, a model its fields; no float that JSON does not know remains."""
    output = {
        "total": Decimal("1E+2"),
        "date": date(2018, 3, 5),
        "nested": (Amount(value=Decimal("0.10")), float("nan"), float("inf"), {"x"}),
        "nan": Decimal("NaN"),
    }
    assert json.loads(line(scored(output=output)))["output"] == {
        "total": "100",
        "date": "2018-03-05",
        "nested": [{"value": "0.10"}, None, None, ["x"]],
        "nan": None,
    }


def test_half_characters_can_be_written_to_a_file() -> None:
    """A lone surrogate from a broken document becomes U+FFFD; emoji, controls and line ends survive on one line."""
    written = line(scored(output={"company\ud800": "a\udc00b \U0001f9fe \n\x00"}))
    assert json.loads(written.encode())["output"] == {"company\ufffd": "a\ufffdb \U0001f9fe \n\x00"}
    assert "\n" not in written
