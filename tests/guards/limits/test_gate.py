"""The gate: rates and places in flight, fairness, deadlines, loops, and what is left behind by those who gave up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.errors import DeadlineExceeded, StoreError, TooManyCalls
from stanchion.guards.limits.deadline import Deadline
from stanchion.guards.limits.gate import Ask, End, Gate, Ticket
from stanchion.guards.limits.policy import Policy
from stanchion.store import Database
from stanchion.store.calls import CallKey, add_call
from stanchion.store.memory import MemoryDatabase
from stanchion.testing import FakeClock
from tests.guards.limits.conftest import LONG, WELL, an_ask, nothing_else

ONE_PLACE = Policy(rates={"*": {"in_flight": 1}})


async def settle_down(turns: int = 20) -> None:
    """Let everybody do what can be done now."""
    for _ in range(turns):
        await asyncio.sleep(0)


def rows(database: Any, query: str) -> list[Any]:
    """What stands in the tables, once all that is queued is written."""
    return database.submit(lambda tables: tables.conn.execute(query).fetchall()).result()


def assert_nothing_left(database: Any) -> None:
    """No money reserved and no place in flight."""
    assert rows(database, "SELECT coalesce(sum(reserved), 0) FROM spending") == [(0,)]
    assert rows(database, "SELECT * FROM attempts WHERE status = 'started'") == []


# --- Rates and places  ---


@settings(max_examples=30)
@given(st.integers(1, 5), st.lists(st.integers(0, 6), min_size=1, max_size=25))
def test_places_in_flight_are_never_exceeded(places: int, lengths: list[int]) -> None:
    """However long calls take, through two gates at once: no more are under way than allowed, and all are made."""
    memory, clock = MemoryDatabase(), FakeClock()
    gates = [Gate(memory, clock, owner=owner) for owner in ("here", "there")]
    policy = Policy(rates={"*": {"in_flight": places}})
    under_way, most = 0, 0

    async def call(gate: Gate, number: int, length: int) -> None:
        nonlocal under_way, most
        ticket = await gate.admit(an_ask(f"call-{number}", policy=policy), LONG)
        under_way += 1
        most = max(most, under_way)
        await settle_down(length)
        under_way -= 1
        await gate.settle(ticket, WELL, also=nothing_else)

    async def story() -> None:
        await asyncio.gather(*(call(gates[n % 2], n, length) for n, length in enumerate(lengths)))

    asyncio.run(story())

    assert most <= places
    assert_nothing_left(memory)


@settings(max_examples=15)
@given(st.integers(1, 60), st.integers(100, 2000), st.lists(st.integers(1, 700), min_size=1, max_size=25))
def test_no_minute_has_more_requests_or_tokens(requests: int, tokens: int, sizes: list[int]) -> None:
    """Calls that all come at once go as the rate allows, with two gates on one database."""
    memory, clock = MemoryDatabase(), FakeClock()
    gates = [Gate(memory, clock, owner=owner) for owner in ("here", "there")]
    policy = Policy(rates={"*": {"requests": f"{requests}/min", "tokens": f"{tokens}/min"}})
    sent: list[tuple[float, int]] = []
    forever = Deadline(10.0**6, "the day of the test")

    async def call(gate: Gate, number: int, size: int) -> None:
        ticket = await gate.admit(an_ask(f"call-{number}", tokens=size, policy=policy), forever)
        sent.append((clock.monotonic(), min(size, tokens)))
        await gate.settle(ticket, WELL._replace(tokens=size), also=nothing_else)

    async def story() -> None:
        await asyncio.gather(*(call(gates[n % 2], n, size) for n, size in enumerate(sizes)))

    asyncio.run(story())
    minutes = [[amount for at, amount in sent if begin <= at < begin + 59.99] for begin, _ in sent]

    assert len(sent) == len(sizes)
    assert max(len(minute) for minute in minutes) <= requests
    assert max(sum(minute) for minute in minutes) <= tokens


def test_other_models_are_not_held_up() -> None:
    """A full line before one model stands in nobody's way to another."""
    gate = Gate(MemoryDatabase(), FakeClock())

    async def story() -> bool:
        await gate.admit(an_ask("one", policy=ONE_PLACE), LONG)
        waiting = asyncio.create_task(gate.admit(an_ask("two", policy=ONE_PLACE), LONG))
        await settle_down()
        await gate.admit(an_ask("three", model="openai:gpt-4o", policy=ONE_PLACE), LONG)
        return waiting.cancel()

    assert asyncio.run(story()), "the other model's call did not wait for this one's"


