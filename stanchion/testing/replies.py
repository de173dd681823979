"""What the OpenAI-protocol server is asked and what it replies, and the bad replies that a workflow must survive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it reached the server.

    Args:
        body: the JSON body.
        headers: by lower-case name; secrets are replaced by `***`.
    """

    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The text of the last user message; empty if there is none."""
        for message in reversed(self.body.get("messages", [])):
            if message.get("role") == "user":
                return _text(message.get("content"))
        return ""


@dataclass(frozen=True)
class Reply:
    """One reply of the server.

    Args:
        text: what the model says.
        status: the HTTP status; with another than 200, `body` is what counts.
        headers: HTTP headers to add.
        body: sent as it is instead of a chat completion; a mapping is sent as JSON.
        delay: seconds to wait before replying; `math.inf` never replies. Closing the server cuts it short.
        finish_reason: why the model stopped: `stop`, `length` or `content_filter`.
        refusal: the model's refusal, in its own field as OpenAI sends it.
        tool_calls: tools the model calls, each `{"name": ..., "args": {...}}`; `args` may be a text that is no JSON.
        usage: `{"prompt_tokens": ..., "completion_tokens": ...}`; estimated from the texts if None.
        cut: the connection ends half-way through the body or the stream.
        stall: nothing more comes half-way through the body or the stream, and the connection stays.
        reset: the connection is reset (RST) instead of a reply.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes | Mapping[str, Any] | None = None
    delay: float = 0.0
    finish_reason: str = "stop"
    refusal: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] | None = None
    usage: Mapping[str, int] | None = None
    cut: bool = False
    stall: bool = False
    reset: bool = False


def bad_replies(good: Mapping[str, Any]) -> dict[str, Reply]:
    """Spoil a good answer in every way that a production model has been seen to.

    Args:
        good: the answer as it should be, in JSON form.

    Returns:
        Replies by name. `fenced` and `in_prose` still hold the whole good answer; the others do not. The errors have
        the bodies that https://platform.openai.com/docs/guides/error-codes describes, as the service sends them.
    """
    return _bad_answers(good) | error_replies()


def _bad_answers(good: Mapping[str, Any]) -> dict[str, Reply]:
    text = json.dumps(good)
    half = text[: max(1, len(text) // 2)]
    another = {"steps": [{"explanation": "Carry the one.", "output": "8x = -30"}], "final_answer": "x = -30 / 8"}
    return {
        "invalid_json": Reply(text.replace('"', "'").replace(":", " =")),
        "truncated": Reply(half, finish_reason="length"),
        "fenced": Reply(f"```json\n{json.dumps(good, indent=2)}\n```"),
        "in_prose": Reply(f"Sure! Here is the information that you asked for:\n\n{text}\n\nAnything else?"),
        "refusal": Reply(refusal="I'm sorry, but I can't assist with that request."),
        "empty": Reply(""),
        "wrong_types": Reply(json.dumps({name: _other_type(value) for name, value in good.items()})),
        "extra_fields": Reply(json.dumps({**good, "reasoning": "The document says so.", "confidence_score": 0.97})),
        "another_schema": Reply(json.dumps(another)),
        "content_filter": Reply(half, finish_reason="content_filter"),
        "broken_stream": Reply(text, cut=True),
    }


def error_replies() -> dict[str, Reply]:
    """Write the errors of `bad_replies`, which come whatever the answer would have been."""
    busy = error_body(
        "Rate limit reached for gpt-4o in organization org-stanchion on tokens per min (TPM): Limit 30000, Used 29412, "
        "Requested 1588. Please try again in 2s. Visit https://platform.openai.com/account/rate-limits to learn more.",
        kind="tokens",
        code="rate_limit_exceeded",
    )
    quota = error_body(
        "You exceeded your current quota, please check your plan and billing details.",
        kind="insufficient_quota",
        code="insufficient_quota",
    )
    too_long = error_body(
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130011 tokens. "
        "Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )
    no_key = error_body(
        "Incorrect API key provided: sk-test. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )
    no_model = error_body(
        "The model `gpt-none` does not exist or you do not have access to it.", code="model_not_found"
    )
    page = "<html>\r\n<head><title>500 Internal Server Error</title></head>\r\n<body>\r\n<center>"
    page += "<h1>500 Internal Server Error</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    return {
        "rate_limited": Reply(status=429, body=busy),
        "rate_limited_retry_after": Reply(
            status=429, body=busy, headers={"retry-after": "2", "retry-after-ms": "2000"}
        ),
        "out_of_quota": Reply(status=429, body=quota),
        "context_length": Reply(status=400, body=too_long),
        "invalid_key": Reply(status=401, body=no_key),
        "no_such_model": Reply(status=404, body=no_model),
        "server_error": Reply(status=500, body=page, headers={"content-type": "text/html"}),
    }


def error_body(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Write an error as OpenAI does."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _other_type(value: Any) -> Any:
    """Give a value of a JSON type that no lenient reader takes for the right one."""
    if isinstance(value, Mapping):
        return [True]
    return {"value": True}


def _text(content: Any) -> str:
    if isinstance(content, list):  # content parts, of which images and files have no text
        return "".join(part.get("text", "") for part in content)
    return content or ""
