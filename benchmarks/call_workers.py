"""Small workflows of model calls, and the processes that run them until they end, or are killed.

A fresh Python takes five seconds to import; `processes()` forks from one that has imported everything already.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import operator
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import genai_prices.data  # noqa: F401 - these are imported before the forks; later they would be in each of them
import langchain_openai  # noqa: F401
import openai.resources  # noqa: F401
import sqlite_utils.migrations  # noqa: F401
from langchain.chat_models import init_chat_model  # noqa: F401
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from stanchion import Input, Outcome, Prompt, RunContext, Runner, Source, Workflow
from stanchion.errors import StoreError
from stanchion.guards.limits.policy import Policy
from stanchion.nodes import WorkflowState, structured

MODEL = "openai:gpt-4o"
ANSWER = '{"total": 5}'
CALLS = 5  # of a run of `chain`
WIDTH = 60  # of a run of `fan`
NO_ROOM = 75  # exit status of a worker that a StoreError ended (EX_TEMPFAIL of sysexits.h)


class Note(BaseModel):
    """What the model is asked for."""

    total: int


def prompt(name: str) -> Prompt:
    """The prompt of one node: the server can tell from its text which call it is."""
    return Prompt(id=f"notes.{name}", version="1", system="Answer with JSON: $schema", user=f"{name} $text")


# --- Workflows  ---


def asking(question: Prompt) -> Any:
    """A node that asks once: where there is an answer it goes on, else the run is refused with the reason."""
    ask: Any = structured(question, Note).afunc  # without the layer of LangChain around it

    async def node(state: WorkflowState) -> dict[str, Any]:
        update = await ask({**state, "source": Source(text=state["document"]["text"])})
        verdict = update["verdict"]
        if verdict.decision != "accept":
            update["outcome"] = Outcome(kind="refused", reason=verdict.reason)
        return dict(update)

    return node


def chain(policy: Policy, calls: int = CALLS) -> Workflow:
    """One call after the other; with `calls=1`, the smallest workflow there is."""
    prompts = [prompt(f"step{number}") for number in range(1, calls + 1)]
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    for question in prompts:
        builder.add_node(question.id, asking(question))
    builder.add_edge(START, prompts[0].id)
    for question, following in zip(prompts, [*(item.id for item in prompts[1:]), END], strict=True):
        builder.add_conditional_edges(question.id, _unless_refused(following), list({following, END}))
    return Workflow(builder.compile(), name="chain", version="1", prompts=prompts, policy=policy)


def _unless_refused(following: str) -> Callable[[WorkflowState], str]:
    return lambda state: END if "outcome" in state else following


class Fanned(TypedDict, total=False):
    """The state of `fan`."""

    document: dict[str, Any]
    decisions: Annotated[list[str], operator.add]
    outcome: Outcome


def fan(policy: Policy) -> Workflow:
    """All calls at once, by `Send`; as many are under way as the policy's rate lets through."""
    question = prompt("part")
    ask: Any = structured(question, Note).afunc

    async def part(state: WorkflowState) -> dict[str, Any]:
        update = await ask({"source": Source(text=state["document"]["text"])})
        return {"decisions": [update["verdict"].decision]}

    def join(state: Fanned) -> dict[str, Any]:
        missing = sum(decision != "accept" for decision in state["decisions"])
        refused = Outcome(kind="refused", reason=f"{missing} parts were not read.")
        return {"outcome": refused if missing else Outcome(kind="accepted", output={"parts": len(state["decisions"])})}

    def parts(state: Fanned) -> list[Send]:
        text = state["document"]["text"]
        return [Send("part", {"document": {"text": f"{text} P{number}"}}) for number in range(WIDTH)]

    builder = StateGraph(Fanned, context_schema=RunContext)
    builder.add_node("part", part)
    builder.add_node("join", join)
    builder.add_conditional_edges(START, parts, ["part"])
    builder.add_edge("part", "join")
    builder.add_edge("join", END)
    return Workflow(builder.compile(), name="fan", version="1", prompts=[question], policy=policy)


GRAPHS: dict[str, Callable[[Policy], Workflow]] = {
    "one": lambda policy: chain(policy, calls=1),
    "chain": chain,
    "fan": fan,
}


# --- Processes  ---


class Job(NamedTuple):
    """What a worker does.

    Args:
        db: the database.
        url: the provider's address.
        graph: a key of `GRAPHS`.
        policy: tables of a `Policy`; None: the defaults.
        documents: how many new runs to start; 0 resumes what is there.
        first: the number of the first document.
        concurrency: runs at a time.
        die: kills itself at the n-th event of this name.
        model: which.
    """

    db: str
    url: str
    graph: str = "chain"
    policy: dict[str, Any] | None = None
    documents: int = 0
    first: int = 0
    concurrency: int = 8
    die: tuple[str, int] | None = None
    model: str = MODEL


def processes() -> ForkServerContext:
    """Where workers come from: forks of a process that has imported this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def environment(url: str) -> Iterator[None]:
    """Let models that are loaded by their name find the provider."""
    before = dict(os.environ)
    os.environ |= {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": url}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def work(job: Job) -> None:
    """Start the job's runs, or resume; the exit status is `NO_ROOM` where a StoreError said no."""
    try:
        with environment(job.url):
            asyncio.run(_run(job))
    except StoreError as error:
        print(error, flush=True)
        os._exit(NO_ROOM)


async def _run(job: Job) -> None:
    seen: Counter[str] = Counter()

    def observe(event: str, _run_id: str) -> None:
        seen[event] += 1
        if job.die == (event, seen[event]):
            os.kill(os.getpid(), signal.SIGKILL)

    workflow = GRAPHS[job.graph](Policy(**(job.policy or {})))
    numbers = range(job.first, job.first + job.documents)
    inputs = [Input(id=f"doc-{number}", document={"text": f"REF{number:05}"}) for number in numbers]
    async with Runner(workflow, db=job.db, model=job.model, concurrency=job.concurrency, observe=observe) as runner:
        await (runner.start(inputs) if inputs else runner.resume())


# --- What the file and the server know  ---


def read(db: Path, sql: str) -> list[dict[str, Any]]:
    """Read with plain sqlite3, as somebody would who does not trust us."""
    connection = sqlite3.connect(db)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def outcomes(db: Path) -> Counter[str]:
    """How many runs ended how; those that did not, by their status."""
    rows = read(db, "SELECT coalesce(outcome, status) AS how, count(*) AS runs FROM runs GROUP BY how")
    return Counter({row["how"]: row["runs"] for row in rows})
