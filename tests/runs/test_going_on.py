"""Going on: queued, crashed and answered runs are taken up once, by whoever may, with the model they were made with."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stanchion import Input, Runner
from stanchion.errors import ModelNotLoadable, RunNotFound, UsageError
from stanchion.testing import ScriptedModel
from tests.runs.conftest import answer, document, invoices, run, waiting


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
