"""The door: an answer is on disk before anybody sees it, is never paid for twice, and is always accounted for."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from contextvars import ContextVar
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI

from stanchion.blocking import wait_for
from stanchion.errors import ModelRefused, ModelUnavailable
from stanchion.guards.limits.policy import Policy
from stanchion.models.door import Door, Place, Request
from stanchion.models.loop import on_models_loop
from stanchion.models.messages import content_key
from stanchion.models.providers import Model, load_model
from stanchion.store import Database
from stanchion.store.calls import Journal
from stanchion.testing import OpenAIServer, Reply, ScriptedModel, bad_replies
from tests.models.conftest import PLACE, ask, question

ANSWER = '{"total": 5}'
USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}


def key_of(model: str, request: Request) -> str:
    """The hash of a question to a model."""
    return content_key(model, request.prompt, request.schema, request.messages)


def committed(db: Path) -> list[tuple[Any, ...]]:
    """What another program sees in the file."""
    with sqlite3.connect(db) as other:
        return other.execute("SELECT status, answer FROM calls ORDER BY rowid").fetchall()


# --- Before and after  ---


def test_a_call_is_on_disk_before_it_is_made(make_door, db: Path) -> None:
    """When the model is asked, the call stands in the file as started: a crash leaves a trace of money spent."""
    seen: list[Any] = []

    def answer(_: list[Any]) -> str:
        seen.extend(committed(db))
        return ANSWER

    ask(make_door(ScriptedModel([answer])))

    assert seen == [("started", None)]


def test_an_answer_is_on_disk_before_it_is_returned(make_door, db: Path) -> None:
    """The moment `ask` returns, another program reads the answer from the file."""

    async def story() -> list[tuple[Any, ...]]:
        await make_door(ScriptedModel([ANSWER])).ask(question(), PLACE)
        return committed(db)

    ((status, answer),) = asyncio.run(story())

    assert status == "answered"
    assert json.loads(answer)[0]["data"]["content"] == ANSWER


def test_what_a_call_was_and_cost_is_on_record(make_door, calls) -> None:
    """Model, prompt, messages, tokens, money and times stand in one row."""
    ask(make_door(ScriptedModel([AIMessage(ANSWER, usage_metadata=USAGE)])))
    (row,) = calls()

    assert {name: row[name] for name in ("id", "run_id", "task_id", "node", "model")} == {
        "id": "call-1",
        "run_id": "run-1",
        "task_id": "task-1",
        "node": "model",
        "model": "openai:gpt-4o-mini",
    }
    assert (row["prompt"], row["prompt_version"], row["prompt_hash"]) == (
        "notes.extract",
        "2",
        question().prompt.hash,
    )
    assert [message["data"]["content"] for message in json.loads(row["request"])] == ["Answer with JSON.", "Total 5"]
    assert (row["input_tokens"], row["output_tokens"], Decimal(row["cost_usd"])) == (1000, 100, Decimal("0.00021"))
    assert (row["started_at"], row["ended_at"], row["ms"]) == ("2024-01-01T00:00:00+00:00",) * 2 + (0.0,)


def test_an_unknown_price_is_null_beside_known_tokens(make_door, calls) -> None:
    """Tokens of a model without a known price are kept; its cost is null, not zero."""
    ask(make_door(ScriptedModel([AIMessage(ANSWER, usage_metadata=USAGE)]), name="openai:gpt-none"))
    (row,) = calls()

    assert (row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (1000, 100, None)


def test_whoever_observes_is_told_in_order(make_door) -> None:
    """Start and end of a call are told when they have happened."""
    events: list[str] = []
    door = make_door(ScriptedModel([ANSWER, OSError()]), observe=events.append)
    ask(door)
    with pytest.raises(ModelUnavailable):
        ask(door, question("another"))

    assert events == ["call started", "call answered", "call started", "call failed"]


# --- Never twice  ---


def test_the_same_call_in_the_same_step_is_not_made_again(make_door, calls) -> None:
    """A step that is executed again gets the kept answer, whole, and the model is not asked."""
    first = ask(make_door(ScriptedModel([AIMessage(ANSWER, usage_metadata=USAGE)])))
    second = ask(make_door(ScriptedModel([])))

    assert (second.content, second.usage_metadata) == (first.content, USAGE)
    assert len(calls()) == 1


@pytest.mark.parametrize(
    ("other_question", "place"),
    [
        ("Total 6", PLACE),
        ("Total 5", Place("run-1", "task-2", "model")),
    ],
)
def test_another_question_or_step_is_another_call(make_door, calls, other_question: str, place: Place) -> None:
    """A changed question, or the same one in another step, is asked."""
    door = make_door(ScriptedModel(["one", "two"]))

    assert [ask(door).text, ask(door, question(other_question), place).text] == ["one", "two"]
    assert len(calls()) == 2


def test_a_failed_call_is_made_again(make_door, calls) -> None:
    """Only answers are kept: what failed is asked once more when its step is executed again."""
    door = make_door(ScriptedModel([OSError("network"), ANSWER]))
    with pytest.raises(ModelUnavailable):
        ask(door)

    assert ask(door).text == ANSWER
    assert [row["status"] for row in calls()] == ["failed", "answered"]


def test_the_key_of_a_call_ignores_random_ids() -> None:
    """The same question has the same key whatever ids its messages carry; another schema or model has another."""
    one, other = question(), question()
    one.messages[1].id, other.messages[1].id = "a", "b"

    assert key_of("m", one) == key_of("m", other)
    different = [key_of("n", one), key_of("m", one._replace(schema={})), key_of("m", question("x"))]
    assert len({key_of("m", one), *different}) == 4


def test_a_key_of_half_characters_is_a_key() -> None:
    """A document with lone surrogates does not break the hash."""
    assert len(key_of("m", question("\ud800"))) == 64


# --- No answer  ---


def test_without_a_model_nothing_is_asked_or_recorded(calls, database) -> None:
    """`none` is unavailable at once and leaves no row."""
    with pytest.raises(ModelUnavailable, match="No model is configured"):
        ask(Door(load_model("none"), Journal(database)))
    assert calls() == []


def test_without_a_journal_a_door_only_asks() -> None:
    """In a graph run without our runner, each call is made."""
    door = Door(Model("scripted", ScriptedModel(["one", "two"])))

    assert [ask(door).text, ask(door).text] == ["one", "two"]


def test_an_error_is_told_without_its_text(make_door, calls) -> None:
    """An SDK's message may repeat the document or a key: only the kind of error is told and kept."""
    with pytest.raises(ModelUnavailable, match=r"^The model failed: KeyError\.$") as raised:
        ask(make_door(ScriptedModel([KeyError("sk-secret Total 5")])))
    (row,) = calls()

    assert raised.value.cost_unknown
    assert (row["status"], row["error"]) == ("failed", "The model failed: KeyError.")


