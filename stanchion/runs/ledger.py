"""The tables that record runs, steps, verdicts and reviews: every statement that reads or writes them stands here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic_core

from stanchion.errors import ReviewNotFound, RunNotFound, UsageError
from stanchion.runs.records import Call, Review, Run, Step, StepVerdict
from stanchion.store import Database
from stanchion.store.fences import Fence, hold
from stanchion.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

LARGEST_STATE = 200_000  # characters of a step's state kept in the ledger; the checkpoint holds it whole
QUEUE_BATCH = 200

_RUNS = """
    SELECT runs.*,
        (SELECT count(*) FROM calls WHERE run_id = runs.id) AS calls,
        (SELECT CASE WHEN sum(cost_usd IS NULL) > 0 THEN NULL
            ELSE coalesce(decimal_sum(cost_usd), '0') END
         FROM calls WHERE run_id = runs.id) AS cost_usd
    FROM runs
"""


_RELEASED = """
    owner = NULL, claimed_at = NULL, lease_until = NULL, worked_ms = worked_ms + :worked_ms,
    made_calls = (SELECT count(*) FROM calls WHERE run_id = :run),
    cost = (SELECT CASE WHEN sum(cost_usd IS NULL) > 0 THEN NULL
            ELSE cast(round(coalesce(sum(cost_usd), 0) * 1e9) AS INTEGER) END FROM calls WHERE run_id = :run),
    path = coalesce((SELECT '/' || substr(group_concat(node, '/'), 1, 500) || '/' FROM (
        SELECT node FROM steps WHERE run_id = :run GROUP BY node ORDER BY min(position))), '')
"""
"""What happens to a run that nobody works on any more: only time at work counts against its deadline, and what lists
show of it is brought up to date."""

LEASE = timedelta(seconds=30)
"""How long a run stays its owner's without a sign of life. The owner of a dead process loses it at once: see owners."""

_UNRESUMED = "status IN ('answered', 'expired') AND resumed_at IS NULL"
_NOT_PAUSED = "paused_at IS NULL AND runs.workflow NOT IN (SELECT workflow FROM paused_workflows)"
_CAN_GO_ON = f"""
    (status IN ('queued', 'running') OR status = 'waiting' AND (
        EXISTS (SELECT 1 FROM reviews WHERE run_id = runs.id AND {_UNRESUMED})
        OR NOT EXISTS (SELECT 1 FROM reviews WHERE run_id = runs.id AND status = 'asked'))) AND {_NOT_PAUSED}
"""


class Claimable(NamedTuple):
    """A run that could be worked on.

    Args:
        reference: what loads its workflow.
    """

    id: str
    reference: str
    workflow: str
    created_at: str


def as_json(value: Any) -> str:
    """Return a state, answer or verdict as JSON text; what JSON has no word for is named by its type.

    Args:
        value: pydantic models, messages, Decimals, dates and plain data.
    """
    return pydantic_core.to_json(value, fallback=lambda item: f"<{type(item).__name__}>").decode()


