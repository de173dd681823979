"""Each bad reply reaches a user of the real client as it would from OpenAI."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from stanchion.testing import OpenAIServer, bad_replies

GOOD = {"company": "Acme", "total": "9.00", "items": [{"name": "tea", "quantity": 2}]}
BAD = bad_replies(GOOD)

FORMAT = {"type": "json_object"}


def ask(name: str, **bound: Any) -> AIMessage:
    with OpenAIServer([BAD[name]]) as server:
        model = ChatOpenAI(base_url=server.url, api_key="sk-secret", model="gpt-4o-mini", max_retries=0)
        return model.bind(**bound).invoke("a")


@pytest.mark.parametrize("name", ["invalid_json", "truncated", "fenced", "in_prose", "empty", "content_filter"])
def test_answers_that_are_no_json(name: str) -> None:
    """These cannot be parsed as they are, and yet have cost something."""
    answer = ask(name)
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)
    assert answer.usage_metadata["input_tokens"] > 0


@pytest.mark.parametrize("name", ["fenced", "in_prose"])
def test_good_answers_in_wrapping(name: str) -> None:
    """What is wrapped in fences or prose is the whole good answer."""
    text = ask(name).text
    assert json.loads(text[text.index("{") : text.rindex("}") + 1]) == GOOD


@pytest.mark.parametrize(("name", "reason"), [("truncated", "length"), ("content_filter", "content_filter")])
def test_answers_that_stopped_early_say_why(name: str, reason: str) -> None:
    """The finish reason tells half an answer from a whole one."""
    answer = ask(name)
    assert answer.response_metadata["finish_reason"] == reason
    assert json.dumps(GOOD).startswith(answer.text)


@pytest.mark.parametrize(
    ("name", "error"),
    [("truncated", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)],
)
def test_with_a_response_format_the_client_raises_and_drops_the_half_answer(name: str, error: type[Exception]) -> None:
    """A contract of `langchain-openai`: with `response_format` bound, an early stop is an exception, not an answer."""
    with pytest.raises(error):
        ask(name, response_format=FORMAT)


def test_a_refusal_has_a_field_of_its_own_and_no_text() -> None:
    """A refusal is not mistaken for an answer."""
    answer = ask("refusal")
    assert answer.text == ""
    assert "can't assist" in answer.additional_kwargs["refusal"]


def test_answers_of_the_wrong_shape() -> None:
    """These are JSON objects, but not what was asked for."""
    wrong, extra, another = (json.loads(ask(name).text) for name in ("wrong_types", "extra_fields", "another_schema"))
    assert wrong.keys() == GOOD.keys()
    assert not any(type(wrong[name]) is type(GOOD[name]) for name in GOOD)
    assert GOOD.items() < extra.items()
    assert not GOOD.keys() & another.keys()


@pytest.mark.parametrize(
    ("name", "error", "code"),
    [
        ("rate_limited", openai.RateLimitError, "rate_limit_exceeded"),
        ("rate_limited_retry_after", openai.RateLimitError, "rate_limit_exceeded"),
        ("out_of_quota", openai.RateLimitError, "insufficient_quota"),
        ("context_length", openai.BadRequestError, "context_length_exceeded"),
        ("invalid_key", openai.AuthenticationError, "invalid_api_key"),
        ("no_such_model", openai.NotFoundError, "model_not_found"),
        ("server_error", openai.InternalServerError, None),
    ],
)
def test_errors_arrive_as_the_clients_own(name: str, error: type[openai.APIStatusError], code: str | None) -> None:
    """Each status becomes the client's exception for it, with OpenAI's code."""
    with pytest.raises(error) as raised:
        ask(name)
    assert raised.value.code == code


def test_a_busy_server_says_when_to_come_back_or_does_not() -> None:
    """`Retry-After` is sent by one of the two rate limits only."""
    waits = []
    for name in ("rate_limited", "rate_limited_retry_after"):
        with pytest.raises(openai.RateLimitError) as raised:
            ask(name)
        waits.append(raised.value.response.headers.get("retry-after"))
    assert waits == [None, "2"]


def test_a_server_error_is_a_page_and_no_json() -> None:
    """What stands between a client and OpenAI answers in HTML."""
    with pytest.raises(openai.InternalServerError) as raised:
        ask("server_error")
    assert raised.value.response.headers["content-type"] == "text/html"
    assert raised.value.response.text.startswith("<html>")


def test_a_broken_stream_gives_its_first_half_and_then_an_error() -> None:
    """A connection that breaks in the middle of a stream is noticed, after some text has come."""
    said: list[str] = []
    with OpenAIServer([BAD["broken_stream"]]) as server:
        model = ChatOpenAI(base_url=server.url, api_key="sk-secret", model="gpt-4o-mini", max_retries=0)
        with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
            said.extend(chunk.text for chunk in model.stream("a"))
    half = "".join(said)
    assert half
    assert json.dumps(GOOD).startswith(half)
    assert half != json.dumps(GOOD)


def test_a_connection_that_breaks_without_a_stream_is_an_error() -> None:
    """Half a body is never taken for a whole one."""
    with pytest.raises(openai.APIConnectionError):
        ask("broken_stream")