def test_our_own_errors_pass_as_they_are(make_door, calls) -> None:
    """A model that knows our errors says itself what happened."""
    with pytest.raises(ModelRefused, match="Not this one"):
        ask(make_door(ScriptedModel([ModelRefused("Not this one.")])))
    assert calls()[0]["error"] == "Not this one."


def test_a_model_that_never_answers_is_given_up(make_door, calls) -> None:
    """A client that ignores its own timeout is left after the attempt's, with what it cost unknown."""
    policy = Policy(time={"attempt": "10ms"}, retry={"attempts": 1})
    with OpenAIServer([ANSWER]) as server:
        server.hold()
        chat = ChatOpenAI(base_url=server.url, api_key="sk-test", model="gpt-4o-mini", max_retries=0)
        with pytest.raises(ModelUnavailable, match="did not answer in time") as raised:
            ask(make_door(chat, policy=policy))

    assert raised.value.cost_unknown
    assert calls()[0]["status"] == "failed"


# --- What no store can hold  ---


def test_half_characters_and_huge_numbers_are_replaced(make_door, calls) -> None:
    """JSON can smuggle them in; neither msgpack nor SQLite holds them, and the rest of the answer stays as it is."""
    call = {"name": "Note", "args": {"total": 10**30, "company": "A\ud800"}, "id": "call_1"}
    message = ask(make_door(ScriptedModel([AIMessage("caf\u00e9 \udfff", tool_calls=[call], usage_metadata=USAGE)])))

    assert message.content == "café \ufffd"
    assert message.tool_calls[0]["args"] == {"total": "1" + "0" * 30, "company": "A\ufffd"}
    assert message.usage_metadata == USAGE
    assert json.loads(calls()[0]["answer"])[0]["data"]["content"] == "café \ufffd"


