"""Answering a review: once, by what fits, while its run stands where it asked; whatever comes in."""

from __future__ import annotations

import json
import math
import operator
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ConfigDict, computed_field, create_model
from typing_extensions import TypedDict

from benchmarks.call_workers import processes
from stanchion import Workflow
from stanchion.errors import InvalidAnswer, ReviewClosed, ReviewNotFound, UsageError
from stanchion.guards import Grounded, guarded
from stanchion.nodes.review import ReviewAnswer
from stanchion.runs.answers import LARGEST_ANSWER, Reader, plain
from stanchion.runs.corrections import corrections
from stanchion.runs.inputs import checkpointable
from stanchion.runs.reviews import Reviews
from tests.runs.asking import PROPOSAL, Desk, Payment, payments, person
from tests.runs.conftest import document, invoices, run
from tests.runs.racing import answer_all, claim_all

NESTED: Any = "deep"
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with one question on it, `r1`."""
    desk = Desk(tmp_path / "runs.db")
    desk.ask()
    yield desk
    desk.database.close()


# --- What is kept ---


def test_an_approval_is_kept_as_the_graph_takes_it(desk: Desk) -> None:
    """The stored answer is what the node's own schema reads; who, how known and when stand beside it."""
    review = desk.reviews.answer("r1", "approve", by=" Ada ", reason="Fine.")

    assert ReviewAnswer.model_validate(review.answer) == ReviewAnswer(action="approve", reason="Fine.", by="Ada")
    assert (review.status, review.answered_by, review.answered_as, review.reason) == (
        "answered",
        "Ada",
        "claim",
        "Fine.",
    )
    assert review.answered_at == desk.clock.now()
    assert review.resumed_at is None


def test_an_edit_is_merged_into_the_proposal(desk: Desk) -> None:
    """Fields that nobody named stay as proposed; values are read by the field's type."""
    review = desk.reviews.answer("r1", "edit", by="Ada", edits={"total": "7"})

    assert review.answer["output"] == {**PROPOSAL, "total": 7}


def test_an_edit_may_be_the_whole_value(desk: Desk) -> None:
    """Given as output, a value takes the place of the proposal and is not merged into it."""
    review = desk.reviews.answer("r1", "edit", by="Ada", output={"number": "B2", "total": 1})

    assert review.answer["output"] == {"number": "B2", "total": 1, "note": ""}


def test_a_rejection_says_why(desk: Desk) -> None:
    """Without a reason it is refused, and the review stays open; the proposal need not fit."""
    desk.change("UPDATE reviews SET question = ?", json.dumps({"question": "?", "proposal": {"total": "none"}}))
    for reason in ("", "  \n"):
        with pytest.raises(InvalidAnswer, match="needs a reason"):
            desk.reviews.answer("r1", "reject", by="Ada", reason=reason)

    assert desk.reviews.answer("r1", "reject", by="Ada", reason="Not ours.").answer["reason"] == "Not ours."


def test_the_trail_says_who_did_what(desk: Desk) -> None:
    """One entry in the same commit: names and versions as facts, values and reason as content that can be erased."""
    desk.reviews.answer("r1", "edit", by=person("ada@example.com"), edits={"total": 7}, reason="Smudged.")

    (entry,) = desk.trail()
    facts, content = json.loads(entry["facts"]), json.loads(entry["content"])
    assert (entry["by"], entry["known_by"], entry["what"], entry["subject"]) == (
        "ada@example.com",
        "login",
        "review answered",
        "r1",
    )
    assert (facts["action"], facts["changed"], facts["version"]) == ("edit", ["total"], "1")
    assert content == {"before": PROPOSAL, "after": {**PROPOSAL, "total": 7}, "reason": "Smudged."}
    assert "Smudged" not in entry["facts"]


