"""The tables that record runs, steps, verdicts and reviews: every statement that reads or writes them stands here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic_core

from stanchion.errors import ReviewNotFound, RunNotFound, UsageError
from stanchion.runs.records import Call, Review, Run, Step, StepVerdict
from stanchion.store import Database
from stanchion.store.migrations import CONTENT
from stanchion.store.owners import is_alive
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


_RELEASED = "owner = NULL, claimed_at = NULL, worked_ms = worked_ms + :worked_ms"
"""What happens to a run that nobody works on any more: only time at work counts against its deadline."""

_CAN_GO_ON = """
    (status IN ('queued', 'running') OR status = 'waiting' AND EXISTS (
        SELECT 1 FROM reviews WHERE run_id = runs.id AND status = 'answered' AND resumed_at IS NULL))
"""


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

    def count_reviews(self, *, status: str = "asked") -> int:
        """Return how many reviews there are.

        Args:
            status: only in this status.
        """
        (row,) = self.database.read("SELECT count(*) AS number FROM reviews WHERE status = ?", [status])
        return int(row["number"])

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

    # --- Forgetting ---

    def erase(self, run_id: str, *, at: datetime) -> Run:
        """Erase what a run holds: documents, answers, states and checkpoints; that it happened stays on record.

        Args:
            run_id: its id or the beginning of it.
            at: the present time.

        Raises:
            RunNotFound: there is no such run.
            UsageError: the run is being worked on.
            StoreError: another program is reading, so the write-ahead log could not be emptied yet.
        """
        full_id = self.full_id(run_id)
        path = self.database.path
        self.database.write_now(lambda tables: _erase(tables, path, full_id, at.isoformat()))
        self.database.forget_log()
        return self.run(full_id)

    def prune(self, before: datetime) -> int:
        """Delete runs that ended before a moment, with everything that belongs to them; return how many.

        Args:
            before: aware; runs that have not ended are never pruned.
        """

        def work(tables: Tables) -> int:
            ended = "SELECT id FROM runs WHERE ended_at < :before"
            arguments = {"before": before.isoformat()}
            for table, column in [
                *((name, "run_id") for name in (*CONTENT, "attempts") if name != "runs"),
                *_checkpoint_tables(tables),
            ]:
                tables.conn.execute(f"DELETE FROM {table} WHERE {column} IN ({ended})", arguments)
            tables.conn.execute("DELETE FROM spending WHERE day < date(:before)", arguments)
            tables.conn.execute("DELETE FROM breaker_events WHERE at < :before", arguments)
            return int(tables.conn.execute(f"DELETE FROM runs WHERE id IN ({ended})", arguments).rowcount)

        pruned = self.database.write_now(work)
        self.database.forget_log()
        return pruned


def _beginning(text: str) -> str:
    """Return the pattern of ids that begin like this; characters that ids never have must not widen it."""
    if not text or not all(character.isalnum() or character in "-_" for character in text):
        raise UsageError(f"An id, or the beginning of one, has letters and digits only; not {text!r}.")
    return f"{text}*"


def _checkpoint_tables(tables: Tables) -> list[tuple[str, str]]:
    names = set(tables.table_names())
    return [(name, "thread_id") for name in ("checkpoints", "writes") if name in names]


def _erase(tables: Tables, path: Path, run_id: str, at: str) -> None:
    (row,) = tables.query("SELECT status, owner FROM runs WHERE id = ?", [run_id])
    if row["status"] == "running" and row["owner"] and is_alive(path, row["owner"]):
        raise UsageError(f"The run {run_id} is being worked on; erase it when it has ended, or resume it first.")
    for table, columns in CONTENT.items():
        key = "id" if table == "runs" else "run_id"
        emptied = ", ".join(f"{column} = NULL" for column in columns)
        tables.conn.execute(f"UPDATE {table} SET {emptied} WHERE {key} = ?", [run_id])
    for table, key in _checkpoint_tables(tables):
        tables.conn.execute(f"DELETE FROM {table} WHERE {key} = ?", [run_id])
    tables.conn.execute("UPDATE reviews SET status = 'closed' WHERE run_id = ? AND status = 'asked'", [run_id])
    tables.conn.execute(
        """UPDATE runs SET erased_at = :at, ended_at = coalesce(ended_at, :at),
           status = CASE status WHEN 'done' THEN 'done' ELSE 'cancelled' END WHERE id = :id""",
        {"at": at, "id": run_id},
    )


# --- Writing: pieces of work for `Database.write`  ---


def queue_runs(tables: Tables, rows: Iterable[dict[str, Any]]) -> None:
    """Store runs as queued.

    Args:
        tables: in the writer thread.
        rows: columns of `runs`.
    """
    tables.table("runs").insert_all(rows)


def claim(
    tables: Tables, run_id: str, workflow: str, owner: str, may_take_from: Callable[[str], bool], at: str
) -> dict[str, Any] | None:
    """Take a run for an owner; return its row as it was before.

    Nothing is taken, and None returned, where the run is gone, has ended, waits for a person who has not answered, is
    of another workflow, or belongs to somebody else.

    Args:
        tables: in the writer thread.
        run_id: which.
        workflow: of which workflow it must be.
        owner: who takes it.
        may_take_from: says whether whoever has it is dead.
        at: the present time.
    """
    rows = list(tables.query(f"SELECT * FROM runs WHERE id = ? AND workflow = ? AND {_CAN_GO_ON}", [run_id, workflow]))
    if not rows or (rows[0]["owner"] is not None and not may_take_from(rows[0]["owner"])):
        return None
    row = dict(rows[0])
    if row["claimed_at"] is not None:  # its owner died at work, some time after what it wrote last
        row["worked_ms"] += _ms_between(tables, row["claimed_at"], _last_sign(tables, run_id))
    tables.conn.execute(
        """UPDATE runs SET owner = ?, status = 'running', started_at = coalesce(started_at, ?), claimed_at = ?,
           worked_ms = ? WHERE id = ?""",
        [owner, at, at, row["worked_ms"], run_id],
    )
    return row


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


def finish(tables: Tables, run_id: str, owner: str, outcome: Outcome, at: str, worked_ms: float) -> bool:
    """Record how a run ended; False where it had ended already or is not this owner's.

    Args:
        tables: in the writer thread.
        run_id: which run.
        owner: who worked on it.
        outcome: how it ended.
        at: the present time.
        worked_ms: how long it was worked on since it was claimed.
    """
    done = tables.conn.execute(
        f"""UPDATE runs SET status = 'done', outcome = :kind, reason = :reason, rung = :rung, confidence = :confidence,
            output = :output, ended_at = :at, {_RELEASED} WHERE id = :run AND owner = :owner AND outcome IS NULL""",
        {
            **outcome.model_dump(),
            "output": _plain(outcome.output),
            "at": at,
            "run": run_id,
            "owner": owner,
            "worked_ms": worked_ms,
        },
    )
    tables.conn.execute("UPDATE reviews SET resumed_at = ? WHERE run_id = ? AND resumed_at IS NULL", [at, run_id])
    return bool(done.rowcount)


def wait_for_person(
    tables: Tables,
    run_id: str,
    owner: str,
    reviews: Sequence[dict[str, Any]],
    proposal: Outcome,
    at: str,
    worked_ms: float,
) -> None:
    """Record that a run waits for people, and what they are asked; answers taken so far count as taken.

    Args:
        tables: in the writer thread.
        run_id: which run.
        owner: who worked on it.
        reviews: columns `id`, `interrupt_id`, `node` and `question` of each.
        proposal: what the run would end with if people agreed.
        at: the present time.
        worked_ms: how long it was worked on since it was claimed.
    """
    for review in reviews:
        tables.conn.execute(
            """INSERT INTO reviews (id, run_id, interrupt_id, node, status, question, asked_at)
               VALUES (:id, :run, :interrupt_id, :node, 'asked', :question, :at)
               ON CONFLICT (run_id, interrupt_id) DO NOTHING""",
            {**review, "run": run_id, "at": at},
        )
    waiting = ", ".join("?" * len(reviews))
    tables.conn.execute(
        f"""UPDATE reviews SET resumed_at = ? WHERE run_id = ? AND status = 'answered' AND resumed_at IS NULL
            AND interrupt_id NOT IN ({waiting})""",
        [at, run_id, *(review["interrupt_id"] for review in reviews)],
    )
    tables.conn.execute(
        f"""UPDATE runs SET status = 'waiting', reason = :reason, rung = :rung, confidence = :confidence,
            output = :output, {_RELEASED} WHERE id = :run AND owner = :owner""",
        {
            **proposal.model_dump(),
            "output": _plain(proposal.output),
            "run": run_id,
            "owner": owner,
            "worked_ms": worked_ms,
        },
    )


def answer_review(tables: Tables, review_id: str, *, action: str, answer: str, by: str, at: str) -> bool:
    """Give a review its one answer; False where it has one already or is closed.

    Args:
        tables: in the writer thread.
        review_id: which.
        action: approve, edit or reject.
        answer: the whole answer, as JSON.
        by: who.
        at: the present time.
    """
    given = tables.conn.execute(
        """UPDATE reviews SET status = 'answered', action = ?, answer = ?, answered_by = ?, answered_at = ?
           WHERE id = ? AND status = 'asked'""",
        [action, answer, by, at, review_id],
    )
    return bool(given.rowcount)


def _plain(output: dict[str, Any] | None) -> str | None:
    return None if output is None else json.dumps(output)


def _capped(text: str | None) -> str | None:
    if text is None or len(text) <= LARGEST_STATE:
        return text
    return json.dumps({"left out": f"{len(text)} characters; the checkpoint holds it whole"})
