"""Leases and fences: a run has one owner at a time, and whoever lost it writes nothing and asks nobody any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from stanchion import Runner, Workflow
from stanchion.errors import LeaseLost
from stanchion.runs import runner as runner_module
from stanchion.runs.operations import Operations
from stanchion.testing import FakeClock, ScriptedModel
from tests.runs.conftest import answer, document, invoices, run


class Counted(TypedDict, total=False):
    """What the graph of two steps holds."""

    document: dict[str, Any]
    said: str


class Halves:
    """A graph of two steps, the first of which waits until it may end; it counts what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.inside, self.may_end = asyncio.Event(), asyncio.Event()
        builder = StateGraph(Counted)
        builder.add_node("first", self.first)
        builder.add_node("second", self.second)
        builder.add_edge(START, "first")
        builder.add_edge("first", "second")
        builder.add_edge("second", END)
        self.workflow = Workflow(builder.compile(), name="halves", version="1")

    async def first(self, _state: Counted) -> dict[str, Any]:
        """Begin, and wait the first time."""
        self.begun.append("first")
        if self.begun.count("first") == 1:
            self.inside.set()
            await self.may_end.wait()
        return {"said": f"first {self.begun.count('first')}"}

    async def second(self, _state: Counted) -> dict[str, Any]:
        """End."""
        self.begun.append("second")
        return {}


@pytest.fixture(autouse=True)
def _watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after runs every hundredth of a second instead of every second."""
    monkeypatch.setattr(runner_module, "LOOK_SECONDS", 0.01)


def end_lease(runner: Runner, run_id: str) -> None:
    """Let a run's lease be over, as if its owner had not been heard of for half a minute."""
    runner.ledger.database.write_now(
        lambda tables: tables.conn.execute("UPDATE runs SET lease_until = '2000-01-01' WHERE id = ?", [run_id])
    )


def test_a_run_whose_owner_lives_is_left_alone(make_runner) -> None:
    """While an owner shows signs of life, nobody else works on its run."""

    async def story() -> Any:
        halves = Halves()
        async with make_runner(halves.workflow) as one, make_runner(halves.workflow) as other:
            (run_id,) = await one.queue([document()])
            working = asyncio.create_task(one.advance([run_id]))
            await halves.inside.wait()
            (seen,) = await other.advance([run_id])
            halves.may_end.set()
            await working
            return seen.status, halves.begun

    assert run(story()) == ("running", ["first", "second"])


def test_who_lost_its_lease_writes_nothing(make_runner) -> None:
    """An owner that was silent too long loses its run; what it does then reaches neither ledger nor checkpoints."""

    async def story() -> Any:
        halves, events = Halves(), []
        slow = make_runner(halves.workflow, observe=lambda event, _run: events.append(event))
        async with slow, make_runner(halves.workflow) as quick:
            (run_id,) = await slow.queue([document()])
            working = asyncio.create_task(slow.advance([run_id]))
            await halves.inside.wait()
            end_lease(slow, run_id)
            (done,) = await quick.advance([run_id])
            halves.may_end.set()
            (left,) = await working
            steps = [(step.node, step.state_out) for step in quick.ledger.steps(run_id)]
            return done, left, steps, halves.begun, events

    done, left, steps, begun, events = run(story())

    assert (done.outcome, left.outcome, done.ended_at) == ("accepted", "accepted", left.ended_at)
    assert steps == [("first", {"said": "first 2"}), ("second", None)] or steps[0] == ("first", {"said": "first 2"})
    assert begun == ["first", "first", "second"]
    assert events[-1] == "lost"


def test_who_lost_its_lease_asks_no_model(make_runner) -> None:
    """A call is admitted by the run's present owner only: the one that lost the run pays for nothing any more."""

    async def story() -> Any:
        model, held = ScriptedModel([answer()]), asyncio.Event()
        async with make_runner(invoices(), model=model) as runner:
            (run_id,) = await runner.queue([document()])
            door = runner._door

            def door_of_a_run_that_was_taken(row: dict[str, Any]) -> Any:
                made = door(row)
                runner.ledger.database.write_now(
                    lambda tables: tables.conn.execute("UPDATE runs SET token = token + 1 WHERE id = ?", [run_id])
                )
                held.set()
                return made

            runner._door = door_of_a_run_that_was_taken
            await runner.advance([run_id])
            return held.is_set(), model.history, runner.ledger.run(run_id).outcome, runner.ledger.calls(run_id)

    assert run(story()) == (True, [], None, [])


def test_a_run_that_is_paused_stops_before_its_next_step(make_runner) -> None:
    """The step under way ends, the next one waits until an operator lets the run go on; nothing is done twice."""

    async def story() -> Any:
        halves = Halves()
        async with make_runner(halves.workflow) as runner:
            operations = Operations(runner.ledger.database, clock=FakeClock())
            (run_id,) = await runner.queue([document()])
            working = asyncio.create_task(runner.advance([run_id]))
            await halves.inside.wait()
            await asyncio.to_thread(operations.pause, [run_id], by="Ada", reason="Looks odd.")
            while not runner._working[run_id].control.drain_requested:
                await asyncio.sleep(0)
            halves.may_end.set()
            (held,) = await working
            (still,) = await runner.resume([run_id]) or [runner.ledger.run(run_id)]
            before = list(halves.begun)
            await asyncio.to_thread(operations.unpause, [run_id], by="Ada", reason="It is fine.")
            (done,) = await runner.resume([run_id])
            return held.standing, still.standing, before, done.outcome, halves.begun

    held, still, before, outcome, begun = run(story())

    assert (held, still, before) == ("paused", "paused", ["first"])
    assert (outcome, begun) == ("accepted", ["first", "second"])


