"""Operations: what an operator cancels, pauses or runs again is so from then on, and the trail says who and why."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from stanchion import Input, Ledger, Workflow
from stanchion.errors import LeaseLost, NotAllowed, ReviewClosed, RunEnded, RunNotFound, UsageError, WorkflowError
from stanchion.people import Person
from stanchion.runs import operations
from stanchion.runs.forgetting import erase
from stanchion.runs.operations import Operations
from stanchion.runs.records import Run
from stanchion.runs.reviews import Reviews
from stanchion.store import Database
from stanchion.store.owners import Owner
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock, ScriptedModel, counting_ids
from stanchion.workflow import load_workflow
from tests.runs.conftest import answer, document, invoices, run, waiting

WHY = {"by": "ada", "reason": "not needed"}
REFERENCE = "tests.runs.test_operations:loadable"
loadable = invoices()


@pytest.fixture
def database(db: Path) -> Iterator[Database]:
    """The test's database, open."""
    opened = Database(db)
    yield opened
    opened.close()


@pytest.fixture
def do(database: Database) -> Operations:
    """Operations on it, at a time that stands still."""
    return Operations(database, clock=FakeClock(), ids=counting_ids("new"))


@pytest.fixture
def queued(make_runner) -> list[str]:
    """The ids of three queued runs of a workflow that can be loaded by its reference."""

    async def queue() -> list[str]:
        async with make_runner(load_workflow(REFERENCE), model="none") as runner:
            return await runner.queue([document(number) for number in (1, 2, 3)])

    return run(queue())


def what_is_told(database: Database) -> list[tuple[str, str]]:
    return [(entry.what, entry.run_id or entry.workflow) for entry in Trail(database).entries()][::-1]


# --- Cancelling ---


def test_a_cancelled_run_is_over(do: Operations, queued: list[str], make_runner) -> None:
    """It has an end, says by whom, when and why, and is never begun."""
    (cancelled,) = do.cancel(queued[:1], **WHY)

    async def resume() -> list[Run]:
        async with make_runner(load_workflow(REFERENCE)) as runner:
            return await runner.resume()

    assert (cancelled.status, cancelled.standing, cancelled.outcome) == ("cancelled", "cancelled", None)
    assert cancelled.reason == "Cancelled by ada at 2024-01-01 00:00:00 UTC: not needed"
    assert cancelled.ended_at == FakeClock().now()
    assert [one.id for one in run(resume())] == queued[1:]


def test_the_question_of_a_cancelled_run_is_closed(do: Operations, make_runner) -> None:
    """Whoever answers it later is told why it is closed; what it proposed is nobody's output."""

    async def ask() -> Any:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer()])) as runner:
            return await waiting(runner)

    one, asked = run(ask())
    (cancelled,) = do.cancel([one.id], **WHY)
    closed = Ledger(do.database).review(asked.id)

    assert (closed.status, closed.closed_why) == (
        "closed",
        "its run was cancelled by ada at 2024-01-01 00:00:00 UTC: not needed",
    )
    assert (one.output, cancelled.output, cancelled.confidence) == ({"number": "A1", "total": 1}, None, None)
    with pytest.raises(ReviewClosed, match="cancelled by ada"):
        Reviews(do.database).answer(asked.id, "approve", by="bob")


class State(TypedDict, total=False):
    """The state of a graph that only waits."""

    document: dict[str, Any]
    done: bool


def slow(begun: asyncio.Event, go: asyncio.Event) -> Workflow:
    """A step that waits until it may end, and one after it."""

    async def wait(_state: State) -> State:
        begun.set()
        await go.wait()
        return {"done": True}

    builder = StateGraph(State)
    builder.add_node("wait", wait)
    builder.add_node("after", lambda _state: {})
    builder.add_edge(START, "wait")
    builder.add_edge("wait", "after")
    return Workflow(builder.compile(), name="slow", version="1")


