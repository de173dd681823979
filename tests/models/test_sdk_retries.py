"""SDK retries off: a request is sent once, the caller's own model stays as it was, and what cannot be done is said."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from pydantic import Field, PrivateAttr

from stanchion.errors import UsageError
from stanchion.models.sdk_retries import without_retries
from stanchion.testing import OpenAIServer, Reply, ScriptedModel
from tests.models.anthropic_server import AnthropicServer

NOW = {"retry-after-ms": "1"}  # SDKs wait half a second otherwise
BUSY = Reply(status=503, body={"error": {"message": "Overloaded"}}, headers=NOW)


def openai_chat(server: OpenAIServer, **options: Any) -> ChatOpenAI:
    """A ChatOpenAI as callers make it, with retries."""
    return ChatOpenAI(base_url=server.url, api_key="sk-test", model="gpt-4o-mini", max_retries=5, **options)


def fails(chat: BaseChatModel, how: str) -> None:
    """Ask a model that is going to fail, in one of the ways that there are."""

    async def stream() -> None:
        async for _ in chat.astream("Hello"):
            pass

    schema = {"title": "Note", "type": "object", "properties": {}, "required": []}
    ways = {
        "invoke": lambda: chat.invoke("Hello"),
        "ainvoke": lambda: asyncio.run(chat.ainvoke("Hello")),
        "astream": lambda: asyncio.run(stream()),
        "schema": lambda: asyncio.run(chat.with_structured_output(schema).ainvoke("Hello")),
    }
    with pytest.raises(Exception, match=r"Overloaded|busy"):
        ways[how]()


class Plain(BaseChatModel):
    """A chat model of somebody else; subclasses add what is looked at."""

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hello"))])


# --- Requests on the wire ---


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "astream", "schema"])
def test_chat_openai_sends_one_request(how: str) -> None:
    """ChatOpenAI(max_retries=5) on a failing server sends six requests, and one when its retries are off."""
    with OpenAIServer(lambda _: BUSY) as server:
        chat = openai_chat(server)
        quiet, problem = without_retries(chat)
        fails(quiet, how)
        assert (server.count, problem) == (1, "")
        fails(chat, how)
        assert server.count == 1 + 6


def test_the_responses_api_sends_one_request() -> None:
    """OpenAI's other API goes through the root client, which is quiet too."""
    with AnthropicServer({"error": {"message": "Overloaded"}}, 503, NOW) as server:
        chat = ChatOpenAI(base_url=server.url, api_key="sk", model="gpt-4o", max_retries=5, use_responses_api=True)
        fails(without_retries(chat).chat, "ainvoke")
        assert server.count == 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_azure_sends_one_request(how: str) -> None:
    """AzureChatOpenAI likewise; its deployment, version and key are kept."""
    with AnthropicServer({"error": {"message": "Overloaded"}}, 503, NOW) as server:
        chat = AzureChatOpenAI(
            azure_endpoint=server.url, azure_deployment="d", api_version="2024-06-01", api_key="az-test", max_retries=5
        )
        quiet, problem = without_retries(chat)
        fails(quiet, how)
        assert (server.count, problem, server.seen[0]["api-key"]) == (1, "", "az-test")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("used_before", ["", "invoke", "ainvoke"])
def test_chat_anthropic_sends_one_request(how: str, used_before: str) -> None:
    """ChatAnthropic makes its clients when first asked and keeps them: both before and after, one request is sent."""
    anthropic = pytest.importorskip("langchain_anthropic", reason="the extra `anthropic` is not installed")
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with AnthropicServer(error, 529, NOW) as server:
        chat = anthropic.ChatAnthropic(model="claude-test", api_key="sk-ant", base_url=server.url, max_retries=3)
        if used_before:
            fails(chat, used_before)
            assert server.count == 4
        before = server.count
        quiet, problem = without_retries(chat)
        fails(quiet, how)
        assert (server.count - before, problem) == (1, "")
        assert "sk-ant" in (server.seen[-1].get("x-api-key"), server.seen[-1].get("authorization", "")[-6:])
        fails(chat, how)
        assert server.count - before == 1 + 4


def test_ollama_has_no_retries() -> None:
    """ChatOllama sends a request once as it is, so it is returned as it is."""
    ollama = pytest.importorskip("langchain_ollama", reason="the extra `ollama` is not installed")
    chat = ollama.ChatOllama(model="llama3.2")

    assert without_retries(chat) == (chat, "")
    assert without_retries(chat).chat is chat


# --- What is kept ---


def test_the_callers_model_stays_as_it_is() -> None:
    """Settings and clients of the instance that was given are the same objects as before."""
    chat = ChatOpenAI(model="gpt-4o-mini", api_key="sk-test", max_retries=5)
    before = dict(chat.__dict__)
    without_retries(chat)

    assert chat.__dict__.keys() == before.keys()
    assert all(chat.__dict__[name] is value for name, value in before.items())
    assert (chat.max_retries, chat.root_client.max_retries, chat.root_async_client.max_retries) == (5, 5, 5)


