"""How OpenAI's chat completions look on the wire: https://platform.openai.com/docs/api-reference/chat.

Pure functions from a request and a `Reply` to JSON; the server around them is in `openai_server`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stanchion.testing.replies import Reply, error_body

_CREATED = 1_704_067_200  # 2024-01-01 UTC: no clock, so that the same request gets the same bytes
_PIECE = 16  # characters of text in one event of a stream


def complaint(body: Any) -> dict[str, Any] | None:
    """Say what OpenAI would refuse about a request.

    Args:
        body: the parsed JSON body.

    Returns:
        The body of a 400, or None if the request is good.
    """
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        return error_body(
            "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not body.get("model"):
        return error_body("you must provide a model parameter")
    wanted = body.get("response_format") or {"type": "text"}
    if wanted.get("type") != "json_schema":
        return None
    named = wanted.get("json_schema") or {}
    if not named.get("name") or not isinstance(named.get("schema"), dict):
        return error_body("Missing required parameter: 'response_format.json_schema'.", param="response_format")
    reason = _not_strict(named["schema"]) if named.get("strict") else None
    if reason is None:
        return None
    return error_body(f"Invalid schema for response_format '{named['name']}': {reason}", param="response_format")


def completion(reply: Reply, body: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Write a reply as one chat completion.

    Args:
        reply: what the model says.
        body: the request's body.
        number: makes the id, `chatcmpl-1` and so on.
    """
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _content(reply),
        "refusal": reply.refusal,
        "annotations": [],
    }
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(reply)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
    return _envelope("chat.completion", body, number) | {"choices": [choice], "usage": usage(reply, body)}


def events(reply: Reply, body: Mapping[str, Any], number: int) -> Iterator[bytes]:
    """Write a reply as a stream of server-sent events, as for `"stream": true`.

    Args:
        reply: what the model says.
        body: the request's body.
        number: makes the id, `chatcmpl-1` and so on.
    """
    envelope = _envelope("chat.completion.chunk", body, number)

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event(envelope | {"choices": [choice]})

    yield event({"role": "assistant", "content": "" if _content(reply) is not None else None, "refusal": None})
    for start in range(0, len(reply.text), _PIECE):
        yield event({"content": reply.text[start : start + _PIECE]})
    if reply.refusal:
        yield event({"refusal": reply.refusal})
    for index, call in enumerate(_tool_calls(reply)):
        yield event({"tool_calls": [{"index": index, **call}]})
    yield event({}, _finish_reason(reply))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event(envelope | {"choices": [], "usage": usage(reply, body)})
    yield b"data: [DONE]\n\n"


def usage(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    """Count what a reply is billed for: about four characters to a token, unless the script knows better.

    Args:
        reply: what the model says.
        body: the request's body.
    """
    said = reply.text or reply.refusal or json.dumps(_tool_calls(reply))
    counts = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": len(said) // 4}
    counts |= reply.usage or {}
    details = {
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    return {**counts, "total_tokens": counts["prompt_tokens"] + counts["completion_tokens"], **details}


def models() -> dict[str, Any]:
    """Write the list of models; the server takes any name, so there is one."""
    return {
        "object": "list",
        "data": [{"id": "scripted", "object": "model", "created": _CREATED, "owned_by": "stanchion"}],
    }


def _envelope(kind: str, body: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": _CREATED,
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_stanchion",
    }


def _event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _content(reply: Reply) -> str | None:
    """Text is null, not empty, where the model refused or called a tool instead."""
    return None if not reply.text and (reply.refusal or reply.tool_calls) else reply.text


def _finish_reason(reply: Reply) -> str:
    return "tool_calls" if reply.tool_calls and reply.finish_reason == "stop" else reply.finish_reason


def _tool_calls(reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {
                "name": call["name"],
                "arguments": call["args"] if isinstance(call["args"], str) else json.dumps(call["args"]),
            },
        }
        for index, call in enumerate(reply.tool_calls or ())
    ]


def _not_strict(schema: Any) -> str | None:
    """Say what keeps a JSON schema from OpenAI's strict mode.

    The rules: https://platform.openai.com/docs/guides/structured-outputs, "Supported schemas".
    """
    if isinstance(schema, list):
        return next((reason for part in schema if (reason := _not_strict(part))), None)
    if not isinstance(schema, dict):
        return None
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if schema.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false."
        missing = sorted(set(properties) - set(schema.get("required", [])))
        if missing:
            return f"'required' is required to be an array including every key in properties. Missing '{missing[0]}'."
        return _not_strict(list(properties.values()))
    return _not_strict(list(schema.values()))
