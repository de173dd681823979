"""The checkpoint saver: LangGraph's contract and file format, kept by our writer thread in shared commits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from stanchion.errors import StoreError
from stanchion.runs.checkpoints import CheckpointSaver, open_checkpoints
from stanchion.store import Database, database
from tests.runs.conftest import invoices, run


class State(TypedDict, total=False):
    """The state of the graphs here."""

    question: str
    answer: str
    other: str


class CountingDatabase(Database):
    """Counts its transactions."""

    commits = 0

    def _write_batch(self, *arguments: Any) -> None:
        self.commits += 1
        super()._write_batch(*arguments)


@pytest.fixture
def store(db: Path) -> Iterator[CountingDatabase]:
    """A database with LangGraph's tables."""
    opened = CountingDatabase(db)
    run(open_checkpoints(opened, invoices().graph))
    yield opened
    opened.close()


@pytest.fixture
def saver(store: Database) -> CheckpointSaver:
    """Our saver; with LangGraph's usual serializer, as the states here are plain."""
    return CheckpointSaver(store, JsonPlusSerializer())


@contextmanager
def held(store: Database) -> Iterator[None]:
    """Keep the writer thread from writing, so that all that is written meanwhile is only queued."""
    held, go_on = threading.Event(), threading.Event()

    def hold(_tables: Any) -> None:
        held.set()
        go_on.wait()

    store.submit(hold)
    held.wait()
    try:
        yield
    finally:
        go_on.set()


async def begun(*coroutines: Any) -> list[asyncio.Task[Any]]:
    """Tasks that have come as far as they get without another thread."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


def place(thread: str = "1", checkpoint: Checkpoint | None = None) -> Any:
    """A config that names a thread, and perhaps its checkpoint."""
    named = {"thread_id": thread, "checkpoint_ns": ""}
    return {"configurable": named | ({"checkpoint_id": checkpoint["id"]} if checkpoint else {})}


def rows(db: Path, table: str) -> list[Any]:
    """What another program sees of a table."""
    with sqlite3.connect(db) as connection:
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
    connection.close()
    return found


def test_it_keeps_langgraph_s_contract(tmp_path: Path) -> None:
    """LangGraph's own conformance tests pass, for everything that a saver must do."""

    @checkpointer_test(name="stanchion")
    async def ours() -> AsyncIterator[CheckpointSaver]:
        store = Database(tmp_path / "runs.db")
        await open_checkpoints(store, invoices().graph)
        yield CheckpointSaver(store, JsonPlusSerializer())
        store.close()

    report = run(validate(ours))

    failures = [failure for result in report.results.values() for failure in result.failures or ()]
    assert failures == []
    assert report.passed_all_base()


def test_it_writes_the_very_rows_of_langgraph_s_saver(saver: CheckpointSaver, db: Path, tmp_path: Path) -> None:
    """The same checkpoint and writes make the same bytes in the same tables."""
    checkpoint, theirs = empty_checkpoint(), tmp_path / "theirs.db"
    config: Any = {**place(), "metadata": {"who": "é", "__secret": "no"}}
    writes = [("answer", {"total": 1}), ("other", "x")]

    async def write(to: Any) -> None:
        saved = await to.aput(config, checkpoint, {"source": "loop", "step": 1}, {})
        await to.aput_writes(saved, writes, "task-1", "~path")
        await to.aput_writes(saved, [("__interrupt__", "first")], "task-2")
        await to.aput_writes(saved, [("__interrupt__", "second")], "task-2")
        await to.aput_writes(saved, [("answer", "ignored")], "task-1", "~path")

    async def both() -> None:
        await write(saver)
        async with AsyncSqliteSaver.from_conn_string(str(theirs)) as other:
            await write(other)

    run(both())

    assert rows(db, "checkpoints") == rows(theirs, "checkpoints")
    assert rows(db, "writes") == rows(theirs, "writes")
    assert len(rows(db, "writes")) == 3


