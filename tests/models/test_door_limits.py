"""The limits as a caller of the door meets them: retries, deadlines, budgets and breakers, and what the ledger says."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult

from stanchion.errors import (
    AuthFailed,
    BreakerOpen,
    BudgetExceeded,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    ModelError,
    Overloaded,
    RateLimited,
    TimedOut,
    TooManyCalls,
)
from stanchion.guards.limits.deadline import Deadline
from stanchion.guards.limits.gate import Gate
from stanchion.guards.limits.policy import Policy
from stanchion.models.door import Door, Place, Request
from stanchion.models.flights import Flights
from stanchion.models.providers import Model
from stanchion.store import Database
from stanchion.store.calls import Journal
from stanchion.store.memory import MemoryDatabase
from stanchion.testing import FAULTS, FakeClock, FaultPlan, FaultyModel, ScriptedModel, outage, rate_limited
from tests.models.conftest import PLACE, ask, question

MODEL = "openai:gpt-4o-mini"
DOWN = Overloaded("The provider had an error (HTTP 503).", cost_unknown=False)
LOST = ConnectionFailed("The connection broke off.")
ANSWER = AIMessage('{"total": 5}', usage_metadata={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100})
COST = Decimal("0.00021")


class Sleeper(FakeClock):
    """A fake clock that remembers how long its callers slept."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and write it down."""
        self.slept.append(seconds)
        await super().sleep(seconds)


