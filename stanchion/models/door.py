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

from stanchion.blocking import in_temporary_loop
from stanchion.clock import Clock, SystemClock, new_id
from stanchion.errors import ModelError, ModelNotLoadable, ModelUnavailable
from stanchion.models.loop import on_models_loop
from stanchion.models.prices import price
from stanchion.models.providers import Model, bind_schema
from stanchion.models.storable import storable

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

    from stanchion.models.prompts import Prompt
    from stanchion.store.calls import CallKey, Journal

CALL_TIMEOUT_SECONDS = 90.0  # over the HTTP timeout: the last bound for clients that ignore theirs

_STATUS_IN_WORDS = {
    400: "refused the request",
    401: "refused the key",
    403: "refused the key",
    404: "knows no such model",
    413: "found the request too large",
    429: "is busy or the quota is used up",
}
_ERROR_CODE = re.compile("[a-z_]{1,40}")  # such as `insufficient_quota`; anything else may hold a secret


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
            ModelNotLoadable: the run's model cannot be loaded here.
        """
        if self.model.problem:
            raise ModelNotLoadable(self.model.problem)
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
            cost = None if error.cost_unknown else "0"
            failed = {"status": "failed", "error": str(error), "cost_usd": cost, **self._times(clock_start)}
            await journal.ended(call_id, failed)
            self._observe("call failed")
            raise
        ended = {"status": "answered", "answer": _dumps([message]), **self._times(clock_start), **self._cost(message)}
        await journal.ended(call_id, ended)
        self._observe("call answered")
        return message

    async def _answer(self, request: Request) -> AIMessage:
        assert self.model.chat is not None  # noqa: S101 - narrowed by ask()
        bound = bind_schema(self.model.chat, request.schema)
        asking = bound.ainvoke(list(request.messages))
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                keeps_connections = self.model.is_ours or in_temporary_loop.get()
                return _clean(await (on_models_loop(asking) if keeps_connections else asking))
        except ModelError:
            raise
        except Exception as error:  # every SDK has a tree of its own; all of it means: no answer
            if (message := _answer_within(error)) is not None:
                return _clean(message)
            raise _unavailable(error) from error

    def _times(self, start: float) -> dict[str, Any]:
        ms = (self._clock.monotonic() - start) * 1000
        return {"ended_at": self._clock.now().isoformat(), "ms": round(ms, 3)}

    def _cost(self, message: AIMessage) -> dict[str, Any]:
        usage = message.usage_metadata
        if usage is None or not all(_is_count(usage[name]) for name in ("input_tokens", "output_tokens")):
            return {}
        money = price(self.model.provider, self.model.bare_name, usage)
        return {
            "input_tokens": usage["input_tokens"],
            "output_tokens": usage["output_tokens"],
            "cost_usd": None if money is None else str(money),
        }


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
    plain = [{"type": message.type, "data": message.model_dump(warnings=False)} for message in messages]
    return json.dumps(plain, default=str)  # as LangChain's messages_to_dict, without warnings that show content


def _message_from(text: str) -> AIMessage:
    from langchain_core.messages import AIMessage, messages_from_dict

    (message,) = messages_from_dict(json.loads(text))
    assert isinstance(message, AIMessage)  # noqa: S101 - we wrote it
    return message


def _answer_within(error: Exception) -> AIMessage | None:
    """Return the answer that an error hides: openai's SDK raises cut-off and filtered ones, though they were paid for.

    langchain-openai leaves the HTTP response on the error; its body is a chat completion:
    https://platform.openai.com/docs/api-reference/chat/object.
    """
    from langchain_core.messages import AIMessage
    from langchain_core.messages.ai import UsageMetadata

    try:
        response = error.response  # type: ignore[attr-defined]
        completion = response.raise_for_status().json()
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        said = choice["message"]
        message = AIMessage(
            said["content"] or "",
            additional_kwargs={"refusal": said["refusal"]} if said.get("refusal") else {},
            response_metadata={"finish_reason": choice["finish_reason"], "model_name": completion["model"]},
        )
        read, written = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
    except Exception:  # no response, or whatever else a server sends
        return None
    if usage:
        message.usage_metadata = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return message


def _is_count(tokens: Any) -> bool:
    return isinstance(tokens, int) and 0 <= tokens < 2**63


def _clean(message: AIMessage) -> AIMessage:
    """Return the message as it can be stored: the same one, unless there is something in it that cannot."""
    whole = message.model_dump(warnings=False)  # a warning would show the content
    clean = storable(whole)
    return message if clean == whole else type(message).model_validate(clean)


def _unavailable(error: Exception) -> ModelUnavailable:
    """Say what failed, without the error's own text, which may repeat the document or a key."""
    status = getattr(error, "status_code", None)
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    if isinstance(status, int):
        words = "The provider " + _STATUS_IN_WORDS.get(status, "had an error")
        code = getattr(error, "code", None)
        known = isinstance(code, str) and _ERROR_CODE.fullmatch(code)
        words += f" (HTTP {status}, {code})." if known else f" (HTTP {status})."
        return ModelUnavailable(words, cost_unknown=status >= 500)
    if "Timeout" in names:
        return ModelUnavailable("The model did not answer in time.", cost_unknown=True)
    if "Connection" in names:
        return ModelUnavailable("The connection to the model failed or broke off.", cost_unknown=True)
    return ModelUnavailable(f"The model failed: {type(error).__name__}.", cost_unknown=True)
