"""A provider that hangs: steps end in their time, nothing is asked after the deadline, and nothing is left behind."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from benchmarks.call_workers import ANSWER, chain, outcomes, read
from benchmarks.hanging import Blocking, client, one_call, overrun, run
from stanchion import RunContext, Workflow
from stanchion.guards.limits.policy import Policy
from stanchion.nodes import WorkflowState
from stanchion.testing import OpenAIServer, Reply

BUDGET = 0.5  # seconds of a step, where one run hangs
AT_ONCE = 100
BUDGET_AT_ONCE = 2.0  # seconds, where a hundred do
NOT_FOR_EVER = 30.0  # seconds; `python -m benchmarks hanging` measures how late steps really end


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A provider that takes requests and never answers."""
    with OpenAIServer({"": Reply(ANSWER, delay=math.inf)}) as server:
        yield server


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    """A model that blocks its thread for as long as the test lasts."""
    model = Blocking()
    yield model
    model.let_go()


# --- One run  ---


@pytest.mark.parametrize("kind", ["named", "instance", "stalled stream", "half a body", "blocking"])
def test_a_step_ends_in_its_time_however_the_model_hangs(
    server: OpenAIServer, blocking: Blocking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A silent server, a stream or a body that stops half-way, and a client that blocks: the run is refused in time."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    with OpenAIServer({"": Reply(ANSWER, stall=True)}) as stalling:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        model = {
            "named": "openai:gpt-4o",
            "instance": client(server),
            "stalled stream": client(stalling, streaming=True),
            "half a body": client(stalling),
            "blocking": blocking,
        }[kind]
        run(one_call(BUDGET), model, tmp_path / "runs.db")

    assert outcomes(tmp_path / "runs.db") == {"refused": 1}
    assert overrun(tmp_path / "runs.db", BUDGET) < NOT_FOR_EVER


@pytest.mark.parametrize("kind", ["waits", "blocks"])
def test_a_step_that_hangs_outside_of_models_ends_in_its_time(tmp_path: Path, kind: str) -> None:
    """A node of the developer's own that awaits, or blocks, something that never comes."""
    never = threading.Event()

    async def waits(_state: WorkflowState) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    def blocks(_state: WorkflowState) -> dict[str, Any]:
        never.wait()
        return {}

    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("node", {"waits": waits, "blocks": blocks}[kind])
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    policy = Policy(time={"step": f"{BUDGET}s"})
    run(Workflow(builder.compile(), name="own", version="1", policy=policy), "none", tmp_path / "runs.db")
    never.set()

    assert outcomes(tmp_path / "runs.db") == {"refused": 1}
    assert overrun(tmp_path / "runs.db", BUDGET) < NOT_FOR_EVER


def test_no_call_begins_after_the_deadline_of_the_run(server: OpenAIServer, tmp_path: Path) -> None:
    """Five steps that go on after each hanging call: the calls stop when the run's second is over."""
    db = tmp_path / "runs.db"
    policy = Policy(time={"run": "1s", "attempt": "0.4s"}, retry={"attempts": 1})
    run(going_on(chain(policy)), client(server), db)

    began = read(
        db,
        """SELECT (julianday(attempts.started_at) - julianday(runs.started_at)) * 86400 AS seconds
           FROM attempts JOIN runs ON runs.id = run_id""",
    )
    assert 1 <= len(began) == server.count <= 3
    assert all(row["seconds"] < 1.0 for row in began)
    assert len(read(db, "SELECT * FROM steps")) == 5


def going_on(workflow: Workflow) -> Workflow:
    """The same nodes, whatever the one before came to."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    nodes = list(workflow.graph.builder.nodes)
    for name in nodes:
        builder.add_node(name, workflow.graph.builder.nodes[name].runnable)
    for name, following in zip([START, *nodes], [*nodes, END], strict=True):
        builder.add_edge(name, following)
    return Workflow(builder.compile(), name="going-on", version="1", prompts=workflow.prompts, policy=workflow.policy)


# --- A hundred at once  ---


def test_a_hundred_hanging_runs_leave_no_connection_and_no_thread(server: OpenAIServer, tmp_path: Path) -> None:
    """They all end in their time; then the server has nobody connected, and the process has no thread more."""
    before = set(threading.enumerate())
    db = tmp_path / "runs.db"
    run(one_call(BUDGET_AT_ONCE, attempt=f"{BUDGET_AT_ONCE}s"), client(server), db, AT_ONCE)

    assert server.count == AT_ONCE
    assert outcomes(db) == {"refused": AT_ONCE}
    assert overrun(db, BUDGET_AT_ONCE) < NOT_FOR_EVER
    assert none_left(lambda: server._listener._clients)
    assert none_left(lambda: set(threading.enumerate()) - before)


def test_a_hundred_blocking_runs_end_and_their_threads_end_once_the_calls_return(
    blocking: Blocking, tmp_path: Path
) -> None:
    """Each run that finds no thread is told so; none waits longer than its step may; no thread outlives its call."""
    before = set(threading.enumerate())
    db = tmp_path / "runs.db"
    run(one_call(BUDGET_AT_ONCE, attempt=f"{BUDGET_AT_ONCE}s"), blocking, db, AT_ONCE)
    still_hang = set(threading.enumerate()) - before
    blocking.let_go()

    assert outcomes(db) == {"refused": AT_ONCE}
    assert overrun(db, BUDGET_AT_ONCE) < NOT_FOR_EVER
    assert still_hang
    assert all(thread.daemon for thread in still_hang)
    assert none_left(lambda: set(threading.enumerate()) - before)


def none_left(things: Any) -> bool:
    """Whether there are none soon: ends are noticed by other threads."""
    never = threading.Event()
    return any(not things() or never.wait(0.01) for _ in range(1000))


# --- The process  ---

SCRIPT = """
import asyncio, sys
from pathlib import Path
from benchmarks.hanging import Blocking, one_call, run

run(one_call(0.2), Blocking(), Path(sys.argv[1]), 8)
print("over", flush=True)
"""


def test_the_process_can_exit_while_calls_hang(tmp_path: Path) -> None:
    """Eight threads hang for ever in a client; the interpreter ends all the same, as soon as its work is done."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "runs.db")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "over\n")
