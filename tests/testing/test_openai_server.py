"""The OpenAI-protocol server, through the real `langchain-openai` client."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_openai import ChatOpenAI
from openai import APIConnectionError, APITimeoutError, BadRequestError, InternalServerError

from stanchion.errors import UsageError
from stanchion.testing import OpenAIServer, Reply, read_log

SCHEMA = {
    "title": "Total",
    "type": "object",
    "properties": {"total": {"type": "string"}},
    "required": ["total"],
    "additionalProperties": False,
}


def chat(url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key="sk-secret", model="gpt-4o-mini", max_retries=0, **options)


def test_replies_come_in_order_sync_and_async_with_usage() -> None:
    """The real client reads text, finish reason, model and usage from the server's completions."""
    with OpenAIServer(["one", Reply("two", usage={"prompt_tokens": 7, "completion_tokens": 5})]) as server:
        first = chat(server.url).invoke("a")
        second = asyncio.run(chat(server.url).ainvoke("b"))

    assert (first.text, second.text) == ("one", "two")
    assert first.response_metadata["finish_reason"] == "stop"
    assert first.response_metadata["model_name"] == "gpt-4o-mini"
    assert second.usage_metadata["input_tokens"] == 7
    assert second.usage_metadata["output_tokens"] == 5


def test_a_stream_comes_in_pieces_and_ends_with_usage() -> None:
    """Server-sent events add up to the reply, reason and usage included."""
    text = "A reply that is longer than a single event of the stream."
    with OpenAIServer([text]) as server:
        chunks = list(chat(server.url, stream_usage=True).stream("a"))

    assert "".join(chunk.text for chunk in chunks) == text
    assert sum(bool(chunk.text) for chunk in chunks) > 2
    assert sum(chunks[1:], chunks[0]).response_metadata["finish_reason"] == "stop"
    assert [chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata] == [len(text) // 4]


def test_structured_output_with_a_dict_schema_keeps_the_raw_answer() -> None:
    """`with_structured_output(..., include_raw=True)` sends the schema and parses the reply."""
    with OpenAIServer(['{"total": "9.00"}']) as server:
        model = chat(server.url).with_structured_output(SCHEMA, method="json_schema", strict=True, include_raw=True)
        answer = model.invoke("a")
        sent = server.requests[0].body["response_format"]

    assert answer["parsed"] == {"total": "9.00"}
    assert answer["raw"].usage_metadata["output_tokens"] > 0
    assert (sent["type"], sent["json_schema"]["name"]) == ("json_schema", "Total")


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_as_the_script_says(stream: bool) -> None:
    """Tool calls arrive whole, in one piece or streamed, with their finish reason."""
    calls = [{"name": "look_up", "args": {"name": "x"}}, {"name": "look_up", "args": {"name": "y"}}]
    with OpenAIServer([Reply(tool_calls=calls)]) as server:
        said = chat(server.url, streaming=stream).invoke("a")

    assert [{"name": call["name"], "args": call["args"]} for call in said.tool_calls] == calls
    assert said.response_metadata["finish_reason"] == "tool_calls"


def test_a_tool_can_be_called_with_broken_arguments() -> None:
    """Arguments given as a text are sent as they are, JSON or not."""
    with OpenAIServer([Reply(tool_calls=[{"name": "look_up", "args": "{broken"}])]) as server:
        said = chat(server.url).invoke("a")
    assert [call["args"] for call in said.invalid_tool_calls] == ["{broken"]


def test_a_mapping_answers_by_what_the_prompt_contains() -> None:
    """A single reply is given every time, a list in order; a prompt that nothing fits gets an error."""
    with OpenAIServer({"apple": "red", "plum": ["blue", "ripe"]}) as server:
        model = chat(server.url)
        said = [model.invoke(prompt).text for prompt in ("an apple", "a plum", "the apple", "that plum")]
        assert said == ["red", "blue", "red", "ripe"]
        for prompt in ("a plum again", "a pear"):
            with pytest.raises(InternalServerError, match="the script"):
                model.invoke(prompt)


def test_a_function_answers_from_the_request() -> None:
    """A script may be a function of the request's body; what it raises reaches the client as an error 500."""
    with OpenAIServer(lambda body: Reply(body["model"].upper())) as server:
        assert chat(server.url).invoke("a").text == "GPT-4O-MINI"
    with (
        OpenAIServer(lambda body: body["no such thing"]) as server,
        pytest.raises(InternalServerError, match="KeyError"),
    ):
        chat(server.url).invoke("a")


def test_a_script_that_has_run_out_is_an_error_500_and_still_counted() -> None:
    """The end of a script is not a repetition."""
    with OpenAIServer(["only"]) as server:
        chat(server.url).invoke("a")
        with pytest.raises(InternalServerError, match="run out"):
            chat(server.url).invoke("b")
        assert server.count == 2


def test_requests_are_remembered_without_secrets() -> None:
    """Bodies and headers are kept, the key is not."""
    with OpenAIServer(["x"]) as server:
        chat(server.url).invoke([("system", "be brief"), ("user", [{"type": "text", "text": "a question"}])])
        request = server.requests[0]

    assert request.prompt == "a question"
    assert request.headers["authorization"] == "***"
    assert "sk-secret" not in repr(request)


def test_a_hundred_connections_are_held_and_released_together() -> None:
    """`wait_for` knows when all have asked, and `release` lets all go, for 100 clients at once."""

    async def ask(server: OpenAIServer) -> list[str]:
        model = chat(server.url)
        calls = [asyncio.create_task(model.ainvoke(f"question {number}")) for number in range(100)]
        assert await asyncio.to_thread(server.wait_for, 100)
        server.release()
        return [message.text for message in await asyncio.gather(*calls)]

    with OpenAIServer(repeat("yes")) as server:
        server.hold()
        assert asyncio.run(ask(server)) == ["yes"] * 100
        assert len({request.prompt for request in server.requests}) == server.count == 100


def test_a_held_reply_does_not_come() -> None:
    """A client waits for a held reply until its own patience ends; after `release`, replies come again."""
    with OpenAIServer(["held", "free"]) as server:
        server.hold()
        with pytest.raises(APITimeoutError):
            chat(server.url, timeout=0.3).invoke("a")
        server.release()
        assert chat(server.url).invoke("b").text == "free"


def test_waiting_for_requests_that_do_not_come_ends() -> None:
    """`wait_for` gives up after its time and says so."""
    with OpenAIServer([]) as server:
        assert not server.wait_for(1, timeout=0)


def test_closing_lets_held_replies_go_and_ends_open_connections() -> None:
    """Nothing hangs on a closed server, not even a connection that a client's pool still holds."""
    model = None
    with OpenAIServer([Reply("late", delay=3600), "kept alive"]) as server, ThreadPoolExecutor() as pool:
        model = chat(server.url)
        held = pool.submit(model.invoke, "a")
        assert server.wait_for(1)
        assert model.invoke("b").text == "kept alive"
        server.__exit__()
        assert held.exception(timeout=10) is None or isinstance(held.exception(), APIConnectionError)
    with pytest.raises(APIConnectionError):
        model.invoke("c")


def test_a_schema_that_openai_would_refuse_is_refused() -> None:
    """Strict mode asks for closed objects whose properties are all required, at every depth."""
    loose = {"name": "T", "strict": True, "schema": {**SCHEMA, "properties": {"total": {"properties": {"a": {}}}}}}
    missing = {"name": "T", "strict": True, "schema": {**SCHEMA, "required": []}}
    with OpenAIServer(repeat("{}")) as server:
        for schema, reason in ((loose, "additionalProperties"), (missing, "Missing 'total'")):
            with pytest.raises(BadRequestError, match=reason):
                chat(server.url).bind(response_format={"type": "json_schema", "json_schema": schema}).invoke("a")
        assert server.count == 0


def test_what_is_no_chat_request_gets_openais_errors() -> None:
    """Broken bodies, missing fields and unknown addresses are refused, and the models are listed."""
    with OpenAIServer([]) as server, httpx.Client(base_url=server.url) as client:
        broken = client.post("/chat/completions", content=b"{")
        empty = client.post("/chat/completions", json={"model": "m", "messages": []})
        unknown = [client.post("/embeddings", json={}), client.get("/files")]
        models = client.get("/models").json()

    assert [reply.status_code for reply in (broken, empty, *unknown)] == [400, 400, 404, 404]
    assert broken.json()["error"]["param"] == "messages"
    assert models["data"][0]["object"] == "model"


def test_the_log_counts_requests_per_prompt_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Each request is on disk before it is answered, and a second server appends."""
    log = tmp_path / "requests.jsonl"
    for prompt in ("a", "b", "a"):
        with OpenAIServer([lambda: None], log=log) as server:
            server._script = lambda _: str(len(read_log(log)))  # what a reader sees while it is being answered
            chat(server.url).invoke(prompt)

    assert Counter(request.prompt for request in read_log(log)) == {"a": 2, "b": 1}
    assert "sk-secret" not in log.read_text()


def test_it_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    """`python -m stanchion.testing.openai_server` prints its address, answers from a file and keeps a log."""
    answers, log = tmp_path / "answers.json", tmp_path / "requests.jsonl"
    answers.write_text(json.dumps({"apple": {"text": "red"}, "plum": ["blue", {"status": 500, "body": "no"}]}))
    command = [sys.executable, "-m", "stanchion.testing.openai_server", "--answers", answers, "--log", log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            model = chat(process.stdout.readline().strip())
            assert [model.invoke("an apple").text, model.invoke("a plum").text] == ["red", "blue"]
            with pytest.raises(InternalServerError):
                model.invoke("a plum")
        finally:
            process.terminate()
    assert [request.prompt for request in read_log(log)] == ["an apple", "a plum", "a plum"]


def test_misuse_is_told_what_to_do() -> None:
    """A single text as a script, and an address before there is one, are refused with the remedy."""
    with pytest.raises(UsageError, match="list of answers"):
        OpenAIServer("hello")
    with pytest.raises(UsageError, match="with OpenAIServer"):
        _ = OpenAIServer([]).url
