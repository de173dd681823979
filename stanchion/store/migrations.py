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
    "runs": ("input", "recorded", "output", "reason", "paused_why"),
    "steps": ("state_in", "state_out", "error"),
    "calls": ("request", "answer", "error"),
    "verdicts": ("reason", "checks"),
    "reviews": ("question", "answer", "reason", "closed_why"),
    "opinions": ("answer",),
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
    migrations()(m004_people)
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


# What a text search finds a run by: the caller's id, the reason, and the values of the output; no more of them than can
# be taken to words within a millisecond. What SQLite does not take for JSON (NaN, deep nesting) has none.
_TEXT = (
    "substr({0}.input_id || ' ' || coalesce({0}.reason, '') || ' ' || coalesce((SELECT group_concat(atom, ' ') "
    "FROM json_tree(CASE WHEN json_valid({0}.output) THEN {0}.output END) WHERE atom IS NOT NULL), ''), 1, 20000)"
)

PEOPLE = (
    # --- Runs: who has them, where they come from, and what lists of them show  ---
    *(
        f"ALTER TABLE runs ADD COLUMN {column}"
        for column in (
            "token INTEGER NOT NULL DEFAULT 0",  # the fence: counts claims; who holds an older one may write nothing
            "lease_until TEXT",  # when an owner that does not renew it has lost the run
            "paused_at TEXT",
            "paused_by TEXT",
            "paused_why TEXT",
            "origin TEXT",  # the run that it was made from
            "origin_step TEXT",  # the task id of the step before which it was forked; NULL: run again from its input
            "path TEXT NOT NULL DEFAULT ''",  # the nodes it has been at, in order, each once: /intake/rules/
            "error_class TEXT",  # what ended it, where it was an error: BudgetExceeded, KeyError
            "made_calls INTEGER NOT NULL DEFAULT 0",
            "cost INTEGER DEFAULT 0",  # billionths of a US dollar, as of when it last came to rest; NULL: unknown
            "text_id INTEGER",  # its row in runs_text
        )
    ),
    # everything that lists of runs filter and sort by, so that no list reads a row that it does not show
    """CREATE INDEX runs_listed ON runs (
        created_at, text_id, id, workflow, status, outcome, rung, version, model, tenant, error_class, path, worked_ms,
        cost, confidence, paused_at)""",
    "CREATE INDEX runs_of_origin ON runs (origin) WHERE origin IS NOT NULL",
    # what workers look for
    """CREATE INDEX runs_claimable ON runs (created_at, id, reference, workflow, owner, lease_until, paused_at)
        WHERE status IN ('queued', 'running')""",
    # what is counted per workflow; ended runs are not in it
    """CREATE INDEX runs_unfinished ON runs (reference, created_at, workflow, status, paused_at)
        WHERE status IN ('queued', 'running', 'waiting')""",
    "CREATE VIRTUAL TABLE runs_text USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')",
    "UPDATE runs SET text_id = rowid",
    f"INSERT INTO runs_text (rowid, text) SELECT rowid, {_TEXT.format('runs')} FROM runs",
    """UPDATE runs SET
        made_calls = (SELECT count(*) FROM calls WHERE run_id = runs.id),
        cost = (SELECT CASE WHEN sum(cost_usd IS NULL) > 0 THEN NULL
                ELSE cast(round(coalesce(sum(cost_usd), 0) * 1e9) AS INTEGER) END FROM calls WHERE run_id = runs.id),
        path = coalesce((SELECT '/' || group_concat(node, '/') || '/' FROM (
            SELECT node FROM steps WHERE run_id = runs.id GROUP BY node ORDER BY min(position))), '')""",
    """CREATE TRIGGER runs_text_added AFTER INSERT ON runs BEGIN
        INSERT INTO runs_text (text) VALUES (new.input_id);
        UPDATE runs SET text_id = last_insert_rowid() WHERE id = new.id;
    END""",
    f"""CREATE TRIGGER runs_text_changed AFTER UPDATE OF reason, output ON runs WHEN new.text_id IS NOT NULL BEGIN
        UPDATE runs_text SET text = {_TEXT.format("new")} WHERE rowid = new.text_id;
    END""",
    """CREATE TRIGGER runs_text_removed AFTER DELETE ON runs WHEN old.text_id IS NOT NULL BEGIN
        DELETE FROM runs_text WHERE rowid = old.text_id;
    END""",
    # --- Reviews: what the queue sorts by, whose they are, and the rules they stand under  ---
    *(
        f"ALTER TABLE reviews ADD COLUMN {column}"
        for column in (
            "workflow TEXT NOT NULL DEFAULT ''",
            "checkpoint_id TEXT",  # at which its run's thread stood when it was asked
            "form TEXT",  # JSON schema of the answer, where the interrupt names one
            "role TEXT NOT NULL DEFAULT 'reviewer'",
            "people INTEGER NOT NULL DEFAULT 1",
            "stake REAL NOT NULL DEFAULT 1",
            "priority REAL NOT NULL DEFAULT 0",  # the expected loss
            "sampled INTEGER NOT NULL DEFAULT 0",
            "due_at TEXT",
            "claimed_by TEXT",
            "claimed_until TEXT",
            "reason TEXT",  # in the words of who answered
            "answered_as TEXT",  # how they were known: login, system, claim
            "closed_why TEXT",
        )
    ),
    "UPDATE reviews SET workflow = (SELECT workflow FROM runs WHERE id = reviews.run_id)",
    """UPDATE reviews SET priority = stake * (1 - coalesce(CASE WHEN json_valid(question) THEN
        CASE WHEN json_type(question, '$.confidence') IN ('integer', 'real')
            AND json_extract(question, '$.confidence') BETWEEN 0 AND 1
        THEN json_extract(question, '$.confidence') END END, 0)) WHERE status = 'asked'""",
    # with what tells how many wait, for how long and until when
    """CREATE INDEX reviews_queued ON reviews (
        status, priority DESC, asked_at, workflow, due_at, role, people, claimed_until)""",
    "CREATE INDEX reviews_claimed ON reviews (claimed_by) WHERE claimed_by IS NOT NULL",
    "CREATE INDEX reviews_unresumed ON reviews (run_id) WHERE status IN ('answered', 'expired') AND resumed_at IS NULL",
    "CREATE INDEX reviews_due ON reviews (due_at) WHERE status = 'asked' AND due_at IS NOT NULL",
    # the first of two people's answers, until a second person gives the same one
    """CREATE TABLE opinions (
        review_id TEXT NOT NULL, run_id TEXT NOT NULL, by TEXT NOT NULL, known_by TEXT NOT NULL, action TEXT NOT NULL,
        answer TEXT, at TEXT NOT NULL, PRIMARY KEY (review_id, by))""",
    # --- What operators did, and who works  ---
    """CREATE TABLE paused_workflows (
        workflow TEXT PRIMARY KEY, at TEXT NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL)""",
    """CREATE TABLE workers (
        name TEXT PRIMARY KEY, pid INTEGER NOT NULL, host TEXT NOT NULL, workflows TEXT NOT NULL, -- JSON; []: all
        started_at TEXT NOT NULL, seen_at TEXT NOT NULL, stopping_at TEXT)""",
    """CREATE TABLE trail (
        seq INTEGER PRIMARY KEY, at TEXT NOT NULL, by TEXT NOT NULL, known_by TEXT NOT NULL, what TEXT NOT NULL,
        workflow TEXT NOT NULL, run_id TEXT NOT NULL, subject TEXT NOT NULL, facts TEXT NOT NULL,
        content TEXT, salt BLOB, commitment BLOB NOT NULL, hash BLOB NOT NULL)""",
    "CREATE INDEX trail_of_run ON trail (run_id) WHERE run_id != ''",
    "CREATE INDEX trail_of_person ON trail (by)",
    "CREATE INDEX trail_of_kind ON trail (what)",
    # --- Roll-ups, so that no page counts runs or steps one by one  ---
    """CREATE TABLE run_counts (
        hour TEXT NOT NULL, workflow TEXT NOT NULL, outcome TEXT NOT NULL, runs INTEGER NOT NULL,
        PRIMARY KEY (hour, workflow, outcome)) WITHOUT ROWID""",
    # a histogram of how long steps took: bucket n holds those from 1.1^n ms to under 1.1^(n+1) ms
    """CREATE TABLE step_times (
        hour TEXT NOT NULL, workflow TEXT NOT NULL, node TEXT NOT NULL, bucket INTEGER NOT NULL, steps INTEGER NOT NULL,
        PRIMARY KEY (hour, workflow, node, bucket)) WITHOUT ROWID""",
    # the same by day, or weeks of it would take a quarter of a million rows
    """CREATE TABLE step_times_by_day (
        day TEXT NOT NULL, workflow TEXT NOT NULL, node TEXT NOT NULL, bucket INTEGER NOT NULL, steps INTEGER NOT NULL,
        PRIMARY KEY (day, workflow, node, bucket)) WITHOUT ROWID""",
    """CREATE TRIGGER step_times_added AFTER INSERT ON step_times BEGIN
        INSERT INTO step_times_by_day VALUES (substr(new.hour, 1, 10), new.workflow, new.node, new.bucket, new.steps)
        ON CONFLICT DO UPDATE SET steps = steps + new.steps;
    END""",
    """CREATE TRIGGER step_times_changed AFTER UPDATE OF steps ON step_times BEGIN
        UPDATE step_times_by_day SET steps = steps + new.steps - old.steps
        WHERE day = substr(new.hour, 1, 10) AND workflow = new.workflow AND node = new.node AND bucket = new.bucket;
    END""",
    # every value that a filter of runs can be set to: few, where runs and steps are many
    """CREATE TABLE choices (
        field TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (field, value)) WITHOUT ROWID""",
    "INSERT INTO choices SELECT DISTINCT 'workflow', workflow FROM runs",
    "INSERT INTO choices SELECT DISTINCT 'version', version FROM runs",
    "INSERT INTO choices SELECT DISTINCT 'model', model FROM runs",
    "INSERT INTO choices SELECT DISTINCT 'step', node FROM steps",
    """CREATE TRIGGER choices_of_runs AFTER INSERT ON runs BEGIN
        INSERT INTO choices VALUES ('workflow', new.workflow), ('version', new.version), ('model', new.model)
        ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER choices_of_steps AFTER INSERT ON steps BEGIN
        INSERT INTO choices VALUES ('step', new.node) ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER choices_of_errors AFTER UPDATE OF error_class ON runs WHEN new.error_class IS NOT NULL BEGIN
        INSERT INTO choices VALUES ('error', new.error_class) ON CONFLICT DO NOTHING;
    END""",
)


def m004_people(db: Tables) -> None:
    """Create what people and consoles need: leases, rules of reviews, the trail, text search, roll-ups."""
    for statement in PEOPLE:
        db.conn.execute(statement)