def test_a_guard_that_a_person_overrules_is_on_record(tmp_path: Path) -> None:
    """A person may know better than the document: the edit is taken, and the trail names the guard that said no."""
    total = Annotated[int, guarded(Grounded())]
    guarded_payment = create_model("GuardedPayment", number=(str, ...), total=(total, ...), note=(str, ""))
    desk = Desk(tmp_path / "runs.db")
    desk.ask(node="elsewhere", form={})
    review = desk.reviews.get("r1")
    reader = Reader(review, replace(payments(), output=guarded_payment), date(2024, 1, 1))

    assert reader.read("edit", by="Ada", edits={"total": 99}).overruled == ("stanchion/grounded",)
    assert reader.read("edit", by="Ada", edits={"note": "x"}).overruled == ()
    desk.database.close()


def test_what_could_not_be_read_again_is_refused(desk: Desk) -> None:
    """A type that writes more than it reads would fail when the graph goes on: it is said before anything is kept."""

    class Odd(BaseModel):
        model_config = ConfigDict(extra="forbid")
        total: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> int:
            return 2 * self.total

    desk.ask("r2", node="theirs", form={})
    reviews = Reviews(desk.database, clock=desk.clock, workflow=replace(payments(), output=Odd))
    with pytest.raises(InvalidAnswer, match="twice: Extra inputs are not permitted"):
        reviews.answer("r2", "edit", by="Ada", output={"total": 1})


# --- Questions of other nodes ---


def test_a_question_without_a_proposal_takes_edits_as_they_are(desk: Desk) -> None:
    """Somebody's own interrupt in words, in a workflow without a type: what a person says is the value."""
    desk.change("UPDATE reviews SET question = '\"Delete it?\"', node = 'theirs'")
    reviews = Reviews(desk.database, clock=desk.clock, workflow=payments_without_type())

    assert reviews.answer("r1", "edit", by="Ada", edits={"sure": True}).answer["output"] == {"sure": True}


@pytest.mark.parametrize("question", ["Is it ok?", {"question": "Send it?", "proposal": {"mail": "Dear Sir"}}])
def test_what_is_none_of_ours_need_not_be_an_output(desk: Desk, question: Any) -> None:
    """Somebody's own question is about anything: to approve it takes nothing that fits the workflow's output."""
    desk.change("UPDATE reviews SET question = ?, node = 'theirs'", json.dumps(question))

    assert desk.reviews.answer("r1", "approve", by="Ada").answer["action"] == "approve"


def test_words_alone_are_answered_with_anything(desk: Desk) -> None:
    """Where nothing was proposed, an edit is the answer itself, also in a workflow with a type."""
    desk.change("UPDATE reviews SET question = '\"How many?\"', node = 'theirs'")

    assert desk.reviews.answer("r1", "edit", by="Ada", output={"many": 3}).answer["output"] == {"many": 3}


def test_a_question_of_a_hidden_node_is_read_by_its_schema(desk: Desk) -> None:
    """A review node that another function calls is not seen in the graph; its schema says what fits."""
    desk.ask("r2", node="hidden")
    desk.ask("r3", node="hidden", form={"type": "object", "properties": {"total": {"type": "integer"}}})

    assert desk.reviews.answer("r2", "edit", by="Ada", edits={"total": "7"}).answer["output"]["total"] == 7
    with pytest.raises(InvalidAnswer, match=r"\$\.total: type integer"):
        desk.reviews.answer("r3", "edit", by=person("ada@x.org"), edits={"total": "many"})


def payments_without_type() -> Any:
    """The workflow as it would be without an output type."""
    return replace(payments(), output=None)


FORM = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}


def test_a_form_of_its_own_is_answered_with_what_fits_it(desk: Desk) -> None:
    """The answer reaches the node as it is, without action or name around it."""
    desk.change("UPDATE reviews SET form = ?", json.dumps(FORM))
    with pytest.raises(InvalidAnswer, match=r"does not fit: \$: required"):
        desk.reviews.answer("r1", "edit", by="Ada", output={"sur": True})
    with pytest.raises(InvalidAnswer, match="form of its own"):
        desk.reviews.answer("r1", "approve", by="Ada")

    review = desk.reviews.answer("r1", "edit", by="Ada", output={"sure": True})
    assert (review.answer, review.answered_by) == ({"sure": True}, "Ada")


