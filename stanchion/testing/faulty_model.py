"""A chat model that fails as a plan says, around any LangChain chat model, in process and without a network."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import httpx
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelRateLimitError,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, InvalidToolCall, ToolCall
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableParallel, RunnableSequence
from pydantic import PrivateAttr

from stanchion.blocking import wait_for
from stanchion.clock import Clock, SystemClock
from stanchion.testing.faults import Asked, Fault, FaultPlan, PlanAtWork
from stanchion.testing.replies import Reply

_BY_STATUS: dict[int, type[ModelError]] = {
    400: ModelInvalidRequestError,
    401: ModelAuthenticationError,
    429: ModelRateLimitError,
}

_REQUEST = httpx.Request("POST", "http://faulty.invalid/v1/chat/completions")  # RFC 2606: nobody's address
_READ_BY_CLIENTS = {"parsed", "tool_calls", "function_call"}  # of `additional_kwargs`


class FaultyModel(BaseChatModel):
    """A LangChain chat model that asks another one, except where a plan says that something goes wrong.

    What is bound to it (a schema, tools, arguments) is bound in the way of the model inside and reaches it; other
    names, such as `model_name`, are looked up there. Where the fault strikes, errors are those of `langchain_core`
    with `status_code`, `response`, `body` and `code` as `ChatOpenAI` raises them; the model inside is asked only where
    its answer is needed, to be spoilt. Streamed, a spoilt answer comes in two halves. What hangs does so until it is
    cancelled, or released by `release`; timeouts of the model inside do not end it.

    Args:
        chat: the model that is asked.
        plan: what goes wrong, and when.
        clock: for outages and slow answers; the machine's, if None.
    """

    chat: BaseChatModel
    _at_work: PlanAtWork = PrivateAttr()
    _clock: Clock = PrivateAttr()
    _silence: _Silence = PrivateAttr()

    def __init__(self, chat: BaseChatModel, plan: FaultPlan, *, clock: Clock | None = None) -> None:
        common = {name: getattr(chat, name) for name in BaseChatModel.model_fields}  # cache, callbacks and the like
        super().__init__(**common, chat=chat)
        self._clock = clock or SystemClock()
        self._at_work = PlanAtWork(plan, self._clock)
        self._silence = _Silence()

    @property
    def requests(self) -> int:
        """How many requests came so far, struck or not."""
        return self._at_work.requests

    @property
    def faults(self) -> dict[str, int]:
        """How many of them were struck, by the name of the fault."""
        return self._at_work.struck

    def release(self) -> None:
        """End all that hangs, and from now on what would hang, by an error: the connection is lost."""
        self._silence.end()

    def __getattr__(self, name: str) -> Any:
        """Look up what only the model inside has."""
        try:
            return super().__getattr__(name)  # type: ignore[misc]  # pydantic's, for private attributes
        except AttributeError:
            if name.startswith("_"):  # a way around the plan, such as a streaming hook
                raise
            return getattr(self.chat, name)

    @property
    def _llm_type(self) -> str:
        return self.chat._llm_type

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return dict(self.chat._identifying_params)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.chat._get_ls_params(stop, **kwargs)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as the model inside does."""
        bound: Runnable[LanguageModelInput, AIMessage] = self._put_into(self.chat.bind_tools(tools, **kwargs))
        return bound

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Bind a schema as the model inside does."""
        chain: Runnable[LanguageModelInput, Any] = self._put_into(self.chat.with_structured_output(schema, **kwargs))
        return chain

    def _put_into(self, runnable: Any) -> Any:
        """Return the same runnable with us in place of the model that stands at its beginning."""
        if isinstance(runnable, BaseChatModel):
            return self.model_copy(update={"chat": runnable})  # a shallow copy: it follows the same plan
        if isinstance(runnable, RunnableBinding):
            return runnable.model_copy(update={"bound": self._put_into(runnable.bound)})
        if isinstance(runnable, RunnableSequence):
            return runnable.model_copy(update={"first": self._put_into(runnable.first)})
        if isinstance(runnable, RunnableParallel):
            steps = {name: self._put_into(step) for name, step in runnable.steps__.items()}
            return runnable.model_copy(update={"steps__": steps})
        return runnable

    def _should_stream(self, **kwargs: Any) -> bool:
        return self.chat._should_stream(**kwargs)

    def _should_use_protocol_streaming(self, **kwargs: Any) -> bool:
        return self.chat._should_use_protocol_streaming(**kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        fault = self._at_work.next()
        if fault is None:
            return self.chat._generate(messages, stop, run_manager, **kwargs)
        result = None if fault.instead else self.chat._generate(messages, stop, run_manager, **kwargs)
        reply = _reply(fault, result, kwargs)
        self._wait(reply)
        return _delivered(reply, result)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        fault = self._at_work.next()
        if fault is None:
            return await self.chat._agenerate(messages, stop, run_manager, **kwargs)
        result = None if fault.instead else await self.chat._agenerate(messages, stop, run_manager, **kwargs)
        reply = _reply(fault, result, kwargs)
        await self._await(reply)
        return _delivered(reply, result)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        fault = self._at_work.next()
        if fault is None:
            yield from self.chat._stream(messages, stop, run_manager, **kwargs)
            return
        result = None if fault.instead else self.chat._generate(messages, stop, **kwargs)
        reply = _reply(fault, result, kwargs)
        yield from _before_it_breaks(reply)
        self._wait(reply)
        yield from _in_two_halves(_delivered(reply, result))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        fault = self._at_work.next()
        if fault is None:
            async for chunk in self.chat._astream(messages, stop, run_manager, **kwargs):
                yield chunk
            return
        result = None if fault.instead else await self.chat._agenerate(messages, stop, **kwargs)
        reply = _reply(fault, result, kwargs)
        for chunk in _before_it_breaks(reply):
            yield chunk
        await self._await(reply)
        for chunk in _in_two_halves(_delivered(reply, result)):
            yield chunk

    def _wait(self, reply: Reply) -> None:
        if _is_silent(reply):
            self._silence.begin().result()
            raise _connection_lost()
        if reply.delay:
            wait_for(self._clock.sleep(reply.delay))

    async def _await(self, reply: Reply) -> None:
        if _is_silent(reply):
            await asyncio.wrap_future(self._silence.begin())
            raise _connection_lost()
        if reply.delay:
            await self._clock.sleep(reply.delay)


class _Silence:
    """What hangs, in whichever thread or loop, until it is ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hanging: set[Future[None]] = set()
        self._is_over = False

    def begin(self) -> Future[None]:
        """Return what ends with the silence; cancelled, it is forgotten."""
        future: Future[None] = Future()
        with self._lock:
            if self._is_over:
                future.set_result(None)
            else:
                self._hanging.add(future)
        future.add_done_callback(self._hanging.discard)
        return future

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            hanging = list(self._hanging)
        for future in hanging:
            if future.set_running_or_notify_cancel():  # from here on nobody can cancel it
                future.set_result(None)


