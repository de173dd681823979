"""The worker: it runs what is queued, goes on with what was answered, expires what is due, and stops in peace."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from stanchion import RunContext, Runner, Worker, Workflow
from stanchion.errors import ReviewClosed, WorkflowError
from stanchion.nodes import WorkflowState, answered, intake, outcome, review
from stanchion.runs.ledger import Ledger
from stanchion.runs.operations import Operations
from stanchion.runs.reviews import Reviews
from stanchion.runs.worker import worker_running, workers
from stanchion.store import Database, Owner
from stanchion.verdict import Outcome, Verdict
from tests.runs.conftest import Invoice, document, run

HERE = "tests.runs.test_worker"
SAID: list[str] = []


def unsure(_state: WorkflowState) -> dict[str, Any]:
    """Ask a person, whatever it is."""
    return {"verdict": Verdict(decision="review", reason="Always.")}


def safe(_state: WorkflowState) -> dict[str, Any]:
    """Do what is safe where nobody answered."""
    return {"outcome": Outcome(kind="expired", reason="Sent back to the customer.")}


def asking() -> Workflow:
    """A workflow that always asks, for a day; unanswered, it takes an edge of its own."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("intake", intake())
    builder.add_node("unsure", unsure)
    builder.add_node("review", review(Invoice, expires=timedelta(days=1)))
    builder.add_node("safe", safe)
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "intake")
    builder.add_edge("intake", "unsure")
    builder.add_edge("unsure", "review")
    builder.add_conditional_edges("review", answered, {"answered": "outcome", "expired": "safe"})
    builder.add_edge("safe", END)
    builder.add_edge("outcome", END)
    return Workflow(builder.compile(), name="asking", version="1", output=Invoice, reference=f"{HERE}:workflow")


def short() -> Workflow:
    """A workflow of one step, which ends at once."""
    builder = StateGraph(WorkflowState)
    builder.add_node("only", lambda _state: {"outcome": Outcome(kind="accepted", output={})})
    builder.add_edge(START, "only")
    builder.add_edge("only", END)
    return Workflow(builder.compile(), name="short", version="1", reference=f"{HERE}:quick")


def questions(number: int) -> Workflow:
    """A workflow that asks many people at once."""
    builder = StateGraph(WorkflowState)
    builder.add_node("ask", lambda _state: interrupt("May it?") and {})
    builder.add_conditional_edges(START, lambda _state: [Send("ask", {"source": None}) for _ in range(number)], ["ask"])
    builder.add_edge("ask", END)
    return Workflow(builder.compile(), name="many", version="1", reference=f"{HERE}:many")


workflow, quick, many = asking(), short(), questions(130)
gone = Workflow(short().graph, name="gone", version="1", reference=f"{HERE}:nothing")


def queue(db: Path, work: Workflow, number: int, clock: Any = None) -> list[str]:
    """Store runs as queued; return their ids."""

    async def story() -> list[str]:
        async with Runner(work, db=db, model="none", clock=clock) as runner:
            return await runner.queue([document(at) for at in range(number)])

    return run(story())


def work_until(db: Path, *, ended: int = 0, waiting: int = 0, **how: Any) -> Counter[str]:
    """Let a worker work until so many runs have ended or wait for people; return how often what happened."""
    seen: Counter[str] = Counter()

    async def story() -> None:
        stop = asyncio.Event()

        def observe(event: str, _run_id: str) -> None:
            seen[event] += 1
            if seen["ended"] >= ended and seen["waiting"] >= waiting:
                stop.set()

        await asyncio.wait_for(Worker(db=db, observe=observe, **how).run(stop), 60)

    run(story())
    return seen


def rows(db: Path, sql: str) -> list[dict[str, Any]]:
    """What a query finds."""
    database = Database(db)
    try:
        return database.read(sql)
    finally:
        database.close()


def test_what_is_queued_is_run(db: Path) -> None:
    """Everything queued is brought to its end, more than is worked on at a time, in the order in which it came."""
    run_ids = queue(db, quick, 20)

    seen = work_until(db, ended=20, concurrency=3)

    assert seen["claimed"] == seen["ended"] == 20
    assert [row["id"] for row in rows(db, "SELECT id FROM runs WHERE outcome = 'accepted' ORDER BY rowid")] == run_ids


def test_what_was_answered_goes_on(db: Path) -> None:
    """A run whose review was answered while nobody worked takes the answer, and ends."""
    (run_id,) = queue(db, workflow, 1)
    work_until(db, waiting=1)
    database = Database(db)
    Reviews(database).answer(run_id, "edit", by="Ada", edits={"number": "7", "total": 7})
    database.close()

    work_until(db, ended=1)

    assert rows(db, "SELECT outcome, rung FROM runs") == [{"outcome": "reviewed", "rung": "human"}]


