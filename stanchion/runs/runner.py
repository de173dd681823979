"""The runner: it queues inputs, advances runs through their graph, and records every step.

What it promises: an input is on disk before anything is done with it; a run ends with one outcome, whatever kills the
process; one process at a time works on a run; a defect in a node ends that run as `failed` and disturbs no other.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from langgraph.errors import GraphDrained, GraphRecursionError
from langgraph.graph import START
from langgraph.runtime import RunControl
from langgraph.types import Command, StateSnapshot

from stanchion.clock import Clock, Ids, SystemClock, new_id
from stanchion.context import RunContext
from stanchion.errors import (
    LeaseLost,
    LoopLimit,
    ModelError,
    ModelNotLoadable,
    OutOfTime,
    StanchionError,
    StepOutOfTime,
    StoreError,
    ThreadsBusy,
    UsageError,
)
from stanchion.guards.limits.deadline import Deadline, in_words
from stanchion.guards.limits.gate import Gate
from stanchion.guards.limits.policy import Policy
from stanchion.guards.limits.policy_files import InForce, policy_in_force
from stanchion.models.door import Door
from stanchion.models.estimates import refuse_unaffordable
from stanchion.models.flights import Flights
from stanchion.models.pinned import PinnedPrompts, as_version
from stanchion.models.providers import Model, load_model, loadable
from stanchion.models.recorded import answers_on_record
from stanchion.people import Person
from stanchion.runs import ledger
from stanchion.runs.asking import asked, proposal_of
from stanchion.runs.bounds import Bounds, bounded
from stanchion.runs.checkpoints import open_checkpoints
from stanchion.runs.inputs import Input, checkpointable
from stanchion.runs.ledger import Ledger, as_json
from stanchion.runs.recorder import Observe, StepRecorder
from stanchion.runs.records import Run
from stanchion.runs.reviews import Reviews, refuse_indistinguishable
from stanchion.settings import read_settings
from stanchion.store import Database, Owner
from stanchion.store.calls import Journal
from stanchion.store.fences import Fence
from stanchion.store.owners import is_alive
from stanchion.store.prompts import check_label, pin
from stanchion.verdict import Outcome
from stanchion.workflow import Workflow, load_workflow

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from sqlite_utils import Database as Tables

AN_OBJECT = " (object)"  # stands behind the name of a model that was given as an object
NO_OF_A_LIMIT = (ModelError, StepOutOfTime, OutOfTime, LoopLimit, ThreadsBusy)
"""What ends a run as refused where no node takes it: nothing is wrong with the workflow."""

_NOTE = re.compile("During task with name '(.+?)' and id")

LOOK_SECONDS = 1.0  # how often a run at work is looked after: was it paused, cancelled, taken over?
_LEASES = SystemClock()  # leases are between processes, and processes share no clock but the machine's

STRICT_RESUME = "__pregel_strict_resume"  # private in LangGraph 1.2: an answer never falls to the next question


class _AtWork(NamedTuple):
    """A run that is worked on: since when, on the clock's monotonic, and how to stop it before its next step."""

    since: float
    control: RunControl


