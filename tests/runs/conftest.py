"""What the tests of runs share: a tiny workflow of our own nodes, and a runner on a temporary database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stanchion import Input, Prompt, RunContext, Runner, Workflow
from stanchion.nodes import WorkflowState, decide, decision, intake, outcome, repair, review, structured
from stanchion.testing import FakeClock, counting_ids


class Invoice(BaseModel):
    """What the tiny workflow reads."""

    number: str
    total: int


PROMPT = Prompt(id="invoices.extract", version="7", system="Answer with JSON: $schema", user="$text")


def invoices(*, accept_at: float = 0.5) -> Workflow:
    """A model, one repair, and a person where there is no answer or not enough confidence."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("intake", intake())
    builder.add_node("model", structured(PROMPT, Invoice))
    builder.add_node("repair", repair(PROMPT, Invoice))
    builder.add_node("decide", decide(Invoice, critical=("total",), accept_at=accept_at))
    builder.add_node("review", review(Invoice))
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "intake")
    builder.add_conditional_edges("intake", decision, {"accept": "model", "refuse": "outcome"})
    after = {"accept": "decide", "repair": "repair", "fall_back": "decide", "review": "review"}
    builder.add_conditional_edges("model", decision, after)
    builder.add_conditional_edges("repair", decision, after)
    builder.add_conditional_edges("decide", decision, {"accept": "outcome", "review": "review"})
    builder.add_edge("review", "outcome")
    builder.add_edge("outcome", END)
    return Workflow(builder.compile(), name="invoices", version="3", output=Invoice, prompts=[PROMPT])


def document(number: int = 1) -> Input:
    """An input that the tiny workflow's intake takes."""
    return Input(id=f"doc-{number}", document={"text": f"Invoice A{number}, to pay: {number} euro."})


def answer(number: int = 1) -> str:
    """A right answer to `document(number)`."""
    return f'{{"number": "A{number}", "total": {number}}}'


def run(coroutine: Any) -> Any:
    """The result of a coroutine."""
    return asyncio.run(coroutine)


async def started(runner: Runner, *inputs: Input) -> list[Any]:
    """The runs of these inputs, as they stand once started."""
    async with runner:
        return await runner.start(inputs or [document()])


async def waiting(runner: Runner) -> Any:
    """A run that waits for a person, and what it asks."""
    (one,) = await runner.start([document()])
    (asked,) = runner.ledger.reviews()
    return one, asked


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a test's runs are kept."""
    return tmp_path / "runs.db"


@pytest.fixture
def make_runner(db: Path):
    """Make a runner on the test's database, with a clock that stands still and ids that count."""
    ids = counting_ids()

    def make(workflow: Workflow | None = None, **options: Any) -> Runner:
        options = {"clock": FakeClock(), "ids": ids, **options}
        return Runner(workflow or invoices(), db=db, **options)

    return make