def _reply(fault: Fault, result: ChatResult | None, asked: Asked) -> Reply:
    """Return what comes: instead of an answer, or of this one."""
    if result is None:
        assert fault.instead is not None  # noqa: S101 - or the model had been asked
        return fault.instead
    return fault.spoil(_as_reply(_message(result)), asked)


def _as_reply(message: AIMessage) -> Reply:
    calls = [{"name": call["name"], "args": call["args"]} for call in _calls(message)]
    return Reply(str(message.text), tool_calls=calls or None)


def _message(result: ChatResult) -> AIMessage:
    message = result.generations[0].message
    assert isinstance(message, AIMessage)  # noqa: S101 - chat models say nothing else
    return message


def _calls(message: AIMessage) -> list[ToolCall | InvalidToolCall]:
    return [*message.tool_calls, *message.invalid_tool_calls]


def _is_silent(reply: Reply) -> bool:
    return reply.stall or reply.delay == math.inf


def _delivered(reply: Reply, result: ChatResult | None) -> ChatResult:
    """Return the answer as the reply has it, or raise what a client makes of the reply."""
    if reply.reset or reply.cut:
        raise _connection_lost()
    if reply.status != 200 or result is None:
        raise _refusal(reply)
    generation, message = result.generations[0], _message(result)
    if replace(reply, delay=0.0) == _as_reply(message):
        return result
    spoilt = ChatGeneration(message=_spoilt(message, reply), generation_info=generation.generation_info)
    return result.model_copy(update={"generations": [spoilt]})


