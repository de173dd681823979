"""What processes would share in a database, kept in memory where there is none: a graph run without our runner."""

from __future__ import annotations

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
    """The tables of limits in memory, written at once in the caller's thread: nothing there waits for a disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=256)
        for statement in LIMITS:
            connection.execute(statement)
        self._tables = cast("Tables", _Connected(connection))

    async def write(self, work: Callable[[Tables], T]) -> T:
        """Do a piece of work on the tables.

        Args:
            work: checks before it writes, since nothing is undone where it raises.
        """
        with self._lock:
            return work(self._tables)

    def submit(self, work: Callable[[Tables], T], *, patient: bool = False) -> Future[T]:  # noqa: ARG002 - as Database
        """Do a piece of work whose result nobody waits for.

        Args:
            work: as for `write`.
            patient: without meaning here.
        """
        done: Future[Any] = Future()
        with self._lock:
            done.set_result(work(self._tables))
        return done
