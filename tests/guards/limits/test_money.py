"""Caps on money: nobody overshoots, whatever calls cost in the end, and whoever finds no room waits or is told."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.errors import BudgetExceeded, DeadlineExceeded, ModelError
from stanchion.guards.limits.deadline import Deadline
from stanchion.guards.limits.gate import Ask, End, Gate
from stanchion.guards.limits.money import in_billionths, in_dollars
from stanchion.guards.limits.policy import Policy
from stanchion.store import Database
from stanchion.store.calls import CallKey, add_call
from stanchion.store.memory import MemoryDatabase
from stanchion.testing import FakeClock
from tests.guards.limits.conftest import LONG, an_ask, nothing_else

CENT = 10_000_000  # billionths of a dollar
UNKNOWN = End("failed", 1.0, kind="timed_out", counts=True)


def answered(spent: int | None) -> End:
    """An answer at a price."""
    return End("answered", 0.1, spent=spent)


def tell_on_overshoot(database: Any, cap: int) -> None:
    """Let the database itself refuse any moment at which more than the cap is spent or reserved."""

    def work(tables: Any) -> None:
        for change in ("INSERT", "UPDATE"):
            tables.conn.execute(
                f"""CREATE TRIGGER overshoot_{change} AFTER {change} ON spending
                    WHEN (SELECT sum(spent + reserved) FROM spending) > {cap} OR NEW.reserved < 0 OR NEW.spent < 0
                    BEGIN SELECT RAISE(ABORT, 'more than the cap'); END"""
            )

    database.submit(work).result()


async def call(gate: Gate, ask: Ask, end: End, *, turns: int = 3, deadline: Deadline = LONG) -> str:
    """Make a call that takes a few turns of the loop; how it ended, in a word."""
    try:
        ticket = await gate.admit(ask, deadline)
    except ModelError as error:
        return error.kind
    for _ in range(turns):
        await asyncio.sleep(0)
    await gate.settle(ticket, end, also=nothing_else)
    return end.status


def booked(database: Any) -> tuple[int, int]:
    """What is spent and reserved in all."""
    query = "SELECT coalesce(sum(spent), 0), coalesce(sum(reserved), 0) FROM spending"
    return database.submit(lambda tables: tables.conn.execute(query).fetchone()).result()


# --- Never more than the cap  ---


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.floats(0, 1), st.sampled_from(["answered", "unknown"]), st.integers(0, 5)),
        min_size=1,
        max_size=25,
    )
)
def test_concurrent_calls_never_overshoot(calls: list[tuple[int, float, str, int]]) -> None:
    """Calls at all prices through two gates at once: at no moment is more than the cap spent or reserved."""
    memory, clock, policy = MemoryDatabase(), FakeClock(), Policy(money={"day": "$1.00"})
    gates = [Gate(memory, clock, owner=owner) for owner in ("here", "there")]
    tell_on_overshoot(memory, 100 * CENT)

    async def story() -> list[str]:
        made = []
        for number, (cents, share, known, turns) in enumerate(calls):
            end = answered(int(share * cents * CENT)) if known == "answered" else UNKNOWN
            ask = an_ask(f"call-{number}", need=cents * CENT, policy=policy)
            made.append(call(gates[number % 2], ask, end, turns=turns))
        return await asyncio.gather(*made)

    outcomes = asyncio.run(story())
    spent, reserved = booked(memory)

    assert reserved == 0
    assert spent == sum(
        int(share * cents * CENT) if known == "answered" else cents * CENT
        for (cents, share, known, _), outcome in zip(calls, outcomes, strict=True)
        if outcome not in ("budget", "deadline")
    )
    refused = [cents * CENT for (cents, *_), outcome in zip(calls, outcomes, strict=True) if outcome == "budget"]
    assert all(spent + need > 100 * CENT for need in refused), "nobody is refused what there was room for"


def test_two_processes_on_one_file_never_overshoot(database: Database, same_file: Database) -> None:
    """Sixty calls at once that may cost two cents each, and cost one, under a cap of a quarter: 24 or 25 are made."""
    clock, policy = FakeClock(), Policy(money={"day": "$0.25"})
    gates = [Gate(database, clock, owner="here"), Gate(same_file, clock, owner="there")]
    tell_on_overshoot(database, 25 * CENT)

    async def story() -> list[str]:
        asks = [an_ask(f"call-{number}", need=2 * CENT, policy=policy) for number in range(60)]
        return await asyncio.gather(*(call(gates[n % 2], ask, answered(CENT)) for n, ask in enumerate(asks)))

    outcomes = asyncio.run(story())

    assert outcomes.count("answered") == 24
    assert outcomes.count("budget") == 36
    assert booked(database) == (24 * CENT, 0)


def test_what_is_unknown_counts_as_all_that_was_reserved(database: Database) -> None:
    """A call whose price nobody learned is counted at its highest."""
    gate = Gate(database, FakeClock())
    ask = an_ask(need=7 * CENT)

    assert asyncio.run(call(gate, ask, UNKNOWN)) == "failed"
    assert booked(database) == (7 * CENT, 0)


def test_a_late_answer_corrects_the_books(database: Database) -> None:
    """A call that was given up as unknown, and whose answer comes after all, costs what it did cost; once."""
    gate = Gate(database, FakeClock())

    async def story() -> list[tuple[int, int]]:
        ticket = await gate.admit(an_ask(need=7 * CENT, run="run-1"), LONG)
        gate.give_up(ticket, End("unknown", 1.0))
        books = [booked(database)]
        for _ in range(2):
            gate.give_up(ticket, End("late", 2.0, spent=2 * CENT, tokens=5))
            books.append(booked(database))
        return books

    assert asyncio.run(story()) == [(7 * CENT, 0), (2 * CENT, 0), (2 * CENT, 0)]
    assert database.read("SELECT status, cost FROM attempts") == [{"status": "late", "cost": 2 * CENT}]


# --- Waiting, or not  ---


def test_a_call_waits_for_others_to_settle() -> None:
    """What is only reserved may be given back: the second call goes as soon as the first cost less than it might."""
    gate, policy = Gate(MemoryDatabase(), FakeClock()), Policy(money={"day": "$0.10"})

    async def story() -> list[str]:
        first = call(gate, an_ask("first", need=9 * CENT, policy=policy), answered(CENT), turns=20)
        second = call(gate, an_ask("second", need=9 * CENT, policy=policy), answered(CENT))
        return await asyncio.gather(first, second)

    assert asyncio.run(story()) == ["answered", "answered"]


def test_it_waits_no_longer_than_its_deadline() -> None:
    """Where the others do not settle in time, the call is told what it waited for."""
    clock = FakeClock()
    gate, policy = Gate(MemoryDatabase(), clock), Policy(money={"day": "$0.10"})

    async def story() -> None:
        await gate.admit(an_ask("first", need=9 * CENT, policy=policy), LONG)
        with pytest.raises(DeadlineExceeded, match="for calls under way to settle what they reserved; of the 5 s of"):
            await gate.admit(an_ask("second", need=9 * CENT, policy=policy), Deadline(5.0, "the 5 s of the test"))

    asyncio.run(story())
    assert 5.0 <= clock.monotonic() < 5.1


def test_no_room_at_all_is_refused_at_once() -> None:
    """Where what is settled leaves too little, waiting cannot help: the refusal names the cap, and what is left."""
    clock = FakeClock()
    gate, policy = Gate(MemoryDatabase(), clock), Policy(money={"day": "$0.10"})

    async def story() -> None:
        await call(gate, an_ask("first", need=9 * CENT, policy=policy), answered(9 * CENT))
        words = r"may cost \$0\.02, and of money\.day \(\$0\.10\) \$0\.01 is left"
        with pytest.raises(BudgetExceeded, match=words):
            await gate.admit(an_ask("second", need=2 * CENT, policy=policy), LONG)

    asyncio.run(story())
    assert clock.monotonic() == 0


def test_a_cap_without_room_refuses_even_while_another_is_waited_for(database: Database) -> None:
    """A call that must wait for its own run's other call, and has no money on the day anyway, hears so at once."""
    clock = FakeClock()
    gate, policy = Gate(database, clock), Policy(money={"run": "$0.10", "day": "$0.20"})

    async def story() -> None:
        await call(gate, an_ask("spent", run="other", need=9 * CENT, policy=policy), answered(9 * CENT))
        await gate.admit(an_ask("under way", run="run-1", need=9 * CENT, policy=policy), LONG)
        await call(gate, an_ask("more", run="other", need=CENT, policy=policy), answered(CENT))
        smaller_day = Policy(money={"run": "$0.10", "day": "$0.18"})
        with pytest.raises(BudgetExceeded, match=r"money\.day"):
            await gate.admit(an_ask("refused", run="run-1", need=9 * CENT, policy=smaller_day), LONG)

    asyncio.run(story())
    assert clock.monotonic() == 0


