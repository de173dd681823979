"""The long-lived process that runs what is queued, goes on with what people answered, and expires what is due.

Any number of workers may work on one database: each run is claimed by one of them at a time. Everything is polled twice
a second through indexes; nothing else tells one process of another's doing.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stanchion.clock import Clock, Ids, SystemClock, new_id
from stanchion.errors import StanchionError, StoreError, UsageError
from stanchion.runs.ledger import Claimable, Ledger
from stanchion.runs.recorder import Observe
from stanchion.runs.reviews import Reviews
from stanchion.runs.runner import Runner
from stanchion.settings import read_settings
from stanchion.store import Database, Owner
from stanchion.store.owners import is_alive
from stanchion.workflow import load_workflow

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

POLL_SECONDS = 0.5
SIGN_SECONDS = 5.0  # how often a worker says that it still works
SILENT = timedelta(seconds=20)  # after which one that lives counts as hanging
AGAIN_SECONDS = 60.0  # after which a run is tried again that could not be worked on here
GOODBYE_SECONDS = 30.0  # how long steps under way may go on once a worker is told to stop

_SIGNS = SystemClock()  # signs of life and leases are between processes, which share no clock but the machine's

Trouble = Callable[[str], None]
"""Told in words what a worker could not do; it goes on with everything else."""


class WorkerStanding(NamedTuple):
    """A worker that is alive.

    Args:
        pid: of its process.
        host: the machine's name.
        workflows: what it works on; empty: everything.
        started_at: when it began.
        stopping: it begins nothing any more.
        silent: it has given no sign of life for 20 seconds, as if it hung or was suspended.
    """

    name: str
    pid: int
    host: str
    workflows: tuple[str, ...]
    started_at: datetime
    stopping: bool
    silent: bool


def workers(database: Database) -> list[WorkerStanding]:
    """Return the workers that are alive, the oldest first.

    Args:
        database: which they work on.
    """
    rows = database.read("SELECT * FROM workers ORDER BY started_at")
    return [
        WorkerStanding(
            row["name"],
            row["pid"],
            row["host"],
            tuple(json.loads(row["workflows"])),
            datetime.fromisoformat(row["started_at"]),
            stopping=row["stopping_at"] is not None,
            silent=datetime.fromisoformat(row["seen_at"]) + SILENT < _SIGNS.now(),
        )
        for row in rows
        if is_alive(database.path, row["name"])
    ]


def worker_running(database: Database, workflow: str) -> bool:
    """Say whether some worker will go on with the runs of a workflow by itself.

    Args:
        database: which it works on.
        workflow: the workflow's name.
    """
    return any(
        not (worker.stopping or worker.silent) and (not worker.workflows or workflow in worker.workflows)
        for worker in workers(database)
    )


class Worker:
    """Works on a database until it is told to stop.

    Args:
        workflows: names or `module:attribute` of what it works on; none: whatever the runs in the database name.
        db: the database file; `STANCHION_DB`, else `.stanchion/stanchion.db`.
        concurrency: how many runs are worked on at a time.
        clock: where times come from.
        ids: makes ids.
        observe: is told what happens.
        trouble: is told what it could not do.

    Raises:
        WorkflowError: a workflow that was named cannot be loaded.
        UsageError: the concurrency is less than one.
    """

    def __init__(
        self,
        workflows: Sequence[str] = (),
        *,
        db: Path | str | None = None,
        concurrency: int = 8,
        clock: Clock | None = None,
        ids: Ids = new_id,
        observe: Observe = lambda _event, _run_id: None,
        trouble: Trouble = lambda _words: None,
    ) -> None:
        if concurrency < 1:
            raise UsageError(f"The concurrency must be at least 1; it is {concurrency}.")
        self._named = {loaded.name: loaded for loaded in map(load_workflow, workflows)}
        self._path = Path(db or read_settings().db)
        self._concurrency = concurrency
        self._clock = clock or SystemClock()
        self._ids = ids
        self._observe = observe
        self._trouble = trouble
        self._runners: dict[str, asyncio.Task[Runner]] = {}  # by reference
        self._open_runners = AsyncExitStack()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}  # run or workflow to when it is tried again
        self._signed = self._looked = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then let steps under way end, and give the runs back at their last checkpoints.

        Args:
            stop: set it to stop.

        Raises:
            StoreError: the database cannot be opened.
        """
        self._database = await asyncio.to_thread(Database, self._path)
        owner = Owner(self._database.path, self._ids())
        try:
            async with self._open_runners:
                self._ledger, self._reviews = Ledger(self._database), Reviews(self._database, clock=self._clock)
                await self._database.write(partial(_register, owner.name, list(self._named), _now()))
                stopping = asyncio.create_task(stop.wait())
                while not stop.is_set():
                    await self._look(owner)
                    ending = self._at_work.values() if self._begin() else ()
                    await asyncio.wait({stopping, *ending}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                await self._say_goodbye(owner)
        finally:
            owner.release()
            self._database.close()

    async def _look(self, owner: Owner) -> None:
        """Say that it still works, and let expire what is due; not each time that a run ends."""
        if self._clock.monotonic() - self._looked < POLL_SECONDS:
            return
        self._looked = self._clock.monotonic()
        try:
            await self._sign(owner)
            await asyncio.to_thread(self._reviews.expire_due)
        except Exception as error:  # a row that nobody can read must not end the work on all others
            self._trouble(_in_words(error))

    def _begin(self) -> bool:
        """Begin as many runs as there is room for; say whether there was no room for more."""
        room = self._concurrency - len(self._at_work)
        try:
            due = self._due(room) if room else []
        except StoreError as error:
            self._trouble(str(error))
            return False
        for run in due:
            self._at_work[run.id] = asyncio.create_task(self._advance(run))
        return len(due) == room

    def _due(self, room: int) -> list[Claimable]:
        """Return what to begin now, in which nothing stands that could not be worked on lately."""
        now = self._clock.monotonic()
        self._not_before = {name: at for name, at in self._not_before.items() if at > now}
        alive = [owner for owner in self._ledger.owners() if is_alive(self._database.path, owner)]
        return self._ledger.claimable(
            room,
            at=_SIGNS.now(),
            alive=alive,
            workflows=self._named.keys(),
            leave_out=self._not_before.keys() | self._at_work.keys(),
        )

    async def _advance(self, run: Claimable) -> None:
        try:
            await (await self._runner(run)).advance([run.id])
        except Exception as error:  # whatever it is, it is this run's only
            self._try_again_later(run.id, f"The run {run.id} could not be worked on: {_in_words(error)}")
        finally:
            del self._at_work[run.id]

    async def _runner(self, run: Claimable) -> Runner:
        """Return the runner of a run's workflow, opened by whoever needs it first."""
        if run.reference not in self._runners:
            self._runners[run.reference] = asyncio.create_task(self._open(run))
        try:
            return await asyncio.shield(self._runners[run.reference])
        except Exception:
            self._runners.pop(run.reference, None)
            self._not_before[run.reference] = self._clock.monotonic() + AGAIN_SECONDS
            raise

    async def _open(self, run: Claimable) -> Runner:
        named = self._named.get(run.workflow)
        loaded = await asyncio.to_thread(load_workflow, run.reference) if named is None else named
        runner = Runner(loaded, db=self._path, clock=self._clock, ids=self._ids, observe=self._observe)
        return await self._open_runners.enter_async_context(runner)

    def _try_again_later(self, run_id: str, words: str) -> None:
        self._not_before[run_id] = self._clock.monotonic() + AGAIN_SECONDS
        self._trouble(words)

    async def _say_goodbye(self, owner: Owner) -> None:
        with suppress(StoreError):
            await self._database.write(partial(_stopping, owner.name, _now()))
        for opening in self._runners.values():
            if opening.done() and not opening.exception():
                opening.result().drain()
        if self._at_work:
            tasks = list(self._at_work.values())
            _, late = await asyncio.wait(tasks, timeout=GOODBYE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        with suppress(StoreError):
            await self._database.write(partial(_unregister, owner.name))

    async def _sign(self, owner: Owner) -> None:
        if self._clock.monotonic() - self._signed > SIGN_SECONDS:
            self._signed = self._clock.monotonic()
            await self._database.write(partial(_seen, owner.name, _now(), self._database.path))


def _now() -> str:
    return _SIGNS.now().isoformat()


def _in_words(error: Exception) -> str:
    """Say what went wrong; the words of others' errors may hold a document."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, StanchionError) else f"a defect ({type(error).__name__})"


def _register(name: str, workflows: list[str], at: str, tables: Tables) -> None:
    tables.conn.execute(
        "INSERT INTO workers (name, pid, host, workflows, started_at, seen_at) VALUES (?, ?, ?, ?, ?, ?)",
        [name, os.getpid(), platform.node(), json.dumps(workflows), at, at],
    )


def _seen(name: str, at: str, path: Path, tables: Tables) -> None:
    """Say that a worker works; forget those that died without a word."""
    tables.conn.execute("UPDATE workers SET seen_at = ? WHERE name = ?", [at, name])
    others = [row[0] for row in tables.conn.execute("SELECT name FROM workers WHERE name != ?", [name])]
    for other in others:
        if not is_alive(path, other):
            _unregister(other, tables)


def _stopping(name: str, at: str, tables: Tables) -> None:
    tables.conn.execute("UPDATE workers SET stopping_at = ? WHERE name = ?", [at, name])


def _unregister(name: str, tables: Tables) -> None:
    tables.conn.execute("DELETE FROM workers WHERE name = ?", [name])
