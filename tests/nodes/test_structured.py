"""`structured` and `repair` in anybody's own graph: whatever a model answers, there is a verdict and no error."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, ConfigDict

from stanchion import Prompt, RunContext
from stanchion.errors import ModelRefused
from stanchion.guards import Grounded, Plausible, guarded
from stanchion.models.door import Door
from stanchion.models.providers import Model
from stanchion.nodes import WorkflowState, decide, repair, structured
from stanchion.testing import OpenAIServer, ScriptedModel
from stanchion.verdict import Source

PROMPT = Prompt(id="notes", version="1", system="Follow $schema", user="$text", repair="Wrong:\n$failures")
TEXT = "Acme, to pay 12 euro"
GOOD = '{"name": "Acme", "total": 12}'


class Note(BaseModel):
    """What is read."""

    model_config = ConfigDict(extra="forbid")

    name: str
    total: Annotated[int, guarded(Plausible(minimum=0, maximum=100))]


def graph_of(*nodes: Any, checkpointer: Any = None, context_schema: Any = RunContext) -> Any:
    """Somebody's own graph: these nodes one after the other, with nothing of our runner."""
    builder = StateGraph(WorkflowState, context_schema=context_schema)
    names = [f"step {number}" for number, _ in enumerate(nodes)]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=checkpointer)


def context(model: Any) -> RunContext:
    """A context with a chat model and no journal."""
    return RunContext(door=Door(Model("scripted", model)))


def given_text(text: str = TEXT) -> WorkflowState:
    """The state after intake."""
    return {"source": Source(text=text)}


def answered(*answers: Any, nodes: tuple[Any, ...] | None = None, output: Any = Note) -> dict[str, Any]:
    """The state after a model gave these answers, to `structured` first and then to `repair`s."""
    nodes = nodes or (structured(PROMPT, output), *[repair(PROMPT, output) for _ in answers[1:]])
    return graph_of(*nodes).invoke(given_text(), context=context(ScriptedModel(answers)))


# --- In a graph of one's own  ---


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_it_runs_in_a_plain_graph(way: str) -> None:
    """Synchronously and asynchronously the same comes out, without runner, store or checkpointer."""
    graph, model = graph_of(structured(PROMPT, Note)), ScriptedModel([GOOD])
    if way == "invoke":
        state = graph.invoke(given_text(), context=context(model))
    else:
        state = asyncio.run(graph.ainvoke(given_text(), context=context(model)))

    assert state["verdict"].decision == "accept"
    assert state["candidates"]["model"].output == {"name": "Acme", "total": 12}
    assert [message.type for message in state["conversation"]] == ["system", "human", "ai"]


def test_it_runs_inside_a_running_loop_too() -> None:
    """A notebook, whose loop is running, may call `invoke`."""

    async def notebook() -> Any:
        return graph_of(structured(PROMPT, Note)).invoke(given_text(), context=context(ScriptedModel([GOOD])))

    assert asyncio.run(notebook())["verdict"].decision == "accept"


@pytest.mark.parametrize("given_context", [None, {"model": "none"}, RunContext(model="none")])
def test_without_a_model_it_falls_back(given_context: Any) -> None:
    """No context, or `none` as a dictionary or object, is a workflow without a model: it goes on."""
    state = graph_of(structured(PROMPT, Note)).invoke(given_text(), context=given_context)

    assert (state["verdict"].decision, state["verdict"].reason) == ("fall_back", "No model is configured.")
    assert state["candidates"] == {}


def test_a_model_may_be_named_by_its_string(monkeypatch) -> None:
    """In a plain graph the context's string stands for the model; each `invoke` finds a usable connection."""
    graph = graph_of(structured(PROMPT, Note))
    with OpenAIServer([GOOD] * 3) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        port = server.url.split(":")[-1].removesuffix("/v1")  # in the name, since a context keeps a door for each name
        states = [graph.invoke(given_text(), context={"model": f"openai:gpt-4o-mini-{port}"}) for _ in range(3)]

    assert [state["verdict"].decision for state in states] == ["accept"] * 3


