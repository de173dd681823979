"""Schedules, wrong values, and faults laid over models in process."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import repeat
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelRateLimitError,
)
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, ConfigDict, Field

from stanchion.errors import ModelUnavailable, UsageError
from stanchion.models.providers import bind_schema, load_model
from stanchion.models.recorded import RecordedModel
from stanchion.testing import (
    FAULTS,
    FakeClock,
    Fault,
    FaultPlan,
    FaultyModel,
    OpenAIServer,
    ScriptedModel,
    burst,
    constant,
    outage,
    rate_limited,
    slow_first_token,
)
from stanchion.testing.wrong_values import wrong_text

GOOD = '{"number": "A-17", "total": 40}'
SCHEMA = {
    "title": "Bill",
    "description": "A bill.",
    "type": "object",
    "properties": {"number": {"type": "string"}, "total": {"type": "integer"}},
    "required": ["number", "total"],
    "additionalProperties": False,
}

ask_each_way = pytest.mark.parametrize(
    "ask", [lambda chat: chat.invoke("a"), lambda chat: asyncio.run(chat.ainvoke("a"))], ids=["sync", "async"]
)


def faulty(fault: str | Fault, answers: Any = None, **options: Any) -> FaultyModel:
    fault = FAULTS[fault] if isinstance(fault, str) else fault
    return FaultyModel(ScriptedModel(answers or repeat(GOOD)), FaultPlan("test", fault), **options)


class Streaming(FakeListChatModel):
    """A model without a network that can stream, and has a way of its own for LangChain's newer streams."""

    responses: list[str] = [GOOD]  # noqa: RUF012 - pydantic copies it

    def _stream_chat_model_events(self) -> None:
        """LangChain looks for this by name."""


# --- schedules


@settings(max_examples=200)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 10_000), st.floats(0, 1e6))
def test_a_burst_strikes_the_first_few_of_every_so_many(every: int, length: int, number: int, seconds: float) -> None:
    """Of any `every` requests in a row `length` are struck, whenever they come, beginning with the very first."""
    length = min(every, length)
    schedule = burst(every=every, length=length)
    assert sum(schedule.strikes(n, seconds) for n in range(number, number + every)) == length
    assert [schedule.strikes(n, seconds) for n in range(1, every + 1)] == [True] * length + [False] * (every - length)


@settings(max_examples=200)
@given(st.floats(0, 1e6), st.floats(0.001, 1e6), st.floats(0, 3e6), st.integers(1, 10_000))
def test_an_outage_strikes_by_time_alone(begin: float, lasts: float, seconds: float, number: int) -> None:
    """From its begin to just before its end every request is struck, and no other."""
    end = begin + lasts
    assert outage(from_=begin, to=end).strikes(number, seconds) == (begin <= seconds < end)


@given(st.integers(1), st.floats(0))
def test_a_constant_fault_strikes_always(number: int, seconds: float) -> None:
    """No request is spared, but in the year infinity."""
    assert constant().strikes(number, seconds) == (seconds < math.inf)


