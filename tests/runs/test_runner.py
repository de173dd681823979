"""The runner: what goes in comes out with one outcome, and everything on the way is on record."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict

from stanchion import Input, RunContext, Runner, Workflow
from stanchion.errors import InvalidAnswer, ModelNotLoadable, ReviewClosed, RunNotFound, UsageError
from stanchion.testing import ScriptedModel
from tests.runs.conftest import answer, document, invoices


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


async def started(runner: Runner, *inputs: Input) -> list[Any]:
    async with runner:
        return await runner.start(inputs or [document()])


def test_a_good_answer_is_accepted(make_runner) -> None:
    """A run whose model answers well ends accepted, with the value, its rung and its confidence."""
    (done,) = run(started(make_runner(model=ScriptedModel([answer()]))))

    assert (done.status, done.outcome, done.rung, done.output) == (
        "done",
        "accepted",
        "model",
        {"number": "A1", "total": 1},
    )
    assert done.confidence == pytest.approx(0.9)


def test_a_bad_answer_is_repaired_with_the_conversation_kept(make_runner) -> None:
    """The repair sees the first answer and what was wrong with it, path and all."""
    model = ScriptedModel(['{"number": "A1", "total": "many"}', answer()])
    (done,) = run(started(make_runner(model=model)))

    assert (done.outcome, done.rung, done.calls) == ("accepted", "repair", 2)
    assert [message.type for message in model.history[1]] == ["system", "human", "ai", "human"]
    assert "total: " in model.history[1][-1].text


def test_repairs_are_bounded(make_runner) -> None:
    """A model that never learns is asked twice and no more; then a person is asked."""
    model = ScriptedModel(["no JSON here"] * 10)
    (waiting,) = run(started(make_runner(model=model)))

    assert len(model.history) == 2
    assert waiting.status == "waiting"


def test_without_a_model_the_workflow_goes_on(make_runner) -> None:
    """With `none`, no call is made and the run takes its fallback edge."""
    (waiting,) = run(started(make_runner(model="none")))

    assert (waiting.status, waiting.calls, waiting.cost_usd) == ("waiting", 0, Decimal(0))


def test_a_document_nobody_can_read_is_refused_with_a_reason(make_runner) -> None:
    """An empty document ends refused, in words for a person, without asking the model."""
    model = ScriptedModel([])
    (refused,) = run(started(make_runner(model=model), Input(id="empty", document={"text": ""})))

    assert (refused.outcome, refused.reason, model.history) == ("refused", "The document is empty.", [])


def test_a_defect_ends_its_own_run_and_no_other(make_runner) -> None:
    """An exception in a node makes that run `failed`, with the exception's name; its neighbours are accepted."""

    class State(TypedDict, total=False):
        document: dict[str, Any]

    def fragile(state: State) -> State:
        if state["document"]["text"] == "bad":
            raise ZeroDivisionError("on purpose")
        return {}

    builder = StateGraph(State)
    builder.add_node("fragile", fragile)
    builder.add_edge(START, "fragile")
    builder.add_edge("fragile", END)
    workflow = Workflow(builder.compile(), name="fragile", version="1")
    inputs = [Input(id=text, document={"text": text}) for text in ("good", "bad", "fine")]
    runs = run(started(make_runner(workflow), *inputs))

    assert [item.outcome for item in runs] == ["accepted", "failed", "accepted"]
    assert "ZeroDivisionError" in runs[1].reason


@pytest.mark.parametrize(
    "error", [UsageError("wrong option"), sqlite3.OperationalError("no such table: theirs"), LookupError("missing")]
)
def test_whatever_a_node_raises_ends_its_run(make_runner, error: Exception) -> None:
    """An error of ours or of somebody's own database, raised in a node, is that node's defect: the run ends, named."""

    class State(TypedDict, total=False):
        document: dict[str, Any]

    def fragile(_state: State) -> State:
        raise error

    builder = StateGraph(State)
    builder.add_node("fragile", fragile)
    builder.add_edge(START, "fragile")
    builder.add_edge("fragile", END)
    (ended,) = run(started(make_runner(Workflow(builder.compile(), name="fragile", version="1"))))

    assert ended.outcome == "failed"
    assert ended.reason.startswith("A defect in fragile, ")
    assert str(error) in ended.reason


