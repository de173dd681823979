"""What a node may reach while it runs: LangGraph's runtime context, filled by the runner or left at its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langgraph.config import get_config
from langgraph.runtime import Runtime, get_runtime
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from stanchion.guards.limits.deadline import Deadline, step_deadline
from stanchion.guards.limits.policy import Policy
from stanchion.models.door import Door, Place
from stanchion.models.prompts import Prompt
from stanchion.models.providers import load_model
from stanchion.settings import read_settings


@dataclass(frozen=True)
class RunContext:
    """The runtime context of every workflow: `StateGraph(State, context_schema=RunContext)`.

    Nothing here is ever stored, so this is where secrets may travel: subclass it with your own fields, and give an
    instance as `Runner(context=...)`.

    Args:
        model: the model's usual string or a LangChain chat model, where no `door` is given, as in a graph run without
            our runner. None: `STANCHION_MODEL`, else `none`.
        today: the day on which the run was made; dates after it are implausible. None: no such check.
        run_id: the run, empty outside our runner.
        door: the way to the model, with its journal.
        tenant: on whose behalf, for caps on money.
        policy: the limits in force.
        deadline: when the run's own time is over; None outside our runner.
        prompts: id to the prompt that the run started with, whatever the workflow's code has now.
    """

    model: str | SkipJsonSchema[InstanceOf[BaseChatModel]] | None = None
    today: date | None = None
    run_id: str = ""
    door: SkipJsonSchema[InstanceOf[Door] | None] = None  # no part of the schema that servers show
    tenant: str = ""
    policy: SkipJsonSchema[InstanceOf[Policy]] = field(default_factory=Policy)
    deadline: SkipJsonSchema[InstanceOf[Deadline] | None] = None
    prompts: SkipJsonSchema[InstanceOf[Mapping[str, Prompt]]] = field(default_factory=dict)

    def way(self) -> Door:
        """Return the door to the model: the runner's, or one without a journal."""
        if self.door is not None:
            return self.door
        return Door(load_model(self.model or read_settings().model), policy=self.policy, tenant=self.tenant)

    def pinned(self, prompt: Prompt) -> Prompt:
        """Return the version of a prompt that the run started with; the prompt itself where none is pinned.

        Args:
            prompt: as the workflow's code has it.

        Raises:
            StoreError: the text that the run started with is gone from the database.
        """
        return self.prompts.get(prompt.id, prompt)


def run_context() -> RunContext:
    """Return the context of the node that is running; the defaults where there is none, or one of another kind."""
    context = getattr(_runtime(), "context", None)
    return context if isinstance(context, RunContext) else RunContext()


def current_place() -> Place:
    """Return where in the run we are, for the journal; nowhere, where a node is called by itself."""
    runtime = _runtime()
    if runtime is None or runtime.execution_info is None:
        return Place("", "", "")
    node = get_config()["metadata"].get("langgraph_node", "")
    return Place(run_context().run_id, runtime.execution_info.task_id, node, step_deadline.get())


def _runtime() -> Runtime[Any] | None:
    try:
        return get_runtime()
    except RuntimeError:  # outside any graph, as in a test
        return None