# --- Through the real OpenAI client  ---


@pytest.fixture
def openai(monkeypatch, make_door):
    """Ask the model that a server stands behind, by its usual string and the environment."""

    def asked(server: OpenAIServer, text: str = "Total 5") -> AIMessage:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        return ask(make_door(load_model("openai:gpt-4o-mini")), question(text))

    return asked


def test_a_failing_provider_is_asked_exactly_once(openai) -> None:
    """The SDK's retries are off: a 500 reaches the server once, and not three times."""
    with OpenAIServer([Reply(status=500)] * 3) as server:
        with pytest.raises(ModelUnavailable):
            openai(server)
        assert server.count == 1


def test_the_request_carries_the_schema_as_it_is(openai) -> None:
    """What arrives at the provider is our JSON schema under its title, and the messages."""
    with OpenAIServer([ANSWER]) as server:
        openai(server)
        body = server.requests[0].body

    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["name"] == "Note"
    sent = body["response_format"]["json_schema"]["schema"]
    assert (sent["properties"], sent["required"]) == (question().schema["properties"], ["total"])
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(("name", "reason"), [("truncated", "length"), ("content_filter", "content_filter")])
def test_answers_that_the_sdk_raises_are_kept(openai, calls, name: str, reason: str) -> None:
    """Cut-off and filtered answers were paid for: text, reason, tokens and money are taken out of the SDK's error."""
    reply = bad_replies({"total": 5, "company": "Acme"})[name]
    with OpenAIServer([reply]) as server:
        message = openai(server)
    (row,) = calls()

    assert message.text == reply.text
    assert message.response_metadata["finish_reason"] == reason
    assert row["status"] == "answered"
    assert row["input_tokens"] > 0
    assert Decimal(row["cost_usd"]) > 0


def test_a_refusal_keeps_its_field(openai) -> None:
    """What the model said instead of an answer is not lost."""
    with OpenAIServer([Reply(refusal="I can't.")]) as server:
        assert openai(server).additional_kwargs["refusal"] == "I can't."


@pytest.mark.parametrize(
    ("name", "words", "cost_unknown"),
    [
        ("rate_limited", r"is busy or the quota is used up \(HTTP 429, rate_limit_exceeded\)", False),
        ("out_of_quota", r"is busy or the quota is used up \(HTTP 429, insufficient_quota\)", False),
        ("context_length", r"refused the request \(HTTP 400, context_length_exceeded\)", False),
        ("invalid_key", r"refused the key \(HTTP 401, invalid_api_key\)", False),
        ("no_such_model", r"knows no such model \(HTTP 404, model_not_found\)", False),
        ("server_error", r"had an error \(HTTP 500\)", True),
        ("broken_stream", r"connection to the model failed or broke off", True),
    ],
)
def test_what_failed_is_said_in_words(openai, name: str, words: str, cost_unknown: bool) -> None:
    """A person reads what to do about it; an error of ours costs nothing, a break in the middle may have."""
    with (
        OpenAIServer([bad_replies({"total": 5})[name]]) as server,
        pytest.raises(ModelUnavailable, match=words) as raised,
    ):
        openai(server)
    assert raised.value.cost_unknown is cost_unknown


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", '"text"', "{}", '{"choices": []}', '{"choices": null}', '{"choices": [{"message": null}]}'],
)
def test_a_success_without_an_answer_is_a_failure(openai, body: str) -> None:
    """Whatever a server of another make sends with status 200, there is an error of ours or a message."""
    with OpenAIServer([Reply(body=body)]) as server, pytest.raises(ModelUnavailable):
        openai(server)