class Ledger:
    """What happened, read from a database.

    Args:
        database: an open database; reading needs neither LangGraph nor a model.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- Reading ---

    def run(self, run_id: str) -> Run:
        """Return one run.

        Args:
            run_id: its id, or the beginning of it where that is unique.

        Raises:
            RunNotFound: there is none, or more than one.
        """
        return self._runs("WHERE id = ?", [self.full_id(run_id)])[0]

    def runs(
        self, *, workflow: str | None = None, status: str | None = None, outcome: str | None = None, limit: int = 50
    ) -> list[Run]:
        """Return runs, newest first.

        Args:
            workflow: only of this workflow.
            status: only in this status.
            outcome: only with this outcome.
            limit: how many at the most.
        """
        wanted = {"workflow": workflow, "status": status, "outcome": outcome}
        conditions = {name: value for name, value in wanted.items() if value is not None}
        where = "WHERE " + " AND ".join(f"{name} = ?" for name in conditions) if conditions else ""
        return self._runs(f"{where} ORDER BY created_at DESC, rowid DESC LIMIT ?", [*conditions.values(), limit])

    def runs_of(self, run_ids: Sequence[str]) -> list[Run]:
        """Return these runs, in this order; those that were pruned meanwhile are left out.

        Args:
            run_ids: full ids.
        """
        found: dict[str, Run] = {}
        for start in range(0, len(run_ids), QUEUE_BATCH):
            some = run_ids[start : start + QUEUE_BATCH]
            marks = ", ".join("?" * len(some))
            found |= {run.id: run for run in self._runs(f"WHERE id IN ({marks})", some)}
        return [found[run_id] for run_id in run_ids if run_id in found]

    def unfinished(self, workflow: str | None = None) -> list[Run]:
        """Return the runs that can go on without a person: queued, running, or waiting with an answer given.

        Args:
            workflow: only of this workflow.
        """
        condition, parameters = ("AND workflow = ?", [workflow]) if workflow else ("", [])
        return self._runs(
            f"WHERE {_CAN_GO_ON} {condition} ORDER BY created_at, rowid",
            parameters,
        )

    def answers_due(self, run_id: str) -> dict[str, Any]:
        """Return the answers that a run has not taken yet, by LangGraph's id of the interrupt.

        Args:
            run_id: full id.
        """
        rows = self._rows(f"SELECT interrupt_id, answer FROM reviews WHERE run_id = ? AND {_UNRESUMED}", run_id)
        return {row["interrupt_id"]: json.loads(row["answer"]) for row in rows}

    def owners(self) -> list[str]:
        """Return whoever has a run, dead or alive."""
        rows = self.database.read("SELECT DISTINCT owner FROM runs WHERE status = 'running' AND owner IS NOT NULL")
        return [row["owner"] for row in rows]

    def claimable(
        self,
        limit: int,
        *,
        at: datetime,
        alive: Collection[str] = (),
        workflows: Collection[str] = (),
        leave_out: Collection[str] = (),
    ) -> list[Claimable]:
        """Return runs that need no person and that nobody alive has, the longest waiting first.

        Args:
            limit: how many at the most.
            at: the present time, by the clock that leases go by.
            alive: owners whose runs are theirs as long as their leases hold.
            workflows: only of these; none: of all.
            leave_out: runs, and references of workflows, that are not wanted now.
        """
        wanted = f"""{_NOT_PAUSED} AND reference NOT IN (SELECT value FROM json_each(:leave_out))
            AND runs.id NOT IN (SELECT value FROM json_each(:leave_out))
            AND (owner IS NULL OR lease_until < :at OR owner NOT IN (SELECT value FROM json_each(:alive)))"""
        if workflows:
            wanted += " AND runs.workflow IN (SELECT value FROM json_each(:workflows))"
        given = {"leave_out": list(leave_out), "alive": list(alive), "workflows": list(workflows)}
        values: dict[str, Any] = {"limit": limit, "at": at.isoformat()}
        values |= {name: json.dumps(value) for name, value in given.items()}
        columns = "runs.id, reference, runs.workflow, created_at"
        queued = f"""SELECT {columns} FROM runs INDEXED BY runs_claimable
            WHERE status IN ('queued', 'running') AND {wanted} ORDER BY created_at LIMIT :limit"""
        answered = f"""SELECT DISTINCT {columns} FROM reviews INDEXED BY reviews_unresumed JOIN runs ON runs.id = run_id
            WHERE {_UNRESUMED.replace("status", "reviews.status")} AND runs.status = 'waiting' AND {wanted}
            LIMIT :limit"""
        rows = [*self.database.read(queued, values), *self.database.read(answered, values)]
        return [Claimable(**row) for row in sorted(rows, key=lambda row: str(row["created_at"]))[:limit]]

    def at_work(self, owner: str) -> dict[str, int]:
        """Return the runs that an owner may go on working on, with the token of its claim: none that is paused.

        Args:
            owner: who works on them.
        """
        rows = self.database.read(
            "SELECT id, token FROM runs WHERE status = 'running' AND owner = ? AND paused_at IS NULL", [owner]
        )
        return {row["id"]: row["token"] for row in rows}

    def steps(self, run_id: str) -> list[Step]:
        """Return a run's steps in the order in which they began.

        Args:
            run_id: full id.
        """
        return [Step(**row) for row in self._rows("SELECT * FROM steps WHERE run_id = ? ORDER BY position", run_id)]

    def calls(self, run_id: str) -> list[Call]:
        """Return a run's model calls in order.

        Args:
            run_id: full id.
        """
        return [Call(**row) for row in self._rows("SELECT * FROM calls WHERE run_id = ? ORDER BY rowid", run_id)]

    def verdicts(self, run_id: str) -> list[StepVerdict]:
        """Return a run's verdicts in order.

        Args:
            run_id: full id.
        """
        rows = self._rows("SELECT * FROM verdicts WHERE run_id = ? ORDER BY rowid", run_id)
        return [StepVerdict(**row) for row in rows]

    def reviews(self, *, run_id: str | None = None, status: str | None = "asked", limit: int = 100) -> list[Review]:
        """Return reviews, the longest waiting first.

        Args:
            run_id: only of this run.
            status: only in this status; None: all.
            limit: how many at the most.
        """
        conditions = {"run_id": run_id, "reviews.status": status}
        wanted = {name: value for name, value in conditions.items() if value is not None}
        where = "WHERE " + " AND ".join(f"{name} = ?" for name in wanted) if wanted else ""
        rows = self.database.read(
            f"""SELECT reviews.*, runs.workflow, runs.input_id FROM reviews JOIN runs ON runs.id = reviews.run_id
                {where} ORDER BY asked_at, reviews.rowid LIMIT ?""",
            [*wanted.values(), limit],
        )
        return [Review(**row) for row in rows]

    def review(self, review_id: str) -> Review:
        """Return one review.

        Args:
            review_id: its id, its run's id, or the beginning of either where that is unique.

        Raises:
            ReviewNotFound: there is none, or more than one.
        """
        rows = self.database.read(
            """SELECT reviews.*, runs.workflow, runs.input_id FROM reviews JOIN runs ON runs.id = reviews.run_id
               WHERE reviews.id GLOB :beginning OR run_id GLOB :beginning
               ORDER BY reviews.id = :id DESC, run_id = :id DESC, reviews.status = 'asked' DESC LIMIT 2""",
            {"beginning": _beginning(review_id), "id": review_id},
        )
        if len(rows) == 1 or (rows and review_id in (rows[0]["id"], rows[0]["run_id"])):
            return Review(**rows[0])
        which = "is no review" if not rows else "is more than one review"
        raise ReviewNotFound(f"There {which} {review_id!r} in {self.database.path}; `stanchion reviews` lists them.")

    def full_id(self, run_id: str) -> str:
        """Return the whole id that begins like this.

        Args:
            run_id: an id or the beginning of one.

        Raises:
            RunNotFound: there is none, or more than one.
        """
        rows = self.database.read(
            "SELECT id FROM runs WHERE id GLOB ? ORDER BY id = ? DESC LIMIT 2", [_beginning(run_id), run_id]
        )
        if len(rows) == 1 or (rows and rows[0]["id"] == run_id):
            return str(rows[0]["id"])
        which = "is no run" if not rows else "is more than one run"
        raise RunNotFound(f"There {which} {run_id!r} in {self.database.path}; `stanchion runs` lists them.")

    def _runs(self, rest: str, parameters: Sequence[Any]) -> list[Run]:
        return [Run(**row) for row in self.database.read(f"{_RUNS} {rest}", parameters)]

    def _rows(self, sql: str, run_id: str) -> list[dict[str, Any]]:
        return self.database.read(sql, [run_id])


def _beginning(text: str) -> str:
    """Return the pattern of ids that begin like this; characters that ids never have must not widen it."""
    if not text or not all(character.isalnum() or character in "-_" for character in text):
        raise UsageError(f"An id, or the beginning of one, has letters and digits only; not {text!r}.")
    return f"{text}*"


# --- Writing: pieces of work for `Database.write`  ---


def queue_runs(tables: Tables, rows: Iterable[dict[str, Any]]) -> None:
    """Store runs as queued.

    Args:
        tables: in the writer thread.
        rows: columns of `runs`.
    """
    tables.table("runs").insert_all(rows)


def claim(
    tables: Tables, run_id: str, workflow: str, owner: str, may_take_from: Callable[[str], bool], now: str, at: datetime
) -> dict[str, Any] | None:
    """Take a run for an owner; return its row as it was before, with the token of this claim.

    Nothing is taken, and None returned, where the run is gone, has ended, is paused, waits for a person who has not
    answered, is of another workflow, or belongs to somebody else whose lease holds.

    Args:
        tables: in the writer thread.
        run_id: which.
        workflow: of which workflow it must be.
        owner: who takes it.
        may_take_from: says whether whoever has it is dead.
        now: the present time.
        at: the same, by the clock that leases go by.
    """
    rows = list(tables.query(f"SELECT * FROM runs WHERE id = ? AND workflow = ? AND {_CAN_GO_ON}", [run_id, workflow]))
    if not rows or not _is_free(rows[0], may_take_from, at):
        return None
    row = dict(rows[0])
    if row["claimed_at"] is not None:  # its owner died at work, some time after what it wrote last
        row["worked_ms"] += _ms_between(tables, row["claimed_at"], _last_sign(tables, run_id))
    row["token"] += 1
    tables.conn.execute(
        """UPDATE runs SET owner = ?, status = 'running', started_at = coalesce(started_at, ?), claimed_at = ?,
           worked_ms = ?, token = ?, lease_until = ? WHERE id = ?""",
        [owner, now, now, row["worked_ms"], row["token"], (at + LEASE).isoformat(), run_id],
    )
    return row


def _is_free(row: Mapping[str, Any], may_take_from: Callable[[str], bool], at: datetime) -> bool:
    owner, lease = row["owner"], row["lease_until"]
    return owner is None or (lease is not None and lease < at.isoformat()) or may_take_from(owner)


def renew(tables: Tables, owner: str, at: datetime) -> None:
    """Renew the leases of all runs that an owner works on.

    Args:
        tables: in the writer thread.
        owner: who works on them.
        at: the present time, by the clock that leases go by.
    """
    tables.conn.execute(
        "UPDATE runs SET lease_until = ? WHERE status = 'running' AND owner = ?", [(at + LEASE).isoformat(), owner]
    )


def release(tables: Tables, fence: Fence, worked_ms: float) -> None:
    """Give a run back that was not brought to its end; whoever comes next goes on from its last checkpoint.

    Args:
        tables: in the writer thread.
        fence: the claim that ends; nothing happens where another came after it.
        worked_ms: how long it was worked on since it was claimed.
    """
    tables.conn.execute(
        f"UPDATE runs SET status = 'queued', {_RELEASED} WHERE id = :run AND token = :token AND status = 'running'",
        {"run": fence.run_id, "token": fence.token, "worked_ms": worked_ms},
    )


def _last_sign(tables: Tables, run_id: str) -> str | None:
    """Return when a run's steps or calls last wrote something."""
    (at,) = tables.conn.execute(
        """SELECT max(at) FROM (
             SELECT max(coalesce(ended_at, started_at)) AS at FROM steps WHERE run_id = :run
             UNION ALL SELECT max(coalesce(ended_at, started_at)) FROM calls WHERE run_id = :run)""",
        {"run": run_id},
    ).fetchone()
    return at if isinstance(at, str) else None