def test_what_it_writes_survives_a_checkpoint() -> None:
    """Candidates, conversation and verdict come back from LangGraph's own saver as they were."""
    graph = graph_of(structured(PROMPT, Note), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    written = graph.invoke(given_text(), config, context=context(ScriptedModel([GOOD])))
    kept = graph.get_state(config).values

    assert kept["candidates"] == written["candidates"]
    assert kept["verdict"] == written["verdict"]


def test_the_prompt_has_the_text_and_the_schema() -> None:
    """The model reads the document, and the JSON schema without a trace of guards."""
    model = ScriptedModel([GOOD])
    graph_of(structured(PROMPT, Note)).invoke(given_text("$schema"), context=context(model))
    system, user = model.history[0]

    assert set(json.loads(system.text.removeprefix("Follow "))["properties"]) == {"name", "total"}
    assert "plausible" not in system.text
    assert user.text == "$schema"


# --- What is right and what is wrong  ---


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("no JSON", "The answer holds no JSON object or array."),
        ("", "The answer holds no JSON object or array."),
        ("[" * 100_000, "The answer holds no JSON object or array."),
        ('{"name": "Acme"}', "total: Field required"),
        ('{"name": "Acme", "total": "many"}', "total: "),
        ('{"name": "Acme", "total": 1000}', "total: "),
        ('{"name": "Acme", "total": 12, "more": 1}', "more: Extra inputs are not permitted"),
        ('{"name": "Acme", "total": 12, "total": 13}', "The answer gives one key two different values."),
        ("[]", "Input should be a valid dictionary"),
    ],
)
def test_a_wrong_answer_asks_for_repair(answer: str, reason: str) -> None:
    """Whatever is wrong with an answer, the verdict says it in words, and the raw answer is kept."""
    state = answered(answer)

    assert state["verdict"].decision == "repair"
    assert reason in state["verdict"].reason
    assert state["verdict"].failures
    assert state["conversation"][-1].text == answer


def test_all_failures_are_told_at_once() -> None:
    """Types and guards of one answer are reported together, with their paths."""
    state = answered('{"total": 1000, "more": 1}')

    assert {failure.path for failure in state["verdict"].failures} >= {"name", "total", "more"}


def test_a_guards_no_keeps_the_candidate() -> None:
    """A value that a guard said no to is still what the model said, for whoever decides in the end."""
    state = answered('{"name": "Acme", "total": 1000}')

    assert state["candidates"]["model"].output == {"name": "Acme", "total": 1000}


def test_guards_see_the_source_and_the_day() -> None:
    """A value that does not stand in the document fails its guard."""

    class Careful(BaseModel):
        name: Annotated[str, guarded(Grounded())]

    assert answered('{"name": "Acme"}', output=Careful)["verdict"].decision == "accept"
    assert answered('{"name": "Zeta"}', output=Careful)["verdict"].decision == "repair"


@pytest.mark.parametrize(
    "metadata",
    [
        {"finish_reason": "length"},  # OpenAI
        {"finish_reason": "MAX_TOKENS"},  # Google
        {"finish_reason": None, "stop_reason": "max_tokens"},  # Anthropic
        {"finish_reason": None, "done_reason": "length"},  # Ollama
        {"finish_reason": None, "incomplete_details": {"reason": "max_output_tokens"}},  # OpenAI's Responses API
    ],
)
def test_a_cut_off_answer_is_never_taken_for_whole(metadata: dict[str, Any]) -> None:
    """Even where what came is a whole object, an answer that hit its limit is asked for again."""
    state = answered(AIMessage(GOOD, response_metadata=metadata))

    assert state["verdict"].decision == "repair"
    assert state["verdict"].reason == "The answer was cut off before its end."


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("", additional_kwargs={"refusal": "I can't."}),
        AIMessage([{"type": "refusal", "refusal": "I can't."}]),
        AIMessage("", response_metadata={"finish_reason": "content_filter"}),
        AIMessage("", response_metadata={"finish_reason": "SAFETY"}),
        AIMessage("", response_metadata={"finish_reason": None, "stop_reason": "refusal"}),
        ModelRefused("The model declined."),
    ],
)
def test_a_refusal_goes_to_a_person(message: Any) -> None:
    """In whatever words a provider says it, declining on grounds of content asks for a review."""
    state = answered(message)

    assert state["verdict"].decision == "review"
    assert state["verdict"].reason
    assert state["candidates"] == {}


