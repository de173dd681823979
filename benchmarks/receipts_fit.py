"""Fits and judges the numbers that decide about receipts, always out of fold by company.

Run from the repository root: `python benchmarks/receipts_fit.py [DATASET]` (about a minute). It prints

- how right the rules alone are on date and total, over rows and as a mean over companies;
- what `weigh` makes of the rules and a recorded model: coverage at 1 % silent errors, errors at 85 % coverage, and
  both with the threshold chosen on the other folds;
- the same with `WEIGHTS` and `MODEL` fitted on the other folds: a conditional logit (which of the amounts on the page
  is the total?) with a Gaussian prior around the committed weights. Commit fitted ones only if they do better here.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import binomtest
from sklearn.model_selection import GroupKFold

from stanchion.graphs import receipts_weigh
from stanchion.graphs.receipts_page import Page
from stanchion.graphs.receipts_rules import SIGNALS, WEIGHTS, quick, thorough
from stanchion.graphs.receipts_weigh import as_date, as_money, weigh
from stanchion.text.dates import parse_date
from stanchion.text.layout import lay_out
from stanchion.text.money import parse_money
from stanchion.verdict import Candidate, Found, Source

MODEL = "gpt-4o-2024-05-13"
FOLDS = 10
STIFFNESS = 10.0  # of the prior: one over the variance by which a weight may leave its committed value
RISK, COVERAGE = 0.01, 0.85
MODEL_VOICE = "the model says so"


@dataclass(frozen=True)
class Row:
    """One receipt with its truth and, if recorded, the model's answer."""

    source: Source
    company: str
    day: Any
    total: Decimal | None
    answer: dict[str, Any] | None


@dataclass(frozen=True)
class Judged:
    """What came out for one row: how sure, and whether date and total are right."""

    confidence: float
    right: bool


def read(path: Path) -> list[Row]:
    rows = []
    with gzip.open(path, "rt") as lines:
        for row in map(json.loads, lines):
            text, truth = row["input"]["text"], row["truth"]
            answer = row["recorded"].get(MODEL)
            rows.append(
                Row(
                    source=Source(text=lay_out(text.split("\n"), row["input"].get("boxes", []))),
                    company="".join(filter(str.isalpha, truth["company"].lower())),
                    day=parse_date(truth["date"]),
                    total=parse_money(truth["total"]),
                    answer=json.loads(answer) if answer else None,
                )
            )
    return rows


def rules_alone(rows: list[Row]) -> None:
    for rules in (quick, thorough):
        found = [rules(row.source) for row in rows]
        days = [_value(item, "date", as_date) == row.day for item, row in zip(found, rows, strict=True)]
        totals = [_value(item, "total", as_money) == row.total for item, row in zip(found, rows, strict=True)]
        readable = [index for index, row in enumerate(rows) if row.total is not None]
        print(f"{rules.__name__:9} date  {_share(days)}, mean over companies {_by_company(rows, days):.2%}")
        totals = [totals[index] for index in readable]
        of = [rows[index] for index in readable]
        print(f"{rules.__name__:9} total {_share(totals)}, mean over companies {_by_company(of, totals):.2%}")


def _value(found: dict[str, Found], field: str, read_as: Any) -> Any:
    return read_as(found[field].value) if field in found else None


def judge(row: Row, *, with_model: bool) -> Judged:
    """Decide about one row as the graph does: quick rules, then the model, or thorough rules where there is none."""
    candidates = [_candidate("rules", quick(row.source))]
    if with_model and row.answer is not None:
        candidates.append(Candidate(rung="model", output=row.answer))
    else:
        candidates.append(_candidate("fallback", thorough(row.source)))
    chosen = weigh(row.source, candidates)
    day, total = as_date(chosen["date"].value), as_money(chosen["total"].value)
    right = day == row.day and (row.total is None or total == row.total)
    return Judged(chosen["date"].confidence * chosen["total"].confidence, right)


def _candidate(rung: Any, found: dict[str, Found]) -> Candidate:
    return Candidate(rung=rung, output={field: item.value for field, item in found.items()}, found=found)


