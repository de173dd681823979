"""Plain LangGraph graphs to be drilled, with a model of their own that must never be asked for real."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatResult
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from stanchion.errors import ModelError
from stanchion.workflow import Workflow


class Paid(BaseChatModel):
    """Counts who asks it; a drill without `--model` must find it unasked."""

    asked: int = 0

    @property
    def _llm_type(self) -> str:
        return "paid"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        self.asked += 1
        raise ModelError("A paid model was asked.")


class State(TypedDict, total=False):
    """What the graphs pass on."""

    document: dict[str, Any]
    said: str


paid = Paid()


async def ask(state: State) -> State:
    """Ask the graph's own model, in LangChain's way."""
    return {"said": (await paid.ainvoke(state["document"]["text"])).text}


async def ask_or_shrug(state: State) -> State:
    """Ask, and do without where no answer comes."""
    try:
        return await ask(state)
    except Exception:  # of whichever SDK
        return {"said": "nobody knows"}


async def stream(state: State) -> State:
    """Ask for a stream."""
    return {"said": "".join([chunk.text async for chunk in paid.astream(state["document"]["text"])])}


def blocking(state: State) -> State:
    """Ask and block."""
    return {"said": paid.invoke(state["document"]["text"]).text}


def workflow_of(node: Any, *, retry: RetryPolicy | None = None) -> Workflow:
    """One node that asks, as somebody might write it who has never heard of us."""
    builder = StateGraph(State)
    builder.add_node("ask", node, retry_policy=retry)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return Workflow(builder.compile(), name="plain", version="1")


fragile = workflow_of(ask)
sturdy = workflow_of(ask_or_shrug)
