"""Forks: a new run goes on from before a step, with the state that somebody gives it; the old one stays as it is."""

from __future__ import annotations

import asyncio
import json
import operator
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pytest
from langchain_core.messages import AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from stanchion import Input, Workflow
from stanchion.errors import NotAllowed, RunEnded, RunNotFound, UsageError
from stanchion.people import Person
from stanchion.runs.forgetting import erase
from stanchion.runs.forks import fork, state_before
from stanchion.runs.operations import Operations
from stanchion.runs.records import Run
from stanchion.store import Database
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock, ScriptedModel
from tests.runs.conftest import answer, document, invoices, run

ADA = {"by": "ada", "reason": "to try something else"}
TO_ASK = 0.99  # confidence from which nothing is asked: a scripted answer has 0.9


def everything_of(database: Database, run_id: str) -> dict[str, list[Any]]:
    """All rows that a run has in any table, byte by byte; the trail tells of it, and is not of it."""
    with closing(sqlite3.connect(database.path)) as connection:
        found = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for key in columns & {"run_id", "thread_id"} | ({"id"} if table == "runs" else set()):
                rows = connection.execute(f"SELECT * FROM {table} WHERE {key} = ? ORDER BY rowid", [run_id]).fetchall()
                found[table] = [] if table == "trail" else rows
    return found


async def go_on(runner: Any, *runs: Run) -> list[Run]:
    return await runner.resume([one.id for one in runs])


async def asked_of(runner: Any, one: Run) -> Any:
    (review,) = runner.ledger.reviews(run_id=one.id)
    return review


# --- From each place ---


@pytest.mark.parametrize(
    ("at", "position", "calls"), [("1", 1, 1), ("#2", 2, 1), ("model", 2, 1), ("decide", 3, 0), ("review", 4, 0)]
)
def test_a_fork_goes_on_from_before_its_step(make_runner, at: str, position: int, calls: int) -> None:
    """It has the steps before, executes that one and those after, and ends like its origin with the same answers."""

    async def story() -> None:
        model = ScriptedModel([answer()] * 2)
        async with make_runner(invoices(accept_at=TO_ASK), model=model) as runner:
            (origin,) = await runner.start([document()])
            made = await fork(runner.ledger.database, origin.id, at=at, workflow=runner.workflow, **ADA)
            before = runner.ledger.steps(made.id)
            asked = len(model.history)
            (waits,) = await go_on(runner, made)
            steps = runner.ledger.steps(origin.id)

            assert (made.status, made.origin, made.origin_step) == ("queued", origin.id, steps[position - 1].task_id)
            assert asked == 1, "the copy itself calls nobody"
            assert [step.node for step in before] == [step.node for step in steps][: position - 1]
            assert made.path == tuple(step.node for step in before)
            assert [step.node for step in runner.ledger.steps(made.id)] == [step.node for step in steps]
            assert [step.attempts for step in runner.ledger.steps(made.id)] == [1] * len(steps)
            assert len(model.history) == 1 + calls
            assert (waits.status, waits.calls, waits.output) == ("waiting", calls, origin.output)

    run(story())


def test_nothing_of_the_origin_changes(make_runner) -> None:
    """Not a byte in any table, by the copy or by the new run's going on, its answer and its end."""

    async def story() -> None:
        async with make_runner(invoices(accept_at=TO_ASK), model=ScriptedModel([answer(), answer(2)])) as runner:
            (origin,) = await runner.start([document()])
            database = runner.ledger.database
            before = everything_of(database, origin.id)
            for at in ("intake", "review"):
                made = await fork(database, origin.id, at=at, workflow=runner.workflow, **ADA)
                await go_on(runner, made)
                await runner.answer((await asked_of(runner, made)).id, "approve", by="ada")

            assert {"runs", "steps", "verdicts", "calls", "reviews", "checkpoints", "writes"} <= before.keys()
            assert all(before[table] for table in ("runs", "steps", "verdicts", "calls", "reviews", "checkpoints"))
            assert everything_of(database, origin.id) == before

    run(story())