def _spoilt(message: AIMessage, reply: Reply) -> AIMessage:
    """Return the message with what the reply says; what a client had read in the true one is read anew."""
    pairs = zip(_calls(message), reply.tool_calls or (), strict=False)
    calls = [{**call, "args": _read(new["args"])} for call, new in pairs]
    broken = [call for call in calls if not isinstance(call["args"], dict)]
    other = {name: value for name, value in message.additional_kwargs.items() if name not in _READ_BY_CLIENTS}
    if "parsed" in message.additional_kwargs and isinstance(read := _read(reply.text), dict):
        other["parsed"] = read
    reason = {} if reply.finish_reason == "stop" else {"finish_reason": reply.finish_reason}
    return AIMessage(
        reply.text,
        id=message.id,
        tool_calls=[{**call, "type": "tool_call"} for call in calls if call not in broken],
        invalid_tool_calls=[{"error": None, **call, "type": "invalid_tool_call"} for call in broken],
        additional_kwargs=other,
        response_metadata={**message.response_metadata, **reason},
        usage_metadata=message.usage_metadata,
    )


def _read(said: Any) -> Any:
    """Read a JSON object as a client does: what is none stays text."""
    try:
        found = json.loads(said) if isinstance(said, str) else said
    except (ValueError, RecursionError):
        return said
    return found if isinstance(found, dict) else said


def _before_it_breaks(reply: Reply) -> Iterator[ChatGenerationChunk]:
    if reply.stall or reply.cut:
        yield ChatGenerationChunk(message=AIMessageChunk(content=reply.text[: len(reply.text) // 2]))


def _in_two_halves(result: ChatResult) -> Iterator[ChatGenerationChunk]:
    generation, message = result.generations[0], _message(result)
    text = str(message.text)
    half = len(text) // 2
    yield ChatGenerationChunk(message=AIMessageChunk(content=text[:half]))
    rest = AIMessageChunk(
        content=text[half:],
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
    )
    yield ChatGenerationChunk(message=rest, generation_info=generation.generation_info)


def _connection_lost() -> ModelConnectionError:
    error = ModelConnectionError("Connection error.")
    error.__cause__ = httpx.ReadError("[Errno 104] Connection reset by peer")
    return error


def _refusal(reply: Reply) -> ModelError:
    """Make the error for a status, with the attributes that the SDKs' own have: https://github.com/openai/openai-python."""
    content = reply.body if reply.body is not None else ""
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    response = httpx.Response(reply.status, headers=dict(reply.headers), content=raw, request=_REQUEST)
    details = content.get("error", {}) if isinstance(content, Mapping) else {}
    kind = _BY_STATUS.get(reply.status, ModelAPIError if reply.status >= 500 else ModelInvalidRequestError)
    if details.get("code") == "context_length_exceeded":
        kind = ContextOverflowError
    error = kind(f"Error code: {reply.status} - {content!r}")
    body = details or response.text.strip() or None
    vars(error).update(
        status_code=reply.status, response=response, body=body, code=details.get("code"), request=_REQUEST
    )
    return error
