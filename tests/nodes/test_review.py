"""`review` in anybody's own graph: the run waits, the question says everything, and only a fitting answer is taken."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel, ValidationError

from stanchion.errors import UsageError
from stanchion.nodes import WorkflowState, answered, outcome, review
from stanchion.nodes.decide import SAMPLED
from stanchion.nodes.review import MOST_EVIDENCE
from stanchion.question import Question
from stanchion.verdict import Candidate, Check, Evidence, Found, Outcome, Source, Verdict

CONFIG: Any = {"configurable": {"thread_id": "1"}}


class Note(BaseModel):
    """What is asked about."""

    total: int


@pytest.fixture
def graph() -> Any:
    """A graph that asks by no rule but its question."""
    return asking()


def asking(**rules: Any) -> Any:
    """Somebody's own graph: a review and its outcome, with LangGraph's own saver."""
    builder = StateGraph(WorkflowState)
    builder.add_node("review", review(Note, question="Right?", **rules))
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "review")
    builder.add_edge("review", "outcome")
    builder.add_edge("outcome", END)
    return builder.compile(checkpointer=InMemorySaver())


def doubtful(**state: Any) -> dict[str, Any]:
    """The state after a decision that a person has to look at."""
    verdict = Verdict(decision="review", confidence=0.4, reason="Unsure of total.")
    candidates = {rung: Candidate(rung=rung, output={"total": total}) for rung, total in (("rules", 4), ("model", 5))}
    return {"source": Source(text="x"), "verdict": verdict, "candidates": candidates, "rung": "model", **state}


def asked(graph: Any, **state: Any) -> dict[str, Any]:
    """The question that a graph stops with."""
    (interrupt,) = graph.invoke(doubtful(**state), CONFIG)["__interrupt__"]
    return dict(interrupt.value)


def test_the_question_says_everything(graph: Any) -> None:
    """Reason, confidence, proposal, what each rung said and the schema of an edit come with the question."""
    question = asked(graph, output={"total": 5})

    assert {name: question[name] for name in ("question", "reason", "confidence", "proposal", "alternatives")} == {
        "question": "Right?",
        "reason": "Unsure of total.",
        "confidence": 0.4,
        "proposal": {"total": 5},
        "alternatives": {"rules": {"total": 4}, "model": {"total": 5}},
    }
    assert question["schema"]["properties"]["total"]["type"] == "integer"


def test_without_a_decision_the_best_rung_is_proposed(graph: Any) -> None:
    """Where nothing was decided, what a model said comes before what quick rules found."""
    assert asked(graph)["proposal"] == {"total": 5}


def test_with_nothing_at_all_nothing_is_proposed(graph: Any) -> None:
    """A document that no rung could read is still a question."""
    assert asked(graph, candidates={})["proposal"] == {}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_approved_proposal_ends_reviewed(graph: Any, way: str) -> None:
    """The value is the proposal, and its rung stays where it came from."""
    asked(graph)
    resume = Command(resume={"action": "approve", "by": "Ada"})
    state = graph.invoke(resume, CONFIG) if way == "invoke" else asyncio.run(graph.ainvoke(resume, CONFIG))

    assert (state["outcome"].kind, state["outcome"].output, state["outcome"].rung) == (
        "reviewed",
        {"total": 5},
        "model",
    )
    assert (state["output"], state["outcome"].confidence) == ({"total": 5}, 0.4)


def test_an_edit_takes_the_persons_value(graph: Any) -> None:
    """The edited value counts, and its rung is `human`."""
    asked(graph)
    state = graph.invoke(Command(resume={"action": "edit", "output": {"total": 6}, "reason": "Smudged."}), CONFIG)

    assert state["output"] == {"total": 6}
    assert (state["outcome"].kind, state["outcome"].output, state["outcome"].rung) == (
        "reviewed",
        {"total": 6},
        "human",
    )
    assert state["outcome"].reason == "Smudged."


def test_a_rejection_has_a_reason_and_no_value(graph: Any) -> None:
    """A rejected document ends so, in the reviewer's words."""
    asked(graph)
    state = graph.invoke(Command(resume={"action": "reject", "reason": "Not ours."}), CONFIG)

    assert (state["outcome"].kind, state["outcome"].reason, state["outcome"].output) == ("rejected", "Not ours.", None)


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "shrug"},
        {"action": "approve", "outptu": {}},
        {"by": "Ada"},
        "approve",
        {"action": "edit", "output": "6"},
        {"action": "edit"},
        {"action": "edit", "output": {"total": "six"}},
        {"action": "approve", "output": {"total": 6}},
    ],
)
def test_an_answer_that_does_not_fit_leaves_the_question_open(graph: Any, answer: Any) -> None:
    """What is no approve, edit or reject is refused with an error, and the question can be answered again."""
    question = asked(graph)
    with pytest.raises(ValidationError, match="ReviewAnswer"):
        graph.invoke(Command(resume=answer), CONFIG)

    (pending,) = graph.get_state(CONFIG).interrupts
    assert pending.value == question
    state = graph.invoke(Command(resume={"action": "approve"}), CONFIG)
    assert state["outcome"].kind == "reviewed"


