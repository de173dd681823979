"""The last node: it says how the run ended, and with what."""

from __future__ import annotations

from typing import Any

from stanchion.nodes.state import Node, WorkflowState
from stanchion.verdict import Outcome


def outcome() -> Node:
    """Make the node in which every way through a graph ends.

    Returns:
        a node that writes `outcome`: a person's answer as it was given; accepted, where the last verdict says so;
        refused with the verdict's reason for anything else, since a missing answer is a no.
    """

    def node(state: WorkflowState) -> dict[str, Any]:
        verdict, answered = state["verdict"], state.get("outcome")
        rung = state.get("rung")
        if answered is not None:
            return {"outcome": answered if answered.rung else answered.model_copy(update={"rung": rung})}
        if verdict.decision != "accept":
            reason = verdict.reason or f"Nobody accepted an answer; the last step decided {verdict.decision}."
            return {"outcome": Outcome(kind="refused", reason=reason)}
        return {
            "outcome": Outcome(kind="accepted", output=state.get("output"), rung=rung, confidence=verdict.confidence)
        }

    return node
