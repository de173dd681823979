"""The model of a drill: it answers for free, what a dataset has on record or else what the asked schema allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field

from stanchion.audit.call_site import call_site_of
from stanchion.audit.made_up import made_up
from stanchion.models.recorded import RecordedModel, answers_on_record
from stanchion.runs.inputs import Input
from stanchion.runs.records import Run

REPAIRS = 5  # how often the last recorded answer is given again, to whoever asks for a better one


class StandIn(BaseChatModel):
    """Answers in place of a paid model; its answers are counted at the price of `gpt-4o-mini`.

    So a drill shows what faults would cost without costing anything. Asked again, it says the last recorded answer
    again: a healthy model does not break down because it is asked twice.

    Args:
        recorded: input id to its recorded answers; None: nothing is on record, and answers are made up.
    """

    model_config = ConfigDict(protected_namespaces=())

    recorded: dict[str, list[Any]] | None = None
    model_name: str = "gpt-4o-mini"
    inputs_of_runs: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, inputs: Iterable[Input], name: str | None = None) -> StandIn:
        """Make one that answers from what the inputs have on record.

        Args:
            inputs: all that will be run.
            name: whose answers; None: of the first model that any input has answers of.
        """
        kept = list(inputs)
        names = [name] if name else [name for item in kept for name in item.recorded or {}]
        if not names:
            return cls()
        return cls(recorded={item.id: answers_on_record(item.recorded, names[0]) for item in kept})

    def know(self, runs: Iterable[Run]) -> None:
        """Learn which run is of which input.

        Args:
            runs: as the ledger has them.
        """
        self.inputs_of_runs.update({run.id: run.input_id for run in runs})

    @property
    def _llm_type(self) -> str:
        return "openai-chat"  # priced so

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as every chat model does."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.recorded is None:
            return ChatResult(generations=[ChatGeneration(message=_answer(messages, kwargs))])
        answers = self.recorded.get(self.inputs_of_runs.get(call_site_of(run_manager).run_id, ""), [])
        whole = answers + answers[-1:] * REPAIRS
        return RecordedModel(name_on_record="the drill", answers=whole)._generate(messages, stop)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, run_manager, **kwargs)  # nothing here waits, so no thread is needed


def _answer(messages: Sequence[BaseMessage], asked: Mapping[str, Any]) -> AIMessage:
    """Make up what was asked for; a tool is called only where the model has no choice, since tools may do something."""
    if (schema := _schema(asked)) is not None:
        value = made_up(schema)
        message = AIMessage(json.dumps(value), additional_kwargs={"parsed": value})  # where ChatOpenAI looks for it
    elif tool := _forced_tool(asked):
        arguments = made_up(tool.get("parameters") or {"type": "object"})
        message = AIMessage("", tool_calls=[{"name": tool["name"], "args": arguments, "id": f"call-{len(messages)}"}])
    else:
        message = AIMessage("This answer, number 42, was made up.")
    read, written = sum(len(one.text) for one in messages) // 4, len(json.dumps(message.content)) // 4
    usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return message.model_copy(update={"usage_metadata": usage, "response_metadata": {"finish_reason": "stop"}})


def _schema(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = asked.get("response_format")
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):  # as ChatOpenAI hands a pydantic type on
        return wanted.model_json_schema()
    found = wanted.get("json_schema", {}).get("schema") if isinstance(wanted, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _forced_tool(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choice = asked.get("tool_choice")
    tools = [tool["function"] for tool in asked.get("tools") or () if "function" in tool]
    if not tools or choice in (None, False, "auto", "none"):
        return None
    name = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else choice
    named: list[Mapping[str, Any]] = [tool for tool in tools if tool["name"] == name]
    return (named or tools)[0]
