"""The retry budget: retries add a share to the calls of a window, for all who share a database, and a few are free."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.guards.limits import traffic
from stanchion.guards.limits.gate import End, Gate
from stanchion.guards.limits.policy import Retry
from stanchion.store import Database
from stanchion.testing import FakeClock
from tests.guards.limits.conftest import LONG, MODEL, an_ask, at, new_tables, nothing_else

AGAIN = End("retry", 0.1, kind="overloaded", counts=False, spent=0)


def granted(connection: sqlite3.Connection, tries: int, seconds: float, retry: Retry) -> int:
    """How many of so many retries the budget allows at a moment."""
    return sum(traffic.earn_retry(connection, MODEL, retry, at(seconds)) for _ in range(tries))


def count_calls(connection: sqlite3.Connection, number: int, seconds: float, model: str = MODEL) -> None:
    """Count so many calls at a moment."""
    for _ in range(number):
        traffic.count_call(connection, model, at(seconds))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 60), st.integers(0, 15)), max_size=25),
    st.sampled_from([Retry(), Retry(floor=0), Retry(share="20%", window="30s", floor=2), Retry(window="2s")]),
)
def test_retries_never_add_more_than_their_share(story: list[tuple[float, int, int]], retry: Retry) -> None:
    """At each retry, those of the window that ends with it are at most the floor, or the share of its calls."""
    connection, now = new_tables(), 1000.0
    window = max(retry.window.total_seconds(), traffic.SLOT)
    calls: list[float] = []
    retries: list[float] = []
    for seconds, new_calls, tries in story:
        now += seconds
        count_calls(connection, new_calls, now)
        calls += [now] * new_calls
        for _ in range(tries):
            if traffic.earn_retry(connection, MODEL, retry, at(now)):
                retries.append(now)
                within = [sum(moment > now - window for moment in moments) for moments in (calls, retries)]
                assert within[1] <= max(retry.floor, int(retry.share * within[0]))


def test_few_calls_have_the_floor(connection: sqlite3.Connection) -> None:
    """Where hardly anything is asked, five retries in a window are allowed, and the sixth is not."""
    count_calls(connection, 1, 0)

    assert granted(connection, 9, 0, Retry()) == 5


def test_many_calls_earn_a_tenth(connection: sqlite3.Connection) -> None:
    """A thousand calls earn a hundred retries, on top of nothing."""
    count_calls(connection, 1000, 0)

    assert granted(connection, 999, 1, Retry()) == 100


def test_the_budget_comes_back(connection: sqlite3.Connection) -> None:
    """A window later, what was spent is forgotten; just before, it is not."""
    assert granted(connection, 9, 4.9, Retry()) == 5
    assert granted(connection, 9, 64.8, Retry()) == 0
    assert granted(connection, 9, 65.1, Retry()) == 5


def test_a_window_shorter_than_a_slot_is_a_budget_too(connection: sqlite3.Connection) -> None:
    """Retries of the last second are counted, wherever in a slot it begins."""
    assert granted(connection, 9, 3.0, Retry(window="1s")) == 5


def test_no_share_and_no_floor_is_no_retry(connection: sqlite3.Connection) -> None:
    """Who wants no retries has none."""
    count_calls(connection, 1000, 0)

    assert granted(connection, 9, 0, Retry(share="0%", floor=0)) == 0


def test_each_model_earns_for_itself(connection: sqlite3.Connection) -> None:
    """Calls to one model pay for no retries to another."""
    count_calls(connection, 1000, 0, model="another")

    assert granted(connection, 9, 0, Retry()) == 5


def test_processes_on_one_file_share_it(database: Database, same_file: Database) -> None:
    """Ten failing calls from each of two processes get five retries together."""
    clock = FakeClock()
    gates = [Gate(database, clock, owner="here"), Gate(same_file, clock, owner="there")]

    async def story() -> list[bool]:
        return [await one(gate, f"call-{which}-{number}") for number in range(10) for which, gate in enumerate(gates)]

    async def one(gate: Gate, call: str) -> bool:
        return await gate.settle(await gate.admit(an_ask(call), LONG), AGAIN, also=nothing_else)

    assert sum(asyncio.run(story())) == 5


@pytest.mark.parametrize("back", [100.0, 3000.0])
def test_what_is_ahead_after_a_clock_was_set_back_is_dropped(connection: sqlite3.Connection, back: float) -> None:
    """Failures of a time that is yet to come do not open breakers until then."""
    for _ in range(9):
        traffic.count_end(connection, MODEL, traffic.End(failed=True, slow=False, probe=False), at(5000))

    assert traffic.ends(connection, MODEL, 60, at(5000 - back)) == (0, 0, 0)
    assert traffic.ends(connection, MODEL, 60, at(5000)) == (0, 0, 0)


def test_counts_do_not_pile_up(connection: sqlite3.Connection) -> None:
    """After a day of calls there are rows for the last hour only."""
    for minute in range(24 * 60):
        traffic.count_end(connection, MODEL, traffic.End(failed=True, slow=False, probe=False), at(60 * minute))
    traffic.ends(connection, MODEL, 60, at(24 * 3600))

    assert connection.execute("SELECT count(*) FROM traffic").fetchone()[0] <= 61
