"""Turns what LangGraph does into the ledger's steps and verdicts.

A step's rows wait up to 50 ms for company in one commit, so the graph does not wait for the ledger. What a kill in that
moment costs the ledger is not lost: LangGraph's checkpoints hold every finished step, and `catch_up` writes the missing
ones when the run goes on. The end of a run is committed after its last step, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from stanchion.clock import Clock
from stanchion.errors import StoreError
from stanchion.runs import ledger
from stanchion.runs.ledger import as_json
from stanchion.store import Database
from stanchion.store.fences import Fence, hold
from stanchion.verdict import Verdict
from stanchion.workflow import Graph

if TYPE_CHECKING:
    from langgraph.types import StateSnapshot
    from sqlite_utils import Database as Tables

Observe = Callable[[str, str], None]
"""Told the name of each thing as it has happened, and the run's id: `queued`, `claimed`, `call started`,
`call retried`, `call answered`, `call failed`, `step started`, `step ended`, `waiting`, `answered`, `ended`."""


class StepRecorder:
    """Records the steps of one run while it is worked on; `latest` is the node that began last.

    Args:
        database: where the ledger stands.
        fence: the claim under which the run is worked on.
        clock: for times.
        observe: is told `step started` and `step ended`.
    """

    def __init__(self, database: Database, fence: Fence, clock: Clock, observe: Observe) -> None:
        self._database = database
        self._fence = fence
        self._run_id = fence.run_id
        self._clock = clock
        self._observe = observe
        self._running: dict[str, float] = {}
        self.latest = ""
        self._writing: list[Future[None]] = []

    async def catch_up(self, graph: Graph, config: Any) -> None:
        """Write the finished steps that the checkpoints hold and the ledger lacks.

        Args:
            graph: compiled with its checkpointer.
            config: names the run's thread.
        """
        known = {row["task_id"] for row in self._database.read(_ENDED, [self._run_id])}
        snapshots = [snapshot async for snapshot in graph.aget_state_history(config)]
        for snapshot in reversed(snapshots):
            for task in snapshot.tasks:
                if task.result is not None and task.id not in known and not task.name.startswith("__"):
                    self._write(partial(self._from_checkpoint, snapshot=snapshot, task=task))
        await self.written()

    def record(self, event: dict[str, Any]) -> None:
        """Record one event of LangGraph's `tasks` stream: a step begins, ends, or asks somebody.

        Args:
            event: its payload.
        """
        if "triggers" in event:
            self._started(event)
        elif event["interrupts"]:
            self._running.pop(event["id"], None)
        else:
            self._ended(event)

    def fail(self, error: Exception) -> None:
        """Record that the steps under way were ended by an exception.

        Args:
            error: what was raised.
        """
        for task_id in list(self._running):
            self._write(self._end(task_id, state=None, error=f"{type(error).__name__}: {error}"))

    def note_late(self, task_id: str, _answer: Any) -> None:
        """Record that a step ended after it was given up; what it came to is thrown away.

        Args:
            task_id: LangGraph's id of its execution.
        """
        with suppress(StoreError):  # it may be long after the database was closed
            self._database.submit(
                partial(ledger.step_late, run_id=self._run_id, task_id=task_id, at=self._clock.now().isoformat())
            )

    async def written(self) -> None:
        """Wait until everything recorded is on disk.

        Raises:
            StoreError: it could not be written.
            LeaseLost: another process has the run now.
        """
        writing, self._writing = self._writing, []
        for future in writing:
            await asyncio.wrap_future(future)

    def _started(self, event: dict[str, Any]) -> None:
        self.latest = event["name"]
        self._running[event["id"]] = self._clock.monotonic()
        self._write(
            partial(
                ledger.step_started,
                run_id=self._run_id,
                task_id=event["id"],
                node=event["name"],
                state=as_json(event["input"]),
                at=self._clock.now().isoformat(),
            )
        )
        self._observe("step started", self._run_id)

    def _ended(self, event: dict[str, Any]) -> None:
        error = None if event["error"] is None else str(event["error"])
        end = self._end(event["id"], state=as_json(event["result"]), error=error)

        def work(tables: Tables) -> None:
            end(tables)
            self._add_verdict(tables, event["id"], event["name"], event["result"])

        self._write(work)
        self._observe("step ended", self._run_id)

    def _end(self, task_id: str, *, state: str | None, error: str | None) -> Callable[[Tables], None]:
        started = self._running.pop(task_id, self._clock.monotonic())
        return partial(
            ledger.step_ended,
            run_id=self._run_id,
            task_id=task_id,
            state=state,
            error=error,
            at=self._clock.now().isoformat(),
            ms=(self._clock.monotonic() - started) * 1000,
        )

    def _from_checkpoint(self, tables: Tables, snapshot: StateSnapshot, task: Any) -> None:
        at = snapshot.created_at or self._clock.now().isoformat()
        ledger.step_started(tables, self._run_id, task.id, task.name, as_json(snapshot.values), at)
        ledger.step_ended(tables, self._run_id, task.id, state=as_json(task.result), error=None, at=at, ms=0.0)
        self._add_verdict(tables, task.id, task.name, task.result)

    def _add_verdict(self, tables: Tables, task_id: str, node: str, result: Any) -> None:
        verdict = result.get("verdict") if isinstance(result, dict) else None
        if isinstance(verdict, Verdict):
            ledger.add_verdict(tables, self._run_id, task_id, node, verdict)

    def _write(self, work: Callable[[Tables], None]) -> None:
        def fenced(tables: Tables) -> None:
            hold(tables.conn, self._fence)
            work(tables)

        self._writing.append(self._database.submit(fenced, patient=True))


_ENDED = "SELECT task_id FROM steps WHERE run_id = ? AND ended_at IS NOT NULL"
