"""Reviews: a question is answered once, only by what fits, and by the workflow that asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from stanchion import Workflow
from stanchion.errors import InvalidAnswer, ReviewClosed
from stanchion.testing import ScriptedModel
from tests.runs.conftest import answer, invoices, run, waiting


def test_an_approved_proposal_ends_reviewed(make_runner) -> None:
    """Approval takes the proposal as it is, with the reviewer's name beside it."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            done = await runner.answer(asked.id, "approve", by="Ada")
            return done, runner.ledger.review(asked.id)

    done, review = run(story())

    assert (done.outcome, done.output, done.rung) == ("reviewed", {"number": "A1", "total": 1}, "model")
    assert (review.answered_by, review.action) == ("Ada", "approve")
    assert review.resumed_at is not None


def test_an_edit_changes_only_the_named_fields(make_runner) -> None:
    """The edited value is the proposal with the edit in it, and its rung is `human`."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            return await runner.answer(asked.id, "edit", by="Ada", edits={"total": "12"})

    done = run(story())

    assert (done.outcome, done.output, done.rung) == ("reviewed", {"number": "A1", "total": 12}, "human")


def test_a_rejection_keeps_its_reason_and_no_value(make_runner) -> None:
    """A rejected run has the reviewer's reason and no output."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            return await runner.answer(asked.id, "reject", by="Ada", reason="Not ours.")

    done = run(story())

    assert (done.outcome, done.reason, done.output) == ("rejected", "Not ours.", None)


@pytest.mark.parametrize(
    ("action", "edits", "why"),
    [
        ("edit", {"total": "twelve"}, "total"),
        ("edit", {"totl": 12}, "no field totl; there are number, total"),
        ("edit", {}, "at least one field"),
        ("approve", {"total": 1}, "Edits go with"),
        ("shrug", {}, "approve, edit or reject"),
    ],
)
def test_an_answer_that_does_not_fit_leaves_the_review_open(make_runner, action, edits, why) -> None:
    """The reviewer is told what is wrong, and may answer again."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            with pytest.raises(InvalidAnswer, match=why):
                await runner.answer(asked.id, action, by="Ada", edits=edits)
            return await runner.answer(asked.id, "approve", by="Ada")

    assert run(story()).outcome == "reviewed"


def test_approving_what_is_not_complete_is_refused(make_runner) -> None:
    """Without any proposal, approval would accept nothing; an edit of all fields is what helps."""

    async def story() -> Any:
        async with make_runner(model="none") as runner:
            _, asked = await waiting(runner)
            with pytest.raises(InvalidAnswer, match="number: Field required; total: Field required"):
                await runner.answer(asked.id, "approve", by="Ada")
            return await runner.answer(asked.id, "edit", by="Ada", edits={"number": "A1", "total": 1})

    assert run(story()).output == {"number": "A1", "total": 1}


def test_a_second_answer_is_told_who_was_first(make_runner) -> None:
    """A question is answered once: the second gets an error that names the first, and nothing changes."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            one, asked = await waiting(runner)
            await runner.answer(asked.id, "approve", by="Ada")
            with pytest.raises(ReviewClosed, match=r"approve by Ada at 2024-01-01"):
                await runner.answer(asked.id, "reject", by="Bob")
            return runner.ledger.run(one.id)

    assert run(story()).outcome == "reviewed"


def test_two_simultaneous_answers_are_one_action(make_runner) -> None:
    """Of two answers at the same moment one is taken and one is refused; the node after the question runs once."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            one, asked = await waiting(runner)
            results = await asyncio.gather(
                runner.answer(asked.id, "approve", by="Ada"),
                runner.answer(asked.id, "reject", by="Bob", reason="Not ours."),
                return_exceptions=True,
            )
            return results, [step.node for step in runner.ledger.steps(one.id)]

    results, nodes = run(story())

    assert sum(isinstance(result, ReviewClosed) for result in results) == 1
    assert nodes.count("outcome") == 1


def test_a_repeated_answer_never_falls_to_the_next_question(make_runner) -> None:
    """A node that asks twice gets each question answered by itself: the first answer is not taken for the second."""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        said: list[str]

    builder = StateGraph(State)
    builder.add_node("ask", lambda _state: {"said": [interrupt("delete one?"), interrupt("delete all?")]})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    workflow = Workflow(builder.compile(), name="asking", version="1")

    async def story() -> Any:
        async with make_runner(workflow) as runner:
            _, first = await waiting(runner)
            again = await runner.answer(first.id, "approve", by="Ada")
            with pytest.raises(ReviewClosed):
                await runner.answer(first.id, "approve", by="Ada")
            return again, runner.ledger.reviews()

    again, open_reviews = run(story())

    assert again.status == "waiting"
    assert [review.question for review in open_reviews] == ["delete all?"]
