"""Drills: what they find, and that they would notice a broken promise."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.types import RetryPolicy
from pydantic import BaseModel, Field, SecretStr

from stanchion.audit import drills, surroundings
from stanchion.audit.drills import PLANS, Report, drill
from stanchion.audit.made_up import made_up
from stanchion.audit.overlay import Overlay
from stanchion.audit.rows import Row, count
from stanchion.audit.stand_in import StandIn
from stanchion.audit.trial import Subject, shortened
from stanchion.clock import SystemClock
from stanchion.errors import UsageError
from stanchion.graphs.receipts import Receipt
from stanchion.guards.limits.policy import Policy, Retry, Time
from stanchion.runs.inputs import Input, read_inputs
from stanchion.testing import FAULTS
from stanchion.workflow import Workflow, load_workflow
from tests.audit import graphs

LETTERS = [Input(f"letter-{number}", {"text": f"Letter {number}"}) for number in range(3)]
FEW = {"bakery-clean", "florist-plain", "laundry-truncated-then-repaired", "supermarket-invented-total"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No policy file lies around, and the graphs' own model is never asked."""
    monkeypatch.chdir(tmp_path)
    graphs.paid.asked = 0
    yield
    assert graphs.paid.asked == 0


@pytest.fixture(scope="module")
def receipts() -> Workflow:
    return load_workflow("stanchion.graphs.receipts:workflow")


@pytest.fixture(scope="module")
def few(receipts: Workflow) -> list[Input]:
    """Four of the examples: read at once, asked, repaired, contradicted."""
    return [item for item in read_inputs([str(receipts.examples)]) if item.id in FEW]


def only(report: Report) -> Row:
    """The row of a report that has one."""
    (row,) = report.rows
    return row


# --- Model faults ---


def test_receipts_survive_what_a_model_does(receipts: Workflow, few: list[Input]) -> None:
    """Both steps that ask a model are found, and under each fault every run is accepted or waits for a person."""
    report = drill(receipts, few, plans=["auth_lost", "server_error", "wrong_but_valid", "hang"])

    assert report.steps == ["model", "repair"]
    assert [(row.step, row.fault) for row in report.rows] == [
        (step, fault) for step in report.steps for fault in ("server_error", "hang", "wrong_but_valid", "auth_lost")
    ]
    assert report.held, report.verdict
    assert all(row.struck and row.outcomes.keys() <= {"accepted", "waiting"} for row in report.rows)


def test_money_is_what_the_faults_would_cost(receipts: Workflow, few: list[Input]) -> None:
    """A refused key costs nothing; an answer that nobody waited for is counted, since it may have been charged."""
    rows = {row.fault: row for row in drill(receipts, few, plans=["auth_lost", "hang"]).rows if row.step == "model"}

    assert rows["auth_lost"].spent_usd == 0
    assert rows["auth_lost"].most_requests == 1
    assert (rows["hang"].spent_usd or 0) > Decimal("0.001")
    assert rows["hang"].most_requests > 1


def test_a_step_reached_only_by_bad_answers_is_found(receipts: Workflow, few: list[Input]) -> None:
    """Where no healthy run is repaired, malformed answers lead to `repair`, so that it is drilled too."""
    clean = [item for item in few if item.id in {"supermarket-invented-total", "laundry-truncated-then-repaired"}]
    good = [item._replace(recorded={"demo": '{"date": "2022-07-21", "total": 65}'}) for item in clean]

    report = drill(receipts, good[:1], plans=["auth_lost"])

    assert report.steps == ["model", "repair"]
    assert all(row.struck == 1 for row in report.rows)


def test_a_graph_that_knows_nothing_of_us_is_drilled_too() -> None:
    """Faults strike the model that a plain LangGraph graph holds itself; what it does not catch is a broken promise."""
    fragile = only(drill(graphs.fragile, LETTERS, plans=["overloaded"]))
    sturdy = only(drill(graphs.sturdy, LETTERS, plans=["overloaded"]))

    assert (fragile.step, fragile.struck, fragile.outcomes) == ("ask", 3, {"failed": 3})
    assert fragile.broken == ["3 failed"]
    assert (sturdy.struck, sturdy.outcomes, sturdy.broken) == (3, {"accepted": 3}, [])


@pytest.mark.parametrize("node", [graphs.stream, graphs.blocking])
def test_streams_and_blocking_calls_are_struck_too(node: Any) -> None:
    """However a graph asks its model, the fault is there and the model itself is not asked."""
    row = only(drill(graphs.workflow_of(node), LETTERS[:1], plans=["auth_lost"]))

    assert (row.struck, row.outcomes) == (1, {"failed": 1})