def test_what_was_done_before_is_copied_whole(make_runner) -> None:
    """Steps and verdicts before the step are the origin's in every column but the run's id."""

    async def story() -> None:
        async with make_runner(model=ScriptedModel(["no JSON", answer()])) as runner:
            (origin,) = await runner.start([document()])
            database = runner.ledger.database
            made = await fork(database, origin.id, at="outcome", workflow=runner.workflow, **ADA)
            old, new = everything_of(database, origin.id), everything_of(database, made.id)

            assert [row[1:] for row in new["steps"]] == [row[1:] for row in old["steps"]][:-1]
            assert [row[1:] for row in new["verdicts"]] == [row[1:] for row in old["verdicts"]]
            assert [row[1:] for row in new["checkpoints"]] == [row[1:] for row in old["checkpoints"]][:-1]
            assert new["calls"] == new["reviews"] == []
            assert (made.calls, made.cost_usd) == (0, 0)

    run(story())


def test_both_branches_are_answered_each_for_itself(make_runner) -> None:
    """The origin's question stays open, the fork asks its own, and two answers are two outcomes."""

    async def story() -> None:
        async with make_runner(invoices(accept_at=TO_ASK), model=ScriptedModel([answer()])) as runner:
            (origin,) = await runner.start([document()])
            made = await fork(runner.ledger.database, origin.id, at="review", workflow=runner.workflow, **ADA)
            await go_on(runner, made)
            first, second = await asked_of(runner, origin), await asked_of(runner, made)
            approved = await runner.answer(first.id, "approve", by="ada")
            edited = await runner.answer(second.id, "edit", by="bob", edits={"total": 7})

            assert (approved.id, approved.outcome, approved.output) == (
                origin.id,
                "reviewed",
                {"number": "A1", "total": 1},
            )
            assert (edited.id, edited.outcome, edited.output) == (made.id, "reviewed", {"number": "A1", "total": 7})

    run(story())


def test_an_answer_that_was_given_is_not_taken_for_the_fork(make_runner) -> None:
    """Forked at a review after its answer, the new run asks anew; forked after it, the answer is part of the state."""

    async def story() -> None:
        async with make_runner(invoices(accept_at=TO_ASK), model=ScriptedModel([answer()])) as runner:
            (origin,) = await runner.start([document()])
            await runner.answer((await asked_of(runner, origin)).id, "edit", by="ada", edits={"total": 5})
            database = runner.ledger.database
            again = await fork(database, origin.id, at="review", workflow=runner.workflow, **ADA)
            after = await fork(database, origin.id, at="outcome", workflow=runner.workflow, **ADA)
            asks, ends = await go_on(runner, again, after)

            assert (asks.status, asks.output) == ("waiting", {"number": "A1", "total": 1})
            assert (ends.outcome, ends.output) == ("reviewed", {"number": "A1", "total": 5})

    run(story())


def test_a_fork_of_a_fork(make_runner) -> None:
    """A fork with edits is a run like any other, also to be forked, before the step it began with and after."""

    async def story() -> None:
        async with make_runner(invoices(accept_at=TO_ASK), model=ScriptedModel([answer()] * 3)) as runner:
            (origin,) = await runner.start([document()])
            database = runner.ledger.database
            edits = {"output": {"number": "X", "total": 3}}
            first = await fork(database, origin.id, at="review", workflow=runner.workflow, edits=edits, **ADA)
            await go_on(runner, first)
            nodes = [step.node for step in runner.ledger.steps(first.id)]
            second = await fork(database, first.id, at="review", workflow=runner.workflow, **ADA)
            third = await fork(database, first.id, at="model", workflow=runner.workflow, **ADA)
            kept = (await runner._graph.aget_state({"configurable": {"thread_id": second.id}})).values["output"]
            runs = await go_on(runner, second, third)

            assert nodes == ["intake", "model", "decide", "review"]
            assert kept == edits["output"]
            assert [one.status for one in runs] == ["waiting", "waiting"]
            assert [step.node for step in runner.ledger.steps(second.id)] == nodes

    run(story())


# --- Graphs of every shape ---


class Shape(TypedDict, total=False):
    """The state of graphs that only say where they have been."""

    document: dict[str, Any]
    been: Annotated[list[str], operator.add]
    turns: int
    said: NotRequired[Annotated[list[AnyMessage], add_messages]]


def step(name: str) -> Any:
    return lambda _state: {"been": [name]}


def shape(**nodes: Any) -> StateGraph[Any, Any, Any, Any]:
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Shape)
    for name, node in nodes.items():
        builder.add_node(name, node)
    return builder


def workflow(builder: StateGraph[Any, Any, Any, Any], version: str = "1") -> Workflow:
    return Workflow(builder.compile(), name="shape", version=version)


