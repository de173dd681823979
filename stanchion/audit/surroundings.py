"""Faults of what is around a run: its clock, its database, its process."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import sys
import threading
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.messages import messages_from_dict

from stanchion.audit.call_site import CallSite
from stanchion.audit.overlay import Asked, hash_of
from stanchion.audit.rows import EVERYTHING, Outputs, Row, count
from stanchion.audit.trial import Subject
from stanchion.clock import SystemClock
from stanchion.errors import StanchionError, StoreError
from stanchion.runs.inputs import Input
from stanchion.runs.runner import Runner

AHEAD, BACK = timedelta(hours=1), timedelta(hours=2)
LOCKED_SECONDS, FREE_SECONDS = 0.25, 0.1
MOST_PAGES = 2**30  # SQLite's own default
DEATHS = (("call answered", 3), ("", 60), ("call answered", 3), ("", 60))
"""Of each process: which event kills it (any, where it has no name), and one of how many. An answer that is committed,
in a step that is not, is the moment that costs most."""
SEED = 20261123


class Trial(NamedTuple):
    """What a fault of the surroundings is tried on.

    Args:
        subject: the workflow.
        inputs: some of its inputs.
        healthy: what they come to when all is well.
        db: a file for the database, not there yet.
    """

    subject: Subject
    inputs: Sequence[Input]
    healthy: Outputs
    db: Path


class JumpingClock(SystemClock):
    """A clock that somebody sets while runs are under way; the seconds that pass are those of the machine."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        """Say what time it is on a clock that was set."""
        return super().now() + self.ahead


async def clock_jump(trial: Trial) -> Row:
    """Set the clock an hour ahead in the midst of the runs, and two hours back soon after.

    Args:
        trial: what it is tried on.
    """
    clock, steps = JumpingClock(), 0

    def observe(event: str, _run_id: str) -> None:
        nonlocal steps
        steps += event == "step ended"
        runs = len(trial.inputs)
        clock.ahead = timedelta(0) if steps < runs else AHEAD if steps < 2 * runs else AHEAD - BACK

    subject = trial.subject
    async with subject.runner(trial.db, clock=clock, observe=observe) as runner:
        with subject.overlay() as overlay:
            run_ids = await subject.queue(runner, trial.inputs)
            await runner.advance(run_ids)
        return count(runner, run_ids, overlay.requests, trial.healthy, step=EVERYTHING, fault="clock_jump")


async def database_locked(trial: Trial) -> Row:
    """Let another program lock the database a few times while runs are under way, then resume what was held up.

    Args:
        trial: what it is tried on.
    """
    subject = trial.subject
    async with subject.runner(trial.db) as runner:
        with subject.overlay() as overlay:
            over = threading.Event()
            locking = asyncio.create_task(asyncio.to_thread(_lock_now_and_then, trial.db, over))
            try:
                run_ids = await subject.queue(runner, trial.inputs)
                await _as_far_as_it_goes(runner, run_ids)
            finally:
                over.set()
                await locking
            await runner.resume()
        requests, healthy = overlay.requests, trial.healthy
        return count(runner, run_ids, requests, healthy, step=EVERYTHING, fault="database_locked", is_timed=False)


def _lock_now_and_then(db: Path, over: threading.Event) -> None:
    with closing(sqlite3.connect(db, isolation_level=None, timeout=5.0)) as connection:
        while not over.is_set():
            connection.execute("BEGIN IMMEDIATE")
            over.wait(LOCKED_SECONDS)
            connection.execute("ROLLBACK")
            over.wait(FREE_SECONDS)


async def disk_full(trial: Trial) -> Row:
    """Let the disk be full in the midst of the runs, offer new work, then make room and resume.

    Args:
        trial: what it is tried on.
    """
    subject, steps = trial.subject, 0

    def observe(event: str, _run_id: str) -> None:
        nonlocal steps
        steps += event == "step ended"
        if steps == len(trial.inputs) and event == "step ended":
            runner.ledger.database.submit(_fill)

    async with subject.runner(trial.db, observe=observe) as runner:
        with subject.overlay() as overlay:
            run_ids = await subject.queue(runner, trial.inputs)
            await _as_far_as_it_goes(runner, run_ids)
            broken = [] if await _is_refused(runner, trial.inputs) else ["new work was accepted on a full disk"]
            await runner.ledger.database.write(_make_room)
            await runner.resume()
        requests, healthy = overlay.requests, trial.healthy
        return count(runner, run_ids, requests, healthy, step=EVERYTHING, fault="disk_full", also_broken=broken)


def _fill(tables: Any) -> None:
    (pages,) = tables.conn.execute("PRAGMA page_count").fetchone()
    tables.conn.execute(f"PRAGMA max_page_count={pages}")  # of our connection: SQLite then says what a full disk says


def _make_room(tables: Any) -> None:
    tables.conn.execute(f"PRAGMA max_page_count={MOST_PAGES}")


async def _is_refused(runner: Runner, inputs: Sequence[Input]) -> bool:
    large = [Input("offered to a full disk", {"text": "full " * 100_000}) for _ in inputs]
    try:
        await runner.queue(large)
    except StoreError:
        return True
    return False


async def _as_far_as_it_goes(runner: Runner, run_ids: Sequence[str]) -> None:
    with suppress(StoreError):
        await runner.advance(run_ids)


# --- Death  ---


async def kill_9(trial: Trial) -> Row:
    """Kill the process that works on the runs a few times, then let one finish them.

    What was answered and committed is read from the file after each death: none of it may be asked again.

    Args:
        trial: what it is tried on.
    """
    subject = trial.subject
    log = trial.db.with_suffix(".requests")
    async with subject.runner(trial.db) as runner:
        run_ids = await subject.queue(runner, trial.inputs)
    chance = random.Random(SEED)  # noqa: S311 - repeatable, and no secret
    again = 0
    async with _Dying(subject, trial.db, log) as dying:
        for event, among in (*DEATHS, ("nothing", 1)):
            committed = _committed(trial.db)
            before = len(_logged(log))
            await dying.child(event, chance.randrange(among) + 1)
            again += sum(_question(asked) in committed for asked in _logged(log)[before:])
    async with subject.runner(trial.db, in_short=False) as runner:
        broken = [f"{again} requests made again whose answer was committed"] if again else []
        # what was under way at a kill is asked again, and rightly so: no limit on requests is looked at here
        row = count(runner, run_ids, [], trial.healthy, step=EVERYTHING, fault="kill_9", also_broken=broken)
    requests = Counter(_logged(log))
    most = max(requests.values(), default=0)
    return row.model_copy(update={"calls": len(requests), "requests": requests.total(), "most_requests": most})


Question = tuple[str, str, str]
"""Run, the step's execution, and the hash of what was asked."""