def test_runs_take_turns_at_the_gate(database: Database) -> None:
    """Twenty calls of one run wait already when another run comes with one: it is among the first three."""
    gate = Gate(database, FakeClock())
    served: list[str] = []

    async def call(run: str, number: int) -> None:
        ticket = await gate.admit(an_ask(f"{run}-{number}", run=run, policy=ONE_PLACE), LONG)
        served.append(run)
        await gate.settle(ticket, WELL, also=nothing_else)

    async def story() -> None:
        first = await gate.admit(an_ask("first", run="first", policy=ONE_PLACE), LONG)
        big = [asyncio.create_task(call("big", number)) for number in range(20)]
        while len(gate._lines[asyncio.get_running_loop()][first.ask.model]._waiting.get("big", ())) < 19:
            await asyncio.sleep(0)
        small = asyncio.create_task(call("small", 0))
        await settle_down()
        await gate.settle(first, WELL, also=nothing_else)
        await asyncio.gather(small, *big)

    asyncio.run(story())
    assert "small" in served[:3]


# --- Deadlines  ---


def test_who_would_wait_too_long_is_told_at_once() -> None:
    """The rate allows the next request in a minute, the step has ten seconds: it does not wait for nothing."""
    clock = FakeClock()
    gate, policy = Gate(MemoryDatabase(), clock), Policy(rates={"*": {"requests": "1/min"}})
    deadline = Deadline(10.0, "the 10 s of the step model")

    async def story() -> None:
        await gate.admit(an_ask("one", policy=policy), deadline)
        words = "would have to wait another 60 s for its rate limit; of the 10 s of the step model 10 s is left"
        with pytest.raises(DeadlineExceeded, match=words):
            await gate.admit(an_ask("two", policy=policy), deadline)

    asyncio.run(story())
    assert clock.monotonic() == 0


def test_waiting_ends_with_the_deadline() -> None:
    """A place that nobody frees is waited for until the deadline, and no longer; the line goes on."""
    clock = FakeClock()
    memory = MemoryDatabase()
    gate = Gate(memory, clock)

    async def story() -> Ticket:
        first = await gate.admit(an_ask("one", policy=ONE_PLACE), LONG)
        with pytest.raises(DeadlineExceeded, match="for its rate limit; of the 10 s of the step model"):
            await gate.admit(an_ask("two", policy=ONE_PLACE), Deadline(10.0, "the 10 s of the step model"))
        await gate.settle(first, WELL, also=nothing_else)
        return await gate.admit(an_ask("three", policy=ONE_PLACE), LONG)

    asyncio.run(story())
    assert 9.9 <= clock.monotonic() < 10.1


def test_who_waits_behind_others_keeps_its_own_deadline() -> None:
    """In line behind a patient call an impatient one leaves when its time is over, by the machine's own clock."""
    gate = Gate(MemoryDatabase(), FakeClock())

    async def story() -> None:
        await gate.admit(an_ask("one", policy=ONE_PLACE), LONG)
        patient = asyncio.create_task(gate.admit(an_ask("two", policy=ONE_PLACE), Deadline(10.0**9, "ever")))
        await settle_down()
        soon = Deadline(gate._clock.monotonic() + 0.02, "the 20 ms of the step")
        with pytest.raises(DeadlineExceeded, match="the calls before it"):
            await gate.admit(an_ask("three", policy=ONE_PLACE), soon)
        assert not patient.done()
        patient.cancel()

    asyncio.run(story())


# --- Whoever gives up  ---


def contended(gate: Gate, policy: Policy) -> Callable[[str], Any]:
    """A whole call under every kind of limit."""

    async def call(name: str) -> None:
        ticket = await gate.admit(an_ask(name, need=6_000_000, tokens=5, policy=policy), LONG)
        try:
            await settle_down(3)
        except BaseException:
            gate.give_up(ticket, End("unknown", 0.0))
            raise
        await gate.settle(ticket, End("answered", 0.0, spent=1, tokens=1), also=nothing_else)

    return call