def test_what_hangs_does_not_hang_the_drill() -> None:
    """A blocking call that never returns costs its step's second, and its run is refused with a reason."""
    row = only(drill(graphs.workflow_of(graphs.blocking), LETTERS[:1], plans=["hang"]))

    assert row.outcomes == {"refused": 1}
    assert row.broken == []


def test_retries_on_top_of_retries_break_a_promise() -> None:
    """More requests than retry.attempts for one call are a broken promise, and so is a second one after a 401."""
    five = RetryPolicy(max_attempts=5, initial_interval=0.001, jitter=False, retry_on=Exception)
    stubborn = graphs.workflow_of(graphs.ask, retry=five)

    rows = {row.fault: row for row in drill(stubborn, LETTERS[:1], plans=["overloaded", "auth_lost"]).rows}

    assert rows["overloaded"].broken == ["1 failed", "5 requests for one call, of 3 (retry.attempts)"]
    assert rows["auth_lost"].broken == ["1 failed", "5 requests where the first could not succeed"]


def test_a_wrong_value_that_nobody_saw_is_shown() -> None:
    """An accepted value that differs from the healthy run's is counted and told, though no promise of ours."""
    report = drill(graphs.sturdy, LETTERS, plans=["wrong_but_valid"])

    assert only(report).changed == 3
    assert report.held
    assert "3 accepted with another value" in report.verdict


def test_nothing_accepted_in_place_of_something_is_a_broken_promise() -> None:
    """A node that swallows its error and says nothing ends in an accepted run without a value, and that is noticed."""

    async def ask_or_say_nothing(state: graphs.State) -> graphs.State:
        try:
            return await graphs.ask(state)
        except Exception:  # of whichever SDK
            return {}

    row = only(drill(graphs.workflow_of(ask_or_say_nothing), LETTERS, plans=["overloaded"]))

    assert row.outcomes == {"accepted": 3}
    assert row.broken == ["3 accepted without a value"]


def test_money_is_unknown_where_calls_do_not_come_through_our_door() -> None:
    """The ledger knows nothing of a plain graph's calls, so the row claims no sum, not even zero."""
    assert only(drill(graphs.sturdy, LETTERS, plans=["hang"])).spent_usd is None


def test_schedules_come_and_go() -> None:
    """A burst strikes some requests and lets others through."""
    row = only(drill(graphs.sturdy, LETTERS, plans=["rate_limits_in_bursts"]))

    assert (row.struck, row.requests) == (2, 3)


def test_every_fault_of_a_provider_has_a_plan() -> None:
    """What is added to FAULTS is drilled without being named anywhere else."""
    assert FAULTS.keys() <= PLANS.keys()


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    """A name that is no fault is wrong use, and the message lists the names."""
    with pytest.raises(UsageError, match=r"no fault 'overloded'. Did you mean overloaded\? There are:\n") as refused:
        drill(graphs.sturdy, LETTERS, plans=["overloded"])

    said = str(refused.value)
    assert all(name in said for name in drills.NAMES)
    assert max(map(len, said.splitlines())) <= 80


def test_the_page_lists_every_fault() -> None:
    """`--help` sends people to docs/drills.md for the names, so all of them stand there."""
    page = (Path(__file__).parents[2] / "docs" / "drills.md").read_text(encoding="utf-8")

    assert [name for name in drills.NAMES if f"`{name}`" not in page] == []


def test_nothing_is_left_over_the_models() -> None:
    """After a drill, also one that ended in an error, chat models are asked as before."""
    before = dict(vars(BaseChatModel))

    drill(graphs.sturdy, LETTERS[:1], plans=["overloaded"])
    with pytest.raises(UsageError):
        drill(replace(graphs.sturdy, policy=Policy()), LETTERS, plans=["overloaded"], model="no such model")

    assert dict(vars(BaseChatModel)) == before


# --- Promises  ---


def counted(workflow: Workflow, folder: Path, *, touch: str = "", **more: Any) -> Row:
    """Count healthy runs of a workflow after its database was tampered with."""
    subject = Subject(workflow, LETTERS)

    async def main() -> Row:
        async with subject.runner(folder / "a.db") as runner:
            with subject.overlay():
                run_ids = await subject.queue(runner, LETTERS)
                await runner.advance(run_ids)
            if touch:
                with sqlite3.connect(folder / "a.db") as other:
                    other.execute(touch)
            return count(runner, run_ids, [], {}, step="ask", fault="none", **more)

    return asyncio.run(main())


def test_a_lost_run_is_noticed(tmp_path: Path) -> None:
    """A run without an outcome that waits for nobody is lost, and so is one that is gone from the database."""
    row = counted(graphs.sturdy, tmp_path, touch="UPDATE runs SET outcome = NULL, status = 'running' WHERE rowid = 1")

    assert (row.lost, row.broken) == (1, ["1 lost"])


