"""LangGraph's own SQLite saver, opened the way it survives production.

Strict msgpack (only the types that a workflow's state declares come back from disk; nothing is unpickled or imported),
the same durability as the ledger, and a long wait for locks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
from filelock import FileLock
from langgraph._internal._serde import build_serde_allowlist  # private: pinned by a contract test
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stanchion.store.database import BUSY_SECONDS, Database
from stanchion.workflow import Graph


@asynccontextmanager
async def open_checkpoints(database: Database, graph: Graph) -> AsyncIterator[AsyncSqliteSaver]:
    """Open the saver of a workflow's checkpoints in the database's own file.

    Args:
        database: the ledger's database; LangGraph's tables stand beside ours.
        graph: whose state types may be read back.
    """
    connection = await aiosqlite.connect(database.path, timeout=BUSY_SECONDS)
    try:
        await connection.execute(f"PRAGMA synchronous={database.synchronous}")
        await connection.execute("PRAGMA secure_delete=ON")
        saver = AsyncSqliteSaver(connection, serde=serializer(graph))
        with FileLock(f"{database.path}.lock", timeout=BUSY_SECONDS):
            await saver.setup()
        yield saver
    finally:
        await connection.close()


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