def fit(rows: list[Row]) -> dict[str, float]:
    """Fit the weights: per receipt the likelihood of the true total among all amounts, companies weighted by sqrt."""
    names, start = [*SIGNALS, MODEL_VOICE], np.array([*WEIGHTS.values(), receipts_weigh.MODEL])
    sizes = Counter(row.company for row in rows)
    tables, at, weights = [], [], []
    for row in rows:
        page = Page(row.source.text)
        values = [value for value in page.times if value]
        if row.total is None or abs(row.total) not in values:
            continue
        said = as_money((row.answer or {}).get("total"))
        tables.append(
            [[*(holds(page, v) for holds in SIGNALS.values()), said is not None and abs(said) == v] for v in values]
        )
        at.append(values.index(abs(row.total)))
        weights.append(sizes[row.company] ** -0.5)
    arrays = [np.array(table, dtype=float) for table in tables]
    scale = np.array(weights) * len(weights) / sum(weights)

    def loss(x: Any) -> tuple[float, Any]:
        value, slope = STIFFNESS * ((x - start) ** 2).sum() / 2, STIFFNESS * (x - start)
        for table, right, weight in zip(arrays, at, scale, strict=True):
            scores = table @ x
            chances = np.exp(scores - scores.max())
            chances /= chances.sum()
            value -= weight * np.log(chances[right])
            slope = slope + weight * (chances @ table - table[right])
        return value, slope

    return dict(zip(names, minimize(loss, start, jac=True, method="L-BFGS-B").x.tolist(), strict=True))


@contextmanager
def using(fitted: dict[str, float]) -> Iterator[None]:
    """Put fitted numbers in the place of the committed ones for a while."""
    committed, voice = dict(WEIGHTS), receipts_weigh.MODEL
    WEIGHTS.update({name: value for name, value in fitted.items() if name in WEIGHTS})
    receipts_weigh.MODEL = fitted[MODEL_VOICE]
    try:
        yield
    finally:
        WEIGHTS.update(committed)
        receipts_weigh.MODEL = voice


def folds(rows: list[Row]) -> list[tuple[list[int], list[int]]]:
    split = GroupKFold(FOLDS, shuffle=True, random_state=0).split(rows, groups=[row.company for row in rows])
    return [(rest.tolist(), held.tolist()) for rest, held in split]


def judged_with_fitted(rows: list[Row]) -> list[Judged]:
    judged: dict[int, Judged] = {}
    for rest, held in folds(rows):
        with using(fit([rows[index] for index in rest])):
            judged |= {index: judge(rows[index], with_model=True) for index in held}
    return [judged[index] for index in range(len(rows))]


def report(name: str, rows: list[Row], judged: list[Judged]) -> None:
    ordered = sorted(judged, key=lambda item: -item.confidence)
    errors = np.cumsum([not item.right for item in ordered])
    within = [count for count in range(1, len(ordered) + 1) if errors[count - 1] <= RISK * count]
    most = within[-1] if within else 0
    count = round(COVERAGE * len(ordered))
    wrong = int(errors[count - 1])
    print(f"{name}: right on {sum(item.right for item in judged) / len(judged):.2%} of all rows")
    print(f"  coverage at <= {RISK:.0%} silent errors: {_interval(most, len(rows))}")
    print(f"  silent errors at {COVERAGE:.0%} coverage: {_interval(wrong, count)}")
    accepted = _accepted_out_of_fold(rows, judged)
    wrong = sum(not item.right for item in accepted)
    print(f"  thresholds out of fold: {_interval(len(accepted), len(rows))}, errors {_interval(wrong, len(accepted))}")


def _accepted_out_of_fold(rows: list[Row], judged: list[Judged]) -> list[Judged]:
    accepted = []
    for rest, held in folds(rows):
        threshold = _threshold([judged[index] for index in rest])
        accepted += [judged[index] for index in held if judged[index].confidence >= threshold]
    return accepted


def _threshold(judged: list[Judged]) -> float:
    """The lowest confidence from which at most `RISK` are wrong."""
    best, wrong = 1.0, 0
    for count, item in enumerate(sorted(judged, key=lambda item: -item.confidence), 1):
        wrong += not item.right
        if wrong <= RISK * count:
            best = item.confidence
    return best


def _share(right: list[bool]) -> str:
    return _interval(sum(right), len(right))


def _interval(count: int, of: int) -> str:
    bounds = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count / of:.2%} ({count} of {of}; 95 % {bounds.low:.2%} to {bounds.high:.2%})"


def _by_company(rows: list[Row], right: list[bool]) -> float:
    groups = defaultdict(list)
    for row, item in zip(rows, right, strict=True):
        groups[row.company].append(item)
    return float(np.mean([np.mean(group) for group in groups.values()]))


def main() -> None:
    rows = read(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/receipts.jsonl.gz"))
    rules_alone(rows)
    report("rules alone", rows, [judge(row, with_model=False) for row in rows])
    report(f"rules and {MODEL}, committed weights", rows, [judge(row, with_model=True) for row in rows])
    report(f"rules and {MODEL}, weights fitted on the other folds", rows, judged_with_fitted(rows))
    print("fitted on all rows:", {name: round(value, 1) for name, value in fit(rows).items()})


if __name__ == "__main__":
    main()