def _ms_between(tables: Tables, start: str, end: str | None) -> float:
    (ms,) = tables.conn.execute(
        "SELECT (julianday(:end) - julianday(:start)) * 86400000.0", {"start": start, "end": end}
    ).fetchone()
    return max(0.0, ms or 0.0)


def step_started(tables: Tables, run_id: str, task_id: str, node: str, state: str, at: str) -> None:
    """Record that a step began; a step that is executed again counts another attempt.

    Args:
        tables: in the writer thread.
        run_id: which run.
        task_id: LangGraph's id of the execution.
        node: the node's name.
        state: the state it was given, as JSON.
        at: the present time.
    """
    tables.conn.execute(
        """INSERT INTO steps (run_id, task_id, position, node, attempts, state_in, started_at)
           VALUES (:run, :task, (SELECT count(*) + 1 FROM steps WHERE run_id = :run), :node, 1, :state, :at)
           ON CONFLICT (run_id, task_id) DO UPDATE SET attempts = attempts + 1, started_at = :at, error = NULL""",
        {"run": run_id, "task": task_id, "node": node, "state": _capped(state), "at": at},
    )


def step_ended(
    tables: Tables, run_id: str, task_id: str, *, state: str | None, error: str | None, at: str, ms: float
) -> None:
    """Record how a step ended.

    Args:
        tables: in the writer thread.
        run_id: which run.
        task_id: LangGraph's id of the execution.
        state: what it wrote, as JSON; None where it failed.
        error: what went wrong.
        at: the present time.
        ms: how long it took.
    """
    tables.conn.execute(
        "UPDATE steps SET state_out = ?, error = ?, ended_at = ?, ms = ? WHERE run_id = ? AND task_id = ?",
        [_capped(state), error, at, round(ms, 3), run_id, task_id],
    )
    tables.conn.execute(
        """INSERT INTO step_times (hour, workflow, node, bucket, steps)
           SELECT substr(:at, 1, 13), runs.workflow, node, :bucket, 1 FROM steps JOIN runs ON runs.id = run_id
           WHERE run_id = :run AND task_id = :task
           ON CONFLICT DO UPDATE SET steps = steps + 1""",
        {"at": at, "bucket": time_bucket(ms), "run": run_id, "task": task_id},
    )


