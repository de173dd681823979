"""`outcome`: every way through a graph ends in one word and a value."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from stanchion.nodes import WorkflowState, outcome
from stanchion.verdict import Outcome, Verdict


def ended(way: str = "invoke", **state: Any) -> Outcome:
    """The outcome of a plain graph of this one node."""
    builder = StateGraph(WorkflowState)
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "outcome")
    builder.add_edge("outcome", END)
    graph = builder.compile()
    result: Outcome = (graph.invoke(state) if way == "invoke" else asyncio.run(graph.ainvoke(state)))["outcome"]
    return result


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_what_nobody_objected_to_is_accepted(way: str) -> None:
    """The chosen value, its rung and the verdict's confidence are the outcome."""
    verdict = Verdict(decision="accept", confidence=0.98)

    assert ended(way, verdict=verdict, output={"total": 5}, rung="model") == Outcome(
        kind="accepted", output={"total": 5}, rung="model", confidence=0.98
    )


def test_a_refusal_has_its_reason_and_no_value() -> None:
    """A document that could not be used ends refused, in the words of the node that refused it."""
    verdict = Verdict(decision="refuse", reason="The document is empty.")

    assert ended(verdict=verdict, output={"total": 5}) == Outcome(kind="refused", reason="The document is empty.")


@pytest.mark.parametrize("decision", ["unsure", "repair", "fall_back", "review"])
def test_what_nobody_accepted_is_refused(decision: Any) -> None:
    """An edge that leads a missing answer straight to the end makes no accepted run of it."""
    said = ended(verdict=Verdict(decision=decision, reason="The key was refused."))
    silent = ended(verdict=Verdict(decision=decision))

    assert (said.kind, said.reason) == ("refused", "The key was refused.")
    assert decision in silent.reason


@pytest.mark.parametrize("kind", ["reviewed", "rejected"])
def test_a_persons_answer_stands(kind: Any) -> None:
    """What a person said is kept, whatever the verdict before; an approved value keeps its rung."""
    answered = Outcome(kind=kind, output={"total": 5})

    for decision in ("review", "refuse"):
        said = ended(verdict=Verdict(decision=decision), outcome=answered, rung="rules")
        assert said == answered.model_copy(update={"rung": "rules"})


def test_a_persons_edit_is_the_rung_human() -> None:
    """The rung of an edited value is not overwritten by the machine's."""
    answered = Outcome(kind="reviewed", output={"total": 6}, rung="human")

    assert ended(verdict=Verdict(decision="review"), outcome=answered, rung="rules").rung == "human"
