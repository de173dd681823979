"""How sure a measured share is, and how many errors a threshold on confidence lets through.

A row is *accepted* at a threshold when its confidence reaches it. *Coverage* is the accepted share of all rows, *risk*
the share of errors among the accepted ones (El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
Classification", JMLR 11, 2010). A row without a confidence is never accepted and still counts in coverage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from stanchion.errors import UsageError

Confidences = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval for a share, 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """What happens when every row is accepted whose confidence is at least `threshold`.

    Args:
        threshold: the lowest accepted confidence, 0 to 1.
        coverage: accepted rows as a share of all rows, 0 to 1.
        accepted: number of accepted rows, at least one.
        errors: number of accepted rows that are wrong.
        risk: errors as a share of the accepted rows, 0 to 1.
    """

    threshold: float
    coverage: float
    accepted: int
    errors: int
    risk: float


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What thresholds did on rows that had no part in choosing them.

    Args:
        rows: number of all rows, the denominator of coverage.
        accepted: number of rows that reached the threshold chosen without their fold.
        errors: number of accepted rows that are wrong.
        thresholds: the threshold applied to each fold; None where no threshold would do and nothing was accepted.
    """

    rows: int
    accepted: int
    errors: int
    thresholds: tuple[float | None, ...]


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for a share.

    It keeps its promise for the few errors in many rows that we count, where the usual p ± 2s does not
    (Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 1998).
    It takes rows for independent: where the same shop comes again and again, the truth is somewhat wider.

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: how often it could have happened, at least 1.
        level: the share of such intervals that hold the true value, between 0 and 1.

    Raises:
        UsageError: if the numbers do not describe a share.
    """
    if not (0 <= successes <= trials and trials > 0 and 0 < level < 1):
        raise UsageError(
            f"an interval takes 0 <= successes <= trials, trials > 0 and 0 < level < 1; "
            f"got {successes} of {trials} at {level}"
        )
    from scipy.stats import binomtest  # slow to import

    bounds = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))


def risk_coverage(confidences: Confidences, wrong: Sequence[bool]) -> list[Point]:
    """Every threshold that makes a difference, from the strictest to the one that accepts all rows with a confidence.

    Rows of equal confidence are accepted together, because no threshold can tell them apart.

    Args:
        confidences: per row, 0 to 1, or None where there is no answer to accept.
        wrong: per row, whether accepting it would be an error.

    Raises:
        UsageError: if the two differ in length or a confidence is not a number.
    """
    _check_lengths(confidences, wrong)
    answered = sorted(_answered(confidences, wrong), reverse=True)
    points: list[Point] = []
    accepted = errors = 0
    for threshold, rows in groupby(answered, key=lambda row: row[0]):
        outcomes = [is_wrong for _, is_wrong in rows]
        accepted += len(outcomes)
        errors += sum(outcomes)
        points.append(Point(threshold, accepted / len(wrong), accepted, errors, errors / accepted))
    return points


def coverage_at_risk(points: Sequence[Point], max_risk: float) -> Point | None:
    """The point of largest coverage whose risk is at most `max_risk` (0 to 1); None if there is none.

    Args:
        points: the curve from `risk_coverage`.
        max_risk: the largest share of errors, 0 to 1, among the accepted rows.
    """
    within = (point for point in points if point.risk <= max_risk)
    return max(within, key=lambda point: point.coverage, default=None)


def risk_at_coverage(points: Sequence[Point], coverage: float) -> Point | None:
    """The strictest point that covers at least `coverage` (0 to 1) of all rows; None if none does."""
    return min(
        (point for point in points if point.coverage >= coverage), key=lambda point: point.coverage, default=None
    )


def out_of_fold(
    confidences: Confidences,
    wrong: Sequence[bool],
    groups: Sequence[str],
    folds: int = 5,
    max_risk: float = 0.01,
) -> OutOfFold:
    """Coverage and errors when each fold's threshold is the most generous one within `max_risk` on the other folds.

    A threshold chosen and measured on the same rows looks better than it is. Nothing forces the risk measured here
    under `max_risk`: how far it is above is part of the answer.

    Args:
        confidences: per row, 0 to 1, or None where there is no answer to accept.
        wrong: per row, whether accepting it would be an error.
        groups: per row, what must not be split across folds, such as its company.
        folds: how many parts; fewer are used where there are fewer groups.
        max_risk: the largest share of errors, 0 to 1, among the rows accepted on the other folds.

    Raises:
        UsageError: if the lengths differ, or there are fewer than two groups or folds.
    """

    def choose(points: Sequence[Point]) -> float | None:
        point = coverage_at_risk(points, max_risk)
        return point.threshold if point else None

    return _held_out(confidences, wrong, groups, folds, choose)


def out_of_fold_at_coverage(
    confidences: Confidences, wrong: Sequence[bool], groups: Sequence[str], folds: int = 5, coverage: float = 0.85
) -> OutOfFold:
    """Coverage and errors when each fold's threshold is the strictest one that reaches `coverage` on the other folds.

    Where the other folds have too few answers to reach it, every answer is accepted, and the coverage that results
    says so.

    Args:
        confidences: per row, 0 to 1, or None where there is no answer to accept.
        wrong: per row, whether accepting it would be an error.
        groups: per row, what must not be split across folds, such as its company.
        folds: how many parts; fewer are used where there are fewer groups.
        coverage: the share of all rows, 0 to 1, that the threshold must accept on the other folds.

    Raises:
        UsageError: if the lengths differ, or there are fewer than two groups or folds.
    """

    def choose(points: Sequence[Point]) -> float | None:
        point = risk_at_coverage(points, coverage)
        return point.threshold if point else 0.0

    return _held_out(confidences, wrong, groups, folds, choose)


def assign_folds(groups: Sequence[str], folds: int) -> list[int]:
    """The fold, counted from 0, of every row: whole groups, the largest first, each into the fold with fewest rows.

    The same idea as scikit-learn's `GroupKFold`, but the result does not depend on the order of the rows, and fewer
    groups than folds are no error.
    """
    sizes = Counter(groups)
    filled = [0] * folds
    fold_of: dict[str, int] = {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], group)):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return [fold_of[group] for group in groups]


def _held_out(
    confidences: Confidences,
    wrong: Sequence[bool],
    groups: Sequence[str],
    folds: int,
    choose: Callable[[Sequence[Point]], float | None],
) -> OutOfFold:
    _check_lengths(confidences, wrong, groups)
    folds = min(folds, len(set(groups)))
    if folds < 2:
        raise UsageError("choosing thresholds out of fold takes at least two folds and two groups")
    fold_of = assign_folds(groups, folds)
    thresholds: list[float | None] = []
    accepted = errors = 0
    for fold in range(folds):
        others = [row for row, its_fold in enumerate(fold_of) if its_fold != fold]
        held = [row for row, its_fold in enumerate(fold_of) if its_fold == fold]
        threshold = choose(risk_coverage([confidences[row] for row in others], [wrong[row] for row in others]))
        taken = [row for row in held if _reaches(confidences[row], threshold)]
        thresholds.append(threshold)
        accepted += len(taken)
        errors += sum(wrong[row] for row in taken)
    return OutOfFold(len(wrong), accepted, errors, tuple(thresholds))


def _reaches(confidence: float | None, threshold: float | None) -> bool:
    return confidence is not None and threshold is not None and confidence >= threshold


def _answered(confidences: Confidences, wrong: Sequence[bool]) -> list[tuple[float, bool]]:
    answered = [(confidence, bad) for confidence, bad in zip(confidences, wrong, strict=True) if confidence is not None]
    if any(math.isnan(confidence) for confidence, _ in answered):
        raise UsageError("a confidence is a number from 0 to 1, or None where there is no answer; got NaN")
    return answered


def _check_lengths(*columns: Sequence[object]) -> None:
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise UsageError(f"confidences, wrong and groups speak of the same rows; got lengths {sorted(lengths)}")