@pytest.mark.parametrize(
    "form",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"type": "no such type"},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
    ],
)
def test_a_form_that_cannot_be_used_is_said_and_fetches_nothing(desk: Desk, form: dict[str, Any]) -> None:
    """A schema that points elsewhere, or round in circles, refuses answers in words."""
    desk.change("UPDATE reviews SET form = ?", json.dumps(form))
    with pytest.raises(InvalidAnswer, match="form cannot be used"):
        desk.reviews.answer("r1", "edit", by="Ada", output={"sure": True})


def test_patterns_are_not_tried_on_endless_text(desk: Desk) -> None:
    """The pattern that pydantic writes for Decimals takes cubic time over zeros; a long text is refused at once."""
    pattern = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
    desk.change("UPDATE reviews SET form = ?", json.dumps({"type": "string", "pattern": pattern}))
    with pytest.raises(InvalidAnswer, match="pattern"):
        desk.reviews.answer("r1", "edit", by="Ada", output="0" * 500_000 + "x")
    assert desk.reviews.answer("r1", "edit", by="Ada", output="12.50").answer == "12.50"


# --- Whatever comes in ---

HOSTILE = [
    pytest.param({"total": "x" * 20_000_000}, id="20 MB"),
    pytest.param({"note": "x" * LARGEST_ANSWER}, id="too large"),
    pytest.param({"note": NESTED}, id="100,000 brackets"),
    pytest.param({"note": "\ud800"}, id="half a character"),
    pytest.param({"\ud800": "x"}, id="half a character as a name"),
    pytest.param({"total": math.nan}, id="not a number"),
    pytest.param({"total": math.inf}, id="infinite"),
    pytest.param({"total": 10**30}, id="beyond 64 bits"),
    pytest.param({"total": 10**5_000}, id="endless digits"),
    pytest.param({"total": Decimal("NaN")}, id="Decimal that is none"),
    pytest.param({"note": object()}, id="an object"),
    pytest.param({"note": b"\xff"}, id="bytes"),
    pytest.param({5: "x"}, id="a number as a name"),
    pytest.param(["total"], id="a list"),
    pytest.param("total=5", id="text"),
    pytest.param({"note": None}, id="null"),
]


@pytest.mark.parametrize("edits", HOSTILE)
def test_what_cannot_be_kept_is_refused(desk: Desk, edits: Any) -> None:
    """The review stays open, and nothing is written; the message is short and holds nothing of what came."""
    with pytest.raises(InvalidAnswer) as refused:
        desk.reviews.answer("r1", "edit", by="Ada", edits=edits)

    assert len(str(refused.value)) < 1_000
    assert "xxxx" not in str(refused.value)
    assert (desk.row()["status"], desk.trail()) == ("asked", [])


@pytest.mark.parametrize("action", ["shrug", "", "expire", None, ["approve"], {"a": 1}, "\ud800"])
def test_only_the_three_actions_are_taken(desk: Desk, action: Any) -> None:
    """Nobody expires a review by hand, and what is no action at all is refused."""
    with pytest.raises(InvalidAnswer, match="approve, edit or reject"):
        desk.reviews.answer("r1", action, by="Ada")


@pytest.mark.parametrize("reason", ["\ud800", 5, None, ["x"], "x" * LARGEST_ANSWER])
def test_a_reason_is_text_that_can_be_kept(desk: Desk, reason: Any) -> None:
    """Half a character in a reason would break the resume as much as one in a value."""
    with pytest.raises(InvalidAnswer):
        desk.reviews.answer("r1", "reject", by="Ada", reason=reason)
    assert desk.row()["status"] == "asked"


@pytest.mark.parametrize("by", ["", "  ", "x" * 201])
def test_somebody_has_to_answer(desk: Desk, by: str) -> None:
    """A name that tells nobody who it was is no name."""
    with pytest.raises(UsageError, match="Say who acts"):
        desk.reviews.answer("r1", "approve", by=by)


