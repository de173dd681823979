"""What a dataset with known answers says about a workflow: `evaluate` turns scored rows into the report of `eval`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic_core import to_jsonable_python

from stanchion.verdict import Rung
from stanchion.watch.statistics import OutOfFold, out_of_fold, out_of_fold_at_coverage, wilson

if TYPE_CHECKING:
    from rich.table import Table

MAX_RISK = 0.01
"""The silent errors we tune for: of a hundred rows that nobody looks at, one may be wrong."""

COVERAGE = 0.85
"""The coverage we tune for: of a hundred rows, at most fifteen go to a person."""

NO_RUNG = "none"
"""Stands in the report for rows that ended before any rung gave a value, such as refused ones."""

Money = Annotated[Decimal, PlainSerializer(lambda amount: format(amount, "f"), return_type=str, when_used="json")]
"""An amount of money; a string in JSON, never in scientific notation."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Row(_Record):
    """One row of a dataset after its run, scored against the truth.

    Args:
        id: the row's id in the dataset.
        outcome: how its run ended; `accepted` where nobody would look, `review` where it would go to a person.
        rung: where the output came from; None where nothing was found.
        output: field name to value.
        confidence: probability, 0 to 1, that the output is right; None where nobody can say or nothing was found.
        verdicts: what guards and rules said, in order.
        calls: number of requests to a model.
        cost_usd: what they cost; None where a price is unknown.
        ms: time from start to outcome, in milliseconds.
        correct: field name to whether the value is right; None where the truth is missing.
        group: what the row shares with others, such as its company, so that thresholds are not chosen on its siblings;
            None for a row that stands alone.
    """

    id: str
    outcome: str
    rung: Rung | None = None
    output: dict[str, Any] = {}
    confidence: float | None = Field(default=None, ge=0, le=1)
    verdicts: list[Any] = []
    calls: int = Field(default=0, ge=0)
    cost_usd: Money | None = None
    ms: float = Field(ge=0)
    correct: dict[str, bool | None] = {}
    group: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether nobody would look at it."""
        return self.outcome == "accepted"


class Share(_Record):
    """A counted share with its 95 % Wilson interval; the last three are None where there is nothing to count.

    Args:
        count: how many.
        of: of how many.
        share: the one divided by the other, 0 to 1.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    count: int
    of: int
    share: float | None
    low: float | None
    high: float | None


class RungFigures(_Record):
    """What came from one rung.

    Args:
        rows: number of rows whose output came from it.
        accepted: number of those that nobody would look at.
        silent_errors: errors among the accepted rows whose truth is known.
    """

    rows: int
    accepted: int
    silent_errors: Share


class Cost(_Record):
    """Calls and money of all rows.

    Args:
        calls: number of requests to a model.
        total_usd: their price; None where the price of any row is unknown, because a part looks like a whole.
        per_row_usd: the same per row, to six digits.
    """

    calls: int
    total_usd: Money | None
    per_row_usd: Money | None


class Latency(_Record):
    """Time from start to outcome in milliseconds; None without rows. Percentiles are by nearest rank: a real row's."""

    p50_ms: float | None
    p95_ms: float | None


class OperatingPoint(_Record):
    """Where a threshold on confidence alone would put the workflow, measured on rows that had no part in choosing it.

    Args:
        target: what was asked for, 0 to 1: the largest risk, or the smallest coverage, on the rows that chose.
        coverage: accepted rows among all rows whose truth is known.
        silent_errors: wrong rows among the accepted ones.
        thresholds: the threshold of each fold; None where none would do.
    """

    target: float
    coverage: Share
    silent_errors: Share
    thresholds: list[float | None]


class Tuned(_Record):
    """The two questions asked of a confidence: how much at few errors, and how many errors at much."""

    coverage_at_risk: OperatingPoint
    errors_at_coverage: OperatingPoint


