"""One SQLite file in WAL mode: reads from any thread, writes from one.

All writes of a process pass through one thread, in batches of one transaction each. Measured reasons: sqlite-utils
written from async nodes beside LangGraph's saver took 35 s instead of 1 s and ended in "database is locked"; a deferred
BEGIN lost 1,047 of 1,500 read-then-update races where BEGIN IMMEDIATE lost none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from filelock import FileLock

from stanchion.errors import StanchionError, StoreError
from stanchion.store.migrations import migrate

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

T = TypeVar("T")
Work = Callable[["Tables"], T]

LARGEST_BATCH = 256
BUSY_SECONDS = 30.0
PATIENCE_SECONDS = 0.05


class _Job(NamedTuple):
    work: Work[Any]
    done: Future[Any]
    patient: bool


class Database:
    """A Stanchion database file, created and migrated on opening.

    Args:
        path: the file; its folder is made if missing. The file is readable by its owner only.
        synchronous: `FULL` survives loss of power, `NORMAL` only the death of the process.

    Raises:
        StoreError: the file cannot be opened, is not a database, or was written by a newer Stanchion.
    """

    def __init__(self, path: Path | str, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        self.path = Path(path).resolve()  # one file has one name, whichever way it was reached
        self.synchronous = synchronous
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._reading = threading.Lock()
        with _as_store_error(self.path):
            self._create()
            self._reader = self._connect(read_only=True)
        self._writer = threading.Thread(target=self._write_batches, name="stanchion-writer", daemon=True)
        self._writer.start()

    def _create(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{self.path}.lock", timeout=BUSY_SECONDS):  # 4 processes migrating a new file: 17 of 60 failed
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            elif stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                self.path.chmod(0o600)
            connection = self._connect()
            try:
                migrate(connection, self.path)
                connection.execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA synchronous={self.synchronous}")
        connection.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten
        if read_only:
            connection.execute("PRAGMA query_only=ON")
            connection.create_aggregate("decimal_sum", 1, _DecimalSum)  # type: ignore[arg-type]
            connection.row_factory = sqlite3.Row
        return connection

    def read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Return all rows of a query as dicts.

        Args:
            sql: one SELECT statement.
            parameters: for its placeholders.

        Raises:
            StoreError: the database cannot be read.
        """
        with _as_store_error(self.path), self._reading:
            return [dict(row) for row in self._reader.execute(sql, parameters).fetchall()]

    def submit(self, work: Work[T], *, patient: bool = False) -> Future[T]:
        """Queue a piece of writing; it is on disk once the returned future has its result.

        Args:
            work: called in the writer thread with a `sqlite_utils.Database` inside a transaction; what it raises undoes
                what it wrote, and nothing else of the batch.
            patient: let it wait up to 50 ms for the next write, and share its transaction; the order stays.
        """
        if self._closed:
            raise StoreError(f"The database {self.path} was closed; open it again before writing.")
        job = _Job(work, Future(), patient)
        self._jobs.put(job)
        return job.done

    async def write(self, work: Work[T]) -> T:
        """Write and wait until it is on disk, without blocking the event loop.

        Args:
            work: as for `submit`.

        Raises:
            StoreError: the database could not be written (locked, disk full); nothing of `work` was kept.
        """
        return await asyncio.wrap_future(self.submit(work))

    def write_now(self, work: Work[T]) -> T:
        """Write and wait until it is on disk; for callers that have no event loop.

        Args:
            work: as for `submit`.

        Raises:
            StoreError: the database could not be written; nothing of `work` was kept.
        """
        return self.submit(work).result()

    def backup(self, target: Path | str) -> None:
        """Copy the database, in use or not, to another file that only its owner may read.

        Args:
            target: a file that does not exist yet.

        Raises:
            StoreError: the target exists or cannot be written.
        """
        with _as_store_error(Path(target)):
            part = Path(f"{target}.part")
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            source, copy = self._connect(), sqlite3.connect(part)
            try:
                source.backup(copy)
                copy.close()
                os.link(part, target)  # unlike a rename, it never replaces what is there
            finally:
                copy.close()
                source.close()
                part.unlink()

    def forget_log(self, *, patience: float = BUSY_SECONDS) -> None:
        """Empty the write-ahead log, so that what was erased stands nowhere in the file or beside it.

        Args:
            patience: how long to wait for other programs, in seconds.

        Raises:
            StoreError: another program is reading; the log still holds what was erased.
        """
        with _as_store_error(self.path):
            connection = self._connect()
            try:
                connection.execute(f"PRAGMA busy_timeout={int(1000 * patience)}")
                (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise StoreError(
                        f"It is erased, but another program is still reading {self.path}, so the old bytes stay in the "
                        "file until it has finished: run this again then."
                    )
            finally:
                connection.close()

    def close(self) -> None:
        """Write what is queued, then close; closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._writer.join()
        self._reader.close()

    def _write_batches(self) -> None:
        import sqlite_utils  # in this thread: where pandas is installed the import takes over a second

        tables = sqlite_utils.Database(self._connect())
        for batch in self._batches():
            self._write_batch(tables, batch)
        tables.conn.close()

    def _batches(self) -> Iterator[list[_Job]]:
        while (job := self._jobs.get()) is not None:
            batch: list[_Job] = [job]
            end = time.monotonic() + PATIENCE_SECONDS
            with contextlib.suppress(queue.Empty):
                while len(batch) < LARGEST_BATCH:
                    patient = all(waiting.patient for waiting in batch)
                    wait = max(0.0, end - time.monotonic()) if patient else 0.0
                    following = self._jobs.get(timeout=wait) if wait else self._jobs.get_nowait()
                    if following is None:
                        yield batch
                        return
                    batch.append(following)
            yield batch

    def _write_batch(self, tables: Tables, batch: list[_Job]) -> None:
        results: list[tuple[_Job, Any]] = []
        try:
            tables.conn.execute("BEGIN IMMEDIATE")
            for job in batch:
                if (kept := _try(tables, job)) is not _UNDONE:
                    results.append((job, kept))
            tables.conn.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                tables.conn.execute("ROLLBACK")
            refusal = StoreError(_explain(self.path, error))
            for job in batch:
                with contextlib.suppress(InvalidStateError):  # done, or cancelled in this very moment
                    job.done.set_exception(refusal)
            return
        for job, result in results:
            job.done.set_result(result)


class _DecimalSum:
    """Money is stored as text, so that no cent is lost to binary fractions; SQLite has no sum for that."""

    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, value: str | None) -> None:
        if value is not None:
            self._sum += Decimal(value)

    def finalize(self) -> str:
        return str(self._sum)


_UNDONE = object()


def _try(tables: Tables, job: _Job) -> Any:
    """Run one job in a savepoint of its own, so that its failure is nobody else's."""
    if not job.done.set_running_or_notify_cancel():
        return _UNDONE
    tables.conn.execute("SAVEPOINT job")
    try:
        result = job.work(tables)
    except sqlite3.OperationalError:
        raise  # locked or full: it concerns the whole batch
    except BaseException as error:
        tables.conn.execute("ROLLBACK TO job")
        job.done.set_exception(error)
        return _UNDONE
    finally:
        with contextlib.suppress(sqlite3.Error):
            tables.conn.execute("RELEASE job")
    return result


def _explain(path: Path, error: BaseException) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"The database {path} stayed locked for {BUSY_SECONDS:.0f} s: another program holds it; try again."
    if "full" in text:
        return f"The disk of {path} is full; nothing was lost, but nothing new can be kept. Make room and try again."
    return f"The database {path} cannot be used ({type(error).__name__}: {text})."


@contextlib.contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    try:
        yield
    except StanchionError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(_explain(path, error)) from error