def asking() -> Any:
    """A graph that asks a person and keeps the answer."""
    builder = StateGraph(State)
    builder.add_node("ask", lambda state: {"answer": interrupt(state["question"])})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_run_begun_with_one_saver_goes_on_with_the_other(saver: CheckpointSaver, db: Path, ours_first: bool) -> None:
    """A database of LangGraph's saver goes on with ours, and the other way round."""

    async def both() -> Any:
        async with AsyncSqliteSaver.from_conn_string(str(db)) as theirs:
            first, second = (saver, theirs) if ours_first else (theirs, saver)
            await asking().compile(checkpointer=first).ainvoke({"question": "?"}, place(), durability="sync")
            return await asking().compile(checkpointer=second).ainvoke(Command(resume="!"), place())

    assert run(both()) == {"question": "?", "answer": "!"}


def test_a_checkpoint_is_on_disk_when_put_returns(saver: CheckpointSaver, store: Database, db: Path) -> None:
    """`aput` waits for its commit."""

    async def put() -> None:
        with held(store):
            (putting,) = await begun(saver.aput(place(), empty_checkpoint(), {}, {}))
            assert not putting.done()
        await putting
        assert len(rows(db, "checkpoints")) == 1

    run(put())


def test_checkpoints_of_many_runs_share_a_commit(saver: CheckpointSaver, store: CountingDatabase, db: Path) -> None:
    """What fifty runs keep at once, checkpoints and writes, is one transaction."""

    async def put() -> int:
        with held(store):
            before = store.commits
            checkpoints = [empty_checkpoint() for _ in range(50)]
            puts = [saver.aput(place(str(at)), each, {}, {}) for at, each in enumerate(checkpoints)]
            writes = [
                saver.aput_writes(place(str(at), each), [("answer", 1)], "task") for at, each in enumerate(checkpoints)
            ]
            tasks = await begun(*puts, *writes)
        await asyncio.gather(*tasks)
        return store.commits - before

    assert run(put()) == 1
    assert (len(rows(db, "checkpoints")), len(rows(db, "writes"))) == (50, 50)


def test_what_is_read_includes_what_is_only_queued(saver: CheckpointSaver, store: Database) -> None:
    """A read waits for its thread's queued writes, without holding up the event loop."""
    checkpoint = empty_checkpoint()

    async def listed() -> Any:
        return [found async for found in saver.alist(place())]

    async def read() -> Any:
        with held(store):
            await begun(saver.aput(place(), checkpoint, {}, {}))
            await begun(saver.aput_writes(place(checkpoint=checkpoint), [("answer", "42")], "task"))
            latest, named, every = await begun(
                saver.aget_tuple(place()), saver.aget_tuple(place(checkpoint=checkpoint)), listed()
            )
            assert not any(task.done() for task in (latest, named, every))
        return [await latest, await named, *await every]

    found = run(read())

    assert len(found) == 3
    assert {each.checkpoint["id"] for each in found} == {checkpoint["id"]}
    assert all(each.pending_writes == [("task", "answer", "42")] for each in found)


def test_a_thread_reads_what_is_only_queued(saver: CheckpointSaver, store: Database, db: Path) -> None:
    """A synchronous read waits for its thread's queued writes too."""
    with ThreadPoolExecutor() as pool:
        with held(store):
            pool.submit(saver.put, place(), empty_checkpoint(), {}, {})
            while not saver._unwritten:
                pass
            reading = pool.submit(saver.get_tuple, place())
            for _ in range(100):  # work enough for a read that does not wait to be over
                rows(db, "checkpoints")
            assert not reading.done()
        assert reading.result() is not None


def test_a_run_does_not_wait_to_read_for_what_others_write(saver: CheckpointSaver, store: Database) -> None:
    """What is queued for one thread holds up no read of another."""

    async def read() -> Any:
        with held(store):
            writing, reading = await begun(
                saver.aput(place("1"), empty_checkpoint(), {}, {}), saver.aget_tuple(place("2"))
            )
            assert reading.done()
        await writing
        return await reading

    assert run(read()) is None


