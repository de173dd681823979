"""Forgetting: what runs hold is erased, old runs are deleted; the trail keeps that it was done, and by whom.

Words that were taken out of the index of texts stay in its pages until those are merged, which is done afterwards and
in small pieces, so that whoever else writes waits for a moment only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from stanchion.blocking import wait_for
from stanchion.clock import Clock, SystemClock
from stanchion.errors import RunNotFound, UsageError
from stanchion.people import Person, as_person
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Run
from stanchion.store import Database
from stanchion.store.migrations import CONTENT
from stanchion.store.owners import is_alive
from stanchion.store.trail import Add, Trail, erase_content

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

BATCH = 100
"""Runs that one transaction deletes: 0.2 s where they have 75 kB each."""

PAGES = 500
"""Of the index of texts, that one transaction merges: 0.1 s."""

BREATH_SECONDS = 0.1
"""Between two transactions. Another process that waits for the database looks again this often (SQLite's busy handler),
so it has its turn after one of ours, not after all of them."""


def erase(database: Database, run_id: str, *, by: Person | str, clock: Clock | None = None) -> list[Run]:
    """Erase what a run holds, and what was forked or run again from it: documents, answers, states, checkpoints.

    That the runs happened stays on record. A run that this one was made from keeps its own document. A call to a model
    that is still under way costs what it costs, but what it answers is not kept.

    Args:
        database: which holds them.
        run_id: its id or the beginning of it; or the whole id of a run that was pruned, for what was made from it.
        by: who erases it.
        clock: for the present time, and for pauses in which others have their turn.

    Returns:
        the run, unless it was pruned, then those made from it.

    Raises:
        RunNotFound: there is no such run, and none that was made from it.
        NotAllowed: it takes an operator.
        UsageError: one of the runs is being worked on.
        StoreError: another program is reading, so the write-ahead log could not be emptied yet.
    """
    person, clock, ledger = as_person(by), clock or SystemClock(), Ledger(database)
    person.must("operator", "erase runs")
    full_id = _full_id(ledger, run_id)
    at = clock.now().isoformat()

    def work(tables: Tables, add: Add) -> list[str]:
        run_ids = _family(tables, full_id)
        for each in run_ids:
            _refuse_at_work(tables, database, each)
            _erase(tables, each, at)
        erase_content(tables, add, run_ids, by=person)
        return run_ids

    erased = Trail(database, clock).decide(work)
    _merge_texts(database, clock)
    database.forget_log()
    return ledger.runs_of(erased)


def prune(database: Database, before: datetime, *, by: Person | str, clock: Clock | None = None) -> int:
    """Delete runs that ended before a moment, with everything that belongs to them; return how many.

    They are deleted 100 at a time, each batch with its entry in the trail, so that others can write meanwhile. Where
    something goes wrong, the batches before it stay deleted. A run of which a call is still under way is left for the
    next time: its money is not settled yet.

    Args:
        database: which holds them.
        before: aware; runs that have not ended are never pruned.
        by: who deletes them.
        clock: for the present time, and for pauses in which others have their turn.

    Raises:
        NotAllowed: it takes an operator.
        StoreError: another program is reading, so the write-ahead log could not be emptied yet.
    """
    person, clock, ended_before = as_person(by), clock or SystemClock(), before.isoformat()
    person.must("operator", "delete runs")
    trail = Trail(database, clock)
    database.write_now(partial(_prune_counts, before=ended_before))
    old = [row["id"] for row in database.read("SELECT id FROM runs WHERE ended_at < ?", [ended_before])]
    pruned = 0
    for start in range(0, len(old), BATCH):
        if start:
            wait_for(clock.sleep(BREATH_SECONDS))
        some = old[start : start + BATCH]
        pruned += trail.decide(partial(_prune, run_ids=some, before=ended_before, person=person))
    _merge_texts(database, clock)
    database.forget_log()
    return pruned


def _full_id(ledger: Ledger, run_id: str) -> str:
    try:
        return ledger.full_id(run_id)
    except RunNotFound:
        if ledger.database.read("SELECT 1 FROM runs WHERE origin = ? LIMIT 1", [run_id]):
            return run_id  # it was pruned; what was made from it may hold the same document
        raise


# --- In the writer thread ---


def _family(tables: Tables, run_id: str) -> list[str]:
    """Return a run and all that were made from it, as far as they are still there."""
    run_ids = [row[0] for row in tables.conn.execute(_FAMILY, {"id": run_id})]
    if not run_ids:
        raise RunNotFound(f"The run {run_id} was pruned in this moment.")
    return run_ids


_FAMILY = """
    WITH RECURSIVE family (id) AS (
        SELECT :id UNION SELECT runs.id FROM runs JOIN family ON runs.origin = family.id)
    SELECT id FROM family WHERE id IN (SELECT id FROM runs)
"""


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


def _prune(tables: Tables, add: Add, *, run_ids: Sequence[str], before: str, person: Person) -> int:
    """Delete those of some runs that can be; return how many."""
    old = [row[0] for row in tables.conn.execute(_PRUNABLE, {"runs": json.dumps(run_ids), "before": before})]
    tables.conn.executemany(_HAND_ON_ORIGIN, [(run_id,) for run_id in old])
    runs = json.dumps(old)
    for table, column in [
        *((name, "run_id") for name in (*CONTENT, "attempts") if name != "runs"),
        *_checkpoint_tables(tables),
        ("runs", "id"),
    ]:
        tables.conn.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", [runs])
    erase_content(tables, add, old, by=person, what="runs pruned")
    return len(old)


_PRUNABLE = """
    SELECT id FROM runs WHERE id IN (SELECT value FROM json_each(:runs)) AND ended_at < :before
        AND NOT EXISTS (SELECT 1 FROM attempts WHERE run_id = runs.id AND status = 'started')
"""

# What was made from a pruned run counts as made from that run's own origin: who erases the first of a line must find
# the last. Where there is none before it, the pruned run's id stays: whoever knows it still finds what was made of it.
_HAND_ON_ORIGIN = """
    UPDATE runs SET origin = coalesce((SELECT pruned.origin FROM runs AS pruned WHERE pruned.id = ?1), origin)
    WHERE origin = ?1
"""


def _prune_counts(tables: Tables, before: str) -> None:
    tables.conn.execute("DELETE FROM spending WHERE day < date(?)", [before])
    tables.conn.execute("DELETE FROM breaker_events WHERE at < ?", [before])


def _checkpoint_tables(tables: Tables) -> list[tuple[str, str]]:
    names = set(tables.table_names())
    return [(name, "thread_id") for name in ("checkpoints", "writes") if name in names]


# --- The index of texts ---


def _merge_texts(database: Database, clock: Clock) -> None:
    """Rewrite the index of texts, piece by piece, until no page of it is older than this."""
    pages = -PAGES  # the first piece takes the whole index into one merge, the others go on with it
    while (changed := database.write_now(partial(_merge_some, pages=pages))) > 1:  # 1: nothing was left to do (SQLite)
        pages = PAGES
        if changed >= PAGES:
            wait_for(clock.sleep(BREATH_SECONDS))


def _merge_some(tables: Tables, pages: int) -> int:
    before: int = tables.conn.total_changes
    tables.conn.execute("INSERT INTO runs_text (runs_text, rank) VALUES ('merge', ?)", [pages])
    return tables.conn.total_changes - before