@pytest.mark.parametrize(
    "make",
    [
        lambda: burst(every=0, length=0),
        lambda: burst(every=2, length=3),
        lambda: burst(every=2, length=0),
        lambda: outage(from_=5, to=5),
        lambda: outage(from_=-1, to=5),
        lambda: outage(from_=math.nan, to=5),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    """The error names what stands between what."""
    with pytest.raises(UsageError, match=r"1 <= length <= every|0 <= from_ < to"):
        make()


def test_an_outage_counts_from_the_first_request_and_ends() -> None:
    """However long nobody asks, time begins with the first request; requests and strikes are counted."""
    clock = FakeClock()
    plan = FaultPlan("down", FAULTS["overloaded"], outage(from_=5, to=20))
    chat = FaultyModel(ScriptedModel(repeat("yes")), plan, clock=clock)
    clock.advance(1000)
    assert chat.invoke("a").text == "yes"
    for wait in (5, 14.5):
        clock.advance(wait)
        with pytest.raises(ModelAPIError):
            chat.invoke("a")
    clock.advance(0.5)
    assert chat.invoke("a").text == "yes"
    assert (chat.requests, chat.faults) == (4, {"overloaded": 2})


# --- wrong values


class Line(BaseModel):
    """One line of a bill, with bounds."""

    model_config = ConfigDict(extra="forbid")
    quantity: int = Field(ge=1, le=3)
    price: float = Field(ge=0, le=1000)


class Bill(BaseModel):
    """A bill with every kind of field."""

    model_config = ConfigDict(extra="forbid")
    number: str = Field(pattern=r"^[A-Z]-\d+$")
    day: date
    kind: Literal["invoice", "credit note"]
    paid: bool
    share: float = Field(gt=0, lt=1)
    tax: int | None
    lines: list[Line]


bills = st.builds(
    Bill,
    number=st.from_regex(r"^[A-Z]-[0-9]{1,8}\Z"),
    share=st.floats(0.001, 0.999),
    tax=st.none() | st.integers(-(10**6), 10**6),
    lines=st.lists(st.builds(Line, quantity=st.integers(1, 3), price=st.floats(0, 1000)), max_size=4),
)


@settings(max_examples=200)
@given(bills)
def test_a_wrong_answer_follows_its_schema_and_no_number_in_it_is_right(bill: Bill) -> None:
    """References, bounds, patterns, formats and choices hold; every number, date, switch and choice is another."""
    wrong = Bill.model_validate_json(wrong_text(bill.model_dump_json(), Bill.model_json_schema()))
    for name in set(Bill.model_fields) - {"lines", "tax"}:
        assert getattr(wrong, name) != getattr(bill, name)
    assert (wrong.tax is None) if bill.tax is None else (wrong.tax not in (None, bill.tax))
    for new, old in zip(wrong.lines, bill.lines, strict=True):
        assert new.quantity != old.quantity
        assert new.price != old.price


@pytest.mark.parametrize(
    ("true", "wrong"),
    [
        ('{"a": 1, "b": null, "c": true}', '{"a": 2, "b": null, "c": false}'),
        ('{"total": "43.50", "day": "2024-02-29"}', '{"total": "44.51", "day": "2025-02-28"}'),
        ('{"name": "tea", "price": 9}', '{"name": "tea", "price": 10}'),
        ('{"name": "tea"}', '{"name": "aet"}'),
        ("It costs 19 euro.", "It costs 11 euro."),
        ("No idea.", ".aedi oN"),
    ],
)
def test_without_a_schema_the_form_is_kept(true: str, wrong: str) -> None:
    """Numbers and dates change; where there are none, the texts do."""
    assert wrong_text(true) == wrong


def test_among_alternatives_the_one_that_the_value_is_of_counts() -> None:
    """Choices do not mix, and what has one choice only stays."""
    schema = {"items": {"anyOf": [{"enum": ["a", "b"]}, {"$ref": "#/$defs/other"}, {"const": 5}]}}
    schema["$defs"] = {"other": {"allOf": [{"enum": ["c", "d"]}]}}
    assert json.loads(wrong_text('["a", "b", "c", "d", 5]', schema)) == ["b", "a", "d", "c", 5]


@settings(max_examples=200)
@given(st.text() | st.sampled_from(["[" * 100_000, "1" * 100_000, "\0" * 1000, '"\\ud800"', "NaN", "1e999"]))
def test_any_text_and_any_schema_is_survived(text: str) -> None:
    """Brackets, endless numbers and cyclic references come back as some text."""
    cyclic = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"pattern": "("}]}}}
    assert isinstance(wrong_text(text), str)
    assert isinstance(wrong_text(text, cyclic), str)


# --- the table


def test_the_table_names_each_fault_once_and_says_what_it_does() -> None:
    """A fault is found under its own name, and is a value."""
    assert all(name == fault.name and fault.meaning for name, fault in FAULTS.items())
    assert rate_limited() == FAULTS["rate_limited"] != rate_limited(2)
    assert slow_first_token(10) == FAULTS["slow_first_token"] != slow_first_token(11)


