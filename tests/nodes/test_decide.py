"""`decide` and `weigh_rungs`: which value to believe, how much, and whether a person has to look."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stanchion import RunContext
from stanchion.errors import UsageError
from stanchion.guards import Plausible, guarded
from stanchion.nodes import Choice, WorkflowState, decide, weigh_rungs
from stanchion.nodes.decide import SAMPLED
from stanchion.verdict import Candidate, Check, Found, Source

SOURCE = Source(text="Total 5")


class Note(BaseModel):
    """What is decided on."""

    total: Annotated[int, guarded(Plausible(maximum=100))]
    day: date | None = None


def rules(**fields: tuple[Any, float]) -> Candidate:
    """What rules say: field to value and confidence."""
    found = {name: Found(value=value, confidence=confidence) for name, (value, confidence) in fields.items()}
    return Candidate(rung="rules", output={name: item.value for name, item in found.items()}, found=found)


def model(checks: tuple[Check, ...] = (), claimed: float | None = None, **output: Any) -> Candidate:
    """What a model says; it states no confidence per field."""
    return Candidate(rung="model", output=output, checks=list(checks), claimed=claimed)


def weighed(*candidates: Candidate) -> Choice:
    """The choice for the total."""
    return weigh_rungs(SOURCE, candidates)["total"]


def decided(*candidates: Candidate, way: str = "invoke", **options: Any) -> dict[str, Any]:
    """The state after a plain graph of this one node."""
    options = {"critical": ("total",), "accept_at": 0.5, **options}
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("decide", decide(Note, **options))
    builder.add_edge(START, "decide")
    builder.add_edge("decide", END)
    graph = builder.compile()
    state = {"source": SOURCE, "candidates": {item.rung: item for item in candidates}}
    return graph.invoke(state) if way == "invoke" else asyncio.run(graph.ainvoke(state))


# --- Weighing, by hand  ---


def test_one_rung_is_as_sure_as_it_says() -> None:
    """A single witness at 0.8: 0.8 / (0.8 + 0.2)."""
    choice = weighed(rules(total=(5, 0.8)))

    assert (choice.value, choice.rung, choice.confidence) == (5, "rules", pytest.approx(0.8))


def test_two_that_agree_are_surer_than_either() -> None:
    """0.8 and 0.9 agree: 0.72 / (0.72 + 0.2 * 0.1) = 0.973."""
    choice = weighed(rules(total=(5, 0.8)), model(total=5))

    assert (choice.value, choice.reason) == (5, "2 of 2 rungs say so.")
    assert choice.confidence == pytest.approx(0.72 / 0.74)


@pytest.mark.parametrize("other", [5.0, "5", "5.00"])
def test_the_same_amount_written_otherwise_agrees(other: Any) -> None:
    """JSON has many spellings of an amount; they are one value."""
    assert weighed(rules(total=(5, 0.8)), model(total=other)).confidence == pytest.approx(0.72 / 0.74)


@pytest.mark.parametrize("other", ["005", "5 ", "five", True])
def test_what_only_looks_alike_differs(other: Any) -> None:
    """An invoice number 005 is not the amount 5."""
    assert weighed(rules(total=(5, 0.8)), model(total=other)).reason == "1 of 2 rungs say so."


def test_a_repaired_answer_is_not_surer_than_one_right_at_once() -> None:
    """The repair replaces the answer it repairs: repeating a field is no second witness for it."""
    repaired = Candidate(rung="repair", output={"total": 5})

    assert weighed(model(total=5), repaired) == weighed(model(total=5)).model_copy(update={"rung": "repair"})


def test_of_two_that_differ_the_surer_is_believed_less() -> None:
    """0.8 says 5 and 0.9 says 6: 0.18 for 6, 0.08 for 5, 0.02 for neither: 0.18 / 0.28 = 0.643."""
    choice = weighed(rules(total=(5, 0.8)), model(total=6))

    assert (choice.value, choice.rung, choice.reason) == (6, "model", "1 of 2 rungs say so.")
    assert choice.confidence == pytest.approx(0.18 / 0.28)


@pytest.mark.parametrize("path", ["total", "total[0]", "total.cents"])
def test_a_value_that_a_guard_refused_counts_little(path: str) -> None:
    """A field with a failed check, or with one inside it, is believed at 0.3."""
    check = Check(guard="g", path=path, status="fail", reason="no")

    assert weighed(model((check,), total=5)).confidence == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("path", "status"), [("total", "warn"), ("total", "pass"), ("total_tax", "fail"), ("", "fail")]
)
def test_warnings_and_other_fields_failures_do_not(path: str, status: Any) -> None:
    """Only a failure of the field itself takes trust from it."""
    check = Check(guard="g", path=path, status=status, reason="hm")

    assert weighed(model((check,), total=5)).confidence == pytest.approx(0.9)


def test_a_rung_without_a_value_does_not_vote() -> None:
    """Null is no value: who says nothing neither supports nor contradicts."""
    assert weighed(rules(total=(None, 0.9)), model(total=5)).confidence == pytest.approx(0.9)
    assert weighed(rules(total=(None, 0.9))) == Choice(confidence=0.0, reason="No rung has a value.")


def test_what_a_model_claims_counts_nothing() -> None:
    """A model's claimed confidence, 0 or 1, leaves its weight as it is."""
    assert weighed(model(total=5, claimed=0.0)) == weighed(model(total=5, claimed=1.0)) == weighed(model(total=5))