HALF = st.characters(categories=["Cs"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | HALF | st.decimals() | st.binary()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text() | HALF, inner), max_leaves=10)
NAMES = st.sampled_from(["number", "total", "note", "other"])


@given(edits=st.dictionaries(NAMES, VALUES) | VALUES, output=st.none() | VALUES, reason=st.text() | HALF)
@settings(max_examples=150)
def test_whatever_comes_is_kept_valid_or_refused(shared_desk: Desk, edits: Any, output: Any, reason: Any) -> None:
    """Either the stored answer is one that the node reads and every checkpoint can hold, or the review stays open."""
    desk = shared_desk
    name = desk.ask(f"h{len(desk.reviews.waiting(limit=10_000))}-{os.urandom(6).hex()}")
    try:
        review = desk.reviews.answer(name, "edit", by="Ada", edits=edits, output=output, reason=reason)
    except InvalidAnswer:
        assert desk.row(name)["status"] == "asked"
        return
    assert Payment.model_validate(review.answer["output"]).model_dump(mode="json") == review.answer["output"]
    assert checkpointable(review.answer) == review.answer
    assert json.loads(desk.row(name)["answer"]) == review.answer


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One database for all examples of a property."""
    desk = Desk(tmp_path_factory.mktemp("shared") / "runs.db")
    yield desk
    desk.database.close()


@given(value=VALUES)
def test_plain_data_is_json_that_a_checkpoint_holds(value: Any) -> None:
    """What passes survives JSON unchanged and needs no mending for msgpack."""
    try:
        data = plain(value)
    except InvalidAnswer:
        return
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert checkpointable({"answer": data}) == {"answer": data}


# --- Too late ---


def test_a_second_answer_is_told_who_was_first(desk: Desk) -> None:
    """By whom, what and when; the first stands."""
    desk.reviews.answer("r1", "reject", by="Ada", reason="Not ours.")
    with pytest.raises(ReviewClosed, match=r"answered already: reject by Ada at 2024-01-01 \d\d:\d\d:\d\d UTC"):
        desk.reviews.answer("r1", "approve", by="Bob")

    assert desk.reviews.get("r1").action == "reject"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE runs SET status = 'done', outcome = 'refused', ended_at = '2024-01-02T00:00:00'", "ended as refused"),
        ("UPDATE runs SET status = 'cancelled', ended_at = '2024-01-02T00:00:00'", "ended as cancelled"),
        ("UPDATE runs SET erased_at = '2024-01-02T00:00:00'", "was erased at 2024-01-02"),
        ("UPDATE reviews SET status = 'closed', closed_why = 'its run was cancelled by Eve'", "cancelled by Eve"),
    ],
)
def test_a_run_that_went_another_way_takes_no_answer(desk: Desk, change: str, why: str) -> None:
    """The message says why, and the review is closed with it; there is nothing left to answer."""
    desk.change(change)
    for attempt in (desk.reviews.answer, lambda *_args, by: desk.reviews.claim("r1", by=by)):
        with pytest.raises(ReviewClosed, match=why):
            attempt("r1", "approve", by="Ada")

    assert (desk.row()["status"], desk.reviews.number_waiting()) == ("closed", 0)


def test_a_thread_that_moved_on_takes_no_answer(desk: Desk) -> None:
    """Resumed elsewhere, past our records: the question on the desk is not the one that the graph asks now."""
    desk.change("CREATE TABLE checkpoints (thread_id TEXT, checkpoint_ns TEXT, checkpoint_id TEXT)")
    desk.change("INSERT INTO checkpoints VALUES ('run-r1', '', '1b'), ('run-r1', 'sub', '9'), ('run-r2', '', '9')")
    desk.change(f"CREATE TABLE writes ({', '.join(WRITTEN)})")
    for run_id, checkpoint_id in (("run-r1", "1b"), ("run-r2", "1b")):
        value = b"...interrupt-" + run_id.removeprefix("run-").encode() + b"..."
        written = (run_id, "", checkpoint_id, "task", -3, "__interrupt__", value)
        desk.write("writes", dict(zip(WRITTEN, written, strict=True)))
    desk.change("UPDATE reviews SET checkpoint_id = '1b'")
    desk.ask("r2", checkpoint_id="1b")

    with pytest.raises(ReviewClosed, match="resumed or forked elsewhere"):
        desk.reviews.answer("r2", "approve", by="Ada")
    assert (desk.row("r2")["status"], desk.trail()[0]["what"]) == ("closed", "review closed")
    assert desk.reviews.answer("r1", "approve", by="Ada").status == "answered"


WRITTEN = ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", "channel", "value")
"""Columns of LangGraph's table of pending writes."""