def loop() -> Workflow:
    """Turns three times, then says so."""
    builder = shape(turn=lambda state: {"been": ["turn"], "turns": state.get("turns", 0) + 1}, end=step("end"))
    builder.add_edge(START, "turn")
    builder.add_conditional_edges("turn", lambda state: "turn" if state["turns"] < 3 else "end", ["turn", "end"])
    return workflow(builder)


def joined() -> Workflow:
    """Two branches of different length, and a step that waits for both."""
    builder = shape(left=step("left"), right=step("right"), more=step("more"), join=step("join"))
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge("right", "more")
    builder.add_edge(["left", "more"], "join")
    return workflow(builder)


def sent() -> Workflow:
    """Three sendings to one node, each with its own state, and a step after them."""
    builder = shape(plan=step("plan"), work=lambda state: {"been": [f"work {state['turns']}"]}, end=step("end"))
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda _state: [Send("work", {"turns": n}) for n in range(3)], ["work"])
    builder.add_edge("work", "end")
    return workflow(builder)


def commanded() -> Workflow:
    """A node without edges says by Command what comes next."""
    builder = shape(choose=lambda _state: Command(update={"been": ["choose"]}, goto="chosen"), chosen=step("chosen"))
    builder.add_edge(START, "choose")
    builder.add_edge("chosen", END)
    return workflow(builder)


def handled() -> Workflow:
    """A node that fails, and a handler that leads elsewhere than its edge."""

    def fails(_state: Shape) -> Shape:
        raise LookupError("on purpose")

    builder = shape(usual=step("usual"), instead=step("instead"))
    builder.add_node("fails", fails, error_handler=lambda _state: Command(goto="instead"))
    builder.add_edge(START, "fails")
    builder.add_edge("fails", "usual")
    return workflow(builder)


async def start_one(runner: Any) -> Run:
    (one,) = await runner.start([Input("one", {"text": "x"})])
    return one


@pytest.mark.parametrize("edits", [None, {"turns": 7}], ids=["as it was", "edited"])
@pytest.mark.parametrize(
    ("shaped", "at", "been"),
    [
        (loop, "1", ["turn", "turn", "turn", "end"]),
        (loop, "turn", ["turn", "turn", "turn", "end"]),
        (loop, "end", ["turn", "turn", "turn", "end"]),
        (joined, "more", ["left", "right", "more", "join"]),
        (joined, "left", ["left", "right", "more", "join"]),
        (joined, "join", ["left", "right", "more", "join"]),
        (sent, "work", ["plan", "work 0", "work 1", "work 2", "end"]),
        (sent, "end", ["plan", "work 0", "work 1", "work 2", "end"]),
        (commanded, "chosen", ["choose", "chosen"]),
        (handled, "instead", ["instead"]),
    ],
)
def test_whatever_led_to_a_step_it_is_the_step_that_goes_on(make_runner, shaped, at, been, edits) -> None:
    """Loops, joins, Send, Command, error handlers: the fork goes the same way, and an edit leads it nowhere else."""
    if edits and shaped is loop:
        been = {"1": ["turn", "end"], "turn": ["turn", "turn", "turn", "end"], "end": been}[at]

    async def story() -> None:
        async with make_runner(shaped(), model="none") as runner:
            origin = await start_one(runner)
            before = everything_of(runner.ledger.database, origin.id)
            made = await fork(runner.ledger.database, origin.id, at=at, workflow=runner.workflow, edits=edits, **ADA)
            (done,) = await go_on(runner, made)

            assert (origin.outcome, done.outcome) == ("accepted", "accepted")
            assert (done.output or {})["been"] == been
            assert everything_of(runner.ledger.database, origin.id) == before
            positions = [step.position for step in runner.ledger.steps(made.id)]
            assert positions == list(range(1, len(positions) + 1))
            assert len(positions) == len(runner.ledger.steps(origin.id)) - (shaped is loop and len(been) == 2) * 2

    run(story())


def test_a_node_names_its_last_visit_and_a_position_any(make_runner) -> None:
    """In a loop, the node's name is the last time round; each earlier one goes by its position or its task id."""

    async def story() -> None:
        async with make_runner(loop(), model="none") as runner:
            origin = await start_one(runner)
            steps = runner.ledger.steps(origin.id)
            database = runner.ledger.database
            for at, meant in {"turn": 2, "2": 1, steps[1].task_id: 1}.items():
                made = await fork(database, origin.id, at=at, workflow=runner.workflow, **ADA)
                assert made.origin_step == steps[meant].task_id
                assert len(runner.ledger.steps(made.id)) == meant

    run(story())