def test_settings_and_connections_are_kept() -> None:
    """Address, key, headers, timeout, callbacks and the HTTP client are those of the instance that was given."""
    import httpx

    http = httpx.Client(headers={"x-mine": "yes"})
    with OpenAIServer(["Hello"]) as server:
        chat = openai_chat(
            server,
            http_client=http,
            timeout=7.0,
            default_headers={"x-team": "a"},
            temperature=0.5,
            seed=3,
            callbacks=[],
            tags=["kept"],
        )
        quiet: Any = without_retries(chat).chat
        answer = quiet.invoke("Hi").text
        request = server.requests[0]

    assert answer == "Hello"
    assert (request.headers["x-mine"], request.headers["x-team"]) == ("yes", "a")
    assert (request.body["temperature"], request.body["seed"]) == (0.5, 3)
    assert (quiet.root_client._client, quiet.root_client.timeout, quiet.root_client.api_key) == (http, 7.0, "sk-test")
    assert quiet.root_async_client._client is chat.root_async_client._client
    assert (quiet.client._client, quiet.async_client._client) == (quiet.root_client, quiet.root_async_client)
    assert (quiet.callbacks, quiet.tags, quiet.max_retries) == ([], ["kept"], 0)
    http.close()


def test_retries_left_to_the_sdk_are_off_too() -> None:
    """ChatOpenAI without `max_retries` leaves it to the SDK, which retries twice."""
    chat = ChatOpenAI(model="gpt-4o-mini", api_key="sk-test")
    quiet: Any = without_retries(chat).chat

    assert chat.root_client.max_retries == 2
    assert (quiet.max_retries, quiet.root_client.max_retries, quiet.client._client.max_retries) == (0, 0, 0)


def test_a_model_that_is_quiet_is_returned_itself() -> None:
    """Nothing is copied where nothing is to change: ScriptedModel, and ChatOpenAI(max_retries=0)."""
    for chat in (ScriptedModel(["Hello"]), ChatOpenAI(model="m", api_key="sk-test", max_retries=0)):
        assert without_retries(chat).chat is chat
        assert without_retries(chat).problem == ""


def test_a_field_of_retries_is_set_and_private_state_kept() -> None:
    """Any model with `max_retries` gets it set to 0 in a copy; what it holds in private is carried over."""

    class Counting(Plain):
        max_retries: int = 6
        _token: object = PrivateAttr(default_factory=object)

    chat = Counting()
    quiet: Any = without_retries(chat).chat

    assert (chat.max_retries, quiet.max_retries, quiet._token) == (6, 0, chat._token)


def test_a_model_within_a_model_is_quiet_too() -> None:
    """A chat model that passes questions on to another holds no retries there either."""

    class Router(Plain):
        inner: BaseChatModel

    inner = ChatOpenAI(model="m", api_key="sk-test", max_retries=5)
    quiet: Any = without_retries(Router(inner=inner)).chat

    assert (inner.max_retries, quiet.inner.max_retries, quiet.inner.root_client.max_retries) == (5, 0, 0)


# --- What cannot be done ---


class _Stubborn:
    max_retries = 2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("retry_policy", {"times": 3}, "set its retry_policy so that it does not retry"),
        ("num_retries", 4, "set its num_retries so that it does not retry"),
        ("client", _Stubborn(), "make its client with max_retries=0"),
        ("part", SimpleNamespace(_client=_Stubborn()), "make its part with max_retries=0"),
        (
            "client",
            SimpleNamespace(meta=SimpleNamespace(config=SimpleNamespace(retries=None))),
            "make its client with botocore's Config",
        ),
        ("inner", ScriptedModel([]).with_retry(), r"make its inner without with_retry\(\)"),
    ],
)
def test_what_cannot_be_turned_off_is_said(name: str, value: Any, words: str) -> None:
    """Retries of an unknown make are named in one sentence: which class, and what to set."""
    model = type("Foreign", (Plain,), {"__annotations__": {name: Any}, name: Field(default=None)})

    problem = without_retries(model(**{name: value})).problem

    assert problem.startswith("Foreign may send a request more than once by itself: ")
    assert problem.endswith(".")
    assert re.search(words, problem)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_policy", None),
        ("num_retries", 0),
        ("retriever", "library"),
        (
            "client",
            SimpleNamespace(meta=SimpleNamespace(config=SimpleNamespace(retries={"total_max_attempts": 1}))),
        ),
    ],
)
def test_no_retries_are_no_problem(name: str, value: Any) -> None:
    """Settings that say no retries, and names that only sound like it, are left alone."""
    model = type("Foreign", (Plain,), {"__annotations__": {name: Any}, name: Field(default=None)})

    assert without_retries(model(**{name: value})).problem == ""


@pytest.mark.parametrize(
    ("wrapped", "words"),
    [
        (lambda chat: chat.with_retry(), r"without with_retry\(\): retries are made by Stanchion"),
        (lambda chat: chat.with_fallbacks([chat]), r"without with_fallbacks\(\): fallbacks are Stanchion's"),
        (lambda chat: chat.bind(stop=["x"]), r"without bind\(\).*the model's own arguments"),
        (lambda chat: chat.with_config(tags=["x"]), r"without bind\(\).*with_config\(\)"),
        (lambda chat: chat | (lambda message: message), "not as RunnableSequence"),
        (lambda _: 5, "not as int"),
    ],
)
def test_wrapped_models_are_refused(wrapped: Any, words: str) -> None:
    """Retries and fallbacks around a model would multiply the door's own, so only the bare model is taken."""
    with pytest.raises(UsageError, match=words):
        without_retries(wrapped(ScriptedModel([])))
