"""Forks: a new run that goes on from before a step of another one, which stays exactly as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import PregelTask

from stanchion.clock import Clock, Ids, SystemClock, new_id
from stanchion.errors import RunNotFound, UsageError
from stanchion.people import Person
from stanchion.runs.checkpoints import CheckpointSaver, open_checkpoints
from stanchion.runs.copies import Copy, add_copy, checked_model, if_erased, pins
from stanchion.runs.edits import EditedCheckpoint, edited, read_edits, state_types
from stanchion.runs.ledger import Ledger, as_json
from stanchion.runs.operations import allowed
from stanchion.runs.records import Run
from stanchion.store import Database
from stanchion.store.prompts import check_label
from stanchion.store.trail import Trail
from stanchion.workflow import Graph, Workflow, load_workflow

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

    from stanchion.store.trail import Add

MOST_NAMED = 30  # steps that an error message names


class _Step(NamedTuple):
    task_id: str
    position: int
    node: str


class _Place(NamedTuple):
    """Where the origin's thread stood before a step: the checkpoint, all that was next, and the state."""

    before: CheckpointTuple
    tasks: tuple[PregelTask, ...]
    state: Any

    @property
    def checkpoint_id(self) -> str:
        return self.before.checkpoint["id"]


async def fork(
    database: Database,
    run_id: str,
    *,
    at: str,
    by: Person | str,
    reason: str,
    edits: Mapping[str, Any] | None = None,
    model: str | None = None,
    prompts: str | None = None,
    workflow: Workflow | None = None,
    clock: Clock | None = None,
    ids: Ids = new_id,
) -> Run:
    """Make a queued run that goes on from before a step of another run, of which nothing changes.

    It has a copy of the steps before, which are not executed again and cost nothing again. Steps that were parallel to
    the one named are executed again with it. The other run may be anywhere: at work, waiting, ended, cancelled.

    Args:
        database: where that run is.
        run_id: its id, or the beginning of it.
        at: the step: its position, such as `3`; its node, for the last visit of it; or its task id.
        by: who does it.
        reason: why.
        edits: key of the state to the value that it has in the new run, in JSON form. The step is executed with it,
            whatever the edges before it would have said.
        model: for the new run; by default the other run's.
        prompts: the label whose versions of the workflow's prompts it goes on with; by default those of the other run.
        workflow: what the run is of, where its reference loads nothing here, as in a notebook.
        clock: where times come from.
        ids: makes the id of the new run.

    Raises:
        NotAllowed: it takes the role operator.
        UsageError: no reason is given; there is no such step, model or label; an edit does not fit; or the workflow
            has changed so that the step is none of it any more.
        MissingExtra: the model's package is not installed.
        RunNotFound: there is no such run.
        RunEnded: it was erased.
        WorkflowError: its workflow cannot be loaded here.
        StoreError: the database failed; nothing was made.
    """
    who, why = allowed(by, reason, "fork runs")
    origin = Ledger(database).run(run_id)
    if erased := if_erased(origin):
        raise erased
    if prompts is not None:
        check_label(prompts)
    name = checked_model(model)
    loaded = workflow or load_workflow(origin.reference)
    values = read_edits(loaded.graph, edits or {})
    step = _step(database, origin.id, at)
    saver = await open_checkpoints(database, loaded.graph)
    place = await _before(database, loaded.graph, saver, origin, step)
    first = await edited(loaded.graph, saver, place.before, place.tasks, values) if values else None
    now = (clock or SystemClock()).now().isoformat()
    new_run_id = ids()

    def work(tables: Tables, add: Add) -> None:
        chosen = None if prompts is None else pins(tables, loaded, prompts, now)
        new = Copy(new_run_id, origin.id, loaded.version, now, name, chosen, origin_step=step.task_id)
        _copy(tables, new, place.checkpoint_id, first)
        facts = {
            "step": step.position,
            "node": step.node,
            "edited": sorted(values),
            "version": loaded.version,
            "model": name or origin.model,
            "prompts": prompts or "as in the origin",
        }
        what = {"workflow": origin.workflow, "run_id": origin.id, "subject": new.run_id}
        add(who, "run forked", **what, facts=facts, content={"reason": why})

    await asyncio.to_thread(partial(Trail(database, clock).decide, work))
    return Ledger(database).run(new_run_id)


async def state_before(
    database: Database, run_id: str, *, at: str, workflow: Workflow | None = None
) -> dict[str, str | None]:
    """Return the state that a step began with, key by key as JSON text: all that an edit of a fork may change.

    The ledger has what the step itself was given; this is everything, read from the checkpoint.

    Args:
        database: where the run is.
        run_id: its id, or the beginning of it.
        at: the step, as for `fork`.
        workflow: what the run is of, where its reference loads nothing here.

    Returns:
        Every key that the state declares; None for one that has no value yet, and "null" for one whose value is that.

    Raises:
        UsageError: there is no such step, or the workflow has changed so that it is none of it any more.
        RunNotFound: there is no such run.
        RunEnded: it was erased.
        WorkflowError: its workflow cannot be loaded here.
        StoreError: the database failed.
    """
    origin = Ledger(database).run(run_id)
    if erased := if_erased(origin):
        raise erased
    loaded = workflow or load_workflow(origin.reference)
    saver = await open_checkpoints(database, loaded.graph)
    place = await _before(database, loaded.graph, saver, origin, _step(database, origin.id, at))
    values = place.state if isinstance(place.state, dict) else {}
    return {key: as_json(values[key]) if key in values else None for key in state_types(loaded.graph)}


