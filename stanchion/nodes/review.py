"""The node that asks a person: approve, edit or reject."""

from __future__ import annotations

from typing import Any, Literal, Self

from langgraph.types import interrupt
from pydantic import BaseModel, ConfigDict, create_model, model_validator

from stanchion.guards import bare_model, json_schema
from stanchion.nodes.state import Node, WorkflowState
from stanchion.verdict import Outcome, Verdict


class ReviewAnswer(BaseModel):
    """What a person says to a proposal; the response schema of the interrupt.

    Args:
        action: approve the proposal, edit it, or reject the document.
        output: for `edit`, the whole corrected value; of the output type in `review`'s own response schema.
        reason: in the reviewer's words; asked for when rejecting.
        by: who answered.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["approve", "edit", "reject"]
    output: Any = None
    reason: str = ""
    by: str = ""

    @model_validator(mode="after")
    def _an_edit_has_a_value(self) -> Self:
        if (self.action == "edit") != (self.output is not None):
            raise ValueError("output goes with edit, and edit with output")
        return self


def review(output: Any, *, question: str = "Is this right?") -> Node:
    """Make a node that interrupts the run until a person has answered.

    The question carries the reason, the proposal, what the rungs said, the document's text, and the schema that an edit
    must fit.

    Args:
        output: the pydantic type of the value.
        question: in words.

    Returns:
        a node that writes `output` and `outcome`.
    """
    schema = json_schema(output)
    optional_output: Any = (bare_model(output) | None, None)
    answer_type = create_model("ReviewAnswer", __base__=ReviewAnswer, output=optional_output)

    def node(state: WorkflowState) -> dict[str, Any]:
        proposal = state.get("output") or _best_so_far(state)
        verdict = state["verdict"]
        answer = interrupt(
            {
                "question": question,
                "reason": verdict.reason,
                "confidence": verdict.confidence,
                "proposal": proposal,
                "alternatives": {rung: item.output for rung, item in state.get("candidates", {}).items()},
                "source": state["source"].text if "source" in state else "",
                "schema": schema,
            },
            response_schema=answer_type,
        )
        return {"output": proposal, **_answered(answer, proposal, verdict)}

    return node


def _best_so_far(state: WorkflowState) -> dict[str, Any]:
    candidates = state.get("candidates", {})
    for rung in ("repair", "model", "fallback", "rules"):
        if rung in candidates:
            return candidates[rung].output
    return {}


def _answered(answer: ReviewAnswer, proposal: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    if answer.action == "reject":
        return {"outcome": Outcome(kind="rejected", reason=answer.reason, confidence=verdict.confidence)}
    edited = answer.action == "edit"
    value = answer.output.model_dump(mode="json") if edited else proposal
    return {
        "output": value,
        "outcome": Outcome(
            kind="reviewed",
            reason=answer.reason,
            output=value,
            rung="human" if edited else None,
            confidence=verdict.confidence,
        ),
    }
