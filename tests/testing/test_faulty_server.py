"""Faults laid over the OpenAI-protocol server, seen by the real client and on the bare socket."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from itertools import repeat
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
import openai
import pytest
from langchain_core.exceptions import ModelConnectionError, ModelRateLimitError, ModelTimeoutError
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from stanchion.testing import (
    FAULTS,
    FakeClock,
    FaultPlan,
    OpenAIServer,
    Reply,
    Usage,
    burst,
    outage,
    slow_first_token,
)

GOOD = '{"number": "A-17", "total": 40}'
HALF = GOOD[: len(GOOD) // 2]
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
CONTENT = json.dumps(BODY).encode()
RAW = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
PATIENCE = 0.3  # seconds until a client gives up on a server that will never answer


def faulty(name: str, answers: Any = None, **options: Any) -> OpenAIServer:
    return OpenAIServer(answers or repeat(GOOD), faults=FaultPlan("test", FAULTS[name]), **options)


def chat(server: OpenAIServer, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=server.url, api_key="test", model="gpt-4o-mini", max_retries=0, **options)


def ask(server: OpenAIServer, is_async: bool, **options: Any) -> AIMessage:
    model = chat(server, **options)
    return asyncio.run(model.ainvoke("a")) if is_async else model.invoke("a")


either = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@either
@pytest.mark.parametrize("name", ["hang", "stalled_stream"])
def test_a_client_runs_out_of_patience_with_a_silent_server(name: str, is_async: bool) -> None:
    """Neither nothing nor half a body is an answer, however long one waits; the request is counted."""
    with faulty(name) as server:
        with pytest.raises(ModelTimeoutError):
            ask(server, is_async, timeout=PATIENCE)
        assert (server.count, server.faults) == (1, {name: 1})


@either
@pytest.mark.parametrize("name", ["connection_reset", "broken_stream"])
def test_a_broken_connection_is_a_connection_error(name: str, is_async: bool) -> None:
    """A client sees at once that no answer comes, and the next request finds the server as before."""
    plan = FaultPlan("once", FAULTS[name], burst(every=2, length=1))
    with OpenAIServer(repeat(GOOD), faults=plan) as server:
        with pytest.raises(ModelConnectionError):
            ask(server, is_async)
        assert ask(server, is_async).text == GOOD


def test_a_reset_is_a_reset_on_the_socket() -> None:
    """The kernel reports RST, not a polite end, and not one byte comes."""
    with faulty("connection_reset") as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)) as client:
            client.sendall(RAW)
            with pytest.raises(ConnectionResetError):
                client.recv(1)


@pytest.mark.parametrize(
    ("name", "error"), [("stalled_stream", httpx.ReadTimeout), ("broken_stream", httpx.RemoteProtocolError)]
)
def test_half_a_stream_of_events_comes_and_then_what_the_fault_says(name: str, error: type[Exception]) -> None:
    """The first events arrive whole; then there is silence, or the end without `[DONE]`."""
    events: list[str] = []
    with faulty(name) as server, httpx.Client(base_url=server.url, timeout=PATIENCE) as client:  # noqa: SIM117
        with client.stream("POST", "/chat/completions", json={**BODY, "stream": True}) as response:
            with pytest.raises(error):
                events.extend(line for line in response.iter_lines() if line)
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert said
    assert GOOD.startswith(said)
    assert said != GOOD


@either
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("truncated", HALF, "length"),
        ("content_filter", HALF, "content_filter"),
        ("malformed", "{'number' = 'A-17', 'total' = 40}}", "stop"),
        ("wrong_but_valid", '{"number": "A-18", "total": 41}', "stop"),
        ("empty", "", "stop"),
    ],
)
def test_a_spoilt_answer_arrives_as_an_answer(name: str, text: str, reason: str, is_async: bool) -> None:
    """Status 200, a finish reason and usage: only who reads it can tell."""
    with faulty(name) as server:
        said = ask(server, is_async)
    assert (said.text, said.response_metadata["finish_reason"]) == (text, reason)
    assert said.usage_metadata["input_tokens"] > 0


def test_a_wrong_answer_follows_the_schema_of_its_request() -> None:
    """The bounds and choices that the client sent with the request hold."""
    fields = {"kind": {"enum": ["bill", "letter"]}, "count": {"type": "integer", "minimum": 0, "maximum": 1}}
    schema = {"title": "T", "type": "object", "properties": fields, "required": [*fields]}
    schema["additionalProperties"] = False
    with faulty("wrong_but_valid", ['{"kind": "bill", "count": 1}']) as server:
        assert chat(server).with_structured_output(schema).invoke("a") == {"kind": "letter", "count": 0}


def test_a_page_of_html_and_a_retry_after_arrive_as_sent() -> None:
    """What stands before a provider answers in HTML; a busy provider says in two headers when to come back."""
    with faulty("html_error_page") as server, pytest.raises(openai.InternalServerError) as page:
        ask(server, False)
    assert page.value.response.headers["content-type"] == "text/html"
    assert page.value.response.text.startswith("<html>")
    with faulty("rate_limited_retry_after") as server, pytest.raises(ModelRateLimitError) as busy:
        ask(server, False)
    headers: Any = busy.value.response.headers  # type: ignore[attr-defined]
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "2000")


def test_a_slow_answer_is_late_and_right() -> None:
    """Too late for a client with less patience, in time for one with more."""
    plan = FaultPlan("slow", slow_first_token(PATIENCE * 2))
    with OpenAIServer([GOOD, GOOD], faults=plan) as server:
        with pytest.raises(ModelTimeoutError):
            ask(server, False, timeout=PATIENCE)
        assert ask(server, False).text == GOOD


def test_what_comes_instead_of_an_answer_leaves_the_script_alone() -> None:
    """Replies in order wait for the requests that are answered, before, between and after an outage."""
    clock = FakeClock()
    plan = FaultPlan("down", FAULTS["overloaded"], outage(from_=5, to=20))
    with OpenAIServer(["one", "two"], faults=plan, clock=clock) as server:
        assert chat(server).invoke("a").text == "one"
        clock.advance(5)
        for _ in range(3):
            with pytest.raises(openai.InternalServerError):
                chat(server).invoke("a")
        clock.advance(15)
        assert chat(server).invoke("a").text == "two"
        assert (server.count, server.faults) == (5, {"overloaded": 3})


def test_the_server_counts_tokens_as_a_provider_bills_them() -> None:
    """What a client is told adds up; who goes away pays too, who is refused or never answered does not."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    answers = [
        Reply("yes", usage=usage),
        Reply("cut", usage=usage, cut=True),
        Reply(status=500, usage=usage),
        Reply(reset=True, usage=usage),
        Reply("nobody waits for this", usage=usage, delay=3600),
    ]
    with OpenAIServer(answers) as server:
        said = ask(server, False).usage_metadata
        assert server.usage == Usage(said["input_tokens"], said["output_tokens"]) == Usage(100, 10)
        for _ in range(3):
            with pytest.raises(openai.APIError):
                ask(server, False)
        assert server.usage == Usage(200, 20)
        with pytest.raises(openai.APITimeoutError):
            ask(server, False, timeout=PATIENCE)
        assert server.usage == Usage(300, 30)