def _question(asked: Asked) -> Question:
    return asked.site.run_id, asked.site.step.rpartition(":")[2], asked.content.rpartition(" ")[2]


def _committed(db: Path) -> set[Question]:
    """Read from the file which questions have an answer that was kept."""
    with closing(sqlite3.connect(db)) as connection:
        rows = connection.execute("SELECT run_id, task_id, request FROM calls WHERE status = 'answered'").fetchall()
    return {(run_id, task_id, hash_of(messages_from_dict(json.loads(request)))) for run_id, task_id, request in rows}


def _logged(log: Path) -> list[Asked]:
    if not log.exists():
        return []
    lines = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return [Asked(CallSite(*site), content) for *site, content in lines]


class _Dying(AbstractAsyncContextManager["_Dying"]):
    """A process that forks a child per command, each of which works on the runs until it kills itself.

    Args:
        subject: the workflow; it must be one that can be loaded by its reference.
        db: the database.
        log: the file in which each request stands before it is made.
    """

    def __init__(self, subject: Subject, db: Path, log: Path) -> None:
        self._command = {
            "path": sys.path,
            "reference": subject.workflow.reference,
            "model": subject.model,
            "inputs": [item._asdict() for item in subject.inputs],
            "db": str(db),
            "log": str(log),
        }

    async def __aenter__(self) -> _Dying:
        """Start it; it imports everything once."""
        words = [sys.executable, "-m", "stanchion.audit.dying"]
        self._process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        assert self._process.stdin is not None  # noqa: S101 - piped
        self._process.stdin.close()
        await self._process.wait()

    async def child(self, event: str, number: int) -> None:
        """Let a child work on the runs until it kills itself.

        Args:
            event: of which name; empty: any.
            number: which of these events kills it; it ends by itself where there are not so many.

        Raises:
            StanchionError: the child could not work at all.
        """
        process = self._process
        assert process.stdin is not None  # noqa: S101 - piped
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps({**self._command, "die": [event, number]}).encode() + b"\n")
        await process.stdin.drain()
        ended = (await process.stdout.readline()).decode().strip()
        if ended not in ("0", str(-signal.SIGKILL)):
            raise StanchionError(f"The child of kill_9 ended with {ended or 'nothing'}; what it said stands above.")


FAULTS: dict[str, Callable[[Trial], Awaitable[Row]]] = {
    "clock_jump": clock_jump,
    "database_locked": database_locked,
    "disk_full": disk_full,
    "kill_9": kill_9,
}
"""Every fault of the surroundings by its name, in the order in which a drill lists them."""
