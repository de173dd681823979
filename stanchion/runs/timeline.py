"""One run from its beginning to its end: its steps without their states, what each spent its time on, and one in full.

States may be large: only the step that somebody looks at is read with them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from stanchion.errors import RunNotFound
from stanchion.runs.records import Call, Review, Run, Step, StepVerdict
from stanchion.store import Database

Doing = Literal["queued", "running", "calling", "failed call", "backing off", "waiting"]
"""What a stretch of time went into: waiting for somebody to work on it, a step at work, a request to a model, one that
failed, waiting before the next request, waiting for a person."""

PAGE = 100


class Span(NamedTuple):
    """A stretch of time.

    Args:
        doing: what it went into.
        start: when it began.
        end: when it ended; None: it goes on.
        note: more about it, in a few words.
    """

    doing: Doing
    start: datetime
    end: datetime | None
    note: str = ""


class StepLine(BaseModel):
    """A step without its states.

    Args:
        position: 1 for the first step.
        task_id: LangGraph's id of it.
        attempts: how often it was executed.
        ms: how long its last execution took, in milliseconds; None while it runs or waits.
        error: the beginning of what went wrong.
        decision: of its verdict, if it gave one.
        confidence: 0 to 1, of its verdict.
        calls: how many model calls it made.
        cost_usd: what they cost in US dollars; None where a price is not known.
        spans: what it spent its time on; those of calls lie within those of the step.
    """

    model_config = ConfigDict(frozen=True)

    position: int
    task_id: str
    node: str
    attempts: int
    started_at: datetime
    ended_at: datetime | None = None
    ms: float | None = None
    late_at: datetime | None = None
    error: str | None = None
    decision: str | None = None
    confidence: float | None = None
    calls: int = 0
    cost_usd: Decimal | None = None
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class StepInFull:
    """A step with everything that is known of it.

    Args:
        step: with the state it was given and what it wrote.
        after: the state that it left behind, as far as it wrote to it; None where it wrote nothing, or it was too large
            to be kept.
        calls: to models, in order.
        verdict: that it gave, if any.
        reviews: what it asked people, in order.
    """

    step: Step
    after: Any
    calls: list[Call]
    verdict: StepVerdict | None
    reviews: list[Review]


def path_taken(database: Database, run_id: str) -> list[str]:
    """Return the nodes of a run's steps in order, each as often as it was visited.

    Args:
        database: where it is recorded.
        run_id: full id.
    """
    return [row["node"] for row in database.read("SELECT node FROM steps WHERE run_id = ? ORDER BY position", [run_id])]


def step_lines(database: Database, run: Run, *, first: int = 1, number: int = PAGE) -> list[StepLine]:
    """Return some of a run's steps in order, without their states.

    Args:
        database: where they are recorded.
        run: which run.
        first: position of the first one.
        number: how many at the most.
    """
    parameters = {"run": run.id, "first": first, "last": first + number - 1}
    requests = _by_step(database.read(_REQUESTS, parameters))
    waits = _by_step(database.read(_WAITS, parameters))
    lines = [StepLine(**row) for row in database.read(_LINES, parameters)]
    return [
        line.model_copy(update={"spans": tuple(_spans(line, run, requests[line.position], waits[line.position]))})
        for line in lines
    ]


def read_step(database: Database, run_id: str, position: int) -> StepInFull:
    """Return one step with everything that is known of it.

    Args:
        database: where it is recorded.
        run_id: full id of its run.
        position: 1 for the first step.

    Raises:
        RunNotFound: the run has no such step.
    """
    rows = database.read("SELECT * FROM steps WHERE run_id = ? AND position = ? LIMIT 1", [run_id, position])
    if not rows:
        raise RunNotFound(f"The run {run_id} has no step {position}.")
    step = Step(**rows[0])
    of_step = [run_id, step.task_id]
    verdicts = database.read("SELECT * FROM verdicts WHERE run_id = ? AND task_id = ?", of_step)
    asked = {"run": run_id, "first": position, "last": position}
    review_ids = [row["id"] for row in database.read(_WAITS, asked)]
    return StepInFull(
        step,
        after=_state_after(step, _following(database, rows[0])),
        calls=[
            Call(**row)
            for row in database.read("SELECT * FROM calls WHERE run_id = ? AND task_id = ? ORDER BY rowid", of_step)
        ],
        verdict=StepVerdict(**verdicts[0]) if verdicts else None,
        reviews=[Review(**database.read("SELECT * FROM reviews WHERE id = ?", [one])[0]) for one in review_ids],
    )


def read_input(database: Database, run_id: str) -> Any:
    """Return what a run began with, in JSON form; None once erased.

    Args:
        database: where it is recorded.
        run_id: full id.
    """
    rows = database.read("SELECT input FROM runs WHERE id = ?", [run_id])
    return json.loads(rows[0]["input"]) if rows and rows[0]["input"] else None


def made_from(database: Database, run_id: str) -> list[str]:
    """Return the ids of the runs that were forked from a run, or made from it again, oldest first.

    Args:
        database: where they are recorded.
        run_id: full id.
    """
    return [row["id"] for row in database.read("SELECT id FROM runs WHERE origin = ? ORDER BY created_at", [run_id])]


def too_large(state: Any) -> str | None:
    """Say why a state is not in the ledger, where it was too large for it; None where it is.

    Args:
        state: of a step, as the ledger holds it.
    """
    said = state.get("left out") if isinstance(state, dict) and len(state) == 1 else None
    return said if isinstance(said, str) else None


# --- States  ---


def _following(database: Database, step: Mapping[str, Any]) -> Any:
    """Return the state that the first step after this one was given; those beside it were given the same as it."""
    if step["ended_at"] is None:
        return None
    rows = database.read(
        "SELECT state_in FROM steps WHERE run_id = ? AND position > ? AND started_at >= ? ORDER BY position LIMIT 1",
        [step["run_id"], step["position"], step["ended_at"]],
    )
    return json.loads(rows[0]["state_in"]) if rows and rows[0]["state_in"] else None


def _state_after(step: Step, following: Any) -> Any:
    """Join what a step wrote with what was there before.

    A key's reducer may keep something of both. Its result stands in the state that the next step was given; where there
    is none, or it does not hold the key, what was written is taken as it is.
    """
    before, wrote = step.state_in, step.state_out
    if too_large(before) or too_large(wrote):
        return None
    if not isinstance(before, dict) or not isinstance(wrote, dict):
        return wrote
    later = following if isinstance(following, dict) else {}
    return {**before, **{key: later.get(key, value) for key, value in wrote.items()}}


# --- Spans  ---


def _by_step(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["position"]].append(row)
    return found


def _spans(
    line: StepLine, run: Run, requests: Sequence[dict[str, Any]], waits: Sequence[dict[str, Any]]
) -> Iterator[Span]:
    if line.position == 1 and run.started_at and run.started_at > run.created_at:
        yield Span("queued", run.created_at, run.started_at)
    for wait in waits:
        yield from _waited(wait, run)
    if line.ended_at or run.status == "running":
        yield Span("running", line.started_at, line.ended_at)
    elif not waits:
        yield Span("running", line.started_at, line.started_at, "was cut off")
    for _, one_call in groupby(requests, key=lambda row: row["call_id"]):
        yield from _requested(list(one_call))


def _waited(wait: Mapping[str, Any], run: Run) -> Iterator[Span]:
    asked, answered, resumed = (_time(wait[name]) for name in ("asked_at", "answered_at", "resumed_at"))
    assert asked is not None  # noqa: S101 - the column is never empty
    end = answered or resumed or (run.ended_at if wait["status"] == "closed" else None)
    yield Span("waiting", asked, end, wait["status"] if wait["answered_by"] is None else f"by {wait['answered_by']}")
    if answered and resumed and resumed > answered:
        yield Span("queued", answered, resumed)


def _requested(attempts: Sequence[dict[str, Any]]) -> Iterator[Span]:
    """The requests of one call, and the waits between them."""
    spans = [_request(attempt) for attempt in attempts]
    yield from spans
    for before, after in pairwise(spans):
        if before.end and before.end < after.start:
            yield Span(
                "backing off", before.end, after.start, f"before request {attempts[spans.index(after)]['number']}"
            )


def _request(attempt: Mapping[str, Any]) -> Span:
    start, end = _time(attempt["started_at"]), _time(attempt["ended_at"])
    assert start is not None  # noqa: S101 - the column is never empty
    if attempt["status"] in ("started", "answered"):
        return Span("calling", start, end, attempt["model"])
    return Span("failed call", start, end or start, f"{attempt['model']}: {attempt['kind'] or attempt['status']}")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


_LINES = """
    SELECT s.position, s.task_id, s.node, s.attempts, s.started_at, s.ended_at, s.ms, s.late_at,
        substr(s.error, 1, 300) AS error, v.decision, v.confidence,
        (SELECT count(*) FROM calls AS c WHERE c.run_id = s.run_id AND c.task_id = s.task_id) AS calls,
        (SELECT CASE WHEN sum(cost_usd IS NULL) > 0 THEN NULL ELSE coalesce(decimal_sum(cost_usd), '0') END
         FROM calls AS c WHERE c.run_id = s.run_id AND c.task_id = s.task_id) AS cost_usd
    FROM steps AS s LEFT JOIN verdicts AS v ON v.run_id = s.run_id AND v.task_id = s.task_id
    WHERE s.run_id = :run AND s.position BETWEEN :first AND :last ORDER BY s.position
"""

_REQUESTS = """
    SELECT s.position, a.call_id, a.number, a.model, a.status, a.kind, a.started_at, a.ended_at
    FROM attempts AS a JOIN steps AS s ON s.run_id = a.run_id AND s.task_id = a.task_id
    WHERE a.run_id = :run AND s.position BETWEEN :first AND :last ORDER BY a.call_id, a.number
"""

# a question is of the first step of its node that had not ended when it was asked: a node may be visited often
_WAITS = """
    SELECT * FROM (
        SELECT r.id, r.status, r.asked_at, r.answered_at, r.resumed_at, r.answered_by,
            (SELECT min(s.position) FROM steps AS s WHERE s.run_id = r.run_id AND s.node = r.node
             AND (s.ended_at IS NULL OR s.ended_at >= r.asked_at)) AS position
        FROM reviews AS r WHERE r.run_id = :run)
    WHERE position BETWEEN :first AND :last ORDER BY asked_at
"""
