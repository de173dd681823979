"""A graph that loops for ever over a model ends by our limits, with an outcome that says which."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph

from benchmarks.call_workers import ANSWER, Note, prompt, read
from stanchion import Input, RunContext, Runner, Source, Workflow
from stanchion.context import current_place, run_context
from stanchion.errors import ModelError
from stanchion.models.door import Request
from stanchion.nodes import WorkflowState, structured
from stanchion.testing import OpenAIServer

MODEL_CALLS = 25  # of a run, by default

Node = Callable[[WorkflowState], Any]


def ended(node: Node, db: Path, after: Node | None = None) -> tuple[int, str, str]:
    """Requests, outcome and reason of a run whose graph goes round for ever."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    nodes = [node, *([after] if after else [])]
    for number, one in enumerate(nodes):
        builder.add_node(f"node-{number}", one)
    for number in range(len(nodes)):
        builder.add_edge(f"node-{number}", f"node-{(number + 1) % len(nodes)}")
    builder.add_edge(START, "node-0")
    workflow = Workflow(builder.compile(), name="round", version="1")

    async def main() -> None:
        async with Runner(workflow, db=db, model="openai:gpt-4o") as runner:
            await runner.start([Input(id="x", document={"text": "REF00001"})])

    with OpenAIServer({"": ANSWER}) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "test")
        patch.setenv("OPENAI_BASE_URL", server.url)
        asyncio.run(main())
        (run,) = read(db, "SELECT outcome, reason FROM runs")
        return server.count, run["outcome"], run["reason"]


def asking_something_else_each_time(take_no: bool) -> Node:
    """A node whose question is never the same; it may take the door's no for an answer, and go on."""
    numbers = itertools.count()

    async def node(_: WorkflowState) -> dict[str, Any]:
        question = prompt("round")
        messages = question.opening(text=f"R{next(numbers)}", schema="")
        request = Request(question, messages, Note.model_json_schema())
        try:
            await run_context().way().ask(request, current_place())
        except ModelError:
            if not take_no:
                raise
        return {"document": {}}

    return node


@pytest.mark.parametrize("take_no", [False, True], ids=["raises", "goes on"])
def test_a_loop_over_a_model_ends_by_default(tmp_path: Path, take_no: bool) -> None:
    """At most 25 calls, whether the node lets the limit's error out or swallows it and goes round again."""
    requests, outcome, reason = ended(asking_something_else_each_time(take_no), tmp_path / "runs.db")

    assert (requests, outcome) == (MODEL_CALLS, "refused")
    assert "loops." in reason


def test_a_loop_over_two_nodes_ends_by_default(tmp_path: Path) -> None:
    """Another node in between changes nothing."""

    async def between(_: WorkflowState) -> dict[str, Any]:
        return {"document": {}}

    requests, outcome, reason = ended(asking_something_else_each_time(True), tmp_path / "runs.db", between)

    assert requests <= MODEL_CALLS
    assert outcome == "refused"
    assert "loops." in reason


def test_the_same_question_again_and_again_ends_sooner(tmp_path: Path) -> None:
    """A model node of ours that goes round with the same document asks three times and no more."""
    ask: Any = structured(prompt("round"), Note).afunc

    async def node(state: WorkflowState) -> dict[str, Any]:
        return dict(await ask({**state, "source": Source(text="REF00001")}))

    requests, outcome, reason = ended(node, tmp_path / "runs.db")

    assert (requests, outcome) == (3, "refused")
    assert "loops." in reason
