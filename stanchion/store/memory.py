"""What processes would share in a database, kept in memory where there is none: a graph run without our runner."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from stanchion.store.migrations import LIMITS

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

T = TypeVar("T")


class _Connected(NamedTuple):
    conn: sqlite3.Connection


class MemoryDatabase:
    """The tables of limits in memory, written in a thread of its own.

    Nothing there waits for a disk; but servers such as `langgraph dev` let no SQLite at all be used in an event loop.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[Tables], Any], Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="stanchion-memory", daemon=True).start()

    async def write(self, work: Callable[[Tables], T]) -> T:
        """Do a piece of work on the tables.

        Args:
            work: checks before it writes, since nothing is undone where it raises.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Tables], T], *, patient: bool = False) -> Future[T]:  # noqa: ARG002 - as Database
        """Queue a piece of work.

        Args:
            work: as for `write`.
            patient: without meaning here.
        """
        done: Future[Any] = Future()
        self._jobs.put((work, done))
        return done

    def _work(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        for statement in LIMITS:
            connection.execute(statement)
        tables = cast("Tables", _Connected(connection))
        while True:
            work, done = self._jobs.get()
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work(tables))
                except BaseException as error:
                    done.set_exception(error)
