"""How sure a share is, and what a threshold on confidence lets through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.errors import UsageError
from stanchion.watch.statistics import (
    OutOfFold,
    Point,
    assign_folds,
    coverage_at_risk,
    out_of_fold,
    out_of_fold_at_coverage,
    risk_at_coverage,
    risk_coverage,
    wilson,
)

quick = settings(derandomize=True, deadline=None, max_examples=100)

scored = st.tuples(st.sampled_from([None, 0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans(), st.sampled_from("abcdefg"))
some_rows = st.lists(scored, max_size=40)


def columns(rows: list[tuple[float | None, bool, str]]) -> tuple[list[float | None], list[bool], list[str]]:
    """The rows as the three columns that the functions take."""
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    """The score intervals of Newcombe, Statistics in Medicine 17 (1998), table I, method 3, to four digits."""
    interval = wilson(successes, trials)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_narrows_with_a_lower_level() -> None:
    """An interval that may miss more often is narrower on both sides."""
    wide, narrow = wilson(8, 10), wilson(8, 10, level=0.5)
    assert wide.low < narrow.low < 0.8 < narrow.high < wide.high


@pytest.mark.parametrize(("successes", "trials", "level"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_share(successes: int, trials: int, level: float) -> None:
    """Numbers that describe no share are the caller's mistake, and the message repeats them."""
    with pytest.raises(UsageError, match=f"{successes} of {trials} at {level}"):
        wilson(successes, trials, level)


@quick
@given(trials=st.integers(1, 10_000), data=st.data())
def test_wilson_holds_the_measured_share(trials: int, data: st.DataObject) -> None:
    """The interval lies between 0 and 1 and holds the share that was measured."""
    successes = data.draw(st.integers(0, trials))
    interval = wilson(successes, trials)
    assert 0 <= interval.low <= successes / trials <= interval.high <= 1


def test_the_curve_counts_ties_together_and_unanswered_rows_in_coverage() -> None:
    """Two rows at 0.9 are one point, and the row without a confidence is in every denominator."""
    assert risk_coverage([0.9, 0.5, None, 0.9], [False, True, True, True]) == [
        Point(threshold=0.9, coverage=0.5, accepted=2, errors=1, risk=0.5),
        Point(threshold=0.5, coverage=0.75, accepted=3, errors=2, risk=2 / 3),
    ]


def test_the_curve_of_nothing_is_empty() -> None:
    """Without rows, or without a single answer, there is no threshold to choose."""
    assert risk_coverage([], []) == []
    assert risk_coverage([None, None], [True, False]) == []


def test_columns_of_different_length_are_refused() -> None:
    """Columns that do not speak of the same rows are never cut to fit."""
    with pytest.raises(UsageError, match=r"\[1, 2\]"):
        risk_coverage([0.5], [True, False])
    with pytest.raises(UsageError, match=r"\[1, 2\]"):
        out_of_fold([0.5, 0.5], [True, False], ["a"])


def test_a_confidence_that_is_not_a_number_is_refused() -> None:
    """NaN compares false with every threshold and would quietly spoil the order."""
    with pytest.raises(UsageError, match="NaN"):
        risk_coverage([float("nan")], [True])


def test_coverage_at_risk_looks_past_an_early_error() -> None:
    """The most generous point counts, even where a stricter one has too much risk."""
    points = risk_coverage([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, False, False, True])
    found = coverage_at_risk(points, 0.25)
    assert found is not None
    assert (found.threshold, found.accepted, found.errors) == (0.6, 4, 1)
    assert coverage_at_risk(points, 0.2) is None


def test_coverage_at_risk_is_met_exactly() -> None:
    """One error in a hundred is at most 1 %."""
    points = risk_coverage([0.9] * 100, [True] + [False] * 99)
    assert coverage_at_risk(points, 0.01) == points[0]


def test_risk_at_coverage_takes_the_strictest_point_that_covers_enough() -> None:
    """Asked for half of the rows, it takes exactly half where a threshold gives exactly half."""
    points = risk_coverage([0.9, 0.8, 0.7, None], [False, True, True, False])
    found = risk_at_coverage(points, 0.5)
    assert found is not None
    assert (found.threshold, found.risk) == (0.8, 0.5)
    assert risk_at_coverage(points, 0.76) is None