def test_a_second_loop_finds_the_first_ones_connection_usable(openai, calls) -> None:
    """Every `asyncio.run` has a loop of its own; the client they share is asked on one loop, so none of them fails."""
    with OpenAIServer([ANSWER] * 4) as server:
        answers = [openai(server, f"Total {number}").text for number in range(4)]

    assert answers == [ANSWER] * 4
    assert [row["status"] for row in calls()] == ["answered"] * 4


def test_the_callers_context_reaches_the_models_loop() -> None:
    """Tracing and streaming find their run by context variables, which cross to the loop where models are asked."""
    said: ContextVar[str] = ContextVar("said", default="nothing")
    seen: list[str] = []

    def answer(_: list[Any]) -> str:
        seen.append(said.get())
        return ANSWER

    said.set("hello")
    ask(Door(Model("scripted", ScriptedModel([answer]), is_ours=True)))

    assert seen == ["hello"]


def test_giving_up_reaches_the_models_loop() -> None:
    """A cancelled run cancels its request too: nothing goes on being paid for."""

    async def story() -> bool:
        began, ended = asyncio.Event(), asyncio.Event()
        here = asyncio.get_running_loop()

        async def request() -> None:
            here.call_soon_threadsafe(began.set)
            try:
                await asyncio.Event().wait()
            finally:
                here.call_soon_threadsafe(ended.set)

        task = asyncio.ensure_future(on_models_loop(request()))
        await began.wait()
        task.cancel()
        await asyncio.wait_for(ended.wait(), 10)
        return task.cancelled()

    assert asyncio.run(story())


def test_a_message_comes_back_from_the_journal_as_it_went_in(make_door) -> None:
    """Tool calls, broken ones too, refusals and reasons survive the record."""
    message = AIMessage(
        "",
        tool_calls=[{"name": "Note", "args": {"total": 5}, "id": "a"}],
        invalid_tool_calls=[{"name": "Note", "args": "{", "id": "b", "error": None}],
        additional_kwargs={"refusal": "no"},
        response_metadata={"finish_reason": "tool_calls"},
    )
    conversation = question()._replace(messages=[HumanMessage("x")])
    first = ask(make_door(ScriptedModel([message])), conversation)
    again = ask(make_door(ScriptedModel([])), conversation)

    assert again.model_dump() == first.model_dump()


def test_a_model_instance_answers_every_synchronous_caller() -> None:
    """Three synchronous calls in a row through one ChatOpenAI instance all answer: no connection outlives its loop."""
    with OpenAIServer(itertools.repeat(ANSWER)) as server:
        chat = ChatOpenAI(model="test", base_url=server.url, api_key="test", max_retries=0)
        door = Door(load_model(chat))
        answers = [wait_for(door.ask(question(), PLACE)).text for _ in range(3)]

    assert answers == [ANSWER] * 3


@pytest.mark.parametrize("tokens", [-5, 10**30, 1.5])
def test_an_answer_is_kept_whatever_its_usage_says(db: Path, tokens: Any) -> None:
    """Numbers that no provider should send leave the cost unknown; the answer was paid for and is kept."""
    message = AIMessage(ANSWER)
    message.usage_metadata = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": 1}
    database = Database(db)
    door = Door(load_model(ScriptedModel([message])), Journal(database))

    assert ask(door).text == ANSWER
    ((status, cost),) = sqlite3.connect(db).execute("SELECT status, cost_usd FROM calls").fetchall()
    database.close()
    assert (status, cost) == ("answered", None)