# --- over a model


STATUSES: dict[str, tuple[type[ModelError], int, str | None]] = {
    "rate_limited": (ModelRateLimitError, 429, "rate_limit_exceeded"),
    "rate_limited_retry_after": (ModelRateLimitError, 429, "rate_limit_exceeded"),
    "overloaded": (ModelAPIError, 503, None),
    "server_error": (ModelAPIError, 500, None),
    "html_error_page": (ModelAPIError, 502, None),
    "auth_lost": (ModelAuthenticationError, 401, "invalid_api_key"),
    "bad_request": (ModelInvalidRequestError, 400, None),
    "context_too_long": (ContextOverflowError, 400, "context_length_exceeded"),
}


@ask_each_way
@pytest.mark.parametrize("name", STATUSES)
def test_a_status_is_an_error_as_the_clients_raise_it(name: str, ask: Callable[[Any], Any]) -> None:
    """Class, status, code and response are those of the same fault over HTTP, and the model inside is not asked."""
    kind, status, code = STATUSES[name]
    chat = faulty(name)
    with pytest.raises(kind) as raised:
        ask(chat)
    error: Any = raised.value
    assert (error.status_code, error.code, error.response.status_code) == (status, code, status)
    assert chat.history == []

    with OpenAIServer([GOOD], faults=FaultPlan("test", FAULTS[name])) as server, pytest.raises(kind) as raised:
        ask(ChatOpenAI(base_url=server.url, api_key="test", model="m", max_retries=0))
    real: Any = raised.value
    assert (real.status_code, real.code, real.body) == (error.status_code, error.code, error.body)
    assert real.response.content == error.response.content
    for header in ("retry-after", "retry-after-ms"):
        assert real.response.headers.get(header) == error.response.headers.get(header)


@ask_each_way
@pytest.mark.parametrize("name", ["connection_reset", "broken_stream"])
def test_a_lost_connection_is_a_connection_error(name: str, ask: Callable[[Any], Any]) -> None:
    """It says nothing of whether the model was asked."""
    with pytest.raises(ModelConnectionError):
        ask(faulty(name))


