"""Forgetting: what is erased or pruned is gone from the file; what leaves the process is only what it should be."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stanchion import Input, Ledger
from stanchion.errors import RunNotFound, UsageError
from stanchion.runs import forgetting
from stanchion.runs.forgetting import erase, prune
from stanchion.runs.operations import Operations
from stanchion.store import Database
from stanchion.store.calls import CallKey, Journal, abandon_call, add_call, end_call
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


def lineage(database: Database, **origins: str) -> None:
    """Say from which run others were made."""
    for run_id, origin in origins.items():
        database.write_now(
            lambda tables, row=(origin, run_id): tables.conn.execute("UPDATE runs SET origin = ? WHERE id = ?", row)
        )


def ended(database: Database, *run_ids: str) -> None:
    """Let runs have ended long ago."""
    for run_id in run_ids:
        row = ("2020-01-01T00:00:00+00:00", run_id)
        database.write_now(
            lambda tables, row=row: tables.conn.execute("UPDATE runs SET ended_at = ? WHERE id = ?", row)
        )


@pytest.fixture
def four(make_runner, db: Path) -> Iterator[tuple[Database, list[str]]]:
    """A database with four queued runs: the second was made from the first, the third from that, and so on."""

    async def queue() -> list[str]:
        async with make_runner() as runner:
            return await runner.queue(map(document, range(4)))

    run_ids = run(queue())
    database = Database(db)
    lineage(database, **dict(zip(run_ids[1:], run_ids, strict=False)))
    yield database, run_ids
    database.close()


@pytest.mark.parametrize("order", [[(1,), (2,)], [(2,), (1,)], [(1, 2)]])
def test_what_was_made_from_pruned_runs_is_erased_with_the_first(four, order: list[tuple[int, ...]]) -> None:
    """Runs between them may have been pruned, in any order: the line still holds together."""
    database, run_ids = four
    for numbers in order:
        ended(database, *(run_ids[number] for number in numbers))
        assert prune(database, datetime(2021, 1, 1, tzinfo=UTC), by="Ada") == len(numbers)

    first, last = run_ids[0], run_ids[3]
    assert [one.id for one in erase(database, first, by="Ada")] == [first, last]
    assert database.read("SELECT * FROM runs WHERE input IS NOT NULL") == []


def test_a_pruned_run_still_names_what_was_made_from_it(four) -> None:
    """Whoever knows the id of a run whose document must go is not told that there is none while copies hold it."""
    database, (first, second, third, fourth) = four
    ended(database, first, second)
    prune(database, datetime(2021, 1, 1, tzinfo=UTC), by="Ada")

    assert [one.id for one in erase(database, first, by="Ada")] == [third, fourth]
    with pytest.raises(RunNotFound):
        erase(database, "never-there", by="Ada")


# --- Calls that end after their run was erased or pruned ---


def test_an_answer_that_comes_after_the_erasing_is_not_kept(make_runner, db: Path) -> None:
    """A run is cancelled and erased while its model is asked: the money is counted, the answer stands nowhere."""
    secret = "Zanzibar4711"
    database = Database(db)

    def forget_first(_messages: Any) -> str:
        (row,) = database.read("SELECT id FROM runs")
        Operations(database).cancel([row["id"]], by="Ada", reason="x")
        erase(database, row["id"], by="Ada")
        return f'{{"number": "{secret}", "total": 5}}'

    (done,) = run(started(make_runner(model=ScriptedModel([forget_first]))))
    (call,) = database.read("SELECT status, request, answer, error, input_tokens, ended_at FROM calls")
    unsettled = database.read("SELECT * FROM attempts WHERE status = 'started'")
    database.close()

    assert done.status == "cancelled"
    assert (call["status"], call["request"], call["answer"], call["error"]) == ("answered", None, None, None)
    assert call["ended_at"] is not None
    assert unsettled == []
    assert not any(secret.encode() in file.read_bytes() for file in db.parent.iterdir() if file.is_file())


KEY = CallKey("run-1", "task", "model", "hash")
SAID = {"answer": "Zanzibar4711", "error": "Zanzibar4711", "status": "answered", "cost_usd": "0.5", "input_tokens": 7}


@pytest.mark.parametrize("gone", [True, False])
def test_a_call_says_nothing_of_a_run_that_is_erased_or_gone(make_runner, db: Path, gone: bool) -> None:
    """However its end is recorded, money, tokens and status are kept and no word of what was asked or said."""

    async def queue() -> Any:
        async with make_runner() as runner:
            return await runner.queue([document()])

    (run_id,) = run(queue())
    key = KEY._replace(run_id=run_id)
    asked = {"model": "m", "started_at": "2024-01-01", "request": "Zanzibar4711"}
    database = Database(db)
    database.write_now(lambda tables: add_call(tables.conn, "before", key, asked))
    erase(database, run_id, by="Ada")
    if gone:
        prune(database, datetime(2099, 1, 1, tzinfo=UTC), by="Ada")
    database.write_now(lambda tables: end_call(tables.conn, "before", SAID))
    database.write_now(lambda tables: add_call(tables.conn, "shared", key, {**asked, **SAID}))
    database.write_now(lambda tables: add_call(tables.conn, "left", key, asked))
    database.write_now(lambda tables: abandon_call(tables.conn, "left", {"error": "Zanzibar4711", "cost_usd": "1"}))
    calls = database.read("SELECT id, status, cost_usd FROM calls ORDER BY id")
    kept = database.read("SELECT * FROM calls WHERE request || answer || error IS NOT NULL OR answer IS NOT NULL")
    journal = Journal(database).answered(key)
    database.close()

    assert kept == []
    assert journal is None
    found = {tuple(call.values()) for call in calls}
    assert found - {("before", "answered", "0.5")} == {("left", "unknown", "1"), ("shared", "answered", "0.5")}
    assert len(found) == (2 if gone else 3)


def test_a_run_of_which_a_call_is_under_way_is_not_pruned(make_runner, db: Path) -> None:
    """Its money is settled first; it is pruned the next time."""
    database = Database(db)
    pruned: list[int] = []
    late = {"before": datetime(2099, 1, 1, tzinfo=UTC), "by": "Ada"}

    def prune_first(_messages: Any) -> str:
        (row,) = database.read("SELECT id FROM runs")
        Operations(database).cancel([row["id"]], by="Ada", reason="x")
        pruned.append(prune(database, **late))
        return answer()

    run(started(make_runner(model=ScriptedModel([prune_first]))))
    pruned.append(prune(database, **late))
    left = database.read("SELECT 1 FROM runs UNION ALL SELECT 1 FROM attempts UNION ALL SELECT 1 FROM calls")
    database.close()

    assert (pruned, left) == ([0, 1], [])


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


def test_pruning_lets_others_write(four, monkeypatch: pytest.MonkeyPatch) -> None:
    """It deletes a batch in a transaction, each with its entry, and what others write comes between them."""
    database, run_ids = four
    monkeypatch.setattr(forgetting, "BATCH", 2)
    between: list[int] = []

    class Watching(FakeClock):
        async def sleep(self, seconds: float) -> None:
            between.append(len(database.read("SELECT id FROM runs")))
            await super().sleep(seconds)

    ended(database, *run_ids)

    assert prune(database, datetime(2021, 1, 1, tzinfo=UTC), by="Ada", clock=Watching()) == 4
    entries = Trail(database).entries(what="runs pruned")
    assert between == [2]
    assert [entry.facts["runs"] for entry in reversed(entries)] == [run_ids[:2], run_ids[2:]]
    assert Trail(database).verify().ok


def test_erased_words_leave_the_index_piece_by_piece(four, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of texts is merged in pieces, and at the end none of its pages holds a word of what was erased."""
    database, (first, *_) = four
    secret = "zanzibar4711"
    runs = "INSERT INTO runs (id, workflow, reference, version, model, input_id, status, created_at)"
    for part in range(8):
        words = [f"w{part}x{number}y{'z' * 40}" for number in range(500)]
        database.write_now(
            lambda tables, words=words: tables.conn.executemany(
                f"{runs} VALUES (?1, 'w', 'w', '1', 'm', ?1, 'done', '2024')", [(word,) for word in words]
            )
        )
        row = [f"{secret} {part}" if part % 2 else "nothing", first]
        database.write_now(lambda tables, row=row: tables.conn.execute("UPDATE runs SET reason = ? WHERE id = ?", row))
    assert secret.encode() in db.read_bytes() + db.with_name(f"{db.name}-wal").read_bytes()
    monkeypatch.setattr(forgetting, "PAGES", 4)
    clock = FakeClock()

    erase(database, first, by="Ada", clock=clock)

    assert clock.monotonic() > 3 * forgetting.BREATH_SECONDS
    assert not any(secret.encode() in file.read_bytes() for file in db.parent.iterdir() if file.is_file())
    found = database.read("SELECT count(*) AS number FROM runs_text WHERE runs_text MATCH ?", [f"w0x1y{'z' * 40}"])
    assert found == [{"number": 1}]


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
