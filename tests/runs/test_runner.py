"""The runner: what goes in comes out with one outcome, and everything on the way is on record."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from stanchion import Input, RunContext, Workflow
from stanchion.errors import UsageError
from stanchion.testing import ScriptedModel
from tests.runs.conftest import answer, document, run, started


def test_a_good_answer_is_accepted(make_runner) -> None:
    """A run whose model answers well ends accepted, with the value, its rung and its confidence."""
    (done,) = run(started(make_runner(model=ScriptedModel([answer()]))))

    assert (done.status, done.outcome, done.rung, done.output) == (
        "done",
        "accepted",
        "model",
        {"number": "A1", "total": 1},
    )
    assert done.confidence == pytest.approx(0.9)


def test_a_bad_answer_is_repaired_with_the_conversation_kept(make_runner) -> None:
    """The repair sees the first answer and what was wrong with it, path and all."""
    model = ScriptedModel(['{"number": "A1", "total": "many"}', answer()])
    (done,) = run(started(make_runner(model=model)))

    assert (done.outcome, done.rung, done.calls) == ("accepted", "repair", 2)
    assert [message.type for message in model.history[1]] == ["system", "human", "ai", "human"]
    assert "total: " in model.history[1][-1].text


def test_repairs_are_bounded(make_runner) -> None:
    """A model that never learns is asked twice and no more; then a person is asked."""
    model = ScriptedModel(["no JSON here"] * 10)
    (waiting,) = run(started(make_runner(model=model)))

    assert len(model.history) == 2
    assert waiting.status == "waiting"


def test_without_a_model_the_workflow_goes_on(make_runner) -> None:
    """With `none`, no call is made and the run takes its fallback edge."""
    (waiting,) = run(started(make_runner(model="none")))

    assert (waiting.status, waiting.calls, waiting.cost_usd) == ("waiting", 0, Decimal(0))


def test_a_document_nobody_can_read_is_refused_with_a_reason(make_runner) -> None:
    """An empty document ends refused, in words for a person, without asking the model."""
    model = ScriptedModel([])
    (refused,) = run(started(make_runner(model=model), Input(id="empty", document={"text": ""})))

    assert (refused.outcome, refused.reason, model.history) == ("refused", "The document is empty.", [])


def test_a_defect_ends_its_own_run_and_no_other(make_runner) -> None:
    """An exception in a node makes that run `failed`, with the exception's name; its neighbours are accepted."""

    class State(TypedDict, total=False):
        document: dict[str, Any]

    def fragile(state: State) -> State:
        if state["document"]["text"] == "bad":
            raise ZeroDivisionError("on purpose")
        return {}

    builder = StateGraph(State)
    builder.add_node("fragile", fragile)
    builder.add_edge(START, "fragile")
    builder.add_edge("fragile", END)
    workflow = Workflow(builder.compile(), name="fragile", version="1")
    inputs = [Input(id=text, document={"text": text}) for text in ("good", "bad", "fine")]
    runs = run(started(make_runner(workflow), *inputs))

    assert [item.outcome for item in runs] == ["accepted", "failed", "accepted"]
    assert "ZeroDivisionError" in runs[1].reason


@pytest.mark.parametrize(
    "error", [UsageError("wrong option"), sqlite3.OperationalError("no such table: theirs"), LookupError("missing")]
)
def test_whatever_a_node_raises_ends_its_run(make_runner, error: Exception) -> None:
    """An error of ours or of somebody's own database, raised in a node, is that node's defect: the run ends, named."""

    class State(TypedDict, total=False):
        document: dict[str, Any]

    def fragile(_state: State) -> State:
        raise error

    builder = StateGraph(State)
    builder.add_node("fragile", fragile)
    builder.add_edge(START, "fragile")
    builder.add_edge("fragile", END)
    (ended,) = run(started(make_runner(Workflow(builder.compile(), name="fragile", version="1"))))

    assert ended.outcome == "failed"
    assert ended.reason.startswith("A defect in fragile, ")
    assert str(error) in ended.reason


def test_what_own_nodes_need_travels_in_the_context_and_is_never_stored(make_runner, db: Path) -> None:
    """A subclass of RunContext brings clients and keys to one's own nodes; the runner fills in what it knows."""

    @dataclass(frozen=True)
    class Ours(RunContext):
        api_key: str = ""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        length: int
        day: str

    def ask(_state: State, runtime: Runtime[Ours]) -> State:
        return {"length": len(runtime.context.api_key), "day": str(runtime.context.today)}

    builder = StateGraph(State, context_schema=Ours)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    workflow = Workflow(builder.compile(), name="keyed", version="1")
    (done,) = run(started(make_runner(workflow, context=Ours(api_key="sk-verysecret"))))

    assert (done.output["length"], done.output["day"]) == (13, "2024-01-01")
    assert not any(b"sk-verysecret" in file.read_bytes() for file in db.parent.iterdir() if file.is_file())