def test_a_tenant_without_room_holds_up_no_other() -> None:
    """While one tenant's calls wait for money, another's go to the same model."""
    clock, policy = FakeClock(), Policy(money={"tenant": "$0.10"})
    gate = Gate(MemoryDatabase(), clock)

    async def story() -> None:
        await gate.admit(an_ask("a1", tenant="a", need=9 * CENT, policy=policy), LONG)
        waiting = asyncio.create_task(gate.admit(an_ask("a2", tenant="a", need=9 * CENT, policy=policy), LONG))
        for _ in range(10):
            await asyncio.sleep(0)
        assert await call(gate, an_ask("b1", tenant="b", need=CENT, policy=policy), answered(CENT)) == "answered"
        assert waiting.cancel(), "it waits still"

    asyncio.run(story())
    assert clock.monotonic() < 5


# --- Each cap  ---

CAPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what falls under it too, and what does not
    "step": ({"run": "r", "task": "t"}, {"run": "r", "task": "u"}),
    "run": ({"run": "r", "task": "u"}, {"run": "s", "task": "t"}),
    "workflow": ({"run": "s"}, {"run": "r", "workflow": "letters"}),
    "tenant": ({"run": "s", "workflow": "letters", "tenant": "mia"}, {"run": "r", "tenant": "tom"}),
}