@pytest.mark.parametrize("digits", ["9" * 30, '"' + "9" * 30 + '"'])
def test_numbers_beyond_64_bits_are_repaired_and_not_stored(digits: str) -> None:
    """Pydantic takes them and msgpack does not: they fail as answers, not as runs."""

    class Big(BaseModel):
        total: int

    graph = graph_of(structured(PROMPT, Big), checkpointer=InMemorySaver())
    state = graph.invoke(
        given_text(), {"configurable": {"thread_id": "1"}}, context=context(ScriptedModel([f'{{"total": {digits}}}']))
    )

    assert state["verdict"].decision == "repair"
    assert "64 bits" in state["verdict"].reason


@settings(max_examples=60)
@given(
    st.text(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "total", "x"]), inner),
        max_leaves=8,
    ).map(json.dumps)
)
def test_whatever_is_answered_there_is_a_verdict(answer: str) -> None:
    """No text that a model sends raises, or is accepted without being what was asked for."""
    state = answered(answer)

    assert state["verdict"].decision in {"accept", "repair"}
    if state["verdict"].decision == "accept":
        assert Note.model_validate(state["candidates"]["model"].output)


# --- What a model claims  ---


@pytest.mark.parametrize(("claim", "kept"), [("0.25", 0.25), ("1", 1.0), ("7", None), ("true", None), ('"high"', None)])
def test_a_claimed_confidence_is_kept_as_a_claim(claim: str, kept: float | None) -> None:
    """A `confidence` that nobody asked for is no failure, and is never the verdict's own."""
    state = answered(f'{{"name": "Acme", "total": 12, "confidence": {claim}}}')

    assert state["candidates"]["model"].claimed == kept
    assert state["candidates"]["model"].output == {"name": "Acme", "total": 12}
    assert (state["verdict"].decision, state["verdict"].confidence) == ("accept", None)


def test_a_claim_changes_no_decision() -> None:
    """Whether a model claims 0 or 1, what is decided, and how surely, is the same."""
    verdicts = [
        answered(
            f'{{"name": "Acme", "total": 12, "confidence": {claim}}}',
            nodes=(structured(PROMPT, Note), decide(Note, critical=("total",), accept_at=0.5)),
        )["verdict"]
        for claim in (0, 1)
    ]

    assert verdicts[0] == verdicts[1]


def test_a_confidence_that_was_asked_for_is_a_field() -> None:
    """Where the type has a `confidence` of its own, it is a value like any other."""

    class Sure(BaseModel):
        confidence: float

    candidate = answered('{"confidence": 0.5}', output=Sure)["candidates"]["model"]

    assert (candidate.output, candidate.claimed) == ({"confidence": 0.5}, None)


# --- Asking again  ---


def conversation_of(*answers: Any) -> list[BaseMessage]:
    """What the model was sent when it was asked for a repair."""
    model = ScriptedModel([*answers, GOOD])
    graph_of(structured(PROMPT, Note), repair(PROMPT, Note)).invoke(given_text(), context=context(model))
    return model.history[-1]


def test_a_repair_keeps_the_conversation() -> None:
    """The model sees its own answer and every failure, and its better answer is the rung `repair`."""
    messages = conversation_of('{"name": "Acme", "total": "many"}')
    state = answered('{"name": "Acme", "total": "many"}', GOOD)

    assert [message.type for message in messages] == ["system", "human", "ai", "human"]
    assert messages[-1].text.startswith("Wrong:\ntotal: ")
    assert state["candidates"]["repair"].output == {"name": "Acme", "total": 12}
    assert [message.type for message in state["conversation"]] == ["system", "human", "ai", "human", "ai"]


