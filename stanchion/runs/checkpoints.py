"""LangGraph's checkpoints, written by the ledger's one writer thread and in its commits.

Tables and format are those of `langgraph-checkpoint-sqlite`, so its own savers read our files and we read theirs.
LangGraph's SQLite saver commits once for each step and once more for what the step wrote, on a connection of its own;
here all runs of a process share the commits of one thread.

Strict msgpack: only the types that a workflow's state declares come back from disk; nothing is unpickled or imported.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from langchain_core.runnables import RunnableConfig
from langgraph._internal._serde import build_serde_allowlist  # private: pinned by a contract test
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.utils import load_pending_writes, pending_writes_sql, search_where

from stanchion.errors import LeaseLost
from stanchion.store.database import BUSY_SECONDS, Database, Work
from stanchion.store.fences import Fence, hold
from stanchion.workflow import Graph

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables


async def open_checkpoints(
    database: Database, graph: Graph, *, fences: Mapping[str, Fence] = MappingProxyType({})
) -> CheckpointSaver:
    """Open the checkpoints in the ledger's own file; its closing is theirs.

    Args:
        database: the ledger's database; LangGraph's tables stand beside ours.
        graph: whose state types may be read back.
        fences: thread id to the right to write about its run, as it stands when something is written.

    Raises:
        sqlite3.Error: the tables cannot be made.
        OSError: another process is making them, and does not finish.
    """
    await asyncio.to_thread(_make_tables, database)
    return CheckpointSaver(database, serializer(graph), fences)


def _make_tables(database: Database) -> None:
    with (
        FileLock(f"{database.path}.lock", timeout=BUSY_SECONDS),
        closing(sqlite3.connect(database.path, timeout=BUSY_SECONDS)) as connection,
    ):
        SqliteSaver(connection).setup()


def serializer(graph: Graph) -> JsonPlusSerializer:
    """Return a serializer that reads back only what the graph's schemas declare.

    Args:
        graph: a compiled graph.
    """
    builder = graph.builder
    schemas: list[Any] = [builder.state_schema, builder.input_schema, builder.output_schema]
    schemas += [node.input_schema for node in builder.nodes.values()]
    allowed = build_serde_allowlist(schemas=schemas, channels=builder.channels)
    return JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=sorted(allowed))


class CheckpointSaver(BaseCheckpointSaver[str]):
    """Keeps LangGraph's checkpoints in our database; what is read includes whatever was written before.

    It has the methods that a run calls; those without `a` are for a graph that a synchronous node invokes. The others
    raise NotImplementedError.

    Args:
        database: with LangGraph's tables in it.
        serde: how states are written and read.
        fences: thread id to the right to write about its run; a thread of no run is written freely.
    """

    def __init__(
        self, database: Database, serde: SerializerProtocol, fences: Mapping[str, Fence] = MappingProxyType({})
    ) -> None:
        super().__init__(serde=serde)
        self._database = database
        self._fences = fences
        self._unwritten: dict[str, Future[None]] = {}  # by thread, the latest: the writer keeps the order
        self._submitting = threading.Lock()

    # --- Writing ---

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - LangGraph's signature
    ) -> RunnableConfig:
        """Keep a checkpoint; it is on disk when this returns.

        Args:
            config: names the thread, and the checkpoint before.
            checkpoint: what to keep.
            metadata: kept beside it.
            new_versions: not used: a checkpoint holds all of its values.

        Raises:
            StoreError: the database could not be written.
            LeaseLost: another process has the run now.
        """
        await _on_disk(self._put(config, checkpoint, metadata))
        return _place(_thread(config), config["configurable"]["checkpoint_ns"], checkpoint["id"])

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - LangGraph's signature
    ) -> RunnableConfig:
        """Do what `aput` does, in a thread that may wait."""
        self._put(config, checkpoint, metadata).result()
        return _place(_thread(config), config["configurable"]["checkpoint_ns"], checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote before its step is over; queued at once, and so never after the next checkpoint.

        Args:
            config: names the checkpoint that the step began with.
            writes: pairs of channel and value.
            task_id: whose they are.
            task_path: where that task stands among those of its step.

        Raises:
            StoreError: the database could not be written.
        """
        await _on_disk(self._put_writes(config, writes, task_id, task_path))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what `aput_writes` does, in a thread that may wait."""
        self._put_writes(config, writes, task_id, task_path).result()

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all that a thread has kept.

        Args:
            thread_id: whose.

        Raises:
            StoreError: the database could not be written.
        """
        await _on_disk(self._submit(thread_id, partial(_delete, thread_id=thread_id)))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the version that follows, exactly as LangGraph's SQLite saver makes it.

        Args:
            current: the version so far.
            channel: not used.
        """
        return SqliteSaver.get_next_version(self, current, channel)  # type: ignore[arg-type]

    def _put(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> Future[None]:
        place = config["configurable"]
        described = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False)
        row = (
            _thread(config),
            place["checkpoint_ns"],
            checkpoint["id"],
            place.get("checkpoint_id"),
            *self.serde.dumps_typed(checkpoint),
            described.encode("utf-8", "ignore"),
        )
        return self._submit(_thread(config), partial(_insert, sql=_PUT, rows=[row]))

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Future[None]:
        place = config["configurable"]
        at = (_thread(config), str(place["checkpoint_ns"]), str(place["checkpoint_id"]), task_id, task_path)
        rows = [
            (*at, WRITES_IDX_MAP.get(channel, index), channel, *self.serde.dumps_typed(value))
            for index, (channel, value) in enumerate(writes)
        ]
        special = all(
            channel in WRITES_IDX_MAP for channel, _ in writes
        )  # interrupts and the like: the last one counts
        return self._submit(_thread(config), partial(_insert, sql=_REPLACE if special else _KEEP, rows=rows))

    def _submit(self, thread_id: str, work: Work[None]) -> Future[None]:
        fenced = partial(_fenced, thread_id=thread_id, fence=self._fences.get(thread_id), work=work)
        with self._submitting:
            writing = self._unwritten[thread_id] = self._database.submit(fenced)
        writing.add_done_callback(partial(self._written, thread_id))
        return writing

    def _written(self, thread_id: str, writing: Future[None]) -> None:
        with self._submitting:
            if self._unwritten.get(thread_id) is writing:
                del self._unwritten[thread_id]

    # --- Reading ---

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with what was written after it, or None.

        Args:
            config: names the thread, and perhaps the checkpoint; else it is the thread's latest.

        Raises:
            StoreError: the database cannot be read.
        """
        if writing := self._unwritten.get(_thread(config)):
            await _settled([writing])
        return self._load(config)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `aget_tuple` does, in a thread that may wait."""
        if writing := self._unwritten.get(_thread(config)):
            wait([writing])
        return self._load(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, the latest first; each is read when its turn comes.

        Args:
            config: whose; None: of all threads.
            filter: what their metadata must say.
            before: only those before this one.
            limit: how many at most.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._submitting:
            unwritten = list(self._unwritten.values())
        await _settled(unwritten)
        where, parameters = search_where(config, filter, before)
        sql = f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints {where} ORDER BY checkpoint_id DESC"  # noqa: S608 - search_where binds its values
        if limit is not None:
            sql, parameters = f"{sql} LIMIT ?", [*parameters, limit]
        for row in self._database.read(sql, parameters):
            if found := self._load({"configurable": row}):
                yield found

    def _load(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, namespace = _thread(config), config["configurable"].get("checkpoint_ns", "")
        wanted = get_checkpoint_id(config)
        sql, place = (_ONE, (thread_id, namespace, wanted)) if wanted else (_LATEST, (thread_id, namespace))
        rows = self._database.read(sql, place)
        if not rows:
            return None
        row, parent = rows[0], rows[0]["parent_checkpoint_id"]
        writes = self._database.read(pending_writes_sql(True), (thread_id, namespace, row["checkpoint_id"]))
        return CheckpointTuple(
            config if wanted else _place(thread_id, namespace, row["checkpoint_id"]),
            self.serde.loads_typed((row["type"], row["checkpoint"])),
            json.loads(row["metadata"]) if row["metadata"] is not None else {},
            _place(thread_id, namespace, parent) if parent else None,
            load_pending_writes([tuple(write.values()) for write in writes], self.serde),
        )


def _thread(config: RunnableConfig) -> str:
    return str(config["configurable"]["thread_id"])


def _place(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


async def _on_disk(writing: Future[None]) -> None:
    """Wait for a write; to stop waiting does not stop the write."""
    await asyncio.shield(asyncio.wrap_future(writing))


async def _settled(writing: Sequence[Future[None]]) -> None:
    """Wait until others' writes are over, well or not: what went wrong is told to who wrote."""
    await asyncio.shield(asyncio.gather(*map(asyncio.wrap_future, writing), return_exceptions=True))