TIGHT = Policy(money={"day": "$10", "tenant": "$10"}, rates={"*": {"in_flight": 2, "requests": "600/min"}})


@pytest.mark.parametrize("victim", range(5))
def test_cancelled_anywhere_a_call_leaves_nothing_behind(victim: int) -> None:
    """One of five contending calls is cancelled after each possible number of turns: all is given back, all others go.

    Whether it waited in line, looked, slept, was under way or being counted.
    """
    for turns in range(60):
        memory = MemoryDatabase()
        gate = Gate(memory, FakeClock())
        call = contended(gate, TIGHT)

        async def story(turns: int = turns, call: Any = call, gate: Gate = gate) -> None:
            tasks = [asyncio.create_task(call(f"call-{number}")) for number in range(5)]
            await settle_down(turns)
            tasks[victim].cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert [end for number, end in enumerate(ends) if number != victim] == [None] * 4
            lines = gate._lines[asyncio.get_running_loop()]
            assert not any(line.anybody for line in lines.values())

        asyncio.run(story())
        assert_nothing_left(memory)


@pytest.mark.parametrize("moment", ["before it is written", "while it is written", "when it is written"])
def test_cancelled_while_it_is_admitted_a_call_leaves_nothing_behind(database: Database, moment: str) -> None:
    """On disk admission takes a while: cancelled within it, nothing stays reserved or in flight."""
    gate = Gate(database, FakeClock())
    entered, leave = threading.Event(), threading.Event()

    def hold_up(*_: Any) -> None:
        entered.set()
        assert leave.wait(10)

    async def story() -> None:
        if moment == "before it is written":
            database.submit(hold_up)
            await asyncio.to_thread(entered.wait, 10)
        admitting = asyncio.create_task(
            gate.admit(an_ask(run="run-1", need=5), LONG, hold_up if moment == "while it is written" else None)
        )
        await settle_down()
        if moment == "while it is written":
            await asyncio.to_thread(entered.wait, 10)
        if moment == "when it is written":
            rows(database, "SELECT 1")  # it is on disk; the loop has not heard of it
        admitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await admitting
        leave.set()

    asyncio.run(story())
    rows(database, "SELECT 1")  # what was done about it is queued by now
    assert_nothing_left(database)
    assert rows(database, "SELECT status, kind, cost FROM attempts") in ([], [("failed", "cancelled", 0)])


def test_cancelled_while_it_is_settled_a_call_is_settled(database: Database) -> None:
    """Whoever is cancelled in the moment in which its answer is counted must still give back what it reserved."""
    gate = Gate(database, FakeClock())

    async def story() -> None:
        ticket = await gate.admit(an_ask(run="run-1", need=5), LONG)
        settling = asyncio.create_task(gate.settle(ticket, End("answered", 0.0, spent=3), also=nothing_else))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling

    asyncio.run(story())
    assert_nothing_left(database)
    assert rows(database, "SELECT status, cost FROM attempts") == [("answered", 3)]


def test_a_closed_database_does_not_stop_who_gives_up(database: Database) -> None:
    """Where nothing can be written any more giving up raises nothing; the next process counts it as unknown."""
    gate = Gate(database, FakeClock())
    ticket = asyncio.run(gate.admit(an_ask(), LONG))
    database.close()

    gate.give_up(ticket, End("unknown", 0.0))


def test_a_call_late_before_it_was_given_up_still_ends_its_row(database: Database) -> None:
    """A thread's answer may come just before its deadline is noticed: the journal still hears that the call is over."""
    gate = Gate(database, FakeClock())
    told: list[bool] = []

    async def story() -> None:
        ticket = await gate.admit(an_ask(run="run-1", need=5), LONG)
        gate.give_up(ticket, End("late", 1.0, spent=2))
        await gate.settle(ticket, End("retry", 1.0, kind="timed_out"), also=lambda _, again: told.append(again))

    asyncio.run(story())
    assert told == [False]
    assert rows(database, "SELECT status, cost FROM attempts") == [("late", 2)]
    assert_nothing_left(database)