def test_repairs_end() -> None:
    """After `at_most` repairs the way out is the fallback edge, with what was still wrong."""
    nodes = (structured(PROMPT, Note), repair(PROMPT, Note, at_most=2), repair(PROMPT, Note, at_most=2))
    once = answered("no", "no", nodes=nodes[:2])
    twice = answered("no", "no", "no", nodes=nodes)

    assert once["verdict"].decision == "repair"
    assert twice["verdict"].decision == "fall_back"
    assert twice["verdict"].reason == "Still wrong after 2 repairs. The answer holds no JSON object or array."


def test_only_so_many_failures_are_told() -> None:
    """Of 100 wrong items, 20 are repeated to the model, and how many more there are."""

    class Numbers(BaseModel):
        numbers: list[int]

    model = ScriptedModel([json.dumps({"numbers": ["x"] * 100}), "no"])
    graph_of(structured(PROMPT, Numbers), repair(PROMPT, Numbers)).invoke(given_text(), context=context(model))
    lines = model.history[1][-1].text.splitlines()

    assert (lines[1].split(":")[0], lines[-1], len(lines)) == ("numbers[0]", "... and 80 more.", 22)


@pytest.mark.parametrize(
    "calls",
    [
        {"tool_calls": [{"name": "Note", "args": {"name": "Acme"}, "id": "a"}]},
        {"invalid_tool_calls": [{"name": "Note", "args": "{", "id": "a", "error": None}]},
        {
            "tool_calls": [
                {"name": "Note", "args": {"name": "Acme", "total": 1}, "id": "a"},
                {"name": "Note", "args": {"name": "Acme", "total": 2}, "id": "b"},
            ],
            "invalid_tool_calls": [{"name": "Note", "args": "{", "id": "c", "error": None}],
        },
    ],
)
def test_every_tool_call_gets_its_tool_message(calls: dict[str, Any]) -> None:
    """Providers refuse a conversation in which a tool call is left unanswered: each gets the failures, by its id."""
    messages = conversation_of(AIMessage("", **calls))
    ids = [call["id"] for group in calls.values() for call in group]

    assert [message.type for message in messages] == ["system", "human", "ai", *["tool"] * len(ids)]
    assert [message.tool_call_id for message in messages[3:]] == ids
    assert all(message.text.startswith("Wrong:\n") for message in messages[3:])


@pytest.mark.parametrize("args", ['{"name": "Acme"}', "{"])
def test_a_repair_of_a_tool_call_is_legal_for_openai(args: str) -> None:
    """On the wire, the assistant's tool call is followed by a tool message with its id; broken arguments included."""
    wrong = AIMessage(
        "",
        tool_calls=[{"name": "Note", "args": json.loads(args), "id": "call_0"}] if args != "{" else [],
        invalid_tool_calls=[{"name": "Note", "args": args, "id": "call_0", "error": None}] if args == "{" else [],
    )
    messages = conversation_of(wrong)
    with OpenAIServer([GOOD]) as server:
        ChatOpenAI(base_url=server.url, api_key="sk-test", model="gpt-4o-mini", max_retries=0).invoke(messages)
        sent = server.requests[0].body["messages"]

    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool"]
    assert sent[2]["tool_calls"][0]["id"] == sent[3]["tool_call_id"] == "call_0"


def test_a_tool_call_is_an_answer() -> None:
    """Providers that bind a schema as a tool answer in its arguments."""
    call = {"name": "Note", "args": {"name": "Acme", "total": 12}, "id": "a"}

    for calls in ([call], [call, {**call, "id": "b"}]):
        assert answered(AIMessage("", tool_calls=calls))["verdict"].decision == "accept"


def test_tool_calls_that_differ_are_not_guessed_among() -> None:
    """Two calls with different values are refused, as two JSON objects are."""
    calls = [{"name": "Note", "args": {"name": "Acme", "total": total}, "id": str(total)} for total in (1, 2)]

    assert (
        answered(AIMessage("", tool_calls=calls))["verdict"].reason
        == "The answer holds several JSON values that differ."
    )
