"""The chain of models: who is asked next depends on why the one before gave no answer."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import repeat
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stanchion.errors import (
    AuthFailed,
    BreakerOpen,
    BudgetExceeded,
    ConnectionFailed,
    ContextTooLong,
    DeadlineExceeded,
    InvalidRequest,
    ModelError,
    ModelRefused,
    Overloaded,
    RateLimited,
    TimedOut,
    TooManyCalls,
    UnusableAnswer,
)
from stanchion.guards.limits import breaker
from stanchion.guards.limits.gate import Gate
from stanchion.guards.limits.policy import Policy
from stanchion.models.chain import cheaper, next_model
from stanchion.models.door import Door
from stanchion.models.flights import Flights
from stanchion.models.providers import Model
from stanchion.store import Database
from stanchion.store.calls import Journal
from stanchion.testing import FakeClock, ScriptedModel
from tests.models.conftest import ONE_ATTEMPT, PLACE, question

MINI, LARGE, OTHER = "openai:gpt-4o-mini", "openai:gpt-4o", "anthropic:claude-3-5-haiku-latest"


def model(name: str, reads: int | None = None, answers: Any = ()) -> Model:
    """A model under a name, of which one may know how much it reads at once."""
    chat = ScriptedModel(answers)
    chat.profile = {"max_input_tokens": reads} if reads else None
    return Model(name, chat)


USUAL = (MINI, 128_000)


@pytest.mark.parametrize(
    ("error", "others", "asked"),
    [
        (Overloaded("down"), [(LARGE, None), (OTHER, None)], LARGE),
        (TimedOut("late"), [(LARGE, None)], LARGE),
        (ConnectionFailed("lost"), [(LARGE, None)], LARGE),
        (UnusableAnswer("html"), [(LARGE, None)], LARGE),
        (BreakerOpen("open"), [(LARGE, None)], LARGE),
        (DeadlineExceeded("its rate limit"), [(LARGE, None)], LARGE),
        (InvalidRequest("404"), [(LARGE, None)], LARGE),
        (RateLimited("busy"), [(LARGE, None)], LARGE),
        (RateLimited("used up", quota_used_up=True), [(LARGE, None), (OTHER, None)], OTHER),
        (AuthFailed("401"), [(LARGE, None), (OTHER, None)], OTHER),
        (AuthFailed("401"), [(LARGE, None)], None),
        (ContextTooLong("long"), [(LARGE, 128_000), (OTHER, 200_000)], OTHER),
        (ContextTooLong("long"), [(LARGE, 128_000)], None),
        (ContextTooLong("long"), [(LARGE, None)], LARGE),  # nobody knows how much it reads
        (ModelRefused("no"), [("azure_openai:gpt-4o-mini", None), (LARGE, None)], LARGE),
        (ModelRefused("no"), [("azure_openai:gpt-4o-mini", None)], None),
        (BudgetExceeded("spent"), [(LARGE, None)], None),
        (BudgetExceeded("spent"), [(LARGE, None), ("openai:gpt-4.1-nano", None)], "openai:gpt-4.1-nano"),
        (TooManyCalls("a loop"), [(LARGE, None), (OTHER, None)], None),
        (Overloaded("down"), [], None),
    ],
)
def test_who_is_asked_next(error: ModelError, others: list[tuple[str, int | None]], asked: str | None) -> None:
    """Each cause has its own next model: the first that may do better, or none."""
    following = next_model(model(*USUAL), error, [model(*other) for other in others])

    assert (following and following.name) == asked


@pytest.mark.parametrize(("than", "other", "answer"), [(LARGE, MINI, True), (MINI, LARGE, False), (MINI, MINI, False)])
def test_which_one_is_cheaper(than: str, other: str, answer: bool) -> None:
    """By the price of a question and an answer of equal length; a model without a price costs nothing."""
    assert cheaper(model(than), [model(other)]) is answer
    assert cheaper(model(than), [model("ollama:nobody-knows")])


# --- Through the door  ---


class World:
    """A journal on disk, and what comes of asking a chain."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, FakeClock()
        self.gate = Gate(database, self.clock)

    def ask(self, *chain: Model, policy: Policy = ONE_ATTEMPT, text: str = "Total 5") -> str:
        """The answer of the chain."""
        door = Door(
            chain[0], Journal(self.database), policy=policy, gate=self.gate, flights=Flights(), clock=self.clock
        )
        return asyncio.run(door.ask(question(text), PLACE, fallbacks=chain[1:])).text

    def calls(self) -> list[tuple[str, str, str | None]]:
        """Who was asked, and how it ended."""
        rows = self.database.read("SELECT model, status, kind FROM calls ORDER BY rowid")
        return [(row["model"], row["status"], row["kind"]) for row in rows]


@pytest.fixture
def world(database: Database) -> World:
    """A chain's surroundings."""
    return World(database)


def asked(*models: Model) -> list[int]:
    """How often each was asked."""
    return [len(one.chat.history) for one in models]  # type: ignore[union-attr]


def test_the_next_one_answers(world: World) -> None:
    """The first is down, the second refuses the key, the third answers: each has a row."""
    chain = [
        model(MINI, answers=[Overloaded("down", cost_unknown=False)]),
        model(LARGE, answers=[AuthFailed("401")]),
        model(OTHER, answers=["5"]),
    ]

    assert world.ask(*chain) == "5"
    assert world.calls() == [(MINI, "failed", "overloaded"), (LARGE, "failed", "auth"), (OTHER, "answered", None)]


