"""`review` in anybody's own graph: the run waits, the question says everything, and only a fitting answer is taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel, ValidationError

from stanchion.nodes import WorkflowState, outcome, review
from stanchion.verdict import Candidate, Source, Verdict

CONFIG: Any = {"configurable": {"thread_id": "1"}}


class Note(BaseModel):
    """What is asked about."""

    total: int


@pytest.fixture
def graph() -> Any:
    """Somebody's own graph: a review and its outcome, with LangGraph's own saver."""
    builder = StateGraph(WorkflowState)
    builder.add_node("review", review(Note, question="Right?"))
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "review")
    builder.add_edge("review", "outcome")
    builder.add_edge("outcome", END)
    return builder.compile(checkpointer=InMemorySaver())


def doubtful(**state: Any) -> dict[str, Any]:
    """The state after a decision that a person has to look at."""
    verdict = Verdict(decision="review", confidence=0.4, reason="Unsure of total.")
    candidates = {rung: Candidate(rung=rung, output={"total": total}) for rung, total in (("rules", 4), ("model", 5))}
    return {"source": Source(text="x"), "verdict": verdict, "candidates": candidates, "rung": "model", **state}


def asked(graph: Any, **state: Any) -> dict[str, Any]:
    """The question that a graph stops with."""
    (interrupt,) = graph.invoke(doubtful(**state), CONFIG)["__interrupt__"]
    return dict(interrupt.value)


def test_the_question_says_everything(graph: Any) -> None:
    """Reason, confidence, proposal, what each rung said and the schema of an edit come with the question."""
    question = asked(graph, output={"total": 5})

    assert {name: question[name] for name in ("question", "reason", "confidence", "proposal", "alternatives")} == {
        "question": "Right?",
        "reason": "Unsure of total.",
        "confidence": 0.4,
        "proposal": {"total": 5},
        "alternatives": {"rules": {"total": 4}, "model": {"total": 5}},
    }
    assert question["schema"]["properties"]["total"]["type"] == "integer"


def test_without_a_decision_the_best_rung_is_proposed(graph: Any) -> None:
    """Where nothing was decided, what a model said comes before what quick rules found."""
    assert asked(graph)["proposal"] == {"total": 5}


def test_with_nothing_at_all_nothing_is_proposed(graph: Any) -> None:
    """A document that no rung could read is still a question."""
    assert asked(graph, candidates={})["proposal"] == {}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_approved_proposal_ends_reviewed(graph: Any, way: str) -> None:
    """The value is the proposal, and its rung stays where it came from."""
    asked(graph)
    resume = Command(resume={"action": "approve", "by": "Ada"})
    state = graph.invoke(resume, CONFIG) if way == "invoke" else asyncio.run(graph.ainvoke(resume, CONFIG))

    assert (state["outcome"].kind, state["outcome"].output, state["outcome"].rung) == (
        "reviewed",
        {"total": 5},
        "model",
    )
    assert (state["output"], state["outcome"].confidence) == ({"total": 5}, 0.4)


def test_an_edit_takes_the_persons_value(graph: Any) -> None:
    """The edited value counts, and its rung is `human`."""
    asked(graph)
    state = graph.invoke(Command(resume={"action": "edit", "output": {"total": 6}, "reason": "Smudged."}), CONFIG)

    assert state["output"] == {"total": 6}
    assert (state["outcome"].kind, state["outcome"].output, state["outcome"].rung) == (
        "reviewed",
        {"total": 6},
        "human",
    )
    assert state["outcome"].reason == "Smudged."


def test_a_rejection_has_a_reason_and_no_value(graph: Any) -> None:
    """A rejected document ends so, in the reviewer's words."""
    asked(graph)
    state = graph.invoke(Command(resume={"action": "reject", "reason": "Not ours."}), CONFIG)

    assert (state["outcome"].kind, state["outcome"].reason, state["outcome"].output) == ("rejected", "Not ours.", None)


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "shrug"},
        {"action": "approve", "outptu": {}},
        {"by": "Ada"},
        "approve",
        {"action": "edit", "output": "6"},
        {"action": "edit"},
        {"action": "edit", "output": {"total": "six"}},
        {"action": "approve", "output": {"total": 6}},
    ],
)
def test_an_answer_that_does_not_fit_leaves_the_question_open(graph: Any, answer: Any) -> None:
    """What is no approve, edit or reject is refused with an error, and the question can be answered again."""
    question = asked(graph)
    with pytest.raises(ValidationError, match="ReviewAnswer"):
        graph.invoke(Command(resume=answer), CONFIG)

    (pending,) = graph.get_state(CONFIG).interrupts
    assert pending.value == question
    state = graph.invoke(Command(resume={"action": "approve"}), CONFIG)
    assert state["outcome"].kind == "reviewed"