# --- Edits ---


def test_the_whole_state_before_a_step_can_be_read(make_runner) -> None:
    """Every key that the state declares, as the checkpoint has it: what was written later is not there yet."""

    async def story() -> None:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (origin,) = await runner.start([document()])
            database, of = runner.ledger.database, {"workflow": runner.workflow}
            before = await state_before(database, origin.id, at="decide", **of)
            first = await state_before(database, origin.id, at="1", **of)

            assert json.loads(before["candidates"])["model"]["output"] == {"number": "A1", "total": 1}
            assert json.loads(before["source"])["text"] == document().document["text"]
            assert before["outcome"] is None
            assert first.keys() == before.keys()
            assert (first["candidates"], first["source"]) == ("{}", None)
            erase(database, origin.id, by="ada")
            with pytest.raises(RunEnded):
                await state_before(database, origin.id, at="decide", **of)

    run(story())


def test_edits_are_read_as_what_the_state_declares(make_runner) -> None:
    """Candidates in JSON form become candidates, and the fork decides by them as if the model had said so."""
    said = {"rung": "model", "output": {"number": "B9", "total": 9}, "claimed": 0.9}

    async def story() -> None:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (origin,) = await runner.start([document()])
            made = await fork(
                runner.ledger.database,
                origin.id,
                at="decide",
                workflow=runner.workflow,
                edits={"candidates": {"model": said}},
                **ADA,
            )
            (done,) = await go_on(runner, made)

            assert (origin.output, done.output) == ({"number": "A1", "total": 1}, {"number": "B9", "total": 9})

    run(story())


@pytest.mark.parametrize(
    ("edits", "been", "said"),
    [({"been": ["x"]}, ["x", "end"], None), ({"said": [{"type": "human", "content": "hello"}]}, None, ["hello"])],
)
def test_a_key_has_exactly_its_new_value(make_runner, edits, been, said) -> None:
    """What a reducer would have added to the old value replaces it: the state is what stands in the form."""

    async def story() -> None:
        async with make_runner(loop(), model="none") as runner:
            origin = await start_one(runner)
            made = await fork(runner.ledger.database, origin.id, at="end", workflow=runner.workflow, edits=edits, **ADA)
            await go_on(runner, made)
            values = (await runner._graph.aget_state({"configurable": {"thread_id": made.id}})).values

            assert values["been"] == (been or ["turn", "turn", "turn", "end"])
            assert [message.text for message in values.get("said", [])] == (said or [])

    run(story())


DEEP: list[Any] = []
for _ in range(3_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"total": 1}, "no key 'total'; it has document, source"),
        ({"__start__": {}}, "no key"),
        ({"branch:to:review": None}, "no key"),
        ({"verdict": "accept"}, "verdict: "),
        ({"verdict": {"decision": "obey"}}, "verdict.decision: "),
        ({"candidates": {"model": {"rung": "model", "output": {}, "evil": 1}}}, "candidates.model.evil: "),
        ({"candidates": {"__overwrite__": {}}}, "candidates.__overwrite__"),
        ({"output": {"number": 2**70}}, "edit of output"),
        ({"output": {"number": DEEP}}, "output"),
        ({"output": {"number": object()}}, "edit of output"),
    ],
)
def test_an_edit_that_does_not_fit_makes_nothing(make_runner, edits, why: str) -> None:
    """Keys that there are not, wrong types, and what cannot be stored are refused by name: no run, no row."""

    async def story() -> None:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (origin,) = await runner.start([document()])
            database = runner.ledger.database
            before = database.read("SELECT (SELECT count(*) FROM checkpoints) AS c, (SELECT count(*) FROM steps) AS s")
            with pytest.raises(UsageError, match=why):
                await fork(database, origin.id, at="decide", workflow=runner.workflow, edits=edits, **ADA)

            after = database.read("SELECT (SELECT count(*) FROM checkpoints) AS c, (SELECT count(*) FROM steps) AS s")
            assert [one.id for one in runner.ledger.runs()] == [origin.id]
            assert after == before
            assert Trail(database).entries() == []

    run(story())


# --- What it goes on with ---