def test_to_stop_waiting_stops_no_write(saver: CheckpointSaver, store: Database, db: Path) -> None:
    """A run that is cancelled while its checkpoint, or a read of it, waits has the checkpoint kept all the same."""

    async def cancel() -> None:
        with held(store):
            tasks = await begun(saver.aput(place(), empty_checkpoint(), {}, {}))
            tasks += await begun(saver.aget_tuple(place()))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
        await saver.aput(place("2"), empty_checkpoint(), {}, {})

    run(cancel())

    assert [row[0] for row in rows(db, "checkpoints")] == ["1", "2"]


def test_nothing_is_remembered_of_what_was_written(saver: CheckpointSaver) -> None:
    """A process that works for weeks keeps no trace in memory of the threads that it wrote."""

    async def put() -> None:
        await asyncio.gather(*(saver.aput(place(str(at)), empty_checkpoint(), {}, {}) for at in range(20)))

    run(put())
    saver._database.close()  # every callback of the writer has run

    assert saver._unwritten == {}


def test_a_locked_database_is_a_store_error(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is refused with our own error, nothing of it is kept, and reading goes on."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.0)
    store = Database(db)
    saver = run(open_checkpoints(store, invoices().graph))
    run(saver.aput(place("0"), empty_checkpoint(), {}, {}))
    other = sqlite3.connect(db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    checkpoint = empty_checkpoint()
    with pytest.raises(StoreError, match="locked"):
        run(saver.aput(place(), checkpoint, {}, {}))
    with pytest.raises(StoreError, match="locked"):
        run(saver.aput_writes(place(checkpoint=checkpoint), [("answer", 1)], "task"))

    assert run(saver.aget_tuple(place())) is None
    assert run(saver.aget_tuple(place("0"))) is not None
    other.close()
    store.close()


def test_a_finished_sibling_is_on_disk_while_others_work(saver: CheckpointSaver, db: Path) -> None:
    """In a fan-out, what one branch came to is committed before the other ends."""
    seen: list[Any] = []

    async def slow(_state: State) -> State:
        for _ in range(10_000):
            seen[:] = [row for row in rows(db, "writes") if row[6] == "answer"]
            if seen:
                break
            await asyncio.sleep(0)
        return {"other": "slow"}

    async def quick(_state: State) -> State:
        return {"answer": "quick"}

    builder = StateGraph(State)
    for name, node in {"slow": slow, "quick": quick}.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    run(builder.compile(checkpointer=saver).ainvoke({}, place(), durability="sync"))

    assert len(seen) == 1


def test_a_synchronous_node_may_invoke_a_graph(saver: CheckpointSaver, db: Path) -> None:
    """A graph inside a synchronous node keeps its checkpoints too, asks a person, and goes on with the answer."""
    inner = asking().compile()
    builder = StateGraph(State)
    builder.add_node("inner", lambda state: {"answer": inner.invoke({"question": state["question"]})["answer"]})
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    graph = builder.compile(checkpointer=saver)

    async def both() -> Any:
        await graph.ainvoke({"question": "?"}, place(), durability="sync")
        return await graph.ainvoke(Command(resume="!"), place(), durability="sync")

    assert run(both())["answer"] == "!"
    assert {row[1].split(":")[0] for row in rows(db, "checkpoints")} == {"", "inner"}


def test_a_file_without_task_paths_is_brought_up_to_date(db: Path) -> None:
    """A database that an old LangGraph saver made gets the column that came later."""
    store = Database(db)
    with sqlite3.connect(db) as old:
        SqliteSaver(old).setup()
        old.execute("ALTER TABLE writes DROP COLUMN task_path")
    old.close()

    saver = run(open_checkpoints(store, invoices().graph))
    checkpoint = empty_checkpoint()
    run(saver.aput(place(), checkpoint, {}, {}))
    run(saver.aput_writes(place(checkpoint=checkpoint), [("answer", 1)], "task", "~path"))
    found = run(saver.aget_tuple(place()))
    store.close()

    assert found.pending_writes == [("task", "answer", 1)]
