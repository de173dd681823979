"""The scripted model is a chat model like any other, but for its script and its memory."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from stanchion.errors import ModelUnavailable, UsageError
from stanchion.testing import ScriptedModel


def test_answers_come_in_order_sync_and_async_and_the_questions_are_kept() -> None:
    """One script serves both ways of calling, and `history` has every question in order."""
    model = ScriptedModel(["one", AIMessage("two"), lambda messages: f"{messages[-1].text}, three"])

    said = [model.invoke("a").text, asyncio.run(model.ainvoke("b")).text, model.invoke("c").text]

    assert said == ["one", "two", "c, three"]
    assert [[message.text for message in messages] for messages in model.history] == [["a"], ["b"], ["c"]]


def test_an_error_in_the_script_is_raised_also_from_a_function() -> None:
    """Errors stand in a script as answers do."""
    model = ScriptedModel([TimeoutError("slow"), lambda _: ConnectionError("gone"), "back"])
    with pytest.raises(TimeoutError, match="slow"):
        model.invoke("a")
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(model.ainvoke("a"))
    assert model.invoke("a").text == "back"


def test_a_script_that_has_run_out_says_at_which_call() -> None:
    """The end of a script is a model that is unavailable, not a repetition."""
    model = ScriptedModel(["only"])
    model.invoke("a")
    with pytest.raises(ModelUnavailable, match="call 2"):
        model.invoke("b")
    assert len(model.history) == 2


def test_what_is_bound_is_recorded_per_call() -> None:
    """`bind` and `bind_tools` do no harm, and `bound` shows what each call carried."""

    def look_up(name: str) -> str:
        """Look up a name."""
        return name

    model = ScriptedModel(itertools.repeat("yes"))
    model.bind(response_format={"type": "json_object"}).invoke("a")
    model.bind_tools([look_up], tool_choice="any").invoke("b")
    model.invoke("c")

    formats, tools, nothing = model.bound
    assert formats == {"response_format": {"type": "json_object"}}
    assert (tools["tools"][0]["function"]["name"], tools["tool_choice"]) == ("look_up", "any")
    assert nothing == {}


def test_structured_output_works_when_the_script_calls_the_tool() -> None:
    """LangChain's own `with_structured_output` can be used on a scripted model."""
    schema = {"title": "Total", "description": "d", "type": "object", "properties": {"total": {"type": "string"}}}
    call = AIMessage("", tool_calls=[{"name": "Total", "args": {"total": "9.00"}, "id": "1"}])
    answer = ScriptedModel([call]).with_structured_output(schema, include_raw=True).invoke("a")
    assert answer["parsed"] == {"total": "9.00"}


def test_usage_is_about_a_token_for_four_characters_unless_the_script_knows_better() -> None:
    """Every answer reports usage; one that the script gave stays."""
    known = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    model = ScriptedModel(["x" * 40, AIMessage("y", usage_metadata=known)])
    assert model.invoke("q" * 80).usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    assert model.invoke("q").usage_metadata == known


def test_a_message_in_the_script_is_copied_not_changed() -> None:
    """One message can stand in many scripts: LangChain's id is written to a copy."""
    message = AIMessage("same")
    ScriptedModel([message]).invoke("a")
    assert message.id is None
    assert message.usage_metadata is None


def test_each_of_many_threads_gets_an_answer_of_its_own() -> None:
    """No answer is lost or given twice when threads share a model."""

    def script() -> Iterator[str]:
        for number in range(200):
            os.sched_yield()  # invites another thread to come in between
            yield str(number)

    model = ScriptedModel(script())
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: model.invoke([HumanMessage("a")]).text, range(200)))
    assert sorted(said, key=int) == [str(number) for number in range(200)]
    assert len(model.history) == len(model.bound) == 200


def test_a_single_text_is_refused_as_a_script() -> None:
    """A text would otherwise be taken for a list of letters."""
    with pytest.raises(UsageError, match="list of answers"):
        ScriptedModel("hello")