def test_a_fork_has_the_model_and_prompts_that_it_is_given(make_runner) -> None:
    """By default its origin's; else the model named, without answers recorded for another, and the label's prompts."""

    async def story() -> None:
        item = document()._replace(recorded={"demo": answer()})
        async with make_runner(model="recorded:demo") as runner:
            (origin,) = await runner.start([item])
            database = runner.ledger.database
            database.write_now(lambda tables: tables.conn.execute("UPDATE runs SET prompts = '{}'") and None)
            same = await fork(database, origin.id, at="model", workflow=runner.workflow, **ADA)
            other = await fork(
                database, origin.id, at="model", workflow=runner.workflow, model="none", prompts="production", **ADA
            )

            assert (same.model, same.prompts, same.version) == ("recorded:demo", {}, "3")
            assert (other.model, list(other.prompts)) == ("none", ["invoices.extract"])
            kept = database.read("SELECT recorded IS NULL AS gone FROM runs WHERE id = ?", [other.id])
            assert kept == [{"gone": 1}]
        async with make_runner() as runner:
            first, second = await go_on(runner, same, other)
            assert (first.outcome, second.status, second.calls) == ("accepted", "waiting", 0)

    run(story())


def test_a_workflow_that_has_changed_is_said_so(make_runner) -> None:
    """A step that the workflow of today would not begin from that checkpoint is no place to fork at."""
    changed = shape(other=step("other"))
    changed.add_edge(START, "other")

    async def story() -> None:
        async with make_runner(loop(), model="none") as runner:
            origin = await start_one(runner)
            with pytest.raises(UsageError, match="other nodes and edges by now"):
                await fork(runner.ledger.database, origin.id, at="end", workflow=workflow(changed, "2"), **ADA)

    run(story())


def test_a_failed_step_is_tried_again_with_the_defect_mended(make_runner) -> None:
    """A run that a defect ended is forked before the step that failed, under the workflow as it is now."""

    def broken(mended: bool) -> Workflow:
        def last(_state: Shape) -> Any:
            if not mended:
                raise LookupError("on purpose")
            return {"been": ["last"]}

        builder = shape(first=step("first"), last=last)
        builder.add_edge(START, "first")
        builder.add_edge("first", "last")
        return workflow(builder, "2" if mended else "1")

    async def story() -> None:
        async with make_runner(broken(mended=False), model="none") as runner:
            origin = await start_one(runner)
        async with make_runner(broken(mended=True), model="none") as runner:
            made = await fork(runner.ledger.database, origin.id, at="last", workflow=runner.workflow, **ADA)
            (done,) = await go_on(runner, made)

            assert (origin.outcome, done.outcome, done.version) == ("failed", "accepted", "2")
            assert (done.output or {})["been"] == ["first", "last"]

    run(story())


def test_a_run_at_work_can_be_forked(make_runner) -> None:
    """What it has written does not change any more, also before the step that it is in; it works on undisturbed."""

    async def story() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow(_state: Shape) -> Any:
            begun.set()
            await go.wait()
            return {"been": ["slow"]}

        builder = shape(first=step("first"), slow=slow)
        builder.add_edge(START, "first")
        builder.add_edge("first", "slow")
        async with make_runner(workflow(builder), model="none") as runner:
            working = asyncio.create_task(start_one(runner))
            await begun.wait()
            database = runner.ledger.database
            while not (steps := database.read("SELECT run_id FROM steps WHERE node = 'slow'")):
                await asyncio.sleep(0)
            made = await fork(database, steps[0]["run_id"], at="slow", workflow=runner.workflow, **ADA)
            go.set()
            origin = await working
            (done,) = await go_on(runner, made)

            assert [one.outcome for one in (origin, done)] == ["accepted", "accepted"]
            assert [(one.output or {})["been"] for one in (origin, done)] == [["first", "slow"]] * 2

    run(story())


# --- What is refused, and what is written down ---


@pytest.fixture
def ended(make_runner, db: Path) -> Iterator[tuple[Database, Run]]:
    """A run that has ended, and its database."""

    async def story() -> Run:
        async with make_runner(model=ScriptedModel([answer()])) as runner:
            (one,) = await runner.start([document()])
            return one

    one = run(story())
    database = Database(db)
    yield database, one
    database.close()


def test_an_erased_run_has_nothing_to_fork(ended: tuple[Database, Run]) -> None:
    """Its states are gone, and the message says since when."""
    database, origin = ended
    erase(database, origin.id, by="Ada", clock=FakeClock())
    with pytest.raises(RunEnded, match=r"erased at 2024-01-01 00:00 UTC"):
        run(fork(database, origin.id, at="1", workflow=invoices(), **ADA))


