"""Recorded answers: a model that says again what it said, and is down where nothing was recorded."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from stanchion.errors import ModelUnavailable
from stanchion.models.recorded import RecordedModel, answers_on_record

ASKED, AGAIN = HumanMessage("Read this."), HumanMessage("Wrong.")


def test_the_next_answer_follows_from_the_conversation() -> None:
    """The n-th answer comes after n - 1 answers, in whatever order it is asked: a resumed run goes on with its own."""
    model = RecordedModel(name_on_record="m", answers=["first", "second"])
    repair = [ASKED, AIMessage("first"), AGAIN]

    assert [model.invoke(messages).text for messages in (repair, [ASKED], repair)] == ["second", "first", "second"]


@pytest.mark.parametrize("answers", [[], ["one"]])
def test_what_was_not_recorded_is_unavailable(answers: list[str]) -> None:
    """With no answer left the model is down at once, and the message names the model."""
    model = RecordedModel(name_on_record="gpt-x", answers=answers)
    with pytest.raises(ModelUnavailable, match="No answer of gpt-x is recorded"):
        model.invoke([ASKED, *[AIMessage("one") for _ in answers]])


def test_an_answer_may_be_json_itself() -> None:
    """Anything but a text is answered as the JSON that it stands for."""
    answer = {"company": "Café", "total": 1.5}
    text = RecordedModel(name_on_record="m", answers=[answer]).invoke([ASKED]).text

    assert json.loads(text) == answer
    assert "Café" in text


def test_tokens_are_estimated() -> None:
    """Four characters count as one token, so that what the answers would cost can be seen."""
    usage = RecordedModel(name_on_record="m", answers=["x" * 40]).invoke([HumanMessage("y" * 80)]).usage_metadata

    assert usage == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


@pytest.mark.parametrize(
    ("recorded", "answers"),
    [
        ({"m": "one"}, ["one"]),
        ({"m": ["one", "two"]}, ["one", "two"]),
        ({"m": {"total": 1}}, [{"total": 1}]),
        ({"m": []}, []),
        ({"m": None}, []),
        ({"other": "one"}, []),
        ({}, []),
        (None, []),
        ("m", []),
    ],
)
def test_answers_of_a_row(recorded: object, answers: list[object]) -> None:
    """One answer or a list of them is a list; anything else means that nothing was recorded."""
    assert answers_on_record(recorded, "m") == answers


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_stands_in_a_dataset_is_taken(recorded: object) -> None:
    """A row comes from outside: no shape of it raises."""
    assert isinstance(answers_on_record(recorded, "m"), list)
