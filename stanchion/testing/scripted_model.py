"""A chat model that answers from a script and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from stanchion.errors import ModelUnavailable, UsageError

Answer = str | AIMessage | BaseException | Callable[[list[BaseMessage]], Any]
"""What a script holds: a text, a whole message, an error to raise, or a function of the messages that gives one."""


class ScriptedModel(BaseChatModel):
    """A LangChain chat model that gives the answers of a script, one per call, sync or async.

    Args:
        answers: the script, in order: texts, messages, errors to raise, or functions of the messages that give one of
            these. Any iterable: `itertools.repeat("yes")` never runs out.

    Attributes:
        history: the messages of each call so far, in the order in which the calls came.
        bound: per call, the keyword arguments that came with it, such as `response_format` or `tools`.

    Raises:
        UsageError: if `answers` is a single text.
        ModelUnavailable: by a call, when the script has run out.
    """

    history: list[list[BaseMessage]] = Field(default_factory=list)
    bound: list[dict[str, Any]] = Field(default_factory=list)
    _answers: Iterator[Answer] = PrivateAttr()
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, answers: Iterable[Answer]) -> None:
        super().__init__()
        if isinstance(answers, str):
            raise UsageError('ScriptedModel takes a list of answers, not a text: ScriptedModel(["..."])')
        self._answers = iter(answers)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as every chat model does; they are recorded in `bound`, the script decides whether to call one."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - a script does not stop early
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._next(messages, kwargs)
        while callable(answer):
            answer = answer(messages)
        if isinstance(answer, BaseException):
            raise answer
        message = AIMessage(content=answer) if isinstance(answer, str) else answer
        return ChatResult(generations=[ChatGeneration(message=_complete(message, messages))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)  # nothing here waits, so no thread is needed

    def _next(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> Answer:
        with self._lock:
            self.history.append(list(messages))
            self.bound.append(kwargs)
            try:
                return next(self._answers)
            except StopIteration:
                calls = len(self.history)
        raise ModelUnavailable(f"ScriptedModel has no answer for call {calls}; give its script one more")


def _complete(message: AIMessage, messages: list[BaseMessage]) -> AIMessage:
    """Copy a scripted message (LangChain writes ids into what it is given) and add what a provider would have said."""
    return message.model_copy(
        update={
            "usage_metadata": message.usage_metadata or _usage(message, messages),
            "response_metadata": {"model_name": "scripted", "finish_reason": "stop", **message.response_metadata},
        }
    )


def _usage(message: AIMessage, messages: list[BaseMessage]) -> UsageMetadata:
    """Count about four characters to a token, as English text has (https://platform.openai.com/tokenizer)."""
    tokens_in = sum(len(one.text) for one in messages) // 4
    tokens_out = len(message.text) // 4
    return UsageMetadata(input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=tokens_in + tokens_out)