def test_streamed_answers_are_billed_alike() -> None:
    """The usage at the end of a stream is what the server counts."""
    with OpenAIServer([GOOD]) as server:
        chunks = list(chat(server, stream_usage=True).stream("a"))
        told = sum((chunk.usage_metadata["input_tokens"] for chunk in chunks if chunk.usage_metadata), 0)
        assert server.usage == Usage(told, len(GOOD) // 4)


def test_four_hundred_clients_are_held_by_one_thread() -> None:
    """Connections cost no thread: all are answered together when they are let go."""

    async def one(address: SplitResult) -> bytes:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(RAW)
        said = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return said[:15]

    async def story(server: OpenAIServer) -> list[bytes]:
        calls = [asyncio.create_task(one(urlsplit(server.url))) for _ in range(400)]
        assert await asyncio.to_thread(server.wait_for, 400, 60)
        assert threading.active_count() < before + 40  # a tenth of the connections, whatever else runs
        server.release()
        return await asyncio.gather(*calls)

    before = threading.active_count()
    with OpenAIServer(repeat(GOOD)) as server:
        server.hold()
        assert asyncio.run(story(server)) == [b"HTTP/1.1 200 OK"] * 400


def test_a_function_that_blocks_keeps_nobody_waiting() -> None:
    """Scripts that are functions run beside each other: two that wait for one another both answer."""
    meeting = threading.Barrier(2, timeout=10)

    def answer(_: dict[str, Any]) -> str:
        meeting.wait()
        return "met"

    async def both(server: OpenAIServer) -> list[str]:
        said = await asyncio.gather(*(chat(server).ainvoke("a") for _ in range(2)))
        return [message.text for message in said]

    with OpenAIServer(answer) as server:
        assert asyncio.run(both(server)) == ["met", "met"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\0" * 200_000,
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_hung_up_on(sent: bytes) -> None:
    """Garbage ends its own connection and nobody else's."""
    with OpenAIServer([GOOD]) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                client.sendall(sent)
                assert client.recv(1) == b""
            except ConnectionError:
                pass
        assert ask(server, False).text == GOOD


def test_a_deeply_nested_body_is_a_bad_request() -> None:
    """A hundred thousand brackets are refused like any other JSON that cannot be read."""
    with OpenAIServer([]) as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/chat/completions", content=b"[" * 100_000).status_code == 400
