"""What the tests of limits share: asks, a long deadline, a wall clock that can be set back, and one call at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stanchion.guards.limits.deadline import Deadline
from stanchion.guards.limits.gate import Ask, End, Gate, Ticket
from stanchion.guards.limits.moment import Moment
from stanchion.guards.limits.money import Spender
from stanchion.guards.limits.policy import Policy
from stanchion.store import Database
from stanchion.store.memory import MemoryDatabase
from stanchion.store.migrations import LIMITS
from stanchion.testing import FakeClock

MODEL = "openai:gpt-4o-mini"
LONG = Deadline(3600.0, "the 60 min of the test")
WELL = End("answered", 0.1, spent=0, tokens=0)
FAILED = End("failed", 0.1, kind="overloaded", counts=True, spent=0)


class WallClock(FakeClock):
    """A fake clock whose `now` somebody may set, back too; `monotonic` goes on as ever."""

    set_by = 0.0

    def now(self) -> datetime:
        """Say what time the wall clock shows."""
        return super().now() + timedelta(seconds=self.set_by)


class OneAtATime:
    """Sends calls through a gate, one at a time, as a program would that does not hurry."""

    def __init__(self, policy: Policy, gate: Gate | None = None, clock: WallClock | None = None) -> None:
        self.policy = policy
        self.clock = clock or WallClock()
        self.memory = MemoryDatabase()
        self.gate = gate or Gate(self.memory, self.clock)
        self._loop = asyncio.Runner()
        self._calls = 0

    def begin(self, model: str = MODEL, **ask: Any) -> Ticket:
        """Pass the gate with another call."""
        self._calls += 1
        asked = {"call": f"{id(self)}-{self._calls}", "policy": self.policy, **ask}
        deadline = Deadline(self.clock.monotonic() + 3600, "the 60 min of the test")
        return self._loop.run(self.gate.admit(an_ask(model=model, **asked), deadline))

    def end(self, ticket: Ticket, end: End = WELL) -> bool:
        """Say how it ended; whether it may be tried again."""
        return self._loop.run(self.gate.settle(ticket, end, also=nothing_else))

    def calls(self, number: int, end: End = WELL) -> None:
        """Make a few calls that all end in the same way."""
        for _ in range(number):
            self.end(self.begin(), end)

    def sql(self, query: str) -> list[Any]:
        """What stands in the tables."""
        return self.memory.submit(lambda tables: tables.conn.execute(query).fetchall()).result()

    def change(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do something to the tables."""
        self.memory.submit(lambda tables: work(tables.conn))


def nothing_else(_connection: sqlite3.Connection, _again: bool) -> None:
    """What a journal would write, were there one."""


def an_ask(
    call: str = "call-1",
    *,
    run: str = "",
    task: str = "task-1",
    workflow: str = "notes",
    tenant: str = "",
    number: int = 1,
    model: str = MODEL,
    need: int | None = 0,
    tokens: int = 0,
    policy: Policy | None = None,
    **more: Any,
) -> Ask:
    """A request that somebody would like to send."""
    spender = Spender(call, run, task, workflow, tenant, day="")
    return Ask(spender, number, model, need, tokens, policy or Policy(), **more)


def at(seconds: float) -> Moment:
    """A moment, in seconds since 1970."""
    return Moment(seconds, f"1970-01-01T{seconds:015.6f}")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """The tables of limits, empty."""
    connection = new_tables()
    yield connection
    connection.close()


def new_tables() -> sqlite3.Connection:
    """The tables of limits, empty, for each of many examples."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in LIMITS:
        connection.execute(statement)
    return connection


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database on disk."""
    database = Database(tmp_path / "limits.db", synchronous="NORMAL")
    yield database
    database.close()


@pytest.fixture
def same_file(database: Database) -> Iterator[Database]:
    """The same file as another process has it open."""
    other = Database(database.path, synchronous="NORMAL")
    yield other
    other.close()
