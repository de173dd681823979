"""The one door to a model: every call passes `Door.ask`, and its answer is on disk before the node sees it.

The way of a call: journal (was this very call already answered?) → record that it starts → ask, bounded in time →
price → record the answer. No retry lives here or anywhere else yet; SDK retries are off.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stanchion.clock import Clock, SystemClock, new_id
from stanchion.errors import ModelError, ModelUnavailable
from stanchion.models.prices import price
from stanchion.models.providers import Model, bind_schema

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

    from stanchion.models.prompts import Prompt
    from stanchion.store.calls import CallKey, Journal

_SURROGATE = re.compile("[\ud800-\udfff]")
CALL_TIMEOUT_SECONDS = 90.0  # over the HTTP timeout: the last bound for clients that ignore theirs


class Request(NamedTuple):
    """One question to a model.

    Args:
        prompt: the prompt that the messages came from.
        messages: the conversation so far.
        schema: the JSON schema that the answer should follow.
    """

    prompt: Prompt
    messages: Sequence[BaseMessage]
    schema: dict[str, Any]


class Place(NamedTuple):
    """Where in a run a call is made.

    Args:
        run_id: the run; empty outside our runner.
        task_id: LangGraph's id of the step's execution.
        node: the node's name.
    """

    run_id: str
    task_id: str
    node: str


class Door:
    """Asks one model, and keeps what it said and cost.

    Args:
        model: who is asked.
        journal: where calls are kept; without one (a graph run outside our runner) nothing is.
        clock: for times.
        ids: makes the calls' ids.
        observe: told the name of each thing as it has happened: `call started`, `call answered`, `call failed`.
    """

    def __init__(
        self,
        model: Model,
        journal: Journal | None = None,
        *,
        clock: Clock | None = None,
        ids: Callable[[], str] = new_id,
        observe: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model = model
        self._journal = journal
        self._clock = clock or SystemClock()
        self._ids = ids
        self._observe = observe

    async def ask(self, request: Request, place: Place) -> AIMessage:
        """Return the model's raw message.

        Args:
            request: the question.
            place: where in the run it is asked.

        Raises:
            ModelUnavailable: there is no model, it failed, or it did not answer in time.
            StoreError: the call could not be recorded.
        """
        if self.model.chat is None:
            raise ModelUnavailable("No model is configured.")
        if self._journal is None:
            return await self._answer(request)
        from stanchion.store.calls import CallKey

        key = CallKey(place.run_id, place.task_id, place.node, content_key(self.model.name, request))
        if kept := self._journal.answered(key):
            return _message_from(kept["answer"])
        return await self._recorded_answer(self._journal, key, request)

    async def _recorded_answer(self, journal: Journal, key: CallKey, request: Request) -> AIMessage:
        call_id, start, clock_start = self._ids(), self._clock.now(), self._clock.monotonic()
        await journal.started(
            call_id,
            key,
            {
                "model": self.model.name,
                "prompt": request.prompt.id,
                "prompt_version": request.prompt.version,
                "prompt_hash": request.prompt.hash,
                "request": _dumps(request.messages),
                "started_at": start.isoformat(),
            },
        )
        self._observe("call started")
        try:
            message = await self._answer(request)
        except ModelError as error:
            await journal.ended(call_id, {"status": "failed", "error": str(error), **self._times(clock_start)})
            self._observe("call failed")
            raise
        ended = {"status": "answered", "answer": _dumps([message]), **self._times(clock_start), **self._cost(message)}
        await journal.ended(call_id, ended)
        self._observe("call answered")
        return message

    async def _answer(self, request: Request) -> AIMessage:
        assert self.model.chat is not None  # noqa: S101 - narrowed by ask()
        bound = bind_schema(self.model.chat, request.schema)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                return _clean(await bound.ainvoke(list(request.messages)))
        except ModelError:
            raise
        except TimeoutError as error:
            raise ModelUnavailable("The model did not answer in time.", cost_unknown=True) from error
        except Exception as error:  # every SDK has a tree of its own; all of it means: no answer
            if (message := _answer_within(error)) is not None:
                return _clean(message)
            raise ModelUnavailable(f"The model failed: {_in_short(error)}.", cost_unknown=True) from error

    def _times(self, start: float) -> dict[str, Any]:
        ms = (self._clock.monotonic() - start) * 1000
        return {"ended_at": self._clock.now().isoformat(), "ms": round(ms, 3)}

    def _cost(self, message: AIMessage) -> dict[str, Any]:
        usage = message.usage_metadata
        if usage is None:
            return {}
        read, written = usage["input_tokens"], usage["output_tokens"]
        money = price(self.model.provider, self.model.bare_name, read, written)
        return {"input_tokens": read, "output_tokens": written, "cost_usd": None if money is None else str(money)}


def content_key(model: str, request: Request) -> str:
    """Return a hash that is the same for the same question to the same model, whatever random ids messages carry.

    Args:
        model: the model's name.
        request: the question.
    """
    messages = [
        [message.type, message.content, getattr(message, "tool_calls", None), getattr(message, "tool_call_id", None)]
        for message in request.messages
    ]
    content = json.dumps([model, request.prompt.hash, request.schema, messages], sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _dumps(messages: Sequence[BaseMessage]) -> str:
    from langchain_core.messages import messages_to_dict

    return json.dumps(messages_to_dict(messages), default=str)


def _message_from(text: str) -> AIMessage:
    from langchain_core.messages import AIMessage, messages_from_dict

    (message,) = messages_from_dict(json.loads(text))
    assert isinstance(message, AIMessage)  # noqa: S101 - we wrote it
    return message


def _answer_within(error: Exception) -> AIMessage | None:
    """Return the answer that openai's SDK holds back: it raises cut-off and filtered ones, though they were paid for."""
    from langchain_core.messages import AIMessage

    completion = getattr(error, "completion", None)
    if not getattr(completion, "choices", None):
        return None
    choice, usage = completion.choices[0], completion.usage
    message = AIMessage(
        choice.message.content or "",
        additional_kwargs={"refusal": choice.message.refusal} if choice.message.refusal else {},
        response_metadata={"finish_reason": choice.finish_reason, "model_name": completion.model},
    )
    if usage is not None:
        message.usage_metadata = {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
    return message


def _clean(message: AIMessage) -> AIMessage:
    """Replace half characters (lone surrogates), which JSON can smuggle in and neither msgpack nor SQLite can hold."""
    text = json.dumps(message.model_dump(mode="python"), default=str, ensure_ascii=False)
    if not _SURROGATE.search(text):
        return message
    return type(message).model_validate(_without_surrogates(message.model_dump()))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return [_without_surrogates(item) for item in value] if isinstance(value, list) else value


def _in_short(error: Exception) -> str:
    """Name an SDK's error without its body, which may repeat the document or a key."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} (HTTP {status})" if isinstance(status, int) else type(error).__name__