@quick
@given(rows=some_rows, risks=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_more_risk_never_means_less_coverage(
    rows: list[tuple[float | None, bool, str]], risks: tuple[float, float]
) -> None:
    """Whoever tolerates more errors covers at least as many rows."""
    confidences, wrong, _ = columns(rows)
    points = risk_coverage(confidences, wrong)
    strict, generous = (coverage_at_risk(points, risk) for risk in sorted(risks))
    assert (strict.coverage if strict else 0) <= (generous.coverage if generous else 0)


@quick
@given(rows=some_rows)
def test_the_curve_agrees_with_counting_by_hand(rows: list[tuple[float | None, bool, str]]) -> None:
    """Every point says what accepting at its threshold does, and coverage grows along the curve."""
    confidences, wrong, _ = columns(rows)
    points = risk_coverage(confidences, wrong)
    for point in points:
        taken = [
            bad for sure, bad in zip(confidences, wrong, strict=True) if sure is not None and sure >= point.threshold
        ]
        assert (point.accepted, point.errors) == (len(taken), sum(taken))
    assert [point.coverage for point in points] == sorted({point.coverage for point in points})


def test_out_of_fold_uses_the_other_fold_s_threshold() -> None:
    """Computed by hand: company a is judged by b's threshold 0.8 and b by a's 0.3, so b's error slips through."""
    result = out_of_fold(
        confidences=[0.9, 0.3, 0.9, 0.8, 0.4, None],
        wrong=[False, False, False, False, True, False],
        groups=["a", "a", "b", "b", "b", "a"],
        folds=2,
        max_risk=0.1,
    )
    assert result == OutOfFold(rows=6, accepted=4, errors=1, thresholds=(0.8, 0.3))


def test_out_of_fold_accepts_nothing_where_no_threshold_would_do() -> None:
    """A fold whose companions are always wrong gets no threshold, not the lowest one."""
    result = out_of_fold([0.9, 0.9], [True, False], ["a", "b"])
    assert result == OutOfFold(rows=2, accepted=1, errors=1, thresholds=(0.9, None))


def test_errors_at_coverage_out_of_fold_are_counted_on_held_out_rows() -> None:
    """Half of a is covered from 0.8 up, which takes all four rows of b; half of b from 0.9 up, which takes one of a."""
    result = out_of_fold_at_coverage(
        [0.9, 0.8, 0.7, 0.6, 0.95, 0.9, 0.85, 0.82],
        [False, True, False, False, False, False, True, False],
        ["a"] * 4 + ["b"] * 4,
        folds=2,
        coverage=0.5,
    )
    assert (result.rows, result.accepted, result.errors) == (8, 5, 1)
    assert result.thresholds == (0.9, 0.8)


def test_a_coverage_out_of_reach_accepts_every_answer() -> None:
    """Where half of the rows have no answer, 85 % cannot be had, and the coverage that results says so."""
    result = out_of_fold_at_coverage([0.9, None, 0.1, None], [False] * 4, ["a", "a", "b", "b"], coverage=0.85)
    assert (result.rows, result.accepted) == (4, 2)


def test_one_group_alone_has_nobody_to_learn_from() -> None:
    """Out of fold takes two groups; choosing and measuring on the same company would be the lie it avoids."""
    with pytest.raises(UsageError, match="two groups"):
        out_of_fold([0.9, 0.8], [False, False], ["a", "a"])
    with pytest.raises(UsageError, match="two folds"):
        out_of_fold([0.9, 0.8], [False, False], ["a", "b"], folds=1)


def test_folds_are_filled_evenly_by_the_largest_groups_first() -> None:
    """Groups of 4, 2, 2 and 1 rows make folds of 5 and 4 rows."""
    assert assign_folds(list("aaaabbccd"), 2) == [0, 0, 0, 0, 1, 1, 1, 1, 0]


@quick
@given(rows=some_rows, folds=st.integers(2, 6), data=st.data())
def test_a_group_is_never_split_whatever_the_order(
    rows: list[tuple[float | None, bool, str]], folds: int, data: st.DataObject
) -> None:
    """Rows of one group share a fold, and the fold does not depend on the order of the rows."""
    groups = columns(rows)[2]
    fold_of = dict(zip(groups, assign_folds(groups, folds), strict=True))
    assert assign_folds(groups, folds) == [fold_of[group] for group in groups]
    shuffled = data.draw(st.permutations(groups))
    assert assign_folds(shuffled, folds) == [fold_of[group] for group in shuffled]


@quick
@given(rows=some_rows.filter(lambda rows: len({row[2] for row in rows}) > 1), data=st.data())
def test_a_group_s_own_rows_never_choose_its_threshold(
    rows: list[tuple[float | None, bool, str]], data: st.DataObject
) -> None:
    """Turning one group's rights and wrongs around leaves the threshold of its own fold as it was."""
    confidences, wrong, groups = columns(rows)
    group = data.draw(st.sampled_from(groups))
    turned = [not bad if its_group == group else bad for bad, its_group in zip(wrong, groups, strict=True)]
    fold = assign_folds(groups, min(5, len(set(groups))))[groups.index(group)]
    before, after = out_of_fold(confidences, wrong, groups), out_of_fold(confidences, turned, groups)
    assert before.thresholds[fold] == after.thresholds[fold]
