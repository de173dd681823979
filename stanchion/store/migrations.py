"""The tables, and how older databases come to have them.

Columns named in CONTENT hold what documents and models said; everything else is about the run, never of it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from stanchion.errors import StoreError

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables
    from sqlite_utils.migrations import Migrations

CONTENT: dict[str, tuple[str, ...]] = {
    "runs": ("input", "recorded", "output", "reason"),
    "steps": ("state_in", "state_out", "error"),
    "calls": ("request", "answer", "error"),
    "verdicts": ("reason", "checks"),
    "reviews": ("question", "answer"),
}
"""The columns that `erase` empties."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to the present tables.

    Args:
        connection: open for writing; the caller holds the migration lock.
        path: the file, for messages.

    Raises:
        StoreError: the database was written by a newer Stanchion, or is none of ours.
    """
    if not _is_ours(connection):
        raise StoreError(f"The file {path} is a database of something else; name another one with --db.")
    migrations = _migrations()
    known = [migration.name for migration in migrations._migrations]
    applied = _applied(connection)
    if unknown := [name for name in applied if name not in known]:
        raise StoreError(
            f"The database {path} was written by a newer Stanchion (it has {unknown[-1]}, this one ends at "
            f"{known[-1]}). Upgrade Stanchion, or use another database with --db."
        )
    if applied == known:
        return

    import sqlite_utils  # only where there is something to migrate: it can take over a second

    migrations.apply(sqlite_utils.Database(connection))


def _is_ours(connection: sqlite3.Connection) -> bool:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return not names - {"_sqlite_migrations"} or bool(_applied(connection))


def _applied(connection: sqlite3.Connection) -> list[str]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'stanchion' ORDER BY rowid")
    return [name for (name,) in rows]


def _migrations() -> Migrations:
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("stanchion")
    migrations()(m001_ledger)
    return migrations


def m001_ledger(db: Tables) -> None:
    """Create the ledger: runs, steps, calls, verdicts, reviews."""
    db.table("runs").create(
        {
            "id": str,
            "workflow": str,
            "reference": str,  # what loads the workflow again: a name of langgraph.json or module:attribute
            "version": str,
            "model": str,
            "prompts": str,  # JSON: prompt id -> {version, hash}
            "input_id": str,
            "input": str,
            "recorded": str,  # JSON list: the dataset's recorded answers for this input
            "status": str,
            "outcome": str,
            "reason": str,
            "rung": str,
            "confidence": float,
            "output": str,
            "owner": str,
            "created_at": str,
            "started_at": str,
            "ended_at": str,
            "erased_at": str,
        },
        pk="id",
        not_null={"workflow", "reference", "version", "model", "input_id", "status", "created_at"},
    )
    db.table("runs").create_index(["status", "created_at"])
    db.table("runs").create_index(["workflow", "created_at"])
    db.table("steps").create(
        {
            "run_id": str,
            "task_id": str,  # LangGraph's: the same when a step is executed again from the same checkpoint
            "position": int,
            "node": str,
            "attempts": int,
            "state_in": str,
            "state_out": str,
            "error": str,
            "started_at": str,
            "ended_at": str,
            "ms": float,
        },
        pk=("run_id", "task_id"),
        not_null={"node", "attempts", "started_at"},
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("calls").create(
        {
            "id": str,
            "run_id": str,
            "task_id": str,
            "node": str,
            "key": str,  # hash of model, prompt and messages: the same request has the same key
            "model": str,
            "prompt": str,
            "prompt_version": str,
            "prompt_hash": str,
            "status": str,  # started | answered | failed; started and never ended means unknown
            "request": str,
            "answer": str,
            "error": str,
            "input_tokens": int,
            "output_tokens": int,
            "cost_usd": str,
            "started_at": str,
            "ended_at": str,
            "ms": float,
        },
        pk="id",
        not_null={"run_id", "task_id", "node", "key", "model", "status", "started_at"},
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("calls").create_index(["run_id", "task_id", "key"])
    db.table("verdicts").create(
        {
            "run_id": str,
            "task_id": str,
            "node": str,
            "decision": str,
            "confidence": float,
            "reason": str,
            "checks": str,
        },
        pk=("run_id", "task_id"),
        not_null={"node", "decision"},
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("reviews").create(
        {
            "id": str,
            "run_id": str,
            "interrupt_id": str,
            "node": str,
            "status": str,  # asked | answered | closed
            "question": str,
            "action": str,
            "answer": str,
            "answered_by": str,
            "asked_at": str,
            "answered_at": str,
            "resumed_at": str,
        },
        pk="id",
        not_null={"run_id", "interrupt_id", "node", "status", "asked_at"},
        foreign_keys=[("run_id", "runs", "id")],
    )
    db.table("reviews").create_index(["run_id", "interrupt_id"], unique=True)
    db.table("reviews").create_index(["status", "asked_at"])