def test_what_own_nodes_need_travels_in_the_context_and_is_never_stored(make_runner, db: Path) -> None:
    """A subclass of RunContext brings clients and keys to one's own nodes; the runner fills in what it knows."""

    @dataclass(frozen=True)
    class Ours(RunContext):
        api_key: str = ""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        length: int
        day: str

    def ask(_state: State, runtime: Runtime[Ours]) -> State:
        return {"length": len(runtime.context.api_key), "day": str(runtime.context.today)}

    builder = StateGraph(State, context_schema=Ours)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    workflow = Workflow(builder.compile(), name="keyed", version="1")
    (done,) = run(started(make_runner(workflow, context=Ours(api_key="sk-verysecret"))))

    assert (done.output["length"], done.output["day"]) == (13, "2024-01-01")
    assert not any(b"sk-verysecret" in file.read_bytes() for file in db.parent.iterdir() if file.is_file())


def test_a_loop_ends_by_our_limit(make_runner) -> None:
    """A graph that never ends is stopped after 50 steps as failed, far below LangGraph's 10,007."""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        n: int

    builder = StateGraph(State)
    builder.add_node("again", lambda state: {"n": state.get("n", 0) + 1})
    builder.add_edge(START, "again")
    builder.add_edge("again", "again")
    (stopped,) = run(started(make_runner(Workflow(builder.compile(), name="loop", version="1"))))

    assert (stopped.outcome, stopped.reason) == ("failed", "Stopped after 50 steps: a loop?")


def test_any_langgraph_graph_runs(make_runner) -> None:
    """A graph that knows nothing of us is accepted with what it holds at its end."""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        length: int

    builder = StateGraph(State)
    builder.add_node("measure", lambda state: {"length": len(state["document"]["text"])})
    builder.add_edge(START, "measure")
    builder.add_edge("measure", END)
    (done,) = run(started(make_runner(Workflow(builder.compile(), name="plain", version="1"))))

    assert (done.outcome, done.output["length"]) == ("accepted", 27)


def test_every_step_is_on_record(make_runner) -> None:
    """Steps stand in order with state in and out, times and verdicts; what a run cost is its calls' sum."""

    async def look() -> Any:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (done,) = await runner.start([document()])
            return runner.ledger.steps(done.id), runner.ledger.verdicts(done.id), runner.ledger.calls(done.id)

    steps, verdicts, calls = run(look())

    assert [step.node for step in steps] == ["intake", "model", "decide", "outcome"]
    assert [step.position for step in steps] == [1, 2, 3, 4]
    assert steps[0].state_in["document"] == document().document
    assert steps[1].state_out["candidates"]["model"]["output"] == {"number": "A1", "total": 1}
    assert all(step.ended_at is not None and step.attempts == 1 for step in steps)
    assert [(verdict.node, verdict.decision) for verdict in verdicts] == [
        ("intake", "accept"),
        ("model", "accept"),
        ("decide", "accept"),
    ]
    (call,) = calls
    assert (call.prompt, call.prompt_version, call.status) == ("invoices.extract", "7", "answered")
    assert call.answer[0]["data"]["content"] == answer()
    assert call.input_tokens is not None


def test_what_an_unreadable_answer_cost_is_kept(make_runner) -> None:
    """Tokens and money of an answer that could not be parsed stand in the ledger, with the raw answer."""
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    reply = AIMessage("Sorry, what?", usage_metadata=usage)

    class Priced(ScriptedModel):
        model_name: str = "gpt-4o-2024-05-13"

        @property
        def _llm_type(self) -> str:
            return "openai-chat"

    async def look() -> Any:
        async with make_runner(model=Priced([reply, reply])) as runner:
            (waiting,) = await runner.start([document()])
            return waiting, runner.ledger.calls(waiting.id)

    waiting, calls = run(look())

    assert waiting.cost_usd == Decimal("0.0130")
    assert [call.answer[0]["data"]["content"] for call in calls] == ["Sorry, what?"] * 2


