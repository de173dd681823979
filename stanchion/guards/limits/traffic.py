"""What is asked of each model and how it ends, counted in slots of five seconds.

Two limits read it: the circuit breaker, how many ended badly; and the retry budget, how many retries the calls have
earned. The retry budget is Finagle's (https://twitter.github.io/finagle/guide/Clients.html#retries): retries may add a
share to the calls of a window, so that an outage is not answered with a storm; a few are always free.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from stanchion.guards.limits.moment import Moment
from stanchion.guards.limits.policy import LONGEST_WINDOW, Retry

SLOT = 5.0  # seconds
KEPT = LONGEST_WINDOW.total_seconds()


class End(NamedTuple):
    """How one request ended.

    Args:
        failed: the provider is to blame for a failure.
        slow: it took longer than a call should.
        probe: it tried whether the model is well again.
    """

    failed: bool
    slow: bool
    probe: bool

    @property
    def well(self) -> bool:
        """Whether there is nothing to say against the provider."""
        return not (self.failed or self.slow)


class Ends(NamedTuple):
    """How the requests of a window ended.

    Args:
        ended: all of them.
        failures: those that failed.
        slow: those that took too long.
    """

    ended: int
    failures: int
    slow: int


def count_call(connection: sqlite3.Connection, model: str, now: Moment) -> None:
    """Count a logical call's first request.

    Args:
        connection: inside a transaction.
        model: which.
        now: the present time.
    """
    connection.execute(
        """INSERT INTO traffic (model, slot, calls) VALUES (?, ?, 1)
           ON CONFLICT (model, slot) DO UPDATE SET calls = calls + 1""",
        [model, _slot(now.epoch)],
    )


def count_end(connection: sqlite3.Connection, model: str, end: End, now: Moment) -> None:
    """Count how a request ended.

    Args:
        connection: inside a transaction.
        model: which.
        end: how.
        now: the present time.
    """
    connection.execute(
        """INSERT INTO traffic (model, slot, ended, failures, slow) VALUES (:model, :slot, 1, :failed, :slow)
           ON CONFLICT (model, slot) DO UPDATE SET
           ended = ended + 1, failures = failures + :failed, slow = slow + :slow""",
        {"model": model, "slot": _slot(now.epoch), "failed": end.failed, "slow": end.slow},
    )


def earn_retry(connection: sqlite3.Connection, model: str, policy: Retry, now: Moment) -> bool:
    """Say whether the retry budget allows another retry, and count it if so.

    Args:
        connection: inside a transaction.
        model: which.
        policy: the share of calls that retries may add, the window, and how many are free.
        now: the present time.
    """
    first = _slot(now.epoch - policy.window.total_seconds())  # only part of this slot is in the window: so all of its
    calls, retries = connection.execute(  # retries count, and none of its calls
        """SELECT coalesce(sum(calls) FILTER (WHERE slot > :first), 0), coalesce(sum(retries), 0) FROM traffic
           WHERE model = :model AND slot >= :first""",
        {"model": model, "first": first},
    ).fetchone()
    if retries >= max(policy.floor, int(policy.share * calls)):
        return False
    connection.execute(
        """INSERT INTO traffic (model, slot, retries) VALUES (?, ?, 1)
           ON CONFLICT (model, slot) DO UPDATE SET retries = retries + 1""",
        [model, _slot(now.epoch)],
    )
    return True


def ends(connection: sqlite3.Connection, model: str, window: float, now: Moment) -> Ends:
    """Return how the requests of a window ended, and drop what is too old for any window.

    Args:
        connection: inside a transaction.
        model: which.
        window: in seconds.
        now: the present time.
    """
    slot = _slot(now.epoch)  # those ahead are of a clock that was set back since
    connection.execute(
        "DELETE FROM traffic WHERE model = ? AND (slot < ? OR slot > ?)", [model, _slot(now.epoch - KEPT), slot + 1]
    )
    row = connection.execute(
        """SELECT coalesce(sum(ended), 0), coalesce(sum(failures), 0), coalesce(sum(slow), 0) FROM traffic
           WHERE model = ? AND slot >= ?""",
        [model, _slot(now.epoch - window)],
    ).fetchone()
    return Ends(*row)


def forget_ends(connection: sqlite3.Connection, model: str) -> None:
    """Begin anew with counting how requests end; what retries were earned stays.

    Args:
        connection: inside a transaction.
        model: which.
    """
    connection.execute("UPDATE traffic SET ended = 0, failures = 0, slow = 0 WHERE model = ?", [model])


def _slot(epoch: float) -> int:
    return int(epoch // SLOT)
