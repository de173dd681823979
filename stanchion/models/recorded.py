"""A chat model that answers with what a dataset has on record, and is down where nothing was recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from stanchion.errors import ModelUnavailable


class RecordedModel(BaseChatModel):
    """Answers one input's questions from a list: the first answer, then its repairs.

    Which answer comes next follows from the conversation alone (how many answers it already holds), so a run that is
    resumed after a crash goes on with the right one. Tokens are estimated at four characters each (a rule of thumb of
    OpenAI's, https://help.openai.com/en/articles/4936856), so that what the answers would cost can be seen.

    Args:
        name_on_record: the model whose answers these are.
        answers: in order; text, or anything else as the JSON it stands for. Empty: the model is down.
    """

    name_on_record: str
    answers: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - the interface's
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        given = sum(isinstance(message, AIMessage) for message in messages)
        if given >= len(self.answers):
            raise ModelUnavailable(f"No answer of {self.name_on_record} is recorded for this question.")
        answer = self.answers[given]
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        read, written = sum(len(message.text) for message in messages) // 4, len(text) // 4
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text, usage_metadata=usage))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)  # nothing here waits, so no thread is needed


def answers_on_record(recorded: Any, name: str) -> list[Any]:
    """Return one model's answers from a dataset row's `recorded`, as a list; empty where there are none.

    Args:
        recorded: `{model name: answer or list of answers}`, as it came from outside.
        name: the model's name.
    """
    answers = recorded.get(name) if isinstance(recorded, dict) else None
    if answers is None:
        return []
    return list(answers) if isinstance(answers, Sequence) and not isinstance(answers, str) else [answers]