def time_bucket(ms: float) -> int:
    """Return the bucket of the histogram `step_times` that a time falls into: n from 1.1^n ms up to 1.1^(n+1) ms.

    Args:
        ms: milliseconds; less than one counts as one.
    """
    return int(math.log(max(ms, 1.0)) / math.log(1.1))


def step_late(tables: Tables, run_id: str, task_id: str, at: str) -> None:
    """Record that a step ended after it was given up.

    Args:
        tables: in the writer thread.
        run_id: which run.
        task_id: LangGraph's id of the execution.
        at: the present time.
    """
    tables.conn.execute("UPDATE steps SET late_at = ? WHERE run_id = ? AND task_id = ?", [at, run_id, task_id])


def add_verdict(tables: Tables, run_id: str, task_id: str, node: str, verdict: Verdict) -> None:
    """Record the verdict that a step gave.

    Args:
        tables: in the writer thread.
        run_id: which run.
        task_id: LangGraph's id of the execution.
        node: the node's name.
        verdict: what it said.
    """
    tables.conn.execute(
        "INSERT OR REPLACE INTO verdicts (run_id, task_id, node, decision, confidence, reason, checks) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [run_id, task_id, node, verdict.decision, verdict.confidence, verdict.reason, as_json(verdict.checks)],
    )


