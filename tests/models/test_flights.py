"""Identical calls in flight: one request for all, and nobody's own limit or giving up is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult

from stanchion.errors import BudgetExceeded, DeadlineExceeded, LimitReached, ModelError, Overloaded
from stanchion.guards.limits.deadline import Deadline
from stanchion.guards.limits.gate import Gate
from stanchion.guards.limits.policy import Policy
from stanchion.models.door import Door
from stanchion.models.flights import Flights, Landed
from stanchion.models.providers import Model
from stanchion.store import Database
from stanchion.store.calls import Journal
from stanchion.testing import FakeClock, ScriptedModel
from tests.models.conftest import PLACE, question

MODEL = "openai:gpt-4o-mini"
ANSWER = AIMessage("5", usage_metadata={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100})
CLIENT = object()


class Slow(ScriptedModel):
    """A scripted model that answers once it is told to."""

    _go: asyncio.Event

    def __init__(self, answers: Any) -> None:
        super().__init__(answers)
        self._go = asyncio.Event()

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await self._go.wait()
        return self._generate(*args, **kwargs)


class Trip:
    """Something to be fetched: how often it was, and what comes back when it is told to."""

    def __init__(self, *ends: Any) -> None:
        self.go = asyncio.Event()
        self.started = self.cancelled = 0
        self._ends = iter(ends)

    async def start(self) -> tuple[AIMessage, str]:
        """Fetch it."""
        self.started += 1
        name = f"call-{self.started}"
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        end = next(self._ends)
        if isinstance(end, BaseException):
            raise end
        return end, name


async def settle_down() -> None:
    """Let everybody do what can be done now."""
    for _ in range(20):
        await asyncio.sleep(0)


def joined(flights: Flights, trip: Trip, number: int, client: object = CLIENT) -> list[asyncio.Task[Landed]]:
    """So many who ask the same."""
    return [asyncio.create_task(flights.join(client, "key", trip.start)) for _ in range(number)]


def test_twenty_who_ask_the_same_share_one_request() -> None:
    """All have the answer; one of them made the call."""

    async def story() -> tuple[list[Landed], Trip]:
        trip = Trip(ANSWER)
        tasks = joined(Flights(), trip, 20)
        await settle_down()
        trip.go.set()
        return await asyncio.gather(*tasks), trip

    landed, trip = asyncio.run(story())
    assert trip.started == 1
    assert [one.message for one in landed] == [ANSWER] * 20
    assert {one.call_id for one in landed} == {"call-1"}
    assert [one.shared for one in landed] == [False] + [True] * 19


@pytest.mark.parametrize("other", ["key", "client", "later"])
def test_only_the_same_at_the_same_time_is_shared(other: str) -> None:
    """Another question, another client under the same name, or the same question later: a request of its own."""

    async def story() -> int:
        flights, trip = Flights(), Trip(ANSWER, ANSWER)
        trip.go.set()
        first = asyncio.create_task(flights.join(CLIENT, "key", trip.start))
        if other == "later":
            await first
        key, client = ("other" if other == "key" else "key"), (object() if other == "client" else CLIENT)
        await asyncio.gather(first, flights.join(client, key, trip.start))
        return trip.started

    assert asyncio.run(story()) == 2


def test_a_follower_outlives_a_leader_that_gave_up() -> None:
    """Whoever asked first may be cancelled: the request goes on for the others."""

    async def story() -> tuple[Landed, Trip]:
        trip = Trip(ANSWER)
        leader, follower = joined(Flights(), trip, 2)
        await settle_down()
        leader.cancel()
        await settle_down()
        trip.go.set()
        return await follower, trip

    landed, trip = asyncio.run(story())
    assert (landed.message, trip.started, trip.cancelled) == (ANSWER, 1, 0)


def test_the_last_one_takes_the_request_along() -> None:
    """Where nobody waits any more the request is cancelled, and whoever comes then asks anew."""

    async def story() -> Trip:
        flights, trip = Flights(), Trip(ANSWER)
        tasks = joined(flights, trip, 3)
        await settle_down()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        newcomer = joined(flights, trip, 1)[0]
        await settle_down()
        trip.go.set()
        await newcomer
        assert flights._under_way == {}
        return trip

    trip = asyncio.run(story())
    assert (trip.started, trip.cancelled) == (2, 1)


def test_a_provider_that_fails_fails_for_all() -> None:
    """A failure of the provider is shared, like an answer: twenty must not ask a provider that is down."""

    async def story() -> tuple[list[Any], Trip]:
        trip = Trip(Overloaded("down"))
        tasks = joined(Flights(), trip, 20)
        await settle_down()
        trip.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True), trip

    ends, trip = asyncio.run(story())
    assert trip.started == 1
    assert all(isinstance(end, Overloaded) for end in ends)


def test_a_leaders_own_limit_is_not_the_others() -> None:
    """Where the first has no budget the next one asks, and the rest share that."""

    async def story() -> tuple[list[Any], Trip]:
        trip = Trip(LimitReached("no budget"), ANSWER)
        tasks = joined(Flights(), trip, 5)
        await settle_down()
        trip.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True), trip

    ends, trip = asyncio.run(story())
    assert trip.started == 2
    assert isinstance(ends[0], LimitReached)
    assert [end.message for end in ends[1:]] == [ANSWER] * 4


def test_loops_share_nothing() -> None:
    """A request belongs to its loop: in a loop of another thread the same question is asked anew."""
    flights = Flights()

    async def asked() -> int:
        trip = Trip(ANSWER)
        trip.go.set()
        await flights.join(CLIENT, "key", trip.start)
        return trip.started

    async def story() -> int:
        trip = Trip(ANSWER)
        tasks = joined(flights, trip, 2)
        await settle_down()
        started = await asyncio.to_thread(asyncio.run, asked())
        trip.go.set()
        await asyncio.gather(*tasks)
        return started + trip.started

    assert asyncio.run(story()) == 2


def test_a_loop_that_died_leaves_no_request_to_join() -> None:
    """Where a loop ends before a request took off nothing of it stays for a later loop at the same address."""
    flights = Flights()

    async def abandoned() -> None:
        tasks = joined(flights, Trip(ANSWER), 2)
        await asyncio.sleep(0)
        assert flights._under_way
        asyncio.get_running_loop().stop()
        await asyncio.gather(*tasks)

    with pytest.raises(RuntimeError, match="stopped before"):
        asyncio.run(abandoned())

    assert flights._under_way == {}


# --- Through the door  ---


@pytest.fixture
def runs(database: Database) -> Callable[..., Any]:
    """Ask the same in several runs at once, each with a policy and deadline of its own; what each got."""
    clock = FakeClock()
    gate, flights = Gate(database, clock), Flights()
    names = "workflow, reference, version, model, input_id, status, created_at"
    copy = f"INSERT OR IGNORE INTO runs (id, {names}) SELECT ?, {names} FROM runs LIMIT 1"
    database.write_now(lambda tables: tables.conn.executemany(copy, [(f"run-{number}",) for number in range(20)]))

    def asked(chat: Slow, *policies: Policy, seconds: dict[int, float] | None = None) -> list[Any]:
        async def one(number: int, policy: Policy) -> AIMessage:
            door = Door(Model(MODEL, chat), Journal(database), policy=policy, gate=gate, flights=flights, clock=clock)
            deadline = Deadline((seconds or {}).get(number, 600.0), "the time of the step")
            return await door.ask(question(), PLACE._replace(run_id=f"run-{number}", deadline=deadline))

        async def story() -> list[Any]:
            tasks = [asyncio.create_task(one(number, policy)) for number, policy in enumerate(policies)]
            for number in seconds or {}:  # those with hardly any time leave before there is an answer
                await asyncio.wait([tasks[number]])
            await settle_down()
            chat._go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(story())

    return asked


def test_twenty_runs_pay_once(runs: Callable[..., Any], database: Database) -> None:
    """Each run has the answer in its own journal; one paid for it, the others say whose it was."""
    chat = Slow([ANSWER])
    ends = runs(chat, *repeat(Policy(), 20))
    rows = database.read("SELECT * FROM calls ORDER BY attempts DESC")
    (paid,), shared = rows[:1], rows[1:]

    assert len(chat.history) == 1
    assert [end.text for end in ends] == ["5"] * 20
    assert {row["run_id"] for row in rows} == {f"run-{number}" for number in range(20)}
    assert {row["status"] for row in rows} == {"answered"}
    assert (paid["shared_with"], paid["input_tokens"]) == (None, 1000)
    assert float(paid["cost_usd"]) == 0.00021
    assert {(row["attempts"], row["cost_usd"], row["shared_with"]) for row in shared} == {(0, "0", paid["id"])}
    assert database.read("SELECT sum(spent) AS spent, sum(reserved) AS reserved FROM spending") == [
        {"spent": 210_000, "reserved": 0}
    ]


def test_a_shared_answer_is_kept_for_the_run(runs: Callable[..., Any]) -> None:
    """A step that is executed again takes it from the journal."""
    runs(Slow([ANSWER]), Policy(), Policy())
    again = Slow([])

    assert [end.text for end in runs(again, Policy(), Policy())] == ["5", "5"]
    assert again.history == []


def test_a_run_without_money_does_not_fail_the_others(runs: Callable[..., Any]) -> None:
    """The first run's cap is too low: it is refused, and the second asks."""
    chat = Slow([ANSWER])
    first, second, third = runs(chat, Policy(money={"run": "$0.000001"}), Policy(), Policy())

    assert isinstance(first, BudgetExceeded)
    assert (second.text, third.text, len(chat.history)) == ("5", "5", 1)


def test_a_follower_out_of_time_leaves(runs: Callable[..., Any]) -> None:
    """It waits for another's request no longer than its own step allows."""
    chat = Slow([ANSWER])
    first, second = runs(chat, Policy(), Policy(), seconds={1: 0.01})

    assert first.text == "5"
    assert isinstance(second, DeadlineExceeded)
    assert str(second) == "The time of the step ended before openai:gpt-4o-mini answered."


def test_a_leader_out_of_time_does_not_take_the_others_along(runs: Callable[..., Any]) -> None:
    """The first run has hardly any time left, the second has plenty: it gets its answer."""
    chat = Slow([ANSWER])
    first, second = runs(chat, Policy(), Policy(), seconds={0: 0.01})

    assert isinstance(first, ModelError)
    assert second.text == "5"
