"""Work that goes on while nobody waits for it: runs that people answered, resumed or made anew from the console.

One thread with one event loop for each database and process. Where a worker runs, it does this work, and nothing is
done here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stanchion.clock import Clock
from stanchion.errors import StanchionError
from stanchion.runs.ledger import Ledger
from stanchion.store import Database

MOST_TROUBLES = 20


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong while nobody waited for it.

    Args:
        at: when, in UTC.
        run_ids: of the runs that stay as they were.
        what: in words for a person.
    """

    at: datetime
    run_ids: tuple[str, ...]
    what: str


class Background:
    """Brings runs as far as they go, in a thread of its own.

    Args:
        database: where the runs are.
        clock: says when something went wrong.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, list[str]] = {}  # reference to the ids of runs whose turn comes next
        self._at_work: dict[str, list[str]] = {}
        self._troubles: deque[Trouble] = deque(maxlen=MOST_TROUBLES)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="stanchion-console", daemon=True).start()

    def resume(self, runs: Sequence[tuple[str, str]]) -> None:
        """Let runs go on as far as they can; returns at once.

        Args:
            runs: pairs of a run's `reference` and its id; what is under way already is taken up once more after it.
        """
        with self._lock:
            for reference, run_id in runs:
                waiting = self._waiting.setdefault(reference, [])
                if run_id not in waiting:
                    waiting.append(run_id)
            idle = [reference for reference in self._waiting if reference not in self._at_work]
            for reference in idle:
                self._at_work[reference] = []
        for reference in idle:
            asyncio.run_coroutine_threadsafe(self._work_off(reference), self._loop)

    def busy(self) -> frozenset[str]:
        """Return the ids of the runs that are waiting here or at work."""
        with self._lock:
            everything = [*self._waiting.values(), *self._at_work.values()]
            return frozenset(run_id for run_ids in everything for run_id in run_ids)

    def troubles(self) -> list[Trouble]:
        """Return what went wrong lately, the latest first."""
        with self._lock:
            return list(reversed(self._troubles))

    async def _work_off(self, reference: str) -> None:
        """Resume what waits of one workflow, batch after batch: whoever comes meanwhile goes with the next one."""
        while run_ids := self._next_batch(reference):
            try:
                await self._resume(reference, run_ids)
            except Exception as error:  # nobody else would hear of it
                self._note(run_ids, error)

    def _next_batch(self, reference: str) -> list[str]:
        with self._lock:
            run_ids = self._waiting.pop(reference, [])
            if run_ids:
                self._at_work[reference] = run_ids
            else:
                del self._at_work[reference]
            return run_ids

    async def _resume(self, reference: str, run_ids: list[str]) -> None:
        from stanchion.runs.runner import Runner  # brings LangGraph: two seconds, once, and nobody waits
        from stanchion.runs.worker import worker_running

        (run,) = Ledger(self._database).runs_of(run_ids[:1])
        if worker_running(self._database, run.workflow):
            return
        async with Runner(reference, db=self._database.path) as runner:
            await runner.resume(run_ids)

    def _note(self, run_ids: list[str], error: Exception) -> None:
        is_ours = isinstance(error, StanchionError)
        what = str(error) if is_ours else f"A defect of ours ({type(error).__name__}); the runs stay as they are."
        with self._lock:
            self._troubles.append(Trouble(self._clock.now(), tuple(run_ids), what))
