"""A model's messages as the door keeps them: their hash, their JSON, their tokens and what these cost."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, messages_from_dict

from stanchion.models.identity import once_for_each
from stanchion.models.prices import price
from stanchion.models.storable import storable

if TYPE_CHECKING:
    from stanchion.models.prompts import Prompt
    from stanchion.models.providers import Model


# Why a model stopped, in the words of OpenAI, Anthropic, Google and Ollama:
CUT_OFF = {"length", "max_tokens", "max_output_tokens"}
DECLINED = {"refusal", "content_filter", "safety", "prohibited_content", "blocklist"}

MOST_TOKENS = 1_000_000_000  # of one call; more is a mistake of whoever counted
MOST_IN_NO_TOKEN = 8  # characters: a longer answer has tokens

_MANY_DIGITS = re.compile(r"\d{19}")  # a number of fewer has no more than 64 bits


def content_key(model: str, prompt: Prompt, schema: dict[str, Any], messages: Sequence[BaseMessage]) -> str:
    """Return a hash that is the same for the same question to the same model, whatever random ids messages carry.

    Args:
        model: the model's name.
        prompt: the prompt that the messages came from.
        schema: the JSON schema that the answer should follow; not to be changed afterwards.
        messages: the conversation so far.
    """
    said = [
        [message.type, message.content, getattr(message, "tool_calls", None), getattr(message, "tool_call_id", None)]
        for message in messages
    ]
    content = json.dumps([model, prompt.hash, _hash(schema), said], sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


@once_for_each
def _hash(schema: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, default=str).encode()).hexdigest()


def dumps(messages: Sequence[BaseMessage]) -> str:
    """Return messages as JSON.

    Args:
        messages: any.
    """
    plain = [{"type": message.type, "data": message.model_dump(warnings=False)} for message in messages]
    return json.dumps(plain, default=str)  # as LangChain's messages_to_dict, without warnings that show content


def message_from(text: str) -> AIMessage:
    """Return the answer that `dumps` wrote.

    Args:
        text: JSON of one answer.
    """
    (message,) = messages_from_dict(json.loads(text))
    assert isinstance(message, AIMessage)  # noqa: S101 - we wrote it
    return message


def clean(message: AIMessage) -> AIMessage:
    """Return the message as it can be stored: the same one, unless there is something in it that cannot.

    Args:
        message: as it came.
    """
    with suppress(ValueError):  # half a character, or something that has no JSON: it is looked at closely below
        if not _MANY_DIGITS.search(message.model_dump_json(warnings=False)):
            return message
    whole = message.model_dump(warnings=False)  # a warning would show the content
    kept = storable(whole)
    return message if kept == whole else type(message).model_validate(kept)


def tokens_of(message: AIMessage) -> dict[str, int] | None:
    """Return how many tokens were read and written, or None where the provider did not say, or not sensibly.

    Args:
        message: an answer.
    """
    usage = message.usage_metadata
    if usage is None or not all(_is_count(usage[name]) for name in ("input_tokens", "output_tokens")):
        return None
    read, written = usage["input_tokens"], usage["output_tokens"]
    silent = not written and len(message.text) > MOST_IN_NO_TOKEN
    if not read or silent or usage.get("total_tokens", 0) > read + written:
        return None  # counts that were missing come as 0 from LangChain; a cap must not take them for that
    return {"input_tokens": read, "output_tokens": written}


def cost_of(model: Model, message: AIMessage) -> Decimal | None:
    """Return what an answer cost in US dollars, or None where that is unknown.

    Args:
        model: who gave it.
        message: the answer.
    """
    if message.usage_metadata is None or tokens_of(message) is None:
        return None
    return price(model.provider, model.bare_name, message.usage_metadata)


def version_of(message: AIMessage) -> str | None:
    """Return which version of the model the provider says answered.

    Args:
        message: an answer.
    """
    version = message.response_metadata.get("model_name")
    return version[:200] if isinstance(version, str) else None


def cut_off(answer: AIMessage) -> bool:
    """Say whether an answer ends before its end, because it was as long as it may be.

    Args:
        answer: as it came.
    """
    return _stopped_by(answer) in CUT_OFF


def declined(answer: AIMessage) -> str:
    """Say that the model, or its provider's filter, declined to answer; nothing where it did not.

    Args:
        answer: as it came.
    """
    blocks = answer.content if isinstance(answer.content, list) else []
    said = any(isinstance(block, dict) and block.get("type") == "refusal" for block in blocks)
    if said or answer.additional_kwargs.get("refusal"):
        return "The model declined to read this document."
    reason = _stopped_by(answer)
    return f"The provider stopped the answer on grounds of content ({reason})." if reason in DECLINED else ""


def _stopped_by(answer: AIMessage) -> str:
    """Say why the model stopped: every provider has a key of its own for it, and OpenAI's Responses API another."""
    told = answer.response_metadata
    incomplete = told.get("incomplete_details") or {}
    reason = told.get("finish_reason") or told.get("stop_reason") or told.get("done_reason") or incomplete.get("reason")
    return str(reason or "").lower()


def _is_count(tokens: Any) -> bool:
    return isinstance(tokens, int) and 0 <= tokens <= MOST_TOKENS