def test_whoever_works_on_a_cancelled_run_writes_nothing_more(make_runner) -> None:
    """Its step may still end, but neither a checkpoint nor an outcome is kept of it; the time at work counts."""

    async def story() -> None:
        begun, go, clock = asyncio.Event(), asyncio.Event(), FakeClock()
        async with make_runner(slow(begun, go), model="none", clock=clock) as runner:
            working = asyncio.create_task(runner.start([Input("one", {"text": "x"})]))
            await begun.wait()
            clock.advance(2)
            database = runner.ledger.database
            (one,) = runner.ledger.runs()
            do = Operations(database, clock=clock)
            (cancelled,) = await asyncio.to_thread(do.cancel, [one.id], **WHY)
            checkpoints = "SELECT count(*) AS number FROM checkpoints"
            kept = database.read(checkpoints)
            go.set()
            with contextlib.suppress(LeaseLost):  # the runner may say that it lost the run
                await working
            after = runner.ledger.run(one.id)

            assert cancelled.status == after.status == "cancelled"
            assert (after.outcome, after.reason) == (None, cancelled.reason)
            assert database.read(checkpoints) == kept
            assert [step.node for step in runner.ledger.steps(one.id)] == ["wait"]
            assert after.worked_ms == pytest.approx(2000)

    run(story())


def test_cancelled_runs_are_counted(do: Operations, queued: list[str]) -> None:
    """Pictures of outcomes over time have them, each once."""
    do.cancel(queued, **WHY)
    assert do.database.read("SELECT hour, workflow, outcome, runs FROM run_counts") == [
        {"hour": "2024-01-01T00", "workflow": "invoices", "outcome": "cancelled", "runs": 3}
    ]


# --- Pausing ---


def test_a_paused_run_waits_until_it_is_unpaused(do: Operations, queued: list[str], make_runner) -> None:
    """Resuming passes it over; unpaused, it goes on like any other."""
    (paused,) = do.pause([queued[1]], **WHY)

    async def resume() -> list[str]:
        async with make_runner(load_workflow(REFERENCE)) as runner:
            return [one.id for one in await runner.resume()]

    assert (paused.standing, paused.paused_by, paused.paused_why) == ("paused", "ada", "not needed")
    assert run(resume()) == [queued[0], queued[2]]
    (unpaused,) = do.unpause([queued[1]], **WHY)
    assert (unpaused.standing, unpaused.paused_by) == ("queued", None)
    assert run(resume()) == [queued[1]]


def test_a_paused_workflow_begins_nothing(do: Operations, queued: list[str], make_runner) -> None:
    """None of its runs goes on, whoever tries, until it is unpaused; a run paused by itself stays paused."""
    do.pause(queued[:1], **WHY)
    paused = do.pause_workflow("invoices", **WHY)

    async def resume() -> list[str]:
        async with make_runner(load_workflow(REFERENCE)) as runner:
            return [one.id for one in await runner.advance(queued) if one.started_at]

    assert do.paused_workflows() == [paused]
    assert (paused.workflow, paused.by, paused.reason) == ("invoices", "ada", "not needed")
    assert run(resume()) == []
    do.unpause_workflow("invoices", **WHY)
    assert do.paused_workflows() == []
    assert run(resume()) == queued[1:]


def test_what_is_not_there_cannot_be_paused(do: Operations, queued: list[str]) -> None:
    """A name mistyped would hold nothing back, so it is refused; so is pausing or unpausing twice."""
    with pytest.raises(UsageError, match="no run of a workflow 'invoice'"):
        do.pause_workflow("invoice", **WHY)
    with pytest.raises(UsageError, match="is not paused"):
        do.unpause_workflow("invoices", **WHY)
    do.pause_workflow("invoices", **WHY)
    with pytest.raises(UsageError, match="paused already, by ada: not needed"):
        do.pause_workflow("invoices", by="bob", reason="me too")
    with pytest.raises(UsageError, match="is not paused"):
        do.unpause(queued[:1], **WHY)
    do.pause(queued[:1], **WHY)
    with pytest.raises(UsageError, match="paused already, since 2024-01-01 00:00 UTC by ada: not needed"):
        do.pause(queued[:1], **WHY)


# --- Resuming ---


