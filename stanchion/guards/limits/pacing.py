"""Requests and tokens per minute, and calls in flight, per model and for all processes on a database.

The generic cell rate algorithm (ITU-T I.371, 1996): one number, when the next request is due, paces requests evenly and
says exactly how long to wait. A tenth of a minute's requests may come at once; the pace is slowed by as much, so that
no minute ever holds more than the limit. What is larger than that tenth, as one call's tokens may be, waits until so
much less has come before it.
"""

from __future__ import annotations

import sqlite3

from stanchion.guards.limits.moment import Moment
from stanchion.guards.limits.policy import Rate

MINUTE = 60.0
LOOK_AGAIN = 0.05  # seconds until somebody may have finished
JUST = 1e-6  # seconds; a float that counts from 1970 is no more exact


def wait_for_room(connection: sqlite3.Connection, model: str, rate: Rate, tokens: int, now: Moment) -> float:
    """Return how many seconds a call must wait, 0 where it may go; what it takes is then counted.

    Args:
        connection: inside a transaction.
        model: which.
        rate: its limits.
        tokens: what the call may read and write at the most.
        now: the present time.
    """
    if rate.in_flight is not None and under_way(connection, model) >= rate.in_flight:
        return LOOK_AGAIN
    if rate.requests is None and rate.tokens is None:
        return 0.0
    requests_due, tokens_due = _due(connection, model, rate, now)
    after_requests, wait_requests = _paced(requests_due, rate.requests, 1, now)
    after_tokens, wait_tokens = _paced(tokens_due, rate.tokens, tokens, now)
    if wait := max(wait_requests, wait_tokens):
        return wait
    connection.execute("INSERT OR REPLACE INTO pacing VALUES (?, ?, ?)", [model, after_requests, after_tokens])
    return 0.0


def give_back(connection: sqlite3.Connection, model: str, rate: Rate, counted: int, used: int) -> None:
    """Give back the tokens that a call was counted for and did not use, or count those that it used besides.

    Args:
        connection: inside a transaction.
        model: which.
        rate: its limits.
        counted: tokens, as given to `wait_for_room`.
        used: tokens.
    """
    if rate.tokens is not None and counted != used:
        interval, _ = _interval(rate.tokens)
        unused = _counted(counted, rate.tokens) - _counted(used, rate.tokens)
        connection.execute("UPDATE pacing SET tokens_due = tokens_due - ? WHERE model = ?", [unused * interval, model])


def _paced(due: float, per_minute: float | None, amount: int, now: Moment) -> tuple[float, float]:
    """Return when the next is due if this one goes, and how long it has to wait before."""
    if per_minute is None:
        return due, 0.0
    interval, burst = _interval(per_minute)
    counted = _counted(amount, per_minute)
    wait = due + (counted - burst) * interval - now.epoch
    return max(due, now.epoch) + counted * interval, wait if wait > JUST else 0.0


def _counted(amount: int, per_minute: float) -> float:
    """A minute's worth at the most, or nothing larger could ever go; one request is one, however few a minute has."""
    return min(amount, max(1.0, per_minute))


def _interval(per_minute: float) -> tuple[float, float]:
    burst = max(1.0, per_minute // 10)
    return MINUTE / (per_minute - burst if burst > 1 else per_minute), burst


def _due(connection: sqlite3.Connection, model: str, rate: Rate, now: Moment) -> tuple[float, float]:
    row = connection.execute("SELECT requests_due, tokens_due FROM pacing WHERE model = ?", [model]).fetchone()
    requests_due, tokens_due = row or (0.0, 0.0)
    return _believed(requests_due, rate.requests, now), _believed(tokens_due, rate.tokens, now)


def _believed(due: float, per_minute: float | None, now: Moment) -> float:
    """Forget what is due farther ahead than any request could bring it: the clock was set back since."""
    interval = _interval(per_minute)[0] if per_minute else 0.0
    return 0.0 if due > now.epoch + max(2 * MINUTE, 2 * interval) else due


def under_way(connection: sqlite3.Connection, model: str) -> int:
    """Return how many requests to a model are under way.

    Args:
        connection: inside a transaction.
        model: which.
    """
    (number,) = connection.execute(
        "SELECT count(*) FROM attempts WHERE model = ? AND status = 'started'", [model]
    ).fetchone()
    return int(number)