def _step(database: Database, run_id: str, at: str) -> _Step:
    """Find the step that somebody means."""
    rows = database.read("SELECT task_id, position, node FROM steps WHERE run_id = ? ORDER BY position", [run_id])
    steps = [_Step(**row) for row in rows]
    for meant in (str(at), str(at).strip().lstrip("#")):
        for step in reversed(steps):
            if meant in (step.task_id, str(step.position), step.node):
                return step
    if not steps:
        raise UsageError(f"The run {run_id} has not begun a step yet: run its input again instead.")
    named = ", ".join(f"{step.position} {step.node}" for step in steps[-MOST_NAMED:])
    raise UsageError(f"The run {run_id} has no step {str(at)[:100]!r}; it has {named}.")


async def _before(database: Database, graph: Graph, saver: CheckpointSaver, origin: Run, step: _Step) -> _Place:
    """Find the checkpoint that a step began from, and make sure that it would begin from there again."""
    (row,) = database.read(_CHECKPOINT, {"run": origin.id, "task": step.task_id})
    config: RunnableConfig = {
        "configurable": {"thread_id": origin.id, "checkpoint_ns": "", "checkpoint_id": row["checkpoint_id"]}
    }
    before = await saver.aget_tuple(config) if row["checkpoint_id"] else None
    if before is not None:
        snapshot = await graph.copy(update={"checkpointer": saver}).aget_state(config)
        if any(task.id == step.task_id for task in snapshot.tasks):
            return _Place(before, snapshot.tasks, snapshot.values)
    raise UsageError(
        f"The run {origin.id} cannot be forked before its step {step.position} {step.node}: the checkpoint is gone, or "
        f"the workflow, version {origin.version} then, has other nodes and edges by now. Run its input again instead."
    )


# What a step wrote stands at the checkpoint that it began from; one that wrote nothing yet is at the latest.
_CHECKPOINT = """
    SELECT coalesce(
        (SELECT checkpoint_id FROM writes WHERE thread_id = :run AND checkpoint_ns = '' AND task_id = :task LIMIT 1),
        (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = :run AND checkpoint_ns = '')) AS checkpoint_id
"""


# --- In the writer thread ---


def _copy(tables: Tables, new: Copy, checkpoint_id: str, first: EditedCheckpoint | None) -> None:
    """Make the run, with all that led to a checkpoint of its origin; the states are copied without being read."""
    add_copy(tables, new)
    if not tables.conn.execute("SELECT 1 FROM runs WHERE id = ? AND input IS NOT NULL", [new.run_id]).fetchone():
        raise RunNotFound(f"The run {new.origin} was erased or pruned in this moment; nothing was made.")
    names = {"new": new.run_id, "origin": new.origin, "at": checkpoint_id}
    for statement in (_CHECKPOINTS, _WRITES, _STEPS, _VERDICTS, _PATH):
        tables.conn.execute(_CHAIN + statement, names)
    if first is not None:
        tables.conn.execute(_FIRST, {"new": new.run_id, **first._asdict()})


# Only the run's own checkpoints, not those of subgraphs that keep a memory: going on, LangGraph would take what such a
# subgraph came to on its last visit for what it comes to now, and not execute it.
_CHAIN = """
    WITH RECURSIVE
    chain (id, parent) AS (
        SELECT checkpoint_id, parent_checkpoint_id FROM checkpoints
        WHERE thread_id = :origin AND checkpoint_ns = '' AND checkpoint_id = :at
        UNION
        SELECT checkpoint_id, parent_checkpoint_id FROM checkpoints JOIN chain ON checkpoint_id = parent
        WHERE thread_id = :origin AND checkpoint_ns = ''),
    done (task_id) AS (
        SELECT DISTINCT task_id FROM writes
        WHERE thread_id = :origin AND checkpoint_ns = '' AND checkpoint_id IN (SELECT id FROM chain WHERE id != :at))
"""
_CHECKPOINTS = """
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
    SELECT :new, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints
    WHERE thread_id = :origin AND checkpoint_ns = '' AND checkpoint_id IN (SELECT id FROM chain)
"""
_WRITES = """
    INSERT INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
    SELECT :new, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value FROM writes
    WHERE thread_id = :origin AND checkpoint_ns = '' AND checkpoint_id IN (SELECT id FROM chain WHERE id != :at)
"""
_STEPS = """
    INSERT INTO steps (run_id, task_id, position, node, attempts, state_in, state_out, error, started_at, ended_at, ms,
        late_at)
    SELECT :new, task_id, row_number() OVER (ORDER BY position), node, attempts, state_in, state_out, error, started_at,
        ended_at, ms, late_at
    FROM steps WHERE run_id = :origin AND task_id IN (SELECT task_id FROM done)
"""
_VERDICTS = """
    INSERT INTO verdicts (run_id, task_id, node, decision, confidence, reason, checks)
    SELECT :new, task_id, node, decision, confidence, reason, checks FROM verdicts
    WHERE run_id = :origin AND task_id IN (SELECT task_id FROM done) ORDER BY rowid
"""
_PATH = """
    UPDATE runs SET path = coalesce((SELECT '/' || substr(group_concat(node, '/'), 1, 500) || '/' FROM (
        SELECT node FROM steps WHERE run_id = :new GROUP BY node ORDER BY min(position))), '') WHERE id = :new
"""
_FIRST = """
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
    VALUES (:new, '', :checkpoint_id, :parent, :type, :checkpoint, :metadata)
"""