def test_all_inputs_are_queued_before_the_first_runs(make_runner) -> None:
    """When the first run is claimed, every input of the batch is on disk."""
    events: list[str] = []
    runner = make_runner(observe=lambda event, _run_id: events.append(event))
    run(started(runner, *map(document, range(5))))

    assert events.index("claimed") == 5
    assert events[:5] == ["queued"] * 5


def test_no_more_runs_at_a_time_than_asked_for(make_runner) -> None:
    """With a concurrency of 2, never more than 2 runs are between claimed and ended."""
    open_runs: set[str] = set()
    most = 0

    def observe(event: str, run_id: str) -> None:
        nonlocal most
        if event == "claimed":
            open_runs.add(run_id)
        if event in {"ended", "waiting"}:
            open_runs.discard(run_id)
        most = max(most, len(open_runs))

    run(started(make_runner(concurrency=2, observe=observe), *map(document, range(6))))

    assert most == 2


def test_runs_come_back_in_the_order_of_their_inputs(make_runner) -> None:
    """Whatever finishes first, `start` returns runs as the inputs were given."""
    runs = run(started(make_runner(), *map(document, range(12))))

    assert [item.input_id for item in runs] == [f"doc-{number}" for number in range(12)]


def test_a_concurrency_below_one_is_refused(make_runner) -> None:
    """Zero workers would wait for ever; the message says what is allowed."""
    with pytest.raises(UsageError, match="at least 1"):
        make_runner(concurrency=0)


# --- Reviews  ---


async def waiting(runner: Runner) -> Any:
    (one,) = await runner.start([document()])
    (asked,) = runner.ledger.reviews()
    return one, asked


def test_an_approved_proposal_ends_reviewed(make_runner) -> None:
    """Approval takes the proposal as it is, with the reviewer's name beside it."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            done = await runner.answer(asked.id, "approve", by="Ada")
            return done, runner.ledger.review(asked.id)

    done, review = run(story())

    assert (done.outcome, done.output, done.rung) == ("reviewed", {"number": "A1", "total": 1}, "model")
    assert (review.answered_by, review.action) == ("Ada", "approve")
    assert review.resumed_at is not None


def test_an_edit_changes_only_the_named_fields(make_runner) -> None:
    """The edited value is the proposal with the edit in it, and its rung is `human`."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            return await runner.answer(asked.id, "edit", by="Ada", edits={"total": "12"})

    done = run(story())

    assert (done.outcome, done.output, done.rung) == ("reviewed", {"number": "A1", "total": 12}, "human")


def test_a_rejection_keeps_its_reason_and_no_value(make_runner) -> None:
    """A rejected run has the reviewer's reason and no output."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            return await runner.answer(asked.id, "reject", by="Ada", reason="Not ours.")

    done = run(story())

    assert (done.outcome, done.reason, done.output) == ("rejected", "Not ours.", None)


@pytest.mark.parametrize(
    ("action", "edits", "why"),
    [
        ("edit", {"total": "twelve"}, "total"),
        ("edit", {"totl": 12}, "no field totl; there are number, total"),
        ("edit", {}, "at least one field"),
        ("approve", {"total": 1}, "Edits go with"),
        ("shrug", {}, "approve, edit or reject"),
    ],
)
def test_an_answer_that_does_not_fit_leaves_the_review_open(make_runner, action, edits, why) -> None:
    """The reviewer is told what is wrong, and may answer again."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            _, asked = await waiting(runner)
            with pytest.raises(InvalidAnswer, match=why):
                await runner.answer(asked.id, action, by="Ada", edits=edits)
            return await runner.answer(asked.id, "approve", by="Ada")

    assert run(story()).outcome == "reviewed"


def test_approving_what_is_not_complete_is_refused(make_runner) -> None:
    """Without any proposal, approval would accept nothing; an edit of all fields is what helps."""

    async def story() -> Any:
        async with make_runner(model="none") as runner:
            _, asked = await waiting(runner)
            with pytest.raises(InvalidAnswer, match="number: Field required; total: Field required"):
                await runner.answer(asked.id, "approve", by="Ada")
            return await runner.answer(asked.id, "edit", by="Ada", edits={"number": "A1", "total": 1})

    assert run(story()).output == {"number": "A1", "total": 1}


