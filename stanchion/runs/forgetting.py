"""Forgetting: what runs hold is erased, old runs are deleted; the trail keeps that it was done, and by whom."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from stanchion.clock import Clock, SystemClock
from stanchion.errors import UsageError
from stanchion.people import Person, as_person
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Run
from stanchion.store import Database
from stanchion.store.migrations import CONTENT
from stanchion.store.owners import is_alive
from stanchion.store.trail import Add, Trail, erase_content

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

_FAMILY = """
    WITH RECURSIVE family (id) AS (
        SELECT :id UNION SELECT runs.id FROM runs JOIN family ON runs.origin = family.id)
    SELECT id FROM family
"""


def erase(database: Database, run_id: str, *, by: Person | str, clock: Clock | None = None) -> list[Run]:
    """Erase what a run holds, and what was forked or run again from it: documents, answers, states, checkpoints.

    That the runs happened stays on record. A run that this one was made from keeps its own document.

    Args:
        database: which holds them.
        run_id: its id or the beginning of it.
        by: who erases it.
        clock: for the present time.

    Returns:
        the run, then those made from it.

    Raises:
        RunNotFound: there is no such run.
        NotAllowed: it takes an operator.
        UsageError: one of the runs is being worked on.
        StoreError: another program is reading, so the write-ahead log could not be emptied yet.
    """
    person, clock, ledger = as_person(by), clock or SystemClock(), Ledger(database)
    person.must("operator", "erase runs")
    full_id = ledger.full_id(run_id)
    run_ids = [row["id"] for row in database.read(_FAMILY, {"id": full_id})]
    at = clock.now().isoformat()

    def work(tables: Tables, add: Add) -> None:
        for each in run_ids:
            _refuse_at_work(tables, database, each)
            _erase(tables, each, at)
        erase_content(tables, add, run_ids, by=person)
        _merge_texts(tables)

    Trail(database, clock).decide(work)
    database.forget_log()
    return ledger.runs_of(run_ids)


def prune(database: Database, before: datetime, *, by: Person | str, clock: Clock | None = None) -> int:
    """Delete runs that ended before a moment, with everything that belongs to them; return how many.

    Args:
        database: which holds them.
        before: aware; runs that have not ended are never pruned.
        by: who deletes them.
        clock: for the present time.

    Raises:
        NotAllowed: it takes an operator.
        StoreError: another program is reading, so the write-ahead log could not be emptied yet.
    """
    person = as_person(by)
    person.must("operator", "delete runs")
    pruned = Trail(database, clock).decide(partial(_prune, before=before.isoformat(), person=person))
    database.forget_log()
    return pruned


def _refuse_at_work(tables: Tables, database: Database, run_id: str) -> None:
    (row,) = tables.query("SELECT status, owner FROM runs WHERE id = ?", [run_id])
    if row["status"] == "running" and row["owner"] and is_alive(database.path, row["owner"]):
        raise UsageError(f"The run {run_id} is being worked on; erase it when it has ended, or cancel it first.")


def _erase(tables: Tables, run_id: str, at: str) -> None:
    arguments: dict[str, Any] = {"run": run_id, "at": at}
    for table, columns in CONTENT.items():
        key = "id" if table == "runs" else "run_id"
        emptied = ", ".join(f"{column} = NULL" for column in columns)
        tables.conn.execute(f"UPDATE {table} SET {emptied} WHERE {key} = :run", arguments)
    for table, key in _checkpoint_tables(tables):
        tables.conn.execute(f"DELETE FROM {table} WHERE {key} = :run", arguments)
    tables.conn.execute(
        """UPDATE reviews SET status = 'closed', closed_why = 'what its run held was erased at ' || :at
           WHERE run_id = :run AND status = 'asked'""",
        arguments,
    )
    tables.conn.execute(
        """UPDATE runs SET erased_at = :at, ended_at = coalesce(ended_at, :at), token = token + 1, owner = NULL,
           status = CASE status WHEN 'done' THEN 'done' ELSE 'cancelled' END WHERE id = :run""",
        arguments,
    )


def _prune(tables: Tables, add: Add, *, before: str, person: Person) -> int:
    ended = "SELECT id FROM runs WHERE ended_at < :before"
    arguments = {"before": before}
    run_ids = [row[0] for row in tables.conn.execute(ended, arguments)]
    for table, column in [
        *((name, "run_id") for name in (*CONTENT, "attempts") if name != "runs"),
        *_checkpoint_tables(tables),
    ]:
        tables.conn.execute(f"DELETE FROM {table} WHERE {column} IN ({ended})", arguments)
    tables.conn.execute("DELETE FROM spending WHERE day < date(:before)", arguments)
    tables.conn.execute("DELETE FROM breaker_events WHERE at < :before", arguments)
    tables.conn.execute(f"DELETE FROM runs WHERE id IN ({ended})", arguments)
    erase_content(tables, add, run_ids, by=person, what="runs pruned")
    _merge_texts(tables)
    return len(run_ids)


def _checkpoint_tables(tables: Tables) -> list[tuple[str, str]]:
    names = set(tables.table_names())
    return [(name, "thread_id") for name in ("checkpoints", "writes") if name in names]


def _merge_texts(tables: Tables) -> None:
    """Rewrite the index of texts: words that were taken out of it stay in its pages until then."""
    tables.conn.execute("INSERT INTO runs_text (runs_text) VALUES ('optimize')")