def test_what_can_go_on_is_resumed_and_nothing_else(do: Operations, queued: list[str], make_runner) -> None:
    """Queued, cut off and answered runs are returned; ended, paused, asking and busy ones are left out."""

    async def ask() -> list[str]:
        async with make_runner(invoices(accept_at=0.99), model=ScriptedModel([answer(1), answer(2)])) as runner:
            return [one.id for one in await runner.start([document(8), document(9)])]

    def stand(run_id: str, columns: str) -> None:
        sql = f"UPDATE runs SET {columns} WHERE id = ?"
        do.database.write_now(lambda tables: tables.conn.execute(sql, [run_id]))

    answered, asking = run(ask())
    Reviews(do.database, workflow=invoices()).answer(answered, "approve", by="ada")
    fresh, cut_off, paused = queued
    busy, over = [one.id for one in do.rerun(queued[:2], **WHY)]
    alive = Owner(do.database.path, "alive")
    stand(cut_off, "status = 'running', owner = 'dead'")
    stand(busy, f"status = 'running', owner = '{alive.name}'")
    do.pause([paused], **WHY)
    do.cancel([over], **WHY)

    before = do.database.read("SELECT * FROM runs")
    resumed = do.resume([fresh, cut_off, paused, asking, answered, busy, over], **WHY)
    assert [one.id for one in resumed] == [fresh, cut_off, answered]
    assert do.database.read("SELECT * FROM runs") == before
    assert [run_id for what, run_id in what_is_told(do.database) if what == "run resumed"] == [fresh, cut_off, answered]
    for run_id, why in (paused, "is paused by ada"), (asking, "waits for a person"), (busy, "at work already"):
        with pytest.raises(UsageError, match=why):
            do.resume([run_id], **WHY)
    with pytest.raises(RunEnded):
        do.resume([over], **WHY)
    do.pause_workflow("invoices", **WHY)
    with pytest.raises(UsageError, match="workflow invoices is paused by ada"):
        do.resume([fresh], **WHY)
    alive.release()


# --- Running again ---


def test_a_run_is_made_again_from_its_input(do: Operations, queued: list[str], make_runner) -> None:
    """The new run has the old one's input and tells where it comes from; the old one stays as it was."""
    old = Ledger(do.database).run(queued[0])
    (new,) = do.rerun([queued[0]], model="recorded:demo", **WHY)

    async def resume() -> list[Run]:
        async with make_runner(load_workflow(REFERENCE)) as runner:
            return await runner.resume([new.id])

    assert (new.id, new.origin, new.origin_step, new.status) == ("new-1", old.id, None, "queued")
    assert (new.input_id, new.model, new.version, new.prompts) == (old.input_id, "recorded:demo", "3", old.prompts)
    (done,) = run(resume())
    assert done.status == "waiting"
    assert Ledger(do.database).steps(new.id)[0].node == "intake"
    assert Ledger(do.database).run(old.id) == old


def test_recorded_answers_go_with_their_model_only(do: Operations, make_runner) -> None:
    """Made again with the same model a run has its recorded answers, with another none."""

    async def record() -> str:
        async with make_runner(load_workflow(REFERENCE), model="recorded:demo") as runner:
            (one,) = await runner.queue([document()._replace(recorded={"demo": answer()})])
            return one

    old = run(record())
    same, other = [do.rerun([old], model=model, **WHY)[0].id for model in (None, "recorded:other")]
    rows = do.database.read("SELECT id, recorded IS NULL AS gone FROM runs WHERE origin IS NOT NULL ORDER BY id")
    assert rows == [{"id": same, "gone": 0}, {"id": other, "gone": 1}]


def test_nothing_is_queued_where_a_workflow_cannot_be_loaded(do: Operations, queued: list[str], make_runner) -> None:
    """One run whose workflow is not to be found stops the whole request before anything is made."""

    async def queue() -> list[str]:
        async with make_runner(invoices(), model="none") as runner:
            return await runner.queue([document()])

    strange = run(queue())
    with pytest.raises(WorkflowError):
        do.rerun([*queued, *strange], **WHY)
    assert len(Ledger(do.database).runs()) == 4


def test_an_erased_run_cannot_be_made_again(do: Operations, queued: list[str]) -> None:
    """Its input is gone: alone that is an error, among others it is left out."""
    erase(do.database, queued[0], by="Ada", clock=FakeClock())
    with pytest.raises(RunEnded, match="its input is gone"):
        do.rerun(queued[:1], **WHY)
    assert [one.origin for one in do.rerun(queued, **WHY)] == queued[1:]


# --- Many, nobody, and the trail ---


