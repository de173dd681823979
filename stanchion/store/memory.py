"""What processes would share in a database, kept in memory where there is none: a graph run without our runner."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from stanchion.store.migrations import LIMITS

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

T = TypeVar("T")


class _Connected(NamedTuple):
    conn: sqlite3.Connection


class MemoryDatabase:
    """The tables of limits in memory, written at once in the caller's thread: nothing there waits for a disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        with _outside_any_loop():
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            for statement in LIMITS:
                connection.execute(statement)
        self._tables = cast("Tables", _Connected(connection))

    async def write(self, work: Callable[[Tables], T]) -> T:
        """Do a piece of work on the tables.

        Args:
            work: checks before it writes, since nothing is undone where it raises.
        """
        return self.submit(work).result()

    def submit(self, work: Callable[[Tables], T], *, patient: bool = False) -> Future[T]:  # noqa: ARG002 - as Database
        """Do a piece of work; the returned future has its result already.

        Args:
            work: as for `write`.
            patient: without meaning here.
        """
        done: Future[Any] = Future()
        with _outside_any_loop(), self._lock:
            try:
                done.set_result(work(self._tables))
            except BaseException as error:
                done.set_exception(error)
        return done


@contextmanager
def _outside_any_loop() -> Iterator[None]:
    """Hide the running event loop for a moment.

    Servers such as `langgraph dev` raise BlockingError wherever SQLite is used in one, since it may wait for a disk.
    This takes 10 microseconds and waits for nothing; handing it to a thread took ten times as long.
    """
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