def test_what_is_due_takes_its_safe_edge(db: Path) -> None:
    """Where nobody answered in time, the run goes the way its graph has for that, and is nobody's rejection."""
    queue(db, workflow, 1)
    work_until(db, waiting=1)
    database = Database(db)
    database.write_now(lambda tables: tables.conn.execute("UPDATE reviews SET due_at = '2000-01-01T00:00:00+00:00'"))
    database.close()

    work_until(db, ended=1)

    assert rows(db, "SELECT outcome, reason FROM runs") == [
        {"outcome": "expired", "reason": "Sent back to the customer."}
    ]
    assert rows(db, "SELECT status, action, answered_by FROM reviews") == [
        {"status": "expired", "action": "expire", "answered_by": None}
    ]
    assert [row["node"] for row in rows(db, "SELECT node FROM steps ORDER BY position")][-1] == "safe"


def test_what_cannot_be_loaded_holds_up_nothing_else(db: Path) -> None:
    """Runs whose workflow is not here any more are told of, and stay queued; everything behind them is run."""
    queue(db, gone, 250)
    queue(db, quick, 3)
    told: list[str] = []

    work_until(db, ended=3, trouble=told.append)

    assert rows(db, "SELECT count(*) AS number FROM runs WHERE status = 'queued'") == [{"number": 250}]
    assert f"{HERE}:nothing" in told[0]
    assert len(told) < 250


def test_a_paused_workflow_is_left_alone(db: Path) -> None:
    """No run of a paused workflow is begun; those of others are."""
    queue(db, workflow, 2)
    queue(db, quick, 1)
    database = Database(db)
    Operations(database).pause_workflow("asking", by="Ada", reason="The model writes nonsense.")
    database.close()

    work_until(db, ended=1)

    assert rows(db, "SELECT DISTINCT status FROM runs WHERE workflow = 'asking'") == [{"status": "queued"}]


def test_only_what_it_was_told_to_work_on(db: Path) -> None:
    """A worker with workflows named works on those only."""
    queue(db, quick, 1)
    queue(db, workflow, 1)

    work_until(db, waiting=1, workflows=[f"{HERE}:workflow"])

    assert rows(db, "SELECT status FROM runs WHERE workflow = 'short'") == [{"status": "queued"}]


def test_a_workflow_that_is_not_there_is_refused_at_once(db: Path) -> None:
    """A worker that is told to work on what cannot be loaded does not begin."""
    with pytest.raises(WorkflowError):
        Worker(["tests.runs.test_worker:nothing"], db=db)


def test_others_see_a_worker_while_it_works(db: Path) -> None:
    """Whoever looks sees that a worker is there, and for which workflows; once it stopped, none."""

    async def story() -> Any:
        database, stop = Database(db), asyncio.Event()
        working = asyncio.create_task(Worker([f"{HERE}:workflow"], db=db).run(stop))
        while not (seen := workers(database)):
            await asyncio.sleep(0)
        running = worker_running(database, "asking"), worker_running(database, "short")
        stop.set()
        await working
        left = workers(database)
        database.close()
        return seen, running, left

    (seen,), running, left = run(story())

    assert (seen.pid, seen.workflows, seen.stopping) == (os.getpid(), ("asking",), False)
    assert running == (True, False)
    assert left == []


KILLED = """
import asyncio, os, signal, sys
from stanchion import Worker
async def main():
    def observe(event, run_id):
        if event == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)
    await Worker(db=sys.argv[1], observe=observe).run(asyncio.Event())
asyncio.run(main())
"""


def test_what_a_killed_worker_had_goes_on(db: Path) -> None:
    """A worker killed with `kill -9` is no worker any more, and another goes on with its runs at once."""
    queue(db, quick, 10)
    dead = subprocess.run(
        [sys.executable, "-c", KILLED, str(db), "step ended"], cwd=Path(__file__).parents[2], check=False
    )
    database = Database(db)
    seen, left = workers(database), Ledger(database).unfinished()
    database.close()

    work_until(db, ended=len(left))

    assert dead.returncode == -signal.SIGKILL
    assert seen == []
    assert rows(db, "SELECT outcome, count(*) AS number FROM runs GROUP BY 1") == [
        {"outcome": "accepted", "number": 10}
    ]


