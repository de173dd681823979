"""Is it well? One look at all workflows: outcomes, reviews, times, money, models; from roll-ups and indexes alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from stanchion.clock import Clock
from stanchion.errors import UsageError
from stanchion.guards.limits.money import BILLIONTHS
from stanchion.guards.limits.standing import ModelStanding, models_standing
from stanchion.runs.operations import Operations, PausedWorkflow
from stanchion.store import Database

MOST_HOURS = 24 * 31
MOST_BY_HOUR = 48  # more hours are a matter of days
BUCKET = 1.1  # each bucket of `step_times` reaches so many times as far as the one before


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ended(NamedTuple):
    """How many runs of all workflows, or of one, ended with an outcome within an hour.

    Args:
        hour: when it began, in UTC.
        outcome: one of the six, or `cancelled`.
        runs: how many.
    """

    hour: datetime
    outcome: str
    runs: int


class Waiting(_Part):
    """What waits for people.

    Args:
        reviews: how many.
        oldest: since when the longest waiting one waits; None where nothing does.
        overdue: how many of them should have been answered by now, and will expire.
        next_due: when the next of the others expires; None where none does.
    """

    reviews: int
    oldest: datetime | None
    overdue: int
    next_due: datetime | None


class Unfinished(_Part):
    """How many runs have not ended, by where they stand.

    Args:
        queued: wait to be worked on.
        running: are worked on.
        review: wait for a person.
        paused: are held back, wherever they were.
    """

    queued: int = 0
    running: int = 0
    review: int = 0
    paused: int = 0


class StepTimes(_Part):
    """How long the executions of one node took.

    Args:
        workflow: its name.
        node: the node's name.
        steps: how many executions.
        p50_ms: milliseconds within which half of them ended, to within 5 %.
        p95_ms: milliseconds within which 95 of 100 ended, to within 5 %.
    """

    workflow: str
    node: str
    steps: int
    p50_ms: float
    p95_ms: float


class SpentToday(_Part):
    """What a workflow spent on this day, in UTC, for all tenants.

    Args:
        workflow: its name.
        spent_usd: US dollars; calls with an unknown end count as what they could have cost.
        reserved_usd: US dollars that calls under way may cost.
    """

    workflow: str
    spent_usd: Decimal
    reserved_usd: Decimal


class Overview(_Part):
    """How things stand.

    Args:
        at: when it was looked at.
        since: the beginning of the first hour that is counted.
        ended: runs per hour and outcome, the oldest hour first; hours without runs are left out.
        waiting: what waits for people.
        unfinished: runs that have not ended.
        steps: per workflow and node; of more than 48 hours, those of whole days, in UTC, from the day of `since` on.
        spent_today: per workflow.
        models: every model that was ever asked or forced; all workflows share them.
        paused: workflows that an operator holds back.
    """

    at: datetime
    since: datetime
    ended: list[Ended]
    waiting: Waiting
    unfinished: Unfinished
    steps: list[StepTimes]
    spent_today: list[SpentToday]
    models: list[ModelStanding]
    paused: list[PausedWorkflow]


def overview(database: Database, *, clock: Clock, hours: int = 24, workflow: str | None = None) -> Overview:
    """Return how things stand now.

    Args:
        database: where everything is.
        clock: for the present time.
        hours: how far back runs and steps are counted: from 1 to 744, which is 31 days.
        workflow: only of this workflow; None: of all.

    Raises:
        UsageError: `hours` is out of bounds.
    """
    if not 1 <= hours <= MOST_HOURS:
        raise UsageError(f"An overview looks back from 1 to {MOST_HOURS} hours; not {hours}.")
    now = clock.now()
    since = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    asked = {"now": now.isoformat(), "hour": since.isoformat()[:13], "workflow": workflow}
    asked |= {"first_day": since.isoformat()[:10], "day": now.astimezone(UTC).isoformat()[:10]}
    steps = _STEPS if hours <= MOST_BY_HOUR else _STEPS_BY_DAY
    only = "AND workflow = :workflow" if workflow is not None else ""
    return Overview(
        at=now,
        since=since,
        ended=_ended(database.read(_ENDED.format(only), asked)),
        waiting=Waiting(**database.read(_WAITING.format(only), asked)[0]),
        unfinished=_unfinished(database.read(_UNFINISHED.format(only), asked)),
        steps=_step_times(database.read(steps.format(only), asked)),
        spent_today=[_spent(row) for row in database.read(_SPENT.format(only), asked)],
        models=models_standing(database, clock),
        paused=[one for one in Operations(database).paused_workflows() if workflow in (None, one.workflow)],
    )


# Each {} is where "of one workflow" goes.

_ENDED = """SELECT hour, outcome, sum(runs) AS runs FROM run_counts WHERE hour >= :hour {} GROUP BY hour, outcome"""

_STEPS = """
    SELECT workflow, node, bucket, sum(steps) AS steps FROM step_times WHERE hour >= :hour {}
    GROUP BY workflow, node, bucket ORDER BY workflow, node, bucket