class Slow(ScriptedModel):
    """A scripted model that takes some turns of the loop to answer."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        for _ in range(5):
            await asyncio.sleep(0)
        return self._generate(*args, **kwargs)


class World:
    """A journal on disk and doors to it that share one gate."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Sleeper()
        self.gate = Gate(database, self.clock, owner="here")
        self.events: list[str] = []

    def door(self, chat: Any, policy: Policy | None = None, **options: Any) -> Door:
        """A door to a chat model."""
        options = {"gate": self.gate, "flights": Flights(), "chance": random.Random(1), **options}
        policy = policy or Policy()
        return Door(
            Model(MODEL, chat),
            Journal(self.database),
            policy=policy,
            clock=self.clock,
            observe=self.events.append,
            **options,
        )

    def ask(self, chat: Any, policy: Policy | None = None, text: str = "Total 5", place: Place = PLACE) -> AIMessage:
        """What comes back through a door of its own."""
        return ask(self.door(chat, policy), question(text), place)

    def calls(self, *columns: str) -> list[tuple[Any, ...]]:
        """The journal's rows."""
        self.database.write_now(lambda _: None)  # what is queued is written first
        return [
            tuple(row[name] for name in columns) for row in self.database.read("SELECT * FROM calls ORDER BY rowid")
        ]

    def attempts(self, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of requests."""
        self.database.write_now(lambda _: None)
        rows = self.database.read("SELECT * FROM attempts ORDER BY rowid")
        return [tuple(row[name] for name in columns) for row in rows]

    def reserved(self) -> int:
        """What is reserved in all."""
        return int(self.database.read("SELECT coalesce(sum(reserved), 0) AS r FROM spending")[0]["r"])


@pytest.fixture
def world(database: Database) -> World:
    """A journal with one run, and doors to it."""
    return World(database)


# --- Retries  ---


def test_what_may_succeed_is_tried_three_times(world: World) -> None:
    """A lone call makes at most three requests, with waits between them, and its row says so."""
    chat = ScriptedModel(repeat(DOWN))
    with pytest.raises(Overloaded):
        world.ask(chat)

    assert len(chat.history) == 3
    assert len(world.clock.slept) == 2
    assert world.calls("status", "kind", "attempts", "cost_usd") == [("failed", "overloaded", 3, "0")]
    assert world.attempts("number", "status", "kind", "cost") == [
        (number, "failed", "overloaded", 0) for number in (1, 2, 3)
    ]
    assert world.events == ["call started", "call retried", "call retried", "call failed"]


def test_the_answer_of_a_retry_is_the_answer(world: World) -> None:
    """Down once, then well: one row, two requests, and the price of the one that was answered."""
    assert world.ask(ScriptedModel([DOWN, ANSWER])).text == ANSWER.text
    ((*told, cost),) = world.calls("status", "kind", "attempts", "input_tokens", "cost_usd")
    assert (told, Decimal(cost)) == (["answered", None, 2, 1000], COST)


def test_what_a_lost_attempt_cost_nobody_knows(world: World) -> None:
    """After a connection that broke off the whole call's cost is unknown; under a cap all of it counts."""
    world.ask(ScriptedModel([LOST, ANSWER]))

    assert world.calls("status", "cost_usd") == [("answered", None)]
    (lost,), (answered,) = world.attempts("cost")
    assert answered == COST * 10**9
    assert lost > answered


@pytest.mark.parametrize("error", [InvalidRequest("400"), AuthFailed("401"), RateLimited("quota", quota_used_up=True)])
def test_what_cannot_succeed_is_asked_once(world: World, error: ModelError) -> None:
    """Nothing is gained by sending the same again."""
    chat = ScriptedModel(repeat(error))
    with pytest.raises(type(error)):
        world.ask(chat)

    assert (len(chat.history), world.clock.slept) == (1, [])
    assert world.calls("status", "kind", "attempts") == [("failed", error.kind, 1)]


@pytest.mark.parametrize("fault", ["bad_request", "auth_lost", "context_too_long"])
def test_a_real_400_or_401_is_exactly_one_request(world: World, fault: str) -> None:
    """As SDKs raise them, with status and body."""
    chat = FaultyModel(ScriptedModel(repeat("never")), FaultPlan("test", FAULTS[fault]))
    with pytest.raises(ModelError):
        world.ask(chat)

    assert chat.requests == 1


def test_retry_after_is_waited_whole(world: World) -> None:
    """The provider said seven seconds: the next request is sent no earlier, and not much later."""
    chat = FaultyModel(
        ScriptedModel(["one", "two"]), FaultPlan("test", rate_limited(7), outage(from_=0, to=6.999)), clock=world.clock
    )

    assert world.ask(chat).text == "one"
    (slept,) = world.clock.slept
    assert 7 <= slept <= 7.5


def test_who_cannot_wait_for_retry_after_fails_at_once(world: World) -> None:
    """With five seconds left and seven to wait no time is slept away."""
    chat = ScriptedModel(repeat(RateLimited("busy", retry_after=7)))
    place = PLACE._replace(deadline=Deadline(5.0, "the 5 s of the step"))
    with pytest.raises(RateLimited):
        world.ask(chat, place=place)

    assert (len(chat.history), world.clock.slept) == (1, [])
    assert world.calls("attempts") == [(1,)]


def test_jitter_comes_from_chance(database: Database) -> None:
    """The same seed waits the same, another differently."""

    def slept(seed: int) -> list[float]:
        clock = Sleeper()
        with pytest.raises(Overloaded):
            ask(Door(Model(MODEL, ScriptedModel(repeat(DOWN))), clock=clock, chance=random.Random(seed)))
        return clock.slept

    assert slept(1) == slept(1) != slept(2)


def test_the_retry_budget_is_shared(world: World) -> None:
    """After five retries in a minute further failing calls are not tried again, in whichever run."""
    policy = Policy(breaker={"least_calls": 1000}, loops={"same_call": 100})
    chat = ScriptedModel(repeat(DOWN))
    for number in range(10):
        with pytest.raises(Overloaded):
            world.ask(chat, policy, f"Total {number}")

    assert len(chat.history) == 15
    assert world.calls("attempts") == [(3,), (3,), (2,)] + [(1,)] * 7


def test_an_outage_met_one_by_one_costs_few_requests() -> None:
    """A thousand calls, one a second, while the provider is down: hardly any is sent, most are refused at once."""
    clock, chat = FakeClock(), ScriptedModel(repeat(DOWN))
    door = Door(Model(MODEL, chat), clock=clock)

    async def story() -> list[type]:
        ends = []
        for number in range(1000):
            try:
                await door.ask(question(f"Total {number}"), PLACE)
            except ModelError as error:
                ends.append(type(error))
            clock.advance(1)
        return ends

    ends = asyncio.run(story())

    assert len(chat.history) < 200
    assert ends.count(BreakerOpen) > 800


def test_an_outage_met_all_at_once_is_no_storm() -> None:
    """A thousand calls under way as the provider fails: at most a tenth more requests than calls."""

    class Meeting(ScriptedModel):
        """Answers only when all have come."""

        async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
            meeting.append(None)
            while len(meeting) < 1000:
                await asyncio.sleep(0.001)
            return self._generate(*args, **kwargs)

    meeting: list[None] = []
    chat = Meeting(repeat(DOWN))
    # without a breaker, which would stop them all: the retry budget alone
    door = Door(Model(MODEL, chat), clock=FakeClock(), policy=Policy(breaker={"least_calls": 1_000_000}))

    async def story() -> None:
        asked = (door.ask(question(f"Total {number}"), PLACE) for number in range(1000))
        assert all(isinstance(end, ModelError) for end in await asyncio.gather(*asked, return_exceptions=True))

    asyncio.run(story())
    assert 1000 < len(chat.history) <= 1100


# --- The breaker  ---


def test_an_open_breaker_refuses_without_a_request(world: World) -> None:
    """After ten failures nothing is sent and nothing recorded; half a minute later one call tries, and is answered."""
    policy = Policy(retry={"attempts": 1}, loops={"model_calls": 100})
    for number in range(10):
        with pytest.raises(Overloaded):
            world.ask(ScriptedModel([DOWN]), policy, f"Total {number}")
    chat = ScriptedModel([ANSWER])
    with pytest.raises(BreakerOpen, match="is open for another 30 s: 10 of 10 calls failed within 60 s"):
        world.ask(chat, policy)
    assert (chat.history, len(world.calls("id"))) == ([], 10)

    world.clock.advance(30)
    assert world.ask(chat, policy).text == ANSWER.text
    assert world.attempts("probe", "status")[-1] == (1, "answered")


def test_a_breaker_that_opens_between_attempts_ends_the_call(world: World) -> None:
    """The retry is refused at the gate: the row says why it ended, and how many requests were sent."""
    policy = Policy(breaker={"least_calls": 2})
    with pytest.raises(BreakerOpen):
        world.ask(ScriptedModel(repeat(DOWN)), policy)

    assert world.calls("status", "kind", "attempts", "cost_usd") == [("failed", "breaker_open", 2, "0")]
    assert world.reserved() == 0


# --- Deadlines  ---


def test_nothing_is_sent_after_the_deadline(world: World) -> None:
    """A step that is out of time asks nobody, and leaves no row."""
    chat = ScriptedModel([ANSWER])
    world.clock.advance(6)
    with pytest.raises(DeadlineExceeded, match=r"^The 5 s of the step is over; openai:gpt-4o-mini is not asked"):
        world.ask(chat, place=PLACE._replace(deadline=Deadline(5.0, "the 5 s of the step")))

    assert (chat.history, world.calls("id")) == ([], [])


def test_without_a_deadline_the_policys_counts(world: World) -> None:
    """A node that hands none down has its step's budget from the moment it asks: the second wait would be too long."""
    policy = Policy(time={"steps": {"model": "30s"}})
    with pytest.raises(RateLimited):
        world.ask(ScriptedModel(repeat(RateLimited("busy", retry_after=20))), policy)

    assert len(world.clock.slept) == 1


def test_an_attempt_that_hangs_is_given_up(world: World) -> None:
    """The attempt's time is over: its cost is unknown, counts whole, and the next attempt is made."""
    hanging = FaultyModel(
        ScriptedModel([ANSWER]), FaultPlan("test", FAULTS["hang"], outage(from_=0, to=0.001)), clock=world.clock
    )
    policy = Policy(time={"attempt": "20ms"}, retry={"first": "500ms"})

    assert world.ask(hanging, policy).text == ANSWER.text
    assert world.attempts("status", "kind") == [("failed", "timed_out"), ("answered", None)]
    assert world.calls("status", "attempts", "cost_usd") == [("answered", 2, None)]


def test_a_step_that_hangs_ends_with_its_deadline(world: World) -> None:
    """Whatever the attempt may take, the step's time ends it; nothing is left open."""
    hanging = FaultyModel(ScriptedModel([]), FaultPlan("test", FAULTS["hang"]))
    with pytest.raises((TimedOut, DeadlineExceeded)):  # as fast as the disk is
        world.ask(hanging, place=PLACE._replace(deadline=Deadline(0.03, "the 30 ms of the step")))

    assert world.calls("status") in ([("failed",)], [("unknown",)])
    assert world.reserved() == 0


# --- Money  ---


def test_a_call_beyond_its_budget_is_not_made(world: World) -> None:
    """The refusal names the cap; nothing is sent, recorded or reserved."""
    chat = ScriptedModel([ANSWER])
    with pytest.raises(BudgetExceeded, match=r"money\.run \(\$0\.0001") as refused:
        world.ask(chat, Policy(money={"run": "$0.0001"}))

    assert (refused.value.kind, chat.history, world.calls("id"), world.reserved()) == ("budget", [], [], 0)


def test_what_a_call_cost_is_booked(world: World) -> None:
    """Reserved was the most that it might cost; spent is what it did, by the answer's own tokens."""
    door = world.door(ScriptedModel([ANSWER]), workflow="notes", tenant="mia")
    ask(door)

    assert world.database.read("SELECT workflow, tenant, reserved, spent FROM spending") == [
        {"workflow": "notes", "tenant": "mia", "reserved": 0, "spent": COST * 10**9}
    ]


def test_attempts_of_unknown_cost_use_up_the_calls_cap(database: Database) -> None:
    """A call may cost one attempt and a half: after a lost one there is no money for another, journal or not."""
    seen: list[Any] = []
    for journal in (Journal(database), None):
        gate = Gate(database if journal else MemoryDatabase(), FakeClock())
        probe = Door(Model(MODEL, ScriptedModel([ANSWER])), journal, gate=gate, clock=FakeClock())
        need = probe._gate_ask(_call_of(probe), _first()).need
        policy = Policy(money={"call": Decimal(need) * Decimal("1.5") / 10**9})
        chat = ScriptedModel(repeat(LOST))
        with pytest.raises(BudgetExceeded, match=r"money\.call"):
            ask(Door(Model(MODEL, chat), journal, gate=gate, clock=FakeClock(), policy=policy))
        seen.append(len(chat.history))

    assert seen == [1, 1]


def _call_of(door: Door) -> Any:
    from stanchion.models.door import _Call, _key

    return _Call(
        "x", _key(door.model, question(), PLACE), door.model, question(), Deadline(9.0, "the 9 s"), False, True
    )


def _first() -> Any:
    from stanchion.models.door import _Before

    return _Before()


def test_a_warning_stands_in_the_ledger(world: World) -> None:
    """A call that was made beyond the soft share of a cap says which."""
    world.ask(ScriptedModel([ANSWER]), Policy(money={"day": "$1"}))
    world.ask(ScriptedModel([ANSWER]), Policy(money={"day": "$1", "soft": "0.1%"}), "Total 6")

    assert world.calls("warning") == [(None,), ("More than 0.1% of money.day ($1.00) is spent or reserved.",)]


# --- Loops  ---


def test_a_run_that_asks_for_ever_is_stopped(world: World) -> None:
    """The twenty-sixth call of a run is refused before it is sent."""
    chat = ScriptedModel(repeat(ANSWER))
    door = world.door(chat)

    async def story() -> int:
        for number in range(1000):
            try:
                await door.ask(question(f"Total {number}"), PLACE)
            except TooManyCalls:
                return number
        return 1000

    assert asyncio.run(story()) == 25 == len(chat.history)


def test_the_same_question_three_times_is_enough(world: World) -> None:
    """In new steps the same call is made anew, but not a fourth time."""
    chat = ScriptedModel(repeat(ANSWER))
    for number in range(3):
        world.ask(chat, place=PLACE._replace(task_id=f"task-{number}"))
    with pytest.raises(TooManyCalls, match="the very same call 3 times"):
        world.ask(chat, place=PLACE._replace(task_id="task-4"))


def test_re_asks_are_counted(world: World) -> None:
    """Five times guards may ask for a better answer in a run; the ledger says which calls did."""
    again = Request(*question()[:3], again=True)
    door = world.door(ScriptedModel(repeat(ANSWER)), Policy(loops={"reasks": 1}))
    ask(door, again)
    with pytest.raises(TooManyCalls, match="asked for better answers 1 times"):
        ask(door, again, PLACE._replace(task_id="task-2"))

    assert world.calls("reask") == [(1,)]


def test_cancelled_while_its_answer_is_kept_a_call_is_answered(world: World) -> None:
    """The answer is on its way to the disk as its caller gives up: it was paid for, and stays."""

    async def story() -> None:
        asking = asyncio.create_task(world.door(ScriptedModel([ANSWER])).ask(question(), PLACE))
        settle, settling = world.gate.settle, asyncio.Event()

        async def slow(*args: Any, **kwargs: Any) -> bool:
            settling.set()
            return await settle(*args, **kwargs)

        world.gate.settle = slow  # type: ignore[method-assign]
        await settling.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(story())
    assert world.calls("status", "attempts") == [("answered", 1)]


# --- The ledger  ---


class Counting(Database):
    """A database that counts its transactions."""

    batches = 0

    def _write_batch(self, tables: Any, batch: Any) -> None:
        self.batches += 1
        super()._write_batch(tables, batch)


def test_a_call_costs_two_commits(tmp_path: Path) -> None:
    """One before the request, which another program sees while it is under way, and one after it."""
    path = tmp_path / "counting.db"
    database = Counting(path)
    seen: list[Any] = []

    def look(_: Any) -> AIMessage:
        with sqlite3.connect(path) as other:
            seen.append(
                other.execute("SELECT c.status, a.status FROM calls c JOIN attempts a ON call_id = id").fetchall()
            )
        return ANSWER

    door = Door(
        Model(MODEL, ScriptedModel([look])), Journal(database), clock=FakeClock(), policy=Policy(money={"day": "$9"})
    )
    ask(door)
    commits = database.batches
    database.close()

    assert seen == [[("started", "started")]]
    assert commits == 2


@pytest.mark.parametrize(
    "script", [lambda: [ANSWER], lambda: [DOWN, ANSWER], lambda: [LOST, DOWN, ANSWER]], ids=["well", "once", "twice"]
)
def test_cancelled_at_any_point_a_call_is_over(database: Database, script: Callable[[], list[Any]]) -> None:
    """After each possible number of turns of the loop: nothing reserved, in flight or open is left, on disk neither."""
    world = World(database)
    policy = Policy(
        money={"day": "$100"}, rates={"*": {"in_flight": 1}}, breaker={"least_calls": 10_000}, retry={"floor": 10_000},
        loops={"model_calls": 10_000, "same_call": 10_000},
    )  # fmt: skip

    async def story(turns: int) -> None:
        door = world.door(Slow(script()), policy)
        asking = asyncio.create_task(door.ask(question(f"Total {turns}"), PLACE))
        for turn in range(turns):
            if turn % 3 == 2:  # give the writer's thread its time
                await asyncio.to_thread(database.write_now, lambda _: None)
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(0)

    for turns in range(0, 40):
        asyncio.run(story(turns))
        assert world.attempts("status").count(("started",)) == 0, turns
        assert world.calls("status").count(("started",)) == 0, turns
        assert world.reserved() == 0, turns
    statuses = {status for (status,) in world.calls("status")}
    assert {"unknown", "answered"} <= statuses


def test_a_call_that_was_never_sent_cost_nothing(world: World) -> None:
    """Cancelled between two attempts that cost nothing, a call is unknown, and its price is not."""

    class Stopped(Sleeper):
        async def sleep(self, seconds: float) -> None:
            raise asyncio.CancelledError

    door = Door(Model(MODEL, ScriptedModel([DOWN])), Journal(world.database), clock=Stopped(), flights=Flights())
    with pytest.raises(asyncio.CancelledError):
        ask(door)

    assert world.calls("status", "attempts", "cost_usd") == [("unknown", 1, "0")]