@pytest.mark.parametrize("cap", CAPS)
def test_each_cap_counts_its_own(database: Database, cap: str) -> None:
    """Nine of ten cents are spent: two more are refused where they belong together, and fine where they do not."""
    gate, policy = Gate(database, FakeClock()), Policy(money={cap: "$0.10"})
    under, beside = CAPS[cap]
    first = {"run": "r", "task": "t", "tenant": "mia"}

    async def story() -> list[str]:
        await call(gate, an_ask("first", need=9 * CENT, policy=policy, **first), answered(9 * CENT))
        return [
            await call(gate, an_ask(name, need=2 * CENT, policy=policy, **who), answered(0))
            for name, who in (("under", {**first, **under}), ("beside", {**first, **beside}))
        ]

    assert asyncio.run(story()) == ["budget", "answered"]


def test_a_new_day_has_new_money() -> None:
    """The cap on the day counts by UTC days, and a call is booked on the day on which it began."""
    clock = FakeClock()
    memory = MemoryDatabase()
    gate, policy = Gate(memory, clock), Policy(money={"day": "$0.10"})

    async def story() -> list[str]:
        ticket = await gate.admit(an_ask("night", need=9 * CENT, policy=policy), LONG)
        clock.advance(86_400)
        await gate.settle(ticket, answered(9 * CENT), also=nothing_else)
        late = Deadline(clock.monotonic() + 60, "the minute of the test")
        ask = an_ask("morning", need=9 * CENT, policy=policy)
        return [await call(gate, ask, answered(9 * CENT), deadline=late)]

    assert asyncio.run(story()) == ["answered"]
    query = "SELECT day, reserved, spent FROM spending ORDER BY day"
    rows = memory.submit(lambda tables: tables.conn.execute(query).fetchall()).result()
    assert rows == [("2024-01-01", 0, 9 * CENT), ("2024-01-02", 0, 9 * CENT)]


def test_the_cap_of_a_call_counts_all_its_attempts() -> None:
    """A second attempt is refused where the first may have used up what the call may cost, without a journal too."""
    gate, policy = Gate(MemoryDatabase(), FakeClock()), Policy(money={"call": "$0.10"})
    again = End("retry", 1.0, kind="timed_out", counts=True)

    async def story() -> None:
        ticket = await gate.admit(an_ask(need=6 * CENT, policy=policy), LONG)
        assert await gate.settle(ticket, again, also=nothing_else)
        with pytest.raises(BudgetExceeded, match=r"money\.call \(\$0\.10\) \$0\.04 is left"):
            await gate.admit(an_ask(number=2, before=6 * CENT, need=6 * CENT, policy=policy), LONG)

    asyncio.run(story())


# --- Soft caps and unknown prices  ---


@pytest.mark.parametrize(
    ("money", "softly", "outcome"),
    [
        ({}, False, "answered"),
        ({}, True, "budget"),
        ({"at_soft": "fall_back"}, False, "budget"),
        ({"soft": "100%"}, True, "answered"),
    ],
)
def test_a_soft_cap_warns_or_refuses(money: dict[str, str], softly: bool, outcome: str) -> None:
    """Beyond 80 % a call is warned; refused where something cheaper is at hand, or nothing is to be asked any more."""
    gate, policy = Gate(MemoryDatabase(), FakeClock()), Policy(money={"day": "$0.10", **money})

    async def story() -> str:
        await call(gate, an_ask("first", need=8 * CENT, policy=policy), answered(8 * CENT))
        return await call(gate, an_ask("second", need=CENT, policy=policy, softly=softly), answered(0))

    assert asyncio.run(story()) == outcome