def test_the_question_says_where_its_values_stand(graph: Any) -> None:
    """By rules that found the same value, and by guards that looked; no place twice, and not without end."""
    one, other, guarded = (Evidence(start=start, end=start + 1) for start in (1, 2, 3))
    candidates = {
        "rules": Candidate(rung="rules", output={}, found={"total": Found(value="5.0", confidence=1, evidence=one)}),
        "model": Candidate(rung="model", output={}, found={"total": Found(value=6, confidence=1, evidence=other)}),
    }
    grounded = Check(guard="stanchion/grounded", path="total", status="pass", evidence=guarded)
    unknown = grounded.model_copy(update={"path": "tax"})
    many = [grounded.model_copy(update={"evidence": Evidence(start=n, end=n + 9)}) for n in range(100)]
    verdict = Verdict(decision="review", checks=[grounded, grounded, unknown, *many])
    evidence = asked(graph, output={"total": 5}, candidates=candidates, verdict=verdict)["evidence"]

    assert evidence["total"][:2] == [{"start": 1, "end": 2}, {"start": 3, "end": 4}]
    assert (list(evidence), len(evidence["total"])) == (["total"], MOST_EVIDENCE)


@pytest.mark.parametrize(
    ("stake", "value", "at_stake"),
    [
        ("total", {"total": -40}, 40.0),
        ("total", {"total": "40.50"}, 40.5),
        ("total", {"total": "much"}, 1.0),
        ("total", {"total": None}, 1.0),
        ("total", {"day": "today"}, 1.0),
        ("total", {"total": "nan"}, 1.0),
        (lambda value: value["total"] * 2, {"total": 40}, 80.0),
        (lambda value: value["nothing"], {"total": 40}, 1.0),
        (None, {"total": 40}, 1.0),
    ],
)
def test_the_question_says_what_is_at_stake(stake: Any, value: dict[str, Any], at_stake: float) -> None:
    """An amount of the proposal, or what a function makes of it; 1 where nobody can say."""
    question = asked(asking(stake=stake), output=value)

    assert question["stake"] == at_stake
    assert Question.of(question).priority == pytest.approx(at_stake * 0.6)


@pytest.mark.parametrize(("total", "people"), [(999, 1), (1000, 2), (-1000, 2), (None, 2)])
def test_large_stakes_take_two_people(total: int | None, people: int) -> None:
    """From the threshold on; also where the stake cannot be told."""
    assert asked(asking(stake="total", two_people_from=1000), output={"total": total})["people"] == people


@pytest.mark.parametrize(
    ("stake", "field"), [("total", "total"), (lambda value: value["total"], None)], ids=["a field", "a function"]
)
def test_the_rule_travels_in_the_question(stake: Any, field: str | None) -> None:
    """The threshold, and where an edited value's stake stands: a function cannot travel."""
    question = asked(asking(stake=stake, two_people_from=1000), output={"total": 5})

    assert (question["two_people_from"], question["stake_field"], question["people"]) == (1000, field, 1)


def test_the_question_carries_its_rules() -> None:
    """Role, expiry and the sampling stand in it, where the queue finds them; by default there are none."""
    rules = asking(role="accountant", expires=timedelta(days=14))
    drawn = Verdict(decision="review", checks=[Check(guard=SAMPLED, status="warn")])
    by_default = asked(asking(), output={"total": 5})
    question = asked(rules, output={"total": 5}, verdict=drawn)

    assert (question["role"], question["expires_after"], question["sampled"]) == ("accountant", 14 * 86_400.0, True)
    assert {name: by_default[name] for name in ("role", "people", "stake", "expires_after", "sampled")} == {
        "role": "reviewer",
        "people": 1,
        "stake": 1.0,
        "expires_after": None,
        "sampled": False,
    }


def test_nobody_in_time_is_no_rejection(graph: Any) -> None:
    """The run ends as expired, with the reason, and its edge leads to the safe default."""
    asked(graph)
    state = graph.invoke(Command(resume={"action": "expire", "reason": "Nobody answered."}), CONFIG)

    assert (state["outcome"].kind, state["outcome"].reason, state["outcome"].output) == (
        "expired",
        "Nobody answered.",
        None,
    )
    assert answered(state) == "expired"


@pytest.mark.parametrize("state", [{}, {"outcome": Outcome(kind="rejected")}, {"outcome": Outcome(kind="reviewed")}])
def test_whoever_answered_did_so(state: Any) -> None:
    """A rejection is an answer."""
    assert answered(state) == "answered"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"stake": "sum"}, "stake names a field of the output"),
        ({"two_people_from": 100}, "say with stake"),
        ({"stake": "total", "two_people_from": float("nan")}, "is a number; not nan"),
        ({"expires": timedelta(0)}, "expires is a time"),
        ({"role": " "}, "role names who may answer"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules: dict[str, Any], why: str) -> None:
    """Where the graph is built, and not when the first document waits."""
    with pytest.raises(UsageError, match=why):
        review(Note, **rules)