class Asked(TypedDict, total=False):
    """What two questions at once were answered with."""

    document: Any
    got: Annotated[list[Any], operator.add]


def two_questions() -> Workflow:
    """Two steps side by side, each with a question of its own."""
    builder = StateGraph(Asked)
    for name in ("left", "right"):
        builder.add_node(name, partial(ask_whether, name))
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    return Workflow(builder.compile(), name="questions", version="1")


def ask_whether(name: str, _state: Asked) -> Asked:
    """Ask in words."""
    return {"got": [interrupt(f"Is {name} right?")]}


@contextmanager
def elsewhere(db: Path) -> Iterator[Any]:
    """The same thread in plain LangGraph, past our records."""
    with closing(sqlite3.connect(db, check_same_thread=False)) as connection:
        yield two_questions().graph.copy(update={"checkpointer": SqliteSaver(connection)})


@pytest.mark.parametrize("known", [True, False], ids=["now", "asked before checkpoints were kept"])
@pytest.mark.parametrize("how", ["resumed", "resumed in part", "forked in place"])
def test_what_plain_langgraph_did_closes_the_question(make_runner: Any, db: Path, how: str, known: bool) -> None:
    """Whoever answers then is told that the run went on elsewhere; a question beside it stays as it was."""

    async def story() -> Any:
        async with make_runner(two_questions()) as runner:
            (one,) = await runner.start([document()])
            left, right = sorted(runner.ledger.reviews(), key=lambda each: each.node)
            if not known:
                runner.ledger.database.write_now(
                    lambda tables: tables.conn.execute("UPDATE reviews SET checkpoint_id = NULL")
                )
            config = {"configurable": {"thread_id": one.id}}
            with elsewhere(db) as graph:
                if how == "forked in place":
                    graph.update_state(config, {"got": ["nothing"]}, as_node="left")
                else:
                    ids = [left.interrupt_id] if how == "resumed in part" else [left.interrupt_id, right.interrupt_id]
                    graph.invoke(Command(resume=dict.fromkeys(ids, "yes")), config)
            return [answered_late(runner.reviews, each.id) for each in (left, right)]

    late = "its run was resumed or forked elsewhere"
    assert [late in said for said in run(story())] == [True, how != "resumed in part"]


def answered_late(reviews: Reviews, review_id: str) -> str:
    """What somebody is told who answers now."""
    try:
        return reviews.answer(review_id, "approve", by="Ada").status
    except ReviewClosed as closed:
        return str(closed)


def test_an_unknown_review_is_said(desk: Desk) -> None:
    """The message names it."""
    with pytest.raises(ReviewNotFound, match="no review 'nope'"):
        desk.reviews.answer("nope", "approve", by="Ada")


def test_a_review_of_another_workflow_is_not_read_by_these_types(desk: Desk) -> None:
    """A runner's own desk answers its own workflow only."""
    with pytest.raises(UsageError, match="of the workflow payments, not invoices"):
        Reviews(desk.database, clock=desk.clock, workflow=invoices()).answer("r1", "approve", by="Ada")