class Report(_Record):
    """Every figure of `eval`.

    Args:
        rows: number of rows.
        critical: the fields that make an accepted row a silent error when one of them is wrong.
        fields: per field, how many values are right of those whose truth is known; critical fields first.
        coverage: accepted rows among all rows.
        silent_errors: accepted rows with a wrong critical field, among the accepted rows whose truth is known.
        rungs: the same per rung, in the order in which they are climbed; `none` where no rung gave a value.
        outcomes: number of rows per outcome.
        cost: calls and money.
        latency: time per row.
        tuned: what other thresholds would give; None where fewer than two groups have a known truth.
    """

    rows: int
    critical: list[str]
    fields: dict[str, Share]
    coverage: Share
    silent_errors: Share
    rungs: dict[str, RungFigures]
    outcomes: dict[str, int]
    cost: Cost
    latency: Latency
    tuned: Tuned | None

    def to_json_dict(self) -> dict[str, Any]:
        """The report as plain JSON values: money as strings, unknown as None, no NaN."""
        return self.model_dump(mode="json")


def evaluate(rows: Sequence[Row], *, critical: Sequence[str]) -> Report:
    """Counts what the rows say; their order makes no difference.

    Args:
        rows: one per row of the dataset, also those without an answer.
        critical: the fields whose errors matter: a row is wrong when one of them is known to be wrong, right when all
            are known to be right, and otherwise left out of every count of errors.
    """
    return Report(
        rows=len(rows),
        critical=list(critical),
        fields={field: _accuracy(rows, field) for field in _field_names(rows, critical)},
        coverage=_share(sum(row.accepted for row in rows), len(rows)),
        silent_errors=_silent_errors(rows, critical),
        rungs=_rungs(rows, critical),
        outcomes=dict(sorted(Counter(row.outcome for row in rows).items())),
        cost=_cost(rows),
        latency=_latency([row.ms for row in rows]),
        tuned=_tuned(rows, critical),
    )


def line(row: Row) -> str:
    """The row as one line of JSON for `eval --out`: money as strings, dates in ISO 8601, unknown as null."""
    fields = {
        "id": row.id,
        "outcome": row.outcome,
        "rung": row.rung,
        "output": row.output,
        "confidence": row.confidence,
        "verdicts": row.verdicts,
        "calls": row.calls,
        "cost_usd": row.cost_usd,
        "ms": row.ms,
    }
    return json.dumps(_plain(fields), ensure_ascii=False, allow_nan=False)


def tables(report: Report) -> list[Table]:
    """The report as tables for people, in the order in which they are read."""
    return [_summary_table(report), _fields_table(report), _rungs_table(report)]


def _is_wrong(row: Row, critical: Sequence[str]) -> bool | None:
    verdicts = [row.correct.get(field) for field in critical]
    if False in verdicts:
        return True
    return None if None in verdicts or not verdicts else False


def _field_names(rows: Sequence[Row], critical: Sequence[str]) -> list[str]:
    others = {field for row in rows for field in row.correct} - set(critical)
    return [*critical, *sorted(others)]


def _accuracy(rows: Sequence[Row], field: str) -> Share:
    known = [right for row in rows if (right := row.correct.get(field)) is not None]
    return _share(sum(known), len(known))


def _silent_errors(rows: Sequence[Row], critical: Sequence[str]) -> Share:
    known = [wrong for row in rows if row.accepted and (wrong := _is_wrong(row, critical)) is not None]
    return _share(sum(known), len(known))


def _rungs(rows: Sequence[Row], critical: Sequence[str]) -> dict[str, RungFigures]:
    figures: dict[str, RungFigures] = {}
    for rung in (*get_args(Rung), None):
        its_rows = [row for row in rows if row.rung == rung]
        if its_rows:
            accepted = sum(row.accepted for row in its_rows)
            errors = _silent_errors(its_rows, critical)
            figures[rung or NO_RUNG] = RungFigures(rows=len(its_rows), accepted=accepted, silent_errors=errors)
    return figures


def _cost(rows: Sequence[Row]) -> Cost:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    total = sum(known, Decimal()) if rows and len(known) == len(rows) else None
    per_row = None if total is None else Context(prec=6).divide(total, Decimal(len(rows)))
    return Cost(calls=sum(row.calls for row in rows), total_usd=total, per_row_usd=per_row)


def _latency(times: Sequence[float]) -> Latency:
    ordered = sorted(times)

    def nearest_rank(percent: int) -> float | None:
        return ordered[math.ceil(percent * len(ordered) / 100) - 1] if ordered else None

    return Latency(p50_ms=nearest_rank(50), p95_ms=nearest_rank(95))