@ask_each_way
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("truncated", GOOD[: len(GOOD) // 2], "length"),
        ("content_filter", GOOD[: len(GOOD) // 2], "content_filter"),
        ("malformed", "{'number' = 'A-17', 'total' = 40}}", "stop"),
        ("wrong_but_valid", '{"number": "A-18", "total": 41}', "stop"),
        ("empty", "", "stop"),
    ],
)
def test_a_spoilt_answer_is_one_that_was_paid_for(name: str, text: str, reason: str, ask: Callable[[Any], Any]) -> None:
    """The model inside is asked, its usage stays, its answer is what the fault makes of it."""
    chat = faulty(name)
    said = ask(chat)
    assert (said.text, said.response_metadata["finish_reason"]) == (text, reason)
    assert said.usage_metadata["output_tokens"] == len(GOOD) // 4
    assert len(chat.history) == 1


@pytest.mark.parametrize(
    ("name", "calls", "broken"),
    [
        ("wrong_but_valid", [{"total": 2}], []),
        ("malformed", [], ["{'total' = 3}}"]),
        ("truncated", [], ['{"tota']),
        ("empty", [], []),
        ("slow_first_token", [{"total": 3}], []),
    ],
)
def test_called_tools_are_spoilt_like_texts(name: str, calls: list[Any], broken: list[str]) -> None:
    """Arguments follow the tool's own schema, or are no JSON any more."""
    answer = AIMessage("", tool_calls=[{"name": "Bill", "args": {"total": 3}, "id": "1"}])
    schema = {"title": "Bill", "type": "object", "properties": {"total": {"type": "integer", "maximum": 3}}}
    said = faulty(name, [answer], clock=FakeClock()).bind_tools([schema]).invoke("a")
    assert [call["args"] for call in said.tool_calls] == calls
    assert [call["args"] for call in said.invalid_tool_calls] == broken


@ask_each_way
def test_a_slow_answer_takes_its_time_on_the_clock_and_is_right(ask: Callable[[Any], Any]) -> None:
    """The clock that was handed in is slept on, no other."""
    clock = FakeClock()
    assert ask(faulty(slow_first_token(3600), clock=clock)).text == GOOD
    assert clock.monotonic() == 3600


@pytest.mark.parametrize("name", ["hang", "stalled_stream"])
def test_what_hangs_is_ended_by_a_cancellation(name: str) -> None:
    """An asynchronous caller that gives up is free at once, and the others go on hanging."""

    async def story() -> None:
        chat = faulty(name)
        patient, hasty = (asyncio.create_task(chat.ainvoke("a")) for _ in range(2))
        while chat.requests < 2:
            await asyncio.sleep(0)
        hasty.cancel()
        await asyncio.wait([hasty])
        assert hasty.cancelled()
        assert not patient.done()
        chat.release()
        with pytest.raises(ModelConnectionError):
            await patient

    asyncio.run(story())


def test_what_hangs_in_threads_is_ended_by_release() -> None:
    """Blocking callers hang until they are released, and none begins to hang afterwards."""
    chat = faulty("hang")
    with ThreadPoolExecutor(3) as pool:
        hanging = [pool.submit(chat.invoke, "a") for _ in range(3)]
        assert not any(call.done() for call in hanging)
        chat.release()
        assert all(isinstance(call.exception(), ModelConnectionError) for call in hanging)
        assert isinstance(pool.submit(chat.invoke, "a").exception(timeout=10), ModelConnectionError)
    assert chat.faults == {"hang": 4}


def bound_bill(chat: Any) -> Any:
    return bind_schema(chat, SCHEMA).invoke("a")


def test_a_schema_is_bound_as_the_model_inside_binds_it() -> None:
    """Our door's binding reaches a scripted, a recorded and a real model, and the fault strikes through it."""
    plan = FaultPlan("every second", FAULTS["wrong_but_valid"], burst(every=2, length=1))
    inside = ScriptedModel([GOOD, GOOD])
    plain = ScriptedModel([GOOD])
    bound_bill(plain)
    chat = FaultyModel(inside, plan)
    assert [json.loads(bound_bill(chat).text)["total"] for _ in range(2)] == [41, 40]
    assert inside.bound == plain.bound * 2
    assert plain.bound[0]["tools"]

    recorded = FaultyModel(RecordedModel(name_on_record="m", answers=[GOOD]), plan)
    assert [json.loads(bound_bill(recorded).text)["total"] for _ in range(2)] == [41, 40]

    with OpenAIServer(repeat(GOOD)) as server:
        openai = ChatOpenAI(base_url=server.url, api_key="test", model="gpt-4o-mini", max_retries=0)
        over = FaultyModel(openai, plan)
        assert [json.loads(bound_bill(over).text)["total"] for _ in range(2)] == [41, 40]
        bound_bill(openai)
        sent = [request.body for request in server.requests]
    assert sent[0] == sent[1] == sent[2]
    assert sent[0]["response_format"]["json_schema"]["name"] == "Bill"


class ShortBill(BaseModel):
    """As `SCHEMA` says."""

    number: str
    total: int


@pytest.mark.parametrize("schema", [SCHEMA, ShortBill], ids=["dict", "class"])
@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output_is_parsed_from_the_spoilt_answer(schema: Any, include_raw: bool) -> None:
    """What the model inside's own chain parses is what the fault left, not what the client had read before."""
    with OpenAIServer(repeat(GOOD)) as server:
        openai = ChatOpenAI(base_url=server.url, api_key="test", model="gpt-4o-mini", max_retries=0)
        chat = FaultyModel(openai, FaultPlan("wrong", FAULTS["wrong_but_valid"]))
        said: Any = chat.with_structured_output(schema, include_raw=include_raw).invoke("a")
    parsed = said["parsed"] if include_raw else said
    assert dict(parsed) == {"number": "A-18", "total": 41}


def test_what_cannot_be_parsed_is_not_parsed_from_the_true_answer() -> None:
    """What the client had read before the fault struck does not come through."""
    with OpenAIServer([GOOD]) as server:
        openai = ChatOpenAI(base_url=server.url, api_key="test", model="gpt-4o-mini", max_retries=0)
        chat = FaultyModel(openai, FaultPlan("broken", FAULTS["malformed"]))
        with pytest.raises(ValueError, match="parsed"):
            chat.with_structured_output(ShortBill).invoke("a")


def test_what_is_not_struck_is_as_without_a_plan() -> None:
    """Answers, names, errors of the model inside and its other attributes come through."""
    plan = FaultPlan("never", FAULTS["hang"], outage(from_=1e9, to=2e9))
    openai = ChatOpenAI(api_key="test", model="gpt-4o-mini", metadata={"a": 1})
    chat = FaultyModel(openai, plan)
    assert load_model(chat).name == load_model(openai).name == "openai:gpt-4o-mini"
    assert (chat.model_name, chat.metadata) == ("gpt-4o-mini", openai.metadata)
    assert not hasattr(FaultyModel(Streaming(), plan), "_stream_chat_model_events")  # a way past the plan
    with pytest.raises(AttributeError, match="nonsense"):
        _ = chat.nonsense
    with pytest.raises(ModelUnavailable):
        FaultyModel(ScriptedModel([]), plan).invoke("a")
    assert FaultyModel(ScriptedModel(["x"]), plan).invoke("a").text == "x"


def test_plans_can_be_laid_one_over_another() -> None:
    """The outer plan strikes first; what it spares meets the inner one."""
    inner = FaultyModel(ScriptedModel(repeat(GOOD)), FaultPlan("wrong", FAULTS["wrong_but_valid"]))
    chat = FaultyModel(inner, FaultPlan("busy", FAULTS["rate_limited"], burst(every=2, length=1)))
    with pytest.raises(ModelRateLimitError):
        chat.invoke("a")
    assert json.loads(bound_bill(chat).text)["total"] == 41
    assert (chat.requests, inner.requests) == (2, 1)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_is_spoilt_like_an_answer(is_async: bool) -> None:
    """Streamed, an answer comes in two pieces, wrong, or is broken off after the first; or there is none."""

    def streamed(name: str) -> tuple[list[str], ModelError | None]:
        chat = FaultyModel(Streaming(), FaultPlan("test", FAULTS[name], burst(every=2, length=1)))
        said: list[str] = []

        async def read() -> None:
            async for chunk in chat.astream("a"):
                said.append(chunk.text)

        try:
            if is_async:
                asyncio.run(read())
            else:
                said.extend(chunk.text for chunk in chat.stream("a"))
        except ModelError as error:
            return said, error
        assert len([chunk for chunk in chat.stream("a") if chunk.text]) == len(GOOD)  # the model's own pieces
        return said, None

    said, error = streamed("wrong_but_valid")
    assert (json.loads("".join(said))["total"], error) == (41, None)
    assert sum(map(bool, said)) == 2
    said, error = streamed("broken_stream")
    assert "".join(said) == GOOD[: len(GOOD) // 2]
    assert isinstance(error, ModelConnectionError)
    assert isinstance(streamed("server_error")[1], ModelAPIError)


def test_a_stalled_stream_begins_and_falls_silent() -> None:
    """Half of the text has come when nothing more does."""

    async def story() -> None:
        chat = FaultyModel(Streaming(), FaultPlan("test", FAULTS["stalled_stream"]))
        stream = chat.astream("a")
        assert (await anext(stream)).text == GOOD[: len(GOOD) // 2]
        more = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        assert not more.done()
        chat.release()
        with pytest.raises(ModelConnectionError):
            await more

    asyncio.run(story())