def finish(
    tables: Tables, fence: Fence, outcome: Outcome, at: str, worked_ms: float, error_class: str | None = None
) -> None:
    """Record how a run ended.

    Args:
        tables: in the writer thread.
        fence: the claim under which it was worked on.
        outcome: how it ended.
        at: the present time.
        worked_ms: how long it was worked on since it was claimed.
        error_class: the name of the error that ended it, if one did.

    Raises:
        LeaseLost: another claim came after this one, or the run was cancelled.
    """
    hold(tables.conn, fence)
    tables.conn.execute(
        f"""UPDATE runs SET status = 'done', outcome = :kind, reason = :reason, rung = :rung, confidence = :confidence,
            output = :output, ended_at = :at, error_class = :error_class, {_RELEASED} WHERE id = :run""",
        {
            **outcome.model_dump(),
            "output": _plain(outcome.output),
            "at": at,
            "run": fence.run_id,
            "worked_ms": worked_ms,
            "error_class": error_class,
        },
    )
    tables.conn.execute(f"UPDATE reviews SET resumed_at = ? WHERE run_id = ? AND {_UNRESUMED}", [at, fence.run_id])
    tables.conn.execute(
        "UPDATE reviews SET status = 'closed', closed_why = ?, claimed_by = NULL WHERE run_id = ? AND status = 'asked'",
        [_ENDED_OTHERWISE, fence.run_id],
    )
    count_ended(tables, fence.run_id, at)


_ENDED_OTHERWISE = "its run ended some other way"


