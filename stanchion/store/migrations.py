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
    migrations()(m002_prompts)
    migrations()(m003_limits)
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


def m002_prompts(db: Tables) -> None:
    """Create what runs pin: every wording of a prompt that a run started with, and where the labels point."""
    db.table("prompts").create(
        {
            "id": str,
            "hash": str,
            "version": str,
            "body": str,  # JSON: the texts
            "added_at": str,
            "added_by": str,  # who added it by hand; NULL: it came with a run, from the workflow's code
        },
        pk=("id", "hash"),
        not_null={"version", "body", "added_at"},
    )
    db.table("prompt_labels").create(
        {
            "seq": int,
            "prompt": str,
            "label": str,
            "hash": str,  # NULL: the label follows the workflow's file, as before it was ever moved
            "back_to": int,  # the move that a rollback returns to; NULL: the time before the first
            "moved_at": str,
            "moved_by": str,
            "reason": str,
        },
        pk="seq",
        not_null={"prompt", "label", "moved_at", "moved_by", "reason"},
    )
    db.table("prompt_labels").create_index(["prompt", "label", "seq"])


LIMITS = (
    # one row per request sent; what it may cost is reserved while it is under way. Money in billionths of a US dollar.
    """CREATE TABLE attempts (
        call_id TEXT NOT NULL, number INTEGER NOT NULL, run_id TEXT NOT NULL, task_id TEXT NOT NULL,
        workflow TEXT NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, owner TEXT NOT NULL, day TEXT NOT NULL,
        status TEXT NOT NULL, -- started | answered | failed | late (after its deadline) | unknown (its process died)
        kind TEXT, -- of the failure
        probe INTEGER NOT NULL, tokens INTEGER NOT NULL, cost INTEGER NOT NULL,
        started_at TEXT NOT NULL, ended_at TEXT, ms REAL,
        PRIMARY KEY (call_id, number))""",
    "CREATE INDEX attempts_of_run ON attempts (run_id, task_id)",
    "CREATE INDEX attempts_under_way ON attempts (model, owner) WHERE status = 'started'",
    # what was asked of a model in five seconds: failures open breakers, calls earn retries
    """CREATE TABLE traffic (
        model TEXT NOT NULL, slot INTEGER NOT NULL, calls INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
        slow INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (model, slot)) WITHOUT ROWID""",
    """CREATE TABLE breakers (
        model TEXT PRIMARY KEY, state TEXT NOT NULL, -- closed | open | half_open
        until REAL NOT NULL DEFAULT 0, open_for REAL NOT NULL DEFAULT 0, successes INTEGER NOT NULL DEFAULT 0,
        forced TEXT, -- open | closed, by an operator
        forced_by TEXT, reason TEXT NOT NULL DEFAULT '', changed_at TEXT NOT NULL)""",
    """CREATE TABLE breaker_events (
        model TEXT NOT NULL, at TEXT NOT NULL, what TEXT NOT NULL, by TEXT, reason TEXT NOT NULL)""",
    # when the next request may go, by the generic cell rate algorithm
    """CREATE TABLE pacing (
        model TEXT PRIMARY KEY, requests_due REAL NOT NULL DEFAULT 0, tokens_due REAL NOT NULL DEFAULT 0)
        WITHOUT ROWID""",
    """CREATE TABLE spending (
        day TEXT NOT NULL, workflow TEXT NOT NULL, tenant TEXT NOT NULL, reserved INTEGER NOT NULL DEFAULT 0,
        spent INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (day, workflow, tenant)) WITHOUT ROWID""",
)
"""What all processes on a database share about calls; also made in memory, where there is no database."""


def m003_limits(db: Tables) -> None:
    """Create what limits on calls are counted in, and what runs say of their time, tenant and calls."""
    for statement in LIMITS:
        db.conn.execute(statement)
    for column in (
        "tenant TEXT NOT NULL DEFAULT ''",
        "worked_ms REAL NOT NULL DEFAULT 0",  # in all; waiting for people is none of it
        "claimed_at TEXT",
    ):
        db.conn.execute(f"ALTER TABLE runs ADD COLUMN {column}")
    db.conn.execute("ALTER TABLE steps ADD COLUMN late_at TEXT")  # when it ended after it was given up
    for column in (
        "attempts INTEGER NOT NULL DEFAULT 1",  # requests sent
        "kind TEXT",  # of the failure
        "reask INTEGER NOT NULL DEFAULT 0",  # guards said no to the answer before
        "shared_with TEXT",  # the call whose request answered this one too
        "warning TEXT",  # such as a budget that is nearly spent
        "model_version TEXT",  # what the provider says answered
    ):
        db.conn.execute(f"ALTER TABLE calls ADD COLUMN {column}")