def test_the_warning_names_the_cap() -> None:
    """The ticket says which cap is nearly spent; before that it says nothing."""
    gate, policy = Gate(MemoryDatabase(), FakeClock()), Policy(money={"day": "$0.10"})

    async def story() -> list[str]:
        return [(await gate.admit(an_ask(f"{n}", need=4 * CENT, policy=policy), LONG)).warning for n in (1, 2)] + [
            (await gate.admit(an_ask("3", need=CENT, policy=policy), LONG)).warning
        ]

    assert asyncio.run(story()) == ["", "", "More than 80% of money.day ($0.10) is spent or reserved."]


def test_an_unknown_price_counts_nothing_or_is_refused() -> None:
    """A model without a price is asked under any cap, or not at all where the policy says so."""
    gate = Gate(MemoryDatabase(), FakeClock())
    free = Policy(money={"day": "$0.01"})
    strict = Policy(money={"unpriced": "refuse"})

    assert asyncio.run(call(gate, an_ask("one", need=None, policy=free), answered(None))) == "answered"
    assert asyncio.run(call(gate, an_ask("two", need=None, policy=strict), answered(None))) == "budget"


# --- The dead  ---


def test_what_a_dead_process_reserved_counts_as_spent(database: Database, same_file: Database) -> None:
    """Nobody knows how its calls ended: money is spent, places in flight are free, its calls are unknown; once."""
    clock, policy = FakeClock(), Policy(money={"day": "$0.20"}, rates={"*": {"in_flight": 2}})
    dead = Gate(same_file, clock, owner="dead")
    living = Gate(database, clock, owner="living", is_alive=lambda name: name != "dead")

    def journal(call_id: str) -> Any:
        row = {"model": "m", "started_at": "now"}
        return lambda connection: add_call(connection, call_id, CallKey("run-1", "t", "node", "key"), row)

    async def story() -> str:
        for number in range(2):
            name = f"dead-{number}"
            await dead.admit(an_ask(name, run="run-1", need=9 * CENT, policy=policy), LONG, journal(name))
        await living.settle_dead()
        await living.settle_dead()
        return await call(living, an_ask("mine", need=2 * CENT, policy=policy), answered(2 * CENT))

    assert asyncio.run(story()) == "answered"
    assert booked(database) == (20 * CENT, 0)
    assert database.read("SELECT status, count(*) AS n FROM calls GROUP BY 1") == [{"status": "unknown", "n": 2}]


def test_whoever_waits_looks_for_the_dead_himself(database: Database, same_file: Database) -> None:
    """A call that waits for a place held by a process that died meanwhile gets it, without a restart."""
    clock, policy = FakeClock(), Policy(rates={"*": {"in_flight": 1}})
    dead = Gate(same_file, clock, owner="dead")
    living = Gate(database, clock, owner="living", is_alive=lambda name: name != "dead")

    async def story() -> str:
        await dead.admit(an_ask("dead", policy=policy), LONG)
        return await call(living, an_ask("mine", policy=policy), answered(0))

    assert asyncio.run(story()) == "answered"
    assert clock.monotonic() < 1


def test_the_living_are_left_alone(database: Database, same_file: Database) -> None:
    """What another process, or this one, has under way stays reserved."""
    clock = FakeClock()
    gates = [Gate(database, clock, owner="here"), Gate(same_file, clock, owner="there")]

    async def story() -> None:
        for number, gate in enumerate(gates):
            await gate.admit(an_ask(f"call-{number}", need=CENT), LONG)
        for gate in gates:
            await gate.settle_dead()

    asyncio.run(story())
    assert booked(database) == (0, 2 * CENT)


# --- Amounts  ---


@given(st.decimals(min_value=0, max_value=10**6, allow_nan=False, places=12))
def test_amounts_are_never_rounded_down(dollars: Decimal) -> None:
    """What is counted is at least what it costs, and less than a billionth more."""
    counted = in_billionths(dollars)

    assert dollars <= Decimal(counted) / 10**9 < dollars + Decimal("0.000000001")


@pytest.mark.parametrize(
    ("billionths", "words"), [(0, "$0.00"), (10**9, "$1.00"), (CENT, "$0.01"), (1_234_000, "$0.001234")]
)
def test_amounts_are_written_as_people_read_them(billionths: int, words: str) -> None:
    """Cents where it is whole cents, six places where it is not."""
    assert in_dollars(billionths) == words


def test_the_trigger_of_these_tests_does_tell() -> None:
    """The database refuses a moment at which the cap is overshot, so these tests do not look away."""
    memory = MemoryDatabase()
    tell_on_overshoot(memory, 5)

    with pytest.raises(sqlite3.IntegrityError, match="more than the cap"):
        memory.submit(lambda tables: tables.conn.execute("INSERT INTO spending VALUES ('d', 'w', 't', 4, 2)")).result()
