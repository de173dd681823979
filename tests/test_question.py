"""`Question`: what an interrupt asks, read whatever it is, and how urgent it is."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.question import Question
from stanchion.verdict import Evidence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(Question.model_fields)) | st.text(), inner),
    max_leaves=20,
)


def test_a_question_survives_the_ledger() -> None:
    """Written as the interrupt's payload and read again, it is the same."""
    question = Question(
        question="Right?",
        confidence=0.4,
        proposal={"total": 5},
        evidence={"total": [Evidence(start=1, end=2)]},
        form={"type": "object"},
        people=2,
        expires_after=60.0,
    )
    payload = question.model_dump(mode="json", by_alias=True)

    assert payload["schema"] == {"type": "object"}
    assert Question.of(json.loads(json.dumps(payload))) == question


@pytest.mark.parametrize(
    ("stake", "confidence", "priority"),
    [(100.0, 0.75, 25.0), (100.0, None, 100.0), (0.0, 0.1, 0.0), (math.inf, 0.5, 0.5)],
)
def test_priority_is_the_expected_loss(stake: float, confidence: float | None, priority: float) -> None:
    """Stake times the probability of being wrong; no doubt stated is all doubt; a stake without bounds is none."""
    assert Question(question="?", stake=stake, confidence=confidence).priority == priority


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ({"total": 99}, 1),
        ({"total": "99.99"}, 1),
        ({"total": 100}, 2),
        ({"total": "-1e3"}, 2),
        ({"total": "nan"}, 2),
        ({"total": 10**400}, 2),
        ({"total": [1]}, 2),
        ({"total": None}, 2),
        ({}, 2),
        (None, 2),
        ("99", 2),
    ],
)
def test_from_the_threshold_on_two_people_agree(value: Any, people: int) -> None:
    """Also where nobody can say what a value's stake is; without a threshold, what was asked for holds."""
    assert Question(question="?", stake_field="total", two_people_from=100).people_for(value) == people
    assert Question(question="?", two_people_from=100).people_for(value) == 2
    assert Question(question="?", stake_field="total").people_for(value) == 1


@pytest.mark.parametrize(
    "asked", ["Delete it?", {"proposal": {"a": 1}, "question": 5}, {"proposal": "no"}, None, 7, []]
)
def test_somebody_elses_question_is_words_and_perhaps_a_proposal(asked: Any) -> None:
    """What is none of ours asks one reviewer, without expiry."""
    question = Question.of(asked)

    assert question.question == (asked if isinstance(asked, str) else "")
    assert question.proposal == ({"a": 1} if isinstance(asked, dict) and isinstance(asked["proposal"], dict) else None)
    assert (question.role, question.people, question.expires_after) == ("reviewer", 1, None)


@pytest.mark.parametrize("fault", [{"reason": None}, {"question": 5}, {"confidence": 2}, {"schema": "none"}, {}])
def test_a_rule_holds_whatever_else_is_wrong(fault: dict[str, Any]) -> None:
    """A fault in one key of somebody's own question, or no words at all, does not let one person answer for two."""
    question = Question.of({"people": 2, "role": "operator", "proposal": {"a": 1}, **fault})

    assert (question.people, question.role, question.proposal) == (2, "operator", {"a": 1})


@given(asked=JSON)
def test_whatever_is_asked_can_be_queued(asked: Any) -> None:
    """Priority and stake are numbers that sort, and nobody is asked for three people."""
    question = Question.of(asked)

    assert math.isfinite(question.stake)
    assert math.isfinite(question.priority)
    assert question.people in (1, 2)


def test_a_question_nested_without_end_is_still_one() -> None:
    """A hundred thousand brackets raise nothing."""
    nested: Any = "x"
    for _ in range(100_000):
        nested = [nested]

    assert Question.of({"question": "?", "proposal": {"a": nested}, "people": "many"}).people == 1