def test_a_step_past_its_budget_is_noticed(tmp_path: Path) -> None:
    """Up to a tenth over its budget a step is late, beyond it a promise is broken, unless nobody promised."""
    within = counted(graphs.sturdy, tmp_path, touch="UPDATE steps SET ms = 1090")
    (tmp_path / "a.db").unlink()
    beyond = counted(graphs.sturdy, tmp_path, touch="UPDATE steps SET ms = 1110")
    (tmp_path / "a.db").unlink()
    untimed = counted(graphs.sturdy, tmp_path, touch="UPDATE steps SET ms = 1110", is_timed=False)

    assert (within.late_ms, within.broken) == (90, [])
    assert (beyond.late_ms, beyond.broken) == (110, ["the step ask went on for 110 ms past its 1000 ms"])
    assert (untimed.late_ms, untimed.broken) == (110, [])


def test_times_are_shortened_and_the_rest_stays() -> None:
    """No time is longer than a drill's, none longer than the policy's own, and no other limit is touched."""
    policy = Policy(time=Time(step="0.5s", steps={"ask": "1m"}), retry=Retry(attempts=2))

    short = shortened(policy)

    assert (short.time.run.total_seconds(), short.time.step.total_seconds()) == (10, 0.5)
    assert short.step_time("ask").total_seconds() == 1
    assert short.time.attempt.total_seconds() == pytest.approx(0.3)
    assert (short.retry.attempts, short.money, short.loops) == (2, policy.money, policy.loops)


# --- Surroundings ---


@pytest.mark.parametrize("fault", ["clock_jump", "database_locked", "disk_full"])
def test_receipts_survive_what_is_around_them(fault: str, receipts: Workflow, few: list[Input]) -> None:
    """A clock that jumps, a database that is locked, a disk that is full: nothing accepted is lost."""
    row = only(drill(receipts, few, plans=[fault]))

    assert (row.step, row.fault, row.broken) == ("", fault, [])
    assert row.outcomes.keys() <= {"accepted", "waiting"}
    assert row.requests > 0


def test_the_clock_jumps() -> None:
    """The clock that is set shows another hour; the seconds that pass stay the machine's."""
    clock = surroundings.JumpingClock()
    clock.ahead = surroundings.AHEAD

    assert (clock.now() - SystemClock().now()).total_seconds() == pytest.approx(3600, abs=60)
    assert clock.monotonic() == pytest.approx(SystemClock().monotonic(), abs=60)


def test_receipts_survive_kill_9(receipts: Workflow, few: list[Input]) -> None:
    """Killed at four moments and resumed, no run is lost and no answer that was kept is asked for again."""
    row = only(drill(receipts, few, plans=["kill_9"]))

    assert row.broken == []
    assert row.outcomes.keys() <= {"accepted", "waiting"}
    assert row.requests >= row.calls > 0


def test_a_question_whose_answer_was_kept_is_recognised(receipts: Workflow, few: list[Input], tmp_path: Path) -> None:
    """What the file says was answered is the very question that was seen at the model: kill_9 compares the two."""
    subject = Subject(receipts, few)
    asked: list[Any] = []

    async def main() -> None:
        async with subject.runner(tmp_path / "a.db") as runner:
            with subject.overlay(told=asked.append):
                await runner.advance(await subject.queue(runner, few))

    asyncio.run(main())

    assert asked
    assert {surroundings._question(one) for one in asked} == surroundings._committed(tmp_path / "a.db")


def test_a_workflow_that_cannot_be_loaded_elsewhere_is_not_killed() -> None:
    """Without a reference no other process can load it, so kill_9 is left out, and the report says so."""
    with pytest.raises(UsageError, match="kill_9 is left out"):
        drill(graphs.sturdy, LETTERS, plans=["kill_9"])
    report = drill(graphs.sturdy, LETTERS, plans=["overloaded", "kill_9"])

    assert [row.fault for row in report.rows] == ["overloaded"]
    assert any("kill_9 is left out" in note for note in report.notes)


# --- Nothing to be learned  ---


def fails_on_its_own(_: graphs.State) -> graphs.State:
    """Never works."""
    raise RuntimeError("it never worked")


def expects_a_question(state: Any) -> graphs.State:
    """Reads a key that we never give."""
    return {"said": state["question"]}


def asks_nobody(_: graphs.State) -> graphs.State:
    """Needs no model."""
    return {"said": "always the same"}


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (fails_on_its_own, r"3 of 3 runs failed without any fault.* it never worked\. Mend that first"),
        (expects_a_question, r"KeyError: 'question'\. Your graph gets \{'document': \.\.\.\}.*jsonl with `input`"),
    ],
)
def test_a_graph_that_fails_by_itself_is_not_drilled(node: Any, why: str) -> None:
    """Where runs fail although nothing strikes them, that is refused with the reason and what to do."""
    with pytest.raises(UsageError, match=why):
        drill(graphs.workflow_of(node), LETTERS)