def _tuned(rows: Sequence[Row], critical: Sequence[str]) -> Tuned | None:
    known = [(row, wrong) for row in rows if (wrong := _is_wrong(row, critical)) is not None]
    confidences = [row.confidence for row, _ in known]
    wrongs = [wrong for _, wrong in known]
    groups = [f"row {row.id}" if row.group is None else f"group {row.group}" for row, _ in known]
    if len(set(groups)) < 2:
        return None
    return Tuned(
        coverage_at_risk=_operating_point(MAX_RISK, out_of_fold(confidences, wrongs, groups, max_risk=MAX_RISK)),
        errors_at_coverage=_operating_point(
            COVERAGE, out_of_fold_at_coverage(confidences, wrongs, groups, coverage=COVERAGE)
        ),
    )


def _operating_point(target: float, result: OutOfFold) -> OperatingPoint:
    return OperatingPoint(
        target=target,
        coverage=_share(result.accepted, result.rows),
        silent_errors=_share(result.errors, result.accepted),
        thresholds=list(result.thresholds),
    )


def _share(count: int, of: int) -> Share:
    if of == 0:
        return Share(count=0, of=0, share=None, low=None, high=None)
    interval = wilson(count, of)
    return Share(count=count, of=of, share=count / of, low=interval.low, high=interval.high)


def _plain(value: Any) -> Any:
    """The value as JSON knows it; half characters (lone surrogates), which no file can hold, become U+FFFD."""
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return format(value, "f") if value.is_finite() else None
        case BaseModel():
            return _plain(value.model_dump())
        case Mapping():
            return {_plain(str(key)): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return to_jsonable_python(value, fallback=str)


def _summary_table(report: Report) -> Table:
    table = _table(f"{report.rows} rows", "figure", "value", "95 % interval", "count")
    errors = f"silent errors ({', '.join(report.critical)})"
    _add_share(table, "coverage: accepted without a person", report.coverage)
    _add_share(table, errors, report.silent_errors)
    if report.tuned:
        few, much = report.tuned.coverage_at_risk, report.tuned.errors_at_coverage
        _add_share(table, f"tuned to {few.target:.0%} errors, out of fold: coverage", few.coverage)
        _add_share(table, "  silent errors there", few.silent_errors)
        _add_share(table, f"tuned to {much.target:.0%} coverage, out of fold: silent errors", much.silent_errors)
        _add_share(table, "  coverage there", much.coverage)
    table.add_section()
    for outcome, count in report.outcomes.items():
        table.add_row(f"outcome {outcome}", str(count))
    table.add_section()
    cost, latency = report.cost, report.latency
    table.add_row("model calls", str(cost.calls))
    table.add_row("cost in USD, all rows", _or_unknown(cost.total_usd, "f"))
    table.add_row("cost in USD, per row", _or_unknown(cost.per_row_usd, "f"))
    table.add_row("time per row in ms, median", _or_unknown(latency.p50_ms, ".1f"))
    table.add_row("time per row in ms, 95th percentile", _or_unknown(latency.p95_ms, ".1f"))
    return table


def _fields_table(report: Report) -> Table:
    table = _table("Accuracy per field", "field", "right", "95 % interval", "count")
    for field, share in report.fields.items():
        _add_share(table, field, share)
    return table


def _rungs_table(report: Report) -> Table:
    table = _table("Per rung", "rung", "rows", "accepted", "silent errors", "95 % interval")
    for rung, figures in report.rungs.items():
        errors = figures.silent_errors
        table.add_row(rung, str(figures.rows), str(figures.accepted), f"{errors.count} of {errors.of}", _ends(errors))
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    from rich.table import Table  # slow to import

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _add_share(table: Table, name: str, share: Share) -> None:
    table.add_row(name, _or_unknown(share.share, ".1%"), _ends(share), f"{share.count} of {share.of}")


def _ends(share: Share) -> str:
    return "" if share.low is None or share.high is None else f"{share.low:.1%} to {share.high:.1%}"


def _or_unknown(value: float | Decimal | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)
