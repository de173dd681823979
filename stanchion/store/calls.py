"""The journal of paid calls: what was started, what was answered, so that no kept answer is ever paid for twice."""

from __future__ import annotations

from typing import Any, NamedTuple

from stanchion.store.database import Database


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
    """Reads and writes the `calls` table.

    Args:
        database: where it stands.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def answered(self, key: CallKey) -> dict[str, Any] | None:
        """Return the row of an answer already kept for this very call, or None.

        Args:
            key: which call.
        """
        rows = self._database.read(
            "SELECT * FROM calls WHERE run_id = ? AND task_id = ? AND key = ? AND status = 'answered'",
            (key.run_id, key.task_id, key.content),
        )
        return rows[0] if rows else None

    async def started(self, call_id: str, key: CallKey, row: dict[str, Any]) -> None:
        """Record that a call is about to be made; without an end it counts as unknown.

        Args:
            call_id: unique.
            key: which call.
            row: further columns of `calls`.
        """
        whole = {
            "id": call_id,
            "run_id": key.run_id,
            "task_id": key.task_id,
            "node": key.node,
            "key": key.content,
            "status": "started",
            **row,
        }
        await self._database.write(lambda tables: tables.table("calls").insert(whole))

    async def ended(self, call_id: str, row: dict[str, Any]) -> None:
        """Record how a call ended; returns once that is on disk.

        Args:
            call_id: as given to `started`.
            row: status, answer or error, tokens, money and times.
        """
        await self._database.write(lambda tables: tables.table("calls").update(call_id, row))