def test_a_loop_ends_by_our_limit(make_runner) -> None:
    """A graph that never ends is stopped after 50 steps as refused, far below LangGraph's 10,007."""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        n: int

    builder = StateGraph(State)
    builder.add_node("again", lambda state: {"n": state.get("n", 0) + 1})
    builder.add_edge(START, "again")
    builder.add_edge("again", "again")
    (stopped,) = run(started(make_runner(Workflow(builder.compile(), name="loop", version="1"))))

    assert stopped.outcome == "refused"
    assert "loops." in str(stopped.reason)


def test_any_langgraph_graph_runs(make_runner) -> None:
    """A graph that knows nothing of us is accepted with what it holds at its end."""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        length: int

    builder = StateGraph(State)
    builder.add_node("measure", lambda state: {"length": len(state["document"]["text"])})
    builder.add_edge(START, "measure")
    builder.add_edge("measure", END)
    (done,) = run(started(make_runner(Workflow(builder.compile(), name="plain", version="1"))))

    assert (done.outcome, done.output["length"]) == ("accepted", 27)


def test_every_step_is_on_record(make_runner) -> None:
    """Steps stand in order with state in and out, times and verdicts; what a run cost is its calls' sum."""

    async def look() -> Any:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (done,) = await runner.start([document()])
            return runner.ledger.steps(done.id), runner.ledger.verdicts(done.id), runner.ledger.calls(done.id)

    steps, verdicts, calls = run(look())

    assert [step.node for step in steps] == ["intake", "model", "decide", "outcome"]
    assert [step.position for step in steps] == [1, 2, 3, 4]
    assert steps[0].state_in["document"] == document().document
    assert steps[1].state_out["candidates"]["model"]["output"] == {"number": "A1", "total": 1}
    assert all(step.ended_at is not None and step.attempts == 1 for step in steps)
    assert [(verdict.node, verdict.decision) for verdict in verdicts] == [
        ("intake", "accept"),
        ("model", "accept"),
        ("decide", "accept"),
    ]
    (call,) = calls
    assert (call.prompt, call.prompt_version, call.status) == ("invoices.extract", "7", "answered")
    assert call.answer[0]["data"]["content"] == answer()
    assert call.input_tokens is not None


def test_what_an_unreadable_answer_cost_is_kept(make_runner) -> None:
    """Tokens and money of an answer that could not be parsed stand in the ledger, with the raw answer."""
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    reply = AIMessage("Sorry, what?", usage_metadata=usage)

    class Priced(ScriptedModel):
        model_name: str = "gpt-4o-2024-05-13"

        @property
        def _llm_type(self) -> str:
            return "openai-chat"

    async def look() -> Any:
        async with make_runner(model=Priced([reply, reply])) as runner:
            (waiting,) = await runner.start([document()])
            return waiting, runner.ledger.calls(waiting.id)

    waiting, calls = run(look())

    assert waiting.cost_usd == Decimal("0.0130")
    assert [call.answer[0]["data"]["content"] for call in calls] == ["Sorry, what?"] * 2


def test_all_inputs_are_queued_before_the_first_runs(make_runner) -> None:
    """When the first run is claimed, every input of the batch is on disk."""
    events: list[str] = []
    runner = make_runner(observe=lambda event, _run_id: events.append(event))
    run(started(runner, *map(document, range(5))))

    assert events.index("claimed") == 5
    assert events[:5] == ["queued"] * 5


def test_no_more_runs_at_a_time_than_asked_for(make_runner) -> None:
    """With a concurrency of 2, never more than 2 runs are between claimed and ended."""
    open_runs: set[str] = set()
    most = 0

    def observe(event: str, run_id: str) -> None:
        nonlocal most
        if event == "claimed":
            open_runs.add(run_id)
        if event in {"ended", "waiting"}:
            open_runs.discard(run_id)
        most = max(most, len(open_runs))

    run(started(make_runner(concurrency=2, observe=observe), *map(document, range(6))))

    assert most == 2


def test_runs_come_back_in_the_order_of_their_inputs(make_runner) -> None:
    """Whatever finishes first, `start` returns runs as the inputs were given."""
    runs = run(started(make_runner(), *map(document, range(12))))

    assert [item.input_id for item in runs] == [f"doc-{number}" for number in range(12)]


def test_a_concurrency_below_one_is_refused(make_runner) -> None:
    """Zero workers would wait for ever; the message says what is allowed."""
    with pytest.raises(UsageError, match="at least 1"):
        make_runner(concurrency=0)
