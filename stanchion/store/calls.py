"""The journal of paid calls: what was started, what was answered, so that no kept answer is ever paid for twice.

What is written here is written inside the transaction that reserves or settles a call's money, so it costs no commit.
A call may end after its run was erased: then its money and times are kept, and nothing of what was asked or said.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

from stanchion.store.database import Database
from stanchion.store.migrations import CONTENT


class CallKey(NamedTuple):
    """Which call of which step: the same after a crash, since LangGraph derives task ids from the checkpoint.

    Args:
        run_id: the run.
        task_id: LangGraph's id of the step's execution.
        node: the node's name.
        content: hash of model, prompt, schema and messages.
    """

    run_id: str
    task_id: str
    node: str
    content: str


class Journal:
    """Reads the `calls` table.

    Args:
        database: where it stands.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def answered(self, key: CallKey) -> dict[str, Any] | None:
        """Return the row of an answer already kept for this very call, or None.

        Args:
            key: which call.
        """
        rows = self.database.read(
            """SELECT * FROM calls WHERE run_id = ? AND task_id = ? AND key = ? AND status = 'answered'
               AND answer IS NOT NULL""",
            (key.run_id, key.task_id, key.content),
        )
        return rows[0] if rows else None


def add_call(connection: sqlite3.Connection, call_id: str, key: CallKey, row: Mapping[str, Any]) -> None:
    """Record a call; one that is about to be made and is never ended counts as unknown.

    Args:
        connection: inside a transaction.
        call_id: unique.
        key: which call.
        row: further columns of `calls`; ours, not a user's.
    """
    whole = {
        "id": call_id,
        "run_id": key.run_id,
        "task_id": key.task_id,
        "node": key.node,
        "key": key.content,
        "status": "started",
        **(row if _may_hold(connection, _OF_RUN, key.run_id) else _without_content(row)),
    }
    columns = ", ".join(whole)
    marks = ", ".join(f":{name}" for name in whole)
    connection.execute(f"INSERT INTO calls ({columns}) VALUES ({marks})", whole)  # noqa: S608


def abandon_call(connection: sqlite3.Connection, call_id: str, row: Mapping[str, Any]) -> None:
    """Record that nobody waits any more for a call, unless its end was recorded just before.

    Args:
        connection: inside a transaction.
        call_id: as given to `add_call`.
        row: money, attempts and times.
    """
    (open_,) = connection.execute(
        "SELECT count(*) FROM calls WHERE id = ? AND status = 'started'", [call_id]
    ).fetchone()
    if open_:
        end_call(connection, call_id, {"status": "unknown", **row})


def end_call(connection: sqlite3.Connection, call_id: str, row: Mapping[str, Any]) -> None:
    """Record how a call ended.

    Args:
        connection: inside a transaction.
        call_id: as given to `add_call`.
        row: status, answer or error, tokens, money and times.
    """
    kept = row if _may_hold(connection, _OF_CALL, call_id) else _without_content(row)
    changes = ", ".join(f"{name} = :{name}" for name in kept)
    connection.execute(f"UPDATE calls SET {changes} WHERE id = :id", {**kept, "id": call_id})  # noqa: S608


def _may_hold(connection: sqlite3.Connection, sql: str, key: str) -> bool:
    """Say whether what was asked and said may be written: not where the run was erased meanwhile, or is gone."""
    return connection.execute(sql, [key]).fetchone() is not None


_OF_RUN = "SELECT 1 FROM runs WHERE id = ? AND erased_at IS NULL"
_OF_CALL = "SELECT 1 FROM calls JOIN runs ON runs.id = run_id WHERE calls.id = ? AND erased_at IS NULL"


def _without_content(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in CONTENT["calls"]}
