"""A circuit breaker per model, in the database: whoever shares the file shares what was learned of a provider.

Closed: calls pass, and how they end is counted. Too many failures or slow calls in the window open it; nobody asks
until `open_for` has passed; then a few probes may go at a time, and when as many have succeeded it closes. The states
and their names are Nygard's (Release It!, 2nd edition 2018, chapter 5).
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from stanchion.errors import BreakerOpen
from stanchion.guards.limits import traffic
from stanchion.guards.limits.deadline import in_words
from stanchion.guards.limits.moment import Moment
from stanchion.guards.limits.policy import Breaker


class _State(NamedTuple):
    state: str = "closed"
    until: float = 0.0
    open_for: float = 0.0
    successes: int = 0
    forced: str | None = None
    forced_by: str | None = None
    reason: str = ""


def pass_breaker(connection: sqlite3.Connection, model: str, policy: Breaker, now: Moment) -> bool:
    """Let a call pass, and say whether it is a probe.

    Args:
        connection: inside a transaction.
        model: whose breaker.
        policy: how many probes may go at a time.
        now: the present time.

    Raises:
        BreakerOpen: no call may go.
    """
    breaker = _read(connection, model)
    if breaker.forced == "open":
        raise BreakerOpen(f"{breaker.forced_by} opened the circuit breaker of {model}: {breaker.reason}")
    if breaker.forced == "closed" or breaker.state == "closed":
        return False
    left = breaker.until - now.epoch
    if breaker.state == "open" and 0 < left <= breaker.open_for:  # more than it opened for: the clock was set back
        raise BreakerOpen(f"The circuit breaker of {model} is open for another {in_words(left)}: {breaker.reason}")
    (probes,) = connection.execute(
        "SELECT count(*) FROM attempts WHERE model = ? AND status = 'started' AND probe", [model]
    ).fetchone()
    if probes >= policy.probes:
        raise BreakerOpen(f"The circuit breaker of {model} is open: a few calls are trying whether it is well again.")
    if breaker.state == "open":
        _change(connection, model, "half_open", now, reason=breaker.reason)
    return True


def note_end(connection: sqlite3.Connection, model: str, policy: Breaker, end: traffic.End, now: Moment) -> None:
    """Let the breaker learn how a call ended, after it was counted in `traffic`.

    Args:
        connection: inside a transaction.
        model: whose breaker.
        policy: when it opens and closes.
        end: how the call ended.
        now: the present time.
    """
    if end.well and not end.probe:
        return
    breaker = _read(connection, model)
    if breaker.forced:
        return  # whatever the model does
    if end.probe and breaker.state == "half_open":
        _note_probe(connection, model, policy, breaker, end, now)
    elif breaker.state == "closed":
        seen = traffic.ends(connection, model, policy.window.total_seconds(), now)
        if seen.ended >= policy.least_calls and (why := _too_bad(seen, policy)):
            _open(connection, model, policy, now, why)


def force(connection: sqlite3.Connection, model: str, state: str | None, *, by: str, reason: str, at: str) -> None:
    """Force a breaker open or closed until it is released, whatever the model does.

    Args:
        connection: inside a transaction.
        model: whose breaker.
        state: `open`, `closed`, or None to release it: it begins closed; one that is not forced stays as it is.
        by: who does it.
        reason: why.
        at: the present time, ISO 8601.
    """
    if state is None and not _read(connection, model).forced:
        return
    connection.execute(
        """INSERT INTO breakers (model, state, forced, forced_by, reason, changed_at)
           VALUES (:model, 'closed', :forced, :by, :reason, :at) ON CONFLICT (model) DO UPDATE SET
           state = 'closed', until = 0, successes = 0, forced = :forced, forced_by = :by, reason = :reason,
           changed_at = :at""",
        {"model": model, "forced": state, "by": by if state else None, "reason": reason, "at": at},
    )
    traffic.forget_ends(connection, model)
    _log(connection, model, f"forced {state}" if state else "released", at, reason, by)


def _note_probe(
    connection: sqlite3.Connection, model: str, policy: Breaker, breaker: _State, end: traffic.End, now: Moment
) -> None:
    if not end.well:
        _open(connection, model, policy, now, "it failed again when tried")
    elif breaker.successes + 1 >= policy.probes:
        traffic.forget_ends(connection, model)
        _change(connection, model, "closed", now, reason="it answers again")
    else:
        connection.execute("UPDATE breakers SET successes = successes + 1 WHERE model = ?", [model])


def _too_bad(seen: traffic.Ends, policy: Breaker) -> str:
    if seen.failures / seen.ended >= policy.failures:
        return f"{seen.failures} of {seen.ended} calls failed within {in_words(policy.window.total_seconds())}"
    if seen.slow / seen.ended >= policy.slow:
        slow = in_words(policy.slow_call.total_seconds())
        return f"{seen.slow} of {seen.ended} calls took more than {slow}"
    return ""


def _open(connection: sqlite3.Connection, model: str, policy: Breaker, now: Moment, why: str) -> None:
    _change(connection, model, "open", now, reason=why, open_for=policy.open_for.total_seconds())


def _change(
    connection: sqlite3.Connection, model: str, state: str, now: Moment, *, reason: str, open_for: float = 0.0
) -> None:
    connection.execute(
        """INSERT OR REPLACE INTO breakers (model, state, until, open_for, reason, changed_at)
           VALUES (?, ?, ?, ?, ?, ?)""",
        [model, state, now.epoch + open_for, open_for, reason, now.iso],
    )
    _log(connection, model, state, now.iso, reason)


def _read(connection: sqlite3.Connection, model: str) -> _State:
    row = connection.execute(
        "SELECT state, until, open_for, successes, forced, forced_by, reason FROM breakers WHERE model = ?", [model]
    ).fetchone()
    return _State(*row) if row else _State()


def _log(connection: sqlite3.Connection, model: str, what: str, at: str, reason: str, by: str | None = None) -> None:
    connection.execute("INSERT INTO breaker_events VALUES (?, ?, ?, ?, ?)", [model, at, what, by, reason])