def _fenced(tables: Tables, thread_id: str, fence: Fence | None, work: Work[None]) -> None:
    """Write under the fence of the run's claim; a run that nobody has is written by nobody, however late he comes."""
    if fence is None and tables.conn.execute("SELECT 1 FROM runs WHERE id = ?", [thread_id]).fetchone():
        raise LeaseLost(f"Nobody works on the run {thread_id} any more; nothing was written.")
    hold(tables.conn, fence)
    work(tables)


def _insert(tables: Tables, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    tables.conn.executemany(sql, rows)


def _delete(tables: Tables, thread_id: str) -> None:
    tables.conn.execute("DELETE FROM checkpoints WHERE thread_id = ?", [thread_id])
    tables.conn.execute("DELETE FROM writes WHERE thread_id = ?", [thread_id])


_PUT = (
    "INSERT OR REPLACE INTO checkpoints"
    " (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_WRITES = (
    " INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REPLACE, _KEEP = f"INSERT OR REPLACE{_WRITES}", f"INSERT OR IGNORE{_WRITES}"
_FOUND = (
    "SELECT checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints"
    " WHERE thread_id = ? AND checkpoint_ns = ?"
)
_ONE, _LATEST = f"{_FOUND} AND checkpoint_id = ?", f"{_FOUND} ORDER BY checkpoint_id DESC LIMIT 1"