def test_a_second_answer_is_told_who_was_first(make_runner) -> None:
    """A question is answered once: the second gets an error that names the first, and nothing changes."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            one, asked = await waiting(runner)
            await runner.answer(asked.id, "approve", by="Ada")
            with pytest.raises(ReviewClosed, match=r"approve by Ada at 2024-01-01"):
                await runner.answer(asked.id, "reject", by="Bob")
            return runner.ledger.run(one.id)

    assert run(story()).outcome == "reviewed"


def test_two_simultaneous_answers_are_one_action(make_runner) -> None:
    """Of two answers at the same moment one is taken and one is refused; the node after the question runs once."""

    async def story() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            one, asked = await waiting(runner)
            results = await asyncio.gather(
                runner.answer(asked.id, "approve", by="Ada"),
                runner.answer(asked.id, "reject", by="Bob"),
                return_exceptions=True,
            )
            return results, [step.node for step in runner.ledger.steps(one.id)]

    results, nodes = run(story())

    assert sum(isinstance(result, ReviewClosed) for result in results) == 1
    assert nodes.count("outcome") == 1


def test_a_repeated_answer_never_falls_to_the_next_question(make_runner) -> None:
    """A node that asks twice gets each question answered by itself: the first answer is not taken for the second."""

    class State(TypedDict, total=False):
        document: dict[str, Any]
        said: list[str]

    builder = StateGraph(State)
    builder.add_node("ask", lambda _state: {"said": [interrupt("delete one?"), interrupt("delete all?")]})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    workflow = Workflow(builder.compile(), name="asking", version="1")

    async def story() -> Any:
        async with make_runner(workflow) as runner:
            _, first = await waiting(runner)
            again = await runner.answer(first.id, "approve", by="Ada")
            with pytest.raises(ReviewClosed):
                await runner.answer(first.id, "approve", by="Ada")
            return again, runner.ledger.reviews()

    again, open_reviews = run(story())

    assert again.status == "waiting"
    assert [review.question for review in open_reviews] == ["delete all?"]


# --- Going on  ---


def test_resume_leaves_the_runs_of_the_living_alone(make_runner) -> None:
    """A run that another living runner works on is not touched by resume."""

    async def story() -> Any:
        async with make_runner() as first, make_runner() as second:
            (run_id,) = await first.queue([document()])
            with sqlite3.connect(second.ledger.database.path) as other:
                other.execute("UPDATE runs SET status = 'running', owner = ?", [first._owner.name])
            await second.resume()
            return second.ledger.run(run_id)

    assert run(story()).status == "running"


def test_two_calls_of_one_runner_never_advance_one_run(make_runner) -> None:
    """A service that resumes while its own start is still under way leaves those runs to it: each is asked once."""
    model = ScriptedModel([answer(number) for number in range(6)])
    events: list[tuple[str, str]] = []

    async def story() -> Any:
        runner = make_runner(model=model, concurrency=3, observe=lambda event, run_id: events.append((event, run_id)))
        async with runner:
            ids = await runner.queue(map(document, range(6)))
            await asyncio.gather(runner.advance(ids), runner.resume(), runner.advance(ids))
            return runner.ledger.runs_of(ids)

    runs = run(story())

    assert {item.outcome for item in runs} == {"accepted"}
    assert len(model.history) == 6
    assert sorted(events.count(("claimed", item.id)) for item in runs) == [1] * 6


def test_one_file_under_two_names_is_one_database(make_runner, tmp_path: Path) -> None:
    """A runner that reaches the file by a link sees that its runs belong to somebody alive."""

    async def story() -> Any:
        async with make_runner() as first:
            (run_id,) = await first.queue([document()])
            (tmp_path / "link.db").symlink_to(first.ledger.database.path)
            with sqlite3.connect(first.ledger.database.path) as other:
                other.execute("UPDATE runs SET status = 'running', owner = ?", [first._owner.name])
            async with Runner(invoices(), db=tmp_path / "link.db", model="none") as second:
                await second.resume()
                return second.ledger.run(run_id)

    assert run(story()).status == "running"


def test_a_waiting_run_is_not_taken_up_without_an_answer(make_runner) -> None:
    """Advancing a run that waits for a person does nothing: its node is not executed again."""

    async def story() -> Any:
        async with make_runner(model="none") as runner:
            one, _ = await waiting(runner)
            await runner.advance([one.id])
            return runner.ledger.steps(one.id)

    assert {step.attempts for step in run(story())} == {1}


def test_resume_takes_over_the_runs_of_the_dead(make_runner) -> None:
    """A run whose owner is gone is finished by the next resume."""

    async def story() -> Any:
        async with make_runner() as runner:
            (run_id,) = await runner.queue([Input(id="x", document={"text": ""})])
            with sqlite3.connect(runner.ledger.database.path) as other:
                other.execute("UPDATE runs SET status = 'running', owner = 'long gone'")
            await runner.resume()
            return runner.ledger.run(run_id)

    assert run(story()).outcome == "refused"


def test_a_run_goes_on_with_the_model_it_was_made_with(make_runner, monkeypatch) -> None:
    """Resumed by a runner that names no model, a run asks its own; `STANCHION_MODEL` is for new runs."""
    recorded = Input(id="x", document=document().document, recorded={"then": answer()})

    async def story() -> Any:
        async with make_runner(model="recorded:then") as runner:
            await runner.queue([recorded])
        monkeypatch.setenv("STANCHION_MODEL", "none")
        async with make_runner() as runner:
            return await runner.resume()

    (done,) = run(story())

    assert (done.outcome, done.rung, done.model) == ("accepted", "model", "recorded:then")


def test_a_run_whose_model_cannot_be_loaded_stays_unfinished(make_runner) -> None:
    """A run made with a model object is not failed by a resume that lacks it: the error says what to give."""

    async def story() -> Any:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (run_id,) = await runner.queue([document()])
        async with make_runner() as runner:
            with pytest.raises(ModelNotLoadable, match=r"made with a model object, scripted \(object\): give it again"):
                await runner.resume()
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            await runner.resume()
            return runner.ledger.run(run_id)

    assert run(story()).outcome == "accepted"


def test_a_run_that_somebody_else_advanced_is_not_started_anew(make_runner) -> None:
    """What another runner did between two looks counts: the question it left open is not asked a second time."""

    async def story() -> Any:
        async with make_runner(model="none") as first, make_runner(model="none") as second:
            run_ids = await first.queue([document()])
            await first.advance(run_ids)
            await second.advance(run_ids)
            return second.ledger.reviews(), second.ledger.steps(run_ids[0])

    reviews, steps = run(story())

    assert len(reviews) == 1
    assert [step.node for step in steps] == ["intake", "model", "decide", "review"]


def test_an_answer_through_another_workflows_runner_is_refused(make_runner) -> None:
    """A review is answered by a runner of its own workflow; another graph never runs on its thread."""
    from dataclasses import replace

    async def story() -> Any:
        async with make_runner(model="none") as runner:
            _, asked = await waiting(runner)
        async with make_runner(replace(invoices(), name="letters")) as other:
            with pytest.raises(UsageError, match="of the workflow invoices, not letters"):
                await other.answer(asked.id, "reject", by="Ada")

    run(story())


def test_an_unknown_run_is_named_in_the_error(make_runner) -> None:
    """Resuming a run that does not exist says so and where runs are listed."""

    async def story() -> Any:
        async with make_runner() as runner:
            with pytest.raises(RunNotFound, match=r"no run 'nope'.*stanchion runs"):
                await runner.resume(["nope"])

    run(story())


# --- Forgetting  ---


def test_erasing_leaves_no_trace_of_the_content(make_runner, db: Path) -> None:
    """After `erase`, nothing of document or answer stands in the file or its log; that the run happened does."""
    secret = "Zanzibar4711"
    item = Input(id="x", document={"text": f"{secret} owes us 5 euro."})
    model = ScriptedModel([f'{{"number": "{secret}", "total": 5}}'])

    async def story() -> Any:
        async with make_runner(model=model) as runner:
            (done,) = await runner.start([item])
            return done

    done = run(story())
    assert any(secret.encode() in file.read_bytes() for file in db.parent.iterdir() if file.is_file())

    from datetime import UTC, datetime

    from stanchion import Ledger
    from stanchion.store import Database

    database = Database(db)
    erased = Ledger(database).erase(done.id, at=datetime(2024, 2, 1, tzinfo=UTC))
    steps = Ledger(database).steps(done.id)
    database.close()

    assert (erased.outcome, erased.output, erased.erased_at.day) == ("accepted", None, 1)
    assert [step.node for step in steps] == ["intake", "model", "decide", "outcome"]
    assert not any(secret.encode() in file.read_bytes() for file in db.parent.iterdir() if file.is_file())


def test_a_run_whose_process_died_can_be_erased(make_runner, db: Path) -> None:
    """Nobody has to send a document to a model first in order to erase it."""
    from datetime import UTC, datetime

    async def story() -> Any:
        async with make_runner() as runner:
            (run_id,) = await runner.queue([document()])
            with sqlite3.connect(db) as other:
                other.execute("UPDATE runs SET status = 'running', owner = 'long gone'")
            erased = runner.ledger.erase(run_id, at=datetime(2024, 2, 1, tzinfo=UTC))
            await runner.resume()
            return erased, runner.ledger.run(run_id)

    erased, after = run(story())

    assert (erased.status, after.status, after.outcome) == ("cancelled", "cancelled", None)


def test_a_beginning_that_several_ids_have_names_none(make_runner) -> None:
    """Nothing is guessed: the error says that there is more than one."""

    async def story() -> Any:
        async with make_runner() as runner:
            await runner.queue(map(document, range(2)))
            with pytest.raises(RunNotFound, match="more than one run 'run'"):
                runner.ledger.full_id("run")

    run(story())


@pytest.mark.parametrize("typed", ["", "*", "run-1?", "%"])
def test_what_is_no_id_names_nothing(make_runner, typed: str) -> None:
    """An empty variable in somebody's script does not erase the only run there is."""

    async def story() -> Any:
        async with make_runner() as runner:
            await runner.queue([document()])
            with pytest.raises(UsageError, match="letters and digits"):
                runner.ledger.full_id(typed)
            with pytest.raises(UsageError, match="letters and digits"):
                runner.ledger.review(typed)

    run(story())