@pytest.mark.parametrize("action", ["cancel", "pause", "unpause"])
def test_one_ended_run_is_an_error_and_several_are_passed_over(do: Operations, queued: list[str], action: str) -> None:
    """Alone, an ended run is refused with how it ended; among others it is left out, and those are changed."""
    if action == "unpause":
        do.pause(queued, **WHY)
    do.cancel(queued[:1], **WHY)

    with pytest.raises(RunEnded, match=r"ended as cancelled at 2024-01-01 00:00 UTC; it cannot be"):
        getattr(do, action)(queued[:1], **WHY)
    assert [one.id for one in getattr(do, action)([*queued, queued[1]], **WHY)] == queued[1:]


def test_many_runs_are_changed_in_batches(do: Operations, queued: list[str], monkeypatch) -> None:
    """No transaction holds more than a batch, and all are changed, in the order asked for."""
    monkeypatch.setattr(operations, "BATCH", 2)
    assert [one.id for one in do.cancel(queued[::-1], **WHY)] == queued[::-1]
    assert what_is_told(do.database) == [("run cancelled", run_id) for run_id in queued[::-1]]
    assert do.cancel([], **WHY) == []


ACTIONS = {
    "cancel": lambda do, run_id, **who: do.cancel([run_id], **who),
    "pause": lambda do, run_id, **who: do.pause([run_id], **who),
    "unpause": lambda do, run_id, **who: do.unpause([run_id], **who),
    "resume": lambda do, run_id, **who: do.resume([run_id], **who),
    "rerun": lambda do, run_id, **who: do.rerun([run_id], **who),
    "pause_workflow": lambda do, _id, **who: do.pause_workflow("invoices", **who),
    "unpause_workflow": lambda do, _id, **who: do.unpause_workflow("invoices", **who),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("who", "error", "why"),
    [
        ({"by": Person("eve", frozenset({"reviewer"}), "login"), "reason": "x"}, NotAllowed, "takes the role operator"),
        ({"by": "ada", "reason": " \n"}, UsageError, "Say why"),
        ({"by": "ada", "reason": "x" * 2001}, UsageError, "Say why, in 1 to 2,000"),
        ({"by": "ada", "reason": "\ud800"}, UsageError, "half a character"),
    ],
)
def test_who_may_not_or_says_not_why_changes_nothing(
    do: Operations, queued: list[str], action, who, error, why
) -> None:
    """Every operation takes an operator and a reason, also from a caller that hides no button."""
    before = do.database.read("SELECT * FROM runs")
    with pytest.raises(error, match=why):
        ACTIONS[action](do, queued[0], **who)
    assert do.database.read("SELECT * FROM runs") == before
    assert what_is_told(do.database) == []


def test_an_unknown_id_changes_nothing(do: Operations, queued: list[str]) -> None:
    """One wrong id among good ones stops the whole request before anything is changed."""
    with pytest.raises(RunNotFound):
        do.cancel([*queued, "nobody"], **WHY)
    assert {one.status for one in Ledger(do.database).runs()} == {"queued"}


def test_every_operation_is_in_the_trail(do: Operations, queued: list[str]) -> None:
    """Who, what, of which run or workflow, and why; the trail verifies."""
    operator = Person("ada@example.org", frozenset({"operator"}), "login")
    do.pause(queued[:1], by=operator, reason="one")
    do.unpause(queued[:1], by=operator, reason="two")
    do.resume(queued[:1], by=operator, reason="two and a half")
    do.rerun(queued[:1], by=operator, reason="three")
    do.cancel(queued[:1], by=operator, reason="four")
    do.pause_workflow("invoices", by=operator, reason="five")
    do.unpause_workflow("invoices", by=operator, reason="six")

    entries = Trail(do.database).entries()[::-1]
    assert what_is_told(do.database) == [
        ("run paused", queued[0]),
        ("run unpaused", queued[0]),
        ("run resumed", queued[0]),
        ("run made again", queued[0]),
        ("run cancelled", queued[0]),
        ("workflow paused", "invoices"),
        ("workflow unpaused", "invoices"),
    ]
    reasons = ["one", "two", "two and a half", "three", "four", "five", "six"]
    assert [(entry.content or {})["reason"] for entry in entries] == reasons
    assert {(entry.by, entry.known_by, entry.workflow) for entry in entries} == {
        ("ada@example.org", "login", "invoices")
    }
    assert entries[3].subject == "new-1"
    assert Trail(do.database).verify().ok