class Runner:
    """Runs one workflow on one database; an asynchronous context manager.

    Args:
        workflow: a `Workflow`, or a name or `module:attribute` that loads one.
        db: the database file; `STANCHION_DB`, else `.stanchion/stanchion.db`.
        model: the model's usual string or a LangChain chat model. By default, new runs use `STANCHION_MODEL`, else
            `none`, and runs that go on use the model they were made with.
        concurrency: how many runs are worked on at a time.
        policy: the limits, in place of those in force here (the workflow's own, and `stanchion.toml`).
        tenant: on whose behalf new runs are made, for caps on money.
        prompts: the label, `production` or `candidate`, whose versions of the workflow's prompts new runs start with.
        context: what your own nodes reach at run time, such as clients and keys: an instance of a subclass of
            `RunContext`; the runner fills in the fields that it knows. Never stored.
        clock: where times come from.
        ids: makes the ids of runs, calls and reviews.
        observe: is told what happens.

    Raises:
        WorkflowError: there is no such workflow.
        StoreError: the database cannot be used.
        UsageError: an argument, or the policy in force, cannot be used.
    """

    def __init__(
        self,
        workflow: Workflow | str,
        *,
        db: Path | str | None = None,
        model: str | BaseChatModel | None = None,
        concurrency: int = 8,
        policy: Policy | None = None,
        tenant: str = "",
        prompts: str = "production",
        context: RunContext | None = None,
        clock: Clock | None = None,
        ids: Ids = new_id,
        observe: Observe = lambda _event, _run_id: None,
    ) -> None:
        if concurrency < 1:
            raise UsageError(f"The concurrency must be at least 1; it is {concurrency}.")
        check_label(prompts)
        settings = read_settings()
        self._model = model
        self._label = prompts
        self.workflow = load_workflow(workflow) if isinstance(workflow, str) else workflow
        self._model_of_new_runs = model if model is not None else settings.model
        self._path = Path(db or settings.db)
        self._synchronous = settings.synchronous
        self._concurrency = concurrency
        self._tenant = tenant
        nodes = self.workflow.graph.nodes.keys() - {START}
        in_force = policy_in_force(self.workflow.policy, self.workflow.name, nodes=nodes)
        self._in_force = in_force if policy is None else InForce(policy, origins={})
        self.policy = self._in_force.policy
        self._own_context = context or RunContext()
        self._clock = clock or SystemClock()
        self._ids = ids
        self._observe = observe
        self._draining = False
        self._working: dict[str, _AtWork] = {}
        self._fences: dict[str, Fence] = {}  # of the runs that are worked on, for their checkpoints
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the database.

        Raises:
            StoreError: it cannot be used.
            UsageError: the model cannot be used, or no call to it could ever be paid under the policy.
        """
        model = load_model(self._model_of_new_runs)  # what cannot be used is refused before anything is accepted
        for chat in (model, *self._fallbacks()):
            refuse_unaffordable(self.policy, chat, self.workflow.prompts, self._in_force.origins)
        refuse_indistinguishable(self.workflow)
        try:
            await self._open()
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, sqlite3.Error | OSError):
                raise StoreError(f"The database {self._path} cannot be used ({error}).") from error
            raise
        return self

    def _fallbacks(self) -> list[Model]:
        """Return the fallbacks of the workflow's nodes that can be loaded here; say which cannot."""
        found: list[Model] = []
        for node, runs in self.workflow.graph.nodes.items():
            for name in getattr(getattr(runs.bound, "afunc", None), "fallbacks", ()):
                model = loadable(name)
                if model.problem:
                    warnings.warn(f"The step {node} cannot ask its fallback {name}. {model.problem}", stacklevel=4)
                else:
                    found.append(model)
        return found

    async def _open(self) -> None:
        self._database = await asyncio.to_thread(Database, self._path, synchronous=self._synchronous)
        self._stack.callback(self._database.close)
        self.ledger = Ledger(self._database)
        self._journal = Journal(self._database)
        self._saver = await open_checkpoints(self._database, self.workflow.graph, fences=self._fences)
        self._graph = bounded(self.workflow.graph).copy(update={"checkpointer": self._saver})
        self._owner = Owner(self._database.path, self._ids())
        self._stack.callback(self._owner.release)
        self._gate = Gate(self._database, self._clock, owner=self._owner.name, is_alive=self._lives)
        self._flights = Flights()
        await self._gate.settle_dead()
        self.reviews = Reviews(self._database, clock=self._clock, workflow=self.workflow)
        watching = asyncio.create_task(self._watch())
        self._stack.callback(watching.cancel)

    async def __aexit__(self, *_: object) -> None:
        """Write what is queued and close the database."""
        await self._stack.aclose()

    # --- Starting, resuming, answering  ---

    async def start(self, inputs: Iterable[Input]) -> list[Run]:
        """Store all inputs as queued, then run them; return the runs as they then stand, in the inputs' order.

        Args:
            inputs: from `read_inputs`, or made by hand.

        Raises:
            StoreError: the database failed; what was queued goes on with `resume`.
        """
        return await self.advance(await self.queue(inputs))

    async def queue(self, inputs: Iterable[Input]) -> list[str]:
        """Store inputs as queued runs, without running them; return the runs' ids.

        Args:
            inputs: from `read_inputs`, or made by hand.

        Raises:
            StoreError: the database failed; what was queued before stays queued.
        """
        remaining, run_ids = iter(inputs), []
        while rows := [self._row(item) for item in islice(remaining, ledger.QUEUE_BATCH)]:
            await self._database.write(partial(self._queue, rows=rows))
            run_ids += [row["id"] for row in rows]
            for row in rows:
                self._observe("queued", row["id"])
        return run_ids

    async def resume(self, run_ids: Sequence[str] | None = None) -> list[Run]:
        """Go on with runs that can go on: queued, cut off by a crash, or answered by a person.

        Runs that somebody else alive works on are left alone.

        Args:
            run_ids: only these; by default all of this workflow.

        Raises:
            RunNotFound: an id names no run.
            StoreError: the database failed.
            ModelNotLoadable: a run's model cannot be loaded here; everything else was brought as far as it went.
        """
        unfinished = [run.id for run in self.ledger.unfinished(self.workflow.name)]
        if run_ids is not None:
            wanted = {self.ledger.full_id(run_id) for run_id in run_ids}
            unfinished = [run_id for run_id in unfinished if run_id in wanted]
        return await self.advance(unfinished)

    async def answer(
        self,
        review_id: str,
        action: str,
        *,
        by: Person | str,
        edits: dict[str, Any] | None = None,
        output: Any = None,
        reason: str = "",
    ) -> Run:
        """Give a review its one answer, and let its run go on.

        Args:
            review_id: the review's or its run's id, or the beginning of one.
            action: `approve`, `edit` or `reject`.
            by: who answers.
            edits: for `edit`, the fields to change and their values.
            output: for `edit`, the whole value instead.
            reason: in the reviewer's words.

        Raises:
            ReviewNotFound: there is no such review.
            ReviewClosed: it was answered before, or its run ended; the message says by whom and when.
            ReviewTaken: somebody else is at work on it.
            NotAllowed: who answers may not.
            InvalidAnswer: the answer does not fit; the review stays open.
            UsageError: the review is of another workflow.
        """
        review = self.reviews.get(review_id)
        if review.workflow != self.workflow.name:
            raise UsageError(f"The review {review.id} is of the workflow {review.workflow}, not {self.workflow.name}.")
        await asyncio.to_thread(
            partial(self.reviews.answer, review.id, action, by=by, edits=edits, output=output, reason=reason)
        )
        self._observe("answered", review.run_id)
        (run,) = await self.advance([review.run_id])
        return run

    # --- Advancing ---

    async def advance(self, run_ids: Sequence[str]) -> list[Run]:
        """Work on runs until each has ended or waits for a person; return them as they then stand.

        Args:
            run_ids: full ids; those that have ended, or that somebody alive works on, are left alone.

        Raises:
            StoreError: the database failed; everything else was brought as far as it went.
        """
        waiting = iter(run_ids)  # shared by the workers: each takes the next as it is free
        failures: list[StanchionError] = []

        async def worker() -> None:
            for run_id in waiting:
                if run_id in self._working or self._draining:
                    continue  # another call of this runner has it, or nothing is begun any more
                self._working[run_id] = _AtWork(self._clock.monotonic(), RunControl())
                try:
                    await self._advance(run_id)
                except StanchionError as error:
                    failures.append(error)
                finally:
                    self._working.pop(run_id, None)
                    self._fences.pop(run_id, None)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(run_ids))):
                group.create_task(worker())
        if failures:
            raise failures[0]
        return self.ledger.runs_of(run_ids)

    def drain(self) -> None:
        """Begin nothing any more, and let every run at work stop before its next step; whoever comes next goes on."""
        self._draining = True
        for work in self._working.values():
            work.control.request_drain()

    async def _advance(self, run_id: str) -> None:
        claim = partial(
            ledger.claim,
            run_id=run_id,
            workflow=self.workflow.name,
            owner=self._owner.name,
            may_take_from=self._may_take_from,
            now=self._now(),
            at=_LEASES.now(),
        )
        row = await self._database.write(claim)
        if row is None:
            return
        fence = self._fences[run_id] = Fence(run_id, row["token"])
        self._observe("claimed", run_id)
        recorder = StepRecorder(self._database, fence, self._clock, self._observe)
        try:
            try:
                await self._settle(fence, await self._run_graph(row, recorder))
            except Exception as error:
                await self._end_by(error, fence, recorder)
            await recorder.written()
        except LeaseLost:
            self._observe("lost", run_id)
        except (StoreError, ModelNotLoadable, GraphDrained, asyncio.CancelledError) as error:
            await self._give_back(fence)  # nothing is wrong with the run: whoever comes next goes on with it
            if not isinstance(error, GraphDrained):
                raise

    async def _give_back(self, fence: Fence) -> None:
        with suppress(StoreError):  # its lease ends by itself
            worked_ms = self._worked_ms(fence.run_id)
            await self._database.write(partial(ledger.release, fence=fence, worked_ms=worked_ms))

    async def _watch(self) -> None:
        """Renew the leases of the runs at work, and stop those that were paused, cancelled or taken over."""
        renewed = _LEASES.monotonic()
        while True:
            await _LEASES.sleep(LOOK_SECONDS)
            if not self._fences:
                continue
            with suppress(StoreError):  # it is looked again in a moment
                if _LEASES.monotonic() - renewed > ledger.LEASE.total_seconds() / 3:
                    renewed = _LEASES.monotonic()
                    await self._database.write(partial(ledger.renew, owner=self._owner.name, at=_LEASES.now()))
                kept = self.ledger.at_work(self._owner.name)
                for run_id, fence in list(self._fences.items()):
                    if kept.get(run_id) != fence.token and run_id in self._working:
                        self._working[run_id].control.request_drain()

    async def _end_by(self, error: Exception, fence: Fence, recorder: StepRecorder) -> None:
        """End a run by the exception that came out of it; raise on what says nothing of the run itself."""
        causes = _single(error)
        if lost := next((cause for cause in causes if isinstance(cause, LeaseLost)), None):
            raise lost
        if isinstance(error, GraphDrained | StoreError | ModelNotLoadable):
            await recorder.written()
            raise error
        if isinstance(error, sqlite3.Error) and _node_that_raised(error) is None:
            raise StoreError(f"The database {self._path} failed: {error}.") from error
        await self._finish(fence, self._outcome_of(error, recorder), type(causes[0]).__name__)

    def _outcome_of(self, error: Exception, recorder: StepRecorder) -> Outcome:
        """Return how a run ends that an exception came out of: a limit's no that nobody took, or a defect."""
        if isinstance(error, GraphRecursionError):
            reason = f"Stopped after {self.policy.loops.steps} steps (loops.steps in the policy): a loop?"
            return Outcome(kind="refused", reason=reason)
        causes = _single(error)
        if all(isinstance(cause, NO_OF_A_LIMIT) for cause in causes):
            return Outcome(kind="refused", reason=str(causes[0]))
        node = _node_that_raised(error) or recorder.latest or "the graph"
        reason = f"A defect in {node}, or in an edge from it: {type(error).__name__}: {error}"
        return Outcome(kind="failed", reason=reason)

    def _may_take_from(self, owner: str) -> bool:
        return owner == self._owner.name or not self._lives(owner)

    def _lives(self, owner: str) -> bool:
        return is_alive(self._database.path, owner)

    async def _run_graph(self, row: dict[str, Any], recorder: StepRecorder) -> StateSnapshot:
        run_id = row["id"]
        config: Any = {
            "configurable": {"thread_id": run_id, STRICT_RESUME: True},
            "recursion_limit": self.policy.loops.steps + 2,  # our own limit comes first: it counts over resumes too
            "run_name": self.workflow.name,
        }
        door = self._door(row)
        context = self._context(row, door)
        given = await self._next_input(row, config, recorder)
        try:
            with Bounds(self.policy, deadline=context.deadline, clock=self._clock, late=recorder.note_late):
                async for event in self._graph.astream(
                    given,
                    config,
                    context=context,
                    stream_mode="tasks",
                    durability="sync",
                    control=self._working[run_id].control,
                ):
                    recorder.record(event)
        except Exception as error:
            recorder.fail(error)
            raise
        finally:
            door.close()
        return await self._graph.aget_state(config)

    async def _next_input(self, row: dict[str, Any], config: Any, recorder: StepRecorder) -> Any:
        """Return what LangGraph goes on with: the input, nothing (from its last checkpoint), or people's answers.

        Whether a run has finished is never read from the checkpoint's `next`: killed after its first checkpoint, a run
        looks finished there. Only an outcome in the ledger counts.
        """
        if row["started_at"] is None or await self._saver.aget_tuple(config) is None:
            return {"document": checkpointable(json.loads(row["input"]))}
        await recorder.catch_up(self._graph, config)
        unused = self.ledger.answers_due(row["id"])
        if not unused:
            return None
        pending = {item.id for item in (await self._graph.aget_state(config)).interrupts}
        due = {interrupt_id: answer for interrupt_id, answer in unused.items() if interrupt_id in pending}
        return Command(resume=due) if due else None

    async def _settle(self, fence: Fence, snapshot: StateSnapshot) -> None:
        if snapshot.interrupts:
            await self._wait(fence, snapshot)
        elif snapshot.next:
            reason = f"The graph stopped before {', '.join(snapshot.next)} without asking anybody."
            await self._finish(fence, Outcome(kind="failed", reason=reason))
        else:
            await self._finish(fence, _outcome(snapshot.values))

    async def _wait(self, fence: Fence, snapshot: StateSnapshot) -> None:
        reviews = [
            asked(item, task.name, snapshot, workflow=self.workflow.name, review_id=self._ids(), now=self._clock.now())
            for task in snapshot.tasks
            for item in task.interrupts
        ]
        await self._database.write(
            partial(
                ledger.wait_for_person,
                fence=fence,
                reviews=reviews,
                proposal=proposal_of(snapshot),
                at=self._now(),
                worked_ms=self._worked_ms(fence.run_id),
            )
        )
        self._observe("waiting", fence.run_id)

    def _worked_ms(self, run_id: str) -> float:
        """Return how long a run was worked on, by a clock that nobody sets."""
        return (self._clock.monotonic() - self._working[run_id].since) * 1000

    async def _finish(self, fence: Fence, outcome: Outcome, error_class: str | None = None) -> None:
        await self._database.write(
            partial(
                ledger.finish,
                fence=fence,
                outcome=outcome,
                at=self._now(),
                worked_ms=self._worked_ms(fence.run_id),
                error_class=error_class,
            )
        )
        self._observe("ended", fence.run_id)

    # --- What a run starts with  ---

    def _queue(self, tables: Tables, rows: Sequence[dict[str, Any]]) -> None:
        own = [as_version(prompt) for prompt in self.workflow.prompts]
        pins = json.dumps(pin(tables, own, self._label, self._now()))
        ledger.queue_runs(tables, [{**row, "prompts": pins} for row in rows])

    def _row(self, item: Input) -> dict[str, Any]:
        name = load_model(self._model_of_new_runs).name
        made_from = "" if isinstance(self._model_of_new_runs, str) else AN_OBJECT
        recorded = answers_on_record(item.recorded, name.removeprefix("recorded:"))
        return {
            "id": self._ids(),
            "workflow": self.workflow.name,
            "reference": self.workflow.reference or self.workflow.name,
            "version": self.workflow.version,
            "tenant": self._tenant,
            "model": name + made_from,
            "input_id": item.id,
            "input": json.dumps(item.document),
            "recorded": json.dumps(recorded) if name.startswith("recorded:") else None,
            "status": "queued",
            "created_at": self._now(),
        }

    def _door(self, row: dict[str, Any]) -> Door:
        run_id = str(row["id"])
        return Door(
            self._model_of(row),
            self._journal,
            policy=self.policy,
            gate=self._gate,
            flights=self._flights,
            workflow=self.workflow.name,
            tenant=row["tenant"],
            clock=self._clock,
            ids=self._ids,
            observe=lambda event: self._observe(event, run_id),
            fence=self._fences[run_id],
        )

    def _context(self, row: dict[str, Any], door: Door) -> RunContext:
        run_id = str(row["id"])
        made = datetime.fromisoformat(row["created_at"])
        prompts = PinnedPrompts(self._database, run_id, json.loads(row["prompts"] or "{}"), self.workflow.prompts)
        return replace(
            self._own_context,
            model=door.model.name,
            today=made.date(),
            run_id=run_id,
            tenant=row["tenant"],
            policy=self.policy,
            deadline=self._deadline(row),
            door=door,
            prompts=prompts,
        )

    def _deadline(self, row: dict[str, Any]) -> Deadline:
        whole = self.policy.time.run.total_seconds()
        left = whole - row["worked_ms"] / 1000
        return Deadline(self._clock.monotonic() + left, f"the {in_words(whole)} of the run")

    def _model_of(self, row: dict[str, Any]) -> Model:
        """Return the model given to the runner, else the one that the run was made with."""
        wanted = row["model"] if self._model is None else self._model
        if isinstance(wanted, str) and wanted.endswith(
            AN_OBJECT
        ):  # its name alone may mean another address, other keys
            return Model(
                wanted, None, problem=f"The run {row['id']} was made with a model object, {wanted}: give it again."
            )
        try:
            return load_model(wanted, json.loads(row["recorded"] or "[]"))
        except StanchionError as error:  # perhaps the rest of the run asks nobody
            advice = (
                f"The run {row['id']} was made with the model {row['model']}: {error} Give it as model=... or --model."
            )
            return Model(row["model"], None, problem=advice)

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _node_that_raised(error: Exception) -> str | None:
    """Return the node that raised it, None where LangGraph or its saver did: LangGraph notes it on what nodes raise."""
    notes = [match[1] for note in getattr(error, "__notes__", ()) if (match := _NOTE.match(note))]
    return notes[0] if notes else None


def _single(error: BaseException) -> list[BaseException]:
    """Return what an exception group holds; the error itself where it is none."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in _single(inner)]
    return [error]


def _outcome(values: dict[str, Any]) -> Outcome:
    """Return what the graph said of its end; a graph that says nothing was accepted with all it holds."""
    said = values.get("outcome")
    if isinstance(said, Outcome):
        return said
    return Outcome(kind="accepted", output=json.loads(as_json(values)))
