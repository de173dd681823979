"""The keys that our nodes read and write in a graph's state."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from langchain_core.messages import AnyMessage
from typing_extensions import TypedDict  # pydantic, which draws schemas for Studio, wants this one before Python 3.12

from stanchion.verdict import Candidate, Decision, Outcome, Rung, Source, Verdict


def keep_latest(old: dict[str, Candidate], new: dict[str, Candidate]) -> dict[str, Candidate]:
    """Merge candidates; a rung that speaks again replaces what it said before.

    Args:
        old: so far, by rung.
        new: what a node adds.
    """
    return {**old, **new}


class WorkflowState(TypedDict, total=False):
    """What a run holds; everything in it survives LangGraph's strict msgpack.

    Args:
        document: the input as it came in: `{"text": ..., "boxes"?: ...}` or `{"name": ..., "data": base64}`.
        source: the document after intake.
        candidates: the answers so far, by rung.
        verdict: what the last node said; conditional edges read its decision.
        conversation: what was said to the model and what it answered, for repairs.
        output: the value chosen so far, in JSON form.
        rung: where the chosen value came from.
        outcome: how the run ended.
    """

    document: dict[str, Any]
    source: Source
    candidates: Annotated[dict[str, Candidate], keep_latest]
    verdict: Verdict
    conversation: list[AnyMessage]
    output: dict[str, Any] | None
    rung: Rung | None
    outcome: Outcome


class Node(Protocol):
    """A synchronous LangGraph node over `WorkflowState`."""

    def __call__(self, state: WorkflowState) -> dict[str, Any]:
        """Return the keys of the state that change."""
        ...


def decision(state: WorkflowState) -> Decision:
    """Return the last verdict's decision: the function behind conditional edges.

    Args:
        state: the graph's state, after a node that gives a verdict.
    """
    return state["verdict"].decision
