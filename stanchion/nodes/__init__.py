"""What stands in a graph: factories of LangGraph nodes, usable in anyone's own StateGraph.

A node reads and writes the keys of `WorkflowState`; extend it with your own.
"""

from stanchion.nodes.decide import Choice, decide, weigh_rungs
from stanchion.nodes.extract import extract
from stanchion.nodes.intake import intake
from stanchion.nodes.outcome import outcome
from stanchion.nodes.review import answered, review
from stanchion.nodes.state import WorkflowState, decision
from stanchion.nodes.structured import repair, structured

__all__ = [
    "Choice",
    "WorkflowState",
    "answered",
    "decide",
    "decision",
    "extract",
    "intake",
    "outcome",
    "repair",
    "review",
    "structured",
    "weigh_rungs",
]