def test_pruning_deletes_old_runs_with_their_checkpoints_and_nothing_else(make_runner) -> None:
    """Runs that ended before the moment are gone from every table; waiting ones stay, however old."""
    from datetime import UTC, datetime

    async def story() -> Any:
        async with make_runner(model=ScriptedModel([answer(), "no", "no"]), concurrency=1) as runner:
            await runner.start([document(1), document(2)])
            pruned = runner.ledger.prune(datetime(2030, 1, 1, tzinfo=UTC))
            tables = ("runs", "steps", "calls", "verdicts")
            left = {name: runner.ledger.database.read(f"SELECT * FROM {name}") for name in tables}
            threads = runner.ledger.database.read("SELECT DISTINCT thread_id FROM checkpoints")
            return pruned, left, threads

    pruned, left, threads = run(story())

    assert pruned == 1
    (survivor,) = left["runs"]
    assert survivor["status"] == "waiting"
    assert {row["run_id"] for rows in left.values() for row in rows if "run_id" in row} == {survivor["id"]}
    assert [row["thread_id"] for row in threads] == [survivor["id"]]


def test_secrets_in_the_context_never_reach_the_disk(make_runner, db: Path) -> None:
    """LangGraph copies scalars of its config into checkpoints; the model, which holds keys, travels in the context."""

    class Keyed(ScriptedModel):
        api_key: str = "sk-verysecret"

    run(started(make_runner(model=Keyed([answer()]))))

    assert not any(b"sk-verysecret" in file.read_bytes() for file in db.parent.iterdir() if file.is_file())


def test_state_comes_back_typed_and_nothing_else_is_imported(make_runner) -> None:
    """Under strict msgpack the state's own types are restored, which pins LangGraph's private allow-list."""
    from stanchion.verdict import Candidate, Outcome, Source, Verdict

    async def story() -> Any:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (done,) = await runner.start([document()])
            return (await runner._graph.aget_state({"configurable": {"thread_id": done.id}})).values

    values = run(story())

    assert isinstance(values["source"], Source)
    assert isinstance(values["verdict"], Verdict)
    assert isinstance(values["outcome"], Outcome)
    assert isinstance(values["candidates"]["model"], Candidate)
    assert isinstance(values["conversation"][-1], AIMessage)