def count_ended(tables: Tables, run_id: str, at: str) -> None:
    """Count a run that ended just now, for pictures of outcomes over time.

    Args:
        tables: in the writer thread.
        run_id: which; its row says how it ended.
        at: the present time.
    """
    tables.conn.execute(
        """INSERT INTO run_counts (hour, workflow, outcome, runs)
           SELECT substr(:at, 1, 13), workflow, coalesce(outcome, status), 1 FROM runs WHERE id = :run
           ON CONFLICT DO UPDATE SET runs = runs + 1""",
        {"at": at, "run": run_id},
    )


def wait_for_person(
    tables: Tables, fence: Fence, reviews: Sequence[dict[str, Any]], proposal: Outcome, at: str, worked_ms: float
) -> None:
    """Record that a run waits for people, and what they are asked; answers taken so far count as taken.

    Args:
        tables: in the writer thread.
        fence: the claim under which it was worked on.
        reviews: columns of each, those of `_ASKED`.
        proposal: what the run would end with if people agreed.
        at: the present time.
        worked_ms: how long it was worked on since it was claimed.

    Raises:
        LeaseLost: another claim came after this one, or the run was cancelled.
    """
    hold(tables.conn, fence)
    for review in reviews:
        _ask(tables, {**review, "run": fence.run_id, "at": at})
    waiting = ", ".join("?" * len(reviews))
    interrupts = [review["interrupt_id"] for review in reviews]
    tables.conn.execute(
        f"""UPDATE reviews SET resumed_at = ? WHERE run_id = ? AND {_UNRESUMED} AND interrupt_id NOT IN ({waiting})""",
        [at, fence.run_id, *interrupts],
    )
    tables.conn.execute(
        f"""UPDATE reviews SET status = 'closed', closed_why = '{_MOVED_ON}' WHERE run_id = ? AND status = 'asked'
            AND interrupt_id NOT IN ({waiting})""",
        [fence.run_id, *interrupts],
    )
    tables.conn.execute(
        f"""UPDATE runs SET status = 'waiting', reason = :reason, rung = :rung, confidence = :confidence,
            output = :output, {_RELEASED} WHERE id = :run""",
        {
            **proposal.model_dump(),
            "output": _plain(proposal.output),
            "run": fence.run_id,
            "worked_ms": worked_ms,
        },
    )


_MOVED_ON = "its run went on without it, and asks something else now"
_ASKED = (
    "id", "interrupt_id", "node", "question", "workflow", "checkpoint_id", "form", "role", "people", "stake",
    "priority", "sampled", "due_at",
)  # fmt: skip


def _ask(tables: Tables, review: Mapping[str, Any]) -> None:
    """Put a question; one that is asked again, since a step beside it was answered, keeps its id and its place.

    Who was at work on it, or agreed to it, did so to other words where it asks something else now.
    """
    same = "SELECT id, status, question FROM reviews WHERE run_id = :run AND interrupt_id = :interrupt_id"
    before = tables.conn.execute(same, review).fetchone()
    if before is None:
        names, values = ", ".join(_ASKED), ", ".join(f":{name}" for name in _ASKED)
        tables.conn.execute(
            f"INSERT INTO reviews (run_id, status, asked_at, {names}) VALUES (:run, 'asked', :at, {values})", review
        )
        return
    known, status, question = before
    if status not in ("asked", "closed"):
        return
    changed = ", ".join(f"{name} = :{name}" for name in _ASKED if name not in ("id", "interrupt_id"))
    tables.conn.execute(
        f"UPDATE reviews SET status = 'asked', closed_why = NULL, {changed} WHERE id = :known",
        {**review, "known": known},
    )
    if question != review["question"]:
        tables.conn.execute("UPDATE reviews SET claimed_by = NULL, claimed_until = NULL WHERE id = ?", [known])
        tables.conn.execute("DELETE FROM opinions WHERE review_id = ?", [known])


def _plain(output: dict[str, Any] | None) -> str | None:
    return None if output is None else json.dumps(output)


def _capped(text: str | None) -> str | None:
    if text is None or len(text) <= LARGEST_STATE:
        return text
    return json.dumps({"left out": f"{len(text)} characters; the checkpoint holds it whole"})