def test_two_who_are_certain_and_differ_leave_no_confidence() -> None:
    """Certainty against certainty is a contradiction, not a division by zero."""
    one, other = rules(total=(5, 1.0)), rules(total=(6, 1.0)).model_copy(update={"rung": "fallback"})

    assert weighed(one, other).confidence == 0.0


# --- Weighing, whatever is said  ---

RUNGS = ("rules", "model", "repair", "fallback")
VOICES = st.lists(st.tuples(st.sampled_from(["5", "6", None]), st.floats(0, 1)), min_size=1, max_size=4).map(
    lambda said: [
        rules(total=voice).model_copy(update={"rung": rung}) for rung, voice in zip(RUNGS, said, strict=False)
    ]
)


@given(VOICES)
def test_a_confidence_is_a_probability(candidates: list[Candidate]) -> None:
    """Whatever the rungs say, the confidence is between 0 and 1, and the value is one that was said."""
    choice = weighed(*candidates)

    assert 0 <= choice.confidence <= 1
    assert choice.value in {item.output["total"] for item in candidates}


@given(VOICES, st.randoms(use_true_random=False))
def test_the_order_of_rungs_makes_no_difference(candidates: list[Candidate], random: Any) -> None:
    """The same voices in another order give the same confidence."""
    shuffled = random.sample(candidates, len(candidates))

    assert weighed(*shuffled).confidence == pytest.approx(weighed(*candidates).confidence)


@given(VOICES, st.floats(0.51, 0.99))
def test_agreement_raises_confidence(candidates: list[Candidate], confidence: float) -> None:
    """One more rung that says the chosen value, and is right more often than not, never makes it less sure."""
    before = weighed(*candidates)
    if before.value is None:
        return
    after = weighed(*candidates, rules(total=(before.value, confidence)))

    assert after.value == before.value
    assert after.confidence >= before.confidence - 1e-12


# --- Deciding  ---


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_sure_value_is_accepted(way: str) -> None:
    """From the threshold on nobody looks: the value, its rung and its confidence stand in the state."""
    state = decided(rules(total=(5, 0.8)), way=way, accept_at=0.8)

    assert (state["verdict"].decision, state["verdict"].confidence, state["verdict"].reason) == ("accept", 0.8, "")
    assert (state["output"], state["rung"]) == ({"total": 5, "day": None}, "rules")


def test_a_doubt_goes_to_a_person() -> None:
    """Below the threshold a person is asked, told which field is doubtful and why."""
    state = decided(rules(total=(5, 0.8)), model(total=6), accept_at=0.9)

    assert state["verdict"].decision == "review"
    assert state["verdict"].reason == "Unsure of total (64%: 1 of 2 rungs say so.)"
    assert state["output"]["total"] == 6


def test_the_whole_is_right_only_if_all_critical_fields_are() -> None:
    """Two critical fields at 0.8 and 0.5 are right together with 0.4; others do not count."""
    said = rules(total=(5, 0.8), day=("2024-01-01", 0.5))

    assert decided(said, critical=("total", "day"))["verdict"].confidence == pytest.approx(0.4)
    assert decided(said)["verdict"].confidence == pytest.approx(0.8)


def test_fields_that_are_sure_alone_but_not_together_are_a_reason() -> None:
    """Each field reaches the threshold and their product does not: a person is asked, and told why."""
    said = rules(total=(5, 0.8), day=("2024-01-01", 0.8))
    verdict = decided(said, critical=("total", "day"), accept_at=0.7)["verdict"]

    assert (verdict.decision, verdict.reason) == ("review", "Unsure of total and day together")


