"""What a call may cost at the most, before it is made and without asking anybody.

Money is reserved by these figures, so they must not be too low. They are far too high for ordinary text (about four
times for English), which costs nothing but a little concurrency near a cap: what was not used is given back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from string import Template
from typing import TYPE_CHECKING, Any

from stanchion.errors import UsageError
from stanchion.guards.limits.policy import CAPS
from stanchion.models.identity import once_for_each
from stanchion.models.prices import price

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AnyMessage, BaseMessage
    from langchain_core.messages.ai import UsageMetadata

    from stanchion.guards.limits.policy import Policy
    from stanchion.models.prompts import Prompt
    from stanchion.models.providers import Model

TOKENS_PER_MESSAGE = 16
"""Around each message. OpenAI's cookbook counts 3, and 1 for a name (`How to count tokens with tiktoken`,
https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken); templates of open models need up to 8."""

TOKENS_PER_REQUEST = 16
"""Around all messages: 3 that prime the answer (the same source), a start of text, a default system message's frame."""

TOKENS_PER_SCHEMA = 600
"""What a provider adds to make a model answer by a schema: up to 530 with a tool's schema at Anthropic
(https://docs.anthropic.com/en/docs/tool-use-pricing-and-tokens)."""

ASSUMED_OUTPUT_TOKENS = 4096
"""The longest answer of a model of which nobody says how long it may be: an assumption; `money.max_output_tokens` in
the policy puts a fact in its place."""

OUTPUT_SETTINGS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict")
"""What LangChain's chat models call the longest answer: OpenAI's, most, Google's, Ollama's."""

READ_IN_STEPS_OF = 256
"""Tokens to which a request is rounded up, so that prices are looked up rarely: at $10 a million, 0.3 cents at most."""


def most_input_tokens(messages: Iterable[BaseMessage], schema: Mapping[str, Any] | None = None) -> int | None:
    """Return how many tokens a request has at the most; None where nobody can say, as with an image or a sound.

    A token of a byte-level BPE tokenizer (OpenAI's, Llama's, Qwen's and others) stands for at least one byte, so a text
    has no more tokens than bytes (https://github.com/openai/tiktoken: what each token stands for is a string of bytes).

    Args:
        messages: as they will be sent.
        schema: the JSON schema that the answer is bound to.
    """
    tokens = TOKENS_PER_REQUEST if schema is None else TOKENS_PER_REQUEST + TOKENS_PER_SCHEMA + _schema_bytes(schema)
    for message in messages:
        content = _content_bytes(message.content)
        if content is None:
            return None
        calls = getattr(message, "tool_calls", None)
        tokens += TOKENS_PER_MESSAGE + content + _bytes(message.name or "") + (_json_bytes(calls) if calls else 0)
    return tokens


def most_output_tokens(model: Model, limit: int | None = None) -> int:
    """Return how many tokens an answer has at the most, all its variants together.

    That is what the model's instance is set to; else the limit; else what the model is able to, by LangChain's profile
    of it; else `ASSUMED_OUTPUT_TOKENS`.

    Args:
        model: the model; an instance may bring a setting of its own.
        limit: `money.max_output_tokens` of the policy.
    """
    variants, able_to = _variants_and_ability(model.chat)
    return variants * int(own_output_limit(model) or limit or able_to or ASSUMED_OUTPUT_TOKENS)


@once_for_each
def _variants_and_ability(chat: BaseChatModel | None) -> tuple[int, int | None]:
    variants = getattr(chat, "n", None)
    able_to = (getattr(chat, "profile", None) or {}).get("max_output_tokens")
    return variants if isinstance(variants, int) and variants > 1 else 1, able_to


def own_output_limit(model: Model) -> int | None:
    """Return the longest answer, in tokens, that a model's instance is set to; None where it is not.

    Args:
        model: the model.
    """
    return _own_output_limit(model.chat)