# --- At the same moment ---

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def raced(work: Any, *arguments: Any) -> dict[str, Any]:
    """What two processes came to that did the same at the same time, by their names."""
    context = processes()
    barrier, told = context.Barrier(2), context.Queue()
    workers = [context.Process(target=work, args=(arguments[0], name, *arguments[1:], barrier, told)) for name in "ab"]
    for worker in workers:
        worker.start()
    said = {name: rest for name, *rest in (told.get(timeout=100) for _ in workers)}
    for worker in workers:
        worker.join()
    return said


@needs_fork
def test_two_processes_answer_each_review_once(desk: Desk) -> None:
    """1,000 reviews, answered by both at the same moment: 1,000 answers, 1,000 clear refusals, no doubles."""
    ids = [desk.ask(f"n{number:04}") for number in range(1_000)]
    said = raced(answer_all, desk.database.path, ids)

    (taken_a, refused_a), (taken_b, refused_b) = said["a"], said["b"]
    assert sorted(taken_a + taken_b) == ids
    assert len(refused_a + refused_b) == len(ids)
    assert all("answered already: edit by " in why for why in refused_a + refused_b)
    notes = {row["id"]: json.loads(row["answer"])["output"]["note"] for row in map(desk.row, ids)}
    assert notes == {**dict.fromkeys(taken_a, "a"), **dict.fromkeys(taken_b, "b")}
    assert sorted(entry["subject"] for entry in desk.trail()) == ids


@needs_fork
def test_two_people_never_get_the_same_case(desk: Desk) -> None:
    """Two processes take from one queue until it is empty: every case is one person's."""
    ids = [desk.ask(f"n{number:02}") for number in range(40)]
    said = raced(claim_all, desk.database.path)

    assert sorted(said["a"][0] + said["b"][0]) == sorted([*ids, "r1"])


# --- What people corrected ---


def test_corrections_are_rows_of_a_dataset(desk: Desk) -> None:
    """Each edit is an example: the input, what was proposed, what is right, what was changed, by whom."""
    for name in ("r2", "r3", "r4"):
        desk.ask(name)
    desk.reviews.answer("r1", "edit", by="Ada", edits={"total": 7})
    desk.reviews.answer("r2", "approve", by="Bob")
    desk.reviews.answer("r3", "reject", by="Bob", reason="Not ours.")

    (row,) = corrections(desk.database)
    assert (row["id"], row["input"]["text"], row["truth"]) == (
        "input-r1",
        "Invoice A1, to pay: 5 euro.",
        {**PROPOSAL, "total": 7},
    )
    assert (row["proposal"], row["correction"], row["by"], row["workflow"]) == (
        PROPOSAL,
        {"total": 7},
        "Ada",
        "payments",
    )
    assert [row["id"] for row in corrections(desk.database, approved=True)] == ["input-r1", "input-r2"]
    assert list(corrections(desk.database, workflow="other")) == []


def test_a_spoilt_row_is_left_out_of_the_export(desk: Desk) -> None:
    """One bad row does not keep the others from being learnt from."""
    desk.ask("r2")
    for name in ("r1", "r2"):
        desk.reviews.answer(name, "edit", by="Ada", edits={"total": 7})
    desk.change("UPDATE reviews SET question = 'no JSON' WHERE id = 'r1'")

    assert [row["id"] for row in corrections(desk.database)] == ["input-r2"]


def test_what_was_erased_is_no_example(desk: Desk) -> None:
    """Neither its input nor its answer is in the export."""
    desk.reviews.answer("r1", "edit", by="Ada", edits={"total": 7})
    desk.change("UPDATE runs SET input = NULL")

    assert list(corrections(desk.database)) == []


def test_more_corrections_than_are_read_at_once(desk: Desk) -> None:
    """Each comes once, in the order in which they were asked."""
    ids = [desk.ask(f"n{number:03}") for number in range(450)]
    desk.change(
        "UPDATE reviews SET status = 'answered', action = 'edit', answered_by = 'Ada', answer = ? WHERE id != 'r1'",
        json.dumps({"action": "edit", "output": PROPOSAL}),
    )

    assert [row["id"] for row in corrections(desk.database)] == [f"input-{name}" for name in ids]