def test_a_missing_critical_field_is_never_accepted() -> None:
    """What nobody has a value for has no confidence, whatever the threshold asks."""
    state = decided(rules(total=(5, 1.0)), critical=("total", "day"), accept_at=0.01)

    assert (state["verdict"].decision, state["verdict"].confidence) == ("review", 0.0)
    assert state["verdict"].reason == "Unsure of day (missing)"


def test_a_guard_stands_above_confidence() -> None:
    """A value that everybody is sure of, and a guard refuses, goes to a person with the guard's reason."""
    state = decided(rules(total=(500, 1.0)))

    assert (state["verdict"].decision, state["verdict"].confidence) == ("review", 1.0)
    assert state["verdict"].reason.startswith("total: ")
    assert [check.path for check in state["verdict"].failures] == ["total"]


def test_a_value_that_does_not_fit_is_still_proposed() -> None:
    """What is no `Note` cannot be accepted, but a person gets to see it."""
    state = decided(rules(total=("five", 1.0)))

    assert (state["verdict"].decision, state["output"]) == ("review", {"total": "five"})


def test_without_any_candidate_a_person_is_asked() -> None:
    """A graph that comes here with nothing ends in a review, not in an error."""
    state = decided()

    assert (state["verdict"].decision, state["output"], state["rung"]) == ("review", {}, None)


def test_the_weighing_may_be_ones_own() -> None:
    """A function of source and candidates takes the place of `weigh_rungs`."""
    seen: list[Any] = []

    def mine(source: Source, candidates: Any) -> dict[str, Choice]:
        seen.append((source, [item.rung for item in candidates]))
        return {"total": Choice(value=7, confidence=0.6, rung="fallback")}

    state = decided(rules(total=(5, 0.8)), weigh=mine)

    assert seen == [(SOURCE, ["rules"])]
    assert (state["output"]["total"], state["rung"]) == (7, "fallback")


def test_the_main_rung_is_that_of_most_critical_fields() -> None:
    """The rung of the whole is where most of what matters came from."""
    state = decided(
        rules(total=(5, 0.99), day=("2024-01-01", 0.2)), model(day="2024-01-02"), critical=("total",), accept_at=0.1
    )

    assert state["rung"] == "rules"


# --- Sampling ---


def drawn(run_id: str, *candidates: Candidate, **options: Any) -> Any:
    """The verdict on a run of this id."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("decide", decide(Note, **{"critical": ("total",), "accept_at": 0.5, **options}))
    builder.add_edge(START, "decide")
    builder.add_edge("decide", END)
    state = {"source": SOURCE, "candidates": {item.rung: item for item in candidates or [rules(total=(5, 0.9))]}}
    return builder.compile().invoke(state, context=RunContext(run_id=run_id))["verdict"]


def test_one_accepted_case_in_so_many_goes_to_a_person() -> None:
    """Drawn by the run's id: about the share that was asked for, and the same runs each time."""
    first = [drawn(f"run-{number}", sample_one_in=5).decision for number in range(300)]
    again = [drawn(f"run-{number}", sample_one_in=5).decision for number in range(300)]

    assert 40 <= first.count("review") <= 80
    assert first == again


def test_a_drawn_case_says_that_nothing_is_wrong() -> None:
    """Its confidence stays, and a check names the draw, so that queue and evaluation can tell it from a doubt."""
    verdict = drawn("run", sample_one_in=1)

    assert (verdict.decision, verdict.confidence) == ("review", 0.9)
    assert verdict.reason == "Nothing is wrong: one accepted case in 1 is drawn for a check, and this is one."
    assert [check.guard for check in verdict.checks if check.status == "warn"] == [SAMPLED]
    assert verdict.failures == []


def test_a_doubtful_case_is_not_drawn() -> None:
    """It goes to a person for its own reason."""
    verdict = drawn("run", rules(total=(5, 0.2)), sample_one_in=1)

    assert verdict.reason.startswith("Unsure of total")
    assert SAMPLED not in [check.guard for check in verdict.checks]


def test_nothing_is_drawn_where_nobody_asked_for_it() -> None:
    """Without our runner, the document is what is drawn by."""
    assert drawn("run").decision == "accept"
    assert drawn("", sample_one_in=1).decision == "review"


@pytest.mark.parametrize("number", [0, -1])
def test_a_sample_is_of_at_least_one_case(number: int) -> None:
    """One in none is no share."""
    with pytest.raises(UsageError, match="sample_one_in is a number of cases"):
        decide(Note, critical=("total",), accept_at=0.5, sample_one_in=number)
