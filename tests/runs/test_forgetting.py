"""Forgetting: what is erased or pruned is gone from the file; what leaves the process is only what it should be."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stanchion import Input, Ledger
from stanchion.errors import RunNotFound, UsageError
from stanchion.runs.forgetting import erase, prune
from stanchion.store import Database
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock, ScriptedModel
from tests.runs.conftest import answer, document, run, started


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

    database = Database(db)
    erased = erase(database, done.id, by="Ada", clock=FakeClock(datetime(2024, 2, 1, tzinfo=UTC)))[0]
    steps = Ledger(database).steps(done.id)
    database.close()

    assert (erased.outcome, erased.output, erased.erased_at.day) == ("accepted", None, 1)
    assert [step.node for step in steps] == ["intake", "model", "decide", "outcome"]
    assert not any(secret.encode() in file.read_bytes() for file in db.parent.iterdir() if file.is_file())


def test_a_run_whose_process_died_can_be_erased(make_runner, db: Path) -> None:
    """Nobody has to send a document to a model first in order to erase it."""

    async def story() -> Any:
        async with make_runner() as runner:
            (run_id,) = await runner.queue([document()])
            with sqlite3.connect(db) as other:
                other.execute("UPDATE runs SET status = 'running', owner = 'long gone'")
            erased = (await asyncio.to_thread(erase, runner.ledger.database, run_id, by="Ada"))[0]
            await runner.resume()
            return erased, runner.ledger.run(run_id)

    erased, after = run(story())

    assert (erased.status, after.status, after.outcome) == ("cancelled", "cancelled", None)


def test_erasing_empties_what_was_made_from_it(make_runner, db: Path) -> None:
    """A run that was made from an erased one holds nothing of its document either, and the trail is whole."""

    async def story() -> Any:
        async with make_runner() as runner:
            return await runner.queue([document(1), document(1), document(2)])

    run_id, again, other = run(story())
    database = Database(db)
    database.write_now(lambda tables: tables.conn.execute("UPDATE runs SET origin = ? WHERE id = ?", [run_id, again]))
    erased = erase(database, run_id, by="Ada")
    kept = [row["id"] for row in database.read("SELECT id FROM runs WHERE input IS NOT NULL")]
    report = Trail(database).verify()
    database.close()

    assert [one.id for one in erased] == [run_id, again]
    assert kept == [other]
    assert report.ok


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

    async def story() -> Any:
        async with make_runner(model=ScriptedModel([answer(), "no", "no"]), concurrency=1) as runner:
            await runner.start([document(1), document(2)])
            pruned = await asyncio.to_thread(prune, runner.ledger.database, datetime(2030, 1, 1, tzinfo=UTC), by="Ada")
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