def test_a_run_that_is_cancelled_at_work_stays_cancelled(make_runner) -> None:
    """What was under way when an operator cancelled it comes to nothing, and no later step begins."""

    async def story() -> Any:
        halves = Halves()
        async with make_runner(halves.workflow) as runner:
            operations = Operations(runner.ledger.database, clock=FakeClock())
            (run_id,) = await runner.queue([document()])
            working = asyncio.create_task(runner.advance([run_id]))
            await halves.inside.wait()
            await asyncio.to_thread(operations.cancel, [run_id], by="Ada", reason="A double.")
            halves.may_end.set()
            (left,) = await working
            (again,) = await runner.advance([run_id])
            return left.status, again.status, left.outcome, halves.begun

    assert run(story()) == ("cancelled", "cancelled", None, ["first"])


def test_a_drained_runner_gives_its_runs_back(make_runner) -> None:
    """A runner that is told to stop ends the steps under way and begins none; another goes on where it stopped."""

    async def story() -> Any:
        halves = Halves()
        async with make_runner(halves.workflow) as one, make_runner(halves.workflow) as other:
            first, second = await one.queue([document(1), document(2)])
            working = asyncio.create_task(one.advance([first]))
            await halves.inside.wait()
            one.drain()
            halves.may_end.set()
            (left,) = await working
            (never,) = await one.advance([second])
            before = list(halves.begun)
            (done,) = await other.advance([first])
            return left.status, never.status, before, done.outcome, halves.begun

    assert run(story()) == ("queued", "queued", ["first"], "accepted", ["first", "second"])


def test_a_run_cancelled_just_before_its_defect_disturbs_no_other(make_runner) -> None:
    """A node that raises after its run was cancelled ends nothing: whoever advanced it gets all runs as they stand."""

    async def story() -> Any:
        halves = Halves()
        inner = halves.first

        async def first_and_raise(state: Counted) -> dict[str, Any]:
            await inner(state)
            raise KeyError("gone")

        builder = StateGraph(Counted)
        builder.add_node("first", first_and_raise)
        builder.add_edge(START, "first")
        builder.add_edge("first", END)
        async with make_runner(Workflow(builder.compile(), name="halves", version="1")) as runner:
            operations = Operations(runner.ledger.database, clock=FakeClock())
            (run_id,) = await runner.queue([document()])
            working = asyncio.create_task(runner.advance([run_id]))
            await halves.inside.wait()
            await asyncio.to_thread(operations.cancel, [run_id], by="Ada", reason="A double.")
            halves.may_end.set()
            return [one.status for one in await working]

    assert run(story()) == ["cancelled"]


def test_a_runner_that_is_cancelled_gives_its_runs_back(make_runner) -> None:
    """Who interrupts `stanchion run` leaves runs that anybody can go on with, with the time they were worked on."""

    async def story() -> Any:
        halves, clock = Halves(), FakeClock()
        async with make_runner(halves.workflow, clock=clock) as runner:
            (run_id,) = await runner.queue([document()])
            working = asyncio.create_task(runner.advance([run_id]))
            await halves.inside.wait()
            clock.advance(7)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            left = runner.ledger.run(run_id)
            return left.status, left.worked_ms

    assert run(story()) == ("queued", 7000.0)


def test_a_question_that_became_another_one_is_asked_anew(make_runner) -> None:
    """Where a step that waits is executed again and asks something else, people see that, and nobody's claim holds."""
    said = iter(["Pay 100?", "Pay 300?", "Pay 300?"])

    def other(_state: Counted) -> dict[str, Any]:
        return {"document": {"paid": interrupt({"question": next(said)})}}

    builder = StateGraph(Counted)
    builder.add_node("one", lambda _state: {"said": str(interrupt({"question": "Go on?"}))})
    builder.add_node("other", other)
    for node in ("one", "other"):
        builder.add_edge(START, node)
        builder.add_edge(node, END)

    async def story() -> Any:
        async with make_runner(Workflow(builder.compile(), name="two", version="1")) as runner:
            await runner.start([document()])
            first, second = sorted(runner.ledger.reviews(), key=lambda one: one.node)
            await asyncio.to_thread(runner.reviews.claim, second.id, by="Ada")
            await runner.answer(first.id, "approve", by="Bob")
            return second, runner.ledger.review(second.id)

    before, after = run(story())

    assert (before.question["question"], after.question["question"]) == ("Pay 100?", "Pay 300?")
    assert (after.id, after.status, after.claimed_by) == (before.id, "asked", None)


def test_a_run_that_has_ended_is_written_by_nobody(make_runner) -> None:
    """A node that was left behind, and still writes when its run has ended, changes no checkpoint."""

    async def story() -> Any:
        halves = Halves()
        halves.may_end.set()
        async with make_runner(halves.workflow) as runner:
            (done,) = await runner.start([document()])
            thread: Any = {"configurable": {"thread_id": done.id, "checkpoint_ns": ""}}
            before = await runner._saver.aget_tuple(thread)
            with pytest.raises(LeaseLost):
                await runner._saver.aput(thread, {**before.checkpoint, "id": "zzz"}, {}, {})
            after = await runner._saver.aget_tuple(thread)
            return before.checkpoint["id"], after.checkpoint["id"]

    before, after = run(story())

    assert before == after