TWO = """
import asyncio, sys
from stanchion import Worker
from stanchion.runs.ledger import Ledger
from stanchion.store import Database
async def main():
    stop, database = asyncio.Event(), Database(sys.argv[1])
    def observe(event, run_id):
        if event == "ended" and not Ledger(database).unfinished():
            stop.set()
    async def or_done():
        while Ledger(database).unfinished():
            await asyncio.sleep(0.05)
        stop.set()
    print("ready", flush=True)
    sys.stdin.readline()
    task = asyncio.create_task(or_done())
    await Worker(db=sys.argv[1], observe=observe).run(stop)
asyncio.run(main())
"""


def test_two_workers_share_the_runs(db: Path) -> None:
    """Two processes on one database bring all runs to their ends, and each run is begun by one of them only."""
    queue(db, quick, 60)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(db)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for one in both:
        assert one.stdout is not None
        one.stdout.readline()
    for one in both:
        one.communicate("go\n", timeout=60)

    assert rows(db, "SELECT DISTINCT outcome, token FROM runs") == [{"outcome": "accepted", "token": 1}]
    assert rows(db, "SELECT max(attempts) AS most FROM steps") == [{"most": 1}]


def test_what_others_have_hides_nothing(db: Path) -> None:
    """However many older runs somebody alive works on, a free one behind them is found."""
    others = queue(db, quick, 300)
    queue(db, quick, 1)
    database = Database(db)
    owner = Owner(database.path, "busy")
    database.write_now(
        lambda tables: tables.conn.executemany(
            "UPDATE runs SET status = 'running', owner = 'busy', lease_until = '2999-01-01' WHERE id = ?",
            [(run_id,) for run_id in others],
        )
    )
    database.close()

    work_until(db, ended=1)
    owner.release()

    assert rows(db, "SELECT count(*) AS number FROM runs WHERE outcome = 'accepted'") == [{"number": 1}]


def test_a_row_that_cannot_be_read_is_its_own_trouble(db: Path) -> None:
    """A run whose row is spoilt is told of, and put off; all others are run."""
    first, *_ = queue(db, quick, 3)
    database = Database(db)
    database.write_now(lambda tables: tables.conn.execute("UPDATE runs SET token = 'x' WHERE id = ?", [first]))
    database.close()
    told: list[str] = []

    work_until(db, ended=2, concurrency=1, trouble=told.append)

    assert [words for words in told if first in words] == [
        f"The run {first} could not be worked on: a defect (TypeError)"
    ]


def test_a_worker_that_hangs_is_none(db: Path) -> None:
    """A worker that was not heard of for a while counts as none, so whoever answers goes on with the run."""

    async def story() -> Any:
        database, stop = Database(db), asyncio.Event()
        working = asyncio.create_task(Worker(db=db).run(stop))
        while not worker_running(database, "asking"):
            await asyncio.sleep(0)
        await database.write(
            lambda tables: tables.conn.execute("UPDATE workers SET seen_at = '2024-01-01T00:00:00+00:00'")
        )
        seen = workers(database)[0].silent, worker_running(database, "asking")
        stop.set()
        await working
        database.close()
        return seen

    assert run(story()) == (True, False)


def test_more_answers_than_a_list_shows_are_all_taken(db: Path) -> None:
    """A run with 130 questions at once takes every answer that it was given."""
    queue(db, many, 1)
    work_until(db, waiting=1)
    database = Database(db)
    for asked in Ledger(database).reviews(limit=200):
        Reviews(database, workflow=many).answer(asked.id, "approve", by="Ada")
    database.close()

    work_until(db, ended=1)

    assert rows(db, "SELECT outcome FROM runs") == [{"outcome": "accepted"}]


def test_a_run_that_somebody_else_resumed_is_brought_to_its_end(db: Path) -> None:
    """A thread resumed outside of us takes no answer of ours any more, and a worker brings its run to the end."""
    (run_id,) = queue(db, workflow, 1)
    work_until(db, waiting=1)
    with SqliteSaver.from_conn_string(str(db)) as saver:
        graph = workflow.graph.copy(update={"checkpointer": saver})
        given = {"action": "approve", "output": None, "reason": "", "by": "Studio"}
        graph.invoke(Command(resume=given), {"configurable": {"thread_id": run_id}})
    database = Database(db)
    with pytest.raises(ReviewClosed, match="resumed or forked elsewhere"):
        Reviews(database).answer(run_id, "reject", by="Ada", reason="No.")
    database.close()

    work_until(db, ended=1)

    assert rows(db, "SELECT status, outcome FROM runs") == [{"status": "done", "outcome": "reviewed"}]