def test_a_cancelled_run_can_be_forked(ended: tuple[Database, Run], make_runner) -> None:
    """Cancelling ends a run, and takes nothing away."""

    async def story() -> None:
        async with make_runner(invoices(accept_at=TO_ASK), model=ScriptedModel([answer()])) as runner:
            (origin,) = await runner.start([document()])
            Operations(runner.ledger.database).cancel([origin.id], **ADA)
            made = await fork(runner.ledger.database, origin.id, at="decide", workflow=runner.workflow, **ADA)
            (waits,) = await go_on(runner, made)
            assert waits.standing == "review"

    run(story())


@pytest.mark.parametrize(
    ("how", "error", "why"),
    [
        ({"by": Person("eve", frozenset({"reviewer"}))}, NotAllowed, "role operator"),
        ({"reason": " "}, UsageError, "Say why"),
        ({"at": "nowhere"}, UsageError, "no step 'nowhere'; it has 1 intake, 2 model, 3 decide, 4 outcome"),
        ({"at": "0"}, UsageError, "no step '0'"),
        ({"run_id": "nobody"}, RunNotFound, "nobody"),
        ({"model": "gpt"}, UsageError, "gpt"),
        ({"prompts": "latest"}, UsageError, "no label 'latest'"),
    ],
)
def test_what_cannot_be_forked_is_refused(ended: tuple[Database, Run], how, error, why: str) -> None:
    """Each refusal names what is wrong, and nothing is made."""
    database, origin = ended
    with pytest.raises(error, match=why):
        run(fork(database, **{"run_id": origin.id, "at": "model", "workflow": invoices(), **ADA, **how}))
    assert len(database.read("SELECT id FROM runs")) == 1


def test_a_run_that_was_erased_meanwhile_is_not_forked(ended: tuple[Database, Run], monkeypatch) -> None:
    """Between the look at the run and the copy it may be erased: what is erased is not copied, and nothing is left."""
    from stanchion.runs import forks

    database, origin = ended
    before = forks._before

    async def erased_then(*arguments: Any) -> Any:
        found = await before(*arguments)
        await asyncio.to_thread(erase, database, origin.id, by="ada", clock=FakeClock())
        return found

    monkeypatch.setattr(forks, "_before", erased_then)
    with pytest.raises(RunNotFound, match="in this moment"):
        run(fork(database, origin.id, at="model", workflow=invoices(), **ADA))
    assert database.read("SELECT (SELECT count(*) FROM runs) AS r, (SELECT count(*) FROM checkpoints) AS c") == [
        {"r": 1, "c": 0}
    ]


def test_the_trail_says_who_forked_what_and_not_what_they_wrote(ended: tuple[Database, Run]) -> None:
    """Names of edited keys are facts; their values are in the new run alone, which can be erased."""
    database, origin = ended
    edits = {"output": {"number": "secret", "total": 1}}
    made = run(fork(database, origin.id, at="decide", workflow=invoices(), edits=edits, clock=FakeClock(), **ADA))
    (entry,) = Trail(database).entries(run_id=origin.id)

    assert (entry.by, entry.what, entry.subject, entry.at) == (
        "ada",
        "run forked",
        made.id,
        "2024-01-01T00:00:00+00:00",
    )
    assert entry.content == {"reason": "to try something else"}
    assert (entry.facts["node"], entry.facts["edited"]) == ("decide", ["output"])
    assert Trail(database).verify().ok


def test_a_question_of_another_nodes_kind_is_asked_by_both(make_runner) -> None:
    """A node that calls interrupt() itself asks in the fork too, and each answer goes to its own run."""

    def ask(_state: Shape) -> Any:
        return {"been": [interrupt("which?")["output"]["which"]]}

    builder = shape(ask=ask)
    builder.add_edge(START, "ask")

    async def story() -> None:
        async with make_runner(workflow(builder), model="none") as runner:
            origin = await start_one(runner)
            made = await fork(runner.ledger.database, origin.id, at="ask", workflow=runner.workflow, **ADA)
            await go_on(runner, made)
            ends = []
            for one, said in ((origin, "left"), (made, "right")):
                review = await asked_of(runner, one)
                ends.append(await runner.answer(review.id, "edit", by="ada", edits={"which": said}))

            assert [(end.output or {})["been"] for end in ends] == [["left"], ["right"]]

    run(story())