@once_for_each  # each attribute that a pydantic model lacks takes its time to be found missing
def _own_output_limit(chat: BaseChatModel | None) -> int | None:
    in_passing = getattr(chat, "model_kwargs", None) or {}
    settings = [value for name in OUTPUT_SETTINGS for value in (in_passing.get(name), getattr(chat, name, None))]
    return next((value for value in settings if isinstance(value, int) and value > 0), None)  # Ollama: -1 is no limit


def price_before(model: Model, input_tokens: int | None, output_tokens: int) -> Decimal | None:
    """Return what a call may cost at the most in US dollars, or None where nobody can say.

    Tokens written into a provider's cache may cost more than others: the dearest way is counted.

    Args:
        model: the model.
        input_tokens: read, at the most; None where unknown.
        output_tokens: written, at the most.
    """
    if input_tokens is None:
        return None
    read = -(-input_tokens // READ_IN_STEPS_OF) * READ_IN_STEPS_OF
    return _price_before(model.provider, model.bare_name, read, output_tokens)


@lru_cache(maxsize=4096)
def _price_before(provider: str | None, name: str, input_tokens: int, output_tokens: int) -> Decimal | None:
    total = input_tokens + output_tokens
    plain: UsageMetadata = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total}
    all_cached: UsageMetadata = {**plain, "input_token_details": {"cache_creation": input_tokens}}
    prices = [price(provider, name, usage) for usage in (plain, all_cached)]
    return max((known for known in prices if known is not None), default=None)


def refuse_unaffordable(policy: Policy, model: Model, prompts: Sequence[Prompt], origins: Mapping[str, str]) -> None:
    """Refuse, before a run starts, a policy under which the model could never be called.

    Args:
        policy: in force.
        model: that will be called; `none` and recorded answers cost nothing.
        prompts: the workflow's; each must be affordable, already with an empty document.
        origins: of the policy's values, for the message.

    Raises:
        UsageError: a cap is below the price of one call, or the price is unknown and must not be; it names the key.
    """
    if model.chat is None or model.name.startswith("recorded:"):
        return
    written = most_output_tokens(model, policy.money.max_output_tokens)
    read = max((most_input_tokens(_shortest_opening(prompt)) or 0 for prompt in prompts), default=TOKENS_PER_REQUEST)
    needed = price_before(model, read, written)
    if needed is None:
        if policy.money.unpriced == "refuse":
            raise UsageError(
                f'money.unpriced is "refuse" ({_origin("unpriced", origins)}), and nobody knows the price of '
                f'{model.name}. Choose a model with a known price, or set money.unpriced to "count_tokens".'
            )
        return
    for name in CAPS:
        cap: Decimal | None = getattr(policy.money, name)
        if cap is not None and cap < needed:
            raise UsageError(
                f"money.{name} is ${cap:f} ({_origin(name, origins)}), but one call of {model.name} may cost "
                f"${needed.normalize():f} before a document is added ({read} tokens read and {written} written at the "
                f"most), so none could ever be made. Raise money.{name}, or lower money.max_output_tokens."
            )


def _origin(name: str, origins: Mapping[str, str]) -> str:
    return f"set by {origins.get(f'money.{name}', 'the policy')}"


def _shortest_opening(prompt: Prompt) -> list[AnyMessage]:
    """The prompt's first messages around an empty document."""
    placeholders = {name for text in (prompt.system, prompt.user) for name in Template(text).get_identifiers()}
    return prompt.opening(**dict.fromkeys(placeholders, ""))


def _content_bytes(content: str | list[Any]) -> int | None:
    """The bytes of a message's texts; None where something else is among them."""
    total = 0
    for block in [content] if isinstance(content, str) else content:
        text = block if isinstance(block, str) else block.get("text") if block.get("type") == "text" else None
        if not isinstance(text, str):
            return None
        total += _bytes(text)
    return total


@once_for_each
def _schema_bytes(schema: Mapping[str, Any]) -> int:
    return _json_bytes(schema)


def _json_bytes(value: Any) -> int:
    """The bytes of a value as JSON, indented: however a provider lays it out for the model, it is hardly longer."""
    return _bytes(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", errors="surrogatepass"))
