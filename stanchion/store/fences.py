"""The fence around a run: whoever took it last holds the highest token, and every older one writes nothing any more.

A lease alone does not keep two processes apart: one that was stopped for a minute goes on without noticing that its
lease is over. So every write about a run names the token of its claim, and is refused in its own transaction where the
run has moved on (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from stanchion.errors import LeaseLost


class Fence(NamedTuple):
    """The right to write about a run.

    Args:
        run_id: which.
        token: of the claim; the run's own rises with each.
    """

    run_id: str
    token: int


def hold(connection: sqlite3.Connection, fence: Fence | None) -> None:
    """Refuse to go on with a transaction about a run that somebody else has now.

    Args:
        connection: inside the transaction.
        fence: None: it is about no run of ours.

    Raises:
        LeaseLost: another claim came after this one.
    """
    if fence is None:
        return
    row = connection.execute("SELECT token FROM runs WHERE id = ?", [fence.run_id]).fetchone()
    if row is None or row[0] != fence.token:
        raise LeaseLost(f"The run {fence.run_id} was taken over or cancelled meanwhile; nothing was written.")
