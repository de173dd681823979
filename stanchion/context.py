"""What a node may reach while it runs: LangGraph's runtime context, filled by the runner or left at its defaults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from langgraph.runtime import get_runtime
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from stanchion.models.door import Door, Place
from stanchion.models.providers import load_model


@dataclass(frozen=True)
class RunContext:
    """The runtime context of every workflow: `StateGraph(State, context_schema=RunContext)`.

    Nothing here is ever stored, so this is where secrets may travel.

    Args:
        model: the model's usual string; used where no `door` is given, as in a graph run without our runner.
        today: the day on which the run was made; dates after it are implausible. None: no such check.
        run_id: the run, empty outside our runner.
        door: the way to the model, with its journal.
    """

    model: str = "none"
    today: date | None = None
    run_id: str = ""
    door: SkipJsonSchema[InstanceOf[Door] | None] = None  # no part of the schema that servers show

    def way(self) -> Door:
        """Return the door to the model: the runner's, or one without a journal."""
        return self.door or Door(load_model(self.model))


def run_context() -> RunContext:
    """Return the context of the node that is running; the defaults where the graph has none, or one of its own."""
    context = get_runtime().context
    return context if isinstance(context, RunContext) else RunContext()


def current_place(node: str) -> Place:
    """Return where in the run we are, for the journal.

    Args:
        node: the name of the node that asks.
    """
    info = get_runtime().execution_info
    return Place(run_context().run_id, info.task_id if info else "", node)