@pytest.mark.parametrize("plans", [None, ["overloaded"], ["clock_jump"]])
def test_recordings_that_are_not_there_are_not_drilled(
    plans: list[str] | None, receipts: Workflow, few: list[Input]
) -> None:
    """A model without recorded answers answers nothing even when all is well, whether the graph minds or not."""
    with pytest.raises(UsageError, match="recorded:x has no recorded answers"):
        drill(receipts, few, plans=plans, model="recorded:x")
    with pytest.raises(UsageError, match="recorded:x has no recorded answers"):
        drill(graphs.fragile, LETTERS, plans=plans, model="recorded:x")


def test_no_inputs_and_no_model_are_not_drilled() -> None:
    """Nothing can be learned without inputs, nor from the model that never answers."""
    with pytest.raises(UsageError, match="no inputs"):
        drill(graphs.sturdy, [])
    with pytest.raises(UsageError, match="never answers"):
        drill(graphs.sturdy, LETTERS, model="none")


def test_a_graph_that_asks_no_model_has_its_surroundings() -> None:
    """The surroundings are drilled and the verdict says that it was only them; faults of models are refused."""
    nobody = graphs.workflow_of(asks_nobody)

    report = drill(nobody, LETTERS, plans=["overloaded", "clock_jump"])

    assert [row.fault for row in report.rows] == ["clock_jump"]
    assert report.held
    assert report.verdict.startswith("No step asked a model, so only the surroundings were drilled. All promises held")
    assert only(report).spent_usd is None
    with pytest.raises(UsageError, match="No step asked a model with these inputs"):
        drill(nobody, LETTERS, plans=["overloaded"])


def test_a_report_without_rows_did_not_hold() -> None:
    """What drilled nothing can never stand for a success."""
    assert not Report(workflow="plain", steps=[], rows=[]).held


# --- The model that costs nothing  ---


METHODS: tuple[Literal["json_schema", "function_calling"], ...] = ("json_schema", "function_calling")


class Bill(BaseModel):
    """What ChatOpenAI may be asked for."""

    number: str
    total: int


class Odd(BaseModel):
    """A schema with most of what schemas have."""

    kind: Literal["a", "b"]
    day: date
    share: float = Field(gt=0, lt=1)
    size: int = Field(ge=10, le=12)
    name: str = Field(min_length=12)
    parts: list[Receipt] = Field(min_length=2)
    maybe: int | None
    often: bool
    below: Odd | None = None


@pytest.mark.parametrize("model", [Odd, Receipt])
def test_what_is_made_up_follows_its_schema(model: type[BaseModel]) -> None:
    """A made-up answer is accepted by the type whose schema was asked for, one that speaks of itself included."""
    model.model_validate(made_up(model.model_json_schema()))


def test_a_forced_tool_is_called_and_a_free_one_is_not() -> None:
    """Structured output by tools gets its arguments; a tool that may be called is not, since it may do something."""
    forced = StandIn().bind_tools([Receipt], tool_choice="any").invoke("?")
    free = StandIn().bind_tools([Receipt]).invoke("?")

    Receipt.model_validate(forced.tool_calls[0]["args"])
    assert (free.tool_calls, bool(free.text)) == ([], True)


def test_a_type_is_answered_where_chat_openai_looks_for_it() -> None:
    """Structured output of ChatOpenAI, by schema or by function, reads what was made up."""
    model = ChatOpenAI(model="gpt-4o", api_key=SecretStr("none"))

    with Overlay(stand_in=StandIn()):
        answers = [model.with_structured_output(Bill, method=method).invoke("?") for method in METHODS]

    assert answers == [Bill(number="made up", total=1)] * 2


def test_a_recorded_answer_is_given_again_to_whoever_asks_again() -> None:
    """The dataset's answers come in their order, and the last one stays."""
    model = StandIn(recorded={"": ["first", "second"]}, inputs_of_runs={"": ""})
    conversation: list[Any] = [HumanMessage("?")]
    for _ in range(3):
        conversation.append(AIMessage(model.invoke(conversation).text))

    assert [message.text for message in conversation[1:]] == ["first", "second", "second"]


def test_examples_that_reach_a_step_are_drawn_from_all_over() -> None:
    """Of many inputs that reach a step eight are taken, not the first eight."""
    many = [Input(f"letter-{number}", {"text": "?"}) for number in range(40)]
    at_work = drills._Drill(Subject(graphs.sturdy, many), Path())

    chosen = at_work._step("ask", [item.id for item in many], lambda _node: None).inputs

    assert [item.id for item in chosen] == [f"letter-{number}" for number in range(0, 40, 5)]
