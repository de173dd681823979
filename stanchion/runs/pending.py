"""Whether a question still stands: its run has not ended, and its thread still waits where it asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stanchion.runs.records import Review

Read = Callable[[str, Sequence[Any] | dict[str, Any]], list[dict[str, Any]]]
"""Reads rows, in a transaction or outside of one."""

_MOVED_ON = "its run was resumed or forked elsewhere, and no longer stands where it asked"

_LATEST = "SELECT max(checkpoint_id) AS latest FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ''"

# An interrupt is among a checkpoint's pending writes, under its id, until its node has written anything else: what is
# not special has an index from 0 on.
_PENDING = """
    SELECT 1 FROM writes AS asked
    WHERE thread_id = :run AND checkpoint_ns = '' AND checkpoint_id = :checkpoint AND channel = '__interrupt__'
        AND instr(value, CAST(:interrupt AS BLOB))
        AND NOT EXISTS (
            SELECT 1 FROM writes WHERE thread_id = :run AND checkpoint_ns = '' AND checkpoint_id = :checkpoint
                AND task_id = asked.task_id AND idx >= 0)
    LIMIT 1
"""


def why_over(read: Read, review: Review) -> str | None:
    """Return why an open review's run can no longer take its answer; None where it can.

    Args:
        read: inside the transaction, where something is to be decided by it.
        review: that is open.
    """
    (run,) = read("SELECT status, outcome, ended_at, erased_at FROM runs WHERE id = ?", [review.run_id])
    if run["erased_at"] is not None:
        return f"its run was erased at {run['erased_at'][:19]}"
    if run["status"] in ("done", "cancelled"):
        return f"its run ended as {run['outcome'] or 'cancelled'} at {str(run['ended_at'])[:19]}"
    return _MOVED_ON if _has_moved_on(read, review) else None


def _has_moved_on(read: Read, review: Review) -> bool:
    """Say whether the thread does not wait with this question any more; one without checkpoints never began."""
    if not read("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'", []):
        return False
    (row,) = read(_LATEST, [review.run_id])
    latest = row["latest"]
    if latest is None:
        return False
    if review.checkpoint_id is not None and latest != review.checkpoint_id:
        return True
    return not read(_PENDING, {"run": review.run_id, "checkpoint": latest, "interrupt": review.interrupt_id})