"""

_STEPS_BY_DAY = """
    SELECT workflow, node, bucket, sum(steps) AS steps FROM step_times_by_day WHERE day >= :first_day {}
    GROUP BY workflow, node, bucket ORDER BY workflow, node, bucket
"""

_WAITING = """
    SELECT count(*) AS reviews, min(asked_at) AS oldest,
        count(*) FILTER (WHERE due_at <= :now) AS overdue, min(due_at) FILTER (WHERE due_at > :now) AS next_due
    FROM reviews INDEXED BY reviews_queued WHERE status = 'asked' {}
"""

_UNFINISHED = """
    SELECT count(*) AS runs,
        CASE WHEN paused_at IS NOT NULL THEN 'paused' WHEN status = 'waiting' THEN 'review' ELSE status END AS standing
    FROM runs INDEXED BY runs_unfinished WHERE status IN ('queued', 'running', 'waiting') {} GROUP BY standing
"""

_SPENT = """
    SELECT workflow, sum(spent) AS spent, sum(reserved) AS reserved FROM spending WHERE day = :day {} GROUP BY workflow
"""


def _ended(rows: Iterable[dict[str, Any]]) -> list[Ended]:
    hours = lru_cache(lambda hour: datetime.fromisoformat(hour).replace(tzinfo=UTC))
    return [Ended(hours(row["hour"]), row["outcome"], row["runs"]) for row in rows]


def _unfinished(rows: Iterable[dict[str, Any]]) -> Unfinished:
    return Unfinished(**{row["standing"]: row["runs"] for row in rows})


def _spent(row: dict[str, Any]) -> SpentToday:
    spent, reserved = (Decimal(row[name]) / BILLIONTHS for name in ("spent", "reserved"))
    return SpentToday(workflow=row["workflow"], spent_usd=spent, reserved_usd=reserved)


def _step_times(rows: Iterable[dict[str, Any]]) -> list[StepTimes]:
    times = []
    for (workflow, node), buckets in groupby(rows, key=itemgetter("workflow", "node")):
        counts = [(row["bucket"], row["steps"]) for row in buckets]
        p50, p95 = percentile(counts, 0.5), percentile(counts, 0.95)
        steps = sum(number for _, number in counts)
        times.append(StepTimes(workflow=workflow, node=node, steps=steps, p50_ms=p50, p95_ms=p95))
    return times


def percentile(counts: list[tuple[int, int]], share: float) -> float:
    """Return the time, in milliseconds, within which a share of all ended: the nearest rank, to within 5 %.

    Args:
        counts: bucket and how many are in it, in ascending order and not empty; bucket n is from 1.1^n ms to
            1.1^(n+1) ms, and its geometric middle stands for all of it.
        share: above 0 and at most 1.
    """
    rank = math.ceil(share * sum(number for _, number in counts))
    below = accumulate(number for _, number in counts)
    bucket = next(bucket for (bucket, _), seen in zip(counts, below, strict=True) if seen >= rank)
    return float(BUCKET ** (bucket + 0.5))