class Full(Database):
    """A database whose disk is full for a while."""

    is_full = False

    def submit(self, work: Any, *, patient: bool = False) -> Any:
        """Write, or fail as a full disk does."""
        return super().submit(self._fail if self.is_full else work, patient=patient)

    @staticmethod
    def _fail(_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("waits", [True, False])
def test_an_end_that_a_full_disk_did_not_take_is_written_later(tmp_path: Path, waits: bool) -> None:
    """Once there is room the money and the place of a call whose end was lost are given back, without a restart."""
    database = Full(tmp_path / "full.db")
    gate = Gate(database, FakeClock())

    async def story() -> None:
        ticket = await gate.admit(an_ask("one", run="run-1", need=5, policy=ONE_PLACE), LONG)
        database.is_full = True
        if waits:
            with pytest.raises(StoreError, match="is full"):
                await gate.settle(ticket, End("retry", 0.0, kind="timed_out", spent=3), also=nothing_else)
        else:
            gate.give_up(ticket, End("unknown", 0.0, spent=3))
        with pytest.raises(StoreError, match="is full"):
            await gate.admit(an_ask("two", run="run-1", policy=ONE_PLACE), LONG)
        database.is_full = False
        second = await gate.admit(an_ask("three", run="run-1", policy=ONE_PLACE), LONG)
        await gate.settle(second, WELL, also=nothing_else)

    asyncio.run(story())
    assert_nothing_left(database)
    assert rows(database, "SELECT sum(cost) FROM attempts") == [(3,)]
    database.close()


# --- Loops  ---


def journalled(gate: Gate, ask: Ask) -> Any:
    """Pass the gate with a call that goes to the journal, as the door does."""
    call_id, key = ask.spender.call_id, CallKey(ask.spender.run_id, ask.spender.task_id, "node", ask.key)
    row = {"model": ask.model, "started_at": "now", "reask": ask.again}
    return gate.admit(ask, LONG, lambda connection: add_call(connection, call_id, key, row))


@pytest.mark.parametrize(
    ("loops", "key", "again", "words"),
    [
        ({"model_calls": 4}, "key-{}", False, "has made 4 model calls, as many as loops.model_calls allows"),
        ({"same_call": 4}, "key", False, "has made the very same call 4 times, as often as loops.same_call"),
        ({"reasks": 4}, "key-{}", True, "has asked for better answers 4 times, as often as loops.reasks"),
    ],
)
def test_a_run_that_loops_is_stopped(
    database: Database, loops: dict[str, int], key: str, again: bool, words: str
) -> None:
    """The fifth call, same call or re-ask is refused in words; another run has its own count, and so has a retry."""
    gate, policy = Gate(database, FakeClock()), Policy(loops=loops)

    async def story() -> None:
        for number in range(4):
            ask = an_ask(f"call-{number}", run="run-1", policy=policy, key=key.format(number), again=again)
            await gate.settle(await journalled(gate, ask), WELL, also=nothing_else)
        fifth = an_ask("call-5", run="run-1", policy=policy, key=key.format(5), again=again)
        with pytest.raises(TooManyCalls, match=words):
            await journalled(gate, fifth)
        await gate.admit(an_ask("call-3", number=2, run="run-1", policy=policy, key=key.format(3), again=again), LONG)
        await journalled(gate, an_ask("other", run="run-2", policy=policy, key=key.format(5), again=again))

    asyncio.run(story())
    assert rows(database, "SELECT count(*) FROM calls") == [(5,)]


def test_only_re_asks_count_as_re_asks(database: Database) -> None:
    """A run that has re-asked as often as it may can still ask something new."""
    gate, policy = Gate(database, FakeClock()), Policy(loops={"reasks": 0})

    async def story() -> None:
        with pytest.raises(TooManyCalls, match="asked for better answers 0 times"):
            await journalled(gate, an_ask("again", run="run-1", policy=policy, key="b", again=True))
        await journalled(gate, an_ask("new", run="run-1", policy=policy, key="a"))

    asyncio.run(story())


def test_memory_does_not_pile_up() -> None:
    """Without a database nobody looks back: a call that is over leaves no row."""
    memory = MemoryDatabase()
    gate = Gate(memory, FakeClock())

    async def story() -> None:
        for number in range(50):
            await gate.settle(await gate.admit(an_ask(f"call-{number}"), LONG), WELL, also=nothing_else)

    asyncio.run(story())
    assert rows(memory, "SELECT count(*) FROM attempts") == [(0,)]