def test_nobody_is_asked_again(world: World) -> None:
    """The chain goes forward only, past those that would do no better; the last error is the one that is told."""
    chain = [
        model(MINI, answers=[AuthFailed("401")]),
        model(LARGE, answers=["never"]),
        model(OTHER, answers=[Overloaded("the last word")]),
    ]
    with pytest.raises(Overloaded, match="the last word"):
        world.ask(*chain)

    assert asked(*chain) == [1, 0, 1]


def test_a_kept_answer_comes_first(world: World) -> None:
    """A step that is executed again takes the fallback's answer, and does not ask the first model anew."""
    world.ask(model(MINI, answers=[Overloaded("down")]), model(LARGE, answers=["5"]))
    again = [model(MINI, answers=["never"]), model(LARGE, answers=["never"])]

    assert world.ask(*again) == "5"
    assert asked(*again) == [0, 0]


def test_a_model_whose_breaker_is_open_is_passed_over(world: World) -> None:
    """No request, no row, no waiting: the next one answers."""
    open_ = partial(breaker.force, model=MINI, state="open", by="mia", reason="costs", at="now")
    world.database.write_now(lambda tables: open_(tables.conn))
    chain = [model(MINI, answers=["never"]), model(LARGE, answers=["5"])]

    assert world.ask(*chain) == "5"
    assert asked(*chain) == [0, 1]
    assert world.calls() == [(LARGE, "answered", None)]
    assert world.clock.monotonic() == 0


def test_health_is_remembered(world: World) -> None:
    """Once the first has failed ten times it is not asked any more while its breaker is open."""
    policy = Policy(retry={"attempts": 1}, loops={"model_calls": 100})
    first, second = model(MINI, answers=repeat(Overloaded("down"))), model(LARGE, answers=repeat("5"))
    for number in range(15):
        assert world.ask(first, second, policy=policy, text=f"Total {number}") == "5"

    assert asked(first, second) == [10, 15]


def test_near_a_cap_the_cheaper_one_is_asked(world: World) -> None:
    """Beyond the soft share of a cap the dear model gives way to one that costs less; the ledger warns."""
    policy = Policy(money={"day": "$1", "soft": "0.1%"}, retry={"attempts": 1})
    chain = [model(LARGE, answers=["dear"]), model(MINI, answers=["cheap"])]

    assert world.ask(*chain, policy=policy) == "cheap"
    assert asked(*chain) == [0, 1]
    assert world.database.read("SELECT warning FROM calls") == [
        {"warning": "More than 0.1% of money.day ($1.00) is spent or reserved."}
    ]


def test_at_a_soft_cap_that_falls_back_nobody_is_asked(world: World) -> None:
    """`at_soft = "fall_back"` saves the whole call: neither the dear nor the cheap model is asked."""
    policy = Policy(money={"day": "$1", "soft": "0.1%", "at_soft": "fall_back"})
    chain = [model(LARGE, answers=["dear"]), model(MINI, answers=["cheap"])]
    with pytest.raises(BudgetExceeded, match=r"More than 0\.1% of money\.day"):
        world.ask(*chain, policy=policy)

    assert asked(*chain) == [0, 0]


def test_a_fallback_that_cannot_be_loaded_says_so(world: World) -> None:
    """It is passed over like one that is down."""
    chain = [
        model(MINI, answers=[Overloaded("down")]),
        Model(LARGE, None, problem="no key"),
        model(OTHER, answers=["5"]),
    ]

    assert world.ask(*chain) == "5"


# --- What is left of a step's time, and refusals that are answers  ---

RETRIES = Policy(retry={"attempts": 3, "first": "1ms"})
DECLINED = AIMessage("", additional_kwargs={"refusal": "I will not read this."})


def test_a_model_that_hangs_is_not_asked_again_where_there_is_another(world: World) -> None:
    """The time of a second attempt is better spent on the next model; alone, a model is asked again."""
    chain = [model(MINI, answers=[TimedOut("slow"), "late"]), model(LARGE, answers=["5"])]
    alone = model(OTHER, answers=[TimedOut("slow"), "again"])

    assert world.ask(*chain, policy=RETRIES) == "5"
    assert asked(*chain) == [1, 1]
    assert world.ask(alone, policy=RETRIES, text="another") == "again"


def test_a_refusal_that_comes_as_an_answer_asks_the_next(world: World) -> None:
    """A model that declines is no end where another may answer; executed again, the step takes that one's answer."""
    chain = [model(MINI, answers=[DECLINED]), model(LARGE, answers=["5"])]
    again = [model(MINI, answers=["never"]), model(LARGE, answers=["never"])]

    assert world.ask(*chain) == "5"
    assert world.ask(*again) == "5"
    assert asked(*again) == [0, 0]


def test_where_all_decline_the_refusal_is_the_answer(world: World) -> None:
    """So that a person is asked and told, and not a cheaper extractor."""
    chain = [model(MINI, answers=[DECLINED]), model(LARGE, answers=[Overloaded("down")])]

    assert world.ask(*chain) == ""
    assert [status for _, status, _ in world.calls()] == ["answered", "failed"]


def test_the_reason_that_says_most_is_told(world: World) -> None:
    """Where the last model was only kept from being asked, the error is what the provider before it did."""
    open_ = partial(breaker.force, model=LARGE, state="open", by="mia", reason="costs", at="now")
    world.database.write_now(lambda tables: open_(tables.conn))
    with pytest.raises(AuthFailed, match="no key"):
        world.ask(
            model(MINI, answers=[AuthFailed("no key")]), model(LARGE), model(OTHER, answers=[AuthFailed("no key")])
        )
